-- The first schema. Postgres gets the same numbers, names and columns.
--
-- Threads and checkpoints have integer keys beside their ids: rows that point to them stay small, and a checkpoint's key is its order of
-- storing. `format` is the version of the JSON forms in a row, so that a later form can be told from this one without rewriting rows.

create table thread (
    thread_key      integer primary key,
    thread_id       text    not null unique,
    lineage         text    not null,
    graph           text    not null,
    graph_name      text    not null,
    status          text    not null,
    epoch           integer not null,
    owner           text,
    lease_until_ms  integer not null,
    head            text    not null,
    -- The newest version among the thread's channel values.
    version_last    integer not null,
    error           text,
    format          integer not null,
    created_at_ms   integer not null,
    updated_at_ms   integer not null
) strict;

-- threads: all, newest change first.
create index thread_by_change on thread (updated_at_ms desc, thread_id);

-- threads: those with a status, newest change first.
create index thread_by_status on thread (status, updated_at_ms desc, thread_id);

create table checkpoint (
    checkpoint_key  integer primary key,
    thread_key      integer not null references thread (thread_key) on delete cascade,
    checkpoint_id   text    not null,
    -- Without a foreign key: deleting a thread would look for children of each of its checkpoints. The writer checks it.
    parent_id       text,
    step            integer not null,
    source          text    not null,
    clock_ms        integer not null,
    created_at_ms   integer not null,
    format          integer not null,
    next            text    not null,
    joins           text,
    -- JSON object: channel name to version of its value.
    versions        text    not null
) strict;

-- snapshot, and the parent of a new checkpoint: one by its id.
create unique index checkpoint_by_id on checkpoint (thread_key, checkpoint_id);

-- history: a thread's, newest first.
create index checkpoint_by_age on checkpoint (thread_key, checkpoint_key);

-- A channel's value in one version. A whole value stands alone; an `append` holds only the items that it adds to its base, so that branches
-- of a thread share what came before them.
create table channel_value (
    value_key       integer primary key,
    thread_key      integer not null references thread (thread_key) on delete cascade,
    version         integer not null,
    channel         text    not null,
    -- `list` or `value`: whole, an array or anything else; `append`: further items of an array.
    kind            text    not null,
    -- The version that an `append` adds to; always a smaller number.
    base_version    integer,
    -- Size of the whole value that the chain of bases ends at, and what was appended since.
    bytes_whole     integer not null,
    bytes_appended  integer not null,
    -- Last, so that following a chain need not read the values' overflow pages.
    value           text    not null
) strict;

-- snapshot, history: the values of a checkpoint, along their bases.
create unique index channel_value_by_version on channel_value (thread_key, version);

create table task (
    task_key        integer primary key,
    checkpoint_key  integer not null references checkpoint (checkpoint_key) on delete cascade,
    task_id         text    not null,
    node            text    not null,
    path            text    not null,
    status          text    not null,
    executions      integer not null,
    updated_at_ms   integer not null,
    format          integer not null,
    error           text,
    result          text
) strict;

-- snapshot, history: the tasks of a checkpoint; the upsert of a task.
create unique index task_by_id on task (checkpoint_key, task_id);

create table question (
    question_key    integer primary key,
    thread_key      integer not null references thread (thread_key) on delete cascade,
    question_id     text    not null,
    checkpoint_key  integer not null,
    task_id         text    not null,
    node            text    not null,
    occurrence      integer not null,
    payload_digest  text    not null,
    asked_at_ms     integer not null,
    deadline_at_ms  integer,
    status          text    not null,
    format          integer not null,
    answer          text,
    answer_schema   text,
    policy          text    not null,
    payload         text    not null,
    foreign key (checkpoint_key, task_id) references task (checkpoint_key, task_id) on delete cascade
) strict;

-- question, and settlements: one by its id.
create unique index question_by_id on question (thread_key, question_id);

-- snapshot, history: the questions of a checkpoint's tasks, in order of asking.
create index question_by_task on question (checkpoint_key, task_id);

-- The journal. Points to no other table: it outlives its threads, whose operation ids must go on answering.
create table operation (
    operation_key   integer primary key,
    scope           text    not null,
    connector       text    not null,
    operation_id    text    not null,
    thread_id       text    not null,
    task_id         text    not null,
    node            text    not null,
    request_digest  text    not null,
    state           text    not null,
    epoch           integer not null,
    begun_at_ms     integer not null,
    send_by_ms      integer,
    finished_at_ms  integer,
    format          integer not null,
    outcome         text,
    request         text    not null
) strict;

-- operation: one by its key; the upsert of an operation.
create unique index operation_by_key on operation (scope, connector, operation_id);

-- operations: a thread's, oldest first.
create index operation_by_thread on operation (thread_id, begun_at_ms);

-- snapshot, history: those of a task that have no outcome. Partial: nearly every operation has one.
create index operation_unsettled on operation (thread_id, task_id) where state in ('intended', 'in-doubt');

-- Graph documents and components by digest.
create table content (
    digest          text    primary key,
    bytes           blob    not null
) strict;
