//! What a run came to, as its caller is told.

use holdpoint_engine::ThreadView;
use holdpoint_store::{RunStatus, ThreadError};
use serde_json::{Map, Value, json};

use super::feed::FrameKind;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) status: RunStatus,
    pub(super) error: Option<ThreadError>,
    /// The thread as the run left it; none where there is none.
    pub(super) view: Option<ThreadView>,
}

impl Outcome {
    /// What `wait` and `join` answer: the values, with `__interrupt__` where the thread waits; `__error__` for a run that failed or was cancelled.
    pub(super) fn body(&self) -> Value {
        if let Some(error) = self.failure() {
            return json!({ "__error__": error });
        }
        let mut body = self.values();
        let interrupts = self.view.as_ref().map(interrupts).unwrap_or_default();
        if !interrupts.is_empty() {
            body.insert("__interrupt__".into(), interrupts.into());
        }
        Value::Object(body)
    }

    /// The thread's values as the run left them.
    pub(super) fn values(&self) -> Map<String, Value> {
        self.view.as_ref().map(|view| view.values.clone()).unwrap_or_default()
    }

    /// What the run's streams tell before they end.
    pub(super) fn last_words(&self, graph: &str) -> Vec<(FrameKind, Value)> {
        let failure = self.failure();
        let waits = self.view.as_ref().is_some_and(|view| !view.interrupts.is_empty());
        let event = match self.status {
            RunStatus::Error => "failed",
            RunStatus::Interrupted => "interrupted",
            _ if waits => "interrupted",
            _ => "completed",
        };
        let mut lifecycle = json!({ "event": event, "graph_name": graph });
        if let Some(error) = failure.as_ref().and_then(|failure| failure.get("message")) {
            lifecycle["error"] = error.clone();
        }
        let failed = failure.map(|failure| (FrameKind::Failed, failure));
        failed.into_iter().chain([(FrameKind::Lifecycle, lifecycle)]).collect()
    }

    /// LangGraph's form of an error.
    pub(super) fn failure(&self) -> Option<Value> {
        if !matches!(self.status, RunStatus::Error | RunStatus::Interrupted) {
            return None;
        }
        let error = self.error.as_ref();
        let code = error.map_or("UserInterrupt", |error| error.code.as_str());
        let message = error.map_or("the run was cancelled", |error| error.message.as_str());
        let mut failure = json!({ "error": code, "message": message });
        if let Some(node) = error.and_then(|error| error.node.as_ref()) {
            failure["node"] = node.as_str().into();
        }
        Some(failure)
    }
}

fn interrupts(view: &ThreadView) -> Vec<Value> {
    view.interrupts.iter().map(|interrupt| json!({ "value": interrupt.value, "id": interrupt.id })).collect()
}

/// Why a run was cancelled.
pub(super) fn cancelled(by: &str) -> ThreadError {
    ThreadError {
        code: "UserInterrupt".into(),
        message: format!("the run was cancelled by {by}"),
        node: None,
        details: None,
    }
}
