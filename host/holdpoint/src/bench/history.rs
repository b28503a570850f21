//! What a long history costs: nothing, if the late supersteps, reads and resumes of a thread take what the early ones took.

use std::time::{Duration, Instant};

use holdpoint_effects::Configuration;
use holdpoint_engine::{Breakpoints, Config, Input, RunOptions, Selection};
use holdpoint_graph::ids::ThreadId;
use serde_json::json;

use super::{Extent, Figure, Workplace, invalid_name, unexpected};
use crate::deploy;
use crate::failure::Failure;
use crate::host::Host;

/// Supersteps of one run: the graph's recursion limit. A thread is continued again and again.
const BLOCK: usize = 100;

/// Supersteps of the long thread.
const STEPS: usize = 10_000;

/// Blocks whose best one counts, early and late, so that a busy moment of the machine does not.
const BLOCKS_COMPARED: usize = 5;

const BATCH: usize = 20;
const BATCHES: usize = 15;

/// Compares a thread's first supersteps, reads and resumes with those after ten thousand supersteps.
///
/// # Errors
/// When the node is not built, or the store fails.
pub async fn history(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let strict = Config { run_ahead_max: 0, ..Config::default() };
    let host = place.host("history.db", Configuration::default(), strict)?;
    let text = format!(
        "name = \"history\"\nstart = \"a\"\nrecursion_limit = {BLOCK}\n[state]\nlog = {{ type = \"array\", reducer = \"append\" }}\n\
         n = {{ type = \"integer\" }}\n[nodes.a]\ncomponent = \"{}\"\nreads = []\nnext = \"a\"\n\
         with = {{ script = [{{ set = {{ n = 1 }} }}] }}\n",
        extent.component("probe.wasm")
    );
    let deployment = deploy::deploy(&host, &place.write("history.graph.toml", &text)?).await?;
    let thread = ThreadId::parse("long").map_err(invalid_name)?;
    let input = Input { values: json!({}), supersede: false };
    host.engine.run(&thread, &deployment, input).await.map_err(|error| Failure::from_engine(&error))?;
    let (mut early_reads, mut early_resumes) = (Duration::ZERO, Duration::ZERO);
    let mut blocks = Vec::with_capacity(STEPS / BLOCK);
    for block in 1..STEPS / BLOCK {
        blocks.push(proceed(&host, &thread).await?);
        if block == 1 {
            (early_reads, early_resumes) = (reads(&host, &thread).await?, resumes(&host, &thread).await?);
        }
    }
    let (late_reads, late_resumes) = (reads(&host, &thread).await?, resumes(&host, &thread).await?);
    let best = |blocks: &[Duration]| blocks.iter().min().copied().unwrap_or_default();
    let early = best(&blocks[..BLOCKS_COMPARED]);
    let late = best(&blocks[blocks.len() - BLOCKS_COMPARED..]);
    let each_us = |elapsed: Duration, count: usize| elapsed.as_secs_f64() * 1e6 / count as f64;
    let is = "the same after 100 supersteps";
    Ok(vec![
        Figure {
            name: "superstep, the 10,000th",
            value: each_us(late, BLOCK),
            unit: "µs",
            baseline: Some(each_us(early, BLOCK)),
            baseline_is: is,
            goal: "at most 1.2 of early",
        },
        Figure {
            name: "state read, after 10,000 supersteps",
            value: each_us(late_reads, BATCH),
            unit: "µs",
            baseline: Some(each_us(early_reads, BATCH)),
            baseline_is: is,
            goal: "at most 1.2 of early",
        },
        Figure {
            name: "resume from a breakpoint, after 10,000 supersteps",
            value: each_us(late_resumes, BATCH),
            unit: "µs",
            baseline: Some(each_us(early_resumes, BATCH)),
            baseline_is: is,
            goal: "at most 1.2 of early",
        },
    ])
}

/// One block of supersteps, claim and release included.
async fn proceed(host: &Host, thread: &ThreadId) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let view = host.engine.proceed(thread).await.map_err(|error| Failure::from_engine(&error))?;
    match view.error {
        Some(error) if error.code == "HP0420" => Ok(begun.elapsed()),
        other => Err(unexpected(format!("the run ended otherwise than at its limit: {other:?}"))),
    }
}

/// The best of some batches, so that a busy moment of the machine does not count.
async fn reads(host: &Host, thread: &ThreadId) -> Result<Duration, Failure> {
    let mut best = Duration::MAX;
    for _ in 0..BATCHES {
        let begun = Instant::now();
        for _ in 0..BATCH {
            host.engine.state(thread, None).await.map_err(|error| Failure::from_engine(&error))?;
        }
        best = best.min(begun.elapsed());
    }
    Ok(best)
}

/// Resumes from a breakpoint after each superstep: reading the thread, claiming it, one superstep, and pausing again.
async fn resumes(host: &Host, thread: &ThreadId) -> Result<Duration, Failure> {
    let breakpoints = Breakpoints { after: Selection::All, ..Breakpoints::default() };
    let engine = host.engine.with_options(RunOptions { breakpoints, ..RunOptions::default() });
    let mut best = Duration::MAX;
    for _ in 0..BATCHES {
        let begun = Instant::now();
        for _ in 0..BATCH {
            let view = engine.proceed(thread).await.map_err(|error| Failure::from_engine(&error))?;
            if !view.paused {
                return Err(unexpected(format!("the thread is {} and not paused", view.status.name())));
            }
        }
        best = best.min(begun.elapsed());
    }
    Ok(best)
}
