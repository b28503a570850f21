//! Threads that go on with an answer: by the host that took it, where that may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use holdpoint_engine::Config;
use holdpoint_server::Settings;
use holdpoint_store::forward::Forward;
use holdpoint_store::{Changed, Error, MemoryStore, QuestionChange, QuestionFilter, RunFilter, Store, ThreadRecord};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::scene::{Gate, SLOW, asked};
use crate::support::{APPROVAL, Setup, TestServer, ask, update};

/// A host that looks for nothing by itself.
fn idle(settings: Settings) -> Settings {
    Settings { tick: Duration::from_secs(3600), ..settings }
}

/// A thread that waits, and its question.
async fn waiting(server: &TestServer) -> (String, String) {
    let thread = server.thread().await;
    let ids = asked(&server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await);
    (thread, ids[0].clone())
}

async fn answer(server: &TestServer, question: &str) -> Value {
    let approval = server.http.get(&format!("/approvals/{question}")).await.expect(200);
    json!({ "decision": "accept", "value": true, "payload_digest": approval["digest"] })
}

async fn record(store: &Arc<dyn Store>, thread: &str) -> ThreadRecord {
    store.thread(&thread.parse().unwrap()).await.unwrap().unwrap()
}

async fn until_idle(server: &TestServer, thread: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.http.get(&format!("/threads/{thread}")).await.expect(200)["status"] != "idle" {
        assert!(Instant::now() < deadline, "the thread does not go on");
    }
    server.http.get(&format!("/threads/{thread}/state")).await.expect(200)["values"]["log"].clone()
}

#[tokio::test]
async fn a_thread_that_is_answered_while_its_run_ends_goes_on_without_another_run() {
    let gate = Gate::new();
    let nodes = gate.nodes().with("gate", |call| match ask(call, 0, json!("go?")) {
        Ok(_) => update(json!({ "log": ["gate"] })),
        Err(question) => question,
    });
    // What takes effort is stored while others still run: here everything does.
    let config = Config { quick: Duration::ZERO, ..Config::default() };
    let settings = idle(Settings::default());
    let server = Setup { nodes, config, settings, ..Setup::default() }.start().await;
    let text = "start = [\"gate\", \"second\"]\n[state]\nname = { type = \"string\" }\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.gate]\ninterrupt = {}\n[nodes.second]\n[nodes.third]\njoin = [\"gate\", \"second\"]\nnext = \"END\"\n";
    server.deploy("both", text).await;
    let thread = server.thread().await;
    let run = server.start_run(&thread, json!({ "assistant_id": "both", "input": { "name": "a" } })).await;
    gate.reached().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let question = loop {
        let found = server.context.store().questions(&QuestionFilter::pending(1)).await.unwrap();
        match found.first() {
            Some(found) => break found.question.id.to_string(),
            None => assert!(Instant::now() < deadline, "nobody asks"),
        }
        tokio::task::yield_now().await;
    };
    let body = answer(&server, &question).await;
    server.http.post(&format!("/approvals/{question}/answers"), body).await.expect(202);
    assert_eq!(server.status(&thread, &run).await, "running", "the other branch still runs");
    assert_eq!(server.nodes.started("gate"), 1, "it is not started beside it");
    gate.open(1);
    assert_eq!(until_idle(&server, &thread).await, json!(["gate", "second a", "third a"]));
    assert_eq!(
        (server.nodes.started("gate"), server.nodes.started("second")),
        (2, 1),
        "what was done is not done again"
    );
    let filter = RunFilter { thread: Some(thread.parse().unwrap()), limit: 10, ..RunFilter::default() };
    let runs = server.context.store().runs(&filter).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.status.name()).collect::<Vec<_>>(), ["success"], "one, and it is over");
}

