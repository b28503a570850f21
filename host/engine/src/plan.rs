//! From a checkpoint and what is recorded of its tasks to the tasks that run next. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use holdpoint_graph::definition::Persist;
use holdpoint_graph::ids::{CheckpointId, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{Command, Destination};
use holdpoint_store::{
    CheckpointRecord, QuestionRecord, QuestionStatus, Snapshot, TaskRecord, TaskStatus, ThreadError, Trigger,
};
use serde_json::{Value, json};

use crate::version::Version;

/// Path of the record that a static breakpoint was reached here.
pub const PAUSE: &str = "pause";

/// Path of the record that holds an input as it was given.
pub const INPUT: &str = "input";

/// How the paths of what callers wrote or asked for in the middle of a step begin.
pub const COMMAND: &str = "command:";

/// How the paths of tasks begin that callers added in the middle of a step.
const GOTO: &str = "goto:";

/// What to do with a graph at a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Nothing is left to run.
    Finished,
    /// Run these tasks, all at once. In order of path.
    Run(Vec<PlannedTask>),
    /// Every task of the step is done: apply their results.
    Apply,
    /// The unfinished tasks wait for answers or for doubt to be settled.
    Wait,
}

/// One task of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTask {
    /// Its id.
    pub id: TaskId,
    /// The node.
    pub node: NodeName,
    /// Its place in the step; writes are applied in this order.
    pub path: String,
    /// Payload of the `send` that started it.
    pub argument: Option<Value>,
}

impl PlannedTask {
    fn new(
        thread: &ThreadId,
        checkpoint: &CheckpointId,
        node: &NodeName,
        path: String,
        argument: Option<Value>,
    ) -> Self {
        Self { id: TaskId::derive(thread, checkpoint, &path), node: node.clone(), path, argument }
    }

    /// The task of the node's error handler, which takes the place of this one.
    pub fn handler(
        &self,
        thread: &ThreadId,
        checkpoint: &CheckpointId,
        handler: &NodeName,
        error: Option<&ThreadError>,
    ) -> Self {
        let error =
            error.map(|error| json!({ "code": error.code, "message": error.message, "details": error.details }));
        let argument = json!({ "node": self.node.as_str(), "error": error, "argument": self.argument });
        Self::new(thread, checkpoint, handler, format!("{}|error", self.path), Some(argument))
    }
}

/// What is recorded of the tasks of a step, by id.
pub type Records = HashMap<TaskId, TaskRecord>;

/// All tasks of the step that starts from a checkpoint, in order of path: by node name those reached by edges, then those that were sent, in
/// order of sending (LangGraph's task paths), then those that callers added in the middle of the step (R28).
pub fn tasks_of<'a>(
    thread: &ThreadId,
    checkpoint: &CheckpointRecord,
    recorded: impl IntoIterator<Item = &'a TaskRecord>,
) -> Vec<PlannedTask> {
    let mut pushes = 0_usize;
    let mut tasks: Vec<PlannedTask> = checkpoint
        .next
        .iter()
        .filter_map(|trigger| match trigger {
            Trigger::Start => None,
            Trigger::Pull(node) => Some(PlannedTask::new(thread, &checkpoint.id, node, format!("pull:{node}"), None)),
            Trigger::Push { node, argument } => {
                let path = format!("push:{pushes:010}");
                pushes += 1;
                Some(PlannedTask::new(thread, &checkpoint.id, node, path, Some(argument.clone())))
            }
        })
        .collect();
    tasks.sort_by(|left, right| left.path.cmp(&right.path));
    for (path, command) in commands(recorded) {
        for (index, destination) in command.goto.iter().enumerate() {
            let (node, argument) = match destination {
                Destination::Node(node) => (node, None),
                Destination::Send { node, argument } => (node, Some(argument.clone())),
                Destination::Parent(_) | Destination::End => continue,
            };
            // What a caller asks for was checked against the graph before it was recorded.
            let Ok(node) = NodeName::parse(node.as_str()) else { continue };
            if argument.is_none() && tasks.iter().any(|task| task.node == node && task.argument.is_none()) {
                continue;
            }
            let place = path.strip_prefix(COMMAND).unwrap_or(path);
            tasks.push(PlannedTask::new(thread, &checkpoint.id, &node, format!("{GOTO}{place}:{index:06}"), argument));
        }
    }
    tasks
}

/// What callers wrote or asked for in the middle of a step, in order.
pub fn commands<'a>(recorded: impl IntoIterator<Item = &'a TaskRecord>) -> Vec<(&'a str, &'a Command)> {
    let mut commands: Vec<(&str, &Command)> = recorded
        .into_iter()
        .filter(|record| record.path.starts_with(COMMAND))
        .filter_map(|record| Some((record.path.as_str(), record.result.as_ref()?)))
        .collect();
    commands.sort_by_key(|(path, _)| *path);
    commands
}

/// How a task of a step stands.
enum Standing {
    Done,
    Ready(PlannedTask),
    Waiting,
}

/// The questions that tasks of a step wait for.
pub fn waiting_tasks(questions: &[QuestionRecord]) -> HashSet<&TaskId> {
    let pending = questions.iter().filter(|question| question.status == QuestionStatus::Pending);
    pending.map(|question| &question.task).collect()
}

