//! Break-glass: an administrator's word that decides alone.

use holdpoint_engine::Decision;
use holdpoint_graph::nodes::Verdict;
use serde_json::json;

use super::desk::{Desk, code};

/// Nobody of these is rita, who asked for it, or the administrator.
const POLICY: &str = "assignees = [\"user:ana\", \"user:ben\"]\nquorum = 2\ndistinct_from = \"requester\"\ndeadline = \"2h\"\n\
                      notify = [\"slack\"]\n";

async fn desk(line: &str) -> Desk {
    Desk::new(&format!("{POLICY}{line}"), json!({ "pay": 5 })).await
}

async fn alone(desk: &Desk, verdict: Verdict, reason: Option<&str>) -> Decision {
    Decision { break_glass: true, message: reason.map(str::to_owned), ..desk.decision(verdict).await }
}

#[tokio::test]
async fn it_passes_eligibility_quorum_and_separation_of_duties_and_says_so_everywhere() {
    for who in ["user:root", "user:rita"] {
        let desk = desk("break_glass = true").await;
        desk.told.take();
        assert!(desk.approval().await.break_glass);
        let decided = desk.of(who).decide(&desk.id, alone(&desk, Verdict::Accept, Some("fire")).await).await.unwrap();
        assert!(decided.answered, "{who}");
        assert_eq!(
            (&decided.body["break_glass"], &decided.body["decision"]["break_glass"], &decided.body["status"]),
            (&json!(true), &json!(true), &json!("approved"))
        );
        assert_eq!(decided.body["decision"]["reason"], "fire");
        let notice = desk.told.0.lock().unwrap().pop().unwrap();
        assert!(notice.break_glass && notice.kind.name() == "approval.decided");
        let record = desk.audit().await.into_iter().find(|record| record.kind == "question.decided").unwrap();
        assert_eq!(
            (&record.body["break_glass"], &record.body["votes"][0]["break_glass"]),
            (&json!(true), &json!(true))
        );
        assert_eq!((record.actor.id.as_str(), &record.body["votes"][0]["reason"]), (who, &json!("fire")));
        assert_eq!(desk.told_node().await, json!(["accept", { "approved": true, "reason": "fire" }, who]));
    }
}

#[tokio::test]
async fn a_word_among_others_is_not_marked() {
    let desk = desk("break_glass = true").await;
    for who in ["user:ana", "user:ben"] {
        desk.decide(who, Verdict::Accept).await.unwrap();
    }
    let approval = desk.approval().await;
    assert!(!approval.broken_glass);
    let record = desk.audit().await.into_iter().find(|record| record.kind == "question.decided").unwrap();
    assert_eq!(record.body["break_glass"], false);
}

#[tokio::test]
async fn a_rejection_or_an_edit_decides_alone_too_whatever_others_said() {
    let desk = desk("break_glass = true").await;
    desk.decide("user:ana", Verdict::Accept).await.unwrap();
    let rejection = alone(&desk, Verdict::Reject, Some("stop")).await;
    assert!(desk.of("user:root").decide(&desk.id, rejection).await.unwrap().answered);
    assert_eq!(desk.told_node().await, json!(["reject", { "approved": false, "reason": "stop" }, "user:root"]));

    let desk = self::desk("break_glass = true").await;
    let edit = Decision { args: Some(json!({ "pay": 4 })), ..desk.decision(Verdict::Edit).await };
    desk.of("user:ben").decide(&desk.id, edit).await.unwrap();
    // What is accepted is what stands now: ben's edit.
    let accept = alone(&desk, Verdict::Accept, Some("now")).await;
    assert!(desk.of("user:root").decide(&desk.id, accept).await.unwrap().answered);
    assert_eq!(desk.told_node().await, json!(["edit", { "approved": true, "args": { "pay": 4 } }, "user:root"]));

    let desk = Desk::new("quorum = { approve = 2, reject = 2 }\nbreak_glass = true", json!(1)).await;
    desk.decide("user:ana", Verdict::Reject).await.unwrap();
    let accept = alone(&desk, Verdict::Accept, Some("now")).await;
    assert!(desk.of("user:root").decide(&desk.id, accept).await.unwrap().answered);
    assert_eq!(desk.told_node().await[0], "accept", "earlier rejections do not turn it round");
}

#[tokio::test]
async fn it_has_to_be_allowed_and_needs_a_reason_the_digest_and_time() {
    for line in ["", "break_glass = false"] {
        let desk = desk(line).await;
        assert!(!desk.approval().await.break_glass);
        let barred = desk.of("user:root").decide(&desk.id, alone(&desk, Verdict::Accept, Some("fire")).await).await;
        assert_eq!(code(barred), "HP0914");
        assert_eq!(desk.footprint().await, json!(["pending", 0, 0]));
        assert_eq!(desk.kinds().await, ["asked system:worker", "refused user:root"]);
        let refused = desk.audit().await.into_iter().find(|record| record.kind == "question.refused").unwrap();
        assert_eq!(
            (&refused.body["code"], &refused.body["wanted"]),
            (&json!("HP0914"), &json!("accept (break-glass)"))
        );
    }
    let desk = desk("break_glass = true").await;
    let seen = alone(&desk, Verdict::Accept, Some("fire")).await;
    for reason in [None, Some(""), Some(" \n")] {
        let silent = alone(&desk, Verdict::Accept, reason).await;
        assert_eq!(code(desk.of("user:root").decide(&desk.id, silent).await), "HP0906");
    }
    let edit = Decision { args: Some(json!({ "pay": 4 })), ..desk.decision(Verdict::Edit).await };
    desk.of("user:ben").decide(&desk.id, edit).await.unwrap();
    assert_eq!(code(desk.of("user:root").decide(&desk.id, seen).await), "HP0907", "what was seen is another form");
    let late = alone(&desk, Verdict::Accept, Some("fire")).await;
    desk.world.advance_ms(7_200_000);
    assert_eq!(code(desk.of("user:root").decide(&desk.id, late).await), "HP0908", "the deadline holds");
}
