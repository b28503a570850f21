//! Server-sent events, and answers that wait: a run's, a thread's.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use futures_util::stream;
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::RunId;
use holdpoint_store::{RunCancel, RunRecord};
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ids;
use crate::body::{Parameters, Segments};
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::problem::Problem;
use crate::runs::{Batch, Finish, Frame, FrameKind, MODES, OnDisconnect, RunRequest, Runs, Watcher};

/// What a thread's stream can be asked for.
const THREAD_MODES: [&str; 3] = ["lifecycle", "run_modes", "state_update"];

/// What a client that waits gets while it does: proxies and clients give up on silence.
const HEARTBEAT: &[u8] = b": heartbeat\r\n\r\n";

/// A thread's own stream.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(thread_stream))
}

/// From frames to the bytes that one watcher gets.
pub(super) trait Lens: Send + 'static {
    /// Writes a frame, if it is one to be seen. True when nothing follows.
    fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) -> bool;

    /// Says that frames were lost for this watcher.
    fn write_gap(&mut self, out: &mut Vec<u8>);

    /// The end of a run that ended before.
    fn write_end(&mut self, _out: &mut Vec<u8>) {}
}

/// A run's stream, version 1 of LangGraph's.
pub(super) struct RunLens {
    run: RunId,
    modes: Vec<String>,
    subgraphs: bool,
    failed: bool,
}

impl RunLens {
    /// What the run asked for.
    pub(super) fn of(run: &RunRecord) -> Self {
        let request = RunRequest::read(&run.request);
        let (modes, subgraphs) =
            request.map(|request| (request.stream_modes, request.stream_subgraphs)).unwrap_or_default();
        Self { run: run.id.clone(), modes, subgraphs, failed: false }
    }

    /// Other modes instead. What the run did not ask for was not told, but for those that are always.
    ///
    /// # Errors
    /// 422 for one that there is not.
    pub(super) fn show(&mut self, modes: &[&str]) -> Result<(), Problem> {
        check_modes("stream_mode", modes, &MODES)?;
        self.modes = modes.iter().map(|mode| (*mode).to_owned()).collect();
        Ok(())
    }

    fn shows(&self, mode: &str) -> bool {
        self.modes.iter().any(|own| own == mode)
    }

    /// The event's name; none for what is not to be seen.
    fn name(&self, frame: &Frame) -> Option<String> {
        if !frame.namespace.is_root() && !self.subgraphs {
            return None;
        }
        let (mode, name) = match frame.kind {
            FrameKind::Began => (None, "metadata"),
            FrameKind::Mode(mode) => (Some(mode.name()), mode.name()),
            FrameKind::Events => (Some("events"), "events"),
            FrameKind::Message => (Some("messages-tuple"), "messages"),
            FrameKind::MessageMetadata => (Some("messages"), "messages/metadata"),
            FrameKind::MessagePartial => (Some("messages"), "messages/partial"),
            FrameKind::MessageComplete => (Some("messages"), "messages/complete"),
            FrameKind::Failed => (None, "error"),
            // After an error nothing else is expected.
            FrameKind::Ended => (None, if self.failed { return None } else { "end" }),
            FrameKind::Asked | FrameKind::Lifecycle | FrameKind::StateUpdate => return None,
        };
        if mode.is_some_and(|mode| !self.shows(mode)) {
            return None;
        }
        let inside = frame.namespace.parts().map(|part| format!("|{part}"));
        Some(std::iter::once(name.to_owned()).chain(inside).collect())
    }
}

impl Lens for RunLens {
    fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) -> bool {
        if frame.run.as_ref() != Some(&self.run) {
            return false;
        }
        self.failed |= frame.kind == FrameKind::Failed;
        if let Some(name) = self.name(frame) {
            write_event(out, &name, &frame.data, &event_id(frame));
        }
        frame.kind == FrameKind::Ended
    }

    fn write_gap(&mut self, out: &mut Vec<u8>) {
        let data = json!({ "run_id": self.run.as_str(), "attempt": 1, "gap": true });
        write_event(out, "metadata", &data.to_string(), "");
    }

    fn write_end(&mut self, out: &mut Vec<u8>) {
        write_event(out, "end", "null", "");
    }
}

