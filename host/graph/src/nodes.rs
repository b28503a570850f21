//! The seam between the engine and whatever executes nodes.
//!
//! The engine makes a [`NodeCall`], an implementation of [`Nodes`] (the sandbox, or a fake in tests) gives back a [`NodeReport`]. Neither knows
//! the other. While a node runs, what must be durable before it ends goes through the call's [`TaskJournal`].

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::definition::Limits;
use crate::digest::Digest;
use crate::ids::{CheckpointId, ConnectorName, Epoch, GraphName, NodeName, QuestionId, TaskId, ThreadId};
use crate::operation::{OperationHit, OperationKey, OperationRecord};

/// Executes nodes. Implementations are cheap to share and run many calls at once.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Executes one node once, from its start.
    ///
    /// Never panics and never hangs: everything that can go wrong is an outcome. Dropping the future abandons the execution; what the
    /// journal stored stays.
    async fn run(&self, call: NodeCall) -> NodeReport;
}

/// The running task. Identical on every execution of the same task, but for `epoch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskIdentity {
    /// The graph's name.
    pub graph: GraphName,
    /// The thread.
    pub thread: ThreadId,
    /// The first ancestor of the thread by fork or copy; the thread itself otherwise.
    pub lineage: ThreadId,
    /// The checkpoint that the superstep starts from.
    pub checkpoint: CheckpointId,
    /// The superstep's number.
    pub step: u64,
    /// The node.
    pub node: NodeName,
    /// The task.
    pub id: TaskId,
    /// What the ids of its unnamed operations derive from: the same for this task and for its repetition on any branch of the lineage, so that a
    /// replay finds their records (`effect-once`).
    pub operations: TaskId,
    /// The writer's generation.
    pub epoch: Epoch,
}

/// The channels that a node reads: shared by the tasks of a step, and made into text once for all of them.
#[derive(Clone, Default)]
pub struct State(Arc<StateParts>);

#[derive(Default)]
struct StateParts {
    values: Map<String, Value>,
    text: OnceLock<String>,
}

impl State {
    /// A state with these channels.
    pub fn new(values: Map<String, Value>) -> Self {
        Self(Arc::new(StateParts { values, text: OnceLock::new() }))
    }

    /// The channels.
    pub fn values(&self) -> &Map<String, Value> {
        &self.0.values
    }

    /// The channels as one JSON object.
    pub fn text(&self) -> &str {
        self.0.text.get_or_init(|| {
            serde_json::to_string(&self.0.values).expect("invariant: a map of JSON values has a JSON text")
        })
    }
}

impl From<Map<String, Value>> for State {
    fn from(values: Map<String, Value>) -> Self {
        Self::new(values)
    }
}

impl std::ops::Deref for State {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        self.values()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.values.fmt(formatter)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.0.values == other.0.values
    }
}

/// What becomes of the side effects of a branch of a thread (DESIGN 9). Operations that have a record return it in every mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EffectMode {
    /// New operations are performed.
    #[default]
    Live,
    /// New operations are not performed: the thread stops and lists them. Nothing leaves the host, look-ups neither.
    Recorded,
    /// Each new operation becomes a question that shows its request.
    Ask,
}

impl EffectMode {
    /// All modes with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 3] =
        [(Self::Live, "live"), (Self::Recorded, "recorded"), (Self::Ask, "ask")];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(mode, _)| *mode)
    }
}

/// Everything that one execution of a node depends on (`replayable`).
#[derive(Clone)]
pub struct NodeCall {
    /// Which task this is.
    pub task: TaskIdentity,
    /// The component, by content.
    pub component: Digest,
    /// The channels that the node reads, managed ones included.
    pub state: State,
    /// Payload of the `send` that started the task.
    pub argument: Option<Value>,
    /// The node's `with` table.
    pub config: Value,
    /// The connectors that the graph grants to the node.
    pub connectors: Vec<ConnectorName>,
    /// Bounds of the execution.
    pub limits: Limits,
    /// The task's recorded time, in milliseconds since 1970: all clocks of the guest start here.
    pub clock_ms: u64,
    /// Answers that this task's questions got, in any order.
    pub answers: Vec<RecordedAnswer>,
    /// What becomes of operations that have no record.
    pub effects: EffectMode,
    /// Where operations and reports of the running task go.
    pub journal: Arc<dyn TaskJournal>,
}

