//! Subgraphs: namespaces, the runs that tasks point to, and the graph that a thread is pinned to.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Namespace};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use serde_json::json;

use super::scene::{
    self, NOW_MS, append, apply, at, create, head, in_namespace, namespace, new_checkpoint, replace, step, thread,
    update,
};
use crate::check::SUBGRAPHS_MAX;
use crate::records::{NewCheckpoint, TaskRecord, TaskStatus, ThreadStatus};
use crate::store::{Commit, Error, Store};

/// The task of checkpoint `number` that runs a subgraph, which has come to checkpoint `child`.
fn running(number: u64, child: u64) -> TaskRecord {
    let child = Some(scene::checkpoint(child));
    TaskRecord { status: TaskStatus::Running, child, ..scene::task("t", number, "pull:sub") }
}

/// The first checkpoint of a run of the subgraph with this namespace.
fn run(number: u64, name: &str) -> NewCheckpoint {
    in_namespace(&namespace(name), new_checkpoint(number, None, replace([("whose", json!(name))])))
}

/// A thread "t" whose head runs a subgraph (at 10), which runs another (at 20), which asks.
async fn nested(store: &Arc<dyn Store>) -> (TaskRecord, TaskRecord, TaskRecord) {
    let (outer, inner, asking) = (running(0, 10), running(10, 20), scene::task("t", 20, "pull:ask"));
    let commit = Commit {
        tasks: vec![outer.clone(), inner.clone(), asking.clone()],
        questions: vec![scene::question(&asking, "t", 0)],
        status: ThreadStatus::Interrupted,
        ..create("t", replace([("whose", json!("root"))]))
    };
    let checkpoints =
        commit.checkpoints.iter().cloned().chain([run(10, "sub"), run(20, "sub|deep")]).collect::<Vec<_>>();
    apply(store, Commit { checkpoints, ..commit }).await;
    (outer, inner, asking)
}

async fn refused(store: &Arc<dyn Store>, what: &str, commit: Commit) {
    let outcome = store.commit(commit).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{what}: {outcome:?}");
}

/// A snapshot shows the runs of subgraphs of its unfinished tasks, and theirs, each where its task says.
pub async fn a_snapshot_shows_the_runs_of_unfinished_tasks(store: Arc<dyn Store>) {
    let (outer, inner, asking) = nested(&store).await;
    let found = head(&store, "t").await;
    assert_eq!(found.tasks, std::slice::from_ref(&outer));
    assert_eq!(found.children.keys().collect::<Vec<_>>(), [&outer.id]);
    let child = &found.children[&outer.id];
    assert_eq!((&child.checkpoint.id, &child.checkpoint.namespace), (&scene::checkpoint(10), &namespace("sub")));
    assert_eq!((&child.values["whose"], &child.thread), (&json!("sub"), &found.thread));
    assert_eq!(child.tasks, std::slice::from_ref(&inner));
    let deep = &child.children[&inner.id];
    assert_eq!((&deep.values["whose"], &deep.tasks), (&json!("sub|deep"), &vec![asking.clone()]));
    assert_eq!(deep.questions, [scene::question(&asking, "t", 0)]);
    assert!(deep.children.is_empty());
    assert_eq!(&at(&store, "t", 10).await, child, "a run can be looked at by itself");
    // The run goes on: the task points to its next checkpoint.
    let next = in_namespace(&namespace("sub"), new_checkpoint(11, Some(10), append("log", [json!(1)])));
    apply(&store, Commit { checkpoints: vec![next], tasks: vec![running(0, 11)], ..update("t", 1) }).await;
    let found = head(&store, "t").await;
    assert_eq!(found.children[&outer.id].values, *json!({ "whose": "sub", "log": [1] }).as_object().expect("one"));
    assert!(found.children[&outer.id].children.is_empty(), "what ran from the checkpoint before is over");
}

/// A finished task's run is over: only the task still says where it ended.
pub async fn a_finished_tasks_run_is_not_shown(store: Arc<dyn Store>) {
    let (outer, ..) = nested(&store).await;
    for (status, _) in TaskStatus::NAMES {
        let task = TaskRecord { status, ..outer.clone() };
        apply(&store, Commit { tasks: vec![task.clone()], ..update("t", 1) }).await;
        let found = head(&store, "t").await;
        assert_eq!(found.tasks, [task]);
        assert_eq!(found.children.is_empty(), status == TaskStatus::Done, "{}", status.name());
    }
}

