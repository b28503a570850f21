//! What a running node can do.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Refusal, Result};
use crate::host::{Host, InputText, QuestionText};
use crate::json;
use crate::question::{Answer, Question};
use crate::side_effect::{Operation, SideEffect};

/// The running execution: who it is, and everything it can do besides computing. Cheap to clone.
#[derive(Clone)]
pub struct Cx {
    host: Rc<dyn Host>,
    input: Rc<InputText>,
}

/// The running task. Identical on every execution of the same task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The graph's name.
    pub graph: String,
    /// The thread.
    pub thread_id: String,
    /// The checkpoint that the task starts from.
    pub checkpoint_id: String,
    /// The superstep.
    pub step: u64,
    /// The node's name in the graph.
    pub node: String,
    /// The task's own id.
    pub id: String,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every detail.
    Trace,
    /// For the author.
    Debug,
    /// For the operator.
    Info,
    /// Unexpected, but handled.
    Warn,
    /// Something failed.
    Error,
}

impl Cx {
    pub(crate) fn new(host: Rc<dyn Host>, input: InputText) -> Self {
        Self { host, input: Rc::new(input) }
    }

    /// Asks a person and returns the answer's value. The first execution ends here; after the answer the node runs again from its start.
    ///
    /// ```
    /// use holdpoint_node::prelude::*;
    ///
    /// fn confirm(state: Value, cx: Cx) -> Result<Command> {
    ///     let sure: bool = cx.interrupt(&json!({ "delete": state["path"] }))?;
    ///     Ok(Command::update(json!({ "sure": sure })))
    /// }
    /// ```
    ///
    /// # Errors
    /// `invalid-question` when `payload` has no JSON form; `invalid-answer`, naming the field, when the answer is no `A`.
    pub fn interrupt<A: DeserializeOwned>(&self, payload: &(impl Serialize + ?Sized)) -> Result<A> {
        let payload = serde_json::to_string(payload)
            .map_err(|error| Error::new("invalid-question", format!("the payload has no JSON form: {error}")))?;
        json::from_text(&self.host.interrupt(&payload), json::ANSWER)
    }

    /// Asks a person with an answer schema and a deadline, and returns who decided what. Otherwise as [`Cx::interrupt`].
    ///
    /// # Errors
    /// None of its own; reading the value may fail, see [`Answer::value`].
    pub fn ask(&self, question: Question) -> Result<Answer> {
        let answer = self.host.ask(QuestionText {
            payload: question.payload.to_string(),
            answer_schema: question.answer_schema.map(|schema| schema.to_string()),
            deadline_ms: question.deadline_ms,
        });
        Ok(Answer {
            verdict: answer.verdict,
            value: json::from_text(&answer.value, json::ANSWER)?,
            answered_by: answer.answered_by,
            answered_at_ms: answer.answered_at_ms,
        })
    }

    /// Starts one side effect through `connector`; the returned builder performs it.
    pub fn side_effect(&self, connector: impl Into<String>) -> SideEffect<'_> {
        SideEffect::new(self, connector.into())
    }

    /// Performs `operations` as one batch, in parallel where the host can. Results come in the order of the operations.
    pub fn side_effects(&self, operations: Vec<Operation>) -> Vec<Result<serde_json::Value, Refusal>> {
        let texts = operations.into_iter().map(Operation::into_text).collect();
        let results = self.host.perform_all(texts);
        results.into_iter().map(|result| json::from_text(&result?, json::RESULT).map_err(Refusal::Failed)).collect()
    }

    pub(crate) fn perform(&self, operation: Operation) -> Result<String, Refusal> {
        self.host.perform(operation.into_text())
    }

    /// Recorded time, in milliseconds since 1970: the same on every execution of the task. Later readings are never earlier.
    pub fn now_ms(&self) -> u64 {
        self.host.now_ms()
    }

    /// Recorded time; see [`Cx::now_ms`]. The system's own clock is not there for a node.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now_ms())
    }

    /// `count` random bytes, the same on every execution of the task.
    pub fn random(&self, count: u32) -> Vec<u8> {
        self.host.random_bytes(count)
    }

    /// Writes a log line of the task.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        self.host.log(level, message.as_ref());
    }

    /// Logs at [`Level::Trace`].
    pub fn trace(&self, message: impl AsRef<str>) {
        self.log(Level::Trace, message);
    }

    /// Logs at [`Level::Debug`].
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message);
    }

    /// Logs at [`Level::Info`].
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message);
    }

    /// Logs at [`Level::Warn`].
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message);
    }

    /// Logs at [`Level::Error`].
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message);
    }

    /// Streams `event` to whoever follows the run. Streamed again when the task is executed again.
    ///
    /// # Errors
    /// `invalid-event` when `event` has no JSON form.
    pub fn emit(&self, event: &(impl Serialize + ?Sized)) -> Result<()> {
        let event = serde_json::to_string(event)
            .map_err(|error| Error::new("invalid-event", format!("the event has no JSON form: {error}")))?;
        self.host.emit(&event);
        Ok(())
    }

    /// What the `send` that started this task carried. A task started by an edge has none, which reads as null.
    ///
    /// # Errors
    /// `missing-argument` when there is none and `T` does not take null; `invalid-argument`, naming the field, when it is no `T`.
    pub fn argument<T: DeserializeOwned>(&self) -> Result<T> {
        match &self.input.argument {
            Some(argument) => json::from_text(argument, json::ARGUMENT),
            None => serde_json::from_value(serde_json::Value::Null)
                .map_err(|_| Error::new("missing-argument", "the task was not started by a `send`")),
        }
    }

    /// The node's `with` table in the graph file; an empty object when it has none.
    ///
    /// # Errors
    /// `invalid-config`, naming the field, when it is no `T`.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        json::from_text(&self.input.config, json::CONFIG)
    }

    /// The running task.
    pub fn task(&self) -> &Task {
        &self.input.task
    }
}

impl fmt::Debug for Cx {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cx").field("input", &self.input).finish_non_exhaustive()
    }
}
