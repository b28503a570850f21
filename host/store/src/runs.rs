//! Runs: requests to threads that are executed in their turn; and threads as their callers know them, from before their first input on.

use async_trait::async_trait;
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::{CheckpointId, RunId, Tenant, ThreadId};
use serde_json::{Map, Value};

use crate::audit::AuditEntry;
use crate::records::{ThreadError, ThreadRecord, ThreadStatus};
use crate::store::Error;

/// One request to a thread, kept until it is deleted. What it asks for is the server's matter.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The thread.
    pub thread: ThreadId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who asked.
    pub actor: Actor,
    /// How far it got.
    pub status: RunStatus,
    /// What was asked, as accepted.
    pub request: Value,
    /// What the caller keeps with it.
    pub metadata: Map<String, Value>,
    /// Not begun before this moment, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// Why it failed or was cancelled.
    pub error: Option<ThreadError>,
    /// Set when somebody wants it ended ([`Runs::request_cancel`]).
    pub cancel: Option<RunCancel>,
    /// The thread's head when it began, set by the write that begins it. None before that; `Some(None)` where there was no thread.
    pub base: Option<Option<CheckpointId>>,
    /// When it was accepted.
    pub created_at_ms: u64,
    /// When its status, or the wish to end it, last changed.
    pub updated_at_ms: u64,
}

/// How a run that has begun is to end. The later variant prevails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunCancel {
    /// What it did stays.
    Interrupt,
    /// The thread goes back to where it was before, and the run is deleted.
    Rollback,
}

impl RunCancel {
    /// All of them with their stored and spoken names (LangGraph's).
    pub const NAMES: [(Self, &'static str); 2] = [(Self::Interrupt, "interrupt"), (Self::Rollback, "rollback")];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(cancel, _)| *cancel)
    }
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// Accepted, and waits for its turn.
    Pending,
    /// Begun: what it asked for is durable in its thread.
    Running,
    /// Ended, at the end of the graph or at a question.
    Success,
    /// Ended with an error.
    Error,
    /// Cancelled.
    Interrupted,
}

impl RunStatus {
    /// All statuses with their stored and spoken names (LangGraph's).
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::Pending, "pending"),
        (Self::Running, "running"),
        (Self::Success, "success"),
        (Self::Error, "error"),
        (Self::Interrupted, "interrupted"),
    ];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(status, _)| *status)
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// A run's next status, if it still has the one that is expected.
#[derive(Debug, Clone, PartialEq)]
pub struct RunUpdate {
    /// The run.
    pub run: RunId,
    /// What it is.
    pub from: RunStatus,
    /// What it becomes.
    pub to: RunStatus,
    /// Why it failed or was cancelled.
    pub error: Option<ThreadError>,
}

/// Which runs to list, newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunFilter {
    /// Only those of this thread.
    pub thread: Option<ThreadId>,
    /// Only those of this tenant.
    pub tenant: Option<Tenant>,
    /// Only those in this status.
    pub status: Option<RunStatus>,
    /// At most this many.
    pub limit: usize,
    /// Passes over this many.
    pub offset: usize,
}

/// A thread as its callers know it. There before its first input, and after its history is deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadEntry {
    /// The thread.
    pub thread: ThreadId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What callers keep with it. Of a thread that got its first input without an entry: `graph_id`, the name of its graph.
    pub metadata: Map<String, Value>,
    /// When it goes by itself; none when it stays.
    pub expiry: Option<ThreadExpiry>,
    /// It is there for one run without a thread of its own, and goes when that is over.
    pub temporary: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When its metadata or its expiry last changed.
    pub updated_at_ms: u64,
}

/// When a thread goes by itself. The store only remembers it: whoever looks for [`Runs::due_entries`] removes what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadExpiry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long after its last use that is, in milliseconds.
    pub ttl_ms: u64,
    /// What then becomes of it.
    pub rule: ExpiryRule,
}

/// What becomes of a thread whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpiryRule {
    /// It is deleted with all that it holds.
    Delete,
    /// Its older checkpoints are removed.
    KeepLatest,
}

