//! The SQLite writer: durability, batches, other processes, a full disk.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use holdpoint_graph::ids::Epoch;
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_store::conformance::scene::{self, append, apply, claim, create, head, replace, step, thread, update};
use holdpoint_store::{Commit, Error, SqliteOptions, SqliteStore, Store, ThreadStatus};
use serde_json::json;

fn open(path: &Path, options: SqliteOptions) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path, options).expect("opens"))
}

/// Holds the file's write lock like another process, until dropped.
fn lock(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).expect("opens");
    connection.execute_batch("begin immediate").expect("nobody else writes");
    connection
}

/// Lets every other task of a single-threaded runtime run until it waits.
async fn let_others_wait() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// What was acknowledged is in the files at that moment: a copy of them, as a dead process would leave them, has it.
#[tokio::test]
async fn an_acknowledged_commit_survives_its_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions::default());
    apply(&store, create("t", append("a", [json!(0)]))).await;
    for number in 1..=20 {
        apply(&store, step("t", 1, number, number - 1, append("a", [json!(number)]))).await;
        let copy = directory.path().join(format!("copy-{number}.db"));
        std::fs::copy(&path, &copy).expect("writable");
        std::fs::copy(directory.path().join("store.db-wal"), directory.path().join(format!("copy-{number}.db-wal")))
            .expect("writable");
        let found = head(&open(&copy, SqliteOptions::default()), "t").await;
        assert_eq!(found, head(&store, "t").await, "commit {number}");
        assert_eq!(found.values["a"], json!((0..=number).collect::<Vec<_>>()));
    }
}

/// A log that was torn in the middle of a commit gives the state before that commit.
#[tokio::test]
async fn a_torn_log_ends_at_a_whole_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions::default());
    apply(&store, create("t", append("a", [json!(0)]))).await;
    for number in 1..=5 {
        apply(&store, step("t", 1, number, number - 1, append("a", [json!(number)]))).await;
    }
    let log = std::fs::read(directory.path().join("store.db-wal")).expect("readable");
    let mut steps = std::collections::BTreeSet::new();
    for cut in (0..log.len()).rev().step_by(3001) {
        let copy = directory.path().join("copy.db");
        std::fs::copy(&path, &copy).expect("writable");
        std::fs::write(directory.path().join("copy.db-wal"), &log[..cut]).expect("writable");
        let store = open(&copy, SqliteOptions::default());
        if let Some(found) = store.snapshot(&thread("t"), None).await.expect("readable") {
            assert_eq!(found.values["a"], json!((0..=found.checkpoint.step).collect::<Vec<_>>()), "cut at {cut}");
            steps.insert(found.checkpoint.step);
        }
        drop(store);
        std::fs::remove_file(&copy).expect("ours");
    }
    assert!(steps.len() >= 4, "the cuts fell into different commits: {steps:?}");
}

/// What waits while the writer is busy shares one transaction.
#[tokio::test]
async fn waiting_commits_share_a_transaction() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions::default());
    let lock = lock(&path);
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..100 {
        let store = Arc::clone(&store);
        commits
            .spawn(async move { store.commit(create(&format!("t{number}"), replace([("n", json!(number))]))).await });
    }
    let_others_wait().await;
    drop(lock);
    assert!(commits.join_all().await.iter().all(Result::is_ok));
    let counted = store.statistics();
    assert_eq!(counted.commits, 100);
    // One batch began before the others waited; those make three full batches and a rest.
    assert!((4..=5).contains(&counted.transactions), "{counted:?}");
    for number in 0..100 {
        assert_eq!(head(&store, &format!("t{number}")).await.values["n"], json!(number));
    }
}

/// A refused commit leaves those beside it in the transaction alone, before and after it.
#[tokio::test]
async fn a_refused_commit_leaves_its_neighbours_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions::default());
    apply(&store, create("t", replace([("n", json!(0))]))).await;
    let before = store.statistics();
    let lock = lock(&path);
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..30_u64 {
        let store = Arc::clone(&store);
        commits.spawn(async move {
            let outcome = match number % 3 {
                0 => store.commit(create(&format!("t{number}"), replace([("n", json!(number))]))).await,
                // Writes a thread and a checkpoint before it is refused.
                1 => {
                    store
                        .commit(Commit {
                            head: Some(scene::checkpoint(7)),
                            ..create(&format!("t{number}"), replace([]))
                        })
                        .await
                }
                _ => store.commit(Commit { status: ThreadStatus::Done, ..step("t", 9, 1, 0, replace([])) }).await,
            };
            (number, outcome)
        });
    }
    let_others_wait().await;
    drop(lock);
    for (number, outcome) in commits.join_all().await {
        let found = store.thread(&thread(&format!("t{number}"))).await.expect("readable");
        match number % 3 {
            0 => assert!(outcome.is_ok() && found.is_some(), "{number}: {outcome:?}"),
            1 => assert!(matches!(outcome, Err(Error::Invalid(_))) && found.is_none(), "{number}: {outcome:?}"),
            _ => assert!(matches!(outcome, Err(Error::Fenced { .. })), "{number}: {outcome:?}"),
        }
    }
    let counted = store.statistics();
    assert_eq!(counted.commits - before.commits, 10);
    assert!(counted.transactions - before.transactions <= 2, "{counted:?}");
    assert_eq!(head(&store, "t").await.thread.status, ThreadStatus::Running);
}

