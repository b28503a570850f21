//! What removing a part of a thread takes.

pub(in crate::sqlite) const THREAD_GUARD: &str = "
    select thread_key, head from thread
    where thread_id = ?1 and epoch = ?2";

/// One of the checkpoints in the JSON array `?2` that is not stored.
pub(in crate::sqlite) const KEPT_UNKNOWN: &str = "
    select kept.value as checkpoint_id
    from json_each(?2) kept
    where not exists (
        select 1 from checkpoint where checkpoint.thread_key = ?1 and checkpoint.checkpoint_id = kept.value
    )
    order by kept.key
    limit 1";

/// One of the checkpoints at which unfinished tasks of the head's run subgraphs, at any depth, that is not in the JSON array `?3`.
pub(in crate::sqlite) const LIVE_NOT_KEPT: &str = "
    with recursive live (checkpoint_key, checkpoint_id) as (
        select checkpoint_key, checkpoint_id from checkpoint
        where thread_key = ?1 and checkpoint_id = ?2
        union
        select run.checkpoint_key, run.checkpoint_id
        from live
             cross join task on task.checkpoint_key = live.checkpoint_key
             cross join checkpoint run on run.thread_key = ?1 and run.checkpoint_id = task.child
        where task.child is not null and task.status <> 'done'
    )
    select checkpoint_id from live
    where checkpoint_id not in (select value from json_each(?3))
    order by checkpoint_id
    limit 1";

/// All but those in the JSON array `?2`. Their tasks and questions go with them by foreign keys.
pub(in crate::sqlite) const CHECKPOINTS_REMOVE: &str = "
    delete from checkpoint
    where thread_key = ?1 and checkpoint_id not in (select value from json_each(?2))";

/// The values that no checkpoint of the thread shows or stands on any more.
pub(in crate::sqlite) const VALUES_SWEEP: &str = "
    with recursive shown (version) as (
        select version.value
        from checkpoint, json_each(checkpoint.versions) version
        where checkpoint.thread_key = ?1
        union
        select link.base_version
        from shown join channel_value link on link.thread_key = ?1 and link.version = shown.version
        where link.base_version is not null
    )
    delete from channel_value
    where thread_key = ?1 and version not in (select version from shown)";
