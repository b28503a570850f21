//! What is stored, as values.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, GraphName, Namespace, NodeName, QuestionId, TaskId, Tenant, ThreadId};
use holdpoint_graph::nodes::{Answer, Command, EffectMode};
use holdpoint_graph::operation::OperationRecord;
use holdpoint_graph::state::Patch;
use serde_json::{Map, Value};

use crate::approvals::Proceedings;

/// A thread's head: everything about it but its values.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadRecord {
    /// Its id.
    pub id: ThreadId,
    /// The first ancestor by fork or copy; itself otherwise. Thread-scoped operations are shared along it.
    pub lineage: ThreadId,
    /// Digest of the graph document that it is pinned to.
    pub graph: Digest,
    /// That graph's name.
    pub graph_name: GraphName,
    /// What it is doing.
    pub status: ThreadStatus,
    /// Generation of its writer.
    pub epoch: Epoch,
    /// Who advances it now, such as `host:boot:pid:start`; none when nobody does.
    pub owner: Option<String>,
    /// Until when the owner's claim stands, in milliseconds since 1970.
    pub lease_until_ms: u64,
    /// Its newest checkpoint.
    pub head: CheckpointId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The id of the actor who gave its newest input: whom `distinct_from = "requester"` means. None where nobody said.
    pub requester: Option<String>,
    /// Why it failed.
    pub error: Option<ThreadError>,
    /// When it was created.
    pub created_at_ms: u64,
    /// When it last changed.
    pub updated_at_ms: u64,
}

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ThreadStatus {
    /// Being advanced, or its worker died and somebody has to continue it.
    Running,
    /// Waiting for answers, or for doubt to be settled.
    Interrupted,
    /// Nothing left to do.
    Done,
    /// Stopped at an error; can be continued, repaired or forked.
    Failed,
}

impl ThreadStatus {
    /// All statuses with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 4] = [
        (Self::Running, "running"),
        (Self::Interrupted, "interrupted"),
        (Self::Done, "done"),
        (Self::Failed, "failed"),
    ];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(status, _)| *status)
    }
}

/// Why a thread or a task failed. Data: stored, shown, and never changed by a later version.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadError {
    /// Stable code: ours (`HP…`) or, for a node's failure, the author's.
    pub code: String,
    /// What happened.
    pub message: String,
    /// The node, where one was at fault.
    pub node: Option<NodeName>,
    /// More, such as a failure's details.
    pub details: Option<Value>,
}

/// One durable state of a thread, without its values.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointRecord {
    /// Its id.
    pub id: CheckpointId,
    /// The checkpoint that it was made from, of the same namespace.
    pub parent: Option<CheckpointId>,
    /// Which graph of the thread it belongs to.
    pub namespace: Namespace,
    /// Digest of the graph that runs from it: the thread's own or a subgraph.
    pub graph: Digest,
    /// -1 for a thread's first input, then counting up (R1, R3).
    pub step: i64,
    /// What made it.
    pub source: Source,
    /// Whose writes made it: the nodes of the step, or those that an update spoke for. Empty for an input.
    pub writers: BTreeSet<NodeName>,
    /// What runs next from here.
    pub next: Vec<Trigger>,
    /// Nodes with `defer` that were reached and run when nothing else is left.
    pub deferred: BTreeSet<NodeName>,
    /// For nodes with `join`: who of those they wait for has arrived.
    pub joins: BTreeMap<NodeName, Arrivals>,
    /// For nodes that are subgraphs kept per thread: where their last call on this branch ended.
    pub children: BTreeMap<NodeName, CheckpointId>,
    /// What the ids of unnamed operations of the tasks from here derive from: equal at equal places of replayed branches.
    pub anchor: CheckpointId,
    /// For tasks that an update kept from the step before: what their unnamed operations derived from there, by path. They derive from it here too,
    /// so that what a task did before the update is found again.
    pub kept_operations: BTreeMap<String, TaskId>,
    /// What becomes of the effects of the tasks from here, and of all that follows.
    pub effects: EffectMode,
    /// What the caller of the run gave to be kept with its checkpoints.
    pub metadata: Map<String, Value>,
    /// The thread's recorded time: when something from outside last reached it, in milliseconds since 1970. Nodes' clocks start here.
    pub clock_ms: u64,
    /// When it was made, by the host's clock.
    pub created_at_ms: u64,
}

