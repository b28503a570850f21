//! A graph at a checkpoint, and where it stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdpoint_graph::ids::{NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_store::{CheckpointRecord, QuestionRecord, Snapshot, TaskRecord, TaskStatus, ThreadError, Trigger};
use serde_json::{Map, Value};

use crate::ledger::Write;
use crate::plan::{PAUSE, Records};

/// A graph at a checkpoint in memory, and what is recorded of the tasks that start from it.
pub(crate) struct Frame {
    pub(crate) checkpoint: Arc<CheckpointRecord>,
    pub(crate) values: Map<String, Value>,
    pub(crate) tasks: Records,
    pub(crate) questions: Vec<QuestionRecord>,
    /// The runs of subgraphs of unfinished tasks, as they were left.
    pub(crate) children: BTreeMap<TaskId, Snapshot>,
    /// For a subgraph: the task that runs it, to be recorded with each of its checkpoints.
    pub(crate) link: Option<TaskRecord>,
    /// Whether tasks of the step may have run before.
    pub(crate) resumed: bool,
}

impl Frame {
    /// A graph as it is stored.
    pub(crate) fn resumed(snapshot: Snapshot, link: Option<TaskRecord>) -> Self {
        Self {
            checkpoint: Arc::new(snapshot.checkpoint),
            values: snapshot.values,
            tasks: snapshot.tasks.into_iter().map(|task| (task.id.clone(), task)).collect(),
            questions: snapshot.questions,
            children: snapshot.children,
            link,
            resumed: true,
        }
    }

    /// A graph that begins.
    pub(crate) fn fresh(checkpoint: CheckpointRecord, values: Map<String, Value>, link: Option<TaskRecord>) -> Self {
        Self {
            checkpoint: Arc::new(checkpoint),
            values,
            tasks: Records::new(),
            questions: Vec::new(),
            children: BTreeMap::new(),
            link,
            resumed: false,
        }
    }
}

/// How a graph stopped.
#[derive(Debug, PartialEq)]
pub(crate) enum FrameEnd {
    /// Nothing is left to run.
    Done,
    /// It was left for its parent, which gets this command.
    Left(Command),
    /// It waits for answers, or paused at a breakpoint.
    Waiting,
    /// The outcome of an operation is unknown.
    InDoubt(Option<ThreadError>),
    /// A task failed, or the step cannot be applied.
    Failed(Option<ThreadError>),
    /// Somebody asked all runs to stop.
    Drained,
}

/// Where a graph stopped, and what of it is still to be stored.
pub(crate) struct FrameReport {
    pub(crate) end: FrameEnd,
    pub(crate) checkpoint: Arc<CheckpointRecord>,
    pub(crate) values: Map<String, Value>,
    pub(crate) write: Write,
    pub(crate) performed: bool,
    pub(crate) last_event_at_ms: Option<u64>,
}

/// The record that a thread paused at a checkpoint: whoever continues it passes the breakpoints there.
pub(crate) fn pause_record(thread: &ThreadId, checkpoint: &CheckpointRecord, now_ms: u64) -> TaskRecord {
    let first = checkpoint.next.iter().find_map(|trigger| match trigger {
        Trigger::Pull(node) | Trigger::Push { node, .. } => Some(node.clone()),
        Trigger::Start => None,
    });
    TaskRecord {
        id: TaskId::derive(thread, &checkpoint.id, PAUSE),
        checkpoint: checkpoint.id.clone(),
        node: first.unwrap_or_else(|| NodeName::parse(PAUSE).expect("invariant: a valid name")),
        path: PAUSE.into(),
        status: TaskStatus::Paused,
        executions: 0,
        result: None,
        error: None,
        child: None,
        steps_left: None,
        updated_at_ms: now_ms,
    }
}
