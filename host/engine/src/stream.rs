//! From events to the parts of LangGraph's streams (v2: each part names its type and its graph). Pure.

use std::collections::HashMap;

use holdpoint_graph::ids::{Namespace, NodeName, TaskId, ThreadId};
use holdpoint_store::{CheckpointRecord, QuestionRecord, TaskRecord, TaskStatus, ThreadError, Trigger};
use serde_json::{Map, Value, json};

use crate::events::{Event, EventKind};
use crate::plan::{self, COMMAND, INPUT, PAUSE};

/// What a stream tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// All values, whenever they have changed.
    Values,
    /// What each task wrote, by node.
    Updates,
    /// Tasks when they begin and when they end.
    Tasks,
    /// Checkpoints with what runs next from them.
    Checkpoints,
    /// What nodes say while they work.
    Custom,
    /// Checkpoints and tasks, each with its step and time.
    Debug,
}

impl Mode {
    /// All modes with LangGraph's names.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::Values, "values"),
        (Self::Updates, "updates"),
        (Self::Tasks, "tasks"),
        (Self::Checkpoints, "checkpoints"),
        (Self::Custom, "custom"),
        (Self::Debug, "debug"),
    ];

    /// The spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(mode, _)| *mode)
    }
}

/// One part of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which mode it belongs to.
    pub mode: Mode,
    /// Which graph of the thread it is about.
    pub namespace: Namespace,
    /// What it says.
    pub data: Value,
}

impl Part {
    /// LangGraph's form: `type`, `ns` (the parts of the namespace, outermost first), `data`.
    pub fn to_json(&self) -> Value {
        let namespace: Vec<&str> = self.namespace.parts().collect();
        json!({ "type": self.mode.name(), "ns": namespace, "data": self.data })
    }
}

/// The parts that one event comes to, seen alone. [`Stream::parts`] knows more: with an interrupt it also tells the values, and it tells a
/// subgraph's questions again where the subgraph was called.
pub fn parts(event: &Event, modes: &[Mode]) -> Vec<Part> {
    Stream::new(modes.iter().copied()).parts(event)
}

/// A stream of one run: what has been told of it so far is part of what is told next.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    modes: Vec<Mode>,
    /// The values as last told, where interrupts are told with them.
    values: HashMap<Namespace, Map<String, Value>>,
    /// The questions that subgraphs asked, until the tasks that run them have told them too.
    asked: HashMap<Namespace, Vec<Value>>,
}

impl Stream {
    /// A stream that tells these modes.
    pub fn new(modes: impl IntoIterator<Item = Mode>) -> Self {
        Self { modes: modes.into_iter().collect(), ..Self::default() }
    }

    /// The parts that the next event comes to.
    pub fn parts(&mut self, event: &Event) -> Vec<Part> {
        match &event.kind {
            EventKind::TaskStarted { task, node, argument } => {
                let mut data = json!({ "id": task.as_str(), "name": node.as_str(), "input": argument });
                // Edges lead to a task without an argument, and which of them did is not recorded.
                if argument.is_some() {
                    data["triggers"] = json!(["__pregel_push"]);
                }
                self.told(event, Mode::Tasks, "task", data)
            }
            EventKind::TaskEnded { record, question, cached } => {
                self.ended(event, record, question.as_deref(), *cached)
            }
            EventKind::Checkpoint { record, values } => self.reached(event, record, values),
            EventKind::Custom { value, .. } => {
                self.has(Mode::Custom).then(|| part(event, Mode::Custom, value.clone())).into_iter().collect()
            }
        }
    }

