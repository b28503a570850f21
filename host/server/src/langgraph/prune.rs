//! Threads that are named are removed, or lose the history that they need not keep.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ids, threads};
use crate::body::Body;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::runs::keep_latest;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(prune_threads))
}

/// Which threads, and what becomes of them.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PruneThreads {
    thread_ids: Vec<String>,
    /// `delete` when absent.
    strategy: Option<Strategy>,
}

/// What becomes of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PruneStrategy)]
pub(crate) enum Strategy {
    /// It is removed.
    #[default]
    Delete,
    /// Its newest state stays, with all that can be reached from it.
    KeepLatest,
}

/// How many threads were pruned.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pruned {
    pruned_count: u64,
}

/// Prunes threads. Those that are unknown, are being advanced, or have an operation without an outcome are left as they are and not counted.
#[utoipa::path(post, path = "/threads/prune", tag = "threads", request_body = PruneThreads, responses((status = OK, body = Pruned)))]
pub(crate) async fn prune_threads(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<PruneThreads>,
) -> Result<Json<Pruned>, Problem> {
    caller.require(Role::Operator)?;
    let mut pruned_count = 0;
    for text in &request.thread_ids {
        let summary = match ids::thread(&context, &caller, text).await {
            Ok(summary) => summary,
            Err(problem) if problem.code == "HP0810" => continue,
            Err(problem) => return Err(problem),
        };
        let pruned = match request.strategy.unwrap_or_default() {
            Strategy::Delete => match threads::remove(&context, &caller, &summary).await {
                Ok(()) => true,
                Err(problem) if problem.status.is_client_error() => false,
                Err(problem) => return Err(problem),
            },
            Strategy::KeepLatest => match summary.record.as_ref().filter(|_| summary.runs_open == 0) {
                Some(record) => {
                    let entry = |body| threads::entry(&context, &caller, &record.id, "thread.pruned", body);
                    keep_latest(&**context.store(), record, entry).await?
                }
                None => false,
            },
        };
        pruned_count += u64::from(pruned);
    }
    Ok(Json(Pruned { pruned_count }))
}
