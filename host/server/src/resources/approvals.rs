//! Questions to people and their answers (DESIGN 8): one list across threads, and every way of answering with its reply.
//!
//! | case | reply |
//! |---|---|
//! | a valid answer, or a vote of several | 202 with the approval as it stands; the thread goes on by itself |
//! | the same key and body again | the first reply, `Idempotent-Replayed: true` |
//! | the same key, another body | 422 `HP0910` |
//! | decided, cancelled or superseded before | 409 `HP0407` with `winner` |
//! | the deadline has come | 409 `HP0908` with `winner`, the deadline |
//! | the digest is that of another form | 409 `HP0907` with `current_digest` |
//! | not among those who may, the asker, or voted before | 403 `HP0901`, `HP0902`, `HP0903`; on the record |
//! | without the role | 403 `HP0803`; on the record |
//! | not signed in as the policy wants it (`step_up`) | 403 `HP0913` with `max_age_seconds` and `acr_values`; on the record |
//! | `break_glass` where the policy does not let it be | 403 `HP0914`; on the record |
//! | not allowed, or it breaks a schema | 422; it is still pending |
//! | unknown, or another tenant's | 404 `HP0814` |

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use holdpoint_engine::approvals::shape::Shape;
use holdpoint_engine::approvals::value;
use holdpoint_engine::{Approval, ApprovalStatus, Decided, Decision, Delegation, Error as EngineError, ReplyKey};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{GraphName, QuestionId, ThreadId};
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::{AuditEntry, QuestionFilter, QuestionRecord, QuestionStatus};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{self, Body, Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::resources::wanted::Wanted;

/// How long the reply to a request with an idempotency key is kept.
const KEEP_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Approvals of one page.
const PAGE: usize = 50;
const PAGE_MAX: usize = 500;

pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(answer)).routes(routes!(delegate))
}

/// Questions across threads: the pending ones with the soonest deadline first.
#[utoipa::path(
    get,
    path = "/approvals",
    tag = "approvals",
    params(
        ("status" = Option<String>, Query, description = "`open` (default), `decided`, `all`, or one status by name"),
        ("mine" = Option<bool>, Query, description = "only those that the caller may answer"),
        ("group" = Option<String>, Query, description = "only those that this group is named with"),
        ("my_groups" = Option<bool>, Query, description = "only those that a group of the caller is named with"),
        ("graph" = Option<String>, Query, description = "only those of this graph"),
        ("thread" = Option<String>, Query, description = "only those of this thread"),
        ("due_before" = Option<String>, Query, description = "only pending ones with a deadline before this moment"),
        ("overdue" = Option<bool>, Query, description = "only those whose deadline has come and is not recorded yet"),
        ("after" = Option<String>, Query, description = "go on after this approval: `x-pagination-next` of the page before"),
        ("limit" = Option<u64>, Query, description = "at most this many"),
    ),
    responses((status = 200, description = "approvals", body = Vec<Object>)),
)]
async fn list(State(context): State<Context>, caller: Caller, parameters: Parameters) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let now_ms = context.now_ms();
    let wanted = read(&parameters, &caller, now_ms)?;
    let limit = body::limit(parameters.number("limit")?, PAGE, PAGE_MAX)?;
    let (found, next) = wanted.page(&context, &caller, limit).await?;
    let approvals: Vec<Value> = found.iter().map(Approval::to_json).collect();
    let mut response = Json(approvals).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(next.as_str()).ok()) {
        response.headers_mut().insert(HeaderName::from_static("x-pagination-next"), next);
    }
    Ok(response)
}

