//! What waiting threads hold in memory. Alone in its process, so that nothing else moves the figure.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use holdpoint::{Host, HostOptions, deploy};
use holdpoint_effects::Configuration;
use holdpoint_engine::{Config, Deployment, Input};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::ThreadStatus;
use holdpoint_store::sqlite::SqliteOptions;
use holdpoint_tests::graphs::Probes;
use holdpoint_tests::program::{Place, repository};
use serde_json::json;

async fn start(host: &Host, deployment: &Deployment, thread: &str) {
    let thread = ThreadId::parse(thread).unwrap();
    let input = Input { values: json!({}), supersede: false };
    let view = host.engine.run(&thread, deployment, input).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_thread_holds_no_memory() {
    let place = Place::new();
    let graph = Probes::new("start = \"a\"", "x = {}").node("a", "", "{ ask = { text = \"go on?\" } }").write(&place);
    let host = Host::open(HostOptions {
        store: place.store(),
        sqlite: SqliteOptions::default(),
        configuration: Configuration::default(),
        cache_dir: Some(repository().join("target/test-cache")),
        engine: Config::default(),
    })
    .unwrap();
    let graph = deploy::deploy(&host, &graph).await.unwrap();
    // Everything that is made once is made: connections, caches, pools.
    for index in 0..200 {
        start(&host, &graph, &format!("warm-{index}")).await;
    }
    let few = resident_bytes();
    for index in 0..10_000 {
        start(&host, &graph, &format!("waiting-{index}")).await;
    }
    let grown = resident_bytes().saturating_sub(few);
    assert!(grown <= 10 << 20, "10,000 waiting threads hold {grown} bytes");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
