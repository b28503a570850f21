//! Hazards H1 to H11: an answer reaches the question that its author saw, or nobody.

use serde_json::{Value, json};

use super::scene::{Gate, SLOW, asked};
use crate::support::{APPROVAL, PAIR, Setup, TestServer, ask, standard_nodes, update};

/// Two questions one after the other, in two nodes.
const IN_TURN: &str = r#"
start = "one"
[state]
log = { type = "array", reducer = "append" }
[nodes.one]
next = "two"
[nodes.two]
next = "END"
"#;

/// Two questions one after the other, in one node.
const TWICE: &str = r#"
start = "twice"
[state]
log = { type = "array", reducer = "append" }
[nodes.twice]
next = "END"
"#;

/// A question with a schema for its answer.
const CHECKED: &str = r#"
start = "one"
[state]
log = { type = "array", reducer = "append" }
[nodes.one]
next = "END"
[nodes.one.interrupt]
answer_schema = { type = "object", required = ["approved"] }
"#;

async fn server() -> TestServer {
    let gate = |name: &'static str| {
        move |call: &_| match ask(call, 0, json!(name)) {
            Ok(answer) => update(json!({ "log": [{ name: answer }] })),
            Err(question) => question,
        }
    };
    let nodes = standard_nodes().with("one", gate("one")).with("two", gate("two")).with("twice", |call| {
        let first = match ask(call, 0, json!("first")) {
            Ok(answer) => answer,
            Err(question) => return question,
        };
        match ask(call, 1, json!("second")) {
            Ok(second) => update(json!({ "log": [first, second] })),
            Err(question) => question,
        }
    });
    let server = Setup { nodes, ..Setup::default() }.start().await;
    for (name, graph) in
        [("turn", IN_TURN), ("twice", TWICE), ("checked", CHECKED), ("pair", PAIR), ("approval", APPROVAL)]
    {
        server.deploy(name, graph).await;
    }
    server
}

fn resume(graph: &str, answer: impl Into<Value>) -> Value {
    json!({ "assistant_id": graph, "command": { "resume": answer.into() } })
}

async fn begin(server: &TestServer, graph: &str) -> (String, Vec<String>) {
    let thread = server.thread().await;
    let stopped = server.wait(&thread, json!({ "assistant_id": graph, "input": {} })).await;
    let ids = asked(&stopped);
    (thread, ids)
}

#[tokio::test]
async fn h1_two_bare_answers_at_once_answer_one_question() {
    let server = server().await;
    for _ in 0..10 {
        let (thread, ids) = begin(&server, "turn").await;
        let path = format!("/threads/{thread}/runs/wait");
        let (one, two) =
            tokio::join!(server.http.post(&path, resume("turn", "a")), server.http.post(&path, resume("turn", "b")));
        let accepted =
            [&one, &two].iter().filter(|reply| reply.status == 200 && reply.body.get("__error__").is_none()).count();
        // The loser came while the first was being executed, or after it had asked the second question: then it answered that one, which was
        // there to be seen when it was accepted.
        let state = server.http.get(&format!("/threads/{thread}/state")).await.expect(200);
        let log = state["values"]["log"].as_array().unwrap().clone();
        assert_eq!(log.len(), accepted, "{one:?} {two:?} {log:?}");
        assert!(log[0].get("one").is_some());
        if accepted == 1 {
            assert_ne!(asked(&json!({ "__interrupt__": state["interrupts"] })), ids);
        }
    }
}

#[tokio::test]
async fn h1_an_answer_that_waits_for_its_turn_is_bound_to_its_question() {
    // Two questions in two parallel branches, one of which runs on to a gate: while it stands there, the other question waits for its turn.
    const BESIDE: &str = r#"
        start = ["left", "second"]
        [state]
        name = { type = "string" }
        log = { type = "array", reducer = "append" }
        [nodes.left]
        [nodes.second]
        next = "END"
    "#;
    let gate = Gate::new();
    let server = Setup { nodes: gate.nodes(), ..Setup::default() }.start().await;
    server.deploy("beside", BESIDE).await;
    let thread = server.thread().await;
    let first = server.start_run(&thread, json!({ "assistant_id": "beside", "input": {} })).await;
    gate.reached().await;
    gate.open(1);
    let ids = asked(&server.join(&thread, &first).await);
    let path = format!("/threads/{thread}/runs");
    // Not before its time: the answer is accepted, and another one for the same question is told so.
    let mut held = resume("beside", "a");
    held["after_seconds"] = json!(60);
    let run = server.start_run(&thread, held).await;
    let refused = server.http.post(&path, resume("beside", "b")).await;
    refused.refused(409, "HP0836");
    assert_eq!(refused.body["run_id"], json!(run));
    let by_id = resume("beside", json!({ ids[0].clone(): "b" }));
    server.http.post(&path, by_id).await.refused(409, "HP0836");
    let stored = server.context.store().run(&run.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.request["act"]["answers"], json!({ ids[0].clone(): "a" }), "bound when it was accepted");
}

