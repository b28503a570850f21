//! Questions between asking and answer: votes, delegations, escalations, and the one write that any of them is.
//!
//! None of it needs a claim on the thread: a question's own version and status decide who wins, so a person never waits for a worker.

use async_trait::async_trait;
use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{Epoch, GraphName, QuestionId, Tenant, ThreadId};
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_graph::operation::OperationRecord;
use serde_json::Value;

use crate::audit::AuditEntry;
use crate::records::{QuestionRecord, QuestionStatus, ThreadStatus};
use crate::store::{Claim, Error};

/// What was said of a question so far. Recorded with it as a whole; its version counts the changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Proceedings {
    /// Changes so far.
    pub version: u32,
    /// Who may answer besides those whom the policy names, each with why: added by escalation and delegation. Labels as in the graph file: a user,
    /// or `group:NAME`.
    pub added: Vec<Added>,
    /// Votes that count, oldest first. An edit removes those before it.
    pub votes: Vec<Vote>,
    /// What is voted on, once somebody edited it.
    pub proposal: Option<Proposal>,
    /// Steps of the escalation ladder that were taken.
    pub escalated: u32,
    /// Reminders that were sent.
    pub reminded: u32,
    /// Who withdrew it, where nobody answered it and nothing took its place.
    pub withdrawn: Option<Withdrawn>,
}

/// Who withdrew a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Who.
    pub by: Actor,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Somebody who may answer since the question was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// A user, or `group:NAME`.
    pub to: String,
    /// In whose place, for a delegation.
    pub on_behalf_of: Option<String>,
    /// Until when, in milliseconds since 1970; none means as long as the question stands.
    pub until_ms: Option<u64>,
    /// Why, in the words of whoever handed it on.
    pub reason: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// One person's word on a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Vote {
    /// Who.
    pub by: Actor,
    /// In whose place, where it was delegated.
    pub on_behalf_of: Option<String>,
    /// What.
    pub verdict: Verdict,
    /// The value that the node gets should this vote decide.
    pub value: Value,
    /// Why, in the voter's words.
    pub reason: Option<String>,
    /// Digest of what the voter was shown.
    pub digest: Digest,
    /// An administrator's word that decides alone, whoever may answer and however many it takes (break-glass).
    pub break_glass: bool,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// An edited form of what was asked, on which the votes are.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The value that the node is to get.
    pub value: Value,
    /// Its digest: what votes have to name from now on.
    pub digest: Digest,
    /// Who edited it.
    pub by: Actor,
}

/// One change of a pending question, all of it or nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionChange {
    /// The question's thread.
    pub thread: ThreadId,
    /// The question.
    pub question: QuestionId,
    /// Its proceedings from now on. Their version is the stored one's plus one, or nothing is written.
    pub proceedings: Proceedings,
    /// When the monitor has to look at it next.
    pub due_at_ms: Option<u64>,
    /// What must hold of its deadline at `at_ms`, or nothing is written.
    pub guard: DeadlineGuard,
    /// Ends the question. A thread that waits is woken: it becomes running and nobody's, its epoch rises by one, so that whoever looks for work
    /// continues it and whoever was about to claim it from an older reading does not. One that somebody advances is woken when it parks: the commit
    /// that makes it interrupted makes it running and nobody's instead.
    pub answer: Option<Answer>,
    /// With an answer that wakes a thread: claims it in the same step.
    pub claim: Option<Claim>,
    /// Operations to be queued with it: notices. One whose key is there already stays as it is.
    pub operations: Vec<OperationRecord>,
    /// What was replied, under the caller's idempotency key; refused when the key was used before.
    pub reply: Option<ReplyRecord>,
    /// The approval link that was used for it; refused when it was used or revoked before. An answer revokes all links of its question.
    pub link: Option<Digest>,
    /// What is put on the record of it, in order.
    pub audit: Vec<AuditEntry>,
    /// The host's clock, read once for everything in it, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What must hold of a question's deadline. A moment that is the deadline is past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadlineGuard {
    /// It has not come, or there is none.
    Open,
    /// It has come.
    Passed,
}

