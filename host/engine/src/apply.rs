//! From the results of a step's tasks to the next checkpoint. Pure.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::definition::{Graph, Next, Node, Target};
use holdpoint_graph::ids::{CheckpointId, NodeName, ThreadId};
use holdpoint_graph::nodes::{Command, Destination};
use holdpoint_graph::state::{self, Change, Patch, StateError};
use holdpoint_store::{CheckpointRecord, NewCheckpoint, Source, ThreadError, Trigger};
use serde_json::{Map, Value};

use crate::plan::PlannedTask;

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
}

impl StepError {
    /// As recorded with the thread.
    pub fn to_thread_error(&self) -> ThreadError {
        let (code, node) = match self {
            Self::State { node, source } => (source.code(), node.clone()),
            Self::UnknownTarget { node, .. } => ("HP0421", Some(node.clone())),
            Self::NoParent { node, .. } => ("HP0422", Some(node.clone())),
        };
        ThreadError { code: code.into(), message: self.to_string(), node, details: None }
    }
}

/// What a step's results come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// Changes of the channels.
    pub patch: Patch,
    /// What runs next.
    pub next: Vec<Trigger>,
    /// Who has arrived at the joins.
    pub joins: BTreeMap<NodeName, BTreeSet<NodeName>>,
}

/// Applies the results of all tasks of a step, given in order of path.
///
/// # Errors
/// [`StepError`]; then nothing of the step counts but that its tasks are done.
pub fn apply(
    graph: &Graph,
    checkpoint: &CheckpointRecord,
    values: &Map<String, Value>,
    finished: &[(&PlannedTask, &Command)],
) -> Result<Applied, StepError> {
    let patch = reduce_all(graph, values, finished)?;
    let mut next = Upcoming::new(graph, checkpoint.joins.clone());
    for (task, command) in finished {
        for destination in &command.goto {
            next.go(&task.node, destination)?;
        }
        let node = graph.nodes.get(&task.node);
        let targets = match node {
            Some(node) => resolve_edges(graph, &task.node, node, values, command)?,
            None => Vec::new(),
        };
        for target in targets {
            if let Target::Node(target) = target {
                next.reach(Some(&task.node), target);
            }
        }
        next.arrive(&task.node);
    }
    let (next, joins) = next.finish();
    Ok(Applied { patch, next, joins })
}

/// The patch of all writes of a step, in order of path.
///
/// # Errors
/// [`StepError::State`].
pub fn reduce_all(
    graph: &Graph,
    values: &Map<String, Value>,
    finished: &[(&PlannedTask, &Command)],
) -> Result<Patch, StepError> {
    let updates: Vec<(&str, &Map<String, Value>)> =
        finished.iter().map(|(task, command)| (task.node.as_str(), &command.update)).collect();
    let only = match finished {
        [(task, _)] => Some(task.node.clone()),
        _ => None,
    };
    state::reduce(graph, values, &updates).map_err(|source| StepError::State { node: only, source })
}

/// A conditional edge sees the state from before the step and its own node's writes, not those of siblings (LangGraph's `local_read`).
fn resolve_edges(
    graph: &Graph,
    name: &NodeName,
    node: &Node,
    values: &Map<String, Value>,
    command: &Command,
) -> Result<Vec<Target>, StepError> {
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

/// Collects what runs next.
struct Upcoming<'a> {
    graph: &'a Graph,
    pulls: BTreeSet<NodeName>,
    pushes: Vec<Trigger>,
    joins: BTreeMap<NodeName, BTreeSet<NodeName>>,
}

impl<'a> Upcoming<'a> {
    fn new(graph: &'a Graph, joins: BTreeMap<NodeName, BTreeSet<NodeName>>) -> Self {
        Self { graph, pulls: BTreeSet::new(), pushes: Vec::new(), joins }
    }

    fn go(&mut self, from: &NodeName, destination: &Destination) -> Result<(), StepError> {
        match destination {
            Destination::Node(target) => {
                let target = self.known(from, target)?;
                self.reach(Some(from), target);
            }
            Destination::Send { node, argument } => {
                let node = self.known(from, node)?;
                self.pushes.push(Trigger::Push { node, argument: argument.clone() });
            }
            Destination::Parent(target) => {
                return Err(StepError::NoParent { node: from.clone(), target: target.clone() });
            }
            Destination::End => {}
        }
        Ok(())
    }

    fn known(&self, from: &NodeName, target: &str) -> Result<NodeName, StepError> {
        NodeName::parse(target)
            .ok()
            .filter(|name| self.graph.nodes.contains_key(name))
            .ok_or_else(|| StepError::UnknownTarget { node: from.clone(), target: target.to_owned() })
    }

