//! A task that runs a subgraph: how its run began and what it handed up, computed again. What happened in between is checked in the run's own
//! namespace. A run of which nothing is kept is run again.

use std::sync::Arc;
use std::time::Instant;

use holdpoint_graph::definition::{Graph, Persist, Work};
use holdpoint_graph::ids::CheckpointId;
use holdpoint_graph::notice::NoDirectory;
use holdpoint_store::{NewCheckpoint, Snapshot, Source, TaskRecord, TaskStatus, ThreadError};
use serde_json::{Map, Value, json};

use super::execution::HOST_FAULT;
use super::step::Step;
use super::{Finding, Reason, Verdict, command_json, error_json, transition};
use crate::apply::{self, Applied};
use crate::child::{self, Caller, Kept};
use crate::engine::RunOptions;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::plan::{self, PlannedTask, Records};
use crate::subgraph;
use crate::task::{Assignment, Claimed, Context};
use crate::timings::Timer;
use crate::version::Version;

const RECURSION_LIMIT: &str = "HP0420";

/// How a run began, as it is stored.
struct Beginning {
    /// Its first checkpoint: the input, before anything of it is applied.
    input: Snapshot,
    /// The one after it.
    start: Snapshot,
}

impl Step<'_> {
    pub(super) async fn run(&mut self, planned: &PlannedTask, record: &TaskRecord) -> Result<Verdict, Error> {
        if record.error.as_ref().is_some_and(|error| error.code == HOST_FAULT) {
            return Ok(Verdict::Skipped(Reason::HostFault));
        }
        let version = Arc::clone(&self.version);
        let (Some(child), Some(persist)) = (version.children.get(&planned.node), version.persist(&planned.node)) else {
            return Ok(Verdict::differs("run", json!({ "node": planned.node.as_str() }), json!("no subgraph")));
        };
        let mut first = None;
        // A run that went on after a caller wrote something had begun before.
        for seen in (0..=self.seen_by(record).next().unwrap_or_default()).rev() {
            let verdict = match self.assignment(planned, record, seen) {
                Ok(assignment) if persist == Persist::None => self.unkept(assignment, record, child).await?,
                Ok(assignment) => self.kept(&assignment, record, child, persist).await?,
                Err(error) => Verdict::differs("values", json!("fit the state"), json!({ "error": error.to_string() })),
            };
            if verdict == Verdict::Same {
                return Ok(Verdict::Same);
            }
            first.get_or_insert(verdict);
        }
        Ok(first.unwrap_or(Verdict::Skipped(Reason::Unfinished)))
    }

    async fn kept(
        &self,
        assignment: &Assignment,
        record: &TaskRecord,
        child: &Version,
        persist: Persist,
    ) -> Result<Verdict, Error> {
        let node = &assignment.planned.node;
        let task = (persist != Persist::PerThread).then_some(&assignment.planned.id);
        let namespace = self.checkpoint.namespace.child(node, task);
        let previous = match (persist, self.checkpoint.children.get(node)) {
            (Persist::PerThread, Some(id)) => match self.stored(id).await? {
                Some(Snapshot { checkpoint, values, .. }) => Some(Kept { checkpoint, values }),
                None => return Ok(Verdict::Skipped(Reason::NotStored)),
            },
            _ => None,
        };
        let end = match &record.child {
            Some(id) => self.stored(id).await?,
            None => None,
        };
        let before = previous.as_ref().map(|kept| kept.values.clone());
        let caller = Caller { thread: &self.author, lineage: &self.checker.thread.lineage, assignment, now_ms: 0 };
        let entry = match (child::entry(child, &namespace, previous, &caller), &record.error) {
            (Ok((entry, _)), _) => entry,
            (Err(found), Some(error)) if record.child.is_none() => return Ok(compare_errors(error, &found)),
            (Err(found), _) => {
                return Ok(Verdict::differs(
                    "run",
                    json!(record.status.name()),
                    json!({ "failed": error_json(&found) }),
                ));
            }
        };
        let Some(end) = end else {
            return Ok(match &record.error {
                Some(error) if record.child.is_none() => {
                    Verdict::differs("run", json!({ "failed": error_json(error) }), json!("the run begins"))
                }
                _ => Verdict::Skipped(Reason::NotStored),
            });
        };
        let Some(Beginning { input, start }) = self.beginning(end.clone()).await? else {
            return Ok(Verdict::Skipped(Reason::NotStored));
        };
        if let Verdict::Differs(finding) = compare_beginnings(entry, before, &input, &start) {
            return Ok(Verdict::Differs(Box::new(Finding { what: "run", ..*finding })));
        }
        Ok(self.compare_ends(record, child, &start.values, &end))
    }

    async fn stored(&self, id: &CheckpointId) -> Result<Option<Snapshot>, Error> {
        Ok(self.checker.store.snapshot(&self.checker.thread.id, Some(id)).await?)
    }

    /// From where a run has come to back to where it began. None when something between is not stored any more.
    async fn beginning(&self, end: Snapshot) -> Result<Option<Beginning>, Error> {
        let mut current = end;
        loop {
            let Some(parent) = &current.checkpoint.parent else { return Ok(None) };
            let Some(above) = self.stored(parent).await? else { return Ok(None) };
            if above.checkpoint.source == Source::Input {
                return Ok(Some(Beginning { input: above, start: current }));
            }
            current = above;
        }
    }

    /// What the run came to, and what that is for its task.
    fn compare_ends(
        &self,
        record: &TaskRecord,
        child: &Version,
        before: &Map<String, Value>,
        end: &Snapshot,
    ) -> Verdict {
        match record.status {
            TaskStatus::Done => {
                let expected = record.result.as_ref().map_or(Value::Null, command_json);
                let found = self.handed_up(child, before, end);
                Verdict::compare("result", expected, found)
            }
            TaskStatus::Failed => {
                let Some(error) = &record.error else {
                    return Verdict::differs(
                        "failure",
                        json!("no error is recorded"),
                        json!(end.checkpoint.id.as_str()),
                    );
                };
                if error.code == RECURSION_LIMIT {
                    return Verdict::Skipped(Reason::RecursionLimit);
                }
                let found = self.failures(child, end);
                if found.contains(&error_json(error)) {
                    return Verdict::Same;
                }
                Verdict::differs("failure", error_json(error), Value::Array(found))
            }
            TaskStatus::Interrupted if end.checkpoint.next.is_empty() => {
                Verdict::differs("run", json!("waits"), json!("nothing is left to run"))
            }
            TaskStatus::Interrupted => Verdict::Same,
            TaskStatus::InDoubt | TaskStatus::Running | TaskStatus::Paused => Verdict::Skipped(Reason::Unfinished),
        }
    }

    /// The command for the parent, or why there is none.
    fn handed_up(&self, child: &Version, before: &Map<String, Value>, end: &Snapshot) -> Value {
        if end.checkpoint.next.is_empty() {
            let update = subgraph::handed_up(&self.version.graph, &child.graph, before, &end.values);
            return command_json(&holdpoint_graph::nodes::Command { update, goto: Vec::new() });
        }
        match self.applied(child, end) {
            Some(Ok(Applied::Left(command))) => command_json(&command),
            Some(Ok(Applied::Advanced(_))) | None => json!("the run is not over"),
            Some(Err(error)) => json!({ "failed": error_json(&error.to_thread_error()) }),
        }
    }

    /// The superstep in which the run ended, applied again; none while tasks of it are unfinished.
    fn applied(&self, child: &Version, end: &Snapshot) -> Option<Result<Applied, apply::StepError>> {
        let (id, author) = (&end.checkpoint.id, &self.author);
        let planned = plan::tasks_of(author, &end.checkpoint, &end.tasks);
        if let Some(node) = plan::contested_subgraph(child, &planned) {
            return Some(Err(apply::StepError::ContestedSubgraph(node.clone())));
        }
        let recorded: Records = end.tasks.iter().map(|record| (record.id.clone(), record.clone())).collect();
        let finished = plan::finished(child, author, id, &planned, &recorded)?;
        let written = plan::commands(&end.tasks);
        Some(apply::apply(child, &end.checkpoint, &end.values, &written, &finished, end.checkpoint.clock_ms))
    }

    /// Everything that the run can have failed for where it ended.
    fn failures(&self, child: &Version, end: &Snapshot) -> Vec<Value> {
        let failed = end.tasks.iter().filter(|task| task.status == TaskStatus::Failed);
        let mut failures: Vec<Value> = failed.filter_map(|task| task.error.as_ref()).map(error_json).collect();
        if let Some(Err(error)) = self.applied(child, end) {
            failures.push(error_json(&error.to_thread_error()));
        }
        failures
    }

    /// Runs a subgraph of which nothing is kept.
    async fn unkept(&mut self, assignment: Assignment, record: &TaskRecord, child: &Version) -> Result<Verdict, Error> {
        let version = match &self.calm {
            Some(version) => Arc::clone(version),
            None => Arc::clone(self.calm.insert(Arc::new(calm(&self.version)))),
        };
        let checker = self.checker;
        let (thread, epoch) = (self.author.clone(), checker.thread.epoch);
        let (store, clock) = (Arc::clone(&checker.store), Arc::clone(&checker.clock));
        let claimed = Claimed {
            nodes: Arc::clone(&checker.nodes),
            ledger: Arc::new(Ledger::dry(store, clock, thread.clone(), epoch)),
            thread,
            lineage: checker.thread.lineage.clone(),
            epoch,
            config: checker.config.clone(),
            options: RunOptions::default(),
            requester: None,
            directory: Arc::new(NoDirectory),
            timer: Timer::default(),
        };
        let context =
            Context { claimed: Arc::new(claimed), version, namespace: self.checkpoint.namespace.clone(), keeps: true };
        let found = child::run(Arc::new(context), assignment, Instant::now()).await?.record;
        let verdict = match (record.status, &record.error, &found.error) {
            (TaskStatus::Failed, Some(expected), Some(found)) => compare_errors(expected, found),
            (TaskStatus::Done | TaskStatus::Failed, ..) => Verdict::compare("result", told(record), told(&found)),
            _ => Verdict::Skipped(Reason::Unfinished),
        };
        // Operations are answered from records here, and records do not move the clock as performing them did.
        Ok(match verdict {
            Verdict::Differs(_) if found.error.as_ref().is_some_and(|error| error.code == HOST_FAULT) => verdict,
            Verdict::Differs(_) if may_perform(child) => Verdict::Skipped(Reason::ClockNotKept),
            verdict => verdict,
        })
    }
}

