//! Questions that want a fresh sign-in.

use holdpoint_engine::{Answers, Authentication, Decision, Engine, Error};
use holdpoint_graph::nodes::Verdict;
use serde_json::json;

use super::desk::{Desk, asserted, code, person};
use crate::support::{NOON_MS, thread};

/// Ana, who signed in then.
fn ana(desk: &Desk, at_ms: Option<u64>, acr: Option<&str>) -> Engine {
    let authenticated = at_ms.map(|at_ms| Authentication { at_ms, acr: acr.map(str::to_owned) });
    desk.by(holdpoint_engine::Principal { authenticated, ..person("user:ana", &[]) })
}

#[tokio::test]
async fn a_sign_in_counts_for_as_long_as_the_policy_says() {
    const WITHIN_MS: u64 = 900_000;
    for (ago_ms, fits) in [(0, true), (WITHIN_MS - 1, true), (WITHIN_MS, true), (WITHIN_MS + 1, false)] {
        let desk = Desk::new("step_up = \"15m\"", json!(1)).await;
        let engine = ana(&desk, Some(NOON_MS - ago_ms), None);
        assert_eq!(engine.approval(&desk.id).await.unwrap().must_sign_in, !fits, "{ago_ms}");
        let decided = engine.decide(&desk.id, desk.decision(Verdict::Accept).await).await;
        assert_eq!(decided.err().map(|error| error.code()), (!fits).then_some("HP0913"), "{ago_ms}");
    }
}

#[tokio::test]
async fn who_signed_in_nowhere_is_refused_and_on_the_record() {
    let desk = Desk::new("step_up = \"15m\"\nbreak_glass = true", json!(1)).await;
    let decision = desk.decision(Verdict::Accept).await;
    assert_eq!(code(ana(&desk, None, None).decide(&desk.id, decision.clone()).await), "HP0913");
    assert_eq!(code(desk.by(asserted("ana")).decide(&desk.id, decision.clone()).await), "HP0913");
    let alone = Decision { break_glass: true, message: Some("fire".into()), ..decision };
    assert_eq!(code(desk.of("user:root").decide(&desk.id, alone).await), "HP0913", "an administrator neither");
    let yes = Answers::Bare(json!({ "approved": true }));
    let resumed = ana(&desk, None, None).answer(&thread(), &yes, "user:ana").await;
    assert_eq!(code(resumed), "HP0913", "resuming is bound by it as well");
    assert_eq!(desk.footprint().await, json!(["pending", 0, 0]));
    let refused = desk.audit().await.into_iter().filter(|record| record.kind == "question.refused");
    assert!(refused.map(|record| record.body["code"].clone()).eq(["HP0913"; 4].map(|code| json!(code))));
    let fresh = ana(&desk, Some(NOON_MS), None);
    let resumed = fresh.answer(&thread(), &yes, "user:ana").await.unwrap();
    assert_eq!(resumed.values["told"][0], "accept");
}

#[tokio::test]
async fn the_way_of_signing_in_counts_where_the_policy_names_some() {
    let policy = "step_up = { within = \"15m\", acr = [\"urn:mfa\", \"phr\"] }";
    for (acr, fits) in [(None, false), (Some("pwd"), false), (Some("phr"), true), (Some("urn:mfa"), true)] {
        let desk = Desk::new(policy, json!(1)).await;
        let decided = ana(&desk, Some(NOON_MS), acr).decide(&desk.id, desk.decision(Verdict::Accept).await).await;
        match decided {
            Ok(_) => assert!(fits, "{acr:?}"),
            Err(Error::StepUpRequired { step_up, .. }) => {
                assert!(!fits, "{acr:?}");
                assert_eq!((step_up.within_ms, step_up.acr.len()), (900_000, 2));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn who_may_not_answer_is_told_that_and_nothing_of_signing_in() {
    let desk = Desk::new("assignees = [\"user:ben\"]\nstep_up = \"15m\"", json!(1)).await;
    assert_eq!(code(ana(&desk, None, None).decide(&desk.id, desk.decision(Verdict::Accept).await).await), "HP0901");
}