/// Many tasks of one step may run subgraphs; each has its own.
pub async fn tasks_of_one_step_have_their_own_runs(store: Arc<dyn Store>) {
    let mut commit = create("t", replace([]));
    for number in 0..20 {
        let task = TaskRecord { child: Some(scene::checkpoint(100 + number)), ..running(0, 0) };
        let path = format!("push:{number:010}");
        let task = TaskRecord { id: scene::task_id("t", 0, &path), path, ..task };
        let own = Namespace::root().child(&scene::node("sub"), Some(&task.id));
        commit
            .checkpoints
            .push(in_namespace(&own, new_checkpoint(100 + number, None, replace([("n", json!(number))]))));
        commit.tasks.push(task);
    }
    apply(&store, commit).await;
    let found = head(&store, "t").await;
    assert_eq!(found.children.len(), 20);
    for (number, task) in found.tasks.iter().enumerate() {
        assert_eq!(found.children[&task.id].values["n"], json!(number));
    }
}

/// A history's checkpoints come without the runs of subgraphs.
pub async fn a_history_shows_no_runs(store: Arc<dyn Store>) {
    nested(&store).await;
    let found = scene::history(&store, "t").await;
    assert_eq!((found.len(), found[0].tasks.len()), (1, 1));
    assert!(found[0].children.is_empty());
}

/// A run is stored, belongs to the thread, and lies deeper than the task that runs it; otherwise nothing is written.
pub async fn a_tasks_run_must_be_a_subgraphs(store: Arc<dyn Store>) {
    let (outer, inner, _) = nested(&store).await;
    apply(&store, create("other", replace([]))).await;
    apply(&store, Commit { checkpoints: vec![run(30, "sub")], ..update("other", 1) }).await;
    let before = head(&store, "t").await;
    let to = |task: &TaskRecord, number| {
        let task = TaskRecord { child: Some(scene::checkpoint(number)), ..task.clone() };
        Commit { tasks: vec![task], status: ThreadStatus::Done, ..update("t", 1) }
    };
    for (what, commit) in [
        ("no checkpoint", to(&outer, 77)),
        ("another thread's", to(&outer, 30)),
        ("the task's own", to(&outer, 0)),
        ("one of the same namespace", to(&inner, 10)),
        ("one that lies higher", to(&inner, 0)),
    ] {
        refused(&store, what, commit).await;
        assert_eq!(head(&store, "t").await, before, "{what}");
    }
    apply(&store, Commit { checkpoints: vec![run(31, "sub")], ..to(&outer, 31) }).await;
    assert_eq!(head(&store, "t").await.tasks[0].child, Some(scene::checkpoint(31)), "one of the same commit");
    let too_deep = Namespace::parse(vec!["sub"; SUBGRAPHS_MAX + 1].join("|")).expect("valid");
    let checkpoints = vec![in_namespace(&too_deep, new_checkpoint(40, None, replace([])))];
    refused(&store, "too deep", Commit { checkpoints, ..update("t", 1) }).await;
}

/// Parent and child are of one namespace.
pub async fn a_parent_is_of_the_same_namespace(store: Arc<dyn Store>) {
    nested(&store).await;
    let onto = |parent, name: &str| {
        let checkpoints = vec![in_namespace(&namespace(name), new_checkpoint(30, Some(parent), replace([])))];
        Commit { checkpoints, ..update("t", 1) }
    };
    for (parent, name) in [(0, "sub"), (10, ""), (10, "sub|deep"), (10, "sub:018bcfe5-6800-8000-8000-000000000001")] {
        refused(&store, name, onto(parent, name)).await;
    }
    let mut within = onto(20, "sub");
    within.checkpoints.insert(0, run(31, "other"));
    within.checkpoints[1].record.parent = Some(scene::checkpoint(31));
    refused(&store, "within one commit", within).await;
    assert_eq!(store.snapshot(&thread("t"), Some(&scene::checkpoint(30))).await, Ok(None));
    apply(&store, onto(10, "sub")).await;
    assert_eq!(at(&store, "t", 30).await.values["whose"], json!("sub"));
}

