//! What is stored, as its readers see it. Claims nothing, writes nothing.

use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_store::{HistoryFilter, Outline, ThreadFilter, ThreadRecord};

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
        let version = self.version(&snapshot.checkpoint.graph).await.ok();
        Ok(view::thread_view(&snapshot, version.as_deref(), self.now_ms()))
    }

    /// A thread's state (R38): without a checkpoint as it stands now, with what finished tasks of the unfinished step wrote, what is left to run and
    /// the questions that wait; with one as recorded there, nothing of later steps in it. The runs of subgraphs of unfinished tasks are nested in
    /// their tasks. A checkpoint of a subgraph can be named too.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::CheckpointNotFound`], [`Error::Store`].
    pub async fn state(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<HistoryEntry, Error> {
        let Some(checkpoint) = checkpoint else {
            let snapshot = self.snapshot(thread).await?;
            let version = self.version(&snapshot.checkpoint.graph).await.ok();
            return Ok(view::live_entry(&snapshot, version.as_deref()));
        };
        match self.inner.store.snapshot(thread, Some(checkpoint)).await? {
            Some(snapshot) => Ok(view::history_entry(&snapshot)),
            None if self.inner.store.thread(thread).await?.is_none() => Err(Error::ThreadNotFound(thread.clone())),
            None => Err(Error::CheckpointNotFound { thread: thread.clone(), checkpoint: checkpoint.clone() }),
        }
    }

    /// The newest checkpoints of a thread's own graph, newest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Engine::find_history`].
    pub async fn history(
        &self,
        thread: &ThreadId,
        before: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, Error> {
        self.find_history(thread, &HistoryFilter { before: before.cloned(), ..HistoryFilter::newest(limit) }).await
    }

    /// A thread's checkpoints that a filter lets through, newest first, the whole tree of branches.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn find_history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<HistoryEntry>, Error> {
        if self.inner.store.thread(thread).await?.is_none() {
            return Err(Error::ThreadNotFound(thread.clone()));
        }
        let snapshots = self.inner.store.history(thread, filter).await?;
        Ok(snapshots.iter().map(view::history_entry).collect())
    }

    /// The shape of a thread's history: all its checkpoints, subgraphs' too, in order of storing, without values.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error> {
        if self.inner.store.thread(thread).await?.is_none() {
            return Err(Error::ThreadNotFound(thread.clone()));
        }
        Ok(self.inner.store.outline(thread).await?)
    }

    /// Threads, newest change first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        Ok(self.inner.store.threads(filter).await?)
    }
}
