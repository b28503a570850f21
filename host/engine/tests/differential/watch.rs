//! A store that remembers which tasks were done, so that nobody runs one of them again unseen.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, TaskId, ThreadId};
use holdpoint_graph::nodes::{Command, TaskIdentity};
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use holdpoint_store::{
    Commit, Content, Error, Expect, HistoryFilter, Journal, OperationFilter, Outline, QuestionRecord, Snapshot,
    Statistics, Store, TaskStatus, ThreadFilter, ThreadRecord, VersionKind, VersionRecord,
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread. Its parts wait for other threads only, not for tasks of this one.
fn wait<T>(call: impl Future<Output = T>) -> T {
    // Unconstrained, or the scheduler's budget would run out in here, where the scheduler cannot renew it.
    let mut call = pin!(tokio::task::unconstrained(call));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match call.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// See the module. Everything passes.
pub(crate) struct Watch {
    inner: Arc<dyn Store>,
    /// Nothing else runs while the store works, as with a store in memory: then what happens next does not depend on how fast it is.
    blocks: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What the tasks returned that are done, and under which epoch that was stored.
    done: HashMap<TaskId, (Option<Command>, Epoch)>,
    /// How often each task was started.
    started: HashMap<TaskId, u32>,
    /// What should not have happened.
    faults: Vec<String>,
}

impl Watch {
    pub(crate) fn new(inner: Arc<dyn Store>, blocks: bool) -> Self {
        Self { inner, blocks, seen: Mutex::default() }
    }

    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        if self.blocks { wait(call) } else { call.await }
    }

    /// A task begins; the number of its executions so far. A worker that has not heard yet that it was replaced may run a task again that its
    /// successor has finished: nothing of it counts.
    pub(crate) fn started(&self, task: &TaskIdentity) -> u32 {
        let (task, node, epoch) = (&task.id, &task.node, task.epoch);
        let mut seen = self.seen.lock().unwrap();
        if seen.done.get(task).is_some_and(|(_, stored)| *stored <= epoch) {
            seen.faults.push(format!("task {task} of node {node} is executed again after it was stored as done"));
        }
        let started = seen.started.entry(task.clone()).or_default();
        *started += 1;
        *started
    }

    /// What should not have happened since the last time.
    pub(crate) fn faults(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap().faults)
    }

    fn note(&self, commit: &Commit) {
        let epoch = match &commit.expect {
            Expect::New(new) => new.epoch,
            Expect::Epoch(epoch) if commit.claim.is_some() => epoch.next(),
            Expect::Epoch(epoch) => *epoch,
        };
        let mut seen = self.seen.lock().unwrap();
        for task in commit.tasks.iter() {
            match seen.done.get(&task.id) {
                Some((result, _)) if task.status == TaskStatus::Done && *result == task.result => {}
                Some(_) => {
                    seen.faults
                        .push(format!("task {} of node {} was done and is recorded as {task:?}", task.id, task.node));
                }
                None if task.status == TaskStatus::Done => {
                    seen.done.insert(task.id.clone(), (task.result.clone(), epoch));
                }
                None => {}
            }
        }
    }
}

holdpoint_store::forward_store!(Watch, |watch, call| watch.pass(call), |watch, change| watch
    .pass(watch.inner.change_question(change)));

#[async_trait]
impl Store for Watch {
    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.pass(self.inner.commit(commit.clone())).await?;
        self.note(&commit);
        Ok(())
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<ThreadRecord>, Error> {
        self.pass(self.inner.thread(thread)).await
    }

    async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        self.pass(self.inner.threads(filter)).await
    }

    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error> {
        self.pass(self.inner.snapshot(thread, checkpoint)).await
    }

    async fn history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>, Error> {
        self.pass(self.inner.history(thread, filter)).await
    }

    async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error> {
        self.pass(self.inner.outline(thread)).await
    }

    async fn retain(&self, thread: &ThreadId, epoch: Epoch, keep: &[CheckpointId]) -> Result<u64, Error> {
        self.pass(self.inner.retain(thread, epoch, keep)).await
    }

    async fn cached(&self, key: &Digest, now_ms: u64) -> Result<Option<Command>, Error> {
        self.pass(self.inner.cached(key, now_ms)).await
    }

    async fn clear_cache(&self, now_ms: Option<u64>) -> Result<u64, Error> {
        self.pass(self.inner.clear_cache(now_ms)).await
    }

    async fn put_version(&self, version: VersionRecord, audit: Vec<holdpoint_store::AuditEntry>) -> Result<(), Error> {
        self.pass(self.inner.put_version(version, audit)).await
    }

    async fn versions(&self, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>, Error> {
        self.pass(self.inner.versions(kind, name)).await
    }

    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error> {
        self.pass(self.inner.question(thread, question)).await
    }

    async fn delete_thread(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        audit: Vec<holdpoint_store::AuditEntry>,
    ) -> Result<(), Error> {
        self.pass(self.inner.delete_thread(thread, epoch, audit)).await
    }

    async fn put_contents(&self, contents: Vec<Content>) -> Result<(), Error> {
        self.pass(self.inner.put_contents(contents)).await
    }

    async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        self.pass(self.inner.content(digest)).await
    }

    async fn missing_contents(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        self.pass(self.inner.missing_contents(digests)).await
    }

    fn statistics(&self) -> Statistics {
        self.inner.statistics()
    }
}

#[async_trait]
impl Journal for Watch {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        self.pass(self.inner.operation(key)).await
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        self.pass(self.inner.operations(thread)).await
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        self.pass(self.inner.find_operations(filter)).await
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        self.pass(self.inner.due_operations(now_ms, limit)).await
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        self.pass(self.inner.hits(key)).await
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<holdpoint_store::AuditEntry>,
    ) -> Result<bool, Error> {
        self.pass(self.inner.exchange_operation(expected, next, at_ms, audit)).await
    }
}
