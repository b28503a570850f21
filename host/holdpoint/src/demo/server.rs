//! The refund graph behind a real server, to try: `holdpoint demo --serve`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::Story;
use crate::cli::output::print_text;
use crate::failure::Failure;

/// Where the demo listens unless it is told: the port of LangGraph's own development server, which clients try first.
const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2024));

/// Starts a payments server and a `holdpoint serve` process with the refund graph, says what to try once it listens, and waits until it ends. Ctrl-C
/// reaches the server too, which then ends in its own time; a SIGTERM ends it at once, which costs nothing: everything is in its store.
///
/// # Errors
/// When a part is missing, or the server does not start or ends with an error.
pub async fn serve(example: &Path, listen: Option<SocketAddr>) -> Result<(), Failure> {
    let story = Story::prepare(example).await?;
    let listen = listen.unwrap_or_else(|| if TcpListener::bind(LISTEN).is_ok() { LISTEN } else { any_port() });
    let graphs = story.graphs_folder()?.display().to_string();
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| not_started(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| not_started(&error))?;
    let mut server = story
        .command(&["serve", "--json", "--listen", &listen.to_string(), "--graphs", &graphs])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_started(&error))?;
    let ended = async {
        if let Some(address) = address(&mut server).await.map_err(|error| not_started(&error))? {
            print_text(&try_out(&address));
        }
        let status = loop {
            tokio::select! {
                status = server.wait() => break status.map_err(|error| not_started(&error))?,
                // The server has it as well.
                _ = interrupt.recv() => {}
            }
        };
        if status.success() {
            return Ok(());
        }
        Err(Failure::host("HP0782", format!("the server ended with {status}"), "see what it printed above"))
    };
    tokio::select! {
        ended = ended => ended,
        _ = terminate.recv() => Ok(()),
    }
}

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn not_started(error: &io::Error) -> Failure {
    Failure::host("HP0780", format!("a process cannot be started: {error}"), "check the process limits")
}

/// Where the server listens, once it does; none when it ends before.
async fn address(server: &mut Child) -> io::Result<Option<String>> {
    let Some(output) = server.stdout.take() else { return Ok(None) };
    let (mut lines, mut told) = (BufReader::new(output).lines(), String::new());
    while let Some(line) = lines.next_line().await? {
        told.push_str(&line);
        if let Ok(told) = serde_json::from_str::<Value>(&told) {
            return Ok(told["address"].as_str().map(str::to_owned));
        }
    }
    Ok(None)
}

fn try_out(address: &str) -> String {
    format!(
        "serving {address}; for people: {address}/inbox\n\n\
         Try, in another terminal:\n\
         1. a refund that asks\n   \
            curl -s {address}/runs/wait -H 'content-type: application/json' \\\n     \
                 -d '{{\"assistant_id\":\"refund\",\"input\":{{\"order_id\":\"9241\",\"amount_cents\":50000}},\"on_completion\":\"keep\"}}'\n\
         2. what waits for you\n   \
            curl -s {address}/approvals\n\
         3. a yes, with the id and digest that the second gave\n   \
            curl -s {address}/approvals/ID/answers -H 'content-type: application/json' \\\n     \
                 -d '{{\"verdict\":\"accept\",\"payload_digest\":\"DIGEST\"}}'\n\n\
         Ctrl-C ends it."
    )
}
