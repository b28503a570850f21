//! Threads that go by themselves, with a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_server::Settings;
use holdpoint_server::settings::ThreadTtl;
use holdpoint_store::{AuditFilter, ExpiryRule, RunRecord, RunStatus, SqliteOptions, SqliteStore, Store};
use serde_json::{Value, json};

use crate::runs::scene::asked;
use crate::support::{APPROVAL, ECHO, Setup, TestServer};

const MINUTE_MS: u64 = 60_000;

fn settings() -> Settings {
    Settings { tick: Duration::from_millis(10), ..Settings::default() }
}

async fn server() -> TestServer {
    let server = Setup { settings: settings(), ..Setup::default() }.start().await;
    server.deploy("echo", ECHO).await;
    server.deploy("approval", APPROVAL).await;
    server
}

impl TestServer {
    async fn with_ttl(&self, ttl: Value) -> String {
        let made = self.http.post("/threads", json!({ "ttl": ttl })).await.expect(200);
        made["thread_id"].as_str().unwrap().to_owned()
    }

    async fn ttl(&self, thread: &str) -> Value {
        self.http.get(&format!("/threads/{thread}?include=ttl")).await.expect(200)["ttl"].clone()
    }

    async fn echo(&self, thread: &str) -> Value {
        self.wait(thread, json!({ "assistant_id": "echo", "input": {} })).await
    }

    async fn is_there(&self, thread: &str) -> bool {
        self.http.get(&format!("/threads/{thread}")).await.status == 200
    }

