//! Decisions on questions. They need no claim on the thread: a person never waits for a worker.

use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_graph::notice::{AddedBy, NoticeKind};
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::{
    Added, AuditEntry, DeadlineGuard, Proceedings, QuestionChange, QuestionFilter, QuestionRecord, QuestionStatus,
    ReplyRecord, ThreadQuestion,
};
use serde_json::{Value, json};

use super::take::Taken;
use super::{Engine, record};
use crate::approvals::approval::Approval;
use crate::approvals::decide::{self, Outcome, Word};
use crate::approvals::notice::{Subject, Telling, notice};
use crate::approvals::people::{Person, Seat};
use crate::approvals::policy::Policy;
use crate::approvals::shape::Shape;
use crate::approvals::time;
use crate::error::Error;

/// Times that a change is tried anew because somebody else had a say meanwhile. Each time somebody got through, so this many people at once are
/// served.
const ATTEMPTS_MAX: usize = 64;

/// A status for a request that was done (HTTP).
const OK: u16 = 200;

/// What somebody decides on a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What.
    pub verdict: Verdict,
    /// The whole value that the node gets; made from the verdict where it is not given.
    pub value: Option<Value>,
    /// Other arguments for what is asked about, with [`Verdict::Edit`].
    pub args: Option<Value>,
    /// Why, or the response.
    pub message: Option<String>,
    /// Digest of what they were shown: [`Approval::digest`].
    pub digest: Digest,
    /// In whose place; found out where they have one place only.
    pub on_behalf_of: Option<String>,
    /// The request's idempotency key.
    pub reply: Option<ReplyKey>,
    /// The approval link through which it came: used up with it.
    pub link: Option<Digest>,
    /// It decides alone, whoever may answer, however many it takes and whose doing is asked about, where the question's policy lets an administrator
    /// do that. Whoever calls answers for the principal being one.
    pub break_glass: bool,
}

impl Decision {
    /// A verdict on what was shown, and nothing else.
    pub fn new(verdict: Verdict, digest: Digest) -> Self {
        Self {
            verdict,
            value: None,
            args: None,
            message: None,
            digest,
            on_behalf_of: None,
            reply: None,
            link: None,
            break_glass: false,
        }
    }
}

/// A request's idempotency key. The same key with the same request gets the same reply, whatever happened since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyKey {
    /// The key, one of its actor's.
    pub key: String,
    /// Digest of the request.
    pub request: Digest,
    /// How long the reply is kept, in milliseconds.
    pub keep_ms: u64,
}

/// A question that is handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// To whom: a user, or `group:NAME`.
    pub to: String,
    /// Until when they may answer, in milliseconds since 1970; none means as long as the question stands.
    pub until_ms: Option<u64>,
    /// Why.
    pub message: Option<String>,
    /// The request's idempotency key.
    pub reply: Option<ReplyKey>,
}

/// What a decision came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The question's thread.
    pub thread: ThreadId,
    /// What to reply: the approval as it stands after it ([`Approval::to_json`]).
    pub body: Value,
    /// The reply's HTTP status.
    pub status: u16,
    /// It is the reply to an earlier request with the same key: nothing was done now.
    pub replayed: bool,
    /// It ended the question.
    pub answered: bool,
    /// The thread goes on, now or when it parks: whoever looks for work finds it.
    pub woken: bool,
    /// It was claimed for the caller, who asked for that ([`RunOptions::take_up`](super::RunOptions::take_up)) and has to drive it.
    pub taken: Option<Taken>,
}

/// What is to be changed of a question, before it is known to fit.
struct Draft {
    proceedings: Proceedings,
    answer: Option<Answer>,
    /// What is told of it, besides an answer.
    telling: Option<Telling>,
    audit: AuditEntry,
}

