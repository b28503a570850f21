//! From what a guest asks to an operation with its key and digest. Pure but for the counters.

use holdpoint_graph::digest::{Digest, canonical_json};
use holdpoint_graph::ids::OperationId;
use holdpoint_graph::nodes::TaskIdentity;
use holdpoint_graph::operation::OperationKey;
use serde_json::Value;

use crate::configuration::Class;
use crate::connectors::telling;
use crate::identity::{request_digest, scope};
use crate::records::TASK_BYTES_MAX;
use crate::refusal::Reason;

use super::{OperationRequest, TaskEffects};

/// An operation that may be looked up and performed.
pub(super) struct Order {
    /// Position in the guest's call.
    pub(super) position: usize,
    /// Which operation of the execution it is, from 0: the same in every execution.
    pub(super) call: u32,
    pub(super) key: OperationKey,
    pub(super) class: Class,
    pub(super) request: Value,
    pub(super) digest: Digest,
}

impl TaskEffects {
    /// Counts the call and checks all that can be checked without looking anything up.
    pub(super) fn admit(&mut self, position: usize, asked: OperationRequest) -> Result<Order, Reason> {
        let call = self.calls;
        if call >= self.shared.operations_per_task_max {
            return Err(Reason::TooMany { max: self.shared.operations_per_task_max });
        }
        self.calls += 1;
        let OperationRequest { id, connector, request } = asked;
        let Some(connector) = self.granted.iter().find(|granted| granted.as_str() == connector).cloned() else {
            let connector = connector.chars().take(80).collect();
            return Err(Reason::NotGranted { connector, node: self.task.node.clone() });
        };
        let Some(slot) = self.shared.connectors.get(&connector) else {
            return Err(Reason::Unknown { connector, configured: self.configured() });
        };
        let configuration = &slot.configuration;
        let canonical = canonical_json(&request);
        let digest = request_digest(&connector, &canonical);
        // Counted before anything that can refuse the request, and named ones too: a replay counts the same.
        let equal = self.equal_requests.entry(digest.clone()).or_default();
        let occurrence = *equal;
        *equal += 1;
        let id = operation_id(id, &self.task, &digest, occurrence)?;
        if canonical.len() > configuration.request_bytes_max {
            return Err(Reason::TooLarge { bytes: canonical.len(), max: configuration.request_bytes_max });
        }
        if self.records.add_bytes(canonical.len()) > TASK_BYTES_MAX {
            return Err(Reason::TooMuch { bytes: TASK_BYTES_MAX });
        }
        let scope = scope(&configuration.scope, &self.task.graph, &self.task.lineage);
        Ok(Order {
            position,
            call,
            class: configuration.class,
            key: OperationKey { scope, connector, id },
            request,
            digest,
        })
    }

    fn configured(&self) -> String {
        if self.shared.connectors.is_empty() {
            return "none".into();
        }
        self.shared.connectors.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The operation's id: the author's, or derived from where it is asked for, what is asked for, and which of the execution's equal requests it is.
/// So a replay finds the record of each request, whatever else a node asks for around it.
fn operation_id(
    id: Option<String>,
    task: &TaskIdentity,
    digest: &Digest,
    occurrence: u32,
) -> Result<OperationId, Reason> {
    match id {
        // The host's own: a node that took such an id would keep people from being told, and be sent where only notices go.
        Some(id) if telling::is_notice(&id) => {
            Err(Reason::OperationId("operation ids that begin with `holdpoint-notice:` are the host's".into()))
        }
        Some(id) => OperationId::parse(id).map_err(|error| Reason::OperationId(error.to_string())),
        None => Ok(OperationId::derive(&task.operations, digest, occurrence)),
    }
}
