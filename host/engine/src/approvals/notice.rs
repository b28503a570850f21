//! What people are told about a question.

use holdpoint_graph::ids::{ConnectorName, Epoch, GraphName, Tenant, ThreadId};
use holdpoint_graph::notice::{Notice, NoticeKind};
use holdpoint_store::{QuestionRecord, ThreadRecord};
use serde_json::Value;

/// What a notice says of a question's thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Whose it is.
    pub tenant: Tenant,
    /// The thread.
    pub thread: ThreadId,
    /// Its first ancestor.
    pub lineage: ThreadId,
    /// Its graph.
    pub graph: GraphName,
    /// Its epoch.
    pub epoch: Epoch,
}

impl Subject {
    /// A thread as it stands.
    pub fn of(thread: &ThreadRecord) -> Self {
        Self {
            tenant: thread.tenant.clone(),
            thread: thread.id.clone(),
            lineage: thread.lineage.clone(),
            graph: thread.graph_name.clone(),
            epoch: thread.epoch,
        }
    }
}

/// A notice for those whom the question's policy names, and `to` instead of them where it is not empty. None when the policy says that nobody is
/// notified.
pub fn notice(
    subject: &Subject,
    question: &QuestionRecord,
    kind: NoticeKind,
    number: u32,
    to: &[String],
    at_ms: u64,
) -> Option<Notice> {
    let connectors: Vec<ConnectorName> =
        texts(&question.policy, "notify").filter_map(|name| ConnectorName::parse(name).ok()).collect();
    if connectors.is_empty() {
        return None;
    }
    let to =
        if to.is_empty() { texts(&question.policy, "assignees").map(str::to_owned).collect() } else { to.to_vec() };
    let answer = question.answer.as_ref();
    Some(Notice {
        kind,
        number,
        connectors,
        to,
        tenant: subject.tenant.clone(),
        thread: subject.thread.clone(),
        graph: subject.graph.clone(),
        lineage: subject.lineage.clone(),
        epoch: subject.epoch,
        task: question.task.clone(),
        node: question.node.clone(),
        question: question.id.clone(),
        payload: question.payload.clone(),
        deadline_at_ms: question.deadline_at_ms,
        outcome: answer.map(|answer| (answer.verdict.name().to_owned(), answer.answered_by.clone())),
        at_ms,
    })
}

fn texts<'a>(policy: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    policy.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
