//! Files that older versions made: brought up in place, with everything that they hold.

use std::path::Path;
use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{Epoch, GraphName, Tenant};
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::{NoteKind, OperationNote, OperationRecord, OperationState};
use holdpoint_store::conformance::scene::{self, NOW_MS, apply, thread, update};
use holdpoint_store::{
    Arrivals, Changed, CheckpointRecord, Claim, Commit, EntryFilter, EntryOrder, Error, Journal, OperationFilter,
    QuestionChange, QuestionFilter, Snapshot, Source, SqliteOptions, SqliteStore, Store, ThreadEntry, ThreadFilter,
    ThreadStatus,
};
use serde_json::{Value, json};

const FIRST: &str = include_str!("../src/sqlite/schema/0001_initial.sql");
const SECOND: &str = include_str!("../src/sqlite/schema/0002_operations.sql");

fn open(path: &Path) -> Result<SqliteStore, Error> {
    SqliteStore::open(path, SqliteOptions::default())
}

/// Operations as schema 1 could hold them.
fn operations() -> Vec<OperationRecord> {
    let task = scene::task("t", 0, "pull:pay");
    let failure = Failure {
        code: "declined".to_owned(),
        message: "no".to_owned(),
        retryable: false,
        retry_after_ms: Some(5),
        details: Some(json!([1])),
    };
    let states = [
        OperationState::Intended,
        OperationState::Completed(json!({ "status": 201 })),
        OperationState::Failed(failure),
        OperationState::InDoubt("timed out".to_owned()),
        OperationState::NotSent,
    ];
    (0..)
        .zip(states)
        .map(|(number, state)| OperationRecord {
            state,
            begun_at_ms: NOW_MS + number,
            send_by_ms: (number % 2 == 0).then_some(NOW_MS + 100),
            finished_at_ms: (number > 0).then_some(NOW_MS + 200),
            epoch: Epoch(1 + number),
            ..scene::operation("t", &format!("op:{number}"), &task)
        })
        .collect()
}

/// A file as the first version left it: a thread that waits for the doubt about `op:3`, and five operations.
fn made_by_the_first_version(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("opens");
    connection.pragma_update(None, "journal_mode", "wal").expect("can be set");
    connection.execute_batch(FIRST).expect("the first schema is valid");
    connection.pragma_update(None, "application_id", 0x486f_6c64).expect("can be set");
    connection.pragma_update(None, "user_version", 1).expect("can be set");
    let graph = Digest::of_bytes(b"graph");
    let head = scene::checkpoint(0);
    connection
        .execute(
            "insert into thread values (1, 't', 't', ?1, 'refund', 'interrupted', 1, null, 0, ?2, 1, null, 1, ?3, ?3)",
            rusqlite::params![graph.as_str(), head.as_str(), NOW_MS.cast_signed()],
        )
        .expect("fits");
    connection
        .execute(
            "insert into checkpoint values (1, 1, ?1, null, 0, 'loop', ?2, ?2, 1, '[{\"pull\":\"pay\"}]', null, '{\"a\":1}')",
            rusqlite::params![head.as_str(), NOW_MS.cast_signed()],
        )
        .expect("fits");
    connection.execute("insert into channel_value values (1, 1, 1, 'a', 'value', null, 1, 0, '7')", []).expect("fits");
    let task = scene::task_in_doubt("t", 0, "pull:pay", &scene::operation_key("t", "op:3"));
    let error = json!({
        "code": "HP0520", "message": "no answer", "node": "pay",
        "details": { "scope": "thread:t", "connector": "payments", "operation_id": "op:3" },
    });
    connection
        .execute(
            "insert into task values (1, 1, ?1, 'pay', 'pull:pay', 'in-doubt', 1, ?2, 1, ?3, null)",
            rusqlite::params![task.id.as_str(), NOW_MS.cast_signed(), error.to_string()],
        )
        .expect("fits");
    for record in operations() {
        let outcome = match &record.state {
            OperationState::Completed(answer) => Some(answer.to_string()),
            OperationState::Failed(_) => Some(
                r#"{"code":"declined","message":"no","retryable":false,"retry_after_ms":5,"details":[1]}"#.to_owned(),
            ),
            OperationState::InDoubt(reason) => Some(reason.clone()),
            _ => None,
        };
        connection
            .execute(
                "insert into operation (scope, connector, operation_id, thread_id, task_id, node, request_digest, state,
                                        epoch, begun_at_ms, send_by_ms, finished_at_ms, format, outcome, request)
                 values ('thread:t', 'payments', ?1, 't', ?2, 'pay', ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10)",
                rusqlite::params![
                    record.key.id.as_str(),
                    record.task.as_str(),
                    record.request_digest.as_str(),
                    record.state.name(),
                    record.epoch.0.cast_signed(),
                    record.begun_at_ms.cast_signed(),
                    record.send_by_ms.map(u64::cast_signed),
                    record.finished_at_ms.map(u64::cast_signed),
                    outcome,
                    record.request.to_string(),
                ],
            )
            .expect("fits");
    }
}

