//! A thread as its users see it. Pure: from what is stored to what is shown.

use std::collections::HashMap;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Namespace, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{Command, EffectMode};
use holdpoint_store::{
    QuestionRecord, QuestionStatus, Snapshot, Source, TaskRecord, TaskStatus, ThreadError, ThreadStatus, Trigger,
};
use serde_json::{Map, Value, json};

use crate::apply;
use crate::approvals::policy::EVIDENCE;
use crate::approvals::{decide, time};
use crate::plan::{PlannedTask, commands, tasks_of};
use crate::version::Version;

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
    /// It is paused, at a static breakpoint or where an update led, and goes on when it is continued.
    pub paused: bool,
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
    /// Which graph of the thread it belongs to.
    pub namespace: Namespace,
    /// What is asked.
    pub value: Value,
    /// Digest that a decision has to name: of what is asked, or of the edited form that is voted on.
    pub digest: Option<Digest>,
    /// Until when it may be answered.
    pub deadline_at_ms: Option<u64>,
    /// Its deadline has come, whether or not that is recorded: it cannot be answered any more.
    pub expired: bool,
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

/// One checkpoint of a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The one that it was made from.
    pub parent: Option<CheckpointId>,
    /// Which graph of the thread it belongs to.
    pub namespace: Namespace,
    /// The graph version that runs from it.
    pub graph: Digest,
    /// Its step.
    pub step: i64,
    /// What made it.
    pub source: Source,
    /// Whose writes made it.
    pub writers: Vec<NodeName>,
    /// What runs next from it; `__start__` before an input is applied.
    pub next: Vec<String>,
    /// The values at it.
    pub values: Map<String, Value>,
    /// The tasks that start from it.
    pub tasks: Vec<TaskView>,
    /// What becomes of the effects of the branch.
    pub effects: EffectMode,
    /// What the caller of the run gave to be kept with it.
    pub metadata: Map<String, Value>,
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
    /// Its place in the step.
    pub path: String,
    /// How far it got; none when nothing is recorded of it.
    pub status: Option<TaskStatus>,
    /// Times that the node was started for it, as far as recorded. None at all for one that is done: its result came from the cache or an update.
    pub executions: u32,
    /// All questions that it asked.
    pub questions: Vec<QuestionRecord>,
    /// What it returned, once done.
    pub result: Option<Command>,
    /// Why it failed, or is in doubt.
    pub error: Option<ThreadError>,
    /// For one that runs a subgraph: the newest checkpoint of its run.
    pub child: Option<CheckpointId>,
    /// For an unfinished one that runs a subgraph: the state of its run.
    pub state: Option<Box<HistoryEntry>>,
}

/// A thread's live view at `now_ms`. `version` is none when it is not at hand: then the values of finished tasks are not applied.
pub fn thread_view(snapshot: &Snapshot, version: Option<&Version>, now_ms: u64) -> ThreadView {
    let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint, &snapshot.tasks);
    let finished = finished_tasks(snapshot, &planned, version);
    let unfinished = planned.iter().filter(|task| !finished.contains_key(&task.id));
    let interrupts = interrupts(snapshot, now_ms);
    ThreadView {
        thread: snapshot.thread.id.clone(),
        graph: snapshot.thread.graph.clone(),
        status: snapshot.thread.status,
        values: live_values(snapshot, version),
        next: unfinished.map(|task| task.node.clone()).collect(),
        paused: snapshot.thread.status == ThreadStatus::Interrupted && interrupts.is_empty(),
        interrupts,
        checkpoint: snapshot.checkpoint.id.clone(),
        error: snapshot.thread.error.clone(),
    }
}

/// A checkpoint as recorded: nothing of later steps shows in it.
pub fn history_entry(snapshot: &Snapshot) -> HistoryEntry {
    let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint, &snapshot.tasks);
    let start = snapshot.checkpoint.next.iter().filter(|trigger| matches!(trigger, Trigger::Start));
    let next = start.map(|_| "__start__".to_owned()).chain(planned.iter().map(|task| task.node.to_string()));
    let record = &snapshot.checkpoint;
    HistoryEntry {
        checkpoint: record.id.clone(),
        parent: record.parent.clone(),
        namespace: record.namespace.clone(),
        graph: record.graph.clone(),
        step: record.step,
        source: record.source,
        writers: record.writers.iter().cloned().collect(),
        next: next.collect(),
        values: snapshot.values.clone(),
        tasks: task_views(planned, snapshot, history_entry),
        effects: record.effects,
        metadata: record.metadata.clone(),
        created_at_ms: record.created_at_ms,
    }
}

/// A thread's head as it stands now: with what finished tasks wrote, what is left to run, and only the questions that wait.
pub fn live_entry(snapshot: &Snapshot, version: Option<&Version>) -> HistoryEntry {
    let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint, &snapshot.tasks);
    let finished = finished_tasks(snapshot, &planned, version);
    let unfinished = planned.iter().filter(|task| !finished.contains_key(&task.id));
    let live_child = |child: &Snapshot| {
        let version = version.and_then(|version| version.find(&child.checkpoint.graph));
        live_entry(child, version)
    };
    let next = unfinished.map(|task| task.node.to_string()).collect();
    let mut tasks = task_views(planned, snapshot, live_child);
    for task in &mut tasks {
        task.questions.retain(|question| question.status == QuestionStatus::Pending);
    }
    HistoryEntry { next, values: live_values(snapshot, version), tasks, ..history_entry(snapshot) }
}

