//! The writes of one claim on one thread.
//!
//! Everything that the claim stores passes here, so that what was held back (see [`Ledger::hold_back`]) rides on whatever is stored next and
//! nothing is stored out of order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::actor::Actor;
use holdpoint_graph::clock::Clock;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, Namespace, NodeName, RunId, TaskId, ThreadId};
use holdpoint_graph::nodes::{Command, JournalError, TaskJournal, TaskReport};
use holdpoint_graph::notice::{NoticeKind, Notices};
use holdpoint_graph::operation::{OperationHit, OperationRecord};
use holdpoint_store::{
    AuditEntry, CacheRecord, Commit, Expect, NewCheckpoint, QuestionRecord, RunStatus, RunUpdate, Snapshot, Store,
    TaskRecord, ThreadError, ThreadStatus,
};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tracing::Instrument as _;

use crate::approvals::notice::{Subject, Telling, notice};
use crate::error::Error;
use crate::events::{Event, EventKind, EventSink};
use crate::timings::Timer;

/// See the module.
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    thread: ThreadId,
    epoch: Epoch,
    lease_ms: u64,
    events: Option<Arc<dyn EventSink>>,
    /// None for what is executed only to be looked at.
    scribe: Option<Scribe>,
    timer: Timer,
    /// Stores nothing: what would be stored is dropped, and what must be durable before something leaves is refused.
    dry: bool,
    /// Held across the store's commit on purpose: writes of one thread go out one after the other, in order.
    held_back: Mutex<HeldBack>,
}

/// What is not durable yet.
#[derive(Default)]
struct HeldBack {
    write: Write,
    supersteps: usize,
    /// The operations that the claim has recorded, by scope, connector and id, with their latest state.
    operations: BTreeMap<(String, String, String), &'static str>,
    /// Why a write failed that held some of it. Nobody knows whether it is stored, so nothing that stands on it can be: the claim is over.
    lost: Option<holdpoint_store::Error>,
}

/// What one write adds, besides what was held back.
#[derive(Default)]
pub(crate) struct Write {
    /// Parents first. The last one of the thread's own graph becomes the head.
    pub(crate) checkpoints: Vec<NewCheckpoint>,
    pub(crate) tasks: Vec<TaskRecord>,
    pub(crate) questions: Vec<QuestionRecord>,
    pub(crate) operations: Vec<OperationRecord>,
    pub(crate) hits: Vec<OperationHit>,
    pub(crate) cache: Vec<CacheRecord>,
    /// Told when the rest is durable.
    pub(crate) events: Vec<Event>,
    /// Ends the claim.
    pub(crate) end: Option<End>,
}

/// How a claim ends.
pub(crate) struct End {
    /// The thread's new status.
    pub(crate) status: ThreadStatus,
    /// Why it failed.
    pub(crate) error: Option<ThreadError>,
    /// Somebody cancelled the run.
    pub(crate) cancelled: bool,
}

/// In whose name a claim writes, and who is told of its questions.
pub(crate) struct Scribe {
    /// What notices say of the thread.
    pub(crate) subject: Subject,
    /// The stored run that the claim executes.
    pub(crate) run: Option<RunId>,
    pub(crate) notices: Arc<dyn Notices>,
}

impl Write {
    /// Adds what another write adds, after what this one does.
    pub(crate) fn extend(&mut self, other: Self) {
        self.checkpoints.extend(other.checkpoints);
        self.tasks.extend(other.tasks);
        self.questions.extend(other.questions);
        self.operations.extend(other.operations);
        self.hits.extend(other.hits);
        self.cache.extend(other.cache);
        self.events.extend(other.events);
        self.end = other.end.or(self.end.take());
    }

    /// Tasks as they stand last: the run of a subgraph records its parent's task anew with each step.
    fn newest_tasks(&mut self) {
        if self.tasks.iter().all(|task| task.child.is_none()) {
            return;
        }
        let last: HashMap<TaskId, usize> =
            self.tasks.iter().enumerate().map(|(index, task)| (task.id.clone(), index)).collect();
        let mut index = 0;
        self.tasks.retain(|task| {
            let newest = last.get(&task.id) == Some(&index);
            index += 1;
            newest
        });
    }
}

