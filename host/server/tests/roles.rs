//! Who may ask for what: each role at each route that the server describes, so that no route is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::Tenant;
use holdpoint_server::identity::keys::Fresh;
use holdpoint_server::{Context, Settings};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{APPROVAL, Setup, TestServer};

const ROLES: [&str; 4] = ["viewer", "approver", "operator", "admin"];

/// The least role that each route needs; `open` is for everybody. Routes that name something are asked for it; nothing has to come of it.
const NEEDS: [(&str, &str, &str); 67] = [
    ("GET", "/ok", "open"),
    ("GET", "/info", "open"),
    ("GET", "/openapi.json", "open"),
    ("GET", "/metrics", "viewer"),
    ("GET", "/approvals", "viewer"),
    ("GET", "/approvals/{approval_id}", "viewer"),
    ("POST", "/approvals/{approval_id}/answers", "approver"),
    ("POST", "/approvals/{approval_id}/delegate", "approver"),
    ("POST", "/approvals/{approval_id}/links", "approver"),
    ("GET", "/audit", "admin"),
    ("GET", "/components", "viewer"),
    ("GET", "/graphs", "viewer"),
    ("POST", "/graphs", "admin"),
    ("GET", "/graphs/{name}", "viewer"),
    ("GET", "/keys", "admin"),
    ("POST", "/keys", "admin"),
    ("DELETE", "/keys/{name}", "admin"),
    // What a command needs, the command says.
    ("POST", "/commands", "viewer"),
    ("DELETE", "/commands/{command_id}", "viewer"),
    ("GET", "/operations", "viewer"),
    ("GET", "/operations/in-doubt", "viewer"),
    ("POST", "/operations/settle", "operator"),
    ("POST", "/assistants", "operator"),
    ("POST", "/assistants/search", "viewer"),
    ("POST", "/assistants/count", "viewer"),
    ("GET", "/assistants/{assistant_id}", "viewer"),
    ("PATCH", "/assistants/{assistant_id}", "operator"),
    ("DELETE", "/assistants/{assistant_id}", "operator"),
    ("POST", "/assistants/{assistant_id}/latest", "operator"),
    ("POST", "/assistants/{assistant_id}/versions", "viewer"),
    ("GET", "/assistants/{assistant_id}/graph", "viewer"),
    ("GET", "/assistants/{assistant_id}/schemas", "viewer"),
    ("GET", "/assistants/{assistant_id}/subgraphs", "viewer"),
    ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}", "viewer"),
    ("POST", "/threads", "operator"),
    ("POST", "/threads/search", "viewer"),
    ("POST", "/threads/count", "viewer"),
    ("POST", "/threads/prune", "operator"),
    ("GET", "/threads/{thread_id}", "viewer"),
    ("PATCH", "/threads/{thread_id}", "operator"),
    ("DELETE", "/threads/{thread_id}", "operator"),
    ("POST", "/threads/{thread_id}/copy", "operator"),
    ("GET", "/threads/{thread_id}/storage", "viewer"),
    ("GET", "/threads/{thread_id}/state", "viewer"),
    ("POST", "/threads/{thread_id}/state", "operator"),
    ("PATCH", "/threads/{thread_id}/state", "operator"),
    ("POST", "/threads/{thread_id}/state/checkpoint", "viewer"),
    ("GET", "/threads/{thread_id}/state/{checkpoint_id}", "viewer"),
    ("GET", "/threads/{thread_id}/history", "viewer"),
    ("POST", "/threads/{thread_id}/history", "viewer"),
    ("GET", "/threads/{thread_id}/stream", "viewer"),
    ("POST", "/threads/{thread_id}/stream/events", "viewer"),
    // A refusal of a command is an answer; what is in it is told below.
    ("POST", "/threads/{thread_id}/commands", "viewer"),
    ("GET", "/threads/{thread_id}/runs", "viewer"),
    // A run that only answers is an approver's; any other is an operator's.
    ("POST", "/threads/{thread_id}/runs", "operator"),
    ("POST", "/threads/{thread_id}/runs/wait", "operator"),
    ("POST", "/threads/{thread_id}/runs/stream", "operator"),
    ("GET", "/threads/{thread_id}/runs/{run_id}", "viewer"),
    ("DELETE", "/threads/{thread_id}/runs/{run_id}", "operator"),
    ("GET", "/threads/{thread_id}/runs/{run_id}/join", "viewer"),
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream", "viewer"),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel", "operator"),
    ("POST", "/runs", "operator"),
    ("POST", "/runs/wait", "operator"),
    ("POST", "/runs/stream", "operator"),
    ("POST", "/runs/batch", "operator"),
    ("POST", "/runs/cancel", "operator"),
];