/// A thread's stream: all its runs, one after the other.
struct ThreadLens {
    lifecycle: bool,
    runs: bool,
    updates: bool,
}

impl Lens for ThreadLens {
    fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) -> bool {
        let id = event_id(frame);
        let run = frame.run.as_ref().map(RunId::as_str);
        match frame.kind {
            FrameKind::Began if self.lifecycle || self.runs => write_event(out, "metadata", &frame.data, &id),
            FrameKind::Ended if self.lifecycle => {
                let data = json!({ "status": "run_done", "run_id": run });
                write_event(out, "metadata", &data.to_string(), &id);
            }
            FrameKind::Mode(mode) if self.runs && frame.namespace.is_root() => {
                write_event(out, mode.name(), &frame.data, &id);
            }
            FrameKind::Events if self.runs && frame.namespace.is_root() => {
                write_event(out, "events", &frame.data, &id);
            }
            FrameKind::Message if self.runs && frame.namespace.is_root() => {
                write_event(out, "messages", &frame.data, &id);
            }
            FrameKind::StateUpdate if self.updates => write_event(out, "state_update", &frame.data, &id),
            FrameKind::Failed if self.runs => write_event(out, "error", &frame.data, &id),
            _ => {}
        }
        false
    }

    fn write_gap(&mut self, out: &mut Vec<u8>) {
        write_event(out, "metadata", &json!({ "gap": true }).to_string(), "");
    }
}

/// Streams what happens on a thread, run after run.
#[utoipa::path(
    get, path = "/threads/{thread_id}/stream", tag = "threads",
    params(
        ("thread_id" = String, Path, description = "The thread"),
        ("stream_modes" = Option<String>, Query, description = "`lifecycle`, `run_modes` (default), `state_update`: writes into the state through this host that no run made"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen; `-` is none"),
    ),
    responses((status = 200, description = "Server-sent events; stays open", content_type = "text/event-stream"),
        (status = 404, description = "No such thread"), (status = 422, description = "No such mode")),
)]
async fn thread_stream(
    State(context): State<Context>,
    caller: Caller,
    Segments(thread): Segments<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let summary = ids::thread(&context, &caller, &thread).await?;
    let mut modes = parameters.list("stream_modes");
    modes.extend(parameters.list("stream_mode"));
    if modes.is_empty() {
        modes.push("run_modes");
    }
    check_modes("stream_modes", &modes, &THREAD_MODES)?;
    let lens = ThreadLens {
        lifecycle: modes.contains(&"lifecycle"),
        runs: modes.contains(&"run_modes"),
        updates: modes.contains(&"state_update"),
    };
    let feed = context.runs().feed(&summary.entry.thread);
    let place = match LastEvent::of(&headers) {
        LastEvent::None => feed.newest(),
        LastEvent::Start => feed.oldest(),
        LastEvent::Seen(place) => place,
    };
    Ok(events(&context, feed.watch(place), lens, Vec::new(), None, None))
}

fn check_modes(name: &str, modes: &[&str], known: &[&str]) -> Result<(), Problem> {
    match modes.iter().find(|mode| !known.contains(mode)) {
        None => Ok(()),
        Some(odd) => Err(Problem::invalid("HP0830", format!("`{name}`: {odd:?} is none of {}", known.join(", ")))),
    }
}

/// Which events a client has seen, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastEvent {
    /// It does not say: it wants what happens from now on.
    None,
    /// None: it wants everything.
    Start,
    /// Up to this place.
    Seen(u64),
}