async fn snapshot(store: &impl Store) -> Snapshot {
    store.snapshot(&thread("t"), None).await.expect("readable").expect("there")
}

#[tokio::test]
async fn a_store_of_the_first_schema_keeps_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    made_by_the_first_version(&path);
    let records = operations();
    for opening in ["migrates", "finds it migrated"] {
        let store = open(&path).expect(opening);
        assert_eq!(store.operations(&thread("t")).await, Ok(records.clone()), "{opening}");
        let found = snapshot(&store).await;
        assert_eq!(Value::Object(found.values), json!({ "a": 7 }), "{opening}");
        assert_eq!(found.thread.status, ThreadStatus::Interrupted, "{opening}");
        assert_eq!(found.tasks, [scene::task_in_doubt("t", 0, "pull:pay", &records[3].key)], "{opening}");
        assert_eq!(found.unsettled, [records[0].clone(), records[3].clone()], "{opening}");
        let open = OperationFilter { open: true, limit: 9, ..OperationFilter::default() };
        assert_eq!(
            store.find_operations(&open).await,
            Ok(found.unsettled),
            "{opening}: old rows are in the new indexes"
        );
        assert_eq!(store.due_operations(u64::MAX, 9).await, Ok(Vec::new()), "{opening}");
        assert_eq!(store.hits(&records[0].key).await, Ok(Vec::new()), "{opening}");
    }
    let connection = rusqlite::Connection::open(&path).expect("opens");
    let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).expect("readable");
    assert_eq!(version, 5);
    let verdict: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).expect("readable");
    assert_eq!(verdict, "ok");
}

/// A file as the second version left it: what the first left, brought up, and a second checkpoint with a join and a question; and another thread,
/// of another graph, with a checkpoint of the same id.
fn made_by_the_second_version(path: &Path) {
    made_by_the_first_version(path);
    let connection = rusqlite::Connection::open(path).expect("opens");
    connection.execute_batch(SECOND).expect("the second schema is valid");
    connection.pragma_update(None, "user_version", 2).expect("can be set");
    let (first, second) = (scene::checkpoint(0), scene::checkpoint(1));
    let graph = Digest::of_bytes(b"another graph");
    let now = NOW_MS.cast_signed();
    connection
        .execute("update thread set head = ?1, version_last = 2 where thread_key = 1", [second.as_str()])
        .expect("fits");
    connection
        .execute(
            "insert into checkpoint values
             (2, 1, ?1, ?2, 1, 'update', ?3, ?3, 1, '[]', '{\"all\":[\"a\",\"b\"],\"none\":[]}', '{\"a\":1,\"log\":2}')",
            rusqlite::params![second.as_str(), first.as_str(), now],
        )
        .expect("fits");
    connection
        .execute("insert into channel_value values (2, 1, 2, 'log', 'list', null, 3, 0, '[1]')", [])
        .expect("fits");
    let task = scene::task("t", 1, "pull:pay");
    connection
        .execute(
            "insert into task values (2, 2, ?1, 'pay', 'pull:pay', 'interrupted', 1, ?2, 1, null, null)",
            rusqlite::params![task.id.as_str(), now],
        )
        .expect("fits");
    let question = scene::question(&task, "t", 0);
    connection
        .execute(
            "insert into question values
             (1, 1, ?1, 2, ?2, 'pay', 0, ?3, ?4, null, 'pending', 1, null, null, '{}', '{\"pay\":100}')",
            rusqlite::params![question.id.as_str(), task.id.as_str(), question.payload_digest.as_str(), now],
        )
        .expect("fits");
    connection
        .execute(
            "insert into thread values (2, 'u', 'u', ?1, 'incident', 'done', 1, null, 0, ?2, 0, null, 1, ?3, ?3)",
            rusqlite::params![graph.as_str(), first.as_str(), now],
        )
        .expect("fits");
    connection
        .execute(
            "insert into checkpoint values (3, 2, ?1, null, -1, 'input', ?2, ?2, 1, '[\"start\"]', null, '{}')",
            rusqlite::params![first.as_str(), now],
        )
        .expect("fits");
}

