//! All SQL that the store executes once it is open. Postgres will come as a sibling with the same statements where both dialects agree.

// Transactions.

/// Takes the write lock at once, so that a transaction never has to be given up half way.
pub(super) const BEGIN_WRITE: &str = "begin immediate";
pub(super) const BEGIN_READ: &str = "begin deferred";
pub(super) const COMMIT: &str = "commit";
pub(super) const ROLLBACK: &str = "rollback";
pub(super) const SAVEPOINT: &str = "savepoint one_commit";
pub(super) const RELEASE: &str = "release one_commit";
pub(super) const ROLLBACK_TO: &str = "rollback to one_commit";

// Threads.

pub(super) const THREAD_INSERT: &str = "
    insert into thread (thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head,
                        version_last, error, format, created_at_ms, updated_at_ms)
    values (?1, ?2, ?3, ?4, ?5, ?13, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)
    on conflict (thread_id) do nothing";

/// The fence: exactly one row, or the commit has no right to write. Reserves the versions of the commit's channel values.
pub(super) const THREAD_UPDATE: &str = "
    update thread
    set epoch = epoch + iif(?3 is null, 0, 1),
        owner = iif(?5, null, coalesce(?3, owner)),
        lease_until_ms = case
            when ?5 then 0
            when ?3 is not null then coalesce(?6, ?4)
            when owner is not null then coalesce(?6, lease_until_ms)
            else lease_until_ms
        end,
        head = coalesce(?7, head),
        status = ?8,
        error = ?9,
        format = ?10,
        version_last = version_last + ?11,
        updated_at_ms = ?12
    where thread_id = ?1 and epoch = ?2
    returning thread_key, version_last";

pub(super) const THREAD_DELETE: &str = "
    delete from thread
    where thread_id = ?1 and epoch = ?2";

pub(super) const THREAD_EPOCH: &str = "
    select epoch from thread
    where thread_id = ?1";

pub(super) const THREAD_SELECT: &str = "
    select thread_key, thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms
    from thread
    where thread_id = ?1";

pub(super) const THREADS: &str = "
    select thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms
    from thread
    order by updated_at_ms desc, thread_id
    limit ?1 offset ?2";

pub(super) const THREADS_BY_STATUS: &str = "
    select thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms
    from thread
    where status = ?3
    order by updated_at_ms desc, thread_id
    limit ?1 offset ?2";

// Checkpoints.

pub(super) const CHECKPOINT_INSERT: &str = "
    insert into checkpoint (thread_key, checkpoint_id, parent_id, step, source, clock_ms, created_at_ms, format,
                            next, joins, versions)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    on conflict (thread_key, checkpoint_id) do nothing";

pub(super) const CHECKPOINT_KEY: &str = "
    select checkpoint_key from checkpoint
    where thread_key = ?1 and checkpoint_id = ?2";

pub(super) const CHECKPOINT_VERSIONS: &str = "
    select checkpoint_key, versions from checkpoint
    where thread_key = ?1 and checkpoint_id = ?2";

pub(super) const CHECKPOINT_SELECT: &str = "
    select checkpoint_key, checkpoint_id, parent_id, step, source, clock_ms, created_at_ms, format, next, joins, versions
    from checkpoint
    where thread_key = ?1 and checkpoint_id = ?2";

/// Those stored before the one with key `?2`.
pub(super) const CHECKPOINTS: &str = "
    select checkpoint_key, checkpoint_id, parent_id, step, source, clock_ms, created_at_ms, format, next, joins, versions
    from checkpoint
    where thread_key = ?1 and checkpoint_key < ?2
    order by checkpoint_key desc
    limit ?3";

// Channel values.

pub(super) const VALUE_INSERT: &str = "
    insert into channel_value (thread_key, version, channel, kind, base_version, bytes_whole, bytes_appended, value)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

pub(super) const VALUE_SIZES: &str = "
    select kind, bytes_whole, bytes_appended from channel_value
    where thread_key = ?1 and version = ?2";

/// The values of the versions in the JSON array `?2` and all that they stand on, each once: `union` drops a prefix that several of them share.
pub(super) const VALUE_CHAINS: &str = "
    with recursive link (version, base_version) as (
        select version, base_version from channel_value
        where thread_key = ?1 and version in (select value from json_each(?2))
        union
        select base.version, base.base_version
        from link join channel_value base on base.thread_key = ?1 and base.version = link.base_version
    )
    select found.version, found.kind, found.base_version, found.value
    from link join channel_value found on found.thread_key = ?1 and found.version = link.version";

