//! The thread-centric protocol.

use serde_json::{Value, json};

use super::scene::Reader;
use crate::support::{APPROVAL, PAIR, Setup, TestServer};

async fn command(server: &TestServer, thread: &str, id: u64, method: &str, params: Value) -> Value {
    let body = json!({ "id": id, "method": method, "params": params });
    let reply = server.http.post(&format!("/threads/{thread}/commands"), body).await.expect(200);
    assert_eq!(reply["id"], json!(id));
    reply
}

/// Reads up to an event of this method, and gives its parameters.
async fn until(reader: &mut Reader, method: &str, fits: impl Fn(&Value) -> bool) -> Value {
    loop {
        let sent = reader.next().await.expect("the stream goes on");
        assert_eq!((&sent.data["method"], &sent.data["type"]), (&json!(sent.event), &json!("event")));
        assert_eq!(sent.data["seq"].as_u64().unwrap().to_string(), sent.id);
        if sent.event == method && fits(&sent.data["params"]["data"]) {
            return sent.data;
        }
    }
}

#[tokio::test]
async fn a_question_is_told_answered_and_answered_once() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = "01a1fbcd-8977-723c-8aaa-0123456789ab";
    let begun =
        command(&server, thread, 1, "run.start", json!({ "assistant_id": "approval", "input": { "title": "x" } }))
            .await;
    assert_eq!(begun["type"], json!("success"));
    assert!(begun["result"]["run_id"].is_string() && begun["meta"]["applied_through_seq"].is_u64());
    let path = format!("/threads/{thread}/stream/events");
    let everything = json!({ "channels": ["lifecycle", "input", "values", "updates"], "since": 0 });
    let mut reader = Reader::post(&server.http, &path, everything).await;
    let started = until(&mut reader, "lifecycle", |data| data["event"] == json!("started")).await;
    assert_eq!(started["params"]["data"]["graph_name"], json!("approval"));
    let question = until(&mut reader, "input.requested", |_| true).await;
    let data = &question["params"]["data"];
    assert_eq!(
        (&data["payload"], &data["value"]),
        (&json!({ "type": "approval_required" }), &json!({ "type": "approval_required" }))
    );
    until(&mut reader, "lifecycle", |data| data["event"] == json!("interrupted")).await;
    let answer = json!({ "namespace": [], "interrupt_id": data["interrupt_id"], "response": { "ok": true } });
    let answered = command(&server, thread, 2, "input.respond", answer.clone()).await;
    assert_eq!((&answered["type"], &answered["result"]), (&json!("success"), &json!({})));
    until(&mut reader, "lifecycle", |data| data["event"] == json!("completed")).await;
    let late = command(&server, thread, 3, "input.respond", answer).await;
    assert_eq!((&late["type"], &late["error"]), (&json!("error"), &json!("no_such_interrupt")));
    // From a place on, and only what is asked for.
    let since = question["seq"].as_u64().unwrap();
    let lifecycle = json!({ "channels": ["lifecycle"], "since": since });
    let first = Reader::post(&server.http, &path, lifecycle).await.next().await.unwrap();
    assert!(first.data["seq"].as_u64().unwrap() > since);
    assert_eq!(first.data["params"]["data"]["event"], json!("interrupted"));
}

#[tokio::test]
async fn several_questions_are_answered_at_once() {
    let server = Setup::default().start().await;
    server.deploy("pair", PAIR).await;
    let thread = server.thread().await;
    let stopped = server.wait(&thread, json!({ "assistant_id": "pair", "input": {} })).await;
    let ids = super::scene::asked(&stopped);
    let one = |id: &str| json!({ "interrupt_id": id, "namespace": [], "response": true });
    let wrong = json!({ "responses": [one(&ids[0]), one("0123456789abcdef0123456789abcdef")] });
    let refused = command(&server, &thread, 1, "input.respond", wrong).await;
    assert_eq!(refused["error"], json!("no_such_interrupt"));
    let twice =
        command(&server, &thread, 2, "input.respond", json!({ "responses": [one(&ids[0]), one(&ids[0])] })).await;
    assert_eq!(twice["error"], json!("invalid_argument"));
    let both =
        command(&server, &thread, 3, "input.respond", json!({ "responses": [one(&ids[0]), one(&ids[1])] })).await;
    assert_eq!(both["type"], json!("success"));
    let run = server.http.get(&format!("/threads/{thread}/runs?limit=1")).await.expect(200);
    let run = run[0]["run_id"].as_str().unwrap().to_owned();
    assert_eq!(server.join(&thread, &run).await["log"], json!(["left", "right", "pay"]));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_the_protocols_words() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    for (method, params, error) in [
        ("run.dance", json!({}), "unknown_command"),
        ("run.start", json!({ "assistant_id": "none" }), "invalid_argument"),
        ("run.start", json!({}), "invalid_argument"),
        ("input.respond", json!({}), "invalid_argument"),
        ("input.respond", json!({ "interrupt_id": "x", "response": 1 }), "no_such_interrupt"),
    ] {
        assert_eq!(command(&server, &thread, 1, method, params).await["error"], json!(error), "{method}");
    }
    let path = format!("/threads/{thread}/stream/events");
    server.http.post(&path, json!({ "channels": ["nothing"] })).await.refused(422, "HP0830");
    server.http.post(&path, json!({})).await.refused(422, "HP0821");
}

