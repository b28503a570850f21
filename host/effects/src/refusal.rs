//! What a guest is told instead of an answer, and what ends its execution.

use holdpoint_graph::ids::{ConnectorName, NodeName};
use holdpoint_graph::nodes::{Failure, Question};
use holdpoint_graph::operation::OperationKey;
use serde_json::Value;

use crate::connectors::Rejection;

/// What a guest gets instead of an operation's answer. Texts say the cause, the cure and, in brackets, the stable code; never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not allowed: not granted, not on the allow list, over a limit. Nothing was sent.
    #[error("denied: {0}")]
    Denied(String),
    /// The request cannot be performed as it is. Nothing was sent.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The id belongs to another request. Nothing was sent.
    #[error("conflict: {0}")]
    Conflict(String),
    /// It was tried and failed; `retryable` says whether trying again may help, `details.request_sent` whether anything left.
    #[error("failed: {0}")]
    Failed(Failure),
}

/// What ends the execution: the guest gets no answer at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Halt {
    /// The operation's outcome is unknown: the thread stops until it is settled (`no-silent-doubt`).
    #[error("operation {} of connector {} is in doubt: {reason}", .operation.id, .operation.connector)]
    InDoubt {
        /// The operation.
        operation: OperationKey,
        /// What is known about it.
        reason: String,
    },
    /// A person has to approve a request before it is sent: the host asks. Nothing of the call was sent.
    #[error("a person has to approve the request first")]
    Question(Box<Question>),
    /// The call wants operations that have no record, on a branch that performs none. Nothing was sent, asked or stored.
    #[error("{} withheld: this branch performs no new operations", count(.operations.len()))]
    Withheld {
        /// All of them, in order of the call: objects with `connector`, `operation_id` and `request`.
        operations: Vec<Value>,
    },
    /// Another writer owns the thread; nothing was sent after that was known.
    #[error("another writer has taken the thread over")]
    Fenced,
    /// The journal failed; nothing was sent after that was known.
    #[error("{0}")]
    Fault(String),
}

fn count(operations: usize) -> String {
    if operations == 1 { "one operation is".to_owned() } else { format!("{operations} operations are") }
}

/// Why an operation is refused before it is tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("connector {connector:?} is not granted to node {node}")]
    NotGranted { connector: String, node: NodeName },
    #[error("this execution has asked for its {max} operations (limit `operations-per-task`)")]
    TooMany { max: u32 },
    #[error("this execution holds {bytes} bytes of operations (limit `operation-bytes-per-task`)")]
    TooMuch { bytes: usize },
    #[error("connector {connector} is not configured; configured are: {configured}")]
    Unknown { connector: ConnectorName, configured: String },
    #[error("{0}")]
    OperationId(String),
    #[error("the request has {bytes} bytes, the limit is {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("connector {0} cannot be used as it is configured")]
    Unusable(ConnectorName),
    #[error("{0}")]
    RequestInvalid(String),
    #[error("{0}")]
    RequestDenied(String),
    #[error("the operation id was first used by this thread at {time} for the request {digest}")]
    Conflict { digest: String, time: String },
    #[error("the operation id was first used for another request")]
    ForeignConflict,
    #[error("the receiver's address is not allowed")]
    Address,
    #[error("{by} did not approve the request{}", .reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})")))]
    NotApproved { by: String, reason: Option<String> },
}

impl Reason {
    /// Stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "HP0531",
            Self::NotGranted { .. } => "HP0521",
            Self::OperationId(_) => "HP0522",
            Self::TooLarge { .. } => "HP0523",
            Self::Unusable(_) => "HP0524",
            Self::RequestInvalid(_) => "HP0525",
            Self::RequestDenied(_) => "HP0526",
            Self::Address => "HP0527",
            Self::TooMany { .. } => "HP0528",
            Self::Conflict { .. } | Self::ForeignConflict => "HP0529",
            Self::TooMuch { .. } => "HP0530",
            Self::NotApproved { .. } => "HP0532",
        }
    }

    /// What to do about it.
    fn cure(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "add it to holdpoint.toml or use one that is there",
            Self::NotGranted { .. } => "add it to the node's `connectors` in the graph file",
            Self::OperationId(_) => "use a short text that names the effect, such as `refund:9241`",
            Self::TooLarge { .. } => "send less, or raise the connector's `request_limit`",
            Self::Unusable(_) => "the operator finds the reason in the log and with `holdpoint doctor`",
            Self::RequestInvalid(_) => "correct the request",
            Self::RequestDenied(_) => "the operator lists what is allowed in the connector's `allow`",
            Self::Address => "the operator allows it with the connector's `addresses`",
            Self::TooMany { .. } => "perform fewer in one node, or raise `limits.operations_per_task`",
            Self::TooMuch { .. } => "perform fewer or smaller ones in one node",
            Self::NotApproved { .. } => "go on without it, or ask for something else under another id",
            Self::Conflict { .. } | Self::ForeignConflict => "use one id for one request",
        }
    }
}

impl From<Rejection> for Reason {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid(reason) => Self::RequestInvalid(reason),
            Rejection::Denied(reason) => Self::RequestDenied(reason),
            Rejection::Address => Self::Address,
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let text = format!("{reason}: {} [{}]", reason.cure(), reason.code());
        match reason {
            Reason::NotGranted { .. }
            | Reason::TooMany { .. }
            | Reason::TooMuch { .. }
            | Reason::Unusable(_)
            | Reason::RequestDenied(_)
            | Reason::NotApproved { .. }
            | Reason::Address => Self::Denied(text),
            Reason::Unknown { .. } | Reason::OperationId(_) | Reason::TooLarge { .. } | Reason::RequestInvalid(_) => {
                Self::Invalid(text)
            }
            Reason::Conflict { .. } | Reason::ForeignConflict => Self::Conflict(text),
        }
    }
}
