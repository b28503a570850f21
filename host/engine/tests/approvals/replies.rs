//! The table of `reference/approvals.md` B3, row by row.

use holdpoint_engine::{Decision, Error, ReplyKey};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{QuestionId, Tenant};
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::{QuestionFilter, QuestionStatus, ThreadStatus};
use serde_json::json;

use super::desk::{Desk, code, person};
use crate::support::thread;

fn key(key: &str, request: &str) -> Option<ReplyKey> {
    Some(ReplyKey { key: key.into(), request: Digest::of_bytes(request.as_bytes()), keep_ms: 1000 })
}

#[tokio::test]
async fn the_first_valid_decision_counts_and_the_thread_goes_on_by_itself() {
    let desk = Desk::new("", json!({ "pay": 5 })).await;
    let decided = desk.decide("user:ana", Verdict::Accept).await.unwrap();
    assert_eq!((decided.answered, decided.woken, decided.replayed, decided.status), (true, true, false, 200));
    assert_eq!(decided.body["status"], "approved");
    assert_eq!(decided.body["decision"]["by"], "user:ana");
    let view = desk.engine.view(&thread()).await.unwrap();
    assert_eq!((view.status, view.interrupts.len()), (ThreadStatus::Running, 0), "not driven, and nobody's");
    assert_eq!(desk.told_node().await, json!(["accept", { "approved": true }, "user:ana"]));
    assert_eq!(desk.kinds().await, ["asked system:worker", "decided user:ana"]);
}

#[tokio::test]
async fn the_same_key_and_request_get_the_stored_reply() {
    let desk = Desk::new("", json!(1)).await;
    let decision = Decision { reply: key("k", "accept"), ..desk.decision(Verdict::Accept).await };
    let first = desk.of("user:ana").decide(&desk.id, decision.clone()).await.unwrap();
    desk.told_node().await;
    let commits = desk.world.commits();
    let again = desk.of("user:ana").decide(&desk.id, decision.clone()).await.unwrap();
    assert_eq!((again.body, again.status, again.replayed), (first.body, first.status, true));
    assert_eq!(desk.world.commits(), commits, "nothing is written");
    // Another request under the key.
    let other = Decision { reply: key("k", "reject"), ..decision.clone() };
    assert_eq!(code(desk.of("user:ana").decide(&desk.id, other).await), "HP0910");
    // The key is the actor's own.
    assert!(matches!(desk.of("user:ben").decide(&desk.id, decision.clone()).await, Err(Error::AlreadySettled(_))));
    desk.world.advance_ms(1000);
    assert!(matches!(desk.of("user:ana").decide(&desk.id, decision).await, Err(Error::AlreadySettled(_))), "forgotten");
}

#[tokio::test]
async fn one_key_used_at_once_from_two_places_gets_one_reply() {
    for _ in 0..50 {
        let desk = Desk::new("", json!(1)).await;
        let decision = Decision { reply: key("k", "accept"), ..desk.decision(Verdict::Accept).await };
        let ana = desk.of("user:ana");
        let (one, two) = tokio::join!(ana.decide(&desk.id, decision.clone()), ana.decide(&desk.id, decision.clone()));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.body, two.body);
        assert!(one.replayed != two.replayed);
    }
}

#[tokio::test]
async fn whoever_comes_second_is_told_who_won() {
    let desk = Desk::new("", json!(1)).await;
    let late = desk.decision(Verdict::Reject).await;
    desk.decide("user:ana", Verdict::Accept).await.unwrap();
    for _ in 0..2 {
        match desk.of("user:ben").decide(&desk.id, late.clone()).await {
            Err(Error::AlreadySettled(winner)) => assert_eq!(winner.answer.unwrap().answered_by, "user:ana"),
            other => panic!("{other:?}"),
        }
        // After the thread has gone on, too.
        desk.told_node().await;
    }
    assert_eq!(desk.kinds().await, ["asked system:worker", "decided user:ana"]);
}

