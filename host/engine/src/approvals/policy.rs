//! What holds for a question: its snapshot of the graph file's `interrupt` table, read and written.
//!
//! The snapshot has the keys of the table as they were written, and beside them `bound` (from a name in the table to the id of the user's actor, as
//! it was when the question was asked), `requester` (where `distinct_from` needs it) and, for the host's own questions, `evidence` alone.

use std::collections::BTreeMap;

use holdpoint_graph::definition::{InterruptPolicy, duration_ms};
use holdpoint_graph::nodes::Verdict;
use holdpoint_graph::notice::Directory;
use serde_json::{Map, Value};

use super::people::Person;
use crate::engine::Authentication;

/// The key of a snapshot that holds the evidence of the host's own questions.
pub const EVIDENCE: &str = "evidence";
/// The `distinct_from` that means whoever gave the thread its newest input.
pub const REQUESTER: &str = "requester";
const BOUND: &str = "bound";
const DELEGATE: &str = "delegate";

/// What a person can say, in the order in which it is shown.
pub const VERDICTS: [Verdict; 5] = [Verdict::Accept, Verdict::Edit, Verdict::Respond, Verdict::Reject, Verdict::Ignore];

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who may answer; empty means everybody of the tenant.
    pub assignees: Vec<Person>,
    /// What may be said.
    pub verdicts: Vec<Verdict>,
    /// Whether those who may answer may hand that on.
    pub delegation: bool,
    /// What may only be said with a reason.
    pub reason_required_on: Vec<Verdict>,
    /// How many it takes.
    pub quorum: Quorum,
    /// Who may not answer, whatever else holds.
    pub distinct_from: Option<Distinct>,
    /// When those who may answer are told again, in milliseconds after the asking, soonest first.
    pub remind_after_ms: Vec<u64>,
    /// Who may answer too after a while, soonest first.
    pub ladder: Vec<Step>,
    /// What the deadline does.
    pub on_timeout: OnTimeout,
    /// Whether somebody is to be told of what happens to it.
    pub notifies: bool,
    /// How much is at stake, in the graph's words.
    pub risk: Option<Risk>,
    /// How those who answer have to have signed in.
    pub step_up: Option<StepUp>,
    /// Whether an administrator's word may decide alone.
    pub break_glass: bool,
    /// The host itself asks, about an operation.
    pub is_hosts: bool,
    bound: BTreeMap<String, String>,
}

/// How many people it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// To go ahead.
    pub approve: u32,
    /// Not to.
    pub reject: u32,
}

/// How much is at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Little.
    Low,
    /// Something.
    Medium,
    /// Much: who goes ahead is to say with what.
    High,
}

impl Risk {
    /// All of them with their names.
    pub const NAMES: [(Self, &'static str); 3] = [(Self::Low, "low"), (Self::Medium, "medium"), (Self::High, "high")];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(risk, _)| *risk)
    }
}

/// How those who answer have to have signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUp {
    /// How long ago at most, in milliseconds.
    pub within_ms: u64,
    /// In one of these ways, by the identity provider's names (`acr`); in any when there is none.
    pub acr: Vec<String>,
}

impl StepUp {
    /// Whether somebody has, at `now_ms`.
    pub fn is_met(&self, authenticated: Option<&Authentication>, now_ms: u64) -> bool {
        authenticated.is_some_and(|authenticated| {
            let recent = now_ms.saturating_sub(authenticated.at_ms) <= self.within_ms;
            let named = || authenticated.acr.as_ref().is_some_and(|acr| self.acr.contains(acr));
            recent && (self.acr.is_empty() || named())
        })
    }
}

/// Who may not answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Distinct {
    /// Whoever gave the thread its newest input; none when that is not known.
    Requester(Option<String>),
    /// A person, or a group.
    Person(Person),
}

/// One step of an escalation ladder.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When, in milliseconds after the asking.
    pub after_ms: u64,
    /// Who may answer from then on.
    pub to: Vec<Person>,
}

/// What the deadline does.
#[derive(Debug, Clone, PartialEq)]
pub enum OnTimeout {
    /// It rejects.
    Reject,
    /// It gives this answer.
    Answer(Value),
    /// It fails the task that asked.
    Fail,
}

