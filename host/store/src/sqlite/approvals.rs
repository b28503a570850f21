//! Questions across threads, and their changes.

use async_trait::async_trait;
use holdpoint_graph::ids::{Epoch, QuestionId, Tenant, ThreadId};
use rusqlite::{Row, params};

use super::commit_rows::{self, OperationRow};
use super::failure::{Failure, Result};
use super::forms::{self, FORMAT};
use super::rows::{self, integer};
use super::session::Session;
use super::statements::{FIRST_PLACE, Place};
use super::{SqliteStore, journal, proceedings, statements, trail};
use crate::approvals::{
    Approvals, Changed, DeadlineGuard, Proceedings, QuestionChange, QuestionCounts, QuestionFilter, ReplyRecord,
    ThreadQuestion,
};
use crate::check;
use crate::records::{QuestionRecord, QuestionStatus, ThreadStatus};
use crate::store::Error;

/// A change as the writer applies it: what is JSON in its rows is text already.
struct ChangeRows {
    change: QuestionChange,
    answer: Option<String>,
    said: Option<String>,
    reply: Option<String>,
    operations: Vec<OperationRow>,
}

impl ChangeRows {
    fn new(mut change: QuestionChange) -> Self {
        let operations = std::mem::take(&mut change.operations);
        Self {
            answer: change.answer.as_ref().map(forms::write_answer),
            said: proceedings::write(&change.proceedings),
            reply: change.reply.as_ref().map(|reply| forms::write(&reply.body)),
            operations: operations.into_iter().map(commit_rows::operation).collect(),
            change,
        }
    }
}

/// Changes a question. What is refused is found out in the order in which a caller wants to know it: that it asked before, who won, that it is
/// too late, that somebody else had a say.
fn change(session: &Session, rows: &ChangeRows) -> Result<Changed> {
    let ChangeRows { change, answer, .. } = rows;
    let at_ms = integer(change.at_ms);
    if let (Some(reply), Some(body)) = (&change.reply, &rows.reply) {
        use_key(session, reply, body, change.at_ms)?;
    }
    let status = if answer.is_some() { QuestionStatus::Answered } else { QuestionStatus::Pending };
    let due_at_ms = change.due_at_ms.filter(|_| answer.is_none());
    let parameters = params![
        change.thread.as_str(),
        change.question.as_str(),
        status.name(),
        answer,
        FORMAT,
        due_at_ms.map(integer),
        change.proceedings.version,
        rows.said,
        guard_name(change.guard),
        at_ms,
    ];
    if session.execute(statements::QUESTION_CHANGE, parameters)? == 0 {
        let parameters = params![change.thread.as_str(), change.question.as_str()];
        let found = session.first(statements::QUESTION_OF_THREAD, parameters, rows::question)?;
        let said = Some((change.guard, &change.proceedings));
        return Err(refusal(&change.thread, &change.question, found, said, at_ms));
    }
    let changed = if answer.is_some() { wake(session, change)? } else { Changed::default() };
    if let Some(link) = &change.link {
        let parameters = params![link.as_str(), change.thread.as_str(), change.question.as_str(), at_ms];
        if session.execute(statements::LINK_USE, parameters)? == 0 {
            return Err(Error::LinkUsed.into());
        }
    }
    if answer.is_some() {
        revoke_links(session, &change.thread, &change.question, at_ms)?;
    }
    for row in &rows.operations {
        journal::queue_once(session, row)?;
    }
    trail::extend(session, &change.audit)?;
    Ok(changed)
}

/// Stores what is replied, unless the key was used before.
fn use_key(session: &Session, reply: &ReplyRecord, body: &str, at_ms: u64) -> Result<()> {
    let parameters = params![
        reply.actor,
        reply.key,
        reply.request.as_str(),
        reply.status,
        integer(reply.expires_at_ms),
        body,
        integer(at_ms),
    ];
    if session.execute(statements::REPLY_INSERT, parameters)? == 1 {
        return Ok(());
    }
    let known = read_reply(session, &reply.actor, &reply.key, at_ms)?;
    Err(known.map_or_else(
        || Failure::corrupt("a reply is there and is not"),
        |known| Error::KeyUsed(Box::new(known)).into(),
    ))
}

/// Wakes the thread of an answered question, now or when it parks.
fn wake(session: &Session, change: &QuestionChange) -> Result<Changed> {
    let claim = change.claim.as_ref();
    let parameters = params![
        change.thread.as_str(),
        claim.map(|claim| claim.owner.as_str()),
        claim.map(|claim| integer(claim.lease_until_ms)),
        integer(change.at_ms),
    ];
    let epoch = session.first(statements::THREAD_WAKE, parameters, |row| rows::unsigned(row, "epoch"))?;
    if let Some(epoch) = epoch {
        return Ok(Changed { claimed: claim.map(|_| Epoch(epoch)), woken: true });
    }
    let later = session.execute(statements::THREAD_WAKE_LATER, params![change.thread.as_str()])?;
    Ok(Changed { claimed: None, woken: later == 1 })
}

/// Closes the links to a question that nobody has used.
pub(super) fn revoke_links(session: &Session, thread: &ThreadId, question: &QuestionId, at_ms: i64) -> Result<()> {
    session.execute(statements::LINKS_REVOKE, params![thread.as_str(), question.as_str(), at_ms])?;
    Ok(())
}

/// What a guard is called in statements.
pub(super) fn guard_name(guard: DeadlineGuard) -> &'static str {
    match guard {
        DeadlineGuard::Open => "open",
        DeadlineGuard::Passed => "passed",
    }
}

