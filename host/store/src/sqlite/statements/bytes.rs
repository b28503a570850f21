//! What a thread takes.

/// The bytes of a thread's rows: what is long as it is, and for each row 100 more for ids, numbers and times. `octet_length` reads no overflow pages.
pub(in crate::sqlite) const THREAD_BYTES: &str = "
    select (select coalesce(sum(100 + octet_length(next) + coalesce(octet_length(joins), 0) + octet_length(versions)
                                + coalesce(octet_length(details), 0)), 0)
            from checkpoint
            where thread_key = its.thread_key) as checkpoints,
           (select coalesce(sum(100 + octet_length(value)), 0)
            from channel_value
            where thread_key = its.thread_key) as channel_values,
           (select coalesce(sum(100 + coalesce(octet_length(task.error), 0) + coalesce(octet_length(task.result), 0)), 0)
            from checkpoint cross join task using (checkpoint_key)
            where checkpoint.thread_key = its.thread_key) as tasks,
           (select coalesce(sum(100 + octet_length(request) + coalesce(octet_length(outcome), 0)
                                + coalesce(octet_length(notes), 0)), 0)
            from operation
            where thread_id = ?1) as operations,
           (select coalesce(sum(100 + octet_length(payload) + octet_length(policy) + coalesce(octet_length(answer), 0)
                                + coalesce(octet_length(answer_schema), 0) + coalesce(octet_length(proceedings), 0)), 0)
            from question
            where thread_key = its.thread_key) as questions
    from (select (select thread_key from thread where thread_id = ?1) as thread_key) its";
