//! Checkpoints, the values of their channels, and their tasks and questions.

// Checkpoints.

pub(in crate::sqlite) const CHECKPOINT_INSERT: &str = "
    insert into checkpoint (thread_key, checkpoint_id, parent_id, step, source, clock_ms, created_at_ms, format,
                            next, joins, versions, namespace, graph, anchor, effects, details)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
    on conflict (thread_key, checkpoint_id) do nothing";

/// The thread's head, as the commit leaves it, gets the graph to which the thread is pinned now.
pub(in crate::sqlite) const HEAD_PIN: &str = "
    update checkpoint
    set graph = ?2
    where thread_key = ?1
      and checkpoint_id = (select head from thread where thread_key = ?1)";

pub(in crate::sqlite) const CHECKPOINT_KEY: &str = "
    select checkpoint_key, namespace from checkpoint
    where thread_key = ?1 and checkpoint_id = ?2";

/// Of those whose ids are in the JSON array `?2`.
pub(in crate::sqlite) const CHECKPOINT_KEYS: &str = "
    select checkpoint_key, checkpoint_id, namespace from checkpoint
    where thread_key = ?1 and checkpoint_id in (select value from json_each(?2))";

pub(in crate::sqlite) const CHECKPOINT_VERSIONS: &str = "
    select checkpoint_key, namespace, versions from checkpoint
    where thread_key = ?1 and checkpoint_id = ?2";

pub(in crate::sqlite) const CHECKPOINT_SELECT: &str = "
    select checkpoint_key, checkpoint_id, parent_id, namespace, graph, step, source, anchor, effects, clock_ms, created_at_ms,
           format, next, joins, details, versions
    from checkpoint
    where thread_key = ?1 and checkpoint_id = ?2";

/// Those of namespace `?2` stored before the one with key `?3`, of source `?4` and step `?5` if given, at most `?6` of them.
pub(in crate::sqlite) const CHECKPOINTS: &str = "
    select checkpoint_key, checkpoint_id, parent_id, namespace, graph, step, source, anchor, effects, clock_ms, created_at_ms,
           format, next, joins, details, versions
    from checkpoint
    where thread_key = ?1 and namespace = ?2 and checkpoint_key < ?3
      and (?4 is null or source = ?4)
      and (?5 is null or step = ?5)
    order by checkpoint_key desc
    limit ?6";

/// All of a thread, in order of storing.
pub(in crate::sqlite) const OUTLINE: &str = "
    select checkpoint_key, checkpoint_id, parent_id, namespace, graph, step, source, anchor, effects, clock_ms, created_at_ms,
           format, next, joins, details, versions
    from checkpoint
    where thread_key = ?1
    order by checkpoint_key";

/// Where the subgraphs of a thread's tasks stand. `cross join` keeps the thread's checkpoints first.
pub(in crate::sqlite) const OUTLINE_CHILDREN: &str = "
    select task.checkpoint_key, task.child
    from checkpoint cross join task
    where checkpoint.thread_key = ?1
      and task.checkpoint_key = checkpoint.checkpoint_key
      and task.child is not null
    order by task.checkpoint_key, task.child";

// Channel values.

pub(in crate::sqlite) const VALUE_INSERT: &str = "
    insert into channel_value (thread_key, version, channel, kind, base_version, bytes_whole, bytes_appended, value)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

pub(in crate::sqlite) const VALUE_SIZES: &str = "
    select kind, bytes_whole, bytes_appended from channel_value
    where thread_key = ?1 and version = ?2";

/// The values of the versions in the JSON array `?2` and all that they stand on, each once: `union` drops a prefix that several of them share.
/// `cross join` keeps the few links first: SQLite would rather go through all values that the thread ever had.
pub(in crate::sqlite) const VALUE_CHAINS: &str = "
    with recursive link (version, base_version) as (
        select version, base_version from channel_value
        where thread_key = ?1 and version in (select value from json_each(?2))
        union
        select base.version, base.base_version
        from link cross join channel_value base on base.thread_key = ?1 and base.version = link.base_version
    )
    select found.version, found.kind, found.base_version, found.value
    from link cross join channel_value found on found.thread_key = ?1 and found.version = link.version";

// Tasks.

pub(in crate::sqlite) const TASK_UPSERT: &str = "
    insert into task (checkpoint_key, task_id, node, path, status, executions, updated_at_ms, format, error, result,
                      child, steps_left)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
    on conflict (checkpoint_key, task_id) do update
    set node = excluded.node,
        path = excluded.path,
        status = excluded.status,
        executions = excluded.executions,
        updated_at_ms = excluded.updated_at_ms,
        format = excluded.format,
        error = excluded.error,
        result = excluded.result,
        child = excluded.child,
        steps_left = excluded.steps_left";

pub(in crate::sqlite) const TASKS: &str = "
    select task_id, node, path, status, executions, updated_at_ms, format, error, result, child, steps_left
    from task
    where checkpoint_key = ?1
    order by path, task_id";

// Questions.

pub(in crate::sqlite) const QUESTION_INSERT: &str = "
    insert into question (thread_key, question_id, checkpoint_key, task_id, node, occurrence, payload_digest, asked_at_ms,
                          deadline_at_ms, status, format, answer, answer_schema, policy, payload, due_at_ms,
                          proceedings_version, proceedings, tenant)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
            (select thread.tenant from thread where thread.thread_key = ?1))
    on conflict (thread_key, question_id) do nothing";

/// Compare and set: of two settlements one finds the question pending. An answer gives the version `?6` of its proceedings, and what must hold of
/// the deadline at `?9`: that it is `open` or `passed`. Who calls it off, `?10`, is put into the proceedings as they are.
pub(in crate::sqlite) const QUESTION_SETTLE: &str = "
    update question
    set status = ?3,
        answer = ?4,
        format = ?5,
        due_at_ms = null,
        proceedings_version = coalesce(?6, proceedings_version),
        proceedings = case
            when ?6 is not null then ?7
            when ?10 is not null then json_set(coalesce(proceedings, '{}'), '$.withdrawn', json(?10))
            else proceedings
        end
    where thread_key = ?1 and question_id = ?2 and status = 'pending'
      and (?6 is null or proceedings_version = ?6 - 1)
      and (?8 is null or iif(deadline_order <= ?9, 'passed', 'open') = ?8)";

pub(in crate::sqlite) const QUESTION_SELECT: &str = "
    select question.question_id, checkpoint.checkpoint_id, question.task_id, question.node, question.occurrence,
           question.payload_digest, question.asked_at_ms, question.deadline_at_ms, question.status, question.format,
           question.answer, question.answer_schema, question.policy, question.payload, question.due_at_ms,
           question.proceedings_version, question.proceedings
    from question join checkpoint using (checkpoint_key)
    where question.thread_key = ?1 and question.question_id = ?2";

pub(in crate::sqlite) const QUESTIONS: &str = "
    select question.question_id, checkpoint.checkpoint_id, question.task_id, question.node, question.occurrence,
           question.payload_digest, question.asked_at_ms, question.deadline_at_ms, question.status, question.format,
           question.answer, question.answer_schema, question.policy, question.payload, question.due_at_ms,
           question.proceedings_version, question.proceedings
    from question join checkpoint using (checkpoint_key)
    where question.checkpoint_key = ?1
    order by question.question_key";
