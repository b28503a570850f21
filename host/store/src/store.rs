//! The traits that stores implement, the write that they apply, and how they fail.

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{
    CheckpointId, Epoch, GraphName, Namespace, OperationId, QuestionId, RunId, Tenant, ThreadId,
};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};

use serde_json::{Map, Value};

use crate::access::Access;
use crate::approvals::{Approvals, ReplyRecord};
use crate::audit::{AuditEntry, AuditTrail};
use crate::records::{
    CacheRecord, NewCheckpoint, Outline, QuestionRecord, Settlement, Snapshot, Source, TaskRecord, ThreadError,
    ThreadRecord, ThreadStatus, VersionKind, VersionRecord,
};
use crate::runs::{RunUpdate, Runs};

/// The operations' journal. Writes ride on the thread's commits ([`Store::commit`]), but for those that nobody's claim stands behind
/// ([`Journal::exchange_operation`]).
#[async_trait]
pub trait Journal: Send + Sync {
    /// The record of an operation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error>;

    /// The operations that a thread performed first, oldest first; those begun at the same moment in order of storing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error>;

    /// Operations across threads, oldest first; those begun at the same moment in order of storing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error>;

    /// Queued operations whose moment has come at `now_ms`, the longest due first, at most `limit`. Costs nothing for those that are not due.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error>;

    /// The hits that other threads had on an operation, oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`].
    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error>;

    /// Replaces an operation's record if it still is `expected` in state, times and epoch; false, and nothing written, when it is not (exactly
    /// one of those who try wins). Needs no claim on any thread. When the new record says what became of the operation (completed, failed, not
    /// sent), every interrupted thread that has a task in doubt about it at its head, or in a subgraph that an unfinished task of the head's
    /// runs, becomes running and nobody's, in the same transaction, so that whoever looks for work continues it. `audit` is put on the record when
    /// the exchange takes place.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the keys differ; [`Error::Full`], [`Error::ReadOnly`]: nothing was written. [`Error::Unavailable`]: the outcome is
    /// unknown, read before trying again.
    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error>;
}

/// Durable storage. What a successful [`Store::commit`] wrote is there after `kill -9` and after power loss.
#[async_trait]
pub trait Store: Journal + Approvals + Runs + AuditTrail + Access {
    /// Applies a commit in one transaction, all of it or nothing. Commits of other threads may share the transaction's durability.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::ThreadExists`], [`Error::ThreadNotFound`], [`Error::QuestionSettled`],
    /// [`Error::QuestionNotFound`], [`Error::Invalid`], [`Error::Full`], [`Error::ReadOnly`]: nothing was written.
    /// [`Error::Unavailable`]: the outcome is unknown, read before trying again.
    async fn commit(&self, commit: Commit) -> Result<(), Error>;

    /// A thread's head.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Corrupt`], here and in the other reads.
    async fn thread(&self, thread: &ThreadId) -> Result<Option<ThreadRecord>, Error>;

    /// Threads, newest change first; those of the same moment in order of id. Reads no values.
    async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error>;

    /// A thread at a checkpoint, at its head when none is named, with the runs of subgraphs of its unfinished tasks. `None` when either is
    /// unknown.
    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error>;

    /// A thread's checkpoints that a filter lets through, newest first (in order of storing). Empty when thread or `before` is unknown. The runs
    /// of subgraphs are not filled in.
    async fn history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>, Error>;

    /// All checkpoints of a thread, of every namespace, in order of storing. Reads no values. Empty when the thread is unknown.
    async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error>;

    /// Removes a thread's checkpoints but those in `keep`, with their tasks and questions and the values that only they hold. The head, and the
    /// subgraphs of its unfinished tasks, must be among those kept. Operations stay. Guarded by the epoch like a commit; changes neither status nor
    /// times. Gives the number of checkpoints removed. A kept checkpoint's parent may be gone. `audit` is put on the record with it, when any was
    /// removed.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::ThreadNotFound`]; [`Error::Invalid`] when a checkpoint to keep is unknown or the head is not kept.
    async fn retain(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        keep: &[CheckpointId],
        audit: Vec<AuditEntry>,
    ) -> Result<u64, Error>;

