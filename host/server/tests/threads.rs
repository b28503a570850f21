//! Threads over HTTP: shapes, statuses and texts as LangGraph's clients expect them.

use std::sync::Arc;

use crate::support::{APPROVAL, BOOM, DOUBT, ECHO, PAIR, Setup, TestServer, admin};
use async_trait::async_trait;
use holdpoint_graph::ids::{Tenant, ThreadId};
use holdpoint_server::Settings;
use holdpoint_store::forward::Forward;
use holdpoint_store::{AuditEntry, AuditFilter, Error, MemoryStore, Store};
use reqwest::Method;
use serde_json::{Value, json};

const ID: &str = "01a1fbcd-8977-723c-8aaa-0123456789ab";

async fn server() -> TestServer {
    Setup::default().start().await
}

/// Another server on the same store, for callers of another tenant.
async fn neighbour(setup: &Setup) -> TestServer {
    let settings = Settings { tenant: Tenant::parse("other").unwrap(), ..Settings::default() };
    Setup { settings, worker: "second".into(), ..setup.clone() }.start().await
}

fn ids(threads: &Value) -> Vec<&str> {
    threads.as_array().unwrap().iter().map(|thread| thread["thread_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_fresh_thread_has_no_values_and_no_interrupts() {
    let server = server().await;
    let made =
        server.http.post("/threads", json!({ "thread_id": ID, "metadata": { "customer": 7 } })).await.expect(200);
    let expected = json!({
        "thread_id": ID,
        "created_at": "2023-11-14T22:13:20.000000+00:00",
        "updated_at": "2023-11-14T22:13:20.000000+00:00",
        "state_updated_at": "2023-11-14T22:13:20.000000+00:00",
        "metadata": { "customer": 7 },
        "status": "idle",
        "config": { "configurable": {} },
        "values": null,
    });
    assert_eq!(made, expected);
    assert_eq!(server.http.get(&format!("/threads/{ID}")).await.expect(200), expected);
    let upper = format!("/threads/{}", ID.to_uppercase());
    assert_eq!(server.http.get(&upper).await.expect(200), expected);
    let own = server.http.post("/threads", json!({})).await.expect(200);
    assert_eq!(own["thread_id"].as_str().unwrap().len(), 36);
    assert_eq!(own["metadata"], json!({}));
}

#[tokio::test]
async fn a_thread_is_made_once() {
    let setup = Setup::default();
    let server = setup.clone().start().await;
    server.http.post("/threads", json!({ "thread_id": ID, "metadata": { "a": 1 } })).await.expect(200);
    let again = server.http.post("/threads", json!({ "thread_id": ID })).await;
    again.refused(409, "HP0828");
    assert_eq!(again.body["detail"], format!("Thread with ID {ID} already exists"));
    let kept = server
        .http
        .post("/threads", json!({ "thread_id": ID, "if_exists": "do_nothing", "metadata": { "a": 2 } }))
        .await;
    assert_eq!(kept.expect(200)["metadata"], json!({ "a": 1 }));
    // Another tenant's is not told apart from one's own that may not be taken.
    let neighbour = neighbour(&setup).await;
    neighbour.http.post("/threads", json!({ "thread_id": ID, "if_exists": "do_nothing" })).await.refused(409, "HP0828");
}

#[tokio::test]
async fn ids_that_are_no_uuids_are_refused_unless_they_exist() {
    let server = server().await;
    for (method, path) in [
        (Method::GET, "/threads/t1"),
        (Method::DELETE, "/threads/t1"),
        (Method::PATCH, "/threads/t1"),
        (Method::POST, "/threads/t1/copy"),
        (Method::GET, "/threads/t1/state"),
        (Method::POST, "/threads/t1/state"),
        (Method::GET, "/threads/t1/history"),
        (Method::POST, "/threads/t1/history"),
        (Method::GET, "/threads/t%0a1"),
    ] {
        let refused = server.http.send(method, path, &[("content-type", "application/json")], "{}").await;
        refused.refused(422, "HP0827");
        assert_eq!(refused.body["detail"], "Invalid thread ID: must be a UUID");
    }
    server.http.post("/threads", json!({ "thread_id": "t1" })).await.refused(422, "HP0827");
    let missing = server.http.get(&format!("/threads/{ID}")).await;
    missing.refused(404, "HP0810");
    assert_eq!(missing.body["detail"], format!("Thread with ID {ID} not found"));
    // Made by the command line, say.
    let deployment = server.deploy("echo", ECHO).await;
    server.run("t1", &deployment, json!({})).await;
    assert_eq!(server.http.get("/threads/t1").await.expect(200)["values"], json!({ "log": ["plan"] }));
    assert_eq!(ids(&server.http.post("/threads/search", json!({})).await.expect(200)), ["t1"]);
}

#[tokio::test]
async fn a_thread_that_has_begun_names_its_graph_and_what_waits() {
    let server = server().await;
    let deployment = server.deploy("approval", APPROVAL).await;
    server.run(ID, &deployment, json!({ "title": "x" })).await;
    let thread = server.http.get(&format!("/threads/{ID}")).await.expect(200);
    let state = server.http.get(&format!("/threads/{ID}/state")).await.expect(200);
    assert_eq!((&thread["status"], &thread["error"]), (&json!("interrupted"), &Value::Null));
    assert_eq!(thread["values"], json!({ "title": "x", "log": ["plan"] }));
    let assistant = server.http.post("/assistants/search", json!({})).await.expect(200)[0]["assistant_id"].clone();
    assert_eq!(thread["metadata"], json!({ "graph_id": "approval", "assistant_id": assistant }));
    let task = &state["tasks"][0];
    let interrupts = thread["interrupts"].as_object().unwrap();
    assert_eq!(interrupts.keys().collect::<Vec<_>>(), [task["id"].as_str().unwrap()]);
    let waiting = &interrupts[task["id"].as_str().unwrap()][0];
    assert_eq!(waiting["value"], json!({ "type": "approval_required" }));
    assert_eq!(waiting["response_schema"]["type"], json!(["object", "boolean", "string", "array"]));
    assert_eq!(waiting["id"].as_str().unwrap().len(), 32);
    // Agent Inbox finds it by either.
    for filter in [json!({ "graph_id": "approval" }), json!({ "assistant_id": assistant })] {
        let found = server.http.post("/threads/search", json!({ "status": "interrupted", "metadata": filter })).await;
        assert_eq!(ids(&found.expect(200)), [ID]);
    }
    for filter in [json!({ "graph_id": "echo" }), json!({ "assistant_id": ID })] {
        let found = server.http.post("/threads/search", json!({ "metadata": filter })).await.expect(200);
        assert_eq!(found, json!([]));
    }
}

#[tokio::test]
async fn an_answered_question_is_nowhere_pending() {
    // Hazard H5: every view tells of the same questions.
    let server = server().await;
    let deployment = server.deploy("pair", PAIR).await;
    let view = server.run(ID, &deployment, json!({})).await;
    let first = holdpoint_graph::ids::QuestionId::parse(view.interrupts[0].id.as_str()).unwrap();
    let second = view.interrupts[1].id.clone();
    let engine = server.context.engine(&admin(&server.context));
    let thread = ThreadId::parse(ID).unwrap();
    let answers = holdpoint_engine::Answers::ById(vec![(first, json!(true))].into_iter().collect());
    engine.answer(&thread, &answers, "ana").await.unwrap();
    let thread = server.http.get(&format!("/threads/{ID}")).await.expect(200);
    let listed: Vec<&Value> =
        thread["interrupts"].as_object().unwrap().values().flat_map(|of| of.as_array().unwrap()).collect();
    assert_eq!(listed.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [second.as_str()]);
    let state = server.http.get(&format!("/threads/{ID}/state")).await.expect(200);
    let history = server.http.post(&format!("/threads/{ID}/history"), json!({})).await.expect(200);
    let found = server.http.post("/threads/search", json!({})).await.expect(200);
    for state in [&state, &history[0]] {
        assert_eq!(state["interrupts"].as_array().unwrap().len(), 1, "{state}");
        assert_eq!(state["interrupts"][0]["id"], second);
    }
    assert_eq!(state["next"], json!(["right"]));
    assert_eq!(state["values"]["log"], json!(["left"]), "what a finished sibling wrote shows");
    assert_eq!(found[0]["interrupts"], thread["interrupts"]);
}

#[tokio::test]
async fn a_question_whose_deadline_has_come_is_not_shown_as_waiting() {
    let server = server().await;
    let text = APPROVAL.replace("[nodes.approve.interrupt]", "[nodes.approve.interrupt]\ndeadline = \"1h\"");
    let deployment = server.deploy("approval", &text).await;
    server.run(ID, &deployment, json!({})).await;
    let waiting = || async {
        let thread = server.http.get(&format!("/threads/{ID}")).await.expect(200);
        let state = server.http.get(&format!("/threads/{ID}/state")).await.expect(200);
        assert_eq!(thread["interrupts"].as_object().unwrap().len(), state["interrupts"].as_array().unwrap().len());
        state["interrupts"].as_array().unwrap().len()
    };
    assert_eq!(waiting().await, 1);
    server.clock.advance_ms(3_600_000 - 1);
    assert_eq!(waiting().await, 1, "one millisecond before");
    server.clock.advance_ms(1);
    assert_eq!(waiting().await, 0, "at the deadline");
}

#[tokio::test]
async fn failure_and_doubt_are_told() {
    let server = server().await;
    let deployment = server.deploy("boom", BOOM).await;
    server.run(ID, &deployment, json!({})).await;
    let thread = server.http.get(&format!("/threads/{ID}")).await.expect(200);
    assert_eq!(thread["status"], "error");
    assert_eq!(thread["error"], json!({ "error": "ValueError", "message": "kaboom" }));
    assert_eq!(thread["interrupts"], json!({}));
    let state = server.http.get(&format!("/threads/{ID}/state")).await.expect(200);
    assert_eq!((&state["next"], &state["tasks"][0]["error"]), (&json!(["boom"]), &json!("ValueError: kaboom")));
    let deployment = server.deploy("doubt", DOUBT).await;
    server.run("doubtful", &deployment, json!({})).await;
    let thread = server.http.get("/threads/doubtful").await.expect(200);
    assert_eq!((&thread["status"], &thread["interrupts"]), (&json!("interrupted"), &json!({})));
    assert!(thread["error"]["error"].is_string(), "nobody can answer it, and it says why: {thread}");
    server.http.delete("/threads/doubtful").await.refused(409, "HP0434");
}

/// A store in which nothing can be put on the record by itself.
struct Unrecorded(MemoryStore);

#[async_trait]
impl Forward for Unrecorded {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    async fn put_audit(&self, _entries: Vec<AuditEntry>) -> Result<(), Error> {
        Err(Error::Unavailable("cut off between a change and its record".to_owned()))
    }
}

#[tokio::test]
async fn metadata_and_their_record_are_one_write() {
    let store: Arc<dyn Store> = Arc::new(Unrecorded(MemoryStore::new()));
    let server = Setup { store: Arc::clone(&store), ..Setup::default() }.start().await;
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    server.http.patch(&format!("/threads/{ID}"), json!({ "metadata": { "a": 1 } })).await.expect(200);
    let filter = AuditFilter { thread: Some(ThreadId::parse(ID).unwrap()), limit: 9, ..AuditFilter::default() };
    let kinds: Vec<String> = store.audit(&filter).await.unwrap().into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, ["thread.created", "thread.metadata"]);
}

#[tokio::test]
async fn metadata_are_merged() {
    let server = server().await;
    let path = format!("/threads/{ID}");
    server.http.post("/threads", json!({ "thread_id": ID, "metadata": { "a": 1, "b": 2 } })).await.expect(200);
    server.clock.advance_ms(1500);
    let patched = server.http.patch(&path, json!({ "metadata": { "b": 3, "a": null, "c": { "d": null } } })).await;
    let patched = patched.expect(200);
    assert_eq!(patched["metadata"], json!({ "b": 3, "c": { "d": null } }));
    assert_eq!(patched["updated_at"], "2023-11-14T22:13:21.500000+00:00");
    assert_eq!(patched["created_at"], "2023-11-14T22:13:20.000000+00:00");
    let headers = [("content-type", "application/json"), ("prefer", "return=minimal")];
    let minimal = server.http.send(Method::PATCH, &path, &headers, r#"{"metadata":{"e":4}}"#).await;
    assert_eq!((minimal.status, minimal.text.as_str()), (204, ""));
    assert_eq!(server.http.get(&path).await.expect(200)["metadata"]["e"], 4);
    server.http.patch(&path, json!({ "metadata": 7 })).await.refused(422, "HP0821");
    let audit = server.http.get(&format!("/audit?thread={ID}")).await.expect(200);
    let kinds: Vec<&str> =
        audit["records"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thread.created", "thread.metadata", "thread.metadata"]);
    assert_eq!(audit["records"][1]["body"]["members"], json!(["a", "b", "c"]));
}

#[tokio::test]
async fn a_deleted_thread_is_gone_and_its_id_can_be_used_again() {
    let server = server().await;
    let path = format!("/threads/{ID}");
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    let deleted = server.http.delete(&path).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    server.http.get(&path).await.refused(404, "HP0810");
    server.http.delete(&path).await.refused(404, "HP0810");
    let deployment = server.deploy("approval", APPROVAL).await;
    server.run(ID, &deployment, json!({})).await;
    server.http.delete(&path).await.expect(204);
    server.http.get(&format!("{path}/state")).await.refused(404, "HP0810");
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    let audit = server.http.get(&format!("/audit?thread={ID}")).await.expect(200);
    let deletions = audit["records"].as_array().unwrap().iter().filter(|one| one["kind"] == "thread.deleted").count();
    assert_eq!(deletions, 2, "the record outlives the thread: {audit}");
}

#[tokio::test]
async fn a_copy_has_the_history_and_asks_anew() {
    let server = server().await;
    let deployment = server.deploy("approval", APPROVAL).await;
    let view = server.run(ID, &deployment, json!({ "title": "x" })).await;
    server.http.patch(&format!("/threads/{ID}"), json!({ "metadata": { "customer": 7 } })).await.expect(200);
    let copy = server.http.post(&format!("/threads/{ID}/copy"), json!({})).await.expect(200);
    let id = copy["thread_id"].as_str().unwrap();
    assert_ne!(id, ID);
    assert_eq!(copy["values"], json!({ "title": "x", "log": ["plan"] }));
    assert_eq!((&copy["metadata"]["customer"], &copy["metadata"]["graph_id"]), (&json!(7), &json!("approval")));
    assert!(!copy.to_string().contains(&view.interrupts[0].id), "the original's question cannot be answered there");
    // Also one that has not begun.
    let fresh = server.http.post("/threads", json!({ "metadata": { "a": 1 } })).await.expect(200);
    let path = format!("/threads/{}/copy", fresh["thread_id"].as_str().unwrap());
    let copy = server.http.send(Method::POST, &path, &[], "").await.expect(200);
    assert_eq!((&copy["metadata"], &copy["status"]), (&json!({ "a": 1 }), &json!("idle")));
    server.http.post(&format!("/threads/{}/copy", ID.replace('1', "2")), json!({})).await.refused(404, "HP0810");
}

#[tokio::test]
async fn other_tenants_are_not_seen() {
    let setup = Setup::default();
    let (server, other) = (setup.clone().start().await, neighbour(&setup).await);
    let deployment = server.deploy("approval", APPROVAL).await;
    server.run(ID, &deployment, json!({})).await;
    for (method, path) in [
        (Method::GET, format!("/threads/{ID}")),
        (Method::PATCH, format!("/threads/{ID}")),
        (Method::DELETE, format!("/threads/{ID}")),
        (Method::POST, format!("/threads/{ID}/copy")),
        (Method::GET, format!("/threads/{ID}/state")),
        (Method::POST, format!("/threads/{ID}/state")),
        (Method::POST, format!("/threads/{ID}/state/checkpoint")),
        (Method::GET, format!("/threads/{ID}/history")),
        (Method::POST, format!("/threads/{ID}/history")),
    ] {
        let reply = other.http.send(method, &path, &[("content-type", "application/json")], "{}").await;
        reply.refused(404, "HP0810");
    }
    assert_eq!(other.http.post("/threads/search", json!({ "ids": [ID] })).await.expect(200), json!([]));
    assert_eq!(other.http.post("/threads/count", json!({})).await.expect(200), 0);
    let pruned = other.http.post("/threads/prune", json!({ "thread_ids": [ID] })).await.expect(200);
    assert_eq!(pruned, json!({ "pruned_count": 0 }));
    assert_eq!(server.http.post("/threads/count", json!({})).await.expect(200), 1);
}

#[tokio::test]
async fn searches_filter_sort_and_page() {
    let server = server().await;
    let echo = server.deploy("echo", ECHO).await;
    let approval = server.deploy("approval", APPROVAL).await;
    for (index, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let metadata = json!({ "team": { "name": name, "size": index }, "even": index % 2 == 0 });
        let made = server.http.post("/threads", json!({ "thread_id": thread(index), "metadata": metadata })).await;
        made.expect(200);
        server.clock.advance_ms(1000);
    }
    server.run(&thread(0), &echo, json!({})).await;
    server.clock.advance_ms(1000);
    server.run(&thread(1), &approval, json!({ "title": "x" })).await;
    let found = |body: Value| {
        let http = server.http.clone();
        async move {
            let threads = http.post("/threads/search", body).await.expect(200);
            let index = |id: &str| id.chars().last().unwrap().to_digit(10).unwrap();
            ids(&threads).into_iter().map(index).collect::<Vec<_>>()
        }
    };
    assert_eq!(found(json!({})).await, [1, 0, 3, 2], "last changed first");
    assert_eq!(found(json!({ "sort_by": "created_at", "sort_order": "asc" })).await, [0, 1, 2, 3]);
    assert_eq!(found(json!({ "sort_by": "created_at" })).await, [3, 2, 1, 0]);
    assert_eq!(found(json!({ "sort_by": "thread_id", "sort_order": "asc" })).await, [0, 1, 2, 3]);
    assert_eq!(found(json!({ "sort_by": "status", "sort_order": "asc" })).await, [0, 3, 2, 1]);
    assert_eq!(found(json!({ "sort_by": "status", "limit": 2, "offset": 1 })).await, [0, 3]);
    assert_eq!(found(json!({ "status": "interrupted" })).await, [1]);
    assert_eq!(found(json!({ "status": "error" })).await, [] as [u32; 0]);
    assert_eq!(found(json!({ "metadata": { "even": true } })).await, [0, 2]);
    assert_eq!(found(json!({ "metadata": { "team": { "name": "c" } } })).await, [2], "containment goes deep");
    assert_eq!(found(json!({ "metadata": { "team": { "name": "c" }, "even": false } })).await, [] as [u32; 0]);
    assert_eq!(found(json!({ "values": { "title": "x" } })).await, [1]);
    assert_eq!(found(json!({ "values": { "log": ["plan"] }, "limit": 1, "offset": 1 })).await, [0]);
    assert_eq!(found(json!({ "ids": [thread(3), thread(2), ID] })).await, [3, 2]);
    assert_eq!(found(json!({ "ids": [] })).await, [] as [u32; 0]);
    let count = |body: Value| {
        let http = server.http.clone();
        async move { http.post("/threads/count", body).await.expect(200) }
    };
    assert_eq!(count(json!({})).await, 4);
    assert_eq!(count(json!({ "metadata": { "team": { "size": 1 } } })).await, 1);
    assert_eq!(count(json!({ "values": { "log": ["plan"] } })).await, 2);
    assert_eq!(count(json!({ "status": "idle" })).await, 3);
    let page = server.http.post("/threads/search", json!({ "limit": 2, "offset": 1 })).await;
    assert_eq!(page.header("x-pagination-total"), Some("4"));
    assert_eq!(page.header("x-pagination-next"), Some("3"));
    assert_eq!(page.body.as_array().unwrap().len(), 2);
    let last = server.http.post("/threads/search", json!({ "limit": 2, "offset": 2 })).await;
    assert_eq!((last.header("x-pagination-total"), last.header("x-pagination-next")), (Some("4"), None));
    let scanned = server.http.post("/threads/search", json!({ "limit": 1, "values": { "log": ["plan"] } })).await;
    assert_eq!((scanned.header("x-pagination-total"), scanned.header("x-pagination-next")), (Some("2"), Some("1")));
}

#[tokio::test]
async fn a_search_by_values_reads_so_many_threads_and_no_more() {
    let server = server().await;
    let store = server.context.store();
    let entry = |number: usize| {
        let graph = if number < 10_000 { "many" } else { "few" };
        let metadata = serde_json::Map::from_iter([("graph_id".to_owned(), json!(graph))]);
        let tenant = server.context.settings().tenant.clone();
        holdpoint_store::ThreadEntry::new(format!("t{number}").parse().unwrap(), tenant, metadata, 1)
    };
    for number in 0..10_001 {
        store.put_entry(entry(number), Vec::new()).await.unwrap();
    }
    let all = json!({ "values": { "log": ["plan"] } });
    server.http.post("/threads/search", all.clone()).await.refused(422, "HP0849");
    server.http.post("/threads/count", all).await.refused(422, "HP0849");
    let few = json!({ "values": { "log": ["plan"] }, "metadata": { "graph_id": "few" } });
    assert_eq!(server.http.post("/threads/count", few).await.expect(200), 0);
    assert_eq!(
        server.http.post("/threads/count", json!({})).await.expect(200),
        10_001,
        "what an index tells has no such end"
    );
}

fn thread(index: usize) -> String {
    format!("01a1fbcd-8977-723c-8aaa-00000000000{index}")
}

#[tokio::test]
async fn searches_select_and_extract() {
    let server = server().await;
    let deployment = server.deploy("approval", APPROVAL).await;
    server.run(ID, &deployment, json!({ "title": "x" })).await;
    let found = server.http.post("/threads/search", json!({ "select": ["thread_id", "status"] })).await.expect(200);
    assert_eq!(found, json!([{ "thread_id": ID, "status": "interrupted" }]));
    server.clock.advance_ms(1000);
    let select = json!({ "select": ["updated_at", "state_updated_at", "metadata"] });
    let found = server.http.post("/threads/search", select).await.expect(200);
    let whole = server.http.get(&format!("/threads/{ID}")).await.expect(200);
    for (name, value) in found[0].as_object().unwrap() {
        assert_eq!(*value, whole[name], "{name}");
    }
    let query = json!({ "select": ["thread_id"], "extract": { "last": "values.log[-1]", "graph": "metadata.graph_id", "none": "values.x.y" } });
    let found = server.http.post("/threads/search", query).await.expect(200);
    let extracted = json!({ "last": "plan", "graph": "approval", "none": null });
    assert_eq!(found, json!([{ "thread_id": ID, "extracted": extracted }]));
    for (body, code) in [
        (json!({ "select": ["secrets"] }), "HP0821"),
        (json!({ "extract": { "a": "thread_id" } }), "HP0821"),
        (json!({ "extract": { "a": 1 } }), "HP0821"),
        (json!({ "limit": 0 }), "HP0821"),
        (json!({ "limit": 1001 }), "HP0821"),
        (json!({ "limit": "x" }), "HP0821"),
        (json!({ "offset": -1 }), "HP0821"),
        (json!({ "status": "waiting" }), "HP0821"),
        (json!({ "sort_by": "name" }), "HP0821"),
        (json!({ "metadata": [] }), "HP0821"),
        (json!({ "ids": ["a\nb"] }), "HP0827"),
    ] {
        let refused = server.http.post("/threads/search", body.clone()).await;
        refused.refused(422, code);
        let member = body.as_object().unwrap().keys().next().unwrap();
        assert!(code != "HP0821" || refused.body["detail"].as_str().unwrap().contains(member), "{}", refused.text);
    }
    // What nobody knows is passed over, and null is as absent.
    let odd = json!({ "cursor": 1, "limit": null, "status": null, "metadata": {} });
    assert_eq!(ids(&server.http.post("/threads/search", odd).await.expect(200)), [ID]);
}

#[tokio::test]
async fn pruning_removes_or_trims_what_is_done() {
    let server = server().await;
    let echo = server.deploy("echo", ECHO).await;
    let approval = server.deploy("approval", APPROVAL).await;
    server.run(&thread(1), &echo, json!({})).await;
    server.run(&thread(2), &echo, json!({})).await;
    server.run(&thread(3), &approval, json!({})).await;
    let history = |index: usize| {
        let http = server.http.clone();
        async move {
            let path = format!("/threads/{}/history", thread(index));
            http.post(&path, json!({ "limit": 100 })).await.expect(200).as_array().unwrap().len()
        }
    };
    let before = history(3).await;
    assert!(history(1).await > 1);
    let body = json!({ "thread_ids": [thread(1), thread(3), thread(9)], "strategy": "keep_latest" });
    assert_eq!(server.http.post("/threads/prune", body.clone()).await.expect(200), json!({ "pruned_count": 1 }));
    assert_eq!((history(1).await, history(3).await), (1, before), "one that waits keeps all of it");
    assert_eq!(server.http.post("/threads/prune", body).await.expect(200), json!({ "pruned_count": 0 }));
    let state = server.http.get(&format!("/threads/{}/state", thread(1))).await.expect(200);
    assert_eq!(state["values"], json!({ "log": ["plan"] }));
    let body = json!({ "thread_ids": [thread(1), thread(2)] });
    assert_eq!(server.http.post("/threads/prune", body).await.expect(200), json!({ "pruned_count": 2 }));
    server.http.get(&format!("/threads/{}", thread(1))).await.refused(404, "HP0810");
    server.http.post("/threads/prune", json!({})).await.refused(422, "HP0821");
    server.http.post("/threads/prune", json!({ "thread_ids": ["x"] })).await.refused(422, "HP0827");
}

#[tokio::test]
async fn a_thread_begins_with_a_history_that_is_given() {
    let server = server().await;
    server.deploy("approval", APPROVAL).await;
    let supersteps = json!([
        { "updates": [{ "values": { "title": "given" }, "as_node": "__input__" }] },
        { "updates": [{ "values": { "log": ["mine"] }, "command": { "update": { "title": "changed" } }, "as_node": "plan" }] },
    ]);
    let body = json!({ "thread_id": ID, "metadata": { "graph_id": "approval" }, "supersteps": supersteps });
    let made = server.http.post("/threads", body.clone()).await.expect(200);
    assert_eq!(made["values"], json!({ "title": "changed", "log": ["mine"] }));
    let state = server.http.get(&format!("/threads/{ID}/state")).await.expect(200);
    assert_eq!(state["next"], json!(["approve"]));
    // Nothing is left of one that is refused.
    let other = thread(1);
    let mut wrong = body.clone();
    wrong["thread_id"] = json!(other);
    wrong["supersteps"][1]["updates"][0]["as_node"] = json!("nobody");
    server.http.post("/threads", wrong).await.refused(422, "HP0435");
    server.http.get(&format!("/threads/{other}")).await.refused(404, "HP0810");
    let no_graph = json!({ "supersteps": supersteps });
    server.http.post("/threads", no_graph).await.refused(400, "HP0844");
    let mut unknown = body;
    unknown["thread_id"] = json!(other);
    unknown["metadata"]["graph_id"] = json!("refunds");
    let refused = server.http.post("/threads", unknown).await;
    refused.refused(422, "HP0831");
    assert!(refused.body["detail"].as_str().unwrap().contains("approval"), "{}", refused.text);
}

#[tokio::test]
async fn stores_are_shared_by_servers() {
    // Nothing of a thread is kept in a server's memory.
    let setup = Setup::default();
    let (one, two) = (setup.clone().start().await, Setup { worker: "second".into(), ..setup.clone() }.start().await);
    one.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    two.http.patch(&format!("/threads/{ID}"), json!({ "metadata": { "seen": true } })).await.expect(200);
    assert_eq!(one.http.get(&format!("/threads/{ID}")).await.expect(200)["metadata"], json!({ "seen": true }));
}

#[tokio::test]
async fn what_a_thread_takes_is_told_section_by_section() {
    let server = server().await;
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    let none = server.http.get(&format!("/threads/{ID}/storage")).await.expect(200);
    assert_eq!(none["total"], json!(0));
    server.deploy("approval", APPROVAL).await;
    let body = json!({ "assistant_id": "approval", "input": { "title": "x".repeat(5000) } });
    server.http.post(&format!("/threads/{ID}/runs/wait"), body).await.expect(200);
    let taken = server.http.get(&format!("/threads/{ID}/storage")).await.expect(200);
    let section = |name: &str| taken[name].as_u64().unwrap();
    assert!(section("values") > 5000 && section("checkpoints") > 0 && section("questions") > 0, "{taken}");
    let sections = ["checkpoints", "values", "tasks", "operations", "questions"];
    assert_eq!(section("total"), sections.into_iter().map(section).sum::<u64>());
    server.http.get("/threads/t/storage").await.refused(422, "HP0827");
}

#[tokio::test]
async fn what_cannot_be_changed_here_says_what_to_do_instead() {
    let server = server().await;
    server.deploy("echo", ECHO).await;
    server.http.post("/threads", json!({ "thread_id": ID })).await.expect(200);
    let assistant = server.http.post("/assistants/search", json!({})).await.expect(200)[0].clone();
    let id = assistant["assistant_id"].as_str().unwrap();
    let path = format!("/assistants/{id}");
    let own = json!({ "graph_id": "echo", "if_exists": "do_nothing" });
    assert_eq!(server.http.post("/assistants", own).await.expect(200), assistant);
    let own = json!({ "graph_id": "echo", "assistant_id": id, "if_exists": "do_nothing", "metadata": {} });
    assert_eq!(server.http.post("/assistants", own).await.expect(200), assistant);
    assert_eq!(server.http.post(&format!("{path}/latest"), json!({ "version": 1 })).await.expect(200), assistant);
    let refused = [
        server.http.post("/assistants", json!({ "graph_id": "echo" })).await,
        server.http.post("/assistants", json!({ "graph_id": "echo", "if_exists": "do_nothing", "name": "mine" })).await,
        server
            .http
            .post("/assistants", json!({ "graph_id": "echo", "if_exists": "do_nothing", "assistant_id": ID }))
            .await,
        server.http.patch(&path, json!({ "name": "mine" })).await,
        server.http.delete(&path).await,
        server.http.post(&format!("{path}/latest"), json!({ "version": 2 })).await,
    ];
    for reply in refused {
        reply.refused(422, "HP0846");
        assert!(!reply.body["cure"].as_str().unwrap().is_empty());
    }
    server.http.post("/assistants", json!({ "graph_id": "none" })).await.refused(422, "HP0831");
    let patched = server.http.patch(&format!("/threads/{ID}/state"), json!({ "metadata": { "a": 1 } })).await;
    patched.refused(422, "HP0847");
    assert!(patched.body["cure"].as_str().unwrap().contains("PATCH /threads"), "{}", patched.text);
}
