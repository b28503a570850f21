//! From an accepted answer to the next node: a server wakes the thread that waited for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use holdpoint_effects::Configuration;
use holdpoint_engine::{Config, Deployment, Engine, Input};
use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::nodes::{NodeCall, NodeReport, Nodes};
use holdpoint_sandbox::Sandbox;
use holdpoint_store::sqlite::baseline;
use holdpoint_store::{QuestionFilter, Store, ThreadStatus};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::counting::Counting;
use super::loopback::Client;
use super::serving::{self, Served};
use super::{Extent, Figure, Workplace, invalid_name, quantile_ms, unexpected};
use crate::deploy;
use crate::failure::Failure;

/// Raw transactions of the comparison, half of them before and half after.
const RAW: usize = 1_000;

/// Answers that are not counted: the first ones meet cold caches.
const WARM_UP: usize = 10;

/// The graph of questions: a node that asks, and one after it.
pub(super) const GATE: &str = "approval_gate";
pub(super) const AFTER: &str = "reject_refund";

/// Answers questions one after the other over HTTP and times what follows.
///
/// # Errors
/// When a node is not built, or the store or the server fails.
pub async fn approvals(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let raw =
        |name: &str| baseline::supersteps(&place.path(name), RAW / 2).map_err(|error| Failure::from_store(&error));
    let before = raw("before.db")?;
    let host = place.host("approvals.db", Configuration::default(), Config::default())?;
    let deployment = deploy::deploy(&host, &write_graph(&place, extent, "")?).await?;
    let (started, nodes_started) = unbounded_channel();
    let (changed, accepted) = unbounded_channel();
    let nodes = Timed { inner: host.sandbox().await?.clone(), started };
    let store: Arc<dyn Store> = Arc::new(Counting::new(Arc::clone(&host.store), changed));
    let engine = serving::engine(store, Arc::new(nodes));
    let threads = ask(&engine, &deployment, extent.threads + WARM_UP).await?;
    let served = Served::start(engine.clone(), deployment).await?;
    let client = Client::connect(served.address).await?;
    let mut asking = Asking { engine, client, nodes_started, accepted, times: Times::default() };
    for (index, thread) in threads.iter().enumerate() {
        if index == WARM_UP {
            asking.times = Times::default();
        }
        asking.answer(thread).await?;
    }
    let mut times = asking.times;
    served.stop().await?;
    let raw_ms = (before + raw("after.db")?).as_secs_f64() * 1e3 / RAW as f64;
    Ok(times.figures(raw_ms))
}

/// A graph with a question in the middle; `interrupt` is what stands in its node's table of that name.
pub(super) fn write_graph(place: &Workplace, extent: &Extent, interrupt: &str) -> Result<std::path::PathBuf, Failure> {
    place.write(
        "question.graph.toml",
        &format!(
            "name = \"question\"\nstart = \"{GATE}\"\n[state]\napproval_payload = {{ type = \"object\" }}\n\
             approved = {{ type = [\"boolean\", \"null\"] }}\nstatus = {{ type = \"string\" }}\n\
             [nodes.{GATE}]\ncomponent = \"{}\"\nnext = \"{AFTER}\"\ninterrupt = {{ {interrupt} }}\n\
             [nodes.{AFTER}]\ncomponent = \"{}\"\nreads = []\nnext = \"END\"\n",
            extent.component("approval-gate.wasm"),
            extent.component("reject-refund.wasm"),
        ),
    )
}

/// A thread's input: what is asked, in the size that a refund has.
pub(super) fn question_input(index: usize) -> Input {
    let payload = json!({ "title": format!("Refund order {index}?"), "order_id": index, "amount_cents": 50_000 });
    Input { values: json!({ "approval_payload": payload }), supersede: false }
}