/// Which approvals a request asks for.
fn read(parameters: &Parameters, caller: &Caller, now_ms: u64) -> Result<Wanted, Problem> {
    let overdue = parameters.flag("overdue")?;
    let before_ms = parameters.text("due_before").map(|text| moment("due_before", &text.into())).transpose()?;
    let deadline_until_ms = match (overdue, before_ms) {
        (true, before_ms) => Some(now_ms.min(before_ms.map_or(u64::MAX, |before_ms| before_ms.saturating_sub(1)))),
        (false, before_ms) => before_ms.map(|before_ms| before_ms.saturating_sub(1)),
    };
    let word = parameters.text("status").unwrap_or(if overdue { "all" } else { "open" });
    let statuses = statuses(word)?;
    let recorded = match word {
        _ if deadline_until_ms.is_some() => Some(QuestionStatus::Pending),
        "open" | "pending" | "partially_approved" => Some(QuestionStatus::Pending),
        "superseded" => Some(QuestionStatus::Superseded),
        "cancelled" => Some(QuestionStatus::Cancelled),
        // What the deadline has ended may not be recorded yet.
        "all" | "decided" | "expired" => None,
        _ => Some(QuestionStatus::Answered),
    };
    let named = |name: &str| parameters.text(name);
    let filter = QuestionFilter {
        tenant: None,
        status: recorded,
        graph_name: named("graph").map(GraphName::parse).transpose().map_err(|error| unreadable("graph", &error))?,
        thread: named("thread").map(ThreadId::parse).transpose().map_err(|error| unreadable("thread", &error))?,
        deadline_until_ms,
        after: named("after").map(QuestionId::parse).transpose().map_err(|error| unreadable("after", &error))?,
        limit: PAGE_MAX,
    };
    let group = named("group").map(|group| BTreeSet::from([group.strip_prefix("group:").unwrap_or(group).to_owned()]));
    let own = parameters.flag("my_groups")?.then(|| caller.principal.groups.clone());
    let groups = group.into_iter().chain(own).collect();
    Ok(Wanted { filter, statuses, mine: parameters.flag("mine")?, groups })
}

fn statuses(word: &str) -> Result<Vec<ApprovalStatus>, Problem> {
    let all = ApprovalStatus::NAMES.into_iter();
    let chosen: Vec<ApprovalStatus> = match word {
        "all" => all.map(|(status, _)| status).collect(),
        "open" => all.map(|(status, _)| status).filter(|status| status.is_open()).collect(),
        "decided" => all.map(|(status, _)| status).filter(|status| !status.is_open()).collect(),
        name => all.filter(|(_, known)| *known == name).map(|(status, _)| status).collect(),
    };
    if chosen.is_empty() {
        return Err(Problem::invalid("HP0821", format!("`status`: {word:?} is not a status")));
    }
    Ok(chosen)
}

/// One approval, as the caller sees it.
#[utoipa::path(
    get,
    path = "/approvals/{approval_id}",
    tag = "approvals",
    params(("approval_id" = String, Path)),
    responses((status = 200, description = "the approval", body = Object), (status = 404, description = "there is none")),
)]
async fn show(
    State(context): State<Context>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Problem> {
    caller.require(Role::Viewer)?;
    Ok(Json(find(&context, &caller, &id).await?.to_json()))
}

/// What somebody answers.
#[derive(Debug, Deserialize, ToSchema)]
struct AnswerRequest {
    /// `accept`, `edit`, `respond`, `reject` or `ignore`. Can be left out where `value` says it, in the form of Agent Inbox or of LangChain's
    /// middleware.
    decision: Option<String>,
    /// Another name for `decision`.
    verdict: Option<String>,
    /// The whole value that the node gets.
    #[schema(value_type = Option<Object>)]
    value: Option<Value>,
    /// Other arguments for what is asked about, with `edit`.
    #[schema(value_type = Option<Object>)]
    args: Option<Value>,
    /// Why, or the response.
    message: Option<String>,
    /// The approval's `digest`: what the caller was shown.
    payload_digest: String,
    /// In whose place.
    on_behalf_of: Option<String>,
    /// Decide alone, whoever may answer, however many it takes and whose doing is asked about: for administrators, where the question's policy says
    /// `break_glass = true`, with a `message` that says why. Marked on the record, in the approval and in what people are told.
    #[serde(default)]
    break_glass: bool,
    /// An idempotency key, for those who cannot send the header.
    client_key: Option<String>,
}

/// Answers a question.
#[utoipa::path(
    post,
    path = "/approvals/{approval_id}/answers",
    tag = "approvals",
    params(
        ("approval_id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key with the same body gets the same reply"),
    ),
    request_body = AnswerRequest,
    responses(
        (status = 202, description = "it counts; the approval as it stands", body = Object),
        (status = 403, description = "the caller may not; on the record"),
        (status = 404, description = "there is no such approval"),
        (status = 409, description = "it is decided, expired, or another form of it stands"),
        (status = 422, description = "the answer is not valid; the approval still stands"),
    ),
)]
async fn answer(
    State(context): State<Context>,
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    Body(members): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let approval = find(&context, &caller, &id).await?;
    require_approver(&context, &caller, &approval, "answer").await?;
    let request: AnswerRequest = body::from_members(members.clone())?;
    if request.break_glass {
        require_role(&context, &caller, &approval, "answer (break-glass)", Role::Admin).await?;
    }
    let verdict = verdict(&approval, &request)?;
    let digest = read_digest(&request.payload_digest)?;
    let reply = reply_key(&headers, request.client_key, "answer", &approval.id, members)?;
    let AnswerRequest { value, args, message, on_behalf_of, break_glass, .. } = request;
    let decision =
        Decision { value, args, message, on_behalf_of, reply, break_glass, ..Decision::new(verdict, digest) };
    let deciding = context.runs().decide(&caller.principal, &approval.thread, &approval.id, decision);
    Ok(replied(deciding.await.map_err(refusal)?))
}