#[tokio::test]
async fn after_the_deadline_it_is_expired_though_no_monitor_ran() {
    let desk = Desk::new("deadline = \"1s\"", json!(1)).await;
    let decision = desk.decision(Verdict::Accept).await;
    desk.world.advance_ms(1000);
    let before = desk.footprint().await;
    assert_eq!(code(desk.of("user:ana").decide(&desk.id, decision.clone()).await), "HP0908");
    assert_eq!(code(desk.resume("user:ana", json!(true)).await), "HP0908");
    assert_eq!(desk.footprint().await, before);
    assert_eq!(desk.approval().await.status.name(), "expired", "a read projects it");
    assert!(desk.engine.view(&thread()).await.unwrap().interrupts[0].expired);
    // The reply is the same once it is recorded.
    desk.engine.monitor(10).await.unwrap();
    assert_eq!(code(desk.of("user:ana").decide(&desk.id, decision).await), "HP0908");
    assert_eq!(desk.approval().await.status.name(), "expired");
}

#[tokio::test]
async fn a_decision_on_something_else_is_stale() {
    let desk = Desk::new("", json!(1)).await;
    let decision = Decision::new(Verdict::Accept, Digest::of_json(&json!(2)));
    match desk.of("user:ana").decide(&desk.id, decision).await {
        Err(Error::Stale { current, .. }) => assert_eq!(current, Digest::of_json(&json!(1))),
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.footprint().await, json!(["pending", 0, 0]));
}

#[tokio::test]
async fn whoever_may_not_is_refused_and_on_the_record() {
    let desk = Desk::new("assignees = [\"group:finance\"]\ndistinct_from = \"requester\"", json!(1)).await;
    let decision = desk.decision(Verdict::Accept).await;
    let finance = |id| person(id, &["finance"]);
    assert_eq!(code(desk.of("user:ana").decide(&desk.id, decision.clone()).await), "HP0901");
    assert_eq!(code(desk.by(finance("user:rita")).decide(&desk.id, decision.clone()).await), "HP0902");
    assert_eq!(code(desk.resume("user:ana", json!({ "approved": true })).await), "HP0901");
    assert_eq!(desk.footprint().await, json!(["pending", 0, 0]));
    assert_eq!(
        desk.kinds().await,
        ["asked system:worker", "refused user:ana", "refused user:rita", "refused user:ana"]
    );
    let refused = desk
        .audit()
        .await
        .into_iter()
        .find(|record| record.actor.id == "user:rita" && record.kind == "question.refused");
    assert_eq!(refused.unwrap().body["code"], "HP0902");
    desk.by(finance("user:ana")).decide(&desk.id, decision).await.unwrap();
}

#[tokio::test]
async fn what_is_not_allowed_or_not_valid_leaves_it_pending() {
    let policy = "allowed = [\"accept\", \"reject\"]\nreason_required_on = [\"reject\"]\n\
                  answer_schema = { type = \"object\", required = [\"approved\"], properties = { amount = { type = \"integer\" } } }";
    let desk = Desk::new(policy, json!(1)).await;
    let accept = desk.decision(Verdict::Accept).await;
    let with = |verdict, value| Decision { verdict, value: Some(value), ..accept.clone() };
    let cases = [
        (with(Verdict::Edit, json!({ "approved": true, "amount": 1 })), "HP0904"),
        (with(Verdict::Respond, json!({ "amount": 1 })), "HP0904"),
        (with(Verdict::Ignore, json!({ "approved": false })), "HP0904"),
        (Decision { verdict: Verdict::Expired, ..accept.clone() }, "HP0904"),
        // A yes that says more would be an edit.
        (with(Verdict::Accept, json!({ "approved": true, "amount": 1 })), "HP0904"),
        (Decision { verdict: Verdict::Reject, ..accept.clone() }, "HP0906"),
        (Decision { verdict: Verdict::Reject, message: Some(" ".into()), ..accept.clone() }, "HP0906"),
        (with(Verdict::Accept, json!({ "approved": false })), "HP0413"),
        (with(Verdict::Accept, json!({})), "HP0413"),
        (with(Verdict::Accept, json!(null)), "HP0412"),
        (Decision { args: Some(json!({})), ..accept.clone() }, "HP0413"),
    ];
    for (decision, expected) in cases {
        let told = format!("{decision:?}");
        assert_eq!(code(desk.of("user:ana").decide(&desk.id, decision).await), expected, "{told}");
    }
    for (value, expected) in [
        (json!({ "approved": true, "args": {} }), "HP0904"),
        (json!({ "approved": false }), "HP0906"),
        (json!("yes"), "HP0904"),
        (json!({ "approved": true, "amount": "x" }), "HP0904"),
    ] {
        assert_eq!(code(desk.resume("user:ana", value.clone()).await), expected, "{value}");
    }
    assert_eq!(desk.footprint().await, json!(["pending", 0, 0]));
    assert_eq!(desk.approval().await.allowed, ["accept", "reject"]);
    assert_eq!(code(desk.of("user:ana").delegate(&desk.id, delegation()).await), "HP0904");
    desk.resume("user:ana", json!({ "approved": false, "reason": "no" })).await.unwrap();
    assert_eq!(desk.told_node().await, json!(["reject", { "approved": false, "reason": "no" }, "user:ana"]));
}

