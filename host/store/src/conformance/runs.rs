//! Runs: requests to threads in their turn.

use std::sync::Arc;

use serde_json::{Map, json};

use super::scene::{self, NOW_MS, apply, create, replace, run, run_id, run_update, tenant, thread, update};
use crate::records::{ThreadError, ThreadStatus};
use crate::runs::{RunCancel, RunFilter, RunRecord, RunStatus, RunUpdate};
use crate::store::{Commit, Error, Store};

async fn put(store: &Arc<dyn Store>, run: RunRecord) {
    store.put_run(run, false, Vec::new()).await.expect("the run fits");
}

async fn change(store: &Arc<dyn Store>, number: u64, from: RunStatus, to: RunStatus) {
    store.update_run(run_update(number, from, to), NOW_MS + 50, Vec::new()).await.expect("the run is so");
}

fn changed(number: u64, found: &'static str) -> Error {
    Error::RunChanged { run: run_id(number), found }
}

fn numbers(found: Result<Vec<RunRecord>, Error>) -> Vec<u64> {
    let number = |run: &RunRecord| run.request["input"]["amount"].as_u64().expect("a number");
    found.expect("the store can be read").iter().map(number).collect()
}

/// All that a run records comes back; its id is there once.
pub async fn a_run_comes_back_whole(store: Arc<dyn Store>) {
    let error = ThreadError {
        code: "HP0400".to_owned(),
        message: "ü \u{0}".to_owned(),
        node: Some(scene::node("pay")),
        details: Some(json!([null])),
    };
    let full = RunRecord {
        tenant: tenant("acme"),
        actor: holdpoint_graph::actor::Actor { id: "user:ü".to_owned(), basis: holdpoint_graph::actor::Basis::Token },
        request: json!({ "input": { "amount": 1 }, "odd": [0.1, u64::MAX, "\u{0}"] }),
        metadata: Map::from_iter([("ü.$".to_owned(), json!(null))]),
        error: Some(error.clone()),
        not_before_ms: 7,
        ..run("t", 1)
    };
    for (number, (status, _)) in (2..).zip(RunStatus::NAMES) {
        let each = RunRecord { status, ..run("t", number) };
        put(&store, each.clone()).await;
        assert_eq!(store.run(&each.id).await, Ok(Some(each)));
    }
    put(&store, full.clone()).await;
    assert_eq!(store.run(&full.id).await, Ok(Some(full.clone())));
    assert_eq!(store.run(&run_id(99)).await, Ok(None));
    let again = store.put_run(run("u", 1), true, vec![scene::audit("run.created", None)]).await;
    assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
    assert_eq!(store.audit_head().await, Ok(None));
    let update = RunUpdate { error: Some(error.clone()), ..run_update(2, RunStatus::Pending, RunStatus::Error) };
    assert_eq!(store.update_run(update, NOW_MS + 9, Vec::new()).await, Ok(()));
    let expected = RunRecord { status: RunStatus::Error, error: Some(error), updated_at_ms: NOW_MS + 9, ..run("t", 2) };
    assert_eq!(store.run(&run_id(2)).await, Ok(Some(expected)));
    let late = RunRecord { not_before_ms: u64::MAX, ..run("t", 99) };
    assert!(matches!(store.put_run(late, false, Vec::new()).await, Err(Error::Invalid(_))));
}

