//! A graph drawn as SVG, with the path that a thread took. Pure; no script, nothing from outside.
//!
//! Rows are distances from the start, edges that lead back are drawn at the side. Good enough for graphs that people read; a very large graph is a long
//! picture in a box that scrolls.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use holdpoint_graph::definition::{Graph, Next, Node, Target, Work};
use holdpoint_graph::ids::NodeName;
use maud::{Markup, PreEscaped, html};

/// How a node stands in a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    /// It was executed.
    Ran,
    /// It runs next.
    Next,
    /// It waits for a person.
    Waits,
    /// It failed, or is in doubt.
    Failed,
}

impl Mark {
    fn name(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Next => "next",
            Self::Waits => "waits",
            Self::Failed => "failed",
        }
    }
}

const BOX_WIDTH: i32 = 190;
const BOX_HEIGHT: i32 = 44;
const GAP_ACROSS: i32 = 36;
const GAP_DOWN: i32 = 40;
const MARGIN: i32 = 60;
const LABEL_CHARACTERS_MAX: usize = 24;

/// Draws a graph. Nodes without a mark were not reached.
pub(super) fn draw(graph: &Graph, marks: &BTreeMap<NodeName, Mark>) -> Markup {
    let layout = Layout::of(graph);
    let (width, height) = layout.size();
    html! {
        svg.graph role="img" aria-label=(description(graph, marks)) viewBox=(format!("0 0 {width} {height}"))
            width=(width) height=(height) {
            defs {
                marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" {
                    path d="M0 0 L8 4 L0 8 z" {}
                }
            }
            @for edge in &layout.edges {
                (PreEscaped(layout.line(edge, marks)))
            }
            @for (place, at) in &layout.places {
                @let class = match place { Place::Node(node) => marks.get(*node).map_or("unreached", |mark| mark.name()), _ => "end" };
                g class=(class) {
                    rect x=(at.x) y=(at.y) width=(BOX_WIDTH) height=(BOX_HEIGHT) rx=(if matches!(place, Place::Node(_)) { 6 } else { 22 }) {}
                    text x=(at.x + BOX_WIDTH / 2) y=(at.y + 19) { (place.label()) }
                    text.note x=(at.x + BOX_WIDTH / 2) y=(at.y + 35) { (note(graph, place, marks)) }
                }
            }
        }
    }
}

/// The same for those who do not see it.
fn description(graph: &Graph, marks: &BTreeMap<NodeName, Mark>) -> String {
    let list = |wanted: Mark| {
        let names: Vec<&str> =
            marks.iter().filter(|(_, mark)| **mark == wanted).map(|(node, _)| node.as_str()).collect();
        names.join(", ")
    };
    let mut text = format!("graph {}", graph.name);
    for (mark, says) in
        [(Mark::Ran, "ran"), (Mark::Waits, "waiting for a person"), (Mark::Next, "next"), (Mark::Failed, "failed")]
    {
        let names = list(mark);
        if !names.is_empty() {
            text.push_str(&format!("; {says}: {names}"));
        }
    }
    text
}

fn note(graph: &Graph, place: &Place<'_>, marks: &BTreeMap<NodeName, Mark>) -> String {
    let Place::Node(name) = place else { return String::new() };
    match marks.get(*name) {
        Some(Mark::Waits) => return "waits for a person".to_owned(),
        Some(Mark::Failed) => return "failed".to_owned(),
        _ => {}
    }
    let Some(node) = graph.nodes.get(*name) else { return String::new() };
    let connectors: Vec<&str> = node.connectors.iter().map(|connector| connector.as_str()).collect();
    match (&node.work, connectors.is_empty(), node.interrupt.is_some()) {
        (_, false, _) => cut(&format!("uses {}", connectors.join(", "))),
        (Work::Subgraph(_), ..) => "a graph of its own".to_owned(),
        (_, _, true) => "asks a person".to_owned(),
        _ => String::new(),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LABEL_CHARACTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(LABEL_CHARACTERS_MAX - 1).chain(['…']).collect()
}

/// Something with a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place<'g> {
    Start,
    Node(&'g NodeName),
    End,
}

impl Place<'_> {
    fn label(&self) -> String {
        match self {
            Self::Start => "start".to_owned(),
            Self::Node(name) => cut(name.as_str()),
            Self::End => "end".to_owned(),
        }
    }
}

struct Edge<'g> {
    from: Place<'g>,
    to: Place<'g>,
    conditional: bool,
}

