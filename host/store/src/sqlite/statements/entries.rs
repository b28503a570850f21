//! Entries of threads, and runs.

use rusqlite::types::Value;
use serde_json::Value as Json;

use crate::runs::{EntryFilter, EntryOrder, EntryStatus, RunFilter};

// Entries.

pub(in crate::sqlite) const ENTRY_INSERT: &str = "
    insert into thread_entry (thread_id, tenant, created_at_ms, updated_at_ms, metadata, expires_at_ms, ttl_ms, expiry_rule,
                              temporary)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    on conflict (thread_id) do nothing";

pub(in crate::sqlite) const ENTRY_SELECT: &str = "
    select thread_id as entry_id, tenant as entry_tenant, created_at_ms as entry_created_at_ms,
           updated_at_ms as entry_updated_at_ms, metadata, expires_at_ms, ttl_ms, expiry_rule, temporary
    from thread_entry
    where thread_id = ?1";

pub(in crate::sqlite) const ENTRIES_DUE: &str = "
    select thread_id as entry_id, tenant as entry_tenant, created_at_ms as entry_created_at_ms,
           updated_at_ms as entry_updated_at_ms, metadata, expires_at_ms, ttl_ms, expiry_rule, temporary
    from thread_entry
    where expires_at_ms is not null and expires_at_ms <= ?1
    order by expires_at_ms, thread_id
    limit ?2";

pub(in crate::sqlite) const ENTRY_MERGE: &str = "
    update thread_entry
    set metadata = ?2, updated_at_ms = ?3
    where thread_id = ?1";

pub(in crate::sqlite) const ENTRY_EXPIRE: &str = "
    update thread_entry
    set expires_at_ms = ?2, ttl_ms = ?3, expiry_rule = ?4, updated_at_ms = max(updated_at_ms, ?5)
    where thread_id = ?1
    returning thread_id as entry_id, tenant as entry_tenant, created_at_ms as entry_created_at_ms,
              updated_at_ms as entry_updated_at_ms, metadata, expires_at_ms, ttl_ms, expiry_rule, temporary";

pub(in crate::sqlite) const ENTRY_DELETE: &str = "
    delete from thread_entry
    where thread_id = ?1";

/// What callers see of a thread's status: its runs that are not over, then what its head says.
const STATUS: &str = "case
               when exists (select 1 from run where run.thread_id = entry.thread_id and run.status in ('pending', 'running'))
                   or thread.status = 'running' then 'busy'
               when thread.status = 'interrupted' then 'interrupted'
               when thread.status = 'failed' then 'error'
               else 'idle'
           end";

/// The columns of an entry with its head.
macro_rules! summary {
    ($rest:literal) => {
        concat!(
            "select entry.thread_id as entry_id, entry.tenant as entry_tenant, entry.created_at_ms as entry_created_at_ms,
           entry.updated_at_ms as entry_updated_at_ms, entry.metadata, entry.expires_at_ms, entry.ttl_ms, entry.expiry_rule,
           entry.temporary,
           (select count(*) from run where run.thread_id = entry.thread_id and run.status in ('pending', 'running'))
               as runs_open,
           thread.thread_id, thread.lineage, thread.graph, thread.graph_name, thread.status, thread.epoch, thread.owner,
           thread.lease_until_ms, thread.head, thread.error, thread.format, thread.created_at_ms, thread.updated_at_ms,
           thread.tenant, thread.requester
    from thread_entry entry left join thread on thread.thread_id = entry.thread_id
    ",
            $rest
        )
    };
}

pub(in crate::sqlite) const ENTRY_SUMMARY: &str = summary!("where entry.thread_id = ?1");

/// Entries that a filter lets through, metadata but for the graph's name aside, in its order, with the parameters. One text for each shape of
/// filter, so that each finds its index.
pub(in crate::sqlite) fn entries(filter: &EntryFilter) -> (String, Vec<Value>) {
    let (conditions, mut parameters) = conditions(filter);
    let mut all = if conditions.is_empty() { String::new() } else { format!("where {conditions}") };
    let newest = (filter.order, filter.ascending) == (EntryOrder::Updated, false);
    if newest && filter.metadata.is_empty() {
        let page = i64::try_from(filter.limit.saturating_add(filter.offset)).unwrap_or(i64::MAX);
        parameters.push(Value::Integer(page));
        all = newest_page(&all, parameters.len());
    }
    let order = match (filter.order, filter.ascending) {
        (EntryOrder::Updated, false) => {
            "max(entry.updated_at_ms, coalesce(thread.updated_at_ms, 0)) desc, entry.thread_id"
        }
        (EntryOrder::Updated, true) => "max(entry.updated_at_ms, coalesce(thread.updated_at_ms, 0)), entry.thread_id",
        (EntryOrder::Created, false) => "entry.created_at_ms desc, entry.thread_id",
        (EntryOrder::Created, true) => "entry.created_at_ms, entry.thread_id",
        (EntryOrder::Id, false) => "entry.thread_id desc",
        (EntryOrder::Id, true) => "entry.thread_id",
    };
    (format!("{}{all}\n    order by {order}", summary!("")), parameters)
}

