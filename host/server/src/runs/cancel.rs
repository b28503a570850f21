//! Ending a run early.
//!
//! A run that has not begun is ended where it is. Of one that has begun it is stored that it is wanted ended, before anybody is told so: the host that
//! executes it stops at the end of its superstep, at once where that is this host, otherwise at its next look; when it dies before, whoever recovers
//! the run finds the wish. What its nodes did is recorded. To roll back means more: see `rollback`.

use holdpoint_engine::Drain;
use holdpoint_graph::actor::Actor;
use holdpoint_store::{Error as StoreError, RunCancel, RunRecord, RunStatus, RunUpdate, ThreadStatus};
use serde_json::json;

use super::Runs;
use super::outcome::{Outcome, cancelled};
use super::worker::Job;
use crate::problem::Problem;

/// Runs that are looked at at once. What is beyond comes with the next look.
const WISHES_MAX: usize = 1000;

/// Reads LangGraph's name of how a run is cancelled; interrupting when there is none.
pub(crate) fn cancel_action(text: Option<&str>) -> Option<RunCancel> {
    text.map_or(Some(RunCancel::Interrupt), RunCancel::parse)
}

impl Runs {
    /// Cancels a run, or asks it to stop when it has begun, whoever executes it. False when it is over.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn cancel(&self, run: &RunRecord, how: RunCancel, by: &Actor) -> Result<bool, Problem> {
        let at_ms = self.0.engine.now_ms();
        let asked = self.entry(run, by.clone(), "run.cancelled", json!({ "action": how.name() }));
        if run.status == RunStatus::Pending {
            let error = cancelled(&by.id);
            let update = RunUpdate {
                run: run.id.clone(),
                from: RunStatus::Pending,
                to: RunStatus::Interrupted,
                error: Some(error.clone()),
            };
            match self.store().update_run(update, at_ms, vec![asked.clone()]).await {
                Ok(()) => {
                    let outcome = Outcome { status: RunStatus::Interrupted, error: Some(error), view: None };
                    self.tell_end(run, &outcome, None);
                    if how == RunCancel::Rollback {
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
        match self.store().request_cancel(&run.id, how, at_ms, vec![asked]).await {
            Ok(()) => {}
            Err(StoreError::RunChanged { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        // It is wanted for good: where it cannot be stopped now, the next look does it.
        if let Err(error) = self.stop(run).await {
            tracing::warn!(run = %run.id, %error, "a run that is wanted ended is stopped later");
        }
        Ok(true)
    }

    /// Takes up what runs are wanted ended: those that this host executes, those that nobody does, and rollbacks that are left to be done.
    pub(super) async fn look_for_wishes(&self) {
        let wanted = match self.store().cancel_requests(WISHES_MAX).await {
            Ok(wanted) => wanted,
            Err(error) => return tracing::error!(%error, "the runs that are wanted ended cannot be read"),
        };
        for run in wanted {
            if run.status.is_over() {
                self.advance(&run.thread.clone(), Job::RollBack(Box::new(run)));
            } else if let Err(error) = self.stop(&run).await {
                tracing::warn!(run = %run.id, %error, "a run that is wanted ended is stopped later");
            }
        }
    }

    /// Has a run stop that is wanted ended, as far as that is this host's to do.
    async fn stop(&self, run: &RunRecord) -> Result<(), StoreError> {
        if let Some(active) = self.state().active.get_mut(&run.thread) {
            // What is advanced under another name comes to an end; then the next look finds this one.
            if active.run.as_ref() == Some(&run.id) {
                active.drain.cancel();
            }
            return Ok(());
        }
        let claimed = self.store().thread(&run.thread).await?.is_some_and(|record| {
            record.status == ThreadStatus::Running
                && record.owner.is_some()
                && record.lease_until_ms > self.0.engine.now_ms()
        });
        if !claimed && let Some(run) = self.store().run(&run.id).await?.filter(|run| !run.status.is_over()) {
            // One that nobody advances is picked up to be put down.
            let drain = Drain::default();
            drain.cancel();
            self.advance_with(&run.thread.clone(), Job::Run(Box::new(run)), drain);
        }
        Ok(())
    }
}
