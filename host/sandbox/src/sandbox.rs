//! The sandbox itself: loads components, looks at them, runs them.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use holdpoint_effects::{Effects, Finished};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::{NodeCall, NodeOutcome, NodeReport, Nodes};
use serde_json::Value;

use crate::bindings::holdpoint::node::types;
use crate::call::execute::{self, Texts};
use crate::call::json;
use crate::call::state::State;
use crate::engine;
use crate::error::Error;
use crate::load::components::{ComponentSource, Prepared, Runtime, explain};
use crate::load::disk::DiskCache;
use crate::load::shape::{Kind, Shape};
use crate::options::Options;
use crate::ticker::Ticker;

/// Runs nodes. Cheap to clone; the last clone ends its clock thread.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    options: Arc<Options>,
    effects: Effects,
    source: Arc<dyn ComponentSource>,
    disk: Option<Arc<DiskCache>>,
    plain: Runtime,
    /// For calls with a fuel limit. Made for the first of them, as most hosts have none.
    fuel: OnceLock<Result<Runtime, Error>>,
    ticker: Ticker,
}

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The node's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does, in a line.
    pub summary: String,
    /// JSON Schema of the state that it reads.
    pub state_schema: Option<Value>,
    /// JSON Schema of what it writes.
    pub update_schema: Option<Value>,
    /// JSON Schema of its configuration.
    pub config_schema: Option<Value>,
    /// The connectors that it uses.
    pub connectors: Vec<String>,
}

/// A component that was compiled and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The digest of the bytes as they were given.
    pub digest: Digest,
    /// What the node says about itself.
    pub description: Description,
}

/// A component seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// The digest of the bytes as they were given.
    pub digest: Digest,
    /// What kind of WebAssembly they are.
    pub kind: Kind,
    /// How many they are.
    pub size_bytes: usize,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// What the node says about itself.
    pub description: Description,
}

impl Sandbox {
    /// Sets a sandbox up: reserves the memory pool, opens the cache of compiled code, starts the clock.
    ///
    /// A cache directory that cannot be used is said in the log and done without.
    ///
    /// # Errors
    /// [`Error::RuntimeOutdated`] and [`Error::Unavailable`].
    pub fn new(options: Options, components: Arc<dyn ComponentSource>, effects: Effects) -> Result<Self, Error> {
        engine::check_version()?;
        let disk = options.cache_dir.as_deref().and_then(|directory| match DiskCache::open(directory, options.cache_bytes_max) {
            Ok(disk) => Some(Arc::new(disk)),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "compiled code is not kept: its directory cannot be used");
                None
            }
        });
        let options = Arc::new(options);
        let plain = Runtime::new(&options, false, &components, disk.clone())?;
        let ticker = Ticker::start()?;
        ticker.add(&plain.engine);
        Ok(Self(Arc::new(Inner { options, effects, source: components, disk, plain, fuel: OnceLock::new(), ticker })))
    }

    /// Whether the guests' memories come from the pool; false when it was not wanted or could not be reserved.
    pub fn is_pooled(&self) -> bool {
        self.0.plain.pooled
    }

    /// Compiles a component or core module, checks that it is a node that may run here, and keeps it ready.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn load(&self, bytes: &[u8]) -> Result<Loaded, Error> {
        let digest = Digest::of_bytes(bytes);
        let prepared = self.0.plain.prepared(&digest, Some(bytes.to_vec())).await?;
        let description = self.describe(&prepared).await?;
        Ok(Loaded { digest, description })
    }

    /// Looks at a component or core module: what [`Self::load`] finds, and what it imports and exports.
    ///
    /// # Errors
    /// Why it would be refused.
    pub async fn inspect(&self, bytes: &[u8]) -> Result<Inspection, Error> {
        let shape = Shape::read(bytes)?;
        let Loaded { digest, description } = self.load(bytes).await?;
        let Shape { kind, imports, exports, .. } = shape;
        Ok(Inspection { digest, kind, size_bytes: bytes.len(), imports, exports, description })
    }

    async fn describe(&self, prepared: &Prepared) -> Result<Description, Error> {
        let runtime = &self.0.plain;
        let _slots = runtime.slots(prepared).await;
        let mut store = runtime.store(State::describe(&self.0.options.limits))?;
        let described = execute::describe(&mut store, &prepared.node).await;
        let description = described.map_err(|outcome| Error::Description(explain(&outcome)))?;
        self.read_description(description)
    }

    fn read_description(&self, description: types::Description) -> Result<Description, Error> {
        let bytes_max = self.0.options.limits.value_bytes;
        let schema = |text: Option<String>, what: &str| match text {
            None => Ok(None),
            Some(text) => json::read(&text, what, "invalid-schema", bytes_max)
                .map(Some)
                .map_err(|outcome| Error::Description(explain(&outcome))),
        };
        Ok(Description {
            name: description.name,
            version: description.version,
            summary: description.summary,
            state_schema: schema(description.state_schema, "the state schema")?,
            update_schema: schema(description.update_schema, "the update schema")?,
            config_schema: schema(description.config_schema, "the configuration schema")?,
            connectors: description.connectors,
        })
    }

    /// The engine for a call: code that counts fuel is other code.
    fn runtime(&self, fuel: Option<u64>) -> Result<&Runtime, Error> {
        let inner = &*self.0;
        if fuel.is_none() {
            return Ok(&inner.plain);
        }
        let runtime = inner.fuel.get_or_init(|| {
            let runtime = Runtime::new(&inner.options, true, &inner.source, inner.disk.clone())?;
            inner.ticker.add(&runtime.engine);
            Ok(runtime)
        });
        runtime.as_ref().map_err(Clone::clone)
    }

    async fn execute(&self, call: NodeCall) -> Result<NodeReport, Error> {
        let limits = &self.0.options.limits;
        let fuel = call.limits.fuel;
        let runtime = self.runtime(fuel)?;
        let prepared = runtime.prepared(&call.component, None).await?;
        let texts = match Texts::of(&call, limits.value_bytes) {
            Ok(texts) => texts,
            Err(exceeded) => return Ok(NodeOutcome::from(exceeded).into()),
        };
        let call = Arc::new(call);
        let _slots = runtime.slots(&prepared).await;
        let state = State::run(Arc::clone(&call), &self.0.effects, limits);
        let mut store =
            execute::store(&runtime.engine, state, fuel).map_err(|error| Error::Unavailable(format!("{error:#}")))?;
        let outcome = execute::run(&mut store, &prepared.node, texts.input(&call)).await;
        let Finished { operations, hits } = store.into_data().into_finished();
        Ok(NodeReport { outcome, operations, hits })
    }
}

#[async_trait]
impl Nodes for Sandbox {
    async fn run(&self, call: NodeCall) -> NodeReport {
        self.execute(call).await.unwrap_or_else(|error| {
            NodeOutcome::HostFault(format!("{}: {error} ({})", error.code(), error.cure())).into()
        })
    }
}
