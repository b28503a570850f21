//! What people are told about a question.

use holdpoint_graph::ids::{ConnectorName, Epoch, GraphName, Tenant, ThreadId};
use holdpoint_graph::notice::{AddedBy, Notice, NoticeKind};
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

/// What is told of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    /// What happened.
    pub kind: NoticeKind,
    /// Tells several of a kind apart.
    pub number: u32,
    /// For these, instead of everybody who may answer.
    pub to: Vec<String>,
    /// By whom these may answer, and why.
    pub added: Option<AddedBy>,
}

impl Telling {
    /// Something that happens once, told to everybody who may answer.
    pub fn once(kind: NoticeKind) -> Self {
        Self { kind, number: 0, to: Vec::new(), added: None }
    }
}

/// A notice for those whom the question's policy names and those who were added since, unless it is for somebody in particular. None when the policy
/// says that nobody is notified.
pub fn notice(subject: &Subject, question: &QuestionRecord, telling: &Telling, at_ms: u64) -> Option<Notice> {
    let Telling { kind, number, to, added } = telling;
    let connectors: Vec<ConnectorName> =
        texts(&question.policy, "notify").filter_map(|name| ConnectorName::parse(name).ok()).collect();
    if connectors.is_empty() {
        return None;
    }
    let to = if to.is_empty() { everybody(question, *kind, at_ms) } else { to.clone() };
    let answer = question.answer.as_ref();
    let withdrawn = question.proceedings.withdrawn.as_ref();
    Some(Notice {
        kind: *kind,
        number: *number,
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
        outcome: answer
            .map(|answer| (answer.verdict.name().to_owned(), answer.answered_by.clone()))
            .or_else(|| withdrawn.map(|withdrawn| (question.status.name().to_owned(), withdrawn.by.id.clone()))),
        break_glass: question.proceedings.votes.last().is_some_and(|vote| vote.break_glass),
        added: added.clone(),
        at_ms,
    })
}

/// Whoever may answer, by name, and of an end whoever might have; nobody where that is everybody.
fn everybody(question: &QuestionRecord, kind: NoticeKind, at_ms: u64) -> Vec<String> {
    let is_end = match kind {
        NoticeKind::Requested | NoticeKind::Reminded | NoticeKind::Escalated => false,
        NoticeKind::Decided | NoticeKind::Expired | NoticeKind::Cancelled => true,
    };
    let mut everybody: Vec<String> = texts(&question.policy, "assignees").map(str::to_owned).collect();
    if everybody.is_empty() {
        return everybody;
    }
    for added in &question.proceedings.added {
        let stands = is_end || added.until_ms.is_none_or(|until_ms| at_ms < until_ms);
        if stands && !everybody.contains(&added.to) {
            everybody.push(added.to.clone());
        }
    }
    everybody
}

fn texts<'a>(policy: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    policy.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