/// Runs come newest first, in order of storing, by thread, tenant and status, and page.
pub async fn runs_are_listed_newest_first(store: Arc<dyn Store>) {
    for (number, (name, of)) in (1..).zip([("t", "acme"), ("u", "acme"), ("t", "other"), ("t", "acme")]) {
        // The moment does not count.
        put(&store, RunRecord { tenant: tenant(of), created_at_ms: NOW_MS - number, ..run(name, number) }).await;
    }
    change(&store, 4, RunStatus::Pending, RunStatus::Running).await;
    let all = RunFilter { limit: 9, ..RunFilter::default() };
    let cases: [(RunFilter, &[u64]); 8] = [
        (all.clone(), &[4, 3, 2, 1]),
        (RunFilter { thread: Some(thread("t")), ..all.clone() }, &[4, 3, 1]),
        (RunFilter { tenant: Some(tenant("acme")), ..all.clone() }, &[4, 2, 1]),
        (RunFilter { thread: Some(thread("t")), tenant: Some(tenant("acme")), ..all.clone() }, &[4, 1]),
        (RunFilter { status: Some(RunStatus::Running), ..all.clone() }, &[4]),
        (RunFilter { status: Some(RunStatus::Pending), thread: Some(thread("t")), ..all.clone() }, &[3, 1]),
        (RunFilter { limit: 2, offset: 1, ..all.clone() }, &[3, 2]),
        (RunFilter { thread: Some(thread("nobody")), ..all }, &[]),
    ];
    for (filter, expected) in cases {
        assert_eq!(numbers(store.runs(&filter).await), expected, "{filter:?}");
    }
}

/// A run that wants to be alone is refused while another of its thread is not over, or while the thread is advanced.
pub async fn a_run_may_ask_to_be_alone(store: Arc<dyn Store>) {
    assert_eq!(store.put_run(run("t", 1), true, Vec::new()).await, Ok(()));
    let alone = |number| store.put_run(run("t", number), true, Vec::new());
    assert_eq!(alone(2).await, Err(changed(1, "pending")));
    change(&store, 1, RunStatus::Pending, RunStatus::Running).await;
    assert_eq!(alone(2).await, Err(changed(1, "running")));
    assert_eq!(store.put_run(run("t", 3), false, Vec::new()).await, Ok(()), "one that does not ask");
    assert_eq!(alone(2).await, Err(changed(1, "running")), "the oldest is in the way");
    change(&store, 1, RunStatus::Running, RunStatus::Success).await;
    assert_eq!(alone(2).await, Err(changed(3, "pending")));
    change(&store, 3, RunStatus::Pending, RunStatus::Interrupted).await;
    apply(&store, create("t", replace([]))).await;
    assert_eq!(alone(2).await, Err(changed(2, "running")), "the thread itself is advanced");
    assert_eq!(store.put_run(run("u", 4), true, Vec::new()).await, Ok(()), "another thread");
    apply(&store, Commit { status: ThreadStatus::Interrupted, release: true, ..update("t", 1) }).await;
    assert_eq!(store.run(&run_id(2)).await, Ok(None), "what was refused is not there");
    let mut asking = tokio::task::JoinSet::new();
    for number in 10..18 {
        let store = Arc::clone(&store);
        asking.spawn(async move { store.put_run(run("t", number), true, Vec::new()).await });
    }
    let won = asking.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
}

/// Of each thread the oldest pending run whose moment has come, and none of a thread with a running one.
pub async fn the_next_run_is_the_oldest_of_an_idle_thread(store: Arc<dyn Store>) {
    let next = async |now_ms, limit| numbers(store.next_runs(now_ms, limit).await);
    assert!(next(u64::MAX, 9).await.is_empty());
    for (number, name, not_before) in [(1, "t", 5), (2, "t", 0), (3, "u", 0), (4, "t", 0), (5, "v", 9)] {
        put(&store, RunRecord { not_before_ms: NOW_MS + not_before, ..run(name, number) }).await;
    }
    assert!(next(NOW_MS - 1, 9).await.is_empty());
    assert_eq!(next(NOW_MS, 9).await, [2, 3]);
    assert_eq!(next(NOW_MS + 5, 9).await, [1, 3]);
    assert_eq!(next(u64::MAX, 9).await, [1, 3, 5]);
    assert_eq!(next(u64::MAX, 2).await, [1, 3]);
    change(&store, 4, RunStatus::Pending, RunStatus::Running).await;
    assert_eq!(next(u64::MAX, 9).await, [3, 5], "a thread does one thing at a time");
    change(&store, 4, RunStatus::Running, RunStatus::Success).await;
    change(&store, 1, RunStatus::Pending, RunStatus::Interrupted).await;
    assert_eq!(next(u64::MAX, 9).await, [2, 3, 5]);
    // What is over and to be rolled back comes first.
    put(&store, run("v", 6)).await;
    change(&store, 6, RunStatus::Pending, RunStatus::Running).await;
    assert_eq!(store.request_cancel(&run_id(6), RunCancel::Rollback, NOW_MS, Vec::new()).await, Ok(()));
    change(&store, 6, RunStatus::Running, RunStatus::Interrupted).await;
    assert_eq!(next(u64::MAX, 9).await, [2, 3]);
    assert_eq!(store.delete_run(&run_id(6)).await, Ok(true));
    assert_eq!(next(u64::MAX, 9).await, [2, 3, 5]);
    assert_eq!(store.delete_run(&run_id(2)).await, Err(changed(2, "pending")));
    assert_eq!(store.delete_run(&run_id(4)).await, Ok(true));
    assert_eq!(store.delete_run(&run_id(4)).await, Ok(false));
    assert_eq!(store.run(&run_id(4)).await, Ok(None));
}

