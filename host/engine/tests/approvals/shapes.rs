//! Payloads and values: what the shapes in the wild ask, and what they are told.

use holdpoint_engine::Decision;
use holdpoint_graph::nodes::Verdict;
use serde_json::{Value, json};

use super::desk::{Desk, code};

fn inbox() -> Value {
    json!([{
        "action_request": { "action": "refund", "args": { "amount": 5 } },
        "config": { "allow_accept": true, "allow_edit": true, "allow_respond": true, "allow_ignore": true },
        "description": "**Refund** 5",
    }])
}

fn middleware(decisions: Value) -> Value {
    json!({
        "action_requests": [{ "name": "refund", "args": { "amount": 5 } }, { "name": "mail", "args": { "to": "ana" } }],
        "review_configs": [
            { "action_name": "refund", "allowed_decisions": decisions },
            { "action_name": "mail", "allowed_decisions": ["approve", "reject"] },
        ],
    })
}

/// A decision gives the node this value, and the value, resumed as it is, is the same decision.
async fn check(payload: Value, decision: impl Fn(Decision) -> Decision, told: Value, verdict: &str) {
    let desk = Desk::new("", payload.clone()).await;
    let made = decision(desk.decision(Verdict::Accept).await);
    let given = format!("{made:?}");
    desk.of("user:ana").decide(&desk.id, made).await.unwrap();
    assert_eq!(desk.told_node().await, json!([verdict, told, "user:ana"]), "{given}");
    let desk = Desk::new("", payload).await;
    let view = desk.resume("user:ana", told.clone()).await.unwrap();
    // Agent Inbox spells a rejection as ignoring.
    let read = if told[0]["type"] == "ignore" { "ignore" } else { verdict };
    assert_eq!(view.values["told"], json!([read, told, "user:ana"]));
}

fn verdict(verdict: Verdict) -> impl Fn(Decision) -> Decision {
    move |decision| Decision { verdict, ..decision }
}

fn said(verdict: Verdict, message: &'static str) -> impl Fn(Decision) -> Decision {
    move |decision| Decision { verdict, message: Some(message.to_owned()), ..decision }
}

fn edited(args: Value) -> impl Fn(Decision) -> Decision {
    move |decision| Decision { verdict: Verdict::Edit, args: Some(args.clone()), ..decision }
}

#[tokio::test]
async fn plain() {
    check(json!(1), verdict(Verdict::Accept), json!({ "approved": true }), "accept").await;
    check(json!(1), said(Verdict::Accept, "ok"), json!({ "approved": true, "reason": "ok" }), "accept").await;
    check(json!(1), verdict(Verdict::Reject), json!({ "approved": false }), "reject").await;
    check(json!(1), verdict(Verdict::Ignore), json!({ "approved": false, "ignored": true }), "ignore").await;
    check(json!(1), said(Verdict::Respond, "blue"), json!("blue"), "respond").await;
    check(json!(1), edited(json!({ "x": 2 })), json!({ "approved": true, "args": { "x": 2 } }), "edit").await;
    let value = json!({ "anything": [1] });
    let given = |decision| Decision { verdict: Verdict::Respond, value: Some(json!({ "anything": [1] })), ..decision };
    check(json!(1), given, value, "respond").await;
}

#[tokio::test]
async fn agent_inbox() {
    let one = |kind: &str, args: Value| json!([{ "type": kind, "args": args }]);
    check(inbox(), verdict(Verdict::Accept), one("accept", Value::Null), "accept").await;
    check(inbox(), verdict(Verdict::Ignore), one("ignore", Value::Null), "ignore").await;
    check(inbox(), said(Verdict::Reject, "no"), one("ignore", Value::Null), "reject").await;
    check(inbox(), said(Verdict::Respond, "why?"), one("response", json!("why?")), "respond").await;
    let args = json!({ "action": "refund", "args": { "amount": 4 } });
    check(inbox(), edited(json!({ "amount": 4 })), one("edit", args), "edit").await;
    // What Agent Inbox itself sends on accept: a copy of what was asked. Anything else would be an edit that nobody calls one.
    let desk = Desk::new("", inbox()).await;
    let other = one("accept", json!({ "action": "refund", "args": { "amount": 500 } }));
    assert_eq!(code(desk.resume("user:ana", other).await), "HP0413");
    let copy = one("accept", json!({ "action": "refund", "args": { "amount": 5 } }));
    desk.resume("user:ana", copy).await.unwrap();
    assert_eq!(desk.told_node().await[0], "accept");
    let approval = desk.approval().await;
    assert_eq!(
        (approval.actions[0].name.as_str(), approval.actions[0].description.as_deref()),
        ("refund", Some("**Refund** 5"))
    );
}

#[tokio::test]
async fn middleware_of_several_actions() {
    let payload = || middleware(json!(["approve", "edit", "reject"]));
    let all = |decision: Value| json!({ "decisions": [decision, decision] });
    check(payload(), verdict(Verdict::Accept), all(json!({ "type": "approve" })), "accept").await;
    let no = all(json!({ "type": "reject", "message": "no" }));
    check(payload(), said(Verdict::Reject, "no"), no, "reject").await;
    let edit = json!({ "type": "edit", "edited_action": { "name": "refund", "args": { "amount": 4 } } });
    let told = json!({ "decisions": [edit, { "type": "approve" }] });
    check(payload(), edited(json!([{ "amount": 4 }, null])), told, "edit").await;
    // In camel case, as the JavaScript tools write it.
    let camel = json!({ "decisions": [
        { "type": "edit", "editedAction": { "name": "refund", "args": { "amount": 4 } } }, { "type": "reject" },
    ] });
    let desk = Desk::new("", payload()).await;
    desk.resume("user:ana", camel.clone()).await.unwrap();
    assert_eq!(desk.told_node().await, json!(["edit", camel, "user:ana"]));
}

