//! What this server is, and that it is there.

use axum::Json;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::Context;

/// The version of the LangGraph library whose semantics threads have.
const LANGGRAPH: &str = "1.2.22";

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(info)).routes(routes!(healthy))
}

/// Tells what this server can do.
#[utoipa::path(get, path = "/info", tag = "meta", responses((status = OK, body = Object)))]
pub(crate) async fn info() -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "langgraph_py_version": LANGGRAPH,
        "flags": {
            "assistants": true,
            "crons": false,
            "langsmith": false,
            "langsmith_tracing_replicas": false,
            "strict_resume": true,
            "thread_ttl": false,
        },
        "host": { "kind": "holdpoint", "project_id": null, "revision_id": null, "tenant_id": null },
    }))
}

/// Tells that the server is there.
#[utoipa::path(get, path = "/ok", tag = "meta", responses((status = OK, body = Object)))]
pub(crate) async fn healthy() -> Json<Value> {
    Json(json!({ "ok": true, "services": {} }))
}
