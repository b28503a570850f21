//! The seam between questions and those who tell people about them.

use serde_json::Value;

use crate::ids::{ConnectorName, Epoch, GraphName, NodeName, QuestionId, TaskId, Tenant, ThreadId};
use crate::operation::OperationRecord;

/// Something that happened to a question, to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// Tells several of the same kind for one question apart: the number of the reminder or of the step of the ladder; 0 otherwise.
    pub number: u32,
    /// The connectors through which it is told: the question's `notify`.
    pub connectors: Vec<ConnectorName>,
    /// Whom it is for: users, and groups as `group:NAME`. Empty means whoever may answer, where nobody is named.
    pub to: Vec<String>,
    /// Whose question it is.
    pub tenant: Tenant,
    /// The thread.
    pub thread: ThreadId,
    /// Its graph.
    pub graph: GraphName,
    /// The first ancestor of the thread by fork or copy: what operation ids are scoped to.
    pub lineage: ThreadId,
    /// The epoch that the operations are recorded under.
    pub epoch: Epoch,
    /// The task that asked.
    pub task: TaskId,
    /// Its node.
    pub node: NodeName,
    /// The question.
    pub question: QuestionId,
    /// What is asked. Told only by connectors that are set to tell it.
    pub payload: Value,
    /// Until when it may be answered, in milliseconds since 1970.
    pub deadline_at_ms: Option<u64>,
    /// For an end: the verdict and who gave it.
    pub outcome: Option<(String, String)>,
    /// The end is one administrator's word, whoever else should have had a say (break-glass).
    pub break_glass: bool,
    /// For those who may answer since it was asked: who says so, and why.
    pub added: Option<AddedBy>,
    /// The host's clock, in milliseconds since 1970.
    pub at_ms: u64,
}

/// By whom somebody may answer since a question was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedBy {
    /// Who handed the question on, or the clock, for an escalation.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Until when they may answer, in milliseconds since 1970; none means as long as the question stands.
    pub until_ms: Option<u64>,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A question was asked.
    Requested,
    /// It still waits.
    Reminded,
    /// More people may answer now.
    Escalated,
    /// It was answered.
    Decided,
    /// Nobody answered in time.
    Expired,
    /// It does not wait any more.
    Cancelled,
}

impl NoticeKind {
    /// All kinds with their names in messages.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Requested, "approval.requested"),
        (Self::Reminded, "approval.reminded"),
        (Self::Escalated, "approval.escalated"),
        (Self::Decided, "approval.decided"),
        (Self::Expired, "approval.expired"),
        (Self::Cancelled, "approval.cancelled"),
    ];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

/// Turns notices into operations that are queued in the commit of what they tell, and leave after it.
pub trait Notices: Send + Sync {
    /// The operations of a notice, one for each connector, each `queued` and due at once. The same notice gives the same keys. A connector that is
    /// not configured, or cannot tell anything, is left out and logged: a notice never stands in the way of what it tells.
    fn operations(&self, notice: &Notice) -> Vec<OperationRecord>;
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNotices;

impl Notices for NoNotices {
    fn operations(&self, _notice: &Notice) -> Vec<OperationRecord> {
        Vec::new()
    }
}

/// Who is meant by a name in a graph file. Asked when a question opens, and kept with it: a name that is given to somebody else later does not
/// give them the question.
pub trait Directory: Send + Sync {
    /// The id of a user's actor (`user:…`, `key:…`); none when the name is not known: then it is compared as it is written.
    fn user(&self, name: &str) -> Option<String>;
}

/// Knows nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDirectory;

impl Directory for NoDirectory {
    fn user(&self, _name: &str) -> Option<String> {
        None
    }
}
