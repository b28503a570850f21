//! Threads: made, looked at, changed, copied, deleted.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use holdpoint_engine::{AsNode, Error, Update};
use holdpoint_graph::ids::{GraphName, ThreadId};
use holdpoint_store::{AuditEntry, Error as StoreError, ThreadEntry, ThreadSummary};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::forms::{self, Thread};
use super::reading::Reading;
use super::{assistants, ids, ttl};
use crate::body::{Body, Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::runs::destinations;
use crate::settings::ThreadTtl;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(get, patch, delete)).routes(routes!(copy))
}

/// A thread that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CreateThread {
    /// A UUID; a new one when absent.
    thread_id: Option<String>,
    /// Kept with it. `graph_id` says the graph of `supersteps`.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// What happens when it exists.
    if_exists: Option<IfExists>,
    /// How long it stays after it was last used: `{"ttl": minutes, "strategy": "delete" | "keep_latest"}`; 0 is for good. As the server has it
    /// when absent.
    #[schema(value_type = Option<Object>)]
    ttl: Option<Value>,
    /// A history to begin with.
    supersteps: Option<Vec<Superstep>>,
}

/// What happens when a thread that is to be made exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IfExists {
    /// It is refused.
    Raise,
    /// It is taken as it is.
    DoNothing,
}

/// Updates that count as one step.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Superstep {
    updates: Vec<StepUpdate>,
}

/// What one node is said to have written.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct StepUpdate {
    #[schema(value_type = Option<Object>)]
    values: Option<Map<String, Value>>,
    command: Option<StepCommand>,
    as_node: Option<String>,
}

/// What one node's command is said to have been.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct StepCommand {
    #[schema(value_type = Option<Object>)]
    update: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    goto: Option<Value>,
}

/// Changes of a thread.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PatchThread {
    /// Merged into what is kept; null removes a member.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// How long it stays after it was last used, from now on; see where it is made.
    #[schema(value_type = Option<Object>)]
    ttl: Option<Value>,
}

/// Makes a thread.
#[utoipa::path(post, path = "/threads", tag = "threads", request_body = CreateThread, responses(
    (status = OK, body = Thread), (status = CONFLICT, description = "It exists.")))]
pub(crate) async fn create(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<CreateThread>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let thread = ids::new_thread(request.thread_id.as_deref())?;
    let metadata = request.metadata.unwrap_or_default();
    let ttl = ttl::read(request.ttl.as_ref())?.unwrap_or(context.settings().thread_ttl);
    let history = match request.supersteps.filter(|supersteps| !supersteps.is_empty()) {
        Some(supersteps) => Some((deployment(&context, &metadata).await?, read_supersteps(supersteps)?)),
        None => None,
    };
    match put(&context, &caller, &thread, metadata, ttl, "made").await {
        Ok(()) => {}
        Err(StoreError::ThreadExists(_)) => {
            let exists = Problem::conflict("HP0828", format!("Thread with ID {thread} already exists"));
            if request.if_exists != Some(IfExists::DoNothing) {
                return Err(exists);
            }
            // Another tenant's stays hidden.
            let summary = context.thread(&caller, &thread).await.map_err(|_| exists)?;
            return shown(&context, &caller, summary).await;
        }
        Err(error) => return Err(error.into()),
    }
    if let Some((deployment, supersteps)) = history
        && let Err(error) = context.engine(&caller).create_by_updates(&thread, &deployment, &supersteps).await
    {
        take_back(&context, &caller, &thread).await?;
        return Err(error.into());
    }
    let summary = context.thread(&caller, &thread).await?;
    shown(&context, &caller, summary).await
}

/// Shows a thread.
#[utoipa::path(get, path = "/threads/{thread_id}", tag = "threads",
    params(("thread_id" = String, Path), ("include" = Option<String>, Query, description = "`ttl`: how long it stays.")),
    responses((status = OK, body = Thread), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn get(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let summary = ids::thread(&context, &caller, &thread).await?;
    if !parameters.list("include").contains(&"ttl") {
        return shown(&context, &caller, summary).await;
    }
    let reading = Reading::of(&context, &caller, summary).await?;
    let mut form = forms::select(Thread::of(&reading), None);
    form["ttl"] = ttl::shown(&reading.summary);
    Ok(Json(form).into_response())
}

/// Merges metadata into a thread's, and says how long it stays.
#[utoipa::path(patch, path = "/threads/{thread_id}", tag = "threads", request_body = PatchThread,
    params(("thread_id" = String, Path), ("prefer" = Option<String>, Header, description = "`return=minimal`: no body.")),
    responses((status = OK, body = Thread), (status = NO_CONTENT), (status = NOT_FOUND)))]
