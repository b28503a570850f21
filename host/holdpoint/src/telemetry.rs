//! Logs to standard error, and traces to whoever collects them.
//!
//! Logs: `HOLDPOINT_LOG` says which (`warn` unless set; such as `info` or `holdpoint=debug`), `HOLDPOINT_LOG_FORMAT` how (`text` or `json`).
//! Traces: OTLP over HTTP, when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set, with the other variables of the
//! OpenTelemetry specification. Spans are `claim` (a worker advances a thread), `task` and `commit`, each with thread, run, task, node and checkpoint
//! ids. No payload, answer, request or secret is in any of them; what nodes log is theirs.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// Sends what is left of the traces when it is dropped.
#[must_use = "traces are sent until it is dropped"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Starts both. Called once, before anything runs; a program that embeds this one and has its own keeps it.
pub fn start(json: bool) -> Telemetry {
    let level = EnvFilter::try_from_env("HOLDPOINT_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let json = match std::env::var("HOLDPOINT_LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok("text") => false,
        _ => json,
    };
    let text = fmt::layer().with_writer(std::io::stderr);
    let logs = if json { text.json().boxed() } else { text.boxed() };
    let provider = provider();
    let traces = provider.as_ref().map(|provider| {
        // What nodes log and tell may hold anything.
        let ours = Targets::new()
            .with_target("holdpoint", LevelFilter::DEBUG)
            .with_target("holdpoint::node", LevelFilter::OFF)
            .with_target("holdpoint::event", LevelFilter::OFF);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("holdpoint")).with_filter(ours)
    });
    // A second initialisation can only come from a program that embeds this one: then its logging stands.
    // Lines name what they are about themselves: spans are for the traces.
    let lines = level.and(filter_fn(|metadata| metadata.is_event()));
    let _ = tracing_subscriber::registry().with(logs.with_filter(lines)).with(traces).try_init();
    Telemetry(provider)
}

/// None when nobody collects.
fn provider() -> Option<SdkTracerProvider> {
    let named = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !named("OTEL_EXPORTER_OTLP_ENDPOINT") && !named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        return None;
    }
    // Whoever has installed one before keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match SpanExporter::builder().with_http().build() {
        Ok(exporter) => {
            let resource = Resource::builder().with_service_name("holdpoint").build();
            Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
        }
        Err(error) => {
            // Logging has not begun yet, and a run must not fail because nobody watches it.
            crate::cli::output::print_note(&format!("traces are not sent: {error}"));
            None
        }
    }
}
