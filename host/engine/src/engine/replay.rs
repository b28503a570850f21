//! Running a thread again from one of its checkpoints.

use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::state::Patch;
use holdpoint_store::{CheckpointRecord, Commit, NewCheckpoint, Snapshot, Source, TaskRecord, ThreadStatus, Trigger};
use serde_json::json;

use super::ending::Ending;
use super::{Engine, entropy, is_in_doubt};
use crate::apply;
use crate::error::Error;
use crate::frame::pause_record;
use crate::plan::INPUT;
use crate::update::{input_record, merged};
use crate::version::Version;
use crate::view::{self, ThreadView};

impl Engine {
    /// Runs a thread again from one of its checkpoints, on a branch of its own (R52–R54): the old branch stays, questions are asked anew, recorded
    /// operations answer from their records, and [`crate::RunOptions::effects`] says what becomes of new ones. From a checkpoint after which nothing
    /// runs it does nothing (R53).
    ///
    /// # Errors
    /// [`Error::CheckpointNotFound`], [`Error::InSubgraph`], [`Error::NotReplayable`], [`Error::GraphUnavailable`], [`Error::Busy`],
    /// [`Error::NotFinished`]; see [`Engine::run`] for errors after the branch was made.
    pub async fn replay(&self, thread: &ThreadId, from: &CheckpointId) -> Result<ThreadView, Error> {
        let head = self.snapshot(thread).await?;
        let base = self.base(thread, from).await?;
        let version = self.version(&base.checkpoint.graph).await?;
        self.check_breakpoints(&version)?;
        if base.checkpoint.next.is_empty() {
            return Ok(view::thread_view(&head, Some(&version), self.now_ms()));
        }
        self.check_idle(&head)?;
        let now_ms = self.inner.clock.now_ms();
        let (checkpoints, tasks) = self.branch(&version, &head, &base, now_ms)?;
        let ended = self.end_questions(&head, Ending::Superseded, now_ms);
        let replayed = self.entry(thread, "thread.replayed", now_ms, json!({ "from": from.as_str() }));
        let commit = Commit {
            settlements: ended.settlements,
            operations: ended.operations,
            head: checkpoints.last().map(|checkpoint| checkpoint.record.id.clone()),
            graph: (head.thread.graph != version.digest).then(|| version.digest.clone()),
            checkpoints,
            tasks,
            audit: ended.audit.into_iter().chain([replayed]).collect(),
            ..self.claiming(&head.thread, now_ms)
        };
        if let Err(error) = self.inner.commit(commit).await {
            return Err(self.lost(thread, error, &ended.questions).await?);
        }
        let claimed = self.snapshot(thread).await?;
        self.drive_at(claimed, version, head.thread.epoch.next()).await
    }

    /// A checkpoint of the thread's own graph.
    pub(super) async fn base(&self, thread: &ThreadId, checkpoint: &CheckpointId) -> Result<Snapshot, Error> {
        let not_found = || Error::CheckpointNotFound { thread: thread.clone(), checkpoint: checkpoint.clone() };
        let base = self.inner.store.snapshot(thread, Some(checkpoint)).await?.ok_or_else(not_found)?;
        if base.checkpoint.namespace.is_root() {
            Ok(base)
        } else {
            Err(Error::InSubgraph { checkpoint: checkpoint.clone(), namespace: base.checkpoint.namespace })
        }
    }

    /// A thread that nobody advances, that is not in the middle of a run, and that is in no doubt.
    pub(super) fn check_idle(&self, head: &Snapshot) -> Result<(), Error> {
        self.check_free(&head.thread)?;
        if is_in_doubt(head) || head.thread.status == ThreadStatus::Running {
            return Err(Error::NotFinished { thread: head.thread.id.clone(), status: head.thread.status });
        }
        Ok(())
    }

    /// The first checkpoint of the branch; of an input that is given again, the first two.
    fn branch(
        &self,
        version: &Version,
        head: &Snapshot,
        base: &Snapshot,
        now_ms: u64,
    ) -> Result<(Vec<NewCheckpoint>, Vec<TaskRecord>), Error> {
        let thread = &head.thread.id;
        let from = &base.checkpoint;
        let clock_ms = head.checkpoint.clock_ms.max(now_ms);
        let step = from.step + 1;
        let fork = CheckpointRecord {
            id: CheckpointId::from_entropy(clock_ms, step, entropy()),
            parent: Some(from.id.clone()),
            step,
            source: Source::Fork,
            clock_ms,
            created_at_ms: now_ms,
            effects: self.options.effects.unwrap_or(from.effects),
            metadata: merged(&from.metadata, &self.options.metadata),
            ..from.clone()
        };
        if !from.next.contains(&Trigger::Start) {
            let pause = pause_record(thread, &fork, now_ms);
            return Ok((vec![NewCheckpoint { record: fork, patch: Patch::default() }], vec![pause]));
        }
        let Some(input) = given_input(&base.tasks) else { return Err(Error::NotReplayable(from.id.clone())) };
        let record = input_record(thread, &fork.id, &input.update, now_ms);
        let mut checkpoints = apply::input_checkpoints(&version.graph, thread, fork, &base.values, &input.update)
            .map_err(Error::InvalidInput)?;
        checkpoints[0].record.source = Source::Fork;
        let pause = pause_record(thread, &checkpoints[1].record, now_ms);
        Ok((checkpoints.into(), vec![record, pause]))
    }
}

/// The input that a checkpoint stands before, as it was given.
pub(super) fn given_input(tasks: &[TaskRecord]) -> Option<&Command> {
    tasks.iter().find(|task| task.path == INPUT)?.result.as_ref()
}
