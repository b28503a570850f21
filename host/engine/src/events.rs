//! What happens in a run, told while it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use holdpoint_graph::ids::{Namespace, NodeName, TaskId, ThreadId};
use holdpoint_store::{CheckpointRecord, QuestionRecord, TaskRecord};
use serde_json::{Map, Value};

/// Takes events. Must not wait: it is called between a run's steps.
pub trait EventSink: Send + Sync {
    /// Takes one event. Events of one task, and checkpoints of one namespace, come in order.
    fn take(&self, event: Event);
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The thread.
    pub thread: ThreadId,
    /// Which graph of the thread.
    pub namespace: Namespace,
    /// The superstep: for a checkpoint its own, for a task that of the checkpoint which its results lead to.
    pub step: i64,
    /// The host's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened. Beginnings and custom events are told at once; what a task returned and what the state became are told when they are durable.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A task begins.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// Its node.
        node: NodeName,
        /// What it got from the `send` that started it.
        argument: Option<Value>,
    },
    /// A task ended, for now.
    TaskEnded {
        /// What is recorded of it.
        record: Box<TaskRecord>,
        /// The question that it waits for.
        question: Option<Box<QuestionRecord>>,
        /// Its result was there already: from an earlier run of the step, or from the cache.
        cached: bool,
    },
    /// The state reached a checkpoint.
    Checkpoint {
        /// The checkpoint.
        record: Box<CheckpointRecord>,
        /// Its values; where a run goes on from it, with what callers wrote since.
        values: Map<String, Value>,
    },
    /// A node said something.
    Custom {
        /// The task.
        task: TaskId,
        /// Its node.
        node: NodeName,
        /// What it said.
        value: Value,
    },
}

/// Asks runs to stop at their next superstep boundary; they can be continued from there. Cheap to clone, all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<AtomicU8>);

const ASKED: u8 = 1;
const CANCELLED: u8 = 2;

impl Drain {
    /// Asks.
    pub fn request(&self) {
        self.0.fetch_max(ASKED, Ordering::SeqCst);
    }

    /// Asks, and that nobody goes on by itself: the thread pauses where it stops. Also for one that was only asked to stop.
    pub fn cancel(&self) {
        self.0.fetch_max(CANCELLED, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= ASKED
    }

    /// Whether it is to pause where it stops.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == CANCELLED
    }
}
