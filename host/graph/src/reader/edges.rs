//! Where the graph goes: `start` and `next`.

use crate::definition::{Branch, Next, Target};
use crate::ids::NodeName;
use crate::problem::printable;
use crate::state::Condition;

use super::fields::quote;
use super::sink::Code;
use super::tree::{Data, Item, Member, find};
use super::{Reader, join};

impl Reader<'_> {
    /// A node's name, a list of names, or a list of branches.
    pub(super) fn next(&mut self, path: &str, item: &Item) -> Next {
        match &item.data {
            Data::Array(items) if items.iter().any(|item| matches!(item.data, Data::Table(_))) => {
                self.branches(path, items)
            }
            Data::Table(_) => {
                self.wrong_type::<()>(
                    path,
                    item,
                    "a list of branches, as in [{ when = \"…\", to = \"a\" }, { to = \"b\" }]",
                );
                Next::None
            }
            _ => Next::All(self.targets(path, item)),
        }
    }

    fn branches(&mut self, path: &str, items: &[Item]) -> Next {
        let mut branches = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Data::Table(members) = &item.data else {
                let message = format!("`{path}` mixes names and branches");
                self.sink.report(
                    Code::Edge,
                    item.offset,
                    message,
                    "write { to = … } for a branch that is always taken",
                );
                continue;
            };
            let path = format!("{path}[{index}]");
            self.check_keys(members, &path, &["when", "to"]);
            let to = self
                .required(members, &path, "to", item.offset)
                .map_or_else(Vec::new, |member| self.targets(&join(&path, "to"), &member.item));
            let when = find(members, "when");
            if when.is_none() && index + 1 < items.len() {
                let message = format!("`{path}` has no `when`, so the branches after it are never taken");
                self.sink.report(Code::Edge, item.offset, message, "add `when`, or move it to the end");
            }
            let when = when.and_then(|member| self.condition(&join(&path, "when"), member));
            branches.push(Branch { when, to });
        }
        Next::First(branches)
    }

    /// One target or a list of them; at least one.
    fn targets(&mut self, path: &str, item: &Item) -> Vec<Target> {
        match &item.data {
            Data::String(_) => self.target(path, item).into_iter().collect(),
            Data::Array(items) if items.is_empty() => {
                let message = format!("`{path}` is an empty list");
                self.sink.report(Code::Edge, item.offset, message, "name a node or \"END\", or remove the key");
                Vec::new()
            }
            Data::Array(_) => self.list_of(path, item, |reader, item| reader.target(path, item)),
            _ => {
                self.wrong_type::<()>(path, item, "a node's name or a list of names");
                Vec::new()
            }
        }
    }

    fn target(&mut self, path: &str, item: &Item) -> Option<Target> {
        match self.string(path, item)? {
            "END" => Some(Target::End),
            "START" => {
                let message = format!("`{path}` leads to START");
                self.sink.report(Code::Edge, item.offset, message, "name the node that the graph starts with");
                None
            }
            text => self.node_name(path, text, item.offset, &["END"]).map(Target::Node),
        }
    }

    /// The name of a node that exists. `also` are words that may have been meant besides.
    pub(super) fn node_name(
        &mut self,
        path: &str,
        text: &str,
        offset: Option<usize>,
        also: &[&str],
    ) -> Option<NodeName> {
        // An invalid name is reported where the node is declared.
        let Some(nodes) = self.nodes.take() else { return NodeName::parse(text).ok() };
        let known = nodes.contains(text);
        let suggestion =
            if known { None } else { self.suggest(text, nodes.iter().map(String::as_str).chain(also.iter().copied())) };
        self.nodes = Some(nodes);
        if known {
            return NodeName::parse(text).ok();
        }
        let cure = suggestion.unwrap_or_else(|| format!("add [nodes.{}]", printable(text, 64)));
        self.sink.report(Code::UnknownNode, offset, format!("`{path}` names the unknown node {}", quote(text)), cure);
        None
    }

    /// A CEL condition that reads known channels only.
    pub(super) fn condition(&mut self, path: &str, member: &Member) -> Option<Condition> {
        let text = self.string(path, &member.item)?;
        let condition = match Condition::compile(text) {
            Ok(condition) => condition,
            Err(reason) => {
                let message = format!("`{path}`: {reason}");
                self.sink.report(
                    Code::Condition,
                    member.item.offset,
                    message,
                    "write a CEL expression such as \"state.approved == true\"",
                );
                return None;
            }
        };
        for channel in condition.channels().into_iter().flatten() {
            if self.check_channel(path, channel, member.item.offset) && self.managed.contains(channel) {
                self.sink.report(
                    Code::Managed,
                    member.item.offset,
                    format!("`{path}` reads the managed channel {}", quote(channel)),
                    "managed values are given to nodes only: let a node write what the condition needs to another channel",
                );
            }
        }
        Some(condition)
    }

    /// Whether a channel exists; reports one that does not.
    pub(super) fn check_channel(&mut self, path: &str, text: &str, offset: Option<usize>) -> bool {
        let Some(channels) = self.channels.take() else { return true };
        let known = channels.contains(text);
        let suggestion = if known { None } else { self.suggest(text, channels.iter().map(String::as_str)) };
        self.channels = Some(channels);
        if known {
            return true;
        }
        let cure = suggestion.unwrap_or_else(|| "declare it under [state]".to_owned());
        self.sink.report(
            Code::UnknownChannel,
            offset,
            format!("`{path}` reads the unknown channel {}", quote(text)),
            cure,
        );
        false
    }
}
