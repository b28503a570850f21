//! From the results of a step's tasks to the next checkpoint. Pure.

use std::collections::BTreeMap;

use holdpoint_graph::definition::{Graph, Next, Node, Persist};
use holdpoint_graph::ids::{CheckpointId, NodeName, ThreadId};
use holdpoint_graph::nodes::{Command, Destination};
use holdpoint_graph::state::{self, Change, Patch, StateError};
use holdpoint_store::{Arrivals, CheckpointRecord, NewCheckpoint, Source, TaskRecord, ThreadError, Trigger};
use serde_json::{Map, Value};

use crate::plan::PlannedTask;
use crate::upcoming::{Upcoming, UpcomingParts};
use crate::version::Version;

/// Why a step's results cannot be applied. The thread keeps the state from before the step (DESIGN 6.7).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StepError {
    /// The writes do not fit the state, or a condition cannot be evaluated.
    #[error("{source}")]
    State {
        /// The node, where a single one is at fault.
        node: Option<NodeName>,
        /// What is wrong.
        source: StateError,
    },
    /// A command goes to a node that the graph does not have.
    #[error("node {node} goes to {target:?}, which is not a node of the graph")]
    UnknownTarget {
        /// The node whose command it is.
        node: NodeName,
        /// Where it wants to go.
        target: String,
    },
    /// A command goes to a parent graph, and there is none.
    #[error("node {node} goes to node {target:?} of a parent graph, but this graph has no parent")]
    NoParent {
        /// The node whose command it is.
        node: NodeName,
        /// Where it wants to go.
        target: String,
    },
    /// A step leaves for the parent graph and goes on in the subgraph at once, or leaves twice.
    #[error("node {node} leaves for the parent graph, and {other} at the same time")]
    LeavesTwice {
        /// The node whose command leaves.
        node: NodeName,
        /// What else the step does.
        other: String,
    },
    /// Several tasks of a step run a subgraph whose state is kept per thread.
    #[error("several tasks of one step run the subgraph node {0}, whose state is kept per thread")]
    ContestedSubgraph(NodeName),
}

impl StepError {
    /// Stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::State { source, .. } => source.code(),
            Self::UnknownTarget { .. } => "HP0421",
            Self::NoParent { .. } => "HP0422",
            Self::LeavesTwice { .. } => "HP0426",
            Self::ContestedSubgraph(_) => "HP0427",
        }
    }

    /// What to do about it.
    pub fn cure(&self) -> String {
        match self {
            Self::State { source, .. } => source.cure(),
            Self::UnknownTarget { .. } => "go to a node of the graph".into(),
            Self::NoParent { .. } => "go to a node of this graph; only a subgraph has a parent".into(),
            Self::LeavesTwice { .. } => "let one task leave the subgraph, and go nowhere else with it".into(),
            Self::ContestedSubgraph(_) => "keep the subgraph per call, or run it from one task at a time".into(),
        }
    }

    /// As recorded with the thread.
    pub fn to_thread_error(&self) -> ThreadError {
        let node = match self {
            Self::State { node, .. } => node.clone(),
            Self::UnknownTarget { node, .. } | Self::NoParent { node, .. } | Self::LeavesTwice { node, .. } => {
                Some(node.clone())
            }
            Self::ContestedSubgraph(node) => Some(node.clone()),
        };
        ThreadError { code: self.code().into(), message: self.to_string(), node, details: None }
    }
}

/// What a step's results come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// The graph goes on, or ends when nothing is next.
    Advanced(Advance),
    /// A subgraph is left for its parent, which gets this command (LangGraph's `Command.PARENT`). What else the step wrote is dropped.
    Left(Command),
}

/// What the next checkpoint holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Advance {
    /// Changes of the channels.
    pub patch: Patch,
    /// What runs next, who has arrived where, and who waits for everybody else.
    pub upcoming: UpcomingParts,
    /// Whose writes these are, and where the per-thread subgraphs among them ended.
    pub writers: std::collections::BTreeSet<NodeName>,
    /// For nodes that are subgraphs kept per thread: where their last call on this branch ended.
    pub children: BTreeMap<NodeName, CheckpointId>,
}

