//! A graph drawn as LangGraph's clients expect it: nodes and edges, between `__start__` and `__end__`.

use std::collections::BTreeMap;

use holdpoint_engine::Version;
use holdpoint_graph::definition::{Next, Target};
use serde_json::{Value, json};

const START: &str = "__start__";
const END: &str = "__end__";

/// How much of subgraphs is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// So many levels of them.
    Levels(usize),
    /// All.
    All,
}

impl Depth {
    fn inside(self) -> Option<Self> {
        match self {
            Self::All => Some(Self::All),
            Self::Levels(levels) => levels.checked_sub(1).map(Self::Levels),
        }
    }
}

/// Draws a graph. A subgraph that is drawn from inside has no node of its own: its nodes are named `NODE:INNER`.
pub(super) fn draw(version: &Version, depth: Depth) -> Value {
    let mut drawing = Drawing::default();
    let entries = drawing.level(version, "", depth, END);
    let first = entries.into_iter().map(|(to, label)| (START.to_owned(), to, label));
    drawing.edges = first.chain(drawing.edges).collect();
    let nodes = [START.to_owned()].into_iter().chain(drawing.nodes.iter().cloned()).chain([END.to_owned()]);
    let nodes: Vec<Value> = nodes.map(|id| node(&id)).collect();
    json!({ "nodes": nodes, "edges": drawing.edges_json() })
}

/// Where an edge leads, and on which condition, if any.
type End = (String, Option<Label>);

/// What a conditional edge says.
type Label = Option<String>;

#[derive(Default)]
struct Drawing {
    nodes: Vec<String>,
    /// From, to, and on which condition. The end of a subgraph that is drawn from inside is no node: edges to it go on along the edges from it.
    edges: Vec<(String, String, Option<Label>)>,
}

fn node(id: &str) -> Value {
    json!({ "id": id, "type": "runnable", "data": { "name": id.rsplit(':').next().unwrap_or(id) } })
}

fn is_inner_end(id: &str) -> bool {
    id.strip_suffix(END).is_some_and(|rest| rest.ends_with(':'))
}

impl Drawing {
    /// Draws what is in a graph that ends at `end`. Gives where it begins.
    fn level(&mut self, version: &Version, prefix: &str, depth: Depth, end: &str) -> Vec<End> {
        let graph = &version.graph;
        let mut begins: BTreeMap<&str, Vec<End>> = BTreeMap::new();
        let mut leaving: Vec<(String, Vec<End>)> = Vec::new();
        for (name, definition) in &graph.nodes {
            let mut next = match &definition.next {
                // Its command says where to go, or the branch ends there.
                Next::None => vec![(END.to_owned(), Some(None))],
                next => ends(next),
            };
            let joined = graph.nodes.iter().filter(|(_, other)| other.join.iter().any(|join| join.of.contains(name)));
            next.extend(joined.map(|(other, _)| (other.to_string(), None)));
            if let Some(handler) = &definition.error_handler {
                next.push((handler.to_string(), Some(Some("error".to_owned()))));
            }
            let id = format!("{prefix}{name}");
            match (version.children.get(name), depth.inside()) {
                (Some(child), Some(inside)) => {
                    let inner_end = format!("{id}:{END}");
                    begins.insert(name.as_str(), self.level(child, &format!("{id}:"), inside, &inner_end));
                    leaving.push((inner_end, next));
                }
                _ => {
                    self.nodes.push(id.clone());
                    begins.insert(name.as_str(), vec![(id.clone(), None)]);
                    leaving.push((id, next));
                }
            }
        }
        let resolve = |(to, label): End| -> Vec<End> {
            if to == END {
                return vec![(end.to_owned(), label)];
            }
            let entries = begins.get(to.as_str()).cloned().unwrap_or_default();
            entries.into_iter().map(|(to, inner)| (to, label.clone().or(inner))).collect()
        };
        for (from, next) in leaving {
            let resolved = next.into_iter().flat_map(resolve);
            self.edges.extend(resolved.map(|(to, label)| (from.clone(), to, label)));
        }
        ends(&graph.start).into_iter().flat_map(resolve).collect()
    }

    /// Where an edge leads in the end.
    fn follow(&self, to: &str, label: Option<&Label>) -> Vec<End> {
        if !is_inner_end(to) {
            return vec![(to.to_owned(), label.cloned())];
        }
        let further = self.edges.iter().filter(|(from, _, _)| from == to);
        // The end of a subgraph leads outwards only, so this comes to an end too.
        further.flat_map(|(_, to, outer)| self.follow(to, label.or(outer.as_ref()))).collect()
    }

    /// The edges, each once.
    fn edges_json(&self) -> Vec<Value> {
        let mut edges = Vec::new();
        for (from, to, label) in self.edges.iter().filter(|(from, _, _)| !is_inner_end(from)) {
            for (to, label) in self.follow(to, label.as_ref()) {
                let mut edge = json!({ "source": from, "target": to });
                if let Some(label) = label {
                    edge["conditional"] = true.into();
                    if let Some(text) = label {
                        edge["data"] = text.into();
                    }
                }
                if !edges.contains(&edge) {
                    edges.push(edge);
                }
            }
        }
        edges
    }
}

fn ends(next: &Next) -> Vec<End> {
    let name = |target: &Target| match target {
        Target::Node(name) => name.to_string(),
        Target::End => END.to_owned(),
    };
    match next {
        Next::None => Vec::new(),
        Next::All(targets) => targets.iter().map(|target| (name(target), None)).collect(),
        Next::First(branches) => branches
            .iter()
            .flat_map(|branch| {
                let label = branch.when.as_ref().map(|condition| condition.text().to_owned());
                branch.to.iter().map(move |target| (name(target), Some(label.clone())))
            })
            .collect(),
    }
}