    /// How many bytes a thread's records take, in the store's own form, indexes and free room aside. All zero when it is unknown; of one that was
    /// deleted its operations are left.
    async fn thread_bytes(&self, thread: &ThreadId) -> Result<ThreadBytes, Error>;

    /// How many operations have no outcome, of a tenant or of all. Reads none of them.
    async fn count_operations(&self, tenant: Option<&Tenant>) -> Result<OperationCounts, Error>;

    /// A result that may be used again at `now_ms`.
    async fn cached(&self, key: &Digest, now_ms: u64) -> Result<Option<Command>, Error>;

    /// Removes results that may not be used any more at `now_ms`, or all of them when it is none. Gives their number.
    async fn clear_cache(&self, now_ms: Option<u64>) -> Result<u64, Error>;

    /// Stores a deployed version, and puts `audit` on the record when it was not there.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a version of this kind, name and version is there with another digest: nothing was written. One that is there
    /// with the same digest stays as it is.
    async fn put_version(&self, version: VersionRecord, audit: Vec<AuditEntry>) -> Result<(), Error>;

    /// The versions of a name, or of all names, newest first (in order of storing).
    async fn versions(&self, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>, Error>;

    /// A question of a thread, whatever became of it.
    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error>;

    /// Removes a thread with everything that only it holds: checkpoints, values, tasks, questions. Operations stay: their ids
    /// must go on answering (`effect-once`); its entry, runs and audit records stay too. Guarded by the epoch like a commit. `audit` is put on the
    /// record with it.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::ThreadNotFound`].
    async fn delete_thread(&self, thread: &ThreadId, epoch: Epoch, audit: Vec<AuditEntry>) -> Result<(), Error>;

    /// Stores contents under their digests; those already there stay. The store checks that bytes and digest agree.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they do not: nothing was written.
    async fn put_contents(&self, contents: Vec<Content>) -> Result<(), Error>;

    /// Bytes by digest.
    async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error>;

    /// Those of `digests` that are not stored.
    async fn missing_contents(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error>;

    /// Counts since the store was opened by this process.
    fn statistics(&self) -> Statistics;
}

/// Everything that one write changes. Applied in the order of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The thread.
    pub thread: ThreadId,
    /// What must hold of it, or nothing is written.
    pub expect: Expect,
    /// Takes the thread over: the epoch rises by one and the owner's claim stands until the given time.
    pub claim: Option<Claim>,
    /// Gives the thread back: no owner. Not together with `claim`.
    pub release: bool,
    /// New end of the owner's claim, when it is prolonged. Prevails over `claim`'s; without effect on a thread that nobody owns.
    pub lease_until_ms: Option<u64>,
    /// Pending questions that end here. One that is not pending refuses the commit.
    pub settlements: Vec<Settlement>,
    /// New checkpoints, parents first.
    pub checkpoints: Vec<NewCheckpoint>,
    /// The new head, when it changes. Of the thread's own graph.
    pub head: Option<CheckpointId>,
    /// Pins the thread and its head, as they are after the fields above, to another graph version.
    pub graph: Option<Digest>,
    /// Tasks as they stand now; replaces what was recorded of the same task.
    pub tasks: Vec<TaskRecord>,
    /// Questions that are asked; one that is there already (by id) stays as it is.
    pub questions: Vec<QuestionRecord>,
    /// Operations as they stand now; replaces what was recorded under the same key. A queued one replaces only what was not sent: anything else
    /// under its key was queued or performed before, and perhaps delivered since.
    pub operations: Vec<OperationRecord>,
    /// Records of other threads that answered this one's requests.
    pub hits: Vec<OperationHit>,
    /// Results that may be used again; replace those of the same key.
    pub cache: Vec<CacheRecord>,
    /// Runs that begin or end here. One that is not in the status it is expected in refuses the commit.
    pub runs: Vec<RunUpdate>,
    /// Set by input: the id of the actor who gave it.
    pub requester: Option<String>,
    /// What is put on the record of it, in order (`accounted`).
    pub audit: Vec<AuditEntry>,
    /// What the thread does now.
    pub status: ThreadStatus,
    /// Why it failed; none clears it.
    pub error: Option<ThreadError>,
    /// The host's clock at the commit, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Commit {
    /// A commit that changes nothing but the thread's status and times.
    pub fn new(thread: ThreadId, expect: Expect, status: ThreadStatus, at_ms: u64) -> Self {
        Self {
            thread,
            expect,
            claim: None,
            release: false,
            lease_until_ms: None,
            settlements: Vec::new(),
            checkpoints: Vec::new(),
            head: None,
            graph: None,
            tasks: Vec::new(),
            questions: Vec::new(),
            operations: Vec::new(),
            hits: Vec::new(),
            cache: Vec::new(),
            runs: Vec::new(),
            requester: None,
            audit: Vec::new(),
            status,
            error: None,
            at_ms,
        }
    }
}

/// What must hold of a thread for a commit to apply.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    /// It does not exist; it is created with the epoch given. `claim` must be given, `head` too.
    New(NewThread),
    /// It exists with exactly this epoch (`one-writer`).
    Epoch(Epoch),
}

