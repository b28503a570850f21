//! Listing threads by status: values are never touched, so a page costs the same among many threads as among few.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_effects::Configuration;
use holdpoint_engine::{Config, Deployment, Input};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::{ThreadFilter, ThreadStatus};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Extent, Figure, Workplace, invalid_name};
use crate::deploy;
use crate::failure::Failure;
use crate::host::Host;

const FEW: usize = 1_000;
const MANY: usize = 100_000;
const PAGE: usize = 100;
const PAGES: usize = 200;

/// Bytes of each thread's values: what a listing must not read.
const VALUE_BYTES: usize = 1_000;

/// Compares the first page of a listing among a hundred thousand threads with that among a thousand.
///
/// # Errors
/// When the node is not built, or the store fails.
pub async fn listing(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let host = place.host("listing.db", Configuration::default(), Config::default())?;
    let text = format!(
        "name = \"listing\"\nstart = \"a\"\n[state]\ntext = {{ type = \"string\" }}\n[nodes.a]\ncomponent = \"{}\"\nreads = []\n",
        extent.component("reject-refund.wasm")
    );
    // Paused before its only node, a thread is made with two commits and no node.
    let text = text.replace("reads = []\n", "reads = []\ninterrupt_before = true\n");
    let deployment = deploy::deploy(&host, &place.write("listing.graph.toml", &text)?).await?;
    start(&host, &deployment, 0..FEW, extent).await?;
    let few = pages(&host).await?;
    start(&host, &deployment, FEW..MANY, extent).await?;
    let many = pages(&host).await?;
    let begun = Instant::now();
    let all = list(&host, MANY).await?;
    let rate = super::per_second(all, begun.elapsed());
    let each_us = |elapsed: Duration| elapsed.as_secs_f64() * 1e6 / PAGES as f64;
    Ok(vec![
        Figure {
            name: "first 100 waiting threads of 100,000",
            value: each_us(many),
            unit: "µs",
            baseline: Some(each_us(few)),
            baseline_is: "the same among 1,000",
            goal: "at most 1.2 of few",
        },
        Figure {
            name: "all 100,000 waiting threads at once",
            value: rate,
            unit: "threads/s",
            baseline: None,
            baseline_is: "",
            goal: "",
        },
    ])
}

async fn pages(host: &Host) -> Result<Duration, Failure> {
    list(host, PAGE).await?;
    let begun = Instant::now();
    for _ in 0..PAGES {
        list(host, PAGE).await?;
    }
    Ok(begun.elapsed())
}

async fn list(host: &Host, limit: usize) -> Result<usize, Failure> {
    let filter = ThreadFilter { status: Some(ThreadStatus::Interrupted), limit, ..ThreadFilter::default() };
    Ok(host.engine.threads(&filter).await.map_err(|error| Failure::from_engine(&error))?.len())
}

async fn start(
    host: &Host,
    deployment: &Deployment,
    names: std::ops::Range<usize>,
    extent: &Extent,
) -> Result<(), Failure> {
    let permits = Arc::new(Semaphore::new(extent.concurrency.max(256)));
    let mut running = tokio::task::JoinSet::new();
    for index in names {
        let (host, deployment) = (host.clone(), deployment.clone());
        let permit = Arc::clone(&permits).acquire_owned().await;
        running.spawn(async move {
            let _permit = permit;
            let thread = ThreadId::parse(format!("thread-{index}")).map_err(invalid_name)?;
            let input = Input { values: json!({ "text": "x".repeat(VALUE_BYTES) }), supersede: false };
            host.engine.run(&thread, &deployment, input).await.map_err(|error| Failure::from_engine(&error))
        });
        while let Some(joined) = running.try_join_next() {
            joined.map_err(|error| super::join_failed(&error))??;
        }
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(|error| super::join_failed(&error))??;
    }
    Ok(())
}
