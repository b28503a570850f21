//! Applies one commit inside the writer's transaction. The number of statements depends on what the commit holds, never on what is stored.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, Namespace, ThreadId};
use rusqlite::params;
use serde_json::Value;

use super::commit_rows::{CheckpointRow, CommitRows, QuestionRow, RunUpdateRow, SettlementRow, TaskRow};
use super::failure::{Failure, Result, is_foreign_key_violation};
use super::forms::{self, FORMAT};
use super::rows::{self, integer};
use super::session::Session;
use super::values::{self, Versions};
use super::{approvals, journal, runs, shared, statements, trail};
use crate::check;
use crate::records::{QuestionStatus, TaskStatus, ThreadStatus};
use crate::store::{Error, Expect};

/// Applies a commit, in the order of its fields.
pub(super) fn commit(session: &Session, rows: &CommitRows) -> Result<()> {
    let base = base(session, rows)?;
    let mut writing = fence(session, rows)?;
    for settlement in &rows.settlements {
        writing.settle(rows, settlement)?;
    }
    for checkpoint in &rows.checkpoints {
        writing.checkpoint(checkpoint)?;
    }
    if let Some(head) = &rows.head {
        let place = writing.place(head, "the head")?;
        check::head(head, &place.namespace)?;
    }
    if let Some(graph) = &rows.graph {
        session.execute(statements::HEAD_PIN, params![writing.thread, graph.as_str()])?;
    }
    writing.tasks(&rows.tasks)?;
    for question in &rows.questions {
        writing.question(question)?;
    }
    for row in &rows.operations {
        journal::operation(session, row)?;
    }
    for row in &rows.hits {
        journal::hit(session, row)?;
    }
    for row in &rows.cache {
        shared::cache(session, row)?;
    }
    for row in &rows.runs {
        runs::update(session, row, Some(&rows.thread), base.as_ref(), rows.at_ms)?;
    }
    trail::extend(session, &rows.audit)?;
    writing.run_on(rows)
}

/// The commit's thread, once the commit has shown its right to write it.
struct Writing<'a> {
    session: &'a Session,
    thread: i64,
    /// The newest version given to a channel value.
    version_last: i64,
    /// The checkpoints that the commit has mentioned.
    places: BTreeMap<CheckpointId, Place>,
}

/// A stored checkpoint: its key and its namespace.
#[derive(Clone)]
struct Place {
    key: i64,
    namespace: Namespace,
}

/// The thread's head as it was before the commit, where a run begins with it: what that has to go back to when it is rolled back.
fn base(session: &Session, rows: &CommitRows) -> Result<Option<CheckpointId>> {
    match &rows.expect {
        Expect::Epoch(_) if rows.runs.iter().any(RunUpdateRow::begins) => runs::head(session, &rows.thread),
        Expect::Epoch(_) | Expect::New(_) => Ok(None),
    }
}

/// Creates the thread, or updates it if its epoch is the expected one.
fn fence<'a>(session: &'a Session, rows: &CommitRows) -> Result<Writing<'a>> {
    let versions_wanted = rows.versions_wanted();
    let owner = rows.claim.as_ref().map(|claim| claim.owner.as_str());
    let lease_until_ms = rows.claim.as_ref().map(|claim| integer(claim.lease_until_ms));
    let head = rows.head.as_ref().map(CheckpointId::as_str);
    let (thread, version_last) = match &rows.expect {
        Expect::New(new) => {
            let parameters = params![
                rows.thread.as_str(),
                new.lineage.as_str(),
                rows.graph.as_ref().unwrap_or(&new.graph).as_str(),
                new.graph_name.as_str(),
                rows.status.name(),
                owner,
                rows.lease_until_ms.or(lease_until_ms),
                head,
                versions_wanted,
                rows.error,
                FORMAT,
                rows.at_ms,
                integer(new.epoch.0),
                new.tenant.as_str(),
                rows.requester,
            ];
            if session.execute(statements::THREAD_INSERT, parameters)? == 0 {
                return Err(Error::ThreadExists(rows.thread.clone()).into());
            }
            let key = session.key_inserted();
            runs::entry_of(session, &rows.thread, new, rows.at_ms)?;
            (key, versions_wanted)
        }
        Expect::Epoch(epoch) => {
            let parameters = params![
                rows.thread.as_str(),
                integer(epoch.0),
                owner,
                lease_until_ms,
                rows.release,
                rows.lease_until_ms,
                head,
                rows.status.name(),
                rows.error,
                FORMAT,
                versions_wanted,
                rows.at_ms,
                rows.graph.as_ref().map(Digest::as_str),
                rows.requester,
            ];
            let updated = session.first(statements::THREAD_UPDATE, parameters, |row| {
                Ok((row.get("thread_key")?, row.get("version_last")?))
            })?;
            updated.ok_or_else(|| not_ours(session, &rows.thread, *epoch))?
        }
    };
    Ok(Writing { session, thread, version_last: version_last - versions_wanted, places: BTreeMap::new() })
}

