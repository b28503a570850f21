//! What came of a replay.

use std::collections::BTreeMap;

use holdpoint_engine::recording::Recording;
use holdpoint_engine::{InterruptKind, Repetition, ThreadView};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::{QuestionRecord, QuestionStatus, ThreadError, ThreadStatus};
use serde_json::{Value, json};

use super::nodes::is_hosts;

/// What came of replaying threads, newest change first.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One for each thread.
    pub threads: Vec<ThreadReport>,
}

/// What came of one thread.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadReport {
    /// The thread.
    pub thread: ThreadId,
    /// The version that it is pinned to.
    pub graph: Digest,
    /// What the new version made of it.
    pub outcome: Outcome,
}

/// What the new version made of a thread.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The same.
    Same,
    /// Something else.
    Differs(Box<Differences>),
    /// Its inputs and answers alone do not lead to where it stands; why.
    NotRepeatable(String),
}

/// A question as node and payload.
pub type Asked = (String, Value);

/// What is not as it was. Of each pair the first is what was recorded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Differences {
    /// What the thread is doing.
    pub status: Option<(ThreadStatus, Option<ThreadStatus>)>,
    /// Why it failed.
    pub error: Option<(Option<ThreadError>, Option<ThreadError>)>,
    /// Channels with other values.
    pub values: BTreeMap<String, (Option<Value>, Option<Value>)>,
    /// Questions that were never asked.
    pub asked_only_now: Vec<Asked>,
    /// Questions that are not asked any more.
    pub no_longer_asked: Vec<Asked>,
    /// Operations that it would perform and that have no record.
    pub operations: Vec<Value>,
    /// Why an input is refused.
    pub refused: Option<String>,
}

impl Report {
    /// Whether any thread came out otherwise.
    pub fn differs(&self) -> bool {
        self.threads.iter().any(|thread| matches!(thread.outcome, Outcome::Differs(_)))
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        Value::Array(self.threads.iter().map(ThreadReport::to_json).collect())
    }
}

impl ThreadReport {
    fn to_json(&self) -> Value {
        let mut value = json!({
            "thread_id": self.thread.as_str(),
            "graph_digest": self.graph.as_str(),
            "outcome": self.outcome.name(),
        });
        match &self.outcome {
            Outcome::Same => {}
            Outcome::Differs(differences) => value["differences"] = differences.to_json(),
            Outcome::NotRepeatable(reason) => value["reason"] = json!(reason),
        }
        value
    }
}

impl Outcome {
    /// Compares a thread with its repetition.
    pub(super) fn of(recording: &Recording, before: &ThreadView, repetition: &Repetition) -> Self {
        let differences = Differences::between(recording, before, repetition);
        if differences == Differences::default() { Self::Same } else { Self::Differs(Box::new(differences)) }
    }

    /// The spoken name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs(_) => "differs",
            Self::NotRepeatable(_) => "not-repeatable",
        }
    }
}

impl Differences {
    fn between(recording: &Recording, before: &ThreadView, repetition: &Repetition) -> Self {
        let (asked_only_now, no_longer_asked) = questions(&recording.questions, &repetition.asked);
        let mut differences = Self {
            asked_only_now,
            no_longer_asked,
            refused: repetition.refused.as_ref().map(|error| format!("{error} [{}]", error.code())),
            ..Self::default()
        };
        let now = repetition.view.as_ref();
        let withheld = now.map(withheld).unwrap_or_default();
        if !(withheld.is_empty() || awaits_approval(before, &withheld)) {
            differences.operations = withheld.clone();
        }
        if withheld.is_empty() || !differences.operations.is_empty() {
            let status = now.map(|view| view.status);
            differences.status = (status != Some(before.status)).then_some((before.status, status));
            let error = now.and_then(|view| view.error.clone());
            differences.error =
                (!same_error(before.error.as_ref(), error.as_ref())).then(|| (before.error.clone(), error));
        }
        let empty = serde_json::Map::new();
        let values = now.map_or(&empty, |view| &view.values);
        for name in before.values.keys().chain(values.keys()) {
            let (was, is) = (before.values.get(name), values.get(name));
            if was != is {
                differences.values.insert(name.clone(), (was.cloned(), is.cloned()));
            }
        }
        differences
    }