fn compare_beginnings(
    entry: [NewCheckpoint; 2],
    before: Option<Map<String, Value>>,
    input: &Snapshot,
    start: &Snapshot,
) -> Verdict {
    let [first, applied] = entry;
    match transition::compare(&before.unwrap_or_default(), first, input) {
        Verdict::Same => transition::compare(&input.values, applied, start),
        verdict => verdict,
    }
}

fn compare_errors(expected: &ThreadError, found: &ThreadError) -> Verdict {
    Verdict::compare("failure", error_json(expected), error_json(found))
}

fn told(record: &TaskRecord) -> Value {
    match (&record.result, &record.error) {
        (Some(command), _) => command_json(command),
        (None, Some(error)) => json!({ "failed": error_json(error) }),
        (None, None) => record.status.name().into(),
    }
}

/// Without pauses between attempts that fail alike, and without results of other threads.
fn calm(version: &Version) -> Version {
    let mut graph = Graph::clone(&version.graph);
    for node in graph.nodes.values_mut() {
        node.retry = None;
        node.cache = None;
    }
    let children = version.children.iter().map(|(name, child)| (name.clone(), Arc::new(calm(child)))).collect();
    Version { digest: version.digest.clone(), graph: Arc::new(graph), children }
}

/// Whether a node of a graph, or of a subgraph of it, has a connector.
fn may_perform(version: &Version) -> bool {
    version.graph.nodes.values().any(|node| matches!(node.work, Work::Component(_)) && !node.connectors.is_empty())
        || version.children.values().any(|child| may_perform(child))
}
