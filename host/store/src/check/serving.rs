//! Questions between asking and answer, runs, entries, keys, links and the record.

use holdpoint_graph::ids::{RunId, ThreadId};
use serde_json::{Map, Value};

use super::{answer, depth, integer, invalid, operation, optional_error, optional_integer};
use crate::access::{ApiKeyRecord, LinkRecord, SessionRecord};
use crate::approvals::{DeadlineGuard, Proceedings, QuestionChange};
use crate::audit::AuditEntry;
use crate::records::QuestionRecord;
use crate::runs::{RunRecord, RunStatus, RunUpdate, ThreadEntry, ThreadExpiry};
use crate::store::Error;

/// Checks a change of a question by itself.
pub(crate) fn change(change: &QuestionChange) -> Result<(), Error> {
    if change.claim.is_some() && change.answer.is_none() {
        return invalid("only an answer wakes a thread that could be claimed");
    }
    integer(change.at_ms, "time of a change")?;
    optional_integer(change.due_at_ms, "time of a question")?;
    optional_integer(change.claim.as_ref().map(|claim| claim.lease_until_ms), "lease")?;
    proceedings(&change.proceedings)?;
    if let Some(given) = &change.answer {
        answer(given)?;
        if DeadlineGuard::of(given.verdict) != change.guard {
            return invalid("an answer is `expired` when its question's deadline has come, and only then");
        }
    }
    change.operations.iter().try_for_each(operation)?;
    if let Some(reply) = &change.reply {
        integer(reply.expires_at_ms, "end of a reply")?;
        depth(&reply.body, "a reply")?;
    }
    audit(&change.audit)
}

/// Checks what is to be put on the record.
pub(crate) fn audit(entries: &[AuditEntry]) -> Result<(), Error> {
    for entry in entries {
        integer(entry.at_ms, "time of an audit record")?;
        entry.body.values().try_for_each(|value| depth(value, "an audit record"))?;
    }
    Ok(())
}

/// Checks a run by itself.
pub(crate) fn run(run: &RunRecord) -> Result<(), Error> {
    integer(run.not_before_ms, "time of a run")?;
    integer(run.created_at_ms, "time of a run")?;
    integer(run.updated_at_ms, "time of a run")?;
    optional_error(run.error.as_ref())?;
    depth(&run.request, "a run's request")?;
    metadata(&run.metadata)
}

/// Checks a change of a run by itself.
pub(crate) fn run_update(update: &RunUpdate, at_ms: u64) -> Result<(), Error> {
    integer(at_ms, "time of a run")?;
    optional_error(update.error.as_ref())
}

/// Checks an entry by itself.
pub(crate) fn entry(entry: &ThreadEntry) -> Result<(), Error> {
    integer(entry.created_at_ms, "time of an entry")?;
    integer(entry.updated_at_ms, "time of an entry")?;
    expiry(entry.expiry.as_ref(), entry.updated_at_ms)?;
    metadata(&entry.metadata)
}

/// Checks when a thread is to go.
pub(crate) fn expiry(expiry: Option<&ThreadExpiry>, at_ms: u64) -> Result<(), Error> {
    integer(at_ms, "time of an entry")?;
    optional_integer(expiry.map(|expiry| expiry.at_ms), "end of a thread")?;
    optional_integer(expiry.map(|expiry| expiry.ttl_ms), "life of a thread")
}

/// Checks the time of a wish to end a run.
pub(crate) fn cancel(at_ms: u64) -> Result<(), Error> {
    integer(at_ms, "time of a run")
}

/// Checks a change of an entry's metadata.
pub(crate) fn merge(members: &Map<String, Value>, at_ms: u64) -> Result<(), Error> {
    integer(at_ms, "time of an entry")?;
    metadata(members)
}

/// Checks a key by itself.
pub(crate) fn key(key: &ApiKeyRecord) -> Result<(), Error> {
    integer(key.created_at_ms, "time of a key")?;
    optional_integer(key.expires_at_ms, "end of a key")?;
    optional_integer(key.revoked_at_ms, "time of a key")
}

