//! What time does to questions. One indexed query finds what is due; nothing is kept in memory, and any number of hosts may run it: each change has
//! one winner, and the losers pass over it.

use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::nodes::Answer;
use holdpoint_graph::notice::{AddedBy, NoticeKind};
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::{
    AuditEntry, DeadlineGuard, Proceedings, QuestionChange, QuestionRecord, QuestionStatus, ThreadQuestion,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Engine, approve, record};
use crate::approvals::notice::Telling;
use crate::approvals::policy::Step;
use crate::approvals::time::{self, Due};
use crate::error::Error;

/// Changes that are under way at once: enough for a store to put many in one transaction.
const CHANGES_MAX: usize = 64;

/// What a look at what is due came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MonitorReport {
    /// Questions that were due. As many as were asked for means that there may be more.
    pub looked_at: usize,
    /// Questions whose people were told again.
    pub reminded: usize,
    /// Questions that others may answer too since.
    pub escalated: usize,
    /// Questions that nobody answered in time.
    pub expired: usize,
    /// Questions that could not be changed because the store failed. They stay due.
    pub failed: usize,
    /// Threads that go on: running and nobody's.
    pub threads: Vec<ThreadId>,
}

/// What became of one question.
#[derive(Default)]
struct Done {
    reminded: bool,
    escalated: bool,
    expired: bool,
    failed: bool,
    woken: Option<ThreadId>,
}

impl Engine {
    /// Does what is due of questions, of all tenants, at most `limit` of them, the longest due first: reminders, steps of escalation ladders, and
    /// deadlines. Catches up after a time without a host.
    ///
    /// # Errors
    /// [`Error::Store`] when what is due cannot be read. A question that cannot be changed is counted and stays due.
    pub async fn monitor(&self, limit: usize) -> Result<MonitorReport, Error> {
        let due = self.inner.store.due_questions(self.now_ms(), limit).await?;
        let mut report = MonitorReport { looked_at: due.len(), ..MonitorReport::default() };
        let mut running: JoinSet<Done> = JoinSet::new();
        for found in due {
            if running.len() >= CHANGES_MAX
                && let Some(done) = running.join_next().await
            {
                report.take(done);
            }
            let engine = self.clone();
            running.spawn(async move { engine.attend(found).await });
        }
        while let Some(done) = running.join_next().await {
            report.take(done);
        }
        report.threads.sort();
        report.threads.dedup();
        Ok(report)
    }

    /// Does what is due of one question.
    async fn attend(&self, found: ThreadQuestion) -> Done {
        let question = found.question.id.clone();
        match self.attend_once(found).await {
            Ok(done) => done,
            // Somebody decided, or another host was quicker.
            Err(Error::Store(error)) if is_lost(&error) => Done::default(),
            Err(error) => {
                tracing::warn!(question = question.as_str(), %error, "what was due of a question could not be done");
                Done { failed: true, ..Done::default() }
            }
        }
    }

    async fn attend_once(&self, found: ThreadQuestion) -> Result<Done, Error> {
        let now_ms = self.now_ms();
        match time::due(&found.question, now_ms) {
            Due::Expire(answer) => self.expire(&found, answer, now_ms).await,
            Due::Remind { proceedings, reminder, steps, due_at_ms } => {
                let mut audit = Vec::new();
                let mut operations = Vec::new();
                if let Some(number) = reminder {
                    audit.push(self.clock_entry(&found, "question.reminded", now_ms, json!({ "number": number })));
                    operations.extend(self.told(&found, &reminding(number), now_ms).await?);
                }
                for (number, step) in &steps {
                    let to = labels(step);
                    let body = json!({ "number": number, "to": to });
                    audit.push(self.clock_entry(&found, "question.escalated", now_ms, body));
                    operations.extend(self.told(&found, &escalating(*number, to, step.after_ms), now_ms).await?);
                }
                let guard = DeadlineGuard::Open;
                let change =
                    QuestionChange { due_at_ms, operations, audit, ..bare(&found, proceedings, guard, now_ms) };
                self.inner.change_question(change).await?;
                Ok(Done { reminded: reminder.is_some(), escalated: !steps.is_empty(), ..Done::default() })
            }
            Due::Later(due_at_ms) => {
                if due_at_ms != found.question.due_at_ms {
                    let proceedings = next(&found.question);
                    let change = QuestionChange { due_at_ms, ..bare(&found, proceedings, DeadlineGuard::Open, now_ms) };
                    self.inner.change_question(change).await?;
                }
                Ok(Done::default())
            }
        }
    }

