//! A store that counts what it is asked, and tells when a question was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use holdpoint_store::forward::Forward;
use holdpoint_store::{Changed, Error, QuestionChange, Store};
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
}

#[async_trait]
impl Forward for Counting {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn read<T, C>(&self, call: C) -> Result<T, Error>
    where
        T: Send,
        C: Future<Output = Result<T, Error>> + Send,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        call.await
    }

    async fn write<T, C>(&self, call: C) -> Result<T, Error>
    where
        T: Send,
        C: Future<Output = Result<T, Error>> + Send,
    {
        self.calls.fetch_add(1, Ordering::Relaxed);
        call.await
    }

    async fn change_question(&self, change: QuestionChange) -> Result<Changed, Error> {
        let changed = self.write(self.inner.change_question(change)).await?;
        // A measurement that has what it wants does not listen any more.
        let _ = self.changed.send(Instant::now());
        Ok(changed)
    }
}