/// Why a snapshot cannot be read. Nobody may answer then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Policy {
    /// Reads a snapshot. What is missing has its default; what is not known, or of another kind, makes it unreadable: it may be a restriction.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(snapshot: &Value) -> Result<Self, Unreadable> {
        const KNOWN: [&str; 17] = [
            "deadline",
            "on_timeout",
            "answer_schema",
            "assignees",
            "quorum",
            "distinct_from",
            "allowed",
            "reason_required_on",
            "remind",
            "escalate",
            "notify",
            "risk",
            "step_up",
            "break_glass",
            BOUND,
            REQUESTER,
            EVIDENCE,
        ];
        let members = snapshot.as_object().ok_or_else(|| Unreadable("it is no object".to_owned()))?;
        if let Some(unknown) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Unreadable(format!("it has a key {unknown:?} that this version does not know")));
        }
        let is_hosts = members.contains_key(EVIDENCE);
        let bound = read_bound(members)?;
        let person = |label: &str| Person::new(label, bound.get(label).cloned());
        let people = |name: &'static str| -> Result<Vec<Person>, Unreadable> {
            Ok(texts(members, name)?.unwrap_or_default().iter().map(|label| person(label)).collect())
        };
        let (verdicts, delegation) = match texts(members, "allowed")? {
            // A request that somebody edited would be another request. What is responded, its schema judges.
            None if is_hosts => (vec![Verdict::Accept, Verdict::Respond, Verdict::Reject], true),
            None => (VERDICTS.to_vec(), true),
            Some(named) => {
                let words: Vec<&String> = named.iter().filter(|word| *word != DELEGATE).collect();
                let verdicts = words.iter().map(|word| read_verdict(word)).collect::<Result<Vec<_>, _>>()?;
                (verdicts, words.len() != named.len())
            }
        };
        let reasons = texts(members, "reason_required_on")?.unwrap_or_default();
        let requester = match members.get(REQUESTER) {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(odd(REQUESTER)),
        };
        let distinct_from = match members.get("distinct_from") {
            None => None,
            Some(Value::String(label)) if label == REQUESTER => Some(Distinct::Requester(requester)),
            Some(Value::String(label)) => Some(Distinct::Person(person(label))),
            Some(_) => return Err(odd("distinct_from")),
        };
        let reminders = texts(members, "remind")?.unwrap_or_default();
        Ok(Self {
            assignees: people("assignees")?,
            verdicts,
            delegation,
            reason_required_on: reasons.iter().map(|word| read_verdict(word)).collect::<Result<_, _>>()?,
            quorum: read_quorum(members)?,
            distinct_from,
            remind_after_ms: reminders.iter().map(|text| read_duration("remind", text)).collect::<Result<_, _>>()?,
            ladder: read_ladder(members, &person)?,
            on_timeout: read_on_timeout(members)?,
            notifies: texts(members, "notify")?.is_some_and(|names| !names.is_empty()),
            risk: members.get("risk").map(read_risk).transpose()?,
            step_up: members.get("step_up").map(read_step_up).transpose()?,
            break_glass: match members.get("break_glass") {
                None => false,
                Some(flag) => flag.as_bool().ok_or_else(|| odd("break_glass"))?,
            },
            is_hosts,
            bound,
        })
    }

    /// Whoever is meant by a name, as it was bound when the question was asked.
    pub fn person(&self, label: &str) -> Person {
        Person::new(label, self.bound.get(label).cloned())
    }
}

/// The snapshot for a question that is asked now: the table with its names bound.
pub fn snapshot(interrupt: &InterruptPolicy, directory: &dyn Directory, requester: Option<&str>) -> Map<String, Value> {
    let mut members = interrupt.policy.clone();
    if let Some(schema) = &interrupt.answer_schema {
        members.insert("answer_schema".into(), schema.document().clone());
    }
    let steps = members.get("escalate").and_then(Value::as_array).into_iter().flatten();
    let lists = steps.filter_map(|step| step.get("to")).chain(members.get("assignees"));
    let named = lists.filter_map(Value::as_array).flatten().chain(members.get("distinct_from"));
    let labels = named.filter_map(Value::as_str).filter(|label| !Person::is_group(label) && *label != REQUESTER);
    let bound: Map<String, Value> =
        labels.filter_map(|label| Some((label.to_owned(), directory.user(label)?.into()))).collect();
    if !bound.is_empty() {
        members.insert(BOUND.into(), bound.into());
    }
    if members.get("distinct_from").is_some_and(|label| label == REQUESTER) {
        members.insert(REQUESTER.into(), requester.into());
    }
    members
}