/// Checks the time of a revocation.
pub(crate) fn revocation(at_ms: u64) -> Result<(), Error> {
    integer(at_ms, "time of a key")
}

/// Checks a link by itself.
pub(crate) fn link(link: &LinkRecord) -> Result<(), Error> {
    integer(link.created_at_ms, "time of a link")?;
    integer(link.expires_at_ms, "end of a link")?;
    optional_integer(link.used_at_ms, "time of a link")
}

/// Checks a session by itself.
pub(crate) fn session(session: &SessionRecord) -> Result<(), Error> {
    integer(session.created_at_ms, "time of a session")?;
    integer(session.expires_at_ms, "end of a session")?;
    depth(&session.caller, "a session's caller")
}

/// Whether something may be said of a pending question as it is stored: its deadline first, since that is final, then what was said before.
pub(crate) fn say(
    stored: &QuestionRecord,
    guard: DeadlineGuard,
    proceedings: &Proceedings,
    at_ms: u64,
) -> Result<(), Error> {
    let passed = stored.deadline_at_ms.filter(|deadline_at_ms| *deadline_at_ms <= at_ms);
    match (guard, passed) {
        (DeadlineGuard::Open, Some(deadline_at_ms)) => {
            return Err(Error::DeadlinePassed { question: stored.id.clone(), deadline_at_ms });
        }
        (DeadlineGuard::Passed, None) => {
            return invalid(format!("the deadline of question {} has not come", stored.id));
        }
        (DeadlineGuard::Open, None) | (DeadlineGuard::Passed, Some(_)) => {}
    }
    if stored.proceedings.version.checked_add(1) == Some(proceedings.version) {
        Ok(())
    } else {
        Err(Error::QuestionChanged(stored.id.clone()))
    }
}

/// What is refused where the entry of a new thread is another tenant's.
pub(crate) fn of_another_tenant(thread: &ThreadId) -> Error {
    Error::Invalid(format!("thread {thread} is another tenant's"))
}

/// What is refused where an entry is removed whose thread is there.
pub(crate) fn thread_is_there(thread: &ThreadId) -> Error {
    Error::Invalid(format!("thread {thread} is there: its history is deleted first"))
}

/// What is refused where an entry is removed whose thread has a run that is not over.
pub(crate) fn run_is_open(thread: &ThreadId) -> Error {
    Error::Invalid(format!("thread {thread} has a run that is pending or running"))
}

/// What is refused where a run of this id is there.
pub(crate) fn run_exists(run: &RunId) -> Error {
    Error::Exists(format!("run {run}"))
}

/// What is refused where a key of this name, or this very key, is there.
pub(crate) fn key_exists(name: &str) -> Error {
    Error::Exists(format!("API key {name}"))
}

/// What is refused where a run is not in the status that was expected.
pub(crate) fn run_changed(run: &RunId, found: Option<RunStatus>) -> Error {
    Error::RunChanged { run: run.clone(), found: found.map_or("unknown", RunStatus::name) }
}

pub(super) fn proceedings(proceedings: &Proceedings) -> Result<(), Error> {
    for added in &proceedings.added {
        integer(added.at_ms, "time of an addition")?;
        optional_integer(added.until_ms, "end of an addition")?;
    }
    for vote in &proceedings.votes {
        integer(vote.at_ms, "time of a vote")?;
        depth(&vote.value, "a vote")?;
    }
    optional_integer(proceedings.withdrawn.as_ref().map(|withdrawn| withdrawn.at_ms), "time of a withdrawal")?;
    proceedings.proposal.as_ref().map_or(Ok(()), |proposal| depth(&proposal.value, "a proposal"))
}

fn metadata(metadata: &Map<String, Value>) -> Result<(), Error> {
    metadata.values().try_for_each(|value| depth(value, "metadata"))
}
