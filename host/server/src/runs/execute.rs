//! One run on the engine, or a thread that goes on by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdpoint_engine::stream::Mode;
use holdpoint_engine::{
    Answers, AsNode, Drain, Engine, Error as EngineError, Input, Principal, RunOptions, Taken, ThreadView, Turn, Update,
};
use holdpoint_graph::ids::{CheckpointId, GraphName, Namespace, QuestionId, RunId, Tenant, ThreadId};
use holdpoint_graph::nodes;
use holdpoint_store::{
    Error as StoreError, RunCancel, RunFilter, RunRecord, RunStatus, RunUpdate, ThreadError, ThreadStatus,
};
use serde_json::{Map, Value, json};

use super::feed::{Finish, FrameKind};
use super::frames::{CHANNEL_MODES, RunSink};
use super::outcome::{Outcome, cancelled};
use super::request::{self, Act, RunRequest};
use super::rollback::RolledBack;
use super::{Runs, host};
use crate::problem::Problem;

/// What became of an attempt to advance a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advanced {
    /// As far as it went.
    Done,
    /// Nothing could be done just now.
    Later,
}

/// A thread that goes on under no run.
struct Alone<'a> {
    thread: &'a ThreadId,
    tenant: &'a Tenant,
    graph: &'a GraphName,
}

/// Why the engine did not do what a run asks for.
enum Refusal {
    /// It may do it later.
    Later(EngineError),
    /// The thread is in the middle of something that has to be continued first.
    Unfinished,
    /// The run is not what it was thought to be: somebody else cancelled, began or ended it.
    Changed,
    /// It will not do it.
    Never(ThreadError),
}

impl Runs {
    /// Executes a run that is pending, or goes on with one that is running.
    pub(super) async fn execute(&self, run: RunRecord, drain: &Drain) -> Advanced {
        let Some(request) = RunRequest::read(&run.request) else {
            let error = ThreadError {
                code: "HP0830".into(),
                message: "what the run asks for cannot be read: a newer version accepted it".into(),
                node: None,
                details: None,
            };
            self.end(&run, RunStatus::Error, Some(error)).await;
            return self.conclude(&run, None).await;
        };
        let begun = run.status == RunStatus::Running;
        if run.cancel.is_some() {
            // Wanted ended before this host came to it.
            drain.cancel();
            if !begun {
                self.end(&run, RunStatus::Interrupted, Some(cancelled("request"))).await;
                return self.conclude(&run, None).await;
            }
        }
        let engine = self.engine_for(&run, &request, begun, drain);
        let done = if begun {
            engine.proceed(&run.thread).await.map_err(refusal)
        } else {
            self.perform(&engine, &run, &request).await
        };
        let view = match done {
            Ok(view) => Some(view),
            Err(Refusal::Later(error)) => return self.later(&run.thread, &error),
            Err(Refusal::Unfinished) => {
                let mut state = self.state();
                state.woken.push_back(run.thread.clone());
                state.postponed.insert(run.thread.clone());
                return Advanced::Done;
            }
            Err(Refusal::Changed) => None,
            Err(Refusal::Never(error)) => {
                self.end(&run, RunStatus::Error, Some(error)).await;
                None
            }
        };
        self.conclude(&run, view).await
    }

    /// Lets a thread go on that runs and is nobody's: under the run that it is in the middle of, or under none.
    pub(super) async fn proceed(&self, thread: &ThreadId, drain: &Drain) -> Advanced {
        let running = RunFilter {
            thread: Some(thread.clone()),
            status: Some(RunStatus::Running),
            limit: 1,
            ..RunFilter::default()
        };
        let (record, runs) = match tokio::join!(self.store().thread(thread), self.store().runs(&running)) {
            (Ok(Some(record)), Ok(runs)) => (record, runs),
            (Ok(None), _) => return Advanced::Done,
            (Err(error), _) | (_, Err(error)) => return self.later(thread, &error),
        };
        if let Some(run) = runs.into_iter().next() {
            if let Some(active) = self.state().active.get_mut(thread) {
                active.run = Some(run.id.clone());
            }
            return self.execute(run, drain).await;
        }
        if record.status != ThreadStatus::Running {
            return Advanced::Done;
        }
        let alone = Alone { thread, tenant: &record.tenant, graph: &record.graph_name };
        self.alone(alone, drain, |engine| async move { engine.proceed(thread).await }).await
    }

    /// Lets a thread go on that a decision has claimed: under no run, since the one that asked ended when it waited.
    pub(super) async fn drive(&self, taken: Taken, drain: &Drain) -> Advanced {
        let (thread, tenant, graph) = (taken.thread.clone(), taken.tenant.clone(), taken.graph.clone());
        let alone = Alone { thread: &thread, tenant: &tenant, graph: &graph };
        self.alone(alone, drain, |engine| async move { engine.drive_taken(taken).await }).await
    }

