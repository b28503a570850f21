//! Writing into a thread's state, from its head or from any of its checkpoints.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use holdpoint_store::{AuditEntry, Claim, Commit, Expect, RunUpdate, Snapshot, ThreadStatus};
use serde_json::{Map, json};

use super::ending::Ending;
use super::replay::given_input;
use super::{Deployment, Engine, entropy};
use crate::error::Error;
use crate::plan::Records;
use crate::update::{self, AsNode, Base, Made, Update};
use crate::version::Version;
use crate::view::{self, ThreadView};

/// What has to hold for a thread to be taken back, and what is written with it.
#[derive(Debug, Clone, PartialEq)]
pub struct TakeBack {
    /// The thread's epoch when it was looked at: nothing is written when somebody has advanced it since.
    pub epoch: Epoch,
    /// Stored runs that are changed in the same commit, or nothing is.
    pub runs: Vec<RunUpdate>,
    /// The thread is left running and nobody's, for whoever continues such threads, instead of paused.
    pub goes_on: bool,
}

impl Base {
    /// A thread's head: what is recorded of its tasks counts.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let tasks = snapshot.tasks.iter().map(|task| (task.id.clone(), task.clone())).collect();
        Self { tasks, ..Self::bare(snapshot) }
    }

    /// A checkpoint that the thread has gone on from: what became of its tasks belongs to the branch that it went on with.
    fn bare(snapshot: &Snapshot) -> Self {
        Self {
            checkpoint: snapshot.checkpoint.clone(),
            values: snapshot.values.clone(),
            tasks: Records::new(),
            recorded: snapshot.tasks.iter().map(|task| task.path.clone()).collect(),
            input: given_input(&snapshot.tasks).map(|input| input.update.clone()),
        }
    }
}

impl Engine {
    /// Writes updates into a thread's state, superstep by superstep, from its head or on a new branch from another of its checkpoints, all of them
    /// or none (R44–R51). The thread then is paused where the last one leads, or done when nothing runs there. Questions that were pending are
    /// superseded: they are asked anew when the thread goes on. An update that speaks for the end ([`AsNode::End`]) dismisses them: they are
    /// cancelled.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::CheckpointNotFound`], [`Error::InSubgraph`], [`Error::UnknownNode`], [`Error::AmbiguousUpdate`],
    /// [`Error::NoUpdates`], [`Error::EmptySuperstep`], [`Error::NotInBulk`], [`Error::InvalidUpdate`], [`Error::InvalidInput`],
    /// [`Error::Busy`], [`Error::NotFinished`]: nothing is written. [`Error::Store`].
    pub async fn update(
        &self,
        thread: &ThreadId,
        at: Option<&CheckpointId>,
        supersteps: &[Vec<Update>],
    ) -> Result<ThreadView, Error> {
        let ending = if dismisses(supersteps) { Ending::Cancelled } else { Ending::Superseded };
        self.write_updates(thread, at, supersteps, ending, None).await
    }

    /// Takes a thread back to one of its checkpoints, on a new branch, as if what came after it had not been asked for: pending questions are
    /// cancelled. Does not drive it.
    ///
    /// # Errors
    /// As [`Engine::update`]; [`Error::TakenOver`] when the thread has another epoch than `back` says.
    pub async fn take_back(&self, thread: &ThreadId, to: &CheckpointId, back: TakeBack) -> Result<ThreadView, Error> {
        let copy = Update { as_node: Some(AsNode::Copy), ..Update::default() };
        self.write_updates(thread, Some(to), &[vec![copy]], Ending::Cancelled, Some(back)).await
    }

