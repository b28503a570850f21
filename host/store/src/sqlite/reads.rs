//! The reads. Each runs inside one transaction of a reader.

use std::collections::BTreeSet;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, QuestionId, ThreadId};
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use rusqlite::{Row, params};
use serde_json::Map;

use super::failure::{Failure, Result};
use super::session::Session;
use super::values::{Values, Versions};
use super::{forms, rows, statements};
use crate::records::{CheckpointRecord, QuestionRecord, Snapshot, ThreadRecord};
use crate::store::{OperationFilter, ThreadFilter};

pub(super) fn thread(session: &Session, thread: &ThreadId) -> Result<Option<ThreadRecord>> {
    session.first(statements::THREAD_SELECT, params![thread.as_str()], rows::thread)
}

pub(super) fn threads(session: &Session, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>> {
    let (limit, offset) = (bound(filter.limit), bound(filter.offset));
    match filter.status {
        None => session.all(statements::THREADS, params![limit, offset], rows::thread),
        Some(status) => session.all(statements::THREADS_BY_STATUS, params![limit, offset, status.name()], rows::thread),
    }
}

pub(super) fn snapshot(
    session: &Session,
    thread: &ThreadId,
    checkpoint: Option<&CheckpointId>,
) -> Result<Option<Snapshot>> {
    let Some((key, record)) = thread_with_key(session, thread)? else { return Ok(None) };
    let id = checkpoint.unwrap_or(&record.head);
    let found = session.first(statements::CHECKPOINT_SELECT, params![key, id.as_str()], Found::read)?;
    let Some(found) = found else {
        return match checkpoint {
            Some(_) => Ok(None),
            None => Err(Failure::corrupt(format!("the head of thread {thread} is missing"))),
        };
    };
    Ok(snapshots(session, key, &record, vec![found])?.pop())
}

pub(super) fn history(
    session: &Session,
    thread: &ThreadId,
    before: Option<&CheckpointId>,
    limit: usize,
) -> Result<Vec<Snapshot>> {
    let Some((key, record)) = thread_with_key(session, thread)? else { return Ok(Vec::new()) };
    let end = match before {
        None => i64::MAX,
        Some(id) => {
            let found = session.first(statements::CHECKPOINT_KEY, params![key, id.as_str()], |row| Ok(row.get(0)?))?;
            let Some(end) = found else { return Ok(Vec::new()) };
            end
        }
    };
    let found = session.all(statements::CHECKPOINTS, params![key, end, bound(limit)], Found::read)?;
    snapshots(session, key, &record, found)
}

pub(super) fn question(session: &Session, thread: &ThreadId, id: &QuestionId) -> Result<Option<QuestionRecord>> {
    let Some((key, _)) = thread_with_key(session, thread)? else { return Ok(None) };
    session.first(statements::QUESTION_SELECT, params![key, id.as_str()], rows::question)
}

pub(super) fn operation(session: &Session, key: &OperationKey) -> Result<Option<OperationRecord>> {
    let parameters = params![key.scope.to_text(), key.connector.as_str(), key.id.as_str()];
    session.first(statements::OPERATION_SELECT, parameters, rows::operation)
}

pub(super) fn operations(session: &Session, thread: &ThreadId) -> Result<Vec<OperationRecord>> {
    session.all(statements::OPERATIONS, params![thread.as_str(), i64::MAX], rows::operation)
}

pub(super) fn find_operations(session: &Session, filter: &OperationFilter) -> Result<Vec<OperationRecord>> {
    let limit = bound(filter.limit);
    let thread = filter.thread.as_ref().map(ThreadId::as_str);
    match (&filter.id, thread) {
        (Some(id), _) => {
            let parameters = params![id.as_str(), thread, filter.open, limit];
            session.all(statements::OPERATIONS_BY_ID, parameters, rows::operation)
        }
        (None, _) if filter.open => session.all(statements::OPERATIONS_OPEN, params![thread, limit], rows::operation),
        (None, Some(thread)) => session.all(statements::OPERATIONS, params![thread, limit], rows::operation),
        (None, None) => session.all(statements::OPERATIONS_ALL, params![limit], rows::operation),
    }
}

pub(super) fn due_operations(session: &Session, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>> {
    session.all(statements::OPERATIONS_DUE, params![rows::integer(now_ms), bound(limit)], rows::operation)
}

pub(super) fn hits(session: &Session, key: &OperationKey) -> Result<Vec<OperationHit>> {
    let parameters = params![key.scope.to_text(), key.connector.as_str(), key.id.as_str()];
    session.all(statements::HITS, parameters, rows::hit)
}

pub(super) fn content(session: &Session, digest: &Digest) -> Result<Option<Vec<u8>>> {
    session.first(statements::CONTENT_SELECT, params![digest.as_str()], |row| Ok(row.get(0)?))
}

pub(super) fn missing_contents(session: &Session, digests: Vec<Digest>) -> Result<Vec<Digest>> {
    let mut missing = Vec::new();
    for digest in digests {
        if session.first(statements::CONTENT_EXISTS, params![digest.as_str()], |_| Ok(()))?.is_none() {
            missing.push(digest);
        }
    }
    Ok(missing)
}

/// A checkpoint's row.
struct Found {
    key: i64,
    record: CheckpointRecord,
    versions: Versions,
}

impl Found {
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            key: row.get("checkpoint_key")?,
            record: rows::checkpoint(row)?,
            versions: forms::read(rows::text(row, "versions")?)?,
        })
    }
}

fn thread_with_key(session: &Session, thread: &ThreadId) -> Result<Option<(i64, ThreadRecord)>> {
    session.first(statements::THREAD_SELECT, params![thread.as_str()], |row| {
        Ok((row.get("thread_key")?, rows::thread(row)?))
    })
}

/// Completes checkpoints of one thread. Their values are read together, so that what they share is read once.
fn snapshots(session: &Session, thread: i64, record: &ThreadRecord, found: Vec<Found>) -> Result<Vec<Snapshot>> {
    let versions: BTreeSet<i64> = found.iter().flat_map(|found| found.versions.values().copied()).collect();
    let values = Values::read(session, thread, &versions)?;
    let mut snapshots = Vec::with_capacity(found.len());
    for Found { key, record: checkpoint, versions } in found {
        let mut channels = Map::new();
        for (channel, version) in versions {
            channels.insert(channel, values.get(version)?);
        }
        snapshots.push(Snapshot {
            values: channels,
            tasks: session.all(statements::TASKS, params![key], |row| rows::task(row, &checkpoint.id))?,
            questions: session.all(statements::QUESTIONS, params![key], rows::question)?,
            unsettled: session.all(
                statements::OPERATIONS_UNSETTLED,
                params![record.id.as_str(), key],
                rows::operation,
            )?,
            thread: record.clone(),
            checkpoint,
        });
    }
    Ok(snapshots)
}

fn bound(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
