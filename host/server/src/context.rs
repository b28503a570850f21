//! What every handler gets.

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_engine::{Deployment, Engine, RunOptions};
use holdpoint_graph::ids::{ConnectorName, GraphName, ThreadId};
use holdpoint_store::{Store, ThreadSummary};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::body::UPLOADS_MAX;
use crate::caller::Caller;
use crate::console::Console;
use crate::identity::Identity;
use crate::problem::Problem;
use crate::resources::metrics::Metrics;
use crate::runs::Runs;
use crate::settings::Settings;

/// What a server is made of.
pub struct Parts {
    /// Threads. Of the host itself: handlers take [`Context::engine`].
    pub engine: Engine,
    /// Deploys graphs, and finds them by name.
    pub graphs: Arc<dyn Graphs>,
    /// Sends what is queued.
    pub outbox: Arc<dyn Outbox>,
    /// Runs commands of the command line.
    pub console: Arc<dyn Console>,
    /// What the operator has set.
    pub settings: Settings,
}

/// Graphs that are deployed. Implemented by whoever knows components.
#[async_trait]
pub trait Graphs: Send + Sync {
    /// The newest version of a graph; none when no graph of this name is deployed.
    ///
    /// # Errors
    /// The store's.
    async fn newest(&self, name: &GraphName) -> Result<Option<Deployment>, Problem>;

    /// Deploys a graph with its components. `request` has `graph` (the graph file's text), `files` (name to base64, for what the graph file names by
    /// path) and `accept` (whether what it may do more than the version before is accepted). Gives a report: name, version, digest, gains.
    ///
    /// # Errors
    /// Everything that is wrong with it, 422; gains that were not accepted, 409.
    async fn deploy(&self, request: &Value, caller: &Caller) -> Result<Value, Problem>;
}

/// Sends what is queued to leave after its commit.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Sends what is due.
    async fn deliver_due(&self);

    /// Whether what a connector is asked for is queued and leaves after the commit: a person's word that it did not happen queues it again.
    fn leaves_after_commit(&self, connector: &ConnectorName) -> bool;
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    parts: Parts,
    identity: Identity,
    runs: Runs,
    metrics: Metrics,
    uploads: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(parts: Parts, identity: Identity, runs: Runs, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { parts, identity, runs, metrics, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)) }))
    }

    /// The engine in the caller's name.
    pub fn engine(&self, caller: &Caller) -> Engine {
        self.engine_with(caller, RunOptions::default())
    }

    /// The engine in the caller's name, with options.
    pub fn engine_with(&self, caller: &Caller, options: RunOptions) -> Engine {
        self.0.parts.engine.with_options(RunOptions { principal: caller.principal.clone(), ..options })
    }

    /// The engine in the host's own name, for reading.
    pub fn engine_of_host(&self) -> &Engine {
        &self.0.parts.engine
    }

    /// What is durable.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.0.parts.engine.store()
    }

    /// The host's clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.0.parts.engine.now_ms()
    }

    /// Graphs that are deployed.
    pub fn graphs(&self) -> &Arc<dyn Graphs> {
        &self.0.parts.graphs
    }

    /// Sends what is queued.
    pub fn outbox(&self) -> &Arc<dyn Outbox> {
        &self.0.parts.outbox
    }

    /// Runs commands of the command line.
    pub fn console(&self) -> &Arc<dyn Console> {
        &self.0.parts.console
    }

    /// What the operator has set.
    pub fn settings(&self) -> &Settings {
        &self.0.parts.settings
    }

    /// Who comes in.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Runs and those who watch them.
    pub fn runs(&self) -> &Runs {
        &self.0.runs
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Places of large requests that are held at once.
    pub(crate) fn uploads(&self) -> &Arc<Semaphore> {
        &self.0.uploads
    }

    /// A thread of the caller's tenant.
    ///
    /// # Errors
    /// 404 `HP0810`, for another tenant's too.
    pub async fn thread(&self, caller: &Caller, thread: &ThreadId) -> Result<ThreadSummary, Problem> {
        match self.store().entry(thread).await? {
            Some(summary) if summary.entry.tenant == caller.principal.tenant => Ok(summary),
            _ => Err(Problem::not_found("HP0810", format!("Thread with ID {thread} not found"))),
        }
    }
}
