//! What is put on the record of a change (`accounted`).

use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::nodes::Answer;
use holdpoint_store::{Added, AuditEntry, Proceedings, QuestionRecord, RunStatus, RunUpdate, Vote};
use serde_json::{Map, Value, json};

use super::{Engine, Turn};
use crate::approvals::decide::{self, Outcome};
use crate::error::Error;

impl Engine {
    /// An entry in the name of whoever asks.
    pub(super) fn entry(&self, thread: &ThreadId, kind: &'static str, at_ms: u64, body: Value) -> AuditEntry {
        self.entry_by(self.options.principal.actor.clone(), thread, kind, at_ms, body)
    }

    pub(super) fn entry_by(
        &self,
        actor: Actor,
        thread: &ThreadId,
        kind: &'static str,
        at_ms: u64,
        mut body: Value,
    ) -> AuditEntry {
        if let (Some(Turn { run, .. }), Some(body)) = (&self.options.run, body.as_object_mut()) {
            body.insert("run".into(), run.as_str().into());
        }
        let tenant = self.options.principal.tenant.clone();
        AuditEntry { thread: Some(thread.clone()), tenant, at_ms, actor, kind, body: object(body) }
    }

    /// The update of the stored run of the call, if there is one. It begins it; one that has begun stays as it is, and the commit is refused when it
    /// is over by now: nothing runs any more under a run that somebody ended.
    pub(super) fn turn(&self) -> Vec<RunUpdate> {
        let turn = self.options.run.iter();
        turn.map(|turn| RunUpdate {
            run: turn.run.clone(),
            from: if turn.begun { RunStatus::Running } else { RunStatus::Pending },
            to: RunStatus::Running,
            error: None,
        })
        .collect()
    }
}

/// What was decided, by whom, and what they saw.
pub(crate) fn decided(question: &QuestionRecord, answer: &Answer, proceedings: &Proceedings) -> Value {
    json!({
        "question": question.id.as_str(),
        "node": question.node.as_str(),
        "payload": question.payload,
        "payload_digest": question.payload_digest.as_str(),
        "policy": question.policy,
        "verdict": answer.verdict.name(),
        "value": answer.value,
        "answered_by": answer.answered_by,
        "votes": proceedings.votes.iter().map(vote_body).collect::<Vec<_>>(),
        "added": proceedings.added.iter().map(added).collect::<Vec<_>>(),
        "proposal": proceedings.proposal.as_ref().map(|proposal| json!({
            "digest": proposal.digest.as_str(), "by": proposal.by.id,
        })),
        "asked_at_ms": question.asked_at_ms,
        "deadline_at_ms": question.deadline_at_ms,
        "break_glass": proceedings.votes.last().is_some_and(|vote| vote.break_glass),
    })
}

/// A vote that does not decide.
pub(super) fn voted(question: &QuestionRecord, outcome: &Outcome) -> Value {
    let proposal = outcome.proceedings.proposal.as_ref();
    json!({
        "question": question.id.as_str(),
        "node": question.node.as_str(),
        "payload_digest": question.payload_digest.as_str(),
        "vote": vote_body(&outcome.vote),
        "value": outcome.vote.value,
        "proposal": proposal.map(|proposal| proposal.digest.as_str()),
        "removed_votes": outcome.removed,
    })
}

/// One vote, without its value.
pub(crate) fn vote_body(vote: &Vote) -> Value {
    json!({
        "by": vote.by.id,
        "basis": vote.by.basis.name(),
        "on_behalf_of": vote.on_behalf_of,
        "verdict": vote.verdict.name(),
        "reason": vote.reason,
        "digest": vote.digest.as_str(),
        "break_glass": vote.break_glass,
        "at_ms": vote.at_ms,
    })
}

/// Somebody who may answer since the question was asked.
pub(crate) fn added(added: &Added) -> Value {
    json!({
        "to": added.to,
        "on_behalf_of": added.on_behalf_of,
        "until_ms": added.until_ms,
        "reason": added.reason,
        "at_ms": added.at_ms,
    })
}

/// What somebody wanted who may not.
pub(super) fn refused(question: &QuestionRecord, what: &str, error: &Error) -> Value {
    json!({
        "question": question.id.as_str(),
        "node": question.node.as_str(),
        "code": error.code(),
        "wanted": what,
        "digest": decide::current_digest(question).as_str(),
    })
}

fn object(body: Value) -> Map<String, Value> {
    match body {
        Value::Object(body) => body,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}