    /// Waits until the worker has looked at what is due: at a thread that goes at this very moment.
    async fn looked(&self) {
        let canary = self.with_ttl(json!(1e-9)).await;
        self.clock.advance_ms(1);
        let gone = async {
            while self.is_there(&canary).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the worker looks");
    }

    async fn trail(&self, thread: &str, kind: &str) -> Vec<Value> {
        let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
        let trail = self.context.store().audit(&filter).await.unwrap();
        let about = trail.iter().map(|record| record.to_json());
        about.filter(|record| record["thread"] == json!(thread) && record["kind"] == json!(kind)).collect()
    }
}

#[tokio::test]
async fn a_thread_goes_when_its_time_is_over_and_not_before() {
    let server = server().await;
    let thread = server.with_ttl(json!({ "ttl": 5, "strategy": "delete" })).await;
    let shown = server.ttl(&thread).await;
    assert_eq!((&shown["strategy"], &shown["ttl_minutes"]), (&json!("delete"), &json!(5.0)));
    assert_eq!(shown["expires_at"], json!("2023-11-14T22:18:20.000000+00:00"));
    server.echo(&thread).await;
    server.clock.advance_ms(5 * MINUTE_MS - 2);
    server.looked().await;
    // The last moment: the canary has moved the clock by one. A run begins it anew.
    let thread_of_no_run = server.with_ttl(json!(5)).await;
    server.echo(&thread).await;
    server.clock.advance_ms(4 * MINUTE_MS);
    server.looked().await;
    assert!(server.is_there(&thread).await && server.is_there(&thread_of_no_run).await);
    assert_eq!(server.echo(&thread).await["log"], json!(["plan", "plan", "plan"]));
    server.clock.advance_ms(5 * MINUTE_MS);
    server.looked().await;
    assert!(!server.is_there(&thread).await && !server.is_there(&thread_of_no_run).await);
    let recorded = server.trail(&thread, "thread.expired").await;
    assert_eq!(recorded.len(), 1, "on the record, once");
    assert_eq!(recorded[0]["actor"]["id"], json!("system:worker"), "{}", recorded[0]);
    assert_eq!(server.trail(&thread, "thread.deleted").await.len(), 1);
    // Its id is free.
    server.http.post("/threads", json!({ "thread_id": thread })).await.expect(200);
    let plain = server.http.get(&format!("/threads/{thread}")).await.expect(200);
    assert!(plain.get("ttl").is_none(), "only who asks is told");
    assert_eq!(server.ttl(&thread).await, Value::Null, "threads stay unless it is said otherwise");
}

#[tokio::test]
async fn a_thread_that_waits_for_somebody_stays() {
    let server = server().await;
    let thread = server.with_ttl(json!(1)).await;
    let ids = asked(&server.wait(&thread, json!({ "assistant_id": "approval", "input": {} })).await);
    for _ in 0..3 {
        server.clock.advance_ms(2 * MINUTE_MS);
        server.looked().await;
        assert!(server.is_there(&thread).await);
    }
    let resume = json!({ "assistant_id": "approval", "command": { "resume": { ids[0].clone(): true } } });
    assert_eq!(server.wait(&thread, resume).await["log"], json!(["plan", "approve", "pay"]));
    server.clock.advance_ms(2 * MINUTE_MS);
    server.looked().await;
    server.clock.advance_ms(2 * MINUTE_MS);
    server.looked().await;
    assert!(!server.is_there(&thread).await);
}

#[tokio::test]
async fn only_its_newest_state_stays() {
    let server = server().await;
    let thread = server.with_ttl(json!({ "ttl": 1, "strategy": "keep_latest" })).await;
    let steps = async || {
        let history =
            server.http.post(&format!("/threads/{thread}/history"), json!({ "limit": 100 })).await.expect(200);
        history.as_array().unwrap().len()
    };
    for round in 1..3 {
        server.echo(&thread).await;
        server.echo(&thread).await;
        let before = steps().await;
        server.clock.advance_ms(2 * MINUTE_MS);
        server.looked().await;
        let after = steps().await;
        assert!(after < before, "{after} of {before}");
        assert_eq!(server.trail(&thread, "thread.pruned").await.len(), round);
    }
    let state = server.http.get(&format!("/threads/{thread}/state")).await.expect(200);
    assert_eq!(state["values"]["log"], json!(["plan", "plan", "plan", "plan"]));
}

#[tokio::test]
async fn how_long_a_thread_stays_can_be_changed() {
    let server = server().await;
    let thread = server.with_ttl(json!(1)).await;
    let path = format!("/threads/{thread}");
    server.http.patch(&path, json!({ "ttl": { "ttl": 10 } })).await.expect(200);
    server.clock.advance_ms(2 * MINUTE_MS);
    server.looked().await;
    assert!(server.is_there(&thread).await);
    let minimal = [("content-type", "application/json"), ("prefer", "return=minimal")];
    let body = json!({ "ttl": 0 }).to_string();
    let reply = server.http.send(reqwest::Method::PATCH, &path, &minimal, body).await;
    assert_eq!((reply.status, reply.header("x-holdpoint-unsupported")), (204, None));
    assert_eq!(server.ttl(&thread).await, Value::Null);
    server.clock.advance_ms(1000 * MINUTE_MS);
    server.looked().await;
    assert!(server.is_there(&thread).await);
    assert_eq!(server.trail(&thread, "thread.ttl").await.len(), 2);
    for odd in [json!({ "ttl": -1 }), json!({ "ttl": 1, "strategy": "explode" }), json!("soon")] {
        server.http.patch(&path, json!({ "ttl": odd })).await.refused(422, "HP0821");
        server.http.post("/threads", json!({ "ttl": odd })).await.refused(422, "HP0821");
    }
}

#[tokio::test]
async fn the_server_has_a_default_and_a_copy_lives_as_long_as_its_original() {
    let ttl = ThreadTtl { ttl_ms: MINUTE_MS, rule: ExpiryRule::Delete };
    let server = Setup { settings: Settings { thread_ttl: Some(ttl), ..settings() }, ..Setup::default() }.start().await;
    server.deploy("echo", ECHO).await;
    let plain = server.thread().await;
    let stays = server.with_ttl(json!(0)).await;
    let own = server.with_ttl(json!({ "ttl": 7, "strategy": "keep_latest" })).await;
    let copy = server.http.post(&format!("/threads/{own}/copy"), json!({})).await.expect(200);
    let copy = copy["thread_id"].as_str().unwrap();
    let made = "01a1fbcd-8977-723c-8aaa-0123456789ab";
    server.wait(made, json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" })).await;
    assert_eq!(server.ttl(&plain).await["ttl_minutes"], json!(1.0));
    assert_eq!(server.ttl(made).await["ttl_minutes"], json!(1.0));
    assert_eq!(server.ttl(&stays).await, Value::Null);
    assert_eq!(server.ttl(copy).await["strategy"], json!("keep_latest"));
    server.clock.advance_ms(2 * MINUTE_MS);
    server.looked().await;
    assert!(!server.is_there(&plain).await && !server.is_there(made).await);
    assert!(server.is_there(&stays).await && server.is_there(copy).await);
}

#[tokio::test]
async fn a_thread_of_a_run_that_nobody_ended_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let open = || -> Arc<dyn Store> { Arc::new(SqliteStore::open(&path, SqliteOptions::default()).unwrap()) };
    let setup = Setup { settings: settings(), store: open(), ..Setup::default() };
    let clock = Arc::clone(&setup.clock);
    let server = setup.start().await;
    server.deploy("approval", APPROVAL).await;
    // Its run asks somebody; then the host is gone, and the question is called off by a run that nobody ends.
    let reply = server.http.post("/runs/wait", json!({ "assistant_id": "approval", "input": {} })).await;
    let place = reply.header("content-location").unwrap().to_owned();
    let thread = place.split('/').nth(2).unwrap().to_owned();
    let entry = server.context.store().entry(&thread.parse().unwrap()).await.unwrap().unwrap().entry;
    assert!(entry.temporary && entry.expiry.is_some());
    server.clock.advance_ms(120 * MINUTE_MS);
    server.looked().await;
    assert!(server.is_there(&thread).await, "it waits for somebody");
    let ends = json!({ "assistant_id": "approval", "command": { "goto": "__end__" } });
    server.wait(&thread, ends).await;
    server.stop().await;

    let mut hosts = Vec::new();
    for worker in ["second", "third"] {
        let setup = Setup {
            settings: settings(),
            store: open(),
            clock: Arc::clone(&clock),
            worker: worker.into(),
            ..Setup::default()
        };
        hosts.push(setup.start().await);
    }
    clock.advance_ms(240 * MINUTE_MS);
    hosts[0].looked().await;
    clock.advance_ms(240 * MINUTE_MS);
    hosts[1].looked().await;
    assert!(!hosts[0].is_there(&thread).await);
    assert_eq!(hosts[0].trail(&thread, "thread.expired").await.len(), 1, "of several hosts one does it");
}

#[tokio::test]
async fn a_run_that_was_accepted_meanwhile_is_not_lost() {
    let server = server().await;
    let thread = server.with_ttl(json!(1)).await;
    server.echo(&thread).await;
    // It waits for its moment.
    let body = json!({ "assistant_id": "echo", "input": {}, "after_seconds": 600 });
    let run = server.start_run(&thread, body).await;
    server.clock.advance_ms(5 * MINUTE_MS);
    server.looked().await;
    assert!(server.is_there(&thread).await);
    server.clock.advance_ms(6 * MINUTE_MS);
    assert_eq!(server.join(&thread, &run).await["log"], json!(["plan", "plan"]));
    // The store itself keeps what another host accepted between two looks.
    let store = server.context.store();
    let known = store.run(&run.parse().unwrap()).await.unwrap().unwrap();
    let id = "01a1fbcd-8977-723c-8aaa-012345678902".parse().unwrap();
    let late =
        RunRecord { id, status: RunStatus::Pending, base: None, not_before_ms: u64::from(u32::MAX) * 1000, ..known };
    store.put_run(late.clone(), false, Vec::new()).await.unwrap();
    server.context.engine(&crate::support::admin(&server.context)).delete(&late.thread).await.unwrap();
    assert!(store.delete_entry(&late.thread, Vec::new()).await.is_err());
    assert!(store.run(&late.id).await.unwrap().is_some());
}