#[tokio::test]
async fn a_full_host_decides_and_leaves_the_thread_for_later() {
    let gate = Gate::new();
    let settings = idle(Settings { runs_max: 1, ..Settings::default() });
    let server = Setup { nodes: gate.nodes(), settings, ..Setup::default() }.start().await;
    server.deploy("approval", APPROVAL).await;
    server.deploy("slow", SLOW).await;
    let (thread, question) = waiting(&server).await;
    let busy = server.thread().await;
    let run = server.start_run(&busy, json!({ "assistant_id": "slow", "input": {} })).await;
    gate.reached().await;
    let body = answer(&server, &question).await;
    server.http.post(&format!("/approvals/{question}/answers"), body).await.expect(202);
    let left = record(server.context.store(), &thread).await;
    assert_eq!((left.status.name(), left.owner), ("running", None), "whoever has room takes it");
    assert_eq!(server.nodes.started("approve"), 1);
    gate.open(1);
    server.join(&busy, &run).await;
    assert_eq!(until_idle(&server, &thread).await, json!(["plan", "approve", "pay"]));
}

#[tokio::test]
async fn a_host_that_drains_decides_and_claims_nothing() {
    let gate = Gate::new();
    let setup = Setup { nodes: gate.nodes(), settings: idle(Settings::default()), ..Setup::default() };
    let (store, clock) = (Arc::clone(&setup.store), Arc::clone(&setup.clock));
    let server = setup.start().await;
    server.deploy("approval", APPROVAL).await;
    server.deploy("slow", SLOW).await;
    let (thread, question) = waiting(&server).await;
    let busy = server.thread().await;
    server.start_run(&busy, json!({ "assistant_id": "slow", "input": {} })).await;
    gate.reached().await;
    // A request that came before the drain and ends in it.
    let body = answer(&server, &question).await.to_string();
    let mut connection = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (first, rest) = body.split_at(body.len() / 2);
    let head = format!(
        "POST /approvals/{question}/answers HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{first}",
        server.address,
        body.len(),
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..5 {
        // By then its head is there.
        server.http.get("/ok").await.expect(200);
    }
    let address = server.address;
    let stops = tokio::spawn(server.stop());
    // Who takes no more connections drains.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    connection.write_all(rest.as_bytes()).await.unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 202 "), "{reply}");
    let left = record(&store, &thread).await;
    assert_eq!((left.status.name(), left.owner), ("running", None));
    gate.open(1);
    stops.await.unwrap();
    let second = Setup { nodes: Gate::new().nodes(), store, clock, worker: "second".into(), ..Setup::default() };
    let second = second.start().await;
    assert_eq!(until_idle(&second, &thread).await, json!(["plan", "approve", "pay"]));
}

/// A store in which changes of questions wait to be let through.
struct Held {
    inner: Arc<dyn Store>,
    arrived: Semaphore,
    go: Semaphore,
}

#[async_trait]
impl Forward for Held {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn change_question(&self, change: QuestionChange) -> Result<Changed, Error> {
        self.arrived.add_permits(1);
        self.go.acquire().await.unwrap().forget();
        self.inner.change_question(change).await
    }
}

#[tokio::test]
async fn a_decision_is_seen_through_when_its_caller_goes_away() {
    let held =
        Arc::new(Held { inner: Arc::new(MemoryStore::default()), arrived: Semaphore::new(0), go: Semaphore::new(0) });
    let store = Arc::clone(&held) as Arc<dyn Store>;
    let server = Setup { store, settings: idle(Settings::default()), ..Setup::default() }.start().await;
    server.deploy("approval", APPROVAL).await;
    let (thread, question) = waiting(&server).await;
    let body = answer(&server, &question).await.to_string();
    let request = format!(
        "POST /approvals/{question}/answers HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        server.address,
        body.len(),
    );
    let mut connection = tokio::net::TcpStream::connect(server.address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    held.arrived.acquire().await.unwrap().forget();
    drop(connection);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.http.get("/metrics").await.text.lines().any(|line| line == "holdpoint_http_connections 1") {
        assert!(Instant::now() < deadline, "the connection stays open");
    }
    held.go.add_permits(1);
    assert_eq!(until_idle(&server, &thread).await, json!(["plan", "approve", "pay"]));
}
