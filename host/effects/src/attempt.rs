//! The four ends of an attempt, and what each means for the record and the guest.

use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::OperationState;
use serde_json::{Value, json};

use crate::configuration::Class;
use crate::refusal::{Reason, Refusal};

/// How sending a request once ended. Reasons hold no secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// Nothing of it was executed: the receiver was not reached. Safe to try again.
    NotSent(NotSent),
    /// The receiver answered.
    Landed(Reply),
    /// The receiver did it, but its answer cannot be used: never sent again by itself, never called failed.
    LandedUnusable(String),
    /// It left, or may have left, and no answer came.
    Unknown(String),
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// Trying again may help.
    ForNow(String),
    /// The receiver's address is not one that the connector may connect to.
    AddressNotAllowed,
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It did it.
    Done(Value),
    /// It did not and never will.
    Rejected(Failure),
    /// It did not, and asks to come again.
    Later(Failure),
    /// It failed on the way: it may have done it.
    Unclear(Failure),
}

/// What an operation comes to after its last attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conclusion {
    /// What is recorded; none when the journal learns nothing.
    pub(crate) state: Option<OperationState>,
    /// What the guest gets.
    pub(crate) reply: GuestReply,
}

/// What the guest gets of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GuestReply {
    /// An answer or a refusal.
    Result(Result<Value, Refusal>),
    /// Nothing: its execution ends here.
    InDoubt(String),
}

/// Reads the last attempt. Pure.
///
/// An operation that must not be repeated is an intent in the journal by now, so whatever happened is recorded: an intent without an outcome is
/// a doubt.
pub(crate) fn conclude(class: Class, attempt: Attempt) -> Conclusion {
    let intended = matches!(class, Class::AtMostOnce | Class::Reconcilable);
    match attempt {
        Attempt::Landed(Reply::Done(answer)) => {
            Conclusion { state: Some(OperationState::Completed(answer.clone())), reply: GuestReply::Result(Ok(answer)) }
        }
        Attempt::Landed(Reply::Rejected(failure)) => {
            let failure = with_sent(Failure { retryable: false, ..failure }, true);
            Conclusion {
                state: Some(OperationState::Failed(failure.clone())),
                reply: GuestReply::Result(Err(Refusal::Failed(failure))),
            }
        }
        Attempt::Landed(Reply::Later(failure)) => transient(failure, true, not_sent_if(intended)),
        Attempt::Landed(Reply::Unclear(failure)) if intended => {
            in_doubt(format!("{}: the receiver may have executed it [HP0542]", failure.message))
        }
        Attempt::Landed(Reply::Unclear(failure)) => transient(failure, true, None),
        Attempt::LandedUnusable(reason) => in_doubt(format!("the receiver answered, but {reason} [HP0543]")),
        Attempt::NotSent(NotSent::AddressNotAllowed) => {
            Conclusion { state: not_sent_if(intended), reply: GuestReply::Result(Err(Reason::Address.into())) }
        }
        Attempt::NotSent(NotSent::ForNow(reason)) => {
            transient(failure("not-sent", format!("the request was not sent: {reason}")), false, not_sent_if(intended))
        }
        Attempt::Unknown(reason) if intended => in_doubt(format!("no answer came: {reason} [HP0542]")),
        Attempt::Unknown(reason) => transient(failure("no-answer", format!("no answer came: {reason}")), true, None),
    }
}

/// A failure without details.
pub(crate) fn failure(code: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure { code: code.into(), message: message.into(), retryable: false, retry_after_ms: None, details: None }
}

/// A failure that is not recorded as final: the node's retry policy decides.
pub(crate) fn transient(failure: Failure, request_sent: bool, state: Option<OperationState>) -> Conclusion {
    let failure = with_sent(Failure { retryable: true, ..failure }, request_sent);
    Conclusion { state, reply: GuestReply::Result(Err(Refusal::Failed(failure))) }
}

/// A doubt, recorded as such.
pub(crate) fn in_doubt(reason: String) -> Conclusion {
    Conclusion { state: Some(OperationState::InDoubt(reason.clone())), reply: GuestReply::InDoubt(reason) }
}

fn not_sent_if(intended: bool) -> Option<OperationState> {
    intended.then_some(OperationState::NotSent)
}

fn with_sent(failure: Failure, request_sent: bool) -> Failure {
    let mut details = match failure.details {
        Some(Value::Object(details)) => details,
        _ => serde_json::Map::new(),
    };
    details.insert("request_sent".into(), json!(request_sent));
    Failure { details: Some(Value::Object(details)), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line: what is recorded, what the guest gets, whether it may try again, whether anything left.
    fn check(class: Class, attempt: Attempt) -> String {
        let Conclusion { state, reply } = conclude(class, attempt);
        let state = state.as_ref().map_or("nothing", OperationState::name);
        match reply {
            GuestReply::Result(Ok(answer)) => format!("{state}, answer {answer}"),
            GuestReply::Result(Err(Refusal::Failed(failure))) => {
                let sent = &failure.details.expect("a failure says whether the request was sent")["request_sent"];
                let retry_after = failure.retry_after_ms.map_or(String::new(), |pause_ms| format!(" in {pause_ms}"));
                format!("{state}, {} retryable={}{retry_after} sent={sent}", failure.code, failure.retryable)
            }
            GuestReply::Result(Err(refusal)) => format!("{state}, {refusal}"),
            GuestReply::InDoubt(_) => format!("{state}, halt"),
        }
    }

    #[test]
    fn each_end_of_an_attempt_for_each_class() {
        let attempts = [
            Attempt::Landed(Reply::Done(json!(1))),
            Attempt::Landed(Reply::Rejected(Failure { retryable: true, ..failure("http-409", "no") })),
            Attempt::Landed(Reply::Later(Failure { retry_after_ms: Some(7), ..failure("http-429", "busy") })),
            Attempt::Landed(Reply::Unclear(failure("http-500", "broken"))),
            Attempt::LandedUnusable("garbage".into()),
            Attempt::Unknown("timeout".into()),
            Attempt::NotSent(NotSent::ForNow("refused".into())),
            Attempt::NotSent(NotSent::AddressNotAllowed),
        ];
        let denied = "denied: the receiver's address is not allowed: the operator allows it with the connector's `addresses` [HP0527]";
        let expected = [
            ["completed, answer 1", "completed, answer 1"],
            ["failed, http-409 retryable=false sent=true", "failed, http-409 retryable=false sent=true"],
            ["nothing, http-429 retryable=true in 7 sent=true", "not-sent, http-429 retryable=true in 7 sent=true"],
            ["nothing, http-500 retryable=true sent=true", "in-doubt, halt"],
            ["in-doubt, halt", "in-doubt, halt"],
            ["nothing, no-answer retryable=true sent=true", "in-doubt, halt"],
            ["nothing, not-sent retryable=true sent=false", "not-sent, not-sent retryable=true sent=false"],
            [&format!("nothing, {denied}"), &format!("not-sent, {denied}")],
        ];
        for (attempt, [idempotent, at_most_once]) in attempts.into_iter().zip(expected) {
            assert_eq!(check(Class::Idempotent { window_ms: None }, attempt.clone()), idempotent, "{attempt:?}");
            assert_eq!(check(Class::Transactional, attempt.clone()), idempotent, "{attempt:?}");
            assert_eq!(check(Class::AtMostOnce, attempt.clone()), at_most_once, "{attempt:?}");
            assert_eq!(check(Class::Reconcilable, attempt.clone()), at_most_once, "{attempt:?}");
        }
    }
}
