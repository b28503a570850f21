//! A thread's state: as it stands, at a checkpoint, and changed from outside.

use axum::Json;
use axum::extract::State;
use holdpoint_engine::{Error, Update};
use holdpoint_graph::ids::{CheckpointId, Namespace, ThreadId};
use holdpoint_store::{ThreadStatus, ThreadSummary};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::forms::{self, Checkpoint, Showing, ThreadState};
use super::reading::Reading;
use super::search::checked;
use super::{ids, threads};
use crate::body::{Body, Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::runs::FrameKind;

/// The members of a state that can be asked for.
pub(super) const MEMBERS: [&str; 10] = [
    "values",
    "next",
    "tasks",
    "metadata",
    "created_at",
    "checkpoint",
    "parent_checkpoint",
    "interrupts",
    "checkpoint_id",
    "parent_checkpoint_id",
];

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(get, post))
        // Before the one that names a checkpoint in the path.
        .routes(routes!(at_checkpoint))
        .routes(routes!(get_at))
}

/// Names a checkpoint, in any of the forms that clients use.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct CheckpointConfig {
    checkpoint_id: Option<String>,
    checkpoint_ns: Option<String>,
    #[schema(no_recursion)]
    configurable: Option<Box<CheckpointConfig>>,
}

impl CheckpointConfig {
    /// The checkpoint's id.
    pub(super) fn id(&self) -> Option<&str> {
        self.checkpoint_id.as_deref().or_else(|| self.configurable.as_ref()?.id())
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.checkpoint_ns.as_deref().or_else(|| self.configurable.as_ref()?.namespace())
    }
}

/// Which state.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct StateQuery {
    /// The newest when it names none.
    checkpoint: Option<CheckpointConfig>,
    /// With the states of subgraphs.
    subgraphs: Option<bool>,
    /// Only these members.
    select: Option<Vec<String>>,
}

/// What is written into a state.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UpdateState {
    /// Channels; none writes nothing and only moves the thread on.
    #[schema(value_type = Option<Object>)]
    values: Option<Map<String, Value>>,
    /// For whom it speaks: a node, `__input__`, `__copy__` or `__end__`.
    as_node: Option<String>,
    /// On a new branch from there.
    checkpoint: Option<CheckpointConfig>,
    /// The same by id.
    checkpoint_id: Option<String>,
}

/// Where an update led.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UpdatedState)]
pub(crate) struct Updated {
    checkpoint: Checkpoint,
    configurable: Checkpoint,
    checkpoint_id: String,
}

/// Shows a thread's state as it stands now. That of a thread without runs is empty.
#[utoipa::path(get, path = "/threads/{thread_id}/state", tag = "threads",
    params(
        ("thread_id" = String, Path),
        ("subgraphs" = Option<bool>, Query, description = "With the states of subgraphs."),
        ("select" = Option<Vec<String>>, Query, description = "Only these members.")),
    responses((status = OK, body = ThreadState), (status = NOT_FOUND)))]
pub(crate) async fn get(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    let (subgraphs, select) = asked(&parameters)?;
    let summary = ids::thread(&context, &caller, &thread).await?;
    let state = shown(&context, &caller, summary, None, subgraphs).await?;
    Ok(Json(forms::select(state, select.as_deref())))
}

/// Shows a thread's state as recorded at a checkpoint.
#[utoipa::path(get, path = "/threads/{thread_id}/state/{checkpoint_id}", tag = "threads",
    params(
        ("thread_id" = String, Path),
        ("checkpoint_id" = String, Path),
        ("subgraphs" = Option<bool>, Query, description = "With the states of subgraphs."),
        ("select" = Option<Vec<String>>, Query, description = "Only these members.")),
    responses((status = OK, body = ThreadState), (status = NOT_FOUND)))]
pub(crate) async fn get_at(
    State(context): State<Context>,
    caller: Caller,
    Segments((thread, checkpoint)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    let (subgraphs, select) = asked(&parameters)?;
    let checkpoint = ids::checkpoint(&checkpoint)?;
    let summary = ids::thread(&context, &caller, &thread).await?;
    let state = shown(&context, &caller, summary, Some(&checkpoint), subgraphs).await?;
    Ok(Json(forms::select(state, select.as_deref())))
}

/// Shows a thread's state as recorded at a checkpoint, that of a subgraph too.
#[utoipa::path(post, path = "/threads/{thread_id}/state/checkpoint", tag = "threads", request_body = StateQuery,
    params(("thread_id" = String, Path)), responses((status = OK, body = ThreadState), (status = NOT_FOUND)))]
pub(crate) async fn at_checkpoint(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(request): Body<StateQuery>,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    let select = checked(request.select.as_deref(), "select", &MEMBERS)?;
    let checkpoint = request.checkpoint.unwrap_or_default();
    let summary = ids::thread(&context, &caller, &thread).await?;
    let subgraphs = request.subgraphs.unwrap_or(false);
    let state = match (checkpoint.id().map(ids::checkpoint).transpose()?, checkpoint.namespace()) {
        (None, Some(namespace)) if !namespace.is_empty() => {
            inside(&context, &caller, summary, namespace, subgraphs).await?
        }
        (checkpoint, _) => shown(&context, &caller, summary, checkpoint.as_ref(), subgraphs).await?,
    };
    Ok(Json(forms::select(state, select)))
}

