//! The readers: a few threads, each with a connection of its own that cannot write, so that reads neither wait for the writer nor for each
//! other. Each read is one transaction: what it sees is one state of the store.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::failure::Result;
use super::session::Session;
use super::{SqliteOptions, open, statements};
use crate::store::Error;

/// Reads that may wait. Beyond it callers wait before they hand over.
const QUEUE_MAX: usize = 256;

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// Handle of the readers. Dropping it ends them.
pub(super) struct Readers {
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// One reading thread's own.
pub(super) struct Reader {
    path: PathBuf,
    options: SqliteOptions,
    /// Opened at the first read.
    session: Option<Session>,
}

impl Readers {
    pub(super) fn start(path: &std::path::Path, options: &SqliteOptions) -> std::result::Result<Self, Error> {
        let (queue, jobs) = mpsc::channel::<Job>(QUEUE_MAX);
        // A std mutex: the thread that has it waits for the next job, the others for the mutex. No async task ever touches it.
        let jobs = Arc::new(Mutex::new(jobs));
        let mut readers = Self { queue: Some(queue), threads: Vec::new() };
        for _ in 0..options.readers.max(1) {
            let jobs = Arc::clone(&jobs);
            let reader = Reader { path: path.to_owned(), options: options.clone(), session: None };
            let thread = std::thread::Builder::new()
                .name("holdpoint-store-reader".to_owned())
                .spawn(move || reader.run(&jobs))
                .map_err(|error| Error::Unavailable(format!("no thread could be started: {error}")))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Reads in one transaction.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        self.run(|reader| reader.transaction(work).map_err(|failure| failure.0)).await
    }

    /// Computes something that would take too long on a task's thread.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, Error> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        self.run(|_| work()).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> std::result::Result<T, Error> + Send + 'static,
    ) -> std::result::Result<T, Error> {
        let (reply, outcome) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // A caller that stopped waiting does not need its answer.
            let _ = reply.send(work(reader));
        });
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        queue.send(job).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("one of the store's readers panicked");
            }
        }
    }
}

impl Reader {
    fn run(mut self, jobs: &Mutex<mpsc::Receiver<Job>>) {
        loop {
            // A statement of its own: the lock must not be held while the job runs.
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(job) = job else { break };
            job(&mut self);
        }
        if let Some(session) = self.session {
            session.close();
        }
    }

    fn transaction<T>(&mut self, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(open::reader(&self.path, &self.options)?),
        };
        session.execute(statements::BEGIN_READ, [])?;
        let result = work(session);
        // Nothing was written, so however it ends it ends the same.
        let ended = if session.in_transaction() { session.execute(statements::ROLLBACK, []).map(drop) } else { Ok(()) };
        if ended.is_err() {
            // A connection stuck in its transaction would see the past for ever.
            self.session = None;
        }
        result
    }
}

fn ended() -> Error {
    Error::Unavailable("the store's readers have ended".to_owned())
}
