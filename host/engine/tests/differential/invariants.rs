//! What holds of a store whatever was done to it.

use std::collections::BTreeSet;

use holdpoint_engine::plan;
use holdpoint_graph::ids::{CheckpointId, QuestionId};
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::{QuestionStatus, Source, TaskStatus, ThreadStatus, Trigger};

use super::observe::Seen;
use super::resolve::pending;
use super::world::World;

/// What is broken, in words.
pub(crate) fn broken(world: &World) -> Vec<String> {
    let mut faults = world.watch.faults();
    for seen in &world.threads {
        owner(world, seen, &mut faults);
        questions(seen, &mut faults);
        steps(seen, &mut faults);
        standstill(seen, &mut faults);
    }
    let known = |operation: &&OperationRecord| world.threads.iter().any(|seen| seen.record.id == operation.thread);
    let lost = world.unsettled.iter().filter(|operation| !known(operation));
    faults.extend(lost.map(|operation| format!("nobody waits for the outcome of {operation:?}")));
    faults
}

/// Nobody holds a thread that does not run.
fn owner(world: &World, seen: &Seen, faults: &mut Vec<String>) {
    let record = &seen.record;
    let held = record.owner.is_some() && world.now_ms() < record.lease_until_ms;
    if record.status != ThreadStatus::Running && held {
        faults.push(format!("thread {} is {} and held: {record:?}", record.id, record.status.name()));
    }
}

/// A question that waits can be answered: it is one of the head's step.
fn questions(seen: &Seen, faults: &mut Vec<String>) {
    let answerable: BTreeSet<QuestionId> = pending(&seen.head).into_iter().map(|question| question.id).collect();
    let asked = seen.snapshots().flat_map(|snapshot| &snapshot.questions);
    let lost =
        asked.filter(|question| question.status == QuestionStatus::Pending && !answerable.contains(&question.id));
    faults.extend(lost.map(|question| format!("question {question:?} waits where nobody can answer it")));
}

/// Every task of a step that was completed has a result, its own or its error handler's.
fn steps(seen: &Seen, faults: &mut Vec<String>) {
    let completed: BTreeSet<&CheckpointId> = seen
        .snapshots()
        .filter(|snapshot| snapshot.checkpoint.source == Source::Loop)
        .filter_map(|snapshot| snapshot.checkpoint.parent.as_ref())
        .collect();
    for snapshot in seen.snapshots().filter(|snapshot| completed.contains(&snapshot.checkpoint.id)) {
        let record = &snapshot.checkpoint;
        for task in plan::tasks_of(&seen.record.id, record, &snapshot.tasks) {
            let status_of = |path: &str| snapshot.tasks.iter().find(|task| task.path == path);
            let handled = status_of(&format!("{}|error", task.path));
            let has_result =
                |found: &holdpoint_store::TaskRecord| found.status == TaskStatus::Done && found.result.is_some();
            let done = status_of(&task.path).is_some_and(has_result);
            if !done && !handled.is_some_and(has_result) {
                faults.push(format!("task {} of the completed step from {} has no result", task.path, record.id));
            }
        }
    }
}

/// A thread that waits waits for something, or has something to do when it is continued; one that is done has not.
fn standstill(seen: &Seen, faults: &mut Vec<String>) {
    let next = &seen.head.checkpoint.next;
    let status = seen.record.status;
    if status == ThreadStatus::Interrupted && (next.is_empty() || next.contains(&Trigger::Start)) {
        faults.push(format!(
            "thread {} is interrupted where nothing can go on: {:?}",
            seen.record.id, seen.head.checkpoint
        ));
    }
    if status == ThreadStatus::Done && !next.is_empty() {
        faults.push(format!("thread {} is done, and {next:?} would run", seen.record.id));
    }
}
