//! Deployed components.

use axum::Json;
use axum::extract::State;
use holdpoint_store::VersionKind;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::graphs::version_json;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Lists all versions of all components, in order of name, newest first.
#[utoipa::path(get, path = "/components", tag = "graphs", responses((status = OK, body = Vec<Object>)))]
pub(crate) async fn list(State(context): State<Context>, caller: Caller) -> Result<Json<Vec<Value>>, Problem> {
    caller.require(Role::Viewer)?;
    let mut versions = context.store().versions(VersionKind::Component, None).await?;
    // Stable: versions of one name stay newest first.
    versions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Json(versions.iter().map(version_json).collect()))
}
