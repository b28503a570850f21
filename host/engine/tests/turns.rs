//! Calls under a stored run: it begins with what it asks for, and what it began stops with it.

use holdpoint_engine::{Breakpoints, Error, RunOptions, Selection, ThreadView, Turn};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::{RunId, Tenant};
use holdpoint_store::{Error as StoreError, RunRecord, RunStatus, RunUpdate, Runs, Store, ThreadStatus};
use serde_json::{Map, json};

use crate::support::{FakeNodes, NOON_MS, World, logs, thread};

const GRAPH: &str =
    "start = \"a\"\n[state]\nlog = { reducer = \"append\" }\n[nodes.a]\nnext = \"b\"\n[nodes.b]\nnext = \"END\"\n";

fn run_id() -> RunId {
    "01a1fbcd-8977-723c-8aaa-012345678901".parse().unwrap()
}

async fn update(world: &World, from: RunStatus, to: RunStatus) {
    let update = RunUpdate { run: run_id(), from, to, error: None };
    world.store.update_run(update, NOON_MS, Vec::new()).await.unwrap();
}

/// A thread that is paused in the middle, and a run of it that has begun.
async fn begun() -> World {
    let world = World::new(FakeNodes::default().with("a", logs("a")).with("b", logs("b")));
    let deployment = world.deploy(GRAPH).await;
    let breakpoints = Breakpoints { before: Selection::parse(["b"]).unwrap(), ..Breakpoints::default() };
    let engine = world.engine.with_options(RunOptions { breakpoints, ..RunOptions::default() });
    let input = holdpoint_engine::Input { values: json!({}), supersede: false };
    assert!(engine.run(&thread(), &deployment, input).await.unwrap().paused);
    let run = RunRecord {
        id: run_id(),
        thread: thread(),
        tenant: Tenant::default(),
        actor: Actor::asserted("ana"),
        status: RunStatus::Pending,
        request: json!({}),
        metadata: Map::new(),
        not_before_ms: NOON_MS,
        error: None,
        cancel: None,
        base: None,
        created_at_ms: NOON_MS,
        updated_at_ms: NOON_MS,
    };
    world.store.put_run(run, false, Vec::new()).await.unwrap();
    update(&world, RunStatus::Pending, RunStatus::Running).await;
    world
}

async fn goes_on(world: &World) -> Result<ThreadView, Error> {
    let turn = Turn { run: run_id(), begun: true };
    world.engine.with_options(RunOptions { run: Some(turn), ..RunOptions::default() }).proceed(&thread()).await
}

#[tokio::test]
async fn a_run_that_has_begun_goes_on() {
    let world = begun().await;
    let view = goes_on(&world).await.unwrap();
    assert_eq!((view.status, &view.values["log"]), (ThreadStatus::Done, &json!(["a", "b"])));
    assert_eq!(world.store.run(&run_id()).await.unwrap().unwrap().status, RunStatus::Success);
}

#[tokio::test]
async fn nothing_runs_under_a_run_that_somebody_ended() {
    let world = begun().await;
    // Another host ended it after this one had found it running.
    update(&world, RunStatus::Running, RunStatus::Interrupted).await;
    let before = world.store.thread(&thread()).await.unwrap();
    let refused = goes_on(&world).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::RunChanged { .. }))), "{refused:?}");
    assert_eq!(world.nodes.started("b"), 0);
    assert_eq!(world.store.thread(&thread()).await.unwrap(), before, "nobody has claimed it");
}
