//! Random scripts on two engines, one in memory and one on SQLite: what they answer and everything that can be seen afterwards must be equal.
//!
//! Scripts go on until everything that can be done has been done and every error that can occur has occurred. Set `HOLDPOINT_SEED` to repeat one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a panic is a failed test, and the seed of a failed run is wanted"
)]

#[path = "../support/mod.rs"]
mod support;

mod watch;

mod actors;
mod graphs;

mod action;
mod errors;

mod observe;
mod world;

mod invariants;

use std::collections::BTreeSet;
use std::sync::Arc;

use holdpoint_store::{MemoryStore, SqliteOptions, SqliteStore, Store};

use self::action::{Action, Random, Reply, Step};
use self::world::{Outcome, World};

/// What scripts have to do, besides meeting every error.
const ACTIONS: [&str; 50] = [
    "run",
    "input",
    "input superseding",
    "answer bare",
    "answer one",
    "answer all",
    "answer unknown",
    "answer stale",
    "answer foreign",
    "answer empty map",
    "answer no map",
    "command",
    "command answering",
    "command going",
    "command sending",
    "proceed",
    "update of the head",
    "update of a checkpoint",
    "update inferring",
    "update as a node",
    "update as input",
    "update as a copy",
    "update as the end",
    "update going",
    "update in bulk",
    "replay",
    "fork",
    "copy",
    "build",
    "settle happened",
    "settle send",
    "settle queue",
    "settle fail",
    "delete",
    "prune to the latest",
    "prune by deleting",
    "prune counting",
    "state of the head",
    "state of a checkpoint",
    "search",
    "race",
    "zombie",
    "with breakpoints",
    "with metadata",
    "with effects recorded",
    "with effects asked for",
    "with a drain",
    "death before a write",
    "death after a write",
    "hit of another thread",
];

const STEPS: usize = 40;
const SEEDS_MIN: u64 = 10;
const SEEDS_MAX: u64 = 400;

#[tokio::test]
async fn two_engines_on_two_stores_do_the_same() {
    let repeated = std::env::var("HOLDPOINT_SEED").ok().map(|seed| seed.parse().expect("HOLDPOINT_SEED is a number"));
    let mut reached = BTreeSet::new();
    for seed in 1..=SEEDS_MAX {
        let seed = repeated.unwrap_or(seed);
        script(seed, &mut reached).await;
        println!("seed={seed}: never occurred: {:?}", missing(&reached));
        if repeated.is_some() || (seed >= SEEDS_MIN && missing(&reached).is_empty()) {
            return;
        }
    }
    panic!("after {SEEDS_MAX} seeds never occurred: {:?}", missing(&reached));
}

fn missing(reached: &BTreeSet<String>) -> Vec<&'static str> {
    let errors = errors::ERRORS.iter().filter(|(_, excluded)| excluded.is_none()).map(|(name, _)| *name);
    ACTIONS.into_iter().chain(errors).chain(errors::RECORDED).filter(|what| !reached.contains(*what)).collect()
}

async fn script(seed: u64, reached: &mut BTreeSet<String>) {
    let directory = Directory::new(seed);
    // Power is not lost here: waiting for the disk would only take time.
    let options = SqliteOptions { synchronous_full: false, ..SqliteOptions::default() };
    let sqlite = SqliteStore::open(directory.0.join("store.db"), options).expect("opens");
    let at_once = seed % 4 == 0;
    let mut memory = World::new(Arc::new(MemoryStore::new()) as Arc<dyn Store>, at_once).await;
    let mut sqlite = World::new(Arc::new(sqlite) as Arc<dyn Store>, at_once).await;
    let mut random = Random(seed);
    for number in 0..STEPS {
        let step = random.step(&memory.facts(), at_once);
        let place = || format!("seed={seed} step={number} {step:?}");
        let whole = number % 8 == 7;
        let outcome = memory.perform(&step, whole).await;
        let other = sqlite.perform(&step, whole).await;
        assert_eq!((outcome.died, outcome.error), (other.died, other.error), "{}\n{outcome:?}\n{other:?}", place());
        same(&outcome.told, &other.told, &place);
        same(&memory.tell().await, &sqlite.tell().await, &place);
        for world in [&memory, &sqlite] {
            let faults = invariants::broken(world);
            assert!(faults.is_empty(), "{}\n{}", place(), faults.join("\n"));
        }
        reach(&memory, &step, &outcome, reached);
    }
}

fn same(memory: &[String], sqlite: &[String], place: &impl Fn() -> String) {
    let differ = (0..memory.len().max(sqlite.len())).find(|index| memory.get(*index) != sqlite.get(*index));
    if let Some(index) = differ {
        panic!("{}\nline {index}\nmemory: {:#?}\nsqlite: {:#?}", place(), memory.get(index), sqlite.get(index));
    }
}

