//! The combinator from outside: what is sent, what is recorded, what is committed when.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{NOW_MS, Reaction, Receiver, World, lines, one, operation, pay};
use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::nodes::JournalError;
use holdpoint_graph::operation::OperationState;
use serde_json::json;
use tokio::sync::Semaphore;

const IDEMPOTENT: &str = "class = { idempotent = { window = \"24h\" } }";
const OK: &str = "ok {\"body\":null,\"headers\":{},\"status\":204}";

/// A receiver that says yes to all but amounts from 400 on, which are the status.
async fn receiver() -> Receiver {
    Receiver::start(|received| {
        let amount = received.body.trim_matches(|odd: char| !odd.is_ascii_digit()).parse::<u16>().unwrap_or(0);
        Reaction::Answer(if amount >= 400 { amount } else { 204 }, "", String::new())
    })
    .await
}

#[tokio::test]
async fn sequential_intents_cost_one_commit_each_and_carry_the_outcome_before() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(""), &[]);
    let mut effects = world.task("t", 1);
    for id in ["a", "b", "c"] {
        assert_eq!(one(effects.perform_all(vec![pay(id, 1)]).await), OK);
    }
    world.journal.commit(effects.finish().operations);
    assert_eq!(
        world.journal.commits(),
        ["a intended", "a completed, b intended", "b completed, c intended", "c completed"]
    );
    let records = world.journal.records.lock().unwrap();
    for record in records.values() {
        assert_eq!((record.epoch.0, record.begun_at_ms, record.send_by_ms), (1, NOW_MS, Some(NOW_MS + 2000)));
        assert_eq!((record.finished_at_ms, record.request["body"].clone()), (Some(NOW_MS), json!({ "amount": 1 })));
    }
}

#[tokio::test]
async fn parallel_intents_are_one_commit_and_a_refusal_hides_nothing() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(""), &[]);
    let mut effects = world.task("t", 1);
    let invalid = operation(Some("x"), "payments", json!({ "method": "POST", "path": "/.." }));
    let requests = vec![pay("a", 1), pay("b", 409), invalid, pay("a", 1), pay("a", 2), pay("c", 429), pay("d", 4)];
    let results = lines(effects.perform_all(requests).await);
    let expected = [
        OK,
        "failed http-409 retryable=false sent=true",
        "invalid: the path has a `.` or `..` segment: correct the request [HP0525]",
        OK,
        "conflict: the operation id was first used by this thread at 2023-11-14T22:13:20Z",
        "failed http-429 retryable=true sent=true",
        OK,
    ];
    for (result, expected) in results.iter().zip(expected) {
        assert!(result.starts_with(expected), "{result}");
    }
    world.journal.commit(effects.finish().operations);
    let commits = ["a intended, b intended, c intended, d intended", "a completed, b failed, c not-sent, d completed"];
    assert_eq!(world.journal.commits(), commits);
    assert_eq!(receiver.received().len(), 4);
}

#[tokio::test]
async fn idempotent_operations_need_no_commit_of_their_own() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(IDEMPOTENT), &[]);
    let mut effects = world.task("t", 1);
    for id in ["a", "b"] {
        assert_eq!(one(effects.perform_all(vec![pay(id, 1)]).await), OK);
    }
    assert_eq!(world.journal.commits(), [""; 0]);
    assert_eq!(effects.finish().operations.len(), 2);
}

