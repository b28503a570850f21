//! A question as people see it.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{GraphName, NodeName, QuestionId, TaskId, Tenant, ThreadId};
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_store::{Added, Proceedings, Proposal, QuestionRecord, QuestionStatus, ThreadQuestion, Vote, Withdrawn};
use serde_json::{Map, Value, json};

use super::decide::{self, allowed, tally};
use super::people::{self, Barred, Seat};
use super::policy::{EVIDENCE, Policy, Quorum, Risk, Step, StepUp};
use super::shape::{Request, Shape};
use super::{time, value};
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
    /// They have to sign in anew before they do.
    pub must_sign_in: bool,
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
    /// One administrator's word decided it, whoever else should have had a say.
    pub broken_glass: bool,
    /// Who cancelled it.
    pub withdrawn: Option<Withdrawn>,
    /// How much is at stake: as the policy says, or else as the payload's own `risk` does.
    pub risk: Option<Risk>,
    /// How those who answer have to have signed in.
    pub step_up: Option<StepUp>,
    /// Whether an administrator's word may decide alone.
    pub break_glass: bool,
    /// When reminders are due, in milliseconds after the asking.
    pub remind_after_ms: Vec<u64>,
    /// Who may answer too after a while.
    pub ladder: Vec<Step>,
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
    /// Somebody dismissed it, took back what it was about, or deleted its thread.
    Cancelled,
}

impl ApprovalStatus {
    /// All of them with their spoken names.
    pub const NAMES: [(Self, &'static str); 10] = [
        (Self::Pending, "pending"),
        (Self::PartiallyApproved, "partially_approved"),
        (Self::Approved, "approved"),
        (Self::Edited, "edited"),
        (Self::Responded, "responded"),
        (Self::Rejected, "rejected"),
        (Self::Ignored, "ignored"),
        (Self::Expired, "expired"),
        (Self::Superseded, "superseded"),
        (Self::Cancelled, "cancelled"),
    ];

    /// The spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Where a question stands at `now_ms`.
    pub fn of(question: &QuestionRecord, now_ms: u64) -> Self {
        match (question.status, &question.answer) {
            (QuestionStatus::Superseded, _) => Self::Superseded,
            (QuestionStatus::Cancelled, _) => Self::Cancelled,
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
        let Proceedings { version, added, votes, proposal, escalated, withdrawn, .. } = question.proceedings.clone();
        let (approvals, rejections) = tally(&votes);
        let votes_break_glass = votes.last().is_some_and(|vote| vote.break_glass);
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
            quorum: policy.as_ref().map_or(Quorum { approve: 1, reject: 1 }, |policy| policy.quorum),
            approvals,
            rejections,
            votes,
            eligibility,
            must_sign_in: open
                .and_then(|policy| policy.step_up.as_ref())
                .is_some_and(|step_up| !step_up.is_met(principal.authenticated.as_ref(), now_ms)),
            asked_at_ms: question.asked_at_ms,
            deadline_at_ms: question.deadline_at_ms,
            due_at_ms: question.due_at_ms.filter(|_| status.is_open()),
            escalated,
            answer: question.answer.clone(),
            broken_glass: votes_break_glass,
            withdrawn,
            risk: policy.as_ref().and_then(|policy| policy.risk).or_else(|| said_risk(&question.payload)),
            step_up: policy.as_ref().and_then(|policy| policy.step_up.clone()),
            break_glass: open.is_some_and(|policy| policy.break_glass),
            remind_after_ms: policy.as_ref().map(|policy| policy.remind_after_ms.clone()).unwrap_or_default(),
            ladder: policy.as_ref().map(|policy| policy.ladder.clone()).unwrap_or_default(),
            version,
            unreadable,
        }
    }

    /// The value that the edited form would have the asker do, beside what it asked for; none where nothing is edited, or the form does not show it.
    pub fn edit(&self) -> Option<Edit> {
        let edited = match (&self.proposal, &self.answer) {
            (_, Some(answer)) if answer.verdict == Verdict::Edit => &answer.value,
            (Some(proposal), None) => &proposal.value,
            _ => return None,
        };
        let shape = Shape::of(&self.payload);
        let asked = match shape.requests() {
            [] => vec![self.payload.clone()],
            requests => requests.iter().map(|request| request.args.clone()).collect(),
        };
        let edited = value::edited_args(&shape, edited)?;
        Some(Edit { asked, edited })
    }

    /// Why it was decided so, in the words of whoever decided.
    fn reason(&self, by: &str) -> Option<&str> {
        self.votes.last().filter(|vote| vote.by.id == by)?.reason.as_deref()
    }

    /// The approval as it is sent.
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
                "step_up": self.step_up.as_ref().map(|step_up| json!({ "within_ms": step_up.within_ms, "acr": step_up.acr })),
                "break_glass": self.break_glass,
                "remind_after_ms": self.remind_after_ms,
                "escalate": self.ladder.iter().map(step_json).collect::<Vec<_>>(),
                "unreadable": self.unreadable,
            },
            "risk": self.risk.map(Risk::name),
            "break_glass": self.broken_glass,
            "added": self.added.iter().map(record::added).collect::<Vec<_>>(),
            "votes": votes,
            "approvals": self.approvals,
            "rejections": self.rejections,
            "eligibility": {
                "may": self.eligibility.may(),
                "as": self.eligibility.name(),
                "on_behalf_of": on_behalf_of,
                "must_sign_in": self.must_sign_in,
            },
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
                "break_glass": self.broken_glass,
            })),
            "cancelled": self.withdrawn.as_ref().map(|withdrawn| json!({
                "by": withdrawn.by.id, "basis": withdrawn.by.basis.name(), "at_ms": withdrawn.at_ms,
            })),
            "version": self.version,
        })
    }
}

/// What was asked, and what somebody made of it: the arguments of each action, or the whole of a payload that has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// As it was asked.
    pub asked: Vec<Value>,
    /// As it was edited.
    pub edited: Vec<Value>,
}

/// What a payload says of its risk, where the graph says nothing.
fn said_risk(payload: &Value) -> Option<Risk> {
    Risk::parse(payload.get("risk")?.as_str()?)
}

fn step_json(step: &Step) -> Value {
    let to: Vec<&str> = step.to.iter().map(|person| person.label.as_str()).collect();
    json!({ "after_ms": step.after_ms, "to": to })
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