impl LastEvent {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
        match header {
            None | Some("") => Self::None,
            Some(text) => {
                let place = text.rsplit_once('-').map_or(text, |(_, place)| place);
                // `-1`, `-`, and what is not ours.
                let ours = text.split('-').count() == 2 && !text.starts_with('-');
                place.parse().ok().filter(|_| ours || !text.contains('-')).map_or(Self::Start, Self::Seen)
            }
        }
    }
}

/// A run's events from where the client says.
pub(super) fn join(
    context: &Context,
    caller: &Caller,
    run: &RunRecord,
    mut lens: RunLens,
    last: LastEvent,
    leaving: OnDisconnect,
) -> Response {
    let feed = context.runs().feed(&run.thread);
    let mut begin = Vec::new();
    let over = feed.finished(&run.id).is_some() || run.status.is_over();
    let before = feed.before(&run.id);
    let place = match (last, before) {
        (LastEvent::Start, Some(before)) => Some(before),
        (LastEvent::Seen(place), Some(before)) => Some(place.max(before)),
        // Its buffer is gone, or another process executed it.
        (LastEvent::Start | LastEvent::Seen(_), None) if !over => Some(feed.newest()),
        (LastEvent::None, _) if !over => {
            write_event(&mut begin, "metadata", &json!({ "run_id": run.id.as_str(), "attempt": 1 }).to_string(), "");
            Some(feed.newest())
        }
        _ => None,
    };
    let Some(place) = place else {
        lens.write_end(&mut begin);
        return sse(Body::from(begin));
    };
    let until = over.then(|| feed.newest());
    if !over {
        feed.expect(&run.id);
    }
    let guard = Guard::new(context, caller, run, leaving);
    events(context, feed.watch(place), lens, begin, until, guard)
}

/// Streams frames. `begin` is sent first; after `until` nothing is waited for.
pub(super) fn events(
    context: &Context,
    watcher: Watcher,
    lens: impl Lens,
    begin: Vec<u8>,
    until: Option<u64>,
    guard: Option<Guard>,
) -> Response {
    let state = Events {
        watcher,
        lens,
        begin: Some(begin),
        until,
        guard,
        heartbeat: context.settings().heartbeat,
        ended: false,
    };
    let bytes = stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((Ok::<_, Infallible>(bytes), state))
    });
    sse(Body::from_stream(bytes))
}

struct Events<L> {
    watcher: Watcher,
    lens: L,
    begin: Option<Vec<u8>>,
    until: Option<u64>,
    guard: Option<Guard>,
    heartbeat: Duration,
    ended: bool,
}

impl<L: Lens> Events<L> {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(begin) = self.begin.take().filter(|begin| !begin.is_empty()) {
            return Some(begin.into());
        }
        if self.ended {
            return None;
        }
        let beat_at = Instant::now() + self.heartbeat;
        let mut out = Vec::new();
        while out.is_empty() && !self.ended {
            if self.until.is_some_and(|until| self.watcher.place() >= until) {
                self.lens.write_end(&mut out);
                self.ended = true;
                break;
            }
            match tokio::time::timeout_at(beat_at, self.watcher.next()).await {
                Err(_) => return Some(Bytes::from_static(HEARTBEAT)),
                Ok(Batch::Gap) => self.lens.write_gap(&mut out),
                Ok(Batch::Closed) => self.ended = true,
                Ok(Batch::Frames(frames)) => {
                    self.ended = frames.iter().any(|frame| self.lens.write(frame, &mut out));
                }
            }
        }
        if self.ended
            && let Some(guard) = &mut self.guard
        {
            guard.stays();
        }
        (!out.is_empty()).then(|| out.into())
    }
}

