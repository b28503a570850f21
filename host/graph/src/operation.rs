//! A named side effect: its identity, what was asked, and what became of it.

use serde_json::Value;

use crate::digest::Digest;
use crate::ids::{ConnectorName, Epoch, NodeName, OperationId, TaskId, ThreadId};
use crate::nodes::Failure;

/// Within which records an operation id is looked up. Set by the connector's configuration, never by the guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The thread and everything forked or copied from it; holds the root thread of that lineage.
    Thread(ThreadId),
    /// One business operation across all threads of the graphs that share this name.
    Global(String),
}

impl Scope {
    /// The stored form, `thread:…` or `global:…`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Thread(thread) => format!("thread:{thread}"),
            Self::Global(name) => format!("global:{name}"),
        }
    }

    /// Reads the stored form back; `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(thread) = text.strip_prefix("thread:") {
            ThreadId::parse(thread).ok().map(Self::Thread)
        } else {
            text.strip_prefix("global:").map(|name| Self::Global(name.to_owned()))
        }
    }
}

/// What identifies an operation: one request is sent for it, ever (`effect-once`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationKey {
    /// Where the id is unique.
    pub scope: Scope,
    /// The connector that performs it.
    pub connector: ConnectorName,
    /// The author's name for it, or the derived one.
    pub id: OperationId,
}

/// The journal's record of one operation.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRecord {
    /// What identifies it.
    pub key: OperationKey,
    /// The thread that performed it first.
    pub thread: ThreadId,
    /// The task that performed it first.
    pub task: TaskId,
    /// The node of that task.
    pub node: NodeName,
    /// The request as the guest gave it: no secret is ever in it.
    pub request: Value,
    /// SHA-256 of the canonical request. Another request under the same key is a conflict.
    pub request_digest: Digest,
    /// How far it got.
    pub state: OperationState,
    /// The thread's epoch under which it was recorded.
    pub epoch: Epoch,
    /// When it was begun, in milliseconds since 1970.
    pub begun_at_ms: u64,
    /// The moment after which the request no longer leaves; for records that were intents.
    pub send_by_ms: Option<u64>,
    /// The moment from which a request that has not landed will not land any more: `send_by_ms`, the connector's timeout and the tolerated
    /// difference of clocks. Before it, nothing but a receiver's own word can settle a doubt. For records that were intents.
    pub settles_at_ms: Option<u64>,
    /// When its outcome was known, `not-sent` included; none for an intent.
    pub finished_at_ms: Option<u64>,
    /// Who had a say in it besides the node, oldest first: approvals, lookups, people who settled a doubt.
    pub notes: Vec<OperationNote>,
}

/// Somebody's word on an operation. Kept for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationNote {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What was said.
    pub kind: NoteKind,
    /// Whose word it is, such as `cli:ana`, `standing:finance` or `lookup`.
    pub by: String,
    /// The reason or the evidence, for people.
    pub text: String,
}

/// What can be said of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// It may be sent.
    Approved,
    /// It has happened; its answer is what this word gave.
    Happened,
    /// It has not happened: it may be sent.
    NotHappened,
    /// It is to count as failed for good.
    Failed,
}

impl NoteKind {
    /// All kinds with their stored and spoken names.
    pub const NAMES: [(Self, &'static str); 4] = [
        (Self::Approved, "approved"),
        (Self::Happened, "happened"),
        (Self::NotHappened, "not-happened"),
        (Self::Failed, "failed"),
    ];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
    }
}

/// A record that answered another thread's equal request: kept, because a hit is either a shared business operation or a guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationHit {
    /// The operation.
    pub key: OperationKey,
    /// The thread that asked.
    pub thread: ThreadId,
    /// Its task.
    pub task: TaskId,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How far an operation got.
#[derive(Debug, Clone, PartialEq)]
pub enum OperationState {
    /// About to be sent, or sent, with no outcome recorded. Found by anyone but its live owner, it is in doubt.
    Intended,
    /// To be sent after the commit that stores this; its node has got a receipt and gone on.
    Queued {
        /// Attempts so far.
        attempts: u32,
        /// Not sent before this moment, in milliseconds since 1970.
        due_at_ms: u64,
    },
    /// Landed; a replay returns this answer.
    Completed(Value),
    /// Failed for good; a replay returns this failure.
    Failed(Failure),
    /// Sent or possibly sent, outcome unknown or unusable: only a person, a lookup or the receiver's window settles it.
    InDoubt(String),
    /// Was intended, and its request is known not to have been executed: whoever finds it may send. Not a doubt, nothing to settle.
    NotSent,
}

impl OperationState {
    /// The stored name of the state.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Queued { .. } => "queued",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::InDoubt(_) => "in-doubt",
            Self::NotSent => "not-sent",
        }
    }
}
