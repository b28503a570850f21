//! Many who watch one run: while nothing happens they cost nothing, and what happens reaches all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use holdpoint_effects::Configuration;
use holdpoint_engine::Config;
use holdpoint_graph::nodes::{Command, NodeCall, NodeOutcome, NodeReport, Nodes, TaskReport};
use holdpoint_store::Store;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::counting::Counting;
use super::loopback::{Client, Events};
use super::serving::{self, Served};
use super::{Extent, Figure, Workplace, process, quantile_ms, unexpected};
use crate::deploy;
use crate::failure::Failure;

const WATCHERS: usize = 200;

/// Events whose way to the watchers is timed.
const EVENTS: usize = 200;

/// How long nothing happens. Shorter than the time between two heartbeats.
const IDLE: Duration = Duration::from_secs(2);

/// Lets 200 clients watch one run over HTTP.
///
/// # Errors
/// When the node is not built, or the store or the server fails.
pub async fn watchers(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let host = place.host("watchers.db", Configuration::default(), Config::default())?;
    // The component is never executed: what the graph's node does is up to the measurement.
    let text = format!(
        "name = \"watched\"\nstart = \"a\"\n[state]\ntext = {{ type = \"string\" }}\n[nodes.a]\ncomponent = \"{}\"\nreads = []\n",
        extent.component("reject-refund.wasm")
    );
    let deployment = deploy::deploy(&host, &place.write("watched.graph.toml", &text)?).await?;
    let (say, words) = unbounded_channel();
    let (changed, _) = unbounded_channel();
    let store = Arc::new(Counting::new(Arc::clone(&host.store), changed));
    let nodes = Arc::new(Speaking(Mutex::new(words)));
    let engine = serving::engine(Arc::clone(&store) as Arc<dyn Store>, nodes);
    let served = Served::start(engine, deployment).await?;
    let mut client = Client::connect(served.address).await?;
    let request = json!({ "assistant_id": "watched", "input": {}, "stream_mode": "custom", "if_not_exists": "create" });
    let run = client.ask_json("POST", "/threads/00000000-0000-4000-8000-000000000001/runs", Some(&request)).await?;
    let run = run.get("run_id").and_then(Value::as_str).ok_or_else(|| unexpected(format!("not a run: {run}")))?;
    let path = format!("/threads/00000000-0000-4000-8000-000000000001/runs/{run}/stream");

    // What reaches somebody shows that the run has begun.
    let mut all = vec![open(&served, &path).await?];
    let mut times_one = tell(&say, &mut all).await?;
    all.clear();
    let alone = idle(&store).await;
    while all.len() < WATCHERS {
        all.push(open(&served, &path).await?);
    }
    let watched = idle(&store).await;
    let mut times_all = tell(&say, &mut all).await?;
    drop(say);
    drop(all);
    served.stop().await?;
    Ok(figures(&alone, &watched, &mut times_one, &mut times_all))
}

fn figures(alone: &Idle, watched: &Idle, times_one: &mut [Duration], times_all: &mut [Duration]) -> Vec<Figure> {
    vec![
        Figure {
            name: "calls of the store in 2 s of silence, 200 watchers",
            value: watched.calls as f64,
            unit: "calls",
            baseline: Some(alone.calls as f64),
            baseline_is: "the same host without watchers: its ticks",
            goal: "none more than raw",
        },
        Figure {
            name: "time of processors in 2 s of silence, 200 watchers",
            value: watched.processor.as_secs_f64() * 1e3,
            unit: "ms",
            baseline: Some(alone.processor.as_secs_f64() * 1e3),
            baseline_is: "the same host without watchers",
            goal: "",
        },
        Figure {
            name: "event to all of 200 watchers, p50",
            value: quantile_ms(times_all, 0.5),
            unit: "ms",
            baseline: Some(quantile_ms(times_one, 0.5)),
            baseline_is: "to one watcher",
            goal: "",
        },
        Figure {
            name: "event to all of 200 watchers, p99",
            value: quantile_ms(times_all, 0.99),
            unit: "ms",
            baseline: Some(quantile_ms(times_one, 0.99)),
            baseline_is: "to one watcher",
            goal: "",
        },
    ]
}

/// Watches from now on; there when the server has begun to answer.
async fn open(served: &Served, path: &str) -> Result<Events, Failure> {
    let mut events = Client::connect(served.address).await?.watch(path).await?;
    events.line_after("event: metadata").await?;
    Ok(events)
}

/// What nothing costs.
struct Idle {
    calls: u64,
    processor: Duration,
}

async fn idle(store: &Counting) -> Idle {
    let (calls, processor) = (store.calls(), process::processor_time("self"));
    tokio::time::sleep(IDLE).await;
    Idle { calls: store.calls() - calls, processor: process::processor_time("self").saturating_sub(processor) }
}

/// Lets the node say something, again and again: the times until the last watcher has it.
async fn tell(say: &UnboundedSender<Value>, watchers: &mut Vec<Events>) -> Result<Vec<Duration>, Failure> {
    let (got, mut arrivals) = unbounded_channel();
    let mut reading = tokio::task::JoinSet::new();
    for mut events in watchers.drain(..) {
        let got = got.clone();
        reading.spawn(async move {
            for number in 0..EVENTS {
                let awaited = json!({ "number": number }).to_string();
                while events.line_after("data: ").await? != awaited {}
                let _ = got.send(Instant::now());
            }
            Ok::<_, Failure>(events)
        });
    }
    let count = reading.len();
    let mut times = Vec::with_capacity(EVENTS);
    for number in 0..EVENTS {
        let begun = Instant::now();
        say.send(json!({ "number": number })).map_err(|_| unexpected("the node has ended".to_owned()))?;
        let mut last = begun;
        for _ in 0..count {
            let arrived = tokio::time::timeout(Duration::from_secs(10), arrivals.recv()).await.ok().flatten();
            last = last.max(arrived.ok_or_else(|| unexpected(format!("event {number} did not reach everybody")))?);
        }
        times.push(last - begun);
    }
    while let Some(read) = reading.join_next().await {
        watchers.push(read.map_err(|error| super::join_failed(&error))??);
    }
    Ok(times)
}

/// A node that says what it is told to.
struct Speaking(Mutex<UnboundedReceiver<Value>>);

#[async_trait]
impl Nodes for Speaking {
    async fn run(&self, call: NodeCall) -> NodeReport {
        let mut words = self.0.lock().await;
        while let Some(word) = words.recv().await {
            call.journal.report(TaskReport::Custom(word));
        }
        NodeOutcome::Completed(Command::default()).into()
    }
}
