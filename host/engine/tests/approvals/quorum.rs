//! Several votes.

use holdpoint_engine::Decision;
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::ThreadStatus;
use serde_json::json;

use super::desk::{Desk, code};
use crate::support::thread;

const TWO_OF_THREE: &str = "assignees = [\"user:ana\", \"user:ben\", \"user:carl\"]\nquorum = 2";

#[tokio::test]
async fn two_of_three_and_nobody_twice() {
    let desk = Desk::new(TWO_OF_THREE, json!(1)).await;
    let first = desk.decide("user:ana", Verdict::Accept).await.unwrap();
    assert_eq!((first.answered, first.woken), (false, false));
    let approval = desk.approval().await;
    assert_eq!((approval.status.name(), approval.approvals, approval.quorum.approve), ("partially_approved", 1, 2));
    assert_eq!(code(desk.decide("user:ana", Verdict::Accept).await), "HP0903");
    assert_eq!(code(desk.decide("user:ana", Verdict::Reject).await), "HP0903", "nor the other way round");
    assert_eq!(desk.engine.view(&thread()).await.unwrap().status, ThreadStatus::Interrupted);
    let last = Decision { message: Some("fine".into()), ..desk.decision(Verdict::Accept).await };
    assert!(desk.of("user:carl").decide(&desk.id, last).await.unwrap().answered);
    assert_eq!(desk.told_node().await, json!(["accept", { "approved": true, "reason": "fine" }, "user:carl"]));
    let kinds = desk.kinds().await;
    let refused = "refused user:ana";
    assert_eq!(kinds, ["asked system:worker", "voted user:ana", refused, refused, "decided user:carl"]);
    let decided = desk.audit().await.into_iter().find(|record| record.kind == "question.decided").unwrap();
    assert_eq!(decided.body["votes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn one_rejection_ends_it() {
    let desk = Desk::new(TWO_OF_THREE, json!(1)).await;
    desk.decide("user:ana", Verdict::Accept).await.unwrap();
    assert!(desk.decide("user:ben", Verdict::Reject).await.unwrap().answered);
    assert_eq!(desk.told_node().await, json!(["reject", { "approved": false }, "user:ben"]));
}

#[tokio::test]
async fn where_two_rejections_are_wanted_one_does_not_end_it() {
    let desk = Desk::new("quorum = { approve = 2, reject = 2 }", json!(1)).await;
    assert!(!desk.decide("user:ana", Verdict::Ignore).await.unwrap().answered);
    assert_eq!(desk.approval().await.status.name(), "pending");
    desk.decide("user:ben", Verdict::Accept).await.unwrap();
    assert_eq!(desk.approval().await.rejections, 1);
    assert!(desk.decide("user:carl", Verdict::Reject).await.unwrap().answered);
    assert_eq!(desk.told_node().await[0], "reject");
}

#[tokio::test]
async fn an_edit_removes_the_votes_before_it_and_has_to_be_seen() {
    let desk = Desk::new(TWO_OF_THREE, json!({ "pay": 5 })).await;
    let seen_by_carl = desk.decision(Verdict::Accept).await;
    desk.decide("user:ana", Verdict::Accept).await.unwrap();
    let edit = Decision { args: Some(json!({ "pay": 4 })), ..desk.decision(Verdict::Edit).await };
    assert!(!desk.of("user:ben").decide(&desk.id, edit).await.unwrap().answered);
    let approval = desk.approval().await;
    assert_eq!((approval.approvals, approval.votes[0].by.id.as_str()), (1, "user:ben"));
    assert_eq!(approval.proposal.as_ref().unwrap().value, json!({ "approved": true, "args": { "pay": 4 } }));
    assert_ne!(approval.digest, approval.payload_digest);
    // Whoever saw the unedited form does not approve the edited one, whichever way it comes.
    assert_eq!(code(desk.of("user:carl").decide(&desk.id, seen_by_carl).await), "HP0907");
    assert_eq!(code(desk.resume("user:carl", json!({ "approved": true })).await), "HP0907");
    assert_eq!(code(desk.decide("user:ben", Verdict::Accept).await), "HP0903", "the edit was ben's vote");
    // Nor is another value waved through as an acceptance.
    let other = Decision { value: Some(json!({ "approved": true })), ..desk.decision(Verdict::Accept).await };
    assert_eq!(code(desk.of("user:carl").decide(&desk.id, other).await), "HP0413");
    assert!(desk.decide("user:ana", Verdict::Accept).await.unwrap().answered, "ana may vote anew");
    assert_eq!(desk.told_node().await, json!(["edit", { "approved": true, "args": { "pay": 4 } }, "user:ana"]));
    let voted = desk.audit().await.into_iter().filter(|record| record.kind == "question.voted").nth(1).unwrap();
    assert_eq!(voted.body["removed_votes"], 1);
}

#[tokio::test]
async fn a_response_is_what_the_others_vote_on() {
    let desk = Desk::new("quorum = 2", json!("which account?")).await;
    let respond = Decision { value: Some(json!("A-1")), ..desk.decision(Verdict::Respond).await };
    desk.of("user:ana").decide(&desk.id, respond).await.unwrap();
    let smuggled = Decision { value: Some(json!("A-2")), ..desk.decision(Verdict::Accept).await };
    assert_eq!(code(desk.of("user:ben").decide(&desk.id, smuggled).await), "HP0413");
    desk.decide("user:ben", Verdict::Accept).await.unwrap();
    assert_eq!(desk.told_node().await, json!(["respond", "A-1", "user:ben"]));
}

#[tokio::test]
async fn a_first_acceptance_may_not_bring_its_own_value() {
    let desk = Desk::new("quorum = 2", json!(1)).await;
    let smuggled = json!({ "approved": true, "pay": 9 });
    assert_eq!(code(desk.resume("user:ana", smuggled).await), "HP0413");
    assert_eq!(desk.footprint().await, json!(["pending", 0, 0]));
}

#[tokio::test]
async fn resuming_votes_too() {
    let desk = Desk::new(TWO_OF_THREE, json!(1)).await;
    let commits = desk.world.commits().commits;
    let view = desk.resume("user:ana", json!({ "approved": true })).await.unwrap();
    assert_eq!((view.status, view.interrupts.len()), (ThreadStatus::Interrupted, 1), "the thread goes on waiting");
    assert_eq!(desk.world.nodes.started("gate"), 1);
    assert_eq!(code(desk.resume("user:ana", json!({ "approved": true })).await), "HP0903");
    let view = desk.resume("user:ben", json!({ "approved": true, "reason": "ok" })).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Done);
    assert_eq!(view.values["told"], json!(["accept", { "approved": true, "reason": "ok" }, "user:ben"]));
    // A vote, a decision with its claim, a superstep.
    assert_eq!(desk.world.commits().commits - commits, 3);
    assert_eq!(desk.kinds().await[1], "voted user:ana");
}
