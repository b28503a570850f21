//! Every reply of the table in `resources/approvals.rs`, over HTTP.

use crate::support::{self, FakeNodes, Reply, Setup, TestServer, ask, update};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::{Tenant, ThreadId};
use holdpoint_server::Settings;
use holdpoint_server::identity::keys::Fresh;
use holdpoint_store::{AuditFilter, AuditRecord, ThreadStatus};
use reqwest::Method;
use serde_json::{Value, json};

/// One question, with the policy's lines.
fn graph(policy: &str) -> String {
    format!(
        r#"
start = "gate"
[state]
answer = {{}}
[nodes.gate]
next = "END"
[nodes.gate.interrupt]
{policy}
"#
    )
}

const FINANCE: &str = r#"deadline = "2h"
assignees = ["group:finance"]
distinct_from = "requester"
reason_required_on = ["reject"]
answer_schema = { type = "object", required = ["approved"] }"#;

struct Scene {
    server: TestServer,
    id: String,
    digest: String,
}

async fn scene_with(policy: &str, payload: Value) -> Scene {
    let nodes = FakeNodes::default().with("gate", move |call| match ask(call, 0, payload.clone()) {
        Ok(answer) => update(json!({ "answer": answer })),
        Err(outcome) => outcome,
    });
    let server = Setup { nodes, ..Setup::default() }.start().await;
    let deployment = server.deploy("refund", &graph(policy)).await;
    let view = server.run("t", &deployment, json!({})).await;
    let id = view.interrupts[0].id.clone();
    let shown = server.http.get(&format!("/approvals/{id}")).await.expect(200);
    let digest = shown["digest"].as_str().unwrap().to_owned();
    Scene { server, id, digest }
}

async fn scene(policy: &str) -> Scene {
    scene_with(policy, json!({ "order": "9241", "amount_cents": 50000 })).await
}

impl Scene {
    async fn post(&self, who: &str, path: &str, body: Value, extra: &[(&str, &str)]) -> Reply {
        let mut headers =
            vec![("content-type", "application/json"), ("x-holdpoint-actor", who), ("x-holdpoint-groups", "finance")];
        headers.extend(extra);
        let path = format!("/approvals/{}/{path}", self.id);
        self.server.http.send(Method::POST, &path, &headers, body.to_string()).await
    }

    async fn answer(&self, who: &str, mut body: Value) -> Reply {
        if body.get("payload_digest").is_none() {
            body["payload_digest"] = self.digest.clone().into();
        }
        self.post(who, "answers", body, &[]).await
    }

    async fn answer_with_key(&self, who: &str, key: &str, mut body: Value) -> Reply {
        body["payload_digest"] = self.digest.clone().into();
        self.post(who, "answers", body, &[("idempotency-key", key)]).await
    }

    async fn status(&self) -> String {
        let shown = self.server.http.get(&format!("/approvals/{}", self.id)).await.expect(200);
        shown["status"].as_str().unwrap().to_owned()
    }

    async fn audit(&self) -> Vec<AuditRecord> {
        let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
        self.server.context.store().audit(&filter).await.unwrap()
    }