fn task_views(
    planned: Vec<PlannedTask>,
    snapshot: &Snapshot,
    child: impl Fn(&Snapshot) -> HistoryEntry,
) -> Vec<TaskView> {
    // By path: a copied thread's older tasks go by the ids that they had in the original.
    let records: HashMap<&str, &TaskRecord> =
        snapshot.tasks.iter().map(|record| (record.path.as_str(), record)).collect();
    let mut questions: HashMap<&TaskId, Vec<QuestionRecord>> = HashMap::new();
    for question in &snapshot.questions {
        questions.entry(&question.task).or_default().push(question.clone());
    }
    let view = |mut task: PlannedTask| {
        let recorded = records.get(task.path.as_str());
        if let Some(record) = recorded {
            task.id = record.id.clone();
        }
        TaskView {
            status: recorded.map(|record| record.status),
            executions: recorded.map_or(0, |record| record.executions),
            questions: questions.remove(&task.id).unwrap_or_default(),
            result: recorded.and_then(|record| record.result.clone()),
            error: recorded.and_then(|record| record.error.clone()),
            child: recorded.and_then(|record| record.child.clone()),
            state: snapshot.children.get(&task.id).map(|snapshot| Box::new(child(snapshot))),
            id: task.id,
            node: task.node,
            path: task.path,
        }
    };
    planned.into_iter().map(view).collect()
}

/// The planned tasks that have finished, themselves or by their error handlers.
fn finished_tasks<'a>(
    snapshot: &'a Snapshot,
    planned: &[PlannedTask],
    version: Option<&Version>,
) -> HashMap<TaskId, (PlannedTask, &'a TaskRecord)> {
    let by_id: HashMap<&TaskId, &TaskRecord> = snapshot.tasks.iter().map(|record| (&record.id, record)).collect();
    let (thread, checkpoint) = (&snapshot.thread.id, &snapshot.checkpoint.id);
    let finished = planned.iter().filter_map(|task| {
        let record = *by_id.get(&task.id)?;
        match record.status {
            TaskStatus::Done => Some((task.id.clone(), (task.clone(), record))),
            TaskStatus::Failed => {
                let handler = version?.node(&task.node)?.error_handler.as_ref()?;
                let handler = task.handler(thread, checkpoint, handler, record.error.as_ref());
                let handled = *by_id.get(&handler.id)?;
                (handled.status == TaskStatus::Done).then(|| (task.id.clone(), (handler, handled)))
            }
            _ => None,
        }
    });
    finished.collect()
}

/// Writes that cannot be applied are left out: a step that failed on them must stay readable (DESIGN 6.7).
fn live_values(snapshot: &Snapshot, version: Option<&Version>) -> Map<String, Value> {
    let mut values = snapshot.values.clone();
    let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint, &snapshot.tasks);
    let written = commands(&snapshot.tasks);
    let mut by_task = finished_tasks(snapshot, &planned, version);
    let finished: Vec<_> = planned.iter().filter_map(|task| by_task.remove(&task.id)).collect();
    if let Some(version) = version
        && (!finished.is_empty() || !written.is_empty())
        && let Ok(patch) = apply::reduce_all(&version.graph, &snapshot.values, &written, &finished)
    {
        patch.apply(&mut values);
    }
    values
}

fn interrupts(snapshot: &Snapshot, now_ms: u64) -> Vec<Interrupt> {
    let namespace = &snapshot.checkpoint.namespace;
    let questions =
        snapshot.questions.iter().filter(|question| question.status == QuestionStatus::Pending).map(|question| {
            let evidence = question.policy.get(EVIDENCE).cloned();
            Interrupt {
                id: question.id.to_string(),
                kind: if evidence.is_some() { InterruptKind::Approval } else { InterruptKind::Question },
                node: question.node.clone(),
                namespace: namespace.clone(),
                value: question.payload.clone(),
                digest: Some(decide::current_digest(question).clone()),
                deadline_at_ms: question.deadline_at_ms,
                expired: time::is_expired(question, now_ms),
                evidence,
            }
        });
    // A task that runs a subgraph is in doubt with it: the doubt is told where it is.
    let doubts = snapshot
        .tasks
        .iter()
        .filter(|task| task.status == TaskStatus::InDoubt && !snapshot.children.contains_key(&task.id))
        .map(|task| in_doubt(task, snapshot));
    let inner = children_in_order(snapshot).into_iter().flat_map(|child| interrupts(child, now_ms));
    questions.chain(doubts).chain(inner).collect()
}

/// The runs of subgraphs in order of the paths of their tasks: ids are no order that means anything.
pub(crate) fn children_in_order(snapshot: &Snapshot) -> Vec<&Snapshot> {
    let paths: HashMap<&TaskId, &str> = snapshot.tasks.iter().map(|task| (&task.id, task.path.as_str())).collect();
    let mut children: Vec<(&str, &Snapshot)> =
        snapshot.children.iter().map(|(task, child)| (paths.get(task).copied().unwrap_or_default(), child)).collect();
    children.sort_by_key(|(path, _)| *path);
    children.into_iter().map(|(_, child)| child).collect()
}

/// The id is the operation's: that is what a person settles.
fn in_doubt(task: &TaskRecord, snapshot: &Snapshot) -> Interrupt {
    let details = task.error.as_ref().and_then(|error| error.details.clone()).unwrap_or(Value::Null);
    let id = details.get("operation_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let recorded = snapshot.unsettled.iter().find(|operation| operation.key.id.as_str() == id);
    Interrupt {
        kind: InterruptKind::InDoubt,
        node: task.node.clone(),
        namespace: snapshot.checkpoint.namespace.clone(),
        value: json!({
            "operation": details,
            "request": recorded.map(|operation| operation.request.clone()),
            "reason": task.error.as_ref().map(|error| error.message.clone()),
        }),
        digest: recorded.map(|operation| operation.request_digest.clone()),
        deadline_at_ms: None,
        expired: false,
        evidence: None,
        id,
    }
}
