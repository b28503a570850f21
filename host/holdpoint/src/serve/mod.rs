//! `holdpoint serve`: a host, the graphs that it offers, and the server in front of them.
//!
//! # Layout
//!
//! * [`start`]: the parts put together and a bound listener; [`Serving`]: until it is told to stop.
//! * `graphs`: deploying what a client sends, and finding it by name. `folder`: deploying what lies in folders. `settings`: the `[server]` table.

mod folder;
mod graphs;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_effects::Effects;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_server::{Outbox, Parts, Server, Settings};
use tokio::net::TcpListener;

use crate::failure::Failure;
use crate::host::Host;
use crate::remote::HostConsole;

pub use settings::settings;

/// What is served, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folders whose `*.graph.toml` are deployed before anything is served.
    pub graphs: Vec<PathBuf>,
    /// Whether what a graph may do more than its version before is taken; without, the server does not start.
    pub accept: bool,
    /// In whose name graphs are deployed.
    pub by: String,
    /// What the operator has set.
    pub settings: Settings,
}

/// A server that listens and does not serve yet.
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    /// The names of the graphs that were deployed from folders.
    pub graphs: Vec<String>,
    server: Server,
    console: HostConsole,
    listener: TcpListener,
}

impl Serving {
    /// Serves until `stop` is ready; then runs are asked to stop at their next superstep.
    ///
    /// # Errors
    /// The listener's.
    pub async fn until(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), Failure> {
        let console = self.console;
        let stop = async move {
            stop.await;
            console.drain();
        };
        self.server.serve(self.listener, stop).await.map_err(|error| {
            Failure::host(
                "HP0794",
                format!("the server ended: {error}"),
                "check the machine's limits and start it again",
            )
        })
    }
}

/// Deploys the folders' graphs and takes the address.
///
/// # Errors
/// Problems of the graphs; an address beyond loopback without anybody who could prove who they are (`HP0802`); an address that cannot be taken.
pub async fn start(host: Host, options: ServeOptions) -> Result<Serving, Failure> {
    let graphs = folder::deploy_all(&host, &options).await?;
    let proof = !host.store.keys(None).await.map_err(|error| Failure::from_store(&error))?.is_empty();
    if !options.listen.ip().is_loopback() && !proof && options.settings.oidc.is_none() {
        return Err(Failure::invalid(
            "HP0802",
            format!("{} is not loopback, and nobody could prove who they are", options.listen),
            "make a key with `holdpoint keys create NAME --role admin`, or set [server.oidc] in holdpoint.toml",
        ));
    }
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        Failure::host("HP0795", format!("{} cannot be listened on: {error}", options.listen), "choose another --listen")
    })?;
    let address = listener.local_addr().map_err(|error| {
        Failure::host("HP0795", format!("the address is not known: {error}"), "choose another --listen")
    })?;
    let console = HostConsole::new(host.clone());
    let parts = Parts {
        engine: host.engine.clone(),
        graphs: Arc::new(graphs::DeployedGraphs::new(host.clone())),
        outbox: Arc::new(HostOutbox(host.effects.clone())),
        console: Arc::new(console.clone()),
        settings: options.settings,
    };
    Ok(Serving { address, graphs, server: Server::new(parts), console, listener })
}

struct HostOutbox(Effects);

#[async_trait]
impl Outbox for HostOutbox {
    async fn deliver_due(&self) {
        if let Err(error) = self.0.deliver_due().await {
            tracing::error!(code = error.code(), %error, "what is queued could not be sent");
        }
    }

    fn leaves_after_commit(&self, connector: &ConnectorName) -> bool {
        self.0.leaves_after_commit(connector)
    }
}
