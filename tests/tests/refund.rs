//! The refund graph from end to end: real processes, real nodes, a real payments server.

use std::path::PathBuf;

use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::{Place, repository};
use serde_json::{Value, json};

const INPUT: &str = r#"{"order_id":"9241","amount_cents":50000}"#;
const KEY: &str = "refund:9241:50000";

fn graph(name: &str) -> String {
    let path: PathBuf = repository().join("example-nodes/refund").join(name);
    path.display().to_string()
}

fn asked(place: &Place, payments_free: &Payments) -> Value {
    let reply = place.expect(3, &["run", &graph("refund.graph.toml"), "--thread", "t", "--input", INPUT]);
    assert_eq!(payments_free.log(), [], "nothing is paid before somebody says yes");
    reply
}

#[test]
fn asks_waits_resumes_elsewhere_and_pays_once() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    let reply = asked(&place, &payments);
    assert_eq!(reply["thread_id"], "t");
    assert_eq!(reply["status"], "interrupted");
    assert_eq!(reply["next"], json!(["approval_gate"]));
    assert_eq!(reply["error"], Value::Null);
    assert_eq!(reply["values"]["operation_id"], KEY);
    assert_eq!(reply["values"]["status"], "pending");
    let interrupts = reply["interrupts"].as_array().unwrap();
    let [question] = interrupts.as_slice() else { panic!("one question: {interrupts:?}") };
    assert_eq!(question["kind"], "question");
    assert_eq!(question["node"], "approval_gate");
    assert_eq!(question["value"]["amount_cents"], 50000);
    assert!(question["digest"].as_str().unwrap().starts_with("sha256:"));
    let id = question["id"].as_str().unwrap();
    assert_eq!(id.len(), 32);

    let reply = place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#, "--by", "ana"]);
    assert_eq!(reply["status"], "done");
    assert_eq!(reply["next"], json!([]));
    assert_eq!(reply["interrupts"], json!([]));
    assert_eq!(reply["values"]["status"], "approved");
    assert_eq!(reply["values"]["receipt"]["status"], "refunded");
    let log = payments.log();
    let [entry] = log.as_slice() else { panic!("one request: {log:?}") };
    assert_eq!(entry.request, "POST /refunds");
    assert_eq!(entry.key, KEY);
    assert_eq!(entry.body, json!({"order_id": "9241", "amount_cents": 50000}));

    // `one-decision`: a second answer, bare or by id, is refused and told who won.
    let by_id = json!({ id: {"approved": false} }).to_string();
    for (code, arguments) in [
        ("HP0408", vec!["resume", "--thread", "t", "--answer", r#"{"approved":false}"#]),
        ("HP0407", vec!["resume", "--thread", "t", "--answers", &by_id]),
    ] {
        let refusal = place.refused(2, code, &arguments);
        assert!(refusal["error"]["message"].as_str().unwrap().contains("cli:ana"), "{refusal}");
    }
    // Without an answer there is nothing to continue.
    assert_eq!(place.expect(0, &["resume", "--thread", "t"])["status"], "done");
    assert_eq!(payments.log().len(), 1);
}

#[test]
fn a_no_pays_nothing() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    asked(&place, &payments);
    let reply = place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":false}"#]);
    assert_eq!(reply["values"]["status"], "rejected");
    assert_eq!(payments.log(), []);
}

#[test]
fn history_tells_every_step() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    asked(&place, &payments);
    place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
    let history = place.expect(0, &["history", "t"]);
    let entries = history.as_array().unwrap();
    let shape: Vec<Value> =
        entries.iter().map(|entry| json!([entry["source"], entry["step"], entry["next"]])).collect();
    assert_eq!(
        shape,
        [
            json!(["loop", 3, []]),
            json!(["loop", 2, ["commit_refund"]]),
            json!(["loop", 1, ["approval_gate"]]),
            json!(["loop", 0, ["prepare_refund"]]),
            json!(["input", -1, ["__start__"]]),
        ]
    );
    for pair in entries.windows(2) {
        assert_eq!(pair[0]["parent_id"], pair[1]["checkpoint_id"]);
    }
    assert_eq!(entries[4]["parent_id"], Value::Null);
    let gate = &entries[2]["tasks"][0];
    assert_eq!(gate["node"], "approval_gate");
    assert_eq!(gate["executions"], 2, "once to ask, once with the answer");
    assert_eq!(gate["interrupts"][0]["status"], "answered");
    assert_eq!(gate["interrupts"][0]["answer"]["value"], json!({"approved": true}));
    assert_eq!(gate["result"]["approved"], true);
    assert_eq!(entries[1]["tasks"][0]["executions"], 1);
    assert_eq!(entries[1]["values"].get("receipt"), None, "a record shows nothing of later steps");
}

