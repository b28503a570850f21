//! Runs: accepted, listed, waited for, cancelled.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CONTENT_LOCATION, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use holdpoint_graph::ids::{RunId, ThreadId};
use holdpoint_store::{RunCancel, RunFilter, RunRecord, RunStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::forms::{select, time_text};
use super::{ids, stream};
use crate::body::{self, Body, BodyList, Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::runs::{CreateRun, OnDisconnect, RunRequest, cancel_action, needed_role};

/// Runs that one request may start.
const BATCH_MAX: usize = 100;

/// Runs that one request may cancel.
const CANCEL_MAX: usize = 1000;

/// All of them.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(wait))
        .routes(routes!(create_and_stream))
        .routes(routes!(get, delete))
        .routes(routes!(join))
        .routes(routes!(join_stream))
        .routes(routes!(cancel))
        .routes(routes!(create_stateless))
        .routes(routes!(wait_stateless))
        .routes(routes!(stream_stateless))
        .routes(routes!(batch))
        .routes(routes!(cancel_many))
}

/// Why a run of a thread is not started.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "it is for the description alone")]
enum NotStarted {
    /// No such thread
    #[response(status = 404)]
    NoSuchThread,
    /// Something stands in the way: another run, questions that wait, an answer that is none any more
    #[response(status = 409)]
    InTheWay,
    /// The request is not acceptable
    #[response(status = 422)]
    NotAcceptable,
}

/// The request is not acceptable
#[derive(utoipa::IntoResponses)]
#[response(status = 422)]
struct NotAcceptable;

/// No such run
#[derive(utoipa::IntoResponses)]
#[response(status = 404)]
struct NoSuchRun;

/// LangGraph's `Run`.
pub(crate) fn run_json(run: &RunRecord) -> Value {
    let request = RunRequest::read(&run.request);
    let request = request.as_ref();
    let mut json = json!({
        "run_id": run.id.as_str(),
        "thread_id": run.thread.as_str(),
        "assistant_id": request.map(|request| request.assistant.as_str()),
        "created_at": time_text(run.created_at_ms),
        "updated_at": time_text(run.updated_at_ms),
        "status": run.status.name(),
        "metadata": run.metadata,
        "kwargs": request.map(RunRequest::kwargs),
        "multitask_strategy": request.map(|request| request.strategy.name()),
        "langsmith_session_name": null,
    });
    if run.status == RunStatus::Interrupted {
        json["cancel_reason"] = json!(run.error.as_ref().map(|error| error.message.as_str()));
    }
    json
}

/// Starts a run of a thread.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs", tag = "runs", request_body = CreateRun,
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, description = "The run, pending; `Content-Location` names it", body = Object),
        NotStarted,
    ),
)]
async fn create(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(asked): Body<CreateRun>,
) -> Result<Response, Problem> {
    let thread = thread_for(&context, &caller, &thread, &asked).await?;
    let (run, _) = context.runs().accept(&caller, Some(&thread), asked).await?;
    Ok(with_place(Json(run_json(&run)).into_response(), &run, None))
}

/// Starts a run of a thread and waits for its end.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/wait", tag = "runs", request_body = CreateRun,
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, description = "The values; with `__interrupt__` where the thread waits, or `__error__` when the run failed", body = Object),
        NotStarted,
    ),
)]
async fn wait(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(asked): Body<CreateRun>,
) -> Result<Response, Problem> {
    let thread = thread_for(&context, &caller, &thread, &asked).await?;
    let (run, request) = context.runs().accept(&caller, Some(&thread), asked).await?;
    waiting(&context, &caller, &run, &request).await
}

/// Starts a run of a thread and streams what it tells.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/stream", tag = "runs", request_body = CreateRun,
    params(("thread_id" = String, Path, description = "The thread")),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream"),
        NotStarted,
    ),
)]
async fn create_and_stream(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(asked): Body<CreateRun>,
) -> Result<Response, Problem> {
    let thread = thread_for(&context, &caller, &thread, &asked).await?;
    let (run, request) = context.runs().accept(&caller, Some(&thread), asked).await?;
    Ok(streaming(&context, &caller, &run, &request))
}

/// Starts a run with a thread of its own.
#[utoipa::path(
    post, path = "/runs", tag = "stateless runs", request_body = CreateRun,
    responses((status = 200, description = "The run, pending; `Content-Location` names it and its thread", body = Object),
        NotAcceptable),
)]
async fn create_stateless(
    State(context): State<Context>,
    caller: Caller,
    Body(asked): Body<CreateRun>,
) -> Result<Response, Problem> {
    let (run, _) = context.runs().accept(&caller, None, asked).await?;
    Ok(with_place(Json(run_json(&run)).into_response(), &run, None))
}

