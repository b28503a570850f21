//! One task: how often it is tried, for how long, what of it may be used again, and what of its operations stays when it fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{self, FakeNodes, NOON_MS, World, failed, operation, operation_key, thread, update};
use holdpoint_engine::{Config, Deployment, Error, Input, ThreadView};
use holdpoint_graph::ids::{ConnectorName, NodeName, ThreadId};
use holdpoint_graph::nodes::{Failure, NodeOutcome, NodeReport};
use holdpoint_graph::operation::{OperationHit, OperationState};
use holdpoint_store::{Journal, MemoryStore, Store, ThreadStatus};
use serde_json::json;

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

fn alone(lines: &str) -> String {
    format!("start = \"a\"\n{LOG}[nodes.a]\n{lines}\n")
}

fn completed() -> OperationState {
    OperationState::Completed(json!("paid"))
}

async fn run(world: &World, graph: &Deployment, name: &str) -> ThreadView {
    let input = Input { values: json!({}), supersede: false };
    world.engine.run(&ThreadId::parse(name).unwrap(), graph, input).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_is_tried_as_often_as_its_policy_says() {
    for attempts_max in [1, 2, 5] {
        let world = World::new(FakeNodes::default().with("a", |_| failed("busy", true)));
        let graph = world.deploy(&alone(&format!("retry = {{ attempts_max = {attempts_max} }}"))).await;
        assert_eq!(world.run(&graph, json!({})).await.unwrap().status, ThreadStatus::Failed);
        assert_eq!(world.nodes.started("a"), attempts_max);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_says_when_to_come_back_is_not_asked_earlier() {
    let retry = "retry = { attempts_max = 2, backoff = \"1s\", max = \"1s\" }";
    for (asked_ms, pause_ms) in [(None, 1000), (Some(200), 1000), (Some(60_000), 60_000)] {
        let busy = NodeOutcome::Failed(Failure {
            code: "busy".into(),
            message: "later".into(),
            retryable: true,
            retry_after_ms: asked_ms,
            details: None,
        });
        let world = World::new(FakeNodes::default().with("a", move |_| busy.clone()));
        let graph = world.deploy(&alone(retry)).await;
        let begun = tokio::time::Instant::now();
        world.run(&graph, json!({})).await.unwrap();
        let took = begun.elapsed();
        let (least, most) = (Duration::from_millis(pause_ms), Duration::from_millis(pause_ms + 100));
        assert!(took >= least && took < most, "{asked_ms:?}: {took:?}");
    }
}

#[tokio::test]
async fn the_tighter_of_limit_and_timeout_bounds_an_execution() {
    for (lines, bound) in [
        ("timeout = \"2s\"\nlimits = { time = \"5s\" }", Some(2000)),
        ("timeout = \"5s\"\nlimits = { time = \"3s\" }", Some(3000)),
        ("timeout = \"5s\"", Some(5000)),
        ("limits = { time = \"3s\" }", Some(3000)),
        ("", None),
    ] {
        let seen = Arc::new(Mutex::new(None));
        let note = Arc::clone(&seen);
        let world = World::new(FakeNodes::default().with("a", move |call| {
            *note.lock().unwrap() = Some(call.limits.time_ms);
            update(json!({}))
        }));
        let graph = world.deploy(&alone(lines)).await;
        world.run(&graph, json!({})).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), Some(bound), "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_attempt_finds_what_the_last_one_did() {
    let store = Arc::new(MemoryStore::default());
    let journal = Arc::clone(&store);
    let nodes = FakeNodes::default().with_async("a", move |call| {
        let journal = Arc::clone(&journal);
        Box::pin(async move {
            match journal.operation(&operation_key(&call.task.lineage, "one")).await.unwrap() {
                None => {
                    let operations = vec![operation(&call, "one", completed())];
                    NodeReport { outcome: failed("after paying", true), operations, hits: Vec::new() }
                }
                Some(_) => update(json!({ "log": ["found"] })).into(),
            }
        })
    });
    let clock = World::new(FakeNodes::default()).clock;
    let world = World::on(store, clock, "first", nodes, Config::default());
    let graph = world.deploy(&alone("retry = { attempts_max = 2 }")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["found"])));
}

#[tokio::test]
async fn what_a_failed_node_queued_does_not_leave_and_what_it_did_is_recorded() {
    for (outcome, leaves) in [
        (update(json!({})), true),
        (failed("no", false), false),
        (NodeOutcome::Trapped("unreachable".into()), false),
        (NodeOutcome::LimitExceeded { limit: "time".into(), message: "too slow".into() }, false),
        (NodeOutcome::HostFault("no disk".into()), false),
    ] {
        let ended = outcome.clone();
        let nodes = FakeNodes::default().with_async("a", move |call| {
            let outcome = ended.clone();
            Box::pin(async move {
                let queued = OperationState::Queued { attempts: 0, due_at_ms: NOON_MS };
                let operations = vec![operation(&call, "queued", queued), operation(&call, "done", completed())];
                NodeReport { outcome, operations, hits: Vec::new() }
            })
        });
        let world = World::new(nodes);
        let graph = world.deploy(&alone("")).await;
        world.run(&graph, json!({})).await.unwrap();
        let found = async |id: &str| world.store.operation(&operation_key(&thread(), id)).await.unwrap();
        assert_eq!(found("queued").await.is_some(), leaves, "{outcome:?}");
        assert!(found("done").await.is_some(), "{outcome:?}: what was done was done");
    }
}

#[tokio::test]
async fn whoever_is_told_that_the_thread_is_taken_stops_there() {
    let world = World::new(FakeNodes::default().with("a", |_| NodeOutcome::Fenced));
    let graph = world.deploy(&alone("retry = { attempts_max = 3 }")).await;
    let told = world.run(&graph, json!({})).await;
    assert!(matches!(told, Err(Error::TakenOver(_))), "{told:?}");
    assert_eq!(world.nodes.started("a"), 1);
    let record = world.store.thread(&thread()).await.unwrap().unwrap();
    assert_eq!((record.status, record.error), (ThreadStatus::Running, None), "the new owner's to say");
}

#[tokio::test]
async fn operations_of_a_step_are_durable_before_the_next_step_begins() {
    for run_ahead_max in [0, 1, 16] {
        let store = Arc::new(MemoryStore::default());
        let journal = Arc::clone(&store);
        let nodes = FakeNodes::default()
            .with_async("a", |call| {
                Box::pin(async move {
                    let operations = vec![operation(&call, "one", completed())];
                    NodeReport { outcome: update(json!({})), operations, hits: Vec::new() }
                })
            })
            .with_async("b", move |call| {
                let journal = Arc::clone(&journal);
                Box::pin(async move {
                    let found = journal.operation(&operation_key(&call.task.lineage, "one")).await.unwrap();
                    update(json!({ "log": [found.is_some()] })).into()
                })
            });
        let clock = World::new(FakeNodes::default()).clock;
        let config = Config { run_ahead_max, quick: Duration::from_secs(3_600), ..Config::default() };
        let world = World::on(store, clock, "first", nodes, config);
        let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\n")).await;
        assert_eq!(world.run(&graph, json!({})).await.unwrap().values["log"], json!([true]), "{run_ahead_max} ahead");
    }
}

const CACHE: &str = "cache = { ttl = \"1h\" }";

#[tokio::test]
async fn a_node_that_may_act_outside_is_executed_for_each_thread() {
    let world = World::new(FakeNodes::default().with("a", |_| update(json!({ "log": [1] }))));
    let mut graph = support::graph(&alone(CACHE));
    // The file format refuses the two together; a document made by other means might not.
    let node = graph.nodes.get_mut(&NodeName::parse("a").unwrap()).unwrap();
    node.connectors = vec![ConnectorName::parse("payments").unwrap()];
    let graph = world.engine.deploy(graph).await.unwrap();
    for name in ["one", "two"] {
        run(&world, &graph, name).await;
    }
    assert_eq!(world.nodes.started("a"), 2);
}

#[tokio::test]
async fn a_result_that_came_with_an_operation_is_used_once() {
    for met in [false, true] {
        let nodes = FakeNodes::default().with_async("a", move |call| {
            Box::pin(async move {
                let record = operation(&call, "one", completed());
                let hit = OperationHit {
                    key: record.key.clone(),
                    thread: call.task.thread.clone(),
                    task: call.task.id.clone(),
                    at_ms: NOON_MS,
                };
                let (operations, hits) = if met { (Vec::new(), vec![hit]) } else { (vec![record], Vec::new()) };
                NodeReport { outcome: update(json!({ "log": [1] })), operations, hits }
            })
        });
        let world = World::new(nodes);
        let graph = world.deploy(&alone(CACHE)).await;
        for name in ["one", "two"] {
            assert_eq!(run(&world, &graph, name).await.status, ThreadStatus::Done);
        }
        assert_eq!(world.nodes.started("a"), 2, "met a record: {met}");
    }
}

#[tokio::test]
async fn a_task_that_was_executed_is_not_finished_from_the_cache() {
    // Its record says that it was executed: what it comes to must be its own.
    let broken = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&broken);
    let world = World::new(FakeNodes::default().with("a", move |call| match seen.load(Ordering::SeqCst) {
        true => failed("no", false),
        false => update(json!({ "log": [call.task.thread.as_str()] })),
    }));
    let graph = world.deploy(&alone(CACHE)).await;
    assert_eq!(run(&world, &graph, "one").await.status, ThreadStatus::Failed);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(run(&world, &graph, "two").await.values["log"], json!(["two"]));
    assert_eq!(run(&world, &graph, "three").await.values["log"], json!(["two"]), "from the cache");
    let one = ThreadId::parse("one").unwrap();
    let view = world.engine.proceed(&one).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["one"])));
    let entry = &world.engine.history(&one, None, 2).await.unwrap()[1];
    assert_eq!(entry.tasks[0].executions, 2);
}
