//! Whether a run is accepted, and as what.
//!
//! Everything that can be known is checked before anything is stored: then the caller is told at once, and nothing was written. An answer without a
//! question's id is bound to the one question that waits now; whatever waits when the run's turn comes, it answers no other.

use holdpoint_engine::approvals::policy::Policy;
use holdpoint_engine::{Answers, Error as EngineError, RunOptions, Selection};
use holdpoint_graph::ids::{self, GraphName, QuestionId, RunId, ThreadId};
use holdpoint_graph::nodes::{Destination, EffectMode};
use holdpoint_store::{
    Error as StoreError, ExpiryRule, QuestionRecord, QuestionStatus, RunCancel, RunFilter, RunRecord, RunStatus,
    Snapshot, TaskStatus, ThreadEntry, ThreadStatus, ThreadSummary, VersionKind,
};
use serde_json::{Map, Value, json};

use super::asked::{Command, CreateRun, Texts, checkpoint_of, choice, named, needed_role, refused};
use super::expiry::TEMPORARY_MS;
use super::frames::MODES;
use super::request::{self, Act, RunRequest, Strategy};
use super::{Runs, webhook};
use crate::caller::Caller;
use crate::problem::Problem;
use crate::settings::ThreadTtl;

/// What acceptance knows of the thread.
struct Known {
    summary: ThreadSummary,
    /// Read only where what waits matters.
    snapshot: Option<Snapshot>,
}

