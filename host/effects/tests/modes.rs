//! What becomes of operations on branches that perform none, and on branches that ask before each.

use std::sync::Arc;
use std::time::Duration;

use crate::support::counting::Counting;
use crate::support::{self, NOW_MS, TestJournal, World, operation};
use holdpoint_effects::configuration::Class;
use holdpoint_effects::{Finished, Halt, OperationRequest, Refusal};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ConnectorName, Epoch, OperationId, ThreadId};
use holdpoint_graph::nodes::{Answer, EffectMode, Failure, NodeCall, Question, RecordedAnswer, Verdict};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use serde_json::{Value, json};

const CLASSES: [Class; 6] = [
    Class::AtMostOnce,
    Class::Idempotent { window_ms: None },
    Class::Idempotent { window_ms: Some(1000) },
    Class::Reconcilable,
    Class::Transactional,
    Class::AfterCommit { deduplicated: true },
];

fn pay(id: &str, request: &str) -> OperationRequest {
    operation(Some(id), "payments", json!(request))
}

/// What the journal has under `id` for the request `"pay"`, made by thread `by` of the lineage of thread `t`.
fn record(id: &str, by: &str, state: OperationState) -> OperationRecord {
    let call = World::of(holdpoint_effects::Configuration::default(), Arc::default()).call(by, 9);
    let connector = ConnectorName::parse("payments").unwrap();
    OperationRecord {
        key: OperationKey {
            scope: Scope::Thread(ThreadId::parse("t").unwrap()),
            connector,
            id: OperationId::parse(id).unwrap(),
        },
        thread: call.task.thread,
        task: call.task.id,
        node: call.task.node,
        request: json!("pay"),
        request_digest: Digest::of_json(&json!({ "connector": "payments", "request": "pay" })),
        state,
        epoch: Epoch(1),
        begun_at_ms: NOW_MS,
        send_by_ms: None,
        settles_at_ms: Some(NOW_MS + 1),
        finished_at_ms: None,
        notes: Vec::new(),
    }
}

/// A world whose connector counts, with these records.
fn world(counting: &Counting, class: Class, more: &str, records: Vec<OperationRecord>) -> World {
    let journal = TestJournal::default();
    journal.records.lock().unwrap().extend(records.into_iter().map(|record| (record.key.clone(), record)));
    World::of(counting.configuration(class, more), Arc::new(journal))
}

type Ended = (Result<Vec<Result<Value, Refusal>>, Halt>, Finished);

/// One execution of a task of thread `t`.
async fn execute(world: &World, mode: EffectMode, asked: Vec<OperationRequest>, answers: Vec<RecordedAnswer>) -> Ended {
    let call = NodeCall { effects: mode, answers, ..world.call("t", 1) };
    let mut effects = world.effects.task(&call);
    let results = effects.perform_all(asked).await;
    (results, effects.finish())
}

fn word(results: &Result<Vec<Result<Value, Refusal>>, Halt>) -> String {
    match results {
        Ok(results) => match &results[0] {
            Ok(Value::String(answer)) => answer.clone(),
            Ok(_) => "receipt".into(),
            Err(Refusal::Failed(failure)) => failure.code.clone(),
            Err(refusal) => refusal.to_string(),
        },
        Err(Halt::InDoubt { .. }) => "doubt".into(),
        Err(Halt::Question(_)) => "asks".into(),
        Err(Halt::Withheld { operations }) => {
            assert_eq!(operations, &[json!({ "connector": "payments", "operation_id": "a", "request": "pay" })]);
            "withheld".into()
        }
        Err(halt) => halt.to_string(),
    }
}

fn states() -> Vec<(&'static str, Option<OperationRecord>)> {
    let failure =
        Failure { code: "no".into(), message: "no".into(), retryable: false, retry_after_ms: None, details: None };
    let in_doubt = || OperationState::InDoubt("it may have been".into());
    let queued = || OperationState::Queued { attempts: 0, due_at_ms: NOW_MS };
    vec![
        ("nothing", None),
        ("not sent", Some(record("a", "t", OperationState::NotSent))),
        ("intended", Some(record("a", "t", OperationState::Intended))),
        ("intended by another thread", Some(record("a", "other", OperationState::Intended))),
        ("queued", Some(record("a", "t", queued()))),
        ("queued by another thread", Some(record("a", "other", queued()))),
        ("completed", Some(record("a", "t", OperationState::Completed(json!("before"))))),
        ("completed by another thread", Some(record("a", "other", OperationState::Completed(json!("before"))))),
        ("failed", Some(record("a", "t", OperationState::Failed(failure)))),
        ("in doubt", Some(record("a", "t", in_doubt()))),
        ("in doubt by another thread", Some(record("a", "other", in_doubt()))),
    ]
}