impl NodeCall {
    /// The earliest moment at which an operation of this task that has no record can have been sent: what an execution did before an answer was
    /// stored with its question, so only what came after the last answer can have been lost in a crash.
    pub fn unrecorded_since_ms(&self) -> u64 {
        let answered = self.answers.iter().map(|answer| answer.answer.answered_at_ms);
        answered.max().unwrap_or(0).max(self.clock_ms)
    }
}

/// The answer that a question of this task got. It answers only the same payload at the same occurrence (`approved-is-executed`).
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedAnswer {
    /// Which `interrupt` or `ask` call of the execution it belongs to, from 0.
    pub occurrence: u32,
    /// Digest of the payload that was asked.
    pub payload_digest: Digest,
    /// What was answered.
    pub answer: Answer,
}

/// What a person, or the deadline, said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What kind of answer it is.
    pub verdict: Verdict,
    /// The answer's value.
    pub value: Value,
    /// Who answered, such as `cli:ana`.
    pub answered_by: String,
    /// When, in milliseconds since 1970.
    pub answered_at_ms: u64,
}

/// Kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead with what was asked.
    Accept,
    /// Go ahead with the changed value.
    Edit,
    /// A value instead of a yes or no.
    Respond,
    /// Do not.
    Reject,
    /// Dismissed without a decision.
    Ignore,
    /// Nobody answered in time.
    Expired,
}

impl Verdict {
    /// All verdicts with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Accept, "accept"),
        (Self::Edit, "edit"),
        (Self::Respond, "respond"),
        (Self::Reject, "reject"),
        (Self::Ignore, "ignore"),
        (Self::Expired, "expired"),
    ];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(verdict, _)| *verdict == self).map_or("respond", |(_, name)| name)
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(verdict, _)| *verdict)
    }
}

/// What a running task may do before it ends. Implemented by the engine.
#[async_trait]
pub trait TaskJournal: Send + Sync {
    /// Stores `records` (new intents, and finished operations that had not been stored yet) in one durable commit, together with everything
    /// that the task stands on and that was not durable yet. Replaces earlier records of the same keys.
    ///
    /// # Errors
    /// [`JournalError::Fenced`]: another writer owns the thread; nothing was stored, nothing may be sent, the execution must end with
    /// [`NodeOutcome::Fenced`]. [`JournalError::Unavailable`]: the store failed; nothing may be sent.
    async fn store(&self, records: Vec<OperationRecord>) -> Result<(), JournalError>;

    /// Takes what the node says while it works. Never waits, never fails; never replayed as state.
    fn report(&self, report: TaskReport);
}

/// Why a task's records were not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another writer has taken the thread over.
    #[error("another writer has taken the thread over")]
    Fenced,
    /// The store could not be written.
    #[error("the store could not be written: {0}")]
    Unavailable(String),
}

/// What a node says while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskReport {
    /// A log line.
    Log {
        /// How important.
        level: LogLevel,
        /// The line; bounded by the sandbox.
        message: String,
    },
    /// An event of the custom stream.
    Custom(Value),
}

/// Importance of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Finest detail.
    Trace,
    /// For debugging.
    Debug,
    /// Normal progress.
    Info,
    /// Something odd.
    Warn,
    /// Something wrong.
    Error,
}

/// How one execution went.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReport {
    /// How it ended.
    pub outcome: NodeOutcome,
    /// Operations that reached an outcome during the execution and are not stored yet: they ride on the task's commit, whatever the outcome.
    /// Replays of recorded operations are not among them.
    pub operations: Vec<OperationRecord>,
    /// Records of other threads that answered requests of this execution; they ride on the same commit.
    pub hits: Vec<OperationHit>,
}

impl From<NodeOutcome> for NodeReport {
    /// An execution that performed nothing.
    fn from(outcome: NodeOutcome) -> Self {
        Self { outcome, operations: Vec::new(), hits: Vec::new() }
    }
}

