//! Graph texts of scenarios as deployed graphs.

use std::collections::BTreeMap;

use holdpoint_engine::{Deployment, Engine};
use holdpoint_graph::definition::{Component, Graph, GraphReference, Subgraph, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::file;
use toml::{Table, Value};

use super::data::Scenario;

/// Deploys the graphs of a scenario, inner ones first. Every node that is no subgraph is a probe.
///
/// # Errors
/// What is wrong with a graph.
pub async fn deploy(
    scenario: &Scenario,
    engine: &Engine,
    probe: &Digest,
) -> Result<BTreeMap<String, Deployment>, String> {
    let main = scenario.graph.iter().map(|text| ("main".to_owned(), text.clone()));
    let mut left: BTreeMap<String, Graph> = BTreeMap::new();
    for (name, text) in main.chain(scenario.graphs.clone()) {
        let graph = read(&name, &text).map_err(|error| format!("graph {name}: {error}"))?;
        left.insert(name, graph);
    }
    let mut deployed: BTreeMap<String, Deployment> = BTreeMap::new();
    while !left.is_empty() {
        let ready = left.iter().find(|(_, graph)| inner(graph).all(|name| deployed.contains_key(name)));
        let Some(name) = ready.map(|(name, _)| name.clone()) else {
            return Err(format!("graphs name graphs that are not there, or each other: {:?}", left.keys()));
        };
        let Some(mut graph) = left.remove(&name) else { continue };
        for node in graph.nodes.values_mut() {
            match &mut node.work {
                Work::Component(component) => *component = Component::Digest(probe.clone()),
                Work::Subgraph(Subgraph { graph, .. }) => {
                    if let GraphReference::Path(inner) = graph {
                        *graph = GraphReference::Digest(deployed[inner.as_str()].digest.clone());
                    }
                }
            }
        }
        let deployment = engine.deploy(graph).await.map_err(|error| format!("graph {name}: {error}"))?;
        deployed.insert(name, deployment);
    }
    Ok(deployed)
}

fn inner(graph: &Graph) -> impl Iterator<Item = &str> {
    graph.subgraphs().filter_map(|(_, subgraph)| match &subgraph.graph {
        GraphReference::Path(name) => Some(name.as_str()),
        GraphReference::Digest(_) => None,
    })
}

/// Reads a text and fills in what scenarios leave out: the name, the state, components and scripts.
fn read(name: &str, text: &str) -> Result<Graph, String> {
    const LOG: &str = "log = { type = \"array\", reducer = \"append\" }";
    const LOG_NAME: &str = "script = [{ set = { log = [\"$task.node\"] } }]";
    let table = |text: &str| text.parse::<Table>().map_err(|error| error.to_string());
    let mut graph = table(text)?;
    // A version of a graph has the graph's name: what stands behind a space only tells them apart here.
    let own_name = name.split(' ').next().unwrap_or(name);
    graph.entry("name").or_insert_with(|| own_name.into());
    if !graph.contains_key("state") {
        graph.insert("state".into(), Value::Table(table(LOG)?));
    }
    if let Some(Value::Table(nodes)) = graph.get_mut("nodes") {
        for (_, node) in nodes.iter_mut() {
            let Value::Table(node) = node else { continue };
            if node.contains_key("graph") {
                continue;
            }
            node.insert("component".into(), "probe.wasm".into());
            let with = match node.remove("script") {
                Some(script) => Table::from_iter([("script".to_owned(), script)]),
                None => table(LOG_NAME)?,
            };
            node.entry("with").or_insert(Value::Table(with));
        }
    }
    let text = toml::to_string(&graph).map_err(|error| error.to_string())?;
    file::parse(&text, name).map_err(|problems| problems.to_string())
}
