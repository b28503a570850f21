//! What time does: reminders, the escalation ladder, the deadline. The clock is moved, nobody sleeps.

use holdpoint_engine::Decision;
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::{QuestionFilter, ThreadStatus};
use serde_json::{Value, json};

use super::desk::{Desk, code, person};
use crate::support::{NOON_MS, thread};

const MINUTE_MS: u64 = 60_000;

#[tokio::test]
async fn the_moment_of_the_deadline_is_past_it() {
    for (after_ms, expected) in [(7_199_999, None), (7_200_000, Some("HP0908")), (7_200_001, Some("HP0908"))] {
        let desk = Desk::new("deadline = \"2h\"", json!(1)).await;
        let decision = desk.decision(Verdict::Accept).await;
        desk.world.advance_ms(after_ms);
        let decided = desk.of("user:ana").decide(&desk.id, decision).await;
        assert_eq!(decided.as_ref().err().map(|error| error.code()), expected, "{after_ms}");
        let report = desk.engine.monitor(10).await.unwrap();
        assert_eq!(report.expired, usize::from(expected.is_some()), "{after_ms}");
        // Resuming is bound by it as well.
        let desk = Desk::new("deadline = \"2h\"", json!(1)).await;
        desk.world.advance_ms(after_ms);
        let resumed = desk.resume("user:ana", json!({ "approved": true })).await;
        assert_eq!(resumed.err().map(|error| error.code()), expected, "{after_ms}");
    }
}

#[tokio::test]
async fn the_sooner_of_two_deadlines_holds() {
    for (policy, stands_ms, expected) in [
        ("", None, None),
        ("", Some(5), Some(5)),
        ("deadline = \"1s\"", None, Some(1000)),
        ("deadline = \"1s\"", Some(5), Some(5)),
        ("deadline = \"1s\"", Some(5000), Some(1000)),
        ("deadline = { cel = \"state.payload == 'P0' ? '15m' : '2h'\" }", None, Some(7_200_000)),
        ("deadline = { cel = \"state.payload == 1 ? '15m' : '2h'\" }", Some(901_000), Some(900_000)),
        ("", Some(u64::MAX), Some(i64::MAX.unsigned_abs() - 1 - NOON_MS)),
    ] {
        let mut input = json!({ "payload": 1 });
        if let Some(stands_ms) = stands_ms {
            input["stands_ms"] = json!(stands_ms);
        }
        let desk = Desk::with_input(policy, input, &[]).await;
        let approval = desk.approval().await;
        let stands_ms = approval.deadline_at_ms.map(|deadline_at_ms| deadline_at_ms - approval.asked_at_ms);
        assert_eq!(stands_ms, expected, "{policy}");
        assert_eq!(approval.due_at_ms, approval.deadline_at_ms);
    }
}

#[tokio::test]
async fn a_deadline_that_cannot_be_told_fails_the_task() {
    use crate::support::World;
    for expression in ["state.payload", "'soon'", "'0s'", "state.payload.x", "state.payload == 1"] {
        let world = World::new(super::desk::nodes());
        let text = format!("{}[nodes.gate.interrupt]\ndeadline = {{ cel = \"{expression}\" }}\n", super::desk::STATE);
        let deployment = world.deploy(&text).await;
        let view = world.run(&deployment, json!({ "payload": 1 })).await.unwrap();
        assert_eq!(view.status, ThreadStatus::Failed, "{expression}");
        assert_eq!(view.error.unwrap().code, "HP0911", "{expression}");
        assert!(view.interrupts.is_empty());
        let report = world.engine.verify(&thread(), |_, _| {}).await.unwrap();
        assert_eq!(report.difference, None, "{expression}: {report:?}");
    }
}

/// The ladder of the issue, told by the hour.
const LADDER: &str = "assignees = [\"user:ana\"]\nremind = [\"10m\", \"1h\"]\ndeadline = \"4h\"\nnotify = [\"slack\"]\n\
                      escalate = [{ after = \"15m\", to = [\"group:leads\"] }, { after = \"2h\", to = [\"user:boss\"] }]";