#[derive(Debug, Clone, Copy)]
struct Corner {
    x: i32,
    y: i32,
}

struct Layout<'g> {
    places: BTreeMap<Place<'g>, Corner>,
    edges: Vec<Edge<'g>>,
}

impl<'g> Layout<'g> {
    fn of(graph: &'g Graph) -> Self {
        let edges = edges(graph);
        let ranks = ranks(graph, &edges);
        let mut rows: BTreeMap<usize, Vec<Place<'g>>> = BTreeMap::new();
        for (place, rank) in &ranks {
            rows.entry(*rank).or_default().push(*place);
        }
        let widest = rows.values().map(Vec::len).max().unwrap_or(1);
        let mut places = BTreeMap::new();
        for (row, mut members) in rows.into_values().enumerate() {
            // Below those that lead to them, where that is possible: fewer lines cross.
            members.sort_by_key(|place| (parents_across(place, &edges, &places), *place));
            let free = i32::try_from(widest - members.len()).unwrap_or(0) * (BOX_WIDTH + GAP_ACROSS) / 2;
            for (column, place) in members.into_iter().enumerate() {
                let column = i32::try_from(column).unwrap_or(0);
                let row = i32::try_from(row).unwrap_or(0);
                let corner = Corner {
                    x: MARGIN + free + column * (BOX_WIDTH + GAP_ACROSS),
                    y: GAP_DOWN / 2 + row * (BOX_HEIGHT + GAP_DOWN),
                };
                places.insert(place, corner);
            }
        }
        Self { places, edges }
    }

    fn size(&self) -> (i32, i32) {
        let right = self.places.values().map(|at| at.x + BOX_WIDTH).max().unwrap_or(0);
        let bottom = self.places.values().map(|at| at.y + BOX_HEIGHT).max().unwrap_or(0);
        (right + MARGIN, bottom + GAP_DOWN / 2)
    }

    fn line(&self, edge: &Edge<'g>, marks: &BTreeMap<NodeName, Mark>) -> String {
        let (Some(from), Some(to)) = (self.places.get(&edge.from), self.places.get(&edge.to)) else {
            return String::new();
        };
        let reached = |place: &Place<'_>| match place {
            Place::Start => true,
            Place::Node(node) => marks.contains_key(*node),
            Place::End => false,
        };
        let mut class = if reached(&edge.from) && reached(&edge.to) { "taken".to_owned() } else { "open".to_owned() };
        if edge.conditional {
            class.push_str(" conditional");
        }
        let (x, y) = (from.x + BOX_WIDTH / 2, from.y + BOX_HEIGHT);
        let path = if to.y > from.y {
            let (x2, y2) = (to.x + BOX_WIDTH / 2, to.y);
            let middle = (y + y2) / 2;
            format!("M{x} {y} C{x} {middle} {x2} {middle} {x2} {y2}")
        } else {
            // Back, or to itself: along the right side.
            let (x, y) = (from.x + BOX_WIDTH, from.y + BOX_HEIGHT / 2);
            let (x2, y2) = (to.x + BOX_WIDTH, to.y + BOX_HEIGHT / 4);
            let side = x.max(x2) + MARGIN / 2;
            format!("M{x} {y} C{side} {y} {side} {y2} {x2} {y2}")
        };
        format!("<path class=\"edge {class}\" d=\"{path}\" marker-end=\"url(#arrow)\"/>")
    }
}

/// The middle of those that lead to a place, as far as they are placed.
fn parents_across(place: &Place<'_>, edges: &[Edge<'_>], placed: &BTreeMap<Place<'_>, Corner>) -> i32 {
    let parents: Vec<i32> =
        edges.iter().filter(|edge| edge.to == *place).filter_map(|edge| Some(placed.get(&edge.from)?.x)).collect();
    let count = i32::try_from(parents.len()).unwrap_or(1).max(1);
    parents.iter().sum::<i32>() / count
}

