//! One thread in memory, and what a commit does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, TaskId};
use holdpoint_graph::operation::OperationKey;
use serde_json::{Map, Value};

use crate::approvals::{DeadlineGuard, Withdrawn};
use crate::check;
use crate::records::{
    CheckpointRecord, NewCheckpoint, QuestionRecord, QuestionStatus, Settlement, TaskRecord, TaskStatus, ThreadRecord,
    ThreadStatus,
};
use crate::store::{Commit, Error, Expect};

#[derive(Clone)]
pub(super) struct Thread {
    pub(super) record: ThreadRecord,
    /// In order of storing. Shared, so that the copy which a commit works on is cheap.
    pub(super) checkpoints: Vec<Arc<Checkpoint>>,
    pub(super) tasks: BTreeMap<CheckpointId, Arc<Tasks>>,
    /// In order of asking.
    pub(super) questions: Vec<Arc<Asked>>,
    /// Something that it may wait for came while it was running: when it parks, it runs on.
    pub(super) woken: bool,
}

/// A question.
#[derive(Clone)]
pub(super) struct Asked {
    /// Its place in the order of storing, across threads.
    pub(super) number: u64,
    pub(super) record: QuestionRecord,
}

/// The tasks of one checkpoint.
pub(super) type Tasks = BTreeMap<TaskId, Arc<TaskRecord>>;

pub(super) struct Checkpoint {
    pub(super) record: CheckpointRecord,
    pub(super) values: Map<String, Value>,
}

impl Thread {
    pub(super) fn create(commit: &Commit) -> Result<Self, Error> {
        let (Expect::New(new), Some(claim), Some(head)) = (&commit.expect, &commit.claim, &commit.head) else {
            return Err(Error::Invalid("a new thread needs a claim and a head".to_owned()));
        };
        let record = ThreadRecord {
            id: commit.thread.clone(),
            lineage: new.lineage.clone(),
            graph: new.graph.clone(),
            graph_name: new.graph_name.clone(),
            status: commit.status,
            epoch: new.epoch,
            owner: Some(claim.owner.clone()),
            lease_until_ms: commit.lease_until_ms.unwrap_or(claim.lease_until_ms),
            head: head.clone(),
            tenant: new.tenant.clone(),
            requester: commit.requester.clone(),
            error: commit.error.clone(),
            created_at_ms: commit.at_ms,
            updated_at_ms: commit.at_ms,
        };
        Ok(Self { record, checkpoints: Vec::new(), tasks: BTreeMap::new(), questions: Vec::new(), woken: false })
    }

    pub(super) fn update(&mut self, commit: &Commit) {
        let record = &mut self.record;
        if let Some(claim) = &commit.claim {
            record.epoch = record.epoch.next();
            record.owner = Some(claim.owner.clone());
            record.lease_until_ms = claim.lease_until_ms;
        }
        if commit.release {
            record.owner = None;
            record.lease_until_ms = 0;
        }
        if let (Some(lease_until_ms), Some(_)) = (commit.lease_until_ms, &record.owner) {
            record.lease_until_ms = lease_until_ms;
        }
        if let Some(head) = &commit.head {
            record.head = head.clone();
        }
        record.error = commit.error.clone();
        record.updated_at_ms = commit.at_ms;
        if commit.requester.is_some() {
            record.requester = commit.requester.clone();
            // New input takes the place of what it waited for.
            self.woken &= commit.head.is_none();
        }
        record.status = if parks(commit) && self.woken { ThreadStatus::Running } else { commit.status };
        if parks(commit) || matches!(commit.status, ThreadStatus::Done | ThreadStatus::Failed) {
            self.woken = false;
        }
    }

