//! The refund story, told by real processes: each command below is a process of its own on one SQLite file, and a payments server with a log of
//! its own is the judge of how often money moved.

pub(crate) mod payments;
mod server;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::cli::output::{print_text, quoted};
use crate::failure::{EXIT_DONE, EXIT_INTERRUPTED, EXIT_INVALID, Failure};
use payments::Payments;

pub use server::serve;

const THREAD: &str = "order-9241";

/// Tells the story and checks each of its claims.
///
/// # Errors
/// When a part is missing, or a claim does not hold.
pub async fn tell(example: &Path) -> Result<(), Failure> {
    let story = Story::prepare(example).await?;
    let graph = story.example.join("refund.graph.toml");
    let graph = graph.display().to_string();

    print_text("\n1. A refund is asked for. The graph prepares it and asks a person.\n");
    let input = r#"{"order_id":"9241","amount_cents":50000}"#;
    story.expect(&["run", &graph, "--thread", THREAD, "--input", input], EXIT_INTERRUPTED).await?;
    story.expect_requests(0)?;

    print_text(
        "\n   That process has ended. Nothing runs and nothing is held in memory: the question is in the store.",
    );
    print_text("\n2. Hours later, in another process, somebody says yes.\n");
    story.expect(&["resume", "--thread", THREAD, "--answer", r#"{"approved":true}"#, "--by", "ana"], EXIT_DONE).await?;
    story.expect_requests(1)?;

    print_text(
        "\n3. A second yes comes in, from a double click or from a colleague. It is refused and told who won.\n",
    );
    story
        .expect(&["resume", "--thread", THREAD, "--answer", r#"{"approved":true}"#, "--by", "bob"], EXIT_INVALID)
        .await?;
    story.expect_requests(1)?;

    print_text("\n4. The payment step is run again from its checkpoint. The operation answers from its record.\n");
    let checkpoint = story.checkpoint_before("commit_refund").await?;
    story.expect(&["replay", "--thread", THREAD, "--from", &checkpoint], EXIT_DONE).await?;
    story.expect_requests(1)?;

    print_text("\nThe payments server's own log, all of it:\n");
    print_text(&story.payments.log_text()?);
    print_text(&format!(
        "\nPaid once. Try next, in {}:\n  holdpoint history {THREAD} --store {}\n  holdpoint threads --store {}\n  \
         holdpoint graph show {}\n  and read README.md: how to write a node.",
        std::env::current_dir().unwrap_or_default().display(),
        quoted(&story.store),
        quoted(&story.store),
        quoted(&graph),
    ));
    Ok(())
}

struct Story {
    program: PathBuf,
    example: PathBuf,
    store: String,
    payments: Payments,
    ledger: PathBuf,
}

impl Story {
    async fn prepare(example: &Path) -> Result<Self, Failure> {
        let unusable = |what: &str, error: std::io::Error| {
            Failure::host(
                "HP0780",
                format!("{what}: {error}"),
                "check the folder for temporary files and this machine's loopback",
            )
        };
        if !example.join("refund.graph.toml").exists() {
            return Err(Failure::invalid(
                "HP0781",
                format!("the refund example is not at {}", example.display()),
                "run this in the repository's folder, or name the example with --example DIR; `make demo` does all of it",
            ));
        }
        let folder = std::env::temp_dir().join(format!("holdpoint-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| unusable("the demo's folder cannot be made", error))?;
        let program = std::env::current_exe().map_err(|error| unusable("this program cannot be found", error))?;
        let payments = Payments::start(folder.join("payments.log"))
            .await
            .map_err(|error| unusable("the payments server cannot be started", error))?;
        print_text(&format!(
            "A payments server listens on {} and logs every request to {}.",
            payments.url(),
            payments.log_path().display()
        ));
        Ok(Self {
            program,
            example: example.to_owned(),
            store: format!("sqlite:{}", folder.join("demo.db").display()),
            payments,
            ledger: folder.join("ledger.jsonl"),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--store", &self.store, "--config"])
            .arg(self.example.join("holdpoint.toml"))
            .env("PAYMENTS_URL", self.payments.url())
            .env("LEDGER_FILE", &self.ledger)
            .stdin(Stdio::null());
        command
    }

    /// A folder with the refund graph alone; its nodes are found from anywhere.
    fn graphs_folder(&self) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| {
            Failure::host(
                "HP0780",
                format!("the demo's folder cannot be written: {error}"),
                "check the folder for temporary files",
            )
        };
        let folder = self.ledger.with_file_name("graphs");
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let example = self.example.canonicalize().map_err(failed)?;
        let text = std::fs::read_to_string(example.join("refund.graph.toml")).map_err(failed)?;
        let nodes = example.join("../../target/nodes").display().to_string();
        std::fs::write(folder.join("refund.graph.toml"), text.replace("../../target/nodes", &nodes)).map_err(failed)?;
        Ok(folder)
    }

    /// Runs one command in a process of its own, shows it and what it prints, and checks how it ended.
    async fn expect(&self, arguments: &[&str], exit: u8) -> Result<(), Failure> {
        let shown: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        print_text(&format!("$ holdpoint {}", shown.join(" ")));
        let status = self.command(arguments).status().await.map_err(|error| {
            Failure::host("HP0780", format!("a process cannot be started: {error}"), "check the process limits")
        })?;
        if status.code() == Some(i32::from(exit)) {
            Ok(())
        } else {
            Err(Failure::host(
                "HP0782",
                format!("that command ended with {status} and should have ended with {exit}"),
                "see what it printed above",
            ))
        }
    }

    fn expect_requests(&self, expected: usize) -> Result<(), Failure> {
        let requests = self.payments.log_text()?.lines().count();
        if requests != expected {
            return Err(Failure::host(
                "HP0783",
                format!("the payments server saw {requests} requests and should have seen {expected}"),
                "this is a fault of Holdpoint: please report it with the output above",
            ));
        }
        print_text(&format!(
            "   [the payments server has seen {requests} request{}]",
            if requests == 1 { "" } else { "s" }
        ));
        Ok(())
    }

    async fn checkpoint_before(&self, node: &str) -> Result<String, Failure> {
        let broken =
            |reason: String| Failure::host("HP0782", format!("the history cannot be read: {reason}"), "see above");
        let output =
            self.command(&["history", THREAD, "--json"]).output().await.map_err(|error| broken(error.to_string()))?;
        let entries: Vec<Value> = serde_json::from_slice(&output.stdout).map_err(|error| broken(error.to_string()))?;
        entries
            .iter()
            .find(|entry| entry["next"] == serde_json::json!([node]))
            .and_then(|entry| entry["checkpoint_id"].as_str())
            .map(str::to_owned)
            .ok_or_else(|| broken(format!("no checkpoint stands before {node}")))
    }
}
