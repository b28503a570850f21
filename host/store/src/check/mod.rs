//! What every store refuses, in one place, so that all of them refuse the same: what is wrong with a write by itself, and what is wrong with
//! it beside the checkpoints that it names.

mod serving;

use std::collections::BTreeSet;

use holdpoint_graph::ids::{CheckpointId, Namespace};
use holdpoint_graph::nodes::{Answer, Command, Destination};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_graph::state::Change;
use serde_json::Value;

pub(crate) use self::serving::*;
use crate::records::{
    CacheRecord, CheckpointRecord, NewCheckpoint, QuestionRecord, Settlement, TaskRecord, ThreadError, Trigger,
    VersionRecord,
};
use crate::store::{Commit, Content, Error, Expect};

/// Deepest nesting of a stored value. Above what `serde_json` reads from a guest (128 levels), so that nothing a guest returned is refused
/// here, and low enough that reading recursively is safe on a thread's stack.
pub(crate) const DEPTH_MAX: usize = 192;

/// Deepest nesting of subgraphs. Far above what anybody builds, and low enough that snapshots, which nest alike, can be walked on a thread's
/// stack.
pub(crate) const SUBGRAPHS_MAX: usize = 64;

/// Checks a commit by itself.
pub(crate) fn commit(commit: &Commit) -> Result<(), Error> {
    match &commit.expect {
        Expect::New(_) if commit.claim.is_none() => return invalid("a new thread needs a claim"),
        Expect::New(_) if commit.head.is_none() => return invalid("a new thread needs a head"),
        Expect::New(new) => integer(new.epoch.0, "epoch")?,
        Expect::Epoch(epoch) => integer(epoch.0, "epoch")?,
    }
    if commit.claim.is_some() && commit.release {
        return invalid("a commit claims and releases the thread at once");
    }
    integer(commit.at_ms, "time of the commit")?;
    optional_integer(commit.claim.as_ref().map(|claim| claim.lease_until_ms), "lease")?;
    optional_integer(commit.lease_until_ms, "lease")?;
    optional_error(commit.error.as_ref())?;
    settlements(&commit.settlements)?;
    commit.checkpoints.iter().try_for_each(checkpoint)?;
    commit.tasks.iter().try_for_each(task)?;
    commit.questions.iter().try_for_each(question)?;
    commit.operations.iter().try_for_each(operation)?;
    commit.hits.iter().try_for_each(|hit| integer(hit.at_ms, "time of a hit"))?;
    commit.cache.iter().try_for_each(cache)?;
    commit.runs.iter().try_for_each(|update| run_update(update, commit.at_ms))?;
    audit(&commit.audit)
}

/// Checks a version by itself.
pub(crate) fn version(version: &VersionRecord) -> Result<(), Error> {
    integer(version.deployed_at_ms, "time of a version")
}

/// Checks a checkpoint beside its parent's namespace.
pub(crate) fn parent(child: &CheckpointRecord, parent: &CheckpointId, namespace: &Namespace) -> Result<(), Error> {
    if child.namespace == *namespace {
        Ok(())
    } else {
        invalid(format!("checkpoint {} and its parent {parent} are of different namespaces", child.id))
    }
}

/// Checks the head's namespace.
pub(crate) fn head(head: &CheckpointId, namespace: &Namespace) -> Result<(), Error> {
    if namespace.is_root() {
        Ok(())
    } else {
        invalid(format!("the head {head} is a subgraph's: it is of namespace {namespace}"))
    }
}

/// Checks that a task's subgraph lies deeper than the task, so that from task to subgraph one comes to an end.
pub(crate) fn child(task: &TaskRecord, own: &Namespace, child: &CheckpointId, its: &Namespace) -> Result<(), Error> {
    if its.parts().count() > own.parts().count() {
        Ok(())
    } else {
        invalid(format!("checkpoint {child} is none of a subgraph that task {} could run", task.id))
    }
}

/// What is refused where something names a checkpoint that is not there.
pub(crate) fn not_stored(what: &str, id: &CheckpointId) -> Error {
    Error::Invalid(format!("{what} is not stored: {id}"))
}

/// What is refused where something that must be kept is not.
pub(crate) fn not_kept(what: &str, id: &str) -> Error {
    Error::Invalid(format!("{what} is not among what is kept: {id}"))
}

/// What is refused where another content has the version's name.
pub(crate) fn version_taken(version: &VersionRecord, digest: &str) -> Error {
    let VersionRecord { kind, name, version, .. } = version;
    Error::Invalid(format!("version {version} of {} {name} is there with the digest {digest}", kind.name()))
}

/// Checks an exchange by itself. What is expected need not be checked: a record that could not be stored is never found.
pub(crate) fn exchange(expected: &OperationRecord, next: &OperationRecord, at_ms: u64) -> Result<(), Error> {
    if expected.key != next.key {
        return invalid(format!("operation {} cannot take the place of operation {}", next.key.id, expected.key.id));
    }
    integer(at_ms, "time of an exchange")?;
    operation(next)
}

/// Checks that bytes and digests agree.
pub(crate) fn contents(contents: &[Content]) -> Result<(), Error> {
    for content in contents {
        if holdpoint_graph::digest::Digest::of_bytes(&content.bytes) != content.digest {
            return invalid(format!("a content's bytes do not have the digest {}", content.digest));
        }
    }
    Ok(())
}

