//! A store that takes longer for a write than a worker may go without a sign of life: signs of life and the task's own writes wait for each other,
//! and must not do so for ever.

use holdpoint_tests::crash::enumerate::replay;
use holdpoint_tests::crash::plan::Plan;
use holdpoint_tests::crash::run::Variation;
use holdpoint_tests::crash::scenario::Scenario;

#[test]
fn a_sign_of_life_does_not_stop_the_task_that_it_is_about() {
    for scenario in [Scenario::Refund, Scenario::ThreeEffects] {
        let plan = Plan::new(scenario, []);
        let run = replay(&plan, Variation { slow_ms: Some(50), ..Variation::default() });
        assert_eq!(run.verdict.violations, Vec::<String>::new(), "{plan}");
        assert_eq!(run.evidence.ends.len(), 1, "{plan}: one life is enough: {:?}", run.evidence.ends);
    }
}