/// To whom a question is handed on.
#[derive(Debug, Deserialize, ToSchema)]
struct DelegationRequest {
    /// A user, or `group:NAME`.
    to: String,
    /// Until when they may answer: a moment as text, or milliseconds since 1970.
    #[schema(value_type = Option<String>)]
    until: Option<Value>,
    /// Why.
    reason: Option<String>,
    /// An idempotency key, for those who cannot send the header.
    client_key: Option<String>,
}

/// Hands a question on.
#[utoipa::path(
    post,
    path = "/approvals/{approval_id}/delegate",
    tag = "approvals",
    params(("approval_id" = String, Path)),
    request_body = DelegationRequest,
    responses(
        (status = 202, description = "they may answer now; the approval as it stands", body = Object),
        (status = 403, description = "the caller may not; on the record"),
        (status = 404, description = "there is no such approval"),
        (status = 409, description = "it is decided or expired"),
        (status = 422, description = "it cannot be handed on so"),
    ),
)]
async fn delegate(
    State(context): State<Context>,
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    Body(members): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let approval = find(&context, &caller, &id).await?;
    require_approver(&context, &caller, &approval, "delegate").await?;
    let request: DelegationRequest = body::from_members(members.clone())?;
    let until_ms = request.until.as_ref().map(|until| moment("until", until)).transpose()?;
    let reply = reply_key(&headers, request.client_key, "delegate", &approval.id, members)?;
    let delegation = Delegation { to: request.to, until_ms, message: request.reason, reply };
    let decided = context.engine(&caller).delegate(&approval.id, delegation).await.map_err(refusal)?;
    Ok(replied(decided))
}

/// A question of the caller's tenant.
///
/// # Errors
/// 404 `HP0814`.
pub(crate) async fn find(context: &Context, caller: &Caller, id: &str) -> Result<Approval, Problem> {
    let question = QuestionId::parse(id).map_err(|_| not_found(id))?;
    context.engine(caller).approval(&question).await.map_err(refusal)
}

/// Refuses those who may not answer anything, and puts that on the record.
///
/// # Errors
/// 403 `HP0803`.
pub(crate) async fn require_approver(
    context: &Context,
    caller: &Caller,
    approval: &Approval,
    what: &str,
) -> Result<(), Problem> {
    require_role(context, caller, approval, what, Role::Approver).await
}

