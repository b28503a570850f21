//! What LangGraph's checkpointers are held to (`put`, `put_writes`, `get_tuple`), in our words, as far as the other clauses do not say it
//! already: values of every kind and whole records are in [`values`](super::values), deletion in [`threads`](super::threads), lists in
//! [`listing`](super::listing), pruning in [`retention`](super::retention). Bytes are no JSON, and copying a thread is the engine's.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdpoint_graph::nodes::Command;
use serde_json::{Map, Value, json};

use super::scene::{
    self, NOW_MS, append, apply, at, create, head, in_namespace, namespace, new_checkpoint, replace, step, thread,
    update, values_at,
};
use crate::records::{NewCheckpoint, Source, TaskRecord, TaskStatus, ThreadError};
use crate::store::{Commit, Store};

/// The subgraph that tasks of node "sub" run, kept per thread.
const CHILD: &str = "sub";

fn with_metadata(new: NewCheckpoint, metadata: Value) -> NewCheckpoint {
    let mut new = new;
    new.record.metadata = metadata.as_object().cloned().expect("invariant: metadata is an object");
    new
}

/// A task with its result, as the engine records one that finished.
fn done(number: u64, path: &str, update: Value) -> TaskRecord {
    let update = update.as_object().cloned().expect("invariant: an update is an object");
    let result = Some(Command { update, goto: Vec::new() });
    TaskRecord { status: TaskStatus::Done, result, ..scene::task("t", number, path) }
}

/// The head is what the commit made it; the same checkpoint is found by its id.
pub async fn the_newest_checkpoint_and_the_one_named_are_the_same(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("a", json!(1))]))).await;
    apply(&store, step("t", 1, 1, 0, replace([("a", json!(2))]))).await;
    let newest = head(&store, "t").await;
    assert_eq!(
        (&newest.checkpoint.id, &newest.checkpoint.parent),
        (&scene::checkpoint(1), &Some(scene::checkpoint(0)))
    );
    assert_eq!(at(&store, "t", 1).await, newest);
    assert_eq!(newest.checkpoint, new_checkpoint(1, Some(0), replace([])).record);
    assert_eq!(at(&store, "t", 0).await.checkpoint.parent, None);
    assert_eq!(store.snapshot(&thread("t"), Some(&scene::checkpoint(2))).await, Ok(None));
}

/// Storing checkpoints takes nothing from those before; the head may go back to one of them.
pub async fn several_checkpoints_stay_as_they_were(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("n", json!(0))]))).await;
    for number in 1..6 {
        apply(&store, step("t", 1, number, number - 1, replace([("n", json!(number))]))).await;
    }
    for number in 0..6 {
        let found = at(&store, "t", number).await;
        assert_eq!((found.values["n"].clone(), found.checkpoint.step), (json!(number), number.cast_signed()));
    }
    apply(&store, Commit { head: Some(scene::checkpoint(2)), ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.values["n"], json!(2));
    assert_eq!(at(&store, "t", 5).await.values["n"], json!(5));
}

/// A channel that a later checkpoint writes first is not in those before.
pub async fn a_channel_may_begin_later(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("a", json!("stays"))]))).await;
    apply(&store, step("t", 1, 1, 0, replace([("b", json!([1]))]))).await;
    apply(&store, step("t", 1, 2, 1, append("b", [json!(2)]))).await;
    assert_eq!(values_at(&store, "t", 0).await, json!({ "a": "stays" }));
    assert_eq!(values_at(&store, "t", 1).await, json!({ "a": "stays", "b": [1] }));
    assert_eq!(values_at(&store, "t", 2).await, json!({ "a": "stays", "b": [1, 2] }));
}

/// A checkpoint without a parent begins with nothing, at any time, and shows only what it writes.
pub async fn a_beginning_shows_only_its_own_channels(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("a", json!(1)), ("b", json!([1]))]))).await;
    let anew = new_checkpoint(1, None, append("b", [json!(2)]));
    apply(&store, Commit { checkpoints: vec![anew], head: Some(scene::checkpoint(1)), ..update("t", 1) }).await;
    assert_eq!(values_at(&store, "t", 1).await, json!({ "b": [2] }));
    assert_eq!(values_at(&store, "t", 0).await, json!({ "a": 1, "b": [1] }));
    assert_eq!(head(&store, "t").await.checkpoint.parent, None);
}

/// Metadata is each checkpoint's own, with whatever members the caller invents.
pub async fn metadata_comes_back_with_members_of_the_callers(store: Arc<dyn Store>) {
    let all = [
        json!({ "run_id": "r-1", "user": { "id": u64::MAX, "tags": ["a", null] } }),
        json!({}),
        json!({ "": 0.1, "source": "not ours", "ü \" $": -1, "nested": [[{}]] }),
    ];
    apply(&store, create("t", replace([]))).await;
    for (number, metadata) in (1..).zip(&all) {
        let new = with_metadata(new_checkpoint(number, Some(number - 1), replace([])), metadata.clone());
        apply(&store, Commit { checkpoints: vec![new], ..update("t", 1) }).await;
    }
    assert_eq!(at(&store, "t", 0).await.checkpoint.metadata, Map::new());
    for (number, metadata) in (1..).zip(all) {
        let found = at(&store, "t", number).await.checkpoint;
        assert_eq!((Value::Object(found.metadata), found.source), (metadata, Source::Loop));
    }
}

