//! Which plans are run, and by whom: all single deaths, all pairs, then random triples.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Mutex;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::lane::{End, Lane};
use super::plan::Plan;
use super::run::{Run, Variation, run};
use super::scenario::Scenario;
use super::tally::Tally;
use super::template::Template;

/// Longest time of one attempt: nothing in these runs is slow on purpose.
const TIMEOUT_MS: u64 = 10_000;
/// A life after a death has a few points more than a whole one has: it claims what the dead one held.
const POINTS_MORE: u32 = 6;

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every single death, every pair, then random triples until there are so many runs in total.
    All {
        /// Runs in total.
        runs: usize,
    },
    /// Every single death, and so many random pairs and triples.
    Sample {
        /// Random pairs.
        pairs: usize,
        /// Random triples.
        triples: usize,
    },
}

/// What one lane does next.
enum Job {
    /// One plan.
    One(Plan),
    /// The plan with one more death, at each point in turn until a life has no such point.
    Sweep(Plan),
}

/// Runs plans of the graphs on all processors. Not to be called from inside a runtime.
pub fn enumerate(scenarios: &[Scenario], extent: Extent, seed: u64) -> Tally {
    let templates: Vec<Template> = scenarios.iter().map(|scenario| Template::make(*scenario)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let points: Vec<u32> = templates.iter().map(points_of_a_whole_life).collect();
    let singles = scenarios.iter().map(|scenario| Job::Sweep(Plan::new(*scenario, []))).collect();
    tally.merge(on_all_lanes(&templates, singles));
    let mut random_plan = |deaths: usize| {
        let chosen = random.random_range(0..scenarios.len());
        let deaths: Vec<u32> = (0..deaths).map(|_| random.random_range(1..=points[chosen] + POINTS_MORE)).collect();
        Job::One(Plan::new(scenarios[chosen], deaths))
    };
    match extent {
        Extent::All { runs } => {
            let firsts = scenarios.iter().zip(&points);
            let pairs = firsts
                .flat_map(|(scenario, points)| (1..=*points).map(|first| Job::Sweep(Plan::new(*scenario, [first]))));
            tally.merge(on_all_lanes(&templates, pairs.collect()));
            let triples = (tally.total().runs..runs).map(|_| random_plan(3)).collect();
            tally.merge(on_all_lanes(&templates, triples));
        }
        Extent::Sample { pairs, triples } => {
            let jobs = (0..pairs).map(|_| 2).chain((0..triples).map(|_| 3)).map(random_plan).collect();
            tally.merge(on_all_lanes(&templates, jobs));
        }
    }
    tally
}

/// Runs one plan alone.
pub fn replay(plan: &Plan, variation: Variation) -> Run {
    run(&mut Lane::open(TIMEOUT_MS), &Template::make(plan.scenario), plan, variation)
}

/// Runs plans one after the other until one breaks a promise: then how many were run, and that one.
pub fn first_caught(scenario: Scenario, variation: Variation, seed: u64, runs_max: usize) -> Option<(usize, Run)> {
    let template = Template::make(scenario);
    let points = points_of_a_whole_life(&template);
    let mut lane = Lane::open(TIMEOUT_MS);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (1..=runs_max).find_map(|number| {
        let plan = Plan::new(scenario, [random.random_range(1..=points)]);
        let run = run(&mut lane, &template, &plan, variation);
        (!run.verdict.violations.is_empty()).then_some((number, run))
    })
}

/// How many points a thread passes when nobody dies.
pub fn points_of_a_whole_life(template: &Template) -> u32 {
    let plan = Plan::new(template.scenario, []);
    let run = run(&mut Lane::open(TIMEOUT_MS), template, &plan, Variation::default());
    assert_eq!(run.verdict.violations, Vec::<String>::new(), "{plan}");
    let [End::Reported(report)] = run.evidence.ends.as_slice() else { panic!("one life: {:?}", run.evidence.ends) };
    report.points
}

fn on_all_lanes(templates: &[Template], jobs: VecDeque<Job>) -> Tally {
    let jobs = Mutex::new(jobs);
    let lanes = std::thread::available_parallelism().map_or(1, NonZero::get);
    let tallies = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(|| lane(templates, &jobs))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane ends well")).collect::<Vec<_>>()
    });
    let mut whole = Tally::default();
    tallies.into_iter().for_each(|tally| whole.merge(tally));
    whole
}

fn lane(templates: &[Template], jobs: &Mutex<VecDeque<Job>>) -> Tally {
    let mut lane = Lane::open(TIMEOUT_MS);
    let mut tally = Tally::default();
    loop {
        let job = jobs.lock().expect("no lane panics while it takes a job").pop_front();
        let Some(job) = job else { return tally };
        let (Job::One(plan) | Job::Sweep(plan)) = &job;
        let scenario = plan.scenario;
        let template = templates.iter().find(|template| template.scenario == scenario).expect("each has one");
        match job {
            Job::One(plan) => tally.add(&run(&mut lane, template, &plan, Variation::default())),
            Job::Sweep(prefix) => {
                for point in 1.. {
                    let deaths: Vec<u32> = prefix.deaths.iter().copied().chain([point]).collect();
                    let run = run(&mut lane, template, &Plan::new(scenario, deaths), Variation::default());
                    tally.add(&run);
                    if run.verdict.kills.len() <= prefix.deaths.len() {
                        break;
                    }
                }
            }
        }
    }
}
