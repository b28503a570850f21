//! What a process has one of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdpoint_graph::clock::Clock;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::nodes::NodeCall;
use holdpoint_store::Journal;

use crate::configuration::{Class, Configuration, ConnectorConfiguration, Users};
use crate::connectors::{self, Connector};
use crate::in_flight::InFlight;
use crate::limiter::Limiter;
use crate::refusal::Reason;
use crate::task::TaskEffects;

/// Side effects of all tasks of a process. Cheap to clone; clones share everything. One process makes one: two would not see each other's
/// operations before they are durable, and could stop a thread in doubt that only had to wait.
#[derive(Clone)]
pub struct Effects(Arc<Shared>);

/// What every task uses.
pub(crate) struct Shared {
    pub(crate) connectors: BTreeMap<ConnectorName, Slot>,
    pub(crate) operations_per_task_max: u32,
    /// Whom notices can be written to.
    pub(crate) users: Users,
    /// What links in notices begin with.
    pub(crate) public_url: Option<String>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) in_flight: InFlight,
    /// Whether another request under a used id is a conflict; false only where a test shows that it notices.
    pub(crate) digests_checked: bool,
}

/// A connector that is made when it is first used: what its secrets lack stops nobody else.
pub(crate) struct Slot {
    pub(crate) configuration: ConnectorConfiguration,
    pub(crate) limiter: Limiter,
    made: Mutex<Option<Arc<dyn Connector>>>,
}

impl Effects {
    /// Puts the parts together. Nothing is connected to and no secret is read yet.
    pub fn new(configuration: Configuration, journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        let connectors = configuration
            .connectors
            .into_iter()
            .map(|(name, configuration)| {
                let limiter = Limiter::new(&configuration);
                (name, Slot { configuration, limiter, made: Mutex::new(None) })
            })
            .collect();
        Self(Arc::new(Shared {
            connectors,
            operations_per_task_max: configuration.operations_per_task_max,
            users: configuration.users,
            public_url: configuration.server.public_url().map(str::to_owned),
            journal,
            clock,
            in_flight: InFlight::default(),
            digests_checked: true,
        }))
    }

    /// For tests that show that they notice a missing check: another request under a used id gets the first one's answer.
    #[doc(hidden)]
    #[must_use]
    pub fn without_digest_check(self) -> Self {
        let shared = &self.0;
        let connectors = shared.connectors.iter().map(|(name, slot)| {
            let configuration = slot.configuration.clone();
            let limiter = Limiter::new(&configuration);
            (name.clone(), Slot { configuration, limiter, made: Mutex::new(None) })
        });
        Self(Arc::new(Shared {
            connectors: connectors.collect(),
            operations_per_task_max: shared.operations_per_task_max,
            users: shared.users.clone(),
            public_url: shared.public_url.clone(),
            journal: Arc::clone(&shared.journal),
            clock: Arc::clone(&shared.clock),
            in_flight: InFlight::default(),
            digests_checked: false,
        }))
    }

    /// Whether a connector's requests leave only after a commit: then a person's word that one is to be sent queues it again.
    pub fn leaves_after_commit(&self, connector: &ConnectorName) -> bool {
        let slot = self.0.connectors.get(connector);
        slot.is_some_and(|slot| matches!(slot.configuration.class, Class::AfterCommit { .. }))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// The effects of one execution of a node.
    pub fn task(&self, call: &NodeCall) -> TaskEffects {
        TaskEffects::new(self.0.clone(), call)
    }
}

impl Slot {
    /// The connector, made now if it was not. A failure is not kept: the operator may have cured it.
    pub(crate) fn connector(&self, name: &ConnectorName) -> Result<Arc<dyn Connector>, Reason> {
        // Held while the connector is made, which reads small files, so that it is made once; nothing waits for the network here.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = &*made {
            return Ok(connector.clone());
        }
        let connector = connectors::build(name, &self.configuration).map_err(|unusable| {
            tracing::error!(connector = %name, code = unusable.code(), cause = %unusable, cure = unusable.cure(), "the connector cannot be used");
            Reason::Unusable(name.clone())
        })?;
        *made = Some(connector.clone());
        Ok(connector)
    }
}
