//! The audit trail.

use std::collections::HashMap;

use async_trait::async_trait;
use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{Tenant, ThreadId};
use rusqlite::{Row, params};

use super::failure::{Failure, Result};
use super::rows::{self, integer};
use super::session::Session;
use super::{SqliteStore, forms, proceedings, statements};
use crate::audit::{AuditEntry, AuditFilter, AuditRecord, AuditTrail, ChainHead};
use crate::check;
use crate::store::Error;

/// Puts entries on the record. The chains' ends are read in the transaction that adds to them, so that no other writer can come in between, and
/// after a write that was undone nothing is missing.
pub(super) fn extend(session: &Session, entries: &[AuditEntry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut head = session.first(statements::AUDIT_HEAD, [], |row| link(row, "sequence"))?;
    let mut threads: HashMap<ThreadId, ChainHead> = HashMap::new();
    for entry in entries {
        let thread_head = match &entry.thread {
            None => None,
            Some(thread) => match threads.get(thread) {
                Some(known) => known.clone(),
                None => session.first(statements::AUDIT_THREAD_HEAD, params![thread.as_str()], |row| {
                    link(row, "thread_sequence")
                })?,
            },
        };
        let record = AuditRecord::chain(entry.clone(), &head, &thread_head);
        insert(session, &record)?;
        head = Some((record.sequence, record.digest.clone()));
        if let (Some(thread), Some((place, _))) = (record.thread, record.in_thread) {
            threads.insert(thread, Some((place, record.digest)));
        }
    }
    Ok(())
}

fn insert(session: &Session, record: &AuditRecord) -> Result<()> {
    let in_thread = record.in_thread.as_ref();
    let parameters = params![
        integer(record.sequence),
        record.previous.as_ref().map(Digest::as_str),
        record.thread.as_ref().map(ThreadId::as_str),
        in_thread.map(|(place, _)| integer(*place)),
        in_thread.and_then(|(_, previous)| previous.as_ref()).map(Digest::as_str),
        record.tenant.as_str(),
        integer(record.at_ms),
        record.actor.id,
        record.actor.basis.name(),
        record.kind,
        record.digest.as_str(),
        forms::write(&record.body),
    ];
    session.execute(statements::AUDIT_INSERT, parameters)?;
    Ok(())
}

fn link(row: &Row<'_>, place: &str) -> Result<(u64, Digest)> {
    Ok((rows::unsigned(row, place)?, rows::digest(row, "digest")?))
}

fn record(row: &Row<'_>) -> Result<AuditRecord> {
    let optional_digest = |column| Ok::<_, Failure>(rows::optional_text(row, column)?.map(Digest::parse).transpose()?);
    let place = rows::optional_unsigned(row, "thread_sequence")?;
    let previous = optional_digest("thread_previous")?;
    Ok(AuditRecord {
        sequence: rows::unsigned(row, "sequence")?,
        previous: optional_digest("previous")?,
        in_thread: place.map(|place| (place, previous)),
        thread: rows::optional_text(row, "thread_id")?.map(ThreadId::parse).transpose()?,
        tenant: rows::id(row, "tenant")?,
        at_ms: rows::unsigned(row, "at_ms")?,
        actor: actor(row)?,
        kind: row.get("kind")?,
        body: forms::read(rows::text(row, "body")?)?,
        digest: rows::digest(row, "digest")?,
    })
}

/// Who did what a row tells.
pub(super) fn actor(row: &Row<'_>) -> Result<Actor> {
    Ok(Actor { id: row.get("actor_id")?, basis: proceedings::basis(rows::text(row, "actor_basis")?)? })
}

fn read(session: &Session, filter: &AuditFilter) -> Result<Vec<AuditRecord>> {
    let (after, limit) = (integer(filter.after), rows::bound(filter.limit));
    let tenant = filter.tenant.as_ref().map(Tenant::as_str);
    match (&filter.thread, tenant) {
        (Some(thread), tenant) => {
            session.all(statements::AUDIT_OF_THREAD, params![after, limit, thread.as_str(), tenant], record)
        }
        (None, Some(tenant)) => session.all(statements::AUDIT_OF_TENANT, params![after, limit, tenant], record),
        (None, None) => session.all(statements::AUDIT, params![after, limit], record),
    }
}

#[async_trait]
impl AuditTrail for SqliteStore {
    async fn put_audit(&self, entries: Vec<AuditEntry>) -> std::result::Result<(), Error> {
        check::audit(&entries)?;
        self.write(false, move |session| extend(session, &entries)).await
    }

    async fn audit(&self, filter: &AuditFilter) -> std::result::Result<Vec<AuditRecord>, Error> {
        let filter = filter.clone();
        self.readers.read(move |session| read(session, &filter)).await
    }

    async fn audit_head(&self) -> std::result::Result<ChainHead, Error> {
        self.readers.read(|session| session.first(statements::AUDIT_HEAD, [], |row| link(row, "sequence"))).await
    }
}
