//! A connector by itself, without tasks and journals.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_effects::connectors::{self, Connector, LookUp, Outgoing, Prepared, Rejection};
use holdpoint_effects::{Attempt, Reply};
use holdpoint_graph::ids::{ConnectorName, OperationId, ThreadId};
use holdpoint_graph::operation::{OperationKey, Scope};
use serde_json::Value;

/// The connector `name` of a configuration.
pub fn connector(configuration: &str, environment: &[(&str, &str)], name: &str) -> Arc<dyn Connector> {
    let configuration = super::parse(configuration, environment);
    let name = ConnectorName::parse(name).unwrap();
    connectors::build(&name, &configuration.connectors[&name]).unwrap()
}

/// A key of scope `global`.
pub fn global(id: &str) -> OperationKey {
    key(Scope::Global("refund".into()), id)
}

/// A key of scope `thread`.
pub fn of_thread(thread: &str, id: &str) -> OperationKey {
    key(Scope::Thread(ThreadId::parse(thread).unwrap()), id)
}

fn key(scope: Scope, id: &str) -> OperationKey {
    OperationKey { scope, connector: ConnectorName::parse("it").unwrap(), id: OperationId::parse(id).unwrap() }
}

pub fn outgoing(timeout: Duration) -> Outgoing {
    Outgoing { at_ms: super::NOW_MS, timeout }
}

pub fn prepare(connector: &Arc<dyn Connector>, id: &str, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
    connector.prepare(&global(id), request)
}

/// Sends a request once, with time enough; what came of it as one line.
pub async fn send(connector: &Arc<dyn Connector>, id: &str, request: &Value) -> String {
    send_within(connector, id, request, Duration::from_secs(20)).await
}

pub async fn send_within(connector: &Arc<dyn Connector>, id: &str, request: &Value, timeout: Duration) -> String {
    match prepare(connector, id, request) {
        Ok(prepared) => line(&prepared.send(outgoing(timeout)).await),
        Err(rejection) => format!("{rejection:?}"),
    }
}

pub async fn look_up(connector: &Arc<dyn Connector>, id: &str, request: &Value) -> LookUp {
    prepare(connector, id, request).unwrap().look_up(outgoing(Duration::from_secs(20))).await
}

pub fn line(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Landed(Reply::Done(answer)) => format!("done {answer}"),
        Attempt::Landed(Reply::Rejected(failure)) => format!("rejected {failure}"),
        Attempt::Landed(Reply::Later(failure)) => format!("later {failure}"),
        Attempt::Landed(Reply::Unclear(failure)) => format!("unclear {failure}"),
        Attempt::LandedUnusable(reason) => format!("unusable: {reason}"),
        Attempt::NotSent(reason) => format!("not sent: {reason:?}"),
        Attempt::Unknown(reason) => format!("unknown: {reason}"),
    }
}