/// Refuses those who may not do something with a question, and puts that on the record.
///
/// # Errors
/// 403 `HP0803`.
pub(crate) async fn require_role(
    context: &Context,
    caller: &Caller,
    approval: &Approval,
    what: &str,
    role: Role,
) -> Result<(), Problem> {
    let Err(problem) = caller.require(role) else { return Ok(()) };
    let body = json!({
        "question": approval.id.as_str(),
        "node": approval.node.as_str(),
        "code": problem.code,
        "wanted": what,
        "digest": approval.digest.as_str(),
    });
    let entry = AuditEntry {
        thread: Some(approval.thread.clone()),
        tenant: caller.principal.tenant.clone(),
        at_ms: context.now_ms(),
        actor: caller.principal.actor.clone(),
        kind: "question.refused",
        body: body.as_object().cloned().unwrap_or_default(),
    };
    if let Err(error) = context.store().put_audit(vec![entry]).await {
        tracing::error!(approval = approval.id.as_str(), %error, "a refusal could not be put on the record");
    }
    Err(problem)
}

/// How the engine's refusal of a decision is replied.
pub(crate) fn refusal(error: EngineError) -> Problem {
    let (status, reason) = match &error {
        EngineError::UnknownQuestion { unknown, .. } => {
            return not_found(unknown.first().map_or("", QuestionId::as_str));
        }
        EngineError::AlreadySettled(question) => (StatusCode::CONFLICT, ending(question)),
        EngineError::Expired { .. } => (StatusCode::CONFLICT, "expired"),
        EngineError::Stale { .. } => (StatusCode::CONFLICT, "stale"),
        EngineError::NotEligible { .. } => (StatusCode::FORBIDDEN, "not_eligible"),
        EngineError::SelfApproval { .. } => (StatusCode::FORBIDDEN, "self_approval"),
        EngineError::AlreadyVoted { .. } => (StatusCode::FORBIDDEN, "voted"),
        EngineError::VerdictNotAllowed { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "not_allowed"),
        EngineError::ReasonRequired { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "reason_required"),
        EngineError::InvalidAnswer { .. } | EngineError::NullAnswer => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        EngineError::InvalidDelegation { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        EngineError::KeyReused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "key_reused"),
        EngineError::BreakGlassBarred { .. } => (StatusCode::FORBIDDEN, "break_glass"),
        EngineError::StepUpRequired { .. } => return Problem::from(error).with("reason", "step_up"),
        _ => return error.into(),
    };
    let problem = Problem::new(status, error.code(), error.to_string()).with_cure(error.cure()).with("reason", reason);
    match &error {
        EngineError::AlreadySettled(question) => problem.with("winner", winner(question)),
        EngineError::Expired { deadline_at_ms, .. } => problem.with(
            "winner",
            json!({ "decision": "expired", "actor": "system:deadline", "at": text(*deadline_at_ms), "at_ms": deadline_at_ms }),
        ),
        EngineError::Stale { current, .. } => problem.with("current_digest", current.as_str()),
        EngineError::VerdictNotAllowed { allowed, .. } => problem.with("allowed", allowed.clone()),
        EngineError::InvalidAnswer { violations, .. } => problem.with("violations", violations.clone()),
        _ => problem,
    }
}

/// How a question ended that is not pending any more, in a word.
fn ending(question: &QuestionRecord) -> &'static str {
    match question.status {
        QuestionStatus::Cancelled => "cancelled",
        QuestionStatus::Superseded => "superseded",
        QuestionStatus::Pending | QuestionStatus::Answered => "decided",
    }
}

/// What the loser of a race is told of the winner.
fn winner(question: &QuestionRecord) -> Value {
    let answer = question.answer.as_ref().map(|answer| (answer.answered_by.as_str(), answer.answered_at_ms));
    let withdrawn =
        question.proceedings.withdrawn.as_ref().map(|withdrawn| (withdrawn.by.id.as_str(), withdrawn.at_ms));
    let by = answer.or(withdrawn);
    json!({
        "decision": question.answer.as_ref().map_or(question.status.name(), |answer| answer.verdict.name()),
        "actor": by.map(|(actor, _)| actor),
        "at": by.map(|(_, at_ms)| text(at_ms)),
        "at_ms": by.map(|(_, at_ms)| at_ms),
    })
}