    async fn write_updates(
        &self,
        thread: &ThreadId,
        at: Option<&CheckpointId>,
        supersteps: &[Vec<Update>],
        ending: Ending,
        back: Option<TakeBack>,
    ) -> Result<ThreadView, Error> {
        let head = self.snapshot(thread).await?;
        self.check_idle(&head)?;
        if back.as_ref().is_some_and(|back| back.epoch != head.thread.epoch) {
            return Err(Error::TakenOver(thread.clone()));
        }
        let (base, recorded) = match at {
            Some(at) if *at != head.checkpoint.id => {
                let base = self.base(thread, at).await?;
                (Base::bare(&base), base.tasks)
            }
            _ => (Base::of(&head), Vec::new()),
        };
        let version = self.version(&base.checkpoint.graph).await?;
        let now_ms = self.inner.clock.now_ms();
        let (mut made, end) = self
            .make((thread, &head.thread.lineage), &version, head.checkpoint.clock_ms, base, supersteps, now_ms)
            .await?;
        // What is recorded at another checkpoint belongs to the branch that the thread went on with from there, and stays.
        // By path: a copied thread's older tasks go by the ids that they had in the original.
        made.tasks.retain(|task| {
            recorded.iter().all(|known| (&known.checkpoint, &known.path) != (&task.checkpoint, &task.path))
        });
        let ended = self.end_questions(&head, ending, now_ms);
        let status = match &back {
            _ if end.checkpoint.next.is_empty() => ThreadStatus::Done,
            Some(back) if back.goes_on => ThreadStatus::Running,
            _ => ThreadStatus::Interrupted,
        };
        let updated = self.update_entry(thread, at, &end.checkpoint.id, supersteps, now_ms);
        let claim = Claim { owner: self.inner.owners.own_name().to_owned(), lease_until_ms: now_ms };
        let commit = Commit {
            // Raises the epoch, so that of two updates one wins; the claim ends with the commit, because the thread does not run.
            claim: Some(claim),
            settlements: ended.settlements,
            operations: ended.operations,
            runs: back.map(|back| back.runs).unwrap_or_default(),
            head: Some(end.checkpoint.id.clone()),
            graph: (head.thread.graph != version.digest).then(|| version.digest.clone()),
            checkpoints: made.checkpoints,
            tasks: made.tasks,
            audit: ended.audit.into_iter().chain([updated]).collect(),
            ..Commit::new(thread.clone(), Expect::Epoch(head.thread.epoch), status, now_ms)
        };
        if let Err(error) = self.inner.commit(commit).await {
            return Err(self.lost(thread, error, &ended.questions).await?);
        }
        Ok(view::thread_view(&self.snapshot(thread).await?, Some(&version), self.now_ms()))
    }

    /// Makes a thread of updates: its first superstep is an input (S73).
    ///
    /// # Errors
    /// As [`Engine::update`]; [`Error::NotInBulk`] when the first superstep is no input, [`Error::Busy`] when the thread exists.
    pub async fn create_by_updates(
        &self,
        thread: &ThreadId,
        deployment: &Deployment,
        supersteps: &[Vec<Update>],
    ) -> Result<ThreadView, Error> {
        let version = self.version(&deployment.digest).await?;
        let (first, rest) = match supersteps {
            [] => return Err(Error::NoUpdates),
            [first, rest @ ..] => (first, rest),
        };
        let [Update { values, as_node: None | Some(AsNode::Input), .. }] = first.as_slice() else {
            return Err(Error::NotInBulk("anything but one __input__ first"));
        };
        let now_ms = self.inner.clock.now_ms();
        let setting = self.setting(&version, thread, thread, now_ms);
        let values = values.clone().unwrap_or_default();
        let (checkpoints, record) = update::input_after(&setting, None, &values, entropy())?;
        let [before, start] = &checkpoints;
        let mut state = Map::new();
        before.patch.apply(&mut state);
        start.patch.apply(&mut state);
        let base = Base {
            checkpoint: start.record.clone(),
            values: state,
            tasks: Records::new(),
            recorded: HashSet::new(),
            input: None,
        };
        let (mut made, mut end) = (Made { checkpoints: checkpoints.into(), tasks: vec![record] }, base.clone());
        if !rest.is_empty() {
            let (rest, reached) = self.make((thread, thread), &version, now_ms, base, rest, now_ms).await?;
            made.checkpoints.extend(rest.checkpoints);
            made.tasks.extend(rest.tasks);
            end = reached;
        }
        let epoch = Epoch(now_ms);
        let status = if end.checkpoint.next.is_empty() { ThreadStatus::Done } else { ThreadStatus::Interrupted };
        let commit = Commit {
            head: Some(end.checkpoint.id.clone()),
            checkpoints: made.checkpoints,
            tasks: made.tasks,
            status,
            lease_until_ms: Some(now_ms),
            requester: Some(self.options.principal.actor.id.clone()),
            audit: vec![self.update_entry(thread, None, &end.checkpoint.id, supersteps, now_ms)],
            ..self.writing(thread, Expect::New(self.new_thread(thread, &version, epoch)), now_ms)
        };
        self.commit_new(thread, commit).await?;
        Ok(view::thread_view(&self.snapshot(thread).await?, Some(&version), self.now_ms()))
    }

