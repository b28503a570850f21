//! The default store: one SQLite file.
//!
//! Made with `rusqlite` and threads of our own: SQLite is synchronous, and prepared statements on a thread that owns its connection are the
//! shortest way to it. Postgres, which is not, will come as a sibling of this module with the same schema and its own way of waiting.
//!
//! # Layout
//!
//! * `open`: what must hold of the file, and migrations; `schema`: the migrations themselves.
//! * `statements`: all SQL; `session`: a connection that executes it.
//! * `writer`: the one thread that writes; `commit_rows`: a commit as it gets it; `apply`, `journal`: what it does with it; `retention`,
//!   `shared`: its other work.
//! * `reader`: the threads that read; `reads`: what they do.
//! * `approvals`, `runs`, `trail`, `access`: the other traits, with their writes and reads.
//! * `values`: channel values, of which only changes are stored.
//! * [`baseline`]: the raw cost of a superstep; [`filling`]: a store with a million threads. Both for `bench`.
//! * `rows`, `forms`, `proceedings`: rows and the JSON in them, to and from records; `failure`: SQLite's errors as the store's.

pub mod baseline;
pub mod filling;

mod open;
mod schema;

mod session;
mod statements;

mod apply;
mod commit_rows;
mod journal;
mod retention;
mod shared;
mod writer;

mod reader;
mod reads;

mod access;
mod approvals;
mod runs;
mod trail;

mod values;

mod failure;
mod forms;
mod proceedings;
mod rows;

use std::path::Path;

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, Tenant, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};

use self::commit_rows::{CommitRows, ExchangeRows};
use self::reader::Readers;
use self::session::Session;
use self::writer::{Done, Other, Work, Writer};
use crate::audit::AuditEntry;
use crate::check;
use crate::records::{Outline, QuestionRecord, Snapshot, ThreadRecord, VersionKind, VersionRecord};
use crate::store::{
    Commit, Content, Error, HistoryFilter, Journal, OperationCounts, OperationFilter, Statistics, Store, ThreadBytes,
    ThreadFilter,
};

/// A store in one SQLite file (and, while it is open, its log and index beside it: `-wal` and `-shm`).
///
/// Several stores, in one process or many, may have the same file open; epochs decide between their writers. Dropping the store finishes the
/// commits that were handed over, ends its threads and folds the log into the file; it blocks for that long.
pub struct SqliteStore {
    // In order of dropping: the writer's connection closes last and folds the log.
    readers: Readers,
    writer: Writer,
}

/// How a file is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Waits for the disk at each transaction (`synchronous=FULL`). Off, a power loss may take acknowledged commits with it: only for tests
    /// that show the difference and for measuring what it costs.
    pub synchronous_full: bool,
    /// How long to wait for another process that writes the file, before [`Error::Unavailable`].
    pub busy_timeout_ms: u64,
    /// Threads that read, each with its own connection; at least 1. They open the file at their first read.
    pub readers: usize,
    /// Most pages (of 4 KiB) that the file may have, before [`Error::Full`]. None leaves it to the disk.
    pub pages_max: Option<u32>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { synchronous_full: true, busy_timeout_ms: 10_000, readers: 2, pages_max: None }
    }
}

impl SqliteStore {
    /// Opens the file, creates it if need be, and brings its schema to this program's version. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`Error::NewerSchema`]: made by a newer program; nothing was touched. [`Error::Corrupt`]: damaged, or another program's database;
    /// nothing was touched. [`Error::ReadOnly`]: the file or its directory may not be written. [`Error::Full`]: no room for the schema.
    /// [`Error::Unavailable`]: the directory is missing, the file is locked by another process, or SQLite is older than 3.51.3.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, Error> {
        // Readers open the file later, when the working directory may be another. It also keeps names that SQLite takes for something else
        // (`:memory:`, `file:…`) what they are: names of files.
        let path = std::path::absolute(path.as_ref())
            .map_err(|error| Error::Unavailable(format!("{}: {error}", path.as_ref().display())))?;
        let writer = Writer::start(open::writer(&path, &options)?)?;
        let readers = Readers::start(&path, &options)?;
        Ok(Self { readers, writer })
    }

    /// Does a write with a result of its own, which counts as a commit or not.
    async fn write<T: Send + 'static>(
        &self,
        counts: bool,
        write: impl Fn(&Session) -> failure::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        // The writer's answer to all is the same, so the result takes a way of its own. It is there before that answer is.
        let (sender, results) = std::sync::mpsc::channel();
        let write = move |session: &Session| {
            // One that was undone and done again leaves two: the last counts.
            let _ = sender.send(write(session)?);
            Ok(())
        };
        self.writer.submit(Work::Other(Other { counts, write: Box::new(write) })).await?;
        results.try_iter().last().ok_or_else(|| Error::Unavailable("the store's writer has ended".to_owned()))
    }
}

