//! What a thread takes in the store.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ids;
use crate::body::Segments;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(show))
}

/// What a thread takes, in bytes of the store's own form; indexes and free room aside.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Storage {
    thread_id: String,
    /// Its checkpoints, the values of their channels aside.
    checkpoints: u64,
    /// The values of its channels.
    values: u64,
    /// Its tasks with their results.
    tasks: u64,
    /// The operations that it performed first.
    operations: u64,
    /// Its questions.
    questions: u64,
    /// All of it.
    total: u64,
}

/// Shows what a thread takes in the store, section by section.
#[utoipa::path(get, path = "/threads/{thread_id}/storage", tag = "threads", params(("thread_id" = String, Path)), responses(
    (status = OK, body = Storage), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
) -> Result<Json<Storage>, Problem> {
    caller.require(Role::Viewer)?;
    let thread = ids::thread(&context, &caller, &thread).await?.entry.thread;
    let bytes = context.store().thread_bytes(&thread).await?;
    Ok(Json(Storage {
        thread_id: thread.to_string(),
        checkpoints: bytes.checkpoints,
        values: bytes.values,
        tasks: bytes.tasks,
        operations: bytes.operations,
        questions: bytes.questions,
        total: bytes.total(),
    }))
}