#[tokio::test]
async fn recorded_operations_are_answered_and_nothing_is_sent() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration("scope = \"global\""), &[]);
    assert_eq!(world.once("t", 1, pay("a", 1)).await, OK);
    assert_eq!(world.once("t", 1, pay("b", 422)).await, "failed http-422 retryable=false sent=true");
    let commits = world.journal.commits().len();
    // The same task again, another task, another thread; then another process whose connector lacks its secret.
    let other = receiver.configuration("scope = \"global\"\nheaders = { x = \"${env:NONE}\" }");
    let other = World::with_journal(&other, &[], world.journal.clone());
    for (world, thread, task) in [(&world, "t", 1), (&world, "t", 2), (&world, "u", 3), (&other, "t", 1)] {
        assert_eq!(world.once(thread, task, pay("a", 1)).await, OK);
        assert_eq!(world.once(thread, task, pay("b", 422)).await, "failed http-422 retryable=false sent=true");
        let conflict = world.once(thread, task, pay("a", 2)).await;
        let foreign =
            "conflict: the operation id was first used for another request: use one id for one request [HP0529]";
        assert_eq!(conflict == foreign, thread == "u", "{conflict}");
        assert!(conflict.starts_with("conflict: "), "{conflict}");
    }
    assert_eq!((receiver.received().len(), world.journal.commits().len()), (2, commits));
}