/// Exchanges share the transaction of those that wait beside them; one that found something else, or a refused neighbour, hurts nobody.
#[tokio::test]
async fn exchanges_share_a_transaction() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions::default());
    let doubt = |number: u64| OperationRecord {
        state: OperationState::InDoubt("lost".to_owned()),
        ..scene::operation("t", &format!("op:{number}"), &scene::task("t", 0, "pull:pay"))
    };
    let operations = (0..30).map(doubt).collect();
    apply(&store, Commit { operations, ..create("t", replace([])) }).await;
    let before = store.statistics();
    let lock = lock(&path);
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..30_u64 {
        let store = Arc::clone(&store);
        writes.spawn(async move {
            let next = OperationRecord { state: OperationState::NotSent, ..doubt(number) };
            let outcome = match number % 5 {
                0 | 1 => store.exchange_operation(&doubt(number), next, scene::NOW_MS, Vec::new()).await,
                2 => store.exchange_operation(&next, next.clone(), scene::NOW_MS, Vec::new()).await,
                3 => store.commit(update("t", 9)).await.map(|()| true),
                _ => store.commit(create(&format!("t{number}"), replace([]))).await.map(|()| true),
            };
            (number, outcome)
        });
    }
    let_others_wait().await;
    drop(lock);
    for (number, outcome) in writes.join_all().await {
        let expected = match number % 5 {
            2 => Ok(false),
            3 => Err(Error::Fenced { thread: thread("t"), expected: Epoch(9), found: Epoch(1) }),
            _ => Ok(true),
        };
        assert_eq!(outcome, expected, "{number}");
        let found = store.operation(&doubt(number).key).await.expect("readable").expect("there");
        assert_eq!(found.state == OperationState::NotSent, number % 5 < 2, "{number}");
    }
    let counted = store.statistics();
    assert_eq!(counted.commits - before.commits, 18, "twelve exchanges and six threads");
    assert!(counted.transactions - before.transactions <= 2, "{counted:?}");
}

/// Two stores on one file, as two processes have them: of two who settle one doubt one does.
#[tokio::test]
async fn of_exchanges_by_two_stores_one_wins() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let stores = [open(&path, SqliteOptions::default()), open(&path, SqliteOptions::default())];
    apply(&stores[0], create("t", replace([]))).await;
    let task = scene::task("t", 0, "pull:pay");
    for number in 0..30 {
        let doubt = OperationRecord {
            state: OperationState::InDoubt("lost".to_owned()),
            ..scene::operation("t", &format!("op:{number}"), &task)
        };
        apply(&stores[0], Commit { operations: vec![doubt.clone()], ..update("t", 1) }).await;
        let next = |by: &str| OperationRecord { state: OperationState::Completed(json!(by)), ..doubt.clone() };
        let (left, right) = tokio::join!(
            stores[0].exchange_operation(&doubt, next("left"), scene::NOW_MS, Vec::new()),
            stores[1].exchange_operation(&doubt, next("right"), scene::NOW_MS, Vec::new()),
        );
        let winner = match (&left, &right) {
            (Ok(true), Ok(false)) => "left",
            (Ok(false), Ok(true)) => "right",
            other => panic!("not exactly one won: {other:?}"),
        };
        for store in &stores {
            assert_eq!(store.operation(&doubt.key).await, Ok(Some(next(winner))));
        }
    }
}

/// A commit that was handed over is done, even if nobody waits for it any more and the store is dropped.
#[tokio::test]
async fn dropping_a_store_finishes_what_was_handed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions::default());
    {
        let mut commit = pin!(store.commit(create("t", replace([("n", json!(1))]))));
        let _ = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    drop(store);
    assert_eq!(head(&open(&path, SqliteOptions::default()), "t").await.values["n"], json!(1));
}

