//! Replay the record, wait, perform, or stop in doubt: the table of DESIGN 7 as a function.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::{OperationRecord, OperationState};
use serde_json::Value;

use crate::configuration::Class;
use crate::refusal::Reason;

/// What is known under an operation's key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<'a> {
    /// Nothing.
    Nothing,
    /// A live task of this process is performing it.
    Running(&'a First),
    /// This execution tried it, and nothing was recorded of it.
    Tried(&'a First),
    /// A record; its owner is not performing it now.
    Recorded(&'a OperationRecord),
}

/// The first request under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    /// Its digest.
    pub(crate) digest: Digest,
    /// The thread that made it.
    pub(crate) thread: ThreadId,
    /// When, in milliseconds since 1970.
    pub(crate) begun_at_ms: u64,
}

/// What is asked, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Digest of the request.
    pub(crate) digest: &'a Digest,
    /// Whether it has to be the first one's.
    pub(crate) digests_checked: bool,
    /// The thread that asks.
    pub(crate) thread: &'a ThreadId,
    /// The connector's class.
    pub(crate) class: Class,
    /// The last moment at which the request certainly had not left: the task's first execution was not earlier, or somebody has said since that
    /// it had not happened.
    pub(crate) unsent_at_ms: u64,
    /// The host's time.
    pub(crate) now_ms: u64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// Give back what is recorded.
    Replay(Result<Value, Failure>),
    /// Refuse: the id stands for another request.
    Conflict(Reason),
    /// Wait for the task that performs it.
    Wait,
    /// Perform it, after a durable intent where `intent` says so.
    Perform {
        /// Whether the class needs one.
        intent: bool,
    },
    /// Another process performs it now, as far as anybody can know.
    Elsewhere,
    /// Have it sent after the step's commit.
    Queue,
    /// It is queued, or was: its node gets a receipt, whatever became of it.
    Receipt,
    /// Ask the receiver: its outcome is unknown, as its record says.
    LookUp(String),
    /// Stop: its outcome is unknown, as its record says.
    InDoubt(String),
    /// Stop, and record that: the receiver may have forgotten the id.
    WindowPassed(String),
}

/// Decides. Every row of the table is a row of the test below.
pub(crate) fn decide(found: Found<'_>, asked: &Asked<'_>) -> Decision {
    let first = match found {
        Found::Nothing => return perform(asked),
        Found::Running(first) | Found::Tried(first) => (&first.digest, &first.thread, first.begun_at_ms),
        Found::Recorded(record) => (&record.request_digest, &record.thread, record.begun_at_ms),
    };
    if asked.digests_checked && first.0 != asked.digest {
        return Decision::Conflict(conflict(first, asked.thread));
    }
    match found {
        Found::Running(_) => Decision::Wait,
        Found::Nothing | Found::Tried(_) => perform(asked),
        Found::Recorded(record) if leaves_after_commit(record, asked) => Decision::Receipt,
        Found::Recorded(record) => match &record.state {
            OperationState::Completed(answer) => Decision::Replay(Ok(answer.clone())),
            OperationState::Failed(failure) => Decision::Replay(Err(failure.clone())),
            OperationState::NotSent => perform(asked),
            OperationState::InDoubt(reason) => doubt(asked.class, reason.clone()),
            // Its own thread's earlier writer is fenced off; another thread's may be alive and waiting for the answer.
            OperationState::Intended
                if record.thread != *asked.thread
                    && record.settles_at_ms.is_some_and(|settles| asked.now_ms < settles) =>
            {
                Decision::Elsewhere
            }
            OperationState::Intended => doubt(
                asked.class,
                "it was about to be sent when its execution ended: whether it was is unknown [HP0540]".into(),
            ),
            OperationState::Queued { .. } => Decision::Receipt,
        },
    }
}

/// What was not sent because a person said so is queued again, and whoever queues it writes that record.
fn leaves_after_commit(record: &OperationRecord, asked: &Asked<'_>) -> bool {
    matches!(asked.class, Class::AfterCommit { .. }) && record.state != OperationState::NotSent
}

