//! An engine on a store, with everything around it: a clock that stands, counted nodes and connectors, and workers that die.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdpoint_effects::Effects;
use holdpoint_engine::claim::Owners;
use holdpoint_engine::{Config, Deployment, Engine, Event, EventSink};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ThreadId;
use holdpoint_sandbox::{Allocation, ComponentSource, Options, Sandbox};
use holdpoint_store::{Content, Journal, MemoryStore, SqliteOptions, SqliteStore, Store};
use tempfile::TempDir;

use super::board::{Board, Commits, Counted};
use super::data::Scenario;
use super::{graphs, outside};
use crate::crash::wrapped::Wrapped;
use crate::program::{cache_folder, node};

/// Where threads are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory; outlives its workers.
    Memory,
    /// In a SQLite file, opened anew by each worker.
    Sqlite,
}

impl StoreKind {
    /// All kinds with their spoken names.
    pub const NAMES: [(Self, &'static str); 2] = [(Self::Memory, "memory"), (Self::Sqlite, "sqlite")];
}

/// A scenario's world.
pub struct World {
    /// The worker's engine.
    pub engine: Engine,
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// Where things are counted and workers die.
    pub board: Arc<Board>,
    /// The clock of all workers.
    pub clock: Arc<StandingClock>,
    /// The scenario's graphs.
    pub deployments: BTreeMap<String, Deployment>,
    memory: Option<Arc<MemoryStore>>,
    folder: TempDir,
    workers: u32,
}

impl World {
    /// A world with the graphs of a scenario.
    ///
    /// # Errors
    /// What is wrong with a graph, or cannot be set up.
    pub async fn new(scenario: &Scenario, kind: StoreKind) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let memory = (kind == StoreKind::Memory).then(|| Arc::new(MemoryStore::new()));
        let board = Arc::new(Board::default());
        let clock = Arc::new(StandingClock(AtomicU64::new(NOON_MS)));
        let (engine, store) = worker(memory.as_ref(), &folder, &board, &clock, 1)?;
        let bytes = std::fs::read(node("probe")).map_err(|error| error.to_string())?;
        let probe = Digest::of_bytes(&bytes);
        let contents = vec![Content { digest: probe.clone(), bytes }];
        store.put_contents(contents).await.map_err(|error| error.to_string())?;
        let deployments = graphs::deploy(scenario, &engine, &probe).await?;
        Ok(Self { engine, store, board, clock, deployments, memory, folder, workers: 1 })
    }

    /// The worker is dead; another one, who knows that, takes its place with nothing but what is durable.
    ///
    /// # Errors
    /// What cannot be set up.
    pub fn next_worker(&mut self) -> Result<(), String> {
        self.workers += 1;
        (self.engine, self.store) = worker(self.memory.as_ref(), &self.folder, &self.board, &self.clock, self.workers)?;
        Ok(())
    }
}

fn worker(
    memory: Option<&Arc<MemoryStore>>,
    folder: &TempDir,
    board: &Arc<Board>,
    clock: &Arc<StandingClock>,
    number: u32,
) -> Result<(Engine, Arc<dyn Store>), String> {
    let store: Arc<dyn Store> = match memory {
        Some(memory) => Arc::clone(memory) as Arc<dyn Store>,
        None => {
            let path = folder.path().join("holdpoint.db");
            Arc::new(SqliteStore::open(path, SqliteOptions::default()).map_err(|error| error.to_string())?)
        }
    };
    let store = Wrapped::around(store, Commits(Arc::clone(board)));
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let journal = Arc::clone(&store) as Arc<dyn Journal>;
    let effects = Effects::new(outside::configuration(folder.path(), board), journal, Arc::clone(&clock));
    let options = Options { allocation: Allocation::OnDemand, cache_dir: Some(cache_folder()), ..Options::default() };
    let components = Arc::new(Stored(Arc::clone(&store)));
    let sandbox = Sandbox::new(options, components, effects).map_err(|error| error.to_string())?;
    let nodes = Arc::new(Counted { inner: Arc::new(sandbox), board: Arc::clone(board) });
    let owners = Arc::new(Workers(format!("worker-{number}")));
    Ok((Engine::new(Arc::clone(&store), nodes, clock, owners, Config::default()), store))
}

/// When scenarios begin, in milliseconds since 1970.
pub const NOON_MS: u64 = 1_700_000_000_000;

/// A clock that moves when it is told to.
pub struct StandingClock(AtomicU64);

impl StandingClock {
    /// Moves it on.
    pub fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Only the newest worker lives.
struct Workers(String);

impl Owners for Workers {
    fn own_name(&self) -> &str {
        &self.0
    }

    fn is_gone(&self, owner: &str) -> bool {
        owner != self.0
    }
}

struct Stored(Arc<dyn Store>);

#[async_trait]
impl ComponentSource for Stored {
    async fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        self.0.content(digest).await.map_err(|error| error.to_string())
    }
}

/// Keeps the events of one call.
#[derive(Default)]
pub struct Events(Mutex<Vec<Event>>);

impl Events {
    /// The events so far.
    pub fn taken(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

impl EventSink for Events {
    fn take(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A thread's id.
///
/// # Errors
/// A text that is none.
pub fn thread_id(name: &str) -> Result<ThreadId, String> {
    ThreadId::parse(name).map_err(|error| error.to_string())
}
