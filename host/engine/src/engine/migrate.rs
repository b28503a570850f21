//! A waiting thread on another version of its graph (DESIGN 10).

use std::collections::BTreeSet;
use std::sync::Arc;

use holdpoint_graph::ids::{CheckpointId, NodeName, ThreadId};
use holdpoint_graph::state::{self, StateError};
use holdpoint_store::{Claim, Commit, Expect, Snapshot, ThreadStatus, Trigger};
use serde_json::{Map, Value, json};

use super::{Deployment, Engine};
use crate::error::Error;
use crate::plan;
use crate::verify::{Finding, Reason, Verdict};
use crate::version::Version;
use crate::view::{self, ThreadView};

impl Engine {
    /// Pins a waiting thread to another version of its graph, if nothing that has happened would be otherwise there: every node that it stands at is
    /// there, its values fit, and every task of its unfinished step, executed again on that version, comes to what is recorded or asks the same
    /// question. Open questions stay, under their ids. Nothing runs; operations are answered from their records.
    ///
    /// A channel that only the new version has is without a value until it is written.
    ///
    /// # Errors
    /// [`Error::NotMigratable`] with everything that differs; [`Error::NotWaiting`] for a thread that does not wait; [`Error::NotFinished`] in doubt;
    /// [`Error::Busy`]; [`Error::ThreadNotFound`]; [`Error::GraphUnavailable`]. Nothing is written then. [`Error::Store`].
    pub async fn migrate(&self, thread: &ThreadId, to: &Deployment) -> Result<ThreadView, Error> {
        let head = self.snapshot(thread).await?;
        self.check_idle(&head)?;
        if head.thread.status != ThreadStatus::Interrupted {
            return Err(Error::NotWaiting { thread: thread.clone(), status: head.thread.status });
        }
        let version = self.version(&to.digest).await?;
        if head.thread.graph == version.digest && head.checkpoint.graph == version.digest {
            return Ok(view::thread_view(&head, Some(&version), self.now_ms()));
        }
        let mut differences = fit(&version, &head);
        differences.extend(self.subgraph_differences(&version, &head).await?);
        differences.extend(self.task_differences(&version, &head).await?);
        if !differences.is_empty() {
            return Err(Error::NotMigratable { thread: thread.clone(), to: version.digest.clone(), differences });
        }
        let now_ms = self.inner.clock.now_ms();
        let moved = json!({ "from": head.thread.graph.as_str(), "to": version.digest.as_str() });
        let commit = Commit {
            // Raises the epoch, so that nobody who read the thread before can go on with the version before.
            claim: Some(Claim { owner: self.inner.owners.own_name().to_owned(), lease_until_ms: now_ms }),
            graph: Some(version.digest.clone()),
            audit: vec![self.entry(thread, "thread.migrated", now_ms, moved)],
            ..Commit::new(thread.clone(), Expect::Epoch(head.thread.epoch), ThreadStatus::Interrupted, now_ms)
        };
        if let Err(error) = self.inner.commit(commit).await {
            return Err(self.lost(thread, error, &[]).await?);
        }
        Ok(view::thread_view(&self.snapshot(thread).await?, Some(&version), self.now_ms()))
    }

    /// Executes the tasks of the step again on the new version.
    async fn task_differences(&self, version: &Arc<Version>, head: &Snapshot) -> Result<Vec<String>, Error> {
        let checker = self.checker(head.thread.clone());
        let (mut step, subjects) = checker.step(version, head);
        let mut differences = Vec::new();
        for subject in &subjects {
            let node = subject.place(&head.checkpoint).node;
            let Some(node) = node.filter(|node| version.node(node).is_some()) else { continue };
            match step.check(subject).await? {
                // What nobody executed does not depend on what would have been executed.
                Verdict::Same | Verdict::Skipped(Reason::NotExecuted) => {}
                Verdict::Skipped(reason) => {
                    differences.push(format!("node {node} cannot be shown to do the same: {reason}"));
                }
                Verdict::Differs(finding) => {
                    let Finding { what, expected, found } = *finding;
                    differences.push(format!("node {node}: the {what} was {expected} and would be {found}"));
                }
            }
        }
        Ok(differences)
    }

    /// Runs of subgraphs go on with the graph that they began with, so that has to be the new version's too.
    async fn subgraph_differences(&self, version: &Version, head: &Snapshot) -> Result<Vec<String>, Error> {
        let running = head.tasks.iter().filter_map(|task| Some((&task.node, task.child.as_ref()?)));
        let runs: BTreeSet<(&NodeName, &CheckpointId)> = running.chain(&head.checkpoint.children).collect();
        let mut differences = Vec::new();
        for (node, run) in runs {
            let Some(child) = version.children.get(node) else { continue };
            let stored = self.inner.store.snapshot(&head.thread.id, Some(run)).await?;
            if let Some(stored) = stored
                && stored.checkpoint.graph != child.digest
            {
                let (before, after) = (&stored.checkpoint.graph, &child.digest);
                differences.push(format!("node {node} has run the subgraph {before}, and would go on with {after}"));
            }
        }
        Ok(differences)
    }
}

/// What of a thread's head has no place in another version. Pure.
fn fit(version: &Version, head: &Snapshot) -> Vec<String> {
    let mut differences = Vec::new();
    if head.thread.graph_name != version.graph.name {
        differences.push(format!("the thread is one of graph {}, not {}", head.thread.graph_name, version.graph.name));
    }
    let missing = standing_at(head).into_iter().filter(|node| version.node(node).is_none());
    differences.extend(missing.map(|node| format!("node {node} is not there")));
    for (node, arrivals) in &head.checkpoint.joins {
        let of = version.node(node).and_then(|node| node.join.as_ref()).map(|join| &join.of);
        let gone = arrivals.arrived.iter().filter(|arrived| of.is_none_or(|of| !of.contains(arrived)));
        differences
            .extend(gone.map(|arrived| format!("node {node} does not wait for node {arrived}, which has arrived")));
    }
    // A value as one write that replaces what there is: refused for everything for which the value itself would be.
    let values: Map<String, Value> = head
        .values
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), json!({ "__overwrite__": value })))
        .collect();
    match state::reduce(&version.graph, &Map::new(), &[("the thread", &values)]) {
        Ok(_) => {}
        Err(StateError::Several(errors)) => differences.extend(errors.iter().map(ToString::to_string)),
        Err(error) => differences.push(error.to_string()),
    }
    differences
}

/// Every node that the head names.
fn standing_at(head: &Snapshot) -> BTreeSet<NodeName> {
    let checkpoint = &head.checkpoint;
    let next = checkpoint.next.iter().filter_map(|trigger| match trigger {
        Trigger::Pull(node) | Trigger::Push { node, .. } => Some(node),
        Trigger::Start => None,
    });
    let joins = checkpoint.joins.iter().flat_map(|(node, arrivals)| std::iter::once(node).chain(&arrivals.arrived));
    let planned = plan::tasks_of(&head.thread.id, checkpoint, &head.tasks).into_iter().map(|task| task.node);
    next.chain(joins).chain(&checkpoint.deferred).cloned().chain(planned).collect()
}
