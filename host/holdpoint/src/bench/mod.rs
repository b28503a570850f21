//! Figures of this build, each beside a raw baseline from the same run: ratios say something on any machine, seconds only on one.

mod approvals;
mod fan_out;
mod history;
mod listing;
mod nodes;
mod refund;
mod supersteps;
mod waiting;
mod watchers;

mod counting;
mod loopback;
mod process;
mod serving;

use std::path::PathBuf;
use std::time::Duration;

use holdpoint_effects::Configuration;
use holdpoint_engine::Config;
use holdpoint_store::sqlite::SqliteOptions;

use crate::failure::Failure;
use crate::host::{Host, HostOptions, cache_dir};

pub use approvals::approvals;
pub use fan_out::fan_out;
pub use history::history;
pub use listing::listing;
pub use nodes::nodes;
pub use refund::refund;
pub use supersteps::supersteps;
pub use waiting::waiting;
pub use watchers::watchers;

/// How much is measured, and with what.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Threads to run.
    pub threads: usize,
    /// Threads that wait for an answer.
    pub waiting: usize,
    /// Threads that run at once.
    pub concurrency: usize,
    /// The folder of built nodes.
    pub nodes: PathBuf,
}

impl Extent {
    /// The path of a built node, as graph files of a measurement name it.
    fn component(&self, name: &str) -> String {
        let path = self.nodes.join(name);
        std::path::absolute(&path).unwrap_or(path).display().to_string()
    }
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// The figure.
    pub value: f64,
    /// What it counts.
    pub unit: &'static str,
    /// The same work done raw, in the same unit; none where there is no such thing.
    pub baseline: Option<f64>,
    /// What the baseline did.
    pub baseline_is: &'static str,
    /// What the design asks for, as text.
    pub goal: &'static str,
}

impl Figure {
    /// Figure over baseline.
    pub fn ratio(&self) -> Option<f64> {
        self.baseline.map(|baseline| self.value / baseline)
    }
}

/// A folder for the time of a measurement, on the disk of the working folder: a folder in memory would make `FULL` look free.
struct Workplace(PathBuf);

impl Workplace {
    fn new() -> Result<Self, Failure> {
        let folder = PathBuf::from("target").join(format!("bench-{}-{}", std::process::id(), uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&folder).map_err(|error| {
            Failure::host(
                "HP0791",
                format!("{} cannot be made: {error}", folder.display()),
                "run this where files may be written",
            )
        })?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A host with a store of its own.
    fn host(&self, name: &str, configuration: Configuration, engine: Config) -> Result<Host, Failure> {
        Host::open(HostOptions {
            store: self.path(name),
            sqlite: SqliteOptions::default(),
            configuration,
            cache_dir: cache_dir(),
            engine,
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.path(name);
        std::fs::write(&path, text).map_err(|error| {
            Failure::host(
                "HP0791",
                format!("{} cannot be written: {error}", path.display()),
                "make room, or run this elsewhere",
            )
        })?;
        Ok(path)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What is left behind lies in the build folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
}

/// Of some times, the one that this share of them does not exceed, in milliseconds.
fn quantile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let place = (times.len() as f64 * share) as usize;
    times.get(place.min(times.len().saturating_sub(1))).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn invalid_name(error: holdpoint_graph::ids::InvalidId) -> Failure {
    Failure::host("HP0792", error.to_string(), "please report it")
}

fn unexpected(message: String) -> Failure {
    Failure::host("HP0792", message, "build the nodes anew: `make nodes`")
}

fn join_failed(error: &tokio::task::JoinError) -> Failure {
    Failure::host(
        "HP0792",
        format!("a measurement broke off: {error}"),
        "this is a fault of Holdpoint: please report it",
    )
}