// Tasks.

pub(super) const TASK_UPSERT: &str = "
    insert into task (checkpoint_key, task_id, node, path, status, executions, updated_at_ms, format, error, result)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    on conflict (checkpoint_key, task_id) do update
    set node = excluded.node,
        path = excluded.path,
        status = excluded.status,
        executions = excluded.executions,
        updated_at_ms = excluded.updated_at_ms,
        format = excluded.format,
        error = excluded.error,
        result = excluded.result";

pub(super) const TASKS: &str = "
    select task_id, node, path, status, executions, updated_at_ms, format, error, result
    from task
    where checkpoint_key = ?1
    order by path, task_id";

// Questions.

pub(super) const QUESTION_INSERT: &str = "
    insert into question (thread_key, question_id, checkpoint_key, task_id, node, occurrence, payload_digest, asked_at_ms,
                          deadline_at_ms, status, format, answer, answer_schema, policy, payload)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
    on conflict (thread_key, question_id) do nothing";

/// Compare and set: of two settlements one finds the question pending.
pub(super) const QUESTION_SETTLE: &str = "
    update question
    set status = ?3, answer = ?4, format = ?5
    where thread_key = ?1 and question_id = ?2 and status = 'pending'";

pub(super) const QUESTION_SELECT: &str = "
    select question.question_id, checkpoint.checkpoint_id, question.task_id, question.node, question.occurrence,
           question.payload_digest, question.asked_at_ms, question.deadline_at_ms, question.status, question.format,
           question.answer, question.answer_schema, question.policy, question.payload
    from question join checkpoint using (checkpoint_key)
    where question.thread_key = ?1 and question.question_id = ?2";

pub(super) const QUESTIONS: &str = "
    select question.question_id, checkpoint.checkpoint_id, question.task_id, question.node, question.occurrence,
           question.payload_digest, question.asked_at_ms, question.deadline_at_ms, question.status, question.format,
           question.answer, question.answer_schema, question.policy, question.payload
    from question join checkpoint using (checkpoint_key)
    where question.checkpoint_key = ?1
    order by question.question_key";

// Operations.

pub(super) const OPERATION_UPSERT: &str = "
    insert into operation (scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch,
                           begun_at_ms, send_by_ms, settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome,
                           notes, request)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
    on conflict (scope, connector, operation_id) do update
    set thread_id = excluded.thread_id,
        task_id = excluded.task_id,
        node = excluded.node,
        request_digest = excluded.request_digest,
        state = excluded.state,
        epoch = excluded.epoch,
        begun_at_ms = excluded.begun_at_ms,
        send_by_ms = excluded.send_by_ms,
        settles_at_ms = excluded.settles_at_ms,
        due_at_ms = excluded.due_at_ms,
        attempts = excluded.attempts,
        finished_at_ms = excluded.finished_at_ms,
        format = excluded.format,
        outcome = excluded.outcome,
        notes = excluded.notes,
        request = excluded.request
    where excluded.state <> 'queued' or operation.state = 'not-sent'";

/// Compare and set: of those who saw the same record one finds it unchanged.
pub(super) const OPERATION_EXCHANGE: &str = "
    update operation
    set thread_id = ?4,
        task_id = ?5,
        node = ?6,
        request_digest = ?7,
        state = ?8,
        epoch = ?9,
        begun_at_ms = ?10,
        send_by_ms = ?11,
        settles_at_ms = ?12,
        due_at_ms = ?13,
        attempts = ?14,
        finished_at_ms = ?15,
        format = ?16,
        outcome = ?17,
        notes = ?18,
        request = ?19
    where scope = ?1 and connector = ?2 and operation_id = ?3
      and state = ?20
      and epoch = ?21
      and begun_at_ms = ?22
      and send_by_ms is ?23
      and settles_at_ms is ?24
      and due_at_ms is ?25
      and attempts is ?26
      and finished_at_ms is ?27";

/// Interrupted threads with a task in doubt about the operation at their head run again, by whoever takes them. `cross join` keeps the tasks
/// first: there are few in doubt.
pub(super) const THREADS_WAKE: &str = "
    update thread
    set status = 'running',
        owner = null,
        lease_until_ms = 0,
        updated_at_ms = ?4
    where thread_key in (
        select waiting.thread_key
        from task
             cross join checkpoint using (checkpoint_key)
             cross join thread waiting
        where task.status = 'in-doubt'
          and task.error ->> '$.details.operation_id' = ?3
          and task.error ->> '$.details.connector' = ?2
          and task.error ->> '$.details.scope' = ?1
          and waiting.thread_key = checkpoint.thread_key
          and waiting.head = checkpoint.checkpoint_id
          and waiting.status = 'interrupted'
    )";