#[tokio::test]
async fn a_store_of_the_second_schema_keeps_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    made_by_the_second_version(&path);
    let store: Arc<dyn Store> = Arc::new(open(&path).expect("migrates"));
    let found = scene::head(&store, "t").await;
    let arrivals = |names: &[&str]| Arrivals {
        arrived: names.iter().map(|name| scene::node(name)).collect(),
        since_ms: NOW_MS,
        started: false,
    };
    let expected = CheckpointRecord {
        source: Source::Update,
        next: Vec::new(),
        joins: [(scene::node("all"), arrivals(&["a", "b"])), (scene::node("none"), arrivals(&[]))].into(),
        created_at_ms: NOW_MS,
        ..scene::new_checkpoint(1, Some(0), scene::replace([])).record
    };
    assert_eq!(found.checkpoint, expected, "root, the thread's graph, its own anchor, live, no details");
    assert_eq!(Value::Object(found.values.clone()), json!({ "a": 7, "log": [1] }));
    let task = scene::task("t", 1, "pull:pay");
    assert_eq!((&found.tasks, &found.questions), (&vec![task.clone()], &vec![scene::question(&task, "t", 0)]));
    assert!(found.children.is_empty());
    assert_eq!(scene::history(&store, "t").await.len(), 2);
    let other = scene::head(&store, "u").await.checkpoint;
    assert_eq!((other.graph, other.anchor), (Digest::of_bytes(b"another graph"), scene::checkpoint(0)));
    let incidents = ThreadFilter {
        graph_name: Some(GraphName::parse("incident").expect("valid")),
        limit: 9,
        ..ThreadFilter::default()
    };
    let listed = store.threads(&incidents).await.expect("readable");
    assert_eq!(listed.iter().map(|thread| thread.id.as_str()).collect::<Vec<_>>(), ["u"]);

    // It lives on: pinned to another graph, answered, appended to, and thinned out.
    let newer = Digest::of_bytes(b"newer");
    let commit = Commit {
        graph: Some(newer.clone()),
        settlements: vec![scene::settle(&scene::question(&task, "t", 0), "ana")],
        ..scene::step("t", 1, 2, 1, scene::append("log", [json!(2)]))
    };
    apply(&store, commit).await;
    assert_eq!(scene::at(&store, "t", 1).await.checkpoint.graph, scene::graph(), "what was pinned stays so");
    assert_eq!(store.retain(&thread("t"), Epoch(1), &[scene::checkpoint(2)], Vec::new()).await, Ok(2));
    assert_eq!(scene::values_at(&store, "t", 2).await, json!({ "a": 7, "log": [1, 2] }));
    drop(store);
    let connection = rusqlite::Connection::open(&path).expect("opens");
    for (check, sound) in [("integrity_check", "ok"), ("user_version", "5")] {
        let found: String = connection
            .query_row(&format!("select cast({check} as text) from pragma_{check}"), [], |row| row.get(0))
            .expect("readable");
        assert_eq!(found, sound, "{check}");
    }
    let orphans: i64 =
        connection.query_row("select count(*) from pragma_foreign_key_check", [], |row| row.get(0)).expect("readable");
    assert_eq!(orphans, 0);
}

