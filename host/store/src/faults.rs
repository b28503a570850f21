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
use holdpoint_graph::operation::OperationRecord;

use crate::approvals::{Changed, QuestionChange};
use crate::audit::AuditEntry;
use crate::forward::Forward;
use crate::store::{Commit, Error, Store};

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

    async fn fail<T>(&self, write: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
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

#[async_trait]
impl Forward for FaultyStore {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.fail(self.inner.commit(commit)).await
    }

    async fn change_question(&self, change: QuestionChange) -> Result<Changed, Error> {
        self.fail(self.inner.change_question(change)).await
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        self.fail(self.inner.exchange_operation(expected, next, at_ms, audit)).await
    }
}