/// The answer to whoever waits for a run's end: blank lines until then, and what it came to.
///
/// # Errors
/// The store's.
pub(super) async fn wait(
    context: &Context,
    caller: &Caller,
    run: &RunRecord,
    leaving: OnDisconnect,
) -> Result<Response, Problem> {
    let feed = context.runs().feed(&run.thread);
    let mut known = feed.finished(&run.id).map(|finish| finish.body.clone());
    if known.is_none() && run.status.is_over() {
        known = Some(context.runs().body_of(run).await);
    }
    let state = match known {
        Some(body) => return Ok(json_response(Body::from(body.to_string()))),
        None => {
            feed.expect(&run.id);
            let heartbeat = context.settings().heartbeat;
            let guard = Guard::new(context, caller, run, leaving);
            Waiting { watcher: feed.watch(feed.newest()), run: run.id.clone(), guard, heartbeat, ended: false }
        }
    };
    let bytes = stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((bytes, state))
    });
    Ok(json_response(Body::from_stream(bytes)))
}

struct Waiting {
    watcher: Watcher,
    run: RunId,
    guard: Option<Guard>,
    heartbeat: Duration,
    ended: bool,
}

impl Waiting {
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        if self.ended {
            return None;
        }
        let finish: Option<Arc<Finish>> =
            match tokio::time::timeout(self.heartbeat, self.watcher.finished(&self.run)).await {
                Err(_) => return Some(Ok(Bytes::from_static(b"\n"))),
                Ok(finish) => finish,
            };
        self.ended = true;
        if let Some(guard) = &mut self.guard {
            guard.stays();
        }
        match finish {
            Some(finish) => Some(Ok(finish.body.to_string().into())),
            // A broken answer, not an empty one: the client asks again, and the next process knows.
            None => Some(Err(std::io::Error::other("the server is stopping"))),
        }
    }
}

/// Cancels a run when its client goes away before its end.
pub(super) struct Guard {
    runs: Runs,
    run: RunRecord,
    actor: Actor,
    armed: bool,
}

impl Guard {
    fn new(context: &Context, caller: &Caller, run: &RunRecord, leaving: OnDisconnect) -> Option<Self> {
        let actor = caller.principal.actor.clone();
        let guard = || Self { runs: context.runs().clone(), run: run.clone(), actor, armed: true };
        (leaving == OnDisconnect::Cancel).then(guard)
    }

    /// The end has come.
    fn stays(&mut self) {
        self.armed = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (runs, run, actor) = (self.runs.clone(), self.run.clone(), self.actor.clone());
        runtime.spawn(async move {
            if let Err(problem) = runs.cancel(&run, RunCancel::Interrupt, &actor).await {
                tracing::warn!(run = %run.id, detail = problem.detail, "a run whose client went away goes on");
            }
        });
    }
}

fn event_id(frame: &Frame) -> String {
    format!("{}-{}", frame.at_ms, frame.sequence)
}

/// One event as LangGraph's server writes it.
pub(super) fn write_event(out: &mut Vec<u8>, name: &str, data: &str, id: &str) {
    // JSON texts have no line breaks of their own.
    out.extend_from_slice(format!("event: {name}\r\ndata: {data}\r\n").as_bytes());
    if !id.is_empty() {
        out.extend_from_slice(format!("id: {id}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn sse(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn json_response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A frame's data, for those who put it into something else.
pub(super) fn data_of(frame: &Frame) -> Value {
    serde_json::from_str(&frame.data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_events_are_read() {
        for (text, read) in [
            (None, LastEvent::None),
            (Some(""), LastEvent::None),
            (Some("-1"), LastEvent::Start),
            (Some("-"), LastEvent::Start),
            (Some("1700000000000-57"), LastEvent::Seen(57)),
            (Some("57"), LastEvent::Seen(57)),
            (Some("nonsense"), LastEvent::Start),
            (Some("a-b-c"), LastEvent::Start),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert("last-event-id", HeaderValue::from_static(text));
            }
            assert_eq!(LastEvent::of(&headers), read, "{text:?}");
        }
    }

    #[test]
    fn events_are_written_as_lines() {
        let mut out = Vec::new();
        write_event(&mut out, "values", "{\"a\":\"b\\n\"}", "5-6");
        assert_eq!(out, b"event: values\r\ndata: {\"a\":\"b\\n\"}\r\nid: 5-6\r\n\r\n");
    }
}
