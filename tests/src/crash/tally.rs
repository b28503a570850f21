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
    /// By graph.
    pub graphs: BTreeMap<&'static str, Counts>,
    /// The first broken promises in words, each with the plan that shows it again.
    pub failures: Vec<String>,
}

/// Counts of runs of one graph, or of all.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Runs.
    pub runs: usize,
    /// Runs with two or more deaths.
    pub runs_with_two_kills: usize,
    /// Worker processes.
    pub lives: usize,
    /// Deaths by place.
    pub kills: BTreeMap<&'static str, usize>,
    /// Deaths between a durable intent and its durable outcome.
    pub kills_in_window: usize,
    /// Attempts that those deaths left without an outcome. One death may leave several: of parallel tasks, of one call.
    pub caught: usize,
    /// Doubts that a person was shown.
    pub shown: usize,
    /// How many of them had happened.
    pub happened: usize,
    /// How many of them had not, and were sent then.
    pub sent_then: usize,
    /// Effects that happened more than once.
    pub duplicates: usize,
    /// Threads that did not come to their end.
    pub stuck: usize,
    /// Runs with a broken promise.
    pub failed: usize,
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, run: &Run) {
        let Run { evidence, verdict } = run;
        let counts = self.graphs.entry(evidence.plan.scenario.name()).or_default();
        counts.runs += 1;
        counts.runs_with_two_kills += usize::from(verdict.kills.len() >= 2);
        counts.lives += evidence.ends.len();
        for kill in &verdict.kills {
            *counts.kills.entry(kill.at).or_default() += 1;
            counts.kills_in_window += usize::from(kill.caught > 0);
        }
        counts.caught += verdict.caught.len();
        counts.shown += evidence.shown.len();
        counts.happened += evidence.said_happened;
        counts.sent_then += evidence.said_send;
        counts.duplicates += verdict.duplicates;
        counts.stuck += usize::from(verdict.stuck);
        counts.failed += usize::from(!verdict.violations.is_empty());
        if !verdict.violations.is_empty() && self.failures.len() < SHOWN_MAX {
            let plan = &evidence.plan;
            self.failures.push(format!("HOLDPOINT_CRASH_PLAN={plan}\n  {}", verdict.violations.join("\n  ")));
        }
    }

    /// Takes another tally in.
    pub fn merge(&mut self, other: Self) {
        for (name, counts) in other.graphs {
            self.graphs.entry(name).or_default().add(&counts);
        }
        self.failures.extend(other.failures);
        self.failures.truncate(SHOWN_MAX);
    }

    /// Of all graphs.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.graphs.values().for_each(|counts| total.add(counts));
        total
    }

    /// The table.
    pub fn table(&self, seed: u64, duration: Duration) -> Table<'_> {
        Table { tally: self, seed, duration }
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.runs_with_two_kills += other.runs_with_two_kills;
        self.lives += other.lives;
        for (name, count) in &other.kills {
            *self.kills.entry(name).or_default() += count;
        }
        self.kills_in_window += other.kills_in_window;
        self.caught += other.caught;
        self.shown += other.shown;
        self.happened += other.happened;
        self.sent_then += other.sent_then;
        self.duplicates += other.duplicates;
        self.stuck += other.stuck;
        self.failed += other.failed;
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
        let total = self.tally.total();
        let columns: Vec<(&str, &Counts)> =
            self.tally.graphs.iter().map(|(name, counts)| (*name, counts)).chain([("all", &total)]).collect();
        let mut line = |name: &str, cells: &dyn Fn(&str, &Counts) -> String| {
            write!(formatter, "| {name:<46} |")?;
            for (column, counts) in &columns {
                write!(formatter, " {:>13} |", cells(column, counts))?;
            }
            writeln!(formatter)
        };
        line("", &|column, _| column.to_owned())?;
        line(&"-".repeat(46), &|_, _| format!("{}:", "-".repeat(12)))?;
        line("runs", &|_, counts| counts.runs.to_string())?;
        line("runs with two or more kills", &|_, counts| counts.runs_with_two_kills.to_string())?;
        line("worker processes", &|_, counts| counts.lives.to_string())?;
        line("kills (SIGKILL)", &|_, counts| counts.kills.values().sum::<usize>().to_string())?;
        for place in total.kills.keys() {
            line(&format!("- {place}"), &|_, counts| counts.kills.get(place).copied().unwrap_or_default().to_string())?;
        }
        line("kills in the send window (intent to outcome)", &|_, counts| counts.kills_in_window.to_string())?;
        line("attempts that they left without an outcome", &|_, counts| counts.caught.to_string())?;
        line("in-doubt items shown to a person", &|_, counts| counts.shown.to_string())?;
        line("- had happened", &|_, counts| counts.happened.to_string())?;
        line("- had not, were sent then", &|_, counts| counts.sent_then.to_string())?;
        line("duplicates", &|_, counts| counts.duplicates.to_string())?;
        line("stuck threads", &|_, counts| counts.stuck.to_string())?;
        line("runs with a broken promise", &|_, counts| counts.failed.to_string())?;
        let each = self.duration.as_secs_f64() * 1000.0 / total.runs.max(1) as f64;
        writeln!(formatter, "seed {}, {:.1} s, {each:.1} ms per run", self.seed, self.duration.as_secs_f64())
    }
}
