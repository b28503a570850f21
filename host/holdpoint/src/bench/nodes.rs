//! One call of a node that does nothing: instantiate, run, drop. No engine, no store.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use holdpoint_effects::{Configuration, Effects};
use holdpoint_graph::definition::Limits;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, GraphName, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{
    Command, EffectMode, JournalError, NodeCall, NodeOutcome, NodeReport, Nodes, State, TaskIdentity, TaskJournal,
    TaskReport,
};
use holdpoint_graph::operation::OperationRecord;
use holdpoint_sandbox::{ComponentSource, Options, Sandbox};
use holdpoint_store::memory::MemoryStore;
use serde_json::json;

use super::{Extent, Figure};
use crate::failure::Failure;
use crate::host::cache_dir;
use crate::system::SystemClock;

const CALLS: usize = 5_000;

/// Measures calls of the node that only says no: the smallest there is.
///
/// # Errors
/// When the node is not built, or a call does not complete.
pub async fn nodes(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let path = extent.nodes.join("reject-refund.wasm");
    let bytes = std::fs::read(&path).map_err(|error| {
        Failure::invalid(
            "HP0191",
            format!("{} cannot be read: {error}", path.display()),
            "build the nodes: `make nodes`",
        )
    })?;
    let effects = Effects::new(Configuration::default(), Arc::new(MemoryStore::default()), Arc::new(SystemClock));
    let options = Options { cache_dir: cache_dir(), ..Options::default() };
    let source = Arc::new(One(bytes.clone()));
    let sandbox = Sandbox::new(options, source, effects).map_err(|error| Failure::from_sandbox(&error))?;
    let digest = sandbox.load(&bytes).await.map_err(|error| Failure::from_sandbox(&error))?.digest;
    let call = sample_call(digest)?;
    let wasm_us = median_us(&sandbox, &call).await?;
    let native_us = median_us(&Native, &call).await?;
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (sandbox, call) = (sandbox.clone(), call.clone());
        running.spawn(async move { median_us(&sandbox, &call).await });
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(|error| super::join_failed(&error))??;
    }
    let rate = super::per_second(16 * CALLS, begun.elapsed());
    Ok(vec![
        Figure {
            name: "node call, median",
            value: wasm_us,
            unit: "µs",
            baseline: Some(native_us),
            baseline_is: "the same call answered by native code behind the same trait",
            goal: "at most 30 µs",
        },
        Figure {
            name: "node calls, 16 at once",
            value: rate,
            unit: "calls/s",
            baseline: Some(1e6 / wasm_us),
            baseline_is: "one after the other",
            goal: "",
        },
    ])
}

async fn median_us(nodes: &dyn Nodes, call: &NodeCall) -> Result<f64, Failure> {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let call = call.clone();
        let begun = Instant::now();
        let report = nodes.run(call).await;
        times.push(begun.elapsed());
        if !matches!(report.outcome, NodeOutcome::Completed(_)) {
            return Err(Failure::host(
                "HP0792",
                format!("the node did not complete: {:?}", report.outcome),
                "build the nodes anew: `make nodes`",
            ));
        }
    }
    times.sort_unstable();
    Ok(times[CALLS / 2].as_secs_f64() * 1e6)
}

fn sample_call(component: Digest) -> Result<NodeCall, Failure> {
    let invalid =
        |error: holdpoint_graph::ids::InvalidId| Failure::host("HP0792", error.to_string(), "please report it");
    let thread = ThreadId::parse("bench").map_err(invalid)?;
    let checkpoint = CheckpointId::from_entropy(1_700_000_000_000, 0, 1);
    let task = TaskIdentity {
        graph: GraphName::parse("bench").map_err(invalid)?,
        lineage: thread.clone(),
        id: TaskId::derive(&thread, &checkpoint, "pull:noop"),
        operations: TaskId::derive(&thread, &checkpoint, "pull:noop"),
        thread,
        checkpoint,
        step: 1,
        node: NodeName::parse("noop").map_err(invalid)?,
        epoch: Epoch(1),
    };
    Ok(NodeCall {
        task,
        component,
        state: State::default(),
        argument: None,
        config: json!({}),
        connectors: Vec::new(),
        limits: Limits::default(),
        clock_ms: 1_700_000_000_000,
        answers: Vec::new(),
        effects: EffectMode::Live,
        journal: Arc::new(Deaf),
    })
}

struct One(Vec<u8>);

#[async_trait]
impl ComponentSource for One {
    async fn bytes(&self, _digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        Ok(Some(self.0.clone()))
    }
}

/// What a call costs without WebAssembly.
struct Native;

#[async_trait]
impl Nodes for Native {
    async fn run(&self, call: NodeCall) -> NodeReport {
        drop(call);
        NodeOutcome::Completed(Command::default()).into()
    }
}

struct Deaf;

#[async_trait]
impl TaskJournal for Deaf {
    async fn store(&self, _records: Vec<OperationRecord>) -> Result<(), JournalError> {
        Ok(())
    }

    fn report(&self, _report: TaskReport) {}
}