/// A run begins and ends with its thread's commits, or they do not take place.
pub async fn a_run_changes_with_its_threads_commit(store: Arc<dyn Store>) {
    for (name, number) in [("t", 1), ("t", 2), ("u", 3)] {
        put(&store, run(name, number)).await;
    }
    let begins = run_update(1, RunStatus::Pending, RunStatus::Running);
    apply(&store, Commit { runs: vec![begins.clone()], at_ms: NOW_MS + 7, ..create("t", replace([])) }).await;
    let running = RunRecord { status: RunStatus::Running, base: Some(None), updated_at_ms: NOW_MS + 7, ..run("t", 1) };
    assert_eq!(store.run(&run_id(1)).await, Ok(Some(running.clone())));
    let before = scene::head(&store, "t").await;
    let refused = [
        (begins, changed(1, "running")),
        (run_update(9, RunStatus::Pending, RunStatus::Running), changed(9, "unknown")),
        (run_update(3, RunStatus::Pending, RunStatus::Running), changed(3, "unknown")),
    ];
    for (runs, error) in refused {
        // The first of them fits, the second does not.
        let runs = vec![run_update(2, RunStatus::Pending, RunStatus::Running), runs];
        let audit = vec![scene::audit("run.started", Some("t"))];
        let commit = Commit { runs, audit, status: ThreadStatus::Done, ..scene::step("t", 1, 1, 0, replace([])) };
        assert_eq!(store.commit(commit).await, Err(error));
        assert_eq!(scene::head(&store, "t").await, before);
        assert_eq!(store.run(&run_id(2)).await, Ok(Some(run("t", 2))));
        assert_eq!(store.audit_head().await, Ok(None));
    }
    let both = vec![
        run_update(1, RunStatus::Running, RunStatus::Success),
        run_update(2, RunStatus::Pending, RunStatus::Running),
        run_update(2, RunStatus::Running, RunStatus::Interrupted),
    ];
    apply(&store, Commit { runs: both, status: ThreadStatus::Done, release: true, ..update("t", 1) }).await;
    let status = async |number| store.run(&run_id(number)).await.expect("readable").expect("there").status;
    assert_eq!((status(1).await, status(2).await), (RunStatus::Success, RunStatus::Interrupted));
    // Of two who cancel one that is about to begin, one does.
    let cancel = || store.update_run(run_update(3, RunStatus::Pending, RunStatus::Interrupted), NOW_MS, Vec::new());
    let begin =
        Commit { runs: vec![run_update(3, RunStatus::Pending, RunStatus::Running)], ..create("u", replace([])) };
    match tokio::join!(cancel(), store.commit(begin)) {
        (Ok(()), Err(error)) => assert_eq!(error, changed(3, "interrupted")),
        (Err(error), Ok(())) => assert_eq!(error, changed(3, "running")),
        other => panic!("{other:?}"),
    }
}