/// Why a question did not change as it was found.
pub(super) fn refusal(
    thread: &ThreadId,
    question: &QuestionId,
    found: Option<QuestionRecord>,
    said: Option<(DeadlineGuard, &Proceedings)>,
    at_ms: i64,
) -> Failure {
    let Some(found) = found else {
        return Error::QuestionNotFound { thread: thread.clone(), question: question.clone() }.into();
    };
    if found.status != QuestionStatus::Pending {
        return Error::QuestionSettled(Box::new(found)).into();
    }
    let refused = said.map(|(guard, said)| check::say(&found, guard, said, at_ms.unsigned_abs()));
    match refused {
        Some(Err(error)) => error.into(),
        _ => Failure::corrupt(format!("question {question} is pending and cannot be changed")),
    }
}

fn with_thread(row: &Row<'_>) -> Result<ThreadQuestion> {
    Ok(ThreadQuestion {
        thread: rows::id(row, "thread_id")?,
        tenant: rows::id(row, "tenant")?,
        graph_name: rows::id(row, "graph_name")?,
        thread_status: rows::name(row, "thread_status", ThreadStatus::parse)?,
        question: rows::question(row)?,
    })
}

fn read_page(session: &Session, filter: &QuestionFilter) -> Result<Vec<ThreadQuestion>> {
    let after = match &filter.after {
        None => FIRST_PLACE,
        Some(id) => {
            let parameters = params![id.as_str(), filter.thread.as_ref().map(ThreadId::as_str)];
            let place = session.first(statements::QUESTION_PLACE, parameters, |row| -> Result<Place> {
                Ok((row.get("deadline_order")?, row.get("asked_order")?, row.get("question_key")?))
            })?;
            let Some(place) = place else { return Ok(Vec::new()) };
            place
        }
    };
    let (sql, parameters) = statements::questions(filter, after);
    session.all(&sql, rusqlite::params_from_iter(parameters), with_thread)
}

fn read_counts(session: &Session, tenant: Option<&Tenant>, now_ms: u64) -> Result<QuestionCounts> {
    let counts = |row: &Row<'_>| {
        Ok(QuestionCounts {
            pending: rows::unsigned(row, "pending")?,
            overdue: rows::unsigned(row, "overdue")?,
            oldest_asked_at_ms: rows::optional_unsigned(row, "oldest_asked_at_ms")?,
        })
    };
    // What has no deadline stands at the largest number.
    let now_ms = integer(now_ms).min(i64::MAX - 1);
    let found = match tenant {
        Some(tenant) => session.first(statements::QUESTIONS_COUNT, params![now_ms, tenant.as_str()], counts),
        None => session.first(statements::QUESTIONS_COUNT_EVERYWHERE, params![now_ms], counts),
    };
    Ok(found?.unwrap_or_default())
}

fn read_reply(session: &Session, actor: &str, key: &str, now_ms: u64) -> Result<Option<ReplyRecord>> {
    session.first(statements::REPLY_SELECT, params![actor, key, integer(now_ms)], |row| {
        Ok(ReplyRecord {
            actor: row.get("actor")?,
            key: row.get("idempotency_key")?,
            request: rows::digest(row, "request")?,
            status: row.get("http_status")?,
            body: forms::read(rows::text(row, "body")?)?,
            expires_at_ms: rows::unsigned(row, "expires_at_ms")?,
        })
    })
}

#[async_trait]
impl Approvals for SqliteStore {
    async fn change_question(&self, changing: QuestionChange) -> std::result::Result<Changed, Error> {
        check::change(&changing)?;
        let rows = ChangeRows::new(changing);
        self.write(true, move |session| change(session, &rows)).await
    }

    async fn find_question(&self, question: &QuestionId) -> std::result::Result<Option<ThreadQuestion>, Error> {
        let question = question.clone();
        let read =
            move |session: &Session| session.first(statements::QUESTION_FIND, params![question.as_str()], with_thread);
        self.readers.read(read).await
    }

    async fn questions(&self, filter: &QuestionFilter) -> std::result::Result<Vec<ThreadQuestion>, Error> {
        let filter = filter.clone();
        self.readers.read(move |session| read_page(session, &filter)).await
    }

    async fn due_questions(&self, now_ms: u64, limit: usize) -> std::result::Result<Vec<ThreadQuestion>, Error> {
        let read = move |session: &Session| {
            session.all(statements::QUESTIONS_DUE, params![integer(now_ms), rows::bound(limit)], with_thread)
        };
        self.readers.read(read).await
    }

    async fn count_questions(
        &self,
        tenant: Option<&Tenant>,
        now_ms: u64,
    ) -> std::result::Result<QuestionCounts, Error> {
        let tenant = tenant.cloned();
        self.readers.read(move |session| read_counts(session, tenant.as_ref(), now_ms)).await
    }

    async fn reply(&self, actor: &str, key: &str, now_ms: u64) -> std::result::Result<Option<ReplyRecord>, Error> {
        let (actor, key) = (actor.to_owned(), key.to_owned());
        self.readers.read(move |session| read_reply(session, &actor, &key, now_ms)).await
    }

    async fn clear_replies(&self, now_ms: u64) -> std::result::Result<u64, Error> {
        let clear = move |session: &Session| {
            let replies = session.execute(statements::REPLIES_CLEAR, params![integer(now_ms)])?;
            let links = session.execute(statements::LINKS_CLEAR, params![integer(now_ms)])?;
            Ok(rows::counted(replies + links))
        };
        self.write(false, clear).await
    }
}
