//! What threads cost: durable commits (DESIGN section 12), bytes on disk, memory. Counted with the real engine, real nodes and a real SQLite file:
//! counts do not flicker.

use std::path::Path;

use holdpoint::{Host, HostOptions, deploy};
use holdpoint_effects::Configuration;
use holdpoint_engine::{Answers, Config, Deployment, Input, ThreadView};
use holdpoint_graph::ids::ThreadId;
use holdpoint_store::ThreadStatus;
use holdpoint_store::sqlite::SqliteOptions;
use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::Payments;
use holdpoint_tests::program::{Place, repository};
use serde_json::{Value, json};

fn host(place: &Place, configuration: &str, sqlite: SqliteOptions) -> Host {
    let path = place.path("holdpoint.toml");
    let configuration = Configuration::parse(configuration, &path, &|_| None).unwrap();
    let cache_dir = Some(repository().join("target/test-cache"));
    Host::open(HostOptions { store: place.store(), sqlite, configuration, cache_dir, engine: Config::default() })
        .unwrap()
}

fn payments_configuration(payments: &Payments, class: &str) -> String {
    format!(
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST /refunds\"]\nclass = {class}\naddresses = \"any\"\n",
        payments.url()
    )
}

async fn deployed(host: &Host, graph: &Path) -> Deployment {
    deploy::deploy(host, graph).await.unwrap()
}

async fn start(host: &Host, deployment: &Deployment, thread: &str, input: Value) -> ThreadView {
    let thread = ThreadId::parse(thread).unwrap();
    host.engine.run(&thread, deployment, Input { values: input, supersede: false }).await.unwrap()
}

