//! Deployed versions: what a graph or a component was called when, who took it, and what it may do more than the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdpoint_engine::Deployment;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::GraphName;
use holdpoint_graph::problem::Problem;
use holdpoint_sandbox::Sandbox;
use holdpoint_store::{VersionKind, VersionRecord};

use super::capabilities::{self, Capabilities, Difference};
use super::files::problem;
use super::prepare::{self, Prepared};
use crate::failure::Failure;
use crate::host::Host;

/// What deploying a graph would change.
pub struct Plan {
    /// The graph's name.
    pub name: GraphName,
    /// The newest version that is deployed under that name.
    pub previous: Option<VersionRecord>,
    /// What the nodes may do more and less than in that version; more than nothing when there is none.
    pub difference: Difference,
    /// The graph with all that it consists of.
    pub prepared: Arc<Prepared>,
    /// The number that it gets.
    version: u64,
    /// Components whose names and versions are not registered yet.
    registrations: BTreeMap<(String, String), Digest>,
}

impl Plan {
    /// Looks at what is deployed. Writes nothing.
    ///
    /// # Errors
    /// Component versions that are registered with another content, all at once; a version before of which parts are missing; the store's errors.
    pub async fn make(host: &Host, sandbox: &Sandbox, prepared: Prepared, shown: &str) -> Result<Self, Failure> {
        let registrations = registrations(host, &prepared, shown).await?;
        let name = prepared.root.graph.name.clone();
        let versions = list(host, Some(name.as_str())).await?;
        let previous = versions.first().cloned();
        let before = match &previous {
            Some(previous) if previous.digest == prepared.root.digest => capabilities::of(&prepared),
            Some(previous) => capabilities::of(&prepare::stored(sandbox, host.store.as_ref(), &previous.digest).await?),
            None => Capabilities::new(),
        };
        let difference = Difference::between(&before, &capabilities::of(&prepared));
        let newest = versions.iter().filter_map(|version| version.version.parse::<u64>().ok()).max();
        let version = newest.unwrap_or(0) + 1;
        Ok(Self { name, previous, difference, prepared: Arc::new(prepared), version, registrations })
    }

    /// Whether the newest version is this one already.
    pub fn is_deployed(&self) -> bool {
        self.previous.as_ref().is_some_and(|previous| previous.digest == self.prepared.root.digest)
    }

    /// What somebody has to take before it is deployed: nothing of a first version, which nobody relied on to do less.
    pub fn to_accept(&self) -> Vec<String> {
        if self.previous.is_none() { Vec::new() } else { self.difference.gains() }
    }

    /// Stores it and makes it the newest version of its name; a version that is the newest already stays as it is. `by` takes what it may do more.
    ///
    /// # Errors
    /// When somebody else deployed meanwhile: then the version is not deployed; the store's errors.
    pub async fn take_over(&self, host: &Host, by: &str) -> Result<VersionRecord, Failure> {
        if let Some(previous) = self.previous.as_ref().filter(|_| self.is_deployed()) {
            return Ok(previous.clone());
        }
        let Deployment { digest, .. } = super::store(host, &self.prepared).await?;
        let deployed_at_ms = host.now_ms();
        let record = |kind, name: &str, version: &str, digest: &Digest, gains| VersionRecord {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            digest: digest.clone(),
            deployed_at_ms,
            deployed_by: by.to_owned(),
            gains,
        };
        // Components first: a version that somebody finds can be named in every part.
        for ((name, version), digest) in &self.registrations {
            put(host, record(VersionKind::Component, name, version, digest, Vec::new())).await?;
        }
        let version = self.version.to_string();
        let graph = record(VersionKind::Graph, self.name.as_str(), &version, &digest, self.difference.gains());
        put(host, graph.clone()).await?;
        Ok(graph)
    }
}

/// Deployed graphs, newest first: those of a name, or all.
///
/// # Errors
/// The store's.
pub async fn list(host: &Host, name: Option<&str>) -> Result<Vec<VersionRecord>, Failure> {
    host.store.versions(VersionKind::Graph, name).await.map_err(|error| Failure::from_store(&error))
}

/// Whether a text can be a deployed graph's name, alone or as NAME@VERSION: one without a dot or a separator.
pub fn is_reference(text: &str) -> bool {
    let (name, version) = text.split_once('@').unwrap_or((text, "1"));
    GraphName::parse(name).is_ok() && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
}

