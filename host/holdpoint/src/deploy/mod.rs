//! From a graph file and its components to a stored version that threads are pinned to.
//!
//! # Layout
//!
//! * [`files`]: a graph file with the files of its subgraphs. [`source`]: where files come from.
//! * [`prepare`](mod@prepare): every component of it loaded and checked, every part named by its content.
//! * [`deploy`](fn@deploy): all of that stored, for threads that are started from a file.
//! * [`capabilities`]: what nodes may do, and what of it one version has more than another.
//! * [`versions`]: deploying under a name.

pub mod files;
pub mod prepare;
pub mod source;

pub mod capabilities;
pub mod versions;

use std::path::Path;

use holdpoint_engine::Deployment;
use holdpoint_graph::definition::Graph;
use holdpoint_store::Content;

use crate::failure::Failure;
use crate::host::Host;
use files::Files;
use prepare::Prepared;

/// The graph of files that were read, checked. Components are not looked at.
///
/// # Errors
/// All problems of the files at once, each with its place.
pub fn read_graph(files: Files) -> Result<Graph, Failure> {
    let Files { shown, root, problems, .. } = files;
    match root {
        Some(root) if problems.is_empty() => Ok(root.graph.clone()),
        _ => Err(Failure::from_all(&shown, problems)),
    }
}

/// Reads a graph file and its subgraphs, and stores them as [`deploy_files`].
///
/// # Errors
/// As of [`deploy_files`].
pub async fn deploy(host: &Host, path: &Path) -> Result<Deployment, Failure> {
    deploy_files(host, files::read(path)).await
}

/// Checks every component of a graph that was read in the sandbox and stores all of it by content. It is not a version of its name then: that is
/// [`versions::Plan::take_over`].
///
/// # Errors
/// The files' problems; components that are missing, refused, or that want connectors which the graph does not grant: all at once. The store's
/// errors.
pub async fn deploy_files(host: &Host, files: Files) -> Result<Deployment, Failure> {
    let prepared = prepare::prepare(host.sandbox().await?, Some(host.store.as_ref()), files).await?;
    store(host, &prepared).await
}

/// Stores a graph and everything that it consists of; what is there already is not written again.
async fn store(host: &Host, prepared: &Prepared) -> Result<Deployment, Failure> {
    let digests: Vec<_> = prepared.components.keys().cloned().collect();
    let missing = host.store.missing_contents(&digests).await.map_err(|error| Failure::from_store(&error))?;
    let contents = missing.into_iter().filter_map(|digest| {
        let bytes = prepared.components.get(&digest)?.bytes.clone();
        Some(Content { digest, bytes })
    });
    let contents: Vec<Content> = contents.collect();
    if !contents.is_empty() {
        host.store.put_contents(contents).await.map_err(|error| Failure::from_store(&error))?;
    }
    prepared.deploy_into(&host.engine).await
}

impl Prepared {
    /// Stores the graphs, those inside others first, where an engine keeps its own; the components have to be there for it to run them.
    pub(crate) async fn deploy_into(&self, engine: &holdpoint_engine::Engine) -> Result<Deployment, Failure> {
        let mut deployed = None;
        for graph in self.graphs() {
            let graph = (*graph.graph).clone();
            deployed = Some(engine.deploy(graph).await.map_err(|error| Failure::from_engine(&error))?);
        }
        Ok(deployed.expect("invariant: a graph is among its own graphs, and the last of them"))
    }
}
