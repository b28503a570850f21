//! Accepted, executed in turn, waited for, listed.

use std::time::Duration;

use holdpoint_server::Settings;
use serde_json::{Value, json};

use super::scene::{Gate, SLOW, asked};
use crate::support::{APPROVAL, BOOM, DOUBT, ECHO, Setup};

#[tokio::test]
async fn a_run_stops_at_a_question_and_the_next_one_answers_it() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    let reply = server.http.post(&path, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await;
    let run = reply.body["run_id"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("content-location"), Some(format!("{path}/{run}").as_str()));
    let body = reply.expect(200);
    assert_eq!((&body["status"], &body["multitask_strategy"]), (&json!("pending"), &json!("enqueue")));
    assert_eq!(body["kwargs"]["input"], json!({ "title": "x" }));
    let stopped = server.join(&thread, &run).await;
    let id = asked(&stopped)[0].clone();
    assert_eq!(
        stopped,
        json!({ "title": "x", "log": ["plan"], "__interrupt__": [{ "id": id, "value": { "type": "approval_required" } }] })
    );
    // Trap 1: the run is done, the thread waits.
    assert_eq!(server.status(&thread, &run).await, "success");
    let shown = server.http.get(&format!("/threads/{thread}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["metadata"]["graph_id"]), (&json!("interrupted"), &json!("approval")));
    let resume = json!({ "assistant_id": "approval", "command": { "resume": { "approved": true } } });
    let done = server.wait(&thread, resume).await;
    assert_eq!(done, json!({ "title": "x", "log": ["plan", "approve", "pay"], "answer": { "approved": true } }));
    let shown = server.http.get(&format!("/threads/{thread}")).await.expect(200);
    assert_eq!(shown["status"], json!("idle"));
    let runs = server.http.get(&path).await.expect(200);
    let listed: Vec<&Value> = runs.as_array().unwrap().iter().map(|run| &run["status"]).collect();
    assert_eq!(listed, ["success", "success"]);
    assert_eq!(runs[1]["run_id"], json!(run), "newest first");
    // Joined late, it is told as the thread stands.
    assert_eq!(server.join(&thread, &run).await["__interrupt__"], stopped["__interrupt__"]);
}

#[tokio::test]
async fn a_failed_graph_is_no_failed_request() {
    let server = Setup::default().start().await;
    server.deploy("boom", BOOM).await;
    let thread = server.thread().await;
    let reply = server.wait(&thread, json!({ "assistant_id": "boom", "input": {} })).await;
    assert_eq!(reply, json!({ "__error__": { "error": "ValueError", "message": "kaboom", "node": "boom" } }));
    let runs = server.http.get(&format!("/threads/{thread}/runs?status=error")).await.expect(200);
    assert_eq!(runs.as_array().unwrap().len(), 1);
    assert_eq!(server.http.get(&format!("/threads/{thread}")).await.body["status"], json!("error"));
    // Continuing tries the failed task again.
    let again = server.wait(&thread, json!({ "assistant_id": "boom" })).await;
    assert_eq!(again["__error__"]["error"], json!("ValueError"));
    assert_eq!(server.nodes.started("boom"), 2);
}

#[tokio::test]
async fn what_is_not_acceptable_is_refused_and_nothing_is_written() {
    let server = Setup::default().start().await;
    server.deploy("echo", ECHO).await;
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/runs");
    for (body, status, code) in [
        (json!({ "assistant_id": "none" }), 422, "HP0831"),
        (json!({ "input": {} }), 422, "HP0821"),
        (json!({ "assistant_id": "echo", "input": 1 }), 422, "HP0414"),
        (json!({ "assistant_id": "echo", "input": {}, "stream_mode": "everything" }), 422, "HP0830"),
        (json!({ "assistant_id": "echo", "input": {}, "multitask_strategy": "drop" }), 422, "HP0830"),
        (json!({ "assistant_id": "echo", "input": {}, "interrupt_before": ["a b"] }), 422, "HP0830"),
        (json!({ "assistant_id": "echo", "input": {}, "checkpoint_id": "latest" }), 422, "HP0830"),
        (json!({ "assistant_id": "echo", "input": {}, "webhook": "http://10.0.0.1" }), 422, "HP0837"),
        (json!({ "assistant_id": "echo", "command": { "goto": 1 } }), 404, "HP0810"),
        (json!({ "assistant_id": "echo" }), 422, "HP0838"),
        (json!([]), 422, "HP0821"),
    ] {
        server.http.post(&path, body.clone()).await.refused(status, code);
        server.http.post(&format!("{path}/wait"), body.clone()).await.refused(status, code);
        server.http.post(&format!("{path}/stream"), body).await.refused(status, code);
    }
    assert_eq!(server.http.get(&path).await.expect(200), json!([]));
    let unknown = "01a1fbcd-8977-723c-8aaa-0123456789ab";
    let input = json!({ "assistant_id": "echo", "input": {} });
    server.http.post(&format!("/threads/{unknown}/runs"), input.clone()).await.refused(404, "HP0810");
    server.http.post("/threads/x/runs", input.clone()).await.refused(422, "HP0827");
    server.http.get(&format!("{path}/{unknown}")).await.refused(404, "HP0832");
    server.http.get(&format!("{path}/x")).await.refused(422, "HP0827");
    server.http.get(&format!("{path}/{unknown}/join")).await.refused(404, "HP0832");
    server.http.post(&format!("{path}/{unknown}/cancel"), json!({})).await.refused(404, "HP0832");
    server.http.delete(&format!("{path}/{unknown}")).await.refused(404, "HP0832");
    // A run of one thread is not there under another.
    let run = server.start_run(&thread, input.clone()).await;
    let other = server.thread().await;
    server.http.get(&format!("/threads/{other}/runs/{run}")).await.refused(404, "HP0832");
    server.join(&thread, &run).await;
    assert_eq!(server.http.delete(&format!("{path}/{run}")).await.status, 204);
    server.http.get(&format!("{path}/{run}")).await.refused(404, "HP0832");
    // A thread keeps its graph.
    server.deploy("boom", BOOM).await;
    server.http.post(&path, json!({ "assistant_id": "boom", "input": {} })).await.refused(422, "HP0833");
}

#[tokio::test]
async fn assistants_are_known_by_id_and_by_name() {
    let server = Setup::default().start().await;
    server.deploy("echo", ECHO).await;
    let thread = server.thread().await;
    let run =
        server.http.post(&format!("/threads/{thread}/runs"), json!({ "assistant_id": "echo", "input": {} })).await;
    let id = run.body["assistant_id"].as_str().unwrap().to_owned();
    let found = server.http.post("/assistants/search", json!({ "graph_id": "echo" })).await.expect(200);
    assert_eq!(found[0]["assistant_id"], json!(id));
    let thread = server.thread().await;
    assert_eq!(server.wait(&thread, json!({ "assistant_id": id, "input": {} })).await, json!({ "log": ["plan"] }));
}

#[tokio::test]
async fn runs_of_a_thread_come_one_after_the_other_in_order() {
    let gate = Gate::new();
    let server = Setup { nodes: gate.nodes(), ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    let mut runs = Vec::new();
    for name in ["a", "b", "c", "d"] {
        runs.push(server.start_run(&thread, json!({ "assistant_id": "slow", "input": { "name": name } })).await);
    }
    gate.reached().await;
    let counts = |listed: &Value| listed.as_array().unwrap().len();
    let path = format!("/threads/{thread}/runs");
    assert_eq!(counts(&server.http.get(&format!("{path}?status=running")).await.expect(200)), 1);
    assert_eq!(counts(&server.http.get(&format!("{path}?status=pending")).await.expect(200)), 3);
    assert_eq!(server.http.get(&format!("/threads/{thread}")).await.body["status"], json!("busy"));
    let refused = json!({ "assistant_id": "slow", "input": {}, "multitask_strategy": "reject" });
    server.http.post(&path, refused).await.refused(409, "HP0834");
    gate.open(4);
    let last = server.join(&thread, &runs[3]).await;
    let expected: Vec<String> = ["a", "b", "c", "d"]
        .iter()
        .flat_map(|name| ["first", "second", "third"].map(|node| format!("{node} {name}")))
        .collect();
    assert_eq!(last["log"], json!(expected));
    // Each was told what it itself came to.
    assert_eq!(server.join(&thread, &runs[0]).await["log"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn whoever_waits_hears_that_somebody_is_there() {
    let gate = Gate::new();
    let settings = Settings { heartbeat: Duration::from_millis(20), ..Settings::default() };
    let server = Setup { nodes: gate.nodes(), settings, ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "slow", "input": {} }).to_string();
    let path = format!("/threads/{thread}/runs/wait");
    let headers = [("content-type", "application/json")];
    let mut response = server.http.open(reqwest::Method::POST, &path, &headers, body).await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&format!("/threads/{thread}/runs/")) && location.ends_with("/join"), "{location}");
    let first = response.chunk().await.unwrap().unwrap();
    assert_eq!(first.as_ref(), b"\n");
    gate.open(1);
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    let answer: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(answer["log"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn runs_without_a_thread() {
    let server = Setup::default().start().await;
    server.deploy("echo", ECHO).await;
    server.deploy("approval", APPROVAL).await;
    let reply = server.http.post("/runs/wait", json!({ "assistant_id": "echo", "input": {} })).await;
    let place = reply.header("content-location").unwrap().to_owned();
    assert_eq!(reply.expect(200), json!({ "log": ["plan"] }));
    let thread = place.strip_prefix("/threads/").unwrap().split('/').next().unwrap().to_owned();
    // The thread goes a moment after its run.
    let gone = async {
        while server.http.get(&format!("/threads/{thread}")).await.status != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the thread stays");
    let kept = json!({ "assistant_id": "echo", "input": {}, "on_completion": "keep" });
    let place = server.http.post("/runs/wait", kept).await.header("content-location").unwrap().to_owned();
    server.http.get(&place).await.expect(200);
    // One that waits for somebody stays.
    let reply = server.http.post("/runs/wait", json!({ "assistant_id": "approval", "input": { "title": "x" } })).await;
    let place = reply.header("content-location").unwrap().to_owned();
    let question = asked(&reply.body)[0].clone();
    let thread = place.strip_prefix("/threads/").unwrap().split('/').next().unwrap();
    let resume = json!({ "assistant_id": "approval", "command": { "resume": { question: true } } });
    assert_eq!(server.wait(thread, resume).await["log"], json!(["plan", "approve", "pay"]));
    let many = json!([{ "assistant_id": "echo", "input": {} }, { "assistant_id": "echo", "input": {} }]);
    assert_eq!(server.http.post("/runs/batch", many).await.expect(200).as_array().unwrap().len(), 2);
    server.http.post("/runs/batch", json!({})).await.refused(422, "HP0821");
}

#[tokio::test]
async fn a_thread_can_be_made_by_its_first_run() {
    let server = Setup::default().start().await;
    server.deploy("echo", ECHO).await;
    let thread = "01a1fbcd-8977-723c-8aaa-0123456789ab";
    let body = json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" });
    assert_eq!(server.wait(thread, body).await, json!({ "log": ["plan"] }));
    let found = server.http.post("/threads/search", json!({ "metadata": { "graph_id": "echo" } })).await.expect(200);
    assert_eq!(found[0]["thread_id"], json!(thread));
    let body = json!({ "assistant_id": "echo", "input": {}, "if_not_exists": "create" });
    server.http.post("/threads/t1/runs", body).await.refused(422, "HP0827");
}

#[tokio::test]
async fn breakpoints_pause_and_any_word_passes_them() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let input = json!({ "assistant_id": "approval", "input": { "title": "x" }, "interrupt_before": ["approve"] });
    assert_eq!(server.wait(&thread, input).await, json!({ "title": "x", "log": ["plan"] }));
    assert_eq!(server.http.get(&format!("/threads/{thread}")).await.body["status"], json!("interrupted"));
    let passed = server.wait(&thread, json!({ "assistant_id": "approval", "command": { "resume": "go on" } })).await;
    asked(&passed);
    assert_eq!(server.nodes.started("approve"), 1, "the word was no answer");
}

#[tokio::test]
async fn a_run_from_an_older_checkpoint_makes_a_branch() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let first = asked(&server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await);
    let history = server.http.post(&format!("/threads/{thread}/history"), json!({ "limit": 10 })).await.expect(200);
    let before_plan = history.as_array().unwrap().iter().find(|entry| entry["next"] == json!(["plan"])).unwrap();
    let replay = json!({ "assistant_id": "approval", "checkpoint": before_plan["checkpoint"] });
    let again = server.wait(&thread, replay).await;
    assert_ne!(asked(&again), first, "the question is asked anew");
    assert_eq!(server.nodes.started("plan"), 2);
    let fork =
        json!({ "assistant_id": "approval", "input": { "title": "y" }, "checkpoint_id": before_plan["checkpoint_id"] });
    assert_eq!(server.wait(&thread, fork).await["title"], json!("y"));
    // An answer goes to the newest checkpoint only.
    let late = json!({
        "assistant_id": "approval", "command": { "resume": true }, "checkpoint_id": before_plan["checkpoint_id"],
    });
    server.http.post(&format!("/threads/{thread}/runs"), late).await.refused(409, "HP0835");
    let none = json!({ "assistant_id": "approval", "checkpoint_id": "01a1fbcd-8977-823c-8aaa-0123456789ab" });
    assert_eq!(server.wait(&thread, none).await["__error__"]["error"], json!("HP0417"));
}

#[tokio::test]
async fn doubt_is_told_as_something_that_waits() {
    let server = Setup::default().start().await;
    server.deploy("doubt", DOUBT).await;
    let thread = server.thread().await;
    let stopped = server.wait(&thread, json!({ "assistant_id": "doubt", "input": {} })).await;
    assert_eq!(asked(&stopped), ["one"]);
    // It is no question: nobody answers it by resuming.
    let resume = json!({ "assistant_id": "doubt", "command": { "resume": true } });
    server.http.post(&format!("/threads/{thread}/runs"), resume).await.refused(409, "HP0408");
}

#[tokio::test]
async fn a_run_may_be_told_to_wait() {
    let settings = Settings { tick: Duration::from_millis(20), ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    server.deploy("echo", ECHO).await;
    let thread = server.thread().await;
    let run = server.start_run(&thread, json!({ "assistant_id": "echo", "input": {}, "after_seconds": 60 })).await;
    assert_eq!(server.status(&thread, &run).await, "pending");
    server.clock.advance_ms(60_000);
    assert_eq!(server.join(&thread, &run).await, json!({ "log": ["plan"] }));
}