#[tokio::test]
async fn scopes() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(""), &[]);
    for thread in ["t", "u"] {
        assert_eq!(world.once(thread, 1, pay("a", 1)).await, OK, "another thread, another operation");
    }
    let mut fork = world.call("fork", 2);
    fork.task.lineage = ThreadId::parse("t").unwrap();
    assert_eq!(
        one(world.effects.task(&fork).perform_all(vec![pay("a", 1)]).await),
        OK,
        "a fork gets its lineage's record"
    );
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn graphs_that_share_a_scope_share_operations() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration("scope = \"global\"\nshared_by = [\"refund\", \"refund-v2\"]"), &[]);
    assert_eq!(world.once("t", 1, pay("a", 1)).await, OK);
    for (graph, requests) in [("refund-v2", 1), ("other", 2)] {
        let mut call = world.call("u", 2);
        call.task.graph = holdpoint_graph::ids::GraphName::parse(graph).unwrap();
        assert_eq!(one(world.effects.task(&call).perform_all(vec![pay("a", 1)]).await), OK);
        assert_eq!(receiver.received().len(), requests, "{graph}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let receiver = receiver().await;
    let world = World::new(&format!("[limits]\noperations_per_task = 4\n{}", receiver.configuration("")), &[]);
    let mut effects = world.task("t", 1);
    let request = || json!({ "method": "POST", "path": "/refunds" });
    let requests = vec![
        operation(None, "absent", request()),
        operation(None, &"x".repeat(100_000), request()),
        operation(Some(""), "payments", request()),
        operation(Some("a\nb"), "payments", request()),
        operation(Some("a"), "payments", request()),
    ];
    let results = lines(effects.perform_all(requests).await);
    let expected = [
        ("invalid: connector absent is not configured; configured are: payments", "[HP0531]"),
        ("denied: connector \"xxx", "[HP0521]"),
        ("invalid: operation id \"\" is not valid", "[HP0522]"),
        ("invalid: operation id \"a\\nb\" is not valid", "[HP0522]"),
        ("denied: this execution has asked for its 4 operations (limit `operations-per-task`)", "[HP0528]"),
    ];
    for (result, (start, end)) in results.iter().zip(expected) {
        assert!(result.starts_with(start) && result.ends_with(end) && result.len() < 400, "{result}");
    }
    assert_eq!((receiver.connections(), world.journal.commits().len()), (0, 0));
}

#[tokio::test]
async fn an_intent_without_outcome_is_in_doubt_and_the_others_end() {
    let receiver = Receiver::always(Reaction::Silence).await;
    let world = World::new(&receiver.configuration(""), &[]);
    // The execution is abandoned while the receiver is silent.
    let mut effects = world.task("t", 1);
    tokio::select! {
        _ = effects.perform_all(vec![pay("a", 1)]) => panic!("the receiver is silent"),
        () = until(|| !receiver.received().is_empty()) => {}
    }
    assert!(effects.finish().operations.is_empty());
    assert_eq!(world.journal.states(), ["a intended"]);

    let other = self::receiver().await;
    let world = World::with_journal(&other.configuration(""), &[], world.journal.clone());
    let mut effects = world.task("t", 1);
    let results = one(effects.perform_all(vec![pay("b", 1), pay("a", 1), pay("c", 409)]).await);
    assert!(
        results.starts_with("halt: operation a of connector payments is in doubt: it was about to be sent"),
        "{results}"
    );
    world.journal.commit(effects.finish().operations);
    assert_eq!(
        world.journal.states(),
        ["a intended", "b completed", "c failed"],
        "the doubt is left to whoever settles it"
    );
    assert_eq!(other.received().len(), 2);
    let conflict = world.once("t", 1, pay("a", 2)).await;
    assert!(conflict.starts_with("conflict"), "{conflict}");
}

#[tokio::test]
async fn an_operation_that_becomes_doubtful_is_recorded_and_stays() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(""), &[]);
    let mut effects = world.task("t", 1);
    let halt = one(effects.perform_all(vec![pay("a", 500), pay("b", 1)]).await);
    assert_eq!(
        halt,
        "halt: operation a of connector payments is in doubt: the receiver answered 500 Internal Server Error: the receiver may have executed \
         it [HP0542]"
    );
    world.journal.commit(effects.finish().operations);
    assert_eq!(world.journal.commits(), ["a intended, b intended", "a in-doubt, b completed"]);
    assert_eq!(world.once("t", 1, pay("a", 500)).await, halt);
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn nothing_is_sent_when_the_intent_is_not_durable() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(""), &[]);
    for (error, expected) in [
        (JournalError::Fenced, "halt: another writer has taken the thread over"),
        (
            JournalError::Unavailable("no disk".into()),
            "halt: the intents of operations cannot be stored: no disk [HP0551]",
        ),
    ] {
        *world.journal.failing.lock().unwrap() = Some(error);
        assert_eq!(world.once("t", 1, pay("a", 1)).await, expected);
    }
    assert_eq!(receiver.connections(), 0);
    *world.journal.failing.lock().unwrap() = None;
    assert_eq!(world.journal.states(), [""; 0]);
    *world.journal.unreadable.lock().unwrap() = true;
    let fault = "halt: the operations' journal cannot be read: the store is unavailable: the disk is gone [HP0550]";
    assert_eq!(world.once("t", 1, pay("a", 1)).await, fault);
    *world.journal.unreadable.lock().unwrap() = false;
    assert_eq!(world.once("t", 1, pay("a", 1)).await, OK);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn an_idempotent_request_is_not_sent_after_the_window() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration("class = { idempotent = { window = \"1h\" } }"), &[]);
    world.clock.0.store(NOW_MS + 3_600_001, Ordering::SeqCst);
    for _ in 0..2 {
        let halt = world.once("t", 1, pay("a", 1)).await;
        assert!(
            halt.contains("it may have been sent as early as 2023-11-14T22:13:20Z") && halt.ends_with("[HP0541]"),
            "{halt}"
        );
    }
    assert_eq!((receiver.connections(), world.journal.states()), (0, vec!["a in-doubt".to_owned()]));
    // A person's word that it did not happen opens the window anew.
    for record in world.journal.records.lock().unwrap().values_mut() {
        record.state = OperationState::NotSent;
        record.finished_at_ms = Some(NOW_MS + 3_600_001);
    }
    assert!(world.once("t", 1, pay("a", 1)).await.starts_with("ok"));
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_under_the_same_request_only() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration(IDEMPOTENT), &[]);
    let mut effects = world.task("t", 1);
    for _ in 0..2 {
        assert_eq!(one(effects.perform_all(vec![pay("a", 503)]).await), "failed http-503 retryable=true sent=true");
    }
    assert!(one(effects.perform_all(vec![pay("a", 1)]).await).starts_with("conflict"));
    assert_eq!((receiver.received().len(), effects.finish().operations.len()), (2, 0));
}

