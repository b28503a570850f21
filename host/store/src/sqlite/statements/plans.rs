//! How SQLite looks things up: by index, never by going through what is stored.

use super::*;
use crate::approvals::QuestionFilter;
use crate::records::QuestionStatus;

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
    let own = |index: &str| format!("SEARCH operation USING INDEX {index} (tenant=?)");
    check(OPERATIONS_OPEN_OF_TENANT, &[&own("operation_open_by_tenant")]);
    check(OPERATIONS_OF_TENANT, &[&own("operation_by_tenant")]);
    check(OPERATIONS_COUNT, &["SEARCH operation USING COVERING INDEX operation_open_by_tenant (tenant=?)"]);
    check(OPERATIONS_COUNT_EVERYWHERE, &["SCAN operation USING COVERING INDEX operation_open_by_tenant"]);
    check(
        OPERATIONS_ALL,
        &[
            "SEARCH operation USING INTEGER PRIMARY KEY (rowid=?)",
            "LIST SUBQUERY 1",
            "SCAN operation USING COVERING INDEX operation_by_tenant",
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
    check(HITS, &["SEARCH operation_hit USING PRIMARY KEY (scope=? AND connector=? AND operation_id=?)"]);
    assert!(plan(OPERATIONS_UNSETTLED).contains("USING INDEX operation_unsettled"), "{}", plan(OPERATIONS_UNSETTLED));
    assert!(plan(QUESTIONS).contains("question_by_task"), "{}", plan(QUESTIONS));
}

#[test]
fn values_are_looked_up_one_by_one() {
    check(
        VALUE_CHAINS,
        &[
            "CO-ROUTINE link",
            "SETUP",
            "SEARCH channel_value USING INDEX channel_value_by_version (thread_key=? AND version=?)",
            "LIST SUBQUERY 1",
            "SCAN json_each VIRTUAL TABLE INDEX 1:",
            "RECURSIVE STEP",
            "SCAN link",
            "SEARCH base USING INDEX channel_value_by_version (thread_key=? AND version=?)",
            "SCAN link",
            "SEARCH found USING INDEX channel_value_by_version (thread_key=? AND version=?)",
        ],
    );
}

/// The plan of a statement that is made for a filter.
fn plan_of((sql, _): (String, Vec<rusqlite::types::Value>)) -> Vec<String> {
    plan(&sql).lines().map(str::to_owned).collect()
}

/// Questions are found in their order, and what is passed over is not looked at: neither by sorting nor by going through the table.
#[test]
fn listing_questions_reads_one_stretch_of_an_index() {
    const THREAD: &str = "SEARCH thread USING INTEGER PRIMARY KEY (rowid=?)";
    const CHECKPOINT: &str = "SEARCH checkpoint USING INTEGER PRIMARY KEY (rowid=?)";
    let acme = || Some(crate::conformance::scene::tenant("acme"));
    let pending = QuestionFilter::pending(50);
    let first = |filter: &QuestionFilter| plan_of(questions(filter, FIRST_PLACE));
    let of_tenant = QuestionFilter { tenant: acme(), ..pending.clone() };
    let everywhere = "SEARCH question USING INDEX question_pending_everywhere (status=? AND (deadline_order,asked_order)>(?,?) AND deadline_order<?)";
    let own = "SEARCH question USING INDEX question_pending (tenant=? AND status=? AND (deadline_order,asked_order)>(?,?) AND deadline_order<?)";
    assert_eq!(first(&pending), [everywhere, THREAD, CHECKPOINT]);
    assert_eq!(first(&of_tenant), [own, THREAD, CHECKPOINT]);
    let until = QuestionFilter { deadline_until_ms: Some(1), status: None, ..of_tenant.clone() };
    assert_eq!(first(&until), [own, THREAD, CHECKPOINT]);
    let answered = Some(QuestionStatus::Answered);
    let closed = QuestionFilter { status: answered, ..of_tenant.clone() };
    assert_eq!(
        first(&closed),
        [
            "SEARCH question USING INDEX question_by_status (tenant=? AND status=? AND asked_order>?)",
            THREAD,
            CHECKPOINT
        ]
    );
    let closed = QuestionFilter { status: answered, ..pending.clone() };
    assert_eq!(
        first(&closed),
        ["SEARCH question USING INDEX question_by_status_everywhere (status=? AND asked_order>?)", THREAD, CHECKPOINT]
    );
    for filter in [QuestionFilter { status: None, ..of_tenant }, QuestionFilter { status: None, ..pending }] {
        let plan = first(&filter);
        let stretches = plan.iter().filter(|step| step.contains("status=? AND asked_order>?)")).count();
        assert_eq!(stretches, QuestionStatus::NAMES.len(), "{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("SCAN question")), "{plan:?}");
        assert_eq!(
            plan.iter().filter(|step| step.contains("TEMP B-TREE")).count(),
            1,
            "only the page is sorted: {plan:?}"
        );
    }
    assert_eq!(
        plan(QUESTIONS_DUE).lines().collect::<Vec<_>>(),
        ["SEARCH question USING INDEX question_due (status=? AND due_at_ms>? AND due_at_ms<?)", THREAD, CHECKPOINT]
    );
    let found = plan(QUESTION_FIND);
    assert!(found.starts_with("SEARCH question USING INDEX question_by_question_id (question_id=?)"), "{found}");
    for counts in [QUESTIONS_COUNT, QUESTIONS_COUNT_EVERYWHERE] {
        let plan = plan(counts);
        let reads = plan.lines().filter(|step| step.contains(" question ")).collect::<Vec<_>>();
        assert!(reads.len() == 3 && reads.iter().all(|step| step.contains("INDEX")), "{plan}");
    }
}

#[test]
fn what_serving_looks_up_it_finds_by_index() {
    check(
        QUESTION_CHANGE,
        &[
            "SEARCH question USING INDEX question_by_id (thread_key=? AND question_id=?)",
            "SCALAR SUBQUERY 1",
            "SEARCH thread USING COVERING INDEX sqlite_autoindex_thread_1 (thread_id=?)",
        ],
    );
    check(THREAD_WAKE, &["SEARCH thread USING INDEX sqlite_autoindex_thread_1 (thread_id=?)"]);
    check(LINKS_REVOKE, &["SEARCH approval_link USING INDEX approval_link_unused (question_id=? AND thread_id=?)"]);
    check(REPLY_SELECT, &["SEARCH reply USING PRIMARY KEY (actor=? AND idempotency_key=?)"]);
    check(REPLIES_CLEAR, &["SEARCH reply USING INDEX reply_by_expiry (expires_at_ms<?)"]);
    check(LINKS_CLEAR, &["SEARCH approval_link USING INDEX approval_link_by_expiry (expires_at_ms<?)"]);
    check(AUDIT_HEAD, &["SCAN audit"]);
    check(AUDIT_THREAD_HEAD, &["SEARCH audit USING INDEX audit_by_thread (thread_id=?)"]);
    check(AUDIT, &["SEARCH audit USING INTEGER PRIMARY KEY (rowid>?)"]);
    check(AUDIT_OF_TENANT, &["SEARCH audit USING INDEX audit_by_tenant (tenant=? AND sequence>?)"]);
    check(AUDIT_OF_THREAD, &["SEARCH audit USING INDEX audit_by_thread (thread_id=? AND sequence>?)"]);
    check(KEY_REVOKE, &["SEARCH api_key USING INDEX api_key_by_name (tenant=? AND name=?)"]);
    check(RUNS_TO_CANCEL, &["SCAN run USING INDEX run_cancel"]);
    check(RUN_CANCEL, &["SEARCH run USING INDEX sqlite_autoindex_run_1 (run_id=?)"]);
    check(ENTRIES_DUE, &["SEARCH thread_entry USING INDEX thread_entry_due (expires_at_ms>? AND expires_at_ms<?)"]);
    check(SESSION_SELECT, &["SEARCH session USING PRIMARY KEY (digest=?)"]);
    check(CACHE_SELECT, &["SEARCH cache USING PRIMARY KEY (digest=?)"]);
    check(LINK_SELECT, &["SEARCH approval_link USING PRIMARY KEY (digest=?)"]);
    for step in plan(THREAD_BYTES).lines().filter(|step| step.contains("USING") || step.contains("SCAN")) {
        assert!(step.starts_with("SEARCH ") || step == "SCAN CONSTANT ROW" || step.starts_with("SCAN its"), "{step}");
    }
    check(
        RUN_IN_THE_WAY,
        &["SEARCH run USING INDEX run_open (thread_id=? AND status=?)", "USE TEMP B-TREE FOR ORDER BY"],
    );
    check(
        RUNS_NEXT,
        &[
            "SEARCH run USING INDEX run_live (status=?)",
            "CORRELATED SCALAR SUBQUERY 1",
            "SEARCH busy USING COVERING INDEX run_open (thread_id=? AND status=?)",
            "CORRELATED SCALAR SUBQUERY 2",
            "SCAN back USING INDEX run_cancel",
            "CORRELATED SCALAR SUBQUERY 3",
            "SEARCH earlier USING INDEX run_open (thread_id=? AND status=? AND run_key<?)",
        ],
    );
}

#[test]
fn listing_entries_and_runs_reads_their_indexes() {
    use crate::conformance::scene;
    use crate::runs::{EntryFilter, EntryOrder, RunFilter, RunStatus};
    let all = EntryFilter { tenant: Some(scene::tenant("acme")), limit: 9, ..EntryFilter::default() };
    let of = |filter: &EntryFilter| plan_of(entries(filter));
    let created = of(&EntryFilter { order: EntryOrder::Created, ..all.clone() });
    assert!(created[0].contains("thread_entry_by_creation (tenant=?)"), "{created:?}");
    let by_id = of(&EntryFilter { order: EntryOrder::Id, ..all.clone() });
    assert!(by_id[0].contains("thread_entry_by_id (tenant=?)"), "{by_id:?}");
    for plan in [&created, &by_id] {
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
        assert!(
            plan.iter().any(|step| step.contains("run USING COVERING INDEX run_open (thread_id=? AND status=?)")),
            "{plan:?}"
        );
    }
    let newest = of(&all);
    assert!(newest.iter().any(|step| step.contains("COVERING INDEX thread_entry_by_change (tenant=?)")), "{newest:?}");
    assert!(newest.iter().any(|step| step.contains("SCAN thread USING COVERING INDEX thread_by_change")), "{newest:?}");
    assert!(!newest.iter().any(|step| step.contains("SCAN entry")), "{newest:?}");
    let sorts = newest.iter().filter(|step| step.contains("USE TEMP B-TREE FOR ORDER BY")).count();
    assert_eq!(sorts, 1, "only the page is sorted: {newest:?}");
    let metadata = serde_json::Map::from_iter([("graph_id".to_owned(), "refund".into())]);
    let of_graph = of(&EntryFilter { metadata, ..all.clone() });
    assert!(of_graph[0].contains("thread_entry_by_graph (tenant=? AND <expr>=?)"), "{of_graph:?}");
    let threads = vec![scene::thread("t")];
    let named = of(&EntryFilter { threads, ..all });
    assert!(!named.iter().any(|step| step.contains("SCAN entry")), "{named:?}");
    let page = RunFilter { limit: 9, ..RunFilter::default() };
    let of = |filter: &RunFilter| plan_of(runs(filter)).join("; ");
    assert_eq!(of(&page), "SCAN run");
    let thread = RunFilter { thread: Some(scene::thread("t")), ..page.clone() };
    assert_eq!(of(&thread), "SEARCH run USING INDEX run_by_thread (thread_id=?)");
    let tenant = RunFilter { tenant: Some(scene::tenant("acme")), ..page };
    assert_eq!(of(&tenant), "SEARCH run USING INDEX run_by_tenant (tenant=?)");
    // Those that are not over cost nothing for those that are: a worker asks for them all the time.
    for status in [RunStatus::Pending, RunStatus::Running] {
        let open = |filter: &RunFilter| of(&RunFilter { status: Some(status), ..filter.clone() });
        for filter in [RunFilter { limit: 9, ..RunFilter::default() }, tenant.clone()] {
            assert_eq!(open(&filter), "SEARCH run USING INDEX run_live (status=?)");
        }
        assert_eq!(open(&thread), "SEARCH run USING INDEX run_open (thread_id=? AND status=?)");
    }
}

#[test]
fn counting_entries_reads_no_metadata_and_no_heads() {
    use crate::conformance::scene;
    use crate::runs::{EntryFilter, EntryStatus};
    let all = EntryFilter { tenant: Some(scene::tenant("acme")), limit: 9, ..EntryFilter::default() };
    let of = |filter: &EntryFilter| plan_of(entries_count(filter)).join("; ");
    let counted = of(&all);
    assert!(counted.starts_with("SEARCH entry USING COVERING INDEX thread_entry_by_"), "{counted}");
    assert!(!counted.contains("thread USING") && !counted.contains("; "), "{counted}");
    let by_status = of(&EntryFilter { status: Some(EntryStatus::Busy), ..all });
    assert!(by_status.contains("SEARCH entry USING COVERING INDEX"), "{by_status}");
}