/// What each class comes to, by what is recorded.
async fn check(mode: EffectMode, expected: &[(&str, [&str; 6])]) {
    let states = states();
    assert_eq!(states.len(), expected.len());
    for ((state, record), (expected_state, expected)) in states.into_iter().zip(expected) {
        assert_eq!(state, *expected_state);
        for (class, expected) in CLASSES.into_iter().zip(expected) {
            let what = format!("{} of class {class:?}, {state}", mode.name());
            let counting = Counting::default();
            let world = world(&counting, class, "rate = \"1/h\"\nconcurrency = 1", record.iter().cloned().collect());
            let before = world.journal.records.lock().unwrap().clone();
            let (results, left) = execute(&world, mode, vec![pay("a", "pay")], Vec::new()).await;
            assert_eq!(word(&results), *expected, "{what}");
            let (sent, look_ups, previews) = counting.calls();
            assert_eq!(
                (sent == 1, look_ups == 1, previews == 1),
                { (*expected == "sent", *expected == "found", *expected == "asks") },
                "{what}"
            );
            let stored = (world.journal.commits().len(), left.operations.len(), left.hits.len());
            let touched = *world.journal.records.lock().unwrap() != before;
            if mode == EffectMode::Recorded {
                assert_eq!((stored, touched), ((0, 0, 0), false), "{what}: nothing is written");
            }
            if *expected == "asks" {
                assert_eq!((stored, touched), ((0, 0, 0), false), "{what}: nothing is written before the answer");
            }
            // A limiter that was not asked has a place at once: the rate is one in an hour.
            if mode == EffectMode::Recorded && *expected == "withheld" {
                let live = execute(&world, EffectMode::Live, vec![pay("b", "pay")], Vec::new());
                let (results, _) = tokio::time::timeout(Duration::from_secs(10), live).await.expect("a place");
                let sent = if matches!(class, Class::AfterCommit { .. }) { "receipt" } else { "sent" };
                assert_eq!(word(&results), sent, "{what}");
            }
        }
    }
}

const QUEUED: [&str; 6] = ["receipt"; 6];
const SENT: [&str; 6] = ["sent", "sent", "sent", "sent", "sent", "receipt"];
const BUSY: [&str; 6] = ["busy", "busy", "busy", "busy", "busy", "receipt"];
const BEFORE: [&str; 6] = ["before", "before", "before", "before", "before", "receipt"];
const FAILED: [&str; 6] = ["no", "no", "no", "no", "no", "receipt"];
const LOOKED_UP: [&str; 6] = ["doubt", "doubt", "doubt", "found", "doubt", "receipt"];
const DOUBT: [&str; 6] = ["doubt", "doubt", "doubt", "doubt", "doubt", "receipt"];

fn table(new: [&'static str; 6], doubt: [&'static str; 6]) -> [(&'static str, [&'static str; 6]); 11] {
    [
        ("nothing", new),
        ("not sent", new),
        ("intended", doubt),
        ("intended by another thread", BUSY),
        ("queued", QUEUED),
        ("queued by another thread", QUEUED),
        ("completed", BEFORE),
        ("completed by another thread", BEFORE),
        ("failed", FAILED),
        ("in doubt", doubt),
        ("in doubt by another thread", doubt),
    ]
}

#[tokio::test]
async fn live_performs_what_has_no_record() {
    check(EffectMode::Live, &table(SENT, LOOKED_UP)).await;
}

#[tokio::test]
async fn recorded_answers_from_records_and_reaches_nothing() {
    check(EffectMode::Recorded, &table(["withheld"; 6], DOUBT)).await;
}

#[tokio::test]
async fn ask_asks_before_each_new_operation() {
    check(EffectMode::Ask, &table(["asks"; 6], LOOKED_UP)).await;
}