impl ExpiryRule {
    /// All rules with their stored and spoken names (LangGraph's).
    pub const NAMES: [(Self, &'static str); 2] = [(Self::Delete, "delete"), (Self::KeepLatest, "keep_latest")];

    /// The stored and spoken name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads a name back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(rule, _)| *rule)
    }
}

impl ThreadEntry {
    /// One that stays.
    pub fn new(thread: ThreadId, tenant: Tenant, metadata: Map<String, Value>, at_ms: u64) -> Self {
        let (created_at_ms, updated_at_ms) = (at_ms, at_ms);
        Self { thread, tenant, metadata, expiry: None, temporary: false, created_at_ms, updated_at_ms }
    }

    /// Merges members into the metadata; null removes one.
    pub(crate) fn merge(&mut self, members: Map<String, Value>, at_ms: u64) {
        for (name, value) in members {
            if value.is_null() {
                self.metadata.remove(&name);
            } else {
                self.metadata.insert(name, value);
            }
        }
        self.updated_at_ms = at_ms;
    }
}

/// A thread's entry with its head and what is to be done on it.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadSummary {
    /// The entry.
    pub entry: ThreadEntry,
    /// The head; none before the first input.
    pub record: Option<ThreadRecord>,
    /// Runs that are pending or running.
    pub runs_open: u64,
}

/// Which entries to list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntryFilter {
    /// Only those of this tenant.
    pub tenant: Option<Tenant>,
    /// Only these; all when empty.
    pub threads: Vec<ThreadId>,
    /// Only those in this status.
    pub status: Option<EntryStatus>,
    /// Only those whose metadata has each of these members with an equal value. `graph_id` costs nothing for threads of other graphs.
    pub metadata: Map<String, Value>,
    /// In which order.
    pub order: EntryOrder,
    /// The other way round.
    pub ascending: bool,
    /// At most this many.
    pub limit: usize,
    /// Passes over this many.
    pub offset: usize,
}

/// A thread's status as callers see it (LangGraph's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryStatus {
    /// Nothing to do: no input yet, or done.
    Idle,
    /// A run is pending or running, or the thread is being advanced.
    Busy,
    /// Waits for answers, or paused.
    Interrupted,
    /// Failed.
    Error,
}

impl EntryStatus {
    /// Of a thread with this head and so many open runs.
    pub fn of(record: Option<ThreadStatus>, runs_open: u64) -> Self {
        match (runs_open, record) {
            (1.., _) | (0, Some(ThreadStatus::Running)) => Self::Busy,
            (0, None | Some(ThreadStatus::Done)) => Self::Idle,
            (0, Some(ThreadStatus::Interrupted)) => Self::Interrupted,
            (0, Some(ThreadStatus::Failed)) => Self::Error,
        }
    }
}

/// Orders of entries; newest first, and by id among equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EntryOrder {
    /// By the later of the entry's and the head's last change.
    #[default]
    Updated,
    /// By the time that the entry was made.
    Created,
    /// By the thread's id.
    Id,
}

