//! Whose turn it is, what was left behind, and the end of it all.
//!
//! A thread is advanced by one task of this process at a time, and so many at once as the settings say. The worker sleeps until something happens: a
//! run is accepted, one ends, a question is answered. The tick is for what nobody tells it: moments that come, and what another process left behind.

use std::time::Duration;

use holdpoint_engine::{Drain, Taken};
use holdpoint_graph::ids::{RunId, ThreadId};
use holdpoint_store::{RunCancel, RunFilter, RunRecord, RunStatus, ThreadFilter, ThreadStatus};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::execute::Advanced;
use super::expiry::SESSIONS_EVERY_MS;
use super::outcome::Outcome;
use super::{Active, Runs};

/// What one look at what was left behind takes in. What is beyond comes with the next.
const LOOK_MAX: usize = 1000;

/// Questions that the monitor looks at in one go. Where there are more it looks again at once.
const DUE_MAX: usize = 500;

/// The worker of a host.
pub(crate) struct Worker {
    runs: Runs,
    tasks: Vec<JoinHandle<()>>,
}

/// What to do with a thread.
pub(super) enum Job {
    /// Execute or continue a run.
    Run(Box<RunRecord>),
    /// Let it go on.
    Proceed,
    /// Roll back a run that is over.
    RollBack(Box<RunRecord>),
    /// Drive it: a decision has claimed it.
    Taken(Box<Taken>),
}

impl Runs {
    /// Starts the worker: it begins runs whose turn has come, continues what was running when a process died, watches deadlines, and sends what is
    /// queued.
    pub(crate) fn start(&self) -> Worker {
        let tasks = vec![
            tokio::spawn(self.clone().begin_in_turn()),
            tokio::spawn(self.clone().tend()),
            tokio::spawn(self.clone().send()),
        ];
        Worker { runs: self.clone(), tasks }
    }

    /// Lets a thread go on at once: what it waited for has come.
    pub fn wake(&self, thread: &ThreadId) {
        let mut state = self.state();
        if let Some(active) = state.active.get_mut(thread) {
            active.again = true;
            return;
        }
        if !state.woken.contains(thread) {
            state.woken.push_back(thread.clone());
        }
        drop(state);
        self.begin_woken();
        self.0.mail.notify_one();
    }

    /// Takes no more runs, asks those that are being executed to stop at their next superstep, waits for them as long as the settings say, and ends
    /// all watching.
    pub(crate) async fn drain(&self) {
        let mut active = self.0.active.subscribe();
        {
            let mut state = self.state();
            state.stopping = true;
            state.active.values().for_each(|active| active.drain.request());
        }
        self.0.stopping.send_replace(true);
        let stopped = active.wait_for(|active| *active == 0);
        if tokio::time::timeout(self.0.settings.drain, stopped).await.is_err() {
            let left = self.state().active.len();
            tracing::warn!(
                left,
                "threads are still in the middle of a superstep: they are continued after the next start"
            );
        }
        self.0.feeds.close();
    }

    async fn begin_in_turn(self) {
        let mut stopping = self.0.stopping.subscribe();
        let mut tick = tokio::time::interval(self.0.settings.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.work.notified() => {}
                _ = tick.tick() => self.state().postponed.clear(),
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            self.begin_woken();
            self.begin_next().await;
        }
    }

    /// Begins runs whose turn has come, as far as there is room.
    async fn begin_next(&self) {
        let (room, passed) = {
            let state = self.state();
            let room = self.0.settings.runs_max.saturating_sub(state.active.len());
            (room, state.active.len() + state.postponed.len())
        };
        if room == 0 {
            return;
        }
        match self.store().next_runs(self.0.engine.now_ms(), room + passed).await {
            Ok(runs) => runs.into_iter().for_each(|run| {
                self.advance(&run.thread.clone(), Job::Run(Box::new(run)));
            }),
            Err(error) => tracing::error!(%error, "the runs that are next cannot be read"),
        }
    }

