//! Applies one commit inside the writer's transaction. The number of statements depends on what the commit holds, never on what is stored.

use std::collections::BTreeMap;

use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use rusqlite::params;

use super::commit_rows::{CheckpointRow, CommitRows, QuestionRow, SettlementRow, TaskRow};
use super::failure::{Failure, Result, is_foreign_key_violation};
use super::forms::{self, FORMAT};
use super::rows::{self, integer};
use super::session::Session;
use super::values::{self, Versions};
use super::{journal, statements};
use crate::store::{Content, Error, Expect};

/// Applies a commit, in the order of its fields.
pub(super) fn commit(session: &Session, rows: &CommitRows) -> Result<()> {
    let mut writing = fence(session, rows)?;
    for settlement in &rows.settlements {
        writing.settle(rows, settlement)?;
    }
    for checkpoint in &rows.checkpoints {
        writing.checkpoint(checkpoint)?;
    }
    if let Some(head) = &rows.head {
        writing.checkpoint_key(head, "the head")?;
    }
    for task in &rows.tasks {
        writing.task(task)?;
    }
    for question in &rows.questions {
        writing.question(question)?;
    }
    for row in &rows.operations {
        journal::operation(session, row)?;
    }
    for row in &rows.hits {
        journal::hit(session, row)?;
    }
    Ok(())
}

/// Removes a thread; what only it holds goes with it by foreign keys.
pub(super) fn delete_thread(session: &Session, thread: &ThreadId, epoch: Epoch) -> Result<()> {
    if session.execute(statements::THREAD_DELETE, params![thread.as_str(), integer(epoch.0)])? == 1 {
        Ok(())
    } else {
        Err(not_ours(session, thread, epoch))
    }
}

/// Stores contents whose digests have been checked.
pub(super) fn contents(session: &Session, contents: &[Content]) -> Result<()> {
    for content in contents {
        session.execute(statements::CONTENT_INSERT, params![content.digest.as_str(), content.bytes])?;
    }
    Ok(())
}

/// The commit's thread, once the commit has shown its right to write it.
struct Writing<'a> {
    session: &'a Session,
    thread: i64,
    /// The newest version given to a channel value.
    version_last: i64,
    /// Keys of the checkpoints that the commit has mentioned.
    keys: BTreeMap<CheckpointId, i64>,
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
                new.graph.as_str(),
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
            ];
            if session.execute(statements::THREAD_INSERT, parameters)? == 0 {
                return Err(Error::ThreadExists(rows.thread.clone()).into());
            }
            (session.key_inserted(), versions_wanted)
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
            ];
            let updated = session.first(statements::THREAD_UPDATE, parameters, |row| {
                Ok((row.get("thread_key")?, row.get("version_last")?))
            })?;
            updated.ok_or_else(|| not_ours(session, &rows.thread, *epoch))?
        }
    };
    Ok(Writing { session, thread, version_last: version_last - versions_wanted, keys: BTreeMap::new() })
}

/// Why a guarded write touched no row.
fn not_ours(session: &Session, thread: &ThreadId, expected: Epoch) -> Failure {
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
        let parameters = params![self.thread, question, settlement.status.name(), settlement.answer, FORMAT];
        if self.session.execute(statements::QUESTION_SETTLE, parameters)? == 1 {
            return Ok(());
        }
        match self.session.first(statements::QUESTION_SELECT, params![self.thread, question], rows::question)? {
            Some(winner) => Err(Error::QuestionSettled(Box::new(winner)).into()),
            None => {
                Err(Error::QuestionNotFound { thread: rows.thread.clone(), question: settlement.question.clone() }
                    .into())
            }
        }
    }

    fn checkpoint(&mut self, row: &CheckpointRow) -> Result<()> {
        let record = &row.record;
        let mut versions = match &record.parent {
            None => Versions::new(),
            Some(parent) => self.versions_of(parent)?,
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
        ];
        if self.session.execute(statements::CHECKPOINT_INSERT, parameters)? == 0 {
            return Err(Failure::invalid(format!("checkpoint {} is stored already", record.id)));
        }
        self.keys.insert(record.id.clone(), self.session.key_inserted());
        Ok(())
    }

    fn versions_of(&mut self, parent: &CheckpointId) -> Result<Versions> {
        let found =
            self.session.first(statements::CHECKPOINT_VERSIONS, params![self.thread, parent.as_str()], |row| {
                Ok((row.get("checkpoint_key")?, forms::read(rows::text(row, "versions")?)?))
            })?;
        let (key, versions) = found.ok_or_else(|| not_stored("a checkpoint's parent", parent))?;
        self.keys.insert(parent.clone(), key);
        Ok(versions)
    }

    fn checkpoint_key(&mut self, id: &CheckpointId, what: &str) -> Result<i64> {
        if let Some(key) = self.keys.get(id) {
            return Ok(*key);
        }
        let found = self.session.first(statements::CHECKPOINT_KEY, params![self.thread, id.as_str()], |row| {
            Ok(row.get("checkpoint_key")?)
        })?;
        let key = found.ok_or_else(|| not_stored(what, id))?;
        self.keys.insert(id.clone(), key);
        Ok(key)
    }

    fn task(&mut self, row: &TaskRow) -> Result<()> {
        let record = &row.record;
        let checkpoint = self.checkpoint_key(&record.checkpoint, "a task's checkpoint")?;
        let parameters = params![
            checkpoint,
            record.id.as_str(),
            record.node.as_str(),
            record.path,
            record.status.name(),
            record.executions,
            integer(record.updated_at_ms),
            FORMAT,
            row.error,
            row.result,
        ];
        self.session.execute(statements::TASK_UPSERT, parameters)?;
        Ok(())
    }

    fn question(&mut self, row: &QuestionRow) -> Result<()> {
        let record = &row.record;
        let checkpoint = self.checkpoint_key(&record.checkpoint, "a question's checkpoint")?;
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

fn not_stored(what: &str, id: &CheckpointId) -> Failure {
    Failure::invalid(format!("{what} is not stored: {id}"))
}
