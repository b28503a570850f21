//! The thread-centric protocol: commands in one place, events in another, one sequence per thread.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::{RunFilter, RunStatus};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ids;
use super::stream::{self, Lens};
use crate::body::{Body, Segments, from_members};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::runs::{self, CHANNEL_MODES, CreateRun, Frame, FrameKind, Texts};

/// Commands and events.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(command)).routes(routes!(stream_events))
}

/// One command.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
struct CommandBody {
    /// Given back with the answer.
    id: Option<Value>,
    /// `run.start` or `input.respond`.
    method: String,
    /// What the method takes.
    #[schema(value_type = Option<Object>)]
    params: Option<Map<String, Value>>,
}

/// What `input.respond` takes.
#[derive(Debug, Deserialize)]
struct Respond {
    interrupt_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    response: Option<Value>,
    responses: Option<Vec<OneResponse>>,
    update: Option<Value>,
    goto: Option<Value>,
    config: Option<Map<String, Value>>,
    metadata: Option<Map<String, Value>>,
}

/// One answer of several.
#[derive(Debug, Deserialize)]
struct OneResponse {
    interrupt_id: String,
    #[serde(default)]
    response: Value,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Gives a command to a thread.
#[utoipa::path(
    post, path = "/threads/{thread_id}/commands", tag = "threads", request_body = CommandBody,
    params(("thread_id" = String, Path, description = "The thread; `run.start` makes it when there is none")),
    responses((status = 200, description = "`type` is `success` or `error`; an error names its kind", body = Object)),
)]
async fn command(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(command): Body<CommandBody>,
) -> Result<Json<Value>, Problem> {
    let id = command.id.unwrap_or_default();
    let params = command.params.unwrap_or_default();
    let done = match command.method.as_str() {
        "run.start" => start(&context, &caller, &thread, params).await,
        "input.respond" => respond(&context, &caller, &thread, params).await,
        other => {
            let message = format!("Unknown command: {}", other.chars().take(80).collect::<String>());
            return Ok(Json(json!({ "type": "error", "id": id, "error": "unknown_command", "message": message })));
        }
    };
    match done {
        Ok((thread, result)) => {
            let applied = context.runs().feed(&thread).newest();
            let meta = json!({ "applied_through_seq": applied });
            Ok(Json(json!({ "type": "success", "id": id, "result": result, "meta": meta })))
        }
        // What is no fault of the command is no answer to it.
        Err(problem) if problem.status.is_server_error() || problem.status.as_u16() == 401 => Err(problem),
        Err(problem) => {
            let error = json!({
                "type": "error",
                "id": id,
                "error": kind_of(&problem),
                "message": problem.detail,
                "code": problem.code,
            });
            Ok(Json(error))
        }
    }
}

/// The protocol's name of a refusal.
fn kind_of(problem: &Problem) -> &'static str {
    match (problem.code.as_str(), problem.status.as_u16()) {
        // Not asked, answered, superseded, expired, being answered, or nothing to answer at all.
        ("HP0406" | "HP0407" | "HP0408" | "HP0612" | "HP0835" | "HP0836", _) => "no_such_interrupt",
        ("HP0417", _) => "no_such_checkpoint",
        ("HP0832" | "HP0842", _) => "no_such_run",
        (_, 403) => "permission_denied",
        (_, 400 | 404 | 409 | 413 | 422) => "invalid_argument",
        _ => "unknown_error",
    }
}

async fn start(
    context: &Context,
    caller: &Caller,
    thread: &str,
    params: Map<String, Value>,
) -> Result<(ThreadId, Value), Problem> {
    let mut asked: CreateRun = from_members(params)?;
    asked.if_not_exists = Some("create".to_owned());
    asked.stream_mode.get_or_insert_with(every_channel);
    let thread = match ids::thread(context, caller, thread).await {
        Ok(summary) => summary.entry.thread,
        Err(problem) if problem.code == "HP0810" => ids::new_thread(Some(thread))?,
        Err(problem) => return Err(problem),
    };
    let (run, _) = context.runs().accept(caller, Some(&thread), asked).await?;
    context.runs().feed(&thread).commanded(&run.id);
    Ok((thread, json!({ "run_id": run.id.as_str() })))
}

/// Who watches says what to see when they begin to, and may do so after the run has begun.
fn every_channel() -> Texts {
    Texts::Several(CHANNEL_MODES.map(str::to_owned).into())
}

async fn respond(
    context: &Context,
    caller: &Caller,
    thread: &str,
    params: Map<String, Value>,
) -> Result<(ThreadId, Value), Problem> {
    let asked: Respond = from_members(params)?;
    let mut answers = Map::new();
    match (asked.interrupt_id, asked.responses) {
        (Some(id), None) => {
            answers.insert(id, asked.response.unwrap_or_default());
        }
        (None, Some(responses)) if !responses.is_empty() => {
            for one in responses {
                if answers.insert(one.interrupt_id.clone(), one.response).is_some() {
                    let detail = format!("`responses`: {} is answered twice", one.interrupt_id);
                    return Err(Problem::invalid("HP0830", detail));
                }
            }
        }
        _ => return Err(Problem::invalid("HP0830", "give `interrupt_id` with `response`, or `responses`")),
    }
    let summary = ids::thread(context, caller, thread).await?;
    let unknown = || {
        let ids = answers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Problem::conflict("HP0406", format!("Unknown or already-consumed interrupt: {ids}"))
    };
    let Some(record) = &summary.record else { return Err(unknown()) };
    let well_formed = answers.keys().all(|id| holdpoint_graph::ids::QuestionId::parse(id.as_str()).is_ok());
    if !well_formed {
        return Err(unknown());
    }
    let create = CreateRun {
        assistant_id: record.graph_name.to_string(),
        command: Some(runs::Command { resume: Some(Value::Object(answers)), update: asked.update, goto: asked.goto }),
        config: asked.config,
        metadata: asked.metadata,
        stream_mode: Some(every_channel()),
        ..CreateRun::default()
    };
    let thread = summary.entry.thread;
    let (run, _) = context.runs().accept(caller, Some(&thread), create).await?;
    context.runs().feed(&thread).commanded(&run.id);
    Ok((thread, json!({})))
}