    fn has(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    fn reached(&mut self, event: &Event, record: &CheckpointRecord, values: &Map<String, Value>) -> Vec<Part> {
        let mut parts = Vec::new();
        // Before an input is applied the values are those that were told last.
        if self.has(Mode::Values) && !record.next.contains(&Trigger::Start) {
            // Graphs inside this one are over when it moves on, but for those whose next call tells its values first.
            self.values.retain(|namespace, _| !is_inside(namespace, &event.namespace));
            self.values.insert(event.namespace.clone(), values.clone());
            parts.push(part(event, Mode::Values, Value::Object(values.clone())));
        }
        if self.has(Mode::Checkpoints) || self.has(Mode::Debug) {
            parts.extend(self.told(
                event,
                Mode::Checkpoints,
                "checkpoint",
                checkpoint_json(&event.thread, record, values),
            ));
        }
        parts
    }

    fn ended(
        &mut self,
        event: &Event,
        record: &TaskRecord,
        question: Option<&QuestionRecord>,
        cached: bool,
    ) -> Vec<Part> {
        if record.path == PAUSE || record.path == INPUT || record.path.starts_with(COMMAND) {
            // A caller's doing, not a task.
            return Vec::new();
        }
        let interrupts = self.interrupts(event, record, question);
        let mut parts = Vec::new();
        if !interrupts.is_empty() {
            if self.has(Mode::Updates) {
                parts.push(part(event, Mode::Updates, json!({ "__interrupt__": interrupts })));
            }
            if self.has(Mode::Values) {
                let mut values = self.values.get(&event.namespace).cloned().unwrap_or_default();
                values.insert("__interrupt__".into(), Value::Array(interrupts.clone()));
                parts.push(part(event, Mode::Values, Value::Object(values)));
            }
        }
        if self.has(Mode::Updates)
            && let Some(result) = &record.result
        {
            let update = if result.update.is_empty() { Value::Null } else { Value::Object(result.update.clone()) };
            let mut data = Map::from_iter([(record.node.to_string(), update)]);
            if cached {
                data.insert("__metadata__".into(), json!({ "cached": true }));
            }
            parts.push(part(event, Mode::Updates, Value::Object(data)));
        }
        let mut data = json!({
            "id": record.id.as_str(),
            "name": record.node.as_str(),
            "result": record.result.as_ref().map(|command| command.update.clone()).unwrap_or_default(),
            "error": record.error.as_ref().map(error_json),
            "interrupts": interrupts,
        });
        if cached {
            data["cached"] = json!(true);
        }
        parts.extend(self.told(event, Mode::Tasks, "task_result", data));
        parts
    }

    /// The questions of an interrupted task: its own, or those that its subgraph asked since it began.
    fn interrupts(&mut self, event: &Event, record: &TaskRecord, question: Option<&QuestionRecord>) -> Vec<Value> {
        let (namespace, node) = (&event.namespace, &record.node);
        let inside = [namespace.child(node, Some(&record.id)), namespace.child(node, None)];
        let bubbled: Vec<Value> = inside.iter().filter_map(|child| self.asked.remove(child)).flatten().collect();
        let own = question.map(|question| json!({ "value": question.payload, "id": question.id.as_str() }));
        let interrupts: Vec<Value> = match record.status {
            TaskStatus::Interrupted => bubbled.into_iter().chain(own).collect(),
            _ => Vec::new(),
        };
        if !namespace.is_root() && !interrupts.is_empty() {
            self.asked.entry(namespace.clone()).or_default().extend(interrupts.iter().cloned());
        }
        interrupts
    }

    /// A part of its own mode, and the same for debugging.
    fn told(&self, event: &Event, mode: Mode, kind: &str, data: Value) -> Vec<Part> {
        let debug = self.has(Mode::Debug).then(|| {
            let wrapped =
                json!({ "step": event.step, "timestamp": time_text(event.at_ms), "type": kind, "payload": data.clone() });
            part(event, Mode::Debug, wrapped)
        });
        let own = self.has(mode).then(|| part(event, mode, data));
        own.into_iter().chain(debug).collect()
    }
}

fn part(event: &Event, mode: Mode, data: Value) -> Part {
    Part { mode, namespace: event.namespace.clone(), data }
}

fn is_inside(namespace: &Namespace, outer: &Namespace) -> bool {
    match namespace.as_str().strip_prefix(outer.as_str()) {
        Some("") | None => false,
        Some(rest) => outer.is_root() || rest.starts_with('|'),
    }
}

fn checkpoint_json(thread: &ThreadId, record: &CheckpointRecord, values: &Map<String, Value>) -> Value {
    let config = |id: &str| {
        let configurable = json!({
            "thread_id": thread.as_str(),
            "checkpoint_ns": record.namespace.as_str(),
            "checkpoint_id": id,
        });
        json!({ "configurable": configurable })
    };
    let mut metadata = record.metadata.clone();
    metadata.insert("source".into(), json!(record.source.name()));
    metadata.insert("step".into(), json!(record.step));
    let tasks = plan::tasks_of(thread, record, []);
    let start = record.next.iter().filter(|trigger| **trigger == Trigger::Start).map(|_| "__start__");
    let next: Vec<&str> = start.chain(tasks.iter().map(|task| task.node.as_str())).collect();
    let tasks: Vec<Value> = tasks.iter().map(|task| task_json(&task.id, &task.node)).collect();
    json!({
        "config": config(record.id.as_str()),
        "parent_config": record.parent.as_ref().map(|parent| config(parent.as_str())),
        "metadata": metadata,
        "effects": record.effects.name(),
        "created_at": time_text(record.created_at_ms),
        "values": values,
        "next": next,
        "tasks": tasks,
    })
}

/// A task that is about to begin: nothing is known of it.
fn task_json(id: &TaskId, node: &NodeName) -> Value {
    json!({ "id": id.as_str(), "name": node.as_str(), "interrupts": [], "state": null })
}

fn error_json(error: &ThreadError) -> Value {
    json!({ "code": error.code, "message": error.message, "details": error.details })
}

fn time_text(at_ms: u64) -> String {
    let time = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    time.map_or_else(|| format!("{at_ms} ms since 1970"), |time| format!("{time:.3}"))
}
