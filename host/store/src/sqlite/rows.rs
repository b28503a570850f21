//! From rows to records, by hand. Whatever a row holds, the result is a record or [`Error::Corrupt`](crate::Error::Corrupt), never a panic.

use std::str::FromStr;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, InvalidId, Namespace};
use holdpoint_graph::nodes::{Command, EffectMode};
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord, OperationState, Scope};
use rusqlite::Row;

use super::failure::{Failure, Result};
use super::forms::{self, Details};
use super::proceedings;
use crate::records::{
    CheckpointRecord, QuestionRecord, QuestionStatus, Source, TaskRecord, TaskStatus, ThreadRecord, ThreadStatus,
    VersionKind, VersionRecord,
};

pub(super) fn thread(row: &Row<'_>) -> Result<ThreadRecord> {
    check_format(row)?;
    Ok(ThreadRecord {
        id: id(row, "thread_id")?,
        lineage: id(row, "lineage")?,
        graph: digest(row, "graph")?,
        graph_name: id(row, "graph_name")?,
        status: name(row, "status", ThreadStatus::parse)?,
        epoch: Epoch(unsigned(row, "epoch")?),
        owner: row.get("owner")?,
        lease_until_ms: unsigned(row, "lease_until_ms")?,
        head: id(row, "head")?,
        tenant: id(row, "tenant")?,
        requester: row.get("requester")?,
        error: optional_text(row, "error")?.map(forms::read_error).transpose()?,
        created_at_ms: unsigned(row, "created_at_ms")?,
        updated_at_ms: unsigned(row, "updated_at_ms")?,
    })
}

/// With its details, which are read before the rest where they decide whether it is wanted.
pub(super) fn checkpoint(row: &Row<'_>, details: Details) -> Result<CheckpointRecord> {
    check_format(row)?;
    let clock_ms = unsigned(row, "clock_ms")?;
    let joins = optional_text(row, "joins")?.map(|joins| forms::read_joins(joins, clock_ms)).transpose()?;
    Ok(CheckpointRecord {
        id: id(row, "checkpoint_id")?,
        parent: optional_text(row, "parent_id")?.map(CheckpointId::parse).transpose()?,
        namespace: namespace(row)?,
        graph: digest(row, "graph")?,
        step: row.get("step")?,
        source: name(row, "source", Source::parse)?,
        writers: details.writers,
        next: forms::read_triggers(text(row, "next")?)?,
        deferred: details.deferred,
        joins: joins.unwrap_or_default(),
        children: details.children,
        anchor: id(row, "anchor")?,
        kept_operations: details.kept_operations,
        effects: name(row, "effects", EffectMode::parse)?,
        metadata: details.metadata,
        clock_ms,
        created_at_ms: unsigned(row, "created_at_ms")?,
    })
}

pub(super) fn details(row: &Row<'_>) -> Result<Details> {
    Ok(optional_text(row, "details")?.map(forms::read_details).transpose()?.unwrap_or_default())
}

pub(super) fn namespace(row: &Row<'_>) -> Result<Namespace> {
    Ok(Namespace::parse(text(row, "namespace")?)?)
}

pub(super) fn checkpoint_id(row: &Row<'_>, column: &str) -> Result<CheckpointId> {
    id(row, column)
}

pub(super) fn cached(row: &Row<'_>) -> Result<Command> {
    check_format(row)?;
    forms::read_command(text(row, "result")?)
}

pub(super) fn version(row: &Row<'_>) -> Result<VersionRecord> {
    check_format(row)?;
    Ok(VersionRecord {
        kind: name(row, "kind", VersionKind::parse)?,
        name: row.get("name")?,
        version: row.get("version")?,
        digest: digest(row, "digest")?,
        deployed_at_ms: unsigned(row, "deployed_at_ms")?,
        deployed_by: row.get("deployed_by")?,
        gains: optional_text(row, "gains")?.map(forms::read).transpose()?.unwrap_or_default(),
    })
}

/// The row does not repeat its checkpoint's id.
pub(super) fn task(row: &Row<'_>, checkpoint: &CheckpointId) -> Result<TaskRecord> {
    check_format(row)?;
    Ok(TaskRecord {
        id: id(row, "task_id")?,
        checkpoint: checkpoint.clone(),
        node: id(row, "node")?,
        path: row.get("path")?,
        status: name(row, "status", TaskStatus::parse)?,
        executions: count(row, "executions")?,
        result: optional_text(row, "result")?.map(forms::read_command).transpose()?,
        error: optional_text(row, "error")?.map(forms::read_error).transpose()?,
        child: optional_text(row, "child")?.map(CheckpointId::parse).transpose()?,
        steps_left: row
            .get::<_, Option<i64>>("steps_left")?
            .map(|left| from_integer("steps_left", left))
            .transpose()?,
        updated_at_ms: unsigned(row, "updated_at_ms")?,
    })
}

pub(super) fn question(row: &Row<'_>) -> Result<QuestionRecord> {
    check_format(row)?;
    Ok(QuestionRecord {
        id: id(row, "question_id")?,
        checkpoint: id(row, "checkpoint_id")?,
        task: id(row, "task_id")?,
        node: id(row, "node")?,
        occurrence: count(row, "occurrence")?,
        payload: forms::read(text(row, "payload")?)?,
        payload_digest: digest(row, "payload_digest")?,
        answer_schema: optional_text(row, "answer_schema")?.map(forms::read).transpose()?,
        policy: forms::read(text(row, "policy")?)?,
        asked_at_ms: unsigned(row, "asked_at_ms")?,
        deadline_at_ms: optional_unsigned(row, "deadline_at_ms")?,
        due_at_ms: optional_unsigned(row, "due_at_ms")?,
        proceedings: proceedings::read(count(row, "proceedings_version")?, optional_text(row, "proceedings")?)?,
        status: name(row, "status", QuestionStatus::parse)?,
        answer: optional_text(row, "answer")?.map(forms::read_answer).transpose()?,
    })
}