/// Decides what happens next. `recorded`, `questions` and `children` are those of the checkpoint's tasks. A failed task runs again, or its error
/// handler does: whoever continues a failed thread wants that.
pub fn plan(
    version: &Version,
    thread: &ThreadId,
    checkpoint: &CheckpointId,
    tasks: &[PlannedTask],
    recorded: &Records,
    questions: &[QuestionRecord],
    children: &BTreeMap<TaskId, Snapshot>,
) -> Plan {
    if tasks.is_empty() {
        return Plan::Finished;
    }
    let waiting = waiting_tasks(questions);
    let mut ready = Vec::new();
    let mut waits = false;
    for task in tasks {
        match standing(version, thread, checkpoint, task, recorded, &waiting, children) {
            Standing::Done => {}
            Standing::Ready(task) => ready.push(task),
            Standing::Waiting => waits = true,
        }
    }
    match (ready.is_empty(), waits) {
        (false, _) => Plan::Run(ready),
        (true, true) => Plan::Wait,
        (true, false) => Plan::Apply,
    }
}

fn standing(
    version: &Version,
    thread: &ThreadId,
    checkpoint: &CheckpointId,
    task: &PlannedTask,
    recorded: &Records,
    waiting: &HashSet<&TaskId>,
    children: &BTreeMap<TaskId, Snapshot>,
) -> Standing {
    let Some(record) = recorded.get(&task.id) else { return Standing::Ready(task.clone()) };
    if waiting.contains(&task.id) {
        return Standing::Waiting;
    }
    match record.status {
        TaskStatus::Done => Standing::Done,
        TaskStatus::Failed => match version.node(&task.node).and_then(|node| node.error_handler.as_ref()) {
            Some(handler) if is_handled(record) => {
                let handler = task.handler(thread, checkpoint, handler, record.error.as_ref());
                standing(version, thread, checkpoint, &handler, recorded, waiting, children)
            }
            _ => Standing::Ready(task.clone()),
        },
        TaskStatus::Interrupted | TaskStatus::InDoubt => {
            match (children.get(&task.id), version.children.get(&task.node)) {
                (Some(child), Some(version)) if waits(version, child) => Standing::Waiting,
                _ => Standing::Ready(task.clone()),
            }
        }
        TaskStatus::Running | TaskStatus::Paused => Standing::Ready(task.clone()),
    }
}

/// Whether an error handler takes the place of a failed task: for what the node did, not for what the host could not do or would not let it do.
pub fn is_handled(record: &TaskRecord) -> bool {
    const HOST_CODES: [&str; 2] = ["HP0425", "HP0445"];
    record.error.as_ref().is_none_or(|error| !HOST_CODES.contains(&error.code.as_str()))
}

/// Whether the run of a subgraph can only wait.
fn waits(version: &Version, child: &Snapshot) -> bool {
    plan_snapshot(version, child) == Plan::Wait
}

/// [`plan`] for a checkpoint as it is stored.
pub fn plan_snapshot(version: &Version, snapshot: &Snapshot) -> Plan {
    let thread = &snapshot.thread.id;
    let tasks = tasks_of(thread, &snapshot.checkpoint, &snapshot.tasks);
    let recorded = snapshot.tasks.iter().map(|record| (record.id.clone(), record.clone())).collect();
    plan(version, thread, &snapshot.checkpoint.id, &tasks, &recorded, &snapshot.questions, &snapshot.children)
}

/// The tasks of a step whose results count, with these, in order of path: an error handler stands for the task that it took the place of. None
/// while a task is unfinished.
pub fn finished<'a>(
    version: &Version,
    thread: &ThreadId,
    checkpoint: &CheckpointId,
    tasks: &[PlannedTask],
    recorded: &'a Records,
) -> Option<Vec<(PlannedTask, &'a TaskRecord)>> {
    tasks.iter().map(|task| finished_task(version, thread, checkpoint, task, recorded)).collect()
}

/// [`finished`] for one task.
pub fn finished_task<'a>(
    version: &Version,
    thread: &ThreadId,
    checkpoint: &CheckpointId,
    task: &PlannedTask,
    recorded: &'a Records,
) -> Option<(PlannedTask, &'a TaskRecord)> {
    let record = recorded.get(&task.id)?;
    match record.status {
        TaskStatus::Done => Some((task.clone(), record)),
        TaskStatus::Failed if is_handled(record) => {
            let handler = version.node(&task.node)?.error_handler.as_ref()?;
            let task = task.handler(thread, checkpoint, handler, record.error.as_ref());
            let record = recorded.get(&task.id)?;
            (record.status == TaskStatus::Done).then_some((task, record))
        }
        _ => None,
    }
}

/// The subgraph that is kept per thread and that several tasks of the step would run at once: they would race for its state.
pub fn contested_subgraph<'a>(version: &Version, tasks: &'a [PlannedTask]) -> Option<&'a NodeName> {
    let mut seen = HashSet::new();
    if version.children.is_empty() {
        return None;
    }
    let kept = tasks.iter().filter(|task| version.persist(&task.node) == Some(Persist::PerThread));
    kept.map(|task| &task.node).find(|node| !seen.insert(*node))
}