impl Engine {
    /// Decides a question in the name of the handle's principal. Does not drive the thread: an answer makes it running and nobody's.
    ///
    /// # Errors
    /// [`Error::UnknownQuestion`] (also for another tenant's); [`Error::AlreadySettled`] with the winner; [`Error::Expired`];
    /// [`Error::NotEligible`], [`Error::SelfApproval`], [`Error::AlreadyVoted`], [`Error::StepUpRequired`], [`Error::BreakGlassBarred`], all of them
    /// on the record; [`Error::Stale`];
    /// [`Error::VerdictNotAllowed`], [`Error::ReasonRequired`], [`Error::InvalidAnswer`], [`Error::NullAnswer`]: the question still stands;
    /// [`Error::KeyReused`]; [`Error::PolicyUnreadable`]; [`Error::Store`].
    pub async fn decide(&self, question: &QuestionId, decision: Decision) -> Result<Decided, Error> {
        let Decision { verdict, value, args, message, digest, on_behalf_of, reply, link, break_glass } = decision;
        let word = Word { verdict, value, args, message, digest, on_behalf_of, break_glass };
        let what = if break_glass { format!("{} (break-glass)", verdict.name()) } else { verdict.name().to_owned() };
        self.change(question, &what, reply.as_ref(), link.as_ref(), |found, now_ms| {
            let outcome = decide::decide(&found.question, &self.options.principal, &word, now_ms)?;
            let audit = self.outcome_entry(&found.thread, &found.question, &outcome, now_ms);
            Ok(Draft { proceedings: outcome.proceedings, answer: outcome.answer, telling: None, audit })
        })
        .await
    }

    /// Hands a question on: those named may answer in the place of the handle's principal, who has to be among those who may answer in their own
    /// name, and keeps that. Of the two, one can vote.
    ///
    /// # Errors
    /// As [`Engine::decide`], and [`Error::InvalidDelegation`].
    pub async fn delegate(&self, question: &QuestionId, delegation: Delegation) -> Result<Decided, Error> {
        let Delegation { to, until_ms, message, reply } = delegation;
        // Bound now: the name may be somebody else's later.
        let bound = if Person::is_group(&to) { None } else { self.inner.directory.user(&to) };
        let to = bound.unwrap_or(to);
        self.change(question, "delegate", reply.as_ref(), None, |found, now_ms| {
            let record = &found.question;
            let actor = self.options.principal.actor.clone();
            let policy = decide::open(record, now_ms)?;
            let seat = decide::take_seat(record, &policy, &self.options.principal, Some(&actor.id), now_ms)?;
            if seat != Seat::Own {
                return Err(Error::NotEligible { question: record.id.clone(), actor: actor.id });
            }
            if !policy.delegation {
                let allowed = decide::allowed(&policy, &Shape::of(&record.payload));
                return Err(Error::VerdictNotAllowed { question: record.id.clone(), verdict: "delegate", allowed });
            }
            check_delegation(record, &to, &actor, until_ms, now_ms)?;
            let mut proceedings = record.proceedings.clone();
            proceedings.version += 1;
            let reason = message.clone().filter(|reason| !reason.trim().is_empty());
            let by = actor.id.clone();
            let added = Added {
                to: to.clone(),
                on_behalf_of: Some(by.clone()),
                until_ms,
                reason: reason.clone(),
                at_ms: now_ms,
            };
            let mut body = json!({ "question": record.id.as_str(), "node": record.node.as_str(), "reason": reason });
            if let Some(body) = body.as_object_mut() {
                body.insert("delegation".into(), record::added(&added));
            }
            proceedings.added.push(added);
            let telling = Telling {
                kind: NoticeKind::Requested,
                // The first one, when it was asked, has the number 0.
                number: u32::try_from(proceedings.added.len()).unwrap_or(u32::MAX),
                to: vec![to.clone()],
                added: Some(AddedBy { by, reason, until_ms }),
            };
            let audit = self.entry_by(actor, &found.thread, "question.delegated", now_ms, body);
            Ok(Draft { proceedings, answer: None, telling: Some(telling), audit })
        })
        .await
    }

    /// A question as the handle's principal sees it.
    ///
    /// # Errors
    /// [`Error::UnknownQuestion`] (also for another tenant's), [`Error::Store`].
    pub async fn approval(&self, question: &QuestionId) -> Result<Approval, Error> {
        let found = self.found(question).await?;
        Ok(Approval::of(&found, &self.options.principal, self.now_ms()))
    }

