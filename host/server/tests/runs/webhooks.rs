//! Telling somebody else that a run has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{APPROVAL, BOOM, Setup};

/// A receiver that refuses so many times.
async fn receiver(refusals: usize) -> (String, mpsc::UnboundedReceiver<Value>) {
    let (told, heard) = mpsc::unbounded_channel();
    let left = Arc::new(AtomicUsize::new(refusals));
    let take = async |State((told, left)): State<(mpsc::UnboundedSender<Value>, Arc<AtomicUsize>)>,
                      Json(body): Json<Value>| {
        let refuses = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        told.send(body).unwrap();
        if refuses { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    };
    let router = axum::Router::new().route("/hook", post(take)).with_state((told, left));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, heard)
}

async fn next(heard: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("nobody called").unwrap()
}

#[tokio::test]
async fn an_end_is_told_in_langgraphs_form() {
    let server = Setup::default().start().await;
    server.deploy("approval", APPROVAL).await;
    server.deploy("boom", BOOM).await;
    let (url, mut heard) = receiver(1).await;
    let thread = server.thread().await;
    let body = json!({ "assistant_id": "approval", "input": { "title": "x" }, "webhook": url });
    server.wait(&thread, body).await;
    // Refused once, told again.
    let (first, second) = (next(&mut heard).await, next(&mut heard).await);
    assert_eq!(first, second);
    assert_eq!((&first["status"], &first["thread_id"]), (&json!("success"), &json!(thread)));
    assert_eq!(first["values"], json!({ "title": "x", "log": ["plan"] }), "without what waits");
    assert!(first["webhook_sent_at"].is_string() && first["run_ended_at"].is_string());
    let thread = server.thread().await;
    server.wait(&thread, json!({ "assistant_id": "boom", "input": {}, "webhook": url })).await;
    assert_eq!(next(&mut heard).await["error"]["message"], json!("kaboom"));
}
