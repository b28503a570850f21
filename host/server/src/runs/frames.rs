//! From an engine's events to frames.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdpoint_engine::stream::{Mode, Part, Stream};
use holdpoint_engine::{Event, EventKind, EventSink};
use holdpoint_graph::ids::{Namespace, NodeName, RunId, TaskId};
use holdpoint_store::{QuestionRecord, QuestionStatus, TaskRecord, TaskStatus};
use serde_json::{Map, Value, json};

use super::feed::{Feed, FrameKind};
use super::messages::Messages;

/// What streams may be asked for, by LangGraph's names.
pub(crate) const MODES: [&str; 11] = [
    "values",
    "updates",
    "messages",
    "messages-tuple",
    "tasks",
    "checkpoints",
    "events",
    "debug",
    "custom",
    "tools",
    "lifecycle",
];

/// The modes that tell what the channels of a thread's own stream can show. What nobody chose the modes of is told in these: a run that a command
/// began, a thread that goes on by itself.
pub(crate) const CHANNEL_MODES: [&str; 6] = ["values", "updates", "messages-tuple", "tasks", "checkpoints", "custom"];

/// Takes the events of one run, or of a thread that goes on by itself, and tells them in its feed.
pub(crate) struct RunSink {
    feed: Arc<Feed>,
    run: Option<RunId>,
    graph: String,
    /// Held while an event's frames are made and told, so that they come in order. Never held across an await.
    converter: Mutex<Converter>,
}

/// What is told depends on what was told before.
struct Converter {
    stream: Stream,
    events: bool,
    messages: Option<Messages>,
    /// The schemas of the answers to the questions seen.
    schemas: HashMap<String, Value>,
    /// LangGraph's metadata of the run, told with events and messages.
    metadata: Map<String, Value>,
}

impl RunSink {
    /// `modes` are those that were asked for; what every watcher may want is told besides.
    pub(crate) fn new(
        feed: Arc<Feed>,
        run: Option<RunId>,
        graph: String,
        modes: &[impl AsRef<str>],
        metadata: Map<String, Value>,
    ) -> Self {
        let asked = |name: &str| modes.iter().any(|mode| mode.as_ref() == name);
        let always = [Mode::Values, Mode::Updates, Mode::Tasks, Mode::Custom];
        let besides = [Mode::Checkpoints, Mode::Debug].into_iter().filter(|mode| asked(mode.name()));
        let converter = Converter {
            stream: Stream::new(always.into_iter().chain(besides)),
            events: asked("events"),
            messages: (asked("messages") || asked("messages-tuple")).then(Messages::default),
            schemas: HashMap::new(),
            metadata,
        };
        Self { feed, run, graph, converter: Mutex::new(converter) }
    }
}

impl EventSink for RunSink {
    fn take(&self, event: Event) {
        let mut converter = self.converter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = &self.run {
            self.feed.begin(run, &self.graph, event.at_ms);
        }
        let told = converter.frames(&event);
        self.feed.push(self.run.as_ref(), event.at_ms, told);
    }
}

impl Converter {
    fn frames(&mut self, event: &Event) -> Vec<(FrameKind, Namespace, Value)> {
        let mut told = Vec::new();
        if let EventKind::TaskEnded { record, question: Some(question), .. } = &event.kind {
            self.note_schema(question);
            if record.status == TaskStatus::Interrupted && question.status == QuestionStatus::Pending {
                told.push((FrameKind::Asked, event.namespace.clone(), asked(question)));
            }
        }
        let parts = self.stream.parts(event);
        told.extend(parts.into_iter().map(|part| self.spoken(part)));
        if self.events {
            let spoken = self.langchain_event(event);
            told.extend(spoken.map(|data| (FrameKind::Events, event.namespace.clone(), data)));
        }
        if let EventKind::Custom { task, node, value } = &event.kind {
            let metadata = self.of_task(event, task, node);
            if let Some(messages) = &mut self.messages {
                let said = messages.said(value, &metadata).into_iter();
                told.extend(said.map(|(kind, data)| (kind, event.namespace.clone(), data)));
            }
        }
        told
    }

