//! Removing a thread, or a part of it.

use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use rusqlite::params;

use super::apply::not_ours;
use super::failure::Result;
use super::rows::{self, integer};
use super::session::Session;
use super::{forms, statements, trail};
use crate::audit::AuditEntry;
use crate::check;

/// Removes a thread; what only it holds goes with it by foreign keys.
pub(super) fn delete_thread(session: &Session, thread: &ThreadId, epoch: Epoch, audit: &[AuditEntry]) -> Result<()> {
    if session.execute(statements::THREAD_DELETE, params![thread.as_str(), integer(epoch.0)])? == 1 {
        trail::extend(session, audit)
    } else {
        Err(not_ours(session, thread, epoch))
    }
}

/// Removes a thread's checkpoints but some; the number of those removed.
pub(super) fn retain(
    session: &Session,
    thread: &ThreadId,
    epoch: Epoch,
    keep: &[CheckpointId],
    audit: &[AuditEntry],
) -> Result<u64> {
    let guarded = session.first(statements::THREAD_GUARD, params![thread.as_str(), integer(epoch.0)], |row| {
        Ok((row.get::<_, i64>("thread_key")?, rows::checkpoint_id(row, "head")?))
    })?;
    let (key, head) = guarded.ok_or_else(|| not_ours(session, thread, epoch))?;
    let kept = forms::write(&keep.iter().map(CheckpointId::as_str).collect::<Vec<_>>());
    let first = |row: &rusqlite::Row<'_>| rows::checkpoint_id(row, "checkpoint_id");
    if let Some(unknown) = session.first(statements::KEPT_UNKNOWN, params![key, kept], first)? {
        return Err(check::not_stored("a checkpoint to keep", &unknown).into());
    }
    if !keep.contains(&head) {
        return Err(check::not_kept("the head", head.as_str()).into());
    }
    if let Some(run) = session.first(statements::LIVE_NOT_KEPT, params![key, head.as_str(), kept], first)? {
        return Err(check::not_kept("a subgraph's run that is not done", run.as_str()).into());
    }
    let removed = session.execute(statements::CHECKPOINTS_REMOVE, params![key, kept])?;
    if removed > 0 {
        session.execute(statements::VALUES_SWEEP, params![key])?;
        trail::extend(session, audit)?;
    }
    Ok(rows::counted(removed))
}
