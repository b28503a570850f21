//! The one writer: a thread with its own connection and a bounded queue.
//!
//! SQLite has one writer at a time, and a durable transaction costs one flush of the disk. So the writer takes whatever is waiting and makes
//! one transaction of it: the more there is to do, the more share a flush. No timer: an idle store answers at once.
//!
//! ```text
//! begin immediate
//!   savepoint, first commit's statements, release
//!   savepoint, second commit's statements: refused, rollback to, release
//!   …
//! commit            one flush; only now does anybody get an answer
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use tokio::sync::{mpsc, oneshot};

use super::commit_rows::{CommitRows, ExchangeRows};
use super::failure::{Failure, Result};
use super::session::Session;
use super::{apply, journal, retention, shared, statements};
use crate::audit::AuditEntry;
use crate::records::VersionRecord;
use crate::store::{Content, Error, Statistics};

/// Commits of one transaction. A flush is well shared by then; more would only make the first wait for the last.
const BATCH_MAX: usize = 32;

/// Requests that may wait: a few batches, so that the writer never starves. Beyond it callers wait before they hand over, and memory stays
/// bounded.
const QUEUE_MAX: usize = 256;

/// How long the writer stays awake after a batch.
const AWAKE: Duration = Duration::from_micros(150);

/// What the writer is asked to do.
pub(super) enum Work {
    Commit(Box<CommitRows>),
    Exchange(Box<ExchangeRows>),
    DeleteThread(ThreadId, Epoch, Vec<AuditEntry>),
    Retain(ThreadId, Epoch, Vec<CheckpointId>, Vec<AuditEntry>),
    PutContents(Vec<Content>),
    PutVersion(Box<VersionRecord>, Vec<AuditEntry>),
    ClearCache(Option<u64>),
    Other(Other),
}

/// A write with a result of its own.
pub(super) struct Other {
    /// Whether it counts as a commit.
    pub(super) counts: bool,
    /// Done again when it was undone because of a neighbour.
    pub(super) write: Box<OtherWrite>,
}

type OtherWrite = dyn Fn(&Session) -> Result<()> + Send;

/// What became of a work that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Applied,
    /// An exchange found something else than it expected.
    NotAsExpected,
    /// As many were removed.
    Removed(u64),
}

impl Done {
    /// How many were removed.
    pub(super) fn count(self) -> u64 {
        match self {
            Self::Removed(count) => count,
            Self::Applied | Self::NotAsExpected => 0,
        }
    }
}

type Outcome = std::result::Result<Done, Error>;

struct Request {
    work: Work,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    transactions: AtomicU64,
    statements: AtomicU64,
}

