//! The promises, asked of what a run left behind. Each violation begins with the promise's name.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::operation::OperationState;
use holdpoint_store::{QuestionStatus, TaskStatus};
use serde_json::Value;

use super::lane::End;
use super::order::{Acknowledged, Doubt};
use super::run::Evidence;
use super::scenario::{Effect, Receiver};
use super::trace::{Line, Moment, Written};
use super::worker::PERSON;
use crate::payment_server::log::Account;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Broken promises.
    pub violations: Vec<String>,
    /// The deaths.
    pub kills: Vec<Kill>,
    /// Attempts that a life left between a durable intent and a durable outcome, by the trace.
    pub caught: BTreeSet<Doubt>,
    /// Effects that happened more than once.
    pub duplicates: usize,
    /// Whether the thread did not come to its end.
    pub stuck: bool,
}

/// One death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Where.
    pub at: &'static str,
    /// Attempts that it left between intent and outcome.
    pub caught: usize,
}

impl Verdict {
    fn broken(&mut self, promise: &str, what: impl std::fmt::Display) {
        self.violations.push(format!("{promise}: {what}"));
    }
}

/// Judges a run.
pub fn check(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    lives(evidence, &mut verdict);
    no_silent_doubt(evidence, &mut verdict);
    for (effect, account) in &evidence.accounts {
        effect_once(effect, account, &mut verdict);
    }
    the_end(evidence, &mut verdict);
    acknowledged_is_durable(evidence, &mut verdict);
    one_decision(evidence, &mut verdict);
    if evidence.stored.integrity != "ok" {
        verdict.broken("integrity", &evidence.stored.integrity);
    }
    verdict
}

/// Follows each life: where it died, and which attempts it left open.
fn lives(evidence: &Evidence, verdict: &mut Verdict) {
    for ((end, life), found) in evidence.ends.iter().zip(&evidence.traces).zip(&evidence.found) {
        let left = left_open(life, found);
        match end {
            End::Killed => {
                let at = life.last().map_or("nowhere", |line| line.moment.name());
                verdict.kills.push(Kill { at, caught: left.len() });
            }
            End::Reported(_) => {}
            End::Broken(how) => verdict.broken("no life breaks", how),
        }
        if life.is_empty() {
            verdict.broken("no life breaks", "a life left no trace");
        }
        verdict.caught.extend(left);
    }
}

/// The attempts that a life recorded and left without an outcome.
fn left_open(life: &[Line], found: &BTreeSet<Doubt>) -> BTreeSet<Doubt> {
    let mut open = BTreeMap::new();
    for (written, fate) in writes(life) {
        for operation in &written.operations {
            let doubt = Doubt { operation: operation.id.clone(), epoch: operation.epoch };
            let is_open = match fate {
                WriteFate::Done => is_open(&operation.state),
                WriteFate::Unknown => found.contains(&doubt),
                WriteFate::NotDone => continue,
            };
            open.insert(&operation.id, Some(doubt).filter(|_| is_open));
        }
    }
    open.into_values().flatten().collect()
}

/// Whether an operation with this stored state may have been sent and has no outcome.
pub fn is_open(state: &str) -> bool {
    matches!(state, "intended" | "in-doubt")
}

/// What a life's trace tells of one of its writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFate {
    /// The store took it.
    Done,
    /// The store refused it, or never got it.
    NotDone,
    /// The life ended while the store had it.
    Unknown,
}

/// The writes of a life.
pub fn writes(life: &[Line]) -> impl Iterator<Item = (&Written, WriteFate)> {
    life.iter().enumerate().filter_map(|(index, line)| {
        let Moment::BeforeCommit(written) = &line.moment else { return None };
        let outcome = life.iter().find_map(|line| match &line.moment {
            Moment::AfterCommit { write, outcome } if *write == written.write => Some(outcome.as_str()),
            _ => None,
        });
        let fate = match outcome {
            Some("ok") => WriteFate::Done,
            Some(_) => WriteFate::NotDone,
            // It died at this very point.
            None if index + 1 == life.len() => WriteFate::NotDone,
            None => WriteFate::Unknown,
        };
        Some((written, fate))
    })
}

/// What may have been sent and has no outcome is shown to a person, all of it and nothing else.
fn no_silent_doubt(evidence: &Evidence, verdict: &mut Verdict) {
    if verdict.caught != evidence.shown {
        let what = format!("open at a life's end {:?}, shown to a person {:?}", verdict.caught, evidence.shown);
        verdict.broken("no-silent-doubt", what);
    }
}

/// By the receivers' own logs.
fn effect_once(effect: &Effect, account: &Account, verdict: &mut Verdict) {
    verdict.duplicates += account.applied.saturating_sub(1);
    let Effect { operation, receiver, asked, .. } = effect;
    if account.applied != 1 {
        verdict.broken("effect-once", format!("{operation} happened {} times", account.applied));
    }
    if *receiver == Receiver::Forgetful && account.received != account.applied {
        let Account { received, applied, .. } = account;
        verdict.broken("effect-once", format!("{operation} was received {received} times and applied {applied} times"));
    }
    if let Some(other) = account.bodies.iter().find(|body| *body != asked) {
        verdict.broken("approved-is-executed", format!("{operation} was asked as {other}, not {asked}"));
    }
}