/// What a new thread is created with.
#[derive(Debug, Clone, PartialEq)]
pub struct NewThread {
    /// Its first epoch. Higher than any that a deleted thread of the same name had, or a writer of that one would pass for a writer of this.
    pub epoch: Epoch,
    /// Its lineage; itself unless forked or copied.
    pub lineage: ThreadId,
    /// Digest of its graph document.
    pub graph: Digest,
    /// That graph's name.
    pub graph_name: GraphName,
    /// Whose it is. A [`crate::ThreadEntry`] of the same id that is there already must be of the same tenant; one that is not is made.
    pub tenant: Tenant,
}

/// A worker's claim on a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub owner: String,
    /// Until when, in milliseconds since 1970.
    pub lease_until_ms: u64,
}

/// Bytes to store under their digest: a graph document or a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Digest of `bytes`.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Which threads to list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ThreadFilter {
    /// Only those with this status.
    pub status: Option<ThreadStatus>,
    /// Only those of graphs with this name.
    pub graph_name: Option<GraphName>,
    /// At most this many.
    pub limit: usize,
    /// Passes over this many.
    pub offset: usize,
}

/// Which checkpoints of a thread to list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryFilter {
    /// Those of this namespace.
    pub namespace: Namespace,
    /// Only those stored before this one.
    pub before: Option<CheckpointId>,
    /// Only those with this source.
    pub source: Option<Source>,
    /// Only those of this step.
    pub step: Option<i64>,
    /// Only those whose metadata has each of these members with an equal value.
    pub metadata: Map<String, Value>,
    /// At most this many.
    pub limit: usize,
}

impl HistoryFilter {
    /// The newest checkpoints of the thread's own graph.
    pub fn newest(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }
}

/// Which operations to list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OperationFilter {
    /// Only those with this id, whatever their scope and connector.
    pub id: Option<OperationId>,
    /// Only those that this thread performed first.
    pub thread: Option<ThreadId>,
    /// Only those of this tenant: its thread's when they were recorded, whatever became of that thread since.
    pub tenant: Option<Tenant>,
    /// Only those without an outcome: intended, in doubt or queued. Costs nothing for the others.
    pub open: bool,
    /// At most this many.
    pub limit: usize,
}

/// How many operations have no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperationCounts {
    /// Intended, in doubt or queued.
    pub open: u64,
    /// Of these, in doubt.
    pub in_doubt: u64,
}

/// What a thread's records take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadBytes {
    /// Its checkpoints, the values of their channels aside.
    pub checkpoints: u64,
    /// The values of its channels.
    pub values: u64,
    /// Its tasks with their results.
    pub tasks: u64,
    /// The operations that it performed first.
    pub operations: u64,
    /// Its questions.
    pub questions: u64,
}

