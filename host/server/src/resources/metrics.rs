//! What a monitoring system reads: how much waits, how much goes through. Never an id and never a payload.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use holdpoint_graph::operation::OperationState;
use holdpoint_store::{OperationFilter, RunFilter, RunStatus};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::caller::{Caller, Role};
use crate::context::Context;
use crate::layers::envelope::fault;
use crate::problem::Problem;

/// Runs and operations that are counted at most: above it the number says "at least".
const COUNTED_MAX: usize = 10_000;

/// What is counted while the server runs, and the form in which it is read.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram>,
    refused: Counter,
    connections: Gauge,
    questions_pending: Gauge,
    questions_overdue: Gauge,
    question_oldest_seconds: Gauge<f64, AtomicU64>,
    operations_in_doubt: Gauge,
    runs: Family<Status, Gauge>,
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("holdpoint");
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latencies),
            refused: Counter::default(),
            connections: Gauge::default(),
            questions_pending: Gauge::default(),
            questions_overdue: Gauge::default(),
            question_oldest_seconds: Gauge::default(),
            operations_in_doubt: Gauge::default(),
            runs: Family::default(),
            commits: Gauge::default(),
            transactions: Gauge::default(),
        };
        let m = &metrics;
        registry.register("http_requests", "HTTP requests by route and status", m.requests.clone());
        let help = "Seconds until the head of the answer to an HTTP request";
        registry.register("http_request_seconds", help, m.request_seconds.clone());
        registry.register("http_refused", "Requests whose sender was not known (401)", m.refused.clone());
        registry.register("http_connections", "Open connections", m.connections.clone());
        registry.register("questions_pending", "Questions that wait for an answer", m.questions_pending.clone());
        let help = "Pending questions whose deadline has come";
        registry.register("questions_overdue", help, m.questions_overdue.clone());
        let help = "Age of the oldest pending question in seconds; 0 when none is pending";
        registry.register("question_oldest_seconds", help, m.question_oldest_seconds.clone());
        let help = "Operations whose outcome is unknown";
        registry.register("operations_in_doubt", help, m.operations_in_doubt.clone());
        registry.register("runs", "Runs that are pending or running, by status", m.runs.clone());
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

    /// Reads what the store knows.
    async fn refresh(&self, context: &Context) -> Result<(), Problem> {
        let (store, now_ms) = (context.store(), context.now_ms());
        let questions = store.count_questions(None, now_ms).await?;
        self.questions_pending.set(signed(questions.pending));
        self.questions_overdue.set(signed(questions.overdue));
        let age = questions.oldest_asked_at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
        self.question_oldest_seconds.set(Duration::from_millis(age).as_secs_f64());
        let open = OperationFilter { open: true, limit: COUNTED_MAX, ..OperationFilter::default() };
        let open = store.find_operations(&open).await?;
        let in_doubt = open.iter().filter(|record| matches!(record.state, OperationState::InDoubt { .. }));
        self.operations_in_doubt.set(signed(in_doubt.count() as u64));
        for status in [RunStatus::Pending, RunStatus::Running] {
            let filter = RunFilter { status: Some(status), limit: COUNTED_MAX, ..RunFilter::default() };
            let count = store.runs(&filter).await?.len();
            self.runs.get_or_create(&Status { status: status.name() }).set(signed(count as u64));
        }
        let statistics = store.statistics();
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

/// Counts and latencies, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "metrics", responses((status = 200, description = "Prometheus text", body = String)))]
async fn metrics(State(context): State<Context>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    context.metrics().refresh(&context).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], context.metrics().text()?).into_response())
}
