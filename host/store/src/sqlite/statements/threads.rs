//! Threads.

pub(in crate::sqlite) const THREAD_INSERT: &str = "
    insert into thread (thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head,
                        version_last, error, format, created_at_ms, updated_at_ms, tenant, requester)
    values (?1, ?2, ?3, ?4, ?5, ?13, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, ?14, ?15)
    on conflict (thread_id) do nothing";

/// The fence: exactly one row, or the commit has no right to write. Reserves the versions of the commit's channel values. A thread that was woken
/// while it ran runs on, by whoever takes it, when this parks it; with new input (`?14` with a head) it does not wait for anything of before.
pub(in crate::sqlite) const THREAD_UPDATE: &str = "
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
        graph = coalesce(?13, graph),
        status = iif(woken = 1 and ?5 and ?8 = 'interrupted' and (?14 is null or ?7 is null), 'running', ?8),
        woken = case
            when ?14 is not null and ?7 is not null then 0
            when ?5 and ?8 = 'interrupted' then 0
            when ?8 in ('done', 'failed') then 0
            else woken
        end,
        requester = coalesce(?14, requester),
        error = ?9,
        format = ?10,
        version_last = version_last + ?11,
        updated_at_ms = ?12
    where thread_id = ?1 and epoch = ?2
    returning thread_key, version_last";

pub(in crate::sqlite) const THREAD_DELETE: &str = "
    delete from thread
    where thread_id = ?1 and epoch = ?2";

pub(in crate::sqlite) const THREAD_EPOCH: &str = "
    select epoch from thread
    where thread_id = ?1";

pub(in crate::sqlite) const THREAD_SELECT: &str = "
    select thread_key, thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms, tenant, requester
    from thread
    where thread_id = ?1";

pub(in crate::sqlite) const THREADS: &str = "
    select thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms, tenant, requester
    from thread
    order by updated_at_ms desc, thread_id
    limit ?1 offset ?2";

pub(in crate::sqlite) const THREADS_BY_STATUS: &str = "
    select thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms, tenant, requester
    from thread
    where status = ?3
    order by updated_at_ms desc, thread_id
    limit ?1 offset ?2";

pub(in crate::sqlite) const THREADS_BY_GRAPH: &str = "
    select thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms, tenant, requester
    from thread
    where graph_name = ?3
    order by updated_at_ms desc, thread_id
    limit ?1 offset ?2";

/// Found by the graph's name: there are more of those than statuses.
pub(in crate::sqlite) const THREADS_BY_GRAPH_AND_STATUS: &str = "
    select thread_id, lineage, graph, graph_name, status, epoch, owner, lease_until_ms, head, error, format,
           created_at_ms, updated_at_ms, tenant, requester
    from thread
    where graph_name = ?3 and +status = ?4
    order by updated_at_ms desc, thread_id
    limit ?1 offset ?2";

/// A thread that waits, once the question is answered: it runs, by `?2` until `?3` or by whoever takes it.
pub(in crate::sqlite) const THREAD_WAKE: &str = "
    update thread
    set status = 'running',
        epoch = epoch + 1,
        owner = ?2,
        lease_until_ms = coalesce(?3, 0),
        updated_at_ms = ?4
    where thread_id = ?1 and status = 'interrupted'
    returning epoch";

/// One that runs will run on when it parks.
pub(in crate::sqlite) const THREAD_WAKE_LATER: &str = "
    update thread
    set woken = 1
    where thread_id = ?1 and status = 'running'";

/// One that is parked with a doubt that is settled already.
pub(in crate::sqlite) const THREAD_RUN_ON: &str = "
    update thread
    set status = 'running'
    where thread_key = ?1";

pub(in crate::sqlite) const THREAD_HEAD: &str = "
    select head from thread
    where thread_id = ?1";

pub(in crate::sqlite) const THREAD_STATUS: &str = "
    select status from thread
    where thread_id = ?1";
