//! Sending a command to a server, and printing what comes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::address::Connection;
use super::command_line::{self, Request};
use super::permit;
use crate::cli::arguments::{Arguments, Command};
use crate::cli::context::{name_of_user, write_whole};
use crate::cli::output::{self, Progress};
use crate::failure::{EXIT_FAILED, EXIT_INVALID, Failure};

/// Longest time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time until a server begins to answer, the sending of files included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Shortest silence after which a server counts as gone; or four of its heartbeats.
const SILENCE: Duration = Duration::from_secs(30);

/// Largest refusal that is read.
const REFUSAL_BYTES_MAX: usize = 4 << 20;

/// The server that a command may be run on; none when it runs here whatever files it names.
///
/// # Errors
/// A server and a store, both named.
pub(crate) fn server(arguments: &Arguments, matches: &ArgMatches) -> Result<Option<String>, Failure> {
    let Some(server) = arguments.server.as_deref().filter(|server| !server.is_empty()) else { return Ok(None) };
    if !command_line::belongs_to_server(&arguments.command) {
        return Ok(None);
    }
    if let Some(option) = ["store", "config"].into_iter().find(|id| permit::is_given(matches, id)) {
        // What somebody writes counts more than what their environment says.
        if permit::is_given(matches, "server") {
            return Err(Failure::invalid(
                "HP0735",
                format!("--server and --{option} name two places"),
                "give one of them",
            ));
        }
        return Ok(None);
    }
    Ok(Some(server.to_owned()))
}

/// Runs a command on a server. Its output is printed here as it comes; gives its exit code.
///
/// # Errors
/// An address or key that cannot be used (`HP0735`); the server's refusals; a server that cannot be reached (`HP0798`), or that is lost in the middle (`HP0799`).
pub(crate) async fn run(server: String, arguments: Arguments, matches: ArgMatches) -> Result<u8, Failure> {
    let Some(request) = command_line::request(&arguments, &matches)? else {
        return crate::cli::run(arguments).await;
    };
    let connection = Connection::new(&server, arguments.api_key.as_deref(), arguments.insecure)?;
    let stops = permit::drives_a_run(&arguments.command);
    let out = match arguments.command {
        Command::Export(export) => Some(export.out),
        _ => None,
    };
    let shown = connection.shown();
    let progress = Progress::begin(format!("running on {shown}"), arguments.json);
    let server = Server::new(connection)?;
    let response = server.post(&request).await?;
    let mut reading = Reading { server, response, buffer: Vec::new(), silence: SILENCE, command: None };
    let mut printing = Printing { out, progress: Some(progress) };
    let mut signals = if stops { Some(Signals::new()?) } else { None };
    loop {
        let line = tokio::select! {
            biased;
            number = Signals::next(&mut signals) => {
                if let Some(code) = reading.asked_to_stop(&mut signals, number).await {
                    return Ok(code);
                }
                continue;
            }
            line = reading.next() => line?,
        };
        if let Some(exit) = printing.take(&line, &mut reading)? {
            return Ok(exit);
        }
    }
}

/// What is done with lines.
struct Printing {
    out: Option<PathBuf>,
    /// Ends with the first line.
    progress: Option<Progress>,
}

impl Printing {
    /// Prints a line; gives the exit code that it tells.
    fn take(&mut self, line: &Value, reading: &mut Reading) -> Result<Option<u8>, Failure> {
        if let Some(command) = line["command"].as_str() {
            reading.begun(command, line["heartbeat_ms"].as_u64());
        } else if let Some(text) = line["out"].as_str() {
            self.progress = None;
            output::print_text(text);
        } else if let Some(text) = line["note"].as_str() {
            self.progress = None;
            output::print_note(text);
        } else if let Some(text) = line["file"].as_str() {
            let Some(path) = &self.out else { return Err(reading.lost("it sends a file that nobody asked for")) };
            write_whole(path, text).map_err(|error| {
                Failure::host(
                    "HP0730",
                    format!("the fixture {} cannot be written: {error}", path.display()),
                    "check the path, its permissions and the room on the medium",
                )
            })?;
        } else if let Some(exit) = line["exit"].as_u64() {
            self.progress = None;
            return Ok(Some(u8::try_from(exit).unwrap_or(EXIT_FAILED)));
        } else if line["cut"] == true {
            return Err(reading.lost("what the command tells was read too slowly"));
        }
        // What an older program does not know, such as a sign of life, is passed over.
        Ok(None)
    }
}

struct Server {
    connection: Connection,
    client: Client,
}

