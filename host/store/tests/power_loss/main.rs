//! Power loss: `acknowledged-is-durable`, on a disk that keeps of unsynced writes what it likes.
//!
//! Each seed starts a store on a simulated disk, writes to it from several lanes at once through the store's group commit, cuts the power in
//! the middle of a write or a sync, draws one of the states that the disk may be in, opens the store on it as the product does, compares it
//! with what was acknowledged, and goes on from that state to a second cut.
//!
//! `synchronous=FULL`, the product's setting, must keep every acknowledged commit. The red proofs show that the test would notice:
//! `synchronous=NORMAL` must lose one, and so must a disk that lies about its syncs.
//!
//! A seed fixes the acts, the moment of the cut (counted in writes and syncs) and what the disk keeps; how the lanes' commits fall into
//! batches is up to the scheduler. To repeat one: `HOLDPOINT_SEED=17 cargo test --release -p holdpoint-store --test power_loss full`.
//!
//! # Layout
//!
//! * `disk`: what a disk holds after a cut, and what of it is simplified; `model`: tests of that.
//! * `vfs`: SQLite on such a disk.
//! * `workload`: what is written; `check`: what must be there.

// SQLite's locks and shared memory are wrapped as its VFS for Unix has them.
#![cfg(unix)]

mod check;
mod disk;
mod model;
mod vfs;
mod workload;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use holdpoint_store::SqliteOptions;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::check::Finding;
use self::disk::{Counted, Cut, Disk, Image, Operation, Role, Syncs};
use self::workload::{LANES, Lane};

/// Fewer where SQLite is built without optimisation, which takes five times as long.
const SEEDS: RangeInclusive<u64> = if cfg!(debug_assertions) { 1..=50 } else { 1..=200 };

/// The first cut of a seed finds an empty directory, the second what the first one left.
const CUTS_PER_SEED: u32 = 2;

/// Seeds of a red proof: few, since about half of them or more are caught.
const SEEDS_RED: RangeInclusive<u64> = 1..=24;

/// What a store runs on.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    synchronous_full: bool,
    syncs: Syncs,
}

/// What a seed, or many, came to.
#[derive(Debug, Default)]
struct Tally {
    /// In the middle of what the power went.
    cuts: BTreeMap<(Role, Operation), usize>,
    acknowledged: usize,
    there: usize,
    not_there: usize,
}

/// `acknowledged-is-durable` with the product's options.
#[test]
fn full_keeps_what_it_acknowledged() {
    let conditions = Conditions { synchronous_full: SqliteOptions::default().synchronous_full, syncs: Syncs::Honest };
    let mut total = Tally::default();
    let mut findings = Vec::new();
    let outcomes = run_seeds(SEEDS, conditions);
    let seeds = outcomes.len();
    for (seed, outcome) in outcomes {
        match outcome {
            Ok(tally) => total.add(&tally),
            Err(finding) => findings.push(format!("seed {seed}: {finding}")),
        }
    }
    report(&format!("synchronous=FULL: {seeds} seeds, {total}, lost {}", findings.len()));
    assert!(findings.is_empty(), "repeat with HOLDPOINT_SEED=…: {findings:#?}");
    if seeds >= 200 {
        for moment in [
            (Role::Log, Operation::Write),
            (Role::Log, Operation::Sync),
            (Role::Main, Operation::Write),
            (Role::Main, Operation::Sync),
        ] {
            assert!(total.cuts.contains_key(&moment), "no cut fell into {moment:?}: {total}");
        }
        assert!(total.there > 0 && total.not_there > 0, "both ends of an unacknowledged commit were seen: {total}");
    }
}

/// Red proof: `NORMAL` loses acknowledged commits, and nothing worse, as SQLite says of it.
#[test]
fn normal_loses_an_acknowledged_commit() {
    let outcomes = run_seeds(SEEDS_RED, Conditions { synchronous_full: false, syncs: Syncs::Honest });
    let found = caught("synchronous=NORMAL", outcomes);
    for (seed, finding) in found {
        assert!(matches!(finding, Finding::Lost { .. }), "seed {seed}: worse than a loss: {finding}");
    }
}

/// Red proof: commits whose sync did nothing are missed.
#[test]
fn a_disk_that_ignores_the_logs_syncs_is_caught() {
    let conditions = Conditions { synchronous_full: true, syncs: Syncs::IgnoredOn(Role::Log) };
    caught("FULL on a disk that ignores the log's syncs", run_seeds(SEEDS_RED, conditions));
}

/// Red proof: pages that were folded out of the log, and then never reached the file, are missed.
#[test]
fn a_disk_that_ignores_the_files_syncs_is_caught() {
    let conditions = Conditions { synchronous_full: true, syncs: Syncs::IgnoredOn(Role::Main) };
    caught("FULL on a disk that ignores the file's syncs", run_seeds(SEEDS_RED, conditions));
}