/// Notes what a step did. Of what can be refused, only what was not counts.
fn reach(world: &World, step: &Step, outcome: &Outcome, reached: &mut BTreeSet<String>) {
    reached.extend(outcome.error.map(str::to_owned));
    for seen in &world.threads {
        let tasks = seen.snapshots().flat_map(|snapshot| &snapshot.tasks).filter_map(|task| task.error.as_ref());
        reached.extend(tasks.chain(&seen.record.error).map(|error| error.code.clone()));
        if !seen.hits.is_empty() {
            reached.insert("hit of another thread".into());
        }
    }
    if outcome.died {
        let after = step.cut.is_some_and(|(_, fault)| fault == holdpoint_store::faults::Fault::After);
        reached.insert(if after { "death after a write" } else { "death before a write" }.into());
    }
    let asked = |answer: &Reply| match answer {
        Reply::Bare => "answer bare",
        Reply::One(_) => "answer one",
        Reply::All => "answer all",
        Reply::Unknown => "answer unknown",
        Reply::Stale(_) => "answer stale",
        Reply::Foreign(_) => "answer foreign",
        Reply::EmptyMap => "answer empty map",
        Reply::NoMap => "answer no map",
    };
    // These are there to be refused.
    if let Action::Answer { answer, .. } = &step.action
        && !matches!(answer, Reply::Bare | Reply::One(_) | Reply::All)
    {
        reached.insert(asked(answer).into());
    }
    if outcome.error.is_some() {
        if matches!(step.action, Action::Zombie) && outcome.error == Some("TakenOver") {
            reached.insert("zombie".into());
        }
        return;
    }
    let mut did: Vec<&str> = match &step.action {
        Action::Run { .. } => vec!["run"],
        Action::Input { supersede: true, .. } => vec!["input superseding"],
        Action::Input { .. } => vec!["input"],
        Action::Answer { answer, .. } => vec![asked(answer)],
        Action::Command { answer, goto, sent, .. } => vec![
            "command",
            if answer.is_some() { "command answering" } else { "command" },
            match (goto, sent) {
                (Some(_), Some(_)) => "command sending",
                (Some(_), None) => "command going",
                _ => "command",
            },
        ],
        Action::Proceed => vec!["proceed"],
        Action::Update { at, supersteps } => {
            let mut did =
                vec![if matches!(at, action::Place::Head) { "update of the head" } else { "update of a checkpoint" }];
            did.extend(supersteps.iter().flatten().map(|said| match said.as_node {
                None => "update inferring",
                Some("__input__") => "update as input",
                Some("__copy__") => "update as a copy",
                Some("END") => "update as the end",
                Some(_) => "update as a node",
            }));
            if supersteps.iter().flatten().any(|said| said.goto.is_some()) {
                did.push("update going");
            }
            if supersteps.len() > 1 {
                did.push("update in bulk");
            }
            did
        }
        Action::Replay { .. } => vec!["replay"],
        Action::Fork { .. } => vec!["fork"],
        Action::Copy { .. } => vec!["copy"],
        Action::Build { .. } => vec!["build"],
        Action::Settle { word, .. } => vec![["settle happened", "settle send", "settle queue", "settle fail"][*word]],
        Action::Delete => vec!["delete"],
        Action::Prune { dry_run: true, .. } => vec!["prune counting"],
        Action::Prune { delete: true, .. } => vec!["prune by deleting"],
        Action::Prune { .. } => vec!["prune to the latest"],
        Action::State { at } if matches!(at, action::Place::Head) => vec!["state of the head"],
        Action::State { .. } => vec!["state of a checkpoint"],
        Action::Search { .. } => vec!["search"],
        Action::Race { .. } if outcome.told.iter().any(|line| line.starts_with("one won")) => vec!["race"],
        Action::Race { .. } | Action::Zombie => Vec::new(),
    };
    if !step.before.is_empty() || !step.after.is_empty() {
        did.push("with breakpoints");
    }
    if step.metadata != serde_json::json!({}) {
        did.push("with metadata");
    }
    match step.effects {
        Some(holdpoint_graph::nodes::EffectMode::Recorded) => did.push("with effects recorded"),
        Some(holdpoint_graph::nodes::EffectMode::Ask) => did.push("with effects asked for"),
        _ => {}
    }
    if step.drain {
        did.push("with a drain");
    }
    reached.extend(did.into_iter().map(str::to_owned));
}

/// A directory of its own, gone afterwards.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(seed: u64) -> Self {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("differential-{}-{seed}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left over does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
