//! A million questions that wait: what a host that has nothing to do with them pays, and what happens when ten thousand run out at once.
//!
//! One thread is run until it asks. The others are its commits with names, moments and derived ids of their own, applied by the store's own code
//! without waiting for the disk ([`filling`]): every row is there that a thread leaves which came the long way, but for those of the audit trail,
//! which would be a third of the file and which nothing here reads. That they are what the engine leaves shows in the end, when ten thousand of them go on and finish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_effects::Configuration;
use holdpoint_engine::Config;
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::sqlite::filling;
use holdpoint_store::{HistoryFilter, QuestionFilter, ThreadStatus};
use tokio::sync::Semaphore;

use self::copies::{Template, WEEK_MS};
use self::other_process::Other;
use super::approvals::{question_input, write_graph};
use super::loopback::Client;
use super::{Extent, Figure, Workplace, invalid_name, join_failed, process, quantile_ms, unexpected};
use crate::deploy;
use crate::failure::Failure;
use crate::host::Host;

mod copies;
mod other_process;

/// Waiting questions of the comparison.
const FEW: usize = 1_000;

/// Questions whose time is over at once.
const EXPIRED: usize = 10_000;

/// Questions that the server's monitor looks at in one go.
const DUE_MAX: usize = 500;

/// Questions of an inbox page.
const PAGE: usize = 50;

/// Repetitions of what is quick.
const TIMES: usize = 200;

/// Repetitions over HTTP.
const TIMES_SERVED: usize = 50;

/// How long a server is watched that has nothing to do.
const IDLE: Duration = Duration::from_secs(3);

/// Fills a store with waiting questions and looks at what they cost.
///
/// # Errors
/// When a node is not built, this program cannot be started a second time, or the store fails.
pub async fn waiting(extent: &Extent) -> Result<Vec<Figure>, Failure> {
    let place = Workplace::new()?;
    let template = template(&place, extent).await?;
    let later = |index: usize| template.asked_at_ms + WEEK_MS + index as u64;
    fill(&place, &template, 0..FEW, later).await?;
    let few = Costs::measure(&place).await?;
    let begun = Instant::now();
    fill(&place, &template, FEW..extent.waiting.max(FEW), later).await?;
    let filling = begun.elapsed();
    let many = Costs::measure(&place).await?;
    let ends = extent.waiting.max(FEW)..extent.waiting.max(FEW) + EXPIRED;
    let expiry = Expiry::measure(&place, &template, ends).await?;
    let mut figures = costs_figures(&few, &many);
    figures.extend(expiry.figures());
    let size = |name: &str| std::fs::metadata(place.path(name)).map_or(0, |file| file.len());
    let figure = |name, value, unit| Figure { name, value, unit, baseline: None, baseline_is: "", goal: "" };
    figures.push(figure("waiting questions", extent.waiting as f64, "questions"));
    figures.push(figure("their store", size(STORE) as f64 / f64::from(1 << 20), "MiB"));
    figures.push(figure("making them", filling.as_secs_f64(), "s"));
    Ok(figures)
}

const STORE: &str = "waiting.db";

fn open(place: &Workplace) -> Result<Host, Failure> {
    place.host(STORE, Configuration::default(), Config::default())
}

/// Runs the one thread that the others are made after.
async fn template(place: &Workplace, extent: &Extent) -> Result<Template, Failure> {
    let host = open(place)?;
    let graph = write_graph(place, extent, "deadline = \"7d\", assignees = [\"group:approvers\"]")?;
    let deployment = deploy::deploy(&host, &graph).await?;
    let thread = ThreadId::parse("template").map_err(invalid_name)?;
    let view = host.engine.run(&thread, &deployment, question_input(1)).await;
    let view = view.map_err(|error| Failure::from_engine(&error))?;
    if view.status != ThreadStatus::Interrupted {
        return Err(unexpected(format!("the thread that asks is {}: {:?}", view.status.name(), view.error)));
    }
    let failed = |error: holdpoint_store::Error| Failure::from_store(&error);
    let history = host.store.history(&thread, &HistoryFilter::newest(10)).await.map_err(failed)?;
    Template::new(history).ok_or_else(|| unexpected("the thread that asks left something else".to_owned()))
}