    /// Questions across the threads of the principal's tenant, whatever tenant the filter names.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn approvals(&self, filter: &QuestionFilter) -> Result<Vec<Approval>, Error> {
        let principal = &self.options.principal;
        let filter = QuestionFilter { tenant: Some(principal.tenant.clone()), ..filter.clone() };
        let found = self.inner.store.questions(&filter).await?;
        let now_ms = self.now_ms();
        Ok(found.iter().map(|found| Approval::of(found, principal, now_ms)).collect())
    }

    pub(super) async fn found(&self, question: &QuestionId) -> Result<ThreadQuestion, Error> {
        let found = self.inner.store.find_question(question).await?;
        let found = found.filter(|found| found.tenant == self.options.principal.tenant);
        found.ok_or_else(|| Error::UnknownQuestion { unknown: vec![question.clone()], pending: Vec::new() })
    }

    /// Changes a question as `draft` says of what it reads, anew whenever somebody else had a say meanwhile. `what` names it on the record of a
    /// refusal.
    async fn change(
        &self,
        question: &QuestionId,
        what: &str,
        reply: Option<&ReplyKey>,
        link: Option<&Digest>,
        draft: impl Fn(&ThreadQuestion, u64) -> Result<Draft, Error>,
    ) -> Result<Decided, Error> {
        let store = &self.inner.store;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let now_ms = self.now_ms();
            let found = self.found(question).await?;
            if let Some(key) = reply
                && let Some(before) = store.reply(&self.replier(), &key.key, now_ms).await?
            {
                return replayed(&found, key, before);
            }
            let Draft { proceedings, answer, telling, audit } = match draft(&found, now_ms) {
                Ok(draft) => draft,
                Err(refusal) => return Err(self.refused(&found, what, refusal, now_ms).await),
            };
            let after = changed(&found, &proceedings, answer.as_ref());
            let body = Approval::of(&after, &self.options.principal, now_ms).to_json();
            let telling = telling.or_else(|| answer.as_ref().map(|_| Telling::once(NoticeKind::Decided)));
            let operations = match &telling {
                Some(telling) => self.told(&after, telling, now_ms).await?,
                None => Vec::new(),
            };
            let answered = answer.is_some();
            let change = QuestionChange {
                thread: found.thread.clone(),
                question: question.clone(),
                due_at_ms: after.question.due_at_ms,
                proceedings,
                guard: DeadlineGuard::Open,
                answer,
                claim: None,
                operations,
                reply: reply.map(|key| self.reply_record(key, &body, now_ms)),
                link: link.cloned(),
                audit: vec![audit],
                at_ms: now_ms,
            };
            match self.change_and_take(&found, change).await {
                Ok((changed, taken)) => {
                    let (thread, woken) = (found.thread, changed.woken);
                    return Ok(Decided { thread, body, status: OK, replayed: false, answered, woken, taken });
                }
                // What is there now says how it is to be refused, or that it was done before under the same key.
                Err(error) if is_lost_race(&error) && attempts < ATTEMPTS_MAX => {}
                Err(error) => return Err(Error::Store(error)),
            }
        }
    }

    /// Whose idempotency keys these are. Two tenants may have actors of the same id.
    fn replier(&self) -> String {
        format!("{}/{}", self.options.principal.tenant, self.options.principal.actor.id)
    }

    fn reply_record(&self, key: &ReplyKey, body: &Value, now_ms: u64) -> ReplyRecord {
        ReplyRecord {
            actor: self.replier(),
            key: key.key.clone(),
            request: key.request.clone(),
            status: OK,
            body: body.clone(),
            expires_at_ms: now_ms.saturating_add(key.keep_ms),
        }
    }

    /// What is put on the record of a word.
    pub(super) fn outcome_entry(
        &self,
        thread: &ThreadId,
        question: &QuestionRecord,
        outcome: &Outcome,
        at_ms: u64,
    ) -> AuditEntry {
        let by = outcome.vote.by.clone();
        match &outcome.answer {
            Some(answer) => {
                let body = record::decided(question, answer, &outcome.proceedings);
                self.entry_by(by, thread, "question.decided", at_ms, body)
            }
            None => self.entry_by(by, thread, "question.voted", at_ms, record::voted(question, outcome)),
        }
    }

    /// Puts a refusal on the record where it is about who may answer, and gives it back. A record that cannot be written does not let anybody in.
    pub(super) async fn refused(&self, found: &ThreadQuestion, what: &str, refusal: Error, now_ms: u64) -> Error {
        let actor = self.options.principal.actor.clone();
        self.refused_by(actor, &found.thread, &found.question, what, refusal, now_ms).await
    }

    pub(super) async fn refused_by(
        &self,
        actor: Actor,
        thread: &ThreadId,
        question: &QuestionRecord,
        what: &str,
        refusal: Error,
        now_ms: u64,
    ) -> Error {
        if refusal.is_about_eligibility() {
            let body = record::refused(question, what, &refusal);
            let entry = self.entry_by(actor, thread, "question.refused", now_ms, body);
            if let Err(error) = self.inner.store.put_audit(vec![entry]).await {
                tracing::error!(question = question.id.as_str(), %error, "a refusal could not be put on the record");
            }
        }
        refusal
    }

    /// The operations that tell people of something that happens to a question.
    pub(super) async fn told(
        &self,
        found: &ThreadQuestion,
        telling: &Telling,
        at_ms: u64,
    ) -> Result<Vec<OperationRecord>, Error> {
        if !Policy::read(&found.question.policy).is_ok_and(|policy| policy.notifies) {
            return Ok(Vec::new());
        }
        let Some(thread) = self.inner.store.thread(&found.thread).await? else { return Ok(Vec::new()) };
        let subject = Subject::of(&thread);
        let notice = notice(&subject, &found.question, telling, at_ms);
        Ok(notice.iter().flat_map(|notice| self.inner.notices.operations(notice)).collect())
    }
}