#[tokio::test]
async fn all_that_a_call_would_do_is_listed_in_order_and_once() {
    let counting = Counting::default();
    let done = record("done", "t", OperationState::Completed(json!("before")));
    let world = world(&counting, Class::AtMostOnce, "", vec![done]);
    let unnamed = || operation(None, "payments", json!("pay"));
    let asked = || {
        vec![
            pay("b", "pay"),
            pay("done", "pay"),
            pay("a", "x"),
            pay("b", "pay"),
            pay("b", "other"),
            unnamed(),
            unnamed(),
        ]
    };
    let (results, left) = execute(&world, EffectMode::Recorded, asked(), Vec::new()).await;
    let Err(Halt::Withheld { operations }) = results else { panic!("{results:?}") };
    let listed: Vec<_> =
        operations.iter().map(|one| (one["operation_id"].as_str().unwrap(), &one["request"])).collect();
    assert_eq!(&listed[..2], [("b", &json!("pay")), ("a", &json!("x"))]);
    assert_eq!((listed.len(), left.operations.len()), (4, 0), "{listed:?}");
    // Those are the ids under which the requests would be sent.
    let ids: Vec<_> = listed.iter().map(|(id, _)| (*id).to_owned()).collect();
    let (results, _) = execute(&world, EffectMode::Live, asked(), Vec::new()).await;
    assert!(results.is_ok());
    let mut sent = counting.sent();
    sent.sort();
    let mut expected = ids;
    expected.sort();
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_doubt_comes_before_what_is_withheld() {
    let counting = Counting::default();
    let doubtful = record("z", "t", OperationState::InDoubt("it may have been".into()));
    let world = world(&counting, Class::Reconcilable, "", vec![doubtful]);
    let asked = vec![pay("a", "pay"), pay("z", "pay")];
    let (results, _) = execute(&world, EffectMode::Recorded, asked, Vec::new()).await;
    let Err(Halt::InDoubt { operation, reason }) = results else { panic!("{results:?}") };
    assert_eq!((operation.id.as_str(), reason.as_str(), counting.calls()), ("z", "it may have been", (0, 0, 0)));
}

#[tokio::test]
async fn what_every_branch_refuses_is_refused_and_the_node_goes_on() {
    let counting = Counting::default();
    let records = vec![
        record("own", "t", OperationState::Completed(json!("before"))),
        record("foreign", "other", OperationState::Completed(json!("before"))),
    ];
    let world = world(&counting, Class::AtMostOnce, "requires_approval = true", records);
    let asked = || {
        vec![
            operation(None, "other", json!("pay")),
            operation(None, "absent", json!("pay")),
            operation(Some("a\nb"), "payments", json!("pay")),
            pay("x", "invalid"),
            pay("own", "pay"),
            pay("own", "another"),
            pay("foreign", "another"),
            pay("no", "pay"),
        ]
    };
    let (results, _) = execute(&world, EffectMode::Live, asked(), Vec::new()).await;
    let Err(Halt::Question(question)) = results else { panic!("{results:?}") };
    let no = answer(&question, json!({ "approved": false }));
    let (live, _) = execute(&world, EffectMode::Live, asked(), vec![no.clone()]).await;
    let (recorded, left) = execute(&world, EffectMode::Recorded, asked(), vec![no]).await;
    let lines = support::lines(recorded);
    assert_eq!(lines, support::lines(live));
    let codes = ["HP0521", "HP0531", "HP0522", "HP0525", "ok \"before\"", "HP0529", "HP0529", "HP0532"];
    for (line, code) in lines.iter().zip(codes) {
        assert!(line.contains(code), "{line}");
    }
    assert_eq!((counting.calls().0, left.operations.len(), left.hits.len()), (0, 0, 0));
    // A yes does not perform it either.
    let yes = answer(&question, json!({ "approved": true }));
    let (results, _) = execute(&world, EffectMode::Recorded, asked(), vec![yes]).await;
    let Err(Halt::Withheld { operations }) = results else { panic!("{results:?}") };
    assert_eq!((operations.len(), &operations[0]["operation_id"]), (1, &json!("no")));
}

#[tokio::test]
async fn a_connector_without_its_secret_withholds() {
    let configuration =
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"${env:NONE}\"\nallow = [\"POST /refunds\"]\n";
    let world = World::new(configuration, &[]);
    let (results, _) = execute(&world, EffectMode::Recorded, vec![support::pay("a", 1)], Vec::new()).await;
    assert!(matches!(results, Err(Halt::Withheld { .. })), "{results:?}");
}

#[tokio::test]
async fn what_this_process_performs_and_has_not_stored_is_no_record() {
    for class in [Class::AtMostOnce, Class::Idempotent { window_ms: None }] {
        let counting = Counting::default();
        let world = world(&counting, class, "", Vec::new());
        let mut live = world.task("t", 2);
        let mut performing = Some(tokio::spawn(async move {
            let results = live.perform_all(vec![pay("a", "hold")]).await;
            assert!(results.is_ok(), "the live branch was not held up");
            live.finish()
        }));
        while counting.sent().is_empty() {
            tokio::task::yield_now().await;
        }
        let asked = || vec![pay("a", "hold")];
        let known = class == Class::AtMostOnce;
        let mut settled = Vec::new();
        // While it is under way, and when it has ended.
        for _ in 0..2 {
            let (results, left) = execute(&world, EffectMode::Recorded, asked(), Vec::new()).await;
            match results {
                // Its intent is recorded, and whoever performs it is not this task.
                Err(Halt::InDoubt { .. }) => assert!(known, "{class:?}"),
                Err(Halt::Withheld { .. }) => assert!(!known, "{class:?}"),
                other => panic!("{other:?}"),
            }
            assert!(left.operations.is_empty());
            if let Some(performing) = performing.take() {
                counting.release();
                settled = performing.await.unwrap().operations;
            }
        }
        world.journal.commit(settled);
        let (results, _) = execute(&world, EffectMode::Recorded, asked(), Vec::new()).await;
        assert_eq!(word(&results), "sent", "the record answers");
        assert_eq!(counting.sent().len(), 1);
    }
}

#[tokio::test]
async fn without_a_journal_nothing_is_known() {
    let world = world(&Counting::default(), Class::AtMostOnce, "", Vec::new());
    *world.journal.unreadable.lock().unwrap() = true;
    let (results, _) = execute(&world, EffectMode::Recorded, vec![pay("a", "pay")], Vec::new()).await;
    assert!(matches!(&results, Err(Halt::Fault(reason)) if reason.contains("HP0550")), "{results:?}");
}

fn answer(question: &Question, value: Value) -> RecordedAnswer {
    RecordedAnswer {
        occurrence: question.occurrence,
        payload_digest: question.payload_digest.clone(),
        answer: Answer { verdict: Verdict::Respond, value, answered_by: "cli:ana".into(), answered_at_ms: NOW_MS },
    }
}

#[tokio::test]
async fn a_yes_lets_exactly_this_operation_pass_once() {
    for class in CLASSES {
        let counting = Counting::default();
        let done = record("done", "t", OperationState::Completed(json!("before")));
        let world = world(&counting, class, "", vec![done]);
        let asked = || vec![pay("done", "pay"), pay("a", "pay"), pay("b", "pay")];
        let (results, _) = execute(&world, EffectMode::Ask, asked(), Vec::new()).await;
        let Err(Halt::Question(first)) = results else { panic!("{results:?}") };
        assert_eq!(first.payload["operation_id"], json!("a"));
        let evidence = first.evidence.clone().unwrap();
        assert_eq!(evidence["reason"], json!("this branch asks before each new operation"));
        let yes = answer(&first, json!({ "approved": true }));
        let (results, _) = execute(&world, EffectMode::Ask, asked(), vec![yes.clone()]).await;
        let Err(Halt::Question(second)) = results else { panic!("{results:?}") };
        assert_eq!((second.payload["operation_id"].clone(), counting.calls().0), (json!("b"), 0));
        let no = answer(&second, json!({ "approved": false, "reason": "too late" }));
        let answers = vec![yes, no];
        let (results, left) = execute(&world, EffectMode::Ask, asked(), answers.clone()).await;
        let results = results.unwrap();
        let refused = results[2].clone().unwrap_err().to_string();
        assert!(refused.starts_with("denied: cli:ana did not approve the request (too late)"), "{refused}");
        let after_commit = matches!(class, Class::AfterCommit { .. });
        assert_eq!((word(&Ok(results[1..2].to_vec())), counting.sent().len()), {
            if after_commit { ("receipt".to_owned(), 0) } else { ("sent".to_owned(), 1) }
        });
        let approved = left.operations.iter().find(|record| record.key.id.as_str() == "a").unwrap();
        assert_eq!((approved.notes.len(), approved.notes[0].by.as_str()), (1, "cli:ana"));
        world.journal.commit(left.operations);
        // From its record, on this branch and on others, without a question.
        for mode in [EffectMode::Ask, EffectMode::Recorded, EffectMode::Live] {
            let (results, _) = execute(&world, mode, vec![pay("a", "pay")], Vec::new()).await;
            assert!(results.is_ok_and(|results| results[0].is_ok()), "{class:?} {}", mode.name());
        }
        assert!(counting.sent().len() <= 1);
    }
}

#[tokio::test]
async fn a_standing_approval_does_not_answer_for_a_branch_that_asks() {
    let counting = Counting::default();
    let standing = "requires_approval = true\n[[connectors.payments.standing_approvals]]\nowner = \"finance\"\n\
                    until = \"2100-01-01T00:00:00Z\"\nreason = \"season sale\"";
    let world = world(&counting, Class::AtMostOnce, standing, Vec::new());
    let (results, _) = execute(&world, EffectMode::Ask, vec![pay("a", "pay")], Vec::new()).await;
    let Err(Halt::Question(question)) = results else { panic!("{results:?}") };
    let reason = question.evidence.unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("this branch asks before each new operation; every request"), "{reason}");
    let (results, _) = execute(&world, EffectMode::Live, vec![pay("a", "pay")], Vec::new()).await;
    assert_eq!((word(&results), counting.sent().len()), ("sent".to_owned(), 1));
}
