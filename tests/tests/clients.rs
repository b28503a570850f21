//! LangGraph's own clients, unmodified, against a real server process with the refund graph: `tests/clients` says what they do.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::Payments;
use holdpoint_tests::program::{Place, repository};
use holdpoint_tests::signal::{self, Signal};

/// A server process. Asked to stop when it is dropped.
pub(crate) struct Served {
    child: Child,
    /// Its address, `http://…`.
    pub(crate) address: String,
}

impl Served {
    /// Starts `holdpoint serve` with the graphs of the folders and waits until it listens.
    pub(crate) fn start(place: &Place, graphs: &[&Path]) -> Self {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        if !graphs.is_empty() {
            command.arg("--graphs").args(graphs);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = serde_json::Deserializer::from_reader(BufReader::new(child.stdout.take().unwrap()));
        let told: serde_json::Value = said.into_iter().next().expect("the server starts").unwrap();
        Self { child, address: told["address"].as_str().unwrap().to_owned() }
    }

    /// Asks it to stop, and gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        signal::send(self.child.id(), Signal::Terminate).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A graph that counts as far as its input says, a superstep each.
pub(crate) fn counter(folder: &Path) -> PathBuf {
    let graph = Probes::new(
        "start = \"count_one\"\nrecursion_limit = 2000000",
        "count = { type = \"integer\", reducer = \"add\" }\nuntil = { type = \"integer\" }",
    )
    .node(
        "count_one",
        "next = [{ when = \"state.count < state.until\", to = \"count_one\" }, { to = \"END\" }]",
        "{ set = { count = 1 } }",
    );
    let path = graph.write_into(folder, "counter.graph.toml");
    let text = std::fs::read_to_string(&path).unwrap().replacen("name = \"probes\"", "name = \"counter\"", 1);
    std::fs::write(&path, text).unwrap();
    path
}

/// The refund graph in a folder of its own.
pub(crate) fn refund(folder: &Path) {
    let text = std::fs::read_to_string(repository().join("example-nodes/refund/refund.graph.toml")).unwrap();
    let nodes = repository().join("target/nodes").display().to_string();
    std::fs::write(folder.join("refund.graph.toml"), text.replace("../../target/nodes", &nodes)).unwrap();
}

/// The folder that `make clients` fills.
pub(crate) fn clients() -> PathBuf {
    repository().join("target/clients")
}

fn run_against_server(program: &Path, arguments: &[&str], script: &str, orders_paid: &[&str]) {
    assert!(program.exists(), "{} is not there: run `make clients`", program.display());
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    let graphs = tempfile::tempdir().unwrap();
    counter(graphs.path());
    refund(graphs.path());
    let server = Served::start(&place, &[graphs.path()]);
    // Beside its packages, where its imports look for them.
    let copy = clients().join(script);
    std::fs::copy(repository().join("tests/clients").join(script), &copy).unwrap();
    let output =
        Command::new(program).args(arguments).arg(copy).arg(&server.address).stderr(Stdio::piped()).output().unwrap();
    let (lines, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{lines}");
    assert!(output.status.success() && lines.ends_with("all of it\n"), "{lines}\n{errors}");
    for order in orders_paid {
        let paid = payments.log().iter().filter(|entry| entry.paid && entry.body["order_id"] == **order).count();
        assert_eq!(paid, 1, "order {order} is paid once");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_python_client_works_unchanged() {
    run_against_server(&clients().join("venv/bin/python"), &[], "client.py", &["py-1", "py-2", "py-4"]);
}

#[test]
fn the_javascript_client_works_unchanged() {
    run_against_server(Path::new("/usr/bin/env"), &["node"], "client.mjs", &["js-1"]);
}