async fn answer(host: &Host, thread: &str, value: Value) -> ThreadView {
    let thread = ThreadId::parse(thread).unwrap();
    host.engine.answer(&thread, &Answers::Bare(value), "cli:ana").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refund_costs_four_commits_and_five_when_the_receiver_forgets() {
    let payments = Payments::start_on_thread();
    for (class, budget) in [("{ idempotent = { window = \"24h\" } }", 4), ("\"at-most-once\"", 5)] {
        let place = Place::new();
        let host = host(&place, &payments_configuration(&payments, class), SqliteOptions::default());
        let graph = deployed(&host, &repository().join("example-nodes/refund/refund.graph.toml")).await;
        let before = host.store.statistics().commits;
        let view = start(&host, &graph, "t", json!({ "order_id": format!("{budget}"), "amount_cents": 500 })).await;
        assert_eq!((view.status, host.store.statistics().commits - before), (ThreadStatus::Interrupted, 2), "{class}");
        let view = answer(&host, "t", json!({ "approved": true })).await;
        assert_eq!(view.status, ThreadStatus::Done);
        assert_eq!(host.store.statistics().commits - before, budget, "{class}");
        assert_eq!(payments.paid(&format!("t:refund:{budget}:500")), 1, "{:?}", payments.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_cost_what_the_design_says() {
    let effect = |id: &str| {
        format!(
            "{{ id = \"{id}\", connector = \"payments\", request = {{ method = \"POST\", path = \"/refunds\", body = {{ id = \"{id}\" }} }} }}"
        )
    };
    let together = format!("{{ effects = [{}, {}, {}] }}", effect("a"), effect("b"), effect("c"));
    let one_by_one =
        format!("{{ effect = {} }}, {{ effect = {} }}, {{ effect = {} }}", effect("d"), effect("e"), effect("f"));
    let payments = Payments::start_on_thread();
    // Start and superstep are two; then: none for a receiver that de-duplicates, one for k at once, k for k in turn.
    for (class, script, budget) in [
        ("{ idempotent = { window = \"24h\" } }", &one_by_one, 2),
        ("\"at-most-once\"", &together, 2 + 1),
        ("\"at-most-once\"", &one_by_one, 2 + 3),
        (
            "\"reconcilable\"\nlookup = { get = \"/refunds/{id}\", happened = \"status == 200\", result = \"body\" }",
            &together,
            2 + 1,
        ),
        // Rows of the superstep's own commit; each is taken and settled when it leaves.
        ("\"after-commit\"", &one_by_one, 2),
    ] {
        let place = Place::new();
        let host = host(&place, &payments_configuration(&payments, class), SqliteOptions::default());
        let graph =
            Probes::new("start = \"a\"", "x = {}").node("a", "connectors = [\"payments\"]", script).write(&place);
        let graph = deployed(&host, &graph).await;
        let before = host.store.statistics().commits;
        let view = start(&host, &graph, "t", json!({})).await;
        assert_eq!(view.status, ThreadStatus::Done, "{:?}", view.error);
        assert_eq!(host.store.statistics().commits - before, budget, "{class} {script}");
        let delivered = host.effects.deliver_due().await.unwrap();
        assert_eq!(delivered.completed, if class == "\"after-commit\"" { 3 } else { 0 });
        assert_eq!(host.store.statistics().commits - before, budget + 2 * delivered.completed, "{class} {script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_appends_of_a_kibibyte_fit_in_a_mebibyte_and_a_half() {
    let place = Place::new();
    let script = format!("{{ set = {{ log = [\"{}\"] }} }}", "x".repeat(1024));
    let graph = Probes::new("start = \"a\"\nrecursion_limit = 400", "log = { type = \"array\", reducer = \"append\" }")
        .node("a", "reads = []\nnext = \"a\"", &script)
        .write(&place);
    let size = |place: &Place| std::fs::metadata(place.store()).unwrap().len();
    let component_bytes = std::fs::metadata(holdpoint_tests::program::node("probe")).unwrap().len();
    // The same file before its first thread: the component, and the pages that every table begins with.
    let empty = {
        let place = Place::new();
        let host = host(&place, "", SqliteOptions::default());
        deployed(&host, &graph).await;
        drop(host);
        size(&place)
    };
    let host = host(&place, "", SqliteOptions::default());
    let graph = deployed(&host, &graph).await;
    let view = start(&host, &graph, "t", json!({})).await;
    assert_eq!(view.error.unwrap().code, "HP0420", "it ran to its limit");
    assert_eq!(view.values["log"].as_array().unwrap().len(), 400);
    drop(host);
    let begins_with = empty - component_bytes;
    assert!(begins_with <= 288 * 1024, "{begins_with} bytes before the first thread, without the stored component");
    // A mebibyte and a half, less the 155,648 bytes that a store of the first schemas began with.
    let bytes = size(&place) - empty;
    assert!(bytes <= 1_572_864 - 155_648, "{bytes} bytes more than before the thread");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_the_answer_and_the_question_stands() {
    let place = Place::new();
    let graph = Probes::new("start = \"a\"", "x = {}")
        .node("a", "", "{ ask = \"go on?\", as = \"reply\" }, { set = { x = \"$reply\" } }")
        .write(&place);
    {
        let host = host(&place, "", SqliteOptions::default());
        let graph = deployed(&host, &graph).await;
        start(&host, &graph, "t", json!({})).await;
    }
    let pages = u32::try_from(std::fs::metadata(place.store()).unwrap().len() / 4096).unwrap();
    let answers = Answers::Bare(json!("y".repeat(200_000)));
    let thread = ThreadId::parse("t").unwrap();
    {
        let full = host(&place, "", SqliteOptions { pages_max: Some(pages), ..SqliteOptions::default() });
        let error = full.engine.answer(&thread, &answers, "cli:ana").await.unwrap_err();
        assert_eq!(error.code(), "HP0607", "{error}");
        let view = full.engine.view(&thread).await.unwrap();
        assert_eq!((view.status, view.interrupts.len()), (ThreadStatus::Interrupted, 1), "nothing was written");
    }
    let host = host(&place, "", SqliteOptions::default());
    let view = host.engine.answer(&thread, &answers, "cli:ana").await.unwrap();
    assert_eq!(view.status, ThreadStatus::Done);
}
