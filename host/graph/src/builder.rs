//! Graphs from Rust: the same value as from a file, through the same validation.
//!
//! ```
//! use holdpoint_graph::builder::{Edges, GraphBuilder, NodeBuilder};
//! use holdpoint_graph::state::Reducer;
//! use serde_json::json;
//!
//! let graph = GraphBuilder::new("refund")
//!     .channel("amount_cents", json!({ "type": "integer", "minimum": 1 }), Reducer::Last)
//!     .channel("log", json!({ "type": "array" }), Reducer::Append)
//!     .start("gate")
//!     .node("gate", NodeBuilder::component_path("gate.wasm").next(Edges::when("state.amount_cents > 100", "pay").otherwise("END")))
//!     .node("pay", NodeBuilder::component_path("pay.wasm").connectors(["payments"]).next("END"))
//!     .build()?;
//! assert_eq!(graph.nodes.len(), 2);
//! # Ok::<(), holdpoint_graph::problem::Problems>(())
//! ```

use serde_json::{Map, Value, json};

use crate::definition::{CachePolicy, Graph, Limits, Managed, Persist, Retry};
use crate::digest::Digest;
use crate::problem::Problems;
use crate::reader::sink::Sink;
use crate::reader::tree::{Data, Item, Member, from_json};
use crate::reader::{self, FORMAT, Origin};
use crate::state::Reducer;

/// What problems of a built graph call it.
const GRAPH_NAME: &str = "built graph";

/// Collects the parts of a graph; [`GraphBuilder::build`] checks them all at once.
#[derive(Debug)]
#[must_use]
pub struct GraphBuilder {
    name: String,
    start: Option<Edges>,
    recursion_limit: Option<u32>,
    interrupt_before_all: bool,
    interrupt_after_all: bool,
    error_handler: Option<String>,
    // Lists, so that a name given twice is a problem and not a silent replacement.
    channels: Vec<(String, Item)>,
    nodes: Vec<(String, NodeBuilder)>,
}

impl GraphBuilder {
    /// A graph with nothing in it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            start: None,
            recursion_limit: None,
            interrupt_before_all: false,
            interrupt_after_all: false,
            error_handler: None,
            channels: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Adds a channel: the JSON Schema of its value (an object) and how writes change it.
    pub fn channel(mut self, name: impl Into<String>, schema: Value, reducer: Reducer) -> Self {
        let mut item = from_json(&schema);
        if let Data::Table(members) = &mut item.data {
            members.retain(|member| member.name != "reducer");
            members.push(member("reducer", from_json(&reducer.name().into())));
        }
        self.channels.push((name.into(), item));
        self
    }

    /// Adds a channel whose value the engine computes for each task.
    pub fn managed(mut self, name: impl Into<String>, managed: Managed) -> Self {
        self.channels.push((name.into(), from_json(&json!({ "managed": managed.name() }))));
        self
    }

    /// Adds a node.
    pub fn node(mut self, name: impl Into<String>, node: NodeBuilder) -> Self {
        self.nodes.push((name.into(), node));
        self
    }

    /// Says where a run begins.
    pub fn start(mut self, edges: impl Into<Edges>) -> Self {
        self.start = Some(edges.into());
        self
    }

    /// Bounds the supersteps of one run; at least 1.
    pub fn recursion_limit(mut self, supersteps: u32) -> Self {
        self.recursion_limit = Some(supersteps);
        self
    }

    /// Puts a static breakpoint before every node.
    pub fn interrupt_before_all(mut self) -> Self {
        self.interrupt_before_all = true;
        self
    }

    /// Puts a static breakpoint after every node.
    pub fn interrupt_after_all(mut self) -> Self {
        self.interrupt_after_all = true;
        self
    }

    /// Names the node that handles the errors of every node that names none itself and handles none.
    pub fn error_handler(mut self, node: impl Into<String>) -> Self {
        self.error_handler = Some(node.into());
        self
    }