/// Another process's lock is waited for, but not for ever; then nothing was written and the store goes on.
#[tokio::test]
async fn a_locked_file_is_unavailable_for_a_while() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions { busy_timeout_ms: 50, ..SqliteOptions::default() });
    apply(&store, create("t", replace([("n", json!(0))]))).await;
    let lock = lock(&path);
    let refused = store.commit(step("t", 1, 1, 0, replace([("n", json!(1))]))).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(head(&store, "t").await.values["n"], json!(0), "reads do not wait for writers");
    drop(lock);
    assert_eq!(head(&store, "t").await.values["n"], json!(0));
    apply(&store, step("t", 1, 1, 0, replace([("n", json!(1))]))).await;
    assert_eq!(head(&store, "t").await.values["n"], json!(1));
}

/// Two stores on one file, as two processes have them: each sees what the other wrote, and of two claims one wins (`one-writer`).
#[tokio::test]
async fn two_stores_on_one_file_respect_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let stores = [open(&path, SqliteOptions::default()), open(&path, SqliteOptions::default())];
    apply(&stores[0], create("t", append("a", [json!(0)]))).await;
    for epoch in 1..=30 {
        let (left, right) = tokio::join!(
            stores[0].commit(Commit { claim: Some(claim("left")), ..update("t", epoch) }),
            stores[1].commit(Commit { claim: Some(claim("right")), ..update("t", epoch) }),
        );
        let winner = match (&left, &right) {
            (Ok(()), Err(Error::Fenced { .. })) => 0,
            (Err(Error::Fenced { .. }), Ok(())) => 1,
            other => panic!("not exactly one won: {other:?}"),
        };
        let next = step("t", epoch + 1, epoch, epoch - 1, append("a", [json!(epoch)]));
        apply(&stores[winner], next).await;
        let seen = head(&stores[1 - winner], "t").await;
        assert_eq!(seen.thread.epoch, Epoch(epoch + 1));
        assert_eq!(seen.values["a"], json!((0..=epoch).collect::<Vec<_>>()));
    }
}

/// A full disk refuses the commit whole; the neighbours of its batch are done; with room made the store goes on.
#[tokio::test]
async fn a_full_disk_writes_nothing_and_passes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path, SqliteOptions { pages_max: Some(120), ..SqliteOptions::default() });
    apply(&store, create("t", replace([("a", json!(1))]))).await;
    let large = |name: &str| create(name, replace([("large", json!("x".repeat(100_000)))]));
    let mut threads = 0;
    let refused = loop {
        match store.commit(large(&format!("large{threads}"))).await {
            Ok(()) => threads += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full(_)), "{refused:?}");
    assert!(threads >= 2, "some fitted");
    assert_eq!(store.thread(&thread(&format!("large{threads}"))).await, Ok(None));
    let before = head(&store, "t").await;
    let refused = store.commit(step("t", 1, 1, 0, replace([("a", json!("x".repeat(100_000)))]))).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert_eq!(head(&store, "t").await, before);

    let kept = scene::operation("t", "op", &scene::task("t", 0, "pull:pay"));
    apply(&store, Commit { operations: vec![kept.clone()], ..update("t", 1) }).await;
    let lock = lock(&path);
    let mut commits = tokio::task::JoinSet::new();
    let exchanging = {
        let (store, kept) = (Arc::clone(&store), kept.clone());
        let next = OperationRecord { request: json!("x".repeat(100_000)), ..kept.clone() };
        tokio::spawn(async move { store.exchange_operation(&kept, next, scene::NOW_MS, Vec::new()).await })
    };
    for number in 0..9 {
        let store = Arc::clone(&store);
        let commit = match number % 3 {
            0 => large(&format!("more{number}")),
            _ => create(&format!("more{number}"), replace([("n", json!(number))])),
        };
        commits.spawn(async move { (number, store.commit(commit).await) });
    }
    let_others_wait().await;
    drop(lock);
    for (number, outcome) in commits.join_all().await {
        let found = store.thread(&thread(&format!("more{number}"))).await.expect("readable");
        match number % 3 {
            0 => assert!(matches!(outcome, Err(Error::Full(_))) && found.is_none(), "{number}: {outcome:?}"),
            _ => assert!(outcome.is_ok() && found.is_some(), "{number}: {outcome:?}"),
        }
    }
    let refused = exchanging.await.expect("no panic");
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    assert_eq!(store.operation(&kept.key).await, Ok(Some(kept)));

    assert_eq!(store.delete_thread(&thread("large0"), Epoch(1), Vec::new()).await, Ok(()));
    apply(&store, step("t", 1, 1, 0, replace([("a", json!("x".repeat(50_000)))]))).await;
    drop(store);
    let connection = rusqlite::Connection::open(&path).expect("opens");
    let verdict: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).expect("readable");
    assert_eq!(verdict, "ok");
    let orphans = connection.prepare("pragma foreign_key_check").expect("valid").exists([]).expect("readable");
    assert!(!orphans);
}
