//! A thread's checkpoints, newest first.

use axum::Json;
use axum::extract::State;
use holdpoint_engine::{HistoryEntry, view};
use holdpoint_graph::ids::Namespace;
use holdpoint_store::{HistoryFilter, Source, ThreadRecord};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::forms::{self, Showing, ThreadState};
use super::ids;
use super::search::{PAGE_MAX, checked};
use super::state::{CheckpointConfig, MEMBERS};
use crate::body::{self, Body, Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

/// States of one answer when a search does not say.
const SEARCH_LIMIT: usize = 1;

/// States of one answer when an address does not say.
const LIST_LIMIT: usize = 10;

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list, search))
}

/// Which states.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct HistoryQuery {
    /// At most this many, from 1 to 1000; 1 when absent.
    limit: Option<u64>,
    /// Only those before this one.
    before: Option<Before>,
    /// Only those whose metadata has each of these members with an equal value.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Only this one, or those of this namespace.
    checkpoint: Option<CheckpointConfig>,
    /// Only these members.
    select: Option<Vec<String>>,
}

/// Names a checkpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Before {
    Id(String),
    Checkpoint(CheckpointConfig),
}

/// Lists a thread's states.
#[utoipa::path(get, path = "/threads/{thread_id}/history", tag = "threads",
    params(
        ("thread_id" = String, Path),
        ("limit" = Option<u64>, Query, description = "At most this many, from 1 to 1000; 10 when absent."),
        ("before" = Option<String>, Query, description = "Only those before this checkpoint.")),
    responses((status = OK, body = Vec<ThreadState>), (status = NOT_FOUND)))]
pub(crate) async fn list(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    parameters: Parameters,
) -> Result<Json<Vec<Value>>, Problem> {
    let before = parameters.text("before").map(|text| Before::Id(text.to_owned()));
    let query = HistoryQuery { limit: parameters.number("limit")?, before, ..HistoryQuery::default() };
    find(&context, &caller, &thread, query, LIST_LIMIT).await
}

/// Finds states of a thread.
#[utoipa::path(post, path = "/threads/{thread_id}/history", tag = "threads", request_body = HistoryQuery,
    params(("thread_id" = String, Path)), responses((status = OK, body = Vec<ThreadState>), (status = NOT_FOUND)))]
pub(crate) async fn search(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(query): Body<HistoryQuery>,
) -> Result<Json<Vec<Value>>, Problem> {
    find(&context, &caller, &thread, query, SEARCH_LIMIT).await
}

async fn find(
    context: &Context,
    caller: &Caller,
    thread: &str,
    query: HistoryQuery,
    limit: usize,
) -> Result<Json<Vec<Value>>, Problem> {
    caller.require(Role::Viewer)?;
    let limit = body::limit(query.limit, limit, PAGE_MAX)?;
    let select = checked(query.select.as_deref(), "select", &MEMBERS)?;
    let before = match &query.before {
        Some(Before::Id(id)) => Some(id.as_str()),
        Some(Before::Checkpoint(checkpoint)) => checkpoint.id(),
        None => None,
    };
    let before = before.map(ids::checkpoint).transpose()?;
    let checkpoint = query.checkpoint.as_ref();
    let exactly = checkpoint.and_then(CheckpointConfig::id).map(ids::checkpoint).transpose()?;
    let namespace = Namespace::parse(checkpoint.and_then(CheckpointConfig::namespace).unwrap_or_default())
        .map_err(|error| Problem::invalid("HP0821", format!("`checkpoint`: {error}")))?;
    let summary = ids::thread(context, caller, thread).await?;
    let Some(record) = summary.record else { return Ok(Json(Vec::new())) };
    let filter = HistoryFilter { namespace, before, limit, ..HistoryFilter::default() };
    let Some(filter) = narrowed(filter, query.metadata.unwrap_or_default(), &record) else {
        return Ok(Json(Vec::new()));
    };
    let engine = context.engine(caller);
    let mut entries = match &exactly {
        Some(checkpoint) => vec![engine.state(&record.id, Some(checkpoint)).await?],
        None => engine.find_history(&record.id, &filter).await?,
    };
    for entry in entries.iter_mut().filter(|entry| entry.checkpoint == record.head) {
        complete(context, &record, entry).await?;
    }
    let graph_name = record.graph_name.as_str();
    let showing = Showing { thread: &record.id, graph_name, subgraphs: false, now_ms: context.now_ms() };
    Ok(Json(entries.iter().map(|entry| forms::select(showing.state(entry), select)).collect()))
}

/// The head's tasks with what the subgraphs that they run ask: clients find there what waits.
async fn complete(context: &Context, record: &ThreadRecord, entry: &mut HistoryEntry) -> Result<(), Problem> {
    if let Some(snapshot) = context.store().snapshot(&record.id, Some(&entry.checkpoint)).await? {
        *entry = view::history_entry(&snapshot);
    }
    Ok(())
}

/// Filters by metadata as they are shown; none when nothing can have them.
fn narrowed(mut filter: HistoryFilter, metadata: Map<String, Value>, record: &ThreadRecord) -> Option<HistoryFilter> {
    for (name, value) in metadata {
        match name.as_str() {
            "source" => filter.source = Some(value.as_str().and_then(Source::parse)?),
            "step" => filter.step = Some(value.as_i64()?),
            "thread_id" if value == record.id.as_str() => {}
            "graph_id" if value == record.graph_name.as_str() => {}
            "thread_id" | "graph_id" => return None,
            "parents" if value.as_object().is_some_and(Map::is_empty) => {}
            "parents" => return None,
            _ => {
                filter.metadata.insert(name, value);
            }
        }
    }
    Some(filter)
}
