//! New input: for a thread that is new, finished, failed, or whose questions it may supersede.

use std::sync::Arc;

use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use holdpoint_store::{AuditEntry, Commit, Expect, NewThread, Snapshot, ThreadStatus};
use serde_json::{Value, json};

use super::ending::Ending;
use super::{Engine, Input, entropy, is_in_doubt, pending_ids};
use crate::error::Error;
use crate::update::{self, Base, Setting, Update};
use crate::version::Version;
use crate::view::ThreadView;

impl Engine {
    pub(super) async fn create(
        &self,
        thread: &ThreadId,
        version: &Arc<Version>,
        input: Input,
    ) -> Result<ThreadView, Error> {
        let Value::Object(input) = input.values else { return Err(Error::InputNotAnObject) };
        self.check_breakpoints(version)?;
        let now_ms = self.inner.clock.now_ms();
        let setting = self.setting(version, thread, thread, now_ms);
        let (checkpoints, record) = update::input_after(&setting, None, &input, entropy())?;
        let [_, first] = &checkpoints;
        let head = first.record.id.clone();
        let epoch = Epoch(now_ms);
        let commit = Commit {
            head: Some(head),
            checkpoints: checkpoints.to_vec(),
            tasks: vec![record],
            requester: Some(self.options.principal.actor.id.clone()),
            audit: vec![self.input_entry(thread, version, &first.record.id, now_ms)],
            ..self.writing(thread, Expect::New(self.new_thread(thread, version, epoch)), now_ms)
        };
        self.commit_new(thread, commit).await?;
        let snapshot = self.snapshot(thread).await?;
        self.drive_at(snapshot, Arc::clone(version), epoch).await
    }

    pub(super) async fn commit_new(&self, thread: &ThreadId, commit: Commit) -> Result<(), Error> {
        match self.inner.commit(commit).await {
            Ok(()) => Ok(()),
            Err(holdpoint_store::Error::ThreadExists(_)) => {
                Err(Error::Busy { thread: thread.clone(), owner: "another caller that created it just now".into() })
            }
            Err(error) => Err(Error::Store(error)),
        }
    }

    pub(super) async fn give_input(
        &self,
        snapshot: Snapshot,
        version: &Arc<Version>,
        input: Input,
    ) -> Result<ThreadView, Error> {
        let Value::Object(values) = input.values else { return Err(Error::InputNotAnObject) };
        self.check_breakpoints(version)?;
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
        let setting = self.setting(version, thread, &snapshot.thread.lineage, now_ms);
        let base = Base::of(&snapshot);
        let update = Update { values: Some(values), as_node: Some(update::AsNode::Input), ..Update::default() };
        let (mut made, _) = update::superstep(&setting, &base, &[update], true, entropy)?;
        // New input has not been shown to anybody: its breakpoints hold.
        made.tasks.retain(|task| task.path != crate::plan::PAUSE);
        let newest = made.checkpoints.last().map(|checkpoint| &checkpoint.record.id);
        let given = newest.map(|checkpoint| self.input_entry(thread, version, checkpoint, now_ms));
        let ended = self.end_questions(&snapshot, Ending::Superseded, now_ms);
        let commit = Commit {
            settlements: ended.settlements,
            operations: ended.operations,
            head: made.checkpoints.last().map(|checkpoint| checkpoint.record.id.clone()),
            requester: Some(self.options.principal.actor.id.clone()),
            audit: ended.audit.into_iter().chain(given).collect(),
            checkpoints: made.checkpoints,
            tasks: made.tasks,
            ..self.claiming(&snapshot.thread, now_ms)
        };
        if let Err(error) = self.inner.commit(commit).await {
            return Err(self.lost(thread, error, &ended.questions).await?);
        }
        let claimed = self.snapshot(thread).await?;
        self.drive_at(claimed, Arc::clone(version), snapshot.thread.epoch.next()).await
    }

    /// What updates of a thread are written with now.
    pub(super) fn setting<'a>(
        &'a self,
        version: &'a Version,
        thread: &'a ThreadId,
        lineage: &'a ThreadId,
        now_ms: u64,
    ) -> Setting<'a> {
        Setting {
            version,
            thread,
            lineage,
            now_ms,
            clock_ms: now_ms,
            effects: self.options.effects,
            metadata: &self.options.metadata,
        }
    }

    /// A thread of its own lineage, pinned to a version. Milliseconds pass faster than claims: a writer of a thread of this name that was deleted can
    /// never hold its first epoch.
    pub(super) fn new_thread(&self, thread: &ThreadId, version: &Version, epoch: Epoch) -> NewThread {
        NewThread {
            epoch,
            lineage: thread.clone(),
            graph: version.digest.clone(),
            graph_name: version.graph.name.clone(),
            tenant: self.options.principal.tenant.clone(),
        }
    }

    fn input_entry(&self, thread: &ThreadId, version: &Version, first: &CheckpointId, at_ms: u64) -> AuditEntry {
        let body = json!({
            "graph": version.graph.name.as_str(),
            "version": version.digest.as_str(),
            "checkpoint": first.as_str(),
        });
        self.entry(thread, "thread.input", at_ms, body)
    }
}