    async fn expire(&self, found: &ThreadQuestion, answer: Answer, now_ms: u64) -> Result<Done, Error> {
        let proceedings = next(&found.question);
        let body = record::decided(&found.question, &answer, &proceedings);
        let audit = vec![self.clock_entry(found, "question.expired", now_ms, body)];
        let operations = self.tell_expiry(found, &answer, now_ms).await?;
        let change = QuestionChange {
            answer: Some(answer),
            operations,
            audit,
            ..bare(found, proceedings, DeadlineGuard::Passed, now_ms)
        };
        let changed = self.inner.change_question(change).await?;
        Ok(Done { expired: true, woken: changed.woken.then(|| found.thread.clone()), ..Done::default() })
    }

    async fn tell_expiry(
        &self,
        found: &ThreadQuestion,
        answer: &Answer,
        now_ms: u64,
    ) -> Result<Vec<OperationRecord>, Error> {
        let mut after = found.clone();
        after.question.answer = Some(answer.clone());
        after.question.status = QuestionStatus::Answered;
        self.told(&after, &Telling::once(NoticeKind::Expired), now_ms).await
    }

    /// An entry in the name of the clock, about a question of any tenant.
    fn clock_entry(&self, found: &ThreadQuestion, kind: &'static str, at_ms: u64, mut body: Value) -> AuditEntry {
        if let Some(body) = body.as_object_mut() {
            body.insert("question".into(), found.question.id.as_str().into());
            body.insert("node".into(), found.question.node.as_str().into());
        }
        let entry = self.entry_by(Actor::deadline(), &found.thread, kind, at_ms, body);
        AuditEntry { tenant: found.tenant.clone(), ..entry }
    }
}

impl MonitorReport {
    fn take(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let Ok(done) = done else {
            self.failed += 1;
            return;
        };
        self.reminded += usize::from(done.reminded);
        self.escalated += usize::from(done.escalated);
        self.expired += usize::from(done.expired);
        self.failed += usize::from(done.failed);
        self.threads.extend(done.woken);
    }
}

/// Refusals that say that there is nothing left to do.
fn is_lost(error: &holdpoint_store::Error) -> bool {
    // The thread was deleted meanwhile.
    approve::is_lost_race(error) || matches!(error, holdpoint_store::Error::ThreadNotFound(_))
}

fn reminding(number: u32) -> Telling {
    Telling { number, ..Telling::once(NoticeKind::Reminded) }
}

/// For those whom a step of the ladder adds, and no others: by then the others have been told.
fn escalating(number: u32, to: Vec<String>, after_ms: u64) -> Telling {
    let reason = format!("nobody has decided within {:?}", std::time::Duration::from_millis(after_ms));
    let added = AddedBy { by: Actor::deadline().id, reason: Some(reason), until_ms: None };
    Telling { kind: NoticeKind::Escalated, number, to, added: Some(added) }
}

fn labels(step: &Step) -> Vec<String> {
    step.to.iter().map(|person| person.label.clone()).collect()
}

fn next(question: &QuestionRecord) -> Proceedings {
    let mut proceedings = question.proceedings.clone();
    proceedings.version += 1;
    proceedings
}

fn bare(found: &ThreadQuestion, proceedings: Proceedings, guard: DeadlineGuard, at_ms: u64) -> QuestionChange {
    QuestionChange {
        thread: found.thread.clone(),
        question: found.question.id.clone(),
        proceedings,
        due_at_ms: None,
        guard,
        answer: None,
        claim: None,
        operations: Vec::new(),
        reply: None,
        link: None,
        audit: Vec::new(),
        at_ms,
    }
}
