//! A graph with everything that it consists of, checked, and each part named by its content.

mod components;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use holdpoint_graph::definition::{Component, Graph, GraphReference, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::document;
use holdpoint_graph::ids::NodeName;
use holdpoint_graph::problem::Problem;
use holdpoint_sandbox::{Inspection, Sandbox};
use holdpoint_store::Store;

use super::files::{Files, GraphFile, problem};
use super::source::{Disk, Source};
use crate::failure::Failure;

/// Nodes of a graph, those of its subgraphs counted as often as they are nested.
const NODES_MAX: usize = 10_000;

/// See the module.
pub struct Prepared {
    /// The graph.
    pub root: Arc<PreparedGraph>,
    /// The components of it and of all graphs inside it.
    pub components: BTreeMap<Digest, PreparedComponent>,
}

/// A graph whose every part is named by digest.
#[derive(Debug)]
pub struct PreparedGraph {
    /// Its digest.
    pub digest: Digest,
    /// The graph.
    pub graph: Arc<Graph>,
    /// Those of its nodes that are graphs.
    pub children: BTreeMap<NodeName, Arc<PreparedGraph>>,
    /// Its nodes, with those of its subgraphs.
    nodes_total: usize,
}

/// A component that the sandbox accepted.
pub struct PreparedComponent {
    /// What it is called, what it wants and what it offers.
    pub inspection: Inspection,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Prepared {
    /// The graphs, each once and those inside others first.
    pub fn graphs(&self) -> Vec<Arc<PreparedGraph>> {
        let mut graphs = Vec::new();
        collect(&self.root, &mut graphs);
        graphs
    }
}

fn collect(graph: &Arc<PreparedGraph>, graphs: &mut Vec<Arc<PreparedGraph>>) {
    if graphs.iter().any(|known| known.digest == graph.digest) {
        return;
    }
    graph.children.values().for_each(|child| collect(child, graphs));
    graphs.push(Arc::clone(graph));
}

/// Loads and checks every component of a graph and of all graphs inside it. `store` is where deployed components and graphs are looked up; without
/// one there are none.
///
/// # Errors
/// Everything that is wrong, at once: the files' problems, components that are missing, refused, or want connectors that the graph does not grant.
/// What the host itself cannot do ends it at once.
pub async fn prepare(sandbox: &Sandbox, store: Option<&dyn Store>, files: Files) -> Result<Prepared, Failure> {
    let mut preparation = Preparation { source: Arc::clone(&files.source), ..Preparation::new(sandbox, store) };
    preparation.problems = files.problems;
    let root = match &files.root {
        Some(root) => preparation.file(root).await?,
        None => None,
    };
    if let Some(root) = root.as_ref().filter(|root| root.nodes_total > NODES_MAX) {
        let message = format!(
            "the graph has {} nodes, those of nested graphs included; at most {NODES_MAX} are allowed",
            root.nodes_total
        );
        preparation.problems.push(problem("HP0196", &files.shown, message, "nest fewer graphs"));
    }
    preparation.finish(&files.shown, root)
}

/// A graph that is stored, with everything that it consists of.
///
/// # Errors
/// A part that is not stored; what the host cannot do.
pub async fn stored(sandbox: &Sandbox, store: &dyn Store, digest: &Digest) -> Result<Prepared, Failure> {
    let mut preparation = Preparation::new(sandbox, Some(store));
    let root = preparation.stored(digest.as_str(), "the deployed graph", digest).await?;
    preparation.finish(digest.as_str(), root)
}

type Found = Option<Arc<PreparedGraph>>;
type Finding<'f> = Pin<Box<dyn Future<Output = Result<Found, Failure>> + Send + 'f>>;

struct Preparation<'a> {
    sandbox: &'a Sandbox,
    store: Option<&'a dyn Store>,
    source: Arc<dyn Source>,
    components: BTreeMap<Digest, PreparedComponent>,
    /// What a file or a name refers to; none where it has a problem, which is told once.
    by_path: HashMap<PathBuf, Option<Digest>>,
    by_name: HashMap<(String, String), Option<Digest>>,
    by_digest: HashMap<Digest, bool>,
    files: HashMap<PathBuf, Found>,
    graphs: HashMap<Digest, Found>,
    problems: Vec<Problem>,
}

impl<'a> Preparation<'a> {
    fn new(sandbox: &'a Sandbox, store: Option<&'a dyn Store>) -> Self {
        Self {
            sandbox,
            store,
            source: Arc::new(Disk),
            components: BTreeMap::new(),
            by_path: HashMap::new(),
            by_name: HashMap::new(),
            by_digest: HashMap::new(),
            files: HashMap::new(),
            graphs: HashMap::new(),
            problems: Vec::new(),
        }
    }