impl Ledger {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        thread: ThreadId,
        epoch: Epoch,
        lease_ms: u64,
        events: Option<Arc<dyn EventSink>>,
        scribe: Option<Scribe>,
    ) -> Self {
        let (timer, held_back) = (Timer::default(), Mutex::default());
        Self { store, clock, thread, epoch, lease_ms, events, scribe, timer, dry: false, held_back }
    }

    /// The same, telling how long its commits take.
    pub(crate) fn timed(self, timer: Timer) -> Self {
        Self { timer, ..self }
    }

    /// One that stores nothing, for what is executed only to be looked at. Operations are refused.
    pub(crate) fn dry(store: Arc<dyn Store>, clock: Arc<dyn Clock>, thread: ThreadId, epoch: Epoch) -> Self {
        Self { dry: true, ..Self::new(store, clock, thread, epoch, 0, None, None) }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Whether somebody listens: events cost copies.
    pub(crate) fn tells(&self) -> bool {
        self.events.is_some()
    }

    /// Tells an event at once.
    pub(crate) fn tell(&self, namespace: &Namespace, step: i64, kind: impl FnOnce() -> EventKind) {
        if let Some(events) = &self.events {
            events.take(self.event(namespace, step, kind()));
        }
    }

    /// An event, for later.
    pub(crate) fn event(&self, namespace: &Namespace, step: i64, kind: EventKind) -> Event {
        Event { thread: self.thread.clone(), namespace: namespace.clone(), step, at_ms: self.now_ms(), kind }
    }

    /// How many supersteps are held back now.
    pub(crate) async fn held_back(&self) -> usize {
        self.held_back.lock().await.supersteps
    }

    /// Keeps a write back, to be stored with the next one. `superstep` says that it completes one; there is a bound on these.
    ///
    /// Allowed only for what performed no operation and took little time: running it again after a crash gives the same, bit for bit, and nothing
    /// that depends on it has left the process, or only requests whose receiver de-duplicates them.
    pub(crate) async fn hold_back(&self, write: Write, superstep: bool) {
        let mut held_back = self.held_back.lock().await;
        held_back.write.extend(write);
        held_back.supersteps += usize::from(superstep);
    }

    /// Stores what was held back and `write` in one commit.
    pub(crate) async fn store(&self, write: Write) -> Result<(), Error> {
        if self.dry {
            return if write.operations.is_empty() { Ok(()) } else { Err(Error::Store(dry_refusal())) };
        }
        let mut held_back = self.held_back.lock().await;
        if let Some(error) = &held_back.lost {
            return Err(Error::Store(error.clone()));
        }
        let operations = std::mem::take(&mut held_back.operations);
        let HeldBack { write: mut all, .. } =
            std::mem::replace(&mut *held_back, HeldBack { operations, ..HeldBack::default() });
        let held_some = !all.checkpoints.is_empty() || !all.tasks.is_empty();
        all.extend(write);
        all.newest_tasks();
        let at_ms = self.clock.now_ms();
        let own = all.checkpoints.iter().rev().find(|checkpoint| checkpoint.record.namespace.is_root());
        let mut audit = Vec::new();
        let mut runs = Vec::new();
        if let Some(scribe) = &self.scribe {
            held_back.note(&all.operations);
            for question in &all.questions {
                audit.push(scribe.asked(question, at_ms));
                let told = notice(&scribe.subject, question, &Telling::once(NoticeKind::Requested), at_ms);
                all.operations.extend(told.into_iter().flat_map(|told| scribe.notices.operations(&told)));
            }
            if let Some(end) = &all.end {
                audit.push(scribe.stopped(end, own.map(|own| &own.record.id), &held_back.operations, at_ms));
                runs.extend(scribe.run_ends(end));
            }
        }
        let (status, error, release) = match all.end {
            // A paused thread says why it waits for nobody.
            Some(end) => (end.status, end.error.or_else(|| end.cancelled.then(cancelled)), true),
            None => (ThreadStatus::Running, None, false),
        };
        let commit = Commit {
            release,
            lease_until_ms: (!release).then(|| at_ms + self.lease_ms),
            head: own.map(|checkpoint| checkpoint.record.id.clone()),
            checkpoints: all.checkpoints,
            tasks: all.tasks,
            questions: all.questions,
            operations: all.operations,
            hits: all.hits,
            cache: all.cache,
            runs,
            audit,
            error,
            ..Commit::new(self.thread.clone(), Expect::Epoch(self.epoch), status, at_ms)
        };
        let span =
            tracing::debug_span!("commit", thread = self.thread.as_str(), checkpoints = commit.checkpoints.len());
        self.timer.write(self.store.commit(commit)).instrument(span).await.map_err(|error| match error {
            holdpoint_store::Error::Fenced { thread, .. } | holdpoint_store::Error::ThreadNotFound(thread) => {
                Error::TakenOver(thread)
            }
            other => {
                held_back.lost = Some(other.clone()).filter(|_| held_some);
                Error::Store(other)
            }
        })?;
        if let Some(events) = &self.events {
            all.events.into_iter().for_each(|event| events.take(event));
        }
        Ok(())
    }

    /// A checkpoint of the thread as it is stored.
    pub(crate) async fn snapshot(&self, checkpoint: &CheckpointId) -> Result<Option<Snapshot>, Error> {
        Ok(self.store.snapshot(&self.thread, Some(checkpoint)).await?)
    }

    /// A result that may be used again.
    pub(crate) async fn cached(&self, key: &Digest) -> Result<Option<Command>, Error> {
        Ok(self.store.cached(key, self.now_ms()).await?)
    }
}

