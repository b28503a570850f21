//! From a checkpoint and what is recorded of its tasks to the tasks that run next. Pure.

use std::collections::HashSet;

use holdpoint_graph::ids::{CheckpointId, NodeName, TaskId, ThreadId};
use holdpoint_store::{CheckpointRecord, QuestionRecord, QuestionStatus, TaskRecord, TaskStatus, Trigger};
use serde_json::Value;

/// What to do with a thread.
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

/// All tasks of the step that starts from a checkpoint, in order of path: by node name those reached by edges, then those that were sent, in
/// order of sending (LangGraph's task paths).
pub fn tasks_of(thread: &ThreadId, checkpoint: &CheckpointRecord) -> Vec<PlannedTask> {
    let mut pushes = 0_usize;
    let mut tasks: Vec<PlannedTask> = checkpoint
        .next
        .iter()
        .filter_map(|trigger| match trigger {
            Trigger::Start => None,
            Trigger::Pull(node) => Some(planned(thread, &checkpoint.id, node, format!("pull:{node}"), None)),
            Trigger::Push { node, argument } => {
                let path = format!("push:{pushes:010}");
                pushes += 1;
                Some(planned(thread, &checkpoint.id, node, path, Some(argument.clone())))
            }
        })
        .collect();
    tasks.sort_by(|left, right| left.path.cmp(&right.path));
    tasks
}

fn planned(
    thread: &ThreadId,
    checkpoint: &CheckpointId,
    node: &NodeName,
    path: String,
    argument: Option<Value>,
) -> PlannedTask {
    PlannedTask { id: TaskId::derive(thread, checkpoint, &path), node: node.clone(), path, argument }
}

/// Decides what happens next. `recorded` and `questions` are those of the checkpoint's tasks. A failed task runs again: whoever continues a
/// failed thread wants that.
pub fn plan(tasks: &[PlannedTask], recorded: &[TaskRecord], questions: &[QuestionRecord]) -> Plan {
    if tasks.is_empty() {
        return Plan::Finished;
    }
    let done: HashSet<&TaskId> =
        recorded.iter().filter(|record| record.status == TaskStatus::Done).map(|record| &record.id).collect();
    let waiting: HashSet<&TaskId> = questions
        .iter()
        .filter(|question| question.status == QuestionStatus::Pending)
        .map(|question| &question.task)
        .collect();
    let unfinished: Vec<&PlannedTask> = tasks.iter().filter(|task| !done.contains(&task.id)).collect();
    if unfinished.is_empty() {
        return Plan::Apply;
    }
    let ready: Vec<PlannedTask> = unfinished.into_iter().filter(|task| !waiting.contains(&task.id)).cloned().collect();
    if ready.is_empty() { Plan::Wait } else { Plan::Run(ready) }
}