    pub(super) fn settle(&mut self, settlement: Settlement, at_ms: u64) -> Result<(), Error> {
        match settlement {
            Settlement::Answer { question, answer, proceedings } => {
                let guard = DeadlineGuard::of(answer.verdict);
                let stored = self.pending(&question)?;
                check::say(&stored.record, guard, &proceedings, at_ms)?;
                stored.record.proceedings = *proceedings;
                stored.record.status = QuestionStatus::Answered;
                stored.record.answer = Some(answer);
                stored.record.due_at_ms = None;
            }
            Settlement::Supersede { question } => {
                self.close(&question, QuestionStatus::Superseded)?;
            }
            Settlement::Cancel { question, by } => {
                self.close(&question, QuestionStatus::Cancelled)?.proceedings.withdrawn = Some(Withdrawn { by, at_ms });
            }
        }
        Ok(())
    }

    fn close(&mut self, question: &QuestionId, status: QuestionStatus) -> Result<&mut QuestionRecord, Error> {
        let stored = self.pending(question)?;
        stored.record.status = status;
        stored.record.due_at_ms = None;
        Ok(&mut stored.record)
    }

    /// A question to change.
    pub(super) fn pending(&mut self, id: &QuestionId) -> Result<&mut Asked, Error> {
        let Some(question) = self.questions.iter_mut().find(|question| question.record.id == *id) else {
            return Err(Error::QuestionNotFound { thread: self.record.id.clone(), question: id.clone() });
        };
        if question.record.status == QuestionStatus::Pending {
            Ok(Arc::make_mut(question))
        } else {
            Err(Error::QuestionSettled(Box::new(question.record.clone())))
        }
    }

    /// Makes it running and nobody's, or remembers that it is to be when it parks; whether either was done.
    pub(super) fn wake(&mut self, at_ms: u64) -> bool {
        match self.record.status {
            ThreadStatus::Interrupted => {
                self.record.status = ThreadStatus::Running;
                self.record.owner = None;
                self.record.lease_until_ms = 0;
                self.record.updated_at_ms = at_ms;
                true
            }
            ThreadStatus::Running => {
                self.woken = true;
                true
            }
            ThreadStatus::Done | ThreadStatus::Failed => false,
        }
    }

    pub(super) fn add(&mut self, new: NewCheckpoint) -> Result<(), Error> {
        let mut values = match &new.record.parent {
            None => Map::new(),
            Some(id) => {
                let parent = self.require_checkpoint(id, "a checkpoint's parent")?;
                check::parent(&new.record, id, &parent.record.namespace)?;
                parent.values.clone()
            }
        };
        if self.checkpoint(&new.record.id).is_some() {
            return Err(Error::Invalid(format!("checkpoint {} is stored already", new.record.id)));
        }
        new.patch.apply(&mut values);
        self.checkpoints.push(Arc::new(Checkpoint { record: new.record, values }));
        Ok(())
    }

    /// Pins it and its head to another graph.
    pub(super) fn pin(&mut self, graph: &Digest) {
        self.record.graph = graph.clone();
        if let Some(head) = self.checkpoints.iter_mut().find(|checkpoint| checkpoint.record.id == self.record.head) {
            let record = CheckpointRecord { graph: graph.clone(), ..head.record.clone() };
            *head = Arc::new(Checkpoint { record, values: head.values.clone() });
        }
    }

    pub(super) fn record_task(&mut self, task: TaskRecord) -> Result<(), Error> {
        let own = &self.require_checkpoint(&task.checkpoint, "a task's checkpoint")?.record.namespace;
        if let Some(id) = &task.child {
            let child = self.require_checkpoint(id, "a task's subgraph")?;
            check::child(&task, own, id, &child.record.namespace)?;
        }
        let tasks = self.tasks.entry(task.checkpoint.clone()).or_default();
        Arc::make_mut(tasks).insert(task.id.clone(), Arc::new(task));
        Ok(())
    }