    /// Triggers `target`, or counts `from` as arrived where `target` waits for it.
    fn reach(&mut self, from: Option<&NodeName>, target: NodeName) {
        let waits_for = self.graph.nodes.get(&target).and_then(|node| node.join.as_ref());
        match (waits_for, from) {
            (Some(sources), Some(from)) if sources.contains(from) => {
                self.joins.entry(target).or_default().insert(from.clone());
            }
            _ => {
                self.pulls.insert(target);
            }
        }
    }

    /// Counts a finished node as arrived at every join that lists it and that its own edges do not mention: there the listing is the edge.
    fn arrive(&mut self, finished: &NodeName) {
        for (name, node) in &self.graph.nodes {
            let listed = node.join.as_ref().is_some_and(|sources| sources.contains(finished));
            if listed && !self.mentions(finished, name) {
                self.joins.entry(name.clone()).or_default().insert(finished.clone());
            }
        }
    }

    fn mentions(&self, from: &NodeName, target: &NodeName) -> bool {
        let wanted = Target::Node(target.clone());
        self.graph.nodes.get(from).is_some_and(|node| match &node.next {
            Next::None => false,
            Next::All(targets) => targets.contains(&wanted),
            Next::First(branches) => branches.iter().any(|branch| branch.to.contains(&wanted)),
        })
    }

    fn finish(mut self) -> (Vec<Trigger>, BTreeMap<NodeName, BTreeSet<NodeName>>) {
        let graph = self.graph;
        let complete: Vec<NodeName> = self
            .joins
            .iter()
            .filter(|(name, arrived)| {
                let sources = graph.nodes.get(*name).and_then(|node| node.join.as_ref());
                sources.is_some_and(|sources| sources.iter().all(|source| arrived.contains(source)))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in complete {
            self.joins.remove(&name);
            self.pulls.insert(name);
        }
        (self.pulls.into_iter().map(Trigger::Pull).chain(self.pushes).collect(), self.joins)
    }
}

/// The checkpoint that completes a step. Its id and clock are functions of what is durable, so that a step that runs again after a crash makes
/// the same one; `clock_ms` is given when something from outside reached the thread in the step.
pub fn next_checkpoint(
    thread: &ThreadId,
    parent: &CheckpointRecord,
    applied: Applied,
    clock_ms: Option<u64>,
    now_ms: u64,
) -> NewCheckpoint {
    let clock_ms = clock_ms.unwrap_or(parent.clock_ms).max(parent.clock_ms);
    let step = parent.step + 1;
    let record = CheckpointRecord {
        id: CheckpointId::derive(thread, &parent.id, clock_ms, step),
        parent: Some(parent.id.clone()),
        step,
        source: Source::Loop,
        next: applied.next,
        joins: applied.joins,
        clock_ms,
        created_at_ms: now_ms,
    };
    NewCheckpoint { record, patch: applied.patch }
}

/// What the channels hold before anything was written.
fn initial_patch(graph: &Graph) -> Patch {
    let changes = graph
        .channels
        .iter()
        .filter_map(|(name, channel)| Some((name.clone(), Change::Replace(channel.initial.clone()?))))
        .collect();
    Patch { changes }
}

/// The checkpoints of new input: the input itself, before anything of it is applied, and the state it leads to (R1, R3).
///
/// `values` are those of `parent`, or the graph's initial ones for a new thread, when they become the first checkpoint's patch.
///
/// # Errors
/// [`StateError`]: the input does not fit the state, or no start condition holds.
pub fn input_checkpoints(
    graph: &Graph,
    thread: &ThreadId,
    parent: Option<&CheckpointRecord>,
    values: &Map<String, Value>,
    input: &Map<String, Value>,
    now_ms: u64,
    entropy: u64,
) -> Result<[NewCheckpoint; 2], StateError> {
    let clock_ms = parent.map_or(now_ms, |parent| parent.clock_ms.max(now_ms));
    let step = parent.map_or(-1, |parent| parent.step + 1);
    let patch = state::reduce(graph, values, &[("__input__", input)])?;
    let mut after = values.clone();
    patch.apply(&mut after);
    let mut next = Upcoming::new(graph, BTreeMap::new());
    for target in graph.start.resolve(&after, graph)? {
        if let Target::Node(target) = target {
            next.reach(None, target);
        }
    }
    let (next, joins) = next.finish();
    let record = CheckpointRecord {
        id: CheckpointId::from_entropy(clock_ms, step, entropy),
        parent: parent.map(|parent| parent.id.clone()),
        step,
        source: Source::Input,
        next: vec![Trigger::Start],
        joins: BTreeMap::new(),
        clock_ms,
        created_at_ms: now_ms,
    };
    let initial = match parent {
        None => initial_patch(graph),
        Some(_) => Patch::default(),
    };
    let applied = next_checkpoint(thread, &record, Applied { patch, next, joins }, None, now_ms);
    Ok([NewCheckpoint { record, patch: initial }, applied])
}
