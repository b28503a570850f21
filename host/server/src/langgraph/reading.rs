//! A thread as clients see it, from one consistent read: what its thread view lists as waiting is what its state view lists (hazard H5).

use holdpoint_engine::{HistoryEntry, TaskView, view};
use holdpoint_graph::ids::GraphName;
use holdpoint_store::{
    EntryStatus, QuestionRecord, QuestionStatus, TaskStatus, ThreadError, ThreadRecord, ThreadStatus, ThreadSummary,
};
use serde_json::{Map, Value};

use super::assistants;
use crate::caller::Caller;
use crate::context::Context;
use crate::problem::Problem;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The entry, and how many runs are open.
    pub(crate) summary: ThreadSummary,
    /// The state; none before the first input.
    pub(crate) live: Option<Live>,
    /// When it was read.
    pub(crate) now_ms: u64,
}

/// A thread's head and its state, read together.
#[derive(Debug)]
pub(crate) struct Live {
    /// The head.
    pub(crate) record: ThreadRecord,
    /// The state as it stands now.
    pub(crate) entry: HistoryEntry,
}

impl Reading {
    /// Reads a thread's state.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn of(context: &Context, caller: &Caller, summary: ThreadSummary) -> Result<Self, Problem> {
        let now_ms = context.now_ms();
        if summary.record.is_none() {
            return Ok(Self { summary, live: None, now_ms });
        }
        let Some(snapshot) = context.store().snapshot(&summary.entry.thread, None).await? else {
            // Deleted meanwhile.
            return Ok(Self { summary: ThreadSummary { record: None, ..summary }, live: None, now_ms });
        };
        let version = context.engine(caller).version(&snapshot.checkpoint.graph).await.ok();
        let entry = view::live_entry(&snapshot, version.as_deref());
        let live = Live { record: snapshot.thread, entry };
        Ok(Self { summary, live: Some(live), now_ms })
    }

    /// A thread of which only the head is to be shown.
    pub(crate) fn without_state(context: &Context, summary: ThreadSummary) -> Self {
        Self { summary, live: None, now_ms: context.now_ms() }
    }

    /// The head; none before the first input.
    pub(crate) fn record(&self) -> Option<&ThreadRecord> {
        self.live.as_ref().map(|live| &live.record).or(self.summary.record.as_ref())
    }

    /// LangGraph's status.
    pub(crate) fn status(&self) -> EntryStatus {
        EntryStatus::of(self.record().map(|record| record.status), self.summary.runs_open)
    }

    /// Why the thread failed, was cancelled, or waits without a question: an operation's outcome is unknown.
    pub(crate) fn error(&self) -> Option<&ThreadError> {
        let live = self.live.as_ref()?;
        let waits = live.record.status == ThreadStatus::Interrupted;
        live.record.error.as_ref().or_else(|| waits.then(|| doubt(&live.entry)).flatten())
    }
}

fn doubt(entry: &HistoryEntry) -> Option<&ThreadError> {
    entry.tasks.iter().find_map(|task| match &task.state {
        Some(state) => doubt(state),
        None => task.error.as_ref().filter(|_| task.status == Some(TaskStatus::InDoubt)),
    })
}

/// A thread's metadata. That of a thread which has begun says its graph: Agent Inbox filters by that.
pub(crate) fn metadata(summary: &ThreadSummary) -> Map<String, Value> {
    let mut metadata = summary.entry.metadata.clone();
    if let Some(record) = &summary.record {
        metadata.entry("graph_id").or_insert_with(|| record.graph_name.as_str().into());
    }
    let graph = metadata.get("graph_id").and_then(Value::as_str).and_then(|name| GraphName::parse(name).ok());
    if let Some(graph) = graph.filter(|_| summary.record.is_some()) {
        metadata.entry("assistant_id").or_insert_with(|| assistants::id_of(&graph).into());
    }
    metadata
}

/// Whether a question can be answered at `now_ms`: one whose deadline has come cannot, whether or not that is recorded yet.
fn is_open(question: &QuestionRecord, now_ms: u64) -> bool {
    question.status == QuestionStatus::Pending
        && question.deadline_at_ms.is_none_or(|deadline_at_ms| now_ms < deadline_at_ms)
}

/// The questions of a task that wait for an answer, those of its subgraph included, in order of asking.
pub(crate) fn open_questions(task: &TaskView, now_ms: u64) -> Vec<&QuestionRecord> {
    let own = task.questions.iter().filter(|question| is_open(question, now_ms));
    let inside = task.state.iter().flat_map(|state| &state.tasks).flat_map(|task| open_questions(task, now_ms));
    own.chain(inside).collect()
}

/// What a task shows as its questions: those that wait, and of one that is done all that it asked.
pub(crate) fn shown_questions(task: &TaskView, now_ms: u64) -> Vec<&QuestionRecord> {
    if task.status == Some(TaskStatus::Done) { task.questions.iter().collect() } else { open_questions(task, now_ms) }
}
