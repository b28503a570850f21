//! The writes of one claim on one thread.
//!
//! Everything that the claim stores passes here, so that what was held back (see [`Ledger::hold_back`]) rides on whatever is stored next and
//! nothing is stored out of order.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::clock::Clock;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, Namespace, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{Command, JournalError, TaskJournal, TaskReport};
use holdpoint_graph::operation::{OperationHit, OperationRecord};
use holdpoint_store::{
    CacheRecord, Commit, Expect, NewCheckpoint, QuestionRecord, Snapshot, Store, TaskRecord, ThreadError, ThreadStatus,
};
use tokio::sync::Mutex;

use crate::error::Error;
use crate::events::{Event, EventKind, EventSink};

/// See the module.
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    thread: ThreadId,
    epoch: Epoch,
    lease_ms: u64,
    events: Option<Arc<dyn EventSink>>,
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
    /// Ends the claim: the thread's new status, and its error.
    pub(crate) end: Option<(ThreadStatus, Option<ThreadError>)>,
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
    ) -> Self {
        Self { store, clock, thread, epoch, lease_ms, events, dry: false, held_back: Mutex::default() }
    }

    /// One that stores nothing, for what is executed only to be looked at. Operations are refused.
    pub(crate) fn dry(store: Arc<dyn Store>, clock: Arc<dyn Clock>, thread: ThreadId, epoch: Epoch) -> Self {
        Self { dry: true, ..Self::new(store, clock, thread, epoch, 0, None) }
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
        let HeldBack { write: mut all, .. } = std::mem::take(&mut *held_back);
        let held_some = !all.checkpoints.is_empty() || !all.tasks.is_empty();
        all.extend(write);
        all.newest_tasks();
        let at_ms = self.clock.now_ms();
        let (status, error, release) = match all.end {
            Some((status, error)) => (status, error, true),
            None => (ThreadStatus::Running, None, false),
        };
        let own = all.checkpoints.iter().rev().find(|checkpoint| checkpoint.record.namespace.is_root());
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
            error,
            ..Commit::new(self.thread.clone(), Expect::Epoch(self.epoch), status, at_ms)
        };
        self.store.commit(commit).await.map_err(|error| match error {
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
