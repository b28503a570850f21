//! Runs in their turn, and their events for those who watch.
//!
//! A run is a request to a thread. It is stored before anybody is told that it was accepted, begins in the commit that makes what it asks for part
//! of its thread, and ends in the commit that gives the thread back. In between it belongs to whoever owns the thread: when that process dies, the
//! next one goes on with it.
//!
//! # Layout
//!
//! * `request`: what a run asks for, as it is stored. `asked`: as it comes; `accept`: whether it is accepted, and as
//!   what.
//! * `worker`: whose turn it is, what was left behind, and the end of it all. `execute`: one run on the engine. `cancel`: ending one early; `rollback`: as if it
//!   had not been.
//! * `expiry`: what goes by itself. `decide`: a person's decision, with which a thread goes on.
//! * `feed`: what is told of a thread, kept for a while. `frames`, `messages`: from an engine's events to what is told.
//! * `outcome`: what a run came to, as its caller is told. `webhook`: the same, told to somebody else.

mod request;

mod accept;
mod asked;

mod worker;

mod cancel;
mod decide;
mod execute;
mod rollback;

mod expiry;

mod feed;
mod frames;
mod messages;

mod outcome;
mod webhook;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdpoint_engine::{Drain, Engine, Principal};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::{RunId, Tenant, ThreadId};
use holdpoint_store::{AuditEntry, RunRecord, Store};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use crate::context::{Graphs, Outbox, Parts};
use crate::settings::Settings;

pub(crate) use accept::assistant_id;
pub(crate) use asked::{Command, CreateRun, OnDisconnect, Texts, needed_role};
pub(crate) use cancel::cancel_action;
pub(crate) use expiry::keep_latest;
pub(crate) use feed::{Batch, Feed, Finish, Frame, FrameKind, Watcher};
pub(crate) use frames::{CHANNEL_MODES, MODES};
pub(crate) use request::{RunRequest, destinations};

use feed::Feeds;
use webhook::Webhooks;

/// Threads whose requests are accepted at once. Those of one thread are accepted one after the other, so that each sees what the one before it left.
const LANES: usize = 64;

/// Runs of this host. Cheap to clone.
#[derive(Clone)]
pub struct Runs(Arc<Inner>);

struct Inner {
    engine: Engine,
    graphs: Arc<dyn Graphs>,
    outbox: Arc<dyn Outbox>,
    settings: Settings,
    feeds: Feeds,
    webhooks: Webhooks,
    /// A std mutex: held to look something up, never across an await.
    state: Mutex<State>,
    /// There may be a run whose turn has come.
    work: Notify,
    /// There may be something to send.
    mail: Notify,
    /// How many threads are being advanced.
    active: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
    lanes: [tokio::sync::Mutex<()>; LANES],
}

#[derive(Default)]
struct State {
    /// Threads that this host advances now.
    active: HashMap<ThreadId, Active>,
    /// Threads that go on by themselves as soon as there is room.
    woken: VecDeque<ThreadId>,
    /// Threads that could not be advanced just now: they are passed over until the next tick.
    postponed: HashSet<ThreadId>,
    stopping: bool,
}

/// A thread that is being advanced.
struct Active {
    run: Option<RunId>,
    drain: Drain,
    /// It was woken meanwhile.
    again: bool,
}

impl Runs {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self(Arc::new(Inner {
            engine: parts.engine.clone(),
            graphs: Arc::clone(&parts.graphs),
            outbox: Arc::clone(&parts.outbox),
            settings: parts.settings.clone(),
            feeds: Feeds::default(),
            webhooks: Webhooks::new(&parts.settings),
            state: Mutex::default(),
            work: Notify::new(),
            mail: Notify::new(),
            active: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            lanes: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        }))
    }

    /// What is told of a thread.
    pub(crate) fn feed(&self, thread: &ThreadId) -> Arc<Feed> {
        self.0.feeds.of(thread, self.0.engine.now_ms())
    }

    /// The same, where anybody has watched or written one for a while.
    pub(crate) fn known_feed(&self, thread: &ThreadId) -> Option<Arc<Feed>> {
        self.0.feeds.known(thread)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.0.engine.store()
    }

    fn lane(&self, thread: &ThreadId) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        thread.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0);
        &self.0.lanes[lane]
    }

    /// An entry for the record of what was done with a run.
    fn entry(&self, run: &RunRecord, actor: Actor, kind: &'static str, body: Value) -> AuditEntry {
        let mut members = match body {
            Value::Object(members) => members,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        members.insert("run".into(), run.id.as_str().into());
        let (thread, tenant) = (Some(run.thread.clone()), run.tenant.clone());
        AuditEntry { thread, tenant, at_ms: self.0.engine.now_ms(), actor, kind, body: members }
    }
}

/// The host itself, acting for a tenant.
fn host(tenant: &Tenant) -> Principal {
    Principal { actor: Actor::worker(), groups: Default::default(), tenant: tenant.clone(), authenticated: None }
}
