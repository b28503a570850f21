//! What LangGraph's clients may ask for and cannot be had here: assistants of their own, and changes of what is written once. Each request is answered
//! with what to do instead, and with the answer itself where what is asked for is so already.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::assistants::{self, Assistant};
use super::ids;
use crate::body::{Body, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(patch))
        .routes(routes!(delete))
        .routes(routes!(latest))
        .routes(routes!(patch_state))
}

/// An assistant that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CreateAssistant {
    graph_id: String,
    assistant_id: Option<String>,
    /// `raise` (default) or `do_nothing`.
    if_exists: Option<String>,
    name: Option<String>,
    description: Option<String>,
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    context: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Which version of an assistant is to be the latest.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct LatestVersion {
    version: u64,
}

/// Gives the assistant of a graph, to those who ask for it as it is (`if_exists` is `do_nothing`, and nothing of its own). Others cannot be made.
#[utoipa::path(post, path = "/assistants", tag = "assistants", request_body = CreateAssistant, responses(
    (status = OK, body = Assistant), (status = UNPROCESSABLE_ENTITY, description = "No such graph, or an assistant of its own.")))]
pub(crate) async fn create(
    State(context): State<Context>,
    caller: Caller,
    Body(asked): Body<CreateAssistant>,
) -> Result<Json<Assistant>, Problem> {
    caller.require(Role::Operator)?;
    let Some(deployed) = assistants::find(&context, &asked.graph_id).await? else {
        return Err(assistants::unknown(&context, &asked.graph_id).await?);
    };
    let is_it = asked.assistant_id.as_deref().is_none_or(|id| deployed.is_id(id));
    let says_nothing = |members: &Option<Map<String, Value>>| members.as_ref().is_none_or(Map::is_empty);
    let is_plain = asked.name.as_deref().is_none_or(|name| name == deployed.name())
        && asked.description.is_none()
        && [&asked.config, &asked.context, &asked.metadata].into_iter().all(says_nothing);
    if is_it && is_plain && asked.if_exists.as_deref() == Some("do_nothing") {
        return Ok(Json(deployed.newest_assistant()));
    }
    Err(fixed(format!("graph {} has one assistant, which is there since it was deployed", deployed.name()))
        .with_cure("use that one, and give `config`, `context` and `metadata` with each run; deploy another graph for another assistant"))
}

/// Refused: an assistant is a graph, and changes with its deployments.
#[utoipa::path(patch, path = "/assistants/{assistant_id}", tag = "assistants", request_body = Object,
    params(("assistant_id" = String, Path)), responses(
    (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY, description = "Says what to do instead.")))]
pub(crate) async fn patch(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
    Body(_): Body<Map<String, Value>>,
) -> Result<Json<Assistant>, Problem> {
    caller.require(Role::Operator)?;
    assistants::by_id(&context, &assistant).await?;
    Err(fixed("an assistant is its graph and changes with the graph's deployments".to_owned())
        .with_cure("deploy a new version of the graph, or give `config`, `context` and `metadata` with each run"))
}

/// Refused: a graph that was deployed stays, for the threads that are pinned to its versions.
#[utoipa::path(delete, path = "/assistants/{assistant_id}", tag = "assistants",
    params(("assistant_id" = String, Path)), responses(
    (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY, description = "Says what to do instead.")))]
pub(crate) async fn delete(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
) -> Result<Json<Assistant>, Problem> {
    caller.require(Role::Operator)?;
    assistants::by_id(&context, &assistant).await?;
    Err(fixed("an assistant is its graph, whose versions stay for the threads that are pinned to them".to_owned())
        .with_cure("delete the graph's threads with `DELETE /threads/{thread_id}`, and start no more of it"))
}

/// Says that a version is the latest, where it is: the one that was deployed last.
#[utoipa::path(post, path = "/assistants/{assistant_id}/latest", tag = "assistants", request_body = LatestVersion,
    params(("assistant_id" = String, Path)), responses(
    (status = OK, body = Assistant), (status = NOT_FOUND),
    (status = UNPROCESSABLE_ENTITY, description = "It is not; says what to do instead.")))]
pub(crate) async fn latest(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
    Body(asked): Body<LatestVersion>,
) -> Result<Json<Assistant>, Problem> {
    caller.require(Role::Operator)?;
    let deployed = assistants::by_id(&context, &assistant).await?;
    let newest = deployed.newest_assistant();
    if newest.version() == asked.version {
        return Ok(Json(newest));
    }
    let detail = format!(
        "version {} of {} is not the latest: that is {}, which was deployed last",
        asked.version,
        deployed.name(),
        newest.version()
    );
    Err(fixed(detail).with_cure("deploy that version's graph file again; it becomes the latest"))
}

/// Refused: checkpoints do not change once they are written.
#[utoipa::path(patch, path = "/threads/{thread_id}/state", tag = "threads", request_body = Object,
    params(("thread_id" = String, Path)), responses(
    (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY, description = "Says what to do instead.")))]
pub(crate) async fn patch_state(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(_): Body<Map<String, Value>>,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Operator)?;
    ids::thread(&context, &caller, &thread).await?;
    let detail = "a checkpoint, its metadata included, does not change once it is written";
    Err(Problem::invalid("HP0847", detail).with_cure(
        "keep metadata with the thread (`PATCH /threads/{thread_id}`), or write values with `POST /threads/{thread_id}/state`",
    ))
}

/// Not 501: clients repeat what a server says that it cannot do.
fn fixed(detail: String) -> Problem {
    Problem::invalid("HP0846", detail)
}
