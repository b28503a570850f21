//! Questions across threads, replies, links.

use rusqlite::types::Value;

use crate::approvals::QuestionFilter;
use crate::records::QuestionStatus;

/// Compare and set, of a pending question of thread `?1`: its proceedings' version was the one before `?7`, and its deadline is `open` or `passed`
/// (`?9`) at `?10`.
pub(in crate::sqlite) const QUESTION_CHANGE: &str = "
    update question
    set status = ?3,
        answer = ?4,
        format = ?5,
        due_at_ms = ?6,
        proceedings_version = ?7,
        proceedings = ?8
    where thread_key = (select thread.thread_key from thread where thread.thread_id = ?1)
      and question_id = ?2
      and status = 'pending'
      and proceedings_version = ?7 - 1
      and iif(deadline_order <= ?10, 'passed', 'open') = ?9";

pub(in crate::sqlite) const QUESTION_OF_THREAD: &str = "
    select question.question_id, checkpoint.checkpoint_id, question.task_id, question.node, question.occurrence,
           question.payload_digest, question.asked_at_ms, question.deadline_at_ms, question.status, question.format,
           question.answer, question.answer_schema, question.policy, question.payload, question.due_at_ms,
           question.proceedings_version, question.proceedings
    from thread
         cross join question on question.thread_key = thread.thread_key
         cross join checkpoint on checkpoint.checkpoint_key = question.checkpoint_key
    where thread.thread_id = ?1 and question.question_id = ?2";

/// The columns of a question with its thread. `cross join` keeps the questions first, in the order in which they are wanted.
macro_rules! with_thread {
    ($($rest:literal)*) => {
        concat!(
            "select question.question_id, checkpoint.checkpoint_id, question.task_id, question.node, question.occurrence,
           question.payload_digest, question.asked_at_ms, question.deadline_at_ms, question.status, question.format,
           question.answer, question.answer_schema, question.policy, question.payload, question.due_at_ms,
           question.proceedings_version, question.proceedings,
           thread.thread_id, thread.tenant, thread.graph_name, thread.status as thread_status
    from question
         cross join thread on thread.thread_key = question.thread_key
         cross join checkpoint on checkpoint.checkpoint_key = question.checkpoint_key
    ",
            $($rest),*
        )
    };
}

/// By its id: the pending one, else the one stored first.
pub(in crate::sqlite) const QUESTION_FIND: &str = with_thread!(
    "where question.question_id = ?1
    order by question.status <> 'pending', question.question_key
    limit 1"
);

pub(in crate::sqlite) const QUESTIONS_DUE: &str = with_thread!(
    "where question.status = 'pending' and question.due_at_ms is not null and question.due_at_ms <= ?1
    order by question.due_at_ms, question.question_key
    limit ?2"
);

/// Where the one with id `?1`, of thread `?2` if given, stands in the orders of listing. Of several the last.
pub(in crate::sqlite) const QUESTION_PLACE: &str = "
    select question.deadline_order, question.asked_order, question.question_key
    from question cross join thread on thread.thread_key = question.thread_key
    where question.question_id = ?1 and (?2 is null or thread.thread_id = ?2)
    order by question.question_key desc
    limit 1";

/// Where a question stands in the orders of listing: its deadline's place, its age's, its key.
pub(in crate::sqlite) type Place = (i64, i64, i64);

/// Before all questions.
pub(in crate::sqlite) const FIRST_PLACE: Place = (i64::MIN, i64::MIN, i64::MIN);