fn settlements(settlements: &[Settlement]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for settlement in settlements {
        let question = match settlement {
            Settlement::Answer { question, answer: given, proceedings: said } => {
                answer(given)?;
                proceedings(said)?;
                question
            }
            Settlement::Supersede { question } | Settlement::Cancel { question, .. } => question,
        };
        if !seen.insert(question) {
            return invalid(format!("question {question} is settled twice in one commit"));
        }
    }
    Ok(())
}

fn checkpoint(checkpoint: &NewCheckpoint) -> Result<(), Error> {
    let record = &checkpoint.record;
    integer(record.clock_ms, "clock of a checkpoint")?;
    integer(record.created_at_ms, "time of a checkpoint")?;
    record.joins.values().try_for_each(|arrivals| integer(arrivals.since_ms, "time of an arrival"))?;
    record.metadata.values().try_for_each(|value| depth(value, "a checkpoint's metadata"))?;
    if record.namespace.parts().count() > SUBGRAPHS_MAX {
        return invalid(format!("subgraphs are nested deeper than {SUBGRAPHS_MAX} levels"));
    }
    for trigger in &record.next {
        if let Trigger::Push { argument, .. } = trigger {
            depth(argument, "a task's argument")?;
        }
    }
    for (channel, change) in &checkpoint.patch.changes {
        let fits = match change {
            Change::Replace(value) => nests_within(value, DEPTH_MAX),
            Change::Append(items) => items.iter().all(|item| nests_within(item, DEPTH_MAX)),
        };
        if !fits {
            return too_deep(&format!("the value of channel {channel}"));
        }
    }
    Ok(())
}

fn task(task: &TaskRecord) -> Result<(), Error> {
    integer(task.updated_at_ms, "time of a task")?;
    optional_error(task.error.as_ref())?;
    task.result.as_ref().map_or(Ok(()), command)
}

fn cache(cache: &CacheRecord) -> Result<(), Error> {
    optional_integer(cache.expires_at_ms, "end of a result's use")?;
    command(&cache.result)
}

fn command(command: &Command) -> Result<(), Error> {
    command.update.values().try_for_each(|value| depth(value, "a task's update"))?;
    for destination in &command.goto {
        if let Destination::Send { argument, .. } = destination {
            depth(argument, "a task's argument")?;
        }
    }
    Ok(())
}

fn question(question: &QuestionRecord) -> Result<(), Error> {
    integer(question.asked_at_ms, "time of a question")?;
    optional_integer(question.deadline_at_ms, "deadline of a question")?;
    optional_integer(question.due_at_ms, "time of a question")?;
    proceedings(&question.proceedings)?;
    depth(&question.payload, "a question's payload")?;
    depth(&question.policy, "a question's policy")?;
    question.answer_schema.as_ref().map_or(Ok(()), |schema| depth(schema, "a question's answer schema"))?;
    question.answer.as_ref().map_or(Ok(()), answer)
}

fn answer(answer: &Answer) -> Result<(), Error> {
    integer(answer.answered_at_ms, "time of an answer")?;
    depth(&answer.value, "an answer")
}

fn operation(operation: &OperationRecord) -> Result<(), Error> {
    integer(operation.epoch.0, "epoch of an operation")?;
    integer(operation.begun_at_ms, "time of an operation")?;
    optional_integer(operation.send_by_ms, "time of an operation")?;
    optional_integer(operation.settles_at_ms, "time of an operation")?;
    optional_integer(operation.finished_at_ms, "time of an operation")?;
    operation.notes.iter().try_for_each(|note| integer(note.at_ms, "time of a note"))?;
    depth(&operation.request, "an operation's request")?;
    match &operation.state {
        OperationState::Completed(value) => depth(value, "an operation's answer"),
        OperationState::Failed(failure) => {
            optional_integer(failure.retry_after_ms, "pause of a failure")?;
            failure.details.as_ref().map_or(Ok(()), |details| depth(details, "a failure's details"))
        }
        OperationState::Queued { due_at_ms, .. } => integer(*due_at_ms, "time of an operation"),
        OperationState::Intended | OperationState::InDoubt(_) | OperationState::NotSent => Ok(()),
    }
}

fn optional_error(error: Option<&ThreadError>) -> Result<(), Error> {
    error.and_then(|error| error.details.as_ref()).map_or(Ok(()), |details| depth(details, "an error's details"))
}

fn depth(value: &Value, what: &str) -> Result<(), Error> {
    if nests_within(value, DEPTH_MAX) { Ok(()) } else { too_deep(what) }
}

/// Whether a value nests at most `levels` deep. Stops there, so its own recursion is bounded.
fn nests_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| nests_within(item, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|member| nests_within(member, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Databases store 63-bit integers.
fn integer(number: u64, what: &str) -> Result<(), Error> {
    if i64::try_from(number).is_ok_and(|number| number < i64::MAX) {
        Ok(())
    } else {
        invalid(format!("the {what} is out of range: {number}"))
    }
}

fn optional_integer(number: Option<u64>, what: &str) -> Result<(), Error> {
    number.map_or(Ok(()), |number| integer(number, what))
}

fn too_deep(what: &str) -> Result<(), Error> {
    invalid(format!("{what} is nested deeper than {DEPTH_MAX} levels"))
}

fn invalid(message: impl Into<String>) -> Result<(), Error> {
    Err(Error::Invalid(message.into()))
}
