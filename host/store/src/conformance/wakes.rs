//! The threads that answers and settled doubts wake.

use std::sync::Arc;

use holdpoint_graph::ids::Epoch;
use holdpoint_graph::operation::{OperationRecord, OperationState};

use super::decisions::{DEADLINE_MS, asking, record};
use super::scene::{self, NOW_MS, apply, create, decide, expire, replace, step, update};
use crate::approvals::{Changed, QuestionChange};
use crate::records::{ThreadRecord, ThreadStatus};
use crate::store::{Claim, Commit, Store};

/// An answer wakes a thread that waits: it runs, nobody's or its claimer's, in a new epoch. One that is done or failed stays as it is.
pub async fn an_answer_wakes_its_thread(store: Arc<dyn Store>) {
    let later_ms = NOW_MS + 99;
    for (name, status) in
        [("waits", ThreadStatus::Interrupted), ("done", ThreadStatus::Done), ("failed", ThreadStatus::Failed)]
    {
        let questions = asking(&store, name, 2, status).await;
        let before = record(&store, name).await;
        let decision = QuestionChange { at_ms: later_ms, ..decide(name, &questions[0], "user:ana") };
        let woken = status == ThreadStatus::Interrupted;
        assert_eq!(store.change_question(decision).await, Ok(Changed { claimed: None, woken }), "{name}");
        let expected = if woken {
            ThreadRecord { status: ThreadStatus::Running, epoch: Epoch(2), updated_at_ms: later_ms, ..before }
        } else {
            before
        };
        assert_eq!(record(&store, name).await, expected, "{name}");
        // Whoever read it before does not get it.
        let stale = store.commit(Commit { claim: Some(scene::claim("late")), ..update(name, 1) }).await;
        assert_eq!(stale.is_err(), woken, "{name}");
    }
    let questions = asking(&store, "claimed", 2, ThreadStatus::Interrupted).await;
    let claim = Claim { owner: "ana".to_owned(), lease_until_ms: later_ms };
    let decision = QuestionChange { claim: Some(claim.clone()), ..decide("claimed", &questions[0], "user:ana") };
    let claimed = Some(Epoch(2));
    assert_eq!(store.change_question(decision).await, Ok(Changed { claimed, woken: true }));
    let found = record(&store, "claimed").await;
    assert_eq!((found.status, found.epoch, found.owner.as_deref()), (ThreadStatus::Running, Epoch(2), Some("ana")));
    assert_eq!(found.lease_until_ms, later_ms);
    // The second answer finds it claimed and does not take it.
    let decision = QuestionChange { claim: Some(claim), ..decide("claimed", &questions[1], "user:ben") };
    assert_eq!(store.change_question(decision).await, Ok(Changed { claimed: None, woken: true }));
    assert_eq!(record(&store, "claimed").await, found);
}

