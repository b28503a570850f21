//! The journal.

pub(in crate::sqlite) const OPERATION_UPSERT: &str = "
    insert into operation (scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch,
                           begun_at_ms, send_by_ms, settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome,
                           notes, request, tenant)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
            coalesce((select thread.tenant from thread where thread.thread_id = ?4), 'default'))
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
        request = excluded.request,
        tenant = excluded.tenant
    where excluded.state <> 'queued' or operation.state = 'not-sent'";

/// One that is there already stays as it is.
pub(in crate::sqlite) const OPERATION_INSERT: &str = "
    insert into operation (scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch,
                           begun_at_ms, send_by_ms, settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome,
                           notes, request, tenant)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
            coalesce((select thread.tenant from thread where thread.thread_id = ?4), 'default'))
    on conflict (scope, connector, operation_id) do nothing";

pub(in crate::sqlite) const OPERATION_STATE: &str = "
    select state from operation
    where scope = ?1 and connector = ?2 and operation_id = ?3";

/// Compare and set: of those who saw the same record one finds it unchanged.
pub(in crate::sqlite) const OPERATION_EXCHANGE: &str = "
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

/// Interrupted threads with a task in doubt about the operation at their head, or in a subgraph that an unfinished task of the head's runs, run
/// again, by whoever takes them; those that run will run on when they park. `cross join` keeps the tasks first: there are few in doubt.
pub(in crate::sqlite) const THREADS_WAKE: &str = "
    with recursive stuck (thread_key, checkpoint_id) as (
        select checkpoint.thread_key, checkpoint.checkpoint_id
        from task cross join checkpoint using (checkpoint_key)
        where task.status = 'in-doubt'
          and task.error ->> '$.details.operation_id' = ?3
          and task.error ->> '$.details.connector' = ?2
          and task.error ->> '$.details.scope' = ?1
        union
        select checkpoint.thread_key, checkpoint.checkpoint_id
        from stuck
             cross join task on task.child = stuck.checkpoint_id
             cross join checkpoint using (checkpoint_key)
        where task.status <> 'done' and checkpoint.thread_key = stuck.thread_key
    )
    update thread
    set status = 'running',
        owner = iif(status = 'interrupted', null, owner),
        lease_until_ms = iif(status = 'interrupted', 0, lease_until_ms),
        updated_at_ms = iif(status = 'interrupted', ?4, updated_at_ms),
        woken = iif(status = 'running', 1, woken)
    where thread_key in (
        select waiting.thread_key
        from stuck cross join thread waiting
        where waiting.thread_key = stuck.thread_key
          and waiting.head = stuck.checkpoint_id
          and waiting.status in ('interrupted', 'running')
    )";

pub(in crate::sqlite) const OPERATION_SELECT: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where scope = ?1 and connector = ?2 and operation_id = ?3";

pub(in crate::sqlite) const OPERATIONS: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where thread_id = ?1
      and (?3 is null or tenant = ?3)
    order by begun_at_ms, operation_key
    limit ?2";

/// Of thread `?1`, by the tasks of the checkpoint with key `?2`. `cross join` keeps the tasks first: there are few of them, and of unsettled
/// operations fewer, but SQLite would rather go through all that the thread ever did.
pub(in crate::sqlite) const OPERATIONS_UNSETTLED: &str = "
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

/// Those with id `?1`, of thread `?2` and tenant `?5` if given, without an outcome if `?3`.
pub(in crate::sqlite) const OPERATIONS_BY_ID: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where operation_id = ?1
      and (?2 is null or thread_id = ?2)
      and (not ?3 or state in ('intended', 'in-doubt', 'queued'))
      and (?5 is null or tenant = ?5)
    order by begun_at_ms, operation_key
    limit ?4";

/// Those without an outcome, of thread `?1` if given.
pub(in crate::sqlite) const OPERATIONS_OPEN: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where state in ('intended', 'in-doubt', 'queued')
      and (?1 is null or thread_id = ?1)
    order by begun_at_ms, operation_key
    limit ?2";

/// Those of tenant `?1` without an outcome, of thread `?2` if given. The index has to be named: SQLite takes the one of all
/// operations for as good.
pub(in crate::sqlite) const OPERATIONS_OPEN_OF_TENANT: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation indexed by operation_open_by_tenant
    where tenant = ?1
      and state in ('intended', 'in-doubt', 'queued')
      and (?2 is null or thread_id = ?2)
    order by begun_at_ms, operation_key
    limit ?3";

/// Those of tenant `?1`.
pub(in crate::sqlite) const OPERATIONS_OF_TENANT: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where tenant = ?1
    order by begun_at_ms, operation_key
    limit ?2";

/// How many have no outcome, and how many of them are in doubt; of tenant `?1`.
pub(in crate::sqlite) const OPERATIONS_COUNT: &str = "
    select count(*) as open, count(*) filter (where state = 'in-doubt') as in_doubt
    from operation
    where tenant = ?1 and state in ('intended', 'in-doubt', 'queued')";

/// The same of all tenants.
pub(in crate::sqlite) const OPERATIONS_COUNT_EVERYWHERE: &str = "
    select count(*) as open, count(*) filter (where state = 'in-doubt') as in_doubt
    from operation indexed by operation_open_by_tenant
    where state in ('intended', 'in-doubt', 'queued')";

/// All of them. They are found in an index, since the table holds the requests.
pub(in crate::sqlite) const OPERATIONS_ALL: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where operation_key in (select operation_key from operation order by begun_at_ms, operation_key limit ?1)
    order by begun_at_ms, operation_key";

pub(in crate::sqlite) const OPERATIONS_DUE: &str = "
    select scope, connector, operation_id, thread_id, task_id, node, request_digest, state, epoch, begun_at_ms, send_by_ms,
           settles_at_ms, due_at_ms, attempts, finished_at_ms, format, outcome, notes, request
    from operation
    where state = 'queued' and due_at_ms <= ?1
    order by due_at_ms, operation_key
    limit ?2";

pub(in crate::sqlite) const HIT_INSERT: &str = "
    insert into operation_hit (scope, connector, operation_id, at_ms, hit_number, thread_id, task_id)
    select ?1, ?2, ?3, ?6, coalesce(max(hit_number), 0) + 1, ?4, ?5
    from operation_hit
    where scope = ?1 and connector = ?2 and operation_id = ?3 and at_ms = ?6";

pub(in crate::sqlite) const HITS: &str = "
    select scope, connector, operation_id, thread_id, task_id, at_ms
    from operation_hit
    where scope = ?1 and connector = ?2 and operation_id = ?3
    order by at_ms, hit_number";
