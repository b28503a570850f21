//! The store in memory: the oracle that other stores are compared with, and what tests of other crates run on.
//!
//! It is meant to be obviously right rather than small or fast: each checkpoint holds all values of its channels, and a commit is applied to
//! a copy of the thread that takes the thread's place when everything fitted. Nothing survives the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, TaskId, ThreadId};
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord, OperationState};
use serde_json::{Map, Value};

use crate::check;
use crate::records::{
    CheckpointRecord, QuestionRecord, QuestionStatus, Settlement, Snapshot, TaskRecord, TaskStatus, ThreadRecord,
    ThreadStatus,
};
use crate::store::{Commit, Content, Error, Expect, Journal, OperationFilter, Statistics, Store, ThreadFilter};

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore {
    /// One lock over everything: a commit must be seen whole or not at all, by reads too, and no operation waits for anything while it holds
    /// the lock. A std mutex, because it is never held across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: BTreeMap<ThreadId, Thread>,
    /// In order of first storing. Outlive their threads.
    operations: Vec<OperationRecord>,
    /// In order of storing. Outlive their threads.
    hits: Vec<OperationHit>,
    contents: BTreeMap<Digest, Vec<u8>>,
    commits: u64,
}

#[derive(Clone)]
struct Thread {
    record: ThreadRecord,
    /// In order of storing. Shared, so that the copy which a commit works on is cheap.
    checkpoints: Vec<Arc<Checkpoint>>,
    tasks: BTreeMap<(CheckpointId, TaskId), Arc<TaskRecord>>,
    /// In order of asking.
    questions: Vec<Arc<QuestionRecord>>,
}

struct Checkpoint {
    record: CheckpointRecord,
    values: Map<String, Value>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left nothing half done: threads are replaced whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        check::commit(&commit)?;
        self.state().apply(commit)
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<ThreadRecord>, Error> {
        Ok(self.state().threads.get(thread).map(|thread| thread.record.clone()))
    }

    async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        let state = self.state();
        let mut found: Vec<&ThreadRecord> = state
            .threads
            .values()
            .map(|thread| &thread.record)
            .filter(|record| filter.status.is_none_or(|status| record.status == status))
            .collect();
        // Stable: threads of the same moment stay in order of id.
        found.sort_by_key(|record| std::cmp::Reverse(record.updated_at_ms));
        Ok(found.into_iter().skip(filter.offset).take(filter.limit).cloned().collect())
    }

    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error> {
        let state = self.state();
        let Some(thread) = state.threads.get(thread) else { return Ok(None) };
        let found = thread.checkpoint(checkpoint.unwrap_or(&thread.record.head));
        Ok(found.map(|checkpoint| state.snapshot(thread, checkpoint)))
    }

    async fn history(
        &self,
        thread: &ThreadId,
        before: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        let state = self.state();
        let Some(thread) = state.threads.get(thread) else { return Ok(Vec::new()) };
        let end = match before {
            None => thread.checkpoints.len(),
            Some(id) => thread.checkpoints.iter().position(|checkpoint| checkpoint.record.id == *id).unwrap_or(0),
        };
        let newest_first = thread.checkpoints[..end].iter().rev().take(limit);
        Ok(newest_first.map(|checkpoint| state.snapshot(thread, checkpoint)).collect())
    }

    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error> {
        let state = self.state();
        let thread = state.threads.get(thread);
        Ok(thread
            .and_then(|thread| thread.questions.iter().find(|found| found.id == *question))
            .map(|found| (**found).clone()))
    }

    async fn delete_thread(&self, thread: &ThreadId, epoch: Epoch) -> Result<(), Error> {
        let mut state = self.state();
        let record = &state.threads.get(thread).ok_or_else(|| Error::ThreadNotFound(thread.clone()))?.record;
        guard(record, epoch)?;
        state.threads.remove(thread);
        Ok(())
    }

    async fn put_contents(&self, contents: Vec<Content>) -> Result<(), Error> {
        check::contents(&contents)?;
        let mut state = self.state();
        for content in contents {
            state.contents.entry(content.digest).or_insert(content.bytes);
        }
        Ok(())
    }

    async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state().contents.get(digest).cloned())
    }

    async fn missing_contents(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let state = self.state();
        Ok(digests.iter().filter(|digest| !state.contents.contains_key(digest)).cloned().collect())
    }

    fn statistics(&self) -> Statistics {
        let commits = self.state().commits;
        Statistics { commits, transactions: commits, statements: 0 }
    }
}

