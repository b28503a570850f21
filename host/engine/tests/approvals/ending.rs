//! Questions that end without an answer, and who is told.

use holdpoint_engine::{AsNode, Delegation, Input, TakeBack, Update};
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::Store as _;
use serde_json::json;

use super::desk::{Desk, code};
use crate::support::thread;

const POLICY: &str = "assignees = [\"user:ana\"]\nnotify = [\"slack\"]\ndeadline = \"2h\"";

fn end() -> Update {
    Update { as_node: Some(AsNode::End), ..Update::default() }
}

#[tokio::test]
async fn whoever_dismisses_a_question_cancels_it() {
    let desk = Desk::new(POLICY, json!(1)).await;
    desk.told.take();
    let decision = desk.decision(Verdict::Accept).await;
    desk.world.advance_ms(5);
    desk.of("user:boss").update(&thread(), None, &[vec![end()]]).await.unwrap();
    let approval = desk.approval().await;
    assert_eq!(approval.status.name(), "cancelled");
    assert!(!approval.status.is_open() && approval.allowed.is_empty());
    let body = approval.to_json();
    assert_eq!(
        (&body["cancelled"]["by"], &body["cancelled"]["at_ms"], &body["decision"]),
        (&json!("user:boss"), &json!(approval.asked_at_ms + 5), &json!(null))
    );
    assert_eq!(desk.told.0.lock().unwrap()[0].outcome, Some(("cancelled".to_owned(), "user:boss".to_owned())));
    assert_eq!(desk.told.take(), ["approval.cancelled 0 user:ana"]);
    assert_eq!(desk.kinds().await, ["asked system:worker", "cancelled user:boss"]);
    // Late words are told who it was.
    let late = desk.of("user:ana").decide(&desk.id, decision).await.unwrap_err();
    assert_eq!(late.code(), "HP0407");
    assert!(late.to_string().contains("was cancelled by user:boss at "), "{late}");
    assert_eq!(code(desk.resume("user:ana", json!({ "approved": true })).await), "HP0408");
}

#[tokio::test]
async fn what_takes_its_place_supersedes_it() {
    let desk = Desk::new(POLICY, json!(1)).await;
    desk.told.take();
    let input = Input { values: json!({ "payload": 2 }), supersede: true };
    desk.of("user:boss").input(&thread(), input).await.unwrap();
    assert_eq!(desk.approval().await.status.name(), "superseded");
    assert_eq!(desk.told.take(), ["approval.cancelled 0 user:ana", "approval.requested 0 user:ana"]);
    let head = desk.engine.view(&thread()).await.unwrap();
    desk.of("user:boss").replay(&thread(), &head.checkpoint).await.unwrap();
    assert_eq!(desk.told.take(), ["approval.cancelled 0 user:ana", "approval.requested 0 user:ana"]);
    let kinds = desk.kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "superseded user:boss").count(), 2, "{kinds:?}");
}

#[tokio::test]
async fn who_takes_a_thread_back_or_deletes_it_cancels_what_it_asks() {
    let desk = Desk::new(POLICY, json!(1)).await;
    let head = desk.engine.view(&thread()).await.unwrap().checkpoint;
    desk.told.take();
    let epoch = desk.world.store.thread(&thread()).await.unwrap().unwrap().epoch;
    let back = TakeBack { epoch, runs: Vec::new(), goes_on: false };
    desk.of("user:boss").take_back(&thread(), &head, back).await.unwrap();
    assert_eq!(desk.approval().await.status.name(), "cancelled");
    assert_eq!(desk.told.take(), ["approval.cancelled 0 user:ana"]);

    let desk = Desk::new(POLICY, json!(1)).await;
    desk.told.take();
    desk.of("user:boss").delete(&thread()).await.unwrap();
    assert_eq!(desk.told.take(), ["approval.cancelled 0 user:ana"]);
    let kinds: Vec<String> = desk.audit().await.into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["question.cancelled", "thread.deleted"]);
    assert_eq!(code(desk.engine.approval(&desk.id).await), "HP0406", "it is gone with its thread");
}