/// The head is a checkpoint of the thread's own graph.
pub async fn the_head_is_the_threads_own(store: Arc<dyn Store>) {
    nested(&store).await;
    let before = head(&store, "t").await;
    let to = |head: CheckpointId| Commit { head: Some(head), status: ThreadStatus::Done, ..update("t", 1) };
    refused(&store, "a stored one", to(scene::checkpoint(10))).await;
    refused(&store, "one of the commit", Commit { checkpoints: vec![run(30, "sub")], ..to(scene::checkpoint(30)) })
        .await;
    assert_eq!(head(&store, "t").await, before);
    let new = Commit { checkpoints: vec![run(0, "sub")], ..create("new", replace([])) };
    refused(&store, "a new thread's", new).await;
    assert_eq!(store.thread(&thread("new")).await, Ok(None));
}

/// Pinning moves the thread and its head to another graph, and nothing else.
pub async fn pinning_moves_thread_and_head(store: Arc<dyn Store>) {
    let newer = Digest::of_bytes(b"newer");
    apply(&store, create("t", replace([("a", json!(1))]))).await;
    apply(&store, step("t", 1, 1, 0, append("b", [json!(1)]))).await;
    apply(&store, create("other", replace([]))).await;
    let before = head(&store, "t").await;
    apply(&store, Commit { graph: Some(newer.clone()), at_ms: NOW_MS + 3, ..update("t", 1) }).await;
    let mut expected = before;
    (expected.thread.graph, expected.checkpoint.graph) = (newer.clone(), newer.clone());
    expected.thread.updated_at_ms = NOW_MS + 3;
    assert_eq!(head(&store, "t").await, expected);
    assert_eq!(at(&store, "t", 0).await.checkpoint.graph, scene::graph(), "the past ran the old one");
    assert_eq!(head(&store, "other").await.checkpoint.graph, scene::graph());
    // With a head that the same commit brings.
    let newest = Digest::of_bytes(b"newest");
    apply(&store, Commit { graph: Some(newest.clone()), ..step("t", 1, 2, 1, replace([])) }).await;
    let found = head(&store, "t").await;
    assert_eq!((&found.thread.graph, &found.checkpoint.graph), (&newest, &newest));
    assert_eq!(at(&store, "t", 1).await.checkpoint.graph, newer);
    // And with a thread that the same commit creates.
    apply(&store, Commit { graph: Some(newest.clone()), ..create("new", replace([])) }).await;
    let found = head(&store, "new").await;
    assert_eq!((&found.thread.graph, &found.checkpoint.graph), (&newest, &newest));
}

/// An outcome wakes the thread whose doubt lies in a subgraph, at any depth; not one whose subgraph is over.
pub async fn an_outcome_wakes_who_waits_in_a_subgraph(store: Arc<dyn Store>) {
    let (outer, inner, asking) = nested(&store).await;
    let doubt = OperationRecord {
        state: OperationState::InDoubt("no answer".to_owned()),
        ..scene::operation("t", "op", &asking)
    };
    let settled = OperationRecord { state: OperationState::NotSent, ..doubt.clone() };
    let stuck = scene::task_in_doubt("t", 20, "pull:ask", &doubt.key);
    // With every task on the way unfinished it is what the thread waits for; with one of them done it is not.
    for over in [None, Some(&outer), Some(&inner)] {
        let mut tasks = vec![outer.clone(), inner.clone(), stuck.clone()];
        tasks.extend(over.map(|task| TaskRecord { status: TaskStatus::Done, ..task.clone() }));
        let operations = vec![doubt.clone()];
        apply(&store, Commit { tasks, operations, status: ThreadStatus::Interrupted, ..update("t", 1) }).await;
        let unsettled: BTreeSet<_> =
            at(&store, "t", 20).await.unsettled.into_iter().map(|found| found.key.id).collect();
        assert_eq!(unsettled, [doubt.key.id.clone()].into());
        assert_eq!(store.exchange_operation(&doubt, settled.clone(), NOW_MS + 9, Vec::new()).await, Ok(true));
        let status = head(&store, "t").await.thread.status;
        assert_eq!(status == ThreadStatus::Running, over.is_none(), "{over:?}");
    }
}
