//! Threads, found by what they hold.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::{EntryFilter, EntryOrder, EntryStatus, ThreadSummary};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Extraction;
use super::forms::{self, Thread};
use super::reading::{self, Reading};
use super::{assistants, ids};
use crate::body::{self, Body};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;

/// Threads that are looked at together where the store cannot tell which of them are meant.
const BATCH: usize = 500;

/// Threads whose values are read for one search: no index tells what a thread holds.
const READ_MAX: u64 = 10_000;

/// The largest page.
pub(super) const PAGE_MAX: usize = 1000;

/// The members of a thread that can be asked for.
const MEMBERS: [&str; 11] = [
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "status",
    "config",
    "context",
    "values",
    "error",
    "interrupts",
];

/// The members that only the thread's state tells.
const MEMBERS_OF_STATE: [&str; 3] = ["values", "error", "interrupts"];

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(search)).routes(routes!(count))
}

/// Which threads.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ThreadQuery {
    /// Only these.
    ids: Option<Vec<String>>,
    /// Only those whose metadata contains this.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Only those whose values contain this. Refused where more than 10000 threads would have to be read for it: name more of the others then.
    #[schema(value_type = Option<Object>)]
    values: Option<Map<String, Value>>,
    /// Only those in this status.
    status: Option<Status>,
    /// At most this many, from 1 to 1000; 10 when absent.
    limit: Option<u64>,
    /// Passes over this many.
    offset: Option<u64>,
    /// By what they are sorted; by their last change when absent.
    sort_by: Option<SortBy>,
    /// Newest or last first when absent.
    sort_order: Option<SortOrder>,
    /// Only these members.
    select: Option<Vec<String>>,
    /// Values by alias and path, such as `values.messages[-1]`; at most 10.
    #[schema(value_type = Option<Object>)]
    extract: Option<Map<String, Value>>,
}

/// A thread's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ThreadStatus)]
pub(crate) enum Status {
    Idle,
    Busy,
    Interrupted,
    Error,
}

/// By what threads are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SortBy {
    ThreadId,
    Status,
    CreatedAt,
    #[default]
    UpdatedAt,
    StateUpdatedAt,
}

/// In which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SortOrder {
    Asc,
    #[default]
    Desc,
}

/// Finds threads.
#[utoipa::path(post, path = "/threads/search", tag = "threads", request_body = ThreadQuery, responses(
    (status = OK, body = Vec<Thread>, headers(
        ("x-pagination-total" = u64, description = "How many there are in all."),
        ("x-pagination-next" = u64, description = "The next page's offset, when there is one.")))))]
pub(crate) async fn search(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<ThreadQuery>,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let limit = body::limit(request.limit, 10, PAGE_MAX)?;
    let offset = body::offset(request.offset)?;
    let select = checked(request.select.as_deref(), "select", &MEMBERS)?;
    let extraction = Extraction::read(request.extract.as_ref())?;
    let search = Search::read(&context, &caller, &request).await?;
    let (found, total) = search.page(&context, &caller, offset, limit).await?;
    let selected = |name: &str| select.is_none_or(|select| select.iter().any(|selected| selected == name));
    let needs_state = MEMBERS_OF_STATE.iter().any(|name| selected(name)) || !extraction.is_empty();
    let mut threads = Vec::with_capacity(found.len());
    for summary in found {
        let reading = if needs_state {
            Reading::of(&context, &caller, summary).await?
        } else {
            Reading::without_state(&context, summary)
        };
        let whole = forms::select(Thread::of(&reading), None);
        let mut shown = forms::select(&whole, select);
        if !extraction.is_empty() {
            shown["extracted"] = Value::Object(extraction.of(&whole));
        }
        threads.push(shown);
    }
    Ok(paged(Json(&threads), offset, threads.len(), total))
}

/// Counts threads.
#[utoipa::path(post, path = "/threads/count", tag = "threads", request_body = ThreadQuery, responses((status = OK, body = u64)))]
pub(crate) async fn count(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<ThreadQuery>,
) -> Result<Json<u64>, Problem> {
    caller.require(Role::Viewer)?;
    let search = Search::read(&context, &caller, &request).await?;
    Ok(Json(search.count(&context, &caller).await?))
}

/// With LangGraph's headers of a page.
pub(super) fn paged(response: impl IntoResponse, offset: usize, found: usize, total: u64) -> Response {
    let mut response = response.into_response();
    let headers = response.headers_mut();
    headers.insert("x-pagination-total", HeaderValue::from(total));
    let next = offset.saturating_add(found) as u64;
    if found > 0 && next < total {
        headers.insert("x-pagination-next", HeaderValue::from(next));
    }
    response
}