#[tokio::test]
async fn an_end_is_an_end_whatever_happens_to_the_thread() {
    // Its deadline has come, and nobody has looked yet: it has expired.
    let desk = Desk::new(POLICY, json!(1)).await;
    desk.told.take();
    desk.world.advance_ms(7_200_000);
    assert_eq!(desk.approval().await.status.name(), "expired");
    desk.of("user:boss").update(&thread(), None, &[vec![end()]]).await.unwrap();
    assert_eq!(desk.approval().await.status.name(), "expired");
    assert_eq!(desk.told.take(), ["approval.expired 0 user:ana"]);
    assert_eq!(desk.kinds().await, ["asked system:worker", "expired system:deadline"]);
    // Answered before: the dismissal changes nothing of it.
    let desk = Desk::new(POLICY, json!(1)).await;
    desk.decide("user:ana", Verdict::Reject).await.unwrap();
    desk.told_node().await;
    desk.told.take();
    desk.of("user:boss").update(&thread(), None, &[vec![end()]]).await.unwrap();
    assert_eq!(desk.approval().await.status.name(), "rejected");
    assert_eq!(desk.told.take(), Vec::<String>::new());
}

#[tokio::test]
async fn who_is_added_is_told_by_whom_and_why_and_of_the_end() {
    let policy = format!("{POLICY}\nescalate = [{{ after = \"1h\", to = [\"group:leads\"] }}]");
    let desk = Desk::new(&policy, json!(1)).await;
    desk.told.take();
    let until_ms = Some(desk.approval().await.asked_at_ms + 7_000_000);
    let delegation = Delegation { to: "user:eva".into(), until_ms, message: Some("on holiday".into()), reply: None };
    desk.of("user:ana").delegate(&desk.id, delegation).await.unwrap();
    let notice = desk.told.0.lock().unwrap()[0].clone();
    let added = notice.added.unwrap();
    assert_eq!(
        (added.by.as_str(), added.reason.as_deref(), added.until_ms),
        ("user:ana", Some("on holiday"), until_ms)
    );
    assert_eq!(desk.told.take(), ["approval.requested 1 user:eva"]);
    let operations = holdpoint_store::Journal::operations(&*desk.world.store, &thread()).await.unwrap();
    assert!(operations.iter().any(|operation| operation.request == json!(["user:eva"])), "in the same transaction");
    assert_eq!(desk.approval().await.added[0].reason.as_deref(), Some("on holiday"));
    desk.world.advance_ms(3_600_000);
    desk.engine.monitor(10).await.unwrap();
    let notice = desk.told.0.lock().unwrap()[0].clone();
    let added = notice.added.unwrap();
    assert_eq!((added.by.as_str(), added.until_ms), ("system:deadline", None));
    assert!(added.reason.unwrap().contains("3600s"));
    assert_eq!(desk.told.take(), ["approval.escalated 1 group:leads"]);
    desk.decide("user:ana", Verdict::Accept).await.unwrap();
    assert_eq!(desk.told.take(), ["approval.decided 0 user:ana,user:eva,group:leads"]);
}

#[tokio::test]
async fn who_had_it_for_a_while_is_told_of_the_end_and_not_reminded() {
    let desk = Desk::new(&format!("{POLICY}\nremind = [\"1m\"]"), json!(1)).await;
    let until_ms = Some(desk.approval().await.asked_at_ms + 10);
    let delegation = Delegation { to: "user:eva".into(), until_ms, message: None, reply: None };
    desk.of("user:ana").delegate(&desk.id, delegation).await.unwrap();
    desk.told.take();
    desk.world.advance_ms(60_000);
    desk.engine.monitor(10).await.unwrap();
    assert_eq!(desk.told.take(), ["approval.reminded 1 user:ana"]);
    desk.decide("user:ana", Verdict::Accept).await.unwrap();
    assert_eq!(desk.told.take(), ["approval.decided 0 user:ana,user:eva"]);
}
