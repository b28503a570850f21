//! The suite notices: with one guard of the product taken out, from outside, the same checks fail within 200 runs.

use holdpoint_tests::crash::enumerate::first_caught;
use holdpoint_tests::crash::run::Variation;
use holdpoint_tests::crash::scenario::Scenario;
use holdpoint_tests::crash::tampered::Red;

const RUNS_MAX: usize = 200;

fn caught(scenario: Scenario, red: Option<Red>, seed: u64) -> Option<(usize, Vec<String>)> {
    let (number, run) = first_caught(scenario, Variation { red, ..Variation::default() }, seed, RUNS_MAX)?;
    Some((number, run.verdict.violations))
}

fn check(scenario: Scenario, red: Red, promise: &str) {
    let seed = rand::random();
    println!("HOLDPOINT_SEED={seed}");
    let (number, violations) =
        caught(scenario, Some(red), seed).unwrap_or_else(|| panic!("{red:?} was not noticed in {RUNS_MAX} runs"));
    println!("{red:?}: noticed at run {number}: {}", violations.join("; "));
    assert!(violations.iter().any(|violation| violation.starts_with(promise)), "{red:?}: {violations:?}");
}

#[test]
fn without_intents_a_request_is_sent_twice() {
    check(Scenario::Refund, Red::NoIntent, "effect-once");
    check(Scenario::ThreeEffects, Red::NoIntent, "effect-once");
}

#[test]
fn without_results_doubt_is_silent() {
    check(Scenario::Refund, Red::NoResult, "no-silent-doubt");
}

#[test]
fn without_the_digest_check_a_request_gets_the_answer_to_another() {
    check(Scenario::Twice, Red::NoDigestCheck, "approved-is-executed");
}

#[test]
fn with_the_digest_check_it_is_a_conflict() {
    assert_eq!(first_caught(Scenario::Twice, Variation::default(), 1, 20).map(|(_, run)| run.verdict.violations), None);
}