#[tokio::test]
async fn a_run_that_a_command_began_is_told_and_joined_like_any_other() {
    let server = Setup { nodes: talking(), ..Setup::default() }.start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let mut all =
        Reader::get(&server.http, &format!("/threads/{thread}/stream?stream_modes=run_modes,lifecycle"), None).await;
    let begun = json!({ "assistant_id": "approval", "input": { "title": "x" } });
    let begun = command(&server, &thread, 1, "run.start", begun).await;
    let run = begun["result"]["run_id"].as_str().unwrap().to_owned();
    let stopped = server.join(&thread, &run).await;
    let asked = super::scene::asked(&stopped)[0].clone();
    // The thread's own stream, and the run's from its start.
    let told = all.until("messages").await;
    assert_eq!(told[0].data["run_id"], json!(run));
    assert_eq!(told.last().unwrap().data[0]["content"], json!("hello"));
    let path = format!("/threads/{thread}/runs/{run}/stream");
    let again = Reader::get(&server.http, &path, Some("-1")).await.rest().await;
    let seen = super::scene::names(&again);
    for event in ["metadata", "values", "updates", "messages", "tasks", "checkpoints", "end"] {
        assert!(seen.contains(&event), "{event} in {seen:?}");
    }
    let answer = json!({ "interrupt_id": asked, "namespace": [], "response": true });
    assert_eq!(command(&server, &thread, 2, "input.respond", answer).await["type"], json!("success"));
    let runs = server.http.get(&format!("/threads/{thread}/runs?limit=1")).await.expect(200);
    let second = runs[0]["run_id"].as_str().unwrap().to_owned();
    assert_eq!(server.join(&thread, &second).await["log"], json!(["plan", "approve", "pay"]));
    let done =
        |sent: &super::scene::Sent| sent.data["status"] == json!("run_done") && sent.data["run_id"] == json!(second);
    while !done(&all.next().await.expect("the stream goes on")) {}
    // Whoever watches by channel sees the same.
    let path = format!("/threads/{thread}/stream/events");
    let mut events =
        Reader::post(&server.http, &path, json!({ "channels": ["messages", "checkpoints"], "since": 0 })).await;
    until(&mut events, "checkpoints", |_| true).await;
    until(&mut events, "messages", |data| data[0]["content"] == json!("hello")).await;
}

/// The node that plans says something.
fn talking() -> crate::support::FakeNodes {
    crate::support::standard_nodes().with_async("plan", |call| {
        Box::pin(async move {
            let message = json!({ "message": { "type": "ai", "id": "m", "content": "hello" } });
            call.journal.report(holdpoint_graph::nodes::TaskReport::Custom(message));
            crate::support::update(json!({ "log": ["plan"] })).into()
        })
    })
}

#[tokio::test]
async fn a_write_from_outside_is_told() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    let path = format!("/threads/{thread}/stream?stream_modes=state_update");
    let mut updates = Reader::get(&server.http, &path, None).await;
    server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await;
    let body = json!({ "values": { "title": "y" }, "as_node": "plan" });
    server.http.post(&format!("/threads/{thread}/state"), body).await.expect(200);
    let told = updates.next().await.unwrap();
    assert_eq!((told.event.as_str(), &told.data["thread_id"]), ("state_update", &json!(thread)));
    assert_eq!(told.data["state"]["values"]["title"], json!("y"));
    let wrong = server.http.get(&format!("/threads/{thread}/stream?stream_modes=dance")).await;
    wrong.refused(422, "HP0830");
    assert!(wrong.body["detail"].as_str().unwrap().contains("lifecycle, run_modes, state_update"), "{}", wrong.text);
}