/// How an execution ended. A failure is the author's; a trap, a limit and a host fault are three other things.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeOutcome {
    /// The node returned a command.
    Completed(Command),
    /// The node asked a question that has no answer yet.
    Interrupted(Question),
    /// An operation's outcome is unknown: the thread stops until it is settled (`no-silent-doubt`).
    InDoubt {
        /// The operation.
        operation: OperationKey,
        /// What is known about it.
        reason: String,
    },
    /// The author reported a failure.
    Failed(Failure),
    /// The guest trapped (panic, unreachable, stack overflow).
    Trapped(String),
    /// The guest went over a limit.
    LimitExceeded {
        /// Name of the limit, such as `memory`, `time`, `fuel`, `value-size`.
        limit: String,
        /// What happened, with the figures.
        message: String,
    },
    /// The host could not execute the node: component missing or refused, cache broken, store unreachable. Not the guest's doing.
    HostFault(String),
    /// The node wants operations that have no record, on a branch that performs none ([`EffectMode::Recorded`]). Nothing was sent.
    Withheld {
        /// What it would have done: objects with `connector`, `operation_id` and `request`.
        operations: Vec<Value>,
    },
    /// Another writer owns the thread; nothing of this execution counts (`one-writer`).
    Fenced,
}

/// What a node returns: the channels it writes and where the graph goes next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Command {
    /// Channel name to value.
    pub update: Map<String, Value>,
    /// Where to go, besides the node's own edges.
    pub goto: Vec<Destination>,
}

/// One place to go next.
#[derive(Debug, Clone, PartialEq)]
pub enum Destination {
    /// A node of this graph.
    Node(String),
    /// A task of its own with its own argument.
    Send {
        /// The node.
        node: String,
        /// What the task gets.
        argument: Value,
    },
    /// A node of the closest parent graph.
    Parent(String),
    /// Nowhere.
    End,
}

/// A failure that the author reports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// The author's code, such as `insufficient-funds`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
    /// How long to wait before trying again.
    pub retry_after_ms: Option<u64>,
    /// More, as the author gave it.
    pub details: Option<Value>,
}

/// A question as the node asked it.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Which `interrupt` or `ask` call of the execution asked, from 0.
    pub occurrence: u32,
    /// What is asked.
    pub payload: Value,
    /// Digest of the payload; the answer binds to it.
    pub payload_digest: Digest,
    /// JSON Schema that the answer must satisfy.
    pub answer_schema: Option<Value>,
    /// How long the question stands, from when it is asked.
    pub deadline_ms: Option<u64>,
    /// Set when the host itself asks, about an operation of the node: the reason of the rule, and what a dry run showed. Shown with the question,
    /// not part of what the answer binds to.
    pub evidence: Option<Box<Value>>,
}

/// Occurrences from here on are the host's questions about operations, counted by the operation's place in the execution; those below are the
/// node's own.
pub const HOST_OCCURRENCE_FIRST: u32 = 1 << 31;

impl Question {
    /// The question's id in its task.
    pub fn id(&self, task: &TaskIdentity) -> QuestionId {
        QuestionId::derive(&task.thread, &task.checkpoint, &task.id, self.occurrence, &self.payload_digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_text() {
        let values = serde_json::json!({ "b": [1, 2.5], "a": "ä\n" }).as_object().expect("an object").clone();
        let state = State::new(values.clone());
        assert_eq!(serde_json::from_str::<Value>(state.text()).expect("JSON"), Value::Object(values.clone()));
        let shared = state.clone();
        assert!(std::ptr::eq(state.text(), shared.text()), "the text is made once for all tasks of a step");
        assert_eq!(state.get("b"), values.get("b"));
        assert_eq!(shared, State::from(values));
        assert_eq!((State::default().text(), State::default().len()), ("{}", 0));
    }

    #[test]
    fn effect_modes_are_read_back() {
        for (mode, name) in EffectMode::NAMES {
            assert_eq!((mode.name(), EffectMode::parse(name)), (name, Some(mode)));
        }
        assert_eq!(EffectMode::parse("dry"), None);
        assert_eq!(EffectMode::default(), EffectMode::Live);
    }
}
