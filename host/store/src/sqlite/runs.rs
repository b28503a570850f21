//! Runs, and entries of threads.

use std::cell::Cell;

use async_trait::async_trait;
use holdpoint_graph::ids::{CheckpointId, RunId, ThreadId};
use rusqlite::{Row, params, params_from_iter};
use serde_json::{Map, Value, json};

use super::commit_rows::{self, RunUpdateRow};
use super::failure::{Failure, Result};
use super::forms::{self, FORMAT};
use super::rows::{self, integer};
use super::session::Session;
use super::{SqliteStore, statements, trail};
use crate::audit::AuditEntry;
use crate::check;
use crate::records::ThreadStatus;
use crate::runs::{
    EntryFilter, ExpiryRule, RunCancel, RunFilter, RunRecord, RunStatus, RunUpdate, Runs, ThreadEntry, ThreadExpiry,
    ThreadSummary,
};
use crate::store::{Error, NewThread};

/// Makes the entry of a new thread, unless one of its tenant is there.
pub(super) fn entry_of(session: &Session, thread: &ThreadId, new: &NewThread, at_ms: i64) -> Result<()> {
    let metadata = forms::write(&json!({ "graph_id": new.graph_name.as_str() }));
    let none = None::<i64>;
    let parameters = params![thread.as_str(), new.tenant.as_str(), at_ms, at_ms, metadata, none, none, none, false];
    if session.execute(statements::ENTRY_INSERT, parameters)? == 1 {
        return Ok(());
    }
    match session.first(statements::ENTRY_SELECT, params![thread.as_str()], entry)? {
        Some(known) if known.tenant != new.tenant => Err(check::of_another_tenant(thread).into()),
        _ => Ok(()),
    }
}

/// Changes a run that is in the status that is expected; one of this thread, if given. One that begins does so from `base`.
pub(super) fn update(
    session: &Session,
    row: &RunUpdateRow,
    thread: Option<&ThreadId>,
    base: Option<&CheckpointId>,
    at_ms: i64,
) -> Result<()> {
    let RunUpdateRow { update, error } = row;
    let thread = thread.map(ThreadId::as_str);
    let parameters = params![
        update.run.as_str(),
        update.from.name(),
        update.to.name(),
        error,
        at_ms,
        thread,
        FORMAT,
        row.begins().then(|| base_text(base)),
    ];
    if session.execute(statements::RUN_UPDATE, parameters)? == 1 {
        return Ok(());
    }
    let found = session.first(statements::RUN_STATUS, params![update.run.as_str(), thread], status)?;
    Err(check::run_changed(&update.run, found).into())
}

/// A thread's head.
pub(super) fn head(session: &Session, thread: &ThreadId) -> Result<Option<CheckpointId>> {
    session.first(statements::THREAD_HEAD, params![thread.as_str()], |row| rows::checkpoint_id(row, "head"))
}

/// The column `base` of a run that has begun.
fn base_text(base: Option<&CheckpointId>) -> &str {
    base.map_or("", CheckpointId::as_str)
}

/// Changes a run outside a commit.
fn update_alone(session: &Session, row: &RunUpdateRow, at_ms: u64, audit: &[AuditEntry]) -> Result<()> {
    let mut base = None;
    if row.begins()
        && let Some(run) = session.first(statements::RUN_SELECT, params![row.update.run.as_str()], run)?
    {
        base = head(session, &run.thread)?;
    }
    update(session, row, None, base.as_ref(), integer(at_ms))?;
    trail::extend(session, audit)
}

fn request_cancel(session: &Session, run: &RunId, cancel: RunCancel, at_ms: u64, audit: &[AuditEntry]) -> Result<()> {
    let parameters = params![run.as_str(), cancel.name(), integer(at_ms)];
    if session.execute(statements::RUN_CANCEL, parameters)? == 1 {
        return trail::extend(session, audit);
    }
    match session.first(statements::RUN_STATUS, params![run.as_str(), None::<&str>], status)? {
        // As much is wanted already.
        Some(found) if !found.is_over() => Ok(()),
        found => Err(check::run_changed(run, found).into()),
    }
}