/// A page of questions after a place, with its parameters. One text for each shape of filter, so that each finds its index.
pub(in crate::sqlite) fn questions(filter: &QuestionFilter, after: Place) -> (String, Vec<Value>) {
    let mut parameters = Vec::new();
    let mut bind = |value: Value| {
        parameters.push(value);
        format!("?{}", parameters.len())
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let limit = bind(Value::Integer(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    let mut conditions = String::new();
    let mut and = |condition: String| {
        conditions += "\n      and ";
        conditions += &condition;
    };
    if let Some(tenant) = &filter.tenant {
        and(format!("question.tenant = {}", bind(text(tenant.as_str()))));
    }
    if let Some(thread) = &filter.thread {
        let id = bind(text(thread.as_str()));
        and(format!("question.thread_key = (select thread_key from thread where thread_id = {id})"));
    }
    if let Some(graph) = &filter.graph_name {
        and(format!("thread.graph_name = {}", bind(text(graph.as_str()))));
    }
    let (deadline, asked, key) = (Value::Integer(after.0), Value::Integer(after.1), Value::Integer(after.2));
    let by_deadline = "question.deadline_order, question.asked_order, question.question_key";
    let by_age = "question.asked_order, question.question_key";
    let listed = with_thread!("where question.status = ");
    let status = |status: QuestionStatus| format!("'{}'", status.name());
    let pending = status(QuestionStatus::Pending);
    let sql = match (filter.status, filter.deadline_until_ms) {
        (Some(QuestionStatus::Pending), _) | (None, Some(_)) => {
            // What has no deadline stands at the largest number, which no deadline is.
            let until_ms = filter
                .deadline_until_ms
                .map_or(i64::MAX, |until_ms| i64::try_from(until_ms).unwrap_or(i64::MAX).min(i64::MAX - 1));
            let (deadline, asked, key) = (bind(deadline), bind(asked), bind(key));
            let until = bind(Value::Integer(until_ms));
            format!(
                "{listed}{pending}{conditions}
      and ({by_deadline}) > ({deadline}, {asked}, {key})
      and question.deadline_order <= {until}
    order by {by_deadline}
    limit {limit}"
            )
        }
        // A closed question has no deadline any more.
        (Some(_), Some(_)) => format!("{listed}{pending} and false{conditions}\n    limit {limit}"),
        (Some(closed), None) => {
            let (closed, asked, key) = (status(closed), bind(asked), bind(key));
            format!(
                "{listed}{closed}{conditions}
      and ({by_age}) > ({asked}, {key})
    order by {by_age}
    limit {limit}"
            )
        }
        (None, None) => {
            let (asked, key) = (bind(asked), bind(key));
            // The newest of each status, since each has its own stretch of the index.
            let newest = QuestionStatus::NAMES.map(|(_, name)| {
                format!(
                    "select * from (select question.question_key
    from question cross join thread on thread.thread_key = question.thread_key
    where question.status = '{name}'{conditions}
      and ({by_age}) > ({asked}, {key})
    order by {by_age}
    limit {limit})"
                )
            });
            let all = QuestionStatus::NAMES.map(|(_, name)| format!("'{name}'")).join(", ");
            let listed = with_thread!("where question.question_key in (");
            format!(
                "{listed}{})
      and question.status in ({all})
    order by {by_age}
    limit {limit}",
                newest.join("\n    union all\n    ")
            )
        }
    };
    (sql, parameters)
}

/// How many wait, how many of them are overdue at `?1`, since when the oldest waits; of tenant `?2`.
pub(in crate::sqlite) const QUESTIONS_COUNT: &str = "
    select (select count(*) from question where status = 'pending' and tenant = ?2) as pending,
           (select count(*) from question where status = 'pending' and tenant = ?2 and deadline_order <= ?1) as overdue,
           (select asked_at_ms from question where status = 'pending' and tenant = ?2
            order by asked_order desc limit 1) as oldest_asked_at_ms";

/// The same of all tenants.
pub(in crate::sqlite) const QUESTIONS_COUNT_EVERYWHERE: &str = "
    select (select count(*) from question where status = 'pending') as pending,
           (select count(*) from question where status = 'pending' and deadline_order <= ?1) as overdue,
           (select asked_at_ms from question where status = 'pending'
            order by asked_order desc limit 1) as oldest_asked_at_ms";

// Replies.

/// One whose time is over at `?7` gives way.
pub(in crate::sqlite) const REPLY_INSERT: &str = "
    insert into reply (actor, idempotency_key, request, http_status, expires_at_ms, body)
    values (?1, ?2, ?3, ?4, ?5, ?6)
    on conflict (actor, idempotency_key) do update
    set request = excluded.request,
        http_status = excluded.http_status,
        expires_at_ms = excluded.expires_at_ms,
        body = excluded.body
    where reply.expires_at_ms <= ?7";

pub(in crate::sqlite) const REPLY_SELECT: &str = "
    select actor, idempotency_key, request, http_status, expires_at_ms, body
    from reply
    where actor = ?1 and idempotency_key = ?2 and expires_at_ms > ?3";

pub(in crate::sqlite) const REPLIES_CLEAR: &str = "
    delete from reply
    where expires_at_ms <= ?1";

// Links.

pub(in crate::sqlite) const LINK_INSERT: &str = "
    insert into approval_link (digest, thread_id, question_id, subject, created_at_ms, expires_at_ms, used_at_ms)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    on conflict (digest) do nothing";

pub(in crate::sqlite) const LINK_SELECT: &str = "
    select digest, thread_id, question_id, subject, created_at_ms, expires_at_ms, used_at_ms
    from approval_link
    where digest = ?1";

/// Compare and set: of two uses one finds the link unused.
pub(in crate::sqlite) const LINK_USE: &str = "
    update approval_link
    set used_at_ms = ?4
    where digest = ?1 and thread_id = ?2 and question_id = ?3 and used_at_ms is null and expires_at_ms > ?4";

pub(in crate::sqlite) const LINKS_REVOKE: &str = "
    update approval_link
    set used_at_ms = ?3
    where question_id = ?2 and thread_id = ?1 and used_at_ms is null";

pub(in crate::sqlite) const LINKS_CLEAR: &str = "
    delete from approval_link
    where expires_at_ms <= ?1";