#[async_trait]
impl Journal for MemoryStore {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        Ok(self.state().operations.iter().find(|record| record.key == *key).cloned())
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        Ok(self.state().operations_where(|record| record.thread == *thread))
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        let mut found = self.state().operations_where(|record| {
            filter.id.as_ref().is_none_or(|id| record.key.id == *id)
                && filter.thread.as_ref().is_none_or(|thread| record.thread == *thread)
                && (!filter.open || is_open(&record.state))
        });
        found.truncate(filter.limit);
        Ok(found)
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        let state = self.state();
        let due = |record: &OperationRecord| match record.state {
            OperationState::Queued { due_at_ms, .. } if due_at_ms <= now_ms => Some(due_at_ms),
            _ => None,
        };
        let mut found: Vec<(u64, &OperationRecord)> =
            state.operations.iter().filter_map(|record| Some((due(record)?, record))).collect();
        // Stable: those due at the same moment stay in order of storing.
        found.sort_by_key(|(due_at_ms, _)| *due_at_ms);
        Ok(found.into_iter().take(limit).map(|(_, record)| record.clone()).collect())
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        let mut found: Vec<OperationHit> = self.state().hits.iter().filter(|hit| hit.key == *key).cloned().collect();
        found.sort_by_key(|hit| hit.at_ms);
        Ok(found)
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
    ) -> Result<bool, Error> {
        check::exchange(expected, &next, at_ms)?;
        Ok(self.state().exchange(expected, next, at_ms))
    }
}

impl State {
    fn apply(&mut self, commit: Commit) -> Result<(), Error> {
        let stored = self.threads.get(&commit.thread);
        let mut thread = match (&commit.expect, stored) {
            (Expect::New(_), Some(_)) => return Err(Error::ThreadExists(commit.thread)),
            (Expect::New(_), None) => Thread::create(&commit)?,
            (Expect::Epoch(_), None) => return Err(Error::ThreadNotFound(commit.thread)),
            (Expect::Epoch(epoch), Some(stored)) => {
                guard(&stored.record, *epoch)?;
                let mut thread = stored.clone();
                thread.update(&commit);
                thread
            }
        };
        for settlement in commit.settlements {
            thread.settle(settlement)?;
        }
        for checkpoint in commit.checkpoints {
            thread.add(checkpoint)?;
        }
        if let Some(head) = &commit.head {
            thread.require_checkpoint(head, "the head")?;
        }
        for task in commit.tasks {
            thread.require_checkpoint(&task.checkpoint, "a task's checkpoint")?;
            thread.tasks.insert((task.checkpoint.clone(), task.id.clone()), Arc::new(task));
        }
        for question in commit.questions {
            thread.ask(question)?;
        }
        for operation in commit.operations {
            match self.operations.iter_mut().find(|record| record.key == operation.key) {
                Some(record) if is_queued(&operation) && record.state != OperationState::NotSent => {}
                Some(record) => *record = operation,
                None => self.operations.push(operation),
            }
        }
        self.hits.extend(commit.hits);
        self.threads.insert(commit.thread, thread);
        self.commits += 1;
        Ok(())
    }

    /// Whether the record was as expected and has been replaced.
    fn exchange(&mut self, expected: &OperationRecord, next: OperationRecord, at_ms: u64) -> bool {
        let Some(stored) = self.operations.iter_mut().find(|record| record.key == expected.key) else { return false };
        if !is_as_expected(stored, expected) {
            return false;
        }
        if !is_open(&next.state) {
            for thread in self.threads.values_mut().filter(|thread| thread.waits_for(&next.key)) {
                thread.record.status = ThreadStatus::Running;
                thread.record.owner = None;
                thread.record.lease_until_ms = 0;
                thread.record.updated_at_ms = at_ms;
            }
        }
        *stored = next;
        self.commits += 1;
        true
    }

    fn snapshot(&self, thread: &Thread, checkpoint: &Checkpoint) -> Snapshot {
        let id = &checkpoint.record.id;
        let mut tasks: Vec<TaskRecord> =
            thread.tasks.values().filter(|task| task.checkpoint == *id).map(|task| (**task).clone()).collect();
        tasks.sort_by(|left, right| (&left.path, &left.id).cmp(&(&right.path, &right.id)));
        let ids: BTreeSet<&TaskId> = tasks.iter().map(|task| &task.id).collect();
        let questions =
            thread.questions.iter().filter(|question| question.checkpoint == *id).map(|question| (**question).clone());
        let unsettled = self.operations_where(|record| {
            let open = matches!(record.state, OperationState::Intended | OperationState::InDoubt(_));
            open && record.thread == thread.record.id && ids.contains(&record.task)
        });
        Snapshot {
            thread: thread.record.clone(),
            checkpoint: checkpoint.record.clone(),
            values: checkpoint.values.clone(),
            questions: questions.collect(),
            unsettled,
            tasks,
        }
    }

    /// Oldest first; those of the same moment in order of storing.
    fn operations_where(&self, wanted: impl Fn(&OperationRecord) -> bool) -> Vec<OperationRecord> {
        let mut found: Vec<OperationRecord> = self.operations.iter().filter(|record| wanted(record)).cloned().collect();
        found.sort_by_key(|record| record.begun_at_ms);
        found
    }
}