pub(crate) async fn patch(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    headers: HeaderMap,
    Body(request): Body<PatchThread>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let ttl = ttl::read(request.ttl.as_ref())?;
    let mut summary = ids::thread(&context, &caller, &thread).await?;
    if let Some(ttl) = ttl {
        let (id, now_ms) = (summary.entry.thread.clone(), context.now_ms());
        let body = json!({ "ttl_ms": ttl.map(|ttl| ttl.ttl_ms), "strategy": ttl.map(|ttl| ttl.rule.name()) });
        let audit = entry(&context, &caller, &id, "thread.ttl", body);
        let expiry = ttl.map(|ttl| ttl.from(now_ms));
        summary.entry = context.store().set_expiry(&id, expiry, now_ms, vec![audit]).await?;
    }
    if let Some(metadata) = request.metadata.filter(|metadata| !metadata.is_empty()) {
        let names: Vec<&str> = metadata.keys().map(String::as_str).collect();
        let id = summary.entry.thread.clone();
        let audit = entry(&context, &caller, &id, "thread.metadata", json!({ "members": names }));
        summary.entry = context.store().merge_metadata(&id, metadata, context.now_ms(), vec![audit]).await?;
    }
    let minimal = headers.get_all("prefer").iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|wish| wish.trim().eq_ignore_ascii_case("return=minimal")))
    });
    if minimal {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    shown(&context, &caller, summary).await
}

/// Removes a thread with its history and runs. The records of its operations stay, so that their ids go on answering.
#[utoipa::path(delete, path = "/threads/{thread_id}", tag = "threads", params(("thread_id" = String, Path)), responses(
    (status = NO_CONTENT), (status = NOT_FOUND), (status = CONFLICT, description = "It is being advanced, or in doubt.")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Role::Operator)?;
    let summary = ids::thread(&context, &caller, &thread).await?;
    remove(&context, &caller, &summary).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Copies a thread with its history; what it waits for is asked anew there.
#[utoipa::path(post, path = "/threads/{thread_id}/copy", tag = "threads", params(("thread_id" = String, Path)), responses(
    (status = OK, body = Thread), (status = NOT_FOUND), (status = CONFLICT, description = "It is being advanced.")))]
pub(crate) async fn copy(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let original = ids::thread(&context, &caller, &thread).await?;
    let to = ids::new_thread(None)?;
    let ttl = original.entry.expiry.filter(|_| !original.entry.temporary);
    let ttl = ttl.map(|expiry| ThreadTtl { ttl_ms: expiry.ttl_ms, rule: expiry.rule });
    let from = original.entry.thread.as_str();
    put(&context, &caller, &to, original.entry.metadata.clone(), ttl, from).await?;
    if original.record.is_some()
        && let Err(error) = context.engine(&caller).copy(&original.entry.thread, &to).await
    {
        take_back(&context, &caller, &to).await?;
        return Err(error.into());
    }
    let summary = context.thread(&caller, &to).await?;
    shown(&context, &caller, summary).await
}

/// Removes a thread: its history first, so that what is left after a crash can be removed by the same request.
///
/// # Errors
/// 409 while it is being advanced or a run is to come (`HP0829`), or an operation of it is in doubt.
pub(super) async fn remove(context: &Context, caller: &Caller, summary: &ThreadSummary) -> Result<(), Problem> {
    let thread = &summary.entry.thread;
    if summary.runs_open > 0 {
        return Err(in_flight(thread));
    }
    let mut audit = Vec::new();
    match context.engine(caller).delete(thread).await {
        Ok(()) => {}
        Err(Error::ThreadNotFound(_)) => {
            audit.push(entry(context, caller, thread, "thread.deleted", json!({ "head": null })));
        }
        Err(error) => return Err(error.into()),
    }
    match context.store().delete_entry(thread, audit).await {
        Ok(_) => Ok(()),
        // Somebody began it anew meanwhile.
        Err(StoreError::Invalid(_)) => Err(in_flight(thread)),
        Err(error) => Err(error.into()),
    }
}