    /// Checks everything and makes the graph.
    ///
    /// # Errors
    /// Everything that is wrong with it, without lines.
    pub fn build(self) -> Result<Graph, Problems> {
        let channels = self.channels.into_iter().map(|(name, item)| member(&name, item)).collect();
        let nodes =
            self.nodes.into_iter().map(|(name, node)| member(&name, from_json(&Value::Object(node.members)))).collect();
        let mut members = vec![
            member("format", from_json(&FORMAT.into())),
            member("name", from_json(&self.name.into())),
            member("state", table(channels)),
            member("nodes", table(nodes)),
        ];
        if let Some(start) = self.start {
            members.push(member("start", from_json(&start.0)));
        }
        if let Some(supersteps) = self.recursion_limit {
            members.push(member("recursion_limit", from_json(&supersteps.into())));
        }
        for (key, set) in
            [("interrupt_before", self.interrupt_before_all), ("interrupt_after", self.interrupt_after_all)]
        {
            if set {
                members.push(member(key, from_json(&"*".into())));
            }
        }
        if let Some(handler) = self.error_handler {
            members.push(member("error_handler", from_json(&handler.into())));
        }
        reader::read(&table(members), Origin::Document, Sink::new(GRAPH_NAME, None))
    }
}

/// Collects the parts of one node.
#[derive(Debug, Clone)]
#[must_use]
pub struct NodeBuilder {
    members: Map<String, Value>,
}

impl NodeBuilder {
    /// A node whose component is a file.
    pub fn component_path(path: impl Into<String>) -> Self {
        Self::component(path.into())
    }

    /// A node whose component is known by its content.
    pub fn component_digest(digest: &Digest) -> Self {
        Self::component(digest.as_str().to_owned())
    }

    /// A node whose component was deployed under a name.
    pub fn component_named(name: &str, version: &str) -> Self {
        Self::component(format!("{name}@{version}"))
    }

    /// A node that is a graph of its own, in a graph file. It is kept per call unless [`NodeBuilder::persist`] says otherwise.
    pub fn subgraph_path(path: impl Into<String>) -> Self {
        Self::new("graph", path.into())
    }

    /// As [`NodeBuilder::subgraph_path`], with a deployed graph.
    pub fn subgraph_digest(digest: &Digest) -> Self {
        Self::new("graph", digest.as_str().to_owned())
    }

    fn component(component: String) -> Self {
        Self::new("component", component)
    }

    fn new(key: &str, work: String) -> Self {
        Self { members: Map::from_iter([(key.to_owned(), Value::String(work))]) }
    }

    /// What is kept of the subgraph; for subgraphs only.
    pub fn persist(self, persist: Persist) -> Self {
        self.with("persist", persist.name().into())
    }

    /// Static configuration for the node: an object.
    pub fn config(self, config: Value) -> Self {
        self.with("with", config)
    }

    /// The channels that the node gets; without this, all.
    pub fn reads<'a>(self, channels: impl IntoIterator<Item = &'a str>) -> Self {
        self.with("reads", strings(channels))
    }

    /// The connectors that the node may use.
    pub fn connectors<'a>(self, connectors: impl IntoIterator<Item = &'a str>) -> Self {
        self.with("connectors", strings(connectors))
    }

    /// The nodes that must all have finished before this one runs.
    pub fn join<'a>(self, nodes: impl IntoIterator<Item = &'a str>) -> Self {
        self.with("join", strings(nodes))
    }

    /// The nodes of which `need` must have finished before this one runs. `within_ms` is how long the others are waited for, from the first
    /// arrival; none means not at all.
    pub fn join_some<'a>(self, of: impl IntoIterator<Item = &'a str>, need: usize, within_ms: Option<u64>) -> Self {
        let mut join = json!({ "of": strings(of), "need": need });
        if let Some(within_ms) = within_ms {
            join["within"] = reader::units::duration_text(within_ms).into();
        }
        self.with("join", join)
    }

    /// Runs the node only when nothing else of the graph is left to run.
    pub fn defer(self) -> Self {
        self.with("defer", true.into())
    }

    /// Where the graph goes after the node.
    pub fn next(self, edges: impl Into<Edges>) -> Self {
        self.with("next", edges.into().0)
    }

    /// What holds for the node's questions: an object as the `interrupt` table of the graph file.
    pub fn interrupt(self, interrupt: Value) -> Self {
        self.with("interrupt", interrupt)
    }

    /// Puts a static breakpoint before the node.
    pub fn interrupt_before(self) -> Self {
        self.with("interrupt_before", true.into())
    }

    /// Puts a static breakpoint after the node.
    pub fn interrupt_after(self) -> Self {
        self.with("interrupt_after", true.into())
    }

    /// The node that runs in this one's place when its retries are exhausted.
    pub fn error_handler(self, node: &str) -> Self {
        self.with("error_handler", node.into())
    }

    /// Lets the node's results be used again, in any thread, for so many milliseconds; none means for ever.
    pub fn cache(self, ttl_ms: Option<u64>) -> Self {
        self.with("cache", crate::document::cache(&CachePolicy { ttl_ms }))
    }

    /// How often and when the node is tried again.
    pub fn retry(self, retry: &Retry) -> Self {
        self.with("retry", crate::document::retry(retry))
    }

    /// Longest time of one execution, in milliseconds.
    pub fn timeout_ms(self, timeout_ms: u64) -> Self {
        self.with("timeout", reader::units::duration_text(timeout_ms).into())
    }

    /// Bounds of one execution.
    pub fn limits(self, limits: &Limits) -> Self {
        self.with("limits", crate::document::limits(limits))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }
}

