//! Approval links: opening shows, the form decides, once.

use crate::support::{FakeNodes, Reply, Setup, TestServer, ask, update};
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::ids::Tenant;
use holdpoint_server::Settings;
use holdpoint_server::identity::keys::Fresh;
use holdpoint_store::AuditFilter;
use reqwest::Method;
use serde_json::{Value, json};

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

struct Scene {
    server: TestServer,
    id: String,
}

async fn scene(policy: &str) -> Scene {
    let nodes = FakeNodes::default().with("gate", |call| {
        match ask(call, 0, json!({ "order": SCRIPT, "\u{202e}hidden\"><b>": "a\u{200b}b" })) {
            Ok(answer) => update(json!({ "answer": answer })),
            Err(outcome) => outcome,
        }
    });
    let settings = Settings { public_url: Some("https://hold.example".into()), ..Settings::default() };
    let server = Setup { nodes, settings, ..Setup::default() }.start().await;
    let graph = format!(
        "start = \"gate\"\n[state]\nanswer = {{}}\n[nodes.gate]\nnext = \"END\"\n[nodes.gate.interrupt]\ndeadline = \"2h\"\n{policy}\n"
    );
    let deployment = server.deploy("refund", &graph).await;
    let view = server.run("t", &deployment, json!({})).await;
    let id = view.interrupts[0].id.clone();
    Scene { server, id }
}

impl Scene {
    async fn key(&self, name: &str, role: &str, groups: &[&str]) -> String {
        let fresh = Fresh {
            name: name.into(),
            tenant: Tenant::default(),
            roles: vec![role.into()],
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            expires_at_ms: None,
            by: Actor::asserted("test"),
        };
        let (key, record, _) = fresh.make(self.server.context.now_ms()).unwrap();
        self.server.context.store().put_key(record, Vec::new()).await.unwrap();
        key
    }

    async fn make(&self, key: &str, body: Value) -> Reply {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        let path = format!("/approvals/{}/links", self.id);
        self.server.http.send(Method::POST, &path, &headers, body.to_string()).await
    }

    /// The path of a link that was made.
    async fn link(&self, key: &str, body: Value) -> String {
        let made = self.make(key, body).await.expect(201);
        let url = made["url"].as_str().unwrap();
        url.strip_prefix("https://hold.example").expect("where people reach the server").to_owned()
    }

    async fn shown(&self) -> Value {
        self.server.http.get(&format!("/approvals/{}", self.id)).await.expect(200)
    }

    async fn decide(&self, path: &str, verdict: &str, reason: &str) -> Reply {
        let digest = self.shown().await["digest"].as_str().unwrap().to_owned();
        let body = format!("verdict={verdict}&reason={reason}&digest={digest}");
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "null")];
        self.server.http.send(Method::POST, path, &headers, body).await
    }
}

#[tokio::test]
async fn opening_a_link_shows_and_decides_nothing() {
    let scene = scene("").await;
    let key = scene.key("root", "operator", &[]).await;
    let path = scene.link(&key, json!({ "subject": "user:ana" })).await;
    for (method, name, value) in [
        (Method::GET, "accept", "text/html"),
        (Method::HEAD, "accept", "*/*"),
        (Method::GET, "purpose", "prefetch"),
        (Method::GET, "sec-purpose", "prefetch;prerender"),
        (Method::GET, "user-agent", "Slackbot-LinkExpanding 1.0"),
    ] {
        let reply = scene.server.http.send(method, &path, &[(name, value)], "").await;
        assert_eq!((reply.status, reply.header("referrer-policy")), (200, Some("no-referrer")));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(reply.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    }
    let page = scene.server.http.get(&path).await.text;
    assert!(page.contains("user:ana"), "it says whom it is for");
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains("<img") && !page.contains("<b>"),
        "{page}"
    );
    assert!(!page.contains('\u{202e}') && page.contains("U+202E") && page.contains("U+200B"), "nothing hides");
    assert_eq!(scene.shown().await["status"], "pending");
}

#[tokio::test]
async fn its_form_decides_once_in_the_name_of_its_subject() {
    let scene = scene("").await;
    let key = scene.key("root", "operator", &[]).await;
    let path = scene.link(&key, json!({ "subject": "user:ana" })).await;
    let other = scene.link(&key, json!({ "subject": "user:ben" })).await;
    scene.decide(&path, "maybe", "").await.expect_page(422, "HP0821");
    scene.decide(&path, "edit", "").await.expect_page(422, "HP0904");
    let done = scene.decide(&path, "accept", "looks+right").await;
    assert_eq!(done.status, 200, "{}", done.text);
    let shown = scene.shown().await;
    assert_eq!((shown["status"].as_str(), shown["decision"]["by"].as_str()), (Some("approved"), Some("user:ana")));
    assert_eq!(
        (shown["votes"][0]["basis"].as_str(), shown["votes"][0]["reason"].as_str()),
        (Some("link"), Some("looks right"))
    );
    scene.decide(&path, "reject", "").await.expect_page(404, "HP0895");
    // What was decided revokes every other link of the question.
    scene.decide(&other, "reject", "").await.expect_page(404, "HP0895");
    scene.server.http.get(&other).await.expect_page(404, "HP0895");
    scene.make(&key, json!({ "subject": "user:cem" })).await.refused(409, "HP0407");
    let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
    let audit = scene.server.context.store().audit(&filter).await.unwrap();
    let decided = audit.iter().find(|record| record.kind == "question.decided").unwrap();
    assert_eq!((decided.actor.id.as_str(), decided.actor.basis), ("user:ana", Basis::Link));
    let made = audit.iter().filter(|record| record.kind == "link.created").collect::<Vec<_>>();
    assert_eq!(
        (made.len(), made[0].actor.id.as_str(), made[0].body["subject"].as_str()),
        (2, "key:root", Some("user:ana"))
    );
    let secret = path.strip_prefix("/links/").unwrap();
    assert!(audit.iter().all(|record| !record.to_json().to_string().contains(secret)), "no secret on the record");
}

