//! What a graph says of all its nodes: breakpoints and the default error handler. Written out into the nodes, so that nobody has to look twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::Node;
use crate::ids::NodeName;

use super::fields::quote;
use super::sink::Code;
use super::tree::{Data, Item, Member, find};
use super::{Reader, join};

/// Nodes that a graph-wide breakpoint stands at.
enum Breakpoints {
    /// `"*"`.
    All,
    /// A list.
    At(Vec<NodeName>),
}

impl Reader<'_> {
    /// Carries out what the graph's own table says of its nodes.
    pub(super) fn graph_wide(&mut self, members: &[Member], nodes: &mut BTreeMap<NodeName, Node>) {
        self.breakpoints(members, "interrupt_before", nodes, |node| node.interrupt_before = true);
        self.breakpoints(members, "interrupt_after", nodes, |node| node.interrupt_after = true);
        self.error_handlers(members, nodes);
    }

    /// A node's own `false` is an exception from `"*"`, and contradicts a list that names the node.
    fn breakpoints(
        &mut self,
        members: &[Member],
        key: &str,
        nodes: &mut BTreeMap<NodeName, Node>,
        set: impl Fn(&mut Node),
    ) {
        let Some(breakpoints) = find(members, key).and_then(|member| self.breakpoint_list(key, &member.item)) else {
            return;
        };
        for (member, fields) in tables(find(members, "nodes")) {
            let Ok(name) = NodeName::parse(member.name.as_str()) else { continue };
            let excepted = find(fields, key).filter(|field| matches!(field.item.data, Data::Boolean(false)));
            match (&breakpoints, excepted) {
                (Breakpoints::All, Some(_)) => continue,
                (Breakpoints::At(names), _) if !names.contains(&name) => continue,
                (Breakpoints::At(_), Some(field)) => self.sink.report(
                    Code::Combination,
                    field.item.offset,
                    format!("`nodes.{name}.{key}` is false, and the graph's `{key}` names the node"),
                    "remove one of them",
                ),
                _ => {
                    if let Some(node) = nodes.get_mut(&name) {
                        set(node);
                    }
                }
            }
        }
    }

    fn breakpoint_list(&mut self, path: &str, item: &Item) -> Option<Breakpoints> {
        match &item.data {
            Data::String(text) if text == "*" => Some(Breakpoints::All),
            Data::String(text) => {
                let message = format!("`{path}` is {}", quote(text));
                self.sink.report(Code::Value, item.offset, message, "write a list of nodes, or \"*\" for all");
                None
            }
            Data::Array(_) => Some(Breakpoints::At(self.list_of(path, item, |reader, item| {
                let text = reader.string(path, item)?;
                reader.node_name(path, text, item.offset, &[])
            }))),
            _ => self.wrong_type(path, item, "a list of nodes, or \"*\" for all"),
        }
    }

    /// Gives the default handler to the nodes without one, and refuses handlers that need one themselves: a failure is handled once.
    fn error_handlers(&mut self, members: &[Member], nodes: &mut BTreeMap<NodeName, Node>) {
        let default = find(members, "error_handler").and_then(|member| self.error_handler("error_handler", member));
        let handlers: BTreeSet<NodeName> =
            nodes.values().filter_map(|node| node.error_handler.clone()).chain(default.clone()).collect();
        for (member, fields) in tables(find(members, "nodes")) {
            let Ok(name) = NodeName::parse(member.name.as_str()) else { continue };
            let Some(node) = nodes.get_mut(&name) else { continue };
            let own = find(fields, "error_handler");
            let path = join(&join("nodes", &member.name), "error_handler");
            match (&node.error_handler, own) {
                (Some(handler), Some(own)) if *handler == name => self.sink.report(
                    Code::Handler,
                    own.item.offset,
                    format!("`{path}` is the node itself"),
                    "name another node, or use `retry`",
                ),
                (Some(_), Some(own)) if handlers.contains(&name) => self.sink.report(
                    Code::Handler,
                    own.item.offset,
                    format!("`{path}`: a node that handles errors has no handler itself"),
                    format!("remove it, or let another node than `{name}` handle errors"),
                ),
                (None, None) if !handlers.contains(&name) => node.error_handler.clone_from(&default),
                _ => {}
            }
        }
    }

    /// The name of a handler.
    pub(super) fn error_handler(&mut self, path: &str, member: &Member) -> Option<NodeName> {
        let text = self.string(path, &member.item)?;
        self.node_name(path, text, member.item.offset, &[])
    }
}

/// The members of a table that are tables themselves.
fn tables(table: Option<&Member>) -> impl Iterator<Item = (&Member, &[Member])> {
    let members = match table.map(|member| &member.item.data) {
        Some(Data::Table(members)) => members.as_slice(),
        _ => &[],
    };
    members.iter().filter_map(|member| match &member.item.data {
        Data::Table(fields) => Some((member, fields.as_slice())),
        _ => None,
    })
}
