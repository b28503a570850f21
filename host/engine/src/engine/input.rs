//! New input: for a thread that is new, finished, failed, or whose questions it may supersede.

use std::sync::Arc;

use holdpoint_graph::definition::Graph;
use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use holdpoint_graph::state;
use holdpoint_store::{
    Commit, Expect, NewCheckpoint, NewThread, Settlement, Snapshot, Source, TaskStatus, ThreadStatus,
};
use serde_json::Value;

use super::{Deployment, Engine, Input, entropy, is_in_doubt, pending_ids};
use crate::apply::{self, Applied};
use crate::error::Error;
use crate::plan::tasks_of;
use crate::view::ThreadView;

impl Engine {
    pub(super) async fn create(
        &self,
        thread: &ThreadId,
        deployment: &Deployment,
        input: Input,
    ) -> Result<ThreadView, Error> {
        let Value::Object(input) = input.values else { return Err(Error::InputNotAnObject) };
        let graph = &deployment.graph;
        let now_ms = self.inner.clock.now_ms();
        let checkpoints =
            apply::input_checkpoints(graph, thread, None, &state::initial_values(graph), &input, now_ms, entropy())
                .map_err(Error::InvalidInput)?;
        // Milliseconds pass faster than claims: a writer of a thread of this name that was deleted can never hold this epoch.
        let epoch = Epoch(now_ms);
        let (digest, graph_name) = (deployment.digest.clone(), graph.name.clone());
        let new = NewThread { epoch, lineage: thread.clone(), graph: digest, graph_name };
        let [_, first] = &checkpoints;
        let first = first.record.clone();
        let commit = Commit {
            head: Some(first.id.clone()),
            checkpoints: checkpoints.to_vec(),
            ..self.writing(thread, Expect::New(new), now_ms)
        };
        match self.inner.store.commit(commit).await {
            Ok(()) => {}
            Err(holdpoint_store::Error::ThreadExists(_)) => {
                return Err(Error::Busy {
                    thread: thread.clone(),
                    owner: "another caller that created it just now".into(),
                });
            }
            Err(error) => return Err(Error::Store(error)),
        }
        let snapshot = self.snapshot(thread).await?;
        self.drive_at(snapshot, Arc::clone(graph), epoch).await
    }

    pub(super) async fn give_input(
        &self,
        snapshot: Snapshot,
        graph: &Arc<Graph>,
        input: Input,
    ) -> Result<ThreadView, Error> {
        let Value::Object(input_values) = input.values else { return Err(Error::InputNotAnObject) };
        let thread = &snapshot.thread.id;
        self.check_free(&snapshot.thread)?;
        let pending = pending_ids(&snapshot);
        // Doubt about an operation is never dropped: it has to be settled first.
        if snapshot.thread.status == ThreadStatus::Running || is_in_doubt(&snapshot) {
            return Err(Error::NotFinished { thread: thread.clone(), status: snapshot.thread.status });
        }
        // A failed thread may have questions too: whether they may go is not ours to guess.
        if !pending.is_empty() && !input.supersede {
            return Err(Error::Waiting { thread: thread.clone(), pending });
        }
        let now_ms = self.inner.clock.now_ms();
        let mut checkpoints = Vec::new();
        let mut parent = snapshot.checkpoint.clone();
        let mut values = snapshot.values.clone();
        if let Some(kept) = self.kept_writes(&snapshot, graph, now_ms) {
            kept.patch.apply(&mut values);
            parent = kept.record.clone();
            checkpoints.push(kept);
        }
        checkpoints.extend(
            apply::input_checkpoints(graph, thread, Some(&parent), &values, &input_values, now_ms, entropy())
                .map_err(Error::InvalidInput)?,
        );
        let commit = Commit {
            settlements: pending.iter().map(|question| Settlement::Supersede { question: question.clone() }).collect(),
            head: checkpoints.last().map(|checkpoint| checkpoint.record.id.clone()),
            checkpoints,
            ..self.claiming(&snapshot.thread, now_ms)
        };
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &pending).await?);
        }
        let claimed = self.snapshot(thread).await?;
        self.drive_at(claimed, Arc::clone(graph), snapshot.thread.epoch.next()).await
    }

    /// A checkpoint with the writes of the step's finished tasks, which new input must not drop (DESIGN 6.5).
    fn kept_writes(&self, snapshot: &Snapshot, graph: &Graph, now_ms: u64) -> Option<NewCheckpoint> {
        let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint);
        let finished: Vec<_> = planned
            .iter()
            .filter_map(|task| {
                let record = snapshot.tasks.iter().find(|record| record.id == task.id)?;
                (record.status == TaskStatus::Done).then_some((task, record.result.as_ref()?))
            })
            .collect();
        if finished.is_empty() {
            return None;
        }
        let patch = apply::reduce_all(graph, &snapshot.values, &finished).ok()?;
        let applied = Applied { patch, next: Vec::new(), joins: snapshot.checkpoint.joins.clone() };
        let mut kept = apply::next_checkpoint(&snapshot.thread.id, &snapshot.checkpoint, applied, Some(now_ms), now_ms);
        kept.record.source = Source::Update;
        kept.record.id = CheckpointId::from_entropy(kept.record.clock_ms, kept.record.step, entropy());
        Some(kept)
    }
}
