//! Another tenant's threads and runs: whoever asks for them is told what they would be told of some that do not exist, and changes nothing.

use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::Tenant;
use holdpoint_server::identity::keys::Fresh;
use holdpoint_store::AuditFilter;
use reqwest::Method;
use serde_json::{Value, json};

use crate::runs::scene::{Gate, SLOW};
use crate::support::{Setup, TestServer};

/// A caller with all roles in another tenant.
async fn stranger(server: &TestServer) -> String {
    let fresh = Fresh {
        name: "mallory".into(),
        tenant: Tenant::parse("other").unwrap(),
        roles: vec!["admin".into()],
        groups: vec!["finance".into()],
        expires_at_ms: None,
        by: Actor::asserted("test"),
    };
    let (key, record, entry) = fresh.make(server.context.now_ms()).unwrap();
    server.context.store().put_key(record, vec![entry]).await.unwrap();
    key
}

#[tokio::test]
async fn runs_of_another_tenant_are_not_there() {
    let gate = Gate::new();
    let server = Setup { nodes: gate.nodes(), ..Setup::default() }.start().await;
    server.deploy("slow", SLOW).await;
    let key = stranger(&server).await;
    let ask = async |method: &str, path: &str, body: Value| {
        let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
        let text = if body.is_null() { String::new() } else { body.to_string() };
        server.http.send(Method::from_bytes(method.as_bytes()).unwrap(), path, &headers, text).await
    };
    let thread = server.thread().await;
    let input = json!({ "assistant_id": "slow", "input": { "name": "secret" } });
    let over = server.start_run(&thread, input.clone()).await;
    gate.reached().await;
    gate.open(1);
    server.join(&thread, &over).await;
    let running = server.start_run(&thread, input.clone()).await;
    gate.reached().await;
    let pending = server.start_run(&thread, input.clone()).await;
    let before = trail(&server).await;

    let nothing = "01a1fbcd-8977-723c-8aaa-0123456789ab";
    let resume = json!({ "assistant_id": "slow", "command": { "resume": true } });
    let run = json!({ "assistant_id": "slow", "input": {}, "if_not_exists": "create" });
    let mut asked: Vec<(&str, String, Value)> = vec![
        ("GET", "/threads/T".into(), Value::Null),
        ("PATCH", "/threads/T".into(), json!({ "metadata": { "a": 1 } })),
        ("DELETE", "/threads/T".into(), Value::Null),
        ("POST", "/threads/T/copy".into(), json!({})),
        ("GET", "/threads/T/storage".into(), Value::Null),
        ("GET", "/threads/T/state".into(), Value::Null),
        ("POST", "/threads/T/state".into(), json!({ "values": { "name": "x" } })),
        ("PATCH", "/threads/T/state".into(), json!({ "metadata": {} })),
        ("POST", "/threads/T/history".into(), json!({})),
        ("GET", "/threads/T/runs".into(), Value::Null),
        ("GET", "/threads/T/stream".into(), Value::Null),
        ("POST", "/threads/T/stream/events".into(), json!({ "channels": ["values"] })),
        ("POST", "/threads/T/runs".into(), input.clone()),
        ("POST", "/threads/T/runs".into(), resume),
        ("POST", "/threads/T/runs/wait".into(), input.clone()),
        ("POST", "/threads/T/runs/stream".into(), input.clone()),
    ];
    for id in [&over, &running, &pending] {
        asked.extend([
            ("GET", format!("/threads/T/runs/{id}"), Value::Null),
            ("DELETE", format!("/threads/T/runs/{id}"), Value::Null),
            ("GET", format!("/threads/T/runs/{id}/join"), Value::Null),
            ("GET", format!("/threads/T/runs/{id}/join?cancel_on_disconnect=true"), Value::Null),
            ("GET", format!("/threads/T/runs/{id}/stream"), Value::Null),
            ("GET", format!("/threads/T/runs/{id}/stream?cancel_on_disconnect=true"), Value::Null),
            ("POST", format!("/threads/T/runs/{id}/cancel"), json!({})),
            ("POST", format!("/threads/T/runs/{id}/cancel?wait=1&action=rollback"), json!({})),
            ("POST", "/runs/cancel".into(), json!({ "thread_id": thread, "run_ids": [id] })),
        ]);
    }
    for (method, path, body) in asked {
        let reply = ask(method, &path.replace("/T", &format!("/{thread}")), body.clone()).await;
        assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text);
        // Word for word what is said of a thread that is not there.
        let body = serde_json::from_str(&body.to_string().replace(&thread, nothing)).unwrap();
        let of_none = ask(method, &path.replace("/T", &format!("/{nothing}")), body).await;
        assert_eq!((of_none.status, of_none.text), (404, reply.text.replace(&thread, nothing)), "{method} {path}");
        assert!(!reply.text.contains("secret") && !reply.text.contains("default"), "{}", reply.text);
    }
    // Its id is taken all the same: that is all that can be learned of one that is known already.
    ask("POST", "/threads", json!({ "thread_id": thread })).await.refused(409, "HP0828");
    ask("POST", "/threads", json!({ "thread_id": thread, "if_exists": "do_nothing" })).await.refused(409, "HP0828");
    ask("POST", &format!("/threads/{thread}/runs"), run).await.refused(404, "HP0810");
    for status in ["pending", "running", "all"] {
        ask("POST", "/runs/cancel", json!({ "status": status })).await.refused(404, "HP0842");
    }
    for search in ["/threads/search", "/threads/count"] {
        let found = ask("POST", search, json!({ "ids": [thread] })).await.expect(200);
        assert!(found == json!([]) || found == json!(0), "{found}");
    }
    let command = json!({ "id": 1, "method": "run.start", "params": { "assistant_id": "slow", "input": {} } });
    let told = ask("POST", &format!("/threads/{thread}/commands"), command).await.expect(200);
    assert_eq!((&told["type"], &told["error"]), (&json!("error"), &json!("invalid_argument")));

    assert_eq!(trail(&server).await, before, "nothing was done");
    assert_eq!(server.status(&thread, &running).await, "running");
    assert_eq!(server.status(&thread, &pending).await, "pending");
    gate.open(2);
    assert!(server.join(&thread, &pending).await.get("__error__").is_none());
}

/// What is on the record, without what refusals add.
async fn trail(server: &TestServer) -> Vec<String> {
    let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
    let trail = server.context.store().audit(&filter).await.unwrap();
    trail.iter().map(|record| record.to_json().to_string()).collect()
}
