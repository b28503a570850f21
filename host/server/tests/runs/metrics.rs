//! What `/metrics` tells of runs, and what it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdpoint_server::Settings;
use holdpoint_store::Store;
use holdpoint_store::memory::MemoryStore;
use serde_json::json;

use super::scene::asked;
use super::streams::Counted;
use crate::support::{APPROVAL, BOOM, Setup, TestServer};

async fn text(server: &TestServer) -> String {
    server.http.get("/metrics").await.text
}

/// The value of a series.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing in\n{text}")).parse().unwrap()
}

fn executions(text: &str) -> Vec<(String, f64)> {
    let counts = text.lines().filter_map(|line| line.strip_prefix("holdpoint_node_seconds_count{outcome=\""));
    let mut counts: Vec<(String, f64)> = counts
        .map(|line| line.split_once("\"} ").unwrap())
        .map(|(end, count)| (end.to_owned(), count.parse().unwrap()))
        .collect();
    counts.sort_by(|one, other| one.0.cmp(&other.0));
    counts
}

#[tokio::test]
async fn a_run_shows_in_the_latencies_of_commits_and_nodes() {
    let settings = Settings { tick: Duration::from_secs(3600), ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    server.deploy("approval", APPROVAL).await;
    server.deploy("boom", BOOM).await;
    let before = text(&server).await;
    assert_eq!((value(&before, "holdpoint_commit_seconds_count"), executions(&before)), (0.0, Vec::new()));
    let thread = server.thread().await;
    let ids = asked(&server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "wired" } })).await);
    let waits = text(&server).await;
    assert_eq!(executions(&waits), [("completed".to_owned(), 1.0), ("interrupted".to_owned(), 1.0)]);
    let commits = value(&waits, "holdpoint_commit_seconds_count");
    assert!(commits >= 2.0, "one begins it, one parks it: {commits}");
    assert_eq!(commits, value(&waits, "holdpoint_store_commits"), "each of them");
    let approval = server.http.get(&format!("/approvals/{}", ids[0])).await.expect(200);
    let answer = json!({ "decision": "accept", "value": true, "payload_digest": approval["digest"] });
    server.http.post(&format!("/approvals/{}/answers", ids[0]), answer).await.expect(202);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.http.get(&format!("/threads/{thread}")).await.expect(200)["status"] != "idle" {
        assert!(Instant::now() < deadline, "the thread does not go on");
    }
    let done = text(&server).await;
    assert_eq!(executions(&done), [("completed".to_owned(), 3.0), ("interrupted".to_owned(), 1.0)]);
    let added = value(&done, "holdpoint_commit_seconds_count") - commits;
    assert_eq!(added, 2.0, "one decides and claims, one ends");
    assert_eq!(value(&done, "holdpoint_store_commits") - value(&waits, "holdpoint_store_commits"), added);
    let failing = server.thread().await;
    server.wait(&failing, json!({ "assistant_id": "boom", "input": {} })).await;
    let failed = text(&server).await;
    assert_eq!(value(&failed, "holdpoint_node_seconds_count{outcome=\"failed\"}"), 1.0);
    // Buckets hold what is below them: of nodes that only compute, all.
    assert_eq!(value(&failed, "holdpoint_node_seconds_bucket{le=\"300.0\",outcome=\"completed\"}"), 3.0);
    assert_eq!(
        value(&failed, "holdpoint_commit_seconds_bucket{le=\"+Inf\"}"),
        value(&failed, "holdpoint_commit_seconds_count")
    );
    for series in ["holdpoint_commit_seconds_bucket{le=\"0.0001\"}", "holdpoint_commit_seconds_bucket{le=\"10.0\"}"] {
        value(&failed, series);
    }
    let node = ["plan", "approve", "pay"];
    for told in [ids[0].as_str(), thread.as_str(), failing.as_str(), "wired", "approval_required", "kaboom"]
        .into_iter()
        .chain(node)
    {
        let series = failed.lines().filter(|line| !line.starts_with('#') && !line.contains("route="));
        assert!(series.clone().all(|line| !line.contains(told)), "{told} in\n{failed}");
    }
}

#[tokio::test]
async fn what_waits_is_not_counted_at_each_reading() {
    let store = Arc::new(Counted { inner: Arc::new(MemoryStore::default()), reads: AtomicU64::new(0) });
    let settings =
        Settings { tick: Duration::from_secs(3600), requests_per_second_max: 1_000_000, ..Settings::default() };
    let server = Setup { settings, store: Arc::clone(&store) as Arc<dyn Store>, ..Setup::default() }.start().await;
    server.deploy("approval", APPROVAL).await;
    let thread = server.thread().await;
    server.wait(&thread, json!({ "assistant_id": "approval", "input": { "title": "x" } })).await;
    let before = store.reads.load(Ordering::SeqCst);
    let begun = Instant::now();
    let first = text(&server).await;
    assert_eq!(value(&first, "holdpoint_questions_pending"), 1.0);
    assert!(value(&first, "holdpoint_counted_age_seconds") < 5.0);
    let counted = store.reads.load(Ordering::SeqCst) - before;
    for _ in 0..50 {
        text(&server).await;
    }
    let again = store.reads.load(Ordering::SeqCst) - before - counted;
    let most = counted * (begun.elapsed().as_secs() / 5);
    assert!(counted > 0 && again <= most, "{again} reads for 50 readings, {counted} for one count");
    assert!(
        first
            .lines()
            .any(|line| line.starts_with("# HELP holdpoint_counted_age_seconds ") && line.contains("5 seconds"))
    );
}
