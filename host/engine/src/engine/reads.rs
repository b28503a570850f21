//! What is stored, as its readers see it. Claims nothing, writes nothing.

use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_store::{ThreadFilter, ThreadRecord};

use super::Engine;
use crate::error::Error;
use crate::view::{self, HistoryEntry, ThreadView};

impl Engine {
    /// A thread as it stands.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn view(&self, thread: &ThreadId) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let graph = self.graph(&snapshot.thread.graph).await.ok();
        Ok(view::thread_view(&snapshot, graph.as_deref()))
    }

    /// A thread's checkpoints, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn history(
        &self,
        thread: &ThreadId,
        before: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, Error> {
        if self.inner.store.thread(thread).await?.is_none() {
            return Err(Error::ThreadNotFound(thread.clone()));
        }
        let snapshots = self.inner.store.history(thread, before, limit).await?;
        Ok(snapshots.iter().map(view::history_entry).collect())
    }

    /// Threads, newest change first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        Ok(self.inner.store.threads(filter).await?)
    }
}
