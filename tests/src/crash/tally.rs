//! What a set of runs came to: a table fit to publish.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::run::Run;

/// Failures that are kept in words; all are counted.
const SHOWN_MAX: usize = 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    /// Runs by graph.
    pub runs: BTreeMap<&'static str, usize>,
    /// Worker processes.
    pub lives: usize,
    /// Deaths by place.
    pub kills: BTreeMap<&'static str, usize>,
    /// Runs with two or more deaths.
    pub runs_with_two_kills: usize,
    /// Deaths between a durable intent and its durable outcome.
    pub kills_in_window: usize,
    /// Attempts that those deaths left without an outcome.
    pub caught: usize,
    /// Doubts that a person was shown.
    pub shown: usize,
    /// How many of them had happened, and how many were sent then.
    pub said: (usize, usize),
    /// Effects that happened more than once.
    pub duplicates: usize,
    /// Threads that did not come to their end.
    pub stuck: usize,
    /// Runs with a broken promise.
    pub failed: usize,
    /// The first of them in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, run: &Run) {
        let Run { evidence, verdict } = run;
        *self.runs.entry(evidence.plan.scenario.name()).or_default() += 1;
        self.lives += evidence.ends.len();
        self.runs_with_two_kills += usize::from(verdict.kills.len() >= 2);
        for kill in &verdict.kills {
            *self.kills.entry(kill.at).or_default() += 1;
            self.kills_in_window += usize::from(kill.caught > 0);
        }
        self.caught += verdict.caught.len();
        self.shown += evidence.shown.len();
        self.said.0 += evidence.said_happened;
        self.said.1 += evidence.said_send;
        self.duplicates += verdict.duplicates;
        self.stuck += usize::from(verdict.stuck);
        if !verdict.violations.is_empty() {
            self.failed += 1;
            if self.failures.len() < SHOWN_MAX {
                let plan = &evidence.plan;
                self.failures.push(format!("HOLDPOINT_CRASH_PLAN={plan}\n  {}", verdict.violations.join("\n  ")));
            }
        }
    }

    /// Takes another tally in.
    pub fn merge(&mut self, other: Self) {
        for (name, count) in other.runs {
            *self.runs.entry(name).or_default() += count;
        }
        for (name, count) in other.kills {
            *self.kills.entry(name).or_default() += count;
        }
        self.lives += other.lives;
        self.runs_with_two_kills += other.runs_with_two_kills;
        self.kills_in_window += other.kills_in_window;
        self.caught += other.caught;
        self.shown += other.shown;
        self.said = (self.said.0 + other.said.0, self.said.1 + other.said.1);
        self.duplicates += other.duplicates;
        self.stuck += other.stuck;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(SHOWN_MAX);
    }

    /// All runs.
    pub fn runs(&self) -> usize {
        self.runs.values().sum()
    }

    /// The table.
    pub fn table(&self, seed: u64, duration: Duration) -> Table<'_> {
        Table { tally: self, seed, duration }
    }
}

/// See [`Tally::table`].
pub struct Table<'a> {
    tally: &'a Tally,
    seed: u64,
    duration: Duration,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, seed, duration } = self;
        let mut row = |name: &str, value: String| writeln!(formatter, "| {name:<42} | {value:>12} |");
        row("", String::new())?;
        row(&"-".repeat(42), "-".repeat(12))?;
        row("runs", tally.runs().to_string())?;
        for (name, count) in &tally.runs {
            row(&format!("- graph {name}"), count.to_string())?;
        }
        row("worker processes", tally.lives.to_string())?;
        row("kills (SIGKILL)", tally.kills.values().sum::<usize>().to_string())?;
        for (name, count) in &tally.kills {
            row(&format!("- {name}"), count.to_string())?;
        }
        row("runs with two or more kills", tally.runs_with_two_kills.to_string())?;
        row("kills in the send window", tally.kills_in_window.to_string())?;
        row("attempts that they left without an outcome", tally.caught.to_string())?;
        row("in-doubt items shown to a person", tally.shown.to_string())?;
        row("- had happened", tally.said.0.to_string())?;
        row("- had not, were sent then", tally.said.1.to_string())?;
        row("duplicates", tally.duplicates.to_string())?;
        row("stuck threads", tally.stuck.to_string())?;
        row("broken promises", tally.failed.to_string())?;
        row("seed", seed.to_string())?;
        row("seconds", format!("{:.1}", duration.as_secs_f64()))?;
        let runs = u32::try_from(tally.runs().max(1)).unwrap_or(u32::MAX);
        row("milliseconds per run", format!("{:.1}", (*duration / runs).as_secs_f64() * 1000.0))
    }
}
