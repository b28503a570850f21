//! What policies add to answering, over HTTP: break-glass, several votes by resuming, roles; and questions that somebody withdraws.

use crate::runs::scene::asked;
use crate::support::{FakeNodes, Reply, Setup, TestServer, ask, update};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::Tenant;
use holdpoint_server::identity::keys::Fresh;
use holdpoint_store::{AuditFilter, AuditRecord};
use reqwest::Method;
use serde_json::{Value, json};

/// `gate` asks one question under the policy; `pair` asks two at once, the second without a policy.
fn graph(policy: &str) -> String {
    format!(
        "start = [\"gate\", \"plain\"]\n[state]\nlog = {{ type = \"array\", reducer = \"append\" }}\n\
         [nodes.gate]\nnext = \"END\"\n[nodes.gate.interrupt]\n{policy}\n[nodes.plain]\nnext = \"END\"\n"
    )
}

struct Scene {
    server: TestServer,
    thread: String,
    /// The one under the policy, and the plain one.
    gate: String,
    plain: String,
}

async fn scene(policy: &str) -> Scene {
    let node = |name: &'static str| {
        move |call: &_| match ask(call, 0, json!({ "ask": name })) {
            Ok(answer) => update(json!({ "log": [{ name: answer }] })),
            Err(question) => question,
        }
    };
    let nodes = FakeNodes::default().with("gate", node("gate")).with("plain", node("plain"));
    let server = Setup { nodes, ..Setup::default() }.start().await;
    server.deploy("pair", &graph(policy)).await;
    let thread = server.thread().await;
    asked(&server.wait(&thread, json!({ "assistant_id": "pair", "input": {} })).await);
    let open = server.http.get("/approvals").await.expect(200);
    let id = |node: &str| {
        let found = open.as_array().unwrap().iter().find(|found| found["node"] == node).unwrap();
        found["approval_id"].as_str().unwrap().to_owned()
    };
    let (gate, plain) = (id("gate"), id("plain"));
    Scene { server, thread, gate, plain }
}

impl Scene {
    async fn key(&self, name: &str, role: &str) -> String {
        let fresh = Fresh {
            name: name.into(),
            tenant: Tenant::default(),
            roles: vec![role.into()],
            groups: Vec::new(),
            expires_at_ms: None,
            by: Actor::asserted("test"),
        };
        let (key, record, _) = fresh.make(self.server.context.now_ms()).unwrap();
        self.server.context.store().put_key(record, Vec::new()).await.unwrap();
        key
    }

    async fn post(&self, key: &str, path: &str, body: &Value) -> Reply {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        self.server.http.send(Method::POST, path, &headers, body.to_string()).await
    }

    async fn shown(&self, id: &str) -> Value {
        self.server.http.get(&format!("/approvals/{id}")).await.expect(200)
    }

    async fn answer(&self, key: &str, id: &str, mut body: Value) -> Reply {
        body["payload_digest"] = self.shown(id).await["digest"].clone();
        self.post(key, &format!("/approvals/{id}/answers"), &body).await
    }

    /// Resumes with a map of answers and waits for what it comes to.
    async fn resume(&self, key: &str, answers: Value) -> Reply {
        let body = json!({ "assistant_id": "pair", "command": { "resume": answers } });
        self.post(key, &format!("/threads/{}/runs/wait", self.thread), &body).await
    }

    async fn audit(&self, kind: &str) -> Vec<AuditRecord> {
        let filter = AuditFilter { limit: 200, ..AuditFilter::default() };
        let records = self.server.context.store().audit(&filter).await.unwrap();
        records.into_iter().filter(|record| record.kind == kind).collect()
    }

    /// Status and votes of both questions.
    async fn standing(&self) -> Value {
        let (gate, plain) = (self.shown(&self.gate).await, self.shown(&self.plain).await);
        json!([gate["status"], gate["votes"].as_array().unwrap().len(), plain["status"]])
    }
}

fn yes() -> Value {
    json!({ "approved": true })
}

