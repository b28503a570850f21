//! The store in memory: the oracle that other stores are compared with, and what tests of other crates run on.
//!
//! It is meant to be obviously right rather than small or fast: each checkpoint holds all values of its channels, and a commit is applied to
//! a copy of the thread that takes the thread's place when everything fitted. Nothing survives the process.

mod thread;

mod access;
mod approvals;
mod audit;
mod bytes;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, TaskId, Tenant, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord, OperationState};

use self::audit::Trail;
use self::thread::{Checkpoint, Thread, count, doubts, guard, parks};
use crate::access::{ApiKeyRecord, LinkRecord, SessionRecord};
use crate::approvals::ReplyRecord;
use crate::audit::AuditEntry;
use crate::check;
use crate::records::{
    CacheRecord, CheckpointRecord, Outline, QuestionRecord, Settlement, Snapshot, TaskRecord, TaskStatus, ThreadRecord,
    ThreadStatus, VersionKind, VersionRecord,
};
use crate::runs::{RunRecord, ThreadEntry};
use crate::store::{
    Commit, Content, Error, Expect, HistoryFilter, Journal, OperationCounts, OperationFilter, Statistics, Store,
    ThreadBytes, ThreadFilter,
};

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
    operations: Vec<Performed>,
    /// In order of storing. Outlive their threads.
    hits: Vec<OperationHit>,
    contents: BTreeMap<Digest, Vec<u8>>,
    cache: BTreeMap<Digest, CacheRecord>,
    /// In order of storing.
    versions: Vec<VersionRecord>,
    /// Questions that were asked so far.
    asked: u64,
    entries: BTreeMap<ThreadId, ThreadEntry>,
    /// In order of storing.
    runs: Vec<RunRecord>,
    trail: Trail,
    /// By actor and key.
    replies: BTreeMap<(String, String), ReplyRecord>,
    /// In order of storing.
    keys: Vec<ApiKeyRecord>,
    links: BTreeMap<Digest, LinkRecord>,
    sessions: BTreeMap<Digest, SessionRecord>,
    commits: u64,
}