fn delegation() -> holdpoint_engine::Delegation {
    holdpoint_engine::Delegation { to: "user:ben".into(), until_ms: None, message: None, reply: None }
}

#[tokio::test]
async fn what_is_not_there_or_another_tenants_is_unknown() {
    let desk = Desk::new("", json!(1)).await;
    let decision = desk.decision(Verdict::Accept).await;
    let nowhere = QuestionId::parse("0".repeat(32)).unwrap();
    assert_eq!(code(desk.of("user:ana").decide(&nowhere, decision.clone()).await), "HP0406");
    let mut foreigner = person("user:eve", &[]);
    foreigner.tenant = Tenant::parse("elsewhere").unwrap();
    let foreign = desk.by(foreigner);
    assert_eq!(code(foreign.decide(&desk.id, decision.clone()).await), "HP0406");
    assert_eq!(code(foreign.delegate(&desk.id, delegation()).await), "HP0406");
    assert_eq!(code(foreign.approval(&desk.id).await), "HP0406");
    assert_eq!(foreign.approvals(&QuestionFilter::pending(10)).await.unwrap(), []);
    assert_eq!(desk.engine.approvals(&QuestionFilter::pending(10)).await.unwrap().len(), 1);
    assert_eq!(desk.kinds().await, ["asked system:worker"]);
}

#[tokio::test]
async fn a_question_whose_policy_cannot_be_read_lets_nobody_answer() {
    let desk = Desk::new("deadline = \"1h\"", json!(1)).await;
    let mut question = desk.world.store_question(&desk.id).await;
    for policy in [
        json!(null),
        json!({ "quorum": 0 }),
        json!({ "quorum": { "reject": 1 } }),
        json!({ "assignees": "group:finance" }),
        json!({ "allowed": ["approve"] }),
        json!({ "veto": ["ana"] }),
        json!({ "bound": { "ana": 5 } }),
        json!({ "escalate": [{ "after": "soon", "to": [] }] }),
        json!({ "on_timeout": "accept" }),
    ] {
        question.policy = policy.clone();
        let word = holdpoint_engine::approvals::decide::Word {
            verdict: Verdict::Accept,
            value: None,
            args: None,
            message: None,
            digest: question.payload_digest.clone(),
            on_behalf_of: None,
            break_glass: false,
        };
        let refused = holdpoint_engine::approvals::decide::decide(&question, &person("user:ana", &[]), &word, 0);
        assert_eq!(code(refused), "HP0909", "{policy}");
        // The deadline ends it all the same, and the task fails.
        let answer = holdpoint_engine::approvals::time::expiry(&question, u64::MAX);
        assert_eq!(answer.value, json!({ "expired": true }), "{policy}");
        let expired = holdpoint_store::QuestionRecord {
            answer: Some(answer),
            status: QuestionStatus::Answered,
            ..question.clone()
        };
        assert_eq!(holdpoint_engine::approvals::time::failure(&expired).unwrap().code, "HP0905");
    }
}