impl DeadlineGuard {
    /// What must hold for an answer with this verdict: the deadline gives `expired`, and nobody else does.
    pub fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Expired => Self::Passed,
            Verdict::Accept | Verdict::Edit | Verdict::Respond | Verdict::Reject | Verdict::Ignore => Self::Open,
        }
    }
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// The epoch of the claim, where the thread was claimed.
    pub claimed: Option<Epoch>,
    /// The thread was woken, now or when it parks.
    pub woken: bool,
}

/// A question with what its thread tells about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadQuestion {
    /// Its thread.
    pub thread: ThreadId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The thread's graph.
    pub graph_name: GraphName,
    /// What the thread is doing.
    pub thread_status: ThreadStatus,
    /// The question.
    pub question: QuestionRecord,
}

/// Which questions to list, across threads. Pending ones come soonest deadline first and those without one last; among equals, and all others, by
/// time of asking, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionFilter {
    /// Only those of this tenant.
    pub tenant: Option<Tenant>,
    /// Only those in this status.
    pub status: Option<QuestionStatus>,
    /// Only those of threads of this graph.
    pub graph_name: Option<GraphName>,
    /// Only those of this thread.
    pub thread: Option<ThreadId>,
    /// Only pending ones whose deadline is not after this moment, in milliseconds since 1970.
    pub deadline_until_ms: Option<u64>,
    /// Passes over everything up to and with this one, for the next page.
    pub after: Option<QuestionId>,
    /// At most this many.
    pub limit: usize,
}

impl QuestionFilter {
    /// Pending questions.
    pub fn pending(limit: usize) -> Self {
        Self {
            tenant: None,
            status: Some(QuestionStatus::Pending),
            graph_name: None,
            thread: None,
            deadline_until_ms: None,
            after: None,
            limit,
        }
    }
}

/// How many questions wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuestionCounts {
    /// Pending ones.
    pub pending: u64,
    /// Pending ones whose deadline has come.
    pub overdue: u64,
    /// When the oldest pending one was asked, in milliseconds since 1970.
    pub oldest_asked_at_ms: Option<u64>,
}

/// What was replied to a request with an idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyRecord {
    /// Whose key it is: the actor's id. Equal keys of different actors are different keys.
    pub actor: String,
    /// The key.
    pub key: String,
    /// Digest of the request.
    pub request: Digest,
    /// The reply's HTTP status.
    pub status: u16,
    /// The reply's body.
    pub body: Value,
    /// Until when it is kept, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// Questions across threads, and changes that need no claim on a thread.
#[async_trait]
pub trait Approvals: Send + Sync {
    /// Changes a pending question.
    ///
    /// # Errors
    /// [`Error::QuestionNotFound`]; [`Error::QuestionSettled`] with the winner; [`Error::QuestionChanged`]; [`Error::DeadlinePassed`], or
    /// [`Error::Invalid`] when it was to have passed and has not; [`Error::KeyUsed`]; [`Error::LinkUsed`]; [`Error::Full`], [`Error::ReadOnly`]:
    /// nothing was written. [`Error::Unavailable`]: the outcome is unknown, read before trying again.
    async fn change_question(&self, change: QuestionChange) -> Result<Changed, Error>;

    /// A question by its id, in whichever thread it is. A copied thread keeps closed questions of its original: of several, the pending one, else
    /// the one that was stored first.
    async fn find_question(&self, question: &QuestionId) -> Result<Option<ThreadQuestion>, Error>;

    /// Questions across threads. Costs nothing for those that are passed over by tenant, status or page.
    async fn questions(&self, filter: &QuestionFilter) -> Result<Vec<ThreadQuestion>, Error>;

    /// Pending questions that the monitor has to look at at `now_ms`, the longest due first, at most `limit`. Costs nothing for those that are not due.
    async fn due_questions(&self, now_ms: u64, limit: usize) -> Result<Vec<ThreadQuestion>, Error>;

    /// How many questions wait.
    async fn count_questions(&self, tenant: Option<&Tenant>, now_ms: u64) -> Result<QuestionCounts, Error>;

    /// What was replied to an actor's request with a key; none when its time is over at `now_ms`.
    async fn reply(&self, actor: &str, key: &str, now_ms: u64) -> Result<Option<ReplyRecord>, Error>;

    /// Removes replies whose time is over, and links likewise. Gives their number.
    async fn clear_replies(&self, now_ms: u64) -> Result<u64, Error>;
}