/// The newest version of NAME, or NAME@VERSION.
///
/// # Errors
/// Nothing deployed under the name, or no such version: the message lists what there is. The store's errors.
pub async fn find(host: &Host, reference: &str) -> Result<VersionRecord, Failure> {
    let (name, version) = match reference.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (reference, None),
    };
    let versions = list(host, Some(name)).await?;
    let found = versions.iter().find(|known| version.is_none_or(|version| known.version == version));
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let known = if versions.is_empty() {
        let mut names: Vec<String> = list(host, None).await?.into_iter().map(|version| version.name).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            "no graph is deployed".to_owned()
        } else {
            format!("deployed graphs: {}", names.join(", "))
        }
    } else {
        let versions: Vec<&str> = versions.iter().map(|known| known.version.as_str()).collect();
        format!("deployed versions of {name}: {}", versions.join(", "))
    };
    Err(Failure::invalid(
        "HP0199",
        format!("there is no graph file {reference}, and no deployed graph of that name; {known}"),
        "name a graph file, or a graph that `holdpoint graph list` shows",
    ))
}

/// A deployed version as threads are started with it.
///
/// # Errors
/// [`find`]'s; a version whose graph is not stored.
pub async fn deployment(host: &Host, reference: &str) -> Result<Deployment, Failure> {
    let VersionRecord { digest, .. } = find(host, reference).await?;
    let version = host.engine.version(&digest).await.map_err(|error| Failure::from_engine(&error))?;
    Ok(Deployment { digest, graph: version.graph.clone() })
}

/// The components that are to be registered. A name and version stand for one content, for ever.
async fn registrations(
    host: &Host,
    prepared: &Prepared,
    shown: &str,
) -> Result<BTreeMap<(String, String), Digest>, Failure> {
    let mut found: BTreeMap<(String, String), Digest> = BTreeMap::new();
    let mut problems = Vec::new();
    for component in prepared.components.values() {
        let inspection = &component.inspection;
        let (name, version) = (&inspection.description.name, &inspection.description.version);
        if name.is_empty() || version.is_empty() {
            // Nothing can name it but its digest.
            continue;
        }
        let other = found.insert((name.clone(), version.clone()), inspection.digest.clone());
        if let Some(other) = other {
            problems.push(taken(shown, name, version, &inspection.digest, &format!("{other} in the same graph")));
        }
    }
    let names: BTreeSet<String> = found.keys().map(|(name, _)| name.clone()).collect();
    for name in names {
        let known = host.store.versions(VersionKind::Component, Some(&name)).await;
        for known in known.map_err(|error| Failure::from_store(&error))? {
            let key = (known.name.clone(), known.version.clone());
            match found.get(&key) {
                Some(digest) if *digest == known.digest => {
                    found.remove(&key);
                }
                Some(digest) => {
                    let other = format!("deployed as {}", known.digest);
                    problems.push(taken(shown, &known.name, &known.version, digest, &other));
                }
                None => {}
            }
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(Failure::from_all(shown, problems)) }
}

fn taken(shown: &str, name: &str, version: &str, digest: &Digest, other: &str) -> Problem {
    let message = format!("the component {name}@{version} is {digest} here and {other}");
    problem("HP0197", shown, message, "give the changed component another version, and build it again")
}

async fn put(host: &Host, version: VersionRecord) -> Result<(), Failure> {
    let shown = format!("{} {} {}", version.kind.name(), version.name, version.version);
    host.store.put_version(version, Vec::new()).await.map_err(|error| match error {
        holdpoint_store::Error::Invalid(reason) => Failure::invalid(
            "HP0189",
            format!("somebody else deployed {shown} meanwhile: {reason}"),
            "look at what is deployed now with `holdpoint graph list`, and deploy again",
        ),
        error => Failure::from_store(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_files() {
        for name in ["refund", "refund@3", "a-b_c@12"] {
            assert!(is_reference(name), "{name}");
        }
        for file in ["refund.graph.toml", "./refund", "refund@", "refund@x", "refund@1.2", "", "END", "a@b@1"] {
            assert!(!is_reference(file), "{file}");
        }
    }
}