impl Runs {
    /// Accepts a run of a thread, or of a new one that goes with the run when none is named.
    ///
    /// # Errors
    /// Every refusal; nothing was written then, but an entry for a thread that `if_not_exists` asked for.
    pub(crate) async fn accept(
        &self,
        caller: &Caller,
        thread: Option<&ThreadId>,
        asked: CreateRun,
    ) -> Result<(RunRecord, RunRequest), Problem> {
        if self.state().stopping {
            let problem = Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "HP0839", "the server is stopping");
            return Err(problem.with_cure("try again in a moment"));
        }
        caller.require(needed_role(&asked))?;
        let graph = self.graph(&asked.assistant_id).await?;
        let strategy = named(asked.multitask_strategy.as_deref(), "multitask_strategy", Strategy::parse)?;
        let keep = choice(asked.on_completion.as_deref(), "on_completion", ["delete", "keep"])? == 1;
        let create = choice(asked.if_not_exists.as_deref(), "if_not_exists", ["reject", "create"])? == 1;
        let (creates, temporary) = (create || thread.is_none(), thread.is_none() && !keep);
        let thread =
            thread.cloned().unwrap_or_else(|| ThreadId::parse(new_uuid()).expect("invariant: a UUID is a thread id"));
        let mut request = self.request(caller, &graph, &asked, strategy, temporary)?;
        let _lane = self.lane(&thread).lock().await;
        let known = self.known(caller, &thread, &graph, creates, &request, &asked).await?;
        request.head = known.summary.record.as_ref().map(|record| record.head.to_string());
        self.bind(&known, &thread, caller, &asked, &mut request).await?;
        let run = self.record(caller, &thread, &asked, &request);
        let accepted = self.entry(&run, run.actor.clone(), "run.accepted", json!({ "graph": request.graph }));
        let alone = strategy == Strategy::Reject;
        self.store().put_run(run.clone(), alone, vec![accepted]).await.map_err(|error| match error {
            StoreError::RunChanged { .. } => Problem::conflict(
                "HP0834",
                "Thread is already running a task. Wait for it to finish or choose a different multitask strategy.",
            ),
            other => other.into(),
        })?;
        self.feed(&thread).expect(&run.id);
        self.label(&known.summary, &request, &run).await;
        if strategy.makes_room() {
            // The run is accepted: where no room can be made, it waits for its turn.
            if let Err(problem) = self.make_room(&run, strategy, &caller.principal.actor).await {
                tracing::warn!(run = %run.id, detail = problem.detail, "a run that was to make room for another goes on");
            }
        }
        self.0.work.notify_one();
        Ok((run, request))
    }

    /// The graph that an assistant's id, or a name, stands for.
    async fn graph(&self, assistant: &str) -> Result<GraphName, Problem> {
        if let Ok(name) = GraphName::parse(assistant)
            && self.0.graphs.newest(&name).await?.is_some()
        {
            return Ok(name);
        }
        let versions = self.store().versions(VersionKind::Graph, None).await?;
        let mut names: Vec<GraphName> =
            versions.into_iter().filter_map(|version| GraphName::parse(version.name).ok()).collect();
        names.sort();
        names.dedup();
        if let Some(name) = names.iter().find(|name| assistant_id(name) == assistant) {
            return Ok(name.clone());
        }
        let shown: Vec<&str> = names.iter().map(GraphName::as_str).collect();
        let detail = format!(
            "Invalid assistant: '{}'. Must be either a valid assistant UUID or one of the registered graphs: {}",
            assistant.chars().take(80).collect::<String>(),
            shown.join(", ")
        );
        Err(Problem::invalid("HP0831", detail).with("graphs", shown))
    }

    /// What can be said without looking at the thread.
    fn request(
        &self,
        caller: &Caller,
        graph: &GraphName,
        asked: &CreateRun,
        strategy: Strategy,
        temporary: bool,
    ) -> Result<RunRequest, Problem> {
        let stream_modes = asked.stream_mode.clone().map_or_else(|| vec!["values".to_owned()], Texts::list);
        if let Some(odd) = stream_modes.iter().find(|mode| !MODES.contains(&mode.as_str())) {
            return Err(refused(format!("`stream_mode`: {odd:?} is none of {}", MODES.join(", "))));
        }
        let breakpoints = |given: &Option<Texts>, name: &str| {
            let names = given.clone().map(Texts::list).unwrap_or_default();
            match Selection::parse(names.iter().map(String::as_str)) {
                Ok(_) => Ok(names),
                Err(error) => Err(refused(format!("`{name}`: {error}"))),
            }
        };
        if let Some(effects) = asked.effects.as_deref().filter(|effects| EffectMode::parse(effects).is_none()) {
            return Err(refused(format!("`effects`: {effects:?} is none of live, recorded, ask")));
        }
        if let Some(url) = &asked.webhook {
            webhook::check(url, self.0.settings.loopback_trusted)?;
        }
        let mut given = Map::new();
        if let Some(command) = &asked.command {
            let members = [("resume", &command.resume), ("update", &command.update), ("goto", &command.goto)];
            let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
            given.insert("command".into(), Value::Object(members.collect()));
        }
        if let Some(config) = &asked.config {
            given.insert("config".into(), Value::Object(config.clone()));
        }
        if let Some(context) = &asked.context {
            given.insert("context".into(), context.clone());
        }
        Ok(RunRequest {
            graph: graph.to_string(),
            assistant: assistant_id(graph),
            groups: caller.principal.groups.iter().cloned().collect(),
            authenticated_at_ms: caller.principal.authenticated.as_ref().map(|authenticated| authenticated.at_ms),
            acr: caller.principal.authenticated.as_ref().and_then(|authenticated| authenticated.acr.clone()),
            act: Act::Continue { checkpoint: None },
            head: None,
            interrupt_before: breakpoints(&asked.interrupt_before, "interrupt_before")?,
            interrupt_after: breakpoints(&asked.interrupt_after, "interrupt_after")?,
            effects: asked.effects.clone(),
            strategy,
            stream_modes,
            stream_subgraphs: asked.stream_subgraphs.unwrap_or(false),
            stream_resumable: asked.stream_resumable.unwrap_or(false),
            cancel_on_disconnect: choice(asked.on_disconnect.as_deref(), "on_disconnect", ["continue", "cancel"])? == 1,
            temporary,
            webhook: asked.webhook.clone(),
            given,
        })
    }

    /// The thread as it stands; its entry is made where that was asked for.
    async fn known(
        &self,
        caller: &Caller,
        thread: &ThreadId,
        graph: &GraphName,
        creates: bool,
        request: &RunRequest,
        asked: &CreateRun,
    ) -> Result<Known, Problem> {
        let not_found = || Problem::not_found("HP0810", format!("Thread with ID {thread} not found"));
        let tenant = &caller.principal.tenant;
        let mut found = self.store().entry(thread).await?;
        if found.is_none() && creates {
            let at_ms = self.0.engine.now_ms();
            let metadata = labels(request);
            let expiry = if request.temporary {
                // It is removed at the run's end; this is for when nobody lives to do it.
                Some(ThreadTtl { ttl_ms: TEMPORARY_MS, rule: ExpiryRule::Delete })
            } else {
                self.0.settings.thread_ttl
            };
            let entry = ThreadEntry {
                expiry: expiry.map(|ttl| ttl.from(at_ms)),
                temporary: request.temporary,
                ..ThreadEntry::new(thread.clone(), tenant.clone(), metadata, at_ms)
            };
            match self.store().put_entry(entry, Vec::new()).await {
                // Somebody was quicker.
                Ok(()) | Err(StoreError::ThreadExists(_)) => {}
                Err(error) => return Err(error.into()),
            }
            found = self.store().entry(thread).await?;
        }
        let summary = found.filter(|summary| summary.entry.tenant == *tenant).ok_or_else(not_found)?;
        if let Some(record) = &summary.record
            && record.graph_name != *graph
        {
            let detail = format!("thread {thread} is of graph {}, not of {graph}", record.graph_name);
            return Err(Problem::invalid("HP0833", detail).with_cure("start a new thread for another graph"));
        }
        let looks = asked.command.is_some() || asked.input.is_some();
        let snapshot = match &summary.record {
            Some(record) if looks && record.status != ThreadStatus::Done => self.store().snapshot(thread, None).await?,
            _ => None,
        };
        Ok(Known { summary, snapshot })
    }

    /// Decides what the run does.
    async fn bind(
        &self,
        known: &Known,
        thread: &ThreadId,
        caller: &Caller,
        asked: &CreateRun,
        request: &mut RunRequest,
    ) -> Result<(), Problem> {
        let checkpoint = checkpoint_of(asked)?;
        let head = request.head.clone();
        let is_head = checkpoint.is_none() || checkpoint == head;
        let questions = known.snapshot.as_ref().map(questions).unwrap_or_default();
        let pending: Vec<QuestionId> = questions
            .iter()
            .filter(|question| question.status == QuestionStatus::Pending)
            .map(|question| question.id.clone())
            .collect();
        let new = known.summary.record.is_none();
        request.act = match (&asked.command, &asked.input) {
            (Some(command), _) => {
                if new {
                    return Err(Problem::not_found("HP0810", format!("Thread with ID {thread} has nothing to resume"))
                        .with_cure("give it input first"));
                }
                if !is_head {
                    let detail = "a command can only be given to a thread's newest checkpoint";
                    return Err(Problem::conflict("HP0835", detail)
                        .with_cure("replay from the checkpoint first, then answer what is asked anew"));
                }
                self.bind_command(known, thread, caller, command, &pending).await?
            }
            (None, Some(values)) => {
                if !values.is_object() {
                    return Err(EngineError::InputNotAnObject.into());
                }
                let supersede = request.strategy.makes_room();
                if !pending.is_empty() && !supersede && known.summary.runs_open == 0 && is_head {
                    return Err(EngineError::Waiting { thread: thread.clone(), pending }.into());
                }
                Act::Input { values: values.clone(), supersede, checkpoint: checkpoint.filter(|_| !is_head) }
            }
            (None, None) if new && known.summary.runs_open == 0 => {
                let detail = format!("thread {thread} has no state to go on from");
                return Err(Problem::invalid("HP0838", detail).with_cure("give `input`"));
            }
            (None, None) => Act::Continue { checkpoint: checkpoint.filter(|_| !is_head) },
        };
        Ok(())
    }

    async fn bind_command(
        &self,
        known: &Known,
        thread: &ThreadId,
        caller: &Caller,
        command: &Command,
        pending: &[QuestionId],
    ) -> Result<Act, Problem> {
        let update = command.update.as_ref().map(request::channels).transpose().map_err(refused)?.unwrap_or_default();
        let goto = command.goto.clone().filter(|goto| !goto.is_null());
        let places = goto.as_ref().map(request::destinations).transpose().map_err(refused)?.unwrap_or_default();
        let Some(resume) = &command.resume else {
            if places.iter().all(|place| *place == Destination::End) && !places.is_empty() {
                return Ok(Act::Dismiss { update });
            }
            if update.is_empty() && places.is_empty() {
                return Err(refused("`command`: it has none of `resume`, `update`, `goto`".to_owned()));
            }
            return Ok(Act::Command { answers: None, update, goto });
        };
        let given = match resume {
            Value::Null => return Err(EngineError::NullAnswer.into()),
            Value::Object(map) if map.is_empty() => return Err(EngineError::NoAnswers.into()),
            Value::Object(map) if ids::is_answer_map(resume) => Answers::from_map(map.clone())?,
            value if pending.is_empty() && is_paused(known) => {
                // Nothing waits for an answer: the thread stands at a breakpoint, and any word passes it.
                tracing::debug!(%thread, %value, "a resume passes a breakpoint");
                let goes_on = update.is_empty() && places.is_empty();
                return Ok(if goes_on {
                    Act::Continue { checkpoint: None }
                } else {
                    Act::Command { answers: None, update, goto }
                });
            }
            value => Answers::Bare(value.clone()),
        };
        let principal = caller.principal.clone();
        let actor = principal.actor.id.clone();
        let engine = self.0.engine.with_options(RunOptions { principal, ..RunOptions::default() });
        let answers = engine.check_answers(thread, &given, &actor, !update.is_empty() || !places.is_empty()).await?;
        self.check_unclaimed(thread, known, caller, &answers).await?;
        let answers = answers.into_iter().map(|(question, value)| (question.id.to_string(), value)).collect();
        Ok(Act::Command { answers: Some(answers), update, goto })
    }

    /// An answer that was accepted and waits for its turn is an answer: a second one is told so now.
    async fn check_unclaimed(
        &self,
        thread: &ThreadId,
        known: &Known,
        caller: &Caller,
        answers: &[(QuestionRecord, Value)],
    ) -> Result<(), Problem> {
        if known.summary.runs_open == 0 {
            return Ok(());
        }
        for status in [RunStatus::Running, RunStatus::Pending] {
            let filter = RunFilter {
                thread: Some(thread.clone()),
                status: Some(status),
                limit: usize::try_from(known.summary.runs_open).unwrap_or(usize::MAX).min(1000),
                ..RunFilter::default()
            };
            for run in self.store().runs(&filter).await? {
                let request = RunRequest::read(&run.request);
                let claimed = request.as_ref().and_then(RunRequest::answers);
                let is_claimed = |question: &QuestionRecord| {
                    // Where several people decide, one more is welcome.
                    let one_more = run.actor != caller.principal.actor && has_quorum(question);
                    claimed.is_some_and(|map| map.contains_key(question.id.as_str())) && !one_more
                };
                if let Some((question, _)) = answers.iter().find(|(question, _)| is_claimed(question)) {
                    let (id, by) = (&question.id, &run.actor.id);
                    let detail = format!("question {id} is being answered by {by} with run {}", run.id);
                    return Err(Problem::conflict("HP0836", detail)
                        .with("run_id", run.id.as_str())
                        .with_cure("wait for that run, then look at the thread again"));
                }
            }
        }
        Ok(())
    }

    fn record(&self, caller: &Caller, thread: &ThreadId, asked: &CreateRun, request: &RunRequest) -> RunRecord {
        let now_ms = self.0.engine.now_ms();
        // A delay of more than a century is none that anybody means.
        let after_ms =
            asked.after_seconds.filter(|seconds| *seconds > 0.0).map_or(0.0, |seconds| seconds.min(4e9) * 1000.0);
        RunRecord {
            id: RunId::parse(new_uuid()).expect("invariant: a UUID is a run id"),
            thread: thread.clone(),
            tenant: caller.principal.tenant.clone(),
            actor: caller.principal.actor.clone(),
            status: RunStatus::Pending,
            request: request.write(),
            metadata: asked.metadata.clone().unwrap_or_default(),
            not_before_ms: now_ms.saturating_add(after_ms as u64),
            error: None,
            cancel: None,
            base: None,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        }
    }

    /// Clients find threads by what their first run writes here.
    async fn label(&self, summary: &ThreadSummary, request: &RunRequest, run: &RunRecord) {
        let wanted = labels(request);
        if wanted.iter().all(|(name, value)| summary.entry.metadata.get(name) == Some(value)) {
            return;
        }
        let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
        let audit = vec![self.entry(run, run.actor.clone(), "thread.metadata", json!({ "members": names }))];
        if let Err(error) = self.store().merge_metadata(&run.thread, wanted, run.created_at_ms, audit).await {
            // The run is accepted: it goes on without.
            tracing::warn!(thread = %run.thread, %error, "a thread could not be labelled with its graph");
        }
    }

    /// Cancels the other runs of a thread in favour of one.
    async fn make_room(
        &self,
        run: &RunRecord,
        strategy: Strategy,
        by: &holdpoint_graph::actor::Actor,
    ) -> Result<(), Problem> {
        let action = if strategy == Strategy::Rollback { RunCancel::Rollback } else { RunCancel::Interrupt };
        for status in [RunStatus::Pending, RunStatus::Running] {
            let filter = RunFilter {
                thread: Some(run.thread.clone()),
                status: Some(status),
                limit: 1000,
                ..RunFilter::default()
            };
            for other in self.store().runs(&filter).await?.into_iter().filter(|other| other.id != run.id) {
                self.cancel(&other, action, by).await?;
            }
        }
        Ok(())
    }
}