/// The version of the SQLite library that is linked in.
pub fn library_version() -> &'static str {
    rusqlite::version()
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        check::commit(&commit)?;
        self.writer.submit(Work::Commit(Box::new(CommitRows::new(commit)))).await.map(drop)
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<ThreadRecord>, Error> {
        let thread = thread.clone();
        self.readers.read(move |session| reads::thread(session, &thread)).await
    }

    async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        let filter = filter.clone();
        self.readers.read(move |session| reads::threads(session, &filter)).await
    }

    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error> {
        let (thread, checkpoint) = (thread.clone(), checkpoint.cloned());
        self.readers.read(move |session| reads::snapshot(session, &thread, checkpoint.as_ref())).await
    }

    async fn history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>, Error> {
        let (thread, filter) = (thread.clone(), filter.clone());
        self.readers.read(move |session| reads::history(session, &thread, &filter)).await
    }

    async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error> {
        let thread = thread.clone();
        self.readers.read(move |session| reads::outline(session, &thread)).await
    }

    async fn retain(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        keep: &[CheckpointId],
        audit: Vec<AuditEntry>,
    ) -> Result<u64, Error> {
        check::audit(&audit)?;
        self.writer.submit(Work::Retain(thread.clone(), epoch, keep.to_vec(), audit)).await.map(Done::count)
    }

    async fn thread_bytes(&self, thread: &ThreadId) -> Result<ThreadBytes, Error> {
        let thread = thread.clone();
        self.readers.read(move |session| reads::thread_bytes(session, &thread)).await
    }

    async fn count_operations(&self, tenant: Option<&Tenant>) -> Result<OperationCounts, Error> {
        let tenant = tenant.cloned();
        self.readers.read(move |session| reads::count_operations(session, tenant.as_ref())).await
    }

    async fn cached(&self, key: &Digest, now_ms: u64) -> Result<Option<Command>, Error> {
        let key = key.clone();
        self.readers.read(move |session| reads::cached(session, &key, now_ms)).await
    }

    async fn clear_cache(&self, now_ms: Option<u64>) -> Result<u64, Error> {
        self.writer.submit(Work::ClearCache(now_ms)).await.map(Done::count)
    }

    async fn put_version(&self, version: VersionRecord, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::version(&version)?;
        check::audit(&audit)?;
        self.writer.submit(Work::PutVersion(Box::new(version), audit)).await.map(drop)
    }

    async fn versions(&self, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>, Error> {
        let name = name.map(str::to_owned);
        self.readers.read(move |session| reads::versions(session, kind, name.as_deref())).await
    }

    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error> {
        let (thread, question) = (thread.clone(), question.clone());
        self.readers.read(move |session| reads::question(session, &thread, &question)).await
    }

    async fn delete_thread(&self, thread: &ThreadId, epoch: Epoch, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::audit(&audit)?;
        self.writer.submit(Work::DeleteThread(thread.clone(), epoch, audit)).await.map(drop)
    }

    async fn put_contents(&self, contents: Vec<Content>) -> Result<(), Error> {
        // Components have megabytes; hashing them must hold up neither a task's thread nor the writer.
        let contents = self.readers.compute(move || check::contents(&contents).map(|()| contents)).await?;
        self.writer.submit(Work::PutContents(contents)).await.map(drop)
    }

    async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let digest = digest.clone();
        self.readers.read(move |session| reads::content(session, &digest)).await
    }

    async fn missing_contents(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let digests = digests.to_vec();
        self.readers.read(move |session| reads::missing_contents(session, digests)).await
    }

    fn statistics(&self) -> Statistics {
        self.writer.statistics()
    }
}

#[async_trait]
impl Journal for SqliteStore {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        let key = key.clone();
        self.readers.read(move |session| reads::operation(session, &key)).await
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        let thread = thread.clone();
        self.readers.read(move |session| reads::operations(session, &thread)).await
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        let filter = filter.clone();
        self.readers.read(move |session| reads::find_operations(session, &filter)).await
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        self.readers.read(move |session| reads::due_operations(session, now_ms, limit)).await
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        let key = key.clone();
        self.readers.read(move |session| reads::hits(session, &key)).await
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        check::exchange(expected, &next, at_ms)?;
        check::audit(&audit)?;
        let rows = ExchangeRows::new(expected.clone(), next, at_ms, audit);
        self.writer.submit(Work::Exchange(Box::new(rows))).await.map(|done| done == Done::Applied)
    }
}
