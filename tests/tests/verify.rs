//! The examples' histories executed again: on the machine that made them, and elsewhere from a file. Nothing is sent.

use std::path::PathBuf;

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::{Place, repository};
use serde_json::{Value, json};

const INPUT: &str = r#"{"order_id":"9241","amount_cents":50000}"#;
const YES: &str = r#"{"approved":true}"#;

fn example(name: &str) -> String {
    let path: PathBuf = repository().join("example-nodes").join(name);
    path.display().to_string()
}

/// All of it is as recorded; gives the report.
fn verified(place: &Place, subject: &str) -> Value {
    let report = place.expect(0, &["verify", subject]);
    assert_eq!((&report["ok"], &report["difference"]), (&json!(true), &Value::Null), "{report}");
    report
}

/// The thread's file, verified in another folder: without the store, the configuration, the receivers.
fn verified_elsewhere(place: &Place, thread: &str) -> Value {
    let elsewhere = Place::new();
    let file = elsewhere.path("fixture.json");
    let exported = place.expect(0, &["export", thread, "--out", &file.display().to_string()]);
    assert_eq!((&exported["thread_id"], &exported["reproduced"]), (&json!(thread), &json!(true)));
    let report = verified(&elsewhere, "fixture.json");
    assert!(!elsewhere.store().exists(), "there is no store, and none was made");
    assert_eq!(report["thread_id"], thread);
    report
}

/// A refund that was asked about, answered, and paid.
fn paid_refund(payments: &Payments) -> Place {
    let place = Place::with_refund_connectors(payments.url());
    place.expect(3, &["run", &example("refund/refund.graph.toml"), "--thread", "t", "--input", INPUT]);
    verified(&place, "t");
    place.expect(0, &["resume", "--thread", "t", "--answer", YES, "--by", "ana"]);
    place
}

#[test]
fn a_refund_is_reproduced_and_nothing_is_paid() {
    let payments = Payments::start();
    let place = paid_refund(&payments);
    let log = payments.log();
    assert_eq!(log.len(), 1);
    let report = verified(&place, "t");
    assert_eq!(
        (&report["checkpoints"], &report["tasks"], &report["transitions"], &report["skipped"]),
        (&json!(5), &json!(3), &json!(4), &json!({}))
    );
    assert_eq!(verified_elsewhere(&place, "t")["tasks"], 3);
    // Branches are checked too: one that stands at its question, and one that repeats the payment from its record.
    let history = place.expect(0, &["history", "t"]);
    for step in [1, 2] {
        let from = history[step]["checkpoint_id"].as_str().unwrap();
        place.run(&["replay", "--thread", "t", "--from", from]);
    }
    let report = verified(&place, "t");
    assert_eq!((&report["tasks"], &report["skipped"]), (&json!(5), &json!({})));
    assert_eq!(verified_elsewhere(&place, "t")["tasks"], 5);
    assert_eq!(payments.log(), log, "a verification sends nothing");
    // Another thread got its answer from this one's record, which the file of the other brings along.
    place.expect(3, &["run", &example("refund/refund.graph.toml"), "--thread", "u", "--input", INPUT]);
    place.expect(0, &["resume", "--thread", "u", "--answer", YES]);
    verified_elsewhere(&place, "u");
    assert_eq!(payments.log(), log);
    place.refused(2, "HP0401", &["verify", "nobody"]);
    place.refused(2, "HP0401", &["export", "nobody", "--out", "nobody.json"]);
    assert!(!place.path("nobody.json").exists());
}

#[test]
fn refusals_and_passing_faults_are_histories_too() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    let graph = example("refund/refund.graph.toml");
    for (thread, order, manner) in [("no", "1", Manner::Refuse(422)), ("later", "2", Manner::Refuse(503))] {
        let input = json!({ "order_id": order, "amount_cents": 7 }).to_string();
        place.expect(3, &["run", &graph, "--thread", thread, "--input", &input]);
        payments.behave(manner);
        place.expect(1, &["resume", "--thread", thread, "--answer", YES]);
        payments.behave(Manner::Deduplicate);
    }
    assert_eq!(verified(&place, "no")["skipped"], json!({}), "what failed for good fails again");
    // A receiver that was away is not there again to be away.
    assert_eq!(verified(&place, "later")["skipped"], json!({ "failure-not-recorded": 1 }));
    place.expect(0, &["resume", "--thread", "later"]);
    assert_eq!(verified(&place, "later")["skipped"], json!({}));
    verified_elsewhere(&place, "no");
    verified_elsewhere(&place, "later");
}

