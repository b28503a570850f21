//! What scripts have found, each by itself.

use std::sync::Arc;

use holdpoint_engine::prune::Rule;
use holdpoint_engine::{Answers, AsNode, Engine, Error, HistoryEntry, Input, PruneRequest, Update};
use holdpoint_graph::ids::{CheckpointId, NodeName, ThreadId};
use holdpoint_store::{MemoryStore, TaskStatus, ThreadStatus};
use serde_json::{Value, json};

use super::actors::Weather;
use super::world::{World, id};
use crate::support::object;

/// Runs graph `number` of [`super::graphs`] in a new thread.
async fn begun(number: usize, weather: Weather) -> (World, Engine, ThreadId) {
    let mut world = World::new(Arc::new(MemoryStore::new()), false).await;
    world.actors.set_weather(weather);
    let (engine, thread) = (world.engine(0, true), id("one"));
    let input = Input { values: json!({}), supersede: false };
    engine.run(&thread, &world.graphs[number].clone(), input).await.unwrap();
    (world, engine, thread)
}

async fn at_step(engine: &Engine, thread: &ThreadId, step: i64) -> CheckpointId {
    let history = engine.history(thread, None, 100).await.unwrap();
    history.into_iter().find(|entry| entry.step == step).unwrap().checkpoint
}

fn said(as_node: AsNode, values: Option<Value>) -> Vec<Vec<Update>> {
    vec![vec![Update { as_node: Some(as_node), values: values.map(object), ..Update::default() }]]
}

#[tokio::test]
async fn an_update_leaves_the_records_of_the_branch_that_went_on() {
    let (_, engine, thread) = begun(0, Weather::Fine).await;
    let from = at_step(&engine, &thread, 0).await;
    let before = engine.state(&thread, Some(&from)).await.unwrap();
    assert_eq!((before.tasks[0].node.as_str(), before.tasks[0].status), ("draft", Some(TaskStatus::Done)));
    let by_hand = said(AsNode::Node(NodeName::parse("draft").unwrap()), Some(json!({ "log": ["by hand"] })));
    engine.update(&thread, Some(&from), &by_hand).await.unwrap();
    assert_eq!(engine.state(&thread, Some(&from)).await.unwrap(), before);
}

#[tokio::test]
async fn a_copy_of_an_input_goes_on_with_that_input() {
    let (_, engine, thread) = begun(0, Weather::Fine).await;
    let start = at_step(&engine, &thread, -1).await;
    let view = engine.update(&thread, Some(&start), &said(AsNode::Copy, None)).await.unwrap();
    assert_eq!((view.status, view.paused, view.next[0].as_str()), (ThreadStatus::Interrupted, true, "draft"));
    let view = engine.proceed(&thread).await.unwrap();
    assert_eq!((view.interrupts.len(), view.values["log"].clone()), (1, json!(["draft"])));
}

#[tokio::test]
async fn a_checkpoint_can_be_copied_when_retention_has_taken_its_parent() {
    let (world, engine, thread) = begun(0, Weather::Fine).await;
    for answer in [1, 0] {
        engine.answer(&thread, &Answers::Bare(json!(answer)), "ana").await.unwrap();
    }
    let request = PruneRequest { rule: Rule::KeepLatest, older_than_ms: None, now_ms: world.now_ms(), dry_run: false };
    assert_eq!(engine.prune(&request).await.unwrap().trimmed, 1);
    let before = engine.view(&thread).await.unwrap();
    let view = engine.update(&thread, None, &said(AsNode::Copy, None)).await.unwrap();
    assert_eq!((view.status, view.values), (ThreadStatus::Done, before.values));
}

#[tokio::test]
async fn a_thread_with_a_doubt_in_a_subgraph_is_not_deleted() {
    // The subgraph keeps nothing, so nothing but the journal knows whose doubt it is.
    let (_, engine, thread) = begun(2, Weather::Lost).await;
    let refused = engine.delete(&thread).await;
    assert!(matches!(refused, Err(Error::DeleteInDoubt { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_copy_shows_what_the_tasks_of_the_original_came_to() {
    let (_, engine, thread) = begun(0, Weather::Fine).await;
    engine.copy(&thread, &id("two")).await.unwrap();
    let shown = |entries: Vec<HistoryEntry>| -> Vec<_> {
        let tasks = entries.into_iter().map(|entry| (entry.checkpoint, entry.tasks));
        tasks
            .map(|(id, tasks)| (id, tasks.into_iter().map(|task| (task.status, task.result)).collect::<Vec<_>>()))
            .collect()
    };
    let original = shown(engine.history(&thread, None, 100).await.unwrap());
    let copy = shown(engine.history(&id("two"), None, 100).await.unwrap());
    assert!(original[1].1[0].0 == Some(TaskStatus::Done), "{original:?}");
    assert_eq!(copy[2..], original[1..], "the newest of the copy is its own; the one before waits anew");
}
