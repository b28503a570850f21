//! The one reader of graphs: from a tree of values, whatever text or program it comes from, to a validated [`Graph`].

mod channel;
mod edges;
mod execution;
mod fields;
mod graph_wide;
mod interrupt;
mod node;
pub(crate) mod sink;
pub(crate) mod tree;
pub(crate) mod units;
mod waits;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::{Graph, Next, RECURSION_LIMIT_DEFAULT};
use crate::ids::GraphName;
use crate::problem::{Problems, printable};

use sink::{Code, Sink};
use tree::{Data, Item, Member, find};

/// Version of the stored form.
pub(crate) const FORMAT: u64 = 1;

/// Names looked for that resemble an unknown one: the search takes time, and a file may hold many of both.
const SUGGESTIONS_MAX: usize = 100;

/// Where a tree comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file that a person writes.
    File,
    /// The stored form, which says its version.
    Document,
}

/// Reads a graph and reports everything that is wrong with it, on top of what the sink holds already.
///
/// # Errors
/// All problems.
pub(crate) fn read(root: &Item, origin: Origin, sink: Sink<'_>) -> Result<Graph, Problems> {
    let mut reader =
        Reader { sink, channels: None, managed: BTreeSet::new(), nodes: None, suggestions_left: SUGGESTIONS_MAX };
    let graph = reader.graph(root, origin);
    match (reader.sink.finish(), graph) {
        (None, Some(graph)) => Ok(graph),
        (Some(problems), _) => Err(problems),
        (None, None) => unreachable!("invariant: a part that could not be read is a problem"),
    }
}

/// Reads one graph.
struct Reader<'a> {
    sink: Sink<'a>,
    /// Names of all channels, sound or not; none when they cannot be known.
    channels: Option<BTreeSet<String>>,
    /// Names of the channels that say that they are managed.
    managed: BTreeSet<String>,
    /// Names of all nodes, sound or not; none when they cannot be known.
    nodes: Option<BTreeSet<String>>,
    suggestions_left: usize,
}

impl Reader<'_> {
    fn graph(&mut self, root: &Item, origin: Origin) -> Option<Graph> {
        const KEYS: [&str; 9] = [
            "format",
            "name",
            "start",
            "recursion_limit",
            "state",
            "nodes",
            "interrupt_before",
            "interrupt_after",
            "error_handler",
        ];
        let members = self.table(root, "")?;
        // Another version would make every other message a guess.
        if origin == Origin::Document && !self.format_is_known(members, root) {
            return None;
        }
        // A person does not write the version of the stored form.
        self.check_keys(members, "", if origin == Origin::File { &KEYS[1..] } else { &KEYS });
        self.channels = names(find(members, "state"));
        self.managed = managed_names(find(members, "state"));
        self.nodes = names(find(members, "nodes"));

        let name = self
            .required(members, "", "name", root.offset)
            .and_then(|member| self.name("name", &member.item, GraphName::parse));
        let recursion_limit = find(members, "recursion_limit")
            .and_then(|member| self.integer("recursion_limit", &member.item, 1, u64::from(u32::MAX)))
            .and_then(|limit| u32::try_from(limit).ok())
            .unwrap_or(RECURSION_LIMIT_DEFAULT);
        let channels = find(members, "state").map_or_else(BTreeMap::new, |member| self.channels(member));
        let mut nodes = find(members, "nodes").map_or_else(BTreeMap::new, |member| self.nodes(member));
        self.graph_wide(members, &mut nodes);
        if names(find(members, "nodes")).is_some_and(|names| names.is_empty()) {
            let offset = find(members, "nodes").map_or(root.offset, |member| member.offset);
            self.sink.report(
                Code::Empty,
                offset,
                "the graph has no nodes".to_owned(),
                "add a table such as [nodes.first]",
            );
        }
        let start = self
            .required(members, "", "start", root.offset)
            .map_or(Next::None, |member| self.next("start", &member.item));
        Some(Graph { name: name?, recursion_limit, channels, start, nodes })
    }

    fn format_is_known(&mut self, members: &[Member], root: &Item) -> bool {
        let format = find(members, "format");
        let known = format
            .is_some_and(|member| matches!(&member.item.data, Data::Number(number) if number.as_u64() == Some(FORMAT)));
        if !known {
            let message = match format {
                Some(member) => format!(
                    "the stored form has the version {}, this program knows {FORMAT}",
                    printable(&member.item.to_json().to_string(), 80)
                ),
                None => "the stored form does not say its version".to_owned(),
            };
            self.sink.report(Code::Format, root.offset, message, "use a version of Holdpoint that knows this form");
        }
        known
    }
}

/// The names in a table that may be missing; none when it is no table.
fn names(member: Option<&Member>) -> Option<BTreeSet<String>> {
    match member.map(|member| &member.item.data) {
        None => Some(BTreeSet::new()),
        Some(Data::Table(members)) => Some(members.iter().map(|member| member.name.clone()).collect()),
        Some(_) => None,
    }
}

/// The names of the channels that have the key `managed`.
fn managed_names(state: Option<&Member>) -> BTreeSet<String> {
    let Some(Data::Table(members)) = state.map(|member| &member.item.data) else { return BTreeSet::new() };
    members
        .iter()
        .filter(|member| matches!(&member.item.data, Data::Table(keys) if find(keys, "managed").is_some()))
        .map(|member| member.name.clone())
        .collect()
}

/// The path of a key, as in `nodes.a.next`.
fn join(path: &str, key: &str) -> String {
    let key = printable(key, 80);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
