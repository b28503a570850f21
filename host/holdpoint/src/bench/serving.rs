//! A server in this process, over an engine of the measurement's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use holdpoint_engine::{Config, Deployment, Engine};
use holdpoint_graph::ids::{ConnectorName, GraphName};
use holdpoint_graph::nodes::Nodes;
use holdpoint_server::caller::Caller;
use holdpoint_server::console::NoConsole;
use holdpoint_server::{Graphs, Outbox, Parts, Problem, Server, Settings};
use holdpoint_store::Store;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{join_failed, unexpected};
use crate::failure::Failure;
use crate::system::{ProcessOwners, SystemClock};

/// An engine over a store and nodes that a measurement has its hands in.
pub(super) fn engine(store: Arc<dyn Store>, nodes: Arc<dyn Nodes>) -> Engine {
    Engine::new(store, nodes, Arc::new(SystemClock), Arc::new(ProcessOwners::of_this_process()), Config::default())
}

/// A server that runs until it is stopped.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(super) async fn start(engine: Engine, deployment: Deployment) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::host("HP0792", format!("no server can be started: {error}"), "check this machine's loopback")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // A measurement is one caller with many requests.
        let settings = Settings { requests_per_second_max: 1_000_000, ..Settings::default() };
        let (graphs, outbox) = (Arc::new(One(deployment)), Arc::new(Nothing));
        let parts = Parts { engine, graphs, outbox, console: Arc::new(NoConsole), settings };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Server::new(parts).serve(listener, async move {
            // Dropped is stopped.
            let _ = stopped.await;
        });
        Ok(Self { address, stop, task: tokio::spawn(served) })
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        let _ = self.stop.send(());
        let served = self.task.await.map_err(|error| join_failed(&error))?;
        served.map_err(|error| unexpected(format!("the server ended: {error}")))
    }
}

/// The measurement's graph.
struct One(Deployment);

#[async_trait]
impl Graphs for One {
    async fn newest(&self, name: &GraphName) -> Result<Option<Deployment>, Problem> {
        Ok((self.0.graph.name == *name).then(|| self.0.clone()))
    }

    async fn deploy(&self, _request: &Value, _caller: &Caller) -> Result<Value, Problem> {
        Err(Problem::new(StatusCode::CONFLICT, "HP0792", "nothing is deployed during a measurement"))
    }
}

/// Nothing is queued.
struct Nothing;

#[async_trait]
impl Outbox for Nothing {
    async fn deliver_due(&self) {}

    fn leaves_after_commit(&self, _connector: &ConnectorName) -> bool {
        false
    }
}
