//! What the loser of a race is told.

use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_store::{HistoryFilter, QuestionRecord, QuestionStatus, Snapshot, ThreadRecord};

use super::{Engine, pending_ids};
use crate::answers;
use crate::error::Error;

impl Engine {
    /// Tells the loser of a race who won.
    pub(super) async fn lost(
        &self,
        thread: &ThreadId,
        error: holdpoint_store::Error,
        questions: &[QuestionId],
    ) -> Result<Error, Error> {
        match error {
            holdpoint_store::Error::QuestionSettled(question) => Ok(Error::settled(*question)),
            holdpoint_store::Error::DeadlinePassed { question, deadline_at_ms } => {
                Ok(Error::Expired { question, deadline_at_ms })
            }
            holdpoint_store::Error::Fenced { .. } => {
                for id in questions {
                    if let Some(question) = self.inner.store.question(thread, id).await?
                        && question.status != QuestionStatus::Pending
                    {
                        return Ok(Error::settled(question));
                    }
                }
                match self.inner.store.thread(thread).await? {
                    Some(ThreadRecord { owner: Some(owner), .. }) => Ok(Error::Busy { thread: thread.clone(), owner }),
                    _ => Ok(Error::TakenOver(thread.clone())),
                }
            }
            holdpoint_store::Error::ThreadNotFound(thread) => Ok(Error::ThreadNotFound(thread)),
            other => Ok(Error::Store(other)),
        }
    }

    /// Ids that are not of the current step: settled earlier in the thread's life, or never asked.
    pub(super) async fn explain_elsewhere(&self, snapshot: &Snapshot, ids: Vec<QuestionId>) -> Result<Error, Error> {
        for id in &ids {
            if let Some(question) = self.inner.store.question(&snapshot.thread.id, id).await? {
                return Ok(Error::settled(question));
            }
        }
        Ok(Error::UnknownQuestion { unknown: ids, pending: pending_ids(snapshot) })
    }

    /// Looks a short way back: enough to tell a late answerer who was first.
    pub(super) async fn last_settled(&self, thread: &ThreadId) -> Result<Option<Box<QuestionRecord>>, Error> {
        const LOOK_BACK_CHECKPOINTS: usize = 20;
        let snapshots = self.inner.store.history(thread, &HistoryFilter::newest(LOOK_BACK_CHECKPOINTS)).await?;
        Ok(snapshots.iter().find_map(|snapshot| answers::last_settled(&snapshot.questions)))
    }
}
