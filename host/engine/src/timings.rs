//! How long things take, told to whoever keeps figures. Without anybody who does, no clock is read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_graph::nodes::NodeOutcome;
use holdpoint_store as store;

/// Takes how long things took. Must not wait: it is called between a run's steps.
pub trait Timings: Send + Sync {
    /// A commit on a thread, or a change of a question, is durable: so long from handing it over to knowing it. What was refused is not told.
    fn committed(&self, took: Duration);

    /// A node was executed once; a retry is another execution. A result that was there already is none.
    fn executed(&self, end: ExecutionEnd, took: Duration);
}

/// How one execution of a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionEnd {
    /// It returned a command.
    Completed,
    /// It asked a question that has no answer yet.
    Interrupted,
    /// An operation's outcome is unknown.
    InDoubt,
    /// Its author reported a failure.
    Failed,
    /// It trapped.
    Trapped,
    /// It went over a limit.
    LimitExceeded,
    /// The host could not execute it.
    HostFault,
    /// It wanted operations on a branch that performs none.
    Withheld,
    /// Another writer owns the thread: nothing of it counts.
    Fenced,
}

impl ExecutionEnd {
    /// All of them with their names.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::Completed, "completed"),
        (Self::Interrupted, "interrupted"),
        (Self::InDoubt, "in_doubt"),
        (Self::Failed, "failed"),
        (Self::Trapped, "trapped"),
        (Self::LimitExceeded, "limit_exceeded"),
        (Self::HostFault, "host_fault"),
        (Self::Withheld, "withheld"),
        (Self::Fenced, "fenced"),
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

impl From<&NodeOutcome> for ExecutionEnd {
    fn from(outcome: &NodeOutcome) -> Self {
        match outcome {
            NodeOutcome::Completed(_) => Self::Completed,
            NodeOutcome::Interrupted(_) => Self::Interrupted,
            NodeOutcome::InDoubt { .. } => Self::InDoubt,
            NodeOutcome::Failed(_) => Self::Failed,
            NodeOutcome::Trapped(_) => Self::Trapped,
            NodeOutcome::LimitExceeded { .. } => Self::LimitExceeded,
            NodeOutcome::HostFault(_) => Self::HostFault,
            NodeOutcome::Withheld { .. } => Self::Withheld,
            NodeOutcome::Fenced => Self::Fenced,
        }
    }
}

/// Whoever keeps figures, if anybody does. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Timer(Option<Arc<dyn Timings>>);

impl Timer {
    pub(crate) fn new(timings: Arc<dyn Timings>) -> Self {
        Self(Some(timings))
    }

    /// Waits for a write and tells how long it took.
    pub(crate) async fn write<T>(
        &self,
        write: impl Future<Output = Result<T, store::Error>> + Send,
    ) -> Result<T, store::Error> {
        let Some(timings) = &self.0 else { return write.await };
        let begun = Instant::now();
        let written = write.await;
        if written.is_ok() {
            timings.committed(begun.elapsed());
        }
        written
    }

    /// Waits for a node and tells how long it took.
    pub(crate) async fn execution<T>(
        &self,
        execution: impl Future<Output = T> + Send,
        outcome: impl FnOnce(&T) -> &NodeOutcome,
    ) -> T {
        let Some(timings) = &self.0 else { return execution.await };
        let begun = Instant::now();
        let report = execution.await;
        timings.executed(ExecutionEnd::from(outcome(&report)), begun.elapsed());
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_ends() {
        for (end, name) in ExecutionEnd::NAMES {
            assert_eq!(end.name(), name);
        }
    }
}
