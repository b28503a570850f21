//! A store with a hook around each of its writes to threads and operations. Reads pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::forward::Forward;
use holdpoint_store::{AuditEntry, Changed, Commit, Error, QuestionChange, Store};

/// What stands around writes.
#[async_trait]
pub trait Hook: Send + Sync {
    /// In the place of [`Store::commit`].
    async fn commit(&self, store: &dyn Store, commit: Commit) -> Result<(), Error> {
        store.commit(commit).await
    }

    /// In the place of [`holdpoint_store::Journal::exchange_operation`].
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

#[async_trait]
impl<H: Hook> Forward for Wrapped<H> {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.hook.commit(self.inner.as_ref(), commit).await
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

    async fn change_question(&self, change: QuestionChange) -> Result<Changed, Error> {
        self.hook.change(self.inner.as_ref(), change).await
    }
}