    async fn alone<F: Future<Output = Result<ThreadView, EngineError>> + Send>(
        &self,
        Alone { thread, tenant, graph }: Alone<'_>,
        drain: &Drain,
        advance: impl FnOnce(Engine) -> F,
    ) -> Advanced {
        // Nobody has looked at a thread without a feed for minutes: what it does need not be put into words, and whoever comes reads its state.
        let modes = self.0.feeds.known(thread).map_or(&[][..], |_| &CHANNEL_MODES[..]);
        let feed = self.feed(thread);
        let graph = graph.to_string();
        let metadata = Map::from_iter([
            ("thread_id".to_owned(), thread.as_str().into()),
            ("graph_id".to_owned(), graph.as_str().into()),
        ]);
        let lifecycle = |event: &str| {
            let told = json!({ "event": event, "graph_name": graph });
            vec![(FrameKind::Lifecycle, Namespace::root(), told)]
        };
        feed.push(None, self.0.engine.now_ms(), lifecycle("running"));
        let sink = RunSink::new(Arc::clone(&feed), None, graph.clone(), modes, metadata);
        let engine = self.0.engine.with_options(RunOptions {
            events: Some(Arc::new(sink)),
            drain: drain.clone(),
            principal: host(tenant),
            ..RunOptions::default()
        });
        match advance(engine).await {
            Ok(view) => {
                let event = match view.status {
                    ThreadStatus::Running => "running",
                    ThreadStatus::Interrupted => "interrupted",
                    ThreadStatus::Done => "completed",
                    ThreadStatus::Failed => "failed",
                };
                feed.push(None, self.0.engine.now_ms(), lifecycle(event));
                Advanced::Done
            }
            Err(error) => self.later(thread, &error),
        }
    }

    fn engine_for(&self, run: &RunRecord, request: &RunRequest, begun: bool, drain: &Drain) -> Engine {
        let mut metadata = run.metadata.clone();
        metadata.extend([
            ("run_id".to_owned(), run.id.as_str().into()),
            ("thread_id".to_owned(), run.thread.as_str().into()),
            ("graph_id".to_owned(), request.graph.as_str().into()),
            ("assistant_id".to_owned(), request.assistant.as_str().into()),
        ]);
        let sink = RunSink::new(
            self.feed(&run.thread),
            Some(run.id.clone()),
            request.graph.clone(),
            &request.stream_modes,
            metadata.clone(),
        );
        self.0.engine.with_options(RunOptions {
            breakpoints: request.breakpoints(),
            metadata,
            effects: request.effects(),
            events: Some(Arc::new(sink)),
            drain: drain.clone(),
            principal: Principal {
                actor: run.actor.clone(),
                groups: request.groups.iter().cloned().collect(),
                tenant: run.tenant.clone(),
                authenticated: request.authenticated(),
            },
            run: Some(Turn { run: run.id.clone(), begun }),
            take_up: false,
        })
    }

    async fn perform(&self, engine: &Engine, run: &RunRecord, request: &RunRequest) -> Result<ThreadView, Refusal> {
        let thread = &run.thread;
        let done = match &request.act {
            Act::Input { values, supersede, checkpoint: None } => {
                let input = Input { values: values.clone(), supersede: *supersede };
                match engine.input(thread, input.clone()).await {
                    Err(EngineError::ThreadNotFound(_)) => {
                        let deployment = self.newest(&request.graph).await?;
                        engine.run(thread, &deployment, input).await
                    }
                    done => done,
                }
            }
            Act::Input { values, checkpoint: Some(checkpoint), .. } => {
                let update = Update {
                    values: Some(values.as_object().cloned().unwrap_or_default()),
                    as_node: Some(AsNode::Input),
                    ..Update::default()
                };
                match engine.update(thread, Some(&checkpoint_id(checkpoint)?), &[vec![update]]).await {
                    Ok(_) => engine.proceed(thread).await,
                    Err(error) => Err(error),
                }
            }
            Act::Continue { checkpoint: None } => engine.proceed(thread).await,
            Act::Continue { checkpoint: Some(checkpoint) } => engine.replay(thread, &checkpoint_id(checkpoint)?).await,
            Act::Command { answers, update, goto } => {
                let goto =
                    goto.as_ref().map(request::destinations).transpose().map_err(unreadable)?.unwrap_or_default();
                let command = nodes::Command { update: update.clone(), goto };
                let answers = answers.as_ref().map(by_id).transpose()?;
                engine.command(thread, answers.as_ref(), command, &run.actor.id).await
            }
            Act::Dismiss { update } => {
                let dismissed = self.dismiss(engine, thread, update).await;
                if let Ok(view) = &dismissed {
                    self.tell_values(run, request, view);
                }
                dismissed
            }
        };
        done.map_err(refusal)
    }

