-- Ends: runs that are to end, threads that go by themselves, sessions; and whose an operation is.

-- Tables that are looked up by a key of their own are kept in its order, without an index for it. What they give back has room for the new ones.

drop index cache_by_expiry;

create table cache_by_key (
    -- Of everything that the result depends on.
    digest          text    primary key,
    expires_at_ms   integer,
    format          integer not null,
    result          text    not null
) strict, without rowid;

insert into cache_by_key select digest, expires_at_ms, format, result from cache;
drop table cache;
alter table cache_by_key rename to cache;

-- clear_cache: those that have expired.
create index cache_by_expiry on cache (expires_at_ms) where expires_at_ms is not null;

drop index approval_link_unused;
drop index approval_link_by_expiry;

create table approval_link_by_key (
    digest          text    primary key,
    thread_id       text    not null,
    question_id     text    not null,
    subject         text    not null,
    created_at_ms   integer not null,
    expires_at_ms   integer not null,
    used_at_ms      integer
) strict, without rowid;

insert into approval_link_by_key
select digest, thread_id, question_id, subject, created_at_ms, expires_at_ms, used_at_ms from approval_link;
drop table approval_link;
alter table approval_link_by_key rename to approval_link;

-- commit, change_question: those of a question that nobody used.
create index approval_link_unused on approval_link (question_id, thread_id) where used_at_ms is null;

-- clear_replies: those whose time is over.
create index approval_link_by_expiry on approval_link (expires_at_ms);

drop index operation_hit_by_key;

create table operation_hit_by_key (
    scope           text    not null,
    connector       text    not null,
    operation_id    text    not null,
    at_ms           integer not null,
    -- The order of storing among those of the same moment.
    hit_number      integer not null,
    thread_id       text    not null,
    task_id         text    not null,
    -- hits: an operation's, oldest first.
    primary key (scope, connector, operation_id, at_ms, hit_number)
) strict, without rowid;

insert into operation_hit_by_key
select scope, connector, operation_id, at_ms, hit_key, thread_id, task_id from operation_hit;
drop table operation_hit;
alter table operation_hit_by_key rename to operation_hit;

drop index thread_entry_by_change;
drop index thread_entry_by_creation;
drop index thread_entry_by_id;
drop index thread_entry_by_graph;

create table thread_entry_by_key (
    thread_id       text    primary key,
    tenant          text    not null,
    created_at_ms   integer not null,
    updated_at_ms   integer not null,
    -- When it goes by itself, how long after its last use that is, and what then becomes of it; null when it stays.
    expires_at_ms   integer,
    ttl_ms          integer,
    expiry_rule     text,
    -- 1 when it is there for one run.
    temporary       integer not null default 0,
    -- JSON object.
    metadata        text    not null
) strict, without rowid;

insert into thread_entry_by_key (thread_id, tenant, created_at_ms, updated_at_ms, metadata)
select thread_id, tenant, created_at_ms, updated_at_ms, metadata from thread_entry
order by thread_id;
drop table thread_entry;
alter table thread_entry_by_key rename to thread_entry;

-- entries: a tenant's, in each of their orders.
create index thread_entry_by_change on thread_entry (tenant, updated_at_ms desc, thread_id);
create index thread_entry_by_creation on thread_entry (tenant, created_at_ms desc, thread_id);
create index thread_entry_by_id on thread_entry (tenant, thread_id);

-- entries: those of a graph.
create index thread_entry_by_graph on thread_entry (tenant, metadata ->> '$.graph_id');

-- due_entries: the longest due first. Partial: most stay.
create index thread_entry_due on thread_entry (expires_at_ms, thread_id) where expires_at_ms is not null;

-- Set when somebody wants it ended: `interrupt`, or `rollback`.
alter table run add column cancel text;

-- The thread's head when it began, empty where there was no thread; null before it begins.
alter table run add column base text;

-- cancel_requests: oldest first. Partial: nearly every run ends by itself.
create index run_cancel on run (run_key) where cancel is not null and (status = 'running' or cancel = 'rollback');

-- runs, next_runs: those that are not over, each status by itself. Partial: nearly every run is over.
drop index run_pending;
create index run_live on run (status, run_key) where status in ('pending', 'running');

-- Who is logged in. No secret is here, only its digest. Without an index by their ends: there are as many as people, and clearing goes through all.
create table session (
    digest          text    primary key,
    created_at_ms   integer not null,
    expires_at_ms   integer not null,
    caller          text    not null
) strict, without rowid;

-- Its thread's, when it was recorded. It outlives the thread.
alter table operation add column tenant text not null default 'default';

update operation
set tenant = (select entry.tenant from thread_entry entry where entry.thread_id = operation.thread_id)
where thread_id in (select thread_id from thread_entry where tenant <> 'default');

-- find_operations: a tenant's, oldest first.
create index operation_by_tenant on operation (tenant, begun_at_ms);

-- find_operations, count_operations: a tenant's without an outcome, oldest first; counted in the index.
create index operation_open_by_tenant on operation (tenant, begun_at_ms, operation_key, state)
where state in ('intended', 'in-doubt', 'queued');
