//! The boundary to the host: the calls of the contract as a trait, JSON as text.
//!
//! Nodes use [`Cx`](crate::Cx) instead. On `wasm32` the trait is implemented by the contract's bindings, elsewhere by
//! [`testing::FakeHost`](crate::testing::FakeHost).

use crate::cx::{Level, Task};
use crate::error::Refusal;
use crate::question::Verdict;

/// What a node can ask of its host.
pub trait Host {
    /// Asks `payload` and returns the answer's value. Returns only when there is an answer; else the execution ends here.
    fn interrupt(&self, payload: &str) -> String;
    /// As [`Host::interrupt`], with an answer schema and a deadline, and with who decided what.
    fn ask(&self, question: QuestionText) -> AnswerText;
    /// Performs one operation, or returns what it returned before.
    fn perform(&self, operation: OperationText) -> Result<String, Refusal>;
    /// Performs operations in parallel where the host can; results in the order of the operations.
    fn perform_all(&self, operations: Vec<OperationText>) -> Vec<Result<String, Refusal>>;
    /// Recorded time, in milliseconds since 1970.
    fn now_ms(&self) -> u64;
    /// Recorded randomness.
    fn random_bytes(&self, count: u32) -> Vec<u8>;
    /// Writes a log line of the task.
    fn log(&self, level: Level, message: &str);
    /// Streams a custom event.
    fn emit(&self, event: &str);
}

/// What an execution starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct InputText {
    /// The running task.
    pub task: Task,
    /// Object: the channels that the node reads.
    pub state: String,
    /// What the `send` that started the task carried.
    pub argument: Option<String>,
    /// The node's `with` table in the graph file.
    pub config: String,
}

/// A [`Question`](crate::Question) on its way to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionText {
    /// What is asked.
    pub payload: String,
    /// JSON Schema that the answer must satisfy.
    pub answer_schema: Option<String>,
    /// How long the question stands, from when it is asked.
    pub deadline_ms: Option<u64>,
}

/// An [`Answer`](crate::Answer) on its way to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerText {
    /// What kind of answer it is.
    pub verdict: Verdict,
    /// The answer itself.
    pub value: String,
    /// Who answered.
    pub answered_by: String,
    /// When, in milliseconds since 1970.
    pub answered_at_ms: u64,
}

/// An [`Operation`](crate::Operation) on its way to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationText {
    /// The author's name for the effect; none derives one from the task and the call order.
    pub id: Option<String>,
    /// The connector that performs it.
    pub connector: String,
    /// What the connector is asked to do.
    pub request: String,
}
