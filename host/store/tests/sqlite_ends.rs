//! What came with the fifth schema: files of the fourth are brought up in place, changes and their records are one write, and what a commit does not
//! use costs it nothing.

use std::path::Path;
use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Epoch;
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_store::conformance::scene::{self, NOW_MS, apply, create, replace, step, thread};
use holdpoint_store::{
    Commit, EntryFilter, Error, ExpiryRule, LinkRecord, OperationCounts, OperationFilter, RunCancel, RunRecord,
    RunStatus, SessionRecord, SqliteOptions, SqliteStore, Store, ThreadEntry, ThreadExpiry,
};
use rusqlite::{Connection, params};
use serde_json::{Map, json};

const FOUR: [&str; 4] = [
    include_str!("../src/sqlite/schema/0001_initial.sql"),
    include_str!("../src/sqlite/schema/0002_operations.sql"),
    include_str!("../src/sqlite/schema/0003_time_travel.sql"),
    include_str!("../src/sqlite/schema/0004_serving.sql"),
];

fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path, SqliteOptions::default()).expect("opens"))
}

fn link(name: &str, used_at_ms: Option<u64>) -> LinkRecord {
    let task = scene::task("t", 0, "pull:pay");
    LinkRecord {
        digest: Digest::of_bytes(name.as_bytes()),
        thread: thread("t"),
        question: scene::question_id(&task, "t", 0),
        subject: "user:ana".to_owned(),
        created_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + 60,
        used_at_ms,
    }
}

/// An operation that nobody has heard of, of each of two tenants' threads and of one that has no entry any more.
fn operation(name: &str) -> OperationRecord {
    let task = scene::task(name, 0, "pull:pay");
    OperationRecord {
        state: OperationState::Intended,
        finished_at_ms: None,
        ..scene::operation(name, &format!("op:{name}"), &task)
    }
}

fn made_by_the_fourth_version(path: &Path) {
    let connection = Connection::open(path).expect("opens");
    connection.pragma_update(None, "journal_mode", "wal").expect("can be set");
    for schema in FOUR {
        connection.execute_batch(schema).expect("the schema is valid");
    }
    connection.pragma_update(None, "application_id", 0x486f_6c64).expect("can be set");
    connection.pragma_update(None, "user_version", 4).expect("can be set");
    let now = NOW_MS.cast_signed();
    for (name, expires_at_ms) in [("ever", None), ("once", Some(now + 5))] {
        let result = r#"{"update":{"a":1},"goto":[]}"#;
        let digest = Digest::of_bytes(name.as_bytes());
        connection
            .execute("insert into cache values (?1, ?2, 1, ?3)", params![digest.as_str(), expires_at_ms, result])
            .expect("fits");
    }
    for link in [link("open", None), link("used", Some(NOW_MS + 1))] {
        let (expires, used) = (link.expires_at_ms.cast_signed(), link.used_at_ms.map(u64::cast_signed));
        connection
            .execute(
                "insert into approval_link values (?1, 't', ?2, 'user:ana', ?3, ?4, ?5)",
                params![link.digest.as_str(), link.question.as_str(), now, expires, used],
            )
            .expect("fits");
    }
    let task = scene::task("u", 0, "pull:pay");
    for at_ms in [7, 5, 5] {
        let hit = scene::hit(&scene::operation_key("t", "op:t"), "u", &task);
        connection
            .execute(
                "insert into operation_hit (scope, connector, operation_id, thread_id, task_id, at_ms)
                 values (?1, 'payments', 'op:t', 'u', ?2, ?3)",
                params![hit.key.scope.to_text(), hit.task.as_str(), at_ms],
            )
            .expect("fits");
    }
    for (name, tenant) in [("t", "acme"), ("u", "default")] {
        connection
            .execute(
                "insert into thread_entry (thread_id, tenant, created_at_ms, updated_at_ms, metadata)
                 values (?1, ?2, ?3, ?3, '{}')",
                params![name, tenant, now],
            )
            .expect("fits");
    }
    for name in ["t", "u", "gone"] {
        let record = operation(name);
        connection
            .execute(
                "insert into operation (scope, connector, operation_id, thread_id, task_id, node, request_digest, state,
                                        epoch, begun_at_ms, format, request)
                 values (?1, 'payments', ?2, ?3, ?4, 'pay', ?5, 'intended', 1, ?6, 1, ?7)",
                params![
                    record.key.scope.to_text(),
                    record.key.id.as_str(),
                    name,
                    record.task.as_str(),
                    record.request_digest.as_str(),
                    now,
                    record.request.to_string(),
                ],
            )
            .expect("fits");
    }
    let run = scene::run("t", 1);
    connection
        .execute(
            "insert into run (run_id, thread_id, tenant, actor_id, actor_basis, status, not_before_ms, created_at_ms,
                              updated_at_ms, format, metadata, request)
             values (?1, 't', 'default', 'cli:ana', 'asserted', 'running', ?2, ?3, ?3, 1, '{}', ?4)",
            params![run.id.as_str(), now, run.created_at_ms.cast_signed(), run.request.to_string()],
        )
        .expect("fits");
}