    async fn dismiss(
        &self,
        engine: &Engine,
        thread: &ThreadId,
        values: &Map<String, Value>,
    ) -> Result<ThreadView, EngineError> {
        let view = engine.view(thread).await?;
        if view.status == ThreadStatus::Done && values.is_empty() {
            return Ok(view);
        }
        let values = Some(values.clone()).filter(|values| !values.is_empty());
        let ends = Update { as_node: Some(AsNode::End), ..Update::default() };
        match values {
            None => engine.update(thread, None, &[vec![ends]]).await,
            Some(_) => {
                // What is written counts as the last node's word; then nothing runs any more.
                engine.update(thread, None, &[vec![Update { values, ..Update::default() }]]).await?;
                engine.update(thread, None, &[vec![ends]]).await
            }
        }
    }

    /// An update tells nobody by itself.
    fn tell_values(&self, run: &RunRecord, request: &RunRequest, view: &ThreadView) {
        let (feed, at_ms) = (self.feed(&run.thread), self.0.engine.now_ms());
        feed.begin(&run.id, &request.graph, at_ms);
        let values = Value::Object(view.values.clone());
        feed.push(Some(&run.id), at_ms, vec![(FrameKind::Mode(Mode::Values), Namespace::root(), values)]);
    }

    async fn newest(&self, graph: &str) -> Result<holdpoint_engine::Deployment, Refusal> {
        let gone = || ThreadError {
            code: "HP0831".into(),
            message: format!("graph {graph} is not deployed"),
            node: None,
            details: None,
        };
        let name = GraphName::parse(graph).map_err(|_| Refusal::Never(gone()))?;
        match self.0.graphs.newest(&name).await {
            Ok(Some(deployment)) => Ok(deployment),
            Ok(None) => Err(Refusal::Never(gone())),
            Err(Problem { code, detail, status, .. }) if !status.is_server_error() => {
                Err(Refusal::Never(ThreadError { code, message: detail, node: None, details: None }))
            }
            Err(problem) => Err(Refusal::Later(EngineError::Store(StoreError::Unavailable(problem.detail)))),
        }
    }

    /// Ends a run that no commit ends. False for one that changed meanwhile: it stays as it is.
    pub(super) async fn end(&self, run: &RunRecord, to: RunStatus, error: Option<ThreadError>) -> bool {
        let ended = self.entry(
            run,
            run.actor.clone(),
            "run.ended",
            json!({
                "status": to.name(),
                "error": error.as_ref().map(|error| error.code.as_str()),
            }),
        );
        let update = RunUpdate { run: run.id.clone(), from: run.status, to, error };
        match self.store().update_run(update, self.0.engine.now_ms(), vec![ended]).await {
            Ok(()) => true,
            Err(StoreError::RunChanged { .. }) => false,
            Err(error) => {
                tracing::error!(run = %run.id, %error, "a run's end could not be stored; it stays open");
                false
            }
        }
    }

    /// After an attempt: rolls the run back where that is wanted, and tells those who watch, when it is over.
    async fn conclude(&self, run: &RunRecord, view: Option<ThreadView>) -> Advanced {
        let stored = match self.store().run(&run.id).await {
            Ok(stored) => stored,
            Err(error) => return self.later(&run.thread, &error),
        };
        let Some(mut stored) = stored else {
            self.tell_gone(&run.thread, &run.id);
            return Advanced::Done;
        };
        if !stored.status.is_over() {
            let Some(view) = view.as_ref().filter(|view| view.status != ThreadStatus::Running) else {
                // Drained, or cut off from the store: whoever comes next goes on.
                return Advanced::Done;
            };
            // What the engine had nothing to do for is over without a commit.
            let failed = stored.status == RunStatus::Running && view.status == ThreadStatus::Failed;
            let (to, error) = if failed { (RunStatus::Error, view.error.clone()) } else { (RunStatus::Success, None) };
            if !self.end(&stored, to, error.clone()).await {
                // Somebody was quicker, or the store fails: the next look finds out.
                return self.later(&run.thread, &"a run's end could not be stored");
            }
            stored = RunRecord { status: to, error, ..stored };
        }
        let view = match view {
            Some(view) => Some(view),
            None => self.0.engine.view(&run.thread).await.ok(),
        };
        let outcome = Outcome { status: stored.status, error: stored.error.clone(), view };
        let mut not_rolled_back = None;
        if stored.cancel == Some(RunCancel::Rollback) {
            not_rolled_back = match self.roll_back(&stored).await {
                RolledBack::Done => None,
                // It is still wanted: the next look does it, and tells.
                RolledBack::Later(obstacle) => return self.later(&run.thread, &obstacle),
                RolledBack::Never(code, text) => Some((code, text)),
            };
        }
        self.tell_end(&stored, &outcome, not_rolled_back);
        self.0.mail.notify_one();
        let request = RunRequest::read(&stored.request);
        if let Some(url) = request.as_ref().and_then(|request| request.webhook.clone()) {
            self.0.webhooks.tell(url, &stored, &outcome, self.0.engine.now_ms());
        }
        let stopped = |view: &ThreadView| matches!(view.status, ThreadStatus::Done | ThreadStatus::Failed);
        let temporary = request.is_some_and(|request| request.temporary);
        if temporary && outcome.view.as_ref().is_none_or(stopped) {
            self.remove(&stored).await;
        }
        Advanced::Done
    }

