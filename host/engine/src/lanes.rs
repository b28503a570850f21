//! Many tasks at once: a bounded number of lanes, each of which executes one task after the other.
//!
//! A lane for each of 10,000 tasks would cost more than tasks that do little; a lane takes the next task when it is done with one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdpoint_store::TaskStatus;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::task::{self, Assignment, Context, TaskResult};

/// After a task this long, a lane lets others of its thread go first: it may be computing.
const LONG: Duration = Duration::from_millis(1);

/// Results of quick tasks that a lane hands over together: waking the driver for each would cost as much as the task.
const BATCH: usize = 32;

/// See the module. Dropping it abandons what runs.
pub(crate) struct Lanes {
    context: Arc<Context>,
    /// A std mutex: held for a push or a pop only.
    queue: Arc<Mutex<Queue>>,
    results: mpsc::Receiver<Vec<Result<TaskResult, Error>>>,
    /// Bounded by the number of lanes: when results are taken slowly, because they are being stored, lanes wait.
    sender: mpsc::Sender<Vec<Result<TaskResult, Error>>>,
    running: JoinSet<()>,
    lanes_max: usize,
    /// Tasks whose results were not taken yet.
    open: usize,
}

/// Tasks that no lane has taken, and the lanes that will look for more. Counted together, so that no task waits for a lane that just ended.
#[derive(Default)]
struct Queue {
    /// Boxed: they are large, and a queue of thousands is moved when it grows.
    waiting: VecDeque<Box<Assignment>>,
    lanes: usize,
}

impl Queue {
    /// The next task for a lane; the lane ends when there is none.
    fn take(queue: &Mutex<Self>) -> Option<Box<Assignment>> {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.lanes -= 1;
        }
        next
    }
}

impl Lanes {
    pub(crate) fn new(context: Arc<Context>, lanes_max: usize) -> Self {
        let lanes_max = lanes_max.max(1);
        let (sender, results) = mpsc::channel(lanes_max);
        let (queue, running) = (Arc::default(), JoinSet::new());
        Self { context, queue, results, sender, running, lanes_max, open: 0 }
    }

    /// How many tasks have no result yet.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Adds a task.
    pub(crate) fn push(&mut self, assignment: Assignment) {
        self.open += 1;
        let assignment = Box::new(assignment);
        {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.waiting.push_back(assignment);
            if queue.lanes >= self.lanes_max {
                return;
            }
            queue.lanes += 1;
        }
        let (context, queue, sender) = (Arc::clone(&self.context), Arc::clone(&self.queue), self.sender.clone());
        self.running.spawn(async move {
            let mut done = Vec::new();
            let mut next = Queue::take(&queue);
            while let Some(assignment) = next {
                let result = task::run(Arc::clone(&context), *assignment).await;
                // What took time, had effects or asks somebody is handed over at once: it may have to be stored before the others end.
                let quick = result.as_ref().is_ok_and(|result| {
                    result.elapsed < LONG && !result.performed && result.record.status == TaskStatus::Done
                });
                done.push(result);
                next = Queue::take(&queue);
                if next.is_none() || !quick || done.len() >= BATCH {
                    if sender.send(std::mem::take(&mut done)).await.is_err() {
                        // Nobody wants the results any more.
                        return;
                    }
                    if !quick {
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
    }

    /// Waits for results and gives those that are there; none when no task is open.
    ///
    /// # Errors
    /// The first task's that could not be executed: the claim is over.
    pub(crate) async fn next(&mut self) -> Result<Vec<TaskResult>, Error> {
        while self.open > 0 {
            tokio::select! {
                biased;
                Some(results) = self.results.recv() => {
                    self.open -= results.len();
                    return results.into_iter().collect();
                }
                Some(ended) = self.running.join_next() => if let Err(error) = ended {
                    // A panic in the host's own code: the claim ends here, what is stored stays.
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
        Ok(Vec::new())
    }
}