impl ThreadBytes {
    /// All of it.
    pub fn total(&self) -> u64 {
        [self.checkpoints, self.values, self.tasks, self.operations, self.questions]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Counts since a store was opened. Tests assert commit budgets with them, because counts do not flicker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// [`Commit`]s applied, operations exchanged, and questions changed.
    pub commits: u64,
    /// Durable transactions that held commits: one holds every commit that was waiting. Equal to `commits` where nothing is batched.
    pub transactions: u64,
    /// Statements executed by writes, those of deleting and of contents included. None where nothing is executed.
    pub statements: u64,
}

/// How a store fails. Variants by what the caller can do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The thread has another epoch: somebody else writes it. Drop the work.
    #[error("thread {thread} is at epoch {found}, not {expected}: another writer has it")]
    Fenced {
        /// The thread.
        thread: ThreadId,
        /// The epoch that the caller holds.
        expected: Epoch,
        /// The epoch that is stored.
        found: Epoch,
    },
    /// The thread to create is there.
    #[error("thread {0} exists")]
    ThreadExists(ThreadId),
    /// The thread is not there.
    #[error("thread {0} does not exist")]
    ThreadNotFound(ThreadId),
    /// The question to settle is settled: the caller lost (`one-decision`). Carries the winner.
    #[error("question {} was already {}", .0.id, .0.status.name())]
    QuestionSettled(Box<QuestionRecord>),
    /// The question to settle is not one of the thread's.
    #[error("question {question} is not one of thread {thread}")]
    QuestionNotFound {
        /// The thread.
        thread: ThreadId,
        /// The question.
        question: QuestionId,
    },
    /// The question's deadline has come: it is answered by it, whether or not that is recorded yet.
    #[error("question {question} was to be answered before {deadline_at_ms} (milliseconds since 1970)")]
    DeadlinePassed {
        /// The question.
        question: QuestionId,
        /// Its deadline.
        deadline_at_ms: u64,
    },
    /// Somebody had a say in the question meanwhile: read it again and decide again.
    #[error("somebody else had a say in question {0} meanwhile")]
    QuestionChanged(QuestionId),
    /// The idempotency key was used before. Carries what was replied then.
    #[error("the idempotency key was used before")]
    KeyUsed(Box<ReplyRecord>),
    /// The approval link was used or revoked before.
    #[error("the approval link was used before")]
    LinkUsed,
    /// The run is not in the status that was expected: somebody else began or ended it.
    #[error("run {run} is {found}")]
    RunChanged {
        /// The run.
        run: RunId,
        /// Its status, or `unknown`.
        found: &'static str,
    },
    /// What is to be created is there.
    #[error("{0} exists")]
    Exists(String),
    /// A commit names a parent checkpoint, task or question that is not stored: a fault of the caller.
    #[error("the commit does not fit what is stored: {0}")]
    Invalid(String),
    /// The storage medium is full; nothing was written.
    #[error("the storage medium is full: {0}")]
    Full(String),
    /// The store may not be written; nothing was written.
    #[error("the store is read-only: {0}")]
    ReadOnly(String),
    /// The store was made by a newer version.
    #[error("the store has schema version {found}; this program knows versions up to {known}")]
    NewerSchema {
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// The store cannot be reached or is locked. Whether a commit took place is unknown until it is read again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored cannot be read: damaged, or not a store.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

impl Error {
    /// Stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fenced { .. } => "HP0601",
            Self::ThreadExists(_) => "HP0602",
            Self::ThreadNotFound(_) => "HP0603",
            Self::QuestionSettled(_) => "HP0604",
            Self::QuestionNotFound { .. } => "HP0605",
            Self::Invalid(_) => "HP0606",
            Self::Full(_) => "HP0607",
            Self::ReadOnly(_) => "HP0608",
            Self::NewerSchema { .. } => "HP0609",
            Self::Unavailable(_) => "HP0610",
            Self::Corrupt(_) => "HP0611",
            Self::DeadlinePassed { .. } => "HP0612",
            Self::QuestionChanged(_) => "HP0613",
            Self::KeyUsed(_) => "HP0614",
            Self::LinkUsed => "HP0615",
            Self::RunChanged { .. } => "HP0616",
            Self::Exists(_) => "HP0617",
        }
    }
}
