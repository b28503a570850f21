//! Nodes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::definition::{Component, Limits, Next, Node, Retry};
use crate::digest::Digest;
use crate::ids::{ChannelName, ConnectorName, NodeName};

use super::fields::quote;
use super::sink::Code;
use super::tree::{Data, Item, Member, find};
use super::{Reader, join};

/// What a retry table leaves out: LangGraph's figures.
const BACKOFF_MS_DEFAULT: u64 = 500;
const FACTOR_DEFAULT: f64 = 2.0;
const BACKOFF_MS_MAX_DEFAULT: u64 = 128_000;

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
        const KEYS: [&str; 10] =
            ["component", "with", "reads", "connectors", "join", "next", "interrupt", "retry", "timeout", "limits"];
        const KEYS_LATER: [&str; 7] =
            ["defer", "interrupt_before", "interrupt_after", "error_handler", "cache", "graph", "persist"];
        let members = self.table(&member.item, path)?;
        self.check_keys(members, path, &KEYS, &KEYS_LATER);
        // A subgraph needs no component; that it is not supported is reported already.
        let component = match find(members, "graph") {
            Some(_) => None,
            None => self
                .required(members, path, "component", member.offset)
                .and_then(|member| self.component(&join(path, "component"), &member.item)),
        };
        let config = find(members, "with")
            .map_or_else(|| Some(Value::Object(Map::new())), |member| self.config(&join(path, "with"), &member.item));
        let reads = find(members, "reads").map(|member| self.reads(&join(path, "reads"), &member.item));
        let connectors = find(members, "connectors").map_or_else(Vec::new, |member| {
            let path = join(path, "connectors");
            self.list_of(&path, &member.item, |reader, item| reader.name(&path, item, ConnectorName::parse))
        });
        let join_nodes = find(members, "join").map(|found| self.join(&join(path, "join"), &found.item, &member.name));
        let next = find(members, "next").map_or(Next::None, |member| self.next(&join(path, "next"), &member.item));
        let interrupt = find(members, "interrupt").and_then(|member| self.interrupt(&join(path, "interrupt"), member));
        let retry = find(members, "retry").and_then(|member| self.retry(&join(path, "retry"), member));
        let timeout_ms =
            find(members, "timeout").and_then(|member| self.duration_ms(&join(path, "timeout"), &member.item, 1));
        let limits = find(members, "limits")
            .map_or_else(Limits::default, |member| self.limits(&join(path, "limits"), &member.item));
        Some(Node {
            component: component?,
            config: config?,
            reads,
            connectors,
            join: join_nodes,
            next,
            interrupt,
            retry,
            timeout_ms,
            limits,
        })
    }

    fn component(&mut self, path: &str, item: &Item) -> Option<Component> {
        let text = self.string(path, item)?;
        let component = parse_component(text);
        if component.is_none() {
            let message = format!("`{path}` is {}", quote(text));
            self.sink.report(
                Code::Component,
                item.offset,
                message,
                "write a path, name@version, or sha256: and 64 lower-case hex digits",
            );
        }
        component
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

    fn join(&mut self, path: &str, item: &Item, own_name: &str) -> Vec<NodeName> {
        match &item.data {
            Data::Table(_) => {
                let message = format!("`{path}` with conditions is not supported by this version");
                self.sink.report(
                    Code::Unsupported,
                    item.offset,
                    message,
                    "write a list of nodes: the node waits for all of them",
                );
                return Vec::new();
            }
            Data::Array(items) if items.is_empty() => {
                self.sink.report(
                    Code::Edge,
                    item.offset,
                    format!("`{path}` is an empty list"),
                    "name the nodes to wait for, or remove the key",
                );
                return Vec::new();
            }
            _ => {}
        }
        self.list_of(path, item, |reader, item| {
            let text = reader.string(path, item)?;
            if text == own_name {
                let message = format!("`{path}` waits for its own node, so it would never run");
                reader.sink.report(Code::Edge, item.offset, message, "name other nodes");
                return None;
            }
            reader.node_name(path, text, item.offset)
        })
    }

    fn retry(&mut self, path: &str, member: &Member) -> Option<Retry> {
        let members = self.table(&member.item, path)?;
        self.check_keys(members, path, &["attempts_max", "backoff", "factor", "max"], &[]);
        let attempts_max = self
            .required(members, path, "attempts_max", member.offset)
            .and_then(|member| self.integer(&join(path, "attempts_max"), &member.item, 1, u64::from(u32::MAX)))
            .and_then(|attempts| u32::try_from(attempts).ok());
        let backoff_ms = find(members, "backoff")
            .and_then(|member| self.duration_ms(&join(path, "backoff"), &member.item, 0))
            .unwrap_or(BACKOFF_MS_DEFAULT);
        let factor = find(members, "factor")
            .and_then(|member| self.float(&join(path, "factor"), &member.item, 1.0))
            .unwrap_or(FACTOR_DEFAULT);
        let max = find(members, "max");
        let backoff_max_ms = max
            .and_then(|member| self.duration_ms(&join(path, "max"), &member.item, 0))
            .unwrap_or(BACKOFF_MS_MAX_DEFAULT.max(backoff_ms));
        if let Some(max) = max
            && backoff_max_ms < backoff_ms
        {
            let message = format!("`{path}.max` is shorter than the first pause");
            self.sink.report(Code::Value, max.item.offset, message, "make `max` at least as long as `backoff`");
        }
        Some(Retry { attempts_max: attempts_max?, backoff_ms, factor, backoff_max_ms })
    }

    fn limits(&mut self, path: &str, item: &Item) -> Limits {
        let members = self.table(item, path).unwrap_or_default();
        self.check_keys(members, path, &["memory", "fuel", "time"], &[]);
        Limits {
            memory_bytes: find(members, "memory")
                .and_then(|member| self.size_bytes(&join(path, "memory"), &member.item)),
            fuel: find(members, "fuel").and_then(|member| self.integer(&join(path, "fuel"), &member.item, 1, u64::MAX)),
            time_ms: find(members, "time").and_then(|member| self.duration_ms(&join(path, "time"), &member.item, 1)),
        }
    }
}

/// A digest, a name with its version, or a path: whatever has a separator or the ending `.wasm` is a path.
fn parse_component(text: &str) -> Option<Component> {
    if text.trim().is_empty() || text.len() > 4096 || text.chars().any(char::is_control) {
        return None;
    }
    if text.starts_with("sha256:") {
        return Digest::parse(text).ok().map(Component::Digest);
    }
    let is_path = text.contains(['/', '\\']) || text.to_ascii_lowercase().ends_with(".wasm");
    match text.split_once('@') {
        Some((name, version)) if !is_path => {
            let sound = |part: &str, extra: &str| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
            };
            (sound(name, "_-.:") && sound(version, "_-.+"))
                .then(|| Component::Named { name: name.to_owned(), version: version.to_owned() })
        }
        _ => Some(Component::Path(text.to_owned())),
    }
}
