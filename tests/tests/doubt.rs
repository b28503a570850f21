//! `no-silent-doubt`: an operation whose outcome is unknown is never sent again by itself; its thread stops and shows it.

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::Place;
use serde_json::json;

/// A graph with one payment, and a connector whose receiver does not de-duplicate.
fn at_most_once(payments: &Payments) -> (Place, String) {
    let mut place = Place::new();
    place.configure(&format!(
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST /refunds\"]\nclass = \"at-most-once\"\naddresses = \"any\"\ntimeout = \"30s\"\n",
        payments.url()
    ));
    let script = "{ effect = { id = \"pay:1\", connector = \"payments\", request = { method = \"POST\", path = \"/refunds\", body = { cents = 5 } } }, as = \"receipt\" }, \
                  { set = { receipt = \"$receipt.body\" } }";
    let graph =
        Probes::new("start = \"pay\"", "receipt = {}").node("pay", "connectors = [\"payments\"]", script).write(&place);
    (place, graph.display().to_string())
}

#[test]
fn killed_between_send_and_record_it_stops_and_is_not_sent_again() {
    let payments = Payments::start();
    payments.behave(Manner::PaySilently);
    let (place, graph) = at_most_once(&payments);
    let mut worker = place.start(&["run", &graph, "--thread", "t"]);
    payments.wait_for(1);
    worker.kill().unwrap();
    worker.wait().unwrap();

    payments.behave(Manner::PayAlways);
    for _ in 0..3 {
        let reply = place.expect(3, &["resume", "--thread", "t"]);
        assert_eq!(reply["status"], "interrupted");
        let item = &reply["interrupts"][0];
        assert_eq!((&item["kind"], &item["node"]), (&json!("in-doubt"), &json!("pay")), "{reply}");
        assert_eq!(item["value"]["operation"]["operation_id"], "pay:1");
        assert_eq!(item["value"]["request"]["body"], json!({ "cents": 5 }), "a person sees what was sent");
        assert!(item["digest"].as_str().unwrap().starts_with("sha256:"));
    }
    assert_eq!(payments.log().len(), 1, "one request, ever");
    // Neither an answer nor new input makes the doubt go away.
    place.refused(2, "HP0408", &["resume", "--thread", "t", "--answer", "true"]);
    place.refused(2, "HP0405", &["resume", "--thread", "t", "--input", "{}", "--supersede"]);
    assert_eq!(payments.log().len(), 1);
}

#[test]
fn an_answer_that_does_not_tell_is_doubt_too() {
    let payments = Payments::start();
    let (place, graph) = at_most_once(&payments);
    payments.behave(Manner::Refuse(500));
    let reply = place.expect(3, &["run", &graph, "--thread", "t"]);
    assert_eq!(reply["interrupts"][0]["kind"], "in-doubt", "{reply}");
    payments.behave(Manner::PayAlways);
    place.expect(3, &["resume", "--thread", "t"]);
    assert_eq!(payments.log().len(), 1);
}

#[test]
fn a_receiver_that_does_not_deduplicate_is_asked_once_however_often_the_thread_is_replayed() {
    let payments = Payments::start();
    payments.behave(Manner::PayAlways);
    let (place, graph) = at_most_once(&payments);
    assert_eq!(place.expect(0, &["run", &graph, "--thread", "t"])["status"], "done");
    let history = place.expect(0, &["history", "t"]);
    let from = history[1]["checkpoint_id"].as_str().unwrap();
    for _ in 0..3 {
        place.expect(0, &["replay", "--thread", "t", "--from", from]);
    }
    assert_eq!(payments.log().len(), 1);
}
