//! The files of scenarios as values.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::program::repository;

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its id in the reference.
    pub id: String,
    /// What it shows, in a line.
    pub title: String,
    /// Why the expectation is ours and not LangGraph's.
    pub deviation: Option<String>,
    /// Its only graph, `main`.
    pub graph: Option<String>,
    /// Its graphs by name. A node's `graph` names another of them.
    #[serde(default)]
    pub graphs: BTreeMap<String, String>,
    /// What happens and what comes of it.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One step: something is called, and something has to hold afterwards.
#[derive(Debug, Clone, Deserialize)]
pub struct Step {
    /// What is called.
    #[serde(flatten)]
    pub call: Call,
    /// In what circumstances.
    #[serde(flatten)]
    pub circumstances: Circumstances,
    /// What has to hold afterwards.
    #[serde(flatten)]
    pub expected: Expected,
    /// Keys that do not exist.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// What is called: exactly one of these, or nothing, which only looks at the thread.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Call {
    /// Gives input to a thread of a graph, creating it when it is new.
    pub run: Option<Map<String, Value>>,
    /// Gives input to a thread that is there.
    pub input: Option<Map<String, Value>>,
    /// One answer that names no question.
    pub answer: Option<Value>,
    /// Answers by question (see [`super::names`]).
    pub answers: Option<Map<String, Value>>,
    /// Answers with writes and destinations.
    pub command: Option<Command>,
    /// Continues.
    pub proceed: Option<bool>,
    /// Runs again from a checkpoint (see [`super::names`]).
    pub replay: Option<String>,
    /// One update.
    pub update: Option<Update>,
    /// Several supersteps of updates.
    pub bulk: Option<Vec<Vec<Update>>>,
    /// Makes the thread of supersteps of updates.
    pub create: Option<Vec<Vec<Update>>>,
    /// Branches off with an update.
    pub fork: Option<Fork>,
    /// Copies the thread to one of this name, which the step then looks at.
    pub copy: Option<String>,
    /// Reads the state at a checkpoint, or at the head as it stands: `now`.
    pub state: Option<String>,
    /// Settles an operation in doubt.
    pub settle: Option<Settle>,
    /// Forgets all results that could be used again.
    pub clear_cache: Option<bool>,
    /// Moves the clock.
    pub advance_ms: Option<u64>,
    /// Several calls at once.
    pub together: Option<Together>,
}

/// A command as the input of a run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// As [`Call::answer`].
    pub answer: Option<Value>,
    /// As [`Call::answers`].
    pub answers: Option<Map<String, Value>>,
    /// Writes.
    #[serde(default)]
    pub update: Map<String, Value>,
    /// Nodes, or `{ send = { node, argument } }`.
    #[serde(default)]
    pub goto: Vec<Value>,
}

/// One update.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// What it writes; none writes nothing.
    pub values: Option<Map<String, Value>>,
    /// For whom it speaks.
    pub as_node: Option<String>,
    /// Where it goes, as [`Command::goto`].
    #[serde(default)]
    pub goto: Vec<Value>,
}

/// A branch with an update.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// The checkpoint.
    pub from: String,
    /// What the update writes.
    pub values: Option<Map<String, Value>>,
    /// For whom it speaks.
    pub as_node: Option<String>,
}

/// A person's word on an operation in doubt.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// The operation's id.
    pub operation: String,
    /// It happened, with this answer; without it, it did not and may be sent.
    pub happened: Option<Value>,
}

/// Calls that are made at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Together {
    /// The calls.
    pub calls: Vec<Call>,
    /// The first call is stopped where it starts this node until the others have ended: then who is first is known.
    pub hold: Option<String>,
    /// How each ended, in any order without `hold`: `ok` or a code, or several that are allowed, with `|` between.
    pub outcomes: Vec<String>,
}

/// In what circumstances a call is made.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Circumstances {
    /// The thread; `t` when none.
    pub thread: Option<String>,
    /// The graph of a `run` or `create`; `main` when none.
    pub graph: Option<String>,
    /// Input takes the place of questions that wait.
    #[serde(default)]
    pub supersede: bool,
    /// The checkpoint that an update is written at; the head when none.
    pub at: Option<String>,
    /// Nodes before which the call pauses; `*` for all.
    #[serde(default)]
    pub breaks_before: Vec<String>,
    /// Nodes after which the call pauses; `*` for all.
    #[serde(default)]
    pub breaks_after: Vec<String>,
    /// What becomes of effects on the branch that the call makes.
    pub effects: Option<String>,
    /// The node that, when it starts, has somebody ask all runs to stop.
    pub drain_in: Option<String>,
    /// The worker dies there; another one takes its place.
    pub kill: Option<Kill>,
    /// The modes that `stream` expects parts of.
    #[serde(default)]
    pub modes: Vec<String>,
}

/// Where a worker dies. The first time that the call gets there, counted from the call's beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// When this node has started.
    pub node: Option<String>,
    /// Before this commit, counted from 1.
    pub before_commit: Option<u64>,
    /// After this commit, whose outcome nobody learns.
    pub after_commit: Option<u64>,
    /// After the operation with this id has reached its receiver, whose answer nobody gets.
    pub sent: Option<String>,
}

