//! Our own resources over HTTP, the description of all of it, and what becomes of requests that are wrong.

use std::time::Duration;

use crate::support::{APPROVAL, DOUBT, ECHO, Reply, Setup, TestServer, admin, graph};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::Tenant;
use holdpoint_server::Settings;
use holdpoint_server::identity::keys::Fresh;
use holdpoint_store::{AuditRecord, audit::Verifier};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ID: &str = "01a1fbcd-8977-723c-8aaa-0123456789ab";

async fn server() -> TestServer {
    Setup::default().start().await
}

async fn neighbour(setup: &Setup) -> TestServer {
    let settings = Settings { tenant: Tenant::parse("other").unwrap(), ..Settings::default() };
    Setup { settings, worker: "second".into(), ..setup.clone() }.start().await
}

/// A key with one role.
async fn key(server: &TestServer, role: &str) -> String {
    let fresh = Fresh {
        name: role.into(),
        tenant: Tenant::default(),
        roles: vec![role.into()],
        groups: Vec::new(),
        expires_at_ms: None,
        by: Actor::asserted("test"),
    };
    let (key, record, entry) = fresh.make(server.context.now_ms()).unwrap();
    server.context.store().put_key(record, vec![entry]).await.unwrap();
    key
}

async fn with_key(server: &TestServer, key: &str, method: Method, path: &str, body: &str) -> Reply {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    server.http.send(method, path, &headers, body.to_owned()).await
}

#[tokio::test]
async fn assistants_are_the_deployed_graphs() {
    let server = server().await;
    assert_eq!(server.http.post("/assistants/search", json!({})).await.expect(200), json!([]));
    server.deploy("approval", APPROVAL).await;
    server.deploy("echo", ECHO).await;
    server.deploy("echo", APPROVAL).await;
    let found = server.http.post("/assistants/search", json!({ "sort_by": "name", "sort_order": "asc" })).await;
    assert_eq!(found.header("x-pagination-total"), Some("2"));
    let found = found.expect(200);
    let id = found[0]["assistant_id"].as_str().unwrap();
    let expected = json!({
        "assistant_id": id, "graph_id": "approval", "config": {}, "context": {}, "metadata": { "created_by": "system" },
        "name": "approval", "created_at": "2023-11-14T22:13:20.000000+00:00",
        "updated_at": "2023-11-14T22:13:20.000000+00:00", "version": 1, "description": null,
    });
    assert_eq!((id.len(), &found[0]), (36, &expected));
    assert_eq!((&found[1]["name"], &found[1]["version"]), (&json!("echo"), &json!(2)));
    assert_eq!(server.http.get(&format!("/assistants/{id}")).await.expect(200), expected);
    // The same everywhere and for ever: clients keep it.
    let elsewhere = self::server().await;
    elsewhere.deploy("approval", ECHO).await;
    assert_eq!(elsewhere.http.post("/assistants/search", json!({})).await.expect(200)[0]["assistant_id"], id);
    for (query, count) in [
        (json!({}), 2),
        (json!({ "graph_id": "echo" }), 1),
        (json!({ "name": "APPRO" }), 1),
        (json!({ "metadata": { "created_by": "system" } }), 2),
        (json!({ "metadata": { "created_by": "ana" } }), 0),
    ] {
        assert_eq!(server.http.post("/assistants/count", query.clone()).await.expect(200), count, "{query}");
        let found = server.http.post("/assistants/search", query).await.expect(200);
        assert_eq!(found.as_array().unwrap().len(), count);
    }
    let selected = server.http.post("/assistants/search", json!({ "graph_id": "echo", "select": ["name"] })).await;
    assert_eq!(selected.expect(200), json!([{ "name": "echo" }]));
    let echo = found[1]["assistant_id"].as_str().unwrap();
    let versions = server.http.post(&format!("/assistants/{echo}/versions"), json!({})).await.expect(200);
    assert_eq!((&versions[0]["version"], &versions[1]["version"]), (&json!(2), &json!(1)));
    server.http.get(&format!("/assistants/{ID}")).await.refused(404, "HP0832");
    server.http.get("/assistants/approval").await.refused(422, "HP0827");
    server.http.post("/assistants/search", json!({ "limit": 0 })).await.refused(422, "HP0821");
    server.http.post("/assistants/search", json!({ "sort_by": "age" })).await.refused(422, "HP0821");
}

