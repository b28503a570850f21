//! Questions that end without an answer: something takes their place, or somebody withdraws them.

use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::{Epoch, QuestionId};
use holdpoint_graph::notice::NoticeKind;
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::{
    AuditEntry, Claim, Commit, Expect, QuestionRecord, QuestionStatus, Settlement, Snapshot, ThreadRecord, Withdrawn,
};
use serde_json::json;

use super::{Engine, all_questions, record};
use crate::approvals::notice::{Subject, Telling, notice};
use crate::approvals::time;
use crate::error::Error;

/// How questions end without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// New input, an update or a replay takes their place.
    Superseded,
    /// Somebody withdraws them: nobody is to answer any more.
    Cancelled,
}

/// What a commit holds that ends the pending questions of a thread.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) questions: Vec<QuestionId>,
    pub(super) settlements: Vec<Settlement>,
    /// Notices.
    pub(super) operations: Vec<OperationRecord>,
    pub(super) audit: Vec<AuditEntry>,
}

impl Engine {
    /// The end of all pending questions of a thread, in the name of whoever asks. One whose deadline has come by `at_ms` has expired, whatever happens
    /// to its thread.
    pub(super) fn end_questions(&self, head: &Snapshot, ending: Ending, at_ms: u64) -> Ended {
        let mut ended = Ended::default();
        let pending = all_questions(head).into_iter();
        for question in pending.filter(|question| question.status == QuestionStatus::Pending) {
            ended.questions.push(question.id.clone());
            if time::is_expired(&question, at_ms) {
                self.expire_with(&mut ended, head, question, at_ms);
            } else {
                self.end_question(&mut ended, head, question, ending, at_ms);
            }
        }
        ended
    }

    /// Cancels the pending questions of a thread that is about to go. Gives its epoch from then on.
    ///
    /// # Errors
    /// Every refusal of a thread that somebody else got hold of meanwhile; [`Error::Store`].
    pub(super) async fn cancel_questions(&self, head: &Snapshot) -> Result<Epoch, Error> {
        let ThreadRecord { id, epoch, status, error, .. } = &head.thread;
        let at_ms = self.now_ms();
        let ended = self.end_questions(head, Ending::Cancelled, at_ms);
        if ended.questions.is_empty() {
            return Ok(*epoch);
        }
        // The claim ends with the commit, because the thread does not run.
        let claim = Claim { owner: self.inner.owners.own_name().to_owned(), lease_until_ms: at_ms };
        let commit = Commit {
            claim: Some(claim),
            settlements: ended.settlements,
            operations: ended.operations,
            audit: ended.audit,
            error: error.clone(),
            ..Commit::new(id.clone(), Expect::Epoch(*epoch), *status, at_ms)
        };
        match self.inner.commit(commit).await {
            Ok(()) => Ok(epoch.next()),
            Err(error) => Err(self.lost(id, error, &ended.questions).await?),
        }
    }

    fn end_question(&self, ended: &mut Ended, head: &Snapshot, question: QuestionRecord, ending: Ending, at_ms: u64) {
        let by = self.options.principal.actor.clone();
        let id = question.id.clone();
        let body = json!({ "question": id.as_str(), "node": question.node.as_str() });
        let (kind, settlement) = match ending {
            Ending::Superseded => ("question.superseded", Settlement::Supersede { question: id }),
            Ending::Cancelled => ("question.cancelled", Settlement::Cancel { question: id, by: by.clone() }),
        };
        ended.settlements.push(settlement);
        ended.audit.push(self.entry(&head.thread.id, kind, at_ms, body));
        let mut after = question;
        after.status = match ending {
            Ending::Superseded => QuestionStatus::Superseded,
            Ending::Cancelled => QuestionStatus::Cancelled,
        };
        after.proceedings.withdrawn = Some(Withdrawn { by, at_ms });
        self.tell_end(ended, head, &after, NoticeKind::Cancelled, at_ms);
    }

    fn expire_with(&self, ended: &mut Ended, head: &Snapshot, question: QuestionRecord, at_ms: u64) {
        let answer = time::expiry(&question, at_ms);
        let mut proceedings = question.proceedings.clone();
        proceedings.version += 1;
        let body = record::decided(&question, &answer, &proceedings);
        ended.audit.push(self.entry_by(Actor::deadline(), &head.thread.id, "question.expired", at_ms, body));
        let after =
            QuestionRecord { status: QuestionStatus::Answered, answer: Some(answer.clone()), ..question.clone() };
        self.tell_end(ended, head, &after, NoticeKind::Expired, at_ms);
        let proceedings = Box::new(proceedings);
        ended.settlements.push(Settlement::Answer { question: question.id, answer, proceedings });
    }

    fn tell_end(&self, ended: &mut Ended, head: &Snapshot, after: &QuestionRecord, kind: NoticeKind, at_ms: u64) {
        let told = notice(&Subject::of(&head.thread), after, &Telling::once(kind), at_ms);
        ended.operations.extend(told.iter().flat_map(|told| self.inner.notices.operations(told)));
    }
}
