//! The command line against this server: a command is run here, by the code that runs it on a store, in the caller's name.
//!
//! The answer is a stream of lines of JSON, each an object with one member:
//!
//! | member | meaning |
//! |---|---|
//! | `command` | first: the command's id, and `heartbeat_ms`, how often a silent command says that it is alive |
//! | `out` | text of its result, without the line's end |
//! | `note` | a remark, for standard error |
//! | `file` | the content of the file that it was asked to write |
//! | `alive` | nothing has happened for a while |
//! | `exit` | last: its exit code |
//! | `cut` | last: it was read too slowly; the command goes on |
//!
//! A stream that breaks off says nothing about the command, which goes on: what it began is durable. `DELETE` asks the run behind it to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as ResponseBody;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::{LargeBody, Segments};
use crate::caller::{Caller, Role};
use crate::console::{CommandRequest, Output, OutputReader, RunningCommand};
use crate::context::Context;
use crate::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(run)).routes(routes!(stop))
}

/// A command of the command line.
#[derive(Debug, Deserialize, ToSchema)]
struct RunCommand {
    /// The command with its arguments, such as `["history", "order-1", "--tree", "--json"]`.
    arguments: Vec<String>,
    /// The files that it names: path as named, and content as base64.
    #[serde(default)]
    #[schema(value_type = Object)]
    files: Map<String, Value>,
}

/// Run a command of the command line, and tell what it prints while it runs.
#[utoipa::path(
    post,
    path = "/commands",
    tag = "commands",
    request_body = RunCommand,
    responses(
        (status = 200, description = "what it tells, as lines of JSON", body = String, content_type = "application/x-ndjson"),
        (status = 403, description = "the command needs another role"),
        (status = 413, description = "larger than `component_bytes_max`"),
        (status = 422, description = "not a command, or not one that is run from outside"),
    ),
)]
async fn run(
    State(context): State<Context>,
    caller: Caller,
    LargeBody(body, place): LargeBody<RunCommand>,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    if caller.by_cookie {
        return Err(Problem::forbidden("HP0805", "commands are not run in the name of a browser's session")
            .with_cure("send an API key instead of the cookie"));
    }
    let request = CommandRequest { arguments: body.arguments, files: body.files, place: place.map(Arc::new) };
    let running = context.console().begin(request, &caller).await?;
    let lines = Lines::new(running, context.settings().heartbeat);
    let stream = futures_util::stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, Infallible>(format!("{line}\n")), lines))
    });
    let mut response = ResponseBody::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect an answer before they pass it on would hold back what is told while it happens.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Ask the run that a command drives to stop at its next superstep.
#[utoipa::path(
    delete,
    path = "/commands/{command_id}",
    tag = "commands",
    params(("command_id" = String, Path, description = "the command, as its first line named it")),
    responses((status = 202, description = "asked"), (status = 404, description = "no such command of the caller runs")),
)]
async fn stop(
    State(context): State<Context>,
    caller: Caller,
    Segments(command): Segments<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Role::Viewer)?;
    context.console().stop(&command, &caller)?;
    Ok(StatusCode::ACCEPTED)
}

struct Lines {
    first: Option<Value>,
    output: OutputReader,
    heartbeat: Duration,
    ended: bool,
}

impl Lines {
    fn new(running: RunningCommand, heartbeat: Duration) -> Self {
        let heartbeat_ms = u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX);
        let first = json!({ "command": running.id, "heartbeat_ms": heartbeat_ms });
        Self { first: Some(first), output: running.output, heartbeat, ended: false }
    }

    async fn next(&mut self) -> Option<Value> {
        if self.ended {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let line = match tokio::time::timeout_at(Instant::now() + self.heartbeat, self.output.next()).await {
            Err(_) => json!({ "alive": true }),
            Ok(Some(Output::Out(text))) => json!({ "out": text }),
            Ok(Some(Output::Note(text))) => json!({ "note": text }),
            Ok(Some(Output::File(text))) => json!({ "file": text }),
            Ok(Some(Output::Exit(code))) => {
                self.ended = true;
                json!({ "exit": code })
            }
            Ok(Some(Output::Cut)) => {
                self.ended = true;
                json!({ "cut": true })
            }
            Ok(None) => return None,
        };
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console;

    #[tokio::test]
    async fn lines_end_with_the_exit_code() {
        let (writer, output) = console::channel();
        let mut lines = Lines::new(RunningCommand { id: "c".into(), output }, Duration::from_millis(1));
        assert_eq!(lines.next().await, Some(json!({ "command": "c", "heartbeat_ms": 1 })));
        assert_eq!(lines.next().await, Some(json!({ "alive": true })), "silence is told");
        writer.tell(Output::Out("a".into()));
        writer.tell(Output::Exit(3));
        writer.tell(Output::Out("late".into()));
        assert_eq!(lines.next().await, Some(json!({ "out": "a" })));
        assert_eq!(lines.next().await, Some(json!({ "exit": 3 })));
        assert_eq!(lines.next().await, None);
    }

    #[tokio::test]
    async fn a_command_that_vanished_has_no_exit_code() {
        let (writer, output) = console::channel();
        drop(writer);
        let mut lines = Lines::new(RunningCommand { id: "c".into(), output }, Duration::from_secs(5));
        assert!(lines.next().await.is_some());
        assert_eq!(lines.next().await, None);
    }
}
