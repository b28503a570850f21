//! A graph version with the versions of its subgraphs.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdpoint_graph::definition::{Graph, Node, Persist, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::NodeName;

/// A graph as it runs: everything that it consists of, by content.
#[derive(Debug, PartialEq)]
pub struct Version {
    /// Digest of the graph's document.
    pub digest: Digest,
    /// The graph.
    pub graph: Arc<Graph>,
    /// The versions of those of its nodes that are subgraphs.
    pub children: BTreeMap<NodeName, Arc<Version>>,
}

impl Version {
    /// A graph without subgraphs.
    pub fn plain(digest: Digest, graph: Arc<Graph>) -> Self {
        Self { digest, graph, children: BTreeMap::new() }
    }

    /// A node by name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.graph.nodes.get(name)
    }

    /// What is kept of a node that is a subgraph.
    pub fn persist(&self, name: &NodeName) -> Option<Persist> {
        match &self.node(name)?.work {
            Work::Subgraph(subgraph) => Some(subgraph.persist),
            Work::Component(_) => None,
        }
    }

    /// The version with this digest: itself or one inside it.
    pub fn find(&self, digest: &Digest) -> Option<&Self> {
        if self.digest == *digest {
            return Some(self);
        }
        self.children.values().find_map(|child| child.find(digest))
    }
}
