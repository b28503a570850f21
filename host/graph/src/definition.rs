//! A graph as a value. The TOML file and the Rust builder both make it; everything else reads it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::digest::Digest;
use crate::ids::{ChannelName, ConnectorName, GraphName, NodeName};
use crate::state::{Condition, Reducer, Schema};

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

/// One part of the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// What its value must be.
    pub schema: Schema,
    /// How writes change its value.
    pub reducer: Reducer,
    /// Its value before the first write: the schema's `default`, or the reducer's zero.
    pub initial: Option<Value>,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The component that executes it.
    pub component: Component,
    /// Static configuration passed to it: its `with` table.
    pub config: Value,
    /// Channels passed to it; none means all.
    pub reads: Option<Vec<ChannelName>>,
    /// Connectors that it may use: nothing by default.
    pub connectors: Vec<ConnectorName>,
    /// Waits until all of these nodes have finished since it last ran.
    pub join: Option<Vec<NodeName>>,
    /// Where the graph goes after it, besides what its command says.
    pub next: Next,
    /// What holds for its questions.
    pub interrupt: Option<InterruptPolicy>,
    /// How often and when it is tried again.
    pub retry: Option<Retry>,
    /// Longest time of one execution, host calls included.
    pub timeout_ms: Option<u64>,
    /// Bounds of one execution.
    pub limits: Limits,
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
    /// The rest of the table as written (deadline, assignees, quorum, …), checked for form and recorded with the question.
    pub policy: serde_json::Map<String, Value>,
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
