//! What the tasks of one step see of the state: made once for each node, shared by its tasks.

use std::collections::HashMap;
use std::sync::Arc;

use holdpoint_graph::definition::{Graph, Managed};
use holdpoint_graph::ids::{ChannelName, NodeName};
use holdpoint_graph::nodes::{Command, State};
use holdpoint_graph::state::{self, StateError};
use serde_json::{Map, Value};

/// See the module. Nodes that read few channels cost nothing for the others, however large these are.
pub(crate) struct States {
    graph: Arc<Graph>,
    /// The state with what callers wrote in the middle of the step; none when they wrote nothing.
    written: Option<Map<String, Value>>,
    managed: Vec<(ChannelName, Managed)>,
    steps_left: u32,
    /// By node and supersteps left.
    made: HashMap<(NodeName, Option<u32>), State>,
    /// For all nodes that read everything.
    whole: Option<State>,
}

impl States {
    /// `values` are the checkpoint's, `commands` what callers wrote since; `steps_left` counts the supersteps that the run may take, this one
    /// included.
    ///
    /// # Errors
    /// What callers wrote does not fit the state.
    pub(crate) fn new(
        graph: Arc<Graph>,
        values: &Map<String, Value>,
        commands: &[(&str, &Command)],
        steps_left: u32,
    ) -> Result<Self, StateError> {
        let mut written = None;
        if !commands.is_empty() {
            let updates: Vec<_> =
                commands.iter().map(|(_, command)| ("the caller's command", &command.update)).collect();
            state::reduce(&graph, values, &updates)?.apply(written.insert(values.clone()));
        }
        let managed =
            graph.channels.iter().filter_map(|(name, channel)| Some((name.clone(), channel.managed?))).collect();
        Ok(Self { graph, written, managed, steps_left, made: HashMap::new(), whole: None })
    }

    /// The state of a task of a node, and the supersteps left where the node reads managed values: as recorded with an earlier execution of the
    /// task, because a task's inputs never change. `values` are the checkpoint's.
    pub(crate) fn of(
        &mut self,
        node: &NodeName,
        recorded: Option<u32>,
        values: &Map<String, Value>,
    ) -> (State, Option<u32>) {
        let values = self.written.as_ref().unwrap_or(values);
        let reads = self.graph.nodes.get(node).and_then(|node| node.reads.as_ref());
        let managed: Vec<&(ChannelName, Managed)> =
            self.managed.iter().filter(|(name, _)| reads.is_none_or(|reads| reads.contains(name))).collect();
        let steps_left = (!managed.is_empty()).then(|| recorded.unwrap_or(self.steps_left));
        if reads.is_none() && managed.is_empty() {
            let whole = self.whole.get_or_insert_with(|| State::new(values.clone()));
            return (whole.clone(), None);
        }
        if let Some(state) = self.made.get(&(node.clone(), steps_left)) {
            return (state.clone(), steps_left);
        }
        let mut seen: Map<_, _> = match reads {
            Some(reads) => reads
                .iter()
                .filter_map(|channel| Some((channel.to_string(), values.get(channel.as_str())?.clone())))
                .collect(),
            None => values.clone(),
        };
        for (name, managed) in managed {
            seen.insert(name.to_string(), managed.value(steps_left.unwrap_or(self.steps_left)));
        }
        let state = State::new(seen);
        self.made.insert((node.clone(), steps_left), state.clone());
        (state, steps_left)
    }
}
