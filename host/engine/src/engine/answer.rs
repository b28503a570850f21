//! Answers, and going on without one.

use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_graph::nodes::{Answer, Verdict};
use holdpoint_store::{Commit, QuestionStatus, Settlement, ThreadStatus};

use super::Engine;
use crate::answers::{self, Answers, Matched};
use crate::error::Error;
use crate::plan::{Plan, plan, tasks_of};
use crate::view::{self, ThreadView};

impl Engine {
    /// Answers questions in the name of `answered_by` and drives the thread.
    ///
    /// # Errors
    /// Every refusal of strict resume: then nothing is written and the questions stand. See [`Engine::run`] for errors after acceptance.
    pub async fn answer(&self, thread: &ThreadId, answers: &Answers, answered_by: &str) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let accepted = match answers::match_answers(thread, &snapshot.questions, answers) {
            Ok(Matched::Accepted(accepted)) => accepted,
            Ok(Matched::Elsewhere(ids)) => return Err(self.explain_elsewhere(&snapshot, ids).await?),
            Err(Error::NothingPending { thread, last: None }) => {
                let last = self.last_settled(&thread).await?;
                return Err(Error::NothingPending { thread, last });
            }
            Err(error) => return Err(error),
        };
        self.check_free(&snapshot.thread)?;
        let graph = self.graph(&snapshot.thread.graph).await?;
        let at_ms = self.inner.clock.now_ms();
        let settlements: Vec<Settlement> = accepted
            .iter()
            .map(|(question, value)| Settlement::Answer {
                question: question.id.clone(),
                answer: Answer {
                    verdict: Verdict::Respond,
                    value: value.clone(),
                    answered_by: answered_by.to_owned(),
                    answered_at_ms: at_ms,
                },
            })
            .collect();
        let named: Vec<QuestionId> = accepted.iter().map(|(question, _)| question.id.clone()).collect();
        let commit = Commit { settlements: settlements.clone(), ..self.claiming(&snapshot.thread, at_ms) };
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &named).await?);
        }
        let mut snapshot = snapshot;
        for settlement in settlements {
            if let Settlement::Answer { question, answer } = settlement
                && let Some(record) = snapshot.questions.iter_mut().find(|record| record.id == question)
            {
                record.status = QuestionStatus::Answered;
                record.answer = Some(answer);
            }
        }
        self.drive(snapshot, graph).await
    }

    /// Continues what can continue and answers nothing: after a crash, after a failure, after doubt was settled. A thread that is done or that only
    /// waits for answers is left as it is.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Busy`]; see [`Engine::run`] for errors after the claim.
    pub async fn proceed(&self, thread: &ThreadId) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let planned = tasks_of(thread, &snapshot.checkpoint);
        let can_continue = match (snapshot.thread.status, plan(&planned, &snapshot.tasks, &snapshot.questions)) {
            (ThreadStatus::Running | ThreadStatus::Failed, _) => true,
            (ThreadStatus::Done, _) | (_, Plan::Wait | Plan::Finished) => false,
            // A task in doubt runs again too: its receiver may know by now what became of the operation. It sends nothing by itself.
            (ThreadStatus::Interrupted, Plan::Run(_) | Plan::Apply) => true,
        };
        let graph = self.graph(&snapshot.thread.graph).await?;
        if !can_continue {
            return Ok(view::thread_view(&snapshot, Some(&graph)));
        }
        self.check_free(&snapshot.thread)?;
        let commit = self.claiming(&snapshot.thread, self.inner.clock.now_ms());
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &[]).await?);
        }
        self.drive(snapshot, graph).await
    }
}