/// Starts a run with a thread of its own and waits for its end.
#[utoipa::path(
    post, path = "/runs/wait", tag = "stateless runs", request_body = CreateRun,
    responses((status = 200, description = "As for a run of a thread", body = Object),
        NotAcceptable),
)]
async fn wait_stateless(
    State(context): State<Context>,
    caller: Caller,
    Body(asked): Body<CreateRun>,
) -> Result<Response, Problem> {
    let (run, request) = context.runs().accept(&caller, None, asked).await?;
    waiting(&context, &caller, &run, &request).await
}

/// Starts a run with a thread of its own and streams what it tells.
#[utoipa::path(
    post, path = "/runs/stream", tag = "stateless runs", request_body = CreateRun,
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream"),
        NotAcceptable),
)]
async fn stream_stateless(
    State(context): State<Context>,
    caller: Caller,
    Body(asked): Body<CreateRun>,
) -> Result<Response, Problem> {
    let (run, request) = context.runs().accept(&caller, None, asked).await?;
    Ok(streaming(&context, &caller, &run, &request))
}

/// Starts several runs, each with a thread of its own. Those before one that is refused have been started.
#[utoipa::path(
    post, path = "/runs/batch", tag = "stateless runs", request_body = Vec<CreateRun>,
    responses((status = 200, description = "The runs, pending", body = Vec<Object>),
        NotAcceptable),
)]
async fn batch(
    State(context): State<Context>,
    caller: Caller,
    BodyList(asked): BodyList<CreateRun>,
) -> Result<Json<Value>, Problem> {
    if asked.len() > BATCH_MAX {
        return Err(Problem::invalid("HP0830", format!("a batch has at most {BATCH_MAX} runs")));
    }
    let mut runs = Vec::with_capacity(asked.len());
    for asked in asked {
        let (run, _) = context.runs().accept(&caller, None, asked).await?;
        runs.push(run_json(&run));
    }
    Ok(Json(Value::Array(runs)))
}

/// The runs of a thread, newest first.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("limit" = Option<u64>, Query, description = "At most so many; 10 by default"),
        ("offset" = Option<u64>, Query, description = "Passes over so many"),
        ("status" = Option<String>, Query, description = "Only those in this status"),
        ("select" = Option<String>, Query, description = "Only these members"),
    ),
    responses((status = 200, description = "The runs", body = Vec<Object>), (status = 404, description = "No such thread")),
)]
async fn list(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    let summary = ids::thread(&context, &caller, &thread).await?;
    let status = match parameters.text("status") {
        None => None,
        // LangGraph's runs know a timeout; ours fail instead.
        Some("timeout") => return Ok(Json(json!([]))),
        Some(text) => Some(RunStatus::parse(text).ok_or_else(|| {
            Problem::invalid(
                "HP0821",
                format!("`status`: {text:?} is none of pending, running, error, success, interrupted"),
            )
        })?),
    };
    let filter = RunFilter {
        thread: Some(summary.entry.thread),
        tenant: None,
        status,
        limit: body::limit(parameters.number("limit")?, 10, 1000)?,
        offset: body::offset(parameters.number("offset")?)?,
    };
    let runs = context.store().runs(&filter).await?;
    let members: Vec<String> = parameters.list("select").into_iter().map(str::to_owned).collect();
    let members = Some(members.as_slice()).filter(|members| !members.is_empty());
    Ok(Json(runs.iter().map(|run| select(run_json(run), members)).collect()))
}

/// A run.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs/{run_id}", tag = "runs",
    params(("thread_id" = String, Path, description = "The thread"), ("run_id" = String, Path, description = "The run")),
    responses((status = 200, description = "The run", body = Object), NoSuchRun),
)]
async fn get(
    State(context): State<Context>,
    caller: Caller,
    Segments((thread, run)): Segments<(String, String)>,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    Ok(Json(run_json(&find(&context, &caller, &thread, &run).await?)))
}