#[test]
fn a_changed_file_is_found_and_a_damaged_one_is_refused() {
    let payments = Payments::start();
    let place = paid_refund(&payments);
    place.expect(0, &["export", "t", "--out", "t.json"]);
    let text = std::fs::read_to_string(place.path("t.json")).unwrap();
    assert!(!text.contains(payments.url()), "where the receiver is stays where it was");
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let write = |fixture: &Value| std::fs::write(place.path("other.json"), fixture.to_string()).unwrap();
    let found = |change: &dyn Fn(&mut Value)| {
        let mut changed = fixture.clone();
        change(&mut changed);
        write(&changed);
        let reply = place.refused(1, "HP0733", &["verify", "other.json"]);
        let difference = &reply["difference"];
        (difference["what"].clone(), difference["node"].clone(), difference["step"].clone())
    };
    let done = fixture["checkpoints"].as_array().unwrap().len() - 1;
    assert_eq!(
        found(&|fixture| fixture["checkpoints"][done]["changes"]["receipt"]["replace"]["refund_id"] = json!("re_2")),
        (json!("values"), Value::Null, json!(3))
    );
    assert_eq!(
        found(&|fixture| {
            let answer = fixture["questions"][0]["answer"].as_object_mut().unwrap();
            answer.insert("value".into(), json!({ "approved": false }));
        }),
        (json!("result"), json!("approval_gate"), json!(2))
    );
    assert_eq!(
        found(&|fixture| fixture["operations"] = json!([])),
        (json!("result"), json!("commit_refund"), json!(3))
    );
    let newer = Value::Object(
        fixture.as_object().unwrap().clone().into_iter().chain([("holdpoint_fixture".into(), json!(99))]).collect(),
    );
    write(&newer);
    place.refused(2, "HP0732", &["verify", "other.json"]);
    for damaged in [&text[..text.len() / 2], "", "{}", "not JSON"] {
        std::fs::write(place.path("other.json"), damaged).unwrap();
        place.refused(2, "HP0731", &["verify", "other.json"]);
    }
    place.refused(1, "HP0730", &["export", "t", "--out", "no/such/folder/t.json"]);
    assert_eq!(payments.log().len(), 1);
}

#[test]
fn an_order_with_three_receivers_is_reproduced() {
    let (charges, events) = (Payments::start(), Payments::start());
    charges.behave(Manner::PayAlways);
    let mut place = Place::new();
    let ledger = rusqlite::Connection::open(place.path("ledger.db")).unwrap();
    ledger
        .execute_batch(
            "create table entry (id integer primary key, order_id text not null, amount_cents integer not null)",
        )
        .unwrap();
    place.configure(&std::fs::read_to_string(example("order/holdpoint.toml")).unwrap());
    place.set("PAYMENTS_URL", charges.url());
    place.set("EVENTS_URL", &format!("{}/events", events.url()));
    place.set("EVENTS_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
    let path = place.path("ledger.db").display().to_string();
    place.set("LEDGER_FILE", &path);
    let graph = example("order/order.graph.toml");
    let run = |exit: i32, order: &str, amount_cents: u64| {
        let input = json!({ "order_id": order, "amount_cents": amount_cents }).to_string();
        place.expect(exit, &["run", &graph, "--thread", order, "--input", &input]);
    };
    run(0, "small", 900);
    run(3, "large", 250_000);
    run(3, "refused", 300_000);
    run(3, "waiting", 300_000);
    place.expect(0, &["resume", "--thread", "large", "--answer", YES]);
    place.expect(1, &["resume", "--thread", "refused", "--answer", r#"{"approved":false,"reason":"fraud"}"#]);
    charges.behave(Manner::PaySilently);
    let hurried = std::fs::read_to_string(place.path("holdpoint.toml"))
        .unwrap()
        .replace("timeout = \"10s\"", "timeout = \"300ms\"");
    std::fs::write(place.path("holdpoint.toml"), hurried).unwrap();
    run(3, "doubtful", 900);
    let entries = || ledger.query_row("select count(*) from entry", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = (charges.log(), events.log(), entries());
    for thread in ["small", "large", "refused", "waiting", "doubtful"] {
        let report = verified(&place, thread);
        assert_eq!((&report["tasks"], &report["skipped"]), (&json!(1), &json!({})), "{thread}: {report}");
        let report = verified_elsewhere(&place, thread);
        assert_eq!((&report["tasks"], &report["skipped"]), (&json!(1), &json!({})), "{thread}: {report}");
    }
    assert_eq!((charges.log(), events.log(), entries()), before, "a verification sends nothing");
}

#[test]
fn a_waiting_thread_goes_on_with_a_version_that_asks_the_same() {
    let place = Place::new();
    let version = |last: &str, question: &str| {
        Probes::new("start = \"asks\"", "log = { type = \"array\", reducer = \"append\" }")
            .node("asks", "next = \"last\"", &format!("{{ ask = \"{question}\", as = \"reply\" }}"))
            .node("last", "", &format!("{{ set = {{ log = [\"{last}\"] }} }}"))
    };
    let first = version("one", "go on?").write_as(&place, "first.graph.toml").display().to_string();
    let second = version("two", "go on?").write_as(&place, "second.graph.toml").display().to_string();
    let other = version("two", "really?").write_as(&place, "other.graph.toml").display().to_string();
    let asked = place.expect(3, &["run", &first, "--thread", "t"]);
    let refused = place.refused(2, "HP0442", &["threads", "migrate", "t", "--to", &other]);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("node asks: the question was") && message.contains("really?"), "{message}");
    let migrated = place.expect(0, &["threads", "migrate", "t", "--to", &second]);
    assert_eq!(migrated["interrupts"], asked["interrupts"], "the open question stays, under its id");
    let digest = place.expect(0, &["threads", "list"])[0]["graph_digest"].as_str().unwrap().to_owned();
    place.expect(0, &["threads", "migrate", "t", "--to", &digest]);
    let unknown = format!("sha256:{}", "0".repeat(64));
    place.refused(1, "HP0416", &["threads", "migrate", "t", "--to", &unknown]);
    let done = place.expect(0, &["resume", "--thread", "t", "--answer", "1"]);
    assert_eq!(done["values"]["log"], json!(["two"]));
    verified(&place, "t");
    assert_eq!(verified_elsewhere(&place, "t")["tasks"], 2);
    place.refused(2, "HP0441", &["threads", "migrate", "t", "--to", &first]);
}
