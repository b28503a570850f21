//! Graphs as LangGraph's clients know them: each deployed graph is one assistant, always the same one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use holdpoint_engine::Version;
use holdpoint_graph::definition::Graph;
use holdpoint_graph::ids::GraphName;
use holdpoint_store::{VersionKind, VersionRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::drawing::{self, Depth};
use super::search::{PAGE_MAX, SortOrder, checked, contains, paged};
use super::{forms, ids};
use crate::body::{self, Body, Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::runs;

/// The members of an assistant that can be asked for.
const MEMBERS: [&str; 10] = [
    "assistant_id",
    "graph_id",
    "config",
    "context",
    "metadata",
    "name",
    "created_at",
    "updated_at",
    "version",
    "description",
];

pub(super) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(search))
        .routes(routes!(count))
        .routes(routes!(get))
        .routes(routes!(versions))
        .routes(routes!(graph))
        .routes(routes!(schemas))
        .routes(routes!(subgraphs))
        .routes(routes!(subgraphs_at))
}

/// A deployed graph with its versions, newest first. There is at least one.
#[derive(Debug, Clone)]
pub(crate) struct Deployed {
    name: GraphName,
    versions: Vec<VersionRecord>,
}

impl Deployed {
    /// The graph's name.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether a text is the assistant's id, and not the graph's name.
    pub(crate) fn is_id(&self, text: &str) -> bool {
        ids::canonical_uuid(text).is_some_and(|text| text == id_of(&self.name))
    }

    /// As an assistant of one of its versions.
    fn assistant(&self, version: &VersionRecord) -> Assistant {
        let first = self.versions.last().unwrap_or(version);
        Assistant {
            assistant_id: id_of(&self.name),
            graph_id: self.name.to_string(),
            config: json!({}),
            context: json!({}),
            metadata: json!({ "created_by": "system" }),
            name: self.name.to_string(),
            created_at: forms::time_text(first.deployed_at_ms),
            updated_at: forms::time_text(version.deployed_at_ms),
            version: version.version.parse().unwrap_or(1),
            description: None,
        }
    }

    /// As an assistant of its newest version.
    pub(super) fn newest_assistant(&self) -> Assistant {
        self.assistant(self.newest())
    }

    fn newest(&self) -> &VersionRecord {
        self.versions.first().expect("invariant: a deployed graph has a version")
    }
}

/// An assistant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Assistant {
    assistant_id: String,
    graph_id: String,
    #[schema(value_type = Object)]
    config: Value,
    #[schema(value_type = Object)]
    context: Value,
    #[schema(value_type = Object)]
    metadata: Value,
    name: String,
    created_at: String,
    updated_at: String,
    version: u64,
    description: Option<String>,
}

impl Assistant {
    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

/// Which assistants.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct AssistantQuery {
    graph_id: Option<String>,
    /// Part of the name, whatever its case.
    name: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// At most this many, from 1 to 1000; 10 when absent.
    limit: Option<u64>,
    offset: Option<u64>,
    sort_by: Option<SortAssistants>,
    sort_order: Option<SortOrder>,
    /// Only these members.
    select: Option<Vec<String>>,
}

/// By what assistants are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SortAssistants {
    AssistantId,
    GraphId,
    Name,
    #[default]
    CreatedAt,
    UpdatedAt,
}

/// What goes into a graph and what comes out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GraphSchemas {
    graph_id: String,
    #[schema(value_type = Object)]
    input_schema: Value,
    #[schema(value_type = Object)]
    output_schema: Value,
    #[schema(value_type = Object)]
    state_schema: Value,
    #[schema(value_type = Option<Object>)]
    config_schema: Value,
    #[schema(value_type = Option<Object>)]
    context_schema: Value,
}

/// Finds assistants.
#[utoipa::path(post, path = "/assistants/search", tag = "assistants", request_body = AssistantQuery, responses(
    (status = OK, body = Vec<Assistant>, headers(
        ("x-pagination-total" = u64, description = "How many there are in all."),
        ("x-pagination-next" = u64, description = "The next page's offset, when there is one.")))))]
pub(crate) async fn search(
    State(context): State<Context>,
    caller: Caller,
    Body(query): Body<AssistantQuery>,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let limit = body::limit(query.limit, 10, PAGE_MAX)?;
    let offset = body::offset(query.offset)?;
    let select = checked(query.select.as_deref(), "select", &MEMBERS)?;
    let mut found = matching(&context, &query).await?;
    found.sort_by(|one, other| {
        let by = match query.sort_by.unwrap_or_default() {
            SortAssistants::AssistantId => one.assistant_id.cmp(&other.assistant_id),
            SortAssistants::GraphId | SortAssistants::Name => one.name.cmp(&other.name),
            SortAssistants::CreatedAt => one.created_at.cmp(&other.created_at),
            SortAssistants::UpdatedAt => one.updated_at.cmp(&other.updated_at),
        };
        let by = if query.sort_order == Some(SortOrder::Asc) { by } else { by.reverse() };
        by.then_with(|| one.name.cmp(&other.name))
    });
    let total = found.len() as u64;
    let page: Vec<Value> =
        found.into_iter().skip(offset).take(limit).map(|assistant| forms::select(assistant, select)).collect();
    Ok(paged(Json(&page), offset, page.len(), total))
}

