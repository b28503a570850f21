//! Advances one claimed thread until it is finished, fails, or waits for somebody.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use holdpoint_graph::ids::TaskId;
use holdpoint_graph::nodes::Command;
use holdpoint_store::{
    CheckpointRecord, NewCheckpoint, QuestionRecord, TaskRecord, TaskStatus, ThreadError, ThreadStatus,
};
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval};

use crate::apply;
use crate::engine::Config;
use crate::error::Error;
use crate::ledger::Write;
use crate::plan::{Plan, PlannedTask, plan, tasks_of};
use crate::task::{self, Assignment, Context, TaskResult};

/// A claimed thread in memory: its head, and what is recorded of the tasks that start from it.
pub(crate) struct Driver {
    pub(crate) context: Arc<Context>,
    pub(crate) config: Config,
    pub(crate) checkpoint: CheckpointRecord,
    pub(crate) values: Map<String, Value>,
    pub(crate) tasks: Vec<TaskRecord>,
    pub(crate) questions: Vec<QuestionRecord>,
}

/// The write that prolongs a claim.
type SignOfLife = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What a step's executions came to: what is still to be stored, and what was seen.
#[derive(Default)]
struct StepReport {
    write: Write,
    /// Operations were performed.
    performed: bool,
    /// A task took longer than [`Config::quick`].
    slow: bool,
    /// When the last outcome of an operation was known.
    last_outcome_at_ms: Option<u64>,
}

impl Driver {
    /// Runs supersteps. On success the thread is given back: done, failed or interrupted, and all of it is durable.
    pub(crate) async fn drive(mut self) -> Result<(), Error> {
        let mut steps = 0_u32;
        loop {
            let planned = tasks_of(&self.context.thread, &self.checkpoint);
            let report = match plan(&planned, &self.tasks, &self.questions) {
                Plan::Finished => return self.end(Write::default(), ThreadStatus::Done, None).await,
                Plan::Wait => return self.park(Write::default()).await,
                Plan::Apply => StepReport::default(),
                Plan::Run(_) if steps >= self.context.graph.recursion_limit => {
                    let error = recursion_limit_reached(self.context.graph.recursion_limit);
                    return self.end(Write::default(), ThreadStatus::Failed, Some(error)).await;
                }
                Plan::Run(ready) => {
                    steps += 1;
                    self.execute(ready).await?
                }
            };
            let done: HashMap<&TaskId, &Command> = self
                .tasks
                .iter()
                .filter(|task| task.status == TaskStatus::Done)
                .filter_map(|task| Some((&task.id, task.result.as_ref()?)))
                .collect();
            let finished: Vec<(&PlannedTask, &Command)> =
                planned.iter().filter_map(|task| Some((task, *done.get(&task.id)?))).collect();
            if finished.len() < planned.len() {
                return self.park(report.write).await;
            }
            match apply::apply(&self.context.graph, &self.checkpoint, &self.values, &finished) {
                Ok(applied) => {
                    let clock_ms = self.last_event_ms(&report);
                    let now_ms = self.context.ledger.now_ms();
                    let next =
                        apply::next_checkpoint(&self.context.thread, &self.checkpoint, applied, clock_ms, now_ms);
                    if self.advance(report, next).await? {
                        return Ok(());
                    }
                }
                Err(error) => {
                    return self.end(report.write, ThreadStatus::Failed, Some(error.to_thread_error())).await;
                }
            }
        }
    }

    /// When something from outside last reached the thread in this step: an answer or an operation's outcome. Both are durable with it.
    fn last_event_ms(&self, report: &StepReport) -> Option<u64> {
        let answered = self.questions.iter().filter_map(|question| Some(question.answer.as_ref()?.answered_at_ms));
        answered.chain(report.last_outcome_at_ms).max()
    }

