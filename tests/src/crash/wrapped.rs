//! A store with a hook around each of its writes to threads and operations. Reads pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use holdpoint_store::{
    AuditEntry, Changed, Commit, Content, Error, HistoryFilter, Journal, OperationFilter, Outline, QuestionChange,
    QuestionRecord, Snapshot, Statistics, Store, ThreadFilter, ThreadRecord, VersionKind, VersionRecord,
};

/// What stands around writes.
#[async_trait]
pub trait Hook: Send + Sync {
    /// In the place of [`Store::commit`].
    async fn commit(&self, store: &dyn Store, commit: Commit) -> Result<(), Error> {
        store.commit(commit).await
    }

    /// In the place of [`Journal::exchange_operation`].
    async fn exchange(
        &self,
        store: &dyn Store,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        store.exchange_operation(expected, next, at_ms, audit).await
    }

    /// In the place of [`holdpoint_store::Approvals::change_question`].
    async fn change(&self, store: &dyn Store, change: QuestionChange) -> Result<Changed, Error> {
        store.change_question(change).await
    }
}

/// A hook that lets each write take so many milliseconds longer.
pub struct Slow(pub u64);

#[async_trait]
impl Hook for Slow {
    async fn commit(&self, store: &dyn Store, commit: Commit) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_millis(self.0)).await;
        store.commit(commit).await
    }
}

/// The store with its hook.
pub struct Wrapped<H> {
    inner: Arc<dyn Store>,
    hook: H,
}

impl<H: Hook + 'static> Wrapped<H> {
    /// Puts a hook around a store.
    pub fn around(inner: Arc<dyn Store>, hook: H) -> Arc<dyn Store> {
        Arc::new(Self { inner, hook })
    }
}

holdpoint_store::forward_store!(Wrapped<H>, H: Hook, |_store, call| call, |store, change| store
    .hook
    .change(store.inner.as_ref(), change));

#[async_trait]
impl<H: Hook> Store for Wrapped<H> {
    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.hook.commit(self.inner.as_ref(), commit).await
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
impl<H: Hook> Journal for Wrapped<H> {
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
        self.hook.exchange(self.inner.as_ref(), expected, next, at_ms, audit).await
    }
}