    pub(super) fn retain(&mut self, keep: &[CheckpointId]) -> Result<u64, Error> {
        let stored: BTreeSet<&CheckpointId> = self.checkpoints.iter().map(|checkpoint| &checkpoint.record.id).collect();
        let kept: BTreeSet<&CheckpointId> = keep.iter().collect();
        if let Some(unknown) = keep.iter().find(|id| !stored.contains(id)) {
            return Err(check::not_stored("a checkpoint to keep", unknown));
        }
        if !kept.contains(&self.record.head) {
            return Err(check::not_kept("the head", self.record.head.as_str()));
        }
        if let Some(run) = self.live().into_iter().find(|run| !kept.contains(run)) {
            return Err(check::not_kept("a subgraph's run that is not done", run.as_str()));
        }
        let before = self.checkpoints.len();
        self.checkpoints.retain(|checkpoint| kept.contains(&checkpoint.record.id));
        self.tasks.retain(|checkpoint, _| kept.contains(checkpoint));
        self.questions.retain(|question| kept.contains(&question.record.checkpoint));
        Ok(count(before - self.checkpoints.len()))
    }

    /// The head, and where the unfinished runs of subgraphs from it stand, at any depth.
    fn live(&self) -> BTreeSet<&CheckpointId> {
        let mut live = BTreeSet::new();
        let mut next = vec![&self.record.head];
        while let Some(id) = next.pop() {
            if self.checkpoint(id).is_some() && live.insert(id) {
                let unfinished = self.tasks_of(id).filter(|task| task.status != TaskStatus::Done);
                next.extend(unfinished.filter_map(|task| task.child.as_ref()));
            }
        }
        live
    }

    /// In order of their ids.
    pub(super) fn tasks_of(&self, checkpoint: &CheckpointId) -> impl Iterator<Item = &TaskRecord> {
        self.tasks.get(checkpoint).into_iter().flat_map(|tasks| tasks.values()).map(|task| &**task)
    }

    pub(super) fn ask(&mut self, question: QuestionRecord, number: u64) -> Result<(), Error> {
        self.require_checkpoint(&question.checkpoint, "a question's checkpoint")?;
        if self.questions.iter().any(|known| known.record.id == question.id) {
            return Ok(());
        }
        if !self.tasks.get(&question.checkpoint).is_some_and(|tasks| tasks.contains_key(&question.task)) {
            return Err(Error::Invalid(format!("the task of question {} is not stored", question.id)));
        }
        self.questions.push(Arc::new(Asked { number, record: question }));
        Ok(())
    }

    /// Whether it has a task in doubt about this operation at its head, or in a subgraph that runs from there.
    pub(super) fn doubts(&self, key: &OperationKey) -> bool {
        self.live().into_iter().any(|checkpoint| self.tasks_of(checkpoint).any(|task| doubts(task, key)))
    }

    pub(super) fn checkpoint(&self, id: &CheckpointId) -> Option<&Arc<Checkpoint>> {
        // From the newest: that is the one usually wanted.
        self.checkpoints.iter().rev().find(|checkpoint| checkpoint.record.id == *id)
    }

    pub(super) fn require_checkpoint(&self, id: &CheckpointId, what: &str) -> Result<&Arc<Checkpoint>, Error> {
        self.checkpoint(id).ok_or_else(|| check::not_stored(what, id))
    }
}

/// Whether a commit gives the thread back until something happens.
pub(super) fn parks(commit: &Commit) -> bool {
    commit.release && commit.status == ThreadStatus::Interrupted
}

/// Whether a task is in doubt about this operation.
pub(super) fn doubts(task: &TaskRecord, key: &OperationKey) -> bool {
    let details = task.error.as_ref().and_then(|error| error.details.as_ref());
    let member = |name| details.and_then(|details| details.get(name)).and_then(Value::as_str);
    task.status == TaskStatus::InDoubt
        && member("scope") == Some(&key.scope.to_text())
        && member("connector") == Some(key.connector.as_str())
        && member("operation_id") == Some(key.id.as_str())
}

pub(super) fn guard(record: &ThreadRecord, expected: Epoch) -> Result<(), Error> {
    if record.epoch == expected {
        Ok(())
    } else {
        Err(Error::Fenced { thread: record.id.clone(), expected, found: record.epoch })
    }
}

pub(super) fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}