/// Refuses members that there are not.
///
/// # Errors
/// 422 `HP0821`.
pub(super) fn checked<'a>(
    given: Option<&'a [String]>,
    name: &str,
    known: &[&str],
) -> Result<Option<&'a [String]>, Problem> {
    let odd = given.into_iter().flatten().find(|member| !known.contains(&member.as_str()));
    match odd {
        Some(odd) => {
            let detail = format!("`{name}`: {odd:?} is none of {}", known.join(", "));
            Err(Problem::invalid("HP0821", detail))
        }
        None => Ok(given),
    }
}

/// What is looked for: what the store can tell, and the rest.
struct Search {
    filter: EntryFilter,
    /// Nothing can be found.
    nothing: bool,
    /// Members of the metadata that hold more than one value, or that only the shown form has.
    metadata: Map<String, Value>,
    values: Map<String, Value>,
    by_status: bool,
}

impl Search {
    async fn read(context: &Context, caller: &Caller, request: &ThreadQuery) -> Result<Self, Problem> {
        let mut threads = Vec::new();
        for id in request.ids.iter().flatten() {
            threads.push(ThreadId::parse(id.as_str()).map_err(|_| ids::not_a_uuid("thread"))?);
        }
        let mut simple = Map::new();
        let mut metadata = Map::new();
        for (name, value) in request.metadata.iter().flatten() {
            let graph = match (name.as_str(), value.as_str()) {
                ("assistant_id", Some(id)) => assistants::find(context, id).await?.filter(|found| found.is_id(id)),
                _ => None,
            };
            match graph {
                // An assistant is a graph here, and the store finds threads by graph.
                Some(graph) if !request.metadata.iter().flatten().any(|(name, _)| name == "graph_id") => {
                    simple.insert("graph_id".to_owned(), graph.name().into());
                }
                None if !value.is_object() && !value.is_array() => {
                    simple.insert(name.clone(), value.clone());
                }
                Some(_) | None => {
                    metadata.insert(name.clone(), value.clone());
                }
            }
        }
        let filter = EntryFilter {
            tenant: Some(caller.principal.tenant.clone()),
            threads,
            status: request.status.map(|status| match status {
                Status::Idle => EntryStatus::Idle,
                Status::Busy => EntryStatus::Busy,
                Status::Interrupted => EntryStatus::Interrupted,
                Status::Error => EntryStatus::Error,
            }),
            metadata: simple,
            // A state changes after its entry but for changes of metadata, so these two orders are one.
            order: match request.sort_by.unwrap_or_default() {
                SortBy::ThreadId => EntryOrder::Id,
                SortBy::CreatedAt => EntryOrder::Created,
                SortBy::UpdatedAt | SortBy::StateUpdatedAt | SortBy::Status => EntryOrder::Updated,
            },
            ascending: request.sort_order == Some(SortOrder::Asc),
            limit: 0,
            offset: 0,
        };
        Ok(Self {
            by_status: request.sort_by == Some(SortBy::Status) && filter.status.is_none(),
            filter,
            nothing: request.ids.as_ref().is_some_and(Vec::is_empty),
            metadata,
            values: request.values.clone().unwrap_or_default(),
        })
    }

    /// One page, and how many there are in all.
    async fn page(
        &self,
        context: &Context,
        caller: &Caller,
        mut offset: usize,
        limit: usize,
    ) -> Result<(Vec<ThreadSummary>, u64), Problem> {
        if self.nothing {
            return Ok((Vec::new(), 0));
        }
        let (mut found, mut total) = (Vec::new(), 0);
        for filter in self.filters() {
            let wanted = limit - found.len();
            let (more, counted) = if self.is_exact() {
                self.stored_page(context, &filter, offset, wanted).await?
            } else {
                self.scan(context, caller, &filter, offset, wanted).await?
            };
            offset = offset.saturating_sub(usize::try_from(counted).unwrap_or(usize::MAX));
            found.extend(more);
            total += counted;
        }
        Ok((found, total))
    }

    async fn count(&self, context: &Context, caller: &Caller) -> Result<u64, Problem> {
        if self.nothing {
            Ok(0)
        } else if self.is_exact() {
            Ok(context.store().count_entries(&self.filter).await?)
        } else {
            Ok(self.scan(context, caller, &self.filter, 0, 0).await?.1)
        }
    }

