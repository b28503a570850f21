//! What commits cost in bytes and statements. Counts, not times: they do not flicker.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use holdpoint_graph::nodes::Command;
use holdpoint_graph::state::Change;
use holdpoint_store::conformance::scene::{self, append, apply, create, patch, replace, step};
use holdpoint_store::{Commit, SqliteOptions, SqliteStore, Store, TaskRecord, TaskStatus};
use serde_json::json;

const MEBIBYTE: u64 = 1024 * 1024;

fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path, SqliteOptions::default()).expect("opens"))
}

/// The size of a closed store, by the file system and by SQLite.
fn bytes(path: &Path) -> u64 {
    let size = std::fs::metadata(path).expect("a file").len();
    let connection = rusqlite::Connection::open(path).expect("opens");
    let pages: i64 = connection
        .query_row("select page_count * page_size from pragma_page_count, pragma_page_size", [], |row| row.get(0))
        .expect("readable");
    assert_eq!(i64::try_from(size), Ok(pages));
    size
}

/// A superstep that appends an item, as the engine commits it: the finished task, the checkpoint, the head.
fn appending(number: u64, item: &str, result: Option<Command>) -> Commit {
    let task = TaskRecord { status: TaskStatus::Done, result, ..scene::task("t", number - 1, "pull:pay") };
    Commit { tasks: vec![task], ..step("t", 1, number, number - 1, append("a", [json!(item)])) }
}

#[tokio::test]
async fn appending_costs_what_is_appended() {
    // The size of the first value decides where whole arrays fall, so several are tried. Tasks' results hold the appended bytes once more.
    let cases = [
        (0, true),
        (100, true),
        (0, false),
        (100, false),
        (400, false),
        (4_500, false),
        (20_000, false),
        (45_000, false),
    ];
    for (first, with_results) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        let store = open(&path);
        let mut items = if first == 0 { Vec::new() } else { vec![json!("y".repeat(first))] };
        apply(&store, create("t", replace([("a", json!(items))]))).await;
        for number in 1..=400_u64 {
            let item = format!("{number:04}{}", "x".repeat(1020));
            let update = || [("a".to_owned(), json!([item]))].into_iter().collect();
            let result = with_results.then(|| Command { update: update(), goto: Vec::new() });
            apply(&store, appending(number, &item, result)).await;
            items.push(json!(item));
        }
        assert_eq!(scene::head(&store, "t").await.values["a"], json!(items));
        drop(store);
        let bytes = bytes(&path);
        assert!(bytes * 2 <= 3 * MEBIBYTE, "400 steps that append 1 KiB after {first} bytes take {bytes} bytes");
    }
}

#[tokio::test]
async fn a_supersteps_statements_do_not_grow_with_history() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store.db"));
    apply(&store, create("t", replace([("a", json!([])), ("n", json!(0))]))).await;
    let mut counts = BTreeSet::new();
    for number in 1..=400_u64 {
        let before = store.statistics();
        let commit = appending(number, "an item of the list", None);
        let changes = patch([("a", Change::Append(vec![json!(number)])), ("n", Change::Replace(json!(number)))]);
        let checkpoints = vec![scene::new_checkpoint(number, Some(number - 1), changes)];
        apply(&store, Commit { checkpoints, ..commit }).await;
        let after = store.statistics();
        assert_eq!((after.commits - before.commits, after.transactions - before.transactions), (1, 1));
        counts.insert(after.statements - before.statements);
    }
    // begin, thread, parent, the list's base, two values, checkpoint, task, commit; now and then the list is gathered. A commit with
    // neighbours in its transaction has a savepoint and its release besides.
    assert_eq!(counts, BTreeSet::from([9, 10]));
}

#[tokio::test]
async fn what_does_not_change_is_stored_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path);
    apply(&store, create("t", replace([("large", json!("x".repeat(500_000))), ("n", json!(0))]))).await;
    for number in 1..=200_u64 {
        apply(&store, step("t", 1, number, number - 1, replace([("n", json!(number))]))).await;
    }
    drop(store);
    let bytes = bytes(&path);
    assert!(bytes < MEBIBYTE, "{bytes}");
}

/// Many branches that append to one long list do not copy it.
#[tokio::test]
async fn branches_store_only_their_own_items() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path);
    apply(&store, create("t", replace([("a", json!(["x".repeat(200_000)]))]))).await;
    for number in 1..=200_u64 {
        apply(&store, step("t", 1, number, 0, append("a", [json!(number)]))).await;
    }
    drop(store);
    let bytes = bytes(&path);
    assert!(bytes < MEBIBYTE / 2, "{bytes}");
}

/// The log does not grow without bound while a store is open.
#[tokio::test]
async fn the_log_is_folded_into_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path);
    apply(&store, create("t", replace([("a", json!(0))]))).await;
    for number in 1..=600_u64 {
        apply(&store, step("t", 1, number, number - 1, replace([("a", json!("x".repeat(20_000)))]))).await;
    }
    let log = std::fs::metadata(directory.path().join("store.db-wal")).expect("a file").len();
    assert!(log < 8 * MEBIBYTE, "{log}");
}
