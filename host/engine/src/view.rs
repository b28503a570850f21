//! A thread as its users see it. Pure: from what is stored to what is shown.

use holdpoint_graph::definition::Graph;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_store::{
    QuestionRecord, QuestionStatus, Snapshot, Source, TaskRecord, TaskStatus, ThreadError, ThreadStatus, Trigger,
};
use serde_json::{Map, Value, json};

use crate::apply;
use crate::plan::{PlannedTask, tasks_of};
use crate::task::EVIDENCE;

/// A thread as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadView {
    /// The thread.
    pub thread: ThreadId,
    /// The graph version that it is pinned to.
    pub graph: Digest,
    /// What it is doing.
    pub status: ThreadStatus,
    /// Its values, with the writes of finished tasks of the unfinished step (the live view of R38).
    pub values: Map<String, Value>,
    /// The nodes of the unfinished tasks, in order of path.
    pub next: Vec<NodeName>,
    /// What it waits for.
    pub interrupts: Vec<Interrupt>,
    /// Its head.
    pub checkpoint: CheckpointId,
    /// Why it failed.
    pub error: Option<ThreadError>,
}

/// Something that a thread waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Interrupt {
    /// What an answer has to name.
    pub id: String,
    /// What kind of thing it is.
    pub kind: InterruptKind,
    /// The node that waits.
    pub node: NodeName,
    /// What is asked.
    pub value: Value,
    /// Digest of what is asked.
    pub digest: Option<Digest>,
    /// Until when it may be answered.
    pub deadline_at_ms: Option<u64>,
    /// Why the host itself asks, and what a dry run showed.
    pub evidence: Option<Value>,
}

/// What kind of thing a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterruptKind {
    /// A question that a node asked.
    Question,
    /// An operation that the host may send only when a person approves it.
    Approval,
    /// An operation whose outcome is unknown.
    InDoubt,
}

impl InterruptKind {
    /// Its spoken name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Approval => "approval",
            Self::InDoubt => "in-doubt",
        }
    }
}

/// One checkpoint of a thread's history, as recorded: nothing of later steps shows in it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The one that it was made from.
    pub parent: Option<CheckpointId>,
    /// Its step.
    pub step: i64,
    /// What made it.
    pub source: Source,
    /// What runs next from it; `__start__` before an input is applied.
    pub next: Vec<String>,
    /// The values at it.
    pub values: Map<String, Value>,
    /// The tasks that start from it.
    pub tasks: Vec<TaskView>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// One task of a history entry.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Its node.
    pub node: NodeName,
    /// Times that the node was started for it, as far as recorded.
    pub executions: u32,
    /// All questions that it asked.
    pub questions: Vec<QuestionRecord>,
    /// What it returned, once done.
    pub result: Option<Command>,
    /// Why it failed, or is in doubt.
    pub error: Option<ThreadError>,
}

/// A thread's live view. `graph` is none when its version is not at hand: then the values of finished tasks are not applied.
pub fn thread_view(snapshot: &Snapshot, graph: Option<&Graph>) -> ThreadView {
    let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint);
    let unfinished = planned.iter().filter(|task| finished_command(task, &snapshot.tasks).is_none());
    ThreadView {
        thread: snapshot.thread.id.clone(),
        graph: snapshot.thread.graph.clone(),
        status: snapshot.thread.status,
        values: live_values(snapshot, &planned, graph),
        next: unfinished.map(|task| task.node.clone()).collect(),
        interrupts: interrupts(snapshot),
        checkpoint: snapshot.checkpoint.id.clone(),
        error: snapshot.thread.error.clone(),
    }
}

/// One entry of a thread's history.
pub fn history_entry(snapshot: &Snapshot) -> HistoryEntry {
    let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint);
    let next = snapshot
        .checkpoint
        .next
        .iter()
        .filter(|trigger| matches!(trigger, Trigger::Start))
        .map(|_| "__start__".to_owned())
        .chain(planned.iter().map(|task| task.node.to_string()))
        .collect();
    HistoryEntry {
        checkpoint: snapshot.checkpoint.id.clone(),
        parent: snapshot.checkpoint.parent.clone(),
        step: snapshot.checkpoint.step,
        source: snapshot.checkpoint.source,
        next,
        values: snapshot.values.clone(),
        tasks: planned.into_iter().map(|task| task_view(task, snapshot)).collect(),
        created_at_ms: snapshot.checkpoint.created_at_ms,
    }
}

fn task_view(task: PlannedTask, snapshot: &Snapshot) -> TaskView {
    let recorded = snapshot.tasks.iter().find(|record| record.id == task.id);
    TaskView {
        executions: recorded.map_or(0, |record| record.executions),
        questions: snapshot.questions.iter().filter(|question| question.task == task.id).cloned().collect(),
        result: recorded.and_then(|record| record.result.clone()),
        error: recorded.and_then(|record| record.error.clone()),
        id: task.id,
        node: task.node,
    }
}

fn finished_command<'a>(task: &PlannedTask, recorded: &'a [TaskRecord]) -> Option<&'a Command> {
    recorded
        .iter()
        .find(|record| record.id == task.id && record.status == TaskStatus::Done)
        .and_then(|record| record.result.as_ref())
}

/// Writes that cannot be applied are left out: a step that failed on them must stay readable (DESIGN 6.7).
fn live_values(snapshot: &Snapshot, planned: &[PlannedTask], graph: Option<&Graph>) -> Map<String, Value> {
    let mut values = snapshot.values.clone();
    let finished: Vec<(&PlannedTask, &Command)> =
        planned.iter().filter_map(|task| Some((task, finished_command(task, &snapshot.tasks)?))).collect();
    if let Some(graph) = graph
        && !finished.is_empty()
        && let Ok(patch) = apply::reduce_all(graph, &snapshot.values, &finished)
    {
        patch.apply(&mut values);
    }
    values
}

fn interrupts(snapshot: &Snapshot) -> Vec<Interrupt> {
    let questions =
        snapshot.questions.iter().filter(|question| question.status == QuestionStatus::Pending).map(|question| {
            let evidence = question.policy.get(EVIDENCE).cloned();
            Interrupt {
                id: question.id.to_string(),
                kind: if evidence.is_some() { InterruptKind::Approval } else { InterruptKind::Question },
                node: question.node.clone(),
                value: question.payload.clone(),
                digest: Some(question.payload_digest.clone()),
                deadline_at_ms: question.deadline_at_ms,
                evidence,
            }
        });
    let doubts =
        snapshot.tasks.iter().filter(|task| task.status == TaskStatus::InDoubt).map(|task| in_doubt(task, snapshot));
    questions.chain(doubts).collect()
}

/// The id is the operation's: that is what a person settles.
fn in_doubt(task: &TaskRecord, snapshot: &Snapshot) -> Interrupt {
    let details = task.error.as_ref().and_then(|error| error.details.clone()).unwrap_or(Value::Null);
    let id = details.get("operation_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let recorded = snapshot.unsettled.iter().find(|operation| operation.key.id.as_str() == id);
    Interrupt {
        kind: InterruptKind::InDoubt,
        node: task.node.clone(),
        value: json!({
            "operation": details,
            "request": recorded.map(|operation| operation.request.clone()),
            "reason": task.error.as_ref().map(|error| error.message.clone()),
        }),
        digest: recorded.map(|operation| operation.request_digest.clone()),
        deadline_at_ms: None,
        evidence: None,
        id,
    }
}