#[test]
fn a_replay_answers_from_the_record() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    asked(&place, &payments);
    place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
    let history = place.expect(0, &["history", "t"]);
    let before_payment = history[1]["checkpoint_id"].as_str().unwrap();
    for _ in 0..3 {
        let reply = place.expect(0, &["replay", "--thread", "t", "--from", before_payment]);
        assert_eq!(reply["values"]["receipt"], json!({"refund_id": "re_1", "status": "refunded"}));
    }
    assert_eq!(payments.log().len(), 1, "{:?}", payments.log());
    // From before the gate the question is asked anew, under another id.
    let before_gate = history[2]["checkpoint_id"].as_str().unwrap();
    let reply = place.expect(3, &["replay", "--thread", "t", "--from", before_gate]);
    assert_ne!(reply["interrupts"][0]["id"], history[2]["tasks"][0]["interrupts"][0]["id"]);
    place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
    assert_eq!(payments.log().len(), 1);
}

#[test]
fn another_thread_with_the_same_business_operation_gets_the_record() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    for thread in ["one", "two"] {
        place.expect(3, &["run", &graph("refund.graph.toml"), "--thread", thread, "--input", INPUT]);
        let reply = place.expect(0, &["resume", "--thread", thread, "--answer", r#"{"approved":true}"#]);
        assert_eq!(reply["values"]["receipt"]["refund_id"], "re_1");
    }
    assert_eq!(payments.paid(KEY), 1);
    assert_eq!(payments.log().len(), 1, "the receiver was not even asked again");
}

#[test]
fn a_definitive_refusal_fails_the_thread_and_is_repeated_from_the_record() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    asked(&place, &payments);
    payments.behave(Manner::Refuse(422));
    let reply = place.expect(1, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
    assert_eq!(reply["status"], "failed");
    assert_eq!(reply["error"]["node"], "commit_refund");
    payments.behave(Manner::Deduplicate);
    let reply = place.expect(1, &["resume", "--thread", "t"]);
    assert_eq!(reply["status"], "failed", "what failed for good stays so");
    assert_eq!(payments.log().len(), 1);
}

#[test]
fn a_passing_fault_can_be_continued() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    asked(&place, &payments);
    payments.behave(Manner::Refuse(503));
    let reply = place.expect(1, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
    assert_eq!(reply["status"], "failed");
    assert_eq!(reply["next"], json!(["commit_refund"]), "the answer is kept, only the payment is left");
    payments.behave(Manner::Deduplicate);
    let reply = place.expect(0, &["resume", "--thread", "t"]);
    assert_eq!(reply["status"], "done");
    assert_eq!(payments.paid(KEY), 1);
}

#[test]
fn the_duplicate_write_bug_writes_one_row() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    let graph = graph("duplicate-write.graph.toml");
    let reply = place.expect(3, &["run", &graph, "--thread", "t", "--input", INPUT]);
    let rows = || std::fs::read_to_string(place.path("ledger.jsonl")).unwrap().lines().count();
    assert_eq!(rows(), 1, "the row is written before the question");
    // Resuming without an answer runs nothing and asks nothing new.
    for _ in 0..3 {
        let again = place.expect(3, &["resume", "--thread", "t"]);
        assert_eq!(again["interrupts"], reply["interrupts"]);
    }
    place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
    assert_eq!(rows(), 1, "the gate ran twice and wrote once");
    let history = place.expect(0, &["history", "t"]);
    assert_eq!(history[2]["tasks"][0]["executions"], 2);
    // Replayed from before the gate: asked again, the row is not written again.
    let before_gate = history[2]["checkpoint_id"].as_str().unwrap();
    place.expect(3, &["replay", "--thread", "t", "--from", before_gate]);
    place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
    assert_eq!(rows(), 1);
    assert_eq!(payments.paid(KEY), 1);
}