/// Who has arrived at a join.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrivals {
    /// Those that have arrived.
    pub arrived: BTreeSet<NodeName>,
    /// The thread's clock at the first arrival, in milliseconds since 1970.
    pub since_ms: u64,
    /// The node was started without some of those it lists: these are still to come, and count for the round that is over.
    pub started: bool,
}

/// What made a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// New input.
    Input,
    /// A superstep.
    Loop,
    /// A person's or program's update.
    Update,
    /// A replay or fork of an older checkpoint.
    Fork,
}

impl Source {
    /// All sources with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 4] =
        [(Self::Input, "input"), (Self::Loop, "loop"), (Self::Update, "update"), (Self::Fork, "fork")];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(source, _)| *source)
    }
}

/// One task that runs next.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// A node reached by edges or by `goto`: once, however many lead there.
    Pull(NodeName),
    /// A task of its own with its own argument.
    Push {
        /// The node.
        node: NodeName,
        /// Its argument.
        argument: Value,
    },
    /// The pseudo-node before the first superstep of an input (R1); never executed.
    Start,
}

/// A new checkpoint and what it changes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCheckpoint {
    /// The checkpoint. Its parent is stored already or stands before it in the same commit.
    pub record: CheckpointRecord,
    /// Changes of channels against the parent's values; against nothing when there is no parent.
    pub patch: Patch,
}

/// What is recorded of a task: one node's execution in one superstep.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// The checkpoint that its superstep starts from.
    pub checkpoint: CheckpointId,
    /// The node.
    pub node: NodeName,
    /// Its place in the step. `pull:NODE` and `push:INDEX` (zero-padded, so that texts sort as LangGraph's task paths do) are tasks of the
    /// checkpoint. A path that begins with `command:` is what a caller wrote or asked for in the middle of the step, one that begins with `goto:`
    /// a task that was added so, `PATH|error` is the error handler of the task at PATH, `input` is an input as it was given, and `pause` a static breakpoint that was reached.
    pub path: String,
    /// How far it got.
    pub status: TaskStatus,
    /// Times that the node was started for it, as far as recorded.
    pub executions: u32,
    /// What it returned, once done.
    pub result: Option<Command>,
    /// Why it failed.
    pub error: Option<ThreadError>,
    /// For a task that runs a subgraph: the newest checkpoint of its run.
    pub child: Option<CheckpointId>,
    /// Supersteps that the run might still take when the task was first executed, where its node reads managed values: an input of the task.
    pub steps_left: Option<u32>,
    /// When it was last recorded.
    pub updated_at_ms: u64,
}

/// How far a task got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskStatus {
    /// Returned; never executed again.
    Done,
    /// Waits for an answer.
    Interrupted,
    /// Waits for an operation's doubt to be settled.
    InDoubt,
    /// Failed with its retries exhausted; continues when the thread is resumed, or an error handler takes its place.
    Failed,
    /// Runs a subgraph that has come to `child` and is not done.
    Running,
    /// Not a task: the thread paused at a static breakpoint here.
    Paused,
}

