//! The journal's writes: operations, exchanges of their records, hits.

use holdpoint_graph::operation::{OperationHit, OperationRecord, OperationState};
use rusqlite::types::{Null, ToSqlOutput};
use rusqlite::{params, params_from_iter};

use super::commit_rows::{ExchangeRows, OperationRow};
use super::failure::Result;
use super::forms::FORMAT;
use super::rows::{self, integer};
use super::session::Session;
use super::{statements, trail};

/// Stores an operation as it stands now.
pub(super) fn operation(session: &Session, row: &OperationRow) -> Result<()> {
    session.execute(statements::OPERATION_UPSERT, params_from_iter(columns(row)))?;
    Ok(())
}

/// Replaces an operation's record if it is as expected, and wakes the threads that waited for its outcome; whether it was.
pub(super) fn exchange(session: &Session, exchange: &ExchangeRows) -> Result<bool> {
    let row = &exchange.next;
    let parameters = columns(row).into_iter().chain(expectation(&exchange.expected));
    if session.execute(statements::OPERATION_EXCHANGE, params_from_iter(parameters))? == 0 {
        return Ok(false);
    }
    match row.record.state {
        OperationState::Completed(_) | OperationState::Failed(_) | OperationState::NotSent => {
            let key = &row.record.key;
            let parameters = params![row.scope, key.connector.as_str(), key.id.as_str(), exchange.at_ms];
            session.execute(statements::THREADS_WAKE, parameters)?;
        }
        OperationState::Intended | OperationState::Queued { .. } | OperationState::InDoubt(_) => {}
    }
    trail::extend(session, &exchange.audit)?;
    Ok(true)
}

/// Stores an operation unless one is there under its key.
pub(super) fn queue_once(session: &Session, row: &OperationRow) -> Result<()> {
    session.execute(statements::OPERATION_INSERT, params_from_iter(columns(row)))?;
    Ok(())
}

/// Whether an operation is there and has an outcome.
pub(super) fn is_settled(session: &Session, scope: &str, connector: &str, id: &str) -> Result<bool> {
    let settled = session.first(statements::OPERATION_STATE, params![scope, connector, id], |row| {
        Ok(matches!(rows::text(row, "state")?, "completed" | "failed" | "not-sent"))
    })?;
    Ok(settled.unwrap_or(false))
}

/// Stores a hit.
pub(super) fn hit(session: &Session, hit: &OperationHit) -> Result<()> {
    let parameters = params![
        hit.key.scope.to_text(),
        hit.key.connector.as_str(),
        hit.key.id.as_str(),
        hit.thread.as_str(),
        hit.task.as_str(),
        integer(hit.at_ms),
    ];
    session.execute(statements::HIT_INSERT, parameters)?;
    Ok(())
}

/// A row's columns, in the order in which both writes name them.
fn columns(row: &OperationRow) -> [ToSqlOutput<'_>; 19] {
    let record = &row.record;
    let (attempts, due_at_ms) = queue(&record.state);
    [
        row.scope.as_str().into(),
        record.key.connector.as_str().into(),
        record.key.id.as_str().into(),
        record.thread.as_str().into(),
        record.task.as_str().into(),
        record.node.as_str().into(),
        record.request_digest.as_str().into(),
        record.state.name().into(),
        integer(record.epoch.0).into(),
        integer(record.begun_at_ms).into(),
        optional(record.send_by_ms.map(integer)),
        optional(record.settles_at_ms.map(integer)),
        optional(due_at_ms),
        optional(attempts),
        optional(record.finished_at_ms.map(integer)),
        FORMAT.into(),
        optional(row.outcome.as_deref()),
        optional(row.notes.as_deref()),
        row.request.as_str().into(),
    ]
}

/// What a record must be for an exchange: state, times and epoch.
fn expectation(expected: &OperationRecord) -> [ToSqlOutput<'_>; 8] {
    let (attempts, due_at_ms) = queue(&expected.state);
    [
        expected.state.name().into(),
        integer(expected.epoch.0).into(),
        integer(expected.begun_at_ms).into(),
        optional(expected.send_by_ms.map(integer)),
        optional(expected.settles_at_ms.map(integer)),
        optional(due_at_ms),
        optional(attempts),
        optional(expected.finished_at_ms.map(integer)),
    ]
}

/// What only a queued operation has.
fn queue(state: &OperationState) -> (Option<u32>, Option<i64>) {
    match state {
        OperationState::Queued { attempts, due_at_ms } => (Some(*attempts), Some(integer(*due_at_ms))),
        _ => (None, None),
    }
}

fn optional<'a>(value: Option<impl Into<ToSqlOutput<'a>>>) -> ToSqlOutput<'a> {
    value.map_or(Null.into(), Into::into)
}
