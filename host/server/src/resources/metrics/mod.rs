//! What a monitoring system reads: how much waits, how much goes through, how long it takes. Never an id and never a payload.
//!
//! `counted`: what has to be counted in the store. `timings`: what the engine tells.

mod counted;
mod timings;

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::counted::Counted;
use self::timings::EngineTimings;
use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::layers::envelope::fault;
use crate::problem::Problem;

/// What is counted while the server runs, and the form in which it is read.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram>,
    refused: Counter,
    connections: Gauge,
    counted: Counted,
    timings: EngineTimings,
    commits: Gauge,
    transactions: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Route {
    route: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("holdpoint");
        let mut metrics = Self {
            counted: Counted::register(&mut registry),
            timings: EngineTimings::register(&mut registry),
            registry: Registry::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latencies),
            refused: Counter::default(),
            connections: Gauge::default(),
            commits: Gauge::default(),
            transactions: Gauge::default(),
        };
        let m = &metrics;
        registry.register("http_requests", "HTTP requests by route and status", m.requests.clone());
        let help = "Seconds until the head of the answer to an HTTP request";
        registry.register("http_request_seconds", help, m.request_seconds.clone());
        registry.register("http_refused", "Requests whose sender was not known (401)", m.refused.clone());
        registry.register("http_connections", "Open connections", m.connections.clone());
        registry.register("store_commits", "Commits since this host opened the store", m.commits.clone());
        let help = "Durable transactions that held them";
        registry.register("store_transactions", help, m.transactions.clone());
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let labels = Request { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        let labels = Route { route: route.to_owned() };
        self.request_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A request was refused because nobody knows who sent it.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    /// A connection was opened.
    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    /// A connection was closed.
    pub(crate) fn disconnected(&self) {
        self.connections.dec();
    }

    /// Whom an engine tells how long things take.
    pub(crate) fn timings(&self) -> EngineTimings {
        self.timings.clone()
    }

    fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Reads what the store knows.
    async fn refresh(&self, context: &Context) -> Result<(), Problem> {
        self.counted.current(context).await?;
        let statistics = context.store().statistics();
        self.commits.set(signed(statistics.commits));
        self.transactions.set(signed(statistics.transactions));
        Ok(())
    }

    fn text(&self) -> Result<String, Problem> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|_| fault())?;
        Ok(text)
    }
}

/// From a millisecond to half a minute.
fn latencies() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Counts and latencies, for Prometheus. Of what waits in the store it gives the last count, and in `holdpoint_counted_age_seconds` how old that is: a
/// few seconds, or since the reading before where counting takes long.
#[utoipa::path(get, path = "/metrics", tag = "metrics", responses((status = 200, description = "Prometheus text", body = String)))]
async fn metrics(State(context): State<Context>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    context.metrics().refresh(&context).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], context.metrics().text()?).into_response())
}