#[tokio::test]
async fn reminders_and_the_ladder_come_in_their_time() {
    let desk = Desk::new(LADDER, json!(1)).await;
    assert_eq!(desk.told.take(), ["approval.requested 0 user:ana"]);
    let steps: [(u64, &[&str]); 7] = [
        (9, &[]),
        (10, &["approval.reminded 1 user:ana"]),
        (14, &[]),
        (15, &["approval.escalated 1 group:leads"]),
        (60, &["approval.reminded 2 user:ana,group:leads"]),
        (119, &[]),
        (120, &["approval.escalated 2 user:boss"]),
    ];
    let may = async |who| desk.by(who).approval(&desk.id).await.unwrap().eligibility.may();
    let mut then = 0;
    for (minute, told) in steps {
        desk.world.advance_ms((minute - then) * MINUTE_MS);
        then = minute;
        let (lead, boss) = (may(person("user:lena", &["leads"])).await, may(person("user:boss", &[])).await);
        assert_eq!((lead, boss), (minute > 15, minute > 120), "minute {minute}");
        let before = desk.footprint().await;
        let report = desk.engine.monitor(10).await.unwrap();
        assert_eq!(desk.told.take(), told, "minute {minute}");
        assert_eq!(report.looked_at, told.len(), "it costs nothing where nothing is due: minute {minute}");
        assert_eq!(desk.footprint().await == before, told.is_empty(), "minute {minute}");
        // And only once.
        assert_eq!(desk.engine.monitor(10).await.unwrap().looked_at, 0, "minute {minute}");
    }
    assert_eq!(desk.world.nodes.started("gate"), 1, "the thread slept");
    desk.decide("user:boss", Verdict::Accept).await.unwrap();
    assert_eq!(desk.told.take(), ["approval.decided 0 user:ana,group:leads,user:boss"]);
    desk.world.advance_ms(1000 * MINUTE_MS);
    assert_eq!(desk.engine.monitor(10).await.unwrap().looked_at, 0, "what is decided is never due");
    let kinds = desk.kinds().await;
    let clock = |kind: &str| format!("{kind} system:deadline");
    assert_eq!(kinds[1..5], [clock("reminded"), clock("escalated"), clock("reminded"), clock("escalated")]);
    let operations = holdpoint_store::Journal::operations(&*desk.world.store, &thread()).await.unwrap();
    assert_eq!(operations.len(), 6, "one for each notice");
}

#[tokio::test]
async fn what_was_missed_is_caught_up_once() {
    let desk = Desk::new(LADDER, json!(1)).await;
    desk.told.take();
    desk.world.advance_ms(200 * MINUTE_MS);
    let report = desk.engine.monitor(10).await.unwrap();
    assert_eq!((report.reminded, report.escalated, report.expired), (1, 1, 0));
    assert_eq!(
        desk.told.take(),
        ["approval.reminded 2 user:ana", "approval.escalated 1 group:leads", "approval.escalated 2 user:boss"]
    );
    assert_eq!(desk.approval().await.added.len(), 2);
    assert_eq!(desk.approval().await.due_at_ms, Some(NOON_MS + 240 * MINUTE_MS));
    // A long time later nothing is left but the deadline.
    desk.world.advance_ms(10_000 * MINUTE_MS);
    let report = desk.engine.monitor(10).await.unwrap();
    assert_eq!((report.reminded, report.escalated, report.expired), (0, 0, 1));
    assert_eq!(report.threads, [thread()]);
    assert_eq!(desk.told.take(), ["approval.expired 0 user:ana,group:leads,user:boss"]);
}

#[tokio::test]
async fn after_a_long_time_without_a_host_a_missed_ladder_is_not_climbed() {
    let desk = Desk::new(LADDER, json!(1)).await;
    desk.told.take();
    desk.world.advance_ms(10_000 * MINUTE_MS);
    desk.engine.monitor(10).await.unwrap();
    assert_eq!(desk.told.take(), ["approval.expired 0 user:ana"]);
}