    fn finish(self, shown: &str, root: Found) -> Result<Prepared, Failure> {
        match root {
            Some(root) if self.problems.is_empty() => Ok(Prepared { root, components: self.components }),
            _ => Err(Failure::from_all(shown, self.problems)),
        }
    }

    /// None when it, or a graph inside it, has a problem.
    fn file<'f>(&'f mut self, file: &'f Arc<GraphFile>) -> Finding<'f> {
        Box::pin(async move {
            if let Some(known) = self.files.get(&file.identity) {
                return Ok(known.clone());
            }
            let mut graph = file.graph.clone();
            let mut children = BTreeMap::new();
            let mut sound = true;
            for (name, node) in &mut graph.nodes {
                match &mut node.work {
                    Work::Component(component) => match self.component(file, name, component).await? {
                        Some(digest) => {
                            *component = Component::Digest(digest.clone());
                            self.check_grants(&file.shown, name, node, &digest);
                        }
                        None => sound = false,
                    },
                    Work::Subgraph(subgraph) => {
                        let child = match &subgraph.graph {
                            GraphReference::Digest(digest) => {
                                let whose = format!("the graph of node {name}");
                                self.stored(&file.shown, &whose, digest).await?
                            }
                            GraphReference::Path(_) => match file.children.get(name) {
                                Some(child) => self.file(child).await?,
                                None => None,
                            },
                        };
                        match child {
                            Some(child) => {
                                subgraph.graph = GraphReference::Digest(child.digest.clone());
                                children.insert(name.clone(), child);
                            }
                            None => sound = false,
                        }
                    }
                }
            }
            let found = sound.then(|| Arc::new(PreparedGraph::new(graph, children)));
            self.files.insert(file.identity.clone(), found.clone());
            Ok(found)
        })
    }

    /// A graph of the store. What it grants was taken when it was deployed.
    fn stored<'f>(&'f mut self, file: &'f str, whose: &'f str, digest: &'f Digest) -> Finding<'f> {
        Box::pin(async move {
            if let Some(known) = self.graphs.get(digest) {
                return Ok(known.clone());
            }
            let found = match self.document(digest).await? {
                Ok(graph) => self.parts(file, graph).await?,
                Err(reason) => {
                    let message = format!("{whose}, {digest}, {reason}");
                    let cure = "deploy that graph first, or name its file";
                    self.problems.push(problem("HP0187", file, message, cure));
                    None
                }
            };
            self.graphs.insert(digest.clone(), found.clone());
            Ok(found)
        })
    }

    async fn document(&self, digest: &Digest) -> Result<Result<Graph, String>, Failure> {
        let Some(bytes) = self.content(digest).await? else { return Ok(Err("is not in the store".into())) };
        let read = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        let graph = read.and_then(|value| document::from_document(&value).map_err(|problems| problems.to_string()));
        Ok(graph.map_err(|reason| format!("is not a graph: {reason}")))
    }

    async fn parts(&mut self, file: &str, graph: Graph) -> Result<Found, Failure> {
        let mut children = BTreeMap::new();
        let mut sound = true;
        for (name, node) in &graph.nodes {
            match &node.work {
                Work::Component(Component::Digest(digest)) => {
                    sound &= self.component_of_store(file, name, digest).await?;
                }
                Work::Subgraph(subgraph) => {
                    let child = match &subgraph.graph {
                        GraphReference::Digest(child) => {
                            let whose = format!("the graph of node {name}");
                            self.stored(file, &whose, child).await?
                        }
                        GraphReference::Path(_) => None,
                    };
                    match child {
                        Some(child) => {
                            children.insert(name.clone(), child);
                        }
                        None => sound = false,
                    }
                }
                // The engine stores no such graph.
                Work::Component(Component::Path(_) | Component::Named { .. }) => sound = false,
            }
        }
        Ok(sound.then(|| Arc::new(PreparedGraph::new(graph, children))))
    }
}

impl PreparedGraph {
    fn new(graph: Graph, children: BTreeMap<NodeName, Arc<Self>>) -> Self {
        let nested = children.values().map(|child| child.nodes_total);
        let nodes_total = nested.fold(graph.nodes.len(), usize::saturating_add);
        Self { digest: document::digest(&graph), graph: Arc::new(graph), children, nodes_total }
    }
}
