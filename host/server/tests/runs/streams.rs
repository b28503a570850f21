//! What runs tell, to any number of watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use holdpoint_graph::nodes::TaskReport;
use holdpoint_server::Settings;
use holdpoint_store::forward::Forward;
use holdpoint_store::{Error, MemoryStore, Store};
use serde_json::{Value, json};

use super::scene::{Gate, Reader, SLOW, Sent, asked, names};
use crate::support::{APPROVAL, BOOM, ECHO, Setup, standard_nodes, update};

#[tokio::test]
async fn a_pause_as_langgraph_tells_it() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs/stream");
    let body = json!({
        "assistant_id": "approval", "input": { "title": "x" }, "stream_mode": ["values", "updates"],
    });
    let mut reader = Reader::post(&server.http, &path, body).await;
    let run = reader.header("content-location").rsplit('/').next().unwrap().to_owned();
    assert_eq!(reader.header("location"), format!("/threads/{thread}/runs/{run}/stream"));
    let events = reader.rest().await;
    assert_eq!(names(&events), ["metadata", "values", "updates", "values", "updates", "values", "end"]);
    assert_eq!(events[0].data, json!({ "run_id": run, "attempt": 1 }));
    assert_eq!(events[2].data, json!({ "plan": { "log": ["plan"] } }));
    let interrupt = &events[4].data["__interrupt__"][0];
    assert_eq!(interrupt["value"], json!({ "type": "approval_required" }));
    assert!(interrupt.get("response_schema").is_some(), "{interrupt}");
    assert_eq!(events[5].data["log"], json!(["plan"]));
    assert_eq!(asked(&events[5].data), [interrupt["id"].as_str().unwrap()]);
    // All can be taken up again: each has an id, and they rise.
    let places: Vec<u64> = events.iter().map(|sent| sent.id.split_once('-').unwrap().1.parse().unwrap()).collect();
    assert!(places.is_sorted() && places.len() == events.len(), "{places:?}");
    let resume = json!({ "assistant_id": "approval", "command": { "resume": true }, "stream_mode": "updates" });
    let events = Reader::post(&server.http, &path, resume).await.rest().await;
    let told: Vec<&Value> = events[1..events.len() - 1].iter().map(|sent| &sent.data).collect();
    assert_eq!(
        told,
        [&json!({ "approve": { "log": ["approve"], "answer": true } }), &json!({ "pay": { "log": ["pay"] } })]
    );
}

#[tokio::test]
async fn the_other_modes() {
    let nodes = standard_nodes().with_async("plan", |call| {
        Box::pin(async move {
            for said in [
                json!({ "progress": 1 }),
                json!({ "message": { "type": "AIMessageChunk", "id": "m", "content": "Hel" } }),
                json!({ "message": { "type": "AIMessageChunk", "id": "m", "content": "lo" } }),
            ] {
                call.journal.report(TaskReport::Custom(said));
            }
            update(json!({ "log": ["plan"] })).into()
        })
    });
    let server = Setup { nodes, ..Setup::default() }.start().await;
    server.deploy("echo", ECHO).await;
    server.deploy("boom", BOOM).await;
    let run = async |graph: &str, modes: Value| {
        let body = json!({ "assistant_id": graph, "input": {}, "stream_mode": modes });
        let mut events = Reader::post(&server.http, "/runs/stream", body).await.rest().await;
        events.remove(0);
        events.pop_if(|sent| sent.event == "end");
        events
    };
    let custom = run("echo", json!("custom")).await;
    assert_eq!((custom.len(), &custom[0].data), (3, &json!({ "progress": 1 })));
    let tuples = run("echo", json!("messages-tuple")).await;
    assert_eq!(names(&tuples), ["messages", "messages"]);
    assert_eq!(tuples[1].data[0]["content"], json!("lo"));
    assert_eq!(tuples[1].data[1]["langgraph_node"], json!("plan"));
    let messages = run("echo", json!(["messages"])).await;
    assert_eq!(names(&messages), ["messages/metadata", "messages/partial", "messages/partial"]);
    assert_eq!(messages[2].data[0]["content"], json!("Hello"));
    let tasks = run("echo", json!("tasks")).await;
    assert_eq!((tasks[0].data["name"].as_str(), &tasks[1].data["result"]), (Some("plan"), &json!({ "log": ["plan"] })));
    assert!(tasks[0].data.get("triggers").is_some() && tasks[0].data.get("metadata").is_some());
    let checkpoints = run("echo", json!("checkpoints")).await;
    assert_eq!(checkpoints.last().unwrap().data["next"], json!([]));
    assert!(run("echo", json!("debug")).await.iter().any(|sent| sent.data["type"] == json!("task_result")));
    let events = run("echo", json!("events")).await;
    let begun = events.iter().find(|sent| sent.data["event"] == json!("on_chain_start")).unwrap();
    assert_eq!(begun.data["metadata"]["langgraph_node"], json!("plan"), "Agent Inbox reads this");
    assert!(run("echo", json!("tools")).await.is_empty());
    let failed = run("boom", json!("tasks")).await;
    assert_eq!(names(&failed), ["tasks", "tasks", "error"]);
    assert_eq!(failed[1].data["error"], json!("ValueError: kaboom"));
    assert_eq!((&failed[2].data["error"], &failed[2].data["message"]), (&json!("ValueError"), &json!("kaboom")));
}