#[tokio::test]
async fn h2_and_h3_an_id_is_answered_once() {
    let server = server().await;
    for graph in ["twice", "turn"] {
        let (thread, ids) = begin(&server, graph).await;
        let answer = json!({ ids[0].clone(): "a" });
        let second = server.wait(&thread, resume(graph, answer.clone())).await;
        assert_ne!(asked(&second), ids);
        let refused = server.http.post(&format!("/threads/{thread}/runs/wait"), resume(graph, answer)).await;
        refused.refused(409, "HP0407");
        assert_eq!(refused.body["winner"]["id"], json!(ids[0]));
        // The second question still waits.
        let state = server.http.get(&format!("/threads/{thread}/state")).await.expect(200);
        assert_eq!(asked(&json!({ "__interrupt__": state["interrupts"] })), asked(&second));
    }
}

#[tokio::test]
async fn h4_strictness_is_advertised_and_cannot_be_turned_off() {
    let server = server().await;
    let info = server.http.get("/info").await.expect(200);
    assert_eq!(info["flags"]["strict_resume"], json!(true));
    let (thread, _) = begin(&server, "turn").await;
    let loose = json!({
        "assistant_id": "turn", "command": { "resume": { "0123456789abcdef0123456789abcdef": 1 } }, "strict_resume": false,
    });
    let refused = server.http.post(&format!("/threads/{thread}/runs"), loose).await;
    refused.refused(409, "HP0406");
    assert!(refused.body["pending"].as_array().is_some_and(|pending| pending.len() == 1));
}

#[tokio::test]
async fn h5_what_was_answered_never_waits_again() {
    let server = server().await;
    let (thread, ids) = begin(&server, "pair").await;
    assert_eq!(ids.len(), 2);
    let left = asked(&server.wait(&thread, resume("pair", json!({ ids[0].clone(): true }))).await);
    assert_eq!(left, ids[1..]);
    let again =
        server.http.post(&format!("/threads/{thread}/runs"), resume("pair", json!({ ids[0].clone(): true }))).await;
    again.refused(409, "HP0407");
    let thread_view = server.http.get(&format!("/threads/{thread}")).await.expect(200);
    let shown: Vec<&Value> =
        thread_view["interrupts"].as_object().unwrap().values().flat_map(|of| of.as_array().unwrap()).collect();
    let state = server.http.get(&format!("/threads/{thread}/state")).await.expect(200);
    assert_eq!(shown.iter().map(|one| &one["id"]).collect::<Vec<_>>(), [&json!(ids[1])]);
    assert_eq!(asked(&json!({ "__interrupt__": state["interrupts"] })), ids[1..]);
}

#[tokio::test]
async fn h6_an_answer_that_breaks_the_schema_is_none() {
    let server = server().await;
    let (thread, ids) = begin(&server, "checked").await;
    let path = format!("/threads/{thread}/runs/wait");
    for wrong in [json!("yes"), json!({ "approve": true }), json!({ ids[0].clone(): 1 })] {
        let refused = server.http.post(&path, resume("checked", wrong)).await;
        refused.refused(422, "HP0413");
        assert!(refused.body["violations"].as_array().is_some());
    }
    let done = server.wait(&thread, resume("checked", json!({ "approved": false }))).await;
    assert_eq!(done["log"], json!([{ "one": { "approved": false } }]));
}

