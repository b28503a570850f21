//! Nodes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::definition::{Limits, Next, Node};
use crate::ids::{ChannelName, ConnectorName, NodeName};

use super::sink::Code;
use super::tree::{Data, Item, Member, find};
use super::{Reader, join};

impl Reader<'_> {
    pub(super) fn nodes(&mut self, nodes: &Member) -> BTreeMap<NodeName, Node> {
        let mut read = BTreeMap::new();
        for member in self.table(&nodes.item, "nodes").unwrap_or_default() {
            let name = self.parse_name(&member.name, member.offset, NodeName::parse);
            let node = self.node(&join("nodes", &member.name), member);
            if let (Some(name), Some(node)) = (name, node)
                && read.insert(name, node).is_some()
            {
                self.declared_twice("nodes", member);
            }
        }
        read
    }

    fn node(&mut self, path: &str, member: &Member) -> Option<Node> {
        const KEYS: [&str; 17] = [
            "component",
            "graph",
            "persist",
            "with",
            "reads",
            "connectors",
            "join",
            "defer",
            "next",
            "interrupt",
            "interrupt_before",
            "interrupt_after",
            "retry",
            "timeout",
            "error_handler",
            "cache",
            "limits",
        ];
        let members = self.table(&member.item, path)?;
        self.check_keys(members, path, &KEYS);
        let work = self.work(path, members, member.offset);
        let config = find(members, "with")
            .map_or_else(|| Some(Value::Object(Map::new())), |member| self.config(&join(path, "with"), &member.item));
        let reads = find(members, "reads").map(|member| self.reads(&join(path, "reads"), &member.item));
        let connectors = find(members, "connectors").map_or_else(Vec::new, |member| {
            let path = join(path, "connectors");
            self.list_of(&path, &member.item, |reader, item| reader.name(&path, item, ConnectorName::parse))
        });
        let waits = find(members, "join").and_then(|found| self.waits(&join(path, "join"), &found.item, &member.name));
        let next = find(members, "next").map_or(Next::None, |member| self.next(&join(path, "next"), &member.item));
        let interrupt = find(members, "interrupt")
            .and_then(|member| self.interrupt(&join(path, "interrupt"), member, reads.as_deref()));
        let retry = find(members, "retry").and_then(|member| self.retry(&join(path, "retry"), member));
        let timeout_ms =
            find(members, "timeout").and_then(|member| self.duration_ms(&join(path, "timeout"), &member.item, 1));
        let error_handler =
            find(members, "error_handler").and_then(|member| self.error_handler(&join(path, "error_handler"), member));
        let cache = find(members, "cache").and_then(|member| self.cache(&join(path, "cache"), member));
        if let (Some(_), Some(member), false) = (&cache, find(members, "cache"), connectors.is_empty()) {
            // What a node does outside must be done for each thread.
            let message = format!(
                "`{path}.cache` on a node with connectors would use its results where its effects never happened"
            );
            let cure = "remove one of them; let a node without connectors do what is to be cached";
            self.sink.report(Code::Combination, member.offset, message, cure);
        }
        let limits = find(members, "limits")
            .map_or_else(Limits::default, |member| self.limits(&join(path, "limits"), &member.item));
        Some(Node {
            work: work?,
            config: config?,
            reads,
            connectors,
            join: waits,
            defer: self.flag(path, members, "defer"),
            next,
            interrupt,
            interrupt_before: self.flag(path, members, "interrupt_before"),
            interrupt_after: self.flag(path, members, "interrupt_after"),
            retry,
            timeout_ms,
            error_handler,
            cache,
            limits,
        })
    }

    fn config(&mut self, path: &str, item: &Item) -> Option<Value> {
        match item.data {
            Data::Table(_) => Some(item.to_json()),
            _ => self.wrong_type(path, item, "a table"),
        }
    }

    fn reads(&mut self, path: &str, item: &Item) -> Vec<ChannelName> {
        self.list_of(path, item, |reader, item| {
            let text = reader.string(path, item)?;
            // An invalid name is reported where the channel is declared.
            if reader.check_channel(path, text, item.offset) { ChannelName::parse(text).ok() } else { None }
        })
    }
}
