//! The components of a graph: found, looked at, and granted what they want.

use std::path::PathBuf;

use holdpoint_graph::definition::{Component, Node};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::NodeName;
use holdpoint_store::VersionKind;

use super::{Preparation, PreparedComponent};
use crate::deploy::files::{GraphFile, problem};
use crate::failure::{EXIT_FAILED, Failure};

impl Preparation<'_> {
    pub(super) async fn component(
        &mut self,
        file: &GraphFile,
        node: &NodeName,
        component: &Component,
    ) -> Result<Option<Digest>, Failure> {
        match component {
            Component::Path(path) => self.component_of_file(&file.shown, node, file.folder.join(path)).await,
            Component::Named { name, version } => {
                let key = (name.clone(), version.clone());
                if let Some(known) = self.by_name.get(&key) {
                    return Ok(known.clone());
                }
                let mut found = self.named(&file.shown, node, name, version).await?;
                if let Some(digest) = &found
                    && !self.component_of_store(&file.shown, node, digest).await?
                {
                    found = None;
                }
                self.by_name.insert(key, found.clone());
                Ok(found)
            }
            Component::Digest(digest) => {
                Ok(self.component_of_store(&file.shown, node, digest).await?.then(|| digest.clone()))
            }
        }
    }

    async fn component_of_file(
        &mut self,
        file: &str,
        node: &NodeName,
        path: PathBuf,
    ) -> Result<Option<Digest>, Failure> {
        if let Some(known) = self.by_path.get(&path) {
            return Ok(known.clone());
        }
        let found = match self.source.read(&path) {
            Ok(bytes) => {
                let whose = format!("the component of node {node} ({})", path.display());
                self.inspect(file, &whose, bytes).await?
            }
            Err(error) => {
                let message = format!("the component of node {node} cannot be read: {}: {error}", path.display());
                let cure = "check the path in the graph file (it is relative to that file); build the node with `holdpoint node build`";
                self.problems.push(problem("HP0191", file, message, cure));
                None
            }
        };
        self.by_path.insert(path, found.clone());
        Ok(found)
    }

    /// Whether it is there and accepted.
    pub(super) async fn component_of_store(
        &mut self,
        file: &str,
        node: &NodeName,
        digest: &Digest,
    ) -> Result<bool, Failure> {
        if self.components.contains_key(digest) {
            return Ok(true);
        }
        if let Some(known) = self.by_digest.get(digest) {
            return Ok(*known);
        }
        let found = match self.content(digest).await? {
            Some(bytes) => {
                let whose = format!("the component of node {node}, {digest}");
                self.inspect(file, &whose, bytes).await?.is_some()
            }
            None => {
                let message = format!("the component of node {node}, {digest}, is not in the store");
                let cure = "run the graph once from its component files, or use the store that has it";
                self.problems.push(problem("HP0192", file, message, cure));
                false
            }
        };
        self.by_digest.insert(digest.clone(), found);
        Ok(found)
    }

    /// What was deployed under a name and version.
    async fn named(
        &mut self,
        file: &str,
        node: &NodeName,
        name: &str,
        version: &str,
    ) -> Result<Option<Digest>, Failure> {
        let known = match self.store {
            Some(store) => {
                store.versions(VersionKind::Component, Some(name)).await.map_err(|error| Failure::from_store(&error))?
            }
            None => Vec::new(),
        };
        if let Some(found) = known.iter().find(|known| known.version == version) {
            return Ok(Some(found.digest.clone()));
        }
        let there = match known.as_slice() {
            [] => format!("no version of {name} is deployed"),
            known => {
                let versions: Vec<&str> = known.iter().map(|known| known.version.as_str()).collect();
                format!("deployed versions of {name}: {}", versions.join(", "))
            }
        };
        let message = format!("node {node} wants the deployed component {name}@{version}; {there}");
        let cure =
            "name a version that is deployed, or the component's file; `holdpoint graph deploy` registers components";
        self.problems.push(problem("HP0193", file, message, cure));
        Ok(None)
    }

    pub(super) async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Failure> {
        match self.store {
            Some(store) => store.content(digest).await.map_err(|error| Failure::from_store(&error)),
            None => Ok(None),
        }
    }

    async fn inspect(&mut self, file: &str, whose: &str, bytes: Vec<u8>) -> Result<Option<Digest>, Failure> {
        match self.sandbox.inspect(&bytes).await {
            Ok(inspection) => {
                let digest = inspection.digest.clone();
                self.components.insert(digest.clone(), PreparedComponent { inspection, bytes });
                Ok(Some(digest))
            }
            Err(error) => {
                let failure = Failure::from_sandbox(&error);
                let message = format!("{whose}: {}", failure.message);
                if failure.exit == EXIT_FAILED {
                    return Err(Failure { message, ..failure });
                }
                self.problems.push(problem(error.code(), file, message, failure.cure));
                Ok(None)
            }
        }
    }

    pub(super) fn check_grants(&mut self, file: &str, name: &NodeName, node: &Node, digest: &Digest) {
        let wanted = self.components.get(digest).map(|component| &component.inspection.description.connectors);
        let ungranted: Vec<&str> = wanted
            .into_iter()
            .flatten()
            .filter(|wanted| !node.connectors.iter().any(|granted| granted.as_str() == wanted.as_str()))
            .map(String::as_str)
            .collect();
        if !ungranted.is_empty() {
            let message = format!(
                "the component of node {name} uses connectors that the graph does not grant: {}",
                ungranted.join(", ")
            );
            let cure = format!("if it may use them, add `connectors = {ungranted:?}` to [nodes.{name}]");
            self.problems.push(problem("HP0194", file, message, cure));
        }
    }
}
