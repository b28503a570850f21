//! A question as people see it.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{GraphName, NodeName, QuestionId, TaskId, Tenant, ThreadId};
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_store::{Added, Proceedings, Proposal, QuestionRecord, QuestionStatus, ThreadQuestion, Vote};
use serde_json::{Map, Value, json};

use super::decide::{self, allowed, tally};
use super::people::{self, Barred, Seat};
use super::policy::{EVIDENCE, Policy, Quorum};
use super::shape::{Request, Shape};
use super::time;
use crate::engine::{Principal, record};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The question.
    pub id: QuestionId,
    /// Its thread.
    pub thread: ThreadId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The thread's graph.
    pub graph: GraphName,
    /// The node that asks.
    pub node: NodeName,
    /// The task that asks.
    pub task: TaskId,
    /// Which question of the task's execution it is.
    pub occurrence: u32,
    /// Where it stands. A deadline that has come shows, whether or not that is recorded.
    pub status: ApprovalStatus,
    /// What is asked.
    pub payload: Value,
    /// Digest of what is asked.
    pub payload_digest: Digest,
    /// Digest that a decision has to name: the payload's, or that of the edited form.
    pub digest: Digest,
    /// The edited form that is voted on.
    pub proposal: Option<Proposal>,
    /// The actions that are asked about, where the payload has a known shape.
    pub actions: Vec<Request>,
    /// Why the host itself asks, and what a dry run showed.
    pub evidence: Option<Value>,
    /// JSON Schemas that the answer has to satisfy: the graph's, and the question's own.
    pub answer_schemas: Vec<Value>,
    /// What may be done: verdicts, and `delegate`. Empty when it cannot be answered any more, or its policy cannot be read.
    pub allowed: Vec<&'static str>,
    /// Verdicts that need a reason.
    pub reason_required_on: Vec<Verdict>,
    /// Who may answer: names as in the graph file. Empty means everybody of the tenant.
    pub assignees: Vec<String>,
    /// Who may answer since it was asked.
    pub added: Vec<Added>,
    /// Who may not.
    pub distinct_from: Option<String>,
    /// How many it takes.
    pub quorum: Quorum,
    /// Votes for going ahead that count.
    pub approvals: u32,
    /// Votes against it that count.
    pub rejections: u32,
    /// The votes that count, oldest first.
    pub votes: Vec<Vote>,
    /// Whether whoever asks for it may answer.
    pub eligibility: Eligibility,
    /// When it was asked, in milliseconds since 1970.
    pub asked_at_ms: u64,
    /// Until when it may be answered.
    pub deadline_at_ms: Option<u64>,
    /// When reminders and the ladder go on.
    pub due_at_ms: Option<u64>,
    /// Steps of the ladder that were taken.
    pub escalated: u32,
    /// The answer.
    pub answer: Option<Answer>,
    /// Changes so far.
    pub version: u32,
    /// Why the policy cannot be read: then nobody may answer.
    pub unreadable: Option<String>,
}

/// Where a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalStatus {
    /// Nobody went ahead yet.
    Pending,
    /// Some went ahead, and more have to.
    PartiallyApproved,
    /// Accepted as it was asked.
    Approved,
    /// Accepted with changes.
    Edited,
    /// Answered with a value.
    Responded,
    /// Turned down.
    Rejected,
    /// Dismissed.
    Ignored,
    /// Nobody decided in time.
    Expired,
    /// New input, or another question, took its place.
    Superseded,
}

impl ApprovalStatus {
    /// All of them with their spoken names.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::Pending, "pending"),
        (Self::PartiallyApproved, "partially_approved"),
        (Self::Approved, "approved"),
        (Self::Edited, "edited"),
        (Self::Responded, "responded"),
        (Self::Rejected, "rejected"),
        (Self::Ignored, "ignored"),
        (Self::Expired, "expired"),
        (Self::Superseded, "superseded"),
    ];

    /// The spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Where a question stands at `now_ms`.
    pub fn of(question: &QuestionRecord, now_ms: u64) -> Self {
        match (question.status, &question.answer) {
            (QuestionStatus::Superseded, _) => Self::Superseded,
            (_, Some(answer)) => match answer.verdict {
                Verdict::Accept => Self::Approved,
                Verdict::Edit => Self::Edited,
                Verdict::Respond => Self::Responded,
                Verdict::Reject => Self::Rejected,
                Verdict::Ignore => Self::Ignored,
                Verdict::Expired => Self::Expired,
            },
            (_, None) if time::is_expired(question, now_ms) => Self::Expired,
            (_, None) if tally(&question.proceedings.votes).0 > 0 => Self::PartiallyApproved,
            (_, None) => Self::Pending,
        }
    }

    /// Whether it may still be answered.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::PartiallyApproved)
    }
}

/// Whether somebody may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// In their own name.
    Own,
    /// In the place of somebody who handed the question on to them.
    OnBehalfOf(String),
    /// Not named.
    NotNamed,
    /// Barred, because they asked for what is asked about, or are otherwise excluded.
    Distinct,
    /// They voted, or somebody did in their place.
    Voted,
    /// Nobody may: it is over, or its policy cannot be read.
    Closed,
}

impl Eligibility {
    /// Whether they may.
    pub fn may(&self) -> bool {
        matches!(self, Self::Own | Self::OnBehalfOf(_))
    }

    /// The spoken name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::OnBehalfOf(_) => "on_behalf_of",
            Self::NotNamed => "not_eligible",
            Self::Distinct => "self_approval",
            Self::Voted => "voted",
            Self::Closed => "closed",
        }
    }
}

