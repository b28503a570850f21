//! What time does to a question: reminders, the escalation ladder, the deadline. Pure, and independent of anything that runs.

use holdpoint_graph::actor::Actor;
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_store::{Added, Proceedings, QuestionRecord, QuestionStatus, ThreadError};
use serde_json::{Value, json};

use super::policy::{OnTimeout, Policy, Step};
use super::shape::Shape;
use super::value::{self, Given};
use crate::answers::check_answer;

/// Why the deadline answered, where it rejects.
const REASON: &str = "deadline";

/// When somebody has to look at a question next: its next reminder, the next step of its ladder, or its deadline.
pub fn due_at_ms(
    policy: &Policy,
    proceedings: &Proceedings,
    asked_at_ms: u64,
    deadline_at_ms: Option<u64>,
) -> Option<u64> {
    let place = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let reminder = policy.remind_after_ms.get(place(proceedings.reminded)).copied();
    let step = policy.ladder.get(place(proceedings.escalated)).map(|step| step.after_ms);
    let after = [reminder, step].into_iter().flatten().map(|after_ms| asked_at_ms.saturating_add(after_ms));
    after.chain(deadline_at_ms).min()
}

/// What is to be done about a pending question at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// Its deadline has come.
    Expire(Answer),
    /// Its people are to be told again, or others may answer too, or both. What was missed while no host ran is done at once; of several reminders
    /// the last.
    Remind {
        /// The proceedings with it.
        proceedings: Proceedings,
        /// Number of the reminder, from 1.
        reminder: Option<u32>,
        /// The steps that are taken, each with its number from 1.
        steps: Vec<(u32, Step)>,
        /// When it is due next.
        due_at_ms: Option<u64>,
    },
    /// Nothing but to look at it at another time.
    Later(Option<u64>),
}

/// What is due of a question at `now_ms`.
pub fn due(question: &QuestionRecord, now_ms: u64) -> Due {
    if is_expired(question, now_ms) {
        return Due::Expire(expiry(question, now_ms));
    }
    let Ok(policy) = Policy::read(&question.policy) else { return Due::Later(question.deadline_at_ms) };
    let asked_at_ms = question.asked_at_ms;
    let has_come = |after_ms: u64| asked_at_ms.saturating_add(after_ms) <= now_ms;
    let mut proceedings = question.proceedings.clone();
    let come = policy.remind_after_ms.iter().filter(|after_ms| has_come(**after_ms)).count();
    let come = u32::try_from(come).unwrap_or(u32::MAX);
    let reminder = (come > proceedings.reminded).then_some(come);
    proceedings.reminded = proceedings.reminded.max(come);
    let ladder = (1_u32..).zip(&policy.ladder);
    let taken = proceedings.escalated;
    let steps: Vec<(u32, Step)> = ladder
        .filter(|(number, step)| *number > taken && has_come(step.after_ms))
        .map(|(number, step)| (number, step.clone()))
        .collect();
    for (number, step) in &steps {
        proceedings.escalated = *number;
        proceedings.added.extend(step.to.iter().map(|person| Added {
            to: person.label.clone(),
            on_behalf_of: None,
            until_ms: None,
            reason: None,
            at_ms: now_ms,
        }));
    }
    let due_at_ms = due_at_ms(&policy, &proceedings, asked_at_ms, question.deadline_at_ms);
    if reminder.is_none() && steps.is_empty() {
        return Due::Later(due_at_ms);
    }
    proceedings.version += 1;
    Due::Remind { proceedings, reminder, steps, due_at_ms }
}

/// Whether a question's deadline has come, recorded or not.
pub fn is_expired(question: &QuestionRecord, now_ms: u64) -> bool {
    question.status == QuestionStatus::Pending
        && question.deadline_at_ms.is_some_and(|deadline_at_ms| deadline_at_ms <= now_ms)
}

/// The answer that the deadline gives.
pub fn expiry(question: &QuestionRecord, now_ms: u64) -> Answer {
    Answer {
        verdict: Verdict::Expired,
        value: timeout_value(question).unwrap_or_else(|| json!({ "expired": true })),
        answered_by: Actor::deadline().id,
        answered_at_ms: now_ms,
    }
}

/// Why the task that asked a question fails instead of running again: its deadline has come, and there is nothing that it could be told. A function
/// of what is recorded of the question.
pub fn failure(question: &QuestionRecord) -> Option<ThreadError> {
    let answer = question.answer.as_ref().filter(|answer| answer.verdict == Verdict::Expired)?;
    if timeout_value(question).is_some() {
        return None;
    }
    Some(ThreadError {
        code: "HP0905".into(),
        message: format!("nobody answered question {} of node {} in time", question.id, question.node),
        node: Some(question.node.clone()),
        details: Some(json!({
            "question": question.id.as_str(),
            "deadline_at_ms": question.deadline_at_ms,
            "expired_at_ms": answer.answered_at_ms,
        })),
    })
}

/// The value that the node gets when the deadline has come; none when it is to fail: because the graph says so, because the asker cannot be told
/// no, because the value breaks the question's schemas, or because the policy cannot be read.
fn timeout_value(question: &QuestionRecord) -> Option<Value> {
    let fits = |value: &Value| check_answer(question, value).is_ok();
    match Policy::read(&question.policy).ok()?.on_timeout {
        OnTimeout::Fail => None,
        OnTimeout::Answer(value) => Some(value).filter(fits),
        OnTimeout::Reject => {
            let shape = Shape::of(&question.payload);
            if !shape.allows(Verdict::Reject) {
                return None;
            }
            let messages = [Some(REASON), None].into_iter();
            let values = messages.filter_map(|message| {
                value::value(&shape, Verdict::Reject, Given { message, ..Given::default() }).ok()
            });
            values.into_iter().find(fits)
        }
    }
}
