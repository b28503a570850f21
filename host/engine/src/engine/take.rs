//! A decision that also claims the thread which waited for it, so that it goes on without being looked for: one durable write decides and claims.

use holdpoint_graph::ids::{Epoch, GraphName, QuestionId, Tenant, ThreadId};
use holdpoint_graph::nodes::Answer;
use holdpoint_store::{Changed, Commit, Expect, QuestionChange, Snapshot, ThreadQuestion, ThreadStatus};

use super::Engine;
use super::answer::note_answer;
use crate::error::Error;
use crate::view::ThreadView;

/// A thread that a decision has claimed for this engine. Whoever gets it drives it ([`Engine::drive_taken`]); until then its claim stands like that of
/// a worker that died: others take it when its lease is over.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "nobody else drives the thread before the lease is over"]
pub struct Taken {
    /// The thread.
    pub thread: ThreadId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its graph.
    pub graph: GraphName,
    epoch: Epoch,
    /// The thread as it stands, where it could be read while the claim was stored.
    snapshot: Option<Box<Snapshot>>,
}

impl Engine {
    /// Makes a change of a question; with [`super::RunOptions::take_up`] an answer also claims the thread, if that waits for nobody else.
    pub(super) async fn change_and_take(
        &self,
        found: &ThreadQuestion,
        change: QuestionChange,
    ) -> Result<(Changed, Option<Taken>), holdpoint_store::Error> {
        let Some(answer) = change.answer.clone().filter(|_| self.options.take_up) else {
            return Ok((self.inner.change_question(change).await?, None));
        };
        let question = change.question.clone();
        let change = QuestionChange { claim: Some(self.claim(change.at_ms)), ..change };
        // What is needed next is read while the disk is busy. Reading is no promise: without it the thread is read later.
        let (changed, read) =
            tokio::join!(self.inner.change_question(change), self.inner.store.snapshot(&found.thread, None));
        let changed = changed?;
        let taken = changed.claimed.map(|epoch| Taken {
            thread: found.thread.clone(),
            tenant: found.tenant.clone(),
            graph: found.graph_name.clone(),
            epoch,
            snapshot: read.ok().flatten().and_then(|read| as_claimed(read, epoch, &question, &answer)).map(Box::new),
        });
        Ok((changed, taken))
    }

    /// Drives a thread that a decision has claimed. A drain that was asked for meanwhile gives it back before anything of it runs.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when somebody else has it by now; see [`Engine::run`].
    pub async fn drive_taken(&self, taken: Taken) -> Result<ThreadView, Error> {
        let Taken { thread, epoch, snapshot, .. } = taken;
        let snapshot = match snapshot {
            Some(snapshot) => *snapshot,
            None => self.snapshot(&thread).await?,
        };
        if snapshot.thread.epoch != epoch {
            return Err(Error::TakenOver(thread));
        }
        let version = match self.version(&snapshot.checkpoint.graph).await {
            Ok(version) if !self.options.drain.is_requested() => version,
            Ok(_) => {
                self.let_go(&thread, epoch).await?;
                return self.view(&thread).await;
            }
            Err(error) => {
                // Somebody else may be able to load it.
                self.let_go(&thread, epoch).await?;
                return Err(error);
            }
        };
        self.drive_at(snapshot, version, epoch).await
    }

    /// Makes a claimed thread nobody's again. It runs on by whoever takes it.
    async fn let_go(&self, thread: &ThreadId, epoch: Epoch) -> Result<(), Error> {
        let running = Commit::new(thread.clone(), Expect::Epoch(epoch), ThreadStatus::Running, self.now_ms());
        match self.inner.commit(Commit { release: true, ..running }).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(thread, error, &[]).await?),
        }
    }
}

/// What was read while a claim was stored, as it stands with the claim. None when it is of before something else that changed the thread: each such
/// change raises its epoch, as the claim did.
fn as_claimed(read: Snapshot, epoch: Epoch, question: &QuestionId, answer: &Answer) -> Option<Snapshot> {
    if read.thread.epoch == epoch {
        return Some(read);
    }
    let waited = read.thread.status == ThreadStatus::Interrupted && read.thread.owner.is_none();
    if !waited || read.thread.epoch.next() != epoch {
        return None;
    }
    let mut claimed = read;
    claimed.thread.epoch = epoch;
    claimed.thread.status = ThreadStatus::Running;
    note_answer(&mut claimed, question, answer);
    Some(claimed)
}
