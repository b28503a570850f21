//! What was accepted is there after a restart, and what was running goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_server::Settings;
use holdpoint_store::{SqliteOptions, SqliteStore, Store};
use serde_json::json;

use super::scene::{Gate, Reader, SLOW, asked, names};
use crate::support::{APPROVAL, Setup};

fn sqlite(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path, SqliteOptions::default()).unwrap())
}

#[tokio::test]
async fn a_run_that_was_accepted_and_not_begun_is_executed_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (thread, first, second) = {
        let gate = Gate::new();
        let settings = Settings { drain: Duration::from_millis(50), ..Settings::default() };
        let setup = Setup { nodes: gate.nodes(), store: sqlite(&path), settings, ..Setup::default() };
        let server = setup.start().await;
        server.deploy("slow", SLOW).await;
        let thread = server.thread().await;
        let first = server.start_run(&thread, json!({ "assistant_id": "slow", "input": { "name": "a" } })).await;
        let second = server.start_run(&thread, json!({ "assistant_id": "slow", "input": { "name": "b" } })).await;
        gate.reached().await;
        // The process dies in the middle of a superstep: the node is never let through.
        server.stop().await;
        (thread, first, second)
    };
    let gate = Gate::new();
    gate.open(2);
    let setup = Setup { nodes: gate.nodes(), store: sqlite(&path), worker: "second".into(), ..Setup::default() };
    setup.clock.advance_ms(3_600_000);
    let server = setup.start().await;
    let done = server.join(&thread, &second).await;
    assert_eq!(done["log"], json!(["first a", "second a", "third a", "first b", "second b", "third b"]));
    assert_eq!(server.status(&thread, &first).await, "success");
}

#[tokio::test]
async fn a_drained_run_is_continued_and_its_watchers_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let gate = Gate::new();
    let setup = Setup { nodes: gate.nodes(), store: sqlite(&path), ..Setup::default() };
    let clock = Arc::clone(&setup.clock);
    let server = setup.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "slow", "input": { "name": "a" }, "stream_mode": "updates" });
    let mut reader = Reader::post(&server.http, &format!("/threads/{thread}/runs/stream"), body).await;
    let location = reader.header("location");
    let run = reader.header("content-location").rsplit('/').next().unwrap().to_owned();
    let joins = {
        let (http, path) = (server.http.clone(), format!("/threads/{thread}/runs/{run}/join"));
        tokio::spawn(async move {
            let response = http.open(reqwest::Method::GET, &path, &[], "").await;
            response.bytes().await
        })
    };
    gate.reached().await;
    let context = server.context.clone();
    let stops = tokio::spawn(server.stop());
    // The node is let through when the server has begun to stop.
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.open(1);
    let told = reader.rest().await;
    assert_eq!(told.last().unwrap().event, "updates", "the stream breaks off without an end: {:?}", names(&told));
    assert!(joins.await.unwrap().is_err(), "a broken answer, not an empty one");
    stops.await.unwrap();
    assert_eq!(context.store().run(&run.parse().unwrap()).await.unwrap().unwrap().status.name(), "running");
    drop(context);

    clock.advance_ms(1000);
    let gate = Gate::new();
    let setup = Setup { nodes: gate.nodes(), store: sqlite(&path), clock, worker: "second".into(), ..Setup::default() };
    let server = setup.start().await;
    let last = told.last().unwrap().id.clone();
    let rest = Reader::get(&server.http, &location, Some(&last)).await.rest().await;
    assert_eq!(rest.last().unwrap().event, "end", "{:?}", names(&rest));
    let done = server.join(&thread, &run).await;
    assert_eq!(done["log"], json!(["first a", "second a", "third a"]));
    assert_eq!(server.nodes.started("second"), 0, "what was done is not done again");
}

#[tokio::test]
async fn a_question_waits_through_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let server = Setup { store: sqlite(&path), ..Setup::default() }.start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let ids = asked(&server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await);
    server.stop().await;
    let server = Setup { store: sqlite(&path), worker: "second".into(), ..Setup::default() }.start().await;
    let resume = json!({ "assistant_id": "approval", "command": { "resume": { ids[0].clone(): true } } });
    assert_eq!(server.wait(&thread, resume).await["log"], json!(["plan", "approve", "pay"]));
}

#[tokio::test]
async fn a_thread_that_was_woken_goes_on_at_once_and_without_a_tick() {
    let settings = Settings { tick: Duration::from_secs(3600), ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let ids = asked(&server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await);
    let path = format!("/threads/{thread}/stream/events");
    let mut reader = Reader::post(&server.http, &path, json!({ "channels": ["lifecycle"] })).await;
    let engine = server.context.engine(&crate::support::admin(&server.context));
    let approval = engine.approval(&ids[0].parse().unwrap()).await.unwrap();
    let decision = holdpoint_engine::Decision {
        value: Some(json!(true)),
        ..holdpoint_engine::Decision::new(holdpoint_graph::nodes::Verdict::Respond, approval.digest)
    };
    engine.decide(&ids[0].parse().unwrap(), decision).await.unwrap();
    server.context.runs().wake(&thread.parse().unwrap());
    loop {
        let sent = reader.next().await.unwrap();
        if sent.data["params"]["data"]["event"] == json!("completed") {
            break;
        }
    }
    let state = server.http.get(&format!("/threads/{thread}/state")).await.expect(200);
    assert_eq!(state["values"]["log"], json!(["plan", "approve", "pay"]));
}
