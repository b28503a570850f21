//! What the host knows about a running guest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_effects::{Effects, Finished, TaskEffects};
use holdpoint_graph::nodes::{Failure, NodeCall, NodeOutcome};

use crate::call::memory::MemoryLimiter;
use crate::call::recorded::Recorded;
use crate::call::report::Reporter;
use crate::call::wasi::Wasi;
use crate::options::CallLimits;

/// Longer than any call may last; keeps deadlines within what the clock can express.
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The data of a store.
pub(crate) struct State {
    /// What the guest was started for.
    pub(crate) purpose: Purpose,
    pub(crate) limits: CallLimits,
    pub(crate) memory: MemoryLimiter,
    pub(crate) recorded: Recorded,
    pub(crate) reporter: Arc<Reporter>,
    /// Made when the guest first uses it: most nodes never do.
    pub(crate) wasi: Option<Box<Wasi>>,
    /// When the guest's time is over.
    pub(crate) deadline: Instant,
    /// The time from start to `deadline`.
    pub(crate) time_ms: u64,
    /// `interrupt` and `ask` calls so far.
    pub(crate) questions: u32,
    /// How the call ended, from the moment that it is decided: nothing that the guest does afterwards counts.
    pub(crate) ended: Option<NodeOutcome>,
}

/// What a guest was started for.
pub(crate) enum Purpose {
    /// To execute a task.
    Run(Box<Running>),
    /// To describe itself, or to see whether it starts. It may ask for nothing.
    Describe,
}

/// The running task.
pub(crate) struct Running {
    pub(crate) call: Arc<NodeCall>,
    pub(crate) effects: Effects,
    /// Made when the guest first performs something.
    pub(crate) performing: Option<TaskEffects>,
}

/// The error by which a host function ends the guest. No guest can catch it; why it ended is in [`State::ended`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the host ended the call")]
pub(crate) struct Ended;

/// A limit that was reached, by the name in which it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) limit: &'static str,
    pub(crate) message: String,
}

impl From<Exceeded> for NodeOutcome {
    fn from(exceeded: Exceeded) -> Self {
        Self::LimitExceeded { limit: exceeded.limit.to_owned(), message: exceeded.message }
    }
}

impl State {
    /// For a task.
    pub(crate) fn run(call: Arc<NodeCall>, effects: &Effects, limits: &CallLimits) -> Self {
        let recorded = Recorded::new(call.clock_ms, call.task.id.as_str());
        let reporter = Reporter::new(Some(Arc::clone(&call.journal)), limits);
        let memory_bytes = call.limits.memory_bytes.unwrap_or(limits.memory_bytes);
        let time_ms = call.limits.time_ms.unwrap_or(limits.time_ms);
        let running = Running { call, effects: effects.clone(), performing: None };
        Self::new(Purpose::Run(Box::new(running)), recorded, reporter, memory_bytes, time_ms, limits)
    }

    /// For a description.
    pub(crate) fn describe(limits: &CallLimits) -> Self {
        let recorded = Recorded::new(0, "describe");
        Self::new(Purpose::Describe, recorded, Reporter::new(None, limits), limits.memory_bytes, limits.time_ms, limits)
    }

    fn new(
        purpose: Purpose,
        recorded: Recorded,
        reporter: Reporter,
        memory_bytes: u64,
        time_ms: u64,
        limits: &CallLimits,
    ) -> Self {
        let time_ms = time_ms.min(TIME_MS_MAX);
        Self {
            purpose,
            limits: limits.clone(),
            memory: MemoryLimiter::new(memory_bytes),
            recorded,
            reporter: Arc::new(reporter),
            wasi: None,
            deadline: Instant::now() + Duration::from_millis(time_ms),
            time_ms,
            questions: 0,
            ended: None,
        }
    }

    /// Ends the call. The first end stands.
    pub(crate) fn end<T>(&mut self, outcome: impl Into<NodeOutcome>) -> wasmtime::Result<T> {
        self.ended.get_or_insert(outcome.into());
        Err(Ended.into())
    }

    /// The running task, for host functions that only tasks may call.
    pub(crate) fn running(&mut self, function: &str) -> wasmtime::Result<&mut Running> {
        if matches!(self.purpose, Purpose::Describe) {
            return self.end(NodeOutcome::Trapped(format!("`{function}` was called outside of `run`")));
        }
        match &mut self.purpose {
            Purpose::Run(running) => Ok(running),
            Purpose::Describe => Err(Ended.into()),
        }
    }

    /// Why guests may not go on when their time is over.
    pub(crate) fn time_is_over(&self) -> Exceeded {
        Exceeded { limit: "time", message: format!("the node ran longer than {} ms", self.time_ms) }
    }

    /// The latest moment at which any call must have ended, operations included.
    pub(crate) fn operations_deadline(&self) -> Instant {
        self.deadline + Duration::from_millis(self.limits.operation_grace_ms.min(TIME_MS_MAX))
    }

    /// What the call's operations leave for the task's commit.
    pub(crate) fn into_finished(self) -> Finished {
        match self.purpose {
            Purpose::Run(running) => running.performing.map(TaskEffects::finish).unwrap_or_default(),
            Purpose::Describe => Finished::default(),
        }
    }
}

/// A failure that the host reports in the author's name because the author's value was malformed. Never retried: it would be the same again.
pub(crate) fn malformed(code: &str, message: String) -> NodeOutcome {
    NodeOutcome::Failed(Failure {
        code: code.to_owned(),
        message,
        retryable: false,
        retry_after_ms: None,
        details: None,
    })
}