    /// Whether the store's filter says everything.
    fn is_exact(&self) -> bool {
        self.metadata.is_empty() && self.values.is_empty()
    }

    /// Sorted by status: those of one status after those of another, in order of LangGraph's names.
    fn filters(&self) -> Vec<EntryFilter> {
        if !self.by_status {
            return vec![self.filter.clone()];
        }
        let mut statuses = vec![EntryStatus::Busy, EntryStatus::Error, EntryStatus::Idle, EntryStatus::Interrupted];
        if !self.filter.ascending {
            statuses.reverse();
        }
        let of = |status| EntryFilter { status: Some(status), ascending: false, ..self.filter.clone() };
        statuses.into_iter().map(of).collect()
    }

    async fn stored_page(
        &self,
        context: &Context,
        filter: &EntryFilter,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<ThreadSummary>, u64), Problem> {
        let found = match limit {
            0 => Vec::new(),
            limit => context.store().entries(&EntryFilter { limit, offset, ..filter.clone() }).await?,
        };
        // A page that is not full is the last one: what comes before it is known to be there, and need not be counted.
        let total = match found.len() {
            0 if offset > 0 || limit == 0 => context.store().count_entries(filter).await?,
            some if some < limit => (offset + some) as u64,
            _ => context.store().count_entries(filter).await?,
        };
        Ok((found, total))
    }

    /// Refuses to read the values of more threads than one request may cost.
    ///
    /// # Errors
    /// 422 `HP0849`.
    async fn check_extent(&self, context: &Context, filter: &EntryFilter) -> Result<(), Problem> {
        if self.values.is_empty() {
            return Ok(());
        }
        match context.store().count_entries(filter).await? {
            0..=READ_MAX => Ok(()),
            many => {
                let detail =
                    format!("`values`: the values of {many} threads would have to be read, and {READ_MAX} may be");
                Err(Problem::invalid("HP0849", detail).with_cure(
                    "say more of the threads that are meant: `status`, `ids`, or `metadata` such as `graph_id`",
                ))
            }
        }
    }

    /// Looks at every thread that the store's filter lets through.
    async fn scan(
        &self,
        context: &Context,
        caller: &Caller,
        filter: &EntryFilter,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<ThreadSummary>, u64), Problem> {
        self.check_extent(context, filter).await?;
        let (mut found, mut total, mut seen) = (Vec::new(), 0, 0);
        loop {
            let batch = EntryFilter { limit: BATCH, offset: seen, ..filter.clone() };
            let batch = context.store().entries(&batch).await?;
            let last = batch.len() < BATCH;
            seen += batch.len();
            for summary in batch {
                if !self.matches(context, caller, &summary).await? {
                    continue;
                }
                if total >= offset as u64 && found.len() < limit {
                    found.push(summary);
                }
                total += 1;
            }
            if last {
                return Ok((found, total));
            }
        }
    }

    async fn matches(&self, context: &Context, caller: &Caller, summary: &ThreadSummary) -> Result<bool, Problem> {
        let shown = reading::metadata(summary);
        if !self.metadata.iter().all(|(name, wanted)| shown.get(name).is_some_and(|held| contains(held, wanted))) {
            return Ok(false);
        }
        if self.values.is_empty() {
            return Ok(true);
        }
        let reading = Reading::of(context, caller, summary.clone()).await?;
        let Some(live) = &reading.live else { return Ok(false) };
        let holds = |(name, wanted)| live.entry.values.get(name).is_some_and(|held| contains(held, wanted));
        Ok(self.values.iter().all(holds))
    }
}

/// Whether a value contains another: objects by members, lists by elements, everything else when it is equal.
pub(super) fn contains(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| held.get(name).is_some_and(|held| contains(held, wanted)))
        }
        (Value::Array(held), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| held.iter().any(|held| contains(held, wanted)))
        }
        _ => held == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(held: Value, wanted: Value, expected: bool) {
        assert_eq!(contains(&held, &wanted), expected, "{held} in {wanted}");
    }

    #[test]
    fn containment() {
        check(json!({ "a": { "b": 1, "c": 2 } }), json!({ "a": { "b": 1 } }), true);
        check(json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }), false);
        check(json!({ "a": 1 }), json!({ "b": null }), false);
        check(json!([1, 2, { "x": 1, "y": 2 }]), json!([{ "x": 1 }, 2]), true);
        check(json!([1, 2]), json!([3]), false);
        check(json!(1), json!([1]), false);
        check(json!("1"), json!(1), false);
        check(json!({}), json!({}), true);
    }
}