/// No index has the later of an entry's and its head's change. But what is among the newest by the later of both is among as many of the newest by
/// one of them, and each of them has an index.
fn newest_page(all: &str, page: usize) -> String {
    format!(
        "where entry.thread_id in (
        select thread_id from (
            select entry.thread_id
            from thread_entry entry left join thread on thread.thread_id = entry.thread_id
            {all}
            order by entry.updated_at_ms desc, entry.thread_id
            limit ?{page}
        )
        union all
        select thread_id from (
            select entry.thread_id
            from thread cross join thread_entry entry on entry.thread_id = thread.thread_id
            {all}
            order by thread.updated_at_ms desc, thread.thread_id
            limit ?{page}
        )
    )"
    )
}

/// The metadata of those entries, for counting.
pub(in crate::sqlite) fn entries_metadata(filter: &EntryFilter) -> (String, Vec<Value>) {
    let (conditions, parameters) = conditions(filter);
    let listed = "select entry.metadata
    from thread_entry entry left join thread on thread.thread_id = entry.thread_id
    ";
    let filtered = if conditions.is_empty() { conditions } else { format!("where {conditions}") };
    (format!("{listed}{filtered}"), parameters)
}

/// How many entries there are, of a filter without metadata.
pub(in crate::sqlite) fn entries_count(filter: &EntryFilter) -> (String, Vec<Value>) {
    let (conditions, parameters) = conditions(filter);
    // Only a status needs the heads.
    let heads = if filter.status.is_some() { " left join thread on thread.thread_id = entry.thread_id" } else { "" };
    let filtered = if conditions.is_empty() { conditions } else { format!("\n    where {conditions}") };
    (format!("select count(*) as entries\n    from thread_entry entry{heads}{filtered}"), parameters)
}

fn conditions(filter: &EntryFilter) -> (String, Vec<Value>) {
    let mut parameters = Vec::new();
    let mut bind = |text: String| {
        parameters.push(Value::Text(text));
        format!("?{}", parameters.len())
    };
    let mut conditions = Vec::new();
    if let Some(tenant) = &filter.tenant {
        conditions.push(format!("entry.tenant = {}", bind(tenant.as_str().to_owned())));
    }
    if !filter.threads.is_empty() {
        let ids: Json = filter.threads.iter().map(|thread| thread.as_str()).collect();
        conditions.push(format!("entry.thread_id in (select value from json_each({}))", bind(ids.to_string())));
    }
    if let Some(Json::String(graph)) = filter.metadata.get("graph_id") {
        conditions.push(format!("entry.metadata ->> '$.graph_id' = {}", bind(graph.clone())));
    }
    if let Some(status) = filter.status {
        let name = match status {
            EntryStatus::Idle => "idle",
            EntryStatus::Busy => "busy",
            EntryStatus::Interrupted => "interrupted",
            EntryStatus::Error => "error",
        };
        conditions.push(format!("{STATUS} = {}", bind(name.to_owned())));
    }
    (conditions.join("\n      and "), parameters)
}

// Runs.

pub(in crate::sqlite) const RUN_INSERT: &str = "
    insert into run (run_id, thread_id, tenant, actor_id, actor_basis, status, not_before_ms, created_at_ms, updated_at_ms,
                     format, error, metadata, request, cancel, base)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
    on conflict (run_id) do nothing";

/// The oldest of a thread's that are not over. Sorted, since those that are over are passed over in the other order.
pub(in crate::sqlite) const RUN_IN_THE_WAY: &str = "
    select run_id, status from run
    where thread_id = ?1 and status in ('pending', 'running')
    order by +run_key
    limit 1";

/// Compare and set: of two who expect it in the same status one finds it so. Of thread `?6` if given. One that begins does so from the head `?8`.
pub(in crate::sqlite) const RUN_UPDATE: &str = "
    update run
    set status = ?3,
        error = ?4,
        updated_at_ms = ?5,
        format = ?7,
        base = coalesce(?8, base),
        cancel = iif(?2 in ('pending', 'running'), cancel, null)
    where run_id = ?1 and status = ?2 and (?6 is null or thread_id = ?6)";

