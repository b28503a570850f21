//! What a process has one of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdpoint_graph::clock::Clock;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::nodes::NodeCall;
use holdpoint_store::Journal;

use crate::configuration::{Configuration, ConnectorConfiguration};
use crate::connectors::{self, Connector};
use crate::in_flight::InFlight;
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
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) in_flight: InFlight,
}

/// A connector that is made when it is first used: what its secrets lack stops nobody else.
pub(crate) struct Slot {
    pub(crate) configuration: ConnectorConfiguration,
    made: Mutex<Option<Arc<dyn Connector>>>,
}

impl Effects {
    /// Puts the parts together. Nothing is connected to and no secret is read yet.
    pub fn new(configuration: Configuration, journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        let connectors = configuration
            .connectors
            .into_iter()
            .map(|(name, configuration)| (name, Slot { configuration, made: Mutex::new(None) }))
            .collect();
        let operations_per_task_max = configuration.operations_per_task_max;
        Self(Arc::new(Shared { connectors, operations_per_task_max, journal, clock, in_flight: InFlight::default() }))
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
