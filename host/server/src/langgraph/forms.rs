//! What is sent: LangGraph's objects, each with exactly its members.

use std::collections::BTreeMap;

use holdpoint_engine::{HistoryEntry, TaskView};
use holdpoint_graph::ids::{CheckpointId, ThreadId};
use holdpoint_store::{EntryStatus, QuestionRecord, TaskStatus, ThreadError};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::reading::{self, Reading};

/// A thread.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Thread {
    pub(crate) thread_id: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// When the state last changed.
    pub(crate) state_updated_at: String,
    #[schema(value_type = Object)]
    pub(crate) metadata: Map<String, Value>,
    /// `idle`, `busy`, `interrupted` or `error`.
    pub(crate) status: &'static str,
    #[schema(value_type = Object)]
    pub(crate) config: Value,
    /// The state's values; null before the first input.
    #[schema(value_type = Object)]
    pub(crate) values: Value,
    /// Why it failed; absent before the first input.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) error: Option<Value>,
    /// What waits for an answer, by task; absent before the first input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interrupts: Option<BTreeMap<String, Vec<Interrupt>>>,
}

/// A question that waits for an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Interrupt {
    /// What an answer has to name: 32 hex digits.
    pub(crate) id: String,
    /// What is asked.
    pub(crate) value: Value,
    /// JSON Schema of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_schema: Option<Value>,
}

/// A thread's state, now or at a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ThreadState {
    #[schema(value_type = Object)]
    pub(crate) values: Map<String, Value>,
    pub(crate) next: Vec<String>,
    #[schema(no_recursion)]
    pub(crate) tasks: Vec<Task>,
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Map<String, Value>>,
    pub(crate) created_at: Option<String>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) parent_checkpoint: Option<Checkpoint>,
    pub(crate) interrupts: Vec<Interrupt>,
    pub(crate) checkpoint_id: Option<String>,
    pub(crate) parent_checkpoint_id: Option<String>,
}

/// A task that starts from a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its place in the step: LangGraph's task path.
    #[schema(value_type = Vec<Object>)]
    pub(crate) path: Value,
    pub(crate) error: Option<String>,
    pub(crate) interrupts: Vec<Interrupt>,
    /// For one that runs a subgraph: where that stands.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// For one that runs a subgraph, where asked for: its state.
    #[schema(no_recursion)]
    pub(crate) state: Option<Box<ThreadState>>,
    /// What it wrote, once done.
    #[schema(value_type = Option<Object>)]
    pub(crate) result: Option<Value>,
}

/// Names a checkpoint.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Checkpoint {
    pub(crate) thread_id: String,
    pub(crate) checkpoint_ns: String,
    pub(crate) checkpoint_id: String,
}

impl Thread {
    /// Shows a thread.
    pub(crate) fn of(reading: &Reading) -> Self {
        let entry = &reading.summary.entry;
        let state_at_ms = reading.record().map(|record| record.updated_at_ms);
        let error = reading.error().map_or(Value::Null, error_json);
        Self {
            thread_id: entry.thread.to_string(),
            created_at: time_text(entry.created_at_ms),
            updated_at: time_text(entry.updated_at_ms.max(state_at_ms.unwrap_or(0))),
            state_updated_at: time_text(state_at_ms.unwrap_or(entry.created_at_ms)),
            metadata: reading::metadata(&reading.summary),
            status: status_name(reading.status()),
            config: json!({ "configurable": {} }),
            values: reading.live.as_ref().map_or(Value::Null, |live| Value::Object(live.entry.values.clone())),
            error: reading.live.as_ref().map(|_| error),
            interrupts: reading.live.as_ref().map(|live| interrupts_by_task(&live.entry, reading.now_ms)),
        }
    }
}

fn interrupts_by_task(entry: &HistoryEntry, now_ms: u64) -> BTreeMap<String, Vec<Interrupt>> {
    let by_task = entry.tasks.iter().map(|task| {
        let open = reading::open_questions(task, now_ms);
        (task.id.to_string(), open.into_iter().map(Interrupt::of).collect::<Vec<_>>())
    });
    by_task.filter(|(_, interrupts)| !interrupts.is_empty()).collect()
}

impl Interrupt {
    fn of(question: &QuestionRecord) -> Self {
        let of_call = question.answer_schema.clone();
        let of_graph = question.policy.get("answer_schema").filter(|schema| !schema.is_null()).cloned();
        let response_schema = match (of_call, of_graph) {
            (Some(of_call), Some(of_graph)) if of_call != of_graph => Some(json!({ "allOf": [of_graph, of_call] })),
            (of_call, of_graph) => of_call.or(of_graph),
        };
        Self { id: question.id.to_string(), value: question.payload.clone(), response_schema }
    }
}

/// How states are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Showing<'a> {
    /// Whose states they are.
    pub(crate) thread: &'a ThreadId,
    /// The name of the thread's graph.
    pub(crate) graph_name: &'a str,
    /// With the states of subgraphs.
    pub(crate) subgraphs: bool,
    /// When they were read.
    pub(crate) now_ms: u64,
}

