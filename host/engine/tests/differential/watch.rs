//! A store that remembers which tasks were done, so that nobody runs one of them again unseen.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use async_trait::async_trait;
use holdpoint_graph::ids::{Epoch, TaskId};
use holdpoint_graph::nodes::{Command, TaskIdentity};
use holdpoint_store::forward::Forward;
use holdpoint_store::{Commit, Error, Expect, Store, TaskStatus};

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

#[async_trait]
impl Forward for Watch {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn read<T, C>(&self, call: C) -> Result<T, Error>
    where
        T: Send,
        C: Future<Output = Result<T, Error>> + Send,
    {
        self.pass(call).await
    }

    async fn write<T, C>(&self, call: C) -> Result<T, Error>
    where
        T: Send,
        C: Future<Output = Result<T, Error>> + Send,
    {
        self.pass(call).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.pass(self.inner.commit(commit.clone())).await?;
        self.note(&commit);
        Ok(())
    }
}