/// An assistant's id: the same for a graph on every host and after every restart.
pub(crate) fn assistant_id(graph: &GraphName) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, format!("holdpoint:graph:{graph}").as_bytes()).to_string()
}

fn new_uuid() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn labels(request: &RunRequest) -> Map<String, Value> {
    Map::from_iter([
        ("graph_id".to_owned(), request.graph.as_str().into()),
        ("assistant_id".to_owned(), request.assistant.as_str().into()),
    ])
}

fn is_paused(known: &Known) -> bool {
    let doubts = |snapshot: &Snapshot| {
        !snapshot.unsettled.is_empty() || snapshot.tasks.iter().any(|task| task.status == TaskStatus::InDoubt)
    };
    // Of one reading with its questions: a thread that another answer has finished meanwhile is not paused.
    known
        .snapshot
        .as_ref()
        .is_some_and(|snapshot| snapshot.thread.status == ThreadStatus::Interrupted && !doubts(snapshot))
}

/// All questions of a thread's unfinished step, those of running subgraphs included.
fn questions(snapshot: &Snapshot) -> Vec<QuestionRecord> {
    let inner = snapshot.children.values().flat_map(questions);
    snapshot.questions.iter().cloned().chain(inner).collect()
}

/// Whether several people have to decide.
fn has_quorum(question: &QuestionRecord) -> bool {
    Policy::read(&question.policy).is_ok_and(|policy| policy.quorum.approve > 1 || policy.quorum.reject > 1)
}