#[tokio::test]
async fn two_posts_at_once_decide_once() {
    let scene = scene("").await;
    let key = scene.key("root", "operator", &[]).await;
    let path = scene.link(&key, json!({ "subject": "user:ana" })).await;
    let (one, other) = tokio::join!(scene.decide(&path, "accept", ""), scene.decide(&path, "reject", ""));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!([404, 409].contains(&statuses[1]), "{statuses:?}");
}

#[tokio::test]
async fn a_link_ends_and_a_wrong_one_opens_nothing() {
    let scene = scene("").await;
    let key = scene.key("root", "operator", &[]).await;
    let path = scene.link(&key, json!({ "subject": "user:ana", "expires_in": 60 })).await;
    for wrong in [format!("{path}x"), path[..path.len() - 1].to_owned(), "/links/x".into(), format!("{path}.Z3JvdXA")] {
        scene.server.http.get(&wrong).await.expect_page(404, "HP0895");
        scene.decide(&wrong, "accept", "").await.expect_page(404, "HP0895");
    }
    scene.server.clock.advance_ms(59_999);
    assert_eq!(scene.server.http.get(&path).await.status, 200);
    scene.server.clock.advance_ms(1);
    scene.server.http.get(&path).await.expect_page(404, "HP0895");
    scene.decide(&path, "accept", "").await.expect_page(404, "HP0895");
    // None outlasts its question.
    let long = scene.make(&key, json!({ "subject": "user:ana", "expires_in": 2_592_000 })).await.expect(201);
    assert_eq!(long["expires_at_ms"], scene.shown().await["deadline_at_ms"]);
    scene.make(&key, json!({ "expires_in": 0 })).await.refused(422, "HP0821");
    scene.make(&key, json!({ "expires_in": 2_592_001 })).await.refused(422, "HP0821");
    assert_eq!(scene.shown().await["status"], "pending");
}

#[tokio::test]
async fn who_may_make_links_and_for_whom() {
    let scene = scene("assignees = [\"group:finance\"]").await;
    let viewer = scene.key("viewer", "viewer", &["finance"]).await;
    let approver = scene.key("ana", "approver", &["finance"]).await;
    let operator = scene.key("operator", "operator", &[]).await;
    let admin = scene.key("admin", "admin", &[]).await;
    scene.make(&viewer, json!({})).await.refused(403, "HP0803");
    scene.make(&approver, json!({ "subject": "user:ben" })).await.refused(403, "HP0803");
    // Who may answer is for the policy to say, not for whoever makes a link.
    scene.make(&operator, json!({ "subject": "user:ben", "groups": ["finance"] })).await.refused(403, "HP0803");
    scene.make(&admin, json!({ "subject": "system:deadline" })).await.refused(422, "HP0821");
    scene.make(&admin, json!({ "subject": "a\nb" })).await.refused(422, "HP0821");
    let stranger = scene.link(&operator, json!({ "subject": "user:ben" })).await;
    assert!(!scene.server.http.get(&stranger).await.text.contains("<form"));
    scene.decide(&stranger, "accept", "").await.expect_page(403, "HP0901");
    assert_eq!(scene.shown().await["status"], "pending");
    let own = scene.link(&approver, json!({})).await;
    let done = scene.decide(&own, "reject", "no").await;
    assert_eq!(done.status, 200, "{}", done.text);
    assert_eq!(scene.shown().await["decision"]["by"], "key:ana");
}

#[tokio::test]
async fn groups_of_a_link_are_its_makers_word() {
    let scene = scene("assignees = [\"group:finance\"]").await;
    scene.key("ana", "approver", &["finance"]).await;
    let operator = scene.key("operator", "operator", &[]).await;
    let admin = scene.key("admin", "admin", &[]).await;
    let of_key = scene.make(&operator, json!({ "subject": "key:ana" })).await.expect(201);
    assert_eq!(of_key["groups"], json!(["finance"]));
    let path = scene.link(&admin, json!({ "subject": "user:ben", "groups": ["finance"] })).await;
    // The groups travel with the secret: without them it is another one.
    let bare = path.split('.').next().unwrap();
    scene.decide(bare, "accept", "").await.expect_page(404, "HP0895");
    assert_eq!(scene.decide(&path, "accept", "").await.status, 200);
    assert_eq!(scene.shown().await["decision"]["by"], "user:ben");
}

/// A refusal as a page.
trait ExpectPage {
    fn expect_page(&self, status: u16, code: &str);
}

impl ExpectPage for Reply {
    #[track_caller]
    fn expect_page(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{}", self.text);
        assert!(self.text.contains(code), "{}", self.text);
    }
}