    /// Branches off at a checkpoint with an update and drives the branch (R57).
    ///
    /// # Errors
    /// As [`Engine::update`]; see [`Engine::run`] for errors after the branch was made.
    pub async fn fork(&self, thread: &ThreadId, from: &CheckpointId, update: Update) -> Result<ThreadView, Error> {
        let view = self.update(thread, Some(from), &[vec![update]]).await?;
        if view.status == ThreadStatus::Done { Ok(view) } else { self.proceed(thread).await }
    }

    fn update_entry(
        &self,
        thread: &ThreadId,
        at: Option<&CheckpointId>,
        to: &CheckpointId,
        supersteps: &[Vec<Update>],
        now_ms: u64,
    ) -> AuditEntry {
        let updates = supersteps.iter().flatten();
        let channels: BTreeSet<&String> =
            updates.filter_map(|update| update.values.as_ref()).flat_map(Map::keys).collect();
        let body = json!({ "at": at.map(CheckpointId::as_str), "checkpoint": to.as_str(), "channels": channels });
        let kind = if dismisses(supersteps) { "thread.dismissed" } else { "thread.updated" };
        self.entry(thread, kind, now_ms, body)
    }

    /// All supersteps of an update, each on the one before.
    async fn make(
        &self,
        (thread, lineage): (&ThreadId, &ThreadId),
        version: &Arc<Version>,
        clock_ms: u64,
        base: Base,
        supersteps: &[Vec<Update>],
        now_ms: u64,
    ) -> Result<(Made, Base), Error> {
        if supersteps.is_empty() {
            return Err(Error::NoUpdates);
        }
        let mut setting = self.setting(version, thread, lineage, now_ms);
        setting.clock_ms = clock_ms.max(now_ms);
        let mut all = Made::default();
        let mut current = base;
        for (index, updates) in supersteps.iter().enumerate() {
            let (mut made, next) = update::superstep(&setting, &current, updates, supersteps.len() == 1, entropy)?;
            if index == 0
                && let [Update { as_node: Some(AsNode::Copy), .. }] = updates.as_slice()
            {
                let parent = match &current.checkpoint.parent {
                    // Retention may have taken it.
                    Some(parent) => self.inner.store.snapshot(thread, Some(parent)).await?,
                    None => None,
                };
                update::complete_copy(&mut made, parent.as_ref().map(|parent| &parent.values), &current.values);
            }
            if index > 0 {
                // Nobody saw the thread between the supersteps of one update.
                all.tasks.retain(|task| task.path != crate::plan::PAUSE);
            }
            all.checkpoints.extend(made.checkpoints);
            all.tasks.extend(made.tasks);
            current = next;
        }
        Ok((all, current))
    }
}

/// Whoever speaks for the end lets nothing of it run any more, and nobody answer what it asked.
fn dismisses(supersteps: &[Vec<Update>]) -> bool {
    supersteps.iter().flatten().any(|update| update.as_node == Some(AsNode::End))
}