/// Unless as much is wanted already.
pub(in crate::sqlite) const RUN_CANCEL: &str = "
    update run
    set cancel = ?2, updated_at_ms = ?3
    where run_id = ?1 and status in ('pending', 'running') and (cancel is null or cancel = 'interrupt' and ?2 = 'rollback')";

pub(in crate::sqlite) const RUN_STATUS: &str = "
    select status from run
    where run_id = ?1 and (?2 is null or thread_id = ?2)";

pub(in crate::sqlite) const RUN_DELETE: &str = "
    delete from run
    where run_id = ?1 and status not in ('pending', 'running')";

pub(in crate::sqlite) const RUNS_DELETE: &str = "
    delete from run
    where thread_id = ?1";

pub(in crate::sqlite) const RUN_SELECT: &str = "
    select run_id, thread_id, tenant, actor_id, actor_basis, status, not_before_ms, created_at_ms, updated_at_ms, format, error,
           metadata, request, cancel, base
    from run
    where run_id = ?1";

/// Of threads without a running one, and without one that is still to be rolled back, the oldest whose moment has come at `?1`. The conditions on
/// `back` hold those of its index, word for word, and leave it no other.
pub(in crate::sqlite) const RUNS_NEXT: &str = "
    select run_id, thread_id, tenant, actor_id, actor_basis, status, not_before_ms, created_at_ms, updated_at_ms, format, error,
           metadata, request, cancel, base
    from run
    where status = 'pending' and status in ('pending', 'running') and not_before_ms <= ?1
      and not exists (
          select 1 from run busy
          where busy.thread_id = run.thread_id and busy.status = 'running' and busy.status in ('pending', 'running')
      )
      and not exists (
          select 1 from run back
          where back.cancel is not null and (back.status = 'running' or back.cancel = 'rollback')
            and back.cancel = 'rollback' and back.status <> 'pending' and +back.thread_id = run.thread_id
      )
      and not exists (
          select 1 from run earlier
          where earlier.thread_id = run.thread_id and earlier.status = 'pending' and earlier.status in ('pending', 'running')
            and earlier.run_key < run.run_key and earlier.not_before_ms <= ?1
      )
    order by run_key
    limit ?2";

/// Those that somebody wants ended. The first condition is that of their index, word for word.
pub(in crate::sqlite) const RUNS_TO_CANCEL: &str = "
    select run_id, thread_id, tenant, actor_id, actor_basis, status, not_before_ms, created_at_ms, updated_at_ms, format, error,
           metadata, request, cancel, base
    from run
    where cancel is not null and (status = 'running' or cancel = 'rollback')
      and status <> 'pending'
    order by run_key
    limit ?1";

/// Runs that a filter lets through, newest first, with the parameters. One text for each shape of filter, so that each finds its index.
pub(in crate::sqlite) fn runs(filter: &RunFilter) -> (String, Vec<Value>) {
    let mut parameters = Vec::new();
    let mut bind = |value: Value| {
        parameters.push(value);
        format!("?{}", parameters.len())
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let integer = |count: usize| Value::Integer(i64::try_from(count).unwrap_or(i64::MAX));
    let (limit, offset) = (bind(integer(filter.limit)), bind(integer(filter.offset)));
    let mut conditions = Vec::new();
    if let Some(thread) = &filter.thread {
        conditions.push(format!("thread_id = {}", bind(text(thread.as_str()))));
    }
    let open = filter.status.is_some_and(|status| !status.is_over());
    if let Some(tenant) = &filter.tenant {
        // One who asks for a thread's runs finds them by the thread, and those that are not over are few.
        let column = if filter.thread.is_some() || open { "+tenant" } else { "tenant" };
        conditions.push(format!("{column} = {}", bind(text(tenant.as_str()))));
    }
    if let Some(status) = filter.status {
        conditions.push(match open {
            // In the words of the partial indexes: they are found by them.
            true => format!("status = '{}' and status in ('pending', 'running')", status.name()),
            false => format!("status = {}", bind(text(status.name()))),
        });
    }
    let conditions = conditions.join(" and ");
    let listed = "select run_id, thread_id, tenant, actor_id, actor_basis, status, not_before_ms, created_at_ms, updated_at_ms, format,
           error, metadata, request, cancel, base
    from run";
    let filtered = if conditions.is_empty() { String::new() } else { format!("\n    where {conditions}") };
    (format!("{listed}{filtered}\n    order by run_key desc\n    limit {limit} offset {offset}"), parameters)
}
