//! Cancelling what another host executes, or executed when it died: several servers on one database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdpoint_engine::Input;
use holdpoint_server::Settings;
use holdpoint_store::{AuditFilter, RunCancel, RunRecord, RunStatus, RunUpdate, SqliteOptions, SqliteStore, Store};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::scene::{Gate, SLOW};
use crate::support::{ECHO, FakeClock, Setup, TestServer, admin};

/// Goes round until it is stopped; each time it passes the gate.
const ROUND: &str = r#"
start = "first"
recursion_limit = 1000000
[state]
name = { type = "string" }
log = { type = "array", reducer = "append" }
[nodes.first]
next = "second"
[nodes.second]
next = "first"
"#;

fn sqlite(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path, SqliteOptions::default()).unwrap())
}

/// One of several hosts.
async fn host(path: &Path, name: &str, gate: &Gate, clock: &Arc<FakeClock>) -> TestServer {
    let settings =
        Settings { tick: Duration::from_millis(10), drain: Duration::from_millis(50), ..Settings::default() };
    let setup = Setup {
        nodes: gate.nodes(),
        store: sqlite(path),
        settings,
        worker: name.into(),
        clock: Arc::clone(clock),
        ..Setup::default()
    };
    setup.start().await
}

/// A host on a runtime of its own, which ends with everything on it, as a process does.
struct Mortal {
    server: TestServer,
    runtime: Option<Runtime>,
}

impl Mortal {
    async fn start(path: &Path, name: &str, gate: &Gate, clock: &Arc<FakeClock>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (path, name, gate, clock) = (path.to_owned(), name.to_owned(), gate.clone(), Arc::clone(clock));
        let server = runtime.spawn(async move { host(&path, &name, &gate, &clock).await }).await.unwrap();
        Self { server, runtime: Some(runtime) }
    }

    /// Ends it as it is, and waits until nothing of it runs any more.
    async fn die(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(20))).await.unwrap();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn input(graph: &str, name: &str) -> Value {
    json!({ "assistant_id": graph, "input": { "name": name } })
}

/// How often something is on the record.
async fn recorded(server: &TestServer, kind: &str) -> usize {
    let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
    let trail = server.context.store().audit(&filter).await.unwrap();
    trail.iter().filter(|record| record.kind == kind).count()
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), held)
        .await
        .unwrap_or_else(|_| panic!("it does not come to it: {what}"));
}

#[tokio::test]
async fn the_host_that_executes_a_run_takes_the_wish_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (gate, idle) = (Gate::new(), Gate::new());
    let clock = Setup::default().clock;
    let first = host(&path, "first", &gate, &clock).await;
    first.deploy("slow", SLOW).await;
    first.deploy("round", ROUND).await;
    for action in ["interrupt", "rollback"] {
        let thread = first.thread().await;
        let run = first.start_run(&thread, input("round", action)).await;
        gate.reached().await;
        let second = host(&path, "second", &idle, &clock).await;
        // It goes round and round, and its nodes wait for nothing but the gate.
        let cancel = async {
            let path = format!("/threads/{thread}/runs/{run}/cancel?wait=1&action={action}");
            second.http.post(&path, json!({})).await.expect(200);
        };
        let goes_round = async {
            loop {
                gate.open(1);
                gate.reached().await;
            }
        };
        tokio::select! {
            () = cancel => {}
            () = goes_round => {}
        }
        let shown = second.http.get(&format!("/threads/{thread}")).await.expect(200);
        let run = second.http.get(&format!("/threads/{thread}/runs/{run}")).await;
        if action == "interrupt" {
            assert_eq!(run.expect(200)["status"], json!("interrupted"));
            assert_eq!(shown["status"], json!("interrupted"));
            assert_eq!(shown["values"]["name"], json!("interrupt"));
        } else {
            run.refused(404, "HP0832");
            assert_eq!((&shown["status"], &shown["values"]), (&json!("idle"), &Value::Null));
        }
        assert_eq!(second.nodes.started("second"), 0, "nobody else executed it");
        second.stop().await;
    }
    assert_eq!(recorded(&first, "run.cancelled").await, 2);
}

#[tokio::test]
async fn a_wish_outlives_the_host_that_was_to_carry_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let clock = Setup::default().clock;
    for (round, action) in ["interrupt", "rollback"].into_iter().enumerate() {
        // The dead host's node stays at its own gate.
        let (gate, idle) = (Gate::new(), Gate::new());
        let mortal = Mortal::start(&path, &format!("first {round}"), &gate, &clock).await;
        let first = &mortal.server;
        first.deploy("slow", SLOW).await;
        let thread = first.thread().await;
        gate.open(1);
        let kept = first.wait(&thread, input("slow", "kept")).await;
        gate.reached().await;
        let run = first.start_run(&thread, input("slow", action)).await;
        let next = first.start_run(&thread, input("slow", "next")).await;
        gate.reached().await;
        let second = host(&path, &format!("second {round}"), &idle, &clock).await;
        let cancel = format!("/threads/{thread}/runs/{run}/cancel?action={action}");
        second.http.post(&cancel, json!({})).await.expect(200);
        second.stop().await;
        // It dies in the middle of a superstep: the node is never let through.
        mortal.die().await;
        let store = sqlite(&path);
        let stored = store.run(&run.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((stored.status, stored.cancel.map(RunCancel::name)), (RunStatus::Running, Some(action)));
        // The first node may be in it or not: a quick superstep is stored together with the next one.
        let reached = store.snapshot(&thread.parse().unwrap(), None).await.unwrap().unwrap().values;
        clock.advance_ms(3_600_000);
        // Of several that find it, one does it.
        idle.open(9);
        let mut hosts = Vec::new();
        for number in 0..3 {
            hosts.push(host(&path, &format!("after {round} {number}"), &idle, &clock).await);
        }
        let done = hosts[0].join(&thread, &next).await;
        // What it had done stays, and nothing of it runs again; or it goes as if it had not been.
        let stays = if action == "interrupt" { &reached["log"] } else { &kept["log"] };
        let mut log: Vec<Value> = stays.as_array().unwrap().clone();
        if action == "interrupt" {
            assert_eq!(hosts[1].status(&thread, &run).await, "interrupted");
        } else {
            hosts[1].http.get(&format!("/threads/{thread}/runs/{run}")).await.refused(404, "HP0832");
        }
        log.extend(["first next", "second next", "third next"].map(|name| json!(name)));
        assert_eq!(done["log"], Value::Array(log), "{action}");
        let taken_back = usize::from(action == "rollback");
        assert_eq!(recorded(&hosts[0], "thread.updated").await, taken_back, "once, and by one");
        for host in hosts {
            host.stop().await;
        }
    }
}