#[tokio::test]
async fn an_administrator_decides_alone_where_the_policy_lets_them() {
    let scene = scene("assignees = [\"key:ana\"]\nquorum = { approve = 2 }\nbreak_glass = true\nescalate = [{ after = \"1h\", to = [\"key:ben\"] }]").await;
    let (operator, root) = (scene.key("oskar", "operator").await, scene.key("root", "admin").await);
    let alone = json!({ "decision": "accept", "break_glass": true, "message": "fire" });
    scene.answer(&operator, &scene.gate, alone.clone()).await.refused(403, "HP0803");
    let refused = scene.audit("question.refused").await;
    assert_eq!(
        (refused[0].actor.id.as_str(), &refused[0].body["wanted"], &refused[0].body["code"]),
        ("key:oskar", &json!("answer (break-glass)"), &json!("HP0803"))
    );
    // Without saying so an administrator is one like others.
    scene.answer(&root, &scene.gate, json!({ "decision": "accept" })).await.refused(403, "HP0901");
    let silent = json!({ "decision": "accept", "break_glass": true });
    scene.answer(&root, &scene.gate, silent).await.refused(422, "HP0906");
    assert_eq!(scene.shown(&scene.gate).await["policy"]["break_glass"], true);
    let done = scene.answer(&root, &scene.gate, alone.clone()).await.expect(202);
    assert_eq!(
        (&done["status"], &done["break_glass"], &done["decision"]["by"], &done["decision"]["reason"]),
        (&json!("approved"), &json!(true), &json!("key:root"), &json!("fire"))
    );
    let decided = scene.audit("question.decided").await;
    assert_eq!((&decided[0].body["break_glass"], decided[0].actor.id.as_str()), (&json!(true), "key:root"));
    // The other question's policy says nothing of it.
    let barred = scene.answer(&root, &scene.plain, alone).await;
    barred.refused(403, "HP0914");
    assert_eq!(barred.body["reason"], "break_glass");
    assert_eq!(scene.audit("question.refused").await.last().unwrap().body["code"], "HP0914");
    scene
        .answer(&root, &scene.plain, json!({ "decision": "accept", "break_glass": "yes" }))
        .await
        .refused(422, "HP0821");
}

#[tokio::test]
async fn several_votes_come_together_by_resuming() {
    let scene = scene("quorum = 2").await;
    let (ana, ben) = (scene.key("ana", "approver").await, scene.key("ben", "approver").await);
    let vote = json!({ &scene.gate: yes() });
    let first = scene.resume(&ana, vote.clone()).await.expect(200);
    assert_eq!(asked(&first).len(), 2, "the thread goes on waiting");
    assert_eq!(scene.standing().await, json!(["partially_approved", 1, "pending"]));
    scene.resume(&ana, vote.clone()).await.refused(403, "HP0903");
    let second = scene.resume(&ben, vote).await.expect(200);
    assert_eq!(asked(&second), std::slice::from_ref(&scene.plain), "it is decided, and the other one still waits");
    assert_eq!(scene.standing().await, json!(["approved", 2, "pending"]));
    let done = scene.resume(&ben, yes()).await.expect(200);
    assert_eq!(done["log"], json!([{ "gate": yes() }, { "plain": yes() }]));
}

#[tokio::test]
async fn who_may_resume_is_whoever_may_answer() {
    let scene = scene("").await;
    let viewer = scene.key("vera", "viewer").await;
    let answers = json!({ &scene.gate: yes() });
    scene.resume(&viewer, answers.clone()).await.refused(403, "HP0803");
    assert_eq!(scene.standing().await, json!(["pending", 0, "pending"]));
    // An approver answers and does nothing else; an operator does both.
    let (approver, operator) = (scene.key("ana", "approver").await, scene.key("oskar", "operator").await);
    let runs = format!("/threads/{}/runs/wait", scene.thread);
    let with_update =
        json!({ "assistant_id": "pair", "command": { "resume": answers.clone(), "update": { "log": ["x"] } } });
    scene.post(&approver, &runs, &with_update).await.refused(403, "HP0803");
    let input = json!({ "assistant_id": "pair", "input": {}, "multitask_strategy": "interrupt" });
    scene.post(&approver, &runs, &input).await.refused(403, "HP0803");
    let end = json!({ "assistant_id": "pair", "command": { "goto": "__end__" } });
    scene.post(&approver, &runs, &end).await.refused(403, "HP0803");
    let state = format!("/threads/{}/state", scene.thread);
    scene.post(&approver, &state, &json!({ "values": null, "as_node": "__end__" })).await.refused(403, "HP0803");
    assert_eq!(scene.standing().await, json!(["pending", 0, "pending"]));
    scene.resume(&approver, answers).await.expect(200);
    assert_eq!(scene.standing().await, json!(["approved", 1, "pending"]));
    scene.resume(&operator, yes()).await.expect(200);
    assert_eq!(scene.shown(&scene.plain).await["decision"]["by"], "key:oskar");
}

#[tokio::test]
async fn of_several_answers_all_count_or_none() {
    let named = scene("assignees = [\"key:ana\"]").await;
    let (ana, ben) = (named.key("ana", "approver").await, named.key("ben", "approver").await);
    let both = json!({ &named.gate: yes(), &named.plain: yes() });
    named.resume(&ben, both.clone()).await.refused(403, "HP0901");
    assert_eq!(named.standing().await, json!(["pending", 0, "pending"]), "the one that ben may answer neither");
    let done = named.resume(&ana, both).await.expect(200);
    assert_eq!(done["log"], json!([{ "gate": yes() }, { "plain": yes() }]));

    let checked = scene("answer_schema = { type = \"object\", required = [\"amount\"] }").await;
    let ana = checked.key("ana", "approver").await;
    let both = json!({ &checked.gate: { "amount": 1 }, &checked.plain: yes() });
    let broken = json!({ &checked.gate: yes(), &checked.plain: yes() });
    checked.resume(&ana, broken).await.refused(422, "HP0413");
    assert_eq!(checked.standing().await, json!(["pending", 0, "pending"]));
    checked.resume(&ana, both).await.expect(200);
}

