//! `one-writer`, recovery and the commit budget of DESIGN section 12.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a panic is a failed test, and what is printed is its report"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{self, FakeNodes, World, ask, logs, thread, update};
use holdpoint_engine::{Answers, Config, Error, Input};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::nodes::{JournalError, NodeCall, NodeOutcome, NodeReport};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_store::{Store, ThreadStatus};
use serde_json::json;
use tokio::sync::Notify;

const REFUND: &str = r#"start = "prepare"
[state]
log = { type = "array", reducer = "append" }
approved = { type = ["boolean", "null"] }
[nodes.prepare]
next = "gate"
[nodes.gate]
next = [{ when = "state.approved == true", to = "commit" }, { to = "END" }]
[nodes.commit]
next = "END"
"#;

fn operation(call: &NodeCall, id: &str, state: OperationState) -> OperationRecord {
    let request = json!({ "refund": id });
    OperationRecord {
        key: OperationKey {
            scope: Scope::Thread(call.task.lineage.clone()),
            connector: ConnectorName::parse("payments").unwrap(),
            id: OperationId::parse(id).unwrap(),
        },
        thread: call.task.thread.clone(),
        task: call.task.id.clone(),
        node: call.task.node.clone(),
        request_digest: Digest::of_json(&request),
        request,
        finished_at_ms: (state != OperationState::Intended).then_some(support::NOON_MS + 5),
        state,
        epoch: call.task.epoch,
        begun_at_ms: support::NOON_MS,
        send_by_ms: None,
        settles_at_ms: None,
        notes: Vec::new(),
    }
}

/// The refund graph; its last node performs an effect, with an intent or without.
fn refund_nodes(intent: bool) -> FakeNodes {
    FakeNodes::default()
        .with("prepare", logs("prepare"))
        .with("gate", |call| match ask(call, 0, json!({ "pay": 500 })) {
            Ok(answer) => update(json!({ "approved": answer })),
            Err(interrupted) => interrupted,
        })
        .with_async("commit", move |call| {
            Box::pin(async move {
                if intent
                    && let Err(error) = call.journal.store(vec![operation(&call, "r", OperationState::Intended)]).await
                {
                    assert_eq!(error, JournalError::Fenced);
                    return NodeReport::from(NodeOutcome::Fenced);
                }
                let done = operation(&call, "r", OperationState::Completed(json!("paid")));
                NodeReport { outcome: update(json!({ "log": ["paid"] })), operations: vec![done], hits: Vec::new() }
            })
        })
}

#[tokio::test]
async fn the_refund_graph_costs_what_the_design_says() {
    for (intent, ahead, budget) in [(false, 1, 4), (true, 1, 5), (false, 0, 6), (true, 0, 7)] {
        let config = Config { run_ahead_max: ahead, ..Config::default() };
        let world = World::with_config(refund_nodes(intent), config);
        let graph = world.deploy(REFUND).await;
        world.run(&graph, json!({})).await.unwrap();
        let view = world.engine.answer(&thread(), &Answers::Bare(json!(true)), "ana").await.unwrap();
        assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["prepare", "paid"])));
        assert_eq!(world.commits().commits, budget, "intent {intent}, {ahead} superstep(s) ahead");
    }
}

#[tokio::test]
async fn supersteps_cost_one_commit_each_at_most() {
    let nodes = FakeNodes::default().with("a", |call| match call.state["log"].as_array().map_or(0, Vec::len) {
        ..50 => support::goto(json!({ "log": [1] }), vec![holdpoint_graph::nodes::Destination::Node("a".into())]),
        _ => update(json!({})),
    });
    for (ahead, budget) in [(0, 1 + 51), (1, 1 + 26), (16, 1 + 3)] {
        let world = World::with_config(nodes.clone(), Config { run_ahead_max: ahead, ..Config::default() });
        let graph =
            world.deploy("start = \"a\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.a]\n").await;
        world.run(&graph, json!({})).await.unwrap();
        assert_eq!(world.commits().commits, budget, "{ahead} ahead");
        assert_eq!(
            world.engine.history(&thread(), None, 100).await.unwrap().len(),
            2 + 51,
            "every superstep is in the history"
        );
    }
}

/// Lets the other tasks of the test go on until something has happened; fails when it never does.
async fn until(happened: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if happened() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("what was waited for did not happen");
}

/// A worker that dies in the middle of a superstep: its future is dropped, as a killed process would stop.
async fn die_in_commit(world: &World, answer: bool) {
    let engine = world.engine.clone();
    let running = if answer {
        tokio::spawn(async move { engine.answer(&thread(), &Answers::Bare(json!(true)), "ana").await.map(drop) })
    } else {
        tokio::spawn(async move { engine.proceed(&thread()).await.map(drop) })
    };
    until(|| world.nodes.started("commit") > 0).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_thread_whose_worker_died_goes_on_from_what_is_stored() {
    let seen: Arc<std::sync::Mutex<Vec<(String, u64)>>> = Arc::default();
    let hangs = {
        let seen = Arc::clone(&seen);
        refund_nodes(false).with_async("commit", move |call| {
            seen.lock().unwrap().push((call.task.id.to_string(), call.clock_ms));
            Box::pin(std::future::pending())
        })
    };
    let world = World::new(hangs);
    let graph = world.deploy(REFUND).await;
    world.run(&graph, json!({})).await.unwrap();
    world.advance_ms(3_600_000);
    die_in_commit(&world, true).await;

    let again = Arc::clone(&seen);
    let nodes = refund_nodes(false).with_async("commit", move |call| {
        again.lock().unwrap().push((call.task.id.to_string(), call.clock_ms));
        Box::pin(async { NodeReport::from(update(json!({ "log": ["paid"] }))) })
    });
    let second = world.second("second", nodes.clone());
    world.advance_ms(1_000);
    let busy = second.engine.proceed(&thread()).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "the first worker may be alive: {busy}");
    second.owners.others_gone.store(true, Ordering::SeqCst);
    let view = second.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["prepare", "paid"])));
    assert_eq!(nodes.started("prepare"), 0, "what was stored is not run again");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1], "the superstep that was held back came out the same: task ids and recorded time");
    assert_eq!(seen[0].1, support::NOON_MS + 3_600_000, "time is when the answer came");
}