/// A body that the route can read.
fn body(method: &str, path: &str) -> Option<Value> {
    let run = json!({ "assistant_id": "graph", "input": {} });
    if method == "GET" || method == "DELETE" {
        return None;
    }
    Some(match path {
        "/approvals/{approval_id}/delegate" => json!({ "to": "user:x" }),
        "/assistants" => json!({ "graph_id": "graph" }),
        "/assistants/{assistant_id}/latest" => json!({ "version": 9 }),
        "/commands" => json!({ "arguments": ["threads", "list"] }),
        "/keys" => json!({ "name": "x", "roles": ["king"] }),
        "/operations/settle" => {
            json!({ "scope": "thread:t", "connector": "c", "id": "i", "word": "happened", "reason": "r" })
        }
        "/threads/prune" => json!({ "thread_ids": [] }),
        "/threads/{thread_id}/commands" => json!({ "id": 1, "method": "run.dance" }),
        "/threads/{thread_id}/stream/events" => json!({ "channels": ["values"] }),
        "/runs/batch" => json!([run]),
        "/runs/cancel" => json!({ "status": "pending" }),
        path if path.contains("/runs") && !path.ends_with("/cancel") => run,
        _ => json!({}),
    })
}

async fn key(context: &Context, role: &str) -> String {
    let fresh = Fresh {
        name: role.into(),
        tenant: Tenant::default(),
        roles: vec![role.into()],
        groups: Vec::new(),
        expires_at_ms: None,
        by: Actor::asserted("test"),
    };
    let (key, record, entry) = fresh.make(context.now_ms()).unwrap();
    context.store().put_key(record, vec![entry]).await.unwrap();
    key
}