impl Showing<'_> {
    /// Shows a state.
    pub(crate) fn state(self, entry: &HistoryEntry) -> ThreadState {
        let open = entry.tasks.iter().flat_map(|task| reading::open_questions(task, self.now_ms));
        let mut metadata = entry.metadata.clone();
        for (name, value) in [
            ("source", json!(entry.source.name())),
            ("step", json!(entry.step)),
            ("thread_id", json!(self.thread.as_str())),
            ("graph_id", json!(self.graph_name)),
            ("parents", json!({})),
        ] {
            metadata.insert(name.to_owned(), value);
        }
        let checkpoint = |id: &CheckpointId| self.checkpoint(entry.namespace.as_str(), id);
        ThreadState {
            values: entry.values.clone(),
            next: entry.next.clone(),
            tasks: entry.tasks.iter().map(|task| self.task(entry, task)).collect(),
            metadata: Some(metadata),
            created_at: Some(time_text(entry.created_at_ms)),
            checkpoint: Some(checkpoint(&entry.checkpoint)),
            parent_checkpoint: entry.parent.as_ref().map(checkpoint),
            interrupts: open.map(Interrupt::of).collect(),
            checkpoint_id: Some(entry.checkpoint.to_string()),
            parent_checkpoint_id: entry.parent.as_ref().map(CheckpointId::to_string),
        }
    }

    fn task(self, entry: &HistoryEntry, task: &TaskView) -> Task {
        let child = task.child.as_ref().map(|child| {
            let inside = entry.namespace.child(&task.node, Some(&task.id));
            // One that is kept per thread has a namespace without the task; its state says which it is.
            let namespace = task.state.as_ref().map_or(inside, |state| state.namespace.clone());
            self.checkpoint(namespace.as_str(), child)
        });
        let nested = task.state.as_ref().filter(|_| self.subgraphs);
        let failed = matches!(task.status, Some(TaskStatus::Failed | TaskStatus::InDoubt));
        Task {
            id: task.id.to_string(),
            name: task.node.to_string(),
            path: path_json(&task.path),
            error: task.error.as_ref().filter(|_| failed).map(|error| format!("{}: {}", error.code, error.message)),
            interrupts: reading::shown_questions(task, self.now_ms).into_iter().map(Interrupt::of).collect(),
            checkpoint: child,
            state: nested.map(|state| Box::new(self.state(state))),
            result: task.result.as_ref().map(|result| Value::Object(result.update.clone())),
        }
    }

    /// Names a checkpoint.
    pub(crate) fn checkpoint(self, namespace: &str, id: &CheckpointId) -> Checkpoint {
        Checkpoint {
            thread_id: self.thread.to_string(),
            checkpoint_ns: namespace.to_owned(),
            checkpoint_id: id.to_string(),
        }
    }
}

impl ThreadState {
    /// The state of a thread without any run.
    pub(crate) fn empty() -> Self {
        Self {
            values: Map::new(),
            next: Vec::new(),
            tasks: Vec::new(),
            metadata: None,
            created_at: None,
            checkpoint: None,
            parent_checkpoint: None,
            interrupts: Vec::new(),
            checkpoint_id: None,
            parent_checkpoint_id: None,
        }
    }
}

/// `pull:NODE` and `push:INDEX` in LangGraph's form.
fn path_json(path: &str) -> Value {
    match path.split_once(':') {
        Some(("pull", node)) => json!(["__pregel_pull", node]),
        Some(("push", index)) => match index.parse::<u64>() {
            Ok(index) => json!(["__pregel_push", index, false]),
            Err(_) => json!(["__pregel_push", index]),
        },
        _ => json!([path]),
    }
}

/// An error in LangGraph's form: the author's code stands for the class.
pub(crate) fn error_json(error: &ThreadError) -> Value {
    json!({ "error": error.code, "message": error.message })
}

/// LangGraph's name of a status.
pub(crate) fn status_name(status: EntryStatus) -> &'static str {
    match status {
        EntryStatus::Idle => "idle",
        EntryStatus::Busy => "busy",
        EntryStatus::Interrupted => "interrupted",
        EntryStatus::Error => "error",
    }
}

/// Milliseconds since 1970 as ISO-8601 with microseconds.
pub(crate) fn time_text(at_ms: u64) -> String {
    let time = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    let time = time.unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

/// Keeps only the members that were asked for; all when none were.
pub(crate) fn select(value: impl Serialize, members: Option<&[String]>) -> Value {
    let mut value = serde_json::to_value(value).expect("invariant: texts, numbers and JSON values have a JSON form");
    if let (Some(members), Value::Object(object)) = (members, &mut value) {
        object.retain(|name, _| members.iter().any(|member| member == name));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds_and_an_offset() {
        assert_eq!(time_text(1_700_000_000_123), "2023-11-14T22:13:20.123000+00:00");
        assert_eq!(time_text(0), "1970-01-01T00:00:00.000000+00:00");
        assert!(time_text(u64::MAX).starts_with("9999-"));
    }

    #[test]
    fn paths() {
        assert_eq!(path_json("pull:approve"), json!(["__pregel_pull", "approve"]));
        assert_eq!(path_json("push:0000000012"), json!(["__pregel_push", 12, false]));
        assert_eq!(path_json("goto:x"), json!(["goto:x"]));
    }

    #[test]
    fn selected_members() {
        let value = json!({ "a": 1, "b": 2 });
        assert_eq!(select(&value, None), value);
        assert_eq!(select(&value, Some(&["b".to_owned(), "c".to_owned()])), json!({ "b": 2 }));
    }
}
