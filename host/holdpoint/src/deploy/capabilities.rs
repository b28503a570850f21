//! What the nodes of a graph may do, and what of it one version has more than another. Pure.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::digest::Digest;
use serde_json::{Value, json};

use super::prepare::{Prepared, PreparedGraph};

/// What each node may do, by path: nodes of subgraphs as `OUTER/INNER`. Nodes that are subgraphs do nothing themselves.
pub type Capabilities = BTreeMap<String, NodeCapabilities>;

/// What one node may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCapabilities {
    /// The component that it runs.
    pub component: ComponentName,
    /// What that imports of the host.
    pub imports: BTreeSet<String>,
    /// The connectors that the graph grants it.
    pub connectors: BTreeSet<String>,
}

/// A component as people and programs tell it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentName {
    /// What it calls itself.
    pub name: String,
    /// The version that it says it is.
    pub version: String,
    /// Its content.
    pub digest: Digest,
}

/// What changes from one version to the next: the nodes that changed, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference(pub BTreeMap<String, NodeDifference>);

/// What changes for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDifference {
    /// What it ran; none for a node that was not there.
    pub component_before: Option<ComponentName>,
    /// What it runs; none for a node that is gone.
    pub component: Option<ComponentName>,
    /// Whether no node of the version before ran a component of that name.
    pub component_is_new: bool,
    /// Imports that it did not have.
    pub imports_gained: Vec<String>,
    /// Imports that it has no more.
    pub imports_lost: Vec<String>,
    /// Connectors that it was not granted.
    pub connectors_gained: Vec<String>,
    /// Connectors that it is not granted any more.
    pub connectors_lost: Vec<String>,
}

/// What the nodes of a graph may do.
pub fn of(prepared: &Prepared) -> Capabilities {
    let mut capabilities = Capabilities::new();
    add(prepared, &prepared.root, "", &mut capabilities);
    capabilities
}

fn add(prepared: &Prepared, graph: &PreparedGraph, outer: &str, capabilities: &mut Capabilities) {
    for (name, node) in &graph.graph.nodes {
        let path = if outer.is_empty() { name.to_string() } else { format!("{outer}/{name}") };
        if let Some(child) = graph.children.get(name) {
            add(prepared, child, &path, capabilities);
        } else if let Some(component) = node.component_digest().and_then(|digest| prepared.components.get(digest)) {
            let inspection = &component.inspection;
            let may = NodeCapabilities {
                component: ComponentName {
                    name: inspection.description.name.clone(),
                    version: inspection.description.version.clone(),
                    digest: inspection.digest.clone(),
                },
                imports: inspection.imports.iter().cloned().collect(),
                connectors: node.connectors.iter().map(ToString::to_string).collect(),
            };
            capabilities.insert(path, may);
        }
    }
}

impl Difference {
    /// From one version to the next.
    pub fn between(before: &Capabilities, after: &Capabilities) -> Self {
        let known: BTreeSet<&str> = before.values().map(|node| node.component.name.as_str()).collect();
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let nodes = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
        Self(
            nodes
                .map(|path| (path.clone(), NodeDifference::between(before.get(path), after.get(path), &known)))
                .collect(),
        )
    }

    /// What nodes may do more, one line each: what somebody has to take. Another version of a component that is known already gains nothing by
    /// itself: what it may do is what the host lets it.
    pub fn gains(&self) -> Vec<String> {
        self.0
            .iter()
            .flat_map(|(path, node)| node.gains().into_iter().map(move |gain| format!("{path}: {gain}")))
            .collect()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let nodes = self.0.iter().map(|(path, node)| {
            json!({
                "node": path,
                "component_before": node.component_before.as_ref().map(ComponentName::to_json),
                "component": node.component.as_ref().map(ComponentName::to_json),
                "component_is_new": node.component_is_new,
                "imports_gained": node.imports_gained,
                "imports_lost": node.imports_lost,
                "connectors_gained": node.connectors_gained,
                "connectors_lost": node.connectors_lost,
            })
        });
        Value::Array(nodes.collect())
    }