    /// A part as version 1 of LangGraph's streams has it.
    fn spoken(&self, part: Part) -> (FrameKind, Namespace, Value) {
        let Part { mode, namespace, mut data } = part;
        match mode {
            Mode::Values | Mode::Updates => self.complete_interrupts(data.get_mut("__interrupt__")),
            Mode::Tasks => {
                self.complete_interrupts(data.get_mut("interrupts"));
                plain_task(&mut data);
            }
            Mode::Debug => {
                if let Some(payload) = data.get_mut("payload") {
                    plain_task(payload);
                }
            }
            Mode::Checkpoints | Mode::Custom => {}
        }
        (FrameKind::Mode(mode), namespace, data)
    }

    fn note_schema(&mut self, question: &QuestionRecord) {
        let schema = question.answer_schema.as_ref().or_else(|| question.policy.get("answer_schema"));
        if let Some(schema) = schema {
            self.schemas.insert(question.id.to_string(), schema.clone());
        }
    }

    fn complete_interrupts(&self, interrupts: Option<&mut Value>) {
        for interrupt in interrupts.and_then(Value::as_array_mut).into_iter().flatten() {
            let schema = interrupt.get("id").and_then(Value::as_str).and_then(|id| self.schemas.get(id)).cloned();
            if let Some(members) = interrupt.as_object_mut() {
                members.insert("response_schema".into(), schema.unwrap_or(Value::Null));
            }
        }
    }

    /// What LangChain's event streams would say.
    fn langchain_event(&self, event: &Event) -> Option<Value> {
        let said = |name: &str, task: &TaskId, node: &NodeName, data: Value| {
            json!({
                "event": name,
                "name": node.as_str(),
                "run_id": task.as_str(),
                "tags": [],
                "metadata": self.of_task(event, task, node),
                "data": data,
                "parent_ids": [],
            })
        };
        match &event.kind {
            EventKind::TaskStarted { task, node, argument } => {
                Some(said("on_chain_start", task, node, json!({ "input": argument })))
            }
            EventKind::TaskEnded { record, cached: false, .. } if record.status == TaskStatus::Done => {
                let TaskRecord { id, node, result, .. } = &**record;
                let output = result.as_ref().map(|command| command.update.clone()).unwrap_or_default();
                Some(said("on_chain_end", id, node, json!({ "output": output })))
            }
            EventKind::Custom { task, node, value } => Some(said("on_custom_event", task, node, value.clone())),
            EventKind::TaskEnded { .. } | EventKind::Checkpoint { .. } => None,
        }
    }

    fn of_task(&self, event: &Event, task: &TaskId, node: &NodeName) -> Map<String, Value> {
        let mut metadata = self.metadata.clone();
        metadata.insert("langgraph_node".into(), node.as_str().into());
        metadata.insert("langgraph_step".into(), event.step.into());
        let namespace = event.namespace.child(node, Some(task));
        metadata.insert("langgraph_checkpoint_ns".into(), namespace.as_str().into());
        metadata
    }
}

fn asked(question: &QuestionRecord) -> Value {
    let schema = question.answer_schema.as_ref().or_else(|| question.policy.get("answer_schema"));
    json!({
        "interrupt_id": question.id.as_str(),
        "payload": question.payload,
        // One client reads this name, another one the other.
        "value": question.payload,
        "response_schema": schema,
    })
}

/// Clients know an error of a task as a text, and want members that say nothing here.
fn plain_task(data: &mut Value) {
    let Some(members) = data.as_object_mut() else { return };
    if let Some(error) = members.get_mut("error").filter(|error| error.is_object()) {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        *error = Value::String(format!("{}: {}", text("code"), text("message")));
    }
    if members.contains_key("input") {
        members.entry("triggers").or_insert_with(|| json!([]));
        members.entry("metadata").or_insert_with(|| json!({}));
    }
}
