//! Questions to people, and their answers.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::json;

/// What [`Cx::ask`](crate::Cx::ask) asks.
///
/// ```
/// use holdpoint_node::{Question, json};
/// use std::time::Duration;
///
/// let question = Question::new(json!({ "deploy": "v42" }))
///     .answer_schema(json!({ "type": "object", "required": ["approved"] }))
///     .deadline(Duration::from_secs(2 * 60 * 60));
/// assert_eq!(question.deadline_ms, Some(7_200_000));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is asked. The answer binds to it: asked again with another payload, it is another question.
    pub payload: Value,
    /// JSON Schema that an answer must satisfy to be accepted; besides the graph's.
    pub answer_schema: Option<Value>,
    /// How long the question stands, from when it is asked.
    pub deadline_ms: Option<u64>,
}

impl Question {
    /// Asks `payload`, for ever and with any answer.
    pub fn new(payload: Value) -> Self {
        Self { payload, answer_schema: None, deadline_ms: None }
    }

    /// As [`Question::new`], from a typed value.
    ///
    /// # Errors
    /// `invalid-question` when `payload` has no JSON form.
    pub fn from_payload(payload: &impl Serialize) -> Result<Self> {
        match serde_json::to_value(payload) {
            Ok(payload) => Ok(Self::new(payload)),
            Err(error) => Err(Error::new("invalid-question", format!("the payload has no JSON form: {error}"))),
        }
    }

    /// Only an answer that satisfies this JSON Schema is accepted.
    #[must_use]
    pub fn answer_schema(mut self, schema: Value) -> Self {
        self.answer_schema = Some(schema);
        self
    }

    /// The question expires `duration` after it was asked.
    #[must_use]
    pub fn deadline(mut self, duration: Duration) -> Self {
        self.deadline_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

/// What a person, or the deadline, said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What kind of answer it is.
    pub verdict: Verdict,
    /// The answer itself.
    pub value: Value,
    /// Who answered, such as `user:ana`.
    pub answered_by: String,
    /// When, in milliseconds since 1970.
    pub answered_at_ms: u64,
}

impl Answer {
    /// The answer as a `T`.
    ///
    /// # Errors
    /// `invalid-answer`, naming the field that does not fit.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        json::from_value(&self.value, json::ANSWER)
    }
}

/// Kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// The name in messages and APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Edit => "edit",
            Self::Respond => "respond",
            Self::Reject => "reject",
            Self::Ignore => "ignore",
            Self::Expired => "expired",
        }
    }
}