/// Why a guarded write touched no row.
pub(super) fn not_ours(session: &Session, thread: &ThreadId, expected: Epoch) -> Failure {
    let found =
        session.first(statements::THREAD_EPOCH, params![thread.as_str()], |row| Ok(row.get::<_, i64>("epoch")?));
    match found {
        Err(failure) => failure,
        Ok(None) => Error::ThreadNotFound(thread.clone()).into(),
        Ok(Some(found)) => match u64::try_from(found) {
            Ok(found) => Error::Fenced { thread: thread.clone(), expected, found: Epoch(found) }.into(),
            Err(_) => Failure::corrupt(format!("epoch {found} is out of range")),
        },
    }
}

impl Writing<'_> {
    fn settle(&self, rows: &CommitRows, settlement: &SettlementRow) -> Result<()> {
        let question = settlement.question.as_str();
        let answer = settlement.answer.as_ref();
        let parameters = params![
            self.thread,
            question,
            settlement.status.name(),
            answer.map(|answer| answer.text.as_str()),
            FORMAT,
            answer.map(|answer| answer.proceedings.version),
            answer.and_then(|answer| answer.said.as_deref()),
            answer.map(|answer| approvals::guard_name(answer.guard)),
            rows.at_ms,
            settlement.withdrawn,
        ];
        if self.session.execute(statements::QUESTION_SETTLE, parameters)? == 0 {
            let found =
                self.session.first(statements::QUESTION_SELECT, params![self.thread, question], rows::question)?;
            let said = answer.map(|answer| (answer.guard, &*answer.proceedings));
            return Err(approvals::refusal(&rows.thread, &settlement.question, found, said, rows.at_ms));
        }
        if matches!(settlement.status, QuestionStatus::Answered | QuestionStatus::Cancelled) {
            approvals::revoke_links(self.session, &rows.thread, &settlement.question, rows.at_ms)?;
        }
        Ok(())
    }

    /// A thread that is parked with doubts of which one is settled already would wait for what has come: it runs on.
    fn run_on(&self, rows: &CommitRows) -> Result<()> {
        let parks = matches!(rows.expect, Expect::Epoch(_)) && rows.release && rows.status == ThreadStatus::Interrupted;
        let in_doubt = rows.tasks.iter().filter(|row| parks && row.record.status == TaskStatus::InDoubt);
        for row in in_doubt {
            let details = row.record.error.as_ref().and_then(|error| error.details.as_ref());
            let member = |name: &str| details.and_then(|details| details.get(name)).and_then(Value::as_str);
            let (Some(scope), Some(connector), Some(id)) =
                (member("scope"), member("connector"), member("operation_id"))
            else {
                continue;
            };
            if journal::is_settled(self.session, scope, connector, id)? {
                self.session.execute(statements::THREAD_RUN_ON, params![self.thread])?;
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()> {
        let record = &row.record;
        let mut versions = match &record.parent {
            None => Versions::new(),
            Some(parent) => {
                let (namespace, versions) = self.parent(parent)?;
                check::parent(record, parent, &namespace)?;
                versions
            }
        };
        for change in &row.changes {
            let base = versions.get(change.channel.as_str()).copied();
            self.version_last += 1;
            let version = values::write(self.session, self.thread, change, base, self.version_last)?;
            versions.insert(change.channel.as_str().to_owned(), version);
        }
        let parameters = params![
            self.thread,
            record.id.as_str(),
            record.parent.as_ref().map(CheckpointId::as_str),
            record.step,
            record.source.name(),
            integer(record.clock_ms),
            integer(record.created_at_ms),
            FORMAT,
            row.next,
            row.joins,
            forms::write(&versions),
            record.namespace.as_str(),
            record.graph.as_str(),
            record.anchor.as_str(),
            record.effects.name(),
            row.details,
        ];
        if self.session.execute(statements::CHECKPOINT_INSERT, parameters)? == 0 {
            return Err(Failure::invalid(format!("checkpoint {} is stored already", record.id)));
        }
        let place = Place { key: self.session.key_inserted(), namespace: record.namespace.clone() };
        self.places.insert(record.id.clone(), place);
        Ok(())
    }

    fn parent(&mut self, parent: &CheckpointId) -> Result<(Namespace, Versions)> {
        let found =
            self.session.first(statements::CHECKPOINT_VERSIONS, params![self.thread, parent.as_str()], |row| {
                let place = Place { key: row.get("checkpoint_key")?, namespace: rows::namespace(row)? };
                Ok((place, forms::read(rows::text(row, "versions")?)?))
            })?;
        let (place, versions) = found.ok_or_else(|| check::not_stored("a checkpoint's parent", parent))?;
        let namespace = place.namespace.clone();
        self.places.insert(parent.clone(), place);
        Ok((namespace, versions))
    }

    fn place(&mut self, id: &CheckpointId, what: &str) -> Result<&Place> {
        match self.places.entry(id.clone()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let found =
                    self.session.first(statements::CHECKPOINT_KEY, params![self.thread, id.as_str()], |row| {
                        Ok(Place { key: row.get("checkpoint_key")?, namespace: rows::namespace(row)? })
                    })?;
                Ok(unknown.insert(found.ok_or_else(|| check::not_stored(what, id))?))
            }
        }
    }

    /// Stores tasks. However many there are, what they name is looked up once.
    fn tasks(&mut self, rows: &[TaskRow]) -> Result<()> {
        self.find_children(rows)?;
        let mut upsert = self.session.prepare(statements::TASK_UPSERT)?;
        for row in rows {
            let record = &row.record;
            let own = self.place(&record.checkpoint, "a task's checkpoint")?;
            let key = own.key;
            if let Some(child) = &record.child {
                let own = own.namespace.clone();
                let run = self.places.get(child).ok_or_else(|| check::not_stored("a task's subgraph", child))?;
                check::child(record, &own, child, &run.namespace)?;
            }
            upsert.execute(params![
                key,
                record.id.as_str(),
                record.node.as_str(),
                record.path,
                record.status.name(),
                record.executions,
                integer(record.updated_at_ms),
                FORMAT,
                row.error,
                row.result,
                record.child.as_ref().map(CheckpointId::as_str),
                record.steps_left,
            ])?;
        }
        Ok(())
    }

    /// Looks up those of the tasks' subgraphs that the commit has not mentioned.
    fn find_children(&mut self, rows: &[TaskRow]) -> Result<()> {
        let children = rows.iter().filter_map(|row| row.record.child.as_ref());
        let unknown: BTreeSet<&str> =
            children.filter(|child| !self.places.contains_key(*child)).map(CheckpointId::as_str).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let parameters = params![self.thread, forms::write(&unknown)];
        let found = self.session.all(statements::CHECKPOINT_KEYS, parameters, |row| {
            let place = Place { key: row.get("checkpoint_key")?, namespace: rows::namespace(row)? };
            Ok((rows::checkpoint_id(row, "checkpoint_id")?, place))
        })?;
        self.places.extend(found);
        Ok(())
    }

    fn question(&mut self, row: &QuestionRow) -> Result<()> {
        let record = &row.record;
        let checkpoint = self.place(&record.checkpoint, "a question's checkpoint")?.key;
        let parameters = params![
            self.thread,
            record.id.as_str(),
            checkpoint,
            record.task.as_str(),
            record.node.as_str(),
            record.occurrence,
            record.payload_digest.as_str(),
            integer(record.asked_at_ms),
            record.deadline_at_ms.map(integer),
            record.status.name(),
            FORMAT,
            row.answer,
            row.answer_schema,
            row.policy,
            row.payload,
            record.due_at_ms.map(integer),
            record.proceedings.version,
            row.proceedings,
        ];
        match self.session.execute(statements::QUESTION_INSERT, parameters) {
            Ok(_) => Ok(()),
            Err(error) if is_foreign_key_violation(&error) => {
                Err(Failure::invalid(format!("the task of question {} is not stored", record.id)))
            }
            Err(error) => Err(error.into()),
        }
    }
}
