//! The `file` connector: one row for each operation, whoever repeats it.

use crate::support::{World, lines, operation};
use holdpoint_effects::OperationRequest;
use serde_json::{Value, json};

const CONFIGURATION: &str = "[connectors.ledger]\nkind = \"file\"\npath = \"${env:LEDGER_FILE}\"\nscope = \"global\"";

struct Ledger(tempfile::TempDir);

impl Ledger {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("ledger.jsonl")
    }

    /// A process with a journal of its own: only the file knows what others did.
    fn world(&self) -> World {
        World::new(CONFIGURATION, &[("LEDGER_FILE", self.path().to_str().unwrap())])
    }

    fn ids(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path()).unwrap();
        assert!(text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn row(id: &str) -> OperationRequest {
    operation(Some(id), "ledger", json!({ "audit": "gate" }))
}

#[tokio::test]
async fn a_repeated_operation_is_one_row_with_one_answer() {
    let ledger = Ledger::new();
    let world = ledger.world();
    for _ in 0..3 {
        assert_eq!(world.once("t", 1, row("a")).await, "ok {\"id\":\"a\",\"line\":1}", "the journal answers");
        assert_eq!(ledger.world().once("t", 1, row("a")).await, "ok {\"id\":\"a\",\"line\":1}", "the file answers");
    }
    assert_eq!(world.journal.commits(), ["a completed"], "no intent is needed");
    assert_eq!(world.once("t", 1, row("b")).await, "ok {\"id\":\"b\",\"line\":2}");
    let text = std::fs::read_to_string(ledger.path()).unwrap();
    let first = "{\"id\":\"a\",\"scope\":\"global:refund\",\"at_ms\":1700000000000,\"request\":{\"audit\":\"gate\"}}\n";
    assert_eq!(text, format!("{first}{}", first.replace("\"a\"", "\"b\"")));
}

#[tokio::test]
async fn a_torn_line_of_a_dead_process_is_not_a_row() {
    let ledger = Ledger::new();
    ledger.world().once("t", 1, row("a")).await;
    let whole = std::fs::read_to_string(ledger.path()).unwrap();
    std::fs::write(ledger.path(), format!("{whole}{}", &whole.replace("\"a\"", "\"b\"")[..30])).unwrap();
    assert_eq!(ledger.world().once("t", 1, row("b")).await, "ok {\"id\":\"b\",\"line\":2}");
    assert_eq!(ledger.ids(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_processes_write_each_row_once() {
    let ledger = Ledger::new();
    let processes: Vec<World> = (0..4).map(|_| ledger.world()).collect();
    let mut running = tokio::task::JoinSet::new();
    for world in &processes {
        for task in 0..4 {
            let mut effects = world.task("t", task);
            running.spawn(async move {
                let requests = (0..8).map(|id| row(&format!("op-{id}"))).collect();
                lines(effects.perform_all(requests).await)
            });
        }
    }
    let answers = running.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "everybody gets the same: {answers:?}");
    assert!(answers[0].iter().all(|answer| answer.starts_with("ok")), "{:?}", answers[0]);
    let mut ids = ledger.ids();
    ids.sort();
    assert_eq!(ids, (0..8).map(|id| format!("op-{id}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_request_under_an_id_of_the_file_is_a_failure_for_good() {
    let ledger = Ledger::new();
    ledger.world().once("t", 1, row("a")).await;
    let other = operation(Some("a"), "ledger", json!(2));
    assert_eq!(ledger.world().once("t", 1, other).await, "failed conflict retryable=false sent=true");
    assert_eq!(ledger.ids(), ["a"]);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_the_operators_matter() {
    let world = World::new(CONFIGURATION, &[("LEDGER_FILE", "/nowhere/at/all/ledger.jsonl")]);
    let outcome = world.once("t", 1, row("a")).await;
    assert!(
        outcome.starts_with("denied: connector ledger cannot be used") && !outcome.contains("nowhere"),
        "{outcome}"
    );
}
