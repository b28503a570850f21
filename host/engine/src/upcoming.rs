//! What runs next: edges, joins and deferred nodes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::definition::{Graph, Next, Target};
use holdpoint_graph::ids::NodeName;
use holdpoint_graph::nodes::Destination;
use holdpoint_store::{Arrivals, Trigger};

use crate::apply::StepError;

/// What a checkpoint says of what comes next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UpcomingParts {
    /// What runs next.
    pub next: Vec<Trigger>,
    /// Nodes that were reached and run when nothing else is left.
    pub deferred: BTreeSet<NodeName>,
    /// Who has arrived at the joins.
    pub joins: BTreeMap<NodeName, Arrivals>,
}

/// Collects what runs next.
pub(crate) struct Upcoming<'a> {
    graph: &'a Graph,
    pulls: BTreeSet<NodeName>,
    pushes: Vec<Trigger>,
    deferred: BTreeSet<NodeName>,
    joins: BTreeMap<NodeName, Arrivals>,
    /// Nodes that were to run and have not: an update keeps them.
    kept: BTreeSet<NodeName>,
    clock_ms: u64,
}

impl<'a> Upcoming<'a> {
    /// Begins with what the checkpoint before says of joins and deferred nodes; `clock_ms` is the thread's clock after the step.
    pub(crate) fn new(
        graph: &'a Graph,
        joins: BTreeMap<NodeName, Arrivals>,
        deferred: BTreeSet<NodeName>,
        clock_ms: u64,
    ) -> Self {
        Self { graph, pulls: BTreeSet::new(), pushes: Vec::new(), deferred, joins, kept: BTreeSet::new(), clock_ms }
    }

    /// Keeps what was to run and has not.
    pub(crate) fn keep(&mut self, triggers: impl IntoIterator<Item = Trigger>) {
        for trigger in triggers {
            match trigger {
                Trigger::Pull(node) => {
                    self.kept.insert(node.clone());
                    self.pulls.insert(node);
                }
                push @ Trigger::Push { .. } => self.pushes.push(push),
                Trigger::Start => {}
            }
        }
    }

    /// Where the graph begins.
    pub(crate) fn start(&mut self, targets: &[Target]) {
        for target in targets {
            if let Target::Node(target) = target {
                self.trigger(target.clone());
            }
        }
    }

    /// Where the edges of a node lead.
    pub(crate) fn follow(&mut self, from: &NodeName, targets: &[Target]) {
        for target in targets {
            if let Target::Node(target) = target {
                self.reach(from, target.clone());
            }
        }
    }

    /// Where a command goes.
    ///
    /// # Errors
    /// [`StepError::UnknownTarget`], [`StepError::NoParent`].
    pub(crate) fn go(&mut self, from: &NodeName, destination: &Destination) -> Result<(), StepError> {
        match destination {
            Destination::Node(target) => {
                let target = self.known(from, target)?;
                self.reach(from, target);
            }
            Destination::Send { node, argument } => {
                let node = self.known(from, node)?;
                self.pushes.push(Trigger::Push { node, argument: argument.clone() });
            }
            Destination::Parent(target) => {
                return Err(StepError::NoParent { node: from.clone(), target: target.clone() });
            }
            Destination::End => {}
        }
        Ok(())
    }

    fn known(&self, from: &NodeName, target: &str) -> Result<NodeName, StepError> {
        NodeName::parse(target)
            .ok()
            .filter(|name| self.graph.nodes.contains_key(name))
            .ok_or_else(|| StepError::UnknownTarget { node: from.clone(), target: target.to_owned() })
    }

    fn trigger(&mut self, target: NodeName) {
        if self.graph.nodes.get(&target).is_some_and(|node| node.defer) {
            self.deferred.insert(target);
        } else {
            self.pulls.insert(target);
        }
    }

    /// Triggers `target`, or counts `from` as arrived where `target` waits for it.
    fn reach(&mut self, from: &NodeName, target: NodeName) {
        let waits = self.graph.nodes.get(&target).and_then(|node| node.join.as_ref());
        match waits {
            Some(join) if join.of.contains(from) => self.arrived(target, from),
            _ => self.trigger(target),
        }
    }

    fn arrived(&mut self, target: NodeName, from: &NodeName) {
        if self.kept.contains(&target) {
            // It is about to run for the round that this arrival belongs to: an update speaks for a node that had arrived before.
            return;
        }
        let fresh = || Arrivals { since_ms: self.clock_ms, ..Arrivals::default() };
        let arrivals = self.joins.entry(target).or_insert_with(fresh);
        if arrivals.started && arrivals.arrived.contains(from) {
            // A straggler of the round that is over never came; this is the next round.
            *arrivals = fresh();
        }
        arrivals.arrived.insert(from.clone());
    }

    /// Counts a finished node as arrived at every join that lists it and that its own edges do not mention: there the listing is the edge.
    pub(crate) fn arrive(&mut self, finished: &NodeName) {
        for (name, node) in &self.graph.nodes {
            let listed = node.join.as_ref().is_some_and(|join| join.of.contains(finished));
            if listed && !self.mentions(finished, name) {
                self.arrived(name.clone(), finished);
            }
        }
    }

    fn mentions(&self, from: &NodeName, target: &NodeName) -> bool {
        let wanted = Target::Node(target.clone());
        self.graph.nodes.get(from).is_some_and(|node| match &node.next {
            Next::None => false,
            Next::All(targets) => targets.contains(&wanted),
            Next::First(branches) => branches.iter().any(|branch| branch.to.contains(&wanted)),
        })
    }

    pub(crate) fn finish(mut self) -> UpcomingParts {
        self.complete_joins(false);
        if self.is_idle() {
            // Nobody is left who could still come.
            self.complete_joins(true);
        }
        if self.is_idle() {
            self.pulls.append(&mut self.deferred);
        }
        let next = self.pulls.into_iter().map(Trigger::Pull).chain(self.pushes).collect();
        UpcomingParts { next, deferred: self.deferred, joins: self.joins }
    }

    fn is_idle(&self) -> bool {
        self.pulls.is_empty() && self.pushes.is_empty()
    }

    /// Starts the nodes whose joins are complete. `late` says that nobody else can come.
    fn complete_joins(&mut self, late: bool) {
        let mut reached = Vec::new();
        for (name, arrivals) in &mut self.joins {
            let Some(join) = self.graph.nodes.get(name).and_then(|node| node.join.as_ref()) else { continue };
            let all = join.of.iter().all(|source| arrivals.arrived.contains(source));
            let enough = arrivals.arrived.len() >= join.need;
            let waited = late
                || join.within_ms.is_none_or(|within_ms| self.clock_ms.saturating_sub(arrivals.since_ms) >= within_ms);
            if all || (enough && waited && !arrivals.started) {
                reached.push((name.clone(), all, arrivals.started));
                arrivals.started = true;
            }
        }
        for (name, all, started) in reached {
            if all {
                self.joins.remove(&name);
            }
            if !started {
                self.trigger(name);
            }
        }
    }
}