impl Approval {
    /// A question as `principal` sees it at `now_ms`.
    pub fn of(found: &ThreadQuestion, principal: &Principal, now_ms: u64) -> Self {
        let question = &found.question;
        let shape = Shape::of(&question.payload);
        let status = ApprovalStatus::of(question, now_ms);
        let read = Policy::read(&question.policy);
        let unreadable = read.as_ref().err().map(ToString::to_string);
        let policy = read.ok();
        let open = policy.as_ref().filter(|_| status.is_open());
        let eligibility = open.map_or(Eligibility::Closed, |policy| {
            match people::seat(policy, &question.proceedings, principal, None, now_ms) {
                Ok(Seat::Own) => Eligibility::Own,
                Ok(Seat::Of(by)) => Eligibility::OnBehalfOf(by),
                Err(Barred::NotNamed) => Eligibility::NotNamed,
                Err(Barred::Distinct) => Eligibility::Distinct,
                Err(Barred::Voted) => Eligibility::Voted,
            }
        });
        let Proceedings { version, added, votes, proposal, escalated, .. } = question.proceedings.clone();
        let (approvals, rejections) = tally(&votes);
        let text = |name: &str| question.policy.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: question.id.clone(),
            thread: found.thread.clone(),
            tenant: found.tenant.clone(),
            graph: found.graph_name.clone(),
            node: question.node.clone(),
            task: question.task.clone(),
            occurrence: question.occurrence,
            status,
            payload: question.payload.clone(),
            payload_digest: question.payload_digest.clone(),
            digest: decide::current_digest(question).clone(),
            proposal,
            actions: shape.requests().to_vec(),
            evidence: question.policy.get(EVIDENCE).cloned(),
            answer_schemas: question
                .policy
                .get("answer_schema")
                .into_iter()
                .chain(&question.answer_schema)
                .cloned()
                .collect(),
            allowed: open.map(|policy| allowed(policy, &shape)).unwrap_or_default(),
            reason_required_on: policy.as_ref().map(|policy| policy.reason_required_on.clone()).unwrap_or_default(),
            assignees: policy.iter().flat_map(|policy| &policy.assignees).map(|person| person.label.clone()).collect(),
            added,
            distinct_from: text("distinct_from"),
            quorum: policy.map_or(Quorum { approve: 1, reject: 1 }, |policy| policy.quorum),
            approvals,
            rejections,
            votes,
            eligibility,
            asked_at_ms: question.asked_at_ms,
            deadline_at_ms: question.deadline_at_ms,
            due_at_ms: question.due_at_ms.filter(|_| status.is_open()),
            escalated,
            answer: question.answer.clone(),
            version,
            unreadable,
        }
    }

    /// Why it was decided so, in the words of whoever decided.
    fn reason(&self, by: &str) -> Option<&str> {
        self.votes.last().filter(|vote| vote.by.id == by)?.reason.as_deref()
    }

    /// The approval as it is sent: the members of `reference` B3.
    pub fn to_json(&self) -> Value {
        let votes: Vec<Value> = self.votes.iter().map(vote_json).collect();
        let description = self.actions.iter().find_map(|action| action.description.as_deref());
        let on_behalf_of = match &self.eligibility {
            Eligibility::OnBehalfOf(by) => Some(by.as_str()),
            _ => None,
        };
        json!({
            "approval_id": self.id.as_str(),
            "thread_id": self.thread.as_str(),
            "graph": self.graph.as_str(),
            "node": self.node.as_str(),
            "task_id": self.task.as_str(),
            "occurrence": self.occurrence,
            "kind": if self.evidence.is_some() { "approval" } else { "question" },
            "status": self.status.name(),
            "payload": self.payload,
            "payload_digest": self.payload_digest.as_str(),
            "digest": self.digest.as_str(),
            "proposal": self.proposal.as_ref().map(|proposal| json!({
                "value": proposal.value, "digest": proposal.digest.as_str(), "by": proposal.by.id,
            })),
            "description": description,
            "actions": self.actions.iter().map(action_json).collect::<Vec<_>>(),
            "evidence": self.evidence,
            "answer_schemas": self.answer_schemas,
            "allowed": self.allowed,
            "reason_required_on": self.reason_required_on.iter().map(|verdict| verdict.name()).collect::<Vec<_>>(),
            "policy": {
                "assignees": self.assignees,
                "quorum": { "approve": self.quorum.approve, "reject": self.quorum.reject },
                "distinct_from": self.distinct_from,
                "unreadable": self.unreadable,
            },
            "added": self.added.iter().map(record::added).collect::<Vec<_>>(),
            "votes": votes,
            "approvals": self.approvals,
            "rejections": self.rejections,
            "eligibility": { "may": self.eligibility.may(), "as": self.eligibility.name(), "on_behalf_of": on_behalf_of },
            "asked_at_ms": self.asked_at_ms,
            "deadline_at_ms": self.deadline_at_ms,
            "due_at_ms": self.due_at_ms,
            "escalated": self.escalated,
            "decision": self.answer.as_ref().map(|answer| json!({
                "verdict": answer.verdict.name(),
                "value": answer.value,
                "by": answer.answered_by,
                "at_ms": answer.answered_at_ms,
                "reason": self.reason(&answer.answered_by),
            })),
            "version": self.version,
        })
    }
}

fn vote_json(vote: &Vote) -> Value {
    let mut members = match record::vote_body(vote) {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    members.insert("value".into(), vote.value.clone());
    Value::Object(members)
}

fn action_json(action: &Request) -> Value {
    json!({
        "name": action.name,
        "args": action.args,
        "description": action.description,
        "args_schema": action.args_schema,
        "allowed": action.allowed.iter().map(|verdict| verdict.name()).collect::<Vec<_>>(),
    })
}
