//! The tasks of one checkpoint.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{Component, Work};
use holdpoint_graph::ids::{NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{Command, Nodes, State};
use holdpoint_graph::state::StateError;
use holdpoint_store::{CheckpointRecord, Snapshot, Store, TaskRecord, TaskStatus, ThreadRecord};
use serde_json::{Value, json};

use super::quiet::QuietNodes;
use super::{Place, Reason, Verdict};
use crate::engine::Config;
use crate::error::Error;
use crate::plan::{self, COMMAND, INPUT, PAUSE, PlannedTask};
use crate::states::States;
use crate::task::Assignment;
use crate::version::Version;

/// What all checks of a thread share.
pub(crate) struct Checker {
    pub(super) nodes: Arc<dyn Nodes>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: Config,
    pub(super) thread: ThreadRecord,
}

impl Checker {
    /// Executes with `nodes`, which perform nothing then.
    pub(crate) fn new(
        nodes: Arc<dyn Nodes>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        config: Config,
        thread: ThreadRecord,
    ) -> Self {
        Self { nodes: Arc::new(QuietNodes(nodes)), store, clock, config, thread }
    }

    /// The thread that the tasks of a checkpoint ran in: a copy keeps what its original recorded. None when no thread is known that they can have
    /// run in.
    pub(crate) fn author(&self, snapshot: &Snapshot) -> Option<&ThreadId> {
        let ThreadRecord { id, lineage, .. } = &self.thread;
        let checkpoint = &snapshot.checkpoint.id;
        let ran_in = |thread: &&ThreadId| {
            let mut records = snapshot.tasks.iter();
            records.all(|record| record.id == TaskId::derive(thread, checkpoint, &record.path))
        };
        // In a thread that is no copy, a record that does not fit is one that nothing planned.
        [id, lineage].into_iter().find(ran_in).or((id == lineage).then_some(id))
    }

    /// What is recorded of the tasks of a checkpoint, in order of path.
    pub(crate) fn step<'a>(&'a self, version: &Arc<Version>, snapshot: &'a Snapshot) -> (Step<'a>, Vec<Subject<'a>>) {
        let author = self.author(snapshot);
        let own = author.unwrap_or(&self.thread.id);
        let tasks = match author {
            Some(author) => planned(version, author, snapshot),
            None => Vec::new(),
        };
        let known: HashSet<&TaskId> = tasks.iter().map(|(task, _)| &task.id).collect();
        let is_task =
            |record: &&TaskRecord| ![INPUT, PAUSE].contains(&record.path.as_str()) && !record.path.starts_with(COMMAND);
        let unplanned: Vec<&TaskRecord> =
            snapshot.tasks.iter().filter(is_task).filter(|record| !known.contains(&record.id)).collect();
        let unplanned = unplanned.into_iter().map(|record| match author {
            Some(_) => Subject::Unplanned(record),
            None => Subject::Foreign(record),
        });
        let unplanned: Vec<Subject<'a>> = unplanned.collect();
        let subjects = tasks.into_iter().map(|(task, record)| Subject::Task(task, record)).chain(unplanned).collect();
        let step = Step {
            checker: self,
            version: Arc::clone(version),
            author: own.clone(),
            snapshot,
            checkpoint: Arc::new(snapshot.checkpoint.clone()),
            written: written(snapshot),
            states: HashMap::new(),
            calm: None,
        };
        (step, subjects)
    }
}

/// Something that is recorded at a checkpoint.
pub(crate) enum Subject<'a> {
    /// A task that the checkpoint leads to.
    Task(PlannedTask, &'a TaskRecord),
    /// A task that nothing leads to.
    Unplanned(&'a TaskRecord),
    /// A task of a thread that is not known.
    Foreign(&'a TaskRecord),
}

impl Subject<'_> {
    pub(crate) fn place(&self, checkpoint: &CheckpointRecord) -> Place {
        let (Self::Task(_, record) | Self::Unplanned(record) | Self::Foreign(record)) = self;
        Place::of_task(checkpoint, record)
    }
}

/// The recorded tasks that a checkpoint leads to, and the error handlers that took their places.
fn planned<'a>(version: &Version, author: &ThreadId, snapshot: &'a Snapshot) -> Vec<(PlannedTask, &'a TaskRecord)> {
    let records: HashMap<&TaskId, &TaskRecord> = snapshot.tasks.iter().map(|record| (&record.id, record)).collect();
    let mut found = Vec::new();
    for task in plan::tasks_of(author, &snapshot.checkpoint, &snapshot.tasks) {
        let mut current = Some(task);
        while let Some(task) = current.take() {
            let Some(record) = records.get(&task.id).copied() else { break };
            if record.status == TaskStatus::Failed && plan::is_handled(record) {
                let handler = version.node(&task.node).and_then(|node| node.error_handler.as_ref());
                current = handler
                    .map(|handler| task.handler(author, &snapshot.checkpoint.id, handler, record.error.as_ref()));
            }
            found.push((task, record));
        }
    }
    found
}