/// Refusals of the store that a new reading explains.
pub(super) fn is_lost_race(error: &holdpoint_store::Error) -> bool {
    use holdpoint_store::Error as Store;
    matches!(
        error,
        Store::QuestionChanged(_)
            | Store::QuestionSettled(_)
            | Store::QuestionNotFound { .. }
            | Store::DeadlinePassed { .. }
            | Store::KeyUsed(_)
    )
}

/// The question as it is after a change.
fn changed(found: &ThreadQuestion, proceedings: &Proceedings, answer: Option<&Answer>) -> ThreadQuestion {
    let mut after = found.clone();
    let question = &mut after.question;
    question.proceedings = proceedings.clone();
    question.answer = answer.cloned();
    if answer.is_some() {
        question.status = QuestionStatus::Answered;
    }
    question.due_at_ms = match (answer, Policy::read(&question.policy)) {
        (Some(_), _) => None,
        (None, Ok(policy)) => time::due_at_ms(&policy, proceedings, question.asked_at_ms, question.deadline_at_ms),
        (None, Err(_)) => question.due_at_ms,
    };
    after
}

fn replayed(found: &ThreadQuestion, key: &ReplyKey, before: ReplyRecord) -> Result<Decided, Error> {
    if before.request != key.request {
        return Err(Error::KeyReused { key: key.key.clone() });
    }
    let ReplyRecord { body, status, .. } = before;
    let answered = body.get("decision").is_some_and(|decision| !decision.is_null());
    Ok(Decided { thread: found.thread.clone(), body, status, replayed: true, answered, woken: false, taken: None })
}

fn check_delegation(
    question: &QuestionRecord,
    to: &str,
    actor: &Actor,
    until_ms: Option<u64>,
    now_ms: u64,
) -> Result<(), Error> {
    const BYTES_MAX: usize = 255;
    let malformed = to.trim().is_empty() || to.len() > BYTES_MAX || to.chars().any(char::is_control);
    let reason = if malformed {
        "that is no name"
    } else if to == actor.id {
        "they have it"
    } else if until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
        "the end has come"
    } else {
        return Ok(());
    };
    Err(Error::InvalidDelegation { question: question.id.clone(), to: to.to_owned(), reason })
}
