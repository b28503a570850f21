//! Advances one graph of a claimed thread, the thread's own or a subgraph, until it is finished, fails, or waits for somebody.

use std::collections::{HashMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use holdpoint_graph::ids::{NodeName, TaskId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::state::StateError;
use holdpoint_store::{
    CheckpointRecord, NewCheckpoint, QuestionRecord, Snapshot, TaskRecord, TaskStatus, ThreadError, ThreadStatus,
    Trigger,
};
use tokio::time::{Instant, Interval};

use crate::apply::{self, Applied, StepError};
use crate::child::Kept;
use crate::error::Error;
use crate::frame::{Frame, FrameEnd, FrameReport, pause_record};
use crate::lanes::Lanes;
use crate::ledger::{End, Write};
use crate::plan::{self, PAUSE, Plan, PlannedTask};
use crate::states::States;
use crate::task::{self, Assignment, Context, TaskResult};

/// The write that prolongs a claim.
type SignOfLife = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What a step's executions came to: what is still to be stored, and what was seen.
#[derive(Default)]
struct StepReport {
    write: Write,
    /// Operations were performed.
    performed: bool,
    /// A task took longer than [`crate::Config::quick`].
    slow: bool,
    /// When something from outside last reached a task.
    last_event_at_ms: Option<u64>,
    /// A subgraph stopped because somebody asked all runs to.
    drained: bool,
}

/// See the module.
pub(crate) struct Driver {
    pub(crate) context: Arc<Context>,
    pub(crate) frame: Frame,
    /// Where the last calls of subgraphs that are kept per thread ended, as far as this claim made them.
    kept: HashMap<NodeName, Kept>,
}

/// Drives the thread's own graph and gives the thread back: done, failed, interrupted or, when it was asked to stop, running and nobody's. All of
/// it is durable on success.
pub(crate) async fn drive_thread(context: Arc<Context>, snapshot: Snapshot) -> Result<(), Error> {
    let ledger = Arc::clone(context.ledger());
    let drain = context.claimed.options.drain.clone();
    let report = Driver::new(context, Frame::resumed(snapshot, None)).drive().await?;
    let cancelled = report.end == FrameEnd::Drained && drain.is_cancelled();
    let end = match report.end {
        FrameEnd::Done | FrameEnd::Left(_) => (ThreadStatus::Done, None),
        FrameEnd::Waiting | FrameEnd::InDoubt(_) => (ThreadStatus::Interrupted, None),
        FrameEnd::Failed(error) => (ThreadStatus::Failed, error),
        FrameEnd::Drained if cancelled => (ThreadStatus::Interrupted, None),
        FrameEnd::Drained => (ThreadStatus::Running, None),
    };
    ledger.store(Write { end: Some(End { status: end.0, error: end.1, cancelled }), ..report.write }).await
}

impl Driver {
    pub(crate) fn new(context: Arc<Context>, frame: Frame) -> Self {
        Self { context, frame, kept: HashMap::new() }
    }

    /// [`Self::drive`] for a graph inside another: there the compiler needs to be told what the future is.
    pub(crate) fn drive_boxed(self) -> Pin<Box<dyn Future<Output = Result<FrameReport, Error>> + Send>> {
        Box::pin(self.drive())
    }

    /// Runs supersteps until there is a reason to stop.
    pub(crate) async fn drive(mut self) -> Result<FrameReport, Error> {
        let thread = self.context.claimed.thread.clone();
        let version = Arc::clone(&self.context.version);
        let mut steps_left = version.graph.recursion_limit;
        self.tell_what_is_known();
        if self.breaks_before(&self.frame.checkpoint.next) && !self.is_paused_here() {
            let write = Write { tasks: vec![self.pause_record()], ..Write::default() };
            return Ok(self.stopped(FrameEnd::Waiting, write));
        }
        if self.context.keeps && self.context.claimed.options.drain.is_cancelled() {
            // Cancelled before it began, or while its host was gone: what was cut off is not executed again.
            return Ok(self.stopped(FrameEnd::Drained, Write::default()));
        }
        loop {
            let Frame { checkpoint, tasks, questions, children, .. } = &self.frame;
            let planned = plan::tasks_of(&thread, checkpoint, tasks.values());
            let report = match plan::plan(&version, &thread, &checkpoint.id, &planned, tasks, questions, children) {
                Plan::Finished => return Ok(self.stopped(FrameEnd::Done, Write::default())),
                Plan::Wait => return Ok(self.parked(&planned, StepReport::default())),
                Plan::Apply => StepReport::default(),
                Plan::Run(ready) => {
                    if let Some(node) = plan::contested_subgraph(&version, &planned) {
                        return Ok(self.refused(&StepError::ContestedSubgraph(node.clone()), StepReport::default()));
                    }
                    if steps_left == 0 {
                        let error = recursion_limit_reached(version.graph.recursion_limit);
                        return Ok(self.stopped(FrameEnd::Failed(Some(error)), Write::default()));
                    }
                    match self.execute(ready, steps_left).await? {
                        Ok(report) => report,
                        Err(error) => return Ok(self.refused(&error, StepReport::default())),
                    }
                }
            };
            steps_left = steps_left.saturating_sub(1);
            let Frame { checkpoint, values, tasks, .. } = &self.frame;
            let Some(finished) = plan::finished(&version, &thread, &checkpoint.id, &planned, tasks) else {
                return Ok(self.parked(&planned, report));
            };
            let clock_ms = self.clock_after_step(&report);
            let written = plan::commands(tasks.values());
            let advance = match apply::apply(&version, checkpoint, values, &written, &finished, clock_ms) {
                Ok(Applied::Advanced(advance)) => advance,
                Ok(Applied::Left(command)) => return Ok(self.left(command, report)),
                Err(error) => return Ok(self.refused(&error, report)),
            };
            let now_ms = self.context.ledger().now_ms();
            let next = apply::next_checkpoint(&thread, checkpoint, advance, clock_ms, now_ms);
            if let Some(report) = self.advance(report, next).await? {
                return Ok(report);
            }
        }
    }

    /// The thread's clock after the step: when something from outside last reached it. What that was is durable with the step.
    fn clock_after_step(&self, report: &StepReport) -> u64 {
        let answered =
            self.frame.questions.iter().filter_map(|question| Some(question.answer.as_ref()?.answered_at_ms));
        answered.chain(report.last_event_at_ms).max().unwrap_or(0).max(self.frame.checkpoint.clock_ms)
    }

    /// Executes tasks at once and merges their records. The longest part of an engine's life is spent here.
    async fn execute(
        &mut self,
        ready: Vec<PlannedTask>,
        steps_left: u32,
    ) -> Result<Result<StepReport, StepError>, Error> {
        let mut report = StepReport::default();
        let mut heartbeat = self.heartbeat().await;
        let mut states = match self.states(steps_left) {
            Ok(states) => states,
            Err(source) => return Ok(Err(StepError::State { node: None, source })),
        };
        let mut questions = self.questions_by_task();
        self.frame.tasks.reserve(ready.len());
        let mut waiting = VecDeque::from(ready);
        let mut lanes: Option<Lanes> = None;
        loop {
            if lanes.is_none()
                && waiting.len() == 1
                && let Some(planned) = waiting.pop_front()
            {
                // Most steps have one task: it needs no other thread, and waking one costs more than most nodes do.
                let assignment = self.assignment(planned, &mut states, &mut questions);
                let result = self.run_here(assignment, &mut heartbeat).await?;
                self.take(result, &mut waiting, false, &mut report).await?;
                continue;
            }
            let lanes = lanes
                .get_or_insert_with(|| Lanes::new(Arc::clone(&self.context), self.context.claimed.config.tasks_max));
            for planned in std::mem::take(&mut waiting) {
                lanes.push(self.assignment(planned, &mut states, &mut questions));
            }
            if lanes.open() == 0 {
                return Ok(Ok(report));
            }
            let results = tokio::select! {
                results = lanes.next() => results?,
                _ = heartbeat.tick() => {
                    self.context.ledger().store(Write::default()).await?;
                    continue;
                }
            };
            let mut left = results.len() + lanes.open();
            for result in results {
                left -= 1;
                self.take(result, &mut waiting, left > 0, &mut report).await?;
            }
        }
    }

    async fn run_here(&self, assignment: Assignment, heartbeat: &mut Interval) -> Result<TaskResult, Error> {
        let mut running = pin!(task::run(Arc::clone(&self.context), assignment));
        // A sign of life is written beside the task, never instead of it: both write through one ledger, in turn, and the task may have its turn
        // when the sign of life falls due.
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
                    let ledger = Arc::clone(self.context.ledger());
                    beat = Some(Box::pin(async move { ledger.store(Write::default()).await }));
                }
            }
        };
        if let Some(beat) = beat {
            // It may have taken with it what was held back.
            beat.await?;
        }
        Ok(result)
    }

    /// Prolongs the claim while tasks run. What was held back waits no longer than a quick step takes.
    async fn heartbeat(&self) -> Interval {
        let config = &self.context.claimed.config;
        let prolong_every = Duration::from_millis((config.lease_ms / 3).max(1));
        let held_back = self.context.ledger().held_back().await > 0;
        let first = if held_back { config.quick.min(prolong_every) } else { prolong_every };
        tokio::time::interval_at(Instant::now() + first, prolong_every)
    }

    /// What the tasks of the step see: the checkpoint's values, and what callers wrote since.
    fn states(&self, steps_left: u32) -> Result<States, StateError> {
        let written = plan::commands(self.frame.tasks.values());
        States::new(Arc::clone(&self.context.version.graph), &self.frame.values, &written, steps_left)
    }

    fn questions_by_task(&self) -> HashMap<TaskId, Vec<QuestionRecord>> {
        let mut by_task: HashMap<TaskId, Vec<QuestionRecord>> = HashMap::new();
        for question in &self.frame.questions {
            by_task.entry(question.task.clone()).or_default().push(question.clone());
        }
        by_task
    }

    fn assignment(
        &mut self,
        planned: PlannedTask,
        states: &mut States,
        questions: &mut HashMap<TaskId, Vec<QuestionRecord>>,
    ) -> Assignment {
        let recorded = self.frame.tasks.get(&planned.id);
        let (state, steps_left) =
            states.of(&planned.node, recorded.and_then(|record| record.steps_left), &self.frame.values);
        Assignment {
            checkpoint: Arc::clone(&self.frame.checkpoint),
            state,
            steps_left,
            questions: questions.remove(&planned.id).unwrap_or_default(),
            executions: recorded.map_or(0, |task| task.executions),
            child: self.frame.children.remove(&planned.id),
            kept: self.kept.get(&planned.node).cloned(),
            planned,
        }
    }

    /// Merges one task's result. It is stored at once where it took effort or had effects and others still run (DESIGN 6.2). A failed task makes room
    /// for its error handler.
    async fn take(
        &mut self,
        result: TaskResult,
        waiting: &mut VecDeque<PlannedTask>,
        others_run: bool,
        report: &mut StepReport,
    ) -> Result<(), Error> {
        let slow = result.elapsed > self.context.claimed.config.quick;
        report.performed |= result.performed || !result.write.hits.is_empty();
        report.slow |= slow;
        report.drained |= result.drained;
        report.last_event_at_ms = report.last_event_at_ms.max(result.last_event_at_ms);
        if let Some(kept) = result.kept {
            self.kept.insert(result.record.node.clone(), kept);
        }
        waiting.extend(result.planned.and_then(|planned| self.handler(&planned, &result.record)));
        let mut write = result.write;
        if self.context.keeps {
            self.tell_ended(&mut write, &result.record, result.question.as_ref(), result.cached);
            write.tasks.push(result.record.clone());
            write.questions.extend(result.question.clone());
        }
        self.frame.questions.extend(result.question);
        self.frame.tasks.insert(result.record.id.clone(), result.record);
        if (others_run || !waiting.is_empty()) && (slow || result.performed) {
            self.context.ledger().store(write).await
        } else {
            report.write.extend(write);
            Ok(())
        }
    }

    /// The task that takes the place of a failed one.
    fn handler(&self, failed: &PlannedTask, record: &TaskRecord) -> Option<PlannedTask> {
        if record.status != TaskStatus::Failed || !plan::is_handled(record) {
            return None;
        }
        let handler = self.context.version.node(&failed.node)?.error_handler.as_ref()?;
        let thread = &self.context.claimed.thread;
        Some(failed.handler(thread, &self.frame.checkpoint.id, handler, record.error.as_ref()))
    }

    /// Moves to the next checkpoint; gives a report when there is a reason to stop there.
    async fn advance(&mut self, report: StepReport, next: NewCheckpoint) -> Result<Option<FrameReport>, Error> {
        let StepReport { mut write, performed, slow, last_event_at_ms, .. } = report;
        next.patch.apply(&mut self.frame.values);
        let frame = &mut self.frame;
        frame.checkpoint = Arc::new(next.record.clone());
        frame.tasks.clear();
        frame.questions.clear();
        frame.children.clear();
        if self.context.keeps {
            self.tell_checkpoint(&mut write);
            write.checkpoints.push(next);
            write.tasks.extend(self.link_at_head());
        }
        let record = &self.frame.checkpoint;
        let end = if record.next.is_empty() {
            Some(FrameEnd::Done)
        } else if self.breaks_after(record) || self.breaks_before(&record.next) {
            if self.context.keeps {
                write.tasks.push(self.pause_record());
            }
            Some(FrameEnd::Waiting)
        } else if self.context.keeps && self.context.claimed.options.drain.is_requested() {
            Some(FrameEnd::Drained)
        } else {
            None
        };
        if let Some(end) = end {
            let stopped = self.stopped(end, write);
            return Ok(Some(FrameReport { performed, last_event_at_ms, ..stopped }));
        }
        let ledger = self.context.ledger();
        let run_ahead_max = self.context.claimed.config.run_ahead_max;
        if !self.context.keeps {
            // Nothing but operations is stored of a subgraph that keeps nothing.
            if !write.operations.is_empty() || !write.hits.is_empty() {
                ledger.store(write).await?;
            }
        } else if !performed && !slow && ledger.held_back().await < run_ahead_max {
            ledger.hold_back(write, true).await;
        } else {
            ledger.store(write).await?;
        }
        Ok(None)
    }

    /// Stops with unfinished tasks: failed when one failed, waiting otherwise.
    fn parked(&mut self, planned: &[PlannedTask], report: StepReport) -> FrameReport {
        let (mut failed, mut in_doubt) = (None, None);
        for task in planned {
            let Some(record) = self.frame.tasks.get(&task.id) else { continue };
            // An error handler that failed, or waits, stands for the task whose place it took.
            let handler = self.handler(task, record).and_then(|handler| self.frame.tasks.get(&handler.id));
            let record = handler.unwrap_or(record);
            match record.status {
                TaskStatus::Failed if failed.is_none() => failed = Some(record.error.clone()),
                TaskStatus::InDoubt if in_doubt.is_none() => in_doubt = Some(record.error.clone()),
                _ => {}
            }
        }
        let end = match (failed, report.drained, in_doubt) {
            (Some(error), ..) => FrameEnd::Failed(error),
            (None, true, _) => FrameEnd::Drained,
            (None, false, Some(error)) => FrameEnd::InDoubt(error),
            (None, false, None) => FrameEnd::Waiting,
        };
        self.ended(end, report)
    }

    fn refused(&mut self, error: &StepError, report: StepReport) -> FrameReport {
        self.ended(FrameEnd::Failed(Some(error.to_thread_error())), report)
    }

    fn left(&mut self, command: Command, report: StepReport) -> FrameReport {
        self.ended(FrameEnd::Left(command), report)
    }

    fn ended(&mut self, end: FrameEnd, report: StepReport) -> FrameReport {
        let StepReport { write, performed, last_event_at_ms, .. } = report;
        FrameReport { performed, last_event_at_ms, ..self.stopped(end, write) }
    }

    fn stopped(&mut self, end: FrameEnd, write: Write) -> FrameReport {
        FrameReport {
            end,
            checkpoint: Arc::clone(&self.frame.checkpoint),
            values: std::mem::take(&mut self.frame.values),
            write,
            performed: false,
            last_event_at_ms: None,
        }
    }

    /// The parent's task with this graph at its head.
    fn link_at_head(&self) -> Option<TaskRecord> {
        let link = self.frame.link.as_ref()?;
        Some(TaskRecord {
            child: Some(self.frame.checkpoint.id.clone()),
            updated_at_ms: self.context.ledger().now_ms(),
            ..link.clone()
        })
    }

    fn is_paused_here(&self) -> bool {
        self.frame.tasks.values().any(|record| record.path == PAUSE)
    }

    fn pause_record(&self) -> TaskRecord {
        pause_record(&self.context.claimed.thread, &self.frame.checkpoint, self.context.ledger().now_ms())
    }

    fn breaks_before(&self, next: &[Trigger]) -> bool {
        let called = self.called_breakpoints().map(|breakpoints| &breakpoints.before);
        next.iter().any(|trigger| match trigger {
            Trigger::Pull(node) | Trigger::Push { node, .. } => {
                called.is_some_and(|selection| selection.contains(node))
                    || self.context.version.node(node).is_some_and(|node| node.interrupt_before)
            }
            Trigger::Start => false,
        })
    }

    fn breaks_after(&self, checkpoint: &CheckpointRecord) -> bool {
        let called = self.called_breakpoints().map(|breakpoints| &breakpoints.after);
        checkpoint.writers.iter().any(|node| {
            called.is_some_and(|selection| selection.contains(node))
                || self.context.version.node(node).is_some_and(|node| node.interrupt_after)
        })
    }

    /// Breakpoints that came with the call are those of the thread's own graph.
    fn called_breakpoints(&self) -> Option<&crate::engine::Breakpoints> {
        self.context.namespace.is_root().then_some(&self.context.claimed.options.breakpoints)
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