/// The thread came to its end, with the answers of the requests that it made.
fn the_end(evidence: &Evidence, verdict: &mut Verdict) {
    let (status, code) = evidence.plan.scenario.end();
    let Some(snapshot) = &evidence.stored.snapshot else {
        verdict.stuck = true;
        verdict.broken("no thread is stuck", "there is no thread");
        return;
    };
    let found_code = snapshot.thread.error.as_ref().map(|error| error.code.as_str());
    if (snapshot.thread.status.name(), found_code) != (status, code) {
        verdict.stuck = true;
        let found = format!("{} {found_code:?}, not {status} {code:?}", snapshot.thread.status.name());
        verdict.broken("no thread is stuck", format!("it is {found}; its last life: {:?}", evidence.ends.last()));
    }
    let values = Value::Object(snapshot.values.clone());
    for (effect, account) in &evidence.accounts {
        let answer = values.pointer(effect.answer_at).unwrap_or(&Value::Null);
        let known = match effect.receiver {
            Receiver::File => answer["id"] == effect.operation.as_str(),
            _ => account.receipts.contains(answer),
        };
        if !known {
            verdict.broken("approved-is-executed", format!("{} got {answer}, which nobody answered", effect.operation));
        }
    }
    if code.is_none() {
        let answers = values.as_object().into_iter().flatten().filter(|(_, value)| value.get("for").is_some());
        let expected = |value: &Value| evidence.accounts.iter().any(|(effect, _)| value["for"] == effect.asked);
        for (channel, value) in answers.filter(|(_, value)| !expected(value)) {
            verdict.broken("approved-is-executed", format!("{channel} has the answer to another request: {value}"));
        }
    } else if let Some(second) = values.get("second") {
        verdict.broken("approved-is-executed", format!("a request that was never sent has the answer {second}"));
    }
    for operation in &evidence.stored.operations {
        if !matches!(operation.state, OperationState::Completed(_)) {
            let what = format!("{} is {} in the end", operation.key.id, operation.state.name());
            verdict.broken("every effect has an outcome", what);
        }
    }
    if evidence.stored.operations.len() != evidence.accounts.len() {
        let what = format!("{} operations are recorded", evidence.stored.operations.len());
        verdict.broken("every effect has an outcome", what);
    }
}

/// What a caller was told, and what the store said it had taken, is there.
fn acknowledged_is_durable(evidence: &Evidence, verdict: &mut Verdict) {
    let promise = "acknowledged-is-durable";
    let stored = &evidence.stored;
    let questions: BTreeMap<String, QuestionStatus> =
        stored.questions().map(|question| (question.id.to_string(), question.status)).collect();
    let checkpoints: BTreeSet<String> =
        stored.history.iter().map(|snapshot| snapshot.checkpoint.id.to_string()).collect();
    let settled = |id: &str| {
        let found = stored.operations.iter().find(|operation| operation.key.id.as_str() == id);
        found.is_some_and(|operation| operation.notes.iter().any(|note| note.by == PERSON))
    };
    let reports = evidence.ends.iter().filter_map(|end| match end {
        End::Reported(report) => Some(report),
        _ => None,
    });
    for acknowledged in reports.flat_map(|report| &report.acknowledged) {
        let kept = match acknowledged {
            Acknowledged::Asked { question } => questions.contains_key(question),
            Acknowledged::Answered { question } => questions.get(question) == Some(&QuestionStatus::Answered),
            Acknowledged::Settled { operation } => settled(operation),
            Acknowledged::Done => stored.snapshot.as_ref().is_some_and(|found| found.thread.status.name() == "done"),
        };
        if !kept {
            verdict.broken(promise, format!("a caller was told {acknowledged:?}"));
        }
    }
    for written in taken(evidence) {
        let missing = written.checkpoints.iter().filter(|id| !checkpoints.contains(*id));
        let unanswered = written.answered.iter().filter(|id| questions.get(*id) != Some(&QuestionStatus::Answered));
        let unasked = written.asked.iter().filter(|id| !questions.contains_key(*id));
        for lost in missing.chain(unanswered).chain(unasked) {
            verdict.broken(promise, format!("the store had taken {lost}"));
        }
    }
}

/// Each question was answered once, and no task ran on after its answer was lost.
fn one_decision(evidence: &Evidence, verdict: &mut Verdict) {
    let answered = evidence.stored.questions().filter(|question| question.status == QuestionStatus::Answered).count();
    let decided = taken(evidence).filter(|written| !written.answered.is_empty()).count();
    if (answered, decided) != (1, 1) {
        verdict.broken("one-decision", format!("{answered} questions were answered in {decided} writes"));
    }
    let tasks = evidence.stored.history.iter().flat_map(|snapshot| &snapshot.tasks);
    let unfinished = tasks.filter(|task| !matches!(task.status, TaskStatus::Done | TaskStatus::Failed)).count();
    if unfinished > 0 {
        verdict.broken("no thread is stuck", format!("{unfinished} tasks are unfinished"));
    }
}

/// The writes that the store said it had taken.
fn taken(evidence: &Evidence) -> impl Iterator<Item = &Written> {
    let writes = evidence.traces.iter().flat_map(|life| writes(life));
    writes.filter(|(_, fate)| *fate == WriteFate::Done).map(|(written, _)| written)
}
