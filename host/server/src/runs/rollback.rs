//! Taking a thread back to where it was before a run that is over, and removing the run. The thread goes on from there on a new branch; its history and
//! its operations' records stay, and what the run answered is asked again.
//!
//! That a run is to be rolled back is stored with it before it is over, and gone with the commit that takes the thread back. No other run of the
//! thread begins before that. So whoever finds it, on any host and after any crash, may do it, and of several that do one wins: each looks at the
//! thread first and then whether the rollback is still to be done, and commits only if the thread is as it was when it looked.

use holdpoint_engine::{Error as EngineError, RunOptions, TakeBack};
use holdpoint_graph::ids::{CheckpointId, RunId};
use holdpoint_store::{
    Error as StoreError, RunCancel, RunFilter, RunRecord, RunStatus, RunUpdate, ThreadError, ThreadStatus,
};
use serde_json::json;

use super::execute::Advanced;
use super::outcome::Outcome;
use super::request::{Act, RunRequest};
use super::{Runs, host};

/// Runs of the thread that are looked at for one that came after.
const LATER_MAX: usize = 20;

/// What became of a rollback.
pub(super) enum RolledBack {
    /// It is done, here or elsewhere.
    Done,
    /// It cannot be done just now, and is still to be done.
    Later(Obstacle),
    /// It cannot be done, and nobody tries again: code and text of the reason. The thread is where the run left it.
    Never(String, String),
}

/// Why a rollback cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It would undo another run too.
    #[error("run {0} of the thread has begun since")]
    Overtaken(RunId),
}

impl Obstacle {
    fn code(&self) -> &str {
        match self {
            Self::Engine(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Overtaken(_) => "HP0848",
        }
    }

    /// Whether it may pass by itself.
    fn passes(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Engine(error) => matches!(
                error,
                EngineError::Busy { .. }
                    | EngineError::TakenOver(_)
                    | EngineError::Store(_)
                    | EngineError::NotFinished { status: ThreadStatus::Running, .. }
            ),
            Self::Overtaken(_) => false,
        }
    }
}

impl Runs {
    /// Rolls back a run that is over and that nobody else has rolled back meanwhile.
    pub(super) async fn roll_back(&self, run: &RunRecord) -> RolledBack {
        let obstacle = match self.try_roll_back(run).await {
            Ok(()) => return RolledBack::Done,
            Err(obstacle) => obstacle,
        };
        if obstacle.passes() {
            return RolledBack::Later(obstacle);
        }
        let (code, text) = (obstacle.code().to_owned(), obstacle.to_string());
        let error = ThreadError {
            code: "HP0841".into(),
            message: format!("the run was cancelled and could not be rolled back: {text}"),
            node: None,
            details: None,
        };
        let entry = self.entry(run, run.actor.clone(), "run.kept", json!({ "code": code, "reason": text }));
        let update = RunUpdate { run: run.id.clone(), from: run.status, to: run.status, error: Some(error) };
        match self.store().update_run(update, self.0.engine.now_ms(), vec![entry]).await {
            // Gone or changed: somebody else has come to an end with it.
            Ok(()) | Err(StoreError::RunChanged { .. }) => RolledBack::Never(code, text),
            Err(error) => RolledBack::Later(error.into()),
        }
    }

    async fn try_roll_back(&self, run: &RunRecord) -> Result<(), Obstacle> {
        // The thread before the wish: see the module.
        let thread = self.store().thread(&run.thread).await?;
        let wanted = |run: &RunRecord| run.status.is_over() && run.cancel == Some(RunCancel::Rollback);
        let Some(run) = self.store().run(&run.id).await?.filter(wanted) else { return Ok(()) };
        if let Some(later) = self.begun_since(&run).await? {
            return Err(Obstacle::Overtaken(later));
        }
        let request = RunRequest::read(&run.request);
        let answered = request
            .as_ref()
            .is_some_and(|request| request.answers().is_some() && matches!(request.act, Act::Command { .. }));
        let engine = self.0.engine.with_options(RunOptions { principal: host(&run.tenant), ..RunOptions::default() });
        match (base(&run, request.as_ref()), thread) {
            // It never was, or is gone.
            (_, None) => {}
            (None, Some(thread)) => match engine.delete_at(&run.thread, thread.epoch).await {
                Ok(()) | Err(EngineError::ThreadNotFound(_)) => {}
                Err(error) => return Err(error.into()),
            },
            (Some(base), Some(thread)) if thread.head == base && !answered => {}
            (Some(base), Some(thread)) => {
                // A crash before the run is removed leaves it as one that was rolled back.
                let error = ThreadError {
                    code: "UserRollback".into(),
                    message: "the run was cancelled and rolled back".into(),
                    node: None,
                    details: None,
                };
                let update = RunUpdate { run: run.id.clone(), from: run.status, to: run.status, error: Some(error) };
                let back = TakeBack { epoch: thread.epoch, runs: vec![update], goes_on: answered };
                engine.take_back(&run.thread, &base, back).await?;
                if answered && let Err(error) = engine.proceed(&run.thread).await {
                    // It runs and is nobody's: whoever looks for such threads continues it.
                    tracing::info!(thread = %run.thread, %error, "what a run had answered is asked again later");
                }
            }
        }
        self.store().delete_run(&run.id).await?;
        Ok(())
    }

    /// Another run of the thread that began after this one had ended. None does while this one is to be rolled back, unless its host had been about to
    /// when this one ended, and stood still for a while.
    async fn begun_since(&self, run: &RunRecord) -> Result<Option<RunId>, StoreError> {
        let filter = RunFilter { thread: Some(run.thread.clone()), limit: LATER_MAX, ..RunFilter::default() };
        let runs = self.store().runs(&filter).await?;
        let later = runs.into_iter().find(|other| {
            other.id != run.id
                && other.base.is_some()
                && (other.status == RunStatus::Running || other.updated_at_ms > run.updated_at_ms)
        });
        Ok(later.map(|later| later.id))
    }

    /// Does what is left to be done of a rollback, and tells those who watch the run.
    pub(super) async fn finish_rollback(&self, run: RunRecord) -> Advanced {
        let not_rolled_back = match self.roll_back(&run).await {
            RolledBack::Done => None,
            RolledBack::Later(obstacle) => return self.later(&run.thread, &obstacle),
            RolledBack::Never(code, text) => Some((code, text)),
        };
        let view = self.0.engine.view(&run.thread).await.ok();
        self.tell_end(&run, &Outcome { status: run.status, error: run.error.clone(), view }, not_rolled_back);
        self.0.work.notify_one();
        Advanced::Done
    }
}

/// The thread's head before the run; none when there was no thread. Of a run that an older version began it is what the thread was when the run was
/// accepted.
fn base(run: &RunRecord, request: Option<&RunRequest>) -> Option<CheckpointId> {
    match &run.base {
        Some(base) => base.clone(),
        None => request.and_then(|request| CheckpointId::parse(request.head.clone()?).ok()),
    }
}