fn put_entry(session: &Session, entry: &ThreadEntry, audit: &[AuditEntry]) -> Result<()> {
    let exists = || Err(Error::ThreadExists(entry.thread.clone()).into());
    let id = entry.thread.as_str();
    if thread_status(session, &entry.thread)?.is_some() {
        return exists();
    }
    let parameters = params![
        id,
        entry.tenant.as_str(),
        integer(entry.created_at_ms),
        integer(entry.updated_at_ms),
        forms::write(&entry.metadata),
        entry.expiry.map(|expiry| integer(expiry.at_ms)),
        entry.expiry.map(|expiry| integer(expiry.ttl_ms)),
        entry.expiry.map(|expiry| expiry.rule.name()),
        entry.temporary,
    ];
    if session.execute(statements::ENTRY_INSERT, parameters)? == 0 {
        return exists();
    }
    trail::extend(session, audit)
}

fn merge(
    session: &Session,
    thread: &ThreadId,
    members: &Map<String, Value>,
    at_ms: u64,
    audit: &[AuditEntry],
) -> Result<ThreadEntry> {
    let found = session.first(statements::ENTRY_SELECT, params![thread.as_str()], entry)?;
    let mut merged = found.ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
    merged.merge(members.clone(), at_ms);
    let parameters = params![thread.as_str(), forms::write(&merged.metadata), integer(at_ms)];
    session.execute(statements::ENTRY_MERGE, parameters)?;
    trail::extend(session, audit)?;
    Ok(merged)
}

fn set_expiry(
    session: &Session,
    thread: &ThreadId,
    expiry: Option<ThreadExpiry>,
    at_ms: u64,
    audit: &[AuditEntry],
) -> Result<ThreadEntry> {
    let parameters = params![
        thread.as_str(),
        expiry.map(|expiry| integer(expiry.at_ms)),
        expiry.map(|expiry| integer(expiry.ttl_ms)),
        expiry.map(|expiry| expiry.rule.name()),
        integer(at_ms),
    ];
    let changed = session.first(statements::ENTRY_EXPIRE, parameters, entry)?;
    let changed = changed.ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
    trail::extend(session, audit)?;
    Ok(changed)
}

fn delete_entry(session: &Session, thread: &ThreadId, audit: &[AuditEntry]) -> Result<bool> {
    if thread_status(session, thread)?.is_some() {
        return Err(check::thread_is_there(thread).into());
    }
    if session.first(statements::RUN_IN_THE_WAY, params![thread.as_str()], |_| Ok(()))?.is_some() {
        return Err(check::run_is_open(thread).into());
    }
    if session.execute(statements::ENTRY_DELETE, params![thread.as_str()])? == 0 {
        return Ok(false);
    }
    session.execute(statements::RUNS_DELETE, params![thread.as_str()])?;
    trail::extend(session, audit)?;
    Ok(true)
}

fn put_run(session: &Session, run: &RunRecord, alone: bool, audit: &[AuditEntry]) -> Result<()> {
    let other = |row: &Row<'_>| Ok((rows::id::<RunId>(row, "run_id")?, status(row)?));
    let in_the_way =
        if alone { session.first(statements::RUN_IN_THE_WAY, params![run.thread.as_str()], other)? } else { None };
    let parameters = params![
        run.id.as_str(),
        run.thread.as_str(),
        run.tenant.as_str(),
        run.actor.id,
        run.actor.basis.name(),
        run.status.name(),
        integer(run.not_before_ms),
        integer(run.created_at_ms),
        integer(run.updated_at_ms),
        FORMAT,
        run.error.as_ref().map(forms::write_error),
        forms::write(&run.metadata),
        forms::write(&run.request),
        run.cancel.map(RunCancel::name),
        run.base.as_ref().map(|base| base_text(base.as_ref())),
    ];
    if session.execute(statements::RUN_INSERT, parameters)? == 0 {
        return Err(check::run_exists(&run.id).into());
    }
    if let Some((other, status)) = in_the_way {
        return Err(check::run_changed(&other, Some(status)).into());
    }
    if alone && thread_status(session, &run.thread)? == Some(ThreadStatus::Running) {
        return Err(check::run_changed(&run.id, Some(RunStatus::Running)).into());
    }
    trail::extend(session, audit)
}

fn delete_run(session: &Session, run: &RunId) -> Result<bool> {
    if session.execute(statements::RUN_DELETE, params![run.as_str()])? == 1 {
        return Ok(true);
    }
    match session.first(statements::RUN_STATUS, params![run.as_str(), None::<&str>], status)? {
        None => Ok(false),
        found => Err(check::run_changed(run, found).into()),
    }
}

fn thread_status(session: &Session, thread: &ThreadId) -> Result<Option<ThreadStatus>> {
    session.first(statements::THREAD_STATUS, params![thread.as_str()], |row| {
        rows::name(row, "status", ThreadStatus::parse)
    })
}

