//! A task that runs a subgraph: a driver of its own, in a namespace of its own, on the same claim.

use std::sync::Arc;
use std::time::Instant;

use holdpoint_graph::definition::Persist;
use holdpoint_graph::ids::{CheckpointId, Namespace, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::state;
use holdpoint_store::{CheckpointRecord, NewCheckpoint, Snapshot, Source, TaskRecord, TaskStatus, ThreadError};
use serde_json::{Map, Value};

use crate::apply;
use crate::driver::Driver;
use crate::error::Error;
use crate::frame::{Frame, FrameEnd};
use crate::ledger::Write;
use crate::subgraph;
use crate::task::{Assignment, Claimed, Context, TaskResult, record};
use crate::version::Version;

/// Where a call of a subgraph ended, in memory: it may not be durable yet when the next call begins.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) checkpoint: CheckpointRecord,
    pub(crate) values: Map<String, Value>,
}

/// A call of a subgraph that is under way.
struct Call {
    frame: Frame,
    /// The values when its input was applied.
    before: Map<String, Value>,
    /// Not stored yet.
    write: Write,
}

/// Runs the subgraph until it ends, waits or fails, and gives what that is for the parent's task.
pub(crate) async fn run(context: Arc<Context>, assignment: Assignment, begun: Instant) -> Result<TaskResult, Error> {
    let node = &assignment.planned.node;
    let executions = assignment.executions.saturating_add(1);
    let now_ms = context.ledger().now_ms();
    let base = TaskRecord { executions, ..record(&assignment, now_ms) };
    let (Some(version), Some(persist)) = (context.version.children.get(node).cloned(), context.version.persist(node))
    else {
        let error = error("HP0425", format!("the subgraph of node {node} is not at hand"), &assignment);
        return Ok(TaskResult::new(failed(base, error), begun));
    };
    let keeps = context.keeps && persist != Persist::None;
    let task = (persist != Persist::PerThread).then_some(&assignment.planned.id);
    let child = Arc::new(Context {
        claimed: Arc::clone(&context.claimed),
        namespace: context.namespace.child(node, task),
        version: Arc::clone(&version),
        keeps,
    });
    let call = match &assignment.child {
        Some(snapshot) if keeps => resumed(&context, snapshot, &base).await?,
        _ => match begin(&child, &version, persist, &assignment, &base).await? {
            Ok(call) => call,
            Err(error) => return Ok(TaskResult::new(failed(base, error), begun)),
        },
    };
    let Call { frame, before, write } = call;
    if keeps {
        context.ledger().hold_back(write, false).await;
    }
    let report = Driver::new(child, frame).drive_boxed().await?;
    let base = TaskRecord {
        child: keeps.then(|| report.checkpoint.id.clone()),
        updated_at_ms: context.ledger().now_ms(),
        ..base
    };
    let mut kept = None;
    let mut drained = false;
    let record = match report.end {
        FrameEnd::Done => {
            let update = subgraph::handed_up(&context.version.graph, &version.graph, &before, &report.values);
            kept = (persist == Persist::PerThread)
                .then(|| Kept { checkpoint: (*report.checkpoint).clone(), values: report.values });
            let command = Command { update, goto: Vec::new() };
            TaskRecord { status: TaskStatus::Done, result: Some(command), ..base }
        }
        FrameEnd::Left(command) => TaskRecord { status: TaskStatus::Done, result: Some(command), ..base },
        FrameEnd::Waiting => TaskRecord { status: TaskStatus::Interrupted, ..base },
        FrameEnd::InDoubt(error) => TaskRecord { status: TaskStatus::InDoubt, error, ..base },
        FrameEnd::Failed(error) => TaskRecord { status: TaskStatus::Failed, error, ..base },
        FrameEnd::Drained => {
            drained = true;
            base
        }
    };
    Ok(TaskResult {
        write: report.write,
        performed: report.performed,
        last_event_at_ms: Some(report.checkpoint.clock_ms).max(report.last_event_at_ms),
        kept,
        drained,
        ..TaskResult::new(record, begun)
    })
}

/// Goes on where a call stopped.
async fn resumed(context: &Context, snapshot: &Snapshot, base: &TaskRecord) -> Result<Call, Error> {
    // The record of the task may be older than the run, if what it says of the run has been stored since.
    let before = first_values(context, snapshot).await?;
    let link = TaskRecord { child: Some(snapshot.checkpoint.id.clone()), ..base.clone() };
    Ok(Call { frame: Frame::resumed(snapshot.clone(), Some(link)), before, write: Write::default() })
}

/// The values when the run's input was applied: those of the first checkpoint after it.
async fn first_values(context: &Context, snapshot: &Snapshot) -> Result<Map<String, Value>, Error> {
    let mut current = snapshot.clone();
    loop {
        let Some(parent) = &current.checkpoint.parent else { return Ok(current.values) };
        let missing = || Error::Store(holdpoint_store::Error::Corrupt(format!("checkpoint {parent} is missing")));
        let above = context.ledger().snapshot(parent).await?.ok_or_else(missing)?;
        if above.checkpoint.source == Source::Input {
            return Ok(current.values);
        }
        current = above;
    }
}

