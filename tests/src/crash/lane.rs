//! What runs that follow each other share: a folder in memory, two payments servers, and their judges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use super::order::{Order, Report};
use super::scenario::{Effect, Receiver, Receivers, Scenario};
use crate::payment_server::log::Account;
use crate::payment_server::{Judge, PaymentServer, Start};
use crate::program::{beside_the_tests, cache_folder};

/// See the module.
pub struct Lane {
    folder: TempDir,
    worker: PathBuf,
    servers: BTreeMap<bool, (PaymentServer, Judge)>,
    runs: u64,
    timeout_ms: u64,
}

/// How a life ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Killed.
    Killed,
    /// By itself.
    Reported(Box<Report>),
    /// In a way that nobody planned: hung, panicked.
    Broken(String),
}

impl Lane {
    /// A lane whose requests may take so long.
    pub fn open(timeout_ms: u64) -> Self {
        // A store in memory survives `kill -9` as well as one on a disk does, and costs no flush.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let servers = [false, true].map(|deduplicate| {
            let log = folder.path().join(format!("payments-{deduplicate}.log"));
            let server = PaymentServer::start(&log, Start { deduplicate, may_kill: true, ..Start::default() });
            let judge = server.judge();
            (deduplicate, (server, judge))
        });
        Self { folder, worker: beside_the_tests("crash_worker"), servers: servers.into(), runs: 0, timeout_ms }
    }

    /// A name that no other run of this lane has.
    pub fn next_run(&mut self) -> String {
        self.runs += 1;
        format!("r{}", self.runs)
    }

    /// A path in the lane's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store of the current run.
    pub fn store(&self) -> PathBuf {
        self.path("run.db")
    }

    /// What a life of a run is told when nothing special happens.
    pub fn order(&self, scenario: Scenario, graph: &str, run: &str) -> Order {
        let file = self.notices(run);
        let receivers = Receivers {
            forgetful: self.servers[&false].0.url(),
            deduplicating: self.servers[&true].0.url(),
            file: &file,
            timeout_ms: self.timeout_ms,
        };
        Order {
            store: self.store(),
            cache_folder: cache_folder(),
            configuration: scenario.configuration(&receivers),
            lethal_configuration: scenario.lethal_configuration(&receivers),
            thread: run.to_owned(),
            graph: graph.to_owned(),
            input: scenario.input(run),
            answer: scenario.answer(),
            words: Vec::new(),
            trace: self.path(&format!("{run}.trace")),
            fate: None,
            red: None,
            lost: None,
            slow_ms: 0,
            ahead_ms: 0,
            lease_ms: 30_000,
        }
    }

    /// Starts a life.
    pub fn begin(&self, order: &Order) -> Child {
        let mut command = Command::new(&self.worker);
        command.arg(serde_json::to_string(order).unwrap()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Lives a life to its end, planned or not.
    pub fn live(&self, order: &Order) -> End {
        end_of(self.begin(order).wait_with_output().unwrap())
    }

    /// What the receiver of an effect says of it, once nothing of it is under way there.
    pub fn account(&mut self, run: &str, effect: &Effect) -> Account {
        match effect.receiver {
            Receiver::Forgetful => self.judge(false).settled(&effect.operation),
            Receiver::Deduplicating => self.judge(true).settled(&effect.operation),
            Receiver::File => {
                let text = std::fs::read_to_string(self.notices(run)).unwrap_or_default();
                let line = format!("\"id\":\"{}\"", effect.operation);
                let applied = text.lines().filter(|text| text.contains(&line)).count();
                Account { received: applied, applied, concluded: applied, ..Account::default() }
            }
        }
    }

    /// Removes what a run left.
    pub fn forget(&self, run: &str) {
        let _ = std::fs::remove_file(self.notices(run));
        let _ = std::fs::remove_file(self.path(&format!("{run}.trace")));
    }

    fn judge(&mut self, deduplicate: bool) -> &mut Judge {
        &mut self.servers.get_mut(&deduplicate).expect("there are both").1
    }

    fn notices(&self, run: &str) -> PathBuf {
        self.path(&format!("{run}.notices"))
    }
}

/// Reads how a life ended.
pub fn end_of(output: Output) -> End {
    let Output { status, stdout, stderr } = output;
    if killed(status) {
        return End::Killed;
    }
    match serde_json::from_slice(&stdout) {
        Ok(report) if status.success() => End::Reported(Box::new(report)),
        _ => End::Broken(format!("{status}: {}", String::from_utf8_lossy(&stderr))),
    }
}

fn killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(libc::SIGKILL)
}
