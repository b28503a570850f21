//! The reads. Each runs inside one transaction of a reader.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, QuestionId, TaskId, Tenant, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use rusqlite::{Row, params};
use serde_json::Map;

use super::failure::{Failure, Result};
use super::forms::Details;
use super::rows::bound;
use super::session::Session;
use super::values::{Values, Versions};
use super::{forms, rows, statements};
use crate::records::{
    CheckpointRecord, Outline, QuestionRecord, Snapshot, Source, TaskStatus, ThreadRecord, VersionKind, VersionRecord,
};
use crate::store::{HistoryFilter, OperationCounts, OperationFilter, ThreadBytes, ThreadFilter};

pub(super) fn thread(session: &Session, thread: &ThreadId) -> Result<Option<ThreadRecord>> {
    session.first(statements::THREAD_SELECT, params![thread.as_str()], rows::thread)
}

pub(super) fn threads(session: &Session, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>> {
    let (limit, offset) = (bound(filter.limit), bound(filter.offset));
    match (&filter.graph_name, filter.status) {
        (None, None) => session.all(statements::THREADS, params![limit, offset], rows::thread),
        (None, Some(status)) => {
            session.all(statements::THREADS_BY_STATUS, params![limit, offset, status.name()], rows::thread)
        }
        (Some(graph), None) => {
            session.all(statements::THREADS_BY_GRAPH, params![limit, offset, graph.as_str()], rows::thread)
        }
        (Some(graph), Some(status)) => {
            let parameters = params![limit, offset, graph.as_str(), status.name()];
            session.all(statements::THREADS_BY_GRAPH_AND_STATUS, parameters, rows::thread)
        }
    }
}

pub(super) fn snapshot(
    session: &Session,
    thread: &ThreadId,
    checkpoint: Option<&CheckpointId>,
) -> Result<Option<Snapshot>> {
    let Some((key, record)) = thread_with_key(session, thread)? else { return Ok(None) };
    let id = checkpoint.unwrap_or(&record.head);
    let found = session.first(statements::CHECKPOINT_SELECT, params![key, id.as_str()], Found::read)?;
    let Some(found) = found else {
        return match checkpoint {
            Some(_) => Ok(None),
            None => Err(Failure::corrupt(format!("the head of thread {thread} is missing"))),
        };
    };
    let snapshot = snapshots(session, key, &record, vec![found])?.pop();
    snapshot.map(|snapshot| with_children(session, key, &record, snapshot)).transpose()
}

pub(super) fn history(session: &Session, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>> {
    let Some((key, record)) = thread_with_key(session, thread)? else { return Ok(Vec::new()) };
    let end = match &filter.before {
        None => i64::MAX,
        Some(id) => {
            let found = session.first(statements::CHECKPOINT_KEY, params![key, id.as_str()], |row| Ok(row.get(0)?))?;
            let Some(end) = found else { return Ok(Vec::new()) };
            end
        }
    };
    // Metadata is looked at here, and values are read only for what passes.
    let limit = if filter.metadata.is_empty() { bound(filter.limit) } else { i64::MAX };
    let source = filter.source.map(Source::name);
    let parameters = params![key, filter.namespace.as_str(), end, source, filter.step, limit];
    let found = session.wanted(statements::CHECKPOINTS, parameters, filter.limit, |row| {
        let details = rows::details(row)?;
        let passes = filter.metadata.iter().all(|(name, value)| details.metadata.get(name) == Some(value));
        passes.then(|| Found::read_with(row, details)).transpose()
    })?;
    snapshots(session, key, &record, found)
}

pub(super) fn outline(session: &Session, thread: &ThreadId) -> Result<Vec<Outline>> {
    let Some((key, _)) = thread_with_key(session, thread)? else { return Ok(Vec::new()) };
    let mut children: HashMap<i64, Vec<CheckpointId>> = HashMap::new();
    let found = session.all(statements::OUTLINE_CHILDREN, params![key], |row| {
        Ok((row.get("checkpoint_key")?, rows::checkpoint_id(row, "child")?))
    })?;
    for (checkpoint, child) in found {
        children.entry(checkpoint).or_default().push(child);
    }
    let found = session.all(statements::OUTLINE, params![key], |row| {
        Ok((row.get::<_, i64>("checkpoint_key")?, rows::checkpoint(row, rows::details(row)?)?))
    })?;
    let outline = |(key, checkpoint)| Outline { checkpoint, task_children: children.remove(&key).unwrap_or_default() };
    Ok(found.into_iter().map(outline).collect())
}

pub(super) fn question(session: &Session, thread: &ThreadId, id: &QuestionId) -> Result<Option<QuestionRecord>> {
    let Some((key, _)) = thread_with_key(session, thread)? else { return Ok(None) };
    session.first(statements::QUESTION_SELECT, params![key, id.as_str()], rows::question)
}

pub(super) fn operation(session: &Session, key: &OperationKey) -> Result<Option<OperationRecord>> {
    let parameters = params![key.scope.to_text(), key.connector.as_str(), key.id.as_str()];
    session.first(statements::OPERATION_SELECT, parameters, rows::operation)
}

pub(super) fn operations(session: &Session, thread: &ThreadId) -> Result<Vec<OperationRecord>> {
    session.all(statements::OPERATIONS, params![thread.as_str(), i64::MAX, None::<&str>], rows::operation)
}

pub(super) fn find_operations(session: &Session, filter: &OperationFilter) -> Result<Vec<OperationRecord>> {
    let limit = bound(filter.limit);
    let thread = filter.thread.as_ref().map(ThreadId::as_str);
    let tenant = filter.tenant.as_ref().map(Tenant::as_str);
    match (&filter.id, thread) {
        (Some(id), _) => {
            let parameters = params![id.as_str(), thread, filter.open, limit, tenant];
            session.all(statements::OPERATIONS_BY_ID, parameters, rows::operation)
        }
        (None, _) if filter.open => match tenant {
            None => session.all(statements::OPERATIONS_OPEN, params![thread, limit], rows::operation),
            Some(tenant) => {
                let parameters = params![tenant, thread, limit];
                session.all(statements::OPERATIONS_OPEN_OF_TENANT, parameters, rows::operation)
            }
        },
        (None, Some(thread)) => session.all(statements::OPERATIONS, params![thread, limit, tenant], rows::operation),
        (None, None) => match tenant {
            None => session.all(statements::OPERATIONS_ALL, params![limit], rows::operation),
            Some(tenant) => session.all(statements::OPERATIONS_OF_TENANT, params![tenant, limit], rows::operation),
        },
    }
}

pub(super) fn count_operations(session: &Session, tenant: Option<&Tenant>) -> Result<OperationCounts> {
    let counts = |row: &Row<'_>| {
        Ok(OperationCounts { open: rows::unsigned(row, "open")?, in_doubt: rows::unsigned(row, "in_doubt")? })
    };
    let found = match tenant {
        Some(tenant) => session.first(statements::OPERATIONS_COUNT, params![tenant.as_str()], counts),
        None => session.first(statements::OPERATIONS_COUNT_EVERYWHERE, [], counts),
    };
    Ok(found?.unwrap_or_default())
}

pub(super) fn thread_bytes(session: &Session, thread: &ThreadId) -> Result<ThreadBytes> {
    let bytes = |row: &Row<'_>| {
        Ok(ThreadBytes {
            checkpoints: rows::unsigned(row, "checkpoints")?,
            values: rows::unsigned(row, "channel_values")?,
            tasks: rows::unsigned(row, "tasks")?,
            operations: rows::unsigned(row, "operations")?,
            questions: rows::unsigned(row, "questions")?,
        })
    };
    Ok(session.first(statements::THREAD_BYTES, params![thread.as_str()], bytes)?.unwrap_or_default())
}

