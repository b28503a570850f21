//! The inbox's pages: what they show to whom, and what their forms want.

use crate::support::{FakeNodes, Reply, Setup, TestServer, ask, update};
use reqwest::Method;
use serde_json::{Value, json};

/// What a browser at the host sends back, and its pages' tokens are made of.
const COOKIE: (&str, &str) = ("cookie", "holdpoint_page=0123456789abcdef0123456789abcdef0123456789abcdef");

struct Scene {
    server: TestServer,
    id: String,
}

async fn scene(policy: &str, payload: Value) -> Scene {
    let nodes = FakeNodes::default().with("gate", move |call| match ask(call, 0, payload.clone()) {
        Ok(answer) => update(json!({ "answer": answer })),
        Err(question) => question,
    });
    let server = Setup { nodes, ..Setup::default() }.start().await;
    let graph = format!(
        "start = \"gate\"\n[state]\nanswer = {{}}\n[nodes.gate]\nnext = \"END\"\n[nodes.gate.interrupt]\n{policy}\n"
    );
    let deployment = server.deploy("refund", &graph).await;
    let view = server.run("t", &deployment, json!({})).await;
    let id = view.interrupts[0].id.clone();
    Scene { server, id }
}

impl Scene {
    async fn page(&self, path: &str, who: &str, groups: &str) -> String {
        let headers = [("x-holdpoint-actor", who), ("x-holdpoint-groups", groups), COOKIE];
        let reply = self.server.http.send(Method::GET, path, &headers, "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.text
    }

    async fn question(&self, who: &str) -> String {
        self.page(&format!("/inbox/approvals/{}", self.id), who, "").await
    }

    /// Sends the form of the question's page with these members.
    async fn send(&self, who: &str, members: &[(&str, &str)]) -> Reply {
        let page = self.question(who).await;
        let hidden = |name: &str| {
            let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1).expect("the form has it");
            rest.split('"').next().unwrap().to_owned()
        };
        let mut body = format!("csrf={}&digest={}", hidden("csrf"), hidden("digest"));
        for (name, value) in members {
            body += &format!("&{name}={}", value.replace('%', "%25").replace(' ', "+").replace('&', "%26"));
        }
        let headers = [("x-holdpoint-actor", who), ("content-type", "application/x-www-form-urlencoded"), COOKIE];
        self.server.http.send(Method::POST, &format!("/inbox/approvals/{}", self.id), &headers, body).await
    }

    async fn status(&self) -> String {
        let shown = self.server.http.get(&format!("/approvals/{}", self.id)).await.expect(200);
        shown["status"].as_str().unwrap().to_owned()
    }
}

fn lists(page: &str, id: &str) -> bool {
    page.contains(&format!("/inbox/approvals/{id}"))
}

#[tokio::test]
async fn filters_show_what_they_say() {
    let scene = scene("deadline = \"2h\"\nassignees = [\"group:finance\"]", json!("pay?")).await;
    let shows = async |show: &str, who: &str, groups: &str| {
        lists(&scene.page(&format!("/inbox?show={show}"), who, groups).await, &scene.id)
    };
    assert!(shows("mine", "ana", "finance").await && !shows("mine", "ana", "sales").await);
    assert!(shows("groups", "ana", "sales,finance").await && !shows("groups", "ana", "").await);
    assert!(shows("all", "ana", "").await);
    for show in ["soon", "overdue", "decided", "cancelled"] {
        assert!(!shows(show, "ana", "finance").await, "{show}");
    }
    assert!(scene.page("/inbox", "ana", "finance").await.contains("2 h 0 min left"));
    scene.server.clock.advance_ms(7_140_000);
    assert!(shows("soon", "ana", "").await);
    assert!(scene.page("/inbox?show=soon", "ana", "finance").await.contains("1 min 0 s left"));
    // Its deadline comes, and nobody has recorded that.
    scene.server.clock.advance_ms(60_000);
    assert!(shows("overdue", "ana", "").await);
    for show in ["mine", "groups", "soon", "all"] {
        assert!(!shows(show, "ana", "finance").await, "{show}");
    }
    assert!(scene.page("/inbox?show=overdue", "ana", "").await.contains("expired"));
}

#[tokio::test]
async fn what_was_decided_and_cancelled_is_found_with_who_did_it() {
    let decided = scene("", json!("pay?")).await;
    assert_eq!(decided.send("ana", &[("verdict", "accept"), ("reason", "fine by me")]).await.status, 200);
    let page = decided.page("/inbox?show=decided", "ben", "").await;
    assert!(lists(&page, &decided.id) && page.contains("approved") && page.contains("ana"), "{page}");
    let question = decided.question("ben").await;
    assert!(question.contains("History") && question.contains("<strong>decided</strong>"), "{question}");
    assert!(question.contains("reason: fine by me"), "{question}");

    let cancelled = scene("", json!("pay?")).await;
    let end = json!({ "values": null, "as_node": "__end__" });
    cancelled.server.http.post("/threads/t/state", end).await.expect(200);
    let page = cancelled.page("/inbox?show=cancelled", "ben", "").await;
    assert!(lists(&page, &cancelled.id) && page.contains("cancelled"), "{page}");
    let question = cancelled.question("ben").await;
    assert!(question.contains("nobody is to answer any more") && !question.contains("name=\"verdict\""), "{question}");
}