#[tokio::test]
async fn a_vote_that_does_not_decide_is_given_by_itself() {
    let scene = scene("quorum = 2").await;
    let (ana, ben) = (scene.key("ana", "approver").await, scene.key("ben", "operator").await);
    let both = json!({ &scene.gate: yes(), &scene.plain: yes() });
    scene.resume(&ana, both.clone()).await.refused(422, "HP0915");
    assert_eq!(scene.standing().await, json!(["pending", 0, "pending"]), "nothing half-done");
    let with_update = json!({
        "assistant_id": "pair",
        "command": { "resume": { &scene.gate: yes() }, "update": { "log": ["x"] } },
    });
    let runs = format!("/threads/{}/runs/wait", scene.thread);
    scene.post(&ben, &runs, &with_update).await.refused(422, "HP0915");
    assert_eq!(scene.standing().await, json!(["pending", 0, "pending"]));
    scene.resume(&ana, json!({ &scene.gate: yes() })).await.expect(200);
    // The deciding vote can come with other answers.
    scene.resume(&ben, both).await.expect(200);
    assert_eq!(scene.standing().await, json!(["approved", 2, "approved"]));
}

#[tokio::test]
async fn whoever_dismisses_questions_cancels_them_and_late_answers_are_told() {
    let state = json!({ "values": null, "as_node": "__end__" });
    let run = json!({ "assistant_id": "pair", "command": { "goto": "__end__" } });
    for (path, body) in [("state", state), ("runs/wait", run)] {
        let scene = scene("").await;
        let (ana, boss) = (scene.key("ana", "approver").await, scene.key("boss", "operator").await);
        scene.post(&boss, &format!("/threads/{}/{path}", scene.thread), &body).await.expect(200);
        assert_eq!(scene.standing().await, json!(["cancelled", 0, "cancelled"]), "{path}");
        assert_eq!(scene.shown(&scene.gate).await["cancelled"]["by"], "key:boss", "{path}");
        let late = scene.answer(&ana, &scene.gate, json!({ "decision": "accept" })).await;
        late.refused(409, "HP0407");
        assert_eq!(
            (&late.body["reason"], &late.body["winner"]["decision"], &late.body["winner"]["actor"]),
            (&json!("cancelled"), &json!("cancelled"), &json!("key:boss")),
            "{path}"
        );
        assert!(late.body["winner"]["at"].is_string());
        let resumed = scene.resume(&ana, json!({ &scene.gate: yes() })).await;
        resumed.refused(409, "HP0407");
        assert_eq!(
            (&resumed.body["winner"]["status"], &resumed.body["winner"]["cancelled_by"]),
            (&json!("cancelled"), &json!("key:boss"))
        );
        let listed = async |status: &str| {
            let list = scene.server.http.get(&format!("/approvals?status={status}")).await.expect(200);
            list.as_array().unwrap().len()
        };
        assert_eq!((listed("cancelled").await, listed("decided").await, listed("open").await), (2, 2, 0), "{path}");
        let cancelled = scene.audit("question.cancelled").await;
        assert!(cancelled.len() == 2 && cancelled.iter().all(|record| record.actor.id == "key:boss"), "{path}");
    }
}

#[tokio::test]
async fn what_a_deleted_thread_asked_is_cancelled_and_new_input_supersedes() {
    let deleted = scene("").await;
    let boss = deleted.key("boss", "operator").await;
    let headers = [("x-api-key", boss.as_str())];
    let path = format!("/threads/{}", deleted.thread);
    assert!(deleted.server.http.send(Method::DELETE, &path, &headers, "").await.status < 300);
    assert_eq!(deleted.audit("question.cancelled").await.len(), 2);
    deleted.server.http.get(&format!("/approvals/{}", deleted.gate)).await.refused(404, "HP0814");

    let superseded = scene("").await;
    let boss = superseded.key("boss", "operator").await;
    let input = json!({ "assistant_id": "pair", "input": {}, "multitask_strategy": "interrupt" });
    superseded.post(&boss, &format!("/threads/{}/runs/wait", superseded.thread), &input).await.expect(200);
    assert_eq!(superseded.standing().await, json!(["superseded", 0, "superseded"]));
    let late = superseded.answer(&boss, &superseded.gate, json!({ "decision": "accept" })).await;
    late.refused(409, "HP0407");
    assert_eq!(late.body["reason"], "superseded");
}
