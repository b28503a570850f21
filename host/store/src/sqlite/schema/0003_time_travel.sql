-- Subgraphs, branches with their own effects, results that are used again, deployed versions.

-- Which graph of the thread it belongs to: empty for the thread's own.
alter table checkpoint add column namespace text not null default '';

-- Digest of the graph that runs from it. Until now that was always the thread's.
alter table checkpoint add column graph text not null default '';

-- What the ids of unnamed operations derive from. Until now that was always the checkpoint's own id.
alter table checkpoint add column anchor text not null default '';

alter table checkpoint add column effects text not null default 'live';

-- JSON object of what most checkpoints lack: writers, deferred, children, metadata. Null when there is nothing of it.
alter table checkpoint add column details text;

update checkpoint
set graph = (select thread.graph from thread where thread.thread_key = checkpoint.thread_key),
    anchor = checkpoint_id;

-- history: a thread's of one namespace, newest first.
drop index checkpoint_by_age;
create index checkpoint_by_namespace on checkpoint (thread_key, namespace, checkpoint_key);

-- For a task that runs a subgraph: the newest checkpoint of its run. Without a foreign key: it names a row of the same thread by its id, which
-- the writer checks, and which may be removed before the task is.
alter table task add column child text;

-- Supersteps that the run might still take, where that is an input of the task.
alter table task add column steps_left integer;

-- outline: where the subgraphs of a checkpoint's tasks stand. Partial, as the next: few tasks run a subgraph.
create index task_with_child on task (checkpoint_key, child) where child is not null;

-- exchange_operation: from a subgraph's checkpoint to the task that runs it.
create index task_by_child on task (child) where child is not null;

-- threads: those of graphs with a name, newest change first.
create index thread_by_graph on thread (graph_name, updated_at_ms desc, thread_id);

-- Results that may be used again, in any thread.
create table cache (
    -- Of everything that the result depends on.
    digest          text    primary key,
    expires_at_ms   integer,
    format          integer not null,
    result          text    not null
) strict;

-- clear_cache: those that have expired.
create index cache_by_expiry on cache (expires_at_ms) where expires_at_ms is not null;

-- What was deployed under a name. Its key is the order of deploying.
create table version (
    version_key     integer primary key,
    kind            text    not null,
    name            text    not null,
    version         text    not null,
    digest          text    not null,
    deployed_at_ms  integer not null,
    deployed_by     text    not null,
    format          integer not null,
    -- JSON array of texts; null when it may do nothing more than the version before.
    gains           text
) strict;

-- put_version: one by its name and version; versions: those of a name.
create unique index version_by_name on version (kind, name, version);
