//! Exchanges of an operation's record, which need no claim, and the threads that they wake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use holdpoint_graph::ids::{ConnectorName, Epoch};
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::{NoteKind, OperationKey, OperationNote, OperationRecord, OperationState, Scope};
use serde_json::{Value, json};

use super::scene::{self, NOW_MS, apply, create, operation, operation_key, replace, step, task, thread, update};
use crate::records::{TaskRecord, TaskStatus, ThreadRecord, ThreadStatus};
use crate::store::{Commit, Error, Store};

/// When exchanges take place.
const LATER_MS: u64 = NOW_MS + 99;

/// An operation of thread "t" in doubt, as its worker left it.
fn doubt(id: &str) -> OperationRecord {
    OperationRecord {
        state: OperationState::InDoubt("no answer".to_owned()),
        send_by_ms: Some(NOW_MS + 10),
        settles_at_ms: Some(NOW_MS + 20),
        ..operation("t", id, &task("t", 0, "pull:pay"))
    }
}

/// The record once somebody said that it happened.
fn settled(record: &OperationRecord, by: &str) -> OperationRecord {
    let note = OperationNote { at_ms: LATER_MS, kind: NoteKind::Happened, by: by.to_owned(), text: "seen".to_owned() };
    OperationRecord {
        state: OperationState::Completed(json!({ "by": by })),
        finished_at_ms: Some(LATER_MS),
        notes: record.notes.iter().cloned().chain([note]).collect(),
        ..record.clone()
    }
}

async fn stored(store: &Arc<dyn Store>, record: &OperationRecord) -> OperationRecord {
    store.operation(&record.key).await.expect("the store can be read").expect("the operation is there")
}

async fn exchange(store: &Arc<dyn Store>, expected: &OperationRecord, next: OperationRecord) -> bool {
    store.exchange_operation(expected, next, LATER_MS, Vec::new()).await.expect("the exchange fits")
}

async fn record(store: &Arc<dyn Store>, name: &str) -> ThreadRecord {
    store.thread(&thread(name)).await.expect("the store can be read").expect("the thread is there")
}

/// Creates a thread that stands at checkpoint 0 with these tasks.
async fn standing(store: &Arc<dyn Store>, name: &str, status: ThreadStatus, tasks: Vec<TaskRecord>) {
    apply(store, Commit { status, tasks, ..create(name, replace([])) }).await;
}

/// Creates an interrupted thread with a task in doubt about this operation at its head.
async fn waiting(store: &Arc<dyn Store>, name: &str, key: &OperationKey) {
    standing(store, name, ThreadStatus::Interrupted, vec![scene::task_in_doubt(name, 0, "pull:pay", key)]).await;
}

/// From every state to every state; all of the new record is stored.
pub async fn an_exchange_replaces_what_is_as_expected(store: Arc<dyn Store>) {
    let failure =
        Failure { code: "no".into(), message: String::new(), retryable: false, retry_after_ms: None, details: None };
    let states = [
        OperationState::Intended,
        OperationState::Queued { attempts: 0, due_at_ms: NOW_MS },
        OperationState::Queued { attempts: 1, due_at_ms: NOW_MS },
        OperationState::Queued { attempts: 1, due_at_ms: NOW_MS + 1 },
        OperationState::InDoubt("lost".to_owned()),
        OperationState::NotSent,
        OperationState::Completed(Value::Null),
        OperationState::Failed(failure),
        OperationState::Intended,
    ];
    let mut known = doubt("op");
    apply(&store, Commit { operations: vec![known.clone(), doubt("beside")], ..create("t", replace([])) }).await;
    for (number, state) in (1..).zip(states) {
        let by = task("other", number, "pull:other");
        let next = OperationRecord {
            state,
            thread: thread("other"),
            task: by.id.clone(),
            node: scene::node("other"),
            request: json!(number),
            epoch: Epoch(number),
            begun_at_ms: number,
            send_by_ms: (number % 2 == 0).then_some(number),
            settles_at_ms: (number % 3 == 0).then_some(number),
            finished_at_ms: (number % 4 == 0).then_some(number),
            notes: settled(&known, &format!("cli:{number}")).notes,
            ..known.clone()
        };
        assert!(exchange(&store, &known, next.clone()).await, "{:?} to {:?}", known.state, next.state);
        assert_eq!(stored(&store, &next).await, next);
        known = next;
    }
    assert_eq!(stored(&store, &doubt("beside")).await, doubt("beside"));
    let unchanged = record(&store, "t").await;
    assert_eq!((unchanged.epoch, unchanged.updated_at_ms), (Epoch(1), NOW_MS), "no thread waited");
}