fn status(row: &Row<'_>) -> Result<RunStatus> {
    rows::name(row, "status", RunStatus::parse)
}

fn run(row: &Row<'_>) -> Result<RunRecord> {
    rows::check_format(row)?;
    let base = match rows::optional_text(row, "base")? {
        None => None,
        Some("") => Some(None),
        Some(id) => Some(Some(CheckpointId::parse(id)?)),
    };
    let cancel =
        rows::optional_text(row, "cancel")?.map(|_| rows::name(row, "cancel", RunCancel::parse)).transpose()?;
    Ok(RunRecord {
        id: rows::id(row, "run_id")?,
        thread: rows::id(row, "thread_id")?,
        tenant: rows::id(row, "tenant")?,
        actor: trail::actor(row)?,
        status: status(row)?,
        request: forms::read(rows::text(row, "request")?)?,
        metadata: forms::read(rows::text(row, "metadata")?)?,
        not_before_ms: rows::unsigned(row, "not_before_ms")?,
        error: rows::optional_text(row, "error")?.map(forms::read_error).transpose()?,
        cancel,
        base,
        created_at_ms: rows::unsigned(row, "created_at_ms")?,
        updated_at_ms: rows::unsigned(row, "updated_at_ms")?,
    })
}

fn entry(row: &Row<'_>) -> Result<ThreadEntry> {
    let expiry = |at_ms| {
        Ok::<_, Failure>(ThreadExpiry {
            at_ms,
            ttl_ms: rows::unsigned(row, "ttl_ms")?,
            rule: rows::name(row, "expiry_rule", ExpiryRule::parse)?,
        })
    };
    Ok(ThreadEntry {
        thread: rows::id(row, "entry_id")?,
        tenant: rows::id(row, "entry_tenant")?,
        metadata: forms::read(rows::text(row, "metadata")?)?,
        expiry: rows::optional_unsigned(row, "expires_at_ms")?.map(expiry).transpose()?,
        temporary: row.get("temporary")?,
        created_at_ms: rows::unsigned(row, "entry_created_at_ms")?,
        updated_at_ms: rows::unsigned(row, "entry_updated_at_ms")?,
    })
}

fn summary(row: &Row<'_>) -> Result<ThreadSummary> {
    let there = rows::optional_text(row, "thread_id")?.is_some();
    Ok(ThreadSummary {
        entry: entry(row)?,
        record: there.then(|| rows::thread(row)).transpose()?,
        runs_open: rows::unsigned(row, "runs_open")?,
    })
}

/// Whether metadata has each of these members with an equal value.
fn has(metadata: &str, wanted: &Map<String, Value>) -> Result<bool> {
    if wanted.is_empty() {
        return Ok(true);
    }
    let found: Map<String, Value> = forms::read(metadata)?;
    Ok(wanted.iter().all(|(name, value)| found.get(name) == Some(value)))
}

fn read_entries(session: &Session, filter: &EntryFilter) -> Result<Vec<ThreadSummary>> {
    let (sql, parameters) = statements::entries(filter);
    let passed_over = Cell::new(0);
    session.wanted(&sql, params_from_iter(parameters), filter.limit, |row| {
        if !has(rows::text(row, "metadata")?, &filter.metadata)? {
            return Ok(None);
        }
        if passed_over.get() < filter.offset {
            passed_over.set(passed_over.get() + 1);
            return Ok(None);
        }
        summary(row).map(Some)
    })
}

fn count_entries(session: &Session, filter: &EntryFilter) -> Result<u64> {
    if filter.metadata.is_empty() {
        let (sql, parameters) = statements::entries_count(filter);
        let counted = session.first(&sql, params_from_iter(parameters), |row| rows::unsigned(row, "entries"))?;
        return Ok(counted.unwrap_or_default());
    }
    let (sql, parameters) = statements::entries_metadata(filter);
    let counted = Cell::new(0_u64);
    session.wanted(&sql, params_from_iter(parameters), usize::MAX, |row| {
        counted.set(counted.get() + u64::from(has(rows::text(row, "metadata")?, &filter.metadata)?));
        Ok(None::<()>)
    })?;
    Ok(counted.get())
}

fn read_runs(session: &Session, filter: &RunFilter) -> Result<Vec<RunRecord>> {
    let (sql, parameters) = statements::runs(filter);
    session.all(&sql, params_from_iter(parameters), run)
}