/// What the node is told when nobody answers, or the code that its task fails with.
async fn after_deadline(policy: &str, input: Value) -> Value {
    let desk = Desk::with_input(&format!("deadline = \"1s\"\n{policy}"), input, &[]).await;
    desk.world.advance_ms(1000);
    let report = desk.engine.monitor(10).await.unwrap();
    assert_eq!((report.expired, report.threads.as_slice()), (1, [thread()].as_slice()));
    assert_eq!(desk.world.nodes.started("gate"), 1, "the monitor drives nothing");
    let view = desk.engine.proceed(&thread()).await.unwrap();
    assert_eq!(desk.approval().await.status.name(), "expired");
    assert_eq!(desk.kinds().await, ["asked system:worker", "expired system:deadline"]);
    let report = desk.engine.verify(&thread(), |_, _| {}).await.unwrap();
    assert_eq!(report.difference, None, "{report:?}");
    match view.error {
        Some(error) => {
            assert_eq!((view.status, desk.world.nodes.started("gate")), (ThreadStatus::Failed, 1), "it does not run");
            // Not by going on either.
            assert_eq!(desk.engine.proceed(&thread()).await.unwrap().status, ThreadStatus::Failed);
            json!([error.code, desk.approval().await.answer.unwrap().value])
        }
        None => {
            assert_eq!(view.status, ThreadStatus::Done);
            view.values["told"].clone()
        }
    }
}

#[tokio::test]
async fn what_the_deadline_answers() {
    let plain = || json!({ "payload": 1 });
    let expired = |value: Value| json!(["expired", value, "system:deadline"]);
    let failed = json!(["HP0905", { "expired": true }]);
    // By default it rejects.
    assert_eq!(after_deadline("", plain()).await, expired(json!({ "approved": false, "reason": "deadline" })));
    let answer = "on_timeout = { answer = { approved = false, reason = \"late\" } }";
    assert_eq!(after_deadline(answer, plain()).await, expired(json!({ "approved": false, "reason": "late" })));
    // To go ahead, it has to be said.
    let accept = "on_timeout = { answer = { approved = true } }";
    assert_eq!(after_deadline(accept, plain()).await, expired(json!({ "approved": true })));
    assert_eq!(after_deadline("on_timeout = \"fail\"", plain()).await, failed);
    // A schema that has no room for the reason; one that has none for a rejection; an answer that breaks the question's own.
    let strict = json!({ "type": "object", "properties": { "approved": {} }, "additionalProperties": false });
    let input = json!({ "payload": 1, "schema": strict });
    assert_eq!(after_deadline("", input.clone()).await, expired(json!({ "approved": false })));
    assert_eq!(after_deadline("answer_schema = { type = \"integer\" }", plain()).await, failed);
    assert_eq!(after_deadline(answer, input).await, failed);
    // In the words of the asker, where those have one for no.
    let inbox = |ignore: bool| json!({ "payload": { "action_request": { "action": "a", "args": {} }, "config": { "allow_ignore": ignore } } });
    assert_eq!(after_deadline("", inbox(true)).await, expired(json!([{ "type": "ignore", "args": null }])));
    assert_eq!(after_deadline("", inbox(false)).await, failed);
    let middleware = json!({ "payload": {
        "action_requests": [{ "name": "a", "args": {} }],
        "review_configs": [{ "action_name": "a", "allowed_decisions": ["approve", "reject"] }],
    } });
    let decisions = json!({ "decisions": [{ "type": "reject", "message": "deadline" }] });
    assert_eq!(after_deadline("", middleware).await, expired(decisions));
}

#[tokio::test]
async fn a_vote_does_not_move_the_deadline_and_expiry_tells_of_it() {
    let desk = Desk::new("deadline = \"1s\"\nquorum = 2", json!(1)).await;
    desk.decide("user:ana", Verdict::Accept).await.unwrap();
    let late = Decision { value: None, ..desk.decision(Verdict::Accept).await };
    desk.world.advance_ms(1000);
    assert_eq!(code(desk.of("user:ben").decide(&desk.id, late).await), "HP0908");
    desk.engine.monitor(10).await.unwrap();
    let expired = desk.audit().await.into_iter().find(|record| record.kind == "question.expired").unwrap();
    assert_eq!(expired.body["votes"][0]["by"], "user:ana");
    assert_eq!(expired.body["answered_by"], "system:deadline");
}

#[tokio::test]
async fn what_is_due_is_listed_by_deadline() {
    let desk = Desk::new("deadline = \"1h\"", json!(1)).await;
    let overdue = QuestionFilter { deadline_until_ms: Some(NOON_MS + 3_600_000), ..QuestionFilter::pending(10) };
    assert_eq!(desk.engine.approvals(&overdue).await.unwrap().len(), 1);
    let sooner = QuestionFilter { deadline_until_ms: Some(NOON_MS + 3_599_999), ..overdue };
    assert_eq!(desk.engine.approvals(&sooner).await.unwrap(), []);
}
