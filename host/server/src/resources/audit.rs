//! What is on the record: who did what to which thread. Each record is linked to the one before it by its digest.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::{AuditFilter, AuditRecord};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{self, Parameters};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::langgraph;
use crate::problem::Problem;

/// Records of one answer.
const PAGE_MAX: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Lists the records of a thread, or (for admins) of the whole tenant, oldest first. As an object with `records`, `next` (give it as `after` for the
/// next page) and `head`, the newest record of the whole trail; or, where the client accepts `application/x-ndjson`, one record a line.
#[utoipa::path(get, path = "/audit", tag = "audit",
    params(
        ("thread" = Option<String>, Query, description = "Only those about this thread."),
        ("after" = Option<u64>, Query, description = "Only those after this place in the whole trail."),
        ("limit" = Option<u64>, Query, description = "At most this many, from 1 to 10000; 1000 when absent.")),
    responses((status = OK, body = Object), (status = FORBIDDEN), (status = NOT_FOUND)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let limit = body::limit(parameters.number("limit")?, 1000, PAGE_MAX)?;
    let after = parameters.number("after")?.unwrap_or(0);
    let admin = caller.require(Role::Admin);
    let thread = match (parameters.text("thread"), &admin) {
        (None, _) => {
            admin.clone()?;
            None
        }
        // The records of a thread outlive it.
        (Some(text), Ok(())) => {
            Some(ThreadId::parse(text).map_err(|error| Problem::invalid("HP0821", format!("`thread`: {error}")))?)
        }
        (Some(text), Err(_)) => Some(langgraph::thread(&context, &caller, text).await?.entry.thread),
    };
    let filter = AuditFilter { thread, tenant: Some(caller.principal.tenant.clone()), after, limit };
    let records = context.store().audit(&filter).await?;
    let next = records.last().filter(|_| records.len() == limit).map(|record| record.sequence);
    let head = match admin {
        Ok(()) => context.store().audit_head().await?,
        Err(_) => None,
    };
    let lines = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accepted| accepted.to_str().is_ok_and(|accepted| accepted.contains("application/x-ndjson")));
    let mut response = if lines {
        let text: String = records.iter().map(|record| format!("{}\n", record.to_json())).collect();
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))], text).into_response()
    } else {
        let records: Vec<Value> = records.iter().map(AuditRecord::to_json).collect();
        let head =
            head.as_ref().map(|(sequence, digest)| json!({ "sequence": sequence, "digest": digest.hex_digits() }));
        Json(json!({ "records": records, "next": next, "head": head })).into_response()
    };
    if let Some((_, digest)) = &head
        && let Ok(digest) = HeaderValue::from_str(digest.hex_digits())
    {
        response.headers_mut().insert("x-holdpoint-audit-head", digest);
    }
    if let Some(next) = next {
        response.headers_mut().insert("x-pagination-next", HeaderValue::from(next));
    }
    Ok(response)
}
