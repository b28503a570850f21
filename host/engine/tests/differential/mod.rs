//! Random scripts on two engines, one in memory and one on SQLite: what they answer and everything that can be seen afterwards must be equal.
//!
//! Scripts go on until everything that can be done has been done and every error that can occur has occurred. Set `HOLDPOINT_SEED` to repeat one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a panic is a failed test, and the seed of a failed run is wanted"
)]

pub(crate) mod watch;

mod actors;
mod graphs;

mod action;
mod draw;
mod errors;

pub(crate) mod observe;
mod world;

mod perform;
mod resolve;

mod invariants;
mod reached;

mod found;

use std::collections::BTreeSet;
use std::sync::Arc;

use holdpoint_store::{MemoryStore, SqliteOptions, SqliteStore, Store};

use self::draw::Random;
use self::reached::missing;
use self::world::World;

const STEPS: usize = 40;
const SEEDS_MIN: u64 = 10;
/// Scripts know nothing of each other.
const SEEDS_AT_ONCE: usize = 2;
const SEEDS_MAX: u64 = 400;

#[test]
fn two_engines_on_two_stores_do_the_same() {
    if let Ok(seed) = std::env::var("HOLDPOINT_SEED") {
        script(seed.parse().expect("HOLDPOINT_SEED is a number"));
        return;
    }
    let mut reached = BTreeSet::new();
    for first in (1..SEEDS_MAX).step_by(SEEDS_AT_ONCE) {
        let last = first + SEEDS_AT_ONCE as u64;
        let scripts: Vec<_> = (first..last).map(|seed| std::thread::spawn(move || script(seed))).collect();
        for script in scripts {
            match script.join() {
                Ok(did) => reached.extend(did),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        println!("up to seed={}: never occurred: {:?}", last - 1, missing(&reached));
        if last > SEEDS_MIN && missing(&reached).is_empty() {
            return;
        }
    }
    panic!("after {SEEDS_MAX} seeds never occurred: {:?}", missing(&reached));
}

/// Runs one script; gives what occurred in it.
fn script(seed: u64) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut reached = BTreeSet::new();
    runtime.block_on(compare(seed, &mut reached));
    reached
}

async fn compare(seed: u64, reached: &mut BTreeSet<String>) {
    let directory = Directory::new(seed);
    // Power is not lost here: waiting for the disk would only take time.
    let options = SqliteOptions { synchronous_full: false, ..SqliteOptions::default() };
    let sqlite = SqliteStore::open(directory.0.join("store.db"), options).expect("opens");
    let at_once = seed.is_multiple_of(4);
    let mut memory = World::new(Arc::new(MemoryStore::new()) as Arc<dyn Store>, at_once).await;
    let mut sqlite = World::new(Arc::new(sqlite) as Arc<dyn Store>, at_once).await;
    let mut random = Random(seed);
    for number in 0..STEPS {
        let step = random.step(&memory.facts(), at_once);
        let place = || format!("seed={seed} step={number} {step:?}");
        let whole = number % 8 == 7;
        let held = memory.held(&step);
        let outcome = memory.perform(&step, whole).await;
        let other = sqlite.perform(&step, whole).await;
        assert_eq!((outcome.died, outcome.error), (other.died, other.error), "{}\n{outcome:?}\n{other:?}", place());
        same(&outcome.told, &other.told, &place);
        same(&memory.tell().await, &sqlite.tell().await, &place);
        let refused = outcome.told.iter().find(|line| line.contains(" HP0606: ") || line.contains(" HP0611: "));
        assert!(refused.is_none(), "the engine wrote what does not fit: {}\n{refused:?}", place());
        let kept = held.is_none() || held == memory.epoch(step.thread);
        assert!(kept, "a thread was taken from its worker: {}", place());
        for world in [&memory, &sqlite] {
            let faults = invariants::broken(world);
            assert!(faults.is_empty(), "{}\n{}", place(), faults.join("\n"));
        }
        reached::note(&memory, &step, &outcome, reached);
    }
}

fn same(memory: &[String], sqlite: &[String], place: &impl Fn() -> String) {
    let differ = (0..memory.len().max(sqlite.len())).find(|index| memory.get(*index) != sqlite.get(*index));
    if let Some(index) = differ {
        panic!("{}\nline {index}\nmemory: {:#?}\nsqlite: {:#?}", place(), memory.get(index), sqlite.get(index));
    }
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
