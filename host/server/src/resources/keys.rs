//! API keys over HTTP, for administrators of a tenant. A key is shown once, when it is made.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use holdpoint_store::{ApiKeyRecord, AuditEntry, Error as StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{Body, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::identity::keys::{self, Fresh};
use crate::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// The tenant's keys, without the keys themselves.
#[utoipa::path(get, path = "/keys", tag = "keys", responses((status = 200, description = "keys, oldest first", body = Vec<Object>)))]
async fn list(State(context): State<Context>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.require(Role::Admin)?;
    let keys = context.store().keys(Some(&caller.principal.tenant)).await?;
    let now_ms = context.now_ms();
    Ok(Json(keys.iter().map(|key| shown(key, now_ms)).collect()))
}

/// What a new key is to be.
#[derive(Debug, Deserialize, ToSchema)]
struct KeyRequest {
    /// One of the tenant's: who the holder is on the record, as `key:NAME`.
    name: String,
    /// `viewer`, `approver`, `operator`, `admin`.
    roles: Vec<String>,
    /// The groups that the holder belongs to.
    #[serde(default)]
    groups: Vec<String>,
    /// How long it is good for, in seconds; for ever when absent.
    expires_in: Option<u64>,
}

/// Makes a key.
#[utoipa::path(
    post,
    path = "/keys",
    tag = "keys",
    request_body = KeyRequest,
    responses(
        (status = 201, description = "the key, this once", body = Object),
        (status = 409, description = "a key of this name stands"),
        (status = 422, description = "no name, or no such role"),
    ),
)]
async fn create(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<KeyRequest>,
) -> Result<Response, Problem> {
    caller.require(Role::Admin)?;
    let now_ms = context.now_ms();
    let KeyRequest { name, roles, groups, expires_in } = request;
    let expires_at_ms = expires_in.map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1000)));
    let tenant = caller.principal.tenant.clone();
    let fresh = Fresh { name, tenant, roles, groups, expires_at_ms, by: caller.principal.actor.clone() };
    let (key, record, entry) = fresh.make(now_ms).map_err(|reason| Problem::invalid("HP0892", reason))?;
    context.store().put_key(record.clone(), vec![entry]).await.map_err(|error| match error {
        StoreError::Exists(_) => Problem::conflict("HP0893", format!("a key named {} stands", record.name))
            .with_cure("revoke it first, or choose another name"),
        other => other.into(),
    })?;
    let mut body = shown(&record, now_ms);
    body["key"] = key.into();
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Revokes a key: from now on it opens nothing.
#[utoipa::path(
    delete,
    path = "/keys/{name}",
    tag = "keys",
    params(("name" = String, Path)),
    responses((status = 204, description = "it opens nothing any more"), (status = 404, description = "none of this name stands")),
)]
async fn revoke(
    State(context): State<Context>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Role::Admin)?;
    let (tenant, now_ms) = (&caller.principal.tenant, context.now_ms());
    let entry: AuditEntry = keys::revoked(tenant, &name, caller.principal.actor.clone(), now_ms);
    if context.store().revoke_key(tenant, &name, now_ms, vec![entry]).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let name: String = name.chars().take(80).collect();
    Err(Problem::not_found("HP0894", format!("no key named {name} stands")))
}

/// A key as it is listed.
fn shown(key: &ApiKeyRecord, now_ms: u64) -> Value {
    json!({
        "name": key.name,
        "roles": key.roles,
        "groups": key.groups,
        "created_at_ms": key.created_at_ms,
        "created_by": key.created_by,
        "expires_at_ms": key.expires_at_ms,
        "revoked_at_ms": key.revoked_at_ms,
        "valid": keys::is_valid(key, now_ms),
    })
}
