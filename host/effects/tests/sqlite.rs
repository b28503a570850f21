//! The `sql` connector on a real SQLite file.

use std::sync::Arc;
use std::time::Duration;

use crate::support::connectors::{connector, look_up, send, send_within};
use crate::support::{World, operation};
use holdpoint_effects::connectors::{Connector, LookUp};
use serde_json::{Value, json};

const STATEMENTS: &str = r#"
[connectors.it.statements]
add = "insert into entry (order_id, amount) values (:order, :amount) returning id, order_id"
add_quietly = "insert into entry (order_id, amount) values (:order, :amount)"
values = "select :a as a, :b as b, :c as c, :d as d, :e as e, :f as f"
all = "select * from entry"
twice = "select 1 as a, 2 as a"
blob = "select x'00' as bytes"
child = "insert into child (entry) values (:entry)"
late_child = "insert into late_child (entry) values (:entry)"
missing = "insert into nowhere values (1)"
endless = "with recursive n(i) as (select 1 union all select i + 1 from n) insert into entry (order_id, amount) select 'x', max(i) from n"
"#;

struct Database(tempfile::TempDir);

impl Database {
    fn new() -> Self {
        let database = Self(tempfile::tempdir().unwrap());
        let schema = "create table entry (id integer primary key, order_id text not null unique, amount integer not null check (amount > 0));\
            create table child (entry integer references entry);\
            create table late_child (entry integer references entry deferrable initially deferred);";
        rusqlite::Connection::open(database.path()).unwrap().execute_batch(schema).unwrap();
        database
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("ledger.db")
    }

    /// A process of its own.
    fn connector(&self, more: &str) -> Arc<dyn Connector> {
        let text =
            format!("[connectors.it]\nkind = \"sql\"\nurl = \"sqlite:{}\"\n{more}{STATEMENTS}", self.path().display());
        connector(&text, &[], "it")
    }

    fn count(&self, table: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.query_row(&format!("select count(*) from {table}"), (), |row| row.get(0)).unwrap()
    }
}

fn add(order: &str, amount: i64) -> Value {
    json!({ "statement": "add", "parameters": { "order": order, "amount": amount } })
}

#[tokio::test]
async fn an_operation_is_one_effect_with_one_answer_for_ever() {
    let database = Database::new();
    let connector = database.connector("");
    assert_eq!(look_up(&connector, "a", &add("o-1", 5)).await, LookUp::NotThere, "and the table is not there");
    let answer = "done {\"affected\":1,\"rows\":[{\"id\":1,\"order_id\":\"o-1\"}]}";
    for _ in 0..3 {
        assert_eq!(send(&connector, "a", &add("o-1", 5)).await, answer);
        assert_eq!(send(&database.connector(""), "a", &add("o-1", 5)).await, answer, "another process");
    }
    assert_eq!((database.count("entry"), database.count("holdpoint_operation")), (1, 1));
    let LookUp::Happened(found) = look_up(&connector, "a", &add("o-1", 5)).await else { panic!("it happened") };
    assert_eq!(format!("done {found}"), answer);

    let conflict = send(&connector, "a", &add("o-2", 5)).await;
    assert_eq!(conflict, "rejected conflict: the database has this operation id with another request");
    assert!(matches!(look_up(&connector, "a", &add("o-2", 5)).await, LookUp::Unknown(_)));
    let quiet = json!({ "statement": "add_quietly", "parameters": { "order": "o-2", "amount": 5 } });
    assert_eq!(send(&connector, "b", &quiet).await, "done {\"affected\":1,\"rows\":[]}");
    assert_eq!(database.count("entry"), 2);
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let database = Database::new();
    let connector = database.connector("");
    let parameters = json!({ "a": null, "b": true, "c": 9_007_199_254_740_993_i64, "d": 0.5, "e": "'; drop table entry; --", "f": {"x": [1]} });
    let request = json!({ "statement": "values", "parameters": parameters });
    let expected = json!({ "affected": 1, "rows": [{
        "a": null, "b": 1, "c": 9_007_199_254_740_993_i64, "d": 0.5, "e": "'; drop table entry; --", "f": "{\"x\":[1]}",
    }] });
    assert_eq!(send(&connector, "a", &request).await, format!("done {expected}"));
    assert_eq!(database.count("entry"), 0, "the table is there");
}

#[tokio::test]
async fn requests_that_are_none_are_refused_before_anything_is_done() {
    let database = Database::new();
    let connector = database.connector("");
    for request in [
        json!("add"),
        json!({}),
        json!({ "statement": "nothing" }),
        json!({ "statement": "delete from entry" }),
        json!({ "statement": "add", "parameters": [] }),
        json!({ "statement": "add", "parameters": { "order": "o" } }),
        json!({ "statement": "add", "parameters": { "order": "o", "amount": 1, "id": 7 } }),
        json!({ "statement": "add", "parameters": { "order": "o", "amount": u64::MAX } }),
        json!({ "statement": "add", "parameters": { "order": "o\0", "amount": 1 } }),
        json!({ "statement": "all", "sql": "select 1" }),
    ] {
        let line = send(&connector, "a", &request).await;
        assert!(line.starts_with("Invalid("), "{request}: {line}");
    }
    assert_eq!(database.count("sqlite_schema where name = 'holdpoint_operation'"), 0);
}