    /// Tells those who watch a run that it is over.
    pub(super) fn tell_end(&self, run: &RunRecord, outcome: &Outcome, not_rolled_back: Option<(String, String)>) {
        let graph = RunRequest::read(&run.request).map(|request| request.graph).unwrap_or_default();
        let feed = self.feed(&run.thread);
        let at_ms = self.0.engine.now_ms();
        feed.begin(&run.id, &graph, at_ms);
        let finish = Finish { body: outcome.body(), not_rolled_back };
        feed.finish(&run.id, at_ms, outcome.last_words(&graph), finish);
    }

    /// Tells those who watch a run that it is no more: it was rolled back, or deleted with its thread.
    pub(super) fn tell_gone(&self, thread: &ThreadId, run: &RunId) {
        let outcome = Outcome { status: RunStatus::Interrupted, error: Some(cancelled("deletion")), view: None };
        let finish = Finish { body: outcome.body(), not_rolled_back: None };
        self.feed(thread).finish(run, self.0.engine.now_ms(), outcome.last_words(""), finish);
    }

    /// What a run that is over came to, as far as its thread still tells.
    pub(crate) async fn body_of(&self, run: &RunRecord) -> Value {
        let view = self.0.engine.view(&run.thread).await.ok();
        Outcome { status: run.status, error: run.error.clone(), view }.body()
    }

    /// Removes a thread that was made for a run. What its operations did stays known.
    async fn remove(&self, run: &RunRecord) {
        let engine = self.0.engine.with_options(RunOptions { principal: host(&run.tenant), ..RunOptions::default() });
        match engine.delete(&run.thread).await {
            Ok(()) | Err(EngineError::ThreadNotFound(_)) => {}
            Err(error) => {
                tracing::info!(thread = %run.thread, %error, "a temporary thread is kept");
                return;
            }
        }
        if let Err(error) = self.store().delete_entry(&run.thread, Vec::new()).await {
            tracing::warn!(thread = %run.thread, %error, "the entry of a temporary thread is kept");
        }
    }

    pub(super) fn later(&self, thread: &ThreadId, error: &dyn std::fmt::Display) -> Advanced {
        tracing::info!(%thread, %error, "a thread cannot be advanced now");
        self.state().postponed.insert(thread.clone());
        Advanced::Later
    }
}

fn by_id(map: &Map<String, Value>) -> Result<Answers, Refusal> {
    let mut answers = BTreeMap::new();
    for (id, value) in map {
        let id = QuestionId::parse(id.as_str()).map_err(|error| unreadable(error.to_string()))?;
        answers.insert(id, value.clone());
    }
    Ok(Answers::ById(answers))
}

fn checkpoint_id(text: &str) -> Result<CheckpointId, Refusal> {
    CheckpointId::parse(text).map_err(|error| unreadable(error.to_string()))
}

/// Acceptance checked it; a newer version may have let through what this one does not know.
fn unreadable(message: String) -> Refusal {
    Refusal::Never(ThreadError { code: "HP0830".into(), message, node: None, details: None })
}

fn refusal(error: EngineError) -> Refusal {
    match error {
        EngineError::Busy { .. } | EngineError::TakenOver(_) => Refusal::Later(error),
        EngineError::NotFinished { status: ThreadStatus::Running, .. } => Refusal::Unfinished,
        EngineError::Store(StoreError::RunChanged { .. }) => Refusal::Changed,
        EngineError::Store(_) => Refusal::Later(error),
        EngineError::GraphUnavailable { .. } => {
            tracing::error!(%error, "a run's graph cannot be loaded");
            Refusal::Never(thread_error(&error))
        }
        other => Refusal::Never(thread_error(&other)),
    }
}

fn thread_error(error: &EngineError) -> ThreadError {
    ThreadError { code: error.code().into(), message: error.to_string(), node: None, details: None }
}
