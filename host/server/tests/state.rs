//! States over HTTP: read, at a checkpoint, in a history, and written from outside.

use crate::support::{APPROVAL, ECHO, FakeNodes, Setup, TestServer, admin, ask, graph, standard_nodes, update};
use reqwest::Method;
use serde_json::{Value, json};

const ID: &str = "01a1fbcd-8977-723c-8aaa-0123456789ab";

async fn waiting() -> TestServer {
    let server = Setup::default().start().await;
    let deployment = server.deploy("approval", APPROVAL).await;
    server.run(ID, &deployment, json!({ "title": "x" })).await;
    server
}

async fn history(server: &TestServer, body: Value) -> Vec<Value> {
    server.http.post(&format!("/threads/{ID}/history"), body).await.expect(200).as_array().unwrap().clone()
}

async fn state(server: &TestServer) -> Value {
    server.http.get(&format!("/threads/{ID}/state")).await.expect(200)
}

fn ids(states: &[Value]) -> Vec<&str> {
    states.iter().map(|state| state["checkpoint_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_thread_without_runs_has_an_empty_state() {
    let server = Setup::default().start().await;
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    let expected = json!({
        "values": {}, "next": [], "tasks": [], "metadata": null, "created_at": null, "checkpoint": null,
        "parent_checkpoint": null, "interrupts": [], "checkpoint_id": null, "parent_checkpoint_id": null,
    });
    assert_eq!(state(&server).await, expected);
    assert_eq!(history(&server, json!({ "limit": 10 })).await, [] as [Value; 0]);
    assert_eq!(server.http.get(&format!("/threads/{ID}/history")).await.expect(200), json!([]));
    let at = format!("/threads/{ID}/state/{ID}");
    server.http.get(&at).await.refused(404, "HP0417");
}

#[tokio::test]
async fn a_waiting_state_has_langgraphs_members() {
    let server = waiting().await;
    let state = state(&server).await;
    let (id, parent) = (&state["checkpoint_id"], &state["parent_checkpoint_id"]);
    let task = &state["tasks"][0];
    let question = json!({
        "id": task["interrupts"][0]["id"],
        "value": { "type": "approval_required" },
        "response_schema": { "type": ["object", "boolean", "string", "array"] },
    });
    let expected = json!({
        "values": { "title": "x", "log": ["plan"] },
        "next": ["approve"],
        "tasks": [{
            "id": task["id"], "name": "approve", "path": ["__pregel_pull", "approve"], "error": null,
            "interrupts": [question], "checkpoint": null, "state": null, "result": null,
        }],
        "metadata": { "source": "loop", "step": 1, "thread_id": ID, "graph_id": "approval", "parents": {} },
        "created_at": "2023-11-14T22:13:20.000000+00:00",
        "checkpoint": { "checkpoint_id": id, "thread_id": ID, "checkpoint_ns": "" },
        "parent_checkpoint": { "checkpoint_id": parent, "thread_id": ID, "checkpoint_ns": "" },
        "interrupts": [question],
        "checkpoint_id": id,
        "parent_checkpoint_id": parent,
    });
    assert_eq!(state, expected);
    assert!(id.is_string() && parent.is_string() && id != parent);
}

#[tokio::test]
async fn histories_are_newest_first_and_begin_with_the_start() {
    let server = waiting().await;
    let all = history(&server, json!({ "limit": 100 })).await;
    let sources: Vec<_> = all
        .iter()
        .map(|state| (state["metadata"]["source"].as_str().unwrap(), state["metadata"]["step"].as_i64().unwrap()))
        .collect();
    assert_eq!(sources, [("loop", 1), ("loop", 0), ("input", -1)]);
    assert_eq!(all[2]["next"], json!(["__start__"]));
    assert_eq!(all[1]["next"], json!(["plan"]));
    assert_eq!(all[1]["tasks"][0]["result"], json!({ "log": ["plan"] }));
    assert_eq!(all[2]["parent_checkpoint"], Value::Null);
    let all_ids = ids(&all);
    // Every form that clients name a checkpoint in.
    for before in [
        json!(all_ids[0]),
        json!({ "checkpoint_id": all_ids[0], "checkpoint_ns": "", "thread_id": ID }),
        json!({ "configurable": { "checkpoint_id": all_ids[0] } }),
    ] {
        let found = history(&server, json!({ "limit": 100, "before": before })).await;
        assert_eq!(ids(&found), all_ids[1..], "{before}");
    }
    assert_eq!(ids(&history(&server, json!({})).await), all_ids[..1], "one when nobody says how many");
    let listed = server.http.get(&format!("/threads/{ID}/history?limit=2&before={}", all_ids[0])).await.expect(200);
    assert_eq!(ids(listed.as_array().unwrap()), all_ids[1..]);
    assert_eq!(server.http.get(&format!("/threads/{ID}/history")).await.expect(200), json!(all), "ten");
    let only = |metadata: Value| json!({ "limit": 100, "metadata": metadata });
    assert_eq!(ids(&history(&server, only(json!({ "source": "loop" }))).await), all_ids[..2]);
    assert_eq!(ids(&history(&server, only(json!({ "step": -1, "thread_id": ID }))).await), all_ids[2..]);
    assert!(history(&server, only(json!({ "source": "dream" }))).await.is_empty());
    assert!(history(&server, only(json!({ "graph_id": "echo" }))).await.is_empty());
    assert!(history(&server, only(json!({ "run_id": "x" }))).await.is_empty());
    let exactly = history(&server, json!({ "checkpoint": { "checkpoint_id": all_ids[1] } })).await;
    assert_eq!(ids(&exactly), all_ids[1..2]);
    let selected = history(&server, json!({ "select": ["next"] })).await;
    assert_eq!(selected, [json!({ "next": ["approve"] })]);
    for body in [
        json!({ "limit": 0 }),
        json!({ "limit": 1001 }),
        json!({ "select": ["secrets"] }),
        json!({ "before": 7 }),
        json!({ "checkpoint": { "checkpoint_ns": "a b" } }),
    ] {
        server.http.post(&format!("/threads/{ID}/history"), body).await.refused(422, "HP0821");
    }
    server.http.post(&format!("/threads/{ID}/history"), json!({ "before": "latest" })).await.refused(422, "HP0827");
    server.http.get(&format!("/threads/{ID}/history?limit=-1")).await.refused(422, "HP0821");
}

#[tokio::test]
async fn states_at_checkpoints() {
    let server = waiting().await;
    let all = history(&server, json!({ "limit": 100 })).await;
    let id = all[1]["checkpoint_id"].as_str().unwrap();
    let at = server.http.get(&format!("/threads/{ID}/state/{id}")).await.expect(200);
    assert_eq!(at, all[1]);
    let path = format!("/threads/{ID}/state/checkpoint");
    let posted = server.http.post(&path, json!({ "checkpoint": at["checkpoint"] })).await.expect(200);
    assert_eq!(posted, at);
    assert_eq!(server.http.post(&path, json!({})).await.expect(200), state(&server).await, "the newest");
    let selected = server.http.get(&format!("/threads/{ID}/state/{id}?select=next&select=values")).await.expect(200);
    assert_eq!(selected, json!({ "next": ["plan"], "values": at["values"] }));
    server.http.get(&format!("/threads/{ID}/state/{ID}")).await.refused(404, "HP0417");
    server.http.get(&format!("/threads/{ID}/state/latest")).await.refused(422, "HP0827");
    server.http.get(&format!("/threads/{ID}/state?subgraphs=maybe")).await.refused(422, "HP0821");
    server.http.get(&format!("/threads/{ID}/state?select=secrets")).await.refused(422, "HP0821");
    server.http.post(&path, json!({ "checkpoint": 7 })).await.refused(422, "HP0821");
}

#[tokio::test]
async fn updates_speak_for_a_node() {
    let server = waiting().await;
    let before = state(&server).await;
    let path = format!("/threads/{ID}/state");
    let body = json!({ "values": { "title": "mended" }, "as_node": "plan" });
    let updated = server.http.post(&path, body).await.expect(200);
    let after = state(&server).await;
    let checkpoint = json!({ "thread_id": ID, "checkpoint_ns": "", "checkpoint_id": after["checkpoint_id"] });
    assert_eq!(
        updated,
        json!({ "checkpoint": checkpoint, "configurable": checkpoint, "checkpoint_id": after["checkpoint_id"] })
    );
    assert_eq!((&after["values"]["title"], &after["next"]), (&json!("mended"), &json!(["approve"])));
    assert_eq!((&after["metadata"]["source"], &after["interrupts"]), (&json!("update"), &json!([])));
    assert_eq!(after["parent_checkpoint_id"], before["checkpoint_id"]);
    // A fork: from an older checkpoint, on a branch of its own.
    let old = before["checkpoint_id"].as_str().unwrap();
    for name in ["checkpoint_id", "checkpoint"] {
        let named = if name == "checkpoint" { json!({ "checkpoint_id": old }) } else { json!(old) };
        let body = json!({ "values": { "title": "forked" }, "as_node": "plan", (name): named });
        server.http.post(&path, body).await.expect(200);
        assert_eq!(state(&server).await["parent_checkpoint_id"], old);
    }
    for (body, status, code) in [
        (json!({ "values": { "title": 7 }, "as_node": "plan" }), 422, "HP0301"),
        (json!({ "values": {}, "as_node": "nobody" }), 422, "HP0435"),
        (json!({ "values": {}, "as_node": "a b" }), 422, "HP0821"),
        (json!({ "values": [1] }), 422, "HP0821"),
        (json!({ "values": {}, "checkpoint_id": "x" }), 422, "HP0827"),
        (json!({ "values": {}, "checkpoint_id": ID }), 404, "HP0417"),
    ] {
        let refused = server.http.post(&path, body.clone()).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.text);
        if code != "HP0301" {
            refused.refused(status, code);
        }
    }
}

#[tokio::test]
async fn agent_inbox_dismisses_and_it_is_on_the_record() {
    // Hazard H11.
    let server = waiting().await;
    let question = state(&server).await["interrupts"][0]["id"].clone();
    let headers = [("content-type", "application/json")];
    let body = r#"{"values":null,"as_node":"__end__"}"#;
    server.http.send(Method::POST, &format!("/threads/{ID}/state"), &headers, body).await.expect(200);
    let thread = server.http.get(&format!("/threads/{ID}")).await.expect(200);
    assert_eq!((&thread["status"], &thread["interrupts"]), (&json!("idle"), &json!({})));
    let after = state(&server).await;
    assert_eq!((&after["next"], &after["tasks"]), (&json!([]), &json!([])));
    let audit = server.http.get(&format!("/audit?thread={ID}")).await.expect(200);
    let records = audit["records"].as_array().unwrap();
    let dismissed = records.iter().find(|record| record["kind"] == "thread.dismissed").expect("on the record");
    assert_eq!(dismissed["actor"]["basis"], "asserted");
    let ended = records.iter().find(|record| record["kind"] == "question.cancelled").expect("the question, too");
    assert_eq!(ended["body"]["question"], question);
    assert_eq!(server.nodes.started("pay"), 0);
}

#[tokio::test]
async fn a_state_needs_a_graph_and_nobody_at_work() {
    let (gate, open) =
        (std::sync::Arc::new(tokio::sync::Notify::new()), std::sync::Arc::new(tokio::sync::Notify::new()));
    let (entered, opened) = (gate.clone(), open.clone());
    let nodes = standard_nodes().with_async("plan", move |_| {
        let (entered, opened) = (entered.clone(), opened.clone());
        Box::pin(async move {
            entered.notify_one();
            opened.notified().await;
            update(json!({ "log": ["plan"] })).into()
        })
    });
    let server = Setup { nodes, ..Setup::default() }.start().await;
    let deployment = server.deploy("echo", ECHO).await;
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    let path = format!("/threads/{ID}/state");
    server.http.post(&path, json!({ "values": {} })).await.refused(400, "HP0844");
    // One that says its graph begins with what is written.
    let other = ID.replace('1', "2");
    let metadata = json!({ "graph_id": "echo" });
    server.http.post("/threads", json!({ "thread_id": other, "metadata": metadata })).await.expect(200);
    let body = json!({ "values": { "log": ["given"] }, "as_node": "__input__" });
    server.http.post(&format!("/threads/{other}/state"), body).await.expect(200);
    let begun = server.http.get(&format!("/threads/{other}/state")).await.expect(200);
    assert_eq!((&begun["values"]["log"], &begun["next"]), (&json!(["given"]), &json!(["plan"])));
    let engine = server.context.engine(&admin(&server.context));
    let thread = holdpoint_graph::ids::ThreadId::parse(ID).unwrap();
    let input = holdpoint_engine::Input { values: json!({}), supersede: false };
    let running = tokio::spawn(async move { engine.run(&thread, &deployment, input).await });
    gate.notified().await;
    server.http.post(&path, json!({ "values": {}, "as_node": "plan" })).await.refused(409, "HP0829");
    assert_eq!(server.http.get(&format!("/threads/{ID}")).await.expect(200)["status"], "busy");
    server.http.delete(&format!("/threads/{ID}")).await.refused(409, "HP0402");
    open.notify_one();
    running.await.unwrap().unwrap();
    assert_eq!(server.http.get(&format!("/threads/{ID}")).await.expect(200)["status"], "idle");
}

#[tokio::test]
async fn what_a_subgraph_asks_is_asked_by_the_thread() {
    let nodes = FakeNodes::default().with("gate", |call| match ask(call, 0, json!("inner?")) {
        Ok(_) => update(json!({ "log": ["gate"] })),
        Err(outcome) => outcome,
    });
    let server = Setup { nodes, ..Setup::default() }.start().await;
    let inner = "start = \"gate\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.gate]\ninterrupt = {}\nnext = \"END\"\n";
    let inner = server.context.engine(&admin(&server.context)).deploy(graph("inner", inner)).await.unwrap();
    let outer = format!(
        "start = \"child\"\n[state]\nlog = {{ type = \"array\", reducer = \"append\" }}\n[nodes.child] # subgraph\ngraph = \"{}\"\nnext = \"END\"\n",
        inner.digest
    );
    let deployment = server.deploy("outer", &outer).await;
    server.run(ID, &deployment, json!({})).await;
    let thread = server.http.get(&format!("/threads/{ID}")).await.expect(200);
    let plain = state(&server).await;
    let task = &plain["tasks"][0];
    assert_eq!(task["name"], "child");
    assert_eq!(thread["interrupts"][task["id"].as_str().unwrap()], task["interrupts"]);
    assert_eq!((&task["interrupts"][0]["value"], &task["state"]), (&json!("inner?"), &Value::Null));
    let newest = history(&server, json!({})).await;
    assert_eq!(newest[0]["tasks"][0]["interrupts"], task["interrupts"], "clients look there");
    let namespace = format!("child:{}", task["id"].as_str().unwrap());
    assert_eq!(task["checkpoint"]["checkpoint_ns"], json!(namespace));
    let nested = server.http.get(&format!("/threads/{ID}/state?subgraphs=true")).await.expect(200);
    let inside = &nested["tasks"][0]["state"];
    assert_eq!((&inside["next"], &inside["checkpoint"]["checkpoint_ns"]), (&json!(["gate"]), &json!(namespace)));
    let path = format!("/threads/{ID}/state/checkpoint");
    let by_namespace = json!({ "checkpoint": { "checkpoint_ns": namespace } });
    assert_eq!(server.http.post(&path, by_namespace).await.expect(200)["next"], json!(["gate"]));
    let by_id = json!({ "checkpoint": inside["checkpoint"] });
    assert_eq!(server.http.post(&path, by_id).await.expect(200)["checkpoint_id"], inside["checkpoint_id"]);
    let odd = json!({ "checkpoint": { "checkpoint_ns": "nobody" } });
    server.http.post(&path, odd).await.refused(404, "HP0845");
    let of_child = json!({ "limit": 10, "checkpoint": { "checkpoint_ns": namespace } });
    assert!(ids(&history(&server, of_child).await).contains(&inside["checkpoint_id"].as_str().unwrap()));
    // An update of the thread's own graph only.
    let body = json!({ "values": {}, "as_node": "gate", "checkpoint_id": inside["checkpoint_id"] });
    server.http.post(&format!("/threads/{ID}/state"), body).await.refused(422, "HP0440");
}