/// Reports and asserts that there were findings.
fn caught(what: &str, outcomes: Vec<(u64, Result<Tally, Finding>)>) -> Vec<(u64, Finding)> {
    let seeds = outcomes.len();
    let found: Vec<(u64, Finding)> =
        outcomes.into_iter().filter_map(|(seed, outcome)| outcome.err().map(|finding| (seed, finding))).collect();
    let first =
        found.first().map_or_else(String::new, |(seed, finding)| format!("; the first at seed {seed}: {finding}"));
    report(&format!("{what}: caught at {} of {seeds} seeds{first}", found.len()));
    let harness = found.iter().find(|(_, finding)| matches!(finding, Finding::Harness(_)));
    assert!(harness.is_none(), "{harness:?}");
    assert!(!found.is_empty() || seeds == 1, "not caught within {seeds} seeds");
    found
}

#[expect(clippy::print_stdout, reason = "the table is wanted, and the seeds of a failed run")]
fn report(line: &str) {
    println!("power loss, {line}");
}

/// What each seed came to, in order; on every core.
fn run_seeds(seeds: RangeInclusive<u64>, conditions: Conditions) -> Vec<(u64, Result<Tally, Finding>)> {
    let seeds = match std::env::var("HOLDPOINT_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("HOLDPOINT_SEED is a number");
            seed..=seed
        }
        Err(_) => seeds,
    };
    let next = AtomicU64::new(*seeds.start());
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        break;
                    }
                    let outcome = run_seed(seed, conditions);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

fn run_seed(seed: u64, conditions: Conditions) -> Result<Tally, Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let home = tempfile::tempdir().expect("a directory");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut lanes: Vec<Lane> = (0..LANES).map(|number| Lane::new(seed, number)).collect();
    let mut image = Image::default();
    let mut tally = Tally::default();
    for life in 0..CUTS_PER_SEED {
        let cut = draw_cut(&mut random);
        let directory = home.path().join(format!("life-{life}"));
        image.write_to(&directory).expect("writable");
        let disk = Arc::new(Disk::new(image, conditions.syncs, cut));
        let mounted = vfs::mount(&directory, Arc::clone(&disk));
        let options = SqliteOptions { synchronous_full: conditions.synchronous_full, ..SqliteOptions::default() };
        let path = directory.join("store.db");
        let lived = runtime.block_on(workload::live(&path, &options, lanes, &disk, &mut random));
        lanes = lived.map_err(|error| Finding::Harness(format!("life {life}: {error}")))?;
        drop(mounted);

        image = disk.after_cut(&mut random);
        // A copy is checked, so that the next life begins with the log as the cut left it.
        let found = home.path().join(format!("found-{life}"));
        image.write_to(&found).expect("writable");
        let unacknowledged = runtime.block_on(check::check(&found.join("store.db"), &mut lanes))?;
        *tally.cuts.entry(disk.cut_during().expect("the power went")).or_default() += 1;
        tally.there += unacknowledged.there;
        tally.not_there += unacknowledged.not_there;
    }
    // Those found there count as unacknowledged, although the lanes take them as done.
    tally.acknowledged = lanes.iter().map(|lane| lane.acknowledged.len()).sum::<usize>() - tally.there;
    Ok(tally)
}

/// When the power goes. By far most operations write the log, so the rarer moments are drawn for themselves.
fn draw_cut(random: &mut ChaCha8Rng) -> Cut {
    let (among, number_max) = match random.random_range(0..100) {
        // The creation of the file, in some fifty operations, and the first commits.
        0..10 => (Counted::All, 80),
        // SQLite folds the log after a thousand pages, which are two thousand writes; closing the store folds it too.
        10..50 => (Counted::All, 2_500),
        50..75 => (Counted::Syncs, 100),
        75..95 => (Counted::Folding, 150),
        _ => (Counted::FoldingSyncs, 4),
    };
    Cut { number: random.random_range(1..=number_max), among }
}

impl Tally {
    fn add(&mut self, other: &Self) {
        for (moment, count) in &other.cuts {
            *self.cuts.entry(*moment).or_default() += count;
        }
        self.acknowledged += other.acknowledged;
        self.there += other.there;
        self.not_there += other.not_there;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |role, operation| self.cuts.get(&(role, operation)).copied().unwrap_or(0);
        let commit = [count(Role::Log, Operation::Write), count(Role::Log, Operation::Sync)];
        let fold = [count(Role::Main, Operation::Write), count(Role::Main, Operation::Sync)];
        let cuts: usize = self.cuts.values().sum();
        write!(
            formatter,
            "{cuts} cuts ({} inside a commit: {} writes, {} syncs; {} inside the file: {} writes, {} syncs; {} elsewhere), acknowledged {}, unacknowledged {} there / {} not there",
            commit[0] + commit[1],
            commit[0],
            commit[1],
            fold[0] + fold[1],
            fold[0],
            fold[1],
            cuts - commit.iter().chain(&fold).sum::<usize>(),
            self.acknowledged,
            self.there,
            self.not_there,
        )
    }
}
