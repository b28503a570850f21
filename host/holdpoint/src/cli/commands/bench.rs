//! `holdpoint bench`.

use serde_json::{Value, json};

use crate::bench::{self, Extent, Figure};
use crate::cli::arguments::{BenchArguments, BenchSubject};
use crate::cli::context::Context;
use crate::cli::output;
use crate::failure::{EXIT_DONE, Failure};

/// Threads to run, where nothing is said.
const THREADS: usize = 200;

/// Threads that wait, where nothing is said.
const WAITING: usize = 1_000_000;

/// Measures and prints figures, each with its baseline.
///
/// # Errors
/// When a part is missing.
pub async fn run(context: &Context, arguments: BenchArguments) -> Result<u8, Failure> {
    if cfg!(debug_assertions) {
        output::print_note("this is a debug build: its figures say nothing");
    }
    let extent = Extent {
        threads: arguments.threads.unwrap_or(THREADS),
        waiting: arguments.threads.unwrap_or(WAITING),
        concurrency: arguments.concurrency,
        nodes: arguments.nodes,
    };
    let subjects = match arguments.subject {
        Some(subject) => vec![subject],
        None => vec![
            BenchSubject::Nodes,
            BenchSubject::Supersteps,
            BenchSubject::Refund,
            BenchSubject::History,
            BenchSubject::FanOut,
            BenchSubject::Listing,
            BenchSubject::Approvals,
            BenchSubject::Watchers,
            BenchSubject::Waiting,
        ],
    };
    let mut figures = Vec::new();
    for subject in subjects {
        output::print_note(&format!("measuring {subject:?} …"));
        figures.extend(match subject {
            BenchSubject::Nodes => bench::nodes(&extent).await?,
            BenchSubject::Supersteps => bench::supersteps(&extent).await?,
            BenchSubject::Refund => bench::refund(&extent).await?,
            BenchSubject::History => bench::history(&extent).await?,
            BenchSubject::FanOut => bench::fan_out(&extent).await?,
            BenchSubject::Listing => bench::listing(&extent).await?,
            BenchSubject::Approvals => bench::approvals(&extent).await?,
            BenchSubject::Watchers => bench::watchers(&extent).await?,
            BenchSubject::Waiting => bench::waiting(&extent).await?,
        });
    }
    if context.json {
        output::print_json(&to_json(&extent, &figures));
    } else {
        let rows = figures.iter().map(|figure| {
            let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
            vec![
                figure.name.into(),
                format!("{} {}", number(figure.value), figure.unit),
                figure.baseline.map(number).unwrap_or_default(),
                figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                figure.goal.into(),
                figure.baseline_is.into(),
            ]
        });
        output::print_text(&output::table(&["what", "figure", "raw", "ratio", "goal", "raw is"], rows));
    }
    Ok(EXIT_DONE)
}

fn to_json(extent: &Extent, figures: &[Figure]) -> Value {
    let list: Vec<Value> = figures
        .iter()
        .map(|figure| {
            json!({
                "name": figure.name, "value": figure.value, "unit": figure.unit, "baseline": figure.baseline,
                "baseline_is": figure.baseline_is, "ratio": figure.ratio(), "goal": figure.goal,
            })
        })
        .collect();
    let mut value = json!({ "threads": extent.threads, "concurrency": extent.concurrency, "figures": list });
    for figure in figures {
        if figure.name == "cycles_per_second" {
            value["cycles_per_second"] = json!(figure.value);
        }
    }
    value
}
