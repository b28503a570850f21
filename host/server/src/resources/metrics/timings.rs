//! How long commits and nodes take, as the engine tells it.

use std::time::Duration;

use holdpoint_engine::{ExecutionEnd, Timings};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Histograms of what an engine tells. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct EngineTimings {
    commits: Histogram,
    /// By how it ended, and by nothing else: the names of nodes are their authors', and there is no end to them.
    nodes: Family<Outcome, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl EngineTimings {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let timings = Self { commits: commits(), nodes: Family::new_with_constructor(executions) };
        let help =
            "Seconds until a commit on a thread, or a change of a question, was durable, as the engine waited for it";
        registry.register("commit_seconds", help, timings.commits.clone());
        let help = "Seconds that one execution of a node took, by its outcome; each retry is one";
        registry.register("node_seconds", help, timings.nodes.clone());
        timings
    }
}

impl Timings for EngineTimings {
    fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    fn executed(&self, end: ExecutionEnd, took: Duration) {
        self.nodes.get_or_create(&Outcome { outcome: end.name() }).observe(took.as_secs_f64());
    }
}

/// From a flush of a quick disk to what no disk should take.
fn commits() -> Histogram {
    let buckets =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    Histogram::new(buckets)
}

/// From a node that only computes to one that waits for a slow service.
fn executions() -> Histogram {
    let buckets = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    ];
    Histogram::new(buckets)
}