pub(super) fn due_operations(session: &Session, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>> {
    session.all(statements::OPERATIONS_DUE, params![rows::integer(now_ms), bound(limit)], rows::operation)
}

pub(super) fn hits(session: &Session, key: &OperationKey) -> Result<Vec<OperationHit>> {
    let parameters = params![key.scope.to_text(), key.connector.as_str(), key.id.as_str()];
    session.all(statements::HITS, parameters, rows::hit)
}

pub(super) fn content(session: &Session, digest: &Digest) -> Result<Option<Vec<u8>>> {
    session.first(statements::CONTENT_SELECT, params![digest.as_str()], |row| Ok(row.get(0)?))
}

pub(super) fn missing_contents(session: &Session, digests: Vec<Digest>) -> Result<Vec<Digest>> {
    let mut missing = Vec::new();
    for digest in digests {
        if session.first(statements::CONTENT_EXISTS, params![digest.as_str()], |_| Ok(()))?.is_none() {
            missing.push(digest);
        }
    }
    Ok(missing)
}

pub(super) fn cached(session: &Session, key: &Digest, now_ms: u64) -> Result<Option<Command>> {
    session.first(statements::CACHE_SELECT, params![key.as_str(), rows::integer(now_ms)], rows::cached)
}

pub(super) fn versions(session: &Session, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>> {
    session.all(statements::VERSIONS, params![kind.name(), name], rows::version)
}

/// A checkpoint's row.
struct Found {
    key: i64,
    record: CheckpointRecord,
    versions: Versions,
}

impl Found {
    fn read(row: &Row<'_>) -> Result<Self> {
        Self::read_with(row, rows::details(row)?)
    }

    fn read_with(row: &Row<'_>, details: Details) -> Result<Self> {
        Ok(Self {
            key: row.get("checkpoint_key")?,
            record: rows::checkpoint(row, details)?,
            versions: forms::read(rows::text(row, "versions")?)?,
        })
    }
}

fn thread_with_key(session: &Session, thread: &ThreadId) -> Result<Option<(i64, ThreadRecord)>> {
    session.first(statements::THREAD_SELECT, params![thread.as_str()], |row| {
        Ok((row.get("thread_key")?, rows::thread(row)?))
    })
}

/// Completes checkpoints of one thread. Their values are read together, so that what they share is read once.
fn snapshots(session: &Session, thread: i64, record: &ThreadRecord, found: Vec<Found>) -> Result<Vec<Snapshot>> {
    let versions: BTreeSet<i64> = found.iter().flat_map(|found| found.versions.values().copied()).collect();
    let values = Values::read(session, thread, &versions)?;
    let mut snapshots = Vec::with_capacity(found.len());
    for Found { key, record: checkpoint, versions } in found {
        let mut channels = Map::new();
        for (channel, version) in versions {
            channels.insert(channel, values.get(version)?);
        }
        snapshots.push(Snapshot {
            values: channels,
            tasks: session.all(statements::TASKS, params![key], |row| rows::task(row, &checkpoint.id))?,
            questions: session.all(statements::QUESTIONS, params![key], rows::question)?,
            unsettled: session.all(
                statements::OPERATIONS_UNSETTLED,
                params![record.id.as_str(), key],
                rows::operation,
            )?,
            thread: record.clone(),
            checkpoint,
            children: BTreeMap::new(),
        });
    }
    Ok(snapshots)
}

/// Adds the runs of subgraphs of a snapshot's unfinished tasks, and of theirs. Those of one level are read together.
fn with_children(session: &Session, thread: i64, record: &ThreadRecord, snapshot: Snapshot) -> Result<Snapshot> {
    let runs = |snapshot: &Snapshot| -> Vec<(TaskId, CheckpointId)> {
        let unfinished = snapshot.tasks.iter().filter(|task| task.status != TaskStatus::Done);
        unfinished.filter_map(|task| Some((task.id.clone(), task.child.clone()?))).collect()
    };
    // One level after the other, each run with the place of its task's snapshot in the level above.
    let mut levels = vec![vec![(0, None, snapshot)]];
    while let Some(level) = levels.last() {
        let mut places = Vec::new();
        let mut found = Vec::new();
        for (place, (_, _, snapshot)) in level.iter().enumerate() {
            for (task, run) in runs(snapshot) {
                // A run of which nothing was kept is left out.
                let parameters = params![thread, run.as_str()];
                if let Some(run) = session.first(statements::CHECKPOINT_SELECT, parameters, Found::read)? {
                    places.push((place, task));
                    found.push(run);
                }
            }
        }
        if found.is_empty() {
            break;
        }
        let next = snapshots(session, thread, record, found)?;
        levels.push(places.into_iter().zip(next).map(|((place, task), run)| (place, Some(task), run)).collect());
    }
    let mut level = levels.pop().unwrap_or_default();
    while let Some(mut above) = levels.pop() {
        for (place, task, run) in level {
            if let (Some(task), Some((_, _, parent))) = (task, above.get_mut(place)) {
                parent.children.insert(task, run);
            }
        }
        level = above;
    }
    let (_, _, snapshot) = level.pop().expect("invariant: the first level holds the snapshot that was given");
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::conformance::scene::{
        self, append, apply, create, in_namespace, namespace, new_checkpoint, step, update,
    };
    use crate::records::TaskRecord;
    use crate::sqlite::{SqliteOptions, SqliteStore, open};
    use crate::store::{Commit, Store};

    /// How many statements a read of thread "t" takes.
    fn statements<T>(session: &Session, read: impl FnOnce(&Session, &ThreadId) -> Result<T>) -> (u64, T) {
        session.take_executed();
        let found = read(session, &scene::thread("t")).expect("the store can be read");
        (session.take_executed(), found)
    }

    #[tokio::test]
    async fn a_snapshots_statements_are_those_of_what_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).expect("opens"));
        let session = open::reader(&path, &SqliteOptions::default()).expect("opens");
        let at_head = |session: &Session, thread: &ThreadId| snapshot(session, thread, None);
        apply(&store, create("t", append("log", [json!(0)]))).await;
        for number in 1..=50 {
            let task = scene::task("t", number - 1, "pull:a");
            let commit = step("t", 1, number, number - 1, append("log", [json!(number)]));
            apply(&store, Commit { tasks: vec![task], ..commit }).await;
            // thread, checkpoint, values; tasks, questions, operations.
            assert_eq!(statements(&session, at_head).0, 6, "after {number} steps");
        }
        // Subgraphs that finished cost nothing; each that runs costs its checkpoint, tasks, questions and operations, and each level its values.
        let task = |number, path: &str, status, child| TaskRecord {
            status,
            child: Some(scene::checkpoint(child)),
            ..scene::task("t", number, path)
        };
        let run = |number, name: &str| in_namespace(&namespace(name), new_checkpoint(number, None, append("log", [])));
        let checkpoints = vec![run(100, "done"), run(101, "one"), run(102, "two"), run(103, "two|deep")];
        let done = vec![task(50, "pull:done", TaskStatus::Done, 100)];
        apply(&store, Commit { checkpoints, tasks: done, ..update("t", 1) }).await;
        assert_eq!(statements(&session, at_head).0, 6);
        let running = vec![
            task(50, "pull:one", TaskStatus::Running, 101),
            task(50, "pull:two", TaskStatus::Failed, 102),
            task(102, "pull:deep", TaskStatus::InDoubt, 103),
        ];
        apply(&store, Commit { tasks: running, ..update("t", 1) }).await;
        let (count, found) = statements(&session, at_head);
        let found = found.expect("it is there");
        assert_eq!((count, found.children.len()), (6 + 3 * 4 + 2, 2));
        assert_eq!(found.children.values().map(|child| child.children.len()).sum::<usize>(), 1);
        // A list reads the values of what passes, and only those.
        let filter = HistoryFilter { step: Some(7), ..HistoryFilter::newest(100) };
        let (count, found) = statements(&session, |session, thread| history(session, thread, &filter));
        assert_eq!((count, found.len()), (6, 1));
        let none = HistoryFilter { metadata: Map::from_iter([("a".to_owned(), json!(1))]), ..filter };
        let (count, found) = statements(&session, |session, thread| history(session, thread, &none));
        assert_eq!((count, found.len()), (3, 0));
        assert_eq!(statements(&session, outline).0, 3);
    }

    #[tokio::test]
    async fn a_snapshots_statements_are_compiled_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).expect("opens"));
        let session = open::reader(&path, &SqliteOptions::default()).expect("opens");
        apply(&store, create("t", append("log", [json!(0)]))).await;
        for number in 1..=3 {
            let task = scene::task("t", number - 1, "pull:a");
            let commit = step("t", 1, number, number - 1, append("log", [json!(number)]));
            apply(&store, Commit { tasks: vec![task], ..commit }).await;
            assert!(snapshot(&session, &scene::thread("t"), None).expect("the store can be read").is_some());
        }
        for sql in [
            statements::THREAD_SELECT,
            statements::CHECKPOINT_SELECT,
            statements::VALUE_CHAINS,
            statements::TASKS,
            statements::QUESTIONS,
            statements::OPERATIONS_UNSETTLED,
        ] {
            assert_eq!(session.compiled_again(sql), 0, "{sql}");
        }
    }
}
