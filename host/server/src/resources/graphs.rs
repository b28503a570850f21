//! Deployed graphs.

use axum::Json;
use axum::extract::State;
use holdpoint_graph::definition::Graph;
use holdpoint_graph::{diagram, document};
use holdpoint_store::{VersionKind, VersionRecord};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{LargeBody, Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::langgraph::forms::time_text;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list, deploy)).routes(routes!(show))
}

/// Lists the newest versions of all graphs, in order of name.
#[utoipa::path(get, path = "/graphs", tag = "graphs", responses((status = OK, body = Vec<Object>)))]
pub(crate) async fn list(State(context): State<Context>, caller: Caller) -> Result<Json<Vec<Value>>, Problem> {
    caller.require(Role::Viewer)?;
    let mut newest: Vec<VersionRecord> = Vec::new();
    for version in context.store().versions(VersionKind::Graph, None).await? {
        if newest.iter().all(|known| known.name != version.name) {
            newest.push(version);
        }
    }
    newest.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Json(newest.iter().map(version_json).collect()))
}

/// Shows a graph: its newest version or another one, drawn as Mermaid, and what versions there are, newest first.
#[utoipa::path(get, path = "/graphs/{name}", tag = "graphs",
    params(("name" = String, Path), ("version" = Option<String>, Query, description = "The newest when absent.")),
    responses((status = OK, body = Object), (status = NOT_FOUND)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Segments(name): Segments<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    let versions = context.store().versions(VersionKind::Graph, Some(&name)).await?;
    let wanted = parameters.text("version");
    let found = versions.iter().find(|known| wanted.is_none_or(|wanted| known.version == wanted));
    let Some(found) = found else {
        let name: String = name.chars().take(80).collect();
        let what = if versions.is_empty() { "graph" } else { "version of graph" };
        return Err(Problem::not_found("HP0831", format!("there is no {what} {name}"))
            .with_cure("`GET /graphs` lists what there is"));
    };
    let version = context.engine(&caller).version(&found.digest).await?;
    let graph: &Graph = &version.graph;
    let mut shown = version_json(found);
    shown["document"] = document::to_document(graph);
    shown["diagram"] = diagram::mermaid(graph).into();
    shown["versions"] = versions.iter().map(version_json).collect();
    Ok(Json(shown))
}

/// Deploys a graph: `graph` is the graph file's text, `files` what it names by path, as base64 by name, and `accept` whether what it may do more
/// than the version before is accepted. Without that it is refused, and the answer lists it.
#[utoipa::path(post, path = "/graphs", tag = "graphs", request_body = Object, responses(
    (status = OK, body = Object), (status = CONFLICT, description = "It may do more than the version before."),
    (status = PAYLOAD_TOO_LARGE, description = "Larger than `component_bytes_max`."),
    (status = UNPROCESSABLE_ENTITY, description = "Everything that is wrong with it.")))]
pub(crate) async fn deploy(
    State(context): State<Context>,
    caller: Caller,
    LargeBody(request, _place): LargeBody<Map<String, Value>>,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Admin)?;
    Ok(Json(context.graphs().deploy(&Value::Object(request), &caller).await?))
}

/// A deployed version of a graph or component.
pub(super) fn version_json(version: &VersionRecord) -> Value {
    json!({
        "name": version.name,
        "version": version.version,
        "digest": version.digest.as_str(),
        "deployed_at": time_text(version.deployed_at_ms),
        "deployed_by": version.deployed_by,
        "gains": version.gains,
    })
}