#[tokio::test]
async fn what_the_asker_does_not_allow_is_refused() {
    let desk = Desk::new("", middleware(json!(["approve"]))).await;
    let approve = json!({ "type": "approve" });
    for (value, expected) in [
        (json!({ "decisions": [{ "type": "reject" }, approve] }), "HP0413"),
        (
            json!({ "decisions": [approve, { "type": "edit", "edited_action": { "name": "mail", "args": {} } }] }),
            "HP0413",
        ),
        (json!({ "decisions": [approve] }), "HP0413"),
        (json!({ "decisions": [approve, { "type": "maybe" }] }), "HP0413"),
        (json!({ "approved": false }), "HP0904"),
    ] {
        assert_eq!(code(desk.resume("user:ana", value.clone()).await), expected, "{value}");
    }
    for verdict in [Verdict::Edit, Verdict::Respond, Verdict::Reject, Verdict::Ignore] {
        let decision = Decision { message: Some("m".into()), ..desk.decision(verdict).await };
        assert_eq!(code(desk.of("user:ana").decide(&desk.id, decision).await), "HP0904", "{verdict:?}");
    }
    assert_eq!(desk.approval().await.allowed, ["accept", "delegate"]);
    let mut asked = inbox();
    asked[0]["config"] = json!({ "allow_accept": true, "allow_edit": false });
    let desk = Desk::new("", asked).await;
    assert_eq!(desk.approval().await.allowed, ["accept", "delegate"]);
    for value in [json!([{ "type": "ignore", "args": null }]), json!([{ "type": "response", "args": "x" }])] {
        assert_eq!(code(desk.resume("user:ana", value).await), "HP0904");
    }
}

#[tokio::test]
async fn a_value_is_what_its_verdict_says() {
    let desk = Desk::new("", json!(1)).await;
    for (verdict, value) in [
        (Verdict::Reject, json!({ "approved": true })),
        (Verdict::Accept, json!({ "approved": false })),
        (Verdict::Respond, json!({ "approved": true })),
        (Verdict::Accept, json!({ "approved": true, "args": { "amount": 9 } })),
        (Verdict::Edit, json!({ "approved": false })),
    ] {
        let decision = Decision { value: Some(value.clone()), ..desk.decision(verdict).await };
        assert_eq!(code(desk.of("user:ana").decide(&desk.id, decision).await), "HP0413", "{verdict:?} {value}");
    }
    for verdict in [Verdict::Edit, Verdict::Respond] {
        assert_eq!(code(desk.decide("user:ana", verdict).await), "HP0413", "{verdict:?} of nothing");
    }
}

#[tokio::test]
async fn a_schema_without_room_for_a_reason_gets_none_and_the_record_does() {
    let schema = json!({ "type": "object", "required": ["approved"], "properties": { "approved": {} }, "additionalProperties": false });
    let desk = Desk::with_input("", json!({ "payload": 1, "schema": schema }), &[]).await;
    let decision = Decision { message: Some("too much".into()), ..desk.decision(Verdict::Reject).await };
    desk.of("user:ana").decide(&desk.id, decision).await.unwrap();
    assert_eq!(desk.told_node().await, json!(["reject", { "approved": false }, "user:ana"]));
    let decided = desk.audit().await.into_iter().find(|record| record.kind == "question.decided").unwrap();
    assert_eq!(decided.body["votes"][0]["reason"], "too much");
    assert_eq!(desk.approval().await.to_json()["decision"]["reason"], "too much");
}

#[tokio::test]
async fn the_hosts_own_question_wants_a_yes_or_a_no() {
    // The node's policy is about the node's questions.
    let policy = "assignees = [\"user:boss\"]\nquorum = 1\ndeadline = \"1s\"";
    let schema = json!({ "type": "object", "required": ["approved"], "additionalProperties": false,
        "properties": { "approved": { "type": "boolean" }, "reason": { "type": "string" } } });
    let input =
        || json!({ "payload": { "approve": "operation" }, "schema": schema, "evidence": { "reason": "a rule" } });
    for (verdict, approved) in [(Verdict::Accept, true), (Verdict::Reject, false)] {
        let desk = Desk::with_input(policy, input(), &[]).await;
        let approval = desk.approval().await;
        assert_eq!(approval.allowed, ["accept", "reject", "delegate"]);
        assert_eq!((approval.evidence.is_some(), approval.deadline_at_ms), (true, None));
        assert_eq!(desk.engine.view(&crate::support::thread()).await.unwrap().interrupts[0].kind.name(), "approval");
        for (value, expected) in [(json!("yes"), "HP0413"), (json!({ "approved": true, "args": {} }), "HP0904")] {
            assert_eq!(code(desk.resume("user:ana", value).await), expected);
        }
        let decision = Decision { message: Some("seen".into()), ..desk.decision(verdict).await };
        desk.of("user:ana").decide(&desk.id, decision).await.unwrap();
        let value = json!({ "approved": approved, "reason": "seen" });
        assert_eq!(desk.told_node().await, json!([verdict.name(), value, "user:ana"]));
    }
}
