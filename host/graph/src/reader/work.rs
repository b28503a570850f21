//! What executes a node: a component, or a graph of its own.

use crate::definition::{Component, GraphReference, Persist, Subgraph, Work};
use crate::digest::Digest;

use super::fields::quote;
use super::sink::Code;
use super::tree::{Item, Member, find};
use super::{Reader, join};

impl Reader<'_> {
    pub(super) fn work(&mut self, path: &str, members: &[Member], offset: Option<usize>) -> Option<Work> {
        let persist = find(members, "persist");
        match (find(members, "component"), find(members, "graph")) {
            (None, None) => {
                self.sink.report(
                    Code::MissingKey,
                    offset,
                    format!("`{path}` has neither `component` nor `graph`"),
                    "add `component`, or `graph` for a subgraph",
                );
                None
            }
            (Some(component), None) => {
                if let Some(persist) = persist {
                    self.sink.report(
                        Code::Combination,
                        persist.offset,
                        format!("`{}` says what is kept of a subgraph, and there is none", join(path, "persist")),
                        "remove it, or name a `graph` instead of the component",
                    );
                }
                self.component(&join(path, "component"), &component.item).map(Work::Component)
            }
            (_, Some(graph)) => {
                self.refuse_keys_of_components(path, members);
                let persist = match persist {
                    None => Some(Persist::PerCall),
                    Some(member) => self.one_of(&join(path, "persist"), &member.item, &Persist::NAMES),
                };
                let graph = self.graph_reference(&join(path, "graph"), &graph.item);
                Some(Work::Subgraph(Subgraph { graph: graph?, persist: persist? }))
            }
        }
    }

    /// What a component may do and how long says nothing about a graph: its nodes say it each for itself.
    fn refuse_keys_of_components(&mut self, path: &str, members: &[Member]) {
        const KEYS: [&str; 7] = ["with", "connectors", "interrupt", "retry", "timeout", "limits", "cache"];
        for member in members {
            let (message, cure) = match member.name.as_str() {
                "component" => (format!("`{path}` has both `component` and `graph`"), "keep one of them".to_owned()),
                name if KEYS.contains(&name) => (
                    format!("`{}` does not go with `graph`", join(path, name)),
                    format!("say `{name}` of the nodes inside the subgraph, or remove it"),
                ),
                _ => continue,
            };
            self.sink.report(Code::Combination, member.offset, message, cure);
        }
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

    fn graph_reference(&mut self, path: &str, item: &Item) -> Option<GraphReference> {
        let text = self.string(path, item)?;
        let graph = parse_graph_reference(text);
        if graph.is_none() {
            let message = format!("`{path}` is {}", quote(text));
            self.sink.report(
                Code::Component,
                item.offset,
                message,
                "write the path of a graph file, or sha256: and 64 lower-case hex digits",
            );
        }
        graph
    }
}

/// Whether a text can be a path at all.
fn may_be_path(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control)
}

/// A digest or a path.
fn parse_graph_reference(text: &str) -> Option<GraphReference> {
    if text.starts_with("sha256:") {
        return Digest::parse(text).ok().map(GraphReference::Digest);
    }
    may_be_path(text).then(|| GraphReference::Path(text.to_owned()))
}

/// A digest, a name with its version, or a path: whatever has a separator or the ending `.wasm` is a path.
fn parse_component(text: &str) -> Option<Component> {
    if !may_be_path(text) {
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