#[tokio::test]
async fn a_rollback_that_was_left_undone_is_done_once_and_before_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let gate = Gate::new();
    let clock = Setup::default().clock;
    let server = host(&path, "first", &gate, &clock).await;
    server.deploy("echo", ECHO).await;
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "echo", "input": {} });
    server.wait(&thread, body.clone()).await;
    let known = server.start_run(&thread, body).await;
    server.join(&thread, &known).await;
    let (context, known) = (server.context.clone(), known.parse().unwrap());
    server.stop().await;

    // A run that went as far as its end, and whose host died before it was rolled back; and one that waits for its turn.
    let store = context.store();
    let known = store.run(&known).await.unwrap().unwrap();
    let new = |number: u64| RunRecord {
        id: format!("01a1fbcd-8977-723c-8aaa-0123456789{number:02}").parse().unwrap(),
        status: RunStatus::Pending,
        base: None,
        ..known.clone()
    };
    let (undone, next) = (new(1), new(2));
    store.put_run(undone.clone(), false, Vec::new()).await.unwrap();
    let change = async |from, to| {
        let update = RunUpdate { run: undone.id.clone(), from, to, error: None };
        store.update_run(update, context.now_ms(), Vec::new()).await.unwrap();
    };
    change(RunStatus::Pending, RunStatus::Running).await;
    let engine = context.engine(&admin(&context));
    let own: holdpoint_graph::ids::ThreadId = thread.parse().unwrap();
    let went = engine.input(&own, Input { values: json!({}), supersede: false }).await.unwrap();
    assert_eq!(went.values["log"], json!(["plan", "plan", "plan"]));
    store.request_cancel(&undone.id, RunCancel::Rollback, context.now_ms(), Vec::new()).await.unwrap();
    change(RunStatus::Running, RunStatus::Success).await;
    store.put_run(next.clone(), false, Vec::new()).await.unwrap();
    let before = {
        let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
        store.audit(&filter).await.unwrap().iter().filter(|record| record.kind == "thread.updated").count()
    };

    let mut hosts = Vec::new();
    for name in ["second", "third", "fourth"] {
        hosts.push(host(&path, name, &gate, &clock).await);
    }
    let done = hosts[0].join(&thread, next.id.as_str()).await;
    assert_eq!(done["log"], json!(["plan", "plan", "plan"]), "two that stayed, and the one that came after");
    hosts[1].http.get(&format!("/threads/{thread}/runs/{}", undone.id)).await.refused(404, "HP0832");
    assert_eq!(recorded(&hosts[2], "thread.updated").await, before + 1, "once, and by one");
}

#[tokio::test]
async fn a_rollback_that_cannot_be_done_is_given_up_and_told() {
    let gate = Gate::new();
    let server = Setup { nodes: gate.nodes(), ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    gate.open(1);
    server.wait(&thread, input("slow", "a")).await;
    gate.reached().await;
    let run = server.start_run(&thread, input("slow", "b")).await;
    gate.reached().await;
    // Its base is none of the thread's any more.
    let store = server.context.store();
    let stored = store.run(&run.parse().unwrap()).await.unwrap().unwrap();
    let other = RunRecord {
        id: "01a1fbcd-8977-723c-8aaa-012345678901".parse().unwrap(),
        status: RunStatus::Success,
        updated_at_ms: stored.updated_at_ms + 1000,
        ..stored
    };
    store.put_run(other.clone(), false, Vec::new()).await.unwrap();
    let path = format!("/threads/{thread}/runs/{run}/cancel?wait=1&action=rollback");
    let (_, refused) = tokio::join!(
        async {
            until("it is wanted", || async { recorded(&server, "run.cancelled").await == 1 }).await;
            gate.open(1);
        },
        server.http.post(&path, json!({})),
    );
    refused.refused(409, "HP0841");
    assert_eq!(refused.body["reason"], json!("HP0848"));
    let kept = server.http.get(&format!("/threads/{thread}/runs/{run}")).await.expect(200);
    assert_eq!(kept["status"], json!("interrupted"));
    assert!(kept["cancel_reason"].as_str().unwrap().contains("could not be rolled back"), "{kept}");
    assert_eq!(recorded(&server, "run.kept").await, 1);
    assert!(store.cancel_requests(10).await.unwrap().is_empty(), "nobody tries again");
}
