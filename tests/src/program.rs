//! Runs `holdpoint` in processes of its own on a store of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a store, in which the program is run.
pub struct Place {
    folder: TempDir,
    environment: Vec<(String, String)>,
    config: Option<PathBuf>,
}

/// How one command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; none when a signal ended it.
    pub exit: Option<i32>,
    /// The JSON document on its standard output; null when there is none.
    pub reply: Value,
    /// Its standard error.
    pub notes: String,
}

impl Place {
    /// A new folder, no connectors.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new(), config: None }
    }

    /// A new folder, the connectors of the refund example: payments at `payments_url`, the ledger a file in the folder.
    pub fn with_refund_connectors(payments_url: &str) -> Self {
        let mut place = Self::new();
        place.config = Some(repository().join("example-nodes/refund/holdpoint.toml"));
        place.environment.push(("PAYMENTS_URL".into(), payments_url.into()));
        let ledger = place.path("ledger.jsonl").display().to_string();
        place.environment.push(("LEDGER_FILE".into(), ledger));
        place
    }

    /// Writes the configuration.
    pub fn configure(&mut self, text: &str) {
        let path = self.path("holdpoint.toml");
        std::fs::write(&path, text).unwrap();
        self.config = Some(path);
    }

    /// Sets an environment variable of every command.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.path("holdpoint.db")
    }

    /// The command, ready to be changed and started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .arg("--store")
            .arg(format!("sqlite:{}", self.store().display()))
            .current_dir(self.folder.path())
            .env("HOLDPOINT_CACHE_DIR", cache_folder())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Runs a command with `--json` to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).arg("--json").output().unwrap())
    }

    /// Starts a command with `--json` and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command with `--json` that must end with `exit`, and gives its reply.
    pub fn expect(&self, exit: i32, arguments: &[&str]) -> Value {
        let outcome = self.run(arguments);
        assert_eq!(outcome.exit, Some(exit), "holdpoint {arguments:?}: {} {}", outcome.reply, outcome.notes);
        outcome.reply
    }

    /// Runs a command that must be refused with `exit` and the given code.
    pub fn refused(&self, exit: i32, code: &str, arguments: &[&str]) -> Value {
        let reply = self.expect(exit, arguments);
        assert_eq!(reply["error"]["code"], code, "holdpoint {arguments:?}: {reply}");
        for part in ["message", "cure"] {
            assert!(reply["error"][part].as_str().is_some_and(|text| !text.is_empty()), "no {part}: {reply}");
        }
        reply
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Outcome {
    /// Reads what a process printed.
    pub fn of(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            reply: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            notes: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The repository's folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests' folder lies in the repository")
}

/// The built program.
pub fn program() -> PathBuf {
    let path = target().join("release/holdpoint");
    assert!(path.exists(), "{} is missing: run `make test`, which builds it", path.display());
    path
}

/// A built node.
pub fn node(name: &str) -> PathBuf {
    let path = target().join("nodes").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing: run `make test`, which builds it", path.display());
    path
}

/// A program of the tests themselves, which cargo builds beside them.
pub fn beside_the_tests(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().find(|folder| folder.join(name).is_file());
    folder.unwrap_or_else(|| panic!("{name} is missing beside {}", own.display())).join(name)
}

fn target() -> PathBuf {
    repository().join("target")
}

/// Shared by all tests, so that each component is compiled once.
pub fn cache_folder() -> PathBuf {
    target().join("test-cache")
}
