//! What every answer has: an id, headers that keep browsers from misusing it, and our form for errors, also for those that a library words.

use std::any::Any;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyMethod, CorsLayer, ExposeHeaders};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::context::Context;
use crate::problem::Problem;
use crate::settings::Settings;

/// Names a request in logs and answers; the caller's own where it sends one.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that a caller may give, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Largest text of an error that is put into our form.
const ERROR_BYTES_MAX: usize = 4096;

/// Pages load nothing from elsewhere, run no script that stands in them, and are shown in no frame.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Gives a request its id, answers it, and finishes the answer.
pub(crate) async fn wrap(State(context): State<Context>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    // The route, not the path: a path may hold anything.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method, route);
    let mut response = in_our_form(next.run(request).instrument(span).await).await;
    let status = response.status();
    context.metrics().answered(method.as_str(), &route, status.as_u16(), began.elapsed());
    tracing::debug!(id = id.to_str().unwrap_or_default(), %method, route, status = status.as_u16(), "answered");
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_page(headers) {
        set_if_absent(headers, header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        set_if_absent(headers, header::X_FRAME_OPTIONS, "DENY");
        set_if_absent(headers, header::REFERRER_POLICY, "same-origin");
        set_if_absent(headers, header::CACHE_CONTROL, "no-store");
    }
    response
}

/// Lets browsers call from the origins of the settings. Cookies are not among what they may send.
pub(crate) fn cors(settings: &Settings) -> CorsLayer {
    let origins = if settings.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(settings.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let exposed = ["x-pagination-total", "x-pagination-next", "idempotent-replayed", "x-request-id"];
    let exposed = exposed.into_iter().map(HeaderName::from_static);
    let exposed = exposed.chain([header::CONTENT_LOCATION, header::LOCATION, header::RETRY_AFTER]);
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(AnyMethod)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(exposed))
}

/// The answer where a handler panicked: what it said is for the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    tracing::error!(panic = text, "a handler panicked");
    fault().into_response()
}

/// Something that must not happen has happened here.
pub(crate) fn fault() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "HP0807", "the server failed")
        .with_cure("repeat the request; if it fails again, give the request id to the operator")
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        let bytes = id.as_bytes();
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(u8::is_ascii_graphic)
    });
    let fresh = || HeaderValue::from_str(&Uuid::new_v4().to_string()).ok();
    given.cloned().or_else(fresh).unwrap_or(HeaderValue::from_static("none"))
}

/// Libraries say what is wrong with a request as plain text.
async fn in_our_form(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || !is_of_type(response.headers(), "text/plain") {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, ERROR_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let detail = match text.trim() {
        "" => status.canonical_reason().unwrap_or("refused"),
        text => text,
    };
    let mut response = Problem::new(status, "HP0804", detail).into_response();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn is_page(headers: &HeaderMap) -> bool {
    is_of_type(headers, "text/html")
}

fn is_of_type(headers: &HeaderMap, kind: &str) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    declared.is_some_and(|declared| declared.starts_with(kind))
}

fn set_if_absent(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}