impl TaskStatus {
    /// All statuses with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Done, "done"),
        (Self::Interrupted, "interrupted"),
        (Self::InDoubt, "in-doubt"),
        (Self::Failed, "failed"),
        (Self::Running, "running"),
        (Self::Paused, "paused"),
    ];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(status, _)| *status)
    }
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionRecord {
    /// Its id.
    pub id: QuestionId,
    /// The checkpoint of the task that asked.
    pub checkpoint: CheckpointId,
    /// The task that asked.
    pub task: TaskId,
    /// Its node.
    pub node: NodeName,
    /// Which question of the task's execution it is, from 0.
    pub occurrence: u32,
    /// What is asked.
    pub payload: Value,
    /// Digest of the payload.
    pub payload_digest: Digest,
    /// JSON Schema of the answer, from the node's call.
    pub answer_schema: Option<Value>,
    /// The node's `interrupt` table as it stood when the question was asked, its `answer_schema` included.
    pub policy: Value,
    /// When it was asked.
    pub asked_at_ms: u64,
    /// Until when it may be answered: at this very moment it may not any more.
    pub deadline_at_ms: Option<u64>,
    /// When the monitor has to look at it next, in milliseconds since 1970: its next escalation or reminder, or its deadline. None when nothing is
    /// to come, or it is not pending.
    pub due_at_ms: Option<u64>,
    /// What was said of it before its answer.
    pub proceedings: Proceedings,
    /// What became of it.
    pub status: QuestionStatus,
    /// Its answer, once answered.
    pub answer: Option<Answer>,
}

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuestionStatus {
    /// Waits for an answer.
    Pending,
    /// Answered: once, for ever.
    Answered,
    /// New input or another question took its place before it was answered.
    Superseded,
    /// Called off before it was answered: nobody is asked any more.
    Cancelled,
}

impl QuestionStatus {
    /// All statuses with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 4] = [
        (Self::Pending, "pending"),
        (Self::Answered, "answered"),
        (Self::Superseded, "superseded"),
        (Self::Cancelled, "cancelled"),
    ];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(status, _)| *status)
    }
}

/// The end of a pending question.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// Answered.
    Answer {
        /// The question.
        question: QuestionId,
        /// Its answer. Refused when the question's deadline has come; one with verdict `expired` is refused when it has not.
        answer: Answer,
        /// The proceedings with what led to the answer. Their version is the stored one's plus one, or the answer is refused: somebody had a say
        /// meanwhile.
        proceedings: Box<Proceedings>,
    },
    /// Something took its place.
    Supersede {
        /// The question.
        question: QuestionId,
    },
    /// Called off. Who did it stays with its proceedings.
    Cancel {
        /// The question.
        question: QuestionId,
        /// Who.
        by: Actor,
    },
}

/// A thread at one checkpoint: one consistent read.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The thread's head.
    pub thread: ThreadRecord,
    /// The checkpoint.
    pub checkpoint: CheckpointRecord,
    /// The values of the channels at it.
    pub values: Map<String, Value>,
    /// What is recorded of the tasks that start from it, in order of path.
    pub tasks: Vec<TaskRecord>,
    /// The questions of those tasks, in order of asking.
    pub questions: Vec<QuestionRecord>,
    /// The operations that those tasks recorded and that are without an outcome.
    pub unsettled: Vec<OperationRecord>,
    /// The runs of subgraphs by the tasks that are not done, each at the task's `child`. Filled by [`crate::Store::snapshot`] only.
    pub children: BTreeMap<TaskId, Snapshot>,
}

/// A checkpoint without its values, and where the subgraphs of its tasks stand: what the shape of a history is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// The checkpoint.
    pub checkpoint: CheckpointRecord,
    /// The `child` of its tasks.
    pub task_children: Vec<CheckpointId>,
}

/// A result that may be used again, in any thread.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheRecord {
    /// Digest of everything that the result depends on.
    pub key: Digest,
    /// The result.
    pub result: Command,
    /// Until when it is used, in milliseconds since 1970; none means for ever.
    pub expires_at_ms: Option<u64>,
}

/// A version of a graph or component that was deployed under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRecord {
    /// What it is.
    pub kind: VersionKind,
    /// Its name.
    pub name: String,
    /// Its version: for graphs a number that counts up from 1, for components what their description says.
    pub version: String,
    /// Its content.
    pub digest: Digest,
    /// When it was deployed, in milliseconds since 1970.
    pub deployed_at_ms: u64,
    /// Who deployed it, and took what it may do more than the version before.
    pub deployed_by: String,
    /// What it may do more than the version before, as shown to that person; empty when nothing.
    pub gains: Vec<String>,
}

/// What can be deployed under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionKind {
    /// A graph.
    Graph,
    /// A component.
    Component,
}

impl VersionKind {
    /// All kinds with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 2] = [(Self::Graph, "graph"), (Self::Component, "component")];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
    }
}
