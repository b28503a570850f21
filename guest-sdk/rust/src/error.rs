//! What goes wrong in a node: failures of its author and refusals of its host.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// A node's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that the node reports. The task fails with it; it is tried again only if it is retryable and the graph has a retry policy.
///
/// ```
/// use holdpoint_node::{Error, json};
/// use std::time::Duration;
///
/// let error = Error::new("rate-limited", "the index is busy").retry_after(Duration::from_secs(2)).details(json!({ "shard": 7 }));
/// assert!(error.retryable);
/// assert_eq!(error.to_string(), "rate-limited: the index is busy");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// Stable, for programs: such as `insufficient-funds`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether trying again may help.
    pub retryable: bool,
    /// How long to wait before trying again.
    pub retry_after_ms: Option<u64>,
    /// More, for programs.
    pub details: Option<Value>,
}

impl Error {
    /// A failure that trying again does not help.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, retry_after_ms: None, details: None }
    }

    /// Trying again may help.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Trying again may help, but not before `delay`.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self.retryable()
    }

    /// Adds `details` for programs.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    /// `invalid-json`.
    fn from(error: serde_json::Error) -> Self {
        Self::new("invalid-json", error.to_string())
    }
}

/// Why an operation has no result. `?` turns it into an [`Error`] with the code named at each variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The graph or the connector does not allow it. Code `denied`.
    Denied(String),
    /// The connector cannot read the request. Code `invalid`.
    Invalid(String),
    /// The operation id was used before with another request; nothing was sent. Code `conflict`.
    Conflict(String),
    /// It was performed and failed, or its answer is not what the node expects. The failure's own code.
    Failed(Error),
}

impl Refusal {
    /// The code that the refusal has as an [`Error`].
    pub fn code(&self) -> &str {
        match self {
            Self::Denied(_) => "denied",
            Self::Invalid(_) => "invalid",
            Self::Conflict(_) => "conflict",
            Self::Failed(error) => &error.code,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(reason) | Self::Invalid(reason) | Self::Conflict(reason) => {
                write!(formatter, "{}: {reason}", self.code())
            }
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(reason) => Self::new("denied", reason),
            Refusal::Invalid(reason) => Self::new("invalid", reason),
            Refusal::Conflict(reason) => Self::new("conflict", reason),
            Refusal::Failed(error) => error,
        }
    }
}
