//! Retention: what finished threads need not keep any more. Reads no values.

use holdpoint_graph::ids::CheckpointId;
use holdpoint_store::{Error as StoreError, OperationFilter, ThreadFilter, ThreadRecord, ThreadStatus};
use serde_json::json;

use super::Engine;
use crate::error::Error;
use crate::prune::{self, Rule};

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PruneRequest {
    /// What becomes of the threads.
    pub rule: Rule,
    /// Only threads that have not changed for at least this long.
    pub older_than_ms: Option<u64>,
    /// The host's clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// Only count.
    pub dry_run: bool,
}

/// What was removed; of a dry run, what would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneReport {
    /// Threads that are done and old enough.
    pub threads: u64,
    /// Of these, threads that lost checkpoints.
    pub trimmed: u64,
    /// Of these, threads that were deleted.
    pub deleted: u64,
    /// Checkpoints that were removed, those of deleted threads included.
    pub checkpoints: u64,
    /// Of the threads, those left alone because an operation of theirs has no outcome yet.
    pub open: u64,
    /// Of the threads, those left alone because they changed meanwhile.
    pub changed: u64,
}

/// What became of one thread.
enum Pruned {
    Trimmed(u64),
    Deleted(u64),
    Whole,
    Open,
    Changed,
}

impl Engine {
    /// Removes what finished threads need not keep. Threads that run, wait or failed, and threads with an operation that has no outcome yet, are left
    /// alone whatever their age. Each thread is guarded by its epoch: one that changes meanwhile is left as it is and counted.
    ///
    /// # Errors
    /// [`Error::Store`]: what was removed before stays removed.
    pub async fn prune(&self, request: &PruneRequest) -> Result<PruneReport, Error> {
        const PAGE: usize = 500;
        let mut report = PruneReport::default();
        let mut offset = 0;
        loop {
            let filter = ThreadFilter { status: Some(ThreadStatus::Done), graph_name: None, limit: PAGE, offset };
            let page = self.inner.store.threads(&filter).await?;
            let last = page.len() < PAGE;
            offset += page.len();
            for thread in page {
                let age_ms = request.now_ms.saturating_sub(thread.updated_at_ms);
                if request.older_than_ms.is_some_and(|bound_ms| age_ms < bound_ms) {
                    continue;
                }
                report.threads += 1;
                match self.prune_thread(&thread, request).await? {
                    Pruned::Trimmed(checkpoints) => {
                        report.trimmed += 1;
                        report.checkpoints += checkpoints;
                    }
                    Pruned::Deleted(checkpoints) => {
                        report.deleted += 1;
                        report.checkpoints += checkpoints;
                        // The pages after it move up.
                        offset -= usize::from(!request.dry_run);
                    }
                    Pruned::Whole => {}
                    Pruned::Open => report.open += 1,
                    Pruned::Changed => report.changed += 1,
                }
            }
            if last {
                return Ok(report);
            }
        }
    }

    async fn prune_thread(&self, thread: &ThreadRecord, request: &PruneRequest) -> Result<Pruned, Error> {
        let store = &self.inner.store;
        let open =
            OperationFilter { thread: Some(thread.id.clone()), open: true, limit: 1, ..OperationFilter::default() };
        if !store.find_operations(&open).await?.is_empty() {
            return Ok(Pruned::Open);
        }
        let outline = store.outline(&thread.id).await?;
        let keep: Vec<CheckpointId> = prune::kept(request.rule, &outline, &thread.head).into_iter().collect();
        let surplus = (outline.len() - keep.len()) as u64;
        let written = match request.rule {
            Rule::KeepLatest if surplus == 0 => return Ok(Pruned::Whole),
            Rule::KeepLatest if request.dry_run => Ok(Pruned::Trimmed(surplus)),
            Rule::KeepLatest => {
                let body = json!({ "checkpoints": surplus, "head": thread.head.as_str(), "by": "retention" });
                let audit = vec![self.entry(&thread.id, "thread.pruned", request.now_ms, body)];
                store.retain(&thread.id, thread.epoch, &keep, audit).await.map(Pruned::Trimmed)
            }
            Rule::Delete if request.dry_run => Ok(Pruned::Deleted(surplus)),
            Rule::Delete => {
                let body = json!({ "head": thread.head.as_str(), "by": "retention" });
                let audit = vec![self.entry(&thread.id, "thread.deleted", request.now_ms, body)];
                store.delete_thread(&thread.id, thread.epoch, audit).await.map(|()| Pruned::Deleted(surplus))
            }
        };
        match written {
            Ok(pruned) => Ok(pruned),
            Err(StoreError::Fenced { .. } | StoreError::ThreadNotFound(_)) => Ok(Pruned::Changed),
            // The thread may have changed between the two readings above: then its epoch has, too.
            Err(error @ StoreError::Invalid(_)) => match store.thread(&thread.id).await? {
                Some(now) if now.epoch == thread.epoch => Err(error.into()),
                _ => Ok(Pruned::Changed),
            },
            Err(error) => Err(error.into()),
        }
    }
}