fn text(at_ms: u64) -> Option<String> {
    let time = i64::try_from(at_ms).ok().and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok());
    time.map(|time| format!("{time:.3}"))
}

fn not_found(id: &str) -> Problem {
    let id: String = id.chars().take(80).collect();
    Problem::not_found("HP0814", format!("there is no approval {id}"))
}

fn unreadable(name: &str, error: &impl std::fmt::Display) -> Problem {
    Problem::invalid("HP0821", format!("`{name}`: {error}"))
}

/// A digest, with or without `sha256:` before it.
pub(crate) fn read_digest(text: &str) -> Result<Digest, Problem> {
    let text = if text.contains(':') { text.to_owned() } else { format!("sha256:{text}") };
    Digest::parse(text).map_err(|error| unreadable("payload_digest", &error))
}

/// A moment: text as RFC 3339 has it, or milliseconds since 1970.
fn moment(name: &str, given: &Value) -> Result<u64, Problem> {
    let wrong =
        || unreadable(name, &"it is neither a moment (such as 2027-01-31T12:00:00Z) nor milliseconds since 1970");
    if let Some(at_ms) = given.as_u64() {
        return Ok(at_ms);
    }
    let text = given.as_str().ok_or_else(wrong)?;
    if let Ok(at_ms) = text.parse() {
        return Ok(at_ms);
    }
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    u64::try_from(time.as_millisecond()).map_err(|_| wrong())
}

/// What is decided: as it is said, or as the value shows.
fn verdict(approval: &Approval, request: &AnswerRequest) -> Result<Verdict, Problem> {
    let said = match (&request.decision, &request.verdict) {
        (Some(one), Some(other)) if one != other => {
            return Err(Problem::invalid("HP0821", "`decision` and `verdict` are the same and must not differ"));
        }
        (said, also) => said.as_deref().or(also.as_deref()),
    };
    let Some(said) = said else {
        let shown = request.value.as_ref().and_then(|given| value::verdict_of(&Shape::of(&approval.payload), given));
        return shown.ok_or_else(|| {
            Problem::invalid("HP0821", "missing field `decision`, and `value` is not an answer of a known form")
        });
    };
    read_verdict(said)
}

/// A verdict, by our name or by the names of those whose clients we serve.
pub(crate) fn read_verdict(said: &str) -> Result<Verdict, Problem> {
    match said {
        "approve" => Ok(Verdict::Accept),
        "response" => Ok(Verdict::Respond),
        said => Verdict::parse(said).filter(|verdict| *verdict != Verdict::Expired).ok_or_else(|| {
            let said: String = said.chars().take(40).collect();
            Problem::invalid("HP0821", format!("`decision`: {said:?} is none of accept, edit, respond, reject, ignore"))
        }),
    }
}

/// The request's idempotency key; the request is what it is about and the whole body.
fn reply_key(
    headers: &HeaderMap,
    in_body: Option<String>,
    what: &str,
    question: &QuestionId,
    mut members: Map<String, Value>,
) -> Result<Option<ReplyKey>, Problem> {
    let wrong = || {
        let detail = format!("the idempotency key is not a text of 1 to {KEY_BYTES_MAX} visible characters");
        Problem::invalid("HP0821", detail)
    };
    let key = match headers.get("idempotency-key") {
        Some(key) => Some(key.to_str().map_err(|_| wrong())?.to_owned()),
        None => in_body,
    };
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
        return Err(wrong());
    }
    members.remove("client_key");
    let request = Digest::of_json(&json!({ "what": what, "question": question.as_str(), "body": members }));
    Ok(Some(ReplyKey { key, request, keep_ms: KEEP_MS }))
}

/// The reply to a decision. The thread goes on by itself.
fn replied(decided: Decided) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(decided.body)).into_response();
    if decided.replayed {
        response.headers_mut().insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
    }
    response
}