/// Removes a run that is over.
#[utoipa::path(
    delete, path = "/threads/{thread_id}/runs/{run_id}", tag = "runs",
    params(("thread_id" = String, Path, description = "The thread"), ("run_id" = String, Path, description = "The run")),
    responses((status = 204, description = "It is gone"), NoSuchRun,
        (status = 409, description = "It is not over")),
)]
async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Segments((thread, run)): Segments<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.require(Role::Operator)?;
    let run = find(&context, &caller, &thread, &run).await?;
    if !run.status.is_over() {
        let detail = format!("run {} is {}", run.id, run.status.name());
        return Err(Problem::conflict("HP0843", detail).with_cure("cancel it first"));
    }
    context.store().delete_run(&run.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Waits for a run's end.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs/{run_id}/join", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
        ("cancel_on_disconnect" = Option<bool>, Query, description = "Whether the run is cancelled when the caller goes away"),
    ),
    responses((status = 200, description = "As the answer to `wait`", body = Object), NoSuchRun),
)]
async fn join(
    State(context): State<Context>,
    caller: Caller,
    Segments((thread, run)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let run = find(&context, &caller, &thread, &run).await?;
    let leaving = leaving(&caller, parameters.flag("cancel_on_disconnect")?)?;
    Ok(with_place(stream::wait(&context, &caller, &run, leaving).await?, &run, Some("join")))
}

/// Streams what a run tells from now on, or from where a stream broke off.
#[utoipa::path(
    get, path = "/threads/{thread_id}/runs/{run_id}/stream", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
        ("stream_mode" = Option<String>, Query, description = "One mode or several; those of the run by default"),
        ("cancel_on_disconnect" = Option<bool>, Query, description = "Whether the run is cancelled when the caller goes away"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen; `-1` is none"),
    ),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream"),
        NoSuchRun),
)]
async fn join_stream(
    State(context): State<Context>,
    caller: Caller,
    Segments((thread, run)): Segments<(String, String)>,
    parameters: Parameters,
    headers: axum::http::HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let run = find(&context, &caller, &thread, &run).await?;
    let leaving = leaving(&caller, parameters.flag("cancel_on_disconnect")?)?;
    let mut lens = stream::RunLens::of(&run);
    let mut modes = parameters.list("stream_mode");
    modes.extend(parameters.list("stream_modes"));
    if !modes.is_empty() {
        lens.show(&modes)?;
    }
    let response = stream::join(&context, &caller, &run, lens, stream::LastEvent::of(&headers), leaving);
    Ok(with_place(response, &run, Some("stream")))
}

/// Cancels a run.
#[utoipa::path(
    post, path = "/threads/{thread_id}/runs/{run_id}/cancel", tag = "runs",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("run_id" = String, Path, description = "The run"),
        ("wait" = Option<bool>, Query, description = "Whether the answer waits until it has stopped"),
        ("action" = Option<String>, Query, description = "`interrupt` (default) or `rollback`"),
    ),
    responses(
        (status = 200, description = "It stops at the end of its superstep, whichever host executes it; with `wait`, it has stopped", body = Object),
        (status = 404, description = "No such run, or it is over"),
        (status = 409, description = "It could not be rolled back; it has stopped"),
    ),
)]
async fn cancel(
    State(context): State<Context>,
    caller: Caller,
    Segments((thread, run)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Operator)?;
    let action = action(&parameters)?;
    let waits = parameters.flag("wait")?;
    let run = find(&context, &caller, &thread, &run).await?;
    let feed = context.runs().feed(&run.thread);
    let mut watcher = feed.watch(feed.newest());
    // Where another host executes it, the worker looks for its end.
    feed.expect(&run.id);
    if !context.runs().cancel(&run, action, &caller.principal.actor).await? {
        return Err(none_to_cancel());
    }
    if waits {
        let finish = watcher.finished(&run.id).await;
        if let Some((code, text)) = finish.and_then(|finish| finish.not_rolled_back.clone()) {
            let detail = format!("the run was cancelled but could not be rolled back: {text}");
            return Err(Problem::conflict("HP0841", detail).with("reason", code));
        }
    }
    Ok(Json(json!({})))
}

/// Which runs to cancel.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
struct CancelMany {
    /// `pending`, `running` or `all`.
    status: Option<String>,
    /// The thread of `run_ids`.
    thread_id: Option<String>,
    /// These.
    run_ids: Option<Vec<String>>,
}