pub(super) const OPERATION_SELECT: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where scope = ?1 and connector = ?2 and operation_id = ?3";

pub(super) const OPERATIONS: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where thread_id = ?1
    order by begun_at_ms, operation_key
    limit ?2";

/// Of thread `?1`, by the tasks of the checkpoint with key `?2`. `cross join` keeps the tasks first: there are few of them, and of unsettled
/// operations fewer, but SQLite would rather go through all that the thread ever did.
pub(super) const OPERATIONS_UNSETTLED: &str = "
    select operation.scope, operation.connector, operation.operation_id, operation.thread_id, operation.task_id,
           operation.node, operation.request_digest, operation.state, operation.epoch, operation.begun_at_ms,
           operation.send_by_ms, operation.settles_at_ms, operation.due_at_ms, operation.attempts,
           operation.finished_at_ms, operation.format, operation.outcome, operation.notes, operation.request
    from task cross join operation
    where task.checkpoint_key = ?2
      and operation.thread_id = ?1
      and operation.task_id = task.task_id
      and operation.state in ('intended', 'in-doubt')
    order by operation.begun_at_ms, operation.operation_key";

/// Those with id `?1`, of thread `?2` if given, without an outcome if `?3`.
pub(super) const OPERATIONS_BY_ID: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where operation_id = ?1
      and (?2 is null or thread_id = ?2)
      and (not ?3 or state in ('intended', 'in-doubt', 'queued'))
    order by begun_at_ms, operation_key
    limit ?4";

/// Those without an outcome, of thread `?1` if given.
pub(super) const OPERATIONS_OPEN: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where state in ('intended', 'in-doubt', 'queued')
      and (?1 is null or thread_id = ?1)
    order by begun_at_ms, operation_key
    limit ?2";

/// All of them. They are found in an index, since the table holds the requests.
pub(super) const OPERATIONS_ALL: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where operation_key in (select operation_key from operation order by begun_at_ms, operation_key limit ?1)
    order by begun_at_ms, operation_key";

pub(super) const OPERATIONS_DUE: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where state = 'queued' and due_at_ms <= ?1
    order by due_at_ms, operation_key
    limit ?2";

pub(super) const HIT_INSERT: &str = "
    insert into operation_hit (scope, connector, operation_id, thread_id, task_id, at_ms)
    values (?1, ?2, ?3, ?4, ?5, ?6)";

pub(super) const HITS: &str = "
    select scope, connector, operation_id, thread_id, task_id, at_ms
    from operation_hit
    where scope = ?1 and connector = ?2 and operation_id = ?3
    order by at_ms, hit_key";

// Contents.

pub(super) const CONTENT_INSERT: &str = "
    insert into content (digest, bytes)
    values (?1, ?2)
    on conflict (digest) do nothing";

pub(super) const CONTENT_SELECT: &str = "
    select bytes from content
    where digest = ?1";

pub(super) const CONTENT_EXISTS: &str = "
    select 1 from content
    where digest = ?1";

#[cfg(test)]
mod tests {
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
                "LIST SUBQUERY 1",
                "SEARCH task USING INDEX task_in_doubt (<expr>=?)",
                "SEARCH checkpoint USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH waiting USING INTEGER PRIMARY KEY (rowid=?)",
            ],
        );
    }

    #[test]
    fn every_lookup_uses_its_index() {
        check(THREAD_UPDATE, &["SEARCH thread USING INDEX sqlite_autoindex_thread_1 (thread_id=?)"]);
        check(
            CHECKPOINT_VERSIONS,
            &["SEARCH checkpoint USING INDEX checkpoint_by_id (thread_key=? AND checkpoint_id=?)"],
        );
        check(CHECKPOINTS, &["SEARCH checkpoint USING INDEX checkpoint_by_age (thread_key=? AND checkpoint_key<?)"]);
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
        assert!(
            plan(OPERATIONS_UNSETTLED).contains("USING INDEX operation_unsettled"),
            "{}",
            plan(OPERATIONS_UNSETTLED)
        );
        assert!(plan(QUESTIONS).contains("question_by_task"), "{}", plan(QUESTIONS));
        assert!(!plan(VALUE_CHAINS).contains("SCAN channel_value"), "{}", plan(VALUE_CHAINS));
        assert!(!plan(VALUE_CHAINS).contains("SCAN base"), "{}", plan(VALUE_CHAINS));
    }
}
