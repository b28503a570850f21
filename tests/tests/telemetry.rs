//! Traces reach a collector and tell ids, never what is asked, answered or paid.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use holdpoint_tests::payments::Payments;
use holdpoint_tests::program::{Place, repository};
use serde_json::{Value, json};

type Received = Arc<Mutex<Vec<Value>>>;

/// A collector on loopback; ends with its runtime.
fn collector(runtime: &tokio::runtime::Runtime) -> (String, Received) {
    let received = Received::default();
    let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await });
    (address, received)
}

async fn take(State(received): State<Received>, Json(body): Json<Value>) -> Json<Value> {
    received.lock().unwrap().push(body);
    Json(json!({}))
}

/// All spans: their names and attributes.
fn spans(received: &Received) -> Vec<(String, Value)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut spans = Vec::new();
    for body in received.lock().unwrap().iter() {
        for resource in list(&body["resourceSpans"]) {
            for scope in list(&resource["scopeSpans"]) {
                for span in list(&scope["spans"]) {
                    spans.push((span["name"].as_str().unwrap().to_owned(), span["attributes"].clone()));
                }
            }
        }
    }
    spans
}

fn refund_graph() -> String {
    repository().join("example-nodes/refund/refund.graph.toml").display().to_string()
}

fn attribute<'a>(attributes: &'a Value, name: &str) -> Option<&'a str> {
    let found = attributes.as_array()?.iter().find(|attribute| attribute["key"] == name)?;
    found["value"]["stringValue"].as_str()
}

#[test]
fn spans_carry_ids_and_no_payloads() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, received) = collector(&runtime);
    let payments = Payments::start();
    let mut place = Place::with_refund_connectors(payments.url());
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector);
    let graph = refund_graph();
    let input = r#"{"order_id":"secret-order","amount_cents":50000}"#;
    place.expect(3, &["run", &graph, "--thread", "traced", "--input", input]);
    place.expect(0, &["resume", "--thread", "traced", "--answer", r#"{"approved":true,"note":"secret-note"}"#]);
    let spans = spans(&received);
    let named = |name: &str| spans.iter().filter(|(span, _)| span == name).collect::<Vec<_>>();
    assert_eq!(named("claim").len(), 2, "one for the run, one for the answer: {spans:?}");
    for (_, attributes) in named("claim").into_iter().chain(named("task")) {
        assert_eq!(attribute(attributes, "thread"), Some("traced"), "{attributes}");
    }
    let nodes: Vec<&str> = named("task").iter().filter_map(|(_, attributes)| attribute(attributes, "node")).collect();
    assert_eq!(nodes, ["prepare_refund", "approval_gate", "approval_gate", "commit_refund"]);
    assert!(!named("commit").is_empty());
    let all = serde_json::to_string(&*received.lock().unwrap()).unwrap();
    // An operation's id is an id, whatever its author made it of. Besides there, nothing that was given, asked or answered may show.
    let all = all.replace("refund:secret-order:50000", "");
    for secret in ["secret-order", "secret-note", "50000", "approval_required", "amount_cents"] {
        assert!(!all.contains(secret), "{secret} is in the traces");
    }
}

#[test]
fn a_collector_that_is_not_there_stops_nothing() {
    let payments = Payments::start();
    let mut place = Place::with_refund_connectors(payments.url());
    // Nobody listens on the discard port.
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let graph = refund_graph();
    place.expect(3, &["run", &graph, "--thread", "untraced", "--input", r#"{"order_id":"1","amount_cents":1}"#]);
}
