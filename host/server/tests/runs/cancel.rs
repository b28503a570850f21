//! Ending runs early, and making room for others.

use std::time::Duration;

use holdpoint_store::{AuditFilter, AuditRecord};
use serde_json::{Value, json};

use super::scene::{Gate, Reader, SLOW, asked, names};
use crate::support::{APPROVAL, Setup, TestServer};

async fn slow(gate: &Gate) -> TestServer {
    let server = Setup { nodes: gate.nodes(), ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    server.deploy("approval", APPROVAL).await;
    server
}

fn input(name: &str) -> Value {
    json!({ "assistant_id": "slow", "input": { "name": name } })
}

#[tokio::test]
async fn a_run_that_has_not_begun_is_ended_where_it_is() {
    let gate = Gate::new();
    let server = slow(&gate).await;
    let thread = server.thread().await;
    let first = server.start_run(&thread, input("a")).await;
    let second = server.start_run(&thread, input("b")).await;
    let third = server.start_run(&thread, input("c")).await;
    gate.reached().await;
    let cancel = |run: &str, query: &str| format!("/threads/{thread}/runs/{run}/cancel{query}");
    server.http.post(&cancel(&second, "?wait=1"), json!({})).await.expect(200);
    assert_eq!(server.status(&thread, &second).await, "interrupted");
    assert_eq!(server.join(&thread, &second).await["__error__"]["error"], json!("UserInterrupt"));
    server.http.post(&cancel(&third, "?action=rollback"), json!({})).await.expect(200);
    server.http.get(&format!("/threads/{thread}/runs/{third}")).await.refused(404, "HP0832");
    gate.open(1);
    assert_eq!(server.join(&thread, &first).await["log"], json!(["first a", "second a", "third a"]));
    server.http.post(&cancel(&first, ""), json!({})).await.refused(404, "HP0842");
    server.http.post(&cancel(&first, "?action=explode"), json!({})).await.refused(422, "HP0821");
}

#[tokio::test]
async fn a_run_stops_at_the_end_of_its_superstep_and_goes_on_from_there() {
    let gate = Gate::new();
    let server = slow(&gate).await;
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let mut reader = Reader::post(&server.http, &format!("{path}/stream"), input("a")).await;
    let run = reader.header("content-location").rsplit('/').next().unwrap().to_owned();
    gate.reached().await;
    assert_eq!(cancel_running(&server, &gate, &thread, &run, "wait=true").await, json!({}));
    assert_eq!(server.status(&thread, &run).await, "interrupted");
    let told = reader.rest().await;
    assert_eq!(told.last().unwrap().event, "error", "{:?}", names(&told));
    assert_eq!(told.last().unwrap().data["error"], json!("UserInterrupt"));
    // Trap 2: interrupted, but nobody is asked anything.
    let shown = server.http.get(&format!("/threads/{thread}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["interrupts"]), (&json!("interrupted"), &json!({})));
    assert_eq!(shown["error"]["error"], json!("UserInterrupt"));
    assert_eq!(shown["values"]["log"], json!(["first a", "second a"]));
    // What its node did stays: it goes on after it.
    let rest = server.wait(&thread, json!({ "assistant_id": "slow" })).await;
    assert_eq!(rest["log"], json!(["first a", "second a", "third a"]));
    assert_eq!(server.nodes.started("second"), 1);
}

/// Cancels a run whose node waits at the gate, and lets the node through once the cancellation is on the record.
async fn cancel_running(server: &TestServer, gate: &Gate, thread: &str, run: &str, query: &str) -> Value {
    let path = format!("/threads/{thread}/runs/{run}/cancel?{query}");
    let (_, done) = tokio::join!(
        async {
            recorded(server, run).await;
            gate.open(1);
        },
        server.http.post(&path, json!({})),
    );
    done.expect(200)
}

/// Waits until somebody has asked a run to stop.
async fn recorded(server: &TestServer, run: &str) {
    let asked = async {
        loop {
            let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
            let trail = server.context.store().audit(&filter).await.unwrap();
            let about = |record: &AuditRecord| record.kind == "run.cancelled" && record.body["run"] == json!(run);
            if trail.iter().any(about) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("nobody asked the run to stop");
}

#[tokio::test]
async fn a_rolled_back_run_leaves_the_thread_where_it_was() {
    let gate = Gate::new();
    let server = slow(&gate).await;
    let thread = server.thread().await;
    // The run that made the thread: there is nothing to go back to.
    let run = server.start_run(&thread, input("a")).await;
    gate.reached().await;
    cancel_running(&server, &gate, &thread, &run, "wait=1&action=rollback").await;
    server.http.get(&format!("/threads/{thread}/runs/{run}")).await.refused(404, "HP0832");
    let shown = server.http.get(&format!("/threads/{thread}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["values"]), (&json!("idle"), &Value::Null));
    // One after another.
    gate.open(1);
    let kept = server.wait(&thread, input("b")).await;
    gate.reached().await;
    let run = server.start_run(&thread, input("c")).await;
    gate.reached().await;
    cancel_running(&server, &gate, &thread, &run, "wait=1&action=rollback").await;
    let shown = server.http.get(&format!("/threads/{thread}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["values"]), (&json!("idle"), &kept));
    let history = server.http.post(&format!("/threads/{thread}/history"), json!({ "limit": 100 })).await.expect(200);
    let steps = history.as_array().unwrap();
    assert!(steps.iter().any(|entry| entry["values"]["name"] == json!("c")), "what it did is still to be seen");
}

#[tokio::test]
async fn a_rolled_back_answer_is_asked_for_again() {
    const ASK_THEN_SLOW: &str = r#"
        start = "approve"
        [state]
        log = { type = "array", reducer = "append" }
        answer = {}
        [nodes.approve]
        next = "second"
        [nodes.second]
        next = "third"
        [nodes.third]
        next = "END"
    "#;
    let gate = Gate::new();
    let server = slow(&gate).await;
    server.deploy("ask", ASK_THEN_SLOW).await;
    let thread = server.thread().await;
    let first = asked(&server.wait(&thread, json!({ "assistant_id": "ask", "input": {} })).await);
    let run = server.start_run(&thread, json!({ "assistant_id": "ask", "command": { "resume": true } })).await;
    gate.reached().await;
    cancel_running(&server, &gate, &thread, &run, "wait=1&action=rollback").await;
    let shown = server.http.get(&format!("/threads/{thread}/state")).await.expect(200);
    let again = asked(&json!({ "__interrupt__": shown["interrupts"] }));
    assert_ne!(again, first, "the old question was answered, once and for all");
    assert_eq!(shown["values"].get("answer"), None);
    gate.open(1);
    let done = server.wait(&thread, json!({ "assistant_id": "ask", "command": { "resume": false } })).await;
    assert_eq!(done["answer"], json!(false));
}

#[tokio::test]
async fn a_new_run_makes_room_for_itself() {
    let gate = Gate::new();
    let server = slow(&gate).await;
    for (strategy, log) in [
        ("interrupt", json!(["first a", "second a", "first b", "second b", "third b"])),
        ("rollback", json!(["first b", "second b", "third b"])),
    ] {
        let thread = server.thread().await;
        let first = server.start_run(&thread, input("a")).await;
        gate.reached().await;
        let waiting = server.start_run(&thread, input("never")).await;
        let second = json!({ "assistant_id": "slow", "input": { "name": "b" }, "multitask_strategy": strategy });
        let second = server.start_run(&thread, second).await;
        gate.open(2);
        assert_eq!(server.join(&thread, &second).await["log"], log, "{strategy}");
        gate.reached().await;
        if strategy == "interrupt" {
            assert_eq!(server.status(&thread, &first).await, "interrupted");
            assert_eq!(server.status(&thread, &waiting).await, "interrupted");
        } else {
            server.http.get(&format!("/threads/{thread}/runs/{first}")).await.refused(404, "HP0832");
        }
    }
}

#[tokio::test]
async fn many_are_cancelled_at_once() {
    let gate = Gate::new();
    let server = slow(&gate).await;
    let thread = server.thread().await;
    let first = server.start_run(&thread, input("a")).await;
    let second = server.start_run(&thread, input("b")).await;
    let third = server.start_run(&thread, input("c")).await;
    gate.reached().await;
    let by_id = json!({ "thread_id": thread, "run_ids": [second] });
    assert_eq!(server.http.post("/runs/cancel", by_id.clone()).await.status, 204);
    server.http.post("/runs/cancel", by_id).await.refused(404, "HP0842");
    assert_eq!(server.http.post("/runs/cancel", json!({ "status": "pending" })).await.status, 204);
    assert_eq!(server.status(&thread, &third).await, "interrupted");
    server.http.post("/runs/cancel", json!({ "status": "old" })).await.refused(422, "HP0830");
    server.http.post("/runs/cancel", json!({})).await.refused(422, "HP0830");
    gate.open(1);
    assert!(server.join(&thread, &first).await.get("__error__").is_none());
}

#[tokio::test]
async fn going_away_cancels_only_where_that_was_asked_for() {
    let gate = Gate::new();
    let server = slow(&gate).await;
    for (mode, status) in [("cancel", "interrupted"), ("continue", "success")] {
        let thread = server.thread().await;
        let body = json!({ "assistant_id": "slow", "input": { "name": mode }, "on_disconnect": mode });
        let mut reader = Reader::post(&server.http, &format!("/threads/{thread}/runs/stream"), body).await;
        let run = reader.header("content-location").rsplit('/').next().unwrap().to_owned();
        reader.until("values").await;
        gate.reached().await;
        drop(reader);
        if mode == "cancel" {
            // The server sees that nobody reads any more, and asks the run to stop.
            recorded(&server, &run).await;
        }
        gate.open(1);
        server.join(&thread, &run).await;
        assert_eq!(server.status(&thread, &run).await, status, "{mode}");
    }
}
