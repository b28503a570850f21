//! The writes of one claim on one thread.
//!
//! Everything that the claim stores passes here, so that what was held back (see [`Ledger::hold_back`]) rides on whatever is stored next and
//! nothing is stored out of order.

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::clock::Clock;
use holdpoint_graph::ids::{Epoch, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{JournalError, TaskJournal, TaskReport};
use holdpoint_graph::operation::{OperationHit, OperationRecord};
use holdpoint_store::{Commit, Expect, NewCheckpoint, QuestionRecord, Store, TaskRecord, ThreadError, ThreadStatus};
use tokio::sync::Mutex;

use crate::error::Error;

/// See the module.
pub(crate) struct Ledger {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    thread: ThreadId,
    epoch: Epoch,
    lease_ms: u64,
    /// Held across the store's commit on purpose: writes of one thread go out one after the other, in order.
    held_back: Mutex<HeldBack>,
}

/// Finished supersteps that are not durable yet.
#[derive(Default)]
struct HeldBack {
    checkpoints: Vec<NewCheckpoint>,
    tasks: Vec<TaskRecord>,
    /// Why a write failed that held some of them. Nobody knows whether they are stored, so nothing that stands on them can be: the claim is over.
    lost: Option<holdpoint_store::Error>,
}

/// What one write adds, besides what was held back.
#[derive(Default)]
pub(crate) struct Write {
    pub(crate) checkpoint: Option<NewCheckpoint>,
    pub(crate) tasks: Vec<TaskRecord>,
    pub(crate) questions: Vec<QuestionRecord>,
    pub(crate) operations: Vec<OperationRecord>,
    pub(crate) hits: Vec<OperationHit>,
    /// Ends the claim: the thread's new status, and its error.
    pub(crate) end: Option<(ThreadStatus, Option<ThreadError>)>,
}

impl Ledger {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        thread: ThreadId,
        epoch: Epoch,
        lease_ms: u64,
    ) -> Self {
        Self { store, clock, thread, epoch, lease_ms, held_back: Mutex::default() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// How many supersteps are held back now.
    pub(crate) async fn held_back(&self) -> usize {
        self.held_back.lock().await.checkpoints.len()
    }

    /// Keeps a finished superstep back, to be stored with the next write.
    ///
    /// Allowed only for a superstep that performed no operation and took little time: running it again after a crash gives the same
    /// checkpoint, bit for bit, and nothing that depends on it has left the process, or only requests whose receiver de-duplicates them.
    pub(crate) async fn hold_back(&self, checkpoint: NewCheckpoint, tasks: Vec<TaskRecord>) {
        let mut held_back = self.held_back.lock().await;
        held_back.checkpoints.push(checkpoint);
        held_back.tasks.extend(tasks);
    }

    /// Stores what was held back and `write` in one commit.
    pub(crate) async fn store(&self, write: Write) -> Result<(), Error> {
        let mut held_back = self.held_back.lock().await;
        if let Some(error) = &held_back.lost {
            return Err(Error::Store(error.clone()));
        }
        let HeldBack { mut checkpoints, mut tasks, .. } = std::mem::take(&mut *held_back);
        let held_some = !checkpoints.is_empty();
        checkpoints.extend(write.checkpoint);
        tasks.extend(write.tasks);
        let at_ms = self.clock.now_ms();
        let (status, error, release) = match write.end {
            Some((status, error)) => (status, error, true),
            None => (ThreadStatus::Running, None, false),
        };
        let commit = Commit {
            release,
            lease_until_ms: (!release).then(|| at_ms + self.lease_ms),
            head: checkpoints.last().map(|checkpoint| checkpoint.record.id.clone()),
            checkpoints,
            tasks,
            questions: write.questions,
            operations: write.operations,
            hits: write.hits,
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
        })
    }
}

/// The journal of one running task: its operations go through the ledger, its reports to the log.
pub(crate) struct TaskScribe {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) task: TaskId,
    pub(crate) node: NodeName,
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
            TaskReport::Custom(event) => tracing::info!(target: "holdpoint::event", thread, task, node, %event),
        }
    }
}