/// Cancels several runs.
#[utoipa::path(
    post, path = "/runs/cancel", tag = "runs", request_body = CancelMany,
    params(("action" = Option<String>, Query, description = "`interrupt` (default) or `rollback`")),
    responses((status = 204, description = "They stop"), (status = 404, description = "None is open"), NotAcceptable),
)]
async fn cancel_many(
    State(context): State<Context>,
    caller: Caller,
    parameters: Parameters,
    Body(asked): Body<CancelMany>,
) -> Result<StatusCode, Problem> {
    caller.require(Role::Operator)?;
    let action = action(&parameters)?;
    let mut runs = Vec::new();
    match (&asked.status, &asked.thread_id, &asked.run_ids) {
        (None, Some(thread), Some(ids)) => {
            for id in ids.iter().take(CANCEL_MAX) {
                runs.push(find(&context, &caller, thread, id).await?);
            }
        }
        (Some(status), None, None) => {
            let statuses: &[RunStatus] = match status.as_str() {
                "pending" => &[RunStatus::Pending],
                "running" => &[RunStatus::Running],
                "all" => &[RunStatus::Pending, RunStatus::Running],
                other => {
                    let detail = format!("`status`: {other:?} is none of pending, running, all");
                    return Err(Problem::invalid("HP0830", detail));
                }
            };
            for status in statuses {
                let tenant = Some(caller.principal.tenant.clone());
                let filter = RunFilter { tenant, status: Some(*status), limit: CANCEL_MAX, ..RunFilter::default() };
                runs.extend(context.store().runs(&filter).await?);
            }
        }
        _ => return Err(Problem::invalid("HP0830", "give either `status`, or `thread_id` with `run_ids`")),
    }
    let mut cancelled = false;
    for run in runs {
        cancelled |= context.runs().cancel(&run, action, &caller.principal.actor).await?;
    }
    if cancelled { Ok(StatusCode::NO_CONTENT) } else { Err(none_to_cancel()) }
}

fn none_to_cancel() -> Problem {
    Problem::not_found("HP0842", "No matching runs to cancel. Please verify the thread ID and run ID are valid.")
}

fn action(parameters: &Parameters) -> Result<RunCancel, Problem> {
    let text = parameters.text("action");
    cancel_action(text).ok_or_else(|| {
        Problem::invalid(
            "HP0821",
            format!("`action`: {:?} is neither interrupt nor rollback", text.unwrap_or_default()),
        )
    })
}

/// Whoever may only look must not end a run by going away.
fn leaving(caller: &Caller, cancels: bool) -> Result<OnDisconnect, Problem> {
    if !cancels {
        return Ok(OnDisconnect::Continue);
    }
    caller.require(Role::Operator)?;
    Ok(OnDisconnect::Cancel)
}

fn leaving_of(request: &RunRequest) -> OnDisconnect {
    if request.cancel_on_disconnect { OnDisconnect::Cancel } else { OnDisconnect::Continue }
}

async fn waiting(
    context: &Context,
    caller: &Caller,
    run: &RunRecord,
    request: &RunRequest,
) -> Result<Response, Problem> {
    Ok(with_place(stream::wait(context, caller, run, leaving_of(request)).await?, run, Some("join")))
}

fn streaming(context: &Context, caller: &Caller, run: &RunRecord, request: &RunRequest) -> Response {
    let lens = stream::RunLens::of(run);
    let response = stream::join(context, caller, run, lens, stream::LastEvent::Start, leaving_of(request));
    with_place(response, run, Some("stream"))
}

/// The thread of a new run. Threads are made under UUIDs only; others can be named where they exist.
async fn thread_for(context: &Context, caller: &Caller, text: &str, asked: &CreateRun) -> Result<ThreadId, Problem> {
    // Who may not is told nothing of what is there.
    caller.require(needed_role(asked))?;
    let creates = asked.if_not_exists.as_deref() == Some("create");
    match ids::thread(context, caller, text).await {
        Ok(summary) => Ok(summary.entry.thread),
        // Acceptance says whether it may be made.
        Err(problem) if creates && problem.code == "HP0810" => ids::new_thread(Some(text)),
        Err(problem) => Err(problem),
    }
}

/// A run of a thread of the caller's tenant.
async fn find(context: &Context, caller: &Caller, thread: &str, run: &str) -> Result<RunRecord, Problem> {
    let id = ids::canonical_uuid(run).and_then(|id| RunId::parse(id).ok()).ok_or_else(|| ids::not_a_uuid("run"))?;
    let found = context.store().run(&id).await?;
    let fits = |found: &RunRecord| {
        found.tenant == caller.principal.tenant
            && (found.thread.as_str() == thread
                || ids::canonical_uuid(thread).as_deref() == Some(found.thread.as_str()))
    };
    found.filter(fits).ok_or_else(|| Problem::not_found("HP0832", format!("Run with ID {id} not found")))
}

/// Where a run is, and where its answer can be had again.
fn with_place(mut response: Response, run: &RunRecord, again: Option<&str>) -> Response {
    // A thread's name that was not made here may hold anything.
    let thread: String = percent(run.thread.as_str());
    let place = format!("/threads/{thread}/runs/{}", run.id);
    let mut insert = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    };
    if let Some(again) = again {
        insert(LOCATION, format!("{place}/{again}"));
    }
    insert(CONTENT_LOCATION, place);
    response
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