/// Begins a call: its first two checkpoints are functions of the task that makes it.
async fn begin(
    child: &Context,
    version: &Version,
    persist: Persist,
    assignment: &Assignment,
    base: &TaskRecord,
) -> Result<Result<Call, ThreadError>, Error> {
    let previous = match persist {
        Persist::PerThread => previous(child, assignment).await?,
        _ => None,
    };
    let Claimed { thread, lineage, .. } = &*child.claimed;
    let caller = Caller { thread, lineage, assignment, now_ms: base.updated_at_ms };
    let (checkpoints, before) = match entry(version, &child.namespace, previous, &caller) {
        Ok(entry) => entry,
        Err(error) => return Ok(Err(error)),
    };
    let [_, start] = &checkpoints;
    let link = TaskRecord { child: Some(start.record.id.clone()), ..base.clone() };
    let frame = Frame::fresh(start.record.clone(), before.clone(), Some(link.clone()));
    let write = Write { checkpoints: checkpoints.into(), tasks: vec![link], ..Write::default() };
    Ok(Ok(Call { frame, before, write }))
}

/// Whose call of a subgraph it is.
pub(crate) struct Caller<'a> {
    pub(crate) thread: &'a ThreadId,
    pub(crate) lineage: &'a ThreadId,
    pub(crate) assignment: &'a Assignment,
    pub(crate) now_ms: u64,
}

/// The first two checkpoints of a call, and the values when its input was applied. `previous` is where the last call ended, for a subgraph that is
/// kept per thread. Pure.
///
/// # Errors
/// As the task records it: the input does not fit.
pub(crate) fn entry(
    version: &Version,
    namespace: &Namespace,
    previous: Option<Kept>,
    caller: &Caller<'_>,
) -> Result<([NewCheckpoint; 2], Map<String, Value>), ThreadError> {
    let Caller { thread, lineage, assignment, now_ms } = caller;
    let graph = &*version.graph;
    let input = match &assignment.planned.argument {
        None => subgraph::handed_down(graph, assignment.state.values()),
        Some(Value::Object(argument)) => argument.clone(),
        Some(_) => {
            let message =
                format!("the argument of subgraph node {} is not an object of channels", assignment.planned.node);
            return Err(error("HP0428", message, assignment));
        }
    };
    let parent = &assignment.checkpoint;
    let values = previous.as_ref().map_or_else(|| state::initial_values(graph), |kept| kept.values.clone());
    let operations = assignment.operations(lineage);
    let first = CheckpointRecord {
        id: CheckpointId::of_task(&assignment.planned.id, parent.clock_ms),
        parent: previous.as_ref().map(|kept| kept.checkpoint.id.clone()),
        namespace: namespace.clone(),
        graph: version.digest.clone(),
        step: previous.as_ref().map_or(-1, |kept| kept.checkpoint.step + 1),
        children: previous.map(|kept| kept.checkpoint.children).unwrap_or_default(),
        anchor: CheckpointId::parse(operations.as_str()).expect("invariant: task ids and checkpoint ids are UUIDs"),
        kept_operations: Default::default(),
        created_at_ms: *now_ms,
        ..(**parent).clone()
    };
    let checkpoints = apply::input_checkpoints(graph, thread, first, &values, &input).map_err(|invalid| {
        let message = format!("the input of subgraph node {} is not valid: {invalid}", assignment.planned.node);
        error(invalid.code(), message, assignment)
    })?;
    let mut before = values;
    checkpoints.iter().for_each(|NewCheckpoint { patch, .. }| patch.apply(&mut before));
    Ok((checkpoints, before))
}

/// Where the last call on this branch ended.
async fn previous(child: &Context, assignment: &Assignment) -> Result<Option<Kept>, Error> {
    if let Some(kept) = &assignment.kept {
        return Ok(Some(kept.clone()));
    }
    let Some(id) = assignment.checkpoint.children.get(&assignment.planned.node) else { return Ok(None) };
    let missing = || Error::Store(holdpoint_store::Error::Corrupt(format!("checkpoint {id} is missing")));
    let snapshot = child.ledger().snapshot(id).await?.ok_or_else(missing)?;
    Ok(Some(Kept { checkpoint: snapshot.checkpoint, values: snapshot.values }))
}

fn failed(base: TaskRecord, error: ThreadError) -> TaskRecord {
    TaskRecord { status: TaskStatus::Failed, error: Some(error), ..base }
}

fn error(code: &str, message: String, assignment: &Assignment) -> ThreadError {
    ThreadError { code: code.into(), message, node: Some(assignment.planned.node.clone()), details: None }
}
