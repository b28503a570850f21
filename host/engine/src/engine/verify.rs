//! Executing a history again.

use std::sync::Arc;

use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_store::{Outline, Snapshot, ThreadRecord};

use super::Engine;
use crate::error::Error;
use crate::verify::{self, Checker, Place, Reason, Report, Verdict};

impl Engine {
    /// Executes every recorded task of a thread again from its records, of all branches and subgraphs, and applies every superstep again, up to the
    /// first difference. Operations are answered from their records; nothing is performed, claimed or written. One checkpoint is in memory at a
    /// time. `on_progress` is told how many checkpoints are done, of how many.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`]; [`Error::GraphUnavailable`] names the version that a checkpoint ran with and that is not stored;
    /// [`Error::Store`]. A difference is no error: [`Report::difference`].
    pub async fn verify(
        &self,
        thread: &ThreadId,
        mut on_progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Report, Error> {
        let store = &self.inner.store;
        let record = store.thread(thread).await?.ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
        let checker = self.checker(record);
        let outline = store.outline(thread).await?;
        let all = u64::try_from(outline.len()).unwrap_or(u64::MAX);
        let mut report = Report::default();
        let mut last: Option<Snapshot> = None;
        on_progress(0, all);
        for Outline { checkpoint, .. } in outline {
            let Some(snapshot) = store.snapshot(thread, Some(&checkpoint.id)).await? else {
                // Pruned since the outline was read.
                report.transition(Place::of(&checkpoint), Verdict::Skipped(Reason::NotStored));
                continue;
            };
            report.checkpoints += 1;
            if !self.verify_transition(&checker, last.as_ref(), &snapshot, &mut report).await? {
                return Ok(report);
            }
            let version = self.version(&snapshot.checkpoint.graph).await?;
            let (mut step, subjects) = checker.step(&version, &snapshot);
            for subject in &subjects {
                let verdict = step.check(subject).await?;
                if !report.task(subject.place(&snapshot.checkpoint), verdict) {
                    return Ok(report);
                }
            }
            drop((step, subjects));
            last = Some(snapshot);
            on_progress(report.checkpoints, all);
        }
        Ok(report)
    }

    /// What checks a thread's tasks by executing them again.
    pub(super) fn checker(&self, thread: ThreadRecord) -> Checker {
        let inner = &self.inner;
        let (nodes, store) = (Arc::clone(&inner.nodes), Arc::clone(&inner.store));
        Checker::new(nodes, store, Arc::clone(&inner.clock), inner.config.clone(), thread)
    }

    /// Makes a checkpoint again from the one before it, which usually is the one that was looked at last. Whether to go on.
    async fn verify_transition(
        &self,
        checker: &Checker,
        last: Option<&Snapshot>,
        snapshot: &Snapshot,
        report: &mut Report,
    ) -> Result<bool, Error> {
        if !verify::is_made(&snapshot.checkpoint) {
            return Ok(true);
        }
        let place = Place::of(&snapshot.checkpoint);
        let read;
        let parent = match (&snapshot.checkpoint.parent, last) {
            (Some(id), Some(last)) if last.checkpoint.id == *id => Some(last),
            (Some(id), _) => {
                read = self.stored(&snapshot.thread.id, id).await?;
                read.as_ref()
            }
            (None, _) => None,
        };
        let Some(parent) = parent else {
            return Ok(report.transition(place, Verdict::Skipped(Reason::NotStored)));
        };
        let Some(author) = checker.author(parent) else {
            return Ok(report.transition(place, Verdict::Skipped(Reason::OtherThread)));
        };
        if verify::is_entry(parent) {
            // It is checked with the task that runs the subgraph.
            return Ok(true);
        }
        let version = self.version(&parent.checkpoint.graph).await?;
        Ok(report.transition(place, verify::transition(&version, author, parent, snapshot)))
    }

    async fn stored(&self, thread: &ThreadId, checkpoint: &CheckpointId) -> Result<Option<Snapshot>, Error> {
        Ok(self.inner.store.snapshot(thread, Some(checkpoint)).await?)
    }
}