    fn to_json(&self) -> Value {
        let questions = |questions: &[Asked]| {
            questions.iter().map(|(node, payload)| json!({ "node": node, "value": payload })).collect::<Vec<_>>()
        };
        let error = |error: &Option<ThreadError>| {
            let shown = |error: &ThreadError| {
                let node = error.node.as_ref().map(|node| node.as_str());
                json!({ "code": error.code, "message": error.message, "node": node })
            };
            error.as_ref().map(shown)
        };
        let values = self.values.iter().map(|(name, (was, is))| (name.clone(), json!({ "recorded": was, "now": is })));
        json!({
            "status": self.status.map(|(was, is)| json!({ "recorded": was.name(), "now": is.map(ThreadStatus::name) })),
            "error": self.error.as_ref().map(|(was, is)| json!({ "recorded": error(was), "now": error(is) })),
            "values": values.collect::<serde_json::Map<String, Value>>(),
            "asked_only_now": questions(&self.asked_only_now),
            "no_longer_asked": questions(&self.no_longer_asked),
            "operations": self.operations,
            "refused": self.refused,
        })
    }
}

/// Questions only in the one and only in the other. The host's own are left out: on a branch that performs nothing they are not asked. One that
/// was superseded or cancelled need not be asked again.
fn questions(recorded: &[QuestionRecord], now: &[QuestionRecord]) -> (Vec<Asked>, Vec<Asked>) {
    let key = |question: &QuestionRecord| (question.node.clone(), question.payload_digest.clone());
    let mut left = BTreeMap::<_, usize>::new();
    for question in recorded.iter().filter(|question| !is_hosts(question)) {
        *left.entry(key(question)).or_default() += 1;
    }
    let shown = |question: &QuestionRecord| (question.node.to_string(), question.payload.clone());
    let mut only_now = Vec::new();
    for question in now.iter().filter(|question| !is_hosts(question)) {
        match left.get_mut(&key(question)) {
            Some(count) if *count > 0 => *count -= 1,
            _ => only_now.push(shown(question)),
        }
    }
    let mut no_longer = Vec::new();
    for question in recorded.iter().rev().filter(|question| !is_hosts(question)) {
        if let Some(count) = left.get_mut(&key(question)).filter(|count| **count > 0) {
            *count -= 1;
            if !matches!(question.status, QuestionStatus::Superseded | QuestionStatus::Cancelled) {
                no_longer.push(shown(question));
            }
        }
    }
    no_longer.reverse();
    (only_now, no_longer)
}

/// The operations without a record at which a thread stopped.
fn withheld(view: &ThreadView) -> Vec<Value> {
    let error = view.error.as_ref().filter(|error| error.code == "HP0445");
    let operations = error.and_then(|error| error.details.as_ref()?.get("operations")?.as_array().cloned());
    operations.unwrap_or_default()
}

/// Whether all of these wait for a person's word in the recorded thread: then they are no news.
fn awaits_approval(before: &ThreadView, withheld: &[Value]) -> bool {
    let approvals = before.interrupts.iter().filter(|interrupt| interrupt.kind == InterruptKind::Approval);
    let approvals: Vec<&Value> = approvals.map(|interrupt| &interrupt.value).collect();
    let same = |operation: &Value, approval: &Value| {
        ["connector", "operation_id", "request"].iter().all(|part| operation[*part] == approval[*part])
    };
    withheld.iter().all(|operation| approvals.iter().any(|approval| same(operation, approval)))
}

/// By what a person would tell errors apart: details may hold times.
fn same_error(was: Option<&ThreadError>, is: Option<&ThreadError>) -> bool {
    let key = |error: &ThreadError| (error.code.clone(), error.message.clone(), error.node.clone());
    was.map(key) == is.map(key)
}
