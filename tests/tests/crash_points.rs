//! A worker killed at every point of the refund graph and of a graph with three kinds of effects: every promise holds.
//!
//! By default all single deaths and a random sample of pairs and triples; `make crash` runs all pairs and more triples (`HOLDPOINT_CRASH_RUNS`, in
//! total). `HOLDPOINT_SEED` repeats the random part, `HOLDPOINT_CRASH_PLAN=GRAPH:K1,K2,K3` one run.

use std::time::Instant;

use holdpoint_tests::crash::enumerate::{Extent, enumerate, replay};
use holdpoint_tests::crash::plan::Plan;
use holdpoint_tests::crash::run::Variation;
use holdpoint_tests::crash::scenario::Scenario;

/// Pairs and triples that a test run takes a sample of.
const SAMPLE: Extent = Extent::Sample { pairs: 900, triples: 900 };

#[test]
fn killed_at_every_point_every_promise_holds() {
    if let Ok(plan) = std::env::var("HOLDPOINT_CRASH_PLAN") {
        return show(&plan.parse().unwrap());
    }
    let extent = match std::env::var("HOLDPOINT_CRASH_RUNS") {
        Ok(runs) => Extent::All { runs: runs.parse().unwrap() },
        Err(_) => SAMPLE,
    };
    let seed = std::env::var("HOLDPOINT_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("HOLDPOINT_SEED={seed}");
    let begun = Instant::now();
    let tally = enumerate(&[Scenario::Refund, Scenario::ThreeEffects], extent, seed);
    println!("{}", tally.table(seed, begun.elapsed()));
    let total = tally.total();
    let failures = tally.failures.join("\n");
    assert_eq!(total.failed, 0, "seed {seed}, {} of {} runs:\n{failures}", total.failed, total.runs);
    assert_eq!(total.caught, total.shown, "each attempt without an outcome is shown to a person");
    assert_eq!((total.duplicates, total.stuck), (0, 0));
    // One operation: each death in its window is one item.
    let refund = &tally.graphs[Scenario::Refund.name()];
    assert_eq!(refund.kills_in_window, refund.shown);
    // A suite that never dies where it matters proves nothing.
    assert!(total.kills_in_window > 0 && total.runs_with_two_kills > 0);
    assert_eq!(total.kills.len(), 5, "it died in every kind of place: {:?}", total.kills);
}

/// One run, told in full.
fn show(plan: &Plan) {
    let run = replay(plan, Variation::default());
    for (life, end) in run.evidence.traces.iter().zip(&run.evidence.ends) {
        for line in life {
            println!("{:3} {}", line.point, serde_json::to_string(&line.moment).unwrap());
        }
        println!("    {end:?}\n");
    }
    for (effect, account) in &run.evidence.accounts {
        println!("{}: {account:?}", effect.operation);
    }
    assert_eq!(run.verdict.violations, Vec::<String>::new(), "{plan}");
}