/// Makes waiting threads, while nobody has the store open here.
async fn fill(
    place: &Workplace,
    template: &Template,
    numbers: std::ops::Range<usize>,
    deadline_ms: impl Fn(usize) -> u64 + Send + Copy,
) -> Result<(), Failure> {
    let path = place.path(STORE);
    tokio::task::block_in_place(|| {
        filling::fill(&path, numbers.flat_map(move |number| template.copy(number, deadline_ms(number))))
    })
    .map(drop)
    .map_err(|error| Failure::from_store(&error))
}

/// What waiting questions cost those who have nothing to do with them.
struct Costs {
    tick_p50_ms: f64,
    tick_p99_ms: f64,
    page_ms: f64,
    html_ms: f64,
    metrics_ms: f64,
    resident_bytes: f64,
    idle_ms_per_s: f64,
}

impl Costs {
    async fn measure(place: &Workplace) -> Result<Self, Failure> {
        let host = open(place)?;
        let failed = |error: holdpoint_engine::Error| Failure::from_engine(&error);
        let mut ticks = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begun = Instant::now();
            let report = host.engine.monitor(DUE_MAX).await.map_err(failed)?;
            ticks.push(begun.elapsed());
            if report.looked_at != 0 {
                return Err(unexpected(format!("{} questions are due too soon", report.looked_at)));
            }
        }
        let mut pages = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begun = Instant::now();
            let page = host.engine.approvals(&QuestionFilter::pending(PAGE)).await.map_err(failed)?;
            pages.push(begun.elapsed());
            if page.len() != PAGE {
                return Err(unexpected(format!("a page has {} questions", page.len())));
            }
        }
        drop(host);
        let other = Other::start(&place.path(STORE)).await?;
        let mut client = Client::connect(other.address).await?;
        let mut html = asked(&mut client, "/inbox?show=all", "approval_gate").await?;
        let mut metrics = asked(&mut client, "/metrics", "").await?;
        drop(client);
        let used = process::processor_time(&other.id);
        tokio::time::sleep(IDLE).await;
        let used = process::processor_time(&other.id).saturating_sub(used);
        let costs = Self {
            tick_p50_ms: quantile_ms(&mut ticks, 0.5),
            tick_p99_ms: quantile_ms(&mut ticks, 0.99),
            page_ms: quantile_ms(&mut pages, 0.5),
            html_ms: quantile_ms(&mut html, 0.5),
            metrics_ms: quantile_ms(&mut metrics, 0.5),
            resident_bytes: process::resident_bytes(&other.id),
            idle_ms_per_s: used.as_secs_f64() * 1e3 / IDLE.as_secs_f64(),
        };
        other.stop().await?;
        Ok(costs)
    }
}

/// Asks a server for a page again and again.
async fn asked(client: &mut Client, path: &str, contains: &str) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(TIMES_SERVED);
    for _ in 0..TIMES_SERVED {
        let begun = Instant::now();
        let page = client.ask("GET", path, None).await?;
        times.push(begun.elapsed());
        if !String::from_utf8_lossy(&page).contains(contains) {
            return Err(unexpected(format!("{path} does not show {contains}")));
        }
    }
    Ok(times)
}

fn costs_figures(few: &Costs, many: &Costs) -> Vec<Figure> {
    const AMONG: &str = "the same among 1,000 waiting questions";
    let figure = |name, unit, goal, cost: fn(&Costs) -> f64| Figure {
        name,
        value: cost(many),
        unit,
        baseline: Some(cost(few)),
        baseline_is: AMONG,
        goal,
    };
    vec![
        figure("idle monitor tick, p50", "ms", "under 1 ms", |costs| costs.tick_p50_ms),
        figure("idle monitor tick, p99", "ms", "", |costs| costs.tick_p99_ms),
        figure("first page of questions, p50", "ms", "under 50 ms", |costs| costs.page_ms),
        figure("first page of the inbox as HTML over HTTP, p50", "ms", "under 50 ms", |costs| costs.html_ms),
        figure("metrics over HTTP, p50", "ms", "", |costs| costs.metrics_ms),
        figure("resident memory of the server", "MiB", "under 100 MiB", |costs| {
            costs.resident_bytes / f64::from(1 << 20)
        }),
        figure("processor of an idle server", "ms/s", "", |costs| costs.idle_ms_per_s),
    ]
}