fn doubt(class: Class, reason: String) -> Decision {
    if class == Class::Reconcilable { Decision::LookUp(reason) } else { Decision::InDoubt(reason) }
}

fn perform(asked: &Asked<'_>) -> Decision {
    match asked.class {
        Class::AtMostOnce | Class::Reconcilable => Decision::Perform { intent: true },
        Class::AfterCommit { .. } => Decision::Queue,
        Class::Transactional => Decision::Perform { intent: false },
        Class::Idempotent { window_ms: Some(window_ms) }
            if asked.now_ms > asked.unsent_at_ms.saturating_add(window_ms) =>
        {
            Decision::WindowPassed(format!(
                "it may have been sent as early as {}, and the receiver remembers ids for {} s only [HP0541]",
                time_text(asked.unsent_at_ms),
                window_ms / 1000,
            ))
        }
        Class::Idempotent { .. } => Decision::Perform { intent: false },
    }
}

/// Another thread's request is not described: whoever guesses an id learns nothing.
fn conflict((digest, thread, begun_at_ms): (&Digest, &ThreadId, u64), asking: &ThreadId) -> Reason {
    if thread == asking {
        Reason::Conflict { digest: digest.to_string(), time: time_text(begun_at_ms) }
    } else {
        Reason::ForeignConflict
    }
}