#[tokio::test]
async fn graphs_are_drawn_for_clients() {
    let server = server().await;
    server.deploy("approval", APPROVAL).await;
    let id = server.http.post("/assistants/search", json!({})).await.expect(200)[0]["assistant_id"].clone();
    let drawn = server.http.get(&format!("/assistants/{}/graph", id.as_str().unwrap())).await.expect(200);
    let node = |name: &str| json!({ "id": name, "type": "runnable", "data": { "name": name } });
    assert_eq!(drawn["nodes"], json!([node("__start__"), node("approve"), node("pay"), node("plan"), node("__end__")]));
    let edge = |from: &str, to: &str| json!({ "source": from, "target": to });
    let edges =
        json!([edge("__start__", "plan"), edge("approve", "pay"), edge("pay", "__end__"), edge("plan", "approve")]);
    assert_eq!(drawn["edges"], edges);
    assert_eq!(server.http.get("/assistants/approval/graph").await.expect(200), drawn, "by name, too");
    server.http.get("/assistants/nobody/graph").await.refused(404, "HP0832");
    server.http.get("/assistants/approval/graph?xray=maybe").await.refused(422, "HP0821");
    let schemas = server.http.get(&format!("/assistants/{}/schemas", id.as_str().unwrap())).await.expect(200);
    assert_eq!(schemas["graph_id"], "approval");
    assert_eq!(schemas["state_schema"]["properties"]["title"], json!({ "type": "string" }));
    assert_eq!((&schemas["config_schema"], &schemas["input_schema"]), (&Value::Null, &schemas["state_schema"]));
    server.http.get("/assistants/approval/schemas").await.refused(422, "HP0827");
    let conditional = "start = \"plan\"\n[state]\nok = { type = \"boolean\" }\n[nodes.plan]\nnext = [{ when = \"state.ok\", to = \"pay\" }, { to = \"END\" }]\n[nodes.pay]\nnext = \"END\"\n";
    server.deploy("conditional", conditional).await;
    let drawn = server.http.get("/assistants/conditional/graph").await.expect(200);
    let taken = json!({ "source": "plan", "target": "pay", "conditional": true, "data": "state.ok" });
    let otherwise = json!({ "source": "plan", "target": "__end__", "conditional": true });
    assert!(drawn["edges"].as_array().unwrap().contains(&taken), "{drawn}");
    assert!(drawn["edges"].as_array().unwrap().contains(&otherwise), "{drawn}");
}

#[tokio::test]
async fn subgraphs_are_drawn_from_inside_where_asked() {
    let server = server().await;
    let engine = server.context.engine(&admin(&server.context));
    let inner = "start = \"one\"\n[state]\nlog = {}\n[nodes.one]\nnext = \"two\"\n[nodes.two]\nnext = \"END\"\n";
    let inner = engine.deploy(graph("inner", inner)).await.unwrap();
    let outer = |digest: &str, next: &str| {
        format!(
            "start = \"child\"\n[state]\nlog = {{}}\n[nodes.child] # subgraph\ngraph = \"{digest}\"\nnext = \"{next}\"\n[nodes.last]\nnext = \"END\"\n"
        )
    };
    let middle = engine.deploy(graph("middle", &outer(inner.digest.as_str(), "last"))).await.unwrap();
    server.deploy("outer", &outer(middle.digest.as_str(), "last")).await;
    let edges = |xray: &str| {
        let (http, path) = (server.http.clone(), format!("/assistants/outer/graph?xray={xray}"));
        async move {
            let drawn = http.get(&path).await.expect(200);
            let mut edges: Vec<String> = drawn["edges"]
                .as_array()
                .unwrap()
                .iter()
                .map(|edge| format!("{} {}", edge["source"].as_str().unwrap(), edge["target"].as_str().unwrap()))
                .collect();
            edges.sort();
            edges.join(", ")
        }
    };
    assert_eq!(edges("false").await, "__start__ child, child last, last __end__");
    assert_eq!(edges("1").await, "__start__ child:child, child:child child:last, child:last last, last __end__");
    assert_eq!(
        edges("true").await,
        "__start__ child:child:one, child:child:one child:child:two, child:child:two child:last, child:last last, last __end__"
    );
    let id =
        server.http.post("/assistants/search", json!({ "graph_id": "outer" })).await.expect(200)[0]["assistant_id"]
            .clone();
    let path = format!("/assistants/{}/subgraphs", id.as_str().unwrap());
    let names = |found: Value| found.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let direct = server.http.get(&path).await.expect(200);
    assert_eq!(direct["child"]["graph_id"], "middle");
    assert_eq!(names(direct), ["child"]);
    assert_eq!(names(server.http.get(&format!("{path}?recurse=true")).await.expect(200)), ["child", "child|child"]);
    assert_eq!(names(server.http.get(&format!("{path}/child")).await.expect(200)), ["child"]);
    assert_eq!(
        names(server.http.get(&format!("{path}/child?recurse=true")).await.expect(200)),
        ["child", "child|child"]
    );
    assert_eq!(server.http.get(&format!("{path}/nobody")).await.expect(200), json!({}));
}