/// A receiver that answers each request when it is given a permit.
async fn gated() -> (Receiver, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inner = gate.clone();
    let receiver = Receiver::start(move |_| {
        let gate = inner.clone();
        // The reaction is synchronous; the test runs on several threads.
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async { gate.acquire().await.unwrap().forget() });
        });
        Reaction::Answer(204, "", String::new())
    })
    .await;
    (receiver, gate)
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_tasks_with_one_operation_send_it_once() {
    for class in ["", IDEMPOTENT] {
        let (receiver, gate) = gated().await;
        let world = World::new(&receiver.configuration(&format!("scope = \"global\"\n{class}")), &[]);
        let mut running = tokio::task::JoinSet::new();
        for task in 0..8 {
            let mut effects = world.task(&format!("thread-{task}"), task);
            running.spawn(async move {
                let results = lines(effects.perform_all(vec![pay("a", 1), pay("b", 1)]).await);
                // Nothing is committed before the others have their answers: they find the outcome in this process.
                (results, effects.finish().operations)
            });
        }
        until(|| receiver.connections() == 2).await;
        let conflict = world.once("thread-9", 9, pay("a", 2)).await;
        assert!(conflict.starts_with("conflict: the operation id was first used for another request"), "{conflict}");
        gate.add_permits(2);
        let ended = running.join_all().await;
        for (results, left) in ended {
            assert_eq!(results, [OK, OK]);
            assert_eq!(left.len(), 2, "each answer stands on a record that its task commits");
            assert!(left.iter().all(|record| matches!(record.state, OperationState::Completed(_))));
        }
        assert_eq!(receiver.received().len(), 2, "{class}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abandoned_wait_leaves_nothing_behind() {
    let (receiver, gate) = gated().await;
    let configuration = receiver.configuration(&format!("scope = \"global\"\n{IDEMPOTENT}"));
    let world = World::new(&configuration.replace("timeout = \"2s\"", "timeout = \"20s\""), &[]);
    let mut first = world.task("t", 1);
    let running = tokio::spawn(async move { lines(first.perform_all(vec![pay("a", 1)]).await) });
    until(|| receiver.connections() == 1).await;
    let mut second = world.task("u", 2);
    let waiting = tokio::time::timeout(Duration::from_millis(100), second.perform_all(vec![pay("a", 1)])).await;
    assert!(waiting.is_err(), "it waits");
    gate.add_permits(1);
    assert_eq!(running.await.unwrap(), [OK]);
    assert_eq!(one(second.perform_all(vec![pay("a", 1)]).await), OK);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn an_attempt_that_was_not_sent_is_not_tried_by_others_before_it_is_recorded() {
    let receiver = receiver().await;
    let world = World::new(&receiver.configuration("scope = \"global\""), &[]);
    let mut first = world.task("t", 1);
    assert_eq!(one(first.perform_all(vec![pay("a", 429)]).await), "failed http-429 retryable=true sent=true");
    // Its record would replace the other's, and a third would send again.
    assert_eq!(world.once("u", 2, pay("a", 429)).await, "failed busy retryable=true sent=false");
    assert_eq!(receiver.received().len(), 1);
    // The same execution may, as its records are its own; so may the same task again: its first execution's commit has come or never will.
    assert_eq!(one(first.perform_all(vec![pay("a", 429)]).await), "failed http-429 retryable=true sent=true");
    drop(first.finish().operations);
    let mut again = world.task("t", 1);
    assert_eq!(one(again.perform_all(vec![pay("a", 429)]).await), "failed http-429 retryable=true sent=true");
    world.journal.commit(again.finish().operations);
    assert_eq!(receiver.received().len(), 3);
    assert_eq!(world.once("u", 2, pay("a", 429)).await, "failed http-429 retryable=true sent=true");
    assert_eq!(receiver.received().len(), 4);
    let commits = ["a intended", "a intended", "a intended", "a not-sent", "a intended", "a not-sent"];
    assert_eq!(world.journal.commits(), commits);
}