    fn begin_woken(&self) {
        loop {
            let thread = {
                let mut state = self.state();
                if state.stopping || state.active.len() >= self.0.settings.runs_max {
                    return;
                }
                let Some(thread) = state.woken.pop_front() else { return };
                state.postponed.remove(&thread);
                if let Some(active) = state.active.get_mut(&thread) {
                    // Its place was taken meanwhile, perhaps only for a decision: it is looked at again when that is given up.
                    active.again = true;
                    continue;
                }
                thread
            };
            self.advance(&thread, Job::Proceed);
        }
    }

    /// Advances a thread in a task of its own. False when there is no room, or it is being advanced, or was just tried in vain.
    pub(super) fn advance(&self, thread: &ThreadId, job: Job) -> bool {
        self.advance_with(thread, job, Drain::default())
    }

    /// The same, with a say in how it ends.
    pub(super) fn advance_with(&self, thread: &ThreadId, job: Job, drain: Drain) -> bool {
        let run = match &job {
            Job::Run(run) => Some(run.id.clone()),
            Job::Proceed | Job::Taken(_) | Job::RollBack(_) => None,
        };
        match self.place(thread, run, drain.clone()) {
            Some(place) => {
                Self::begin(place, job, drain);
                true
            }
            None => false,
        }
    }

    /// A thread's place among those that are being advanced. None when there is no room, or it has one, or was just tried in vain, or the host drains.
    pub(super) fn place(&self, thread: &ThreadId, run: Option<RunId>, drain: Drain) -> Option<Place> {
        let mut state = self.state();
        let full = state.active.len() >= self.0.settings.runs_max;
        if state.stopping || full || state.active.contains_key(thread) || state.postponed.contains(thread) {
            return None;
        }
        state.active.insert(thread.clone(), Active { run, drain, again: false });
        self.0.active.send_replace(state.active.len());
        Some(Place { runs: self.clone(), thread: thread.clone() })
    }

    /// Advances the thread of a place in a task of its own.
    pub(super) fn begin(place: Place, job: Job, drain: Drain) {
        tokio::spawn(async move {
            let Place { runs, thread } = &place;
            let advanced = match job {
                Job::Run(run) => runs.execute(*run, &drain).await,
                Job::Proceed => runs.proceed(thread, &drain).await,
                Job::RollBack(run) => runs.finish_rollback(*run).await,
                Job::Taken(taken) => runs.drive(*taken, &drain).await,
            };
            tracing::trace!(%thread, ?advanced, "a thread was advanced");
            if advanced == Advanced::Done {
                runs.0.mail.notify_one();
            }
        });
    }

