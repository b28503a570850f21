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
/// What was stored adds this to the size of an empty file.
fn bytes(path: &Path) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let empty = directory.path().join("empty.db");
    drop(open(&empty));
    size_of_file(path) - size_of_file(&empty)
}

fn size_of_file(path: &Path) -> u64 {
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

/// What a commit does not use costs it nothing, and what it uses costs the same however long the thread is.
#[tokio::test]
async fn a_commits_statements_are_those_of_what_it_holds() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store.db"));
    let sub = scene::namespace("sub");
    let counted = async |commit: Commit| {
        let before = store.statistics().statements;
        apply(&store, commit).await;
        store.statistics().statements - before
    };
    apply(&store, create("t", replace([("n", json!(0))]))).await;
    let mut counts = BTreeSet::new();
    for number in (1..=300_u64).map(|number| number * 10) {
        let parent = if number == 10 { 0 } else { number - 10 };
        let plain = counted(step("t", 1, number, parent, replace([]))).await;
        let mut filled = scene::new_checkpoint(number + 1, Some(number), replace([]));
        filled.record.metadata.insert("run".to_owned(), json!(number));
        filled.record.writers.insert(scene::node("pay"));
        filled.record.children.insert(scene::node("sub"), scene::checkpoint(0));
        let filled = counted(Commit { checkpoints: vec![filled], ..scene::update("t", 1) }).await;
        // A subgraph begins, and its task points to it.
        let run = scene::in_namespace(&sub, scene::new_checkpoint(number + 2, None, replace([])));
        let task = |child| TaskRecord {
            status: TaskStatus::Running,
            child: Some(scene::checkpoint(child)),
            ..scene::task("t", number, "pull:sub")
        };
        let running =
            counted(Commit { checkpoints: vec![run], tasks: vec![task(number + 2)], ..scene::update("t", 1) }).await;
        // Tasks that point to a run which is stored already: looked up together.
        let tasks = (0..20).map(|place| TaskRecord {
            child: Some(scene::checkpoint(number + 2)),
            ..scene::task("t", number, &format!("push:{place:010}"))
        });
        let many = counted(Commit { tasks: tasks.collect(), ..scene::update("t", 1) }).await;
        let pinned = counted(Commit { graph: Some(scene::graph()), ..scene::update("t", 1) }).await;
        counts.insert([plain, filled, running, many, pinned]);
    }
    // Each begins, updates the thread and commits. A step: parent, checkpoint. A run: checkpoint, task and the task's own checkpoint. Twenty
    // tasks: each one statement, one for their checkpoint and one for all their runs. Pinning: the head.
    assert_eq!(counts, BTreeSet::from([[5, 5, 6, 25, 4]]));
}

/// Removing takes as many statements however much there is to remove, and leaves nothing behind that only what is gone stood on.
#[tokio::test]
async fn retention_sweeps_values_tasks_and_questions() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path);
    let mut counts = BTreeSet::new();
    for (name, length) in [("short", 3_u64), ("long", 200)] {
        apply(&store, create(name, replace([("a", json!([])), ("n", json!(0))]))).await;
        for number in 1..=length {
            let task = scene::task(name, number - 1, "pull:pay");
            let changes = patch([("a", Change::Append(vec![json!(number)])), ("n", Change::Replace(json!(number)))]);
            let questions = vec![scene::question(&task, name, 0)];
            apply(&store, Commit { tasks: vec![task], questions, ..step(name, 1, number, number - 1, changes) }).await;
        }
        let expected = scene::head(&store, name).await;
        let before = store.statistics();
        let removed =
            store.retain(&scene::thread(name), expected.thread.epoch, &[scene::checkpoint(length)], Vec::new()).await;
        assert_eq!(removed, Ok(length));
        let after = store.statistics();
        counts.insert(after.statements - before.statements);
        assert_eq!(after.commits, before.commits, "it is no commit");
        assert_eq!(scene::head(&store, name).await, expected);
    }
    assert_eq!(counts.len(), 1, "{counts:?}");
    drop(store);
    let connection = rusqlite::Connection::open(&path).expect("opens");
    let count = |table: &str| -> i64 {
        connection.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).expect("readable")
    };
    assert_eq!((count("checkpoint"), count("task"), count("question")), (2, 0, 0));
    // Of each thread the number, and the list along its chain: whole at first, then what was appended since it was last gathered.
    let unused: i64 = connection
        .query_row(
            "with recursive used (thread_key, version) as (
                 select checkpoint.thread_key, entry.value from checkpoint, json_each(checkpoint.versions) entry
                 union
                 select thread_key, base_version from used join channel_value using (thread_key, version)
                 where base_version is not null
             )
             select count(*) from channel_value where (thread_key, version) not in (select thread_key, version from used)",
            [],
            |row| row.get(0),
        )
        .expect("readable");
    assert_eq!(unused, 0);
    assert!(count("channel_value") < 150, "{} values are left of 406", count("channel_value"));
}

/// The figure that fan-outs rest on: what one task's row of a large commit costs. Printed, not judged: times flicker.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure is wanted")]
async fn a_thousand_tasks_are_one_statement_each() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store.db"));
    apply(&store, create("t", replace([]))).await;
    let result =
        |number: u64| Command { update: [("log".to_owned(), json!([number]))].into_iter().collect(), goto: Vec::new() };
    for round in 1..=5_u64 {
        let tasks = (0..1000).map(|number| TaskRecord {
            status: TaskStatus::Done,
            result: Some(result(number)),
            ..scene::task("t", round - 1, &format!("push:{number:010}"))
        });
        let commit = Commit { tasks: tasks.collect(), ..step("t", 1, round, round - 1, replace([])) };
        let (before, begun) = (store.statistics().statements, std::time::Instant::now());
        apply(&store, commit).await;
        println!("{:.1} µs for each of 1000 tasks", begun.elapsed().as_secs_f64() * 1e3);
        // begin, thread, parent, checkpoint, commit; the tasks' checkpoint is the parent.
        assert_eq!(store.statistics().statements - before, 1005);
    }
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