impl HeldBack {
    fn note(&mut self, operations: &[OperationRecord]) {
        for operation in operations {
            let key = &operation.key;
            let place = (key.scope.to_text(), key.connector.to_string(), key.id.to_string());
            self.operations.insert(place, operation.state.name());
        }
    }
}

impl Scribe {
    fn entry(&self, kind: &'static str, at_ms: u64, body: Value) -> AuditEntry {
        let mut members = match body {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        if let Some(run) = &self.run {
            members.insert("run".into(), run.as_str().into());
        }
        AuditEntry {
            thread: Some(self.subject.thread.clone()),
            tenant: self.subject.tenant.clone(),
            at_ms,
            actor: Actor::worker(),
            kind,
            body: members,
        }
    }

    fn asked(&self, question: &QuestionRecord, at_ms: u64) -> AuditEntry {
        let body = json!({
            "question": question.id.as_str(),
            "node": question.node.as_str(),
            "payload_digest": question.payload_digest.as_str(),
            "deadline_at_ms": question.deadline_at_ms,
        });
        self.entry("question.asked", at_ms, body)
    }

    /// What the claim came to. What its supersteps did is in the checkpoints up to the head.
    fn stopped(
        &self,
        end: &End,
        head: Option<&CheckpointId>,
        operations: &BTreeMap<(String, String, String), &'static str>,
        at_ms: u64,
    ) -> AuditEntry {
        let operations: Vec<Value> = operations
            .iter()
            .map(|((scope, connector, id), state)| {
                json!({ "scope": scope, "connector": connector, "operation": id, "state": state })
            })
            .collect();
        let body = json!({
            "status": end.status.name(),
            "head": head.map(CheckpointId::as_str),
            "error": end.error.as_ref().map(|error| error.code.as_str()),
            "cancelled": end.cancelled,
            "operations": operations,
        });
        self.entry("thread.stopped", at_ms, body)
    }

    /// The end of the stored run; none when the thread goes on.
    fn run_ends(&self, end: &End) -> Option<RunUpdate> {
        let (to, error) = match (end.status, end.cancelled) {
            (ThreadStatus::Running, _) => return None,
            (_, true) => (RunStatus::Interrupted, Some(cancelled())),
            (ThreadStatus::Failed, false) => (RunStatus::Error, end.error.clone()),
            (ThreadStatus::Done | ThreadStatus::Interrupted, false) => (RunStatus::Success, None),
        };
        Some(RunUpdate { run: self.run.clone()?, from: RunStatus::Running, to, error })
    }
}

/// Why a cancelled run ended.
fn cancelled() -> ThreadError {
    ThreadError { code: "UserInterrupt".into(), message: "the run was cancelled".into(), node: None, details: None }
}

fn dry_refusal() -> holdpoint_store::Error {
    holdpoint_store::Error::ReadOnly("what is executed only to be looked at stores nothing".to_owned())
}

/// The journal of one running task: its operations go through the ledger, its reports to the log.
pub(crate) struct TaskScribe {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) task: TaskId,
    pub(crate) node: NodeName,
    pub(crate) namespace: Namespace,
    pub(crate) step: i64,
}

#[async_trait]
impl TaskJournal for TaskScribe {
    async fn store(&self, records: Vec<OperationRecord>) -> Result<(), JournalError> {
        self.ledger.store(Write { operations: records, ..Write::default() }).await.map_err(|error| match error {
            Error::TakenOver(_) => JournalError::Fenced,
            other => JournalError::Unavailable(other.to_string()),
        })
    }

    fn report(&self, report: TaskReport) {
        let (thread, task, node) = (self.ledger.thread.as_str(), self.task.as_str(), self.node.as_str());
        match report {
            TaskReport::Log { level, message } => {
                use holdpoint_graph::nodes::LogLevel as Level;
                match level {
                    Level::Trace => tracing::trace!(target: "holdpoint::node", thread, task, node, "{message}"),
                    Level::Debug => tracing::debug!(target: "holdpoint::node", thread, task, node, "{message}"),
                    Level::Info => tracing::info!(target: "holdpoint::node", thread, task, node, "{message}"),
                    Level::Warn => tracing::warn!(target: "holdpoint::node", thread, task, node, "{message}"),
                    Level::Error => tracing::error!(target: "holdpoint::node", thread, task, node, "{message}"),
                }
            }
            TaskReport::Custom(event) => {
                tracing::info!(target: "holdpoint::event", thread, task, node, %event);
                self.ledger.tell(&self.namespace, self.step, || EventKind::Custom {
                    task: self.task.clone(),
                    node: self.node.clone(),
                    value: event,
                });
            }
        }
    }
}
