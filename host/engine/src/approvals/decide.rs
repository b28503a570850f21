//! What somebody's word on a question comes to. Pure.
//!
//! *Accept*, *edit* and *respond* are for going ahead, *reject* and *ignore* are against it; each side has its number of people. With a quorum of
//! one to go ahead, the first word for it decides. With more, what they agree on is one value: what *accept* gives the node, or what somebody's
//! *edit* or *response* proposed instead. A proposal removes the votes before it, counts as its author's, and has a digest of its own, which votes
//! after it have to name; it is the deciding value when enough accept it.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_store::{Proceedings, Proposal, QuestionRecord, Vote};
use serde_json::{Value, json};

use super::people::{self, Barred, Seat};
use super::policy::Policy;
use super::shape::Shape;
use super::value::{self, Given};
use crate::answers::check_answer;
use crate::engine::Principal;
use crate::error::Error;

/// What somebody says of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// What. One of [`super::policy::VERDICTS`].
    pub verdict: Verdict,
    /// The whole value that the node gets. Must fit the verdict.
    pub value: Option<Value>,
    /// Other arguments for what is asked about, with an edit.
    pub args: Option<Value>,
    /// Why, or the response.
    pub message: Option<String>,
    /// Digest of what they were shown: the payload's, or that of the edited form.
    pub digest: Digest,
    /// In whose place, where somebody handed the question on to them and it is not to be found out.
    pub on_behalf_of: Option<String>,
    /// It decides alone, whoever may answer and however many it takes. Whoever hands it in answers for its author being an administrator.
    pub break_glass: bool,
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The vote.
    pub vote: Vote,
    /// The proceedings with it.
    pub proceedings: Proceedings,
    /// The answer, when it decides.
    pub answer: Option<Answer>,
    /// Votes that it removed.
    pub removed: usize,
}

/// What a principal's word on a question comes to at `now_ms`.
///
/// # Errors
/// Every refusal: the question stands as it is.
pub fn decide(question: &QuestionRecord, principal: &Principal, word: &Word, now_ms: u64) -> Result<Outcome, Error> {
    let policy = open(question, now_ms)?;
    let seat = if word.break_glass {
        check_break_glass(question, &policy, principal, word)?
    } else {
        take_seat(question, &policy, principal, word.on_behalf_of.as_deref(), now_ms)?
    };
    check_step_up(question, &policy, principal, now_ms)?;
    let current = current_digest(question);
    if word.digest != *current {
        return Err(Error::Stale {
            question: question.id.clone(),
            current: current.clone(),
            given: word.digest.clone(),
        });
    }
    let shape = Shape::of(&question.payload);
    let verdict = word.verdict;
    check_allowed(question, &policy, &shape, word)?;
    let message = word.message.as_deref().filter(|message| !message.trim().is_empty());
    if message.is_none() && policy.reason_required_on.contains(&verdict) {
        return Err(Error::ReasonRequired { question: question.id.clone(), verdict });
    }
    let proposal = question.proceedings.proposal.as_ref();
    let value = voted_value(question, &shape, proposal, word, message)?;
    let several = policy.quorum.approve > 1;
    let proposes = verdict == Verdict::Edit || (verdict == Verdict::Respond && several);
    if several && verdict == Verdict::Accept {
        check_agrees(question, &shape, proposal, &value)?;
    }
    let vote = Vote {
        by: principal.actor.clone(),
        on_behalf_of: match seat {
            Seat::Own => None,
            Seat::Of(by) => Some(by),
        },
        verdict,
        value: value.clone(),
        reason: message.map(str::to_owned),
        digest: word.digest.clone(),
        break_glass: word.break_glass,
        at_ms: now_ms,
    };
    let mut proceedings = question.proceedings.clone();
    proceedings.version += 1;
    let mut removed = 0;
    if proposes {
        removed = proceedings.votes.len();
        proceedings.votes.clear();
        let digest = proposal_digest(question, &value);
        proceedings.proposal = Some(Proposal { digest, value, by: principal.actor.clone() });
    }
    proceedings.votes.push(vote.clone());
    let answer = deciding(&policy, &proceedings).map(|(verdict, value)| Answer {
        verdict,
        value,
        answered_by: principal.actor.id.clone(),
        answered_at_ms: now_ms,
    });
    Ok(Outcome { vote, proceedings, answer, removed })
}

