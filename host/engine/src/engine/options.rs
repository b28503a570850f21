//! What a caller may say about a run, besides what it is to do.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::ids::{NodeName, RunId, Tenant};
use holdpoint_graph::nodes::EffectMode;
use serde_json::{Map, Value};

use crate::events::{Drain, EventSink};

/// See the module. Holds for what is called on the handle that [`super::Engine::with_options`] gives.
#[derive(Clone, Default)]
pub struct RunOptions {
    /// Static breakpoints of this call, besides the graph's own.
    pub breakpoints: Breakpoints,
    /// Kept with every checkpoint of the run, for filters of the history.
    pub metadata: Map<String, Value>,
    /// What becomes of the effects of a branch that the call makes; the mode of the checkpoint that it begins from when none.
    pub effects: Option<EffectMode>,
    /// Who is told what happens.
    pub events: Option<Arc<dyn EventSink>>,
    /// Asks the run to stop at its next superstep boundary.
    pub drain: Drain,
    /// Who asks.
    pub principal: Principal,
    /// The stored run that the call executes: it begins with the commit that accepts the call, and ends with the one that gives the thread back.
    pub run: Option<Turn>,
    /// An answer that lets a waiting thread go on also claims it, in the same durable write; the caller drives what it gets
    /// ([`Engine::drive_taken`](super::Engine::drive_taken)).
    pub take_up: bool,
}

/// Who asks for something: checked by policies, and on the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who. Where the basis is [`Basis::Asserted`], the name that a call gives counts instead.
    pub actor: Actor,
    /// The groups that they belong to.
    pub groups: BTreeSet<String>,
    /// For whom they act.
    pub tenant: Tenant,
    /// When they proved who they are in person; none where nothing says so: an API key, a link or a name proves no presence.
    pub authenticated: Option<Authentication>,
}

/// That somebody proved who they are in person, as their identity provider says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How, by the provider's own name (the `acr` of OpenID Connect).
    pub acr: Option<String>,
}

impl Default for Principal {
    /// Whoever embeds the engine or holds the store.
    fn default() -> Self {
        Self {
            actor: Actor::asserted("unknown"),
            groups: BTreeSet::new(),
            tenant: Tenant::default(),
            authenticated: None,
        }
    }
}

impl Principal {
    /// The actor of a call that names `by`.
    pub(crate) fn actor_named(&self, by: &str) -> Actor {
        if self.actor.basis == Basis::Asserted { Actor::asserted(by) } else { self.actor.clone() }
    }
}

/// A stored run, and whether it has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The run.
    pub run: RunId,
    /// It began before, in a claim that is over.
    pub begun: bool,
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RunOptions")
            .field("breakpoints", &self.breakpoints)
            .field("metadata", &self.metadata)
            .field("effects", &self.effects)
            .field("drain", &self.drain)
            .field("principal", &self.principal)
            .field("run", &self.run)
            .field("take_up", &self.take_up)
            .finish_non_exhaustive()
    }
}

/// Static breakpoints (R29): the thread pauses there and goes on when it is continued. They are those of one call and not remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breakpoints {
    /// Pause before a superstep in which one of these runs.
    pub before: Selection,
    /// Pause after a superstep in which one of these ran.
    pub after: Selection,
}

/// Some nodes of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These.
    Nodes(BTreeSet<NodeName>),
    /// Every node.
    All,
}

impl Default for Selection {
    fn default() -> Self {
        Self::Nodes(BTreeSet::new())
    }
}

impl Selection {
    /// Whether a node is among them.
    pub fn contains(&self, node: &NodeName) -> bool {
        match self {
            Self::Nodes(nodes) => nodes.contains(node),
            Self::All => true,
        }
    }

    /// Reads names, or `*` for all.
    ///
    /// # Errors
    /// A name that no node can have.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, holdpoint_graph::ids::InvalidId> {
        let mut nodes = BTreeSet::new();
        for name in names {
            if name == "*" {
                return Ok(Self::All);
            }
            nodes.insert(NodeName::parse(name)?);
        }
        Ok(Self::Nodes(nodes))
    }

    /// The names that a graph does not have.
    pub(crate) fn unknown<'a>(&'a self, graph: &'a holdpoint_graph::definition::Graph) -> Option<&'a NodeName> {
        match self {
            Self::Nodes(nodes) => nodes.iter().find(|node| !graph.nodes.contains_key(*node)),
            Self::All => None,
        }
    }
}
