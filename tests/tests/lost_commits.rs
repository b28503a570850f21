//! Committed, then lost: each write of a graph's life fails in turn, done or not, and its caller cannot know which. The same promises hold.

use holdpoint_tests::crash::enumerate::replay;
use holdpoint_tests::crash::lane::End;
use holdpoint_tests::crash::order::Lost;
use holdpoint_tests::crash::plan::Plan;
use holdpoint_tests::crash::run::Variation;
use holdpoint_tests::crash::scenario::Scenario;

#[test]
fn whichever_write_is_lost_every_promise_holds() {
    for scenario in [Scenario::Refund, Scenario::ThreeEffects] {
        let plan = Plan::new(scenario, []);
        for done in [false, true] {
            for write in 1.. {
                let lost = Some(Lost { write, done });
                let run = replay(&plan, Variation { lost, ..Variation::default() });
                assert_eq!(run.verdict.violations, Vec::<String>::new(), "{plan} {lost:?}");
                let End::Reported(first) = &run.evidence.ends[0] else { panic!("nobody is killed here") };
                let told = first.error.as_deref();
                assert!(matches!(told, None | Some("HP0610")), "{plan} {lost:?}: {told:?} is not what happened");
                // One that never arrived is not among those that the file was told.
                if u64::from(first.writes) + u64::from(!done) < write {
                    assert!(write > 4, "{plan}: the graph has more writes than {write}");
                    break;
                }
            }
        }
    }
}