/// Where the graph goes: to one node, to several, or where conditions say. `"END"` leads out of the graph.
#[derive(Debug, Clone)]
#[must_use]
pub struct Edges(Value);

impl Edges {
    /// A conditional edge whose first branch leads to `to` when the CEL condition holds.
    pub fn when(condition: &str, to: &str) -> Self {
        Self(json!([{ "when": condition, "to": to }]))
    }

    /// Another branch, tried after those before.
    pub fn or_when(self, condition: &str, to: &str) -> Self {
        self.and(json!({ "when": condition, "to": to }))
    }

    /// The last branch, taken when no condition holds.
    pub fn otherwise(self, to: &str) -> Self {
        self.and(json!({ "to": to }))
    }

    fn and(mut self, branch: Value) -> Self {
        match &mut self.0 {
            Value::Array(branches) => branches.push(branch),
            // A plain name: mixing it with branches is reported when the graph is built.
            name => self.0 = json!([name.take(), branch]),
        }
        self
    }
}

impl From<&str> for Edges {
    fn from(to: &str) -> Self {
        Self(to.into())
    }
}

impl<const N: usize> From<[&str; N]> for Edges {
    fn from(to: [&str; N]) -> Self {
        Self(strings(to))
    }
}

impl From<&[&str]> for Edges {
    fn from(to: &[&str]) -> Self {
        Self(strings(to.iter().copied()))
    }
}

fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(items.into_iter().map(Value::from).collect())
}

fn member(name: &str, item: Item) -> Member {
    Member { name: name.to_owned(), offset: None, item }
}

fn table(members: Vec<Member>) -> Item {
    Item { offset: None, data: Data::Table(members) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(graph: GraphBuilder) -> Vec<&'static str> {
        graph.build().expect_err("faulty").0.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn names_given_twice_are_problems() {
        let node = || NodeBuilder::component_path("a.wasm");
        assert_eq!(codes(GraphBuilder::new("g").start("a").node("a", node()).node("a", node())), ["HP0114"]);
        let channel = |graph: GraphBuilder| graph.channel("c", json!({}), Reducer::Last);
        assert_eq!(codes(channel(channel(GraphBuilder::new("g").start("a").node("a", node())))), ["HP0114"]);
    }

    #[test]
    fn everything_is_validated() {
        let graph =
            GraphBuilder::new("g").start(["a", "b"]).recursion_limit(0).channel("c", json!(true), Reducer::Last).node(
                "a",
                NodeBuilder::component_path("")
                    .config(json!([1]))
                    .timeout_ms(0)
                    .next(Edges::from("a").otherwise("END")),
            );
        let problems = graph.build().expect_err("faulty");
        assert_eq!(problems.0.len(), 7, "{problems}");
        assert!(problems.0.iter().all(|problem| problem.line == 0 && problem.file == "built graph"));
    }
}