/// Runs and entries.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Stores an entry, and puts `audit` on the record.
    ///
    /// # Errors
    /// [`Error::ThreadExists`]: an entry or a thread of this id is there; nothing was written.
    async fn put_entry(&self, entry: ThreadEntry, audit: Vec<AuditEntry>) -> Result<(), Error>;

    /// Merges members into an entry's metadata; null removes one. Puts `audit` on the record with it. Gives the entry.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`]: nothing was written.
    async fn merge_metadata(
        &self,
        thread: &ThreadId,
        metadata: Map<String, Value>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<ThreadEntry, Error>;

    /// Sets when an entry's thread goes by itself, or that it stays. The time of its last change does not go back: with an older `at_ms` it stays.
    /// Puts `audit` on the record with it. Gives the entry.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`]: nothing was written.
    async fn set_expiry(
        &self,
        thread: &ThreadId,
        expiry: Option<ThreadExpiry>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<ThreadEntry, Error>;

    /// Entries whose time is over at `now_ms` (at this very moment it is), the longest due first, at most `limit`. Costs nothing for those that are
    /// not due.
    async fn due_entries(&self, now_ms: u64, limit: usize) -> Result<Vec<ThreadEntry>, Error>;

    /// An entry with its head.
    async fn entry(&self, thread: &ThreadId) -> Result<Option<ThreadSummary>, Error>;

    /// Entries with their heads. Reads no values.
    async fn entries(&self, filter: &EntryFilter) -> Result<Vec<ThreadSummary>, Error>;

    /// How many entries a filter lets through, its page aside.
    async fn count_entries(&self, filter: &EntryFilter) -> Result<u64, Error>;

    /// Removes an entry and the runs of a thread that is not there (any more). False when there is no entry.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the thread is there, whose history is deleted first, or a run of it is pending or running: what was accepted is not
    /// lost. Nothing was written.
    async fn delete_entry(&self, thread: &ThreadId, audit: Vec<AuditEntry>) -> Result<bool, Error>;

    /// Stores a run, and puts `audit` on the record. With `alone`, only when no other run of the thread is pending or running and nobody advances it.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::RunChanged`] with the run that is in the way of `alone`, or with the run's own id when the thread itself is
    /// advanced; nothing was written.
    async fn put_run(&self, run: RunRecord, alone: bool, audit: Vec<AuditEntry>) -> Result<(), Error>;

    /// A run.
    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>, Error>;

    /// Runs, newest first.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error>;

    /// Of every thread that has pending runs whose moment has come at `now_ms`, and none that is running or still to be rolled back: the oldest of
    /// them. At most `limit`. Costs nothing for runs that are over.
    async fn next_runs(&self, now_ms: u64, limit: usize) -> Result<Vec<RunRecord>, Error>;

    /// Wants a run ended, durably, whoever executes it. A rollback prevails over an interrupt, whichever came first. Puts `audit` on the record,
    /// unless as much was wanted already: then nothing is written. One that is pending is wanted ended once it has begun.
    ///
    /// # Errors
    /// [`Error::RunChanged`] when it is over or not there: nothing was written.
    async fn request_cancel(
        &self,
        run: &RunId,
        cancel: RunCancel,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<(), Error>;

    /// Runs that somebody wants ended, oldest first, at most `limit`: those that are running, and those that are over and to be rolled back until
    /// they are deleted or updated. Costs nothing for others.
    async fn cancel_requests(&self, limit: usize) -> Result<Vec<RunRecord>, Error>;

    /// Changes a run that no commit changes: cancels a pending one, or ends one whose thread has stopped. Of one that is over already, nobody wants
    /// anything any more: so a rollback that cannot be carried out is given up.
    ///
    /// # Errors
    /// [`Error::RunChanged`]: nothing was written.
    async fn update_run(&self, update: RunUpdate, at_ms: u64, audit: Vec<AuditEntry>) -> Result<(), Error>;

    /// Removes a run that is over. False when it is not there.
    ///
    /// # Errors
    /// [`Error::RunChanged`] when it is not over.
    async fn delete_run(&self, run: &RunId) -> Result<bool, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_back() {
        for (status, name) in RunStatus::NAMES {
            assert_eq!((status.name(), RunStatus::parse(name)), (name, Some(status)));
        }
        assert_eq!(RunStatus::parse("done"), None);
        assert!(RunStatus::Success.is_over() && !RunStatus::Running.is_over());
        for (cancel, name) in RunCancel::NAMES {
            assert_eq!((cancel.name(), RunCancel::parse(name)), (name, Some(cancel)));
        }
        for (rule, name) in ExpiryRule::NAMES {
            assert_eq!((rule.name(), ExpiryRule::parse(name)), (name, Some(rule)));
        }
        assert!(RunCancel::Interrupt < RunCancel::Rollback, "it prevails");
    }

    #[test]
    fn what_callers_see() {
        let seen = |record, runs| EntryStatus::of(record, runs);
        assert_eq!(seen(None, 0), EntryStatus::Idle);
        assert_eq!(seen(None, 1), EntryStatus::Busy);
        assert_eq!(seen(Some(ThreadStatus::Running), 0), EntryStatus::Busy);
        assert_eq!(seen(Some(ThreadStatus::Interrupted), 2), EntryStatus::Busy);
        assert_eq!(seen(Some(ThreadStatus::Failed), 0), EntryStatus::Error);
        assert_eq!(seen(Some(ThreadStatus::Done), 0), EntryStatus::Idle);
    }
}