#[tokio::test]
async fn a_stream_that_broke_off_goes_on_where_it_was() {
    let gate = Gate::new();
    let server = Setup { nodes: gate.nodes(), ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "slow", "input": {}, "stream_mode": "updates", "stream_resumable": true });
    let mut reader = Reader::post(&server.http, &format!("/threads/{thread}/runs/stream"), body).await;
    let path = reader.header("location");
    let mut seen = reader.until("updates").await;
    drop(reader);
    gate.reached().await;
    let last = seen.last().unwrap().id.clone();
    let mut again = Reader::get(&server.http, &path, Some(&last)).await;
    gate.open(1);
    let rest = again.rest().await;
    assert_eq!(names(&rest), ["updates", "updates", "end"]);
    seen.extend(rest);
    // After its end, from the start: the very same.
    assert_eq!(Reader::get(&server.http, &path, Some("-1")).await.rest().await, seen);
    assert_eq!(Reader::get(&server.http, &path, Some(&last)).await.rest().await, seen[2..]);
    let end = seen.last().unwrap().id.clone();
    assert_eq!(names(&Reader::get(&server.http, &path, Some(&end)).await.rest().await), ["end"]);
    // Without a word of what was seen there is nothing more.
    assert_eq!(names(&Reader::get(&server.http, &path, None).await.rest().await), ["end"]);
}

#[tokio::test]
async fn who_joins_sees_what_happens_from_then_on() {
    let gate = Gate::new();
    let settings = Settings { heartbeat: Duration::from_millis(20), ..Settings::default() };
    let server = Setup { nodes: gate.nodes(), settings, ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    let run = server.start_run(&thread, json!({ "assistant_id": "slow", "input": {} })).await;
    gate.reached().await;
    let path = format!("/threads/{thread}/runs/{run}/stream?stream_mode=updates");
    let mut reader = Reader::get(&server.http, &path, None).await;
    assert_eq!(reader.next().await.unwrap().event, "metadata");
    let opens = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open(1);
    });
    // A quick step is told when it is durable, which may be a moment after it: then it is among these too.
    let mut seen = reader.rest().await;
    if seen[0].data.get("first").is_some() {
        seen.remove(0);
    }
    assert_eq!(names(&seen), ["updates", "updates", "end"]);
    assert!(seen[0].data.get("second").is_some());
    assert!(reader.heartbeats > 0, "silence is filled");
    opens.await.unwrap();
    server.http.get(&format!("/threads/{thread}/runs/{run}/stream?stream_mode=nothing")).await.refused(422, "HP0830");
}

#[tokio::test]
async fn a_thread_is_watched_over_its_runs() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let mut lifecycle =
        Reader::get(&server.http, &format!("/threads/{thread}/stream?stream_mode=lifecycle"), None).await;
    let mut all = Reader::get(&server.http, &format!("/threads/{thread}/stream?stream_modes=run_modes"), None).await;
    server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await;
    server.wait(&thread, json!({ "assistant_id": "approval", "command": { "resume": true } })).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(lifecycle.next().await.unwrap().data);
    }
    assert_eq!((&told[0]["attempt"], &told[1]["status"]), (&json!(1), &json!("run_done")));
    assert_eq!(told[2]["run_id"], told[3]["run_id"]);
    assert_ne!(told[0]["run_id"], told[2]["run_id"]);
    let mut last = None;
    while last.as_ref().is_none_or(|sent: &Sent| sent.data["log"].as_array().is_none_or(|log| log.len() < 3)) {
        last = all.next().await;
    }
    let replayed = Reader::get(&server.http, &format!("/threads/{thread}/stream"), Some("-")).await.next().await;
    assert_eq!(replayed.unwrap().data["run_id"], told[0]["run_id"], "from the start");
}

/// A store that counts what is read from it.
pub(super) struct Counted {
    pub(super) inner: Arc<dyn Store>,
    pub(super) reads: AtomicU64,
}

#[async_trait]
impl Forward for Counted {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn read<T, C>(&self, call: C) -> Result<T, Error>
    where
        T: Send,
        C: Future<Output = Result<T, Error>> + Send,
    {
        self.reads.fetch_add(1, Ordering::SeqCst);
        call.await
    }
}

/// Reads from the store from the moment at which all watchers are there to the moment at which all have seen the end.
async fn reads_with(watchers: usize) -> u64 {
    let gate = Gate::new();
    let store = Arc::new(Counted { inner: Arc::new(MemoryStore::default()), reads: AtomicU64::new(0) });
    // No tick in between, and no limit for a caller that comes often.
    let settings = Settings {
        tick: Duration::from_secs(3600),
        requests_per_second_max: 1_000_000,
        heartbeat: Duration::from_millis(50),
        ..Settings::default()
    };
    let shared = Arc::clone(&store) as Arc<dyn Store>;
    let server = Setup { nodes: gate.nodes(), settings, store: shared, ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    let run = server.start_run(&thread, json!({ "assistant_id": "slow", "input": {} })).await;
    gate.reached().await;
    let mut readers = Vec::new();
    for _ in 0..watchers {
        let mut reader = Reader::get(&server.http, &format!("/threads/{thread}/runs/{run}/stream"), None).await;
        assert_eq!(reader.next().await.unwrap().event, "metadata");
        readers.push(reader);
    }
    // Several heartbeats pass: they come from nowhere but memory.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = store.reads.load(Ordering::SeqCst);
    gate.open(1);
    for mut reader in readers {
        assert_eq!(reader.rest().await.last().unwrap().event, "end");
    }
    store.reads.load(Ordering::SeqCst) - before
}

#[tokio::test]
async fn two_hundred_watchers_cost_no_more_reads_than_one() {
    let (one, many) = (reads_with(1).await, reads_with(200).await);
    assert_eq!(one, many);
}