/// Who expects another state, time or epoch, or an operation that is not there, writes nothing and wakes nobody.
pub async fn a_stale_exchange_writes_nothing(store: Arc<dyn Store>) {
    let queued = |attempts, due_at_ms| OperationState::Queued { attempts, due_at_ms };
    let kept = OperationRecord { state: queued(1, 5), ..doubt("op") };
    waiting(&store, "t", &kept.key).await;
    apply(&store, Commit { operations: vec![kept.clone()], status: ThreadStatus::Interrupted, ..update("t", 1) }).await;
    let before = record(&store, "t").await;
    let stale = [
        OperationRecord { state: queued(2, 5), ..kept.clone() },
        OperationRecord { state: queued(1, 6), ..kept.clone() },
        OperationRecord { state: OperationState::Intended, ..kept.clone() },
        OperationRecord { state: OperationState::Completed(Value::Null), ..kept.clone() },
        OperationRecord { epoch: Epoch(2), ..kept.clone() },
        OperationRecord { epoch: Epoch(u64::MAX), ..kept.clone() },
        OperationRecord { begun_at_ms: NOW_MS + 1, ..kept.clone() },
        OperationRecord { send_by_ms: None, ..kept.clone() },
        OperationRecord { send_by_ms: Some(1), ..kept.clone() },
        OperationRecord { settles_at_ms: None, ..kept.clone() },
        OperationRecord { settles_at_ms: Some(u64::MAX), ..kept.clone() },
        OperationRecord { finished_at_ms: None, ..kept.clone() },
        OperationRecord { finished_at_ms: Some(NOW_MS), ..kept.clone() },
    ];
    for expected in &stale {
        assert!(!exchange(&store, expected, settled(&kept, "cli:ana")).await, "{expected:?}");
        assert_eq!(stored(&store, &kept).await, kept, "{expected:?}");
        assert_eq!(record(&store, "t").await, before, "{expected:?}");
    }
    let unknown = doubt("unknown");
    assert!(!exchange(&store, &unknown, settled(&unknown, "cli:ana")).await);
    assert_eq!(store.operation(&unknown.key).await, Ok(None));
    // Neither the answer nor what was said are part of the expectation.
    let expected = OperationRecord { notes: settled(&kept, "cli:ben").notes, request: json!(1), ..kept.clone() };
    assert!(exchange(&store, &expected, settled(&kept, "cli:ana")).await);
    assert_eq!(record(&store, "t").await.status, ThreadStatus::Running);
}

/// An operation's record is exchanged for one of the same operation.
pub async fn an_exchange_keeps_its_key(store: Arc<dyn Store>) {
    let kept = doubt("op");
    apply(&store, Commit { operations: vec![kept.clone()], ..create("t", replace([])) }).await;
    let keys = [
        operation_key("t", "other"),
        operation_key("other", "op"),
        OperationKey { scope: Scope::Global("t".to_owned()), ..kept.key.clone() },
        OperationKey { connector: ConnectorName::parse("ledger").expect("valid"), ..kept.key.clone() },
    ];
    for key in keys {
        let next = OperationRecord { key, ..settled(&kept, "cli:ana") };
        let outcome = store.exchange_operation(&kept, next.clone(), LATER_MS, Vec::new()).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
        assert_eq!(store.operation(&next.key).await, Ok(None));
    }
    let outcome = store.exchange_operation(&kept, settled(&kept, "cli:ana"), u64::MAX, Vec::new()).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    assert_eq!(stored(&store, &kept).await, kept);
}

/// However many settle one doubt at once, exactly one does, and its word is what stays.
pub async fn of_concurrent_exchanges_one_wins(store: Arc<dyn Store>) {
    let kept = doubt("op");
    apply(&store, Commit { operations: vec![kept.clone()], ..create("t", replace([])) }).await;
    let mut attempts = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (store, kept) = (Arc::clone(&store), kept.clone());
        attempts.spawn(async move {
            let next = settled(&kept, &format!("cli:{number}"));
            exchange(&store, &kept, next.clone()).await.then_some(next)
        });
    }
    let won: Vec<OperationRecord> = attempts.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1, "exactly one wins");
    assert_eq!(stored(&store, &kept).await, won[0]);
}