/// Counts assistants.
#[utoipa::path(post, path = "/assistants/count", tag = "assistants", request_body = AssistantQuery, responses((status = OK, body = u64)))]
pub(crate) async fn count(
    State(context): State<Context>,
    caller: Caller,
    Body(query): Body<AssistantQuery>,
) -> Result<Json<u64>, Problem> {
    caller.require(Role::Viewer)?;
    Ok(Json(matching(&context, &query).await?.len() as u64))
}

/// Shows an assistant.
#[utoipa::path(get, path = "/assistants/{assistant_id}", tag = "assistants", params(("assistant_id" = String, Path)), responses(
    (status = OK, body = Assistant), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn get(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
) -> Result<Json<Assistant>, Problem> {
    caller.require(Role::Viewer)?;
    let deployed = by_id(&context, &assistant).await?;
    Ok(Json(deployed.newest_assistant()))
}

/// Lists an assistant's versions, newest first.
#[utoipa::path(post, path = "/assistants/{assistant_id}/versions", tag = "assistants", params(("assistant_id" = String, Path)),
    request_body = AssistantQuery, responses((status = OK, body = Vec<Assistant>), (status = NOT_FOUND)))]
pub(crate) async fn versions(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
    Body(query): Body<AssistantQuery>,
) -> Result<Json<Vec<Assistant>>, Problem> {
    caller.require(Role::Viewer)?;
    let limit = body::limit(query.limit, 10, PAGE_MAX)?;
    let offset = body::offset(query.offset)?;
    let deployed = by_id(&context, &assistant).await?;
    let page = deployed.versions.iter().skip(offset).take(limit);
    Ok(Json(page.map(|version| deployed.assistant(version)).collect()))
}

/// Draws an assistant's graph. The graph's name is taken too.
#[utoipa::path(get, path = "/assistants/{assistant_id}/graph", tag = "assistants",
    params(
        ("assistant_id" = String, Path),
        ("xray" = Option<String>, Query, description = "`true`: with what is inside subgraphs; a number: so many levels of it.")),
    responses((status = OK, body = Object), (status = NOT_FOUND)))]
pub(crate) async fn graph(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    let depth = match parameters.text("xray") {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Depth::Levels(parameters.number("xray")?.and_then(|levels| usize::try_from(levels).ok()).unwrap_or(0))
        }
        _ if parameters.flag("xray")? => Depth::All,
        _ => Depth::Levels(0),
    };
    let Some(deployed) = find(&context, &assistant).await? else { return Err(not_found(&assistant)) };
    let version = version(&context, &caller, &deployed).await?;
    Ok(Json(drawing::draw(&version, depth)))
}

/// Shows what goes into an assistant's graph and what comes out.
#[utoipa::path(get, path = "/assistants/{assistant_id}/schemas", tag = "assistants", params(("assistant_id" = String, Path)), responses(
    (status = OK, body = GraphSchemas), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn schemas(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
) -> Result<Json<GraphSchemas>, Problem> {
    caller.require(Role::Viewer)?;
    let deployed = by_id(&context, &assistant).await?;
    Ok(Json(GraphSchemas::of(&version(&context, &caller, &deployed).await?.graph)))
}

/// Shows the same of the subgraphs, by the names of their nodes with `|` between them.
#[utoipa::path(get, path = "/assistants/{assistant_id}/subgraphs", tag = "assistants",
    params(
        ("assistant_id" = String, Path),
        ("recurse" = Option<bool>, Query, description = "With those inside of them.")),
    responses((status = OK, body = Object), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn subgraphs(
    State(context): State<Context>,
    caller: Caller,
    Segments(assistant): Segments<String>,
    parameters: Parameters,
) -> Result<Json<BTreeMap<String, GraphSchemas>>, Problem> {
    Ok(Json(inner(&context, &caller, &assistant, parameters.flag("recurse")?).await?))
}

/// Shows the same of the subgraphs at and inside a place.
#[utoipa::path(get, path = "/assistants/{assistant_id}/subgraphs/{namespace}", tag = "assistants",
    params(
        ("assistant_id" = String, Path),
        ("namespace" = String, Path),
        ("recurse" = Option<bool>, Query, description = "With those inside of it.")),
    responses((status = OK, body = Object), (status = NOT_FOUND), (status = UNPROCESSABLE_ENTITY)))]