    async fn tend(self) {
        let mut stopping = self.0.stopping.subscribe();
        let mut tick = tokio::time::interval(self.0.settings.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut first, mut sessions_at_ms) = (true, 0);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            self.recover(first).await;
            self.look_for_wishes().await;
            first = false;
            self.watch_deadlines().await;
            self.end_threads().await;
            let now_ms = self.0.engine.now_ms();
            if now_ms >= sessions_at_ms {
                self.clear_sessions().await;
                sessions_at_ms = now_ms.saturating_add(SESSIONS_EVERY_MS);
            }
            self.0.feeds.sweep();
        }
    }

    /// Continues threads that run and are nobody's, and ends runs whose threads have stopped.
    async fn recover(&self, at_start: bool) {
        let now_ms = self.0.engine.now_ms();
        let running = ThreadFilter { status: Some(ThreadStatus::Running), limit: LOOK_MAX, ..ThreadFilter::default() };
        let threads = match self.store().threads(&running).await {
            Ok(threads) => threads,
            Err(error) => return tracing::error!(%error, "running threads cannot be read"),
        };
        for thread in &threads {
            // Whether an owner whose claim still stands is alive, the engine finds out; asking once is enough.
            let claimed = thread.owner.is_some() && thread.lease_until_ms > now_ms;
            if at_start || !claimed {
                self.advance(&thread.id, Job::Proceed);
            }
        }
        let running = RunFilter { status: Some(RunStatus::Running), limit: LOOK_MAX, ..RunFilter::default() };
        let runs = match self.store().runs(&running).await {
            Ok(runs) => runs,
            Err(error) => return tracing::error!(%error, "running runs cannot be read"),
        };
        for run in &runs {
            let advances = threads.iter().any(|thread| thread.id == run.thread);
            if !advances && !self.state().active.contains_key(&run.thread) {
                self.end_stopped(run).await;
            }
        }
        self.look_for_awaited(&runs).await;
    }

    /// Ends a run whose thread has stopped without it: it was continued by somebody who knows of no runs, or deleted.
    async fn end_stopped(&self, run: &RunRecord) {
        let (status, error) = match self.store().thread(&run.thread).await {
            Ok(Some(thread)) => match thread.status {
                ThreadStatus::Running => return,
                ThreadStatus::Interrupted | ThreadStatus::Done => (RunStatus::Success, None),
                ThreadStatus::Failed => (RunStatus::Error, thread.error),
            },
            Ok(None) => (RunStatus::Interrupted, Some(super::outcome::cancelled("deletion"))),
            Err(_) => return,
        };
        self.end(run, status, error).await;
        self.tell_if_over(&run.thread, &run.id).await;
    }

    /// Runs that are watched here and that another process ended. One more read at most, however many are watched.
    async fn look_for_awaited(&self, running: &[RunRecord]) {
        let mut awaited = self.0.feeds.awaited();
        awaited.retain(|(thread, id)| {
            !running.iter().any(|run| run.id == *id) && !self.state().active.contains_key(thread)
        });
        if awaited.is_empty() {
            return;
        }
        let pending = RunFilter { status: Some(RunStatus::Pending), limit: LOOK_MAX, ..RunFilter::default() };
        let Ok(pending) = self.store().runs(&pending).await else { return };
        if pending.len() == LOOK_MAX {
            // Those that are not among them may be pending all the same.
            return;
        }
        for (thread, id) in awaited {
            if !pending.iter().any(|run| run.id == id) {
                self.tell_if_over(&thread, &id).await;
            }
        }
    }

    async fn tell_if_over(&self, thread: &ThreadId, id: &RunId) {
        match self.store().run(id).await {
            // It is over when it is rolled back.
            Ok(Some(run)) if run.cancel == Some(RunCancel::Rollback) => {}
            Ok(Some(run)) if run.status.is_over() => {
                let view = self.0.engine.view(thread).await.ok();
                let kept = run.error.as_ref().filter(|error| error.code == "HP0841");
                let kept = kept.map(|error| (error.code.clone(), error.message.clone()));
                self.tell_end(&run, &Outcome { status: run.status, error: run.error.clone(), view }, kept);
            }
            Ok(None) => self.tell_gone(thread, id),
            Ok(_) | Err(_) => {}
        }
    }

    /// What is due of questions: escalations, reminders, deadlines.
    async fn watch_deadlines(&self) {
        loop {
            match self.0.engine.monitor(DUE_MAX).await {
                Ok(report) => {
                    report.threads.iter().for_each(|thread| self.wake(thread));
                    if report.reminded + report.escalated + report.expired > 0 {
                        self.0.mail.notify_one();
                    }
                    if report.looked_at < DUE_MAX || report.failed > 0 {
                        return;
                    }
                }
                Err(error) => return tracing::error!(%error, "questions that are due cannot be read"),
            }
        }
    }

    /// Sends what is queued, beside everything else: receivers are slow.
    async fn send(self) {
        let mut stopping = self.0.stopping.subscribe();
        let mut tick = tokio::time::interval(self.0.settings.tick.max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.mail.notified() => {}
                _ = tick.tick() => {}
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
            self.0.outbox.deliver_due().await;
        }
    }
}

/// A thread's place among those that are being advanced. It is given up whatever becomes of the task.
pub(super) struct Place {
    runs: Runs,
    thread: ThreadId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.runs.state();
        if state.active.remove(&self.thread).is_some_and(|active| active.again) {
            state.woken.push_back(self.thread.clone());
        }
        self.runs.0.active.send_replace(state.active.len());
        drop(state);
        self.runs.0.work.notify_one();
    }
}

impl Worker {
    /// Asks all runs to stop at their next superstep and waits for them.
    pub(crate) async fn drain(self) {
        self.runs.drain().await;
        for task in self.tasks {
            // What the outbox was sending is sent again by the next process, as far as that is safe.
            task.abort();
        }
    }
}