#[tokio::test]
async fn what_the_database_refuses_is_rolled_back_and_a_failure_for_good() {
    let database = Database::new();
    let connector = database.connector("row_limit = 2\nresponse_limit = \"100B\"\n");
    assert!(send(&connector, "a", &add("o-1", 5)).await.starts_with("done"));
    let plain = |statement: &str| json!({ "statement": statement });
    let entry = |statement: &str| json!({ "statement": statement, "parameters": { "entry": 99 } });
    let long =
        json!({ "statement": "values", "parameters": { "a": "x".repeat(90), "b": 1, "c": 1, "d": 1, "e": 1, "f": 1 } });
    let table = [
        (add("o-1", 5), "rejected sql-constraint: UNIQUE constraint failed: entry.order_id"),
        (add("o-2", 0), "rejected sql-constraint: CHECK constraint failed: amount > 0"),
        (entry("child"), "rejected sql-constraint: FOREIGN KEY constraint failed"),
        (entry("late_child"), "rejected sql-constraint: FOREIGN KEY constraint failed"),
        (plain("missing"), "rejected sql-error: no such table: nowhere"),
        (plain("twice"), "rejected sql-result: two columns are named \"a\": give one of them another name"),
        (plain("blob"), "rejected sql-result: column \"bytes\" has bytes: select it as text, such as with hex()"),
        (long, "rejected sql-result: the result has more than 100 bytes (`response_limit`)"),
    ];
    for (index, (request, expected)) in table.iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(send(&connector, &format!("b{index}"), request).await, *expected, "{request}");
        }
    }
    for id in ["c", "d"] {
        assert!(send(&connector, id, &add(id, 5)).await.starts_with("done"));
    }
    let many = send(&connector, "e", &plain("all")).await;
    assert_eq!(many, "rejected sql-result: the result has more than 2 rows (`row_limit`)");
    assert_eq!((database.count("entry"), database.count("holdpoint_operation")), (3, 3), "none of them left anything");
}

#[tokio::test]
async fn a_node_gets_the_first_answer_whatever_became_of_the_journal() {
    let database = Database::new();
    let text = format!(
        "[connectors.ledger]\nkind = \"sql\"\nurl = \"sqlite:{}\"\nscope = \"global\"\n{}",
        database.path().display(),
        STATEMENTS.replace("connectors.it", "connectors.ledger")
    );
    let expected = "ok {\"affected\":1,\"rows\":[{\"id\":1,\"order_id\":\"o-1\"}]}";
    for _ in 0..2 {
        // Each world has a journal of its own: the one before is lost.
        let world = World::new(&text, &[]);
        assert_eq!(world.once("t", 1, operation(Some("a"), "ledger", add("o-1", 5))).await, expected);
        assert_eq!(world.journal.commits(), ["a completed"], "no intent is needed");
    }
    let world = World::new(&text, &[]);
    let other = operation(Some("a"), "ledger", add("o-2", 5));
    assert_eq!(world.once("t", 1, other).await, "failed conflict retryable=false sent=true");
    assert_eq!(database.count("entry"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_sends_of_one_operation_are_one_effect() {
    let database = Database::new();
    let connectors: Vec<_> = (0..4).map(|_| database.connector("")).collect();
    let mut running = tokio::task::JoinSet::new();
    for index in 0..16 {
        let connector = connectors[index % 4].clone();
        running.spawn(async move { send(&connector, "a", &add("o-1", 5)).await });
    }
    let answers = running.join_all().await;
    assert!(answers.iter().all(|answer| answer.starts_with("done") && *answer == answers[0]), "{answers:?}");
    assert_eq!((database.count("entry"), database.count("holdpoint_operation")), (1, 1));
}

#[tokio::test]
async fn a_database_that_is_busy_is_asked_later() {
    let database = Database::new();
    let connector = database.connector("");
    assert!(send(&connector, "a", &add("o-1", 5)).await.starts_with("done"));
    let other = rusqlite::Connection::open(database.path()).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let busy = send_within(&connector, "b", &add("o-2", 5), Duration::from_millis(100)).await;
    assert!(busy.starts_with("not sent: ForNow(\"database is locked"), "{busy}");
    other.execute_batch("rollback").unwrap();
    assert!(send(&connector, "b", &add("o-2", 5)).await.starts_with("done"));
    assert_eq!(database.count("entry"), 2);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_leaves_nothing() {
    let database = Database::new();
    let connector = database.connector("");
    let endless = json!({ "statement": "endless" });
    let late = send_within(&connector, "a", &endless, Duration::from_millis(100)).await;
    assert_eq!(late, "later timeout: the statement took too long and was rolled back");
    // Nobody waits for it any more.
    let dropped = send_within(&connector, "b", &endless, Duration::from_secs(60));
    assert!(tokio::time::timeout(Duration::from_millis(100), dropped).await.is_err());
    assert!(send(&connector, "c", &add("o-1", 5)).await.starts_with("done"), "the connection is free and clean");
    assert_eq!((database.count("entry"), database.count("holdpoint_operation")), (1, 1));
}

#[tokio::test]
async fn a_file_that_is_missing_or_replaced_is_noticed() {
    let database = Database::new();
    let connector = database.connector("");
    assert!(send(&connector, "a", &add("o-1", 5)).await.starts_with("done"));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", database.path().display()));
    }
    let missing = send(&connector, "a", &add("o-1", 5)).await;
    assert!(missing.starts_with("not sent: ForNow(\"the database cannot be opened"), "{missing}");
    assert!(!missing.contains("ledger.db"), "{missing}");
    assert!(!database.path().exists(), "it is not made");
    rusqlite::Connection::open(database.path())
        .unwrap()
        .execute_batch("create table entry (id integer primary key, order_id text, amount integer)")
        .unwrap();
    assert!(send(&connector, "a", &add("o-1", 5)).await.starts_with("done"), "a new file knows nothing");
    assert_eq!(database.count("entry"), 1);
}