/// A finished task and what is recorded of it.
pub type Finished<'a> = (PlannedTask, &'a TaskRecord);

/// Applies the results of all tasks of a step, given in order of path. `written` is what callers wrote in the middle of the step: it comes first.
///
/// # Errors
/// [`StepError`]; then nothing of the step counts but that its tasks are done.
pub fn apply(
    version: &Version,
    checkpoint: &CheckpointRecord,
    values: &Map<String, Value>,
    written: &[(&str, &Command)],
    finished: &[Finished<'_>],
    clock_ms: u64,
) -> Result<Applied, StepError> {
    if let Some(left) = leave(checkpoint, finished)? {
        return Ok(Applied::Left(left));
    }
    let graph = &*version.graph;
    let patch = reduce_all(graph, values, written, finished)?;
    let mut upcoming = Upcoming::new(graph, checkpoint.joins.clone(), checkpoint.deferred.clone(), clock_ms);
    for (task, record) in finished {
        let command = record.result.as_ref().unwrap_or(&EMPTY);
        for destination in &command.goto {
            upcoming.go(&task.node, destination)?;
        }
        if let Some(node) = version.node(&task.node) {
            upcoming.follow(&task.node, &resolve_edges(graph, &task.node, node, values, command)?);
        }
        upcoming.arrive(&task.node);
    }
    let mut children = checkpoint.children.clone();
    for (task, record) in finished {
        if let (Some(Persist::PerThread), Some(child)) = (version.persist(&task.node), &record.child) {
            children.insert(task.node.clone(), child.clone());
        }
    }
    let writers = finished.iter().map(|(task, _)| task.node.clone()).collect();
    Ok(Applied::Advanced(Advance { patch, upcoming: upcoming.finish(), writers, children }))
}

static EMPTY: std::sync::LazyLock<Command> = std::sync::LazyLock::new(Command::default);

/// The command for the parent graph, if one of the tasks leaves for it.
fn leave(checkpoint: &CheckpointRecord, finished: &[Finished<'_>]) -> Result<Option<Command>, StepError> {
    let leaving = finished.iter().filter_map(|(task, record)| {
        let command = record.result.as_ref()?;
        let parents = command.goto.iter().filter(|destination| matches!(destination, Destination::Parent(_)));
        Some((task, command, parents.count())).filter(|(_, _, parents)| *parents > 0)
    });
    let mut left = None;
    for (task, command, parents) in leaving {
        if checkpoint.namespace.is_root()
            && let Some(Destination::Parent(target)) =
                command.goto.iter().find(|destination| matches!(destination, Destination::Parent(_)))
        {
            return Err(StepError::NoParent { node: task.node.clone(), target: target.clone() });
        }
        let other = if parents < command.goto.len() {
            Some("goes on in the subgraph".to_owned())
        } else {
            left.as_ref().map(|(first, _): &(NodeName, Command)| format!("node {first} does too"))
        };
        if let Some(other) = other {
            return Err(StepError::LeavesTwice { node: task.node.clone(), other });
        }
        let goto = command.goto.iter().map(|destination| match destination {
            Destination::Parent(target) if target == "END" => Destination::End,
            Destination::Parent(target) => Destination::Node(target.clone()),
            other => other.clone(),
        });
        left = Some((task.node.clone(), Command { update: command.update.clone(), goto: goto.collect() }));
    }
    Ok(left.map(|(_, command)| command))
}

/// The patch of all writes of a step, in order of path.
///
/// # Errors
/// [`StepError::State`].
pub fn reduce_all(
    graph: &Graph,
    values: &Map<String, Value>,
    written: &[(&str, &Command)],
    finished: &[Finished<'_>],
) -> Result<Patch, StepError> {
    let written_updates = written.iter().map(|(_, command)| ("the caller's command", &command.update));
    let results =
        finished.iter().filter_map(|(task, record)| Some((task.node.as_str(), &record.result.as_ref()?.update)));
    let updates: Vec<(&str, &Map<String, Value>)> = written_updates.chain(results).collect();
    let only = match (written, finished) {
        ([], [(task, _)]) => Some(task.node.clone()),
        _ => None,
    };
    state::reduce(graph, values, &updates).map_err(|source| StepError::State { node: only, source })
}

/// A conditional edge sees the state from before the step and its own node's writes, not those of siblings (LangGraph's `local_read`).
pub(crate) fn resolve_edges(
    graph: &Graph,
    name: &NodeName,
    node: &Node,
    values: &Map<String, Value>,
    command: &Command,
) -> Result<Vec<holdpoint_graph::definition::Target>, StepError> {
    let fault = |source| StepError::State { node: Some(name.clone()), source };
    match &node.next {
        Next::First(_) => {
            let own = state::reduce(graph, values, &[(name.as_str(), &command.update)]).map_err(fault)?;
            let mut seen = values.clone();
            own.apply(&mut seen);
            node.next.resolve(&seen, graph).map_err(fault)
        }
        _ => node.next.resolve(values, graph).map_err(fault),
    }
}

/// The checkpoint that completes a step. Its id and clock are functions of what is durable, so that a step that runs again after a crash makes
/// the same one. `clock_ms` is the thread's clock after the step: the parent's, or when something from outside last reached the thread in the step.
pub fn next_checkpoint(
    thread: &ThreadId,
    parent: &CheckpointRecord,
    advance: Advance,
    clock_ms: u64,
    now_ms: u64,
) -> NewCheckpoint {
    let clock_ms = clock_ms.max(parent.clock_ms);
    let step = parent.step + 1;
    let Advance { patch, upcoming, writers, children } = advance;
    let record = CheckpointRecord {
        id: CheckpointId::derive(thread, &parent.id, clock_ms, step),
        parent: Some(parent.id.clone()),
        step,
        source: Source::Loop,
        writers,
        next: upcoming.next,
        deferred: upcoming.deferred,
        joins: upcoming.joins,
        children,
        anchor: parent.anchor.next_anchor(),
        kept_operations: BTreeMap::new(),
        clock_ms,
        created_at_ms: now_ms,
        namespace: parent.namespace.clone(),
        graph: parent.graph.clone(),
        effects: parent.effects,
        metadata: parent.metadata.clone(),
    };
    NewCheckpoint { record, patch }
}

/// What the channels hold before anything was written.
pub(crate) fn initial_patch(graph: &Graph) -> Patch {
    let changes = graph
        .channels
        .iter()
        .filter_map(|(name, channel)| Some((name.clone(), Change::Replace(channel.initial.clone()?))))
        .collect();
    Patch { changes }
}

/// The checkpoints of new input: the input itself, before anything of it is applied, and the state it leads to (R1, R3).
///
/// `first` is the record of the input's checkpoint, complete but for what is said here. `values` are those of its parent, or the graph's initial
/// ones when it has none, when they become the first checkpoint's patch.
///
/// # Errors
/// [`StateError`]: the input does not fit the state, or no start condition holds.
pub fn input_checkpoints(
    graph: &Graph,
    thread: &ThreadId,
    first: CheckpointRecord,
    values: &Map<String, Value>,
    input: &Map<String, Value>,
) -> Result<[NewCheckpoint; 2], StateError> {
    let patch = state::reduce(graph, values, &[("the input", input)])?;
    let mut after = values.clone();
    patch.apply(&mut after);
    let mut upcoming = Upcoming::new(graph, BTreeMap::<NodeName, Arrivals>::new(), Default::default(), first.clock_ms);
    upcoming.start(&graph.start.resolve(&after, graph)?);
    let record = CheckpointRecord {
        source: Source::Input,
        writers: Default::default(),
        next: vec![Trigger::Start],
        deferred: Default::default(),
        joins: BTreeMap::new(),
        ..first
    };
    let initial = match record.parent {
        None => initial_patch(graph),
        Some(_) => Patch::default(),
    };
    let (clock_ms, now_ms) = (record.clock_ms, record.created_at_ms);
    let advance =
        Advance { patch, upcoming: upcoming.finish(), writers: Default::default(), children: record.children.clone() };
    let applied = next_checkpoint(thread, &record, advance, clock_ms, now_ms);
    Ok([NewCheckpoint { record, patch: initial }, applied])
}