#[tokio::test]
async fn the_server_says_what_it_can() {
    let server = server().await;
    let info = server.http.get("/info").await.expect(200);
    assert_eq!(info["flags"]["strict_resume"], true);
    assert_eq!(info["flags"]["assistants"], true);
    assert!(info["version"].is_string() && info["host"].is_object());
    assert_eq!(server.http.get("/ok").await.expect(200), json!({ "ok": true, "services": {} }));
}

#[tokio::test]
async fn doubt_is_listed_and_settled_in_somebodys_name() {
    let setup = Setup::default();
    let (server, other) = (setup.clone().start().await, neighbour(&setup).await);
    let deployment = server.deploy("doubt", DOUBT).await;
    server.run(ID, &deployment, json!({})).await;
    let listed = server.http.get("/operations/in-doubt").await.expect(200);
    let operation = &listed[0];
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&operation["state"], &operation["request"]), (&json!("in-doubt"), &json!({ "amount": 1 })));
    for path in ["/operations?open=true", "/operations?id=one", "/operations", &format!("/operations?thread={ID}")] {
        assert_eq!(server.http.get(path).await.expect(200), listed, "{path}");
    }
    assert_eq!(server.http.get("/operations?id=two").await.expect(200), json!([]));
    for path in ["/operations", "/operations/in-doubt", "/operations?id=one"] {
        assert_eq!(other.http.get(path).await.expect(200), json!([]), "another tenant's");
    }
    other.http.get(&format!("/operations?thread={ID}")).await.refused(404, "HP0810");
    server.http.get("/operations?limit=0").await.refused(422, "HP0821");
    server.http.get("/operations?open=maybe").await.refused(422, "HP0821");
    let word = |word: &str, reason: &str| {
        json!({
            "scope": operation["scope"], "connector": "payments", "id": "one", "word": word, "reason": reason,
            "result": { "paid": true },
        })
    };
    other.http.post("/operations/settle", word("happened", "x")).await.refused(404, "HP0430");
    server.http.post("/operations/settle", word("happened", " ")).await.refused(422, "HP0433");
    server.http.post("/operations/settle", word("perhaps", "x")).await.refused(422, "HP0821");
    let mut odd = word("happened", "x");
    odd["scope"] = json!("planet:earth");
    server.http.post("/operations/settle", odd).await.refused(422, "HP0821");
    let mut unknown = word("happened", "x");
    unknown["id"] = json!("two");
    server.http.post("/operations/settle", unknown).await.refused(404, "HP0430");
    let settled = server.http.post("/operations/settle", word("happened", "the bank says so")).await.expect(200);
    assert_eq!((&settled["state"], &settled["outcome"]), (&json!("completed"), &json!({ "answer": { "paid": true } })));
    assert_eq!(settled["notes"][0]["text"], "the bank says so");
    // Its thread goes on by itself.
    let path = format!("/threads/{ID}");
    let goes_on = async { while server.http.get(&path).await.expect(200)["status"] != "idle" {} };
    tokio::time::timeout(Duration::from_secs(20), goes_on).await.expect("the thread goes on");
    assert_eq!(server.nodes.started("doubt"), 2);
    server.http.post("/operations/settle", word("fail", "no")).await.refused(409, "HP0431");
    assert_eq!(server.http.get("/operations/in-doubt").await.expect(200), json!([]));
    let audit = server.http.get(&format!("/audit?thread={ID}")).await.expect(200);
    assert!(audit["records"].as_array().unwrap().iter().any(|one| one["kind"] == "operation.settled"), "{audit}");
}

