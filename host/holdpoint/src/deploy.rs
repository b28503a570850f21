//! From a graph file and its components to a stored version that threads are pinned to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdpoint_engine::Deployment;
use holdpoint_graph::definition::{Component, Graph};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::{file, ids::NodeName};
use holdpoint_sandbox::Sandbox;
use holdpoint_store::sqlite::SqliteStore;
use holdpoint_store::{Content, Store};

use crate::failure::Failure;
use crate::host::Host;

/// Reads and checks a graph file. Components are not looked at.
///
/// # Errors
/// All problems of the file at once, each with its place.
pub fn read_graph(path: &Path) -> Result<Graph, Failure> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::invalid(
            "HP0190",
            format!("the graph file {shown} cannot be read: {error}"),
            "check the path and its permissions",
        )
    })?;
    file::parse(&text, &shown).map_err(|problems| Failure::from_problems(&shown, &problems))
}

/// Reads a graph file and its components, checks every component in the sandbox and stores all of it by content.
///
/// # Errors
/// The file's problems; a component that is missing, refused, or that wants a connector which the graph does not grant; the store's errors.
pub async fn deploy(host: &Host, path: &Path) -> Result<Deployment, Failure> {
    let mut graph = read_graph(path)?;
    let components = load_components(host.sandbox().await?, Some(&host.store), &graph, path).await?;
    for (name, node) in &mut graph.nodes {
        if let Some(component) = components.get(name) {
            node.component = Component::Digest(component.digest.clone());
        }
    }
    let contents: BTreeMap<Digest, Vec<u8>> =
        components.into_values().filter_map(|component| Some((component.digest, component.bytes?))).collect();
    let digests: Vec<Digest> = contents.keys().cloned().collect();
    let missing = host.store.missing_contents(&digests).await.map_err(|error| Failure::from_store(&error))?;
    let contents: Vec<Content> = contents
        .into_iter()
        .filter(|(digest, _)| missing.contains(digest))
        .map(|(digest, bytes)| Content { digest, bytes })
        .collect();
    if !contents.is_empty() {
        host.store.put_contents(contents).await.map_err(|error| Failure::from_store(&error))?;
    }
    host.engine.deploy(graph).await.map_err(|error| Failure::from_engine(&error))
}

/// Checks that every component of a graph is there, accepted by the sandbox, and granted the connectors that it names.
///
/// # Errors
/// As [`deploy`]; nothing is stored.
pub async fn check_components(sandbox: &Sandbox, graph: &Graph, path: &Path) -> Result<(), Failure> {
    load_components(sandbox, None, graph, path).await.map(drop)
}

struct LoadedComponent {
    digest: Digest,
    /// None when it is in the store already.
    bytes: Option<Vec<u8>>,
    /// Connectors that its description names.
    connectors: Vec<String>,
}

async fn load_components(
    sandbox: &Sandbox,
    store: Option<&SqliteStore>,
    graph: &Graph,
    path: &Path,
) -> Result<BTreeMap<NodeName, LoadedComponent>, Failure> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut by_reference: BTreeMap<String, LoadedComponent> = BTreeMap::new();
    let mut loaded = BTreeMap::new();
    for (name, node) in &graph.nodes {
        let reference = match &node.component {
            Component::Path(path) => path.clone(),
            Component::Digest(digest) => digest.to_string(),
            Component::Named { name, version } => format!("{name}@{version}"),
        };
        if !by_reference.contains_key(&reference) {
            let component = match &node.component {
                Component::Path(path) => load_file(sandbox, name, &folder.join(path)).await?,
                Component::Digest(digest) => load_stored(sandbox, store, name, digest).await?,
                Component::Named { .. } => {
                    return Err(Failure::invalid(
                        "HP0193",
                        format!(
                            "node {name} wants the deployed component {reference}; components by name are not supported by this version"
                        ),
                        "name the component by its path or its sha256 digest",
                    ));
                }
            };
            by_reference.insert(reference.clone(), component);
        }
        let component = &by_reference[&reference];
        let ungranted: Vec<&str> = component
            .connectors
            .iter()
            .filter(|wanted| !node.connectors.iter().any(|granted| granted.as_str() == wanted.as_str()))
            .map(String::as_str)
            .collect();
        if !ungranted.is_empty() {
            return Err(Failure::invalid(
                "HP0194",
                format!(
                    "the component of node {name} uses connectors that the graph does not grant: {}",
                    ungranted.join(", ")
                ),
                format!("if it may use them, add `connectors = {ungranted:?}` to [nodes.{name}]"),
            ));
        }
        loaded.insert(
            name.clone(),
            LoadedComponent {
                digest: component.digest.clone(),
                bytes: component.bytes.clone(),
                connectors: component.connectors.clone(),
            },
        );
    }
    Ok(loaded)
}

async fn load_file(sandbox: &Sandbox, node: &NodeName, path: &PathBuf) -> Result<LoadedComponent, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::invalid(
            "HP0191",
            format!("the component of node {node} cannot be read: {}: {error}", path.display()),
            "check the path in the graph file (it is relative to that file); build the node with `holdpoint node build`",
        )
    })?;
    let loaded = sandbox.load(&bytes).await.map_err(|error| {
        let failure = Failure::from_sandbox(&error);
        Failure {
            message: format!("the component of node {node} ({}): {}", path.display(), failure.message),
            ..failure
        }
    })?;
    Ok(LoadedComponent { digest: loaded.digest, bytes: Some(bytes), connectors: loaded.description.connectors })
}

async fn load_stored(
    sandbox: &Sandbox,
    store: Option<&SqliteStore>,
    node: &NodeName,
    digest: &Digest,
) -> Result<LoadedComponent, Failure> {
    let bytes = match store {
        Some(store) => store.content(digest).await.map_err(|error| Failure::from_store(&error))?,
        None => None,
    };
    let bytes = bytes.ok_or_else(|| {
        Failure::invalid(
            "HP0192",
            format!("the component of node {node}, {digest}, is not in the store"),
            "run the graph once from its component files, or use the store that has it",
        )
    })?;
    let loaded = sandbox.load(&bytes).await.map_err(|error| Failure::from_sandbox(&error))?;
    Ok(LoadedComponent { digest: loaded.digest, bytes: None, connectors: loaded.description.connectors })
}