/// What it takes when many deadlines have come at once, as after a night without a host.
struct Expiry {
    expiring: Duration,
    woken: usize,
    going_on: Duration,
    served: Duration,
    resident_bytes: f64,
}

impl Expiry {
    async fn measure(place: &Workplace, template: &Template, numbers: std::ops::Range<usize>) -> Result<Self, Failure> {
        let over = |_| template.asked_at_ms - 1;
        fill(place, template, numbers.clone(), over).await?;
        let host = open(place)?;
        let begun = Instant::now();
        let mut woken = Vec::with_capacity(EXPIRED);
        loop {
            let report = host.engine.monitor(DUE_MAX).await.map_err(|error| Failure::from_engine(&error))?;
            woken.extend(report.threads);
            if report.failed > 0 {
                return Err(unexpected(format!("{} questions could not be ended", report.failed)));
            }
            if report.looked_at < DUE_MAX {
                break;
            }
        }
        let expiring = begun.elapsed();
        let count = woken.len();
        // Compiling the nodes is not what is measured.
        host.sandbox().await?;
        let going_on = go_on(&host, woken).await?;
        drop(host);
        let other = Other::start(&place.path(STORE)).await?;
        let again = numbers.end..numbers.end + EXPIRED;
        fill(place, template, again, over).await?;
        let begun = Instant::now();
        settled(place).await?;
        let served = begun.elapsed();
        let resident_bytes = process::resident_bytes(&other.id);
        other.stop().await?;
        Ok(Self { expiring, woken: count, going_on, served, resident_bytes })
    }

    fn figures(&self) -> Vec<Figure> {
        let figure = |name, value, unit, goal| Figure { name, value, unit, baseline: None, baseline_is: "", goal };
        vec![
            figure("10,000 questions expire at once", self.expiring.as_secs_f64(), "s", "under 5 s"),
            figure("threads that this woke", self.woken as f64, "threads", "10,000"),
            figure("the woken threads go on and finish, after it", self.going_on.as_secs_f64(), "s", ""),
            figure("10,000 expire and finish on a server, its tick included", self.served.as_secs_f64(), "s", ""),
            figure("resident memory of that server", self.resident_bytes / f64::from(1 << 20), "MiB", "under 100 MiB"),
        ]
    }
}

/// Lets threads go on, as many at once as a server does.
async fn go_on(host: &Host, threads: Vec<ThreadId>) -> Result<Duration, Failure> {
    let permits = Arc::new(Semaphore::new(64));
    let mut running = tokio::task::JoinSet::new();
    let begun = Instant::now();
    for thread in threads {
        let (engine, permits) = (host.engine.clone(), Arc::clone(&permits));
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let view = engine.proceed(&thread).await.map_err(|error| Failure::from_engine(&error))?;
            match view.status {
                ThreadStatus::Done => Ok(()),
                status => Err(unexpected(format!("thread {thread} is {}: {:?}", status.name(), view.error))),
            }
        });
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(|error| join_failed(&error))??;
    }
    Ok(begun.elapsed())
}

/// Waits until another process has left nothing due and nothing running.
async fn settled(place: &Workplace) -> Result<(), Failure> {
    const LOOK: Duration = Duration::from_millis(20);
    let host = open(place)?;
    let failed = |error: holdpoint_store::Error| Failure::from_store(&error);
    let running = holdpoint_store::ThreadFilter {
        status: Some(ThreadStatus::Running),
        limit: 1,
        ..holdpoint_store::ThreadFilter::default()
    };
    loop {
        let due = host.store.due_questions(host.now_ms(), 1).await.map_err(failed)?;
        if due.is_empty() && host.store.threads(&running).await.map_err(failed)?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