fn edges(graph: &Graph) -> Vec<Edge<'_>> {
    let mut seen = BTreeSet::new();
    let mut edges = Vec::new();
    let leads = std::iter::once((Place::Start, &graph.start))
        .chain(graph.nodes.iter().map(|(name, node)| (Place::Node(name), &node.next)));
    for (from, next) in leads {
        for (target, conditional) in targets(next) {
            let to = match target {
                Target::Node(name) => graph.nodes.get_key_value(name).map(|(name, _)| Place::Node(name)),
                Target::End => Some(Place::End),
            };
            if let Some(to) = to.filter(|to| seen.insert((from, *to))) {
                edges.push(Edge { from, to, conditional });
            }
        }
    }
    for (name, node) in &graph.nodes {
        for source in node.join.iter().flat_map(|join| &join.of) {
            if let Some((source, _)) = graph.nodes.get_key_value(source)
                && seen.insert((Place::Node(source), Place::Node(name)))
            {
                edges.push(Edge { from: Place::Node(source), to: Place::Node(name), conditional: false });
            }
        }
        if let Some(handler) = &node.error_handler
            && let Some((handler, _)) = graph.nodes.get_key_value(handler)
            && seen.insert((Place::Node(name), Place::Node(handler)))
        {
            edges.push(Edge { from: Place::Node(name), to: Place::Node(handler), conditional: true });
        }
    }
    edges
}

/// The names of the nodes that a node's own edges can lead to.
pub(super) fn leads_to(node: &Node) -> Vec<String> {
    let mut names = Vec::new();
    for (target, _) in targets(&node.next) {
        if let Target::Node(name) = target
            && !names.contains(&name.to_string())
        {
            names.push(name.to_string());
        }
    }
    names
}

fn targets(next: &Next) -> Vec<(&Target, bool)> {
    match next {
        Next::None => Vec::new(),
        Next::All(targets) => targets.iter().map(|target| (target, false)).collect(),
        Next::First(branches) => branches.iter().flat_map(|branch| &branch.to).map(|target| (target, true)).collect(),
    }
}

/// Distance from the start; what nothing leads to stands in the first row, the end in the last.
fn ranks<'g>(graph: &'g Graph, edges: &[Edge<'g>]) -> HashMap<Place<'g>, usize> {
    let mut ranks = HashMap::from([(Place::Start, 0)]);
    let mut waiting = VecDeque::from([Place::Start]);
    while let Some(place) = waiting.pop_front() {
        let rank = ranks.get(&place).copied().unwrap_or(0);
        for edge in edges.iter().filter(|edge| edge.from == place) {
            if let Entry::Vacant(unranked) = ranks.entry(edge.to) {
                unranked.insert(rank + 1);
                waiting.push_back(edge.to);
            }
        }
    }
    for name in graph.nodes.keys() {
        ranks.entry(Place::Node(name)).or_insert(1);
    }
    let last = ranks.iter().filter(|(place, _)| **place != Place::End).map(|(_, rank)| *rank).max().unwrap_or(0);
    ranks.insert(Place::End, last + 1);
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: &str = "name = \"g\"\nstart = \"a\"\n[state]\nx = {}\n\
        [nodes.a]\ncomponent = \"a.wasm\"\nnext = [{ when = \"state.x == 1\", to = \"b\" }, { to = \"a\" }]\n\
        [nodes.b]\ncomponent = \"b.wasm\"\nconnectors = [\"payments\"]\nnext = \"END\"\n[nodes.lost]\ncomponent = \"c.wasm\"\n";

    #[test]
    fn a_graph_is_drawn() {
        let graph = holdpoint_graph::file::parse(GRAPH, "g").unwrap_or_else(|problems| panic!("{problems}"));
        let name = |text: &str| NodeName::parse(text).expect("a name");
        let marks = BTreeMap::from([(name("a"), Mark::Ran), (name("b"), Mark::Waits)]);
        let drawn = draw(&graph, &marks).into_string();
        for wanted in
            ["class=\"ran\"", "class=\"waits\"", "class=\"unreached\"", "waits for a person", "edge taken conditional"]
        {
            assert!(drawn.contains(wanted), "{wanted} in {drawn}");
        }
        assert!(drawn.contains("aria-label=\"graph g; ran: a; waiting for a person: b\""), "{drawn}");
        // start → a, a → b, a → a, b → end.
        assert_eq!(drawn.matches("class=\"edge").count(), 4);
    }

    #[test]
    fn every_row_has_its_place() {
        let graph = holdpoint_graph::file::parse(GRAPH, "g").unwrap_or_else(|problems| panic!("{problems}"));
        let layout = Layout::of(&graph);
        let corners: BTreeSet<(i32, i32)> = layout.places.values().map(|at| (at.x, at.y)).collect();
        assert_eq!(corners.len(), layout.places.len(), "no box lies on another");
        let (width, height) = layout.size();
        assert!(layout.places.values().all(|at| at.x >= 0 && at.x + BOX_WIDTH <= width && at.y + BOX_HEIGHT <= height));
    }
}