fn odd(name: &str) -> Unreadable {
    Unreadable(format!("`{name}` is of another kind"))
}

fn texts(members: &Map<String, Value>, name: &'static str) -> Result<Option<Vec<String>>, Unreadable> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let items = value.as_array().ok_or_else(|| odd(name))?;
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| odd(name)))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn read_verdict(word: &str) -> Result<Verdict, Unreadable> {
    let verdict = Verdict::parse(word).filter(|verdict| VERDICTS.contains(verdict));
    verdict.ok_or_else(|| Unreadable(format!("{word:?} is nothing that can be said")))
}

fn read_bound(members: &Map<String, Value>) -> Result<BTreeMap<String, String>, Unreadable> {
    let Some(bound) = members.get(BOUND) else { return Ok(BTreeMap::new()) };
    let bound = bound.as_object().ok_or_else(|| odd(BOUND))?;
    let ids = bound.iter().map(|(label, id)| Ok((label.clone(), id.as_str().ok_or_else(|| odd(BOUND))?.to_owned())));
    ids.collect()
}

fn read_duration(name: &str, text: &str) -> Result<u64, Unreadable> {
    duration_ms(text).map_err(|reason| Unreadable(format!("`{name}`: {text:?} {reason}")))
}

fn read_quorum(members: &Map<String, Value>) -> Result<Quorum, Unreadable> {
    let count = |value: &Value| {
        value
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count > 0)
            .ok_or_else(|| odd("quorum"))
    };
    match members.get("quorum") {
        None => Ok(Quorum { approve: 1, reject: 1 }),
        Some(Value::Object(table)) => {
            if table.keys().any(|name| name != "approve" && name != "reject") {
                return Err(odd("quorum"));
            }
            let approve = count(table.get("approve").unwrap_or(&Value::Null))?;
            let reject = table.get("reject").map_or(Ok(1), count)?;
            Ok(Quorum { approve, reject })
        }
        Some(value) => Ok(Quorum { approve: count(value)?, reject: 1 }),
    }
}

fn read_risk(value: &Value) -> Result<Risk, Unreadable> {
    value.as_str().and_then(Risk::parse).ok_or_else(|| odd("risk"))
}

fn read_step_up(value: &Value) -> Result<StepUp, Unreadable> {
    match value {
        Value::String(text) => Ok(StepUp { within_ms: read_duration("step_up", text)?, acr: Vec::new() }),
        Value::Object(table) if table.keys().all(|name| name == "within" || name == "acr") => {
            let within = table.get("within").and_then(Value::as_str).ok_or_else(|| odd("step_up"))?;
            let acr = texts(table, "acr")?.unwrap_or_default();
            Ok(StepUp { within_ms: read_duration("step_up", within)?, acr })
        }
        _ => Err(odd("step_up")),
    }
}

fn read_ladder(members: &Map<String, Value>, person: &dyn Fn(&str) -> Person) -> Result<Vec<Step>, Unreadable> {
    let Some(steps) = members.get("escalate") else { return Ok(Vec::new()) };
    let steps = steps.as_array().ok_or_else(|| odd("escalate"))?;
    let read = |step: &Value| {
        let table = step.as_object().ok_or_else(|| odd("escalate"))?;
        let after = table.get("after").and_then(Value::as_str).ok_or_else(|| odd("escalate"))?;
        let to = texts(table, "to")?.ok_or_else(|| odd("escalate"))?;
        Ok(Step { after_ms: read_duration("escalate", after)?, to: to.iter().map(|label| person(label)).collect() })
    };
    steps.iter().map(read).collect()
}

fn read_on_timeout(members: &Map<String, Value>) -> Result<OnTimeout, Unreadable> {
    match members.get("on_timeout") {
        None => Ok(OnTimeout::Reject),
        Some(Value::String(text)) if text == "fail" => Ok(OnTimeout::Fail),
        Some(Value::Object(table)) if table.len() == 1 => {
            table.get("answer").cloned().map(OnTimeout::Answer).ok_or_else(|| odd("on_timeout"))
        }
        Some(_) => Err(odd("on_timeout")),
    }
}
