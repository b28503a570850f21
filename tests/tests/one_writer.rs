//! Two processes at once on one thread: exactly one advances it.

use std::sync::Barrier;

use holdpoint_tests::payments::Payments;
use holdpoint_tests::program::{Outcome, Place, repository};
use serde_json::json;

const INPUT: &str = r#"{"order_id":"9241","amount_cents":50000}"#;

/// Runs both at the same moment.
fn race(place: &Place, one: &[&str], other: &[&str]) -> [Outcome; 2] {
    let barrier = Barrier::new(2);
    let run = |arguments: &[&str]| {
        barrier.wait();
        place.run(arguments)
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run(one));
        let second = scope.spawn(|| run(other));
        [first.join().unwrap(), second.join().unwrap()]
    })
}

#[test]
fn of_two_answers_one_wins_and_the_other_is_told() {
    let payments = Payments::start();
    let graph = repository().join("example-nodes/refund/refund.graph.toml").display().to_string();
    for round in 0..10 {
        let place = Place::with_refund_connectors(payments.url());
        let input = json!({"order_id": format!("{round}"), "amount_cents": 50000}).to_string();
        place.expect(3, &["run", &graph, "--thread", "t", "--input", &input]);
        let yes = ["resume", "--thread", "t", "--answer", r#"{"approved":true}"#, "--by", "ana"];
        let no = ["resume", "--thread", "t", "--answer", r#"{"approved":false}"#, "--by", "bob"];
        let outcomes = race(&place, &yes, &no);
        let winners: Vec<usize> = (0..2).filter(|index| outcomes[*index].exit == Some(0)).collect();
        let [winner] = winners[..] else { panic!("round {round}: one must win: {outcomes:?}") };
        let loser = &outcomes[1 - winner];
        let code = loser.reply["error"]["code"].as_str().unwrap_or_default();
        assert!(["HP0402", "HP0407", "HP0408"].contains(&code), "round {round}: {loser:?}");
        if code != "HP0402" {
            let name = ["cli:ana", "cli:bob"][winner];
            assert!(loser.reply["error"]["message"].as_str().unwrap().contains(name), "round {round}: {loser:?}");
        }
        let paid = payments.paid(&format!("refund:{round}:50000"));
        assert_eq!(paid, usize::from(winner == 0), "round {round}: paid only if yes won");
    }
}

#[test]
fn of_two_runs_with_one_name_one_begins() {
    let payments = Payments::start();
    let graph = repository().join("example-nodes/refund/refund.graph.toml").display().to_string();
    for round in 0..5 {
        let place = Place::with_refund_connectors(payments.url());
        let run = ["run", &graph, "--thread", "t", "--input", INPUT];
        let outcomes = race(&place, &run, &run);
        let begun = outcomes.iter().filter(|outcome| outcome.exit == Some(3)).count();
        assert_eq!(begun, 1, "round {round}: {outcomes:?}");
        let history = place.expect(0, &["history", "t"]);
        assert_eq!(history.as_array().unwrap().len(), 3, "round {round}: one input, one step: {history}");
    }
}
