//! Whole refund threads: start, interrupt, answer, commit, with a payments server on loopback; and what many waiting ones cost.

use std::sync::Arc;
use std::time::Instant;

use holdpoint_effects::Configuration;
use holdpoint_engine::{Answers, Config, Deployment, Input};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::ThreadStatus;
use holdpoint_store::sqlite::baseline;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Extent, Figure, Workplace, process};
use crate::demo::payments::Payments;
use crate::deploy;
use crate::failure::Failure;
use crate::host::Host;

const WAITING: usize = 10_000;

/// Measures refund cycles, their commits, and the memory that waiting threads hold.
///
/// # Errors
/// When the example or its nodes are missing, or the store fails.
pub async fn refund(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let raw = baseline::supersteps(&place.path("raw.db"), 1_000).map_err(|error| Failure::from_store(&error))?;
    let raw_commits = super::per_second(1_000, raw);
    let payments = Payments::start(place.path("payments.log")).await.map_err(|error| {
        Failure::host(
            "HP0780",
            format!("the payments server cannot be started: {error}"),
            "check this machine's loopback",
        )
    })?;
    let text = format!(
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST /refunds\"]\nclass = {{ idempotent = {{ window = \"24h\" }} }}\n\
         scope = \"global\"\naddresses = \"any\"\n",
        payments.url()
    );
    let path = place.write("holdpoint.toml", &text)?;
    let configuration = Configuration::parse(&text, &path, &|_| None)
        .map_err(|problems| Failure::host("HP0792", format!("{problems:?}"), "please report it"))?;
    let host = place.host("refund.db", configuration, Config::default())?;
    let graph = write_graph(&place, extent)?;
    let deployment = deploy::deploy(&host, &graph).await?;
    cycle(&host, &deployment, usize::MAX).await?;
    let before = host.store.statistics();
    let permits = Arc::new(Semaphore::new(extent.concurrency.max(1)));
    let mut running = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for index in 0..extent.threads {
        let (host, deployment, permits) = (host.clone(), deployment.clone(), Arc::clone(&permits));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            cycle(&host, &deployment, index).await
        });
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(|error| super::join_failed(&error))??;
    }
    let cycles = super::per_second(extent.threads, begun.elapsed());
    let after = host.store.statistics();
    let each = |count: u64| count as f64 / extent.threads.max(1) as f64;
    let few = process::resident_bytes("self");
    for index in 0..WAITING {
        ask(&host, &deployment, &format!("waiting-{index}"), index).await?;
    }
    let many = process::resident_bytes("self");
    Ok(vec![
        Figure {
            name: "cycles_per_second",
            value: cycles,
            unit: "cycles/s",
            baseline: Some(raw_commits / 4.0),
            baseline_is: "four plain transactions each, nothing else",
            goal: "",
        },
        Figure {
            name: "commits per cycle",
            value: each(after.commits - before.commits),
            unit: "commits",
            baseline: None,
            baseline_is: "",
            goal: "at most 4",
        },
        Figure {
            name: "durable transactions per cycle",
            value: each(after.transactions - before.transactions),
            unit: "transactions",
            baseline: None,
            baseline_is: "",
            goal: "",
        },
        Figure {
            name: "memory of 10,000 more waiting threads",
            value: (many - few) / (1 << 20) as f64,
            unit: "MiB",
            baseline: None,
            baseline_is: "",
            goal: "at most 10 MiB",
        },
    ])
}

fn write_graph(place: &Workplace, extent: &Extent) -> Result<std::path::PathBuf, Failure> {
    let folder = std::path::absolute(&extent.nodes).unwrap_or_else(|_| extent.nodes.clone());
    let node = |name: &str| folder.join(format!("{name}.wasm")).display().to_string();
    place.write(
        "refund.graph.toml",
        &format!(
            r#"name = "refund"
start = "prepare_refund"
[state]
order_id = {{ type = "string" }}
amount_cents = {{ type = "integer", minimum = 1 }}
operation_id = {{ type = "string" }}
approval_payload = {{ type = "object" }}
approved = {{ type = ["boolean", "null"] }}
reason = {{}}
status = {{ enum = ["pending", "approved", "rejected"] }}
receipt = {{}}
[nodes.prepare_refund]
component = "{}"
next = "approval_gate"
[nodes.approval_gate]
component = "{}"
next = [{{ when = "state.approved == true", to = "commit_refund" }}, {{ to = "END" }}]
[nodes.commit_refund]
component = "{}"
connectors = ["payments"]
next = "END"
"#,
            node("prepare-refund"),
            node("approval-gate"),
            node("commit-refund"),
        ),
    )
}

async fn ask(host: &Host, deployment: &Deployment, thread: &str, index: usize) -> Result<ThreadId, Failure> {
    let thread =
        ThreadId::parse(thread).map_err(|error| Failure::host("HP0792", error.to_string(), "please report it"))?;
    let input = Input {
        values: json!({ "order_id": format!("{thread}"), "amount_cents": index % 1000 + 1 }),
        supersede: false,
    };
    let view = host.engine.run(&thread, deployment, input).await.map_err(|error| Failure::from_engine(&error))?;
    expect(&view, ThreadStatus::Interrupted)?;
    Ok(thread)
}

async fn cycle(host: &Host, deployment: &Deployment, index: usize) -> Result<(), Failure> {
    let thread = ask(host, deployment, &format!("order-{index}"), index).await?;
    let answers = Answers::Bare(json!({ "approved": true }));
    let view =
        host.engine.answer(&thread, &answers, "cli:bench").await.map_err(|error| Failure::from_engine(&error))?;
    expect(&view, ThreadStatus::Done)
}

fn expect(view: &holdpoint_engine::ThreadView, status: ThreadStatus) -> Result<(), Failure> {
    if view.status == status {
        Ok(())
    } else {
        Err(Failure::host(
            "HP0792",
            format!("a refund thread is {}: {:?}", view.status.name(), view.error),
            "build the nodes anew: `make nodes`",
        ))
    }
}
