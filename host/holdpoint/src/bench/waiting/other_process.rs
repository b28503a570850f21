//! This program a second time, as a server: its memory and its time are its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::bench::unexpected;
use crate::failure::Failure;

/// Longest time until it listens.
const START_MAX: Duration = Duration::from_secs(60);

/// A server in a process of its own. It ends with this one.
pub(super) struct Other {
    pub(super) address: SocketAddr,
    /// Its process.
    pub(super) id: String,
    child: Child,
}

impl Other {
    pub(super) async fn start(store: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::host("HP0792", format!("no server can be started: {error}"), "check the process limits")
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(format!("sqlite:{}", store.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let id = child.id().unwrap_or_default().to_string();
        let output = child.stdout.take().ok_or_else(|| unexpected("the server has no output".to_owned()))?;
        let mut lines = BufReader::new(output).lines();
        let address = tokio::time::timeout(START_MAX, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.split_once("http://").and_then(|(_, rest)| rest.trim().parse().ok()) {
                    return Some(address);
                }
            }
            None
        });
        let address = address.await.ok().flatten();
        let address = address.ok_or_else(|| unexpected("the server told no address".to_owned()))?;
        Ok(Self { address, id, child })
    }

    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let ended = self.child.kill().await;
        ended.map_err(|error| unexpected(format!("the server does not end: {error}")))
    }
}
