//! The inbox in a real browser: `tests/clients/inbox.mjs` says what is done there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::{Place, repository};

use crate::clients::{Served, clients, refund};

/// Debian's headless Chromium, under either name.
fn browser() -> PathBuf {
    let known = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"].map(PathBuf::from);
    known.into_iter().find(|path| path.exists()).expect("a headless browser is there: run `make clients`")
}

fn graph(folder: &Path, name: &str, state: &str, keys: &str, script: &str) {
    let graph = Probes::new("start = \"n\"", state).node("n", keys, script);
    let path = graph.write_into(folder, &format!("{name}.graph.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("name = \"probes\"", &format!("name = \"{name}\""), 1)).unwrap();
}

#[test]
fn a_person_decides_in_a_browser() {
    let payments = Payments::start();
    let silent = Payments::start();
    silent.behave(Manner::PaySilently);
    let mut place = Place::new();
    place.set("PAYMENTS_URL", payments.url());
    place.set("SILENT_URL", silent.url());
    place.configure(
        r#"
[connectors.payments]
kind = "http"
base_url = "${env:PAYMENTS_URL}"
allow = ["POST /refunds"]
class = { idempotent = { window = "24h" } }
idempotency_header = "Idempotency-Key"
addresses = "any"
[connectors.silent]
kind = "http"
base_url = "${env:SILENT_URL}"
allow = ["POST /refunds"]
class = "at-most-once"
addresses = "any"
timeout = "300ms"
"#,
    );
    let folder = tempfile::tempdir().unwrap();
    refund(folder.path());
    graph(
        folder.path(),
        "expiring",
        "verdict = {}",
        "next = \"END\"",
        "{ ask = { title = \"quick\" }, deadline_ms = 400, decision_as = \"d\" }, { set = { verdict = \"$d.verdict\" } }",
    );
    graph(
        folder.path(),
        "doubtful",
        "order = { type = \"string\" }\nreceipt = {}",
        "connectors = [\"silent\"]\nnext = \"END\"",
        "{ effect = { connector = \"silent\", id = \"pay-${state.order}\", request = { method = \"POST\", path = \"/refunds\", \
         body = { order = \"$state.order\" } } }, as = \"r\" }, { set = { receipt = \"$r\" } }",
    );
    graph(
        folder.path(),
        "hostile",
        "answer = {}",
        "next = \"END\"",
        "{ ask = { title = \"<script>alert(1)</script>\", payee = \"p\\u0430ypal\", amount = \"10\\u202E00\" }, as = \"answer\" }",
    );
    graph(
        folder.path(),
        "risky",
        "answer = {}",
        "next = \"END\"\ninterrupt = { risk = \"high\", quorum = 2, deadline = \"2h\", break_glass = true }",
        "{ ask = { title = \"a large one\", amount_cents = 990000, to = \"acme\" }, as = \"answer\" }",
    );
    let server = Served::start(&place, &[folder.path()]);
    std::fs::copy(repository().join("tests/clients/inbox.mjs"), clients().join("inbox.mjs")).unwrap();
    let output = Command::new("/usr/bin/env")
        .args(["node", "inbox.mjs", &server.address])
        .arg(browser())
        .arg(clients().join("screenshots"))
        .current_dir(clients())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let (lines, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{lines}");
    assert!(output.status.success() && lines.ends_with("all of it\n"), "{lines}\n{errors}");
    let paid: Vec<String> =
        payments.log().iter().filter(|entry| entry.paid).map(|entry| entry.body["order_id"].to_string()).collect();
    assert_eq!(paid, ["\"inbox-1\""], "only what was accepted is paid, once");
    assert_eq!(silent.log().len(), 1, "what was in doubt was sent once");
    assert_eq!(server.stop(), Some(0));
}
