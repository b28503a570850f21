//! A store that counts what it is asked, and tells when a question was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use holdpoint_store::{
    AuditEntry, Changed, Commit, Content, Error, HistoryFilter, Journal, OperationFilter, Outline, QuestionChange,
    QuestionRecord, Snapshot, Statistics, Store, ThreadFilter, ThreadRecord, VersionKind, VersionRecord, forward_store,
};
use tokio::sync::mpsc::UnboundedSender;

/// See the module.
pub(super) struct Counting {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
    changed: UnboundedSender<Instant>,
}

impl Counting {
    /// Around a store; the moment after each change of a question is sent to `changed`.
    pub(super) fn new(inner: Arc<dyn Store>, changed: UnboundedSender<Instant>) -> Self {
        Self { inner, calls: AtomicU64::new(0), changed }
    }

    /// How often it was asked: every read and every write.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn pass<T>(&self, call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        call.await
    }

    async fn change(&self, change: QuestionChange) -> Result<Changed, Error> {
        let changed = self.pass(self.inner.change_question(change)).await?;
        // A measurement that has what it wants does not listen any more.
        let _ = self.changed.send(Instant::now());
        Ok(changed)
    }
}

forward_store!(Counting, |store, call| store.pass(call), |store, change| store.change(change));

#[async_trait]
impl Store for Counting {
    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.pass(self.inner.commit(commit)).await
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<ThreadRecord>, Error> {
        self.pass(self.inner.thread(thread)).await
    }

    async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        self.pass(self.inner.threads(filter)).await
    }

    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error> {
        self.pass(self.inner.snapshot(thread, checkpoint)).await
    }

    async fn history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>, Error> {
        self.pass(self.inner.history(thread, filter)).await
    }

    async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error> {
        self.pass(self.inner.outline(thread)).await
    }

    async fn retain(&self, thread: &ThreadId, epoch: Epoch, keep: &[CheckpointId]) -> Result<u64, Error> {
        self.pass(self.inner.retain(thread, epoch, keep)).await
    }

    async fn cached(&self, key: &Digest, now_ms: u64) -> Result<Option<Command>, Error> {
        self.pass(self.inner.cached(key, now_ms)).await
    }

    async fn clear_cache(&self, now_ms: Option<u64>) -> Result<u64, Error> {
        self.pass(self.inner.clear_cache(now_ms)).await
    }

    async fn put_version(&self, version: VersionRecord, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.pass(self.inner.put_version(version, audit)).await
    }

    async fn versions(&self, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>, Error> {
        self.pass(self.inner.versions(kind, name)).await
    }

    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error> {
        self.pass(self.inner.question(thread, question)).await
    }

    async fn delete_thread(&self, thread: &ThreadId, epoch: Epoch, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.pass(self.inner.delete_thread(thread, epoch, audit)).await
    }

    async fn put_contents(&self, contents: Vec<Content>) -> Result<(), Error> {
        self.pass(self.inner.put_contents(contents)).await
    }

    async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        self.pass(self.inner.content(digest)).await
    }

    async fn missing_contents(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        self.pass(self.inner.missing_contents(digests)).await
    }

    fn statistics(&self) -> Statistics {
        self.inner.statistics()
    }
}

#[async_trait]
impl Journal for Counting {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        self.pass(self.inner.operation(key)).await
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        self.pass(self.inner.operations(thread)).await
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        self.pass(self.inner.find_operations(filter)).await
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        self.pass(self.inner.due_operations(now_ms, limit)).await
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        self.pass(self.inner.hits(key)).await
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        self.pass(self.inner.exchange_operation(expected, next, at_ms, audit)).await
    }
}