/// What to see of a thread.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
struct EventsBody {
    /// `values`, `updates`, `messages`, `tools`, `lifecycle`, `input`, `tasks`, `checkpoints`, `custom`, `custom:NAME`.
    channels: Vec<String>,
    /// Only graphs of the thread that these lead to; all by default.
    namespaces: Option<Vec<Vec<String>>>,
    /// How deep inside these.
    depth: Option<usize>,
    /// Everything after this place of the sequence.
    since: Option<u64>,
}

/// Streams a thread's events. Without `since` from the beginning of the run that is open, if one is, or that a command asked for a moment ago.
#[utoipa::path(
    post, path = "/threads/{thread_id}/stream/events", tag = "threads", request_body = EventsBody,
    params(("thread_id" = String, Path, description = "The thread")),
    responses((status = 200, description = "Server-sent events; stays open", content_type = "text/event-stream"),
        (status = 404, description = "No such thread"), (status = 422, description = "No such channel")),
)]
async fn stream_events(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    Body(asked): Body<EventsBody>,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    for channel in &asked.channels {
        let known = ["values", "updates", "messages", "tools", "lifecycle", "input", "tasks", "checkpoints", "custom"];
        if !known.contains(&channel.as_str()) && !channel.starts_with("custom:") {
            return Err(Problem::invalid("HP0830", format!("`channels`: {channel:?} is none of {}", known.join(", "))));
        }
    }
    let summary = ids::thread(&context, &caller, &thread).await?;
    let thread = summary.entry.thread;
    let feed = context.runs().feed(&thread);
    let place = match asked.since {
        Some(since) => since,
        None if summary.runs_open == 0 => feed.before_commanded().unwrap_or_else(|| feed.newest()),
        None => {
            let mut place = feed.newest();
            for status in [RunStatus::Running, RunStatus::Pending] {
                let filter = RunFilter {
                    thread: Some(thread.clone()),
                    status: Some(status),
                    limit: 100,
                    ..RunFilter::default()
                };
                for run in context.store().runs(&filter).await? {
                    place = place.min(feed.before(&run.id).unwrap_or(place));
                }
            }
            place
        }
    };
    let lens = EventLens { thread, channels: asked.channels, namespaces: asked.namespaces, depth: asked.depth };
    Ok(stream::events(&context, feed.watch(place), lens, Vec::new(), None, None))
}

struct EventLens {
    thread: ThreadId,
    channels: Vec<String>,
    namespaces: Option<Vec<Vec<String>>>,
    depth: Option<usize>,
}

impl EventLens {
    fn sees(&self, channel: &str) -> bool {
        self.channels.iter().any(|own| own == channel)
    }

    /// The frame's method; none for what is not to be seen.
    fn method(&self, frame: &Frame) -> Option<&'static str> {
        let (channel, method) = match frame.kind {
            FrameKind::Mode(mode) => match mode.name() {
                "custom" if !self.sees("custom") && self.sees_custom(frame) => return Some("custom"),
                name => (name, name),
            },
            FrameKind::Message => ("messages", "messages"),
            FrameKind::Asked => ("input", "input.requested"),
            FrameKind::Lifecycle => ("lifecycle", "lifecycle"),
            FrameKind::Began
            | FrameKind::Events
            | FrameKind::MessageMetadata
            | FrameKind::MessagePartial
            | FrameKind::MessageComplete
            | FrameKind::StateUpdate
            | FrameKind::Failed
            | FrameKind::Ended => return None,
        };
        self.sees(channel).then_some(method)
    }

    /// `custom:NAME`: what says of itself that it is called so.
    fn sees_custom(&self, frame: &Frame) -> bool {
        let data = stream::data_of(frame);
        let name = data.get("name").and_then(Value::as_str);
        name.is_some_and(|name| self.channels.iter().any(|own| own.strip_prefix("custom:") == Some(name)))
    }

    fn is_inside(&self, parts: &[&str]) -> bool {
        let depth = self.depth.unwrap_or(usize::MAX);
        let fits = |prefix: &[String]| {
            parts.len() >= prefix.len()
                && parts.len() - prefix.len() <= depth
                && prefix.iter().zip(parts).all(|(asked, part)| {
                    // A graph is called by its node, or by its node and task.
                    asked == part || part.split_once(':').is_some_and(|(node, _)| node == asked)
                })
        };
        match &self.namespaces {
            None => fits(&[]),
            Some(namespaces) => namespaces.iter().any(|prefix| fits(prefix)),
        }
    }
}

impl Lens for EventLens {
    fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) -> bool {
        let Some(method) = self.method(frame) else { return false };
        let parts: Vec<&str> = frame.namespace.parts().collect();
        if !self.is_inside(&parts) {
            return false;
        }
        let event = json!({
            "type": "event",
            "event_id": format!("{}:{}", self.thread, frame.sequence),
            "seq": frame.sequence,
            "method": method,
            "params": {
                "namespace": parts,
                "timestamp": frame.at_ms,
                "data": stream::data_of(frame),
            },
        });
        stream::write_event(out, method, &event.to_string(), &frame.sequence.to_string());
        false
    }

    /// The sequence shows it.
    fn write_gap(&mut self, _out: &mut Vec<u8>) {}
}