/// Writes into a thread's state, at its newest checkpoint or on a new branch from another. `{"values": null, "as_node": "__end__"}` ends a thread
/// that waits: its questions are not answered any more, and it is on the record who dismissed them.
#[utoipa::path(post, path = "/threads/{thread_id}/state", tag = "threads", request_body = UpdateState,
    params(("thread_id" = String, Path)), responses(
        (status = OK, body = Updated), (status = BAD_REQUEST, description = "The thread has no graph."), (status = NOT_FOUND),
        (status = CONFLICT, description = "A run is in flight."), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn post(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(request): Body<UpdateState>,
) -> Result<Json<Updated>, Problem> {
    caller.require(Role::Operator)?;
    let named = request.checkpoint.as_ref().and_then(CheckpointConfig::id).or(request.checkpoint_id.as_deref());
    let at = named.map(ids::checkpoint).transpose()?;
    let as_node = request.as_node.as_deref().map(threads::as_node).transpose()?;
    let update = Update { values: request.values, goto: Vec::new(), as_node };
    let summary = ids::thread(&context, &caller, &thread).await?;
    let thread = summary.entry.thread.clone();
    let running = summary.record.as_ref().is_some_and(|record| record.status == ThreadStatus::Running);
    if summary.runs_open > 0 || running {
        return Err(threads::in_flight(&thread));
    }
    let engine = context.engine(&caller);
    let view = match (&summary.record, &at) {
        (Some(_), _) => engine.update(&thread, at.as_ref(), &[vec![update]]).await?,
        (None, Some(checkpoint)) => {
            return Err(Error::CheckpointNotFound { thread, checkpoint: checkpoint.clone() }.into());
        }
        (None, None) => {
            let deployment = threads::deployment(&context, &summary.entry.metadata).await?;
            engine.create_by_updates(&thread, &deployment, &[vec![update]]).await?
        }
    };
    let checkpoint = Checkpoint {
        thread_id: thread.to_string(),
        checkpoint_ns: String::new(),
        checkpoint_id: view.checkpoint.to_string(),
    };
    let checkpoint_id = checkpoint.checkpoint_id.clone();
    tell(&context, &caller, &thread).await;
    Ok(Json(Updated { configurable: checkpoint.clone(), checkpoint, checkpoint_id }))
}

/// Tells those who watch the thread what its state is now. The update is made: what cannot be told is not its failure.
async fn tell(context: &Context, caller: &Caller, thread: &ThreadId) {
    let Some(feed) = context.runs().known_feed(thread) else { return };
    let state = match context.thread(caller, thread).await {
        Ok(summary) => shown(context, caller, summary, None, false).await,
        Err(problem) => Err(problem),
    };
    match state {
        Ok(state) => {
            let told = json!({ "thread_id": thread.as_str(), "state": state });
            feed.push(None, context.now_ms(), vec![(FrameKind::StateUpdate, Namespace::root(), told)]);
        }
        Err(problem) => tracing::warn!(%thread, detail = problem.detail, "those who watch are not told of an update"),
    }
}

/// `subgraphs` and `select` of a query.
fn asked(parameters: &Parameters) -> Result<(bool, Option<Vec<String>>), Problem> {
    let select: Vec<String> = parameters.list("select").into_iter().map(str::to_owned).collect();
    checked(Some(&select), "select", &MEMBERS)?;
    Ok((parameters.flag("subgraphs")?, Some(select).filter(|select| !select.is_empty())))
}

async fn shown(
    context: &Context,
    caller: &Caller,
    summary: ThreadSummary,
    checkpoint: Option<&CheckpointId>,
    subgraphs: bool,
) -> Result<ThreadState, Problem> {
    let now_ms = context.now_ms();
    let Some(checkpoint) = checkpoint else {
        let reading = Reading::of(context, caller, summary).await?;
        let Some(live) = &reading.live else { return Ok(ThreadState::empty()) };
        let (thread, graph_name) = (&live.record.id, live.record.graph_name.as_str());
        return Ok(Showing { thread, graph_name, subgraphs, now_ms }.state(&live.entry));
    };
    let thread = &summary.entry.thread;
    let Some(record) = &summary.record else {
        return Err(Error::CheckpointNotFound { thread: thread.clone(), checkpoint: checkpoint.clone() }.into());
    };
    let entry = context.engine(caller).state(thread, Some(checkpoint)).await?;
    Ok(Showing { thread, graph_name: record.graph_name.as_str(), subgraphs, now_ms }.state(&entry))
}

/// The state of a subgraph as it stands now.
async fn inside(
    context: &Context,
    caller: &Caller,
    summary: ThreadSummary,
    namespace: &str,
    subgraphs: bool,
) -> Result<ThreadState, Problem> {
    let reading = Reading::of(context, caller, summary).await?;
    let Some(live) = &reading.live else { return Ok(ThreadState::empty()) };
    let (thread, graph_name): (&ThreadId, &str) = (&live.record.id, live.record.graph_name.as_str());
    let mut level = vec![&live.entry];
    while let Some(entry) = level.pop() {
        if entry.namespace.as_str() == namespace {
            return Ok(Showing { thread, graph_name, subgraphs, now_ms: reading.now_ms }.state(entry));
        }
        level.extend(entry.tasks.iter().filter_map(|task| task.state.as_deref()));
    }
    let detail: String = namespace.chars().take(200).collect();
    Err(Problem::not_found("HP0845", format!("no subgraph runs at {detail}")))
}
