//! Running a thread again from one of its checkpoints.

use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_graph::state::Patch;
use holdpoint_store::{CheckpointRecord, Commit, NewCheckpoint, Settlement, Snapshot, Source, ThreadStatus, Trigger};

use super::{Engine, entropy, is_in_doubt, pending_ids};
use crate::error::Error;
use crate::view::{self, ThreadView};

impl Engine {
    /// Runs a thread again from one of its checkpoints, on a branch of its own (R52–R54): the old branch stays, questions are asked anew, recorded
    /// operations answer from their records. From a checkpoint after which nothing runs it does nothing (R53).
    ///
    /// # Errors
    /// [`Error::CheckpointNotFound`], [`Error::NotReplayable`], [`Error::Busy`], [`Error::NotFinished`]; see [`Engine::run`] for errors after
    /// the branch was made.
    pub async fn replay(&self, thread: &ThreadId, from: &CheckpointId) -> Result<ThreadView, Error> {
        let head = self.snapshot(thread).await?;
        let not_found = || Error::CheckpointNotFound { thread: thread.clone(), checkpoint: from.clone() };
        let base = self.inner.store.snapshot(thread, Some(from)).await?.ok_or_else(not_found)?;
        let graph = self.graph(&head.thread.graph).await?;
        if base.checkpoint.next.is_empty() {
            return Ok(view::thread_view(&head, Some(&graph)));
        }
        if base.checkpoint.next.contains(&Trigger::Start) {
            return Err(Error::NotReplayable(from.clone()));
        }
        self.check_free(&head.thread)?;
        if is_in_doubt(&head) || head.thread.status == ThreadStatus::Running {
            return Err(Error::NotFinished { thread: thread.clone(), status: head.thread.status });
        }
        let now_ms = self.inner.clock.now_ms();
        let clock_ms = head.checkpoint.clock_ms.max(now_ms);
        let step = base.checkpoint.step + 1;
        let fork = CheckpointRecord {
            id: CheckpointId::from_entropy(clock_ms, step, entropy()),
            parent: Some(from.clone()),
            step,
            source: Source::Fork,
            clock_ms,
            created_at_ms: now_ms,
            ..base.checkpoint
        };
        let pending = pending_ids(&head);
        let commit = Commit {
            settlements: pending.iter().map(|question| Settlement::Supersede { question: question.clone() }).collect(),
            checkpoints: vec![NewCheckpoint { record: fork.clone(), patch: Patch::default() }],
            head: Some(fork.id.clone()),
            ..self.claiming(&head.thread, now_ms)
        };
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &pending).await?);
        }
        let branch = Snapshot {
            thread: head.thread,
            checkpoint: fork,
            values: base.values,
            tasks: Vec::new(),
            questions: Vec::new(),
            unsettled: Vec::new(),
        };
        self.drive(branch, graph).await
    }
}
