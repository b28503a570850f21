//! A graph as a value. The TOML file and the Rust builder both make it; everything else reads it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::digest::Digest;
use crate::ids::{ChannelName, ConnectorName, GraphName, NodeName};
use crate::problem::printable;
use crate::reader::units;
use crate::state::{Condition, Reducer, Schema, StateError};

/// Supersteps of one run when the graph does not say: about LangGraph 1.2's own default (`reference` R30 and table 1.2).
pub const RECURSION_LIMIT_DEFAULT: u32 = 10_000;

/// A validated graph. Made by [`crate::file`] or [`crate::builder`] only, so every name it mentions exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Its name.
    pub name: GraphName,
    /// Supersteps that one run may take.
    pub recursion_limit: u32,
    /// The state, in order of name.
    pub channels: BTreeMap<ChannelName, Channel>,
    /// Where a run begins.
    pub start: Next,
    /// The nodes, in order of name.
    pub nodes: BTreeMap<NodeName, Node>,
}

impl Graph {
    /// The nodes that are graphs themselves, in order of name.
    pub fn subgraphs(&self) -> impl Iterator<Item = (&NodeName, &Subgraph)> {
        self.nodes.iter().filter_map(|(name, node)| match &node.work {
            Work::Subgraph(subgraph) => Some((name, subgraph)),
            Work::Component(_) => None,
        })
    }
}

/// One part of the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// What its value must be.
    pub schema: Schema,
    /// How writes change its value.
    pub reducer: Reducer,
    /// Its value before the first write: the schema's `default`, or the reducer's zero.
    pub initial: Option<Value>,
    /// Set when the engine computes the value for each task: then it is never written and never stored.
    pub managed: Option<Managed>,
}

/// A value that the engine computes for each task (LangGraph's managed values).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Managed {
    /// Supersteps that the run may still take, this one included.
    RemainingSteps,
    /// Whether this is the last superstep that the run may take.
    IsLastStep,
}

impl Managed {
    /// All managed values with their names in graph files.
    pub const NAMES: [(Self, &'static str); 2] =
        [(Self::RemainingSteps, "remaining_steps"), (Self::IsLastStep, "is_last_step")];

    /// Its name in graph files.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(managed, _)| *managed)
    }

    /// The value for a task of a superstep when `steps_left` supersteps are left, this one included.
    pub fn value(self, steps_left: u32) -> Value {
        match self {
            Self::RemainingSteps => steps_left.into(),
            Self::IsLastStep => (steps_left <= 1).into(),
        }
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What executes it.
    pub work: Work,
    /// Static configuration passed to it: its `with` table.
    pub config: Value,
    /// Channels passed to it; none means all.
    pub reads: Option<Vec<ChannelName>>,
    /// Connectors that it may use: nothing by default.
    pub connectors: Vec<ConnectorName>,
    /// Waits for other nodes.
    pub join: Option<Join>,
    /// Runs only when nothing else of the graph is left to run.
    pub defer: bool,
    /// Where the graph goes after it, besides what its command says.
    pub next: Next,
    /// What holds for its questions.
    pub interrupt: Option<InterruptPolicy>,
    /// Static breakpoint: the thread pauses before a superstep that it belongs to.
    pub interrupt_before: bool,
    /// Static breakpoint: the thread pauses after a superstep that it belonged to.
    pub interrupt_after: bool,
    /// How often and when it is tried again.
    pub retry: Option<Retry>,
    /// Longest time of one execution, host calls included.
    pub timeout_ms: Option<u64>,
    /// The node that runs in its place, in the same superstep, when its retries are exhausted. A graph-wide default is written out here.
    pub error_handler: Option<NodeName>,
    /// Whether its results may be used again, in any thread.
    pub cache: Option<CachePolicy>,
    /// Bounds of one execution.
    pub limits: Limits,
}

impl Node {
    /// Its component; none when it is a subgraph.
    pub fn component(&self) -> Option<&Component> {
        match &self.work {
            Work::Component(component) => Some(component),
            Work::Subgraph(_) => None,
        }
    }

    /// Its component's digest; none when it is a subgraph, or not deployed yet.
    pub fn component_digest(&self) -> Option<&Digest> {
        match self.component() {
            Some(Component::Digest(digest)) => Some(digest),
            Some(Component::Path(_) | Component::Named { .. }) | None => None,
        }
    }
}

/// What executes a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A component.
    Component(Component),
    /// A graph of its own. Channels that both graphs declare are the parent's; the others are the subgraph's own.
    Subgraph(Subgraph),
}

/// A graph as a node of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subgraph {
    /// The graph.
    pub graph: GraphReference,
    /// What is kept of it.
    pub persist: Persist,
}

/// Where a subgraph is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraphReference {
    /// A graph file, as written (relative to the file that names it).
    Path(String),
    /// By content: what a deployed graph holds.
    Digest(Digest),
}