#[tokio::test]
async fn a_store_of_the_fourth_schema_keeps_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    made_by_the_fourth_version(&path);
    for opening in ["migrates", "finds it migrated"] {
        let store = open(&path);
        let result = Command { update: Map::from_iter([("a".to_owned(), json!(1))]), goto: Vec::new() };
        for (name, at_ms, found) in
            [("ever", NOW_MS + 9, true), ("once", NOW_MS + 4, true), ("once", NOW_MS + 5, false)]
        {
            let cached = store.cached(&Digest::of_bytes(name.as_bytes()), at_ms).await;
            assert_eq!(cached, Ok(found.then(|| result.clone())), "{opening}: {name}");
        }
        for link in [link("open", None), link("used", Some(NOW_MS + 1))] {
            assert_eq!(store.link(&link.digest).await, Ok(Some(link)), "{opening}");
        }
        let running = RunRecord { status: RunStatus::Running, ..scene::run("t", 1) };
        assert_eq!(
            store.run(&running.id).await,
            Ok(Some(running)),
            "{opening}: nobody wants it ended, its base is unknown"
        );
        assert_eq!(store.cancel_requests(9).await, Ok(Vec::new()));
        let entries = store.entries(&EntryFilter { limit: 9, ..EntryFilter::default() }).await.expect("readable");
        assert!(entries.iter().all(|found| found.entry.expiry.is_none() && !found.entry.temporary), "{opening}");
        assert_eq!(store.due_entries(u64::MAX, 9).await, Ok(Vec::new()), "{opening}");
        let of = async |tenant: &str| {
            let own = OperationFilter { tenant: Some(scene::tenant(tenant)), limit: 9, ..OperationFilter::default() };
            store.find_operations(&own).await
        };
        assert_eq!(of("acme").await, Ok(vec![operation("t")]), "{opening}");
        assert_eq!(of("default").await, Ok(vec![operation("u"), operation("gone")]), "{opening}");
        let hits = store.hits(&operation("t").key).await.expect("readable");
        assert_eq!(hits.iter().map(|hit| hit.at_ms).collect::<Vec<_>>(), [5, 5, 7], "{opening}");
        let metadata: Vec<_> =
            entries.iter().map(|found| (found.entry.thread.as_str(), found.entry.metadata.len())).collect();
        assert_eq!(metadata, [("t", 0), ("u", 0)], "{opening}");
        let counts = OperationCounts { open: 1, in_doubt: 0 };
        assert_eq!(store.count_operations(Some(&scene::tenant("acme"))).await, Ok(counts), "{opening}");
    }
    // It lives on: links and results are replaced and removed by their keys.
    let store = open(&path);
    assert_eq!(store.put_links(vec![link("open", Some(1))]).await, Ok(()));
    assert_eq!(store.link(&link("open", None).digest).await, Ok(Some(link("open", None))), "one that is there stays");
    assert_eq!(store.clear_replies(NOW_MS + 60).await, Ok(2));
    assert_eq!(store.clear_cache(Some(NOW_MS + 5)).await, Ok(1));
    assert_eq!(store.request_cancel(&scene::run_id(1), RunCancel::Rollback, NOW_MS, Vec::new()).await, Ok(()));
    assert_eq!(store.cancel_requests(9).await.map(|found| found.len()), Ok(1));
    drop(store);
    let connection = Connection::open(&path).expect("opens");
    let verdict: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).expect("readable");
    assert_eq!(verdict, "ok");
}

