//! Our own resources.
//!
//! # Layout
//!
//! * `approvals`: questions and their decisions; `links`: for one person and one question; `wanted`: which of them, a page at a time.
//! * `operations`: side effects and doubt. `audit`: what is on the record.
//! * `graphs`, `components`: what is deployed. `commands`: what the command line asks for.
//! * `keys`: who may come in. `metrics`, `description`: about the server itself.

pub(crate) mod approvals;
mod links;
pub(crate) mod wanted;

mod audit;
pub(crate) mod operations;

mod components;
mod graphs;

mod commands;

mod keys;

pub(crate) mod description;
pub(crate) mod metrics;

use utoipa_axum::router::OpenApiRouter;

use crate::context::Context;

/// All of it.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .merge(approvals::routes())
        .merge(links::routes())
        .merge(operations::routes())
        .merge(audit::routes())
        .merge(graphs::routes())
        .merge(components::routes())
        .merge(commands::routes())
        .merge(keys::routes())
        .merge(description::routes())
        .merge(metrics::routes())
}