/// What is kept of a subgraph (LangGraph's `checkpointer` of a subgraph).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persist {
    /// Each call starts with fresh state, is checkpointed, and may wait for people. The default.
    PerCall,
    /// As per call, and the subgraph's own channels go on where its last call on the same branch of the thread left them.
    PerThread,
    /// Nothing: a crash runs it from its start. It may not ask questions.
    None,
}

impl Persist {
    /// All modes with their names in graph files.
    pub const NAMES: [(Self, &'static str); 3] =
        [(Self::PerCall, "per-call"), (Self::PerThread, "per-thread"), (Self::None, "none")];

    /// Its name in graph files.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(persist, _)| *persist)
    }
}

/// What a node waits for: all of `of`, or `need` of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The nodes to wait for; each must finish once since the node last ran.
    pub of: Vec<NodeName>,
    /// How many of them are enough: from 1 to all.
    pub need: usize,
    /// Where fewer than all are enough: how long the others are waited for, from the first arrival, by the thread's recorded clock. Nobody is
    /// waited for who cannot come any more because nothing else is left to run. None: as soon as `need` have arrived.
    pub within_ms: Option<u64>,
}

/// Whether and how long a node's results may be used again, in any thread: for the same component, configuration, state and argument. Results
/// of executions that asked questions or performed operations are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long a result is used; none means for ever.
    pub ttl_ms: Option<u64>,
}

/// Where a component is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// A file, as written in the graph file (relative to it).
    Path(String),
    /// A deployed component by name and version.
    Named {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
    },
    /// By content: what a deployed graph holds.
    Digest(Digest),
}

/// Where the graph goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nowhere by itself: the node's command says, or the branch ends here.
    None,
    /// To all of these.
    All(Vec<Target>),
    /// To the targets of the first branch whose condition holds. No branch holding is an error of the step: a branch never ends by oversight.
    First(Vec<Branch>),
}

/// One case of a conditional edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// When it is taken; none means always.
    pub when: Option<Condition>,
    /// Where it leads.
    pub to: Vec<Target>,
}

/// Where an edge leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// To a node.
    Node(NodeName),
    /// Out of the graph.
    End,
}

/// What holds for a node's questions. Recorded with each question when it is asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InterruptPolicy {
    /// JSON Schema that every answer must satisfy, besides the question's own.
    pub answer_schema: Option<Schema>,
    /// How long a question stands at most.
    pub deadline: Option<Deadline>,
    /// The table as written without `answer_schema` (deadline, assignees, quorum, …), checked for form and recorded with the question.
    pub policy: serde_json::Map<String, Value>,
}

/// How long a question stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Deadline {
    /// Always this long, in milliseconds.
    After(u64),
    /// As long as the expression says of the state that its node reads: a duration as text.
    Computed(Condition),
}

impl Deadline {
    /// How long a question stands that is asked in this state, in milliseconds.
    ///
    /// # Errors
    /// [`StateError::ConditionFailed`] when the expression fails, or gives no duration, or none at all.
    pub fn duration_ms(
        &self,
        state: &serde_json::Map<String, Value>,
        channels: &BTreeMap<ChannelName, Channel>,
    ) -> Result<u64, StateError> {
        let condition = match self {
            Self::After(duration_ms) => return Ok(*duration_ms),
            Self::Computed(condition) => condition,
        };
        let text = condition.text_for(state, channels)?;
        match duration_ms(&text) {
            Ok(0) => Err(condition.failed(format!("{} is no time at all", printable(&text, 60)))),
            Ok(duration_ms) => Ok(duration_ms),
            Err(reason) => Err(condition.failed(format!("{} {reason}", printable(&text, 60)))),
        }
    }
}

/// Reads a duration such as `500ms`, `30s`, `15m`, `2h` or `7d`; in milliseconds.
///
/// # Errors
/// What is wrong with it.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    units::duration_ms(text)
}

/// How often and when a failed task is tried again. Only failures that say so and traps are retried, interrupts never.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Executions in all, at least 1.
    pub attempts_max: u32,
    /// Pause before the second execution.
    pub backoff_ms: u64,
    /// The pause grows by this factor each time.
    pub factor: f64,
    /// The pause never grows over this.
    pub backoff_max_ms: u64,
}

/// Bounds of one execution; none means the sandbox's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Linear memories and tables together.
    pub memory_bytes: Option<u64>,
    /// Deterministic count of executed instructions.
    pub fuel: Option<u64>,
    /// Wall time of one execution.
    pub time_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_values() {
        for (steps_left, is_last) in [(0, true), (1, true), (2, false), (u32::MAX, false)] {
            assert_eq!(Managed::RemainingSteps.value(steps_left), Value::from(steps_left));
            assert_eq!(Managed::IsLastStep.value(steps_left), Value::from(is_last), "{steps_left}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for (managed, name) in Managed::NAMES {
            assert_eq!((managed.name(), Managed::parse(name)), (name, Some(managed)));
        }
        for (persist, name) in Persist::NAMES {
            assert_eq!((persist.name(), Persist::parse(name)), (name, Some(persist)));
        }
        assert_eq!((Managed::parse("Remaining_steps"), Persist::parse("")), (None, None));
    }
}
