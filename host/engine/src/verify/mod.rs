//! Whether a thread's history says what its nodes do (`replayable`, DESIGN 9): every recorded task is executed again from its records, and every
//! superstep applied again. Performs no operation and writes nothing.
//!
//! # Layout
//!
//! * [`Report`]: what was found. [`crate::Engine::verify`] makes it.
//! * `step`: the tasks of one checkpoint. `execution`: one that executes a component; `run`: one that runs a subgraph.
//! * `transition`: from a checkpoint to the next. Pure.
//! * `quiet`: nodes that perform nothing.

mod execution;
mod quiet;
mod run;
mod step;
mod transition;

use std::collections::BTreeMap;
use std::fmt;

use holdpoint_graph::ids::{CheckpointId, Namespace, NodeName, TaskId};
use holdpoint_store::{CheckpointRecord, TaskRecord};
use serde_json::{Value, json};

pub(crate) use step::Checker;
pub(crate) use transition::{is_entry, is_made, transition};

/// Most tasks that a report lists of those that could not be checked; all are counted.
const SKIPPED_LISTED_MAX: usize = 100;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Checkpoints that were looked at.
    pub checkpoints: u64,
    /// Tasks that came to what is recorded of them: nodes executed again, and what subgraphs hand up computed again.
    pub tasks: u64,
    /// Checkpoints that were made again from the ones before them.
    pub transitions: u64,
    /// What could not be checked, by reason.
    pub skipped: BTreeMap<Reason, u64>,
    /// The first of these, in order of storing.
    pub skipped_first: Vec<Skipped>,
    /// The first difference; nothing after it was looked at.
    pub difference: Option<Difference>,
}

/// Where in a history something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The checkpoint: the one that a task starts from, or the one that is not what its superstep makes.
    pub checkpoint: CheckpointId,
    /// Which graph of the thread it belongs to.
    pub namespace: Namespace,
    /// The superstep.
    pub step: i64,
    /// The task, where it is one's.
    pub task: Option<TaskId>,
    /// Its node.
    pub node: Option<NodeName>,
}

/// Something that was not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where.
    pub place: Place,
    /// Why.
    pub reason: Reason,
}

/// What is not as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// What differs: `result`, `question`, `failure`, `doubt`, `run` or `task` of a task; `values`, `next`, `id` or another part of a checkpoint.
    pub what: &'static str,
    /// What is recorded.
    pub expected: Value,
    /// What came of it now.
    pub found: Value,
}

/// Why something was not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No node was executed for it: its result came from the cache or from an update.
    NotExecuted,
    /// It has no outcome yet.
    Unfinished,
    /// It failed for something that the host could not do.
    HostFault,
    /// It came to a limit of time, then or now.
    TimeLimit,
    /// It failed at an operation of whose failure nothing is recorded.
    FailureNotRecorded,
    /// It waited for, or did without, an operation that has been performed since.
    PerformedSince,
    /// The doubt that it stopped at has been settled since.
    SettledSince,
    /// It failed at the recursion limit, which counts the supersteps of a run.
    RecursionLimit,
    /// Operations moved the clock of a subgraph of which nothing is kept.
    ClockNotKept,
    /// What it was made from is not stored any more, or was not stored by the version that made it.
    NotStored,
    /// It was recorded by another thread of the lineage, whose name is not known here.
    OtherThread,
}