fn time_text(time_ms: u64) -> String {
    let timestamp = i64::try_from(time_ms).ok().and_then(|time_ms| jiff::Timestamp::from_millisecond(time_ms).ok());
    timestamp.map_or_else(|| format!("{time_ms} ms"), |timestamp| timestamp.to_string())
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::ids::{ConnectorName, Epoch, NodeName, OperationId, TaskId};
    use holdpoint_graph::operation::{OperationKey, Scope};
    use serde_json::json;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn record(state: OperationState) -> OperationRecord {
        let thread = ThreadId::parse("own").expect("valid");
        OperationRecord {
            key: OperationKey {
                scope: Scope::Thread(thread.clone()),
                connector: ConnectorName::parse("pay").expect("valid"),
                id: OperationId::parse("refund:1").expect("valid"),
            },
            thread,
            task: TaskId::parse("00000000-0000-8000-8000-000000000000").expect("valid"),
            node: NodeName::parse("commit").expect("valid"),
            request: json!({"amount": 1}),
            request_digest: Digest::of_json(&json!({"amount": 1})),
            state,
            epoch: Epoch(1),
            begun_at_ms: 1_700_000_000_000,
            send_by_ms: None,
            finished_at_ms: None,
            settles_at_ms: None,
            notes: Vec::new(),
        }
    }

    fn first() -> First {
        let record = record(OperationState::Intended);
        First { digest: record.request_digest, thread: record.thread, begun_at_ms: record.begun_at_ms }
    }

    /// Asks for the request `amount` from a thread, under each class; gives what is decided for each.
    fn check(found: Found<'_>, amount: u64, thread: &str) -> [String; 6] {
        let classes = [
            Class::AtMostOnce,
            Class::Idempotent { window_ms: None },
            Class::Idempotent { window_ms: Some(HOUR_MS) },
            Class::Reconcilable,
            Class::Transactional,
            Class::AfterCommit { deduplicated: false },
        ];
        classes.map(|class| {
            let asked = Asked {
                digest: &Digest::of_json(&json!({"amount": amount})),
                digests_checked: true,
                thread: &ThreadId::parse(thread).expect("valid"),
                class,
                unsent_at_ms: 1_700_000_000_000,
                now_ms: 1_700_000_000_000 + HOUR_MS,
            };
            match decide(found, &asked) {
                Decision::Replay(Ok(answer)) => format!("replay {answer}"),
                Decision::Replay(Err(failure)) => format!("replay {failure}"),
                Decision::Conflict(Reason::Conflict { digest, time }) => {
                    assert_eq!(digest, first().digest.as_str());
                    format!("conflict with {time}")
                }
                Decision::Conflict(_) => "conflict".into(),
                Decision::Wait => "wait".into(),
                Decision::Perform { intent } => format!("perform intent={intent}"),
                Decision::Elsewhere => "busy".into(),
                Decision::Queue => "queue".into(),
                Decision::Receipt => "receipt".into(),
                Decision::LookUp(_) => "look up".into(),
                Decision::InDoubt(_) => "in doubt".into(),
                Decision::WindowPassed(_) => "window passed".into(),
            }
        })
    }

    #[test]
    fn the_table() {
        let failure = Failure {
            code: "http-409".into(),
            message: "no".into(),
            retryable: false,
            retry_after_ms: None,
            details: None,
        };
        let completed = record(OperationState::Completed(json!("receipt")));
        let failed = record(OperationState::Failed(failure));
        let intended = record(OperationState::Intended);
        let in_doubt = record(OperationState::InDoubt("timeout".into()));
        let not_sent = record(OperationState::NotSent);
        let queued = record(OperationState::Queued { attempts: 1, due_at_ms: 0 });
        let (sent, resent) = ("perform intent=true", "perform intent=false");
        let perform = [sent, resent, resent, sent, resent, "queue"];
        let same = |decision| [decision, decision, decision, decision, decision, "receipt"];
        let doubt = ["in doubt", "in doubt", "in doubt", "look up", "in doubt", "receipt"];
        let (running, tried) = (first(), first());
        let table = [
            (Found::Nothing, perform),
            (Found::Running(&running), ["wait"; 6]),
            (Found::Tried(&tried), perform),
            (Found::Recorded(&completed), same("replay \"receipt\"")),
            (Found::Recorded(&failed), same("replay http-409: no")),
            (Found::Recorded(&intended), doubt),
            (Found::Recorded(&in_doubt), doubt),
            (Found::Recorded(&not_sent), perform),
            (Found::Recorded(&queued), ["receipt"; 6]),
        ];
        for (found, same) in table {
            assert_eq!(check(found, 1, "own"), same, "same request, {found:?}");
            assert_eq!(check(found, 1, "other"), same, "same request of another thread, {found:?}");
            if matches!(found, Found::Nothing) {
                continue;
            }
            assert_eq!(check(found, 2, "own"), ["conflict with 2023-11-14T22:13:20Z"; 6], "other request, {found:?}");
            assert_eq!(check(found, 2, "other"), ["conflict"; 6], "other request of another thread, {found:?}");
        }
    }

    #[test]
    fn an_intent_of_another_thread_is_no_doubt_before_it_can_have_an_outcome() {
        for (settles_in_ms, expected) in [(0, "in doubt"), (1, "busy")] {
            let now_ms = 1_700_000_000_000 + HOUR_MS;
            let intended =
                OperationRecord { settles_at_ms: Some(now_ms + settles_in_ms), ..record(OperationState::Intended) };
            assert_eq!(check(Found::Recorded(&intended), 1, "other")[0], expected);
            assert_eq!(check(Found::Recorded(&intended), 1, "own")[0], "in doubt", "an earlier writer is fenced off");
        }
    }

    #[test]
    fn a_request_is_not_sent_after_the_receivers_window() {
        let digest = Digest::of_json(&json!(1));
        let thread = ThreadId::parse("own").expect("valid");
        for (now_ms, passed) in [(HOUR_MS, false), (HOUR_MS + 1, true), (0, false)] {
            let class = Class::Idempotent { window_ms: Some(HOUR_MS) };
            let asked =
                Asked { digest: &digest, digests_checked: true, thread: &thread, class, unsent_at_ms: 0, now_ms };
            let decision = decide(Found::Nothing, &asked);
            assert_eq!(matches!(decision, Decision::WindowPassed(_)), passed, "{now_ms}: {decision:?}");
        }
    }
}