/// Whether an administrator's word may decide alone, and says why.
fn check_break_glass(
    question: &QuestionRecord,
    policy: &Policy,
    principal: &Principal,
    word: &Word,
) -> Result<Seat, Error> {
    if !policy.break_glass {
        return Err(Error::BreakGlassBarred { question: question.id.clone(), actor: principal.actor.id.clone() });
    }
    if word.message.as_deref().is_none_or(|message| message.trim().is_empty()) {
        return Err(Error::ReasonRequired { question: question.id.clone(), verdict: word.verdict });
    }
    Ok(Seat::Own)
}

/// Whether whoever answers has signed in as the policy wants it. Said after who may answer: it is no way to find that out.
fn check_step_up(question: &QuestionRecord, policy: &Policy, principal: &Principal, now_ms: u64) -> Result<(), Error> {
    match &policy.step_up {
        Some(step_up) if !step_up.is_met(principal.authenticated.as_ref(), now_ms) => Err(Error::StepUpRequired {
            question: question.id.clone(),
            actor: principal.actor.id.clone(),
            step_up: step_up.clone(),
        }),
        _ => Ok(()),
    }
}

/// The policy of a question that may still be answered.
///
/// # Errors
/// [`Error::AlreadySettled`], [`Error::Expired`], [`Error::PolicyUnreadable`].
pub fn open(question: &QuestionRecord, now_ms: u64) -> Result<Policy, Error> {
    if question.status != holdpoint_store::QuestionStatus::Pending {
        return Err(Error::settled(question.clone()));
    }
    if let Some(deadline_at_ms) = question.deadline_at_ms.filter(|deadline_at_ms| *deadline_at_ms <= now_ms) {
        return Err(Error::Expired { question: question.id.clone(), deadline_at_ms });
    }
    Policy::read(&question.policy)
        .map_err(|reason| Error::PolicyUnreadable { question: question.id.clone(), reason: reason.to_string() })
}

/// In whose name the principal may answer.
///
/// # Errors
/// [`Error::NotEligible`], [`Error::SelfApproval`], [`Error::AlreadyVoted`].
pub fn take_seat(
    question: &QuestionRecord,
    policy: &Policy,
    principal: &Principal,
    wanted: Option<&str>,
    now_ms: u64,
) -> Result<Seat, Error> {
    let (id, actor) = (question.id.clone(), principal.actor.id.clone());
    people::seat(policy, &question.proceedings, principal, wanted, now_ms).map_err(|barred| match barred {
        Barred::NotNamed => Error::NotEligible { question: id, actor },
        Barred::Distinct => Error::SelfApproval { question: id, actor },
        Barred::Voted => Error::AlreadyVoted { question: id, actor },
    })
}

/// Digest of what votes have to name now.
pub fn current_digest(question: &QuestionRecord) -> &Digest {
    question.proceedings.proposal.as_ref().map_or(&question.payload_digest, |proposal| &proposal.digest)
}

/// Digest of an edited form: of what was asked, and of the value that is to answer it. It is never that of a payload.
pub fn proposal_digest(question: &QuestionRecord, value: &Value) -> Digest {
    Digest::of_json(&json!({ "payload_digest": question.payload_digest.as_str(), "proposed": value }))
}

/// Whether a verdict is for going ahead.
pub fn approves(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Accept | Verdict::Edit | Verdict::Respond)
}

/// How many votes there are for going ahead, and against it.
pub fn tally(votes: &[Vote]) -> (u32, u32) {
    let count = |side: bool| votes.iter().filter(|vote| approves(vote.verdict) == side).count();
    (u32::try_from(count(true)).unwrap_or(u32::MAX), u32::try_from(count(false)).unwrap_or(u32::MAX))
}

fn check_allowed(question: &QuestionRecord, policy: &Policy, shape: &Shape, word: &Word) -> Result<(), Error> {
    let Word { verdict, value, .. } = word;
    let refused = |verdict: Verdict| Error::VerdictNotAllowed {
        question: question.id.clone(),
        verdict: verdict.name(),
        allowed: allowed(policy, shape),
    };
    if !policy.verdicts.contains(verdict) {
        return Err(refused(*verdict));
    }
    // Decisions on several actions are looked at one by one.
    let one_by_one =
        matches!(shape, Shape::Middleware(_)) && value.as_ref().is_some_and(|value| value["decisions"].is_array());
    if !one_by_one && !shape.allows(*verdict) {
        return Err(refused(*verdict));
    }
    // A yes that says more is a way to edit.
    let says_more = |value: &Value| {
        let members = value.as_object().filter(|members| members.contains_key("approved"));
        members.is_some_and(|members| members.keys().any(|name| name != "approved" && name != "reason"))
    };
    let may_edit = policy.verdicts.contains(&Verdict::Edit) || policy.is_hosts;
    if *verdict == Verdict::Accept && !may_edit && value.as_ref().is_some_and(says_more) {
        return Err(refused(Verdict::Edit));
    }
    Ok(())
}

