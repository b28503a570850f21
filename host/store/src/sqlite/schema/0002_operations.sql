-- The journal in full: operations that are sent after their commit, doubts that are settled, and who said what.

-- The moment from which a request that has not landed will not land any more.
alter table operation add column settles_at_ms integer;

-- Set while it is queued: not sent before, and the attempts so far.
alter table operation add column due_at_ms integer;
alter table operation add column attempts integer;

-- JSON array of what was said of it, oldest first; null when nothing was.
alter table operation add column notes text;

-- find_operations: those with an id, oldest first.
create index operation_by_id on operation (operation_id, begun_at_ms);

-- find_operations: those without an outcome, oldest first. Partial: nearly every operation has one.
create index operation_open on operation (begun_at_ms) where state in ('intended', 'in-doubt', 'queued');

-- due_operations: the longest due first.
create index operation_due on operation (due_at_ms) where state = 'queued';

-- exchange_operation: tasks in doubt about an operation.
create index task_in_doubt on task (error ->> '$.details.operation_id') where status = 'in-doubt';

-- Records that answered the requests of other threads. Points to no other table: like the journal, it outlives its threads.
create table operation_hit (
    hit_key         integer primary key,
    scope           text    not null,
    connector       text    not null,
    operation_id    text    not null,
    thread_id       text    not null,
    task_id         text    not null,
    at_ms           integer not null
) strict;

-- hits: an operation's, oldest first.
create index operation_hit_by_key on operation_hit (scope, connector, operation_id, at_ms);
