//! Where workers die, wait and are counted: one board for all workers of a scenario.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use holdpoint_engine::Drain;
use holdpoint_graph::nodes::{NodeCall, NodeReport, Nodes};
use holdpoint_store::{Commit, Error, Store};
use serde_json::Value;
use tokio::sync::Notify;

use super::data::Kill;
use crate::crash::wrapped::Hook;

/// See the module.
#[derive(Default)]
pub struct Board {
    state: Mutex<State>,
    died: Notify,
    held: Notify,
    released: Notify,
}

#[derive(Default)]
struct State {
    /// Graphs and nodes.
    started: Vec<(String, String)>,
    sent: Vec<Value>,
    commits: u64,
    kill: Option<Kill>,
    drain: Option<(String, Drain)>,
    hold: Option<String>,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        // Held for look-ups only; a panic in between left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes that were started with their graphs' names before them, in order.
    pub fn started(&self) -> Vec<(String, String)> {
        self.state().started.clone()
    }

    /// What has reached connectors, in order.
    pub fn sent(&self) -> Vec<Value> {
        self.state().sent.clone()
    }

    /// Begins a call: commits are counted anew, and these things happen in it.
    pub fn begin(&self, kill: Option<Kill>, drain: Option<(String, Drain)>) {
        let mut state = self.state();
        state.commits = 0;
        state.kill = kill;
        state.drain = drain;
    }

    /// Ends a call: gives its commits, and whether its worker was to die and did not.
    pub fn end(&self) -> (u64, bool) {
        let mut state = self.state();
        (state.commits, state.kill.take().is_some())
    }

    /// Waits until the worker has died.
    pub async fn death(&self) {
        self.died.notified().await;
    }

    /// Stops the next start of a node until [`Self::release`].
    pub fn hold(&self, node: &str) {
        self.state().hold = Some(node.to_owned());
    }

    /// Waits until the node to hold has started.
    pub async fn is_held(&self) {
        self.held.notified().await;
    }

    /// Lets the held node go on.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// Dies here if that was planned: whoever drives this future drops it.
    async fn reach(&self, here: &Kill) {
        let dies = {
            let mut state = self.state();
            let dies = state.kill.as_ref() == Some(here);
            if dies {
                state.kill = None;
            }
            dies
        };
        if dies {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn start(&self, graph: &str, node: &str) {
        let held = {
            let mut state = self.state();
            state.started.push((graph.to_owned(), node.to_owned()));
            if let Some((_, drain)) = state.drain.take_if(|(name, _)| name == node) {
                drain.request();
            }
            state.hold.take_if(|name| name == node).is_some()
        };
        if held {
            self.held.notify_one();
            self.released.notified().await;
        }
        self.reach(&Kill { node: Some(node.to_owned()), ..Kill::default() }).await;
    }

    /// Counts what has reached a receiver.
    pub(super) fn count_sent(&self, id: &str, request: &Value) {
        // Derived ids are long, and say nothing to a reader.
        let told = if id.starts_with("task:") { request.clone() } else { Value::String(id.to_owned()) };
        self.state().sent.push(told);
    }

    /// After a receiver has executed an operation.
    pub(super) async fn landed(&self, id: &str) {
        self.reach(&Kill { sent: Some(id.to_owned()), ..Kill::default() }).await;
    }
}

/// Nodes that are counted when they start.
pub(super) struct Counted {
    pub(super) inner: Arc<dyn Nodes>,
    pub(super) board: Arc<Board>,
}

#[async_trait]
impl Nodes for Counted {
    async fn run(&self, call: NodeCall) -> NodeReport {
        self.board.start(call.task.graph.as_str(), call.task.node.as_str()).await;
        self.inner.run(call).await
    }
}

/// Commits that are counted, and places to die around them.
pub(super) struct Commits(pub(super) Arc<Board>);

#[async_trait]
impl Hook for Commits {
    async fn commit(&self, store: &dyn Store, commit: Commit) -> Result<(), Error> {
        let number = {
            let mut state = self.0.state();
            state.commits += 1;
            state.commits
        };
        self.0.reach(&Kill { before_commit: Some(number), ..Kill::default() }).await;
        let outcome = store.commit(commit).await;
        self.0.reach(&Kill { after_commit: Some(number), ..Kill::default() }).await;
        outcome
    }
}
