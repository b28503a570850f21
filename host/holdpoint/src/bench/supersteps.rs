//! Supersteps of a graph that does nothing but append to a channel, against a plain loop that writes the same rows.

use std::sync::Arc;
use std::time::Instant;

use holdpoint_effects::Configuration;
use holdpoint_engine::{Config, Deployment, Input};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::sqlite::baseline;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Extent, Figure, Workplace};
use crate::deploy;
use crate::failure::Failure;
use crate::host::Host;

const STEPS: usize = 1_000;
const STEPS_EACH: usize = 100;

/// Measures one thread after the other, then many at once.
///
/// # Errors
/// When the node is not built, or the store fails.
pub async fn supersteps(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let raw = baseline::supersteps(&place.path("raw.db"), STEPS).map_err(|error| Failure::from_store(&error))?;
    let raw = super::per_second(STEPS, raw);
    let strict = Config { run_ahead_max: 0, ..Config::default() };
    let one_by_one = sequential(&place, extent, "strict.db", strict.clone()).await?;
    let ahead = sequential(&place, extent, "ahead.db", Config::default()).await?;
    let many = concurrent(&place, extent, strict).await?;
    let is = "a plain loop that writes the same rows, one transaction each, same pragmas";
    Ok(vec![
        Figure {
            name: "supersteps, one thread, each its own commit",
            value: one_by_one,
            unit: "supersteps/s",
            baseline: Some(raw),
            baseline_is: is,
            goal: "at least 0.6 of raw",
        },
        Figure {
            name: "supersteps, one thread, quick ones ride together",
            value: ahead,
            unit: "supersteps/s",
            baseline: Some(raw),
            baseline_is: is,
            goal: "",
        },
        Figure {
            name: "supersteps, many threads",
            value: many,
            unit: "supersteps/s",
            baseline: Some(one_by_one),
            baseline_is: "one thread, each its own commit",
            goal: "at least 2 times one thread",
        },
    ])
}

async fn sequential(place: &Workplace, extent: &Extent, store: &str, config: Config) -> Result<f64, Failure> {
    let (host, deployment) = prepare(place, extent, store, config, STEPS).await?;
    run(&host, &deployment, "warm-up").await?;
    let begun = Instant::now();
    run(&host, &deployment, "measured").await?;
    Ok(super::per_second(STEPS, begun.elapsed()))
}

async fn concurrent(place: &Workplace, extent: &Extent, config: Config) -> Result<f64, Failure> {
    let (host, deployment) = prepare(place, extent, "many.db", config, STEPS_EACH).await?;
    run(&host, &deployment, "warm-up").await?;
    let permits = Arc::new(Semaphore::new(extent.concurrency.max(1)));
    let mut running = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for index in 0..extent.threads {
        let (host, deployment, permits) = (host.clone(), deployment.clone(), Arc::clone(&permits));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            run(&host, &deployment, &format!("thread-{index}")).await
        });
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(|error| super::join_failed(&error))??;
    }
    let elapsed = begun.elapsed();
    let statistics = host.store.statistics();
    tracing::info!(commits = statistics.commits, transactions = statistics.transactions, "group commit");
    Ok(super::per_second(extent.threads * STEPS_EACH, elapsed))
}

/// A node that leads to itself, so that the recursion limit is the number of supersteps.
async fn prepare(
    place: &Workplace,
    extent: &Extent,
    store: &str,
    config: Config,
    steps: usize,
) -> Result<(Host, Deployment), Failure> {
    let component =
        std::path::absolute(extent.nodes.join("probe.wasm")).unwrap_or_else(|_| extent.nodes.join("probe.wasm"));
    let text = format!(
        "name = \"bench\"\nstart = \"a\"\nrecursion_limit = {steps}\n[state]\nlog = {{ type = \"array\", reducer = \"append\" }}\n\
         [nodes.a]\ncomponent = \"{}\"\nreads = []\nnext = \"a\"\nwith = {{ script = [{{ set = {{ log = [1] }} }}] }}\n",
        component.display()
    );
    let graph = place.write(&format!("bench-{steps}.graph.toml"), &text)?;
    let host = place.host(store, Configuration::default(), config)?;
    let deployment = deploy::deploy(&host, &graph).await?;
    Ok((host, deployment))
}

async fn run(host: &Host, deployment: &Deployment, thread: &str) -> Result<(), Failure> {
    let thread =
        ThreadId::parse(thread).map_err(|error| Failure::host("HP0792", error.to_string(), "please report it"))?;
    let input = Input { values: json!({}), supersede: false };
    let view = host.engine.run(&thread, deployment, input).await.map_err(|error| Failure::from_engine(&error))?;
    match view.error {
        Some(error) if error.code == "HP0420" => Ok(()),
        other => Err(Failure::host(
            "HP0792",
            format!("the run ended otherwise than at its limit: {other:?}"),
            "build the nodes anew: `make nodes`",
        )),
    }
}