pub(crate) async fn subgraphs_at(
    State(context): State<Context>,
    caller: Caller,
    Segments((assistant, namespace)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Json<BTreeMap<String, GraphSchemas>>, Problem> {
    let recurse = parameters.flag("recurse")?;
    let mut found = inner(&context, &caller, &assistant, true).await?;
    let inside = format!("{namespace}|");
    found.retain(|name, _| *name == namespace || (recurse && name.starts_with(&inside)));
    Ok(Json(found))
}

async fn inner(
    context: &Context,
    caller: &Caller,
    assistant: &str,
    recurse: bool,
) -> Result<BTreeMap<String, GraphSchemas>, Problem> {
    caller.require(Role::Viewer)?;
    let deployed = by_id(context, assistant).await?;
    let mut found = BTreeMap::new();
    collect(&*version(context, caller, &deployed).await?, "", recurse, &mut found);
    Ok(found)
}

fn collect(version: &Version, prefix: &str, recurse: bool, found: &mut BTreeMap<String, GraphSchemas>) {
    for (name, child) in &version.children {
        let name = format!("{prefix}{name}");
        found.insert(name.clone(), GraphSchemas::of(&child.graph));
        if recurse {
            collect(child, &format!("{name}|"), recurse, found);
        }
    }
}

impl GraphSchemas {
    fn of(graph: &Graph) -> Self {
        let channels = graph.channels.iter().filter(|(_, channel)| channel.managed.is_none());
        let properties: Map<String, Value> =
            channels.map(|(name, channel)| (name.to_string(), channel.schema.document().clone())).collect();
        let schema = json!({ "title": graph.name.as_str(), "type": "object", "properties": properties });
        Self {
            graph_id: graph.name.to_string(),
            input_schema: schema.clone(),
            output_schema: schema.clone(),
            state_schema: schema,
            config_schema: Value::Null,
            context_schema: Value::Null,
        }
    }
}

/// The id of a graph's assistant: the same on every host and after every restart.
pub(crate) fn id_of(graph: &GraphName) -> String {
    runs::assistant_id(graph)
}

/// A deployed graph by its name or its assistant's id.
///
/// # Errors
/// The store's.
pub(crate) async fn find(context: &Context, text: &str) -> Result<Option<Deployed>, Problem> {
    if let Ok(name) = GraphName::parse(text) {
        let versions = context.store().versions(VersionKind::Graph, Some(text)).await?;
        if !versions.is_empty() {
            return Ok(Some(Deployed { name, versions }));
        }
    }
    if ids::canonical_uuid(text).is_none() {
        return Ok(None);
    }
    Ok(all(context).await?.into_iter().find(|deployed| deployed.is_id(text)))
}

/// What is said of a name that is no deployed graph's.
///
/// # Errors
/// The store's.
pub(crate) async fn unknown(context: &Context, text: &str) -> Result<Problem, Problem> {
    let names: Vec<String> = all(context).await?.iter().map(|deployed| deployed.name().to_owned()).collect();
    let text: String = text.chars().take(80).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let detail = format!("Invalid graph: '{text}'. Registered graphs: {known}");
    Ok(Problem::invalid("HP0831", detail).with_cure("deploy the graph first"))
}

/// All deployed graphs, in order of name.
pub(crate) async fn all(context: &Context) -> Result<Vec<Deployed>, Problem> {
    let mut by_name: BTreeMap<GraphName, Vec<VersionRecord>> = BTreeMap::new();
    for version in context.store().versions(VersionKind::Graph, None).await? {
        if let Ok(name) = GraphName::parse(version.name.as_str()) {
            by_name.entry(name).or_default().push(version);
        }
    }
    Ok(by_name.into_iter().map(|(name, versions)| Deployed { name, versions }).collect())
}

/// A deployed graph by its assistant's id.
///
/// # Errors
/// 422 `HP0827` for what is no UUID, 404 for one that is no assistant's.
pub(super) async fn by_id(context: &Context, text: &str) -> Result<Deployed, Problem> {
    let Some(canonical) = ids::canonical_uuid(text) else { return Err(ids::not_a_uuid("assistant")) };
    let found = all(context).await?.into_iter().find(|deployed| deployed.is_id(&canonical));
    found.ok_or_else(|| not_found(text))
}

fn not_found(text: &str) -> Problem {
    let text: String = text.chars().take(80).collect();
    Problem::not_found("HP0832", format!("Assistant with ID {text} not found"))
        .with_cure("`POST /assistants/search` lists what there is")
}

async fn version(context: &Context, caller: &Caller, deployed: &Deployed) -> Result<Arc<Version>, Problem> {
    Ok(context.engine(caller).version(&deployed.newest().digest).await?)
}

async fn matching(context: &Context, query: &AssistantQuery) -> Result<Vec<Assistant>, Problem> {
    let name = query.name.as_deref().map(str::to_lowercase);
    let wanted = query.metadata.clone().map(Value::Object);
    let all = all(context).await?;
    let found = all.iter().filter(|deployed| {
        query.graph_id.as_deref().is_none_or(|graph| graph == deployed.name())
            && name.as_deref().is_none_or(|name| deployed.name().to_lowercase().contains(name))
    });
    let assistants = found.map(|deployed| deployed.assistant(deployed.newest()));
    Ok(assistants.filter(|found| wanted.as_ref().is_none_or(|wanted| contains(&found.metadata, wanted))).collect())
}