/// A server with a thread that waits, a run that is over, and a key of each role; and what its routes may name.
async fn scene() -> (TestServer, BTreeMap<&'static str, String>, Vec<(&'static str, &'static str)>) {
    let settings = Settings { loopback_trusted: false, ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    server.deploy("graph", APPROVAL).await;
    let mut keys = BTreeMap::new();
    for role in ROLES {
        keys.insert(role, key(&server.context, role).await);
    }
    let post = async |path: &str, body: Value| {
        let headers = [("x-api-key", keys["admin"].as_str()), ("content-type", "application/json")];
        server.http.send(Method::POST, path, &headers, body.to_string()).await.expect(200)
    };
    let thread = post("/threads", json!({})).await["thread_id"].as_str().unwrap().to_owned();
    let run = post(&format!("/threads/{thread}/runs"), json!({ "assistant_id": "graph", "input": {} })).await;
    let run = run["run_id"].as_str().unwrap().to_owned();
    let headers = [("x-api-key", keys["admin"].as_str())];
    let join = format!("/threads/{thread}/runs/{run}/join");
    let stopped = server.http.send(Method::GET, &join, &headers, "").await.expect(200);
    let state = server.http.send(Method::GET, &format!("/threads/{thread}/state"), &headers, "").await.expect(200);
    let assistant = post("/assistants/search", json!({})).await[0]["assistant_id"].as_str().unwrap().to_owned();
    let leak = |text: &Value| &*Box::leak(text.as_str().unwrap().to_owned().into_boxed_str());
    let named = vec![
        ("{thread_id}", leak(&json!(thread))),
        ("{run_id}", leak(&json!(run))),
        ("{approval_id}", leak(&stopped["__interrupt__"][0]["id"])),
        ("{checkpoint_id}", leak(&state["checkpoint_id"])),
        ("{assistant_id}", leak(&json!(assistant))),
        ("{name}", "graph"),
        ("{namespace}", "inner"),
        ("{command_id}", "none"),
    ];
    (server, keys, named)
}

#[tokio::test]
async fn every_route_and_every_role() {
    let (server, keys, named) = scene().await;
    let known: BTreeSet<(String, String)> =
        NEEDS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    let mut described = BTreeSet::new();
    for (path, item) in &server.description.paths.paths {
        let operations = [
            ("GET", &item.get),
            ("PUT", &item.put),
            ("POST", &item.post),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
            ("HEAD", &item.head),
            ("OPTIONS", &item.options),
            ("TRACE", &item.trace),
        ];
        let methods = operations.into_iter().filter(|(_, operation)| operation.is_some());
        described.extend(methods.map(|(method, _)| (method.to_owned(), path.clone())));
    }
    assert_eq!(described, known, "say here which role each route needs");

    let ask = async |method: &str, path: &str, key: Option<&str>| {
        let place = named.iter().fold(path.to_owned(), |place, (name, value)| place.replace(name, value));
        assert!(!place.contains('{'), "{place}");
        let body = body(method, path);
        let mut headers: Vec<(&str, &str)> = key.map(|key| ("x-api-key", key)).into_iter().collect();
        headers.extend(body.as_ref().map(|_| ("content-type", "application/json")));
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let response = server.http.open(Method::from_bytes(method.as_bytes()).unwrap(), &place, &headers, text).await;
        let status = response.status().as_u16();
        // Streams are not read: they do not end.
        let code = match status {
            400.. => {
                let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
                body["code"].as_str().unwrap_or_default().to_owned()
            }
            _ => String::new(),
        };
        (status, code)
    };
    // Those who may not first: afterwards nothing must be different.
    for (method, path, least) in NEEDS {
        let stranger = ask(method, path, None).await;
        if least == "open" {
            assert_eq!(stranger.0, 200, "{method} {path}");
            continue;
        }
        assert_eq!(stranger, (401, "HP0801".to_owned()), "{method} {path}");
        for role in ROLES.into_iter().take_while(|role| *role != least) {
            let refused = ask(method, path, Some(&keys[role])).await;
            assert_eq!(refused, (403, "HP0803".to_owned()), "{role}: {method} {path}");
        }
    }
    let shown = ask("GET", "/approvals/{approval_id}", Some(&keys["viewer"])).await;
    assert_eq!(shown, (200, String::new()));
    // Then those who may, those who remove something last.
    let mut routes = NEEDS;
    routes.sort_by_key(|(method, path, _)| {
        (*method == "DELETE", path.ends_with("/answers"), std::cmp::Reverse(path.len()))
    });
    for (method, path, least) in routes {
        for role in ROLES.into_iter().skip_while(|role| *role != least) {
            let (status, code) = ask(method, path, Some(&keys[role])).await;
            assert!(status != 401 && code != "HP0803", "{role}: {method} {path}: {status} {code}");
            assert_ne!(status, 500, "{role}: {method} {path}: {code}");
        }
    }
}

#[tokio::test]
async fn an_answer_is_an_approvers_and_every_other_run_an_operators() {
    let (server, keys, named) = scene().await;
    let thread = named[0].1;
    let post = async |role: &str, path: &str, body: Value| {
        let headers = [("x-api-key", keys[role].as_str()), ("content-type", "application/json")];
        server.http.send(Method::POST, path, &headers, body.to_string()).await
    };
    let runs = format!("/threads/{thread}/runs");
    for more in [
        json!({ "command": { "resume": true, "update": { "title": "x" } } }),
        json!({ "command": { "resume": true, "goto": "pay" } }),
        json!({ "command": { "resume": true }, "webhook": "https://a.example" }),
        json!({ "command": { "resume": true }, "interrupt_before": "*" }),
        json!({ "command": { "resume": true }, "multitask_strategy": "rollback" }),
        json!({ "command": { "resume": true }, "if_not_exists": "create" }),
        json!({ "command": { "resume": true }, "checkpoint_id": "x" }),
    ] {
        let mut body = json!({ "assistant_id": "graph" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post("approver", &runs, body).await.refused(403, "HP0803");
    }
    let commands = format!("/threads/{thread}/commands");
    let answer = json!({ "id": 1, "method": "input.respond",
        "params": { "interrupt_id": named[2].1, "namespace": [], "response": true } });
    let start = json!({ "id": 1, "method": "run.start", "params": { "assistant_id": "graph", "input": {} } });
    assert_eq!(post("viewer", &commands, answer.clone()).await.expect(200)["error"], json!("permission_denied"));
    assert_eq!(post("approver", &commands, start).await.expect(200)["error"], json!("permission_denied"));
    post("viewer", &runs, json!({ "assistant_id": "graph", "command": { "resume": true } }))
        .await
        .refused(403, "HP0803");
    assert_eq!(post("approver", &commands, answer).await.expect(200)["type"], json!("success"));
}
