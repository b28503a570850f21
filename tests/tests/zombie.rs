//! `SIGSTOP` at every point past the lease, another worker takes over, `SIGCONT`: the zombie writes nothing and sends nothing after its time.

use holdpoint_tests::crash::lane::{End, Lane};
use holdpoint_tests::crash::scenario::Scenario;
use holdpoint_tests::crash::tampered::Red;
use holdpoint_tests::crash::template::Template;
use holdpoint_tests::crash::zombie::{TIMEOUT_MS, zombie};

const RUNS_MAX: u32 = 200;

/// Stops at every point. Gives the number of points, and how often the zombie was refused.
fn at_every_point(scenario: Scenario) -> (u32, usize) {
    let template = Template::make(scenario);
    let mut lane = Lane::open(TIMEOUT_MS);
    let mut refused = 0;
    for point in 1..=RUNS_MAX {
        let Some(found) = zombie(&mut lane, &template, point, None) else { return (point - 1, refused) };
        assert_eq!(found.violations(), Vec::<String>::new(), "{} at {point}: {found:?}", scenario.name());
        if found.held_the_file() {
            println!("{} at {point}: it stood still in the middle of a write to the file", scenario.name());
            continue;
        }
        match &found.successor {
            End::Reported(report) => assert!(
                report.status == "done" || (report.status == "interrupted" && !report.doubts.is_empty()),
                "{} at {point}: {found:?}",
                scenario.name()
            ),
            other => panic!("{} at {point}: {other:?}", scenario.name()),
        }
        if let End::Reported(report) = &found.end
            && let Some(code) = &report.error
        {
            // Taken over, busy, created by another, answered by another, nothing pending any more.
            let fenced = ["HP0402", "HP0403", "HP0407", "HP0408"];
            assert!(fenced.contains(&code.as_str()), "{} at {point}: {found:?}", scenario.name());
            refused += 1;
        }
    }
    panic!("{} has no end", scenario.name())
}

#[test]
fn of_the_refund_graph_nothing_is_written_twice() {
    let (points, refused) = at_every_point(Scenario::Refund);
    println!("stopped at {points} points, refused {refused} times");
    assert!(refused > points as usize / 2);
}

#[test]
fn of_three_effects_nothing_is_written_twice() {
    let (points, refused) = at_every_point(Scenario::ThreeEffects);
    println!("stopped at {points} points, refused {refused} times");
    assert!(refused > points as usize / 2);
}

#[test]
fn without_the_epoch_guard_the_zombie_is_noticed() {
    let template = Template::make(Scenario::Refund);
    let mut lane = Lane::open(TIMEOUT_MS);
    for point in 1..=RUNS_MAX {
        let found = zombie(&mut lane, &template, point, Some(Red::NoEpochGuard));
        let violations = found.expect("it is noticed before its life is over").violations();
        if violations.iter().any(|violation| violation.starts_with("one-writer")) {
            println!("{:?}: noticed at run {point}: {}", Red::NoEpochGuard, violations.join("; "));
            return;
        }
    }
    panic!("not noticed in {RUNS_MAX} runs");
}