/// What may be done with a question, as people are told: the host's own wants a yes or a no.
pub fn allowed(policy: &Policy, shape: &Shape) -> Vec<&'static str> {
    let said = policy.verdicts.iter().filter(|verdict| !(policy.is_hosts && **verdict == Verdict::Respond));
    let verdicts = said.filter(|verdict| shape.allows(**verdict)).map(|verdict| verdict.name());
    verdicts.chain(policy.delegation.then_some("delegate")).collect()
}

/// The value that the node gets should this vote decide, as its schemas want it.
fn voted_value(
    question: &QuestionRecord,
    shape: &Shape,
    proposal: Option<&Proposal>,
    word: &Word,
    message: Option<&str>,
) -> Result<Value, Error> {
    let invalid = |reason: String| Error::InvalidAnswer { question: question.id.clone(), violations: vec![reason] };
    if let (Verdict::Accept, Some(proposal), None) = (word.verdict, proposal, &word.value) {
        return Ok(proposal.value.clone());
    }
    if word.value.as_ref().is_some_and(Value::is_null) {
        return Err(Error::NullAnswer);
    }
    let given = Given { value: word.value.as_ref(), args: word.args.as_ref(), message };
    let value = value::value(shape, word.verdict, given).map_err(invalid)?;
    match check_answer(question, &value) {
        // The reason is on the record in any case: a schema that has no room for it is no ground to refuse.
        Err(_) if message.is_some() && word.value.is_none() && word.verdict != Verdict::Respond => {
            let value = value::value(shape, word.verdict, Given { message: None, ..given }).map_err(invalid)?;
            check_answer(question, &value).map(|()| value)
        }
        checked => checked.map(|()| value),
    }
}

/// Whether an acceptance is one of what the others vote on.
fn check_agrees(
    question: &QuestionRecord,
    shape: &Shape,
    proposal: Option<&Proposal>,
    value: &Value,
) -> Result<(), Error> {
    let plain = || value::value(shape, Verdict::Accept, Given::default()).unwrap_or(Value::Null);
    let voted_on = proposal.map_or_else(plain, |proposal| proposal.value.clone());
    if without_reason(value.clone()) == without_reason(voted_on) {
        return Ok(());
    }
    let reason = "where several people decide, another value is an edit or a response".to_owned();
    Err(Error::InvalidAnswer { question: question.id.clone(), violations: vec![reason] })
}

fn without_reason(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.remove("reason");
    }
    value
}

/// The verdict and value that the votes come to, when they are enough.
fn deciding(policy: &Policy, proceedings: &Proceedings) -> Option<(Verdict, Value)> {
    let votes = &proceedings.votes;
    if let Some(alone) = votes.last().filter(|vote| vote.break_glass) {
        let verdict = match (alone.verdict, &proceedings.proposal) {
            // What is accepted is what somebody proposed.
            (Verdict::Accept, Some(_)) => proposed(votes),
            (verdict, _) => verdict,
        };
        return Some((verdict, alone.value.clone()));
    }
    let (approvals, rejections) = tally(votes);
    if rejections >= policy.quorum.reject {
        let last_of = |verdict: Verdict| votes.iter().rev().find(|vote| vote.verdict == verdict);
        let vote = last_of(Verdict::Reject).or_else(|| last_of(Verdict::Ignore))?;
        return Some((vote.verdict, vote.value.clone()));
    }
    if approvals < policy.quorum.approve {
        return None;
    }
    if let Some(proposal) = &proceedings.proposal {
        return Some((proposed(votes), proposal.value.clone()));
    }
    let vote = votes.iter().rev().find(|vote| approves(vote.verdict))?;
    Some((vote.verdict, vote.value.clone()))
}

/// What a proposal is: its author's vote is the first one since.
fn proposed(votes: &[Vote]) -> Verdict {
    let author = votes.first().map_or(Verdict::Edit, |vote| vote.verdict);
    if author == Verdict::Respond { Verdict::Respond } else { Verdict::Edit }
}