#[async_trait]
impl Runs for SqliteStore {
    async fn put_entry(&self, entry: ThreadEntry, audit: Vec<AuditEntry>) -> std::result::Result<(), Error> {
        check::entry(&entry)?;
        check::audit(&audit)?;
        self.write(false, move |session| put_entry(session, &entry, &audit)).await
    }

    async fn merge_metadata(
        &self,
        thread: &ThreadId,
        metadata: Map<String, Value>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> std::result::Result<ThreadEntry, Error> {
        check::merge(&metadata, at_ms)?;
        check::audit(&audit)?;
        let thread = thread.clone();
        self.write(false, move |session| merge(session, &thread, &metadata, at_ms, &audit)).await
    }

    async fn set_expiry(
        &self,
        thread: &ThreadId,
        expiry: Option<ThreadExpiry>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> std::result::Result<ThreadEntry, Error> {
        check::expiry(expiry.as_ref(), at_ms)?;
        check::audit(&audit)?;
        let thread = thread.clone();
        self.write(false, move |session| set_expiry(session, &thread, expiry, at_ms, &audit)).await
    }

    async fn due_entries(&self, now_ms: u64, limit: usize) -> std::result::Result<Vec<ThreadEntry>, Error> {
        let read = move |session: &Session| {
            session.all(statements::ENTRIES_DUE, params![integer(now_ms), rows::bound(limit)], entry)
        };
        self.readers.read(read).await
    }

    async fn entry(&self, thread: &ThreadId) -> std::result::Result<Option<ThreadSummary>, Error> {
        let thread = thread.clone();
        let read = move |session: &Session| session.first(statements::ENTRY_SUMMARY, params![thread.as_str()], summary);
        self.readers.read(read).await
    }

    async fn entries(&self, filter: &EntryFilter) -> std::result::Result<Vec<ThreadSummary>, Error> {
        let filter = filter.clone();
        self.readers.read(move |session| read_entries(session, &filter)).await
    }

    async fn count_entries(&self, filter: &EntryFilter) -> std::result::Result<u64, Error> {
        let filter = filter.clone();
        self.readers.read(move |session| count_entries(session, &filter)).await
    }

    async fn delete_entry(&self, thread: &ThreadId, audit: Vec<AuditEntry>) -> std::result::Result<bool, Error> {
        check::audit(&audit)?;
        let thread = thread.clone();
        self.write(false, move |session| delete_entry(session, &thread, &audit)).await
    }

    async fn put_run(&self, run: RunRecord, alone: bool, audit: Vec<AuditEntry>) -> std::result::Result<(), Error> {
        check::run(&run)?;
        check::audit(&audit)?;
        self.write(false, move |session| put_run(session, &run, alone, &audit)).await
    }

    async fn run(&self, id: &RunId) -> std::result::Result<Option<RunRecord>, Error> {
        let id = id.clone();
        self.readers.read(move |session| session.first(statements::RUN_SELECT, params![id.as_str()], run)).await
    }

    async fn runs(&self, filter: &RunFilter) -> std::result::Result<Vec<RunRecord>, Error> {
        let filter = filter.clone();
        self.readers.read(move |session| read_runs(session, &filter)).await
    }

    async fn next_runs(&self, now_ms: u64, limit: usize) -> std::result::Result<Vec<RunRecord>, Error> {
        let read = move |session: &Session| {
            session.all(statements::RUNS_NEXT, params![integer(now_ms), rows::bound(limit)], run)
        };
        self.readers.read(read).await
    }

    async fn update_run(
        &self,
        changed: RunUpdate,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> std::result::Result<(), Error> {
        check::run_update(&changed, at_ms)?;
        check::audit(&audit)?;
        let row = commit_rows::run_update(changed);
        self.write(false, move |session| update_alone(session, &row, at_ms, &audit)).await
    }

    async fn request_cancel(
        &self,
        run: &RunId,
        cancel: RunCancel,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> std::result::Result<(), Error> {
        check::cancel(at_ms)?;
        check::audit(&audit)?;
        let run = run.clone();
        self.write(false, move |session| request_cancel(session, &run, cancel, at_ms, &audit)).await
    }

    async fn cancel_requests(&self, limit: usize) -> std::result::Result<Vec<RunRecord>, Error> {
        let read = move |session: &Session| session.all(statements::RUNS_TO_CANCEL, params![rows::bound(limit)], run);
        self.readers.read(read).await
    }

    async fn delete_run(&self, run: &RunId) -> std::result::Result<bool, Error> {
        let run = run.clone();
        self.write(false, move |session| delete_run(session, &run)).await
    }
}
