//! Pages for people: what waits, what would happen, what happened. Rendered here, without script; forms work with the permissions of the API.
//!
//! # Layout
//!
//! * `waiting`: everything that needs a person. `approval`: one question, and its decision; `diff`: what was edited; `confirm`: what is to be typed
//!   where much is at stake; `past`: what was said and done about it. `doubt`: operations without an outcome.
//! * `thread`: threads, and one of them with its graph and its branches. `audit`: the record.
//! * `page`: the frame of every page. `picture`: a graph as SVG. `text`: text that others wrote, made safe to judge.

mod approval;
mod audit;
pub(crate) mod confirm;
mod diff;
mod doubt;
mod past;
mod thread;
mod waiting;

mod page;
mod picture;
mod text;

/// What pages outside the inbox (approval links) show the same way.
pub(crate) mod safe {
    use maud::Markup;
    use serde_json::Value;

    /// Text that somebody wrote.
    pub(crate) fn text(text: &str) -> Markup {
        super::text::text(text)
    }

    /// A value that somebody wrote.
    pub(crate) fn value(value: &Value) -> Markup {
        super::page::value(value)
    }

    /// A moment.
    pub(crate) fn exact(at_ms: u64) -> String {
        super::page::exact(at_ms)
    }
}

use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;

use crate::context::Context;

/// All of it.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .route("/inbox", get(waiting::waiting))
        .route("/inbox/approvals/{id}", get(approval::show).post(approval::decide))
        .route("/inbox/doubt", get(doubt::list).post(doubt::settle))
        .route("/inbox/threads", get(thread::list))
        .route("/inbox/threads/{id}", get(thread::show))
        .route("/inbox/threads/{id}/fork", post(thread::fork))
        .route("/inbox/audit", get(audit::list))
        .route("/inbox/style.css", get(style))
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=3600")],
        include_str!("style.css"),
    )
}