async fn ask(engine: &Engine, deployment: &Deployment, count: usize) -> Result<Vec<ThreadId>, Failure> {
    let mut threads = Vec::with_capacity(count);
    for index in 0..count {
        let thread = ThreadId::parse(format!("question-{index}")).map_err(invalid_name)?;
        let view = engine.run(&thread, deployment, question_input(index)).await;
        let view = view.map_err(|error| Failure::from_engine(&error))?;
        if view.status != ThreadStatus::Interrupted {
            return Err(unexpected(format!("a thread that asks is {}: {:?}", view.status.name(), view.error)));
        }
        threads.push(thread);
    }
    Ok(threads)
}

struct Asking {
    engine: Engine,
    client: Client,
    nodes_started: UnboundedReceiver<Started>,
    accepted: UnboundedReceiver<Instant>,
    times: Times,
}

impl Asking {
    async fn answer(&mut self, thread: &ThreadId) -> Result<(), Failure> {
        let filter = QuestionFilter { thread: Some(thread.clone()), ..QuestionFilter::pending(1) };
        let found = self.engine.approvals(&filter).await.map_err(|error| Failure::from_engine(&error))?;
        let found = found.first().ok_or_else(|| unexpected(format!("thread {thread} does not ask")))?;
        let path = format!("/approvals/{}/answers", found.id);
        let body = json!({ "decision": "accept", "payload_digest": found.digest.as_str() });
        // What was started before the answer was to ask it.
        while self.nodes_started.try_recv().is_ok() {}
        let sent = Instant::now();
        self.client.ask("POST", &path, Some(&body)).await?;
        let replied = Instant::now();
        let gone = || unexpected("nothing follows an answer".to_owned());
        let accepted = self.accepted.recv().await.ok_or_else(gone)?;
        let going_on = self.nodes_started.recv().await.ok_or_else(gone)?;
        let next = self.nodes_started.recv().await.ok_or_else(gone)?;
        if (going_on.node.as_str(), next.node.as_str()) != (GATE, AFTER) || next.thread != *thread {
            return Err(unexpected(format!("{} was started and then {}", going_on.node, next.node)));
        }
        self.times.accepting.push(accepted - sent);
        self.times.replying.push(replied - sent);
        self.times.going_on.push(going_on.at.saturating_duration_since(accepted));
        self.times.next.push(next.at.saturating_duration_since(accepted));
        // The next answer finds an idle host.
        while self.engine.view(thread).await.map_err(|error| Failure::from_engine(&error))?.status != ThreadStatus::Done
        {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Times {
    accepting: Vec<Duration>,
    replying: Vec<Duration>,
    going_on: Vec<Duration>,
    next: Vec<Duration>,
}

impl Times {
    fn figures(&mut self, raw_ms: f64) -> Vec<Figure> {
        let figure = |name, value, goal| Figure {
            name,
            value,
            unit: "ms",
            baseline: Some(raw_ms),
            baseline_is: "one plain durable transaction",
            goal,
        };
        vec![
            figure("answer accepted to next node started, p50", quantile_ms(&mut self.next, 0.5), "at most 1 ms"),
            figure("answer accepted to next node started, p99", quantile_ms(&mut self.next, 0.99), ""),
            figure("answer accepted to the asking node going on, p50", quantile_ms(&mut self.going_on, 0.5), ""),
            figure("answer sent to accepted, p50", quantile_ms(&mut self.accepting, 0.5), ""),
            figure("answer sent to reply there, p50", quantile_ms(&mut self.replying, 0.5), ""),
        ]
    }
}

/// When a node was started.
struct Started {
    thread: ThreadId,
    node: holdpoint_graph::ids::NodeName,
    at: Instant,
}

/// The sandbox, telling of each start.
struct Timed {
    inner: Sandbox,
    started: UnboundedSender<Started>,
}

#[async_trait]
impl Nodes for Timed {
    async fn run(&self, call: NodeCall) -> NodeReport {
        let (thread, node) = (call.task.thread.clone(), call.task.node.clone());
        // Nobody listens while questions are only asked.
        let _ = self.started.send(Started { thread, node, at: Instant::now() });
        self.inner.run(call).await
    }
}