#[tokio::test]
async fn an_edit_shows_what_it_changes() {
    let payload = json!({ "amount_cents": 500, "to": "<b>Ana</b>", "note": "same" });
    let scene = scene("quorum = 2", payload).await;
    let edited = "{\"approved\": true, \"args\": {\"amount_cents\": 400, \"to\": \"<i>Eve</i>\", \"note\": \"same\"}}";
    assert_eq!(scene.send("ana", &[("verdict", "edit"), ("value", edited)]).await.status, 200);
    let page = scene.question("ben").await;
    assert!(page.contains("What was changed by ana"), "{page}");
    let diff = page.split("table class=\"diff\"").nth(1).and_then(|rest| rest.split("</table>").next()).unwrap();
    assert!(diff.contains("amount_cents") && diff.contains("500") && diff.contains("400"), "{diff}");
    assert!(diff.contains("&lt;b&gt;Ana") && diff.contains("&lt;i&gt;Eve"), "{diff}");
    assert!(!diff.contains("note") && !diff.contains("<b>") && !diff.contains("<i>"), "{diff}");
    assert!(page.contains("1 of 2 to go ahead"), "{page}");
}

#[tokio::test]
async fn where_much_is_at_stake_it_has_to_be_typed() {
    let scene = scene("risk = \"high\"", json!({ "amount_cents": 50000 })).await;
    let page = scene.question("ana").await;
    assert!(page.contains("type <strong>50000</strong> (amount_cents)") && page.contains("high risk"), "{page}");
    assert!(!page.contains("accesskey=\"a\""), "no key goes ahead by itself");
    for typed in ["", "5000", "50000 cents"] {
        let refused = scene.send("ana", &[("verdict", "accept"), ("confirm", typed)]).await;
        assert!(refused.status == 422 && refused.text.contains("HP0916"), "{typed}: {}", refused.text);
    }
    let edit = [("verdict", "edit"), ("value", "{\"approved\": true, \"args\": {\"amount_cents\": 1}}")];
    assert_eq!(scene.send("ana", &edit).await.status, 422);
    assert_eq!(scene.status().await, "pending");
    assert_eq!(scene.send("ana", &[("verdict", "accept"), ("confirm", " 50000 ")]).await.status, 200);
    assert_eq!(scene.status().await, "approved");
    // The payload can say it too; turning it down needs no typing.
    let said = self::scene("", json!({ "risk": "high", "what": {} })).await;
    let end = said.id[24..].to_owned();
    assert!(said.question("ana").await.contains(&format!("type <strong>{end}</strong>")));
    assert_eq!(said.send("ana", &[("verdict", "accept")]).await.status, 422);
    assert_eq!(said.send("ana", &[("verdict", "reject")]).await.status, 200);
    assert_eq!(said.status().await, "rejected");
    let low = self::scene("risk = \"low\"", json!({ "risk": "high" })).await;
    assert_eq!(low.send("ana", &[("verdict", "accept")]).await.status, 200, "the policy has the last word");
}

#[tokio::test]
async fn an_administrator_finds_the_form_to_decide_alone_where_that_is_allowed() {
    let plain = scene("assignees = [\"ana\"]", json!("pay?")).await;
    assert!(!plain.question("root").await.contains("Break glass"));
    // Whoever sits at the host is an administrator.
    let scene = scene("assignees = [\"ana\"]\nbreak_glass = true", json!("pay?")).await;
    let page = scene.question("root").await;
    assert!(page.contains("Break glass") && page.contains("You are not among those who may answer."), "{page}");
    let silent = scene.send("root", &[("break_glass", "yes"), ("verdict", "accept")]).await;
    assert!(silent.status == 422 && silent.text.contains("HP0906"), "{}", silent.text);
    let alone = [("break_glass", "yes"), ("verdict", "accept"), ("reason", "fire")];
    assert_eq!(scene.send("root", &alone).await.status, 200);
    assert!(scene.question("ana").await.contains("break-glass"));
    assert!(scene.page("/inbox?show=decided", "ana", "").await.contains("break-glass"));
}

#[tokio::test]
async fn a_question_that_wants_a_fresh_sign_in_says_so_instead_of_a_form() {
    let scene = scene("step_up = \"15m\"", json!("pay?")).await;
    let page = scene.question("ana").await;
    assert!(page.contains("wants a fresh sign-in") && !page.contains("name=\"verdict\""), "{page}");
    assert!(lists(&scene.page("/inbox", "ana", "").await, &scene.id), "it is theirs all the same");
}