/// A fault between a change and its record: neither is there. Without it both are.
#[tokio::test]
async fn a_change_and_its_record_are_one_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path);
    apply(&store, create("t", replace([]))).await;
    apply(&store, step("t", 1, 1, 0, replace([]))).await;
    assert_eq!(store.put_run(scene::run("t", 1), false, Vec::new()).await, Ok(()));
    let other = Connection::open(&path).expect("opens");
    other
        .execute_batch("create trigger no_record before insert on audit begin select raise(abort, 'no record'); end")
        .expect("can be set");
    let audit = |kind| vec![scene::audit(kind, Some("t"))];
    let id = thread("t");
    let write = async || {
        let members = Map::from_iter([("a".to_owned(), json!(1))]);
        let expiry = Some(ThreadExpiry { at_ms: NOW_MS + 9, ttl_ms: 9, rule: ExpiryRule::Delete });
        [
            store.retain(&id, Epoch(1), &[scene::checkpoint(1)], audit("thread.pruned")).await.map(drop),
            store.merge_metadata(&id, members, NOW_MS + 1, audit("thread.metadata")).await.map(drop),
            store.set_expiry(&id, expiry, NOW_MS + 1, audit("thread.expiry")).await.map(drop),
            store.request_cancel(&scene::run_id(1), RunCancel::Interrupt, NOW_MS + 1, audit("run.cancelled")).await,
        ]
    };
    let everything = async || {
        let entry = store.entry(&id).await.expect("readable").expect("there");
        (scene::history(&store, "t").await, entry, store.run(&scene::run_id(1)).await, store.audit_head().await)
    };
    let before = everything().await;
    for outcome in write().await {
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    }
    assert_eq!(everything().await, before);
    other.execute_batch("drop trigger no_record").expect("can be dropped");
    assert_eq!(write().await, [Ok(()), Ok(()), Ok(()), Ok(())]);
    let (history, summary, run, head) = everything().await;
    assert_eq!((history.len(), head.expect("readable").map(|(place, _)| place)), (1, Some(4)));
    assert_eq!(summary.entry.metadata.get("a"), Some(&json!(1)));
    assert!(summary.entry.expiry.is_some());
    assert_eq!(run.expect("readable").and_then(|run| run.cancel), Some(RunCancel::Interrupt));
}

/// Where a run began is read only by the commit that begins it.
#[tokio::test]
async fn a_commit_that_begins_no_run_reads_no_base() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(&directory.path().join("store.db"));
    let counted = async |commit: Commit| {
        let before = store.statistics().statements;
        apply(&store, commit).await;
        store.statistics().statements - before
    };
    apply(&store, create("t", replace([]))).await;
    for number in 1..=2 {
        assert_eq!(store.put_run(scene::run("t", number), false, Vec::new()).await, Ok(()));
    }
    let update = |number, from, to| vec![scene::run_update(number, from, to)];
    let plain = counted(step("t", 1, 1, 0, replace([]))).await;
    let begins = update(1, RunStatus::Pending, RunStatus::Running);
    let begins = counted(Commit { runs: begins, ..step("t", 1, 2, 1, replace([])) }).await;
    let ends = update(1, RunStatus::Running, RunStatus::Success);
    let ends = counted(Commit { runs: ends, ..step("t", 1, 3, 2, replace([])) }).await;
    let task = scene::task("t", 3, "pull:pay");
    let operations = vec![scene::operation("t", "op", &task)];
    let performs = counted(Commit { operations, ..step("t", 1, 4, 3, replace([])) }).await;
    // begin, thread, parent, checkpoint, commit; then the base and the run; the run; the operation, with whose it is.
    assert_eq!([plain, begins, ends, performs], [5, 7, 6, 6]);
}

/// An empty store is small: each table and each index takes a page.
#[tokio::test]
async fn an_empty_store_is_small() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    let store = open(&path);
    let session = SessionRecord {
        digest: Digest::of_bytes(b"secret"),
        caller: json!({}),
        created_at_ms: NOW_MS,
        expires_at_ms: NOW_MS,
    };
    assert_eq!(store.put_session(session).await, Ok(()));
    let entry = ThreadEntry::new(thread("t"), scene::tenant("acme"), Map::new(), NOW_MS);
    assert_eq!(store.put_entry(entry, Vec::new()).await, Ok(()));
    drop(store);
    let bytes = std::fs::metadata(&path).expect("a file").len();
    assert!(bytes <= 280 * 1024, "{bytes}");
}