impl Thread {
    fn create(commit: &Commit) -> Result<Self, Error> {
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
            error: commit.error.clone(),
            created_at_ms: commit.at_ms,
            updated_at_ms: commit.at_ms,
        };
        Ok(Self { record, checkpoints: Vec::new(), tasks: BTreeMap::new(), questions: Vec::new() })
    }

    fn update(&mut self, commit: &Commit) {
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
        record.status = commit.status;
        record.error = commit.error.clone();
        record.updated_at_ms = commit.at_ms;
    }

    fn settle(&mut self, settlement: Settlement) -> Result<(), Error> {
        let (id, status, answer) = match settlement {
            Settlement::Answer { question, answer } => (question, QuestionStatus::Answered, Some(answer)),
            Settlement::Supersede { question } => (question, QuestionStatus::Superseded, None),
        };
        let Some(question) = self.questions.iter_mut().find(|question| question.id == id) else {
            return Err(Error::QuestionNotFound { thread: self.record.id.clone(), question: id });
        };
        if question.status != QuestionStatus::Pending {
            return Err(Error::QuestionSettled(Box::new((**question).clone())));
        }
        *question = Arc::new(QuestionRecord { status, answer, ..(**question).clone() });
        Ok(())
    }

    fn add(&mut self, new: crate::records::NewCheckpoint) -> Result<(), Error> {
        let mut values = match &new.record.parent {
            None => Map::new(),
            Some(parent) => self.require_checkpoint(parent, "a checkpoint's parent")?.values.clone(),
        };
        if self.checkpoint(&new.record.id).is_some() {
            return Err(Error::Invalid(format!("checkpoint {} is stored already", new.record.id)));
        }
        new.patch.apply(&mut values);
        self.checkpoints.push(Arc::new(Checkpoint { record: new.record, values }));
        Ok(())
    }

    fn ask(&mut self, question: QuestionRecord) -> Result<(), Error> {
        self.require_checkpoint(&question.checkpoint, "a question's checkpoint")?;
        if self.questions.iter().any(|known| known.id == question.id) {
            return Ok(());
        }
        if !self.tasks.contains_key(&(question.checkpoint.clone(), question.task.clone())) {
            return Err(Error::Invalid(format!("the task of question {} is not stored", question.id)));
        }
        self.questions.push(Arc::new(question));
        Ok(())
    }

    /// Whether it is interrupted with a task in doubt about this operation at its head.
    fn waits_for(&self, key: &OperationKey) -> bool {
        let in_doubt = |task: &TaskRecord| {
            let details = task.error.as_ref().and_then(|error| error.details.as_ref());
            let member = |name| details.and_then(|details| details.get(name)).and_then(Value::as_str);
            task.status == TaskStatus::InDoubt
                && member("scope") == Some(&key.scope.to_text())
                && member("connector") == Some(key.connector.as_str())
                && member("operation_id") == Some(key.id.as_str())
        };
        self.record.status == ThreadStatus::Interrupted
            && self.tasks.values().any(|task| task.checkpoint == self.record.head && in_doubt(task))
    }

    fn checkpoint(&self, id: &CheckpointId) -> Option<&Arc<Checkpoint>> {
        // From the newest: that is the one usually wanted.
        self.checkpoints.iter().rev().find(|checkpoint| checkpoint.record.id == *id)
    }

    fn require_checkpoint(&self, id: &CheckpointId, what: &str) -> Result<&Arc<Checkpoint>, Error> {
        self.checkpoint(id).ok_or_else(|| Error::Invalid(format!("{what} is not stored: {id}")))
    }
}

fn guard(record: &ThreadRecord, expected: Epoch) -> Result<(), Error> {
    if record.epoch == expected {
        Ok(())
    } else {
        Err(Error::Fenced { thread: record.id.clone(), expected, found: record.epoch })
    }
}

/// Whether it has no outcome.
fn is_open(state: &OperationState) -> bool {
    match state {
        OperationState::Intended | OperationState::Queued { .. } | OperationState::InDoubt(_) => true,
        OperationState::Completed(_) | OperationState::Failed(_) | OperationState::NotSent => false,
    }
}

/// Whether a record is as a caller saw it last, in state, times and epoch.
fn is_as_expected(stored: &OperationRecord, expected: &OperationRecord) -> bool {
    let queued = |state: &OperationState| match state {
        OperationState::Queued { attempts, due_at_ms } => Some((*attempts, *due_at_ms)),
        _ => None,
    };
    let seen = |record: &OperationRecord| {
        let times = (record.begun_at_ms, record.send_by_ms, record.settles_at_ms, record.finished_at_ms);
        (record.state.name(), queued(&record.state), times, record.epoch)
    };
    seen(stored) == seen(expected)
}

fn is_queued(operation: &OperationRecord) -> bool {
    matches!(operation.state, OperationState::Queued { .. })
}