/// Equal ids of two threads are two checkpoints, with values and tasks of their own.
pub async fn threads_are_isolated(store: Arc<dyn Store>) {
    for name in ["t", "u"] {
        apply(&store, create(name, replace([("whose", json!(name))]))).await;
        apply(&store, step(name, 1, 1, 0, append("log", [json!(name)]))).await;
    }
    apply(&store, Commit { tasks: vec![done(1, "pull:a", json!({}))], ..update("t", 1) }).await;
    for name in ["t", "u"] {
        assert_eq!(values_at(&store, name, 1).await, json!({ "whose": name, "log": [name] }));
    }
    assert_eq!((at(&store, "t", 1).await.tasks.len(), at(&store, "u", 1).await.tasks.len()), (1, 0));
}

/// The root, a subgraph, and a subgraph's subgraph each have their own checkpoints, values and tasks.
pub async fn namespaces_are_isolated(store: Arc<dyn Store>) {
    let names = [CHILD, "sub|deep", "sub:018bcfe5-6800-8000-8000-000000000001", "subs"];
    apply(&store, create("t", replace([("whose", json!("root"))]))).await;
    for (number, name) in (1..).zip(names) {
        let first = new_checkpoint(number * 10, None, replace([("whose", json!(name))]));
        let second = new_checkpoint(number * 10 + 1, Some(number * 10), append("log", [json!(number)]));
        let checkpoints = [first, second].map(|new| in_namespace(&namespace(name), new)).into();
        let tasks = vec![done(number * 10, "pull:a", json!({ "n": number }))];
        apply(&store, Commit { checkpoints, tasks, ..update("t", 1) }).await;
    }
    assert_eq!(head(&store, "t").await.checkpoint.id, scene::checkpoint(0), "the head is the root's");
    assert_eq!(head(&store, "t").await.tasks, []);
    assert_eq!(values_at(&store, "t", 0).await, json!({ "whose": "root" }));
    for (number, name) in (1..).zip(names) {
        let found = at(&store, "t", number * 10 + 1).await;
        assert_eq!(found.checkpoint.namespace, namespace(name));
        assert_eq!(Value::Object(found.values), json!({ "whose": name, "log": [number] }));
        assert_eq!(at(&store, "t", number * 10).await.tasks, [done(number * 10, "pull:a", json!({ "n": number }))]);
    }
}

/// Each task keeps its id, its path and all that it wrote, beside the others of its checkpoint.
pub async fn several_tasks_keep_their_writes(store: Arc<dyn Store>) {
    let tasks = [
        done(0, "pull:a", json!({ "x": 1, "y": [null], "z": { "deep": "ü" } })),
        done(0, "pull:b", json!({ "x": 2 })),
        done(0, "push:0000000000", json!({})),
        TaskRecord { status: TaskStatus::Interrupted, ..scene::task("t", 0, "pull:c") },
        TaskRecord {
            status: TaskStatus::Failed,
            error: Some(ThreadError { code: "no".into(), message: "no".into(), node: None, details: None }),
            ..scene::task("t", 0, "pull:d")
        },
        TaskRecord { status: TaskStatus::Paused, ..scene::task("t", 0, "pause") },
    ];
    apply(&store, create("t", replace([]))).await;
    apply(&store, Commit { tasks: tasks[..2].to_vec(), ..update("t", 1) }).await;
    apply(&store, Commit { tasks: tasks[2..].to_vec(), ..update("t", 1) }).await;
    let found: BTreeMap<_, _> =
        head(&store, "t").await.tasks.into_iter().map(|task| (task.path.clone(), task)).collect();
    assert_eq!(found.len(), tasks.len());
    for task in tasks {
        assert_eq!(found[&task.path], task);
    }
}

/// Recording a task again, in one commit or in many, leaves one record of it: the last.
pub async fn recording_a_task_again_is_idempotent(store: Arc<dyn Store>) {
    let task = done(0, "pull:a", json!({ "x": 1 }));
    apply(&store, create("t", replace([]))).await;
    for _ in 0..3 {
        apply(&store, Commit { tasks: vec![task.clone(), task.clone()], ..update("t", 1) }).await;
        assert_eq!(head(&store, "t").await.tasks, std::slice::from_ref(&task));
    }
    let later = TaskRecord { updated_at_ms: NOW_MS + 1, steps_left: Some(7), ..done(0, "pull:a", json!({ "x": 2 })) };
    apply(&store, Commit { tasks: vec![later.clone()], ..update("t", 1) }).await;
    assert_eq!(head(&store, "t").await.tasks, [later]);
}

/// What tasks wrote belongs to the checkpoint that they start from, not to the next one.
pub async fn the_next_checkpoint_has_no_tasks_yet(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    let commit = Commit { tasks: vec![done(0, "pull:a", json!({ "x": 1 }))], ..step("t", 1, 1, 0, replace([])) };
    apply(&store, commit).await;
    assert_eq!(head(&store, "t").await.tasks, []);
    assert_eq!(at(&store, "t", 0).await.tasks.len(), 1);
}

/// A commit with a thousand tasks is one like any other.
pub async fn a_thousand_tasks_fit_one_commit(store: Arc<dyn Store>) {
    let tasks: Vec<TaskRecord> =
        (0..1000).map(|number| done(0, &format!("push:{number:010}"), json!({ "n": number }))).collect();
    apply(&store, create("t", replace([]))).await;
    apply(&store, Commit { tasks: tasks.iter().rev().cloned().collect(), ..step("t", 1, 1, 0, replace([])) }).await;
    assert_eq!(at(&store, "t", 0).await.tasks, tasks);
}