/// What callers wrote in the middle of the step, with the moments, in order.
fn written(snapshot: &Snapshot) -> Vec<(u64, &str, &Command)> {
    let records = snapshot.tasks.iter().filter(|record| record.path.starts_with(COMMAND));
    let mut written: Vec<(u64, &str, &Command)> = records
        .filter_map(|record| Some((record.updated_at_ms, record.path.as_str(), record.result.as_ref()?)))
        .collect();
    written.sort_by_key(|(_, path, _)| *path);
    written
}

/// One checkpoint, with what its tasks share.
pub(crate) struct Step<'a> {
    pub(super) checker: &'a Checker,
    pub(super) version: Arc<Version>,
    pub(super) author: ThreadId,
    pub(super) snapshot: &'a Snapshot,
    pub(super) checkpoint: Arc<CheckpointRecord>,
    written: Vec<(u64, &'a str, &'a Command)>,
    /// By how much of what callers wrote their tasks saw.
    states: HashMap<usize, States>,
    /// The version without what only takes time: made when it is first needed.
    pub(super) calm: Option<Arc<Version>>,
}

impl Step<'_> {
    /// Checks what is recorded of one task.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn check(&mut self, subject: &Subject<'_>) -> Result<Verdict, Error> {
        let (task, record) = match subject {
            Subject::Task(task, record) => (task, *record),
            Subject::Foreign(_) => return Ok(Verdict::Skipped(Reason::OtherThread)),
            Subject::Unplanned(record) => {
                let expected = json!({ "id": record.id.as_str(), "path": record.path, "status": record.status.name() });
                return Ok(Verdict::differs("task", expected, json!("nothing leads to this task")));
            }
        };
        if task.node != record.node {
            return Ok(Verdict::differs("task", names_node(&record.node), names_node(&task.node)));
        }
        if record.status == TaskStatus::Done && record.executions == 0 {
            return Ok(Verdict::Skipped(Reason::NotExecuted));
        }
        let version = Arc::clone(&self.version);
        let Some(node) = version.node(&task.node) else {
            return Ok(Verdict::differs("task", names_node(&task.node), json!("the graph has no such node")));
        };
        match &node.work {
            Work::Component(Component::Digest(component)) => self.execution(task, record, node, component).await,
            Work::Component(_) => {
                Ok(Verdict::differs("task", names_node(&task.node), json!("the node's component is not deployed")))
            }
            Work::Subgraph(_) => self.run(task, record).await,
        }
    }

    /// How much of what callers wrote a task may have seen when it was last executed, from most to least: what was written before for certain, and
    /// what was written in the same millisecond perhaps.
    pub(super) fn seen_by(&self, record: &TaskRecord) -> impl Iterator<Item = usize> + use<> {
        let until = |limit: &dyn Fn(u64) -> bool| self.written.iter().take_while(|(at_ms, ..)| limit(*at_ms)).count();
        let certain = until(&|at_ms| at_ms < record.updated_at_ms);
        let possible = until(&|at_ms| at_ms <= record.updated_at_ms);
        (certain..=possible).rev()
    }

    /// A task as the driver makes it, when this much of what callers wrote was there.
    ///
    /// # Errors
    /// What callers wrote does not fit the state.
    pub(super) fn assignment(
        &mut self,
        planned: &PlannedTask,
        record: &TaskRecord,
        seen: usize,
    ) -> Result<Assignment, StateError> {
        let (state, steps_left) = self.state(&planned.node, record.steps_left, seen)?;
        let questions = self.snapshot.questions.iter().filter(|question| question.task == planned.id);
        Ok(Assignment {
            checkpoint: Arc::clone(&self.checkpoint),
            state,
            steps_left,
            questions: questions.cloned().collect(),
            executions: record.executions,
            child: None,
            kept: None,
            planned: planned.clone(),
        })
    }

    fn state(
        &mut self,
        node: &NodeName,
        steps_left: Option<u32>,
        seen: usize,
    ) -> Result<(State, Option<u32>), StateError> {
        let values = &self.snapshot.values;
        if let Some(states) = self.states.get_mut(&seen) {
            return Ok(states.of(node, steps_left, values));
        }
        let written: Vec<(&str, &Command)> =
            self.written.iter().take(seen).map(|(_, path, command)| (*path, *command)).collect();
        let graph = &self.version.graph;
        let mut states = States::new(Arc::clone(graph), values, &written, graph.recursion_limit)?;
        let made = states.of(node, steps_left, values);
        self.states.insert(seen, states);
        Ok(made)
    }
}

fn names_node(node: &NodeName) -> Value {
    json!({ "node": node.as_str() })
}