impl Reason {
    /// All reasons with their stable names and what they say.
    pub const NAMES: [(Self, &'static str, &'static str); 11] = [
        (Self::NotExecuted, "not-executed", "its result came from the cache or from an update"),
        (Self::Unfinished, "unfinished", "it has no outcome yet"),
        (Self::HostFault, "host-fault", "it failed for something that the host could not do"),
        (Self::TimeLimit, "time-limit", "it came to a limit of time, then or now"),
        (
            Self::FailureNotRecorded,
            "failure-not-recorded",
            "it failed at an operation of whose failure nothing is recorded",
        ),
        (Self::PerformedSince, "performed-since", "an operation that it did without has been performed since"),
        (Self::SettledSince, "settled-since", "the doubt that it stopped at has been settled since"),
        (
            Self::RecursionLimit,
            "recursion-limit",
            "it failed at the recursion limit, which counts the supersteps of a run",
        ),
        (Self::ClockNotKept, "clock-not-kept", "operations moved the clock of a subgraph of which nothing is kept"),
        (Self::NotStored, "not-stored", "what it was made from is not stored"),
        (
            Self::OtherThread,
            "other-thread",
            "it was recorded by another thread of the lineage, whose name is not known here",
        ),
    ];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Self::NAMES[*self as usize].2)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(formatter, "node {node} in ")?;
        }
        write!(formatter, "superstep {}", self.step)?;
        if !self.namespace.is_root() {
            write!(formatter, " of the subgraph {}", self.namespace)?;
        }
        let preposition = if self.task.is_some() { "from" } else { "to" };
        write!(formatter, ", {preposition} checkpoint {}", self.checkpoint)
    }
}

impl Place {
    /// A task's.
    pub(crate) fn of_task(checkpoint: &CheckpointRecord, record: &TaskRecord) -> Self {
        Self {
            step: checkpoint.step.saturating_add(1),
            task: Some(record.id.clone()),
            node: Some(record.node.clone()),
            ..Self::of(checkpoint)
        }
    }

    /// A checkpoint's.
    pub(crate) fn of(checkpoint: &CheckpointRecord) -> Self {
        Self {
            checkpoint: checkpoint.id.clone(),
            namespace: checkpoint.namespace.clone(),
            step: checkpoint.step,
            task: None,
            node: None,
        }
    }
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It is as recorded.
    Same,
    /// It cannot be checked.
    Skipped(Reason),
    /// It is not as recorded.
    Differs(Box<Finding>),
}

/// What is not as recorded, without its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) expected: Value,
    pub(crate) found: Value,
}

impl Verdict {
    pub(crate) fn differs(what: &'static str, expected: Value, found: Value) -> Self {
        Self::Differs(Box::new(Finding { what, expected, found }))
    }

    /// [`Self::Same`], or what differs.
    pub(crate) fn compare(what: &'static str, expected: Value, found: Value) -> Self {
        if expected == found { Self::Same } else { Self::differs(what, expected, found) }
    }
}

impl Report {
    /// Takes a verdict on a task in. Whether to go on.
    pub(crate) fn task(&mut self, place: Place, verdict: Verdict) -> bool {
        self.tasks += u64::from(verdict == Verdict::Same);
        self.take(place, verdict)
    }

    /// Takes a verdict on a checkpoint in. Whether to go on.
    pub(crate) fn transition(&mut self, place: Place, verdict: Verdict) -> bool {
        self.transitions += u64::from(verdict == Verdict::Same);
        self.take(place, verdict)
    }

    fn take(&mut self, place: Place, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Same => true,
            Verdict::Skipped(reason) => {
                *self.skipped.entry(reason).or_default() += 1;
                if self.skipped_first.len() < SKIPPED_LISTED_MAX {
                    self.skipped_first.push(Skipped { place, reason });
                }
                true
            }
            Verdict::Differs(finding) => {
                let Finding { what, expected, found } = *finding;
                self.difference = Some(Difference { place, what, expected, found });
                false
            }
        }
    }
}

/// A command as a difference shows it.
fn command_json(command: &holdpoint_graph::nodes::Command) -> Value {
    use holdpoint_graph::nodes::Destination;
    let goto = command.goto.iter().map(|destination| match destination {
        Destination::Node(node) => json!({ "node": node }),
        Destination::Send { node, argument } => json!({ "send": { "node": node, "argument": argument } }),
        Destination::Parent(node) => json!({ "parent": node }),
        Destination::End => json!("end"),
    });
    json!({ "update": command.update, "goto": goto.collect::<Vec<_>>() })
}

/// An error as a difference shows it: what stays the same when the node fails again.
fn error_json(error: &holdpoint_store::ThreadError) -> Value {
    json!({ "code": error.code, "message": error.message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_order() {
        for (position, (reason, name, text)) in Reason::NAMES.into_iter().enumerate() {
            assert_eq!((reason as usize, reason.name(), reason.to_string().as_str()), (position, name, text));
        }
    }
}