#[tokio::test]
async fn h7_and_h8_a_resume_of_a_busy_thread_answers_nothing() {
    let gate = Gate::new();
    let server = Setup { nodes: gate.nodes(), ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let thread = server.thread().await;
    let run = server.start_run(&thread, json!({ "assistant_id": "slow", "input": {} })).await;
    gate.reached().await;
    let path = format!("/threads/{thread}/runs");
    server.http.post(&path, resume("slow", true)).await.refused(409, "HP0408");
    gate.open(1);
    server.join(&thread, &run).await;
    assert_eq!(server.nodes.started("second"), 1, "the slow step ran once");
    server.http.post(&path, resume("slow", true)).await.refused(409, "HP0408");
}

#[tokio::test]
async fn h9_a_thread_that_is_not_there_is_not_resumed() {
    let server = server().await;
    let unknown = "01a1fbcd-8977-723c-8aaa-0123456789ab";
    server.http.post(&format!("/threads/{unknown}/runs"), resume("turn", true)).await.refused(404, "HP0810");
    let empty = server.thread().await;
    server.http.post(&format!("/threads/{empty}/runs"), resume("turn", true)).await.refused(404, "HP0810");
    assert_eq!(server.nodes.started("one"), 0);
}

#[tokio::test]
async fn h10_going_to_the_end_dismisses() {
    let server = server().await;
    for goto in [json!("__end__"), json!(["__end__"])] {
        let (thread, _) = begin(&server, "turn").await;
        let body = json!({ "assistant_id": "turn", "command": { "goto": goto } });
        let done = server.wait(&thread, body.clone()).await;
        assert!(done.get("__interrupt__").is_none() && done.get("__error__").is_none(), "{done}");
        let shown = server.http.get(&format!("/threads/{thread}")).await.expect(200);
        assert_eq!((&shown["status"], &shown["interrupts"]), (&json!("idle"), &json!({})));
        // Once more it changes nothing.
        assert!(server.wait(&thread, body).await.get("__error__").is_none());
    }
}

#[tokio::test]
async fn h11_an_update_as_the_end_dismisses() {
    let server = server().await;
    let (thread, _) = begin(&server, "turn").await;
    let body = json!({ "values": null, "as_node": "__end__" });
    server.http.post(&format!("/threads/{thread}/state"), body).await.expect(200);
    let state = server.http.get(&format!("/threads/{thread}/state")).await.expect(200);
    assert_eq!((&state["next"], &state["interrupts"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn words_that_are_no_answers() {
    let server = server().await;
    let (thread, ids) = begin(&server, "pair").await;
    let path = format!("/threads/{thread}/runs");
    for (word, status, code) in [
        (json!({}), 422, "HP0410"),
        (json!(null), 422, "HP0412"),
        (json!({ ids[0].clone(): null }), 422, "HP0412"),
        // Two wait: whose answer is it?
        (json!("yes"), 409, "HP0409"),
        (json!({ "0123456789abcdef0123456789abcdef": 1, ids[0].clone(): 1 }), 409, "HP0406"),
    ] {
        server.http.post(&path, resume("pair", word)).await.refused(status, code);
    }
    assert_eq!(server.http.get(&path).await.body.as_array().unwrap().len(), 1, "nothing was accepted");
    // False and the empty text are answers.
    let one = server.wait(&thread, resume("pair", json!({ ids[0].clone(): false }))).await;
    assert_eq!(asked(&one), ids[1..]);
    let done = server.wait(&thread, resume("pair", json!(""))).await;
    assert_eq!(done["log"], json!(["left", "right", "pay"]));
}

#[tokio::test]
async fn new_input_passes_over_no_question_by_itself() {
    let server = server().await;
    let (thread, ids) = begin(&server, "approval").await;
    let path = format!("/threads/{thread}/runs");
    for strategy in ["enqueue", "reject"] {
        let input = json!({ "assistant_id": "approval", "input": { "title": "y" }, "multitask_strategy": strategy });
        let refused = server.http.post(&path, input).await;
        refused.refused(409, "HP0404");
        assert_eq!(refused.body["pending"], json!(ids));
    }
    let input = json!({ "assistant_id": "approval", "input": { "title": "y" }, "multitask_strategy": "interrupt" });
    let again = server.wait(&thread, input).await;
    assert_ne!(asked(&again), ids);
    server.http.post(&path, resume("approval", json!({ ids[0].clone(): true }))).await.refused(409, "HP0407");
}

#[tokio::test]
async fn a_command_may_write_and_answer_at_once() {
    let server = server().await;
    let (thread, _) = begin(&server, "approval").await;
    let body = json!({ "assistant_id": "approval", "command": { "resume": true, "update": { "title": "z" } } });
    let done = server.wait(&thread, body).await;
    assert_eq!((&done["title"], &done["answer"]), (&json!("z"), &json!(true)));
    // On a thread that waits for nothing there is nothing to command.
    let body = json!({ "assistant_id": "approval", "command": { "update": { "title": "q" } } });
    assert_eq!(server.wait(&thread, body).await["__error__"]["error"], json!("HP0441"));
}
