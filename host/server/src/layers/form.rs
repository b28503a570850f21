//! Forms that pages send: read as a whole before a handler runs, within the settings' time. JSON is read by [`crate::body::Body`], in the same bounds.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::context::Context;
use crate::problem::Problem;

/// Largest form.
const FORM_BYTES_MAX: usize = 1 << 20;

/// Reads what is not JSON, and goes on with it.
pub(crate) async fn read(State(context): State<Context>, request: Request, next: Next) -> Response {
    let looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if looks || is_json(request.headers()) {
        return next.run(request).await;
    }
    let settings = context.settings();
    let bytes_max = FORM_BYTES_MAX.min(settings.body_bytes_max);
    let (parts, body) = request.into_parts();
    let bytes = match tokio::time::timeout(settings.body_timeout, axum::body::to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let detail = format!("the request's body is larger than {bytes_max} bytes, or broke off");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "HP0822", detail).into_response();
        }
        Err(_) => {
            let detail = format!("the request's body was not there after {} s", settings.body_timeout.as_secs_f64());
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "HP0824", detail).into_response();
        }
    };
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().is_some_and(|kind| kind.trim().to_ascii_lowercase().ends_with("json"))
}