/// An operation, and whose it is.
struct Performed {
    tenant: Tenant,
    record: OperationRecord,
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
            .filter(|record| filter.graph_name.as_ref().is_none_or(|name| record.graph_name == *name))
            .collect();
        // Stable: threads of the same moment stay in order of id.
        found.sort_by_key(|record| std::cmp::Reverse(record.updated_at_ms));
        Ok(found.into_iter().skip(filter.offset).take(filter.limit).cloned().collect())
    }

    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error> {
        let state = self.state();
        let Some(thread) = state.threads.get(thread) else { return Ok(None) };
        let found = thread.checkpoint(checkpoint.unwrap_or(&thread.record.head));
        Ok(found.map(|checkpoint| state.snapshot_with_children(thread, checkpoint)))
    }

    async fn history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>, Error> {
        let state = self.state();
        let Some(thread) = state.threads.get(thread) else { return Ok(Vec::new()) };
        let end = match &filter.before {
            None => thread.checkpoints.len(),
            Some(id) => thread.checkpoints.iter().position(|checkpoint| checkpoint.record.id == *id).unwrap_or(0),
        };
        let wanted = |record: &CheckpointRecord| {
            record.namespace == filter.namespace
                && filter.source.is_none_or(|source| record.source == source)
                && filter.step.is_none_or(|step| record.step == step)
                && filter.metadata.iter().all(|(name, value)| record.metadata.get(name) == Some(value))
        };
        let newest_first = thread.checkpoints[..end].iter().rev().filter(|checkpoint| wanted(&checkpoint.record));
        Ok(newest_first.take(filter.limit).map(|checkpoint| state.snapshot(thread, checkpoint)).collect())
    }

    async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error> {
        let state = self.state();
        let Some(thread) = state.threads.get(thread) else { return Ok(Vec::new()) };
        let outline = |checkpoint: &Arc<Checkpoint>| {
            let tasks = thread.tasks_of(&checkpoint.record.id);
            let mut task_children: Vec<CheckpointId> = tasks.filter_map(|task| task.child.clone()).collect();
            task_children.sort();
            Outline { checkpoint: checkpoint.record.clone(), task_children }
        };
        Ok(thread.checkpoints.iter().map(outline).collect())
    }

    async fn retain(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        keep: &[CheckpointId],
        audit: Vec<AuditEntry>,
    ) -> Result<u64, Error> {
        check::audit(&audit)?;
        let mut state = self.state();
        let stored = state.threads.get_mut(thread).ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
        guard(&stored.record, epoch)?;
        let removed = stored.retain(keep)?;
        if removed > 0 {
            state.trail.extend(audit);
        }
        Ok(removed)
    }

    async fn thread_bytes(&self, thread: &ThreadId) -> Result<ThreadBytes, Error> {
        Ok(self.state().bytes_of(thread))
    }

    async fn count_operations(&self, tenant: Option<&Tenant>) -> Result<OperationCounts, Error> {
        let state = self.state();
        let its = |performed: &&Performed| tenant.is_none_or(|tenant| performed.tenant == *tenant);
        let mut counts = OperationCounts::default();
        for Performed { record, .. } in state.operations.iter().filter(its) {
            counts.open += u64::from(is_open(&record.state));
            counts.in_doubt += u64::from(matches!(record.state, OperationState::InDoubt(_)));
        }
        Ok(counts)
    }

    async fn cached(&self, key: &Digest, now_ms: u64) -> Result<Option<Command>, Error> {
        let state = self.state();
        let found = state.cache.get(key).filter(|record| is_usable(record, now_ms));
        Ok(found.map(|record| record.result.clone()))
    }

    async fn clear_cache(&self, now_ms: Option<u64>) -> Result<u64, Error> {
        let mut state = self.state();
        let before = state.cache.len();
        state.cache.retain(|_, record| now_ms.is_some_and(|now_ms| is_usable(record, now_ms)));
        Ok(count(before - state.cache.len()))
    }

    async fn put_version(&self, version: VersionRecord, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::version(&version)?;
        check::audit(&audit)?;
        let mut state = self.state();
        let same = |known: &&VersionRecord| {
            (known.kind, &known.name, &known.version) == (version.kind, &version.name, &version.version)
        };
        match state.versions.iter().find(same) {
            Some(known) if known.digest != version.digest => {
                return Err(check::version_taken(&version, known.digest.as_str()));
            }
            Some(_) => {}
            None => {
                state.versions.push(version);
                state.trail.extend(audit);
            }
        }
        Ok(())
    }

    async fn versions(&self, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>, Error> {
        let state = self.state();
        let wanted = |known: &&VersionRecord| known.kind == kind && name.is_none_or(|name| known.name == name);
        Ok(state.versions.iter().rev().filter(wanted).cloned().collect())
    }

    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error> {
        let state = self.state();
        let thread = state.threads.get(thread);
        Ok(thread
            .and_then(|thread| thread.questions.iter().find(|found| found.record.id == *question))
            .map(|found| found.record.clone()))
    }

    async fn delete_thread(&self, thread: &ThreadId, epoch: Epoch, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::audit(&audit)?;
        let mut state = self.state();
        let record = &state.threads.get(thread).ok_or_else(|| Error::ThreadNotFound(thread.clone()))?.record;
        guard(record, epoch)?;
        state.threads.remove(thread);
        state.trail.extend(audit);
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
        Ok(self.state().performed(key).cloned())
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        Ok(self.state().operations_where(|Performed { record, .. }| record.thread == *thread))
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        let mut found = self.state().operations_where(|Performed { tenant, record }| {
            filter.id.as_ref().is_none_or(|id| record.key.id == *id)
                && filter.thread.as_ref().is_none_or(|thread| record.thread == *thread)
                && filter.tenant.as_ref().is_none_or(|wanted| tenant == wanted)
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
            state.operations.iter().filter_map(|Performed { record, .. }| Some((due(record)?, record))).collect();
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
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        check::exchange(expected, &next, at_ms)?;
        check::audit(&audit)?;
        Ok(self.state().exchange(expected, next, at_ms, audit))
    }
}

impl State {
    fn apply(&mut self, commit: Commit) -> Result<(), Error> {
        let stored = self.threads.get(&commit.thread);
        let (mut thread, entry) = match (&commit.expect, stored) {
            (Expect::New(_), Some(_)) => return Err(Error::ThreadExists(commit.thread)),
            (Expect::New(new), None) => (Thread::create(&commit)?, self.entry_of(new, &commit)?),
            (Expect::Epoch(_), None) => return Err(Error::ThreadNotFound(commit.thread)),
            (Expect::Epoch(epoch), Some(stored)) => {
                guard(&stored.record, *epoch)?;
                let mut thread = stored.clone();
                thread.update(&commit);
                (thread, None)
            }
        };
        let doubts = self.doubts(&commit);
        let mut answered = Vec::new();
        for settlement in commit.settlements {
            let revoked = match &settlement {
                Settlement::Answer { question, .. } | Settlement::Cancel { question, .. } => Some(question.clone()),
                Settlement::Supersede { .. } => None,
            };
            thread.settle(settlement, commit.at_ms)?;
            answered.extend(revoked);
        }
        for checkpoint in commit.checkpoints {
            thread.add(checkpoint)?;
        }
        if let Some(head) = &commit.head {
            check::head(head, &thread.require_checkpoint(head, "the head")?.record.namespace)?;
        }
        if let Some(graph) = commit.graph {
            thread.pin(&graph);
        }
        for task in commit.tasks {
            thread.record_task(task)?;
        }
        for question in commit.questions {
            self.asked += 1;
            thread.ask(question, self.asked)?;
        }
        // Where it was before, since what begins here may have to go back to it.
        let base = self.threads.get(&commit.thread).map(|before| before.record.head.clone());
        let runs = self.updated_runs(&commit.thread, &commit.runs, base.as_ref(), commit.at_ms)?;

        // Nothing is refused from here on.
        for operation in commit.operations {
            let own = operation.thread == commit.thread;
            let tenant = if own { thread.record.tenant.clone() } else { self.tenant_of(&operation.thread) };
            let operation = Performed { tenant, record: operation };
            match self.operations.iter_mut().find(|known| known.record.key == operation.record.key) {
                Some(known) if is_queued(&operation.record) && known.record.state != OperationState::NotSent => {}
                Some(known) => *known = operation,
                None => self.operations.push(operation),
            }
        }
        self.hits.extend(commit.hits);
        self.cache.extend(commit.cache.into_iter().map(|record| (record.key.clone(), record)));
        self.replace_runs(runs);
        self.trail.extend(commit.audit);
        if doubts.iter().any(|task| self.is_settled(task)) {
            // It would wait for what is settled already.
            thread.record.status = ThreadStatus::Running;
        }
        for question in answered {
            self.revoke_links(&commit.thread, &question, commit.at_ms);
        }
        self.entries.extend(entry.map(|entry| (commit.thread.clone(), entry)));
        self.threads.insert(commit.thread, thread);
        self.commits += 1;
        Ok(())
    }

    /// The tasks that a commit parks in doubt.
    fn doubts(&self, commit: &Commit) -> Vec<TaskRecord> {
        let parks = matches!(commit.expect, Expect::Epoch(_)) && parks(commit);
        let in_doubt = commit.tasks.iter().filter(|task| parks && task.status == TaskStatus::InDoubt);
        in_doubt.cloned().collect()
    }

    /// Whether the operation that a task is in doubt about has an outcome.
    fn is_settled(&self, task: &TaskRecord) -> bool {
        self.operations.iter().any(|Performed { record, .. }| !is_open(&record.state) && doubts(task, &record.key))
    }

    /// The record of an operation.
    fn performed(&self, key: &OperationKey) -> Option<&OperationRecord> {
        self.operations.iter().map(|performed| &performed.record).find(|record| record.key == *key)
    }

    /// Whose an operation of a thread is.
    fn tenant_of(&self, thread: &ThreadId) -> Tenant {
        self.threads.get(thread).map(|thread| thread.record.tenant.clone()).unwrap_or_default()
    }

    /// Whether the record was as expected and has been replaced.
    fn exchange(
        &mut self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> bool {
        let its = |performed: &&mut Performed| performed.record.key == expected.key;
        let Some(stored) = self.operations.iter_mut().find(its) else { return false };
        if !is_as_expected(&stored.record, expected) {
            return false;
        }
        if !is_open(&next.state) {
            for thread in self.threads.values_mut().filter(|thread| thread.doubts(&next.key)) {
                thread.wake(at_ms);
            }
        }
        stored.record = next;
        self.trail.extend(audit);
        self.commits += 1;
        true
    }

    fn snapshot_with_children(&self, thread: &Thread, checkpoint: &Checkpoint) -> Snapshot {
        let mut snapshot = self.snapshot(thread, checkpoint);
        let runs = snapshot.tasks.iter().filter(|task| task.status != TaskStatus::Done);
        // A run of which nothing was kept is left out.
        let runs = runs.filter_map(|task| Some((task.id.clone(), thread.checkpoint(task.child.as_ref()?)?)));
        snapshot.children = runs.map(|(task, run)| (task, self.snapshot_with_children(thread, run))).collect();
        snapshot
    }

    fn snapshot(&self, thread: &Thread, checkpoint: &Checkpoint) -> Snapshot {
        let id = &checkpoint.record.id;
        let mut tasks: Vec<TaskRecord> = thread.tasks_of(id).cloned().collect();
        tasks.sort_by(|left, right| (&left.path, &left.id).cmp(&(&right.path, &right.id)));
        let ids: BTreeSet<&TaskId> = tasks.iter().map(|task| &task.id).collect();
        let questions =
            thread.questions.iter().map(|question| &question.record).filter(|question| question.checkpoint == *id);
        let unsettled = self.operations_where(|Performed { record, .. }| {
            let open = matches!(record.state, OperationState::Intended | OperationState::InDoubt(_));
            open && record.thread == thread.record.id && ids.contains(&record.task)
        });
        Snapshot {
            thread: thread.record.clone(),
            checkpoint: checkpoint.record.clone(),
            values: checkpoint.values.clone(),
            questions: questions.cloned().collect(),
            unsettled,
            tasks,
            children: BTreeMap::new(),
        }
    }

    /// Oldest first; those of the same moment in order of storing.
    fn operations_where(&self, wanted: impl Fn(&Performed) -> bool) -> Vec<OperationRecord> {
        let found = self.operations.iter().filter(|performed| wanted(performed));
        let mut found: Vec<OperationRecord> = found.map(|performed| performed.record.clone()).collect();
        found.sort_by_key(|record| record.begun_at_ms);
        found
    }
}

/// Whether a result may still be used: at its end it may not.
fn is_usable(record: &CacheRecord, now_ms: u64) -> bool {
    record.expires_at_ms.is_none_or(|end_ms| now_ms < end_ms)
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