impl Server {
    fn new(connection: Connection) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::host("HP0798", format!("connections cannot be made: {error}"), "check the system's certificates")
        };
        let tls = tls(connection.url.scheme() == "https").map_err(|error| failed(&error))?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            // A key goes to the address that was given, and not where that points.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("holdpoint/", env!("CARGO_PKG_VERSION")));
        if connection.url.scheme() == "http" {
            // A proxy would be between.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| failed(&error))?;
        Ok(Self { connection, client })
    }

    async fn post(&self, request: &Request) -> Result<Response, Failure> {
        let body = json!({ "arguments": request.arguments, "files": request.files }).to_string();
        let post =
            self.client.post(self.connection.at("/commands")).header(CONTENT_TYPE, "application/json").body(body);
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, self.in_our_name(post).send()).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&reason(&error))),
            Err(_) => return Err(self.unreachable(&format!("no answer after {} s", ANSWER_TIMEOUT.as_secs()))),
        };
        if response.status().as_u16() == 200 { Ok(response) } else { Err(self.refusal(response).await) }
    }

    fn in_our_name(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        if let Some(key) = &self.connection.key {
            return request.header("x-api-key", key.clone());
        }
        // A server that trusts its own machine takes the name that is given, as a store does.
        let name = HeaderValue::from_str(&format!("cli:{}", name_of_user(None))).ok();
        match name.filter(|_| self.connection.is_loopback()) {
            Some(name) => request.header("x-holdpoint-actor", name),
            None => request,
        }
    }

    fn unreachable(&self, reason: &str) -> Failure {
        Failure::host(
            "HP0798",
            format!("the server at {} cannot be reached: {reason}", self.connection.shown()),
            "check the address, and that `holdpoint serve` runs there",
        )
    }

    /// A refusal in the server's words.
    async fn refusal(&self, mut response: Response) -> Failure {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Ok(Ok(Some(chunk))) = tokio::time::timeout(SILENCE, response.chunk()).await {
            body.extend_from_slice(&chunk);
            if body.len() > REFUSAL_BYTES_MAX {
                break;
            }
        }
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (Some(code), Some(detail)) = (told["code"].as_str(), told["detail"].as_str()) else {
            return Failure::host(
                "HP0798",
                format!(
                    "{} answered with status {status}, and not as a Holdpoint server does",
                    self.connection.shown()
                ),
                "check the address, and what lies between",
            );
        };
        let cure = told["cure"].as_str().unwrap_or(match status {
            401 => "give an API key in HOLDPOINT_API_KEY; `holdpoint keys create` makes one on the server's machine",
            // Of a server before it said so itself, or of what lies between.
            413 => "send less, or raise `component_bytes_max` in the server's [server] table",
            _ => "mend the request and send it again",
        });
        let exit = if matches!(status, 429 | 500..) { EXIT_FAILED } else { EXIT_INVALID };
        Failure { exit, ..Failure::invalid(code, detail, cure) }
    }
}

/// What the server sends, line by line.
struct Reading {
    server: Server,
    response: Response,
    buffer: Vec<u8>,
    silence: Duration,
    command: Option<String>,
}

impl Reading {
    /// The next line. May be dropped while it waits: nothing is lost.
    async fn next(&mut self) -> Result<Value, Failure> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = self.buffer[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=looked_at + end).collect();
                return serde_json::from_slice(&line).map_err(|_| self.lost("what it sends is not JSON"));
            }
            looked_at = self.buffer.len();
            match tokio::time::timeout(self.silence, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.buffer.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Err(self.lost("its answer ended early")),
                Ok(Err(error)) => return Err(self.lost(&reason(&error))),
                Err(_) => return Err(self.lost(&format!("nothing was heard for {} s", self.silence.as_secs()))),
            }
        }
    }

    fn begun(&mut self, command: &str, heartbeat_ms: Option<u64>) {
        self.command = Some(command.to_owned());
        self.silence = SILENCE.max(Duration::from_millis(heartbeat_ms.unwrap_or(0)).saturating_mul(4));
    }

    fn lost(&self, reason: &str) -> Failure {
        let (shown, begun) = (self.server.connection.shown(), self.command.is_some());
        let what =
            if begun { "what the command had begun goes on there" } else { "whether the command began is not known" };
        Failure::host(
            "HP0799",
            format!("the server at {shown} was lost: {reason}; {what}"),
            "look with `holdpoint threads list` and `holdpoint state THREAD` before you repeat it",
        )
    }

    /// A signal came: the run is asked to stop. Gives the exit code when nothing is waited for any more.
    async fn asked_to_stop(&self, signals: &mut Option<Signals>, number: i32) -> Option<u8> {
        // What a shell shows for a process that a signal ended.
        let ended = |number: i32| Some(u8::try_from(128 + number).unwrap_or(EXIT_FAILED));
        let asked_before = signals.as_mut().is_some_and(|signals| std::mem::replace(&mut signals.asked, true));
        let Some(command) = self.command.as_ref().filter(|_| !asked_before) else { return ended(number) };
        output::print_note(
            "asking the server to stop after this superstep; a second signal leaves it alone, and the run goes on there",
        );
        let url = self.server.connection.at(&format!("/commands/{command}"));
        let asked = self.server.in_our_name(self.server.client.delete(url)).send();
        tokio::select! {
            asked = asked => match asked {
                // It may have ended just before.
                Ok(response) if matches!(response.status().as_u16(), 202 | 404) => None,
                Ok(response) => {
                    output::print_note(&format!("the server did not take that: status {}", response.status().as_u16()));
                    None
                }
                Err(error) => {
                    output::print_note(&format!("the server could not be asked: {}", reason(&error)));
                    None
                }
            },
            number = Signals::next(signals) => ended(number),
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    asked: bool,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::host("HP0793", format!("signals cannot be listened for: {error}"), "check the process limits")
            })
        };
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, asked: false })
    }

    /// The number of the next signal; never, where nobody listens and the system's own way stands.
    async fn next(signals: &mut Option<Self>) -> i32 {
        match signals {
            Some(signals) => tokio::select! {
                _ = signals.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
                _ = signals.terminate.recv() => SignalKind::terminate().as_raw_value(),
            },
            None => std::future::pending().await,
        }
    }
}

/// An error with what is behind it: the outermost alone only names the address.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Verifies the server as the system does. The system's certificates are read only where they are needed: a minimal machine may have none.
fn tls(used: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(if used {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    })
}