/// What was there before callers, tenants and the record: it is everybody's, its entries name its graphs, and its questions are found and decided.
#[tokio::test]
async fn what_older_versions_left_is_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    made_by_the_second_version(&path);
    let store: Arc<dyn Store> = Arc::new(open(&path).expect("migrates"));
    let by_id = EntryFilter { order: EntryOrder::Id, ascending: true, limit: 9, ..EntryFilter::default() };
    let listed = store.entries(&by_id).await.expect("readable");
    let expected = |name: &str, graph: &str| {
        let metadata = [("graph_id".to_owned(), json!(graph))].into_iter().collect();
        ThreadEntry::new(thread(name), Tenant::default(), metadata, NOW_MS)
    };
    let entries: Vec<ThreadEntry> = listed.iter().map(|summary| summary.entry.clone()).collect();
    assert_eq!(entries, [expected("t", "refund"), expected("u", "incident")]);
    let record = listed[0].record.clone().expect("a head");
    assert_eq!((record.tenant, record.requester, record.epoch), (Tenant::default(), None, Epoch(1)));
    let question = scene::question(&scene::task("t", 1, "pull:pay"), "t", 0);
    let own = QuestionFilter { tenant: Some(Tenant::default()), ..QuestionFilter::pending(9) };
    let found = store.questions(&own).await.expect("readable");
    assert_eq!(found.iter().map(|found| &found.question).collect::<Vec<_>>(), [&question]);
    assert_eq!(store.audit_head().await, Ok(None));
    let audit = vec![scene::audit("question.decided", Some("t"))];
    let decision = QuestionChange { audit, ..scene::decide("t", &question, "user:ana") };
    assert_eq!(store.change_question(decision).await, Ok(Changed { claimed: None, woken: true }));
    assert_eq!(store.questions(&own).await, Ok(Vec::new()));
    assert_eq!(scene::head(&store, "t").await.thread.epoch, Epoch(2));
    assert_eq!(store.audit_head().await.expect("readable").map(|(place, _)| place), Some(1));
}

#[tokio::test]
async fn what_the_first_version_left_in_doubt_can_be_settled() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    made_by_the_first_version(&path);
    let store: Arc<dyn Store> = Arc::new(open(&path).expect("migrates"));
    let doubt = operations().swap_remove(3);
    let note = OperationNote { at_ms: NOW_MS, kind: NoteKind::NotHappened, by: "cli:ana".into(), text: "asked".into() };
    let next = OperationRecord {
        state: OperationState::NotSent,
        settles_at_ms: Some(NOW_MS),
        notes: vec![note],
        ..doubt.clone()
    };
    assert_eq!(store.exchange_operation(&doubt, next.clone(), NOW_MS + 1, Vec::new()).await, Ok(true));
    assert_eq!(store.operation(&doubt.key).await, Ok(Some(next)));
    let found = scene::head(&store, "t").await.thread;
    assert_eq!((found.status, found.epoch), (ThreadStatus::Running, Epoch(1)));
    let claim = Claim { owner: "second".to_owned(), lease_until_ms: NOW_MS + 60_000 };
    apply(&store, Commit { claim: Some(claim), ..update("t", 1) }).await;
}

/// Old and new programs that start at once: whoever is first migrates, the others find it done.
#[test]
fn many_may_migrate_one_file_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    made_by_the_first_version(&path);
    std::thread::scope(|scope| {
        let openings: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path).map(drop))).collect();
        for opening in openings {
            assert_eq!(opening.join().expect("no panic"), Ok(()));
        }
    });
}

/// A disk without room for the new indexes leaves the file as the first version knows it.
#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    made_by_the_first_version(&path);
    let pages: u32 = rusqlite::Connection::open(&path)
        .and_then(|connection| connection.query_row("pragma page_count", [], |row| row.get(0)))
        .expect("readable");
    let refused = SqliteStore::open(&path, SqliteOptions { pages_max: Some(pages), ..SqliteOptions::default() });
    assert!(matches!(refused.as_ref().err(), Some(Error::Full(_))), "{:?}", refused.err());
    let connection = rusqlite::Connection::open(&path).expect("opens");
    let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).expect("readable");
    assert_eq!(version, 1);
    drop(connection);
    let store = open(&path).expect("with room made it migrates");
    assert_eq!(store.operations(&thread("t")).await, Ok(operations()));
}