/// An answer that comes while the thread is advanced is not slept through: when it parks, it runs on, nobody's. Once.
pub async fn a_thread_that_parks_after_an_answer_runs_on(store: Arc<dyn Store>) {
    let parks = |name: &str, epoch| Commit {
        status: ThreadStatus::Interrupted,
        release: true,
        at_ms: NOW_MS + 7,
        ..update(name, epoch)
    };
    let status = async |name: &str| {
        let found = record(&store, name).await;
        (found.status, found.owner.is_some(), found.epoch.0)
    };
    let questions = asking(&store, "t", 4, ThreadStatus::Running).await;
    let before = record(&store, "t").await;
    let woken = Ok(Changed { claimed: None, woken: true });
    assert_eq!(store.change_question(decide("t", &questions[0], "user:ana")).await, woken);
    assert_eq!(record(&store, "t").await, before, "its worker goes on");
    // Neither a superstep nor a new claim makes it forget: whoever claims it may have read it before the answer.
    apply(&store, step("t", 1, 1, 0, replace([]))).await;
    apply(&store, Commit { release: true, ..update("t", 1) }).await;
    apply(&store, Commit { claim: Some(scene::claim("second")), ..update("t", 1) }).await;
    apply(&store, parks("t", 2)).await;
    assert_eq!(status("t").await, (ThreadStatus::Running, false, 2));
    assert_eq!(record(&store, "t").await.updated_at_ms, NOW_MS + 7);
    apply(&store, Commit { claim: Some(scene::claim("third")), ..update("t", 2) }).await;
    apply(&store, parks("t", 3)).await;
    assert_eq!(status("t").await, (ThreadStatus::Interrupted, false, 3), "now it waits");

    // What is not given back is not parked.
    assert_eq!(store.change_question(decide("t", &questions[1], "user:ana")).await, woken);
    apply(&store, Commit { claim: Some(scene::claim("fourth")), ..update("t", 4) }).await;
    assert_eq!(store.change_question(decide("t", &questions[2], "user:ana")).await, woken);
    apply(&store, Commit { status: ThreadStatus::Interrupted, ..update("t", 5) }).await;
    assert_eq!(status("t").await, (ThreadStatus::Interrupted, true, 5));
    apply(&store, parks("t", 5)).await;
    assert_eq!(status("t").await, (ThreadStatus::Running, false, 5));

    // An end is an end, and new input asks anew.
    for (name, end) in [("done", ThreadStatus::Done), ("failed", ThreadStatus::Failed)] {
        let questions = asking(&store, name, 1, ThreadStatus::Running).await;
        assert_eq!(store.change_question(decide(name, &questions[0], "user:ana")).await, woken);
        apply(&store, Commit { status: end, release: true, ..update(name, 1) }).await;
        assert_eq!(status(name).await.0, end);
        apply(&store, Commit { claim: Some(scene::claim("second")), ..update(name, 1) }).await;
        apply(&store, parks(name, 2)).await;
        assert_eq!(status(name).await, (ThreadStatus::Interrupted, false, 2), "{name}");
    }
    let questions = asking(&store, "input", 1, ThreadStatus::Running).await;
    assert_eq!(store.change_question(decide("input", &questions[0], "user:ana")).await, woken);
    let input = Commit { requester: Some("user:ben".to_owned()), ..step("input", 1, 1, 0, replace([])) };
    apply(&store, input).await;
    assert_eq!(record(&store, "input").await.requester.as_deref(), Some("user:ben"));
    apply(&store, parks("input", 1)).await;
    assert_eq!(status("input").await, (ThreadStatus::Interrupted, false, 1));
    // The deadline's answer wakes like any other.
    let questions = asking(&store, "late", 1, ThreadStatus::Running).await;
    assert_eq!(store.change_question(expire("late", &questions[0], DEADLINE_MS)).await, woken);
    apply(&store, parks("late", 1)).await;
    assert_eq!(status("late").await.0, ThreadStatus::Running);
}

/// Doubt that is settled while the thread is advanced is not slept through either, whether or not the task in doubt was recorded by then.
pub async fn a_thread_that_parks_after_its_doubt_was_settled_runs_on(store: Arc<dyn Store>) {
    let settled_ms = NOW_MS + 5;
    for (name, recorded) in [("before", true), ("after", false)] {
        let key = scene::operation_key(name, "op");
        let task = scene::task_in_doubt(name, 0, "pull:pay", &key);
        let doubt = OperationRecord {
            state: OperationState::InDoubt("no answer".to_owned()),
            ..scene::operation(name, "op", &task)
        };
        let tasks = if recorded { vec![task.clone()] } else { Vec::new() };
        let operations = vec![doubt.clone()];
        apply(&store, Commit { tasks, operations, ..create(name, replace([])) }).await;
        let before = record(&store, name).await;
        let next = OperationRecord { state: OperationState::NotSent, ..doubt.clone() };
        assert_eq!(store.exchange_operation(&doubt, next, settled_ms, Vec::new()).await, Ok(true));
        assert_eq!(record(&store, name).await, before, "its worker goes on");
        let tasks = if recorded { Vec::new() } else { vec![task] };
        let parks = Commit { status: ThreadStatus::Interrupted, release: true, tasks, ..update(name, 1) };
        apply(&store, parks.clone()).await;
        let found = record(&store, name).await;
        assert_eq!((found.status, found.owner), (ThreadStatus::Running, None), "{name}");
    }
    // Doubt that stands parks it.
    let task = scene::task_in_doubt("doubt", 0, "pull:pay", &scene::operation_key("doubt", "op"));
    let doubt = OperationRecord {
        state: OperationState::InDoubt("no answer".to_owned()),
        ..scene::operation("doubt", "op", &task)
    };
    apply(&store, create("doubt", replace([]))).await;
    let status = ThreadStatus::Interrupted;
    let (tasks, operations) = (vec![task], vec![doubt]);
    apply(&store, Commit { status, release: true, tasks, operations, ..update("doubt", 1) }).await;
    assert_eq!(record(&store, "doubt").await.status, ThreadStatus::Interrupted);
}