#[tokio::test]
async fn the_trail_verifies_and_is_shown_to_whom_it_concerns() {
    let setup = Setup::default();
    let (server, other) = (setup.clone().start().await, neighbour(&setup).await);
    let deployment = server.deploy("echo", ECHO).await;
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    server.run("second", &deployment, json!({})).await;
    other.http.post("/threads", json!({})).await.expect(200);
    let of_thread = server.http.get("/audit?thread=second").await.expect(200);
    let mut verifier = Verifier::of_one_thread();
    for record in of_thread["records"].as_array().unwrap() {
        verifier.check(&AuditRecord::from_json(record).unwrap()).unwrap();
    }
    let whole = server.http.get("/audit").await;
    let head = whole.header("x-holdpoint-audit-head").map(str::to_owned);
    let whole = whole.expect(200);
    let records = whole["records"].as_array().unwrap();
    assert!(records.len() >= 2 && records.iter().all(|record| record["tenant"] == "default"), "{whole}");
    assert_eq!((head.as_deref(), &whole["next"]), (whole["head"]["digest"].as_str(), &Value::Null));
    assert!(whole["head"]["sequence"].as_u64().unwrap() > records.len() as u64, "the head is the whole trail's");
    // Page by page it is the same.
    let mut paged = Vec::new();
    let mut after = 0;
    loop {
        let page = server.http.get(&format!("/audit?limit=1&after={after}")).await.expect(200);
        paged.extend(page["records"].as_array().unwrap().clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(&paged, records);
    let lines = server.http.send(Method::GET, "/audit", &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let read: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&read, records);
    let theirs = other.http.get("/audit").await.expect(200);
    assert!(theirs["records"].as_array().unwrap().iter().all(|record| record["tenant"] == "other"));
    assert_eq!(other.http.get("/audit?thread=second").await.expect(200)["records"], json!([]));
    let viewer = key(&server, "viewer").await;
    with_key(&server, &viewer, Method::GET, "/audit", "").await.refused(403, "HP0803");
    let seen = with_key(&server, &viewer, Method::GET, "/audit?thread=second", "").await.expect(200);
    assert_eq!((&seen["records"], &seen["head"]), (&of_thread["records"], &Value::Null));
    server.http.get("/audit?limit=10001").await.refused(422, "HP0821");
    server.http.get("/audit?after=x").await.refused(422, "HP0821");
}

#[tokio::test]
async fn graphs_are_deployed_and_shown() {
    let server = server().await;
    let text = "name = \"sent\"\nstart = \"plan\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.plan]\ncomponent = \"plan.wasm\"\nnext = \"END\"\n";
    let report = server.http.post("/graphs", json!({ "graph": text })).await.expect(200);
    assert_eq!((&report["name"], &report["version"]), (&json!("sent"), &json!("1")));
    server.http.post("/graphs", json!({ "graph": "start = 7" })).await.refused(422, "HP0811");
    server.deploy("approval", APPROVAL).await;
    server.deploy("approval", ECHO).await;
    let listed = server.http.get("/graphs").await.expect(200);
    let seen: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["version"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("approval", "2"), ("sent", "1")]);
    let newest = server.http.get("/graphs/approval").await.expect(200);
    assert_eq!(newest["versions"].as_array().unwrap().len(), 2);
    assert!(newest["diagram"].as_str().unwrap().starts_with("flowchart TD"));
    assert_eq!(newest["document"]["name"], "approval");
    let first = server.http.get("/graphs/approval?version=1").await.expect(200);
    assert!(first["document"]["nodes"]["approve"].is_object() && newest["document"]["nodes"]["approve"].is_null());
    server.http.get("/graphs/approval?version=3").await.refused(404, "HP0831");
    server.http.get("/graphs/nobody").await.refused(404, "HP0831");
    assert_eq!(server.http.get("/components").await.expect(200), json!([]));
}

#[tokio::test]
async fn roles_bound_what_callers_may() {
    let server = server().await;
    let deployment = server.deploy("approval", APPROVAL).await;
    server.run(ID, &deployment, json!({})).await;
    let viewer = key(&server, "viewer").await;
    let operator = key(&server, "operator").await;
    let thread = format!("/threads/{ID}");
    for (method, path, body) in [
        (Method::GET, thread.clone(), ""),
        (Method::POST, "/threads/search".into(), "{}"),
        (Method::POST, "/threads/count".into(), "{}"),
        (Method::GET, format!("{thread}/state"), ""),
        (Method::POST, format!("{thread}/state/checkpoint"), "{}"),
        (Method::POST, format!("{thread}/history"), "{}"),
        (Method::POST, "/assistants/search".into(), "{}"),
        (Method::GET, "/operations".into(), ""),
        (Method::GET, "/graphs".into(), ""),
        (Method::GET, "/components".into(), ""),
    ] {
        with_key(&server, &viewer, method, &path, body).await.expect(200);
    }
    for (method, path, body) in [
        (Method::POST, "/threads".to_owned(), "{}"),
        (Method::PATCH, thread.clone(), "{}"),
        (Method::DELETE, thread.clone(), ""),
        (Method::POST, format!("{thread}/copy"), ""),
        (Method::POST, format!("{thread}/state"), "{}"),
        (Method::POST, "/threads/prune".into(), r#"{"thread_ids":[]}"#),
        (
            Method::POST,
            "/operations/settle".into(),
            r#"{"scope":"global:x","connector":"c","id":"i","word":"send","reason":"r"}"#,
        ),
        (Method::POST, "/graphs".into(), "{}"),
    ] {
        with_key(&server, &viewer, method, &path, body).await.refused(403, "HP0803");
    }
    with_key(&server, &operator, Method::POST, "/threads", "{}").await.expect(200);
    with_key(&server, &operator, Method::POST, "/graphs", "{}").await.refused(403, "HP0803");
    assert_eq!(server.http.get(&thread).await.expect(200)["status"], "interrupted", "nothing was changed");
}

#[tokio::test]
async fn everything_that_is_served_is_described() {
    let server = server().await;
    let served = server.http.get("/openapi.json").await.expect(200);
    assert!(served["openapi"].as_str().unwrap().starts_with("3."));
    assert_eq!(served, serde_json::to_value(&server.description).unwrap());
    let paths = served["paths"].as_object().unwrap();
    let mut asked = 0;
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in paths {
        let address =
            path.split('/').map(|part| if part.starts_with('{') { ID } else { part }).collect::<Vec<_>>().join("/");
        for method in item.as_object().unwrap().keys() {
            let Ok(verb) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            if !matches!(method.as_str(), "get" | "post" | "put" | "patch" | "delete") {
                continue;
            }
            asked += 1;
            names.insert(item[method]["operationId"].as_str().unwrap());
            let headers = [("content-type", "application/json")];
            let sending = server.http.open(verb, &address, &headers, "{}");
            // Streams stay open: their head is enough.
            let response = tokio::time::timeout(Duration::from_secs(20), sending).await.expect("an answer");
            let status = response.status().as_u16();
            assert_ne!(status, 405, "{method} {path}");
            if status == 404 {
                let code = response.bytes().await.unwrap();
                let code = serde_json::from_slice::<Value>(&code).unwrap_or_default()["code"].clone();
                assert_ne!(code, "HP0825", "{method} {path} is described and not served");
            }
        }
    }
    assert!(asked > 40, "{asked}");
    assert_eq!(names.len(), asked, "each operation has a name of its own");
    // The other way round: routes are added together with their description only.
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                // Pages for people are no interface for programs.
                folders.extend(Some(path).filter(|path| !path.ends_with("inbox")));
                continue;
            }
            // Links lead people to pages.
            if path.ends_with("resources/links.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            // Unit tests have servers of their own.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for undescribed in
                [".route(\"", ".route(&", ".route_service(", ".nest_service(", "Router::<Context>::new().route("]
            {
                assert!(!text.contains(undescribed), "{} adds a route without a description", path.display());
            }
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_in_our_form() {
    let settings = Settings { body_bytes_max: 2000, ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    let json_type = [("content-type", "application/json")];
    let post = |body: String| server.http.send(Method::POST, "/threads", &json_type, body);
    for body in ["{", "nonsense", "{\"a\":1,}", "{} {}", "\u{0}", "{\"metadata\": {\"a\": 1e999}}"] {
        post(body.to_owned()).await.refused(400, "HP0820");
    }
    post("[".repeat(1500)).await.refused(400, "HP0820");
    let deep = format!(r#"{{"metadata":{{"a":{}{}}}}}"#, "[".repeat(500), "]".repeat(500));
    post(deep).await.refused(400, "HP0820");
    for body in ["[]", "7", "\"x\"", "true"] {
        post(body.to_owned()).await.refused(422, "HP0821");
    }
    let wrong = post(r#"{"metadata":"x"}"#.to_owned()).await;
    wrong.refused(422, "HP0821");
    assert!(wrong.body["detail"].as_str().unwrap().starts_with("`metadata`: "), "{}", wrong.text);
    post(r#"{"if_exists":"maybe"}"#.to_owned()).await.refused(422, "HP0821");
    post(format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(2000))).await.refused(413, "HP0822");
    // Chunks, whose length nobody says before.
    assert_eq!(chunked(&server, vec![b' '; 5000]).await, 413);
    // What a form of another site can send.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let headers = [("content-type", kind)];
        let sent = server.http.send(Method::POST, "/threads", &headers[..usize::from(!kind.is_empty())], "{}").await;
        sent.refused(415, "HP0823");
    }
    assert_eq!(server.http.post("/threads/count", json!({})).await.expect(200), 0, "nothing was made");
    // Nothing is an empty object; null and what nobody knows count as absent.
    server.http.send(Method::POST, "/threads", &[], "").await.expect(200);
    post(r#"{"thread_id":null,"metadata":null,"if_exists":null,"surprise":[1]}"#.to_owned()).await.expect(200);
    for path in ["/nowhere", "/threads/x/y/z", "/assistants/a/b"] {
        server.http.get(path).await.refused(404, "HP0825");
    }
    for (method, path) in [
        (Method::PUT, "/threads"),
        (Method::GET, "/threads"),
        (Method::DELETE, "/assistants/search"),
        (Method::POST, "/ok"),
    ] {
        server.http.send(method, path, &json_type, "{}").await.refused(405, "HP0826");
    }
    let odd = server.http.get("/threads/%ff").await;
    odd.refused(422, "HP0821");
    server.http.get("/ok").await.expect(200);
}

/// Sends a body in chunks, by hand; gives the status.
async fn chunked(server: &TestServer, body: Vec<u8>) -> u16 {
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = "POST /threads HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in body.chunks(100) {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        // The server may have answered and closed.
        if stream.write_all(&framed).await.is_err() {
            break;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
    status(&mut stream).await
}

async fn status(stream: &mut tokio::net::TcpStream) -> u16 {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let settings = Settings { body_timeout: Duration::from_millis(50), ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head =
        "POST /threads HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status(&mut stream).await, 408);
    assert_eq!(server.http.post("/threads/count", json!({})).await.expect(200), 0);
}

#[tokio::test]
async fn answers_end_when_the_server_stops() {
    let server = server().await;
    server.http.post("/threads", json!({})).await.expect(200);
    tokio::time::timeout(Duration::from_secs(20), server.stop()).await.expect("it stops");
}