    /// For people: node, component, what is gained, what is lost.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let list = |imports: &[String], connectors: &[String]| {
            let connectors = connectors.iter().map(|connector| format!("connector {connector}"));
            connectors.chain(imports.iter().map(|import| format!("import {import}"))).collect::<Vec<_>>().join("\n")
        };
        let nodes = self.0.iter().map(|(path, node)| {
            let component = match (&node.component_before, &node.component) {
                (None, None) => String::new(),
                (None, Some(now)) => format!("{}, new", now.label()),
                (Some(before), None) => format!("{}, gone", before.label()),
                (Some(before), Some(now)) if before == now => now.label(),
                (Some(before), Some(now)) => format!("{} → {}", before.label(), now.label()),
            };
            vec![
                path.clone(),
                component,
                list(&node.imports_gained, &node.connectors_gained),
                list(&node.imports_lost, &node.connectors_lost),
            ]
        });
        nodes.collect()
    }
}

impl NodeDifference {
    fn between(before: Option<&NodeCapabilities>, after: Option<&NodeCapabilities>, known: &BTreeSet<&str>) -> Self {
        fn more<'n>(
            left: Option<&'n NodeCapabilities>,
            right: Option<&'n NodeCapabilities>,
            of: impl Fn(&'n NodeCapabilities) -> &'n BTreeSet<String>,
        ) -> Vec<String> {
            let had = right.map(&of);
            let has = left.map(of).into_iter().flatten();
            has.filter(|item| !had.is_some_and(|had| had.contains(*item))).cloned().collect()
        }
        Self {
            component_before: before.map(|node| node.component.clone()),
            component: after.map(|node| node.component.clone()),
            component_is_new: after.is_some_and(|node| !known.contains(node.component.name.as_str())),
            imports_gained: more(after, before, |node| &node.imports),
            imports_lost: more(before, after, |node| &node.imports),
            connectors_gained: more(after, before, |node| &node.connectors),
            connectors_lost: more(before, after, |node| &node.connectors),
        }
    }

    fn gains(&self) -> Vec<String> {
        let component = self.component.iter().filter(|_| self.component_is_new);
        let component = component.map(|component| format!("new component {}", component.label()));
        let connectors = self.connectors_gained.iter().map(|connector| format!("connector {connector}"));
        let imports = self.imports_gained.iter().map(|import| format!("import {import}"));
        component.chain(connectors).chain(imports).collect()
    }
}

impl ComponentName {
    /// As a graph file names it.
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn to_json(&self) -> Value {
        json!({ "name": self.name, "version": self.version, "digest": self.digest.as_str() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(component: &str, imports: &[&str], connectors: &[&str]) -> NodeCapabilities {
        let (name, version) = component.split_once('@').expect("name@version");
        let set = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        NodeCapabilities {
            component: ComponentName {
                name: name.into(),
                version: version.into(),
                digest: Digest::of_bytes(component.as_bytes()),
            },
            imports: set(imports),
            connectors: set(connectors),
        }
    }

    #[test]
    fn gains_are_what_nodes_may_do_more() {
        let version = |nodes: &[(&str, NodeCapabilities)]| -> Capabilities {
            nodes.iter().map(|(path, node)| ((*path).to_owned(), node.clone())).collect()
        };
        let check = |before: &[(&str, NodeCapabilities)], after: &[(&str, NodeCapabilities)], gains: &[&str]| {
            let difference = Difference::between(&version(before), &version(after));
            assert_eq!(difference.gains(), gains, "{difference:?}");
            difference
        };
        let pay = || ("pay", node("pay@1", &["i"], &["bank"]));
        assert!(check(&[pay()], &[pay()], &[]).0.is_empty());
        check(&[], &[pay()], &["pay: new component pay@1", "pay: connector bank", "pay: import i"]);
        let gone = check(&[pay()], &[], &[]);
        assert_eq!(
            (&gone.0["pay"].connectors_lost, &gone.0["pay"].imports_lost),
            (&vec!["bank".into()], &vec!["i".into()])
        );
        let newer = check(&[pay()], &[("pay", node("pay@2", &["i"], &["bank"]))], &[]);
        assert_eq!(newer.rows()[0][1], "pay@1 → pay@2", "shown, though nothing is gained");
        check(&[pay()], &[("pay", node("pay@2", &["i", "j"], &["mail"]))], &["pay: connector mail", "pay: import j"]);
        check(&[pay()], &[pay(), ("in/pay", node("pay@1", &[], &["bank"]))], &["in/pay: connector bank"]);
        check(&[pay()], &[("pay", node("other@1", &["i"], &["bank"]))], &["pay: new component other@1"]);
    }
}