/// Every outcome wakes the interrupted threads with a task in doubt about the operation at their head, and no others.
pub async fn an_outcome_wakes_the_threads_that_wait_for_it(store: Arc<dyn Store>) {
    let kept = OperationRecord {
        key: OperationKey { scope: Scope::Global("refunds".to_owned()), ..operation_key("t", "op") },
        ..doubt("op")
    };
    let key = &kept.key;
    let failure =
        Failure { code: "no".into(), message: String::new(), retryable: false, retry_after_ms: None, details: None };
    let outcomes = [OperationState::Completed(Value::Null), OperationState::Failed(failure), OperationState::NotSent];
    waiting(&store, "t", key).await;
    waiting(&store, "u", key).await;
    apply(&store, Commit { release: true, status: ThreadStatus::Interrupted, ..update("u", 1) }).await;
    // Among other tasks, and at a later checkpoint.
    standing(&store, "among", ThreadStatus::Interrupted, vec![task("among", 0, "pull:a")]).await;
    let tasks = vec![
        task("among", 1, "push:0"),
        scene::task_in_doubt("among", 1, "push:1", &operation_key("t", "other")),
        scene::task_in_doubt("among", 1, "push:2", key),
    ];
    let among = Commit { status: ThreadStatus::Interrupted, tasks, ..step("among", 1, 1, 0, replace([])) };
    apply(&store, among).await;

    // About another operation, by each part of the key.
    waiting(&store, "id", &operation_key("t", "other")).await;
    waiting(&store, "scope", &OperationKey { scope: Scope::Thread(thread("t")), ..key.clone() }).await;
    let connector = ConnectorName::parse("ledger").expect("valid");
    waiting(&store, "connector", &OperationKey { connector, ..key.clone() }).await;
    // Not interrupted.
    for (name, status) in
        [("running", ThreadStatus::Running), ("done", ThreadStatus::Done), ("failed", ThreadStatus::Failed)]
    {
        standing(&store, name, status, vec![scene::task_in_doubt(name, 0, "pull:pay", key)]).await;
    }
    // Not at the head: one that went on, and one that was moved back.
    waiting(&store, "past", key).await;
    apply(&store, Commit { status: ThreadStatus::Interrupted, ..step("past", 1, 1, 0, replace([])) }).await;
    standing(&store, "future", ThreadStatus::Interrupted, Vec::new()).await;
    let tasks = vec![scene::task_in_doubt("future", 1, "pull:pay", key)];
    apply(&store, Commit { tasks, ..step("future", 1, 1, 0, replace([])) }).await;
    let back = Commit { head: Some(scene::checkpoint(0)), status: ThreadStatus::Interrupted, ..update("future", 1) };
    apply(&store, back).await;
    // Not in doubt, or in doubt about nothing that could be read.
    let in_doubt = scene::task_in_doubt("interrupted", 0, "pull:pay", key);
    let asks = TaskRecord { status: TaskStatus::Interrupted, ..in_doubt };
    standing(&store, "interrupted", ThreadStatus::Interrupted, vec![asks]).await;
    let mut unclear = vec![scene::task_in_doubt("unclear", 0, "pull:none", key)];
    unclear[0].error = None;
    for (path, details) in [("a", None), ("b", Some(json!("op"))), ("c", Some(json!({ "operation_id": "op" })))] {
        let mut task = scene::task_in_doubt("unclear", 0, &format!("pull:{path}"), key);
        task.error = task.error.map(|error| crate::ThreadError { details, ..error });
        unclear.push(task);
    }
    standing(&store, "unclear", ThreadStatus::Interrupted, unclear).await;

    let others = ["id", "scope", "connector", "running", "done", "failed", "past", "future", "interrupted", "unclear"];
    for outcome in outcomes {
        // Back to where they waited.
        for name in ["t", "u", "among"] {
            apply(&store, Commit { status: ThreadStatus::Interrupted, ..update(name, 1) }).await;
        }
        apply(&store, Commit { operations: vec![kept.clone()], ..update("running", 1) }).await;
        let before: Vec<ThreadRecord> = {
            let mut found = Vec::new();
            for name in others {
                found.push(record(&store, name).await);
            }
            found
        };
        let next = OperationRecord { state: outcome, ..settled(&kept, "cli:ana") };
        assert!(exchange(&store, &kept, next.clone()).await);
        for name in ["t", "u", "among"] {
            let woken = record(&store, name).await;
            assert_eq!((woken.status, woken.epoch), (ThreadStatus::Running, Epoch(1)), "{name}");
            assert_eq!((woken.owner, woken.lease_until_ms), (None, 0), "{name}");
            assert_eq!((woken.updated_at_ms, woken.created_at_ms), (LATER_MS, NOW_MS), "{name}");
        }
        for (name, before) in others.into_iter().zip(before) {
            assert_eq!(record(&store, name).await, before, "{name} slept on after {:?}", next.state);
        }
        // What is done stays done for those who exchange it again.
        assert!(!exchange(&store, &kept, next).await);
    }
    let tasks = scene::head(&store, "t").await.tasks;
    assert_eq!(tasks, [scene::task_in_doubt("t", 0, "pull:pay", key)], "the task is its worker's to continue");
}

