//! A store, a sandbox and an engine, put together.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_effects::{Configuration, Effects};
use holdpoint_engine::{Config, Engine, Error, ThreadView};
use holdpoint_graph::clock::Clock as _;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Tenant;
use holdpoint_graph::nodes::{NodeCall, NodeOutcome, NodeReport, Nodes};
use holdpoint_sandbox::{ComponentSource, Options as SandboxOptions, Sandbox};
use holdpoint_store::memory::MemoryStore;
use holdpoint_store::sqlite::{SqliteOptions, SqliteStore};
use holdpoint_store::{Journal, Store, ThreadFilter, ThreadStatus};
use tokio::sync::OnceCell;

use crate::failure::Failure;
use crate::remote::TenantStore;
use crate::system::{ProcessOwners, SystemClock};

/// What a host is made of.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// The SQLite file. Created when it is not there.
    pub store: PathBuf,
    /// How the store is opened.
    pub sqlite: SqliteOptions,
    /// The connectors.
    pub configuration: Configuration,
    /// Where compiled components are kept; none compiles anew in each process.
    pub cache_dir: Option<PathBuf>,
    /// How the engine works.
    pub engine: Config,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// Threads.
    pub engine: Engine,
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// Side effects: what is to leave after its commit is sent by [`Effects::deliver_due`].
    pub effects: Effects,
    nodes: Arc<LazySandbox>,
    configuration: Configuration,
    config: Config,
}

impl Host {
    /// Opens the store and puts the parts together. The sandbox is made when it is first needed: reading needs none.
    ///
    /// # Errors
    /// The store's.
    pub fn open(options: HostOptions) -> Result<Self, Failure> {
        let store = SqliteStore::open(&options.store, options.sqlite).map_err(|error| Failure::from_store(&error))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let journal: Arc<dyn Journal> = Arc::clone(&store) as Arc<dyn Journal>;
        let effects = Effects::new(options.configuration.clone(), journal, Arc::new(SystemClock));
        let nodes = Arc::new(LazySandbox {
            cell: OnceCell::new(),
            effects: effects.clone(),
            components: Arc::new(StoredComponents(Arc::clone(&store))),
            cache_dir: options.cache_dir,
        });
        let engine = engine(&store, &nodes, &effects, &options.configuration, options.engine.clone());
        let HostOptions { configuration, engine: config, .. } = options;
        Ok(Self { engine, store, effects, nodes, configuration, config })
    }

    /// The same host for one tenant: the threads of others are not there. Effects, which answer from everybody's records, are the same.
    pub(crate) fn confined_to(&self, tenant: Tenant) -> Self {
        let store: Arc<dyn Store> = Arc::new(TenantStore::new(Arc::clone(&self.store), tenant));
        let engine = engine(&store, &self.nodes, &self.effects, &self.configuration, self.config.clone());
        Self { engine, store, ..self.clone() }
    }

    /// The configuration that it was opened with.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The host's clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        SystemClock.now_ms()
    }

    /// A sandbox with the same connectors beside the host's own: on another journal, with components from elsewhere.
    ///
    /// # Errors
    /// The sandbox's, when it cannot be made on this machine.
    pub fn sandbox_beside(
        &self,
        journal: Arc<dyn Journal>,
        components: Arc<dyn ComponentSource>,
    ) -> Result<Sandbox, Failure> {
        let effects = Effects::new(self.configuration.clone(), journal, Arc::new(SystemClock));
        let options = SandboxOptions { cache_dir: self.nodes.cache_dir.clone(), ..SandboxOptions::default() };
        Sandbox::new(options, components, effects).map_err(|error| Failure::from_sandbox(&error))
    }

    /// Continues the threads that were made runnable by the settling of a doubt: running, and nobody's.
    ///
    /// # Errors
    /// The engine's. A thread that another host took first is left to it.
    pub async fn continue_woken(&self) -> Result<Vec<ThreadView>, Failure> {
        const BATCH: usize = 1000;
        let filter = ThreadFilter { status: Some(ThreadStatus::Running), limit: BATCH, ..ThreadFilter::default() };
        let running = self.engine.threads(&filter).await.map_err(|error| Failure::from_engine(&error))?;
        let mut views = Vec::new();
        for thread in running.into_iter().filter(|thread| thread.owner.is_none()) {
            match self.engine.proceed(&thread.id).await {
                Ok(view) => views.push(view),
                Err(Error::Busy { .. } | Error::TakenOver(_)) => {}
                Err(error) => return Err(Failure::from_engine(&error)),
            }
        }
        Ok(views)
    }

    /// The sandbox, made now if it was not needed before.
    ///
    /// # Errors
    /// The sandbox's, when it cannot be made on this machine.
    pub async fn sandbox(&self) -> Result<&Sandbox, Failure> {
        self.nodes.get().await
    }
}

fn engine(
    store: &Arc<dyn Store>,
    nodes: &Arc<LazySandbox>,
    effects: &Effects,
    configuration: &Configuration,
    config: Config,
) -> Engine {
    let engine = Engine::new(
        Arc::clone(store),
        Arc::clone(nodes) as Arc<dyn Nodes>,
        Arc::new(SystemClock),
        Arc::new(ProcessOwners::of_this_process()),
        config,
    );
    engine.with_people(Arc::new(configuration.users().clone()), Arc::new(effects.clone()))
}

/// A sandbox for looking at components: no store, no connectors.
///
/// # Errors
/// The sandbox's, when it cannot be made on this machine.
pub fn checking_sandbox() -> Result<Sandbox, Failure> {
    let store = Arc::new(MemoryStore::default());
    let effects = Effects::new(Configuration::default(), store, Arc::new(SystemClock));
    let options = SandboxOptions { cache_dir: cache_dir(), ..SandboxOptions::default() };
    Sandbox::new(options, Arc::new(NoComponents), effects).map_err(|error| Failure::from_sandbox(&error))
}

/// Where compiled components are kept: `HOLDPOINT_CACHE_DIR`, or `holdpoint` in the user's cache folder; none when there is neither.
pub fn cache_dir() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("HOLDPOINT_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("holdpoint")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache").join("holdpoint")))
}

struct NoComponents;

#[async_trait]
impl ComponentSource for NoComponents {
    async fn bytes(&self, _digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

/// Components by content, from the store: any process on it can continue any thread.
struct StoredComponents(Arc<dyn Store>);

#[async_trait]
impl ComponentSource for StoredComponents {
    async fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        self.0.content(digest).await.map_err(|error| error.to_string())
    }
}

struct LazySandbox {
    cell: OnceCell<Sandbox>,
    effects: Effects,
    components: Arc<dyn ComponentSource>,
    cache_dir: Option<PathBuf>,
}

impl LazySandbox {
    async fn get(&self) -> Result<&Sandbox, Failure> {
        self.cell
            .get_or_try_init(|| async {
                let options = SandboxOptions { cache_dir: self.cache_dir.clone(), ..SandboxOptions::default() };
                Sandbox::new(options, Arc::clone(&self.components), self.effects.clone())
            })
            .await
            .map_err(|error| Failure::from_sandbox(&error))
    }
}

#[async_trait]
impl Nodes for LazySandbox {
    async fn run(&self, call: NodeCall) -> NodeReport {
        match self.get().await {
            Ok(sandbox) => sandbox.run(call).await,
            Err(failure) => NodeOutcome::HostFault(failure.message).into(),
        }
    }
}