#[tokio::test]
async fn a_zombie_writes_nothing() {
    // The first worker stands still in the middle of its effect, longer than its claim; the second takes over; then the first goes on.
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let nodes = {
        let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
        refund_nodes(true).with_async("commit", move |call| {
            let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
            Box::pin(async move {
                reached.notify_one();
                go_on.notified().await;
                match call.journal.store(vec![operation(&call, "zombie", OperationState::Intended)]).await {
                    Err(JournalError::Fenced) => NodeReport::from(NodeOutcome::Fenced),
                    other => panic!("a zombie may not store an intent: {other:?}"),
                }
            })
        })
    };
    let world = World::new(nodes);
    let graph = world.deploy(REFUND).await;
    world.run(&graph, json!({})).await.unwrap();
    let engine = world.engine.clone();
    let zombie = tokio::spawn(async move { engine.answer(&thread(), &Answers::Bare(json!(true)), "ana").await });
    reached.notified().await;

    world.advance_ms(Config::default().lease_ms + 1);
    let second = world.second("second", refund_nodes(true));
    let view = second.engine.proceed(&thread()).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Done);
    let before = world.store.history(&thread(), &holdpoint_store::HistoryFilter::newest(100)).await.unwrap();
    go_on.notify_one();
    let fenced = zombie.await.unwrap().unwrap_err();
    assert!(matches!(fenced, Error::TakenOver(_)), "{fenced}");
    assert_eq!(world.store.history(&thread(), &holdpoint_store::HistoryFilter::newest(100)).await.unwrap(), before);
    let key = OperationKey {
        scope: Scope::Thread(thread()),
        connector: ConnectorName::parse("payments").unwrap(),
        id: OperationId::parse("zombie").unwrap(),
    };
    assert_eq!(holdpoint_store::Journal::operation(world.store.as_ref(), &key).await.unwrap(), None);
}

#[tokio::test]
async fn of_two_answers_at_once_one_wins() {
    // G1.
    for _ in 0..50 {
        let world = World::new(refund_nodes(false));
        let graph = world.deploy(REFUND).await;
        world.run(&graph, json!({})).await.unwrap();
        let second = world.second("second", world.nodes.clone());
        let (yes, no) = (Answers::Bare(json!(true)), Answers::Bare(json!(false)));
        let id = thread();
        let (one, other) = tokio::join!(world.engine.answer(&id, &yes, "ana"), second.engine.answer(&id, &no, "bob"));
        assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "{one:?} {other:?}");
        assert_eq!(world.nodes.started("gate"), 2, "the loser's node code did not run");
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_finisher_with_effects_is_stored_while_its_sibling_runs() {
    // DESIGN 6.2.
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let nodes = FakeNodes::default()
        .with_async("fast", |call| {
            Box::pin(async move {
                let done = operation(&call, "mail", OperationState::Completed(json!("sent")));
                NodeReport { outcome: update(json!({ "log": ["fast"] })), operations: vec![done], hits: Vec::new() }
            })
        })
        .with_async("slow", move |_| {
            let held = Arc::clone(&held);
            Box::pin(async move {
                held.notified().await;
                NodeReport::from(update(json!({ "log": ["slow"] })))
            })
        });
    let world = World::new(nodes);
    let graph = world.deploy("start = [\"fast\", \"slow\"]\n[state]\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.fast]\n[nodes.slow]\n").await;
    let engine = world.engine.clone();
    let running = {
        let graph = graph.clone();
        tokio::spawn(async move { engine.run(&thread(), &graph, Input { values: json!({}), supersede: false }).await })
    };
    until(|| world.commits().commits >= 2).await;
    let view = world.engine.view(&thread()).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Running, json!(["fast"])));
    release.notify_one();
    let view = running.await.unwrap().unwrap();
    assert_eq!(view.values["log"], json!(["fast", "slow"]));
    assert_eq!(world.commits().commits, 3, "start, the early finisher, the superstep");
}

#[tokio::test(start_paused = true)]
async fn a_long_task_prolongs_its_claim() {
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let nodes = FakeNodes::default().with_async("long", move |_| {
        let held = Arc::clone(&held);
        Box::pin(async move {
            held.notified().await;
            NodeReport::from(update(json!({})))
        })
    });
    let world = World::new(nodes);
    let graph = world.deploy("start = \"long\"\n[state]\n[nodes.long]\n").await;
    let engine = world.engine.clone();
    let running =
        tokio::spawn(async move { engine.run(&thread(), &graph, Input { values: json!({}), supersede: false }).await });
    until(|| world.nodes.started("long") > 0).await;
    for _ in 0..10 {
        world.advance_ms(10_000);
        tokio::time::advance(std::time::Duration::from_millis(10_001)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let second = world.second("second", FakeNodes::default());
    let busy = second.engine.proceed(&thread()).await.unwrap_err();
    assert!(matches!(busy, Error::Busy { .. }), "after 100 s the claim of 30 s still stands: {busy}");
    release.notify_one();
    assert_eq!(running.await.unwrap().unwrap().status, ThreadStatus::Done);
}
