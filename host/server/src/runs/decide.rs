//! A person's decision on a question, and the thread that goes on with it.
//!
//! Where this host has room, the decision claims the thread in the same durable write, and the thread goes on at once. The place among those that are
//! advanced is taken before: a host that drains, or is full, or advances the thread already, decides without a claim, and whoever looks for work finds
//! the thread.

use holdpoint_engine::{Decided, Decision, Drain, Error as EngineError, Principal, RunOptions};
use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_store::Error as StoreError;

use super::Runs;
use super::worker::Job;

impl Runs {
    /// Decides a question of a thread and lets the thread go on.
    ///
    /// It is seen through when the caller goes away: a claim that nobody drives would hold the thread until its lease is over.
    ///
    /// # Errors
    /// As [`holdpoint_engine::Engine::decide`].
    pub(crate) async fn decide(
        &self,
        principal: &Principal,
        thread: &ThreadId,
        question: &QuestionId,
        decision: Decision,
    ) -> Result<Decided, EngineError> {
        let (runs, principal) = (self.clone(), principal.clone());
        let (thread, question) = (thread.clone(), question.clone());
        let deciding = tokio::spawn(async move { runs.decide_here(principal, &thread, &question, decision).await });
        match deciding.await {
            Ok(decided) => decided,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(EngineError::Store(StoreError::Unavailable("the server is stopping".to_owned()))),
            },
        }
    }

    async fn decide_here(
        &self,
        principal: Principal,
        thread: &ThreadId,
        question: &QuestionId,
        decision: Decision,
    ) -> Result<Decided, EngineError> {
        let drain = Drain::default();
        let place = self.place(thread, None, drain.clone());
        let options = RunOptions { principal, take_up: place.is_some(), ..RunOptions::default() };
        let decided = self.0.engine.with_options(options).decide(question, decision).await;
        let Ok(mut decided) = decided else { return decided };
        if let (Some(taken), Some(place)) = (decided.taken.take(), place) {
            Self::begin(place, Job::Taken(Box::new(taken)), drain);
            self.0.mail.notify_one();
        } else if decided.woken {
            self.wake(&decided.thread);
        }
        Ok(decided)
    }
}
