//! What this server offers, as OpenAPI: made from the code, so that it says what is served.

use std::sync::Arc;

use axum::Extension;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::Context;
use crate::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(show))
}

/// The description as it is sent.
#[derive(Clone)]
pub(crate) struct Description(Arc<str>);

impl Description {
    /// Of all routes.
    pub(crate) fn of(openapi: &OpenApi) -> Self {
        let text = openapi.to_json().expect("invariant: a description has a JSON form");
        Self(text.into())
    }
}

/// Names every operation by its method and path: the names of handlers are not unique, and clients are generated with these.
pub(crate) fn named(mut openapi: OpenApi) -> OpenApi {
    for (path, item) in &mut openapi.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("delete", &mut item.delete),
            ("patch", &mut item.patch),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                let parts = path.split(|character: char| !character.is_ascii_alphanumeric());
                let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
                operation.operation_id = Some(format!("{method}_{}", parts.join("_")));
            }
        }
    }
    openapi
}

/// Describes what this server offers, as OpenAPI.
#[utoipa::path(get, path = "/openapi.json", tag = "meta", responses((status = OK, body = Object)))]
pub(crate) async fn show(Extension(description): Extension<Description>) -> Result<Response, Problem> {
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, description.0.to_string()).into_response())
}