/// Handle of the writer. Dropping it lets the writer finish what is waiting, then ends it.
pub(super) struct Writer {
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Writer {
    pub(super) fn start(session: Session) -> std::result::Result<Self, Error> {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("holdpoint-store-writer".to_owned())
            .spawn(move || run(session, requests, &shared))
            .map_err(|error| Error::Unavailable(format!("no thread could be started: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), counters })
    }

    /// Waits until the work is durable or refused. Once handed over, it is done even if the caller stops waiting.
    pub(super) async fn submit(&self, work: Work) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        queue.send(Request { work, reply }).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }

    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            commits: self.counters.commits.load(Ordering::Relaxed),
            transactions: self.counters.transactions.load(Ordering::Relaxed),
            statements: self.counters.statements.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

fn ended() -> Error {
    Error::Unavailable("the store's writer has ended".to_owned())
}

fn run(session: Session, mut requests: mpsc::Receiver<Request>, counters: &Counters) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while next_batch(&mut requests, &mut batch) {
        let (works, replies): (Vec<Work>, Vec<_>) =
            batch.drain(..).map(|request| (request.work, request.reply)).unzip();
        for (reply, outcome) in replies.into_iter().zip(process(&session, &works, counters)) {
            // A caller that stopped waiting does not need its answer.
            let _ = reply.send(outcome);
        }
    }
    session.close();
}

/// Fills the batch with whatever is waiting; false when nobody can ask any more.
///
/// A thread that advances asks again within the time that one superstep takes. The writer stays awake for that long: to be woken costs it and the
/// one who wakes it about as much as the flush. An idle store sleeps.
fn next_batch(requests: &mut mpsc::Receiver<Request>, batch: &mut Vec<Request>) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < AWAKE {
        match requests.try_recv() {
            Ok(request) => {
                batch.push(request);
                while batch.len() < BATCH_MAX
                    && let Ok(request) = requests.try_recv()
                {
                    batch.push(request);
                }
                return true;
            }
            Err(mpsc::error::TryRecvError::Disconnected) => return false,
            Err(mpsc::error::TryRecvError::Empty) => std::hint::spin_loop(),
        }
    }
    requests.blocking_recv_many(batch, BATCH_MAX) > 0
}

/// One outcome per work.
fn process(session: &Session, works: &[Work], counters: &Counters) -> Vec<Outcome> {
    let outcomes = match transact(session, works, counters) {
        Ok(outcomes) => outcomes,
        // SQLite undid the neighbours too; none of them was at fault, so each gets a transaction of its own.
        Err(Undone(_)) if works.len() > 1 => {
            works.iter().flat_map(|work| process(session, std::slice::from_ref(work), counters)).collect()
        }
        Err(Undone(error)) => works.iter().map(|_| Err(error.clone())).collect(),
    };
    counters.statements.fetch_add(session.take_executed(), Ordering::Relaxed);
    outcomes
}

/// An error at which SQLite rolled back the whole transaction by itself, as it may when the disk is full.
struct Undone(Error);

fn transact(session: &Session, works: &[Work], counters: &Counters) -> std::result::Result<Vec<Outcome>, Undone> {
    let all = |error: Error| works.iter().map(|_| Err(error.clone())).collect::<Vec<_>>();
    if let Err(error) = session.execute(statements::BEGIN_WRITE, []) {
        return Ok(all(Failure::from(error).0));
    }
    let mut outcomes = Vec::with_capacity(works.len());
    for work in works {
        // Without neighbours the transaction itself is guard enough.
        if works.len() == 1 {
            match apply(session, work) {
                Ok(applied) => outcomes.push(Ok(applied)),
                Err(Failure(error)) => {
                    roll_back(session);
                    return Ok(vec![Err(error)]);
                }
            }
            break;
        }
        match guarded(session, work) {
            Ok(outcome) => outcomes.push(outcome),
            Err(Failure(error)) => {
                roll_back(session);
                return Err(Undone(error));
            }
        }
    }
    if let Err(error) = session.execute(statements::COMMIT, []) {
        roll_back(session);
        return Ok(all(Failure::from(error).0));
    }
    let counts =
        |work: &Work| matches!(work, Work::Commit(_) | Work::Exchange(_) | Work::Other(Other { counts: true, .. }));
    let applied = works.iter().zip(&outcomes).filter(|(work, outcome)| counts(work) && **outcome == Ok(Done::Applied));
    let applied = applied.count();
    counters.commits.fetch_add(u64::try_from(applied).unwrap_or(0), Ordering::Relaxed);
    counters.transactions.fetch_add(u64::from(applied > 0), Ordering::Relaxed);
    Ok(outcomes)
}

/// Does one work under its own savepoint, so that its refusal leaves its neighbours alone. The outer error: the transaction is lost.
fn guarded(session: &Session, work: &Work) -> Result<Outcome> {
    session.execute(statements::SAVEPOINT, [])?;
    let outcome = match apply(session, work) {
        Ok(applied) => Ok(applied),
        Err(failure) if !session.in_transaction() => return Err(failure),
        Err(Failure(error)) => {
            session.execute(statements::ROLLBACK_TO, [])?;
            Err(error)
        }
    };
    session.execute(statements::RELEASE, [])?;
    Ok(outcome)
}

fn apply(session: &Session, work: &Work) -> Result<Done> {
    let applied = |()| Done::Applied;
    match work {
        Work::Commit(rows) => apply::commit(session, rows).map(applied),
        Work::Exchange(rows) => {
            journal::exchange(session, rows).map(|won| if won { Done::Applied } else { Done::NotAsExpected })
        }
        Work::DeleteThread(thread, epoch, audit) => {
            retention::delete_thread(session, thread, *epoch, audit).map(applied)
        }
        Work::Retain(thread, epoch, keep, audit) => {
            retention::retain(session, thread, *epoch, keep, audit).map(Done::Removed)
        }
        Work::PutContents(contents) => shared::contents(session, contents).map(applied),
        Work::PutVersion(version, audit) => shared::version(session, version, audit).map(applied),
        Work::ClearCache(now_ms) => shared::clear_cache(session, *now_ms).map(Done::Removed),
        Work::Other(other) => (other.write)(session).map(applied),
    }
}

fn roll_back(session: &Session) {
    if session.in_transaction()
        && let Err(error) = session.execute(statements::ROLLBACK, [])
    {
        tracing::error!(%error, "the store's transaction could not be rolled back");
    }
}
