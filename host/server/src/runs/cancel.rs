//! Ending a run early.
//!
//! A run that has not begun is ended where it is. One that is being executed stops at the end of its superstep: what its nodes did is recorded. To roll
//! back means that the thread goes on from where it was before the run; its history, its questions and its operations' records stay.

use holdpoint_engine::{AsNode, Drain, Error as EngineError, RunOptions, Update};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::CheckpointId;
use holdpoint_store::{Error as StoreError, RunRecord, RunStatus, RunUpdate, ThreadStatus};
use serde_json::json;

use super::outcome::{Outcome, cancelled};
use super::request::{Act, RunRequest};
use super::worker::Job;
use super::{Runs, host};
use crate::problem::Problem;

/// How a run is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelAction {
    /// What it did stays.
    Interrupt,
    /// The thread goes back to where it was before, and the run is deleted.
    Rollback,
}

impl CancelAction {
    /// Reads LangGraph's name; interrupting when there is none.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("interrupt") => Some(Self::Interrupt),
            Some("rollback") => Some(Self::Rollback),
            Some(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Rollback => "rollback",
        }
    }
}

impl Runs {
    /// Cancels a run, or asks it to stop when it is being executed. False when it is over.
    ///
    /// # Errors
    /// `HP0840` when another host executes it; the store's.
    pub(crate) async fn cancel(&self, run: &RunRecord, action: CancelAction, by: &Actor) -> Result<bool, Problem> {
        let rollback = action == CancelAction::Rollback;
        if run.status == RunStatus::Pending {
            let error = cancelled(&by.id);
            let entry = self.entry(run, by.clone(), "run.cancelled", json!({ "action": action.name() }));
            let update = RunUpdate {
                run: run.id.clone(),
                from: RunStatus::Pending,
                to: RunStatus::Interrupted,
                error: Some(error.clone()),
            };
            match self.store().update_run(update, self.0.engine.now_ms(), vec![entry]).await {
                Ok(()) => {
                    let outcome = Outcome { status: RunStatus::Interrupted, error: Some(error), view: None };
                    self.tell_end(run, &outcome, None);
                    if rollback {
                        self.store().delete_run(&run.id).await?;
                    }
                    self.0.work.notify_one();
                    return Ok(true);
                }
                // It has begun, or ended, meanwhile.
                Err(StoreError::RunChanged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.store().run(&run.id).await? {
            Some(found) if !found.status.is_over() => self.stop(&found, rollback, action, by).await,
            _ => Ok(false),
        }
    }

    /// Asks a run that has begun to stop.
    async fn stop(&self, run: &RunRecord, rollback: bool, action: CancelAction, by: &Actor) -> Result<bool, Problem> {
        let entry = self.entry(run, by.clone(), "run.cancelled", json!({ "action": action.name() }));
        let asked = {
            let mut state = self.state();
            match state.active.get_mut(&run.thread) {
                Some(active) if active.run.as_ref() == Some(&run.id) => {
                    active.rollback |= rollback;
                    active.drain.cancel();
                    true
                }
                _ => false,
            }
        };
        if !asked {
            let drain = Drain::default();
            drain.cancel();
            let record = self.store().thread(&run.thread).await?;
            let claimed = record.is_some_and(|record| {
                record.status == ThreadStatus::Running
                    && record.owner.is_some()
                    && record.lease_until_ms > self.0.engine.now_ms()
            });
            // One that nobody advances is picked up to be put down.
            if claimed || !self.advance_with(&run.thread, Job::Run(Box::new(run.clone())), drain, rollback) {
                let detail = format!("run {} is executed elsewhere", run.id);
                return Err(Problem::conflict("HP0840", detail)
                    .with_cure("cancel it on the host that executes it, or try again"));
            }
        }
        self.store().put_audit(vec![entry]).await?;
        Ok(true)
    }

    /// Takes a thread back to where it was before a run that is over, and deletes the run. `before` is the head before the run, where it is known
    /// first-hand.
    ///
    /// # Errors
    /// Code and text of the reason; the thread then is where the run left it.
    pub(super) async fn roll_back(
        &self,
        run: &RunRecord,
        before: Option<Option<CheckpointId>>,
    ) -> Result<(), (String, String)> {
        let request = RunRequest::read(&run.request);
        let noted = request.as_ref().and_then(|request| request.head.clone());
        let before = match before {
            Some(before) => before,
            None => noted.and_then(|head| CheckpointId::parse(head).ok()),
        };
        let engine = self.0.engine.with_options(RunOptions { principal: host(&run.tenant), ..RunOptions::default() });
        let text = |error: EngineError| (error.code().to_owned(), error.to_string());
        match before {
            None => match engine.delete(&run.thread).await {
                Ok(()) | Err(EngineError::ThreadNotFound(_)) => {}
                Err(error) => return Err(text(error)),
            },
            Some(before) => {
                let view = engine.view(&run.thread).await.map_err(text)?;
                let answered = request.as_ref().is_some_and(|request| request.answers().is_some());
                if view.checkpoint != before || answered {
                    let copy = Update { as_node: Some(AsNode::Copy), ..Update::default() };
                    engine.update(&run.thread, Some(&before), &[vec![copy]]).await.map_err(text)?;
                }
                // What the run answered is asked again.
                if answered && matches!(request.map(|request| request.act), Some(Act::Command { .. })) {
                    engine.proceed(&run.thread).await.map_err(text)?;
                }
            }
        }
        let deleted = self.store().delete_run(&run.id).await;
        deleted.map(|_| ()).map_err(|error| (error.code().to_owned(), error.to_string()))
    }
}
