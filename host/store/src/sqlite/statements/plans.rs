//! How SQLite looks things up: by index, never by going through what is stored.

use super::*;

/// The query plan of a statement on an empty store, one line per step.
fn plan(sql: &str) -> String {
    let connection = rusqlite::Connection::open_in_memory().expect("a database in memory opens");
    for migration in crate::sqlite::schema::MIGRATIONS {
        connection.execute_batch(migration).expect("the schema is valid");
    }
    let mut statement = connection.prepare(&format!("explain query plan {sql}")).expect("the statement is valid");
    // Unbound parameters are null, which changes no plan.
    let mut rows = statement.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next().expect("a plan can be read") {
        plan += &row.get::<_, String>("detail").expect("a step has a text");
        plan.push('\n');
    }
    plan
}

fn check(sql: &str, expected: &[&str]) {
    let plan = plan(sql);
    assert_eq!(plan.lines().collect::<Vec<_>>(), expected, "{sql}");
}

#[test]
fn listing_threads_reads_one_index_and_no_values() {
    check(THREADS, &["SCAN thread USING INDEX thread_by_change"]);
    check(THREADS_BY_STATUS, &["SEARCH thread USING INDEX thread_by_status (status=?)"]);
    check(THREADS_BY_GRAPH, &["SEARCH thread USING INDEX thread_by_graph (graph_name=?)"]);
    check(THREADS_BY_GRAPH_AND_STATUS, &["SEARCH thread USING INDEX thread_by_graph (graph_name=?)"]);
}

#[test]
fn listing_operations_reads_only_those_listed() {
    check(OPERATIONS_OPEN, &["SCAN operation USING INDEX operation_open"]);
    check(
        OPERATIONS_ALL,
        &[
            "SEARCH operation USING INTEGER PRIMARY KEY (rowid=?)",
            "LIST SUBQUERY 1",
            "SCAN operation USING COVERING INDEX operation_by_id",
            "USE TEMP B-TREE FOR ORDER BY",
            "USE TEMP B-TREE FOR ORDER BY",
        ],
    );
}

#[test]
fn waking_threads_looks_only_at_tasks_in_doubt_about_the_operation() {
    check(
        THREADS_WAKE,
        &[
            "SEARCH thread USING INTEGER PRIMARY KEY (rowid=?)",
            "LIST SUBQUERY 3",
            "MATERIALIZE stuck",
            "SETUP",
            "SEARCH task USING INDEX task_in_doubt (<expr>=?)",
            "SEARCH checkpoint USING INTEGER PRIMARY KEY (rowid=?)",
            "RECURSIVE STEP",
            "SCAN stuck",
            "SEARCH task USING INDEX task_by_child (child=?)",
            "SEARCH checkpoint USING INTEGER PRIMARY KEY (rowid=?)",
            "SCAN stuck",
            "SEARCH waiting USING INTEGER PRIMARY KEY (rowid=?)",
        ],
    );
}

#[test]
fn every_lookup_uses_its_index() {
    check(THREAD_UPDATE, &["SEARCH thread USING INDEX sqlite_autoindex_thread_1 (thread_id=?)"]);
    check(CHECKPOINT_VERSIONS, &["SEARCH checkpoint USING INDEX checkpoint_by_id (thread_key=? AND checkpoint_id=?)"]);
    check(
        CHECKPOINTS,
        &["SEARCH checkpoint USING INDEX checkpoint_by_namespace (thread_key=? AND namespace=? AND checkpoint_key<?)"],
    );
    for statement in [OUTLINE, OUTLINE_CHILDREN, CHECKPOINT_KEYS, KEPT_UNKNOWN, LIVE_NOT_KEPT, CHECKPOINTS_REMOVE] {
        let plan = plan(statement);
        assert!(!plan.contains("SCAN checkpoint") && !plan.contains("SCAN task"), "{plan}");
    }
    assert!(plan(OUTLINE_CHILDREN).contains("COVERING INDEX task_with_child"), "results are not read");
    for table in ["checkpoint", "link", "channel_value"] {
        let plan = plan(VALUES_SWEEP);
        assert!(!plan.contains(&format!("SCAN {table}")), "{plan}");
    }
    check(CACHE_CLEAR_EXPIRED, &["SEARCH cache USING INDEX cache_by_expiry (expires_at_ms<?)"]);
    assert!(plan(VERSIONS).contains("SEARCH version USING INDEX version_by_name (kind=?"), "{}", plan(VERSIONS));
    check(TASKS, &["SEARCH task USING INDEX task_by_id (checkpoint_key=?)", "USE TEMP B-TREE FOR ORDER BY"]);
    check(
        OPERATION_SELECT,
        &["SEARCH operation USING INDEX operation_by_key (scope=? AND connector=? AND operation_id=?)"],
    );
    check(OPERATIONS, &["SEARCH operation USING INDEX operation_by_thread (thread_id=?)"]);
    check(OPERATIONS_BY_ID, &["SEARCH operation USING INDEX operation_by_id (operation_id=?)"]);
    check(OPERATIONS_DUE, &["SEARCH operation USING INDEX operation_due (due_at_ms<?)"]);
    check(
        OPERATION_EXCHANGE,
        &["SEARCH operation USING INDEX operation_by_key (scope=? AND connector=? AND operation_id=?)"],
    );
    check(
        HITS,
        &["SEARCH operation_hit USING INDEX operation_hit_by_key (scope=? AND connector=? AND operation_id=?)"],
    );
    assert!(plan(OPERATIONS_UNSETTLED).contains("USING INDEX operation_unsettled"), "{}", plan(OPERATIONS_UNSETTLED));
    assert!(plan(QUESTIONS).contains("question_by_task"), "{}", plan(QUESTIONS));
    assert!(!plan(VALUE_CHAINS).contains("SCAN channel_value"), "{}", plan(VALUE_CHAINS));
    assert!(!plan(VALUE_CHAINS).contains("SCAN base"), "{}", plan(VALUE_CHAINS));
}