/// What has to hold after a call. What is not named may be anything.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Expected {
    /// The call is refused with this code.
    pub error: Option<String>,
    /// The refusal says this.
    pub says: Option<String>,
    /// The refusal lists the questions that are pending.
    #[serde(default)]
    pub pending_told: bool,
    /// The thread is not there.
    #[serde(default)]
    pub absent: bool,
    /// The call has written nothing: checkpoints, values, what runs next, questions and commits are what they were.
    #[serde(default)]
    pub unchanged: bool,
    /// `running`, `interrupted`, `done` or `failed`.
    pub status: Option<String>,
    /// The code of the thread's error.
    pub failed: Option<String>,
    /// All channels that are not null.
    pub values: Option<Map<String, Value>>,
    /// What runs next, in order of path.
    pub next: Option<Vec<String>>,
    /// It is paused without a question.
    pub paused: Option<bool>,
    /// What is asked, in any order.
    pub asks: Option<Vec<Value>>,
    /// The operations in doubt that it waits for.
    pub doubts: Option<Vec<String>>,
    /// Whether the ids of all questions are new in this scenario.
    pub asked_anew: Option<bool>,
    /// What became of questions that were saved by name.
    pub questions: Option<BTreeMap<String, String>>,
    /// How long each pending question stands from now.
    pub deadlines_ms: Option<Vec<u64>>,
    /// The history, newest first: `[source, next, step]`, and the values as a fourth item.
    pub history: Option<Vec<Value>>,
    /// How many checkpoints the thread's own graph has.
    pub checkpoints: Option<usize>,
    /// The head's source.
    pub source: Option<String>,
    /// The head's step.
    pub step: Option<i64>,
    /// The head's parent is the parent of this checkpoint.
    pub sibling_of: Option<String>,
    /// The head is none of the checkpoints from before the call.
    pub head_is_new: Option<bool>,
    /// Every checkpoint from before the call is what it was, its tasks and their results included.
    #[serde(default)]
    pub history_kept: bool,
    /// The history of another thread: same values, next and step.
    pub history_like: Option<String>,
    /// The tasks of the head as it stands, or of the state that was read, in order of path.
    pub tasks: Option<Vec<Task>>,
    /// How often nodes were started in this scenario so far.
    pub runs: Option<BTreeMap<String, usize>>,
    /// The nodes started in this scenario so far, in order.
    pub order: Option<Vec<String>>,
    /// The nodes whose tasks became done in this call, in order.
    pub ended: Option<Vec<String>>,
    /// What has reached connectors in this scenario so far: ids, or requests without one. In any order.
    pub sent: Option<Vec<Value>>,
    /// The parts of the thread's own graph that the call's stream told: `[mode, data]`.
    pub stream: Option<Vec<Value>>,
    /// The last checkpoint that the stream told is the head.
    #[serde(default)]
    pub stream_ends_at_head: bool,
    /// Durable commits of the call.
    pub commits: Option<u64>,
    /// Names the head for later steps.
    pub mark: Option<String>,
    /// Names pending questions for later steps: name to question.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

/// What is expected of a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its node.
    pub node: String,
    /// Its status; `none` when nothing is recorded of it.
    pub status: Option<String>,
    /// What it wrote.
    pub result: Option<Map<String, Value>>,
    /// The code of its error.
    pub error: Option<String>,
    /// Times that it was started.
    pub executions: Option<u32>,
    /// What it asks or asked, in order.
    pub asks: Option<Vec<Value>>,
    /// What its questions were answered with, in order.
    pub answers: Option<Vec<Value>>,
    /// The answer schemas of its questions.
    pub schemas: Option<Vec<Value>>,
    /// Values of its subgraph.
    pub values: Option<Map<String, Value>>,
    /// What runs next in its subgraph.
    pub next: Option<Vec<String>>,
}

/// All scenarios of the repository, in order of file and place.
///
/// # Errors
/// What cannot be read, with its file.
pub fn read_all() -> Result<Vec<Scenario>, String> {
    let folder = repository().join("tests/scenarios");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| is_toml(path)).collect();
    files.sort();
    let mut scenarios = Vec::new();
    for file in files {
        let in_file = |fault: String| format!("{}: {fault}", file.display());
        let text = std::fs::read_to_string(&file).map_err(|error| in_file(error.to_string()))?;
        scenarios.extend(read(&text).map_err(in_file)?);
    }
    Ok(scenarios)
}

/// The scenarios of one file.
///
/// # Errors
/// What cannot be read.
pub fn read(text: &str) -> Result<Vec<Scenario>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        scenario: Vec<Value>,
    }
    let File { scenario } = toml::from_str(text).map_err(|error| error.to_string())?;
    let scenarios = scenario.into_iter().map(|value| {
        let id = value["id"].as_str().unwrap_or("without an id").to_owned();
        let read = serde_json::from_value::<Scenario>(with_nulls(value)).map_err(|error| error.to_string());
        read.and_then(checked).map_err(|error| format!("{id}: {error}"))
    });
    scenarios.collect()
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "toml")
}

fn checked(scenario: Scenario) -> Result<Scenario, String> {
    match scenario.steps.iter().enumerate().find(|(_, step)| !step.unknown.is_empty()) {
        Some((index, step)) => {
            let keys: Vec<&str> = step.unknown.keys().map(String::as_str).collect();
            Err(format!("step {}: unknown keys: {}", index + 1, keys.join(", ")))
        }
        None => Ok(scenario),
    }
}

/// TOML has no null.
fn with_nulls(value: Value) -> Value {
    match value {
        Value::String(text) if text == "$null" => Value::Null,
        Value::Array(items) => items.into_iter().map(with_nulls).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, with_nulls(value))).collect(),
        other => other,
    }
}
