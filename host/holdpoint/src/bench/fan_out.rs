//! A superstep of a thousand tasks that do nothing: what the engine and the store add to the calls.

use std::time::{Duration, Instant};

use holdpoint_effects::Configuration;
use holdpoint_engine::{Config, Input};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::ThreadStatus;
use serde_json::json;

use super::{Extent, Figure, Workplace, invalid_name, unexpected};
use crate::deploy;
use crate::failure::Failure;

const TASKS: usize = 1_000;
const THREADS: usize = 20;

/// Measures supersteps of many tasks, executed and stored.
///
/// # Errors
/// When the nodes are not built, or the store fails.
pub async fn fan_out(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let host = place.host("fan_out.db", Configuration::default(), Config::default())?;
    let send = "{ send = { node = \"work\", argument = 1 } }";
    let sends = vec![send; TASKS].join(", ");
    let text = format!(
        "name = \"fan-out\"\nstart = \"fan\"\n[state]\nn = {{ type = \"integer\", reducer = \"add\" }}\nstatus = {{ reducer = \"any\" }}\n\
         [nodes.fan]\ncomponent = \"{}\"\ninterrupt_after = true\nwith = {{ script = [{{ goto = [{sends}] }}] }}\n\
         [nodes.work]\ncomponent = \"{}\"\nreads = []\n",
        extent.component("probe.wasm"),
        extent.component("reject-refund.wasm")
    );
    let deployment = deploy::deploy(&host, &place.write("fan_out.graph.toml", &text)?).await?;
    let mut times = Vec::with_capacity(THREADS);
    for index in 0..THREADS {
        let thread = ThreadId::parse(format!("fan-{index}")).map_err(invalid_name)?;
        let input = Input { values: json!({}), supersede: false };
        let view = host.engine.run(&thread, &deployment, input).await.map_err(|error| Failure::from_engine(&error))?;
        if view.next.len() != TASKS {
            return Err(unexpected(format!("{} tasks were sent, not {TASKS}", view.next.len())));
        }
        let begun = Instant::now();
        let view = host.engine.proceed(&thread).await.map_err(|error| Failure::from_engine(&error))?;
        times.push(begun.elapsed());
        if view.status != ThreadStatus::Done {
            return Err(unexpected(format!("the fan-out ended as {}: {:?}", view.status.name(), view.error)));
        }
    }
    times.sort_unstable();
    let median: Duration = times[THREADS / 2];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rate = super::per_second(TASKS, median) / cores as f64;
    Ok(vec![Figure {
        name: "fan-out of 1,000 no-op tasks",
        value: rate,
        unit: "tasks/s per core",
        baseline: None,
        baseline_is: "",
        goal: "at least 20,000",
    }])
}