    /// Waits until the thread is done, and gives what the node was answered.
    async fn answered(&self) -> Value {
        let thread = ThreadId::parse("t").unwrap();
        let waiting = async {
            loop {
                let view =
                    self.server.context.engine(&support::admin(&self.server.context)).view(&thread).await.unwrap();
                if view.status == ThreadStatus::Done {
                    return view.values["answer"].clone();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("the thread goes on by itself")
    }
}

fn yes() -> Value {
    json!({ "decision": "accept" })
}

#[tokio::test]
async fn a_valid_answer_is_taken_and_the_thread_goes_on() {
    let scene = scene(FINANCE).await;
    let body = scene.answer("ana", yes()).await.expect(202);
    assert_eq!((body["status"].as_str(), body["decision"]["by"].as_str()), (Some("approved"), Some("ana")));
    assert_eq!(scene.answered().await, json!({ "approved": true }));
}

#[tokio::test]
async fn the_same_key_gets_the_same_reply_and_another_body_none() {
    let scene = scene(FINANCE).await;
    let first = scene.answer_with_key("ana", "k1", yes()).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, None));
    let again = scene.answer_with_key("ana", "k1", yes()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
    assert_eq!(again.body, first.body);
    let other = json!({ "decision": "reject", "message": "no" });
    scene.answer_with_key("ana", "k1", other).await.refused(422, "HP0910");
    // A key is its actor's: another's is another key.
    scene.answer_with_key("ben", "k1", yes()).await.refused(409, "HP0407");
    let decided = scene.audit().await.iter().filter(|record| record.kind == "question.decided").count();
    assert_eq!(decided, 1);
    scene.answer_with_key("ana", "", yes()).await.refused(422, "HP0821");
    scene.answer_with_key("ana", &"k".repeat(256), yes()).await.refused(422, "HP0821");
}

#[tokio::test]
async fn the_second_is_told_who_was_first() {
    let scene = scene(FINANCE).await;
    scene.answer("ana", yes()).await.expect(202);
    let lost = scene.answer("ben", json!({ "decision": "reject", "message": "no" })).await;
    lost.refused(409, "HP0407");
    let winner = &lost.body["winner"];
    assert_eq!((winner["decision"].as_str(), winner["actor"].as_str()), (Some("accept"), Some("ana")));
    assert_eq!(winner["at"], "2023-11-14T22:13:20.000Z");
    assert_eq!(scene.answered().await, json!({ "approved": true }));
}

#[tokio::test]
async fn fifty_at_once_have_one_winner() {
    let scene = std::sync::Arc::new(scene(r#"assignees = ["group:finance"]"#).await);
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..50 {
        let scene = std::sync::Arc::clone(&scene);
        let verdict = if number % 2 == 0 { "accept" } else { "reject" };
        asked.spawn(async move { scene.answer(&format!("user-{number}"), json!({ "decision": verdict })).await });
    }
    let replies = asked.join_all().await;
    let winners: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 202).collect();
    assert_eq!(winners.len(), 1);
    let winner = winners[0].body["decision"]["by"].as_str().unwrap();
    for lost in replies.iter().filter(|reply| reply.status != 202) {
        lost.refused(409, "HP0407");
        assert_eq!(lost.body["winner"]["actor"], winner);
    }
}

#[tokio::test]
async fn the_deadline_is_the_last_moment_that_is_too_late() {
    const TWO_HOURS_MS: u64 = 2 * 60 * 60 * 1000;
    let early = scene(FINANCE).await;
    early.server.clock.advance_ms(TWO_HOURS_MS - 1);
    early.answer("ana", yes()).await.expect(202);
    for late_by_ms in [0, 1] {
        // No tick of the worker comes by: the deadline needs nobody.
        let late = scene(FINANCE).await;
        late.server.clock.advance_ms(TWO_HOURS_MS + late_by_ms);
        let reply = late.answer("ana", yes()).await;
        reply.refused(409, "HP0908");
        assert_eq!(
            (reply.body["reason"].as_str(), reply.body["winner"]["actor"].as_str()),
            (Some("expired"), Some("system:deadline"))
        );
        assert_eq!(late.status().await, "expired");
    }
}

#[tokio::test]
async fn what_was_not_seen_is_not_answered() {
    let scene = scene(FINANCE).await;
    let other = format!("sha256:{}", "0".repeat(64));
    let reply = scene.answer("ana", json!({ "decision": "accept", "payload_digest": other })).await;
    reply.refused(409, "HP0907");
    assert_eq!(
        (reply.body["reason"].as_str(), reply.body["current_digest"].as_str()),
        (Some("stale"), Some(&*scene.digest))
    );
    scene.answer("ana", json!({ "decision": "accept", "payload_digest": "12" })).await.refused(422, "HP0821");
    scene.post("ana", "answers", yes(), &[]).await.refused(422, "HP0821");
    assert_eq!(scene.status().await, "pending");
    let bare = scene.digest.strip_prefix("sha256:").unwrap();
    scene.answer("ana", json!({ "decision": "accept", "payload_digest": bare })).await.expect(202);
}

#[tokio::test]
async fn who_may_not_is_refused_and_on_the_record() {
    let scene = scene(FINANCE).await;
    // Of the group, but the one who asked for it.
    scene.answer("test", yes()).await.refused(403, "HP0902");
    let stranger = [("x-holdpoint-groups", "sales")];
    let path = format!("/approvals/{}/answers", scene.id);
    let headers = [stranger[0], ("x-holdpoint-actor", "eve"), ("content-type", "application/json")];
    let body = json!({ "decision": "accept", "payload_digest": scene.digest }).to_string();
    scene.server.http.send(Method::POST, &path, &headers, body.clone()).await.refused(403, "HP0901");
    let fresh = Fresh {
        name: "watcher".into(),
        tenant: Tenant::default(),
        roles: vec!["viewer".into()],
        groups: vec!["finance".into()],
        expires_at_ms: None,
        by: Actor::asserted("test"),
    };
    let (key, record, _) = fresh.make(scene.server.context.now_ms()).unwrap();
    scene.server.context.store().put_key(record, Vec::new()).await.unwrap();
    let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
    scene.server.http.send(Method::POST, &path, &headers, body).await.refused(403, "HP0803");
    assert_eq!(scene.status().await, "pending");
    let refused: Vec<(String, String)> = scene
        .audit()
        .await
        .iter()
        .filter(|record| record.kind == "question.refused")
        .map(|record| (record.actor.id.clone(), record.body["code"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [("test", "HP0902"), ("eve", "HP0901"), ("key:watcher", "HP0803")];
    assert_eq!(refused, expected.map(|(who, code)| (who.to_owned(), code.to_owned())));
}

#[tokio::test]
async fn an_answer_that_is_not_valid_leaves_it_pending() {
    let scene = scene(FINANCE).await;
    let respond = scene.answer("ana", json!({ "decision": "respond", "value": { "other": 1 } })).await;
    respond.refused(422, "HP0413");
    assert!(!respond.body["violations"].as_array().unwrap().is_empty());
    scene.answer("ana", json!({ "decision": "reject" })).await.refused(422, "HP0906");
    for body in [
        json!({ "decision": "maybe" }),
        json!({ "decision": "expired" }),
        json!({ "decision": 1 }),
        json!({}),
        json!({ "decision": "accept", "verdict": "reject" }),
        json!({ "decision": "accept", "message": ["x"] }),
    ] {
        scene.answer("ana", body).await.refused(422, "HP0821");
    }
    assert_eq!(scene.status().await, "pending");
    scene.answer("ana", json!({ "decision": "reject", "message": "too much" })).await.expect(202);
    assert_eq!(scene.answered().await["approved"], false);
}

#[tokio::test]
async fn what_the_policy_does_not_allow() {
    let scene = scene("allowed = [\"accept\", \"reject\"]").await;
    let edit =
        scene.answer("ana", json!({ "decision": "edit", "value": { "approved": true, "amount_cents": 1 } })).await;
    edit.refused(422, "HP0904");
    assert_eq!(edit.body["allowed"], json!(["accept", "reject"]));
    scene.post("ana", "delegate", json!({ "to": "ben" }), &[]).await.refused(422, "HP0904");
    assert_eq!(scene.status().await, "pending");
}

#[tokio::test]
async fn several_have_to_agree() {
    let scene = scene("quorum = 2\nassignees = [\"group:finance\"]").await;
    let first = scene.answer("ana", yes()).await.expect(202);
    assert_eq!((first["status"].as_str(), first["approvals"].as_u64()), (Some("partially_approved"), Some(1)));
    scene.answer("ana", yes()).await.refused(403, "HP0903");
    // An edit is another thing to agree on: those who agreed have to look again.
    let edited = json!({ "decision": "edit", "value": { "approved": true, "amount_cents": 1 } });
    let edited = scene.answer("ben", edited).await.expect(202);
    assert_eq!(edited["approvals"], 1);
    scene.answer("ana", yes()).await.refused(409, "HP0907");
    let now = json!({ "decision": "accept", "payload_digest": edited["digest"] });
    let done = scene.answer("ana", now).await.expect(202);
    assert_eq!((done["status"].as_str(), done["decision"]["by"].as_str()), (Some("edited"), Some("ana")));
    assert_eq!(scene.answered().await, json!({ "approved": true, "amount_cents": 1 }));
}

#[tokio::test]
async fn a_question_is_handed_on() {
    let scene = scene("assignees = [\"ana\"]").await;
    scene.answer("ben", yes()).await.refused(403, "HP0901");
    scene.post("ben", "delegate", json!({ "to": "ben" }), &[]).await.refused(403, "HP0901");
    let until = "2023-11-14T23:13:20Z";
    let body = json!({ "to": "ben", "until": until, "reason": "on holiday" });
    let handed = scene.post("ana", "delegate", body.clone(), &[("idempotency-key", "k")]).await.expect(202);
    assert_eq!(handed["added"][0]["to"], "ben");
    let again = scene.post("ana", "delegate", body, &[("idempotency-key", "k")]).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, Some("true")));
    scene.post("ana", "delegate", json!({ "to": "cem", "until": "yesterday" }), &[]).await.refused(422, "HP0821");
    scene.post("ana", "delegate", json!({ "to": "cem", "until": 5 }), &[]).await.refused(422, "HP0912");
    let done = scene.answer("ben", yes()).await.expect(202);
    assert_eq!(
        (done["votes"][0]["by"].as_str(), done["votes"][0]["on_behalf_of"].as_str()),
        (Some("ben"), Some("ana"))
    );
}

#[tokio::test]
async fn what_is_unknown() {
    let scene = scene(FINANCE).await;
    for id in ["0".repeat(32), "x".to_owned(), "..%2f..".to_owned()] {
        scene.server.http.get(&format!("/approvals/{id}")).await.refused(404, "HP0814");
        let path = format!("/approvals/{id}/answers");
        scene
            .server
            .http
            .post(&path, json!({ "decision": "accept", "payload_digest": scene.digest }))
            .await
            .refused(404, "HP0814");
    }
}

#[tokio::test]
async fn both_shapes_in_the_wild_round_trip() {
    let inbox = json!([{
        "action_request": { "action": "refund", "args": { "amount": 5 } },
        "config": { "allow_accept": true, "allow_edit": true, "allow_respond": true, "allow_ignore": true },
        "description": "a refund",
    }]);
    for answer in [
        json!([{ "type": "accept", "args": null }]),
        json!([{ "type": "edit", "args": { "action": "refund", "args": { "amount": 4 } } }]),
        json!([{ "type": "response", "args": "why?" }]),
        json!([{ "type": "ignore", "args": null }]),
    ] {
        let scene = scene_with("", inbox.clone()).await;
        scene.answer("ana", json!({ "value": answer })).await.expect(202);
        assert_eq!(scene.answered().await, answer);
    }
    let middleware = json!({
        "action_requests": [{ "name": "refund", "args": { "amount": 5 } }],
        "review_configs": [{ "action_name": "refund", "allowed_decisions": ["approve", "edit", "reject"] }],
    });
    for answer in [
        json!({ "decisions": [{ "type": "approve" }] }),
        json!({ "decisions": [{ "type": "edit", "edited_action": { "name": "refund", "args": { "amount": 4 } } }] }),
        json!({ "decisions": [{ "type": "reject", "message": "no" }] }),
    ] {
        let scene = scene_with("", middleware.clone()).await;
        scene.answer("ana", json!({ "value": answer })).await.expect(202);
        assert_eq!(scene.answered().await, answer);
    }
    let scene = scene_with("", middleware).await;
    scene.answer("ana", json!({ "decision": "edit", "args": { "amount": 3 } })).await.expect(202);
    let decision = json!({ "type": "edit", "edited_action": { "name": "refund", "args": { "amount": 3 } } });
    assert_eq!(scene.answered().await, json!({ "decisions": [decision] }));
}

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    let nodes = FakeNodes::default().with("gate", |call| match ask(call, 0, json!("?")) {
        Ok(answer) => update(json!({ "answer": answer })),
        Err(outcome) => outcome,
    });
    let server = Setup { nodes, settings: Settings::default(), ..Setup::default() }.start().await;
    let finance = server.deploy("finance", &graph("deadline = \"2h\"\nassignees = [\"group:finance\"]")).await;
    let ops = server.deploy("ops", &graph("assignees = [\"ana\"]")).await;
    for (thread, deployment) in [("f1", &finance), ("o1", &ops), ("f2", &finance), ("o2", &ops)] {
        server.run(thread, deployment, json!({})).await;
        server.clock.advance_ms(1000);
    }
    let list = async |query: &str, who: &str, groups: &str| {
        let headers = [("x-holdpoint-actor", who), ("x-holdpoint-groups", groups)];
        server.http.send(Method::GET, &format!("/approvals{query}"), &headers, "").await
    };
    let threads = |reply: &Reply| -> Vec<String> {
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.body.as_array().unwrap().iter().map(|found| found["thread_id"].as_str().unwrap().to_owned()).collect()
    };
    let check = async |query: &str, expected: &[&str]| {
        assert_eq!(threads(&list(query, "ana", "").await), expected, "{query}");
    };
    check("", &["f1", "f2", "o2", "o1"]).await;
    check("?mine=true", &["o2", "o1"]).await;
    check("?group=finance", &["f1", "f2"]).await;
    check("?graph=ops", &["o2", "o1"]).await;
    check("?thread=f2", &["f2"]).await;
    check("?status=approved", &[]).await;
    check("?status=all&limit=4", &["o2", "f2", "o1", "f1"]).await;
    check("?due_before=2023-11-15T00:13:20.001Z", &["f1"]).await;
    check("?due_before=2023-11-15T00:13:20Z", &[]).await;
    check("?overdue=true", &[]).await;
    assert_eq!(threads(&list("?mine=true", "ben", "finance").await), ["f1", "f2"]);
    let mut pages = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page = list(&query, "ana", "").await;
        pages.extend(threads(&page));
        let Some(next) = page.header("x-pagination-next") else { break };
        query = format!("?limit=1&after={next}");
    }
    assert_eq!(pages, ["f1", "f2", "o2", "o1"]);
    for query in [
        "?status=odd",
        "?limit=0",
        "?limit=501",
        "?limit=x",
        "?mine=perhaps",
        "?after=x",
        "?graph=a%20b",
        "?due_before=soon",
    ] {
        list(query, "ana", "").await.refused(422, "HP0821");
    }
}
