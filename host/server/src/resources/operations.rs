//! Side effects: what was asked for, what became of it, and a person's word where nobody knows.

use axum::Json;
use axum::extract::State;
use holdpoint_engine::Word;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_store::{OperationFilter, ThreadStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{self, Body, Parameters};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::langgraph;
use crate::langgraph::forms::time_text;
use crate::problem::Problem;

/// Operations of one answer.
const PAGE_MAX: usize = 1000;

/// Operations without an outcome that are looked at for those in doubt. More than these are found by thread.
const SCAN_MAX: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(list_in_doubt)).routes(routes!(settle))
}

/// A person's word on an operation.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SettleOperation {
    /// Within which the id is unique: `thread:…` or `global:…`.
    scope: String,
    connector: String,
    id: String,
    word: SpokenWord,
    /// With `happened`: the answer that the node gets.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Why; kept for ever.
    reason: String,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SpokenWord {
    /// It happened.
    Happened,
    /// It did not happen, and is to be sent.
    Send,
    /// It counts as failed for good.
    Fail,
}

/// Lists operations, oldest first: those of a thread, those with an id, those without an outcome, or all.
#[utoipa::path(get, path = "/operations", tag = "operations",
    params(
        ("thread" = Option<String>, Query, description = "Only those that this thread performed first."),
        ("id" = Option<String>, Query, description = "Only those with this id."),
        ("open" = Option<bool>, Query, description = "Only those without an outcome."),
        ("limit" = Option<u64>, Query, description = "At most this many, from 1 to 1000; 100 when absent.")),
    responses((status = OK, body = Vec<Object>), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<Vec<Value>>, Problem> {
    caller.require(Role::Viewer)?;
    let limit = body::limit(parameters.number("limit")?, 100, PAGE_MAX)?;
    let thread = match parameters.text("thread") {
        Some(text) => Some(langgraph::thread(&context, &caller, text).await?.entry.thread),
        None => None,
    };
    let id = parameters.text("id").map(OperationId::parse).transpose();
    let id = id.map_err(|error| Problem::invalid("HP0821", format!("`id`: {error}")))?;
    let tenant = Some(caller.principal.tenant.clone());
    let filter = OperationFilter { tenant, id, thread, open: parameters.flag("open")?, limit };
    let found = context.store().find_operations(&filter).await?;
    Ok(Json(found.iter().map(operation_json).collect()))
}

/// Lists the operations of which nobody knows whether they happened, oldest first. Their threads wait for a person's word.
#[utoipa::path(get, path = "/operations/in-doubt", tag = "operations",
    params(("limit" = Option<u64>, Query, description = "At most this many, from 1 to 1000; 100 when absent.")),
    responses((status = OK, body = Vec<Object>), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn list_in_doubt(
    State(context): State<Context>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<Vec<Value>>, Problem> {
    caller.require(Role::Viewer)?;
    let limit = body::limit(parameters.number("limit")?, 100, PAGE_MAX)?;
    let mut found = in_doubt(&context, &caller).await?;
    found.truncate(limit);
    Ok(Json(found.iter().map(operation_json).collect()))
}

/// The caller's operations in doubt, oldest first.
///
/// # Errors
/// The store's.
pub(crate) async fn in_doubt(context: &Context, caller: &Caller) -> Result<Vec<OperationRecord>, Problem> {
    let tenant = Some(caller.principal.tenant.clone());
    let filter = OperationFilter { tenant, open: true, limit: SCAN_MAX, ..OperationFilter::default() };
    let mut found = Vec::new();
    for record in context.store().find_operations(&filter).await? {
        let doubtful = match record.state {
            OperationState::InDoubt(_) => true,
            // Of a worker that performs it now nothing is in doubt; of one that died everything is.
            OperationState::Intended => !is_performed_now(context, &record).await?,
            _ => false,
        };
        if doubtful {
            found.push(record);
        }
    }
    Ok(found)
}

/// Settles an operation whose outcome is unknown, in the caller's name. The threads that wait for it go on.
#[utoipa::path(post, path = "/operations/settle", tag = "operations", request_body = SettleOperation, responses(
    (status = OK, body = Object), (status = NOT_FOUND), (status = CONFLICT, description = "It has an outcome."),
    (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn settle(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<SettleOperation>,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Operator)?;
    let wrong = |name: &str, detail: String| Problem::invalid("HP0821", format!("`{name}`: {detail}"));
    let scope = Scope::parse(&request.scope)
        .ok_or_else(|| wrong("scope", format!("{:?} is neither thread:… nor global:…", request.scope)))?;
    let key = OperationKey {
        scope,
        connector: ConnectorName::parse(request.connector.as_str())
            .map_err(|error| wrong("connector", error.to_string()))?,
        id: OperationId::parse(request.id.as_str()).map_err(|error| wrong("id", error.to_string()))?,
    };
    let word = match request.word {
        SpokenWord::Happened => Word::Happened(request.result.unwrap_or_default()),
        SpokenWord::Fail => Word::Fail,
        SpokenWord::Send if context.outbox().leaves_after_commit(&key.connector) => Word::Queue,
        SpokenWord::Send => Word::Send,
    };
    let engine = context.engine(&caller);
    let not_found = || Problem::not_found("HP0430", format!("no operation {}", key.id));
    let record = context.store().operation(&key).await?.ok_or_else(not_found)?;
    if !is_own(&context, &caller, &record).await? {
        return Err(not_found());
    }
    let settled = engine.settle(&key, word, &caller.principal.actor.id, &request.reason).await?;
    context.runs().wake(&settled.thread);
    for hit in context.store().hits(&key).await? {
        context.runs().wake(&hit.thread);
    }
    Ok(Json(operation_json(&settled)))
}

/// Whether the thread that began an operation is being advanced by the one who began it.
async fn is_performed_now(context: &Context, record: &OperationRecord) -> Result<bool, Problem> {
    let thread = context.store().thread(&record.thread).await?;
    Ok(thread.is_some_and(|thread| {
        thread.epoch == record.epoch
            && thread.status == ThreadStatus::Running
            && thread.owner.is_some()
            && context.now_ms() < thread.lease_until_ms
    }))
}

/// Whether an operation's thread is of the caller's tenant. One that was deleted is nobody's.
async fn is_own(context: &Context, caller: &Caller, record: &OperationRecord) -> Result<bool, Problem> {
    let entry = context.store().entry(&record.thread).await?;
    Ok(entry.is_some_and(|summary| summary.entry.tenant == caller.principal.tenant))
}

/// An operation, as the command line shows it too.
pub(crate) fn operation_json(record: &OperationRecord) -> Value {
    let outcome = match &record.state {
        OperationState::Completed(answer) => json!({ "answer": answer }),
        OperationState::Failed(failure) => json!({
            "code": failure.code,
            "message": failure.message,
            "retryable": failure.retryable,
            "details": failure.details,
        }),
        OperationState::InDoubt(reason) => json!({ "reason": reason }),
        OperationState::Queued { attempts, due_at_ms } => {
            json!({ "attempts": attempts, "due_at": time_text(*due_at_ms) })
        }
        OperationState::Intended | OperationState::NotSent => Value::Null,
    };
    let notes = record
        .notes
        .iter()
        .map(|note| json!({ "kind": note.kind.name(), "by": note.by, "text": note.text, "at": time_text(note.at_ms) }));
    json!({
        "operation_id": record.key.id.as_str(),
        "connector": record.key.connector.as_str(),
        "scope": record.key.scope.to_text(),
        "thread_id": record.thread.as_str(),
        "task_id": record.task.as_str(),
        "node": record.node.as_str(),
        "state": record.state.name(),
        "outcome": outcome,
        "request": record.request,
        "request_digest": record.request_digest.as_str(),
        "begun_at": time_text(record.begun_at_ms),
        "send_by": record.send_by_ms.map(time_text),
        "settles_at": record.settles_at_ms.map(time_text),
        "finished_at": record.finished_at_ms.map(time_text),
        "notes": notes.collect::<Vec<_>>(),
    })
}