pub(super) fn operation(row: &Row<'_>) -> Result<OperationRecord> {
    check_format(row)?;
    Ok(OperationRecord {
        key: operation_key(row)?,
        thread: id(row, "thread_id")?,
        task: id(row, "task_id")?,
        node: id(row, "node")?,
        request: forms::read(text(row, "request")?)?,
        request_digest: digest(row, "request_digest")?,
        state: operation_state(row)?,
        epoch: Epoch(unsigned(row, "epoch")?),
        begun_at_ms: unsigned(row, "begun_at_ms")?,
        send_by_ms: optional_unsigned(row, "send_by_ms")?,
        settles_at_ms: optional_unsigned(row, "settles_at_ms")?,
        finished_at_ms: optional_unsigned(row, "finished_at_ms")?,
        notes: optional_text(row, "notes")?.map(forms::read_notes).transpose()?.unwrap_or_default(),
    })
}

pub(super) fn hit(row: &Row<'_>) -> Result<OperationHit> {
    Ok(OperationHit {
        key: operation_key(row)?,
        thread: id(row, "thread_id")?,
        task: id(row, "task_id")?,
        at_ms: unsigned(row, "at_ms")?,
    })
}

fn operation_key(row: &Row<'_>) -> Result<OperationKey> {
    let scope = Scope::parse(text(row, "scope")?).ok_or_else(|| Failure::corrupt("an operation's scope"))?;
    Ok(OperationKey { scope, connector: id(row, "connector")?, id: id(row, "operation_id")? })
}

/// The column `outcome`: JSON of the answer or the failure, or plain text of the doubt.
pub(super) fn operation_outcome(state: &OperationState) -> Option<String> {
    match state {
        OperationState::Intended | OperationState::Queued { .. } | OperationState::NotSent => None,
        OperationState::Completed(answer) => Some(forms::write(answer)),
        OperationState::Failed(failure) => Some(forms::write_failure(failure)),
        OperationState::InDoubt(reason) => Some(reason.clone()),
    }
}

fn operation_state(row: &Row<'_>) -> Result<OperationState> {
    match (text(row, "state")?, optional_text(row, "outcome")?) {
        ("intended", None) => Ok(OperationState::Intended),
        ("queued", None) => {
            Ok(OperationState::Queued { attempts: count(row, "attempts")?, due_at_ms: unsigned(row, "due_at_ms")? })
        }
        ("completed", Some(answer)) => Ok(OperationState::Completed(forms::read(answer)?)),
        ("failed", Some(failure)) => Ok(OperationState::Failed(forms::read_failure(failure)?)),
        ("not-sent", None) => Ok(OperationState::NotSent),
        ("in-doubt", Some(reason)) => Ok(OperationState::InDoubt(reason.to_owned())),
        (state, outcome) => {
            let has = if outcome.is_some() { "an" } else { "no" };
            Err(Failure::corrupt(format!("an operation with state {state:?} and {has} outcome")))
        }
    }
}

/// An unsigned number as it is stored. Commits are checked against what fits before they get here.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Most rows that are wanted, as a statement takes it.
pub(super) fn bound(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A number of rows.
pub(super) fn counted(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

pub(super) fn text<'row>(row: &'row Row<'_>, column: &str) -> Result<&'row str> {
    Ok(row.get_ref(column)?.as_str()?)
}

pub(super) fn optional_text<'row>(row: &'row Row<'_>, column: &str) -> Result<Option<&'row str>> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}

pub(super) fn id<T: FromStr<Err = InvalidId>>(row: &Row<'_>, column: &str) -> Result<T> {
    Ok(text(row, column)?.parse()?)
}

pub(super) fn digest(row: &Row<'_>, column: &str) -> Result<Digest> {
    Ok(Digest::parse(text(row, column)?)?)
}

pub(super) fn name<T>(row: &Row<'_>, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text = text(row, column)?;
    parse(text).ok_or_else(|| Failure::corrupt(format!("unknown {column} {text:?}")))
}

pub(super) fn unsigned(row: &Row<'_>, column: &str) -> Result<u64> {
    from_integer(column, row.get(column)?)
}

pub(super) fn optional_unsigned(row: &Row<'_>, column: &str) -> Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)?.map(|number| from_integer(column, number)).transpose()
}

pub(super) fn count(row: &Row<'_>, column: &str) -> Result<u32> {
    from_integer(column, row.get(column)?)
}

fn from_integer<T: TryFrom<i64>>(column: &str, number: i64) -> Result<T> {
    T::try_from(number).map_err(|_| Failure::corrupt(format!("{column} {number} is out of range")))
}

pub(super) fn check_format(row: &Row<'_>) -> Result<()> {
    let format: i64 = row.get("format")?;
    if format == forms::FORMAT {
        Ok(())
    } else {
        Err(Failure::corrupt(format!("a row has format {format}; this program knows format {}", forms::FORMAT)))
    }
}