    /// Executes tasks at once and merges their records. The longest part of an engine's life is spent here.
    async fn execute(&mut self, ready: Vec<PlannedTask>) -> Result<StepReport, Error> {
        let mut report = StepReport::default();
        let mut heartbeat = self.heartbeat().await;
        let mut waiting = ready.into_iter();
        if waiting.len() == 1
            && let Some(planned) = waiting.next()
        {
            // Most steps have one task: it needs no other thread, and waking one costs more than most nodes do.
            let mut running = pin!(task::run(Arc::clone(&self.context), self.assignment(planned)));
            // A sign of life is written beside the task, never instead of it: both write through one ledger, in turn, and the task may have
            // its turn when the sign of life falls due.
            let mut beat: Option<SignOfLife> = None;
            let result = loop {
                tokio::select! {
                    biased;
                    result = &mut running => break result?,
                    written = async { match beat.as_mut() { Some(beat) => beat.await, None => std::future::pending().await } } => {
                        written?;
                        beat = None;
                    }
                    _ = heartbeat.tick(), if beat.is_none() => {
                        let ledger = Arc::clone(&self.context.ledger);
                        beat = Some(Box::pin(async move { ledger.store(Write::default()).await }));
                    }
                }
            };
            if let Some(beat) = beat {
                // It may have taken with it what was held back.
                beat.await?;
            }
            self.take(result, false, &mut report).await?;
            return Ok(report);
        }
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.config.tasks_max
                && let Some(planned) = waiting.next()
            {
                running.spawn(task::run(Arc::clone(&self.context), self.assignment(planned)));
            }
            let result = tokio::select! {
                joined = running.join_next() => match joined {
                    Some(Ok(result)) => result?,
                    // A panic in the host's own code: the claim ends here, what is stored stays.
                    Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                    None => return Ok(report),
                },
                _ = heartbeat.tick() => {
                    self.context.ledger.store(Write::default()).await?;
                    continue;
                }
            };
            let others_run = !running.is_empty() || waiting.len() > 0;
            self.take(result, others_run, &mut report).await?;
        }
    }

    /// Prolongs the claim while tasks run. What was held back waits no longer than a quick step takes.
    async fn heartbeat(&self) -> Interval {
        let prolong_every = Duration::from_millis((self.config.lease_ms / 3).max(1));
        let held_back = self.context.ledger.held_back().await > 0;
        let first = if held_back { self.config.quick.min(prolong_every) } else { prolong_every };
        tokio::time::interval_at(Instant::now() + first, prolong_every)
    }

    fn assignment(&self, planned: PlannedTask) -> Assignment {
        let node = self.context.graph.nodes.get(&planned.node);
        let state = match node.and_then(|node| node.reads.as_ref()) {
            Some(reads) => reads
                .iter()
                .filter_map(|channel| Some((channel.to_string(), self.values.get(channel.as_str())?.clone())))
                .collect(),
            None => self.values.clone(),
        };
        Assignment {
            checkpoint: self.checkpoint.clone(),
            state,
            questions: self.questions.iter().filter(|question| question.task == planned.id).cloned().collect(),
            executions: self.tasks.iter().find(|task| task.id == planned.id).map_or(0, |task| task.executions),
            planned,
        }
    }

    /// Merges one task's result. It is stored at once where it took effort or had effects and others still run (DESIGN 6.2).
    async fn take(&mut self, result: TaskResult, others_run: bool, report: &mut StepReport) -> Result<(), Error> {
        let slow = result.elapsed > self.config.quick;
        report.performed |= result.performed;
        report.slow |= slow;
        report.last_outcome_at_ms = report.last_outcome_at_ms.max(result.last_outcome_at_ms);
        self.tasks.retain(|task| task.id != result.record.id);
        self.tasks.push(result.record.clone());
        self.questions.extend(result.question.clone());
        let (tasks, questions, operations, hits) =
            (vec![result.record], result.question.into_iter().collect(), result.operations, result.hits);
        if others_run && (slow || result.performed) {
            self.context.ledger.store(Write { tasks, questions, operations, hits, ..Write::default() }).await
        } else {
            report.write.tasks.extend(tasks);
            report.write.questions.extend::<Vec<QuestionRecord>>(questions);
            report.write.operations.extend(operations);
            report.performed |= !hits.is_empty();
            report.write.hits.extend(hits);
            Ok(())
        }
    }

    /// Moves to the next checkpoint; true when the thread is finished.
    async fn advance(&mut self, report: StepReport, next: NewCheckpoint) -> Result<bool, Error> {
        let StepReport { mut write, performed, slow, .. } = report;
        let finished = next.record.next.is_empty();
        next.patch.apply(&mut self.values);
        self.checkpoint = next.record.clone();
        self.tasks.clear();
        self.questions.clear();
        if finished {
            write.checkpoint = Some(next);
            self.end(write, ThreadStatus::Done, None).await?;
            return Ok(true);
        }
        let ledger = &self.context.ledger;
        if !performed && !slow && ledger.held_back().await < self.config.run_ahead_max {
            ledger.hold_back(next, write.tasks).await;
        } else {
            write.checkpoint = Some(next);
            ledger.store(write).await?;
        }
        Ok(false)
    }

    /// Gives the thread back with unfinished tasks: failed when one failed, waiting otherwise.
    async fn park(&self, write: Write) -> Result<(), Error> {
        let error = self
            .tasks
            .iter()
            .filter(|task| task.status == TaskStatus::Failed)
            .min_by(|left, right| left.path.cmp(&right.path))
            .map(|task| task.error.clone());
        match error {
            Some(error) => self.end(write, ThreadStatus::Failed, error).await,
            None => self.end(write, ThreadStatus::Interrupted, None).await,
        }
    }

    async fn end(&self, write: Write, status: ThreadStatus, error: Option<ThreadError>) -> Result<(), Error> {
        self.context.ledger.store(Write { end: Some((status, error)), ..write }).await
    }
}

fn recursion_limit_reached(limit: u32) -> ThreadError {
    ThreadError {
        code: "HP0420".into(),
        message: format!(
            "the run took {limit} supersteps, the graph's recursion limit; resume the thread to let it go on"
        ),
        node: None,
        details: None,
    }
}