/// Whoever looks for work takes a woken thread over with the epoch that it had.
pub async fn a_woken_thread_can_be_claimed(store: Arc<dyn Store>) {
    let kept = doubt("op");
    waiting(&store, "t", &kept.key).await;
    apply(&store, Commit { operations: vec![kept.clone()], status: ThreadStatus::Interrupted, ..update("t", 1) }).await;
    assert!(exchange(&store, &kept, settled(&kept, "lookup")).await);
    apply(&store, Commit { claim: Some(scene::claim("second")), ..update("t", 1) }).await;
    let claimed = record(&store, "t").await;
    assert_eq!((claimed.epoch, claimed.owner.as_deref()), (Epoch(2), Some("second")));
    assert_eq!(scene::head(&store, "t").await.unsettled, []);
}

/// A doubt that stays a doubt, is to be sent, or is about to be, leaves the threads waiting.
pub async fn what_is_no_outcome_wakes_nobody(store: Arc<dyn Store>) {
    let mut known = doubt("op");
    waiting(&store, "t", &known.key).await;
    apply(&store, Commit { operations: vec![known.clone()], status: ThreadStatus::Interrupted, ..update("t", 1) })
        .await;
    let before = record(&store, "t").await;
    let states = [
        OperationState::InDoubt("looked up: unclear".to_owned()),
        OperationState::Queued { attempts: 3, due_at_ms: LATER_MS },
        OperationState::Intended,
    ];
    for state in states {
        let next = OperationRecord { state, ..known.clone() };
        assert!(exchange(&store, &known, next.clone()).await);
        assert_eq!(record(&store, "t").await, before, "{:?}", next.state);
        known = next;
    }
}

/// Ids and scopes are compared as they are, whatever characters they have.
pub async fn names_in_doubt_are_compared_exactly(store: Arc<dyn Store>) {
    let scopes = ["a", "a\u{0}b", "a\u{0}c", "A", "\"a\"", "ü", "a%", "1", "null", "😀", "a\\u0000b", "'"];
    let key = |scope: &str| OperationKey { scope: Scope::Global(scope.to_owned()), ..operation_key("t", "$.a[0]") };
    let kept = |scope: &str| OperationRecord { key: key(scope), ..doubt("op") };
    for (number, scope) in scopes.into_iter().enumerate() {
        let name = format!("t{number}");
        waiting(&store, &name, &key(scope)).await;
        let operations = vec![kept(scope)];
        apply(&store, Commit { operations, status: ThreadStatus::Interrupted, ..update(&name, 1) }).await;
    }
    for (number, scope) in scopes.into_iter().enumerate() {
        assert!(exchange(&store, &kept(scope), settled(&kept(scope), "cli:ana")).await, "{scope:?}");
        for (other, waiting) in scopes.into_iter().enumerate() {
            let status = record(&store, &format!("t{other}")).await.status;
            assert_eq!(status == ThreadStatus::Running, other <= number, "{scope:?} and {waiting:?}");
        }
    }
}

/// Nobody sees the outcome without the thread that it wakes, or the thread without the outcome.
pub async fn an_outcome_and_what_it_wakes_are_one_write(store: Arc<dyn Store>) {
    const ROUNDS: usize = 60;
    let kept = |number: usize| doubt(&format!("op:{number}"));
    for number in 0..ROUNDS {
        let name = format!("t{number}");
        waiting(&store, &name, &kept(number).key).await;
        let operations = vec![kept(number)];
        apply(&store, Commit { operations, status: ThreadStatus::Interrupted, ..update(&name, 1) }).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let writer = async {
        for number in 0..ROUNDS {
            assert!(exchange(&store, &kept(number), settled(&kept(number), "cli:ana")).await);
            tokio::task::yield_now().await;
        }
        done.store(true, Ordering::Release);
    };
    let reader = async {
        let mut number = 0;
        while !done.load(Ordering::Acquire) {
            let name = format!("t{number}");
            let settled = async || !matches!(stored(&store, &kept(number)).await.state, OperationState::InDoubt(_));
            let woken = async || record(&store, &name).await.status == ThreadStatus::Running;
            if settled().await {
                assert!(woken().await, "an outcome, but {name} sleeps");
            }
            if woken().await {
                assert!(settled().await, "{name} is awake, but there is no outcome");
                number = (number + 1).min(ROUNDS - 1);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writer, reader);
}

/// An exchange counts like a commit; one that found something else does not.
pub async fn exchanges_count_as_commits_when_applied(store: Arc<dyn Store>) {
    let kept = doubt("op");
    waiting(&store, "t", &kept.key).await;
    apply(&store, Commit { operations: vec![kept.clone()], status: ThreadStatus::Interrupted, ..update("t", 1) }).await;
    let before = store.statistics();
    assert!(exchange(&store, &kept, settled(&kept, "cli:ana")).await);
    assert!(!exchange(&store, &kept, settled(&kept, "cli:ben")).await);
    let counted = store.statistics();
    assert_eq!((counted.commits - before.commits, counted.transactions - before.transactions), (1, 1));
}
