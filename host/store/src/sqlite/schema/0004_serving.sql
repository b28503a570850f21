-- Serving: whose a thread is, questions between asking and answer, threads as callers know them, runs, replies, keys, links, and the audit trail.

alter table thread add column tenant text not null default 'default';

-- The id of the actor who gave its newest input; null where nobody said.
alter table thread add column requester text;

-- 1 when something that it may wait for came while it was running: when it parks, it runs on.
alter table thread add column woken integer not null default 0;

-- Its thread's, so that listing a tenant's needs no thread.
alter table question add column tenant text not null default 'default';

-- When the monitor has to look at it next; null when nothing is to come.
alter table question add column due_at_ms integer;

-- Changes so far, and JSON of what was said of it; null when nothing was.
alter table question add column proceedings_version integer not null default 0;
alter table question add column proceedings text;

-- What the orders of listing compare, so that one comparison of rows finds the next page: those without a deadline come last, newer ones first.
alter table question add column deadline_order integer generated always as (coalesce(deadline_at_ms, 9223372036854775807)) virtual;
alter table question add column asked_order integer generated always as (-asked_at_ms) virtual;

-- find_question: by its id, in whichever thread.
create index question_by_question_id on question (question_id);

-- questions, count_questions: a tenant's pending ones, soonest deadline first. Partial, as the next two: most questions are closed. The status is
-- in it all the same, or SQLite would rather sort what it finds by status.
create index question_pending on question (tenant, status, deadline_order, asked_order) where status = 'pending';

-- questions, count_questions: all pending ones, soonest deadline first.
create index question_pending_everywhere on question (status, deadline_order, asked_order) where status = 'pending';

-- due_questions: the longest due first.
create index question_due on question (status, due_at_ms) where status = 'pending' and due_at_ms is not null;

-- questions, count_questions: a tenant's in a status, newest first.
create index question_by_status on question (tenant, status, asked_order);

-- questions, count_questions: all in a status, newest first.
create index question_by_status_everywhere on question (status, asked_order);

-- A thread as its callers know it. Points to no other table, as the others below: it is there before its thread and after it.
create table thread_entry (
    entry_key       integer primary key,
    thread_id       text    not null unique,
    tenant          text    not null,
    created_at_ms   integer not null,
    updated_at_ms   integer not null,
    -- JSON object.
    metadata        text    not null
) strict;

-- entries: a tenant's, in each of their orders.
create index thread_entry_by_change on thread_entry (tenant, updated_at_ms desc, thread_id);
create index thread_entry_by_creation on thread_entry (tenant, created_at_ms desc, thread_id);
create index thread_entry_by_id on thread_entry (tenant, thread_id);

-- entries: those of a graph.
create index thread_entry_by_graph on thread_entry (tenant, metadata ->> '$.graph_id');

insert into thread_entry (thread_id, tenant, created_at_ms, updated_at_ms, metadata)
select thread_id, tenant, created_at_ms, created_at_ms, json_object('graph_id', graph_name)
from thread
order by thread_key;

-- A request to a thread. Its key is the order of storing.
create table run (
    run_key         integer primary key,
    run_id          text    not null unique,
    thread_id       text    not null,
    tenant          text    not null,
    actor_id        text    not null,
    actor_basis     text    not null,
    status          text    not null,
    not_before_ms   integer not null,
    created_at_ms   integer not null,
    updated_at_ms   integer not null,
    format          integer not null,
    error           text,
    -- JSON object.
    metadata        text    not null,
    request         text    not null
) strict;

-- runs: a thread's, newest first; delete_entry.
create index run_by_thread on run (thread_id, run_key);

-- runs: a tenant's, newest first.
create index run_by_tenant on run (tenant, run_key);

-- entries, put_run, next_runs: a thread's that are not over. Partial, as the next: nearly every run is over.
create index run_open on run (thread_id, status, run_key) where status in ('pending', 'running');

-- next_runs: those that wait, oldest first.
create index run_pending on run (run_key) where status = 'pending';

-- What was replied to requests with an idempotency key.
create table reply (
    actor           text    not null,
    idempotency_key text    not null,
    request         text    not null,
    http_status     integer not null,
    expires_at_ms   integer not null,
    body            text    not null,
    primary key (actor, idempotency_key)
) strict, without rowid;

-- clear_replies: those whose time is over.
create index reply_by_expiry on reply (expires_at_ms);

-- Links that let one person decide one question once. The secret is not here, only its digest.
create table approval_link (
    digest          text    primary key,
    thread_id       text    not null,
    question_id     text    not null,
    subject         text    not null,
    created_at_ms   integer not null,
    expires_at_ms   integer not null,
    used_at_ms      integer
) strict;

-- commit, change_question: those of a question that nobody used.
create index approval_link_unused on approval_link (question_id, thread_id) where used_at_ms is null;

-- clear_replies: those whose time is over.
create index approval_link_by_expiry on approval_link (expires_at_ms);

-- API keys. The key is not here, only its digest. Its row's key is the order of storing.
create table api_key (
    api_key_key     integer primary key,
    digest          text    not null unique,
    name            text    not null,
    tenant          text    not null,
    created_at_ms   integer not null,
    created_by      text    not null,
    expires_at_ms   integer,
    revoked_at_ms   integer,
    -- JSON arrays of texts.
    roles           text    not null,
    groups          text    not null
) strict;

-- put_key, revoke_key: one by its name. Of those that stand each name is there once.
create unique index api_key_by_name on api_key (tenant, name) where revoked_at_ms is null;

-- What is on the record (`accounted`): grows only. Each row names the digest of the one before it, in the whole trail and among its thread's.
create table audit (
    sequence        integer primary key,
    previous        text,
    thread_id       text,
    thread_sequence integer,
    thread_previous text,
    tenant          text    not null,
    at_ms           integer not null,
    actor_id        text    not null,
    actor_basis     text    not null,
    kind            text    not null,
    digest          text    not null,
    -- JSON object.
    body            text    not null
) strict;

-- audit: a thread's, oldest first; the end of its chain.
create index audit_by_thread on audit (thread_id, sequence) where thread_id is not null;

-- audit: a tenant's, oldest first.
create index audit_by_tenant on audit (tenant, sequence);
