//! For tests: a store that fails as stores do when the connection to them breaks, at the commits that a plan names.
//!
//! The caller of a commit that ends in [`Error::Unavailable`] knows nothing: it may be there or not. A [`FaultyStore`] makes both happen on
//! purpose.
//!
//! ```
//! # use std::sync::Arc;
//! # use holdpoint_store::conformance::scene;
//! # use holdpoint_store::faults::{Fault, FaultyStore};
//! # use holdpoint_store::{Error, MemoryStore, Store};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
//! // The first write is done, but its caller is told otherwise.
//! let store = FaultyStore::new(Arc::clone(&inner), |number| if number == 1 { Fault::After } else { Fault::None });
//! let outcome = store.commit(scene::create("t", scene::replace([]))).await;
//! assert!(matches!(outcome, Err(Error::Unavailable(_))));
//! assert!(inner.thread(&scene::thread("t")).await.unwrap().is_some());
//! # }
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};

use crate::audit::AuditEntry;
use crate::records::{Outline, QuestionRecord, Snapshot, ThreadRecord, VersionKind, VersionRecord};
use crate::store::{Commit, Content, Error, HistoryFilter, Journal, OperationFilter, Statistics, Store, ThreadFilter};

/// What happens to one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is done, and its caller learns the outcome.
    None,
    /// Nothing is written, and the caller gets [`Error::Unavailable`].
    Before,
    /// It is written, then the caller gets [`Error::Unavailable`] all the same. A refusal is lost alike.
    After,
}

type Plan = dyn Fn(u64) -> Fault + Send + Sync;

/// A store that loses commits, or what became of them. Everything but commits, exchanges of operations and changes of questions passes.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Box<Plan>,
    numbered: AtomicU64,
}

impl FaultyStore {
    /// Wraps a store. The plan is asked once for each commit, each exchange of an operation and each change of a question, which are numbered
    /// together from 1 in the order in which they arrive.
    pub fn new(inner: Arc<dyn Store>, plan: impl Fn(u64) -> Fault + Send + Sync + 'static) -> Self {
        Self { inner, plan: Box::new(plan), numbered: AtomicU64::new(0) }
    }

    /// How many commits, exchanges and changes have arrived.
    pub fn arrived(&self) -> u64 {
        self.numbered.load(Ordering::Relaxed)
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let number = self.numbered.fetch_add(1, Ordering::Relaxed) + 1;
        match (self.plan)(number) {
            Fault::None => write.await,
            Fault::Before => Err(Error::Unavailable(format!("fault: write {number} did not arrive"))),
            Fault::After => {
                // Its outcome is lost on the way.
                let _ = write.await;
                Err(Error::Unavailable(format!("fault: the outcome of write {number} was lost")))
            }
        }
    }
}

crate::forward_store!(FaultyStore, |_store, call| call, |store, change| store
    .write(store.inner.change_question(change)));

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.write(self.inner.commit(commit)).await
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<ThreadRecord>, Error> {
        self.inner.thread(thread).await
    }

    async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        self.inner.threads(filter).await
    }

    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error> {
        self.inner.snapshot(thread, checkpoint).await
    }

    async fn history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>, Error> {
        self.inner.history(thread, filter).await
    }

    async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error> {
        self.inner.outline(thread).await
    }

    async fn retain(&self, thread: &ThreadId, epoch: Epoch, keep: &[CheckpointId]) -> Result<u64, Error> {
        self.inner.retain(thread, epoch, keep).await
    }

    async fn cached(&self, key: &Digest, now_ms: u64) -> Result<Option<Command>, Error> {
        self.inner.cached(key, now_ms).await
    }

    async fn clear_cache(&self, now_ms: Option<u64>) -> Result<u64, Error> {
        self.inner.clear_cache(now_ms).await
    }

    async fn put_version(&self, version: VersionRecord, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.inner.put_version(version, audit).await
    }

    async fn versions(&self, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>, Error> {
        self.inner.versions(kind, name).await
    }

    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error> {
        self.inner.question(thread, question).await
    }

    async fn delete_thread(&self, thread: &ThreadId, epoch: Epoch, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.inner.delete_thread(thread, epoch, audit).await
    }

    async fn put_contents(&self, contents: Vec<Content>) -> Result<(), Error> {
        self.inner.put_contents(contents).await
    }

    async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        self.inner.content(digest).await
    }

    async fn missing_contents(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        self.inner.missing_contents(digests).await
    }

    fn statistics(&self) -> Statistics {
        self.inner.statistics()
    }
}

#[async_trait]
impl Journal for FaultyStore {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        self.inner.operation(key).await
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        self.inner.operations(thread).await
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        self.inner.find_operations(filter).await
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        self.inner.due_operations(now_ms, limit).await
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        self.inner.hits(key).await
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        self.write(self.inner.exchange_operation(expected, next, at_ms, audit)).await
    }
}