/// Removes a thread that was made a moment ago and could not be given its history. One that somebody began meanwhile stays.
async fn take_back(context: &Context, caller: &Caller, thread: &ThreadId) -> Result<(), Problem> {
    let audit = entry(context, caller, thread, "thread.deleted", json!({ "head": null }));
    match context.store().delete_entry(thread, vec![audit]).await {
        Ok(_) | Err(StoreError::Invalid(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A run is pending or running.
pub(super) fn in_flight(thread: &ThreadId) -> Problem {
    Problem::conflict("HP0829", format!("Thread {thread} has a run in flight"))
        .with_cure("wait for the run, or cancel it")
}

/// An audit entry about a thread.
pub(super) fn entry(
    context: &Context,
    caller: &Caller,
    thread: &ThreadId,
    kind: &'static str,
    body: Value,
) -> AuditEntry {
    AuditEntry {
        thread: Some(thread.clone()),
        tenant: caller.principal.tenant.clone(),
        at_ms: context.now_ms(),
        actor: caller.principal.actor.clone(),
        kind,
        body: body.as_object().cloned().unwrap_or_default(),
    }
}

/// Stores a new thread's entry. `from` is on the record: the original of a copy, or `made`.
async fn put(
    context: &Context,
    caller: &Caller,
    thread: &ThreadId,
    metadata: Map<String, Value>,
    ttl: Option<ThreadTtl>,
    from: &str,
) -> Result<(), StoreError> {
    let now_ms = context.now_ms();
    let audit = entry(context, caller, thread, "thread.created", json!({ "from": from }));
    let tenant = caller.principal.tenant.clone();
    let expiry = ttl.map(|ttl| ttl.from(now_ms));
    let entry = ThreadEntry { expiry, ..ThreadEntry::new(thread.clone(), tenant, metadata, now_ms) };
    context.store().put_entry(entry, vec![audit]).await
}

async fn shown(context: &Context, caller: &Caller, summary: ThreadSummary) -> Result<Response, Problem> {
    let reading = Reading::of(context, caller, summary).await?;
    Ok(Json(Thread::of(&reading)).into_response())
}

/// The graph that metadata name.
///
/// # Errors
/// 400 `HP0844` when they name none, 422 `HP0831` when there is none of that name.
pub(super) async fn deployment(
    context: &Context,
    metadata: &Map<String, Value>,
) -> Result<holdpoint_engine::Deployment, Problem> {
    let name = metadata.get("graph_id").and_then(Value::as_str).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "HP0844", "Thread has no graph ID")
            .with_cure("run the thread first, or set `graph_id` in its metadata")
    })?;
    let newest = match GraphName::parse(name) {
        Ok(name) => context.graphs().newest(&name).await?,
        Err(_) => None,
    };
    match newest {
        Some(deployment) => Ok(deployment),
        None => Err(assistants::unknown(context, name).await?),
    }
}

fn read_supersteps(supersteps: Vec<Superstep>) -> Result<Vec<Vec<Update>>, Problem> {
    let step = |superstep: Superstep| superstep.updates.into_iter().map(read_update).collect();
    supersteps.into_iter().map(step).collect()
}

fn read_update(update: StepUpdate) -> Result<Update, Problem> {
    let command = update.command.unwrap_or_default();
    let values = match (update.values, command.update) {
        (Some(mut values), Some(more)) => {
            values.extend(more);
            Some(values)
        }
        (values, more) => values.or(more),
    };
    let goto = command.goto.as_ref().map(destinations).transpose();
    Ok(Update {
        values,
        goto: goto.map_err(|reason| Problem::invalid("HP0821", format!("`goto`: {reason}")))?.unwrap_or_default(),
        as_node: update.as_node.as_deref().map(as_node).transpose()?,
    })
}

/// For whom an update speaks.
///
/// # Errors
/// 422 `HP0821`.
pub(super) fn as_node(text: &str) -> Result<AsNode, Problem> {
    AsNode::parse(text).map_err(|error| Problem::invalid("HP0821", format!("`as_node`: {error}")))
}
