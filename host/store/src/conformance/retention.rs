//! Retention: what is kept is kept whole, what is removed is gone, and nobody removes without the right to write.

use std::sync::Arc;

use holdpoint_graph::ids::{CheckpointId, Epoch};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::OperationRecord;
use serde_json::{Map, Value, json};

use super::scene::{
    self, append, apply, at, checkpoint, claim, create, head, in_namespace, namespace, new_checkpoint, replace, step,
    thread, update, values_at,
};
use crate::audit::AuditEntry;
use crate::records::{QuestionRecord, QuestionStatus, TaskRecord, TaskStatus, ThreadStatus};
use crate::store::{Commit, Error, HistoryFilter, Store, ThreadBytes};

fn ids<const N: usize>(numbers: [u64; N]) -> Vec<CheckpointId> {
    numbers.map(checkpoint).into()
}

async fn retain<const N: usize>(store: &Arc<dyn Store>, name: &str, keep: [u64; N]) -> u64 {
    store.retain(&thread(name), Epoch(1), &ids(keep), Vec::new()).await.expect("it may be removed")
}

/// The numbers of the checkpoints that a thread has, of every namespace.
async fn numbers(store: &Arc<dyn Store>, name: &str) -> Vec<i64> {
    let found = store.outline(&thread(name)).await.expect("the store can be read");
    found.iter().map(|outline| outline.checkpoint.step).collect()
}

/// A thread of `count` steps; each appends, replaces, and leaves a finished task behind.
async fn long(store: &Arc<dyn Store>, name: &str, count: u64) {
    apply(store, create(name, replace([("log", json!([])), ("n", json!(0)), ("first", json!("stays"))]))).await;
    for number in 1..=count {
        let result = Some(Command { update: Map::from_iter([("n".to_owned(), json!(number))]), goto: Vec::new() });
        let task = TaskRecord { status: TaskStatus::Done, result, ..scene::task(name, number - 1, "pull:a") };
        let mut patch = append("log", [json!(number)]);
        patch.changes.extend(replace([("n", json!(number))]).changes);
        apply(store, Commit { tasks: vec![task], ..step(name, 1, number, number - 1, patch) }).await;
    }
}

/// Only the newest is kept: its values are whole, although they stand on what was removed.
pub async fn keeping_the_newest_keeps_its_values(store: Arc<dyn Store>) {
    long(&store, "t", 30).await;
    let before = head(&store, "t").await;
    assert_eq!(retain(&store, "t", [30]).await, 30);
    assert_eq!(head(&store, "t").await, before, "neither status nor times nor values change");
    assert_eq!(before.values["log"], json!((1..=30).collect::<Vec<_>>()));
    assert_eq!(before.values["first"], json!("stays"));
    assert_eq!(numbers(&store, "t").await, [30]);
    for gone in [0, 1, 29] {
        assert_eq!(store.snapshot(&thread("t"), Some(&checkpoint(gone))).await, Ok(None));
    }
    assert_eq!(scene::history(&store, "t").await.len(), 1, "its parent is gone, which it still names");
    let before_gone = HistoryFilter { before: Some(checkpoint(29)), ..HistoryFilter::newest(9) };
    assert_eq!(store.history(&thread("t"), &before_gone).await, Ok(Vec::new()));
    // It goes on from there.
    apply(&store, step("t", 1, 31, 30, append("log", [json!(31)]))).await;
    assert_eq!(values_at(&store, "t", 31).await["log"], json!((1..=31).collect::<Vec<_>>()));
    let onto_gone = store.commit(step("t", 1, 32, 29, replace([]))).await;
    assert!(matches!(onto_gone, Err(Error::Invalid(_))), "{onto_gone:?}");
}

/// What is kept in the middle keeps its values and its tasks; other threads are not touched.
pub async fn what_is_kept_keeps_its_tasks(store: Arc<dyn Store>) {
    for name in ["t", "other"] {
        long(&store, name, 6).await;
    }
    let expected = [at(&store, "t", 2).await, at(&store, "t", 4).await, at(&store, "t", 6).await];
    let other = scene::history(&store, "other").await;
    assert_eq!(retain(&store, "t", [6, 2, 4, 2]).await, 4);
    assert_eq!([at(&store, "t", 2).await, at(&store, "t", 4).await, at(&store, "t", 6).await], expected);
    assert!(!expected[0].tasks.is_empty() && expected[0].values["log"] == json!([1, 2]));
    assert_eq!(scene::history(&store, "other").await, other);
    assert_eq!(numbers(&store, "t").await, [2, 4, 6]);
}

/// Where everything is kept nothing happens; doing it again removes nothing more.
pub async fn keeping_everything_is_no_change(store: Arc<dyn Store>) {
    long(&store, "t", 3).await;
    let before = scene::history(&store, "t").await;
    assert_eq!(retain(&store, "t", [0, 1, 2, 3]).await, 0);
    assert_eq!(scene::history(&store, "t").await, before);
    assert_eq!(retain(&store, "t", [3, 1]).await, 2);
    assert_eq!(retain(&store, "t", [3, 1]).await, 0);
}

/// Branches that share what was appended before they parted keep it when the place where they parted goes.
pub async fn branches_keep_what_they_share(store: Arc<dyn Store>) {
    long(&store, "t", 10).await;
    for (number, parent) in [(20, 5), (21, 20), (22, 21), (40, 5), (41, 40), (50, 21)] {
        apply(&store, step("t", 1, number, parent, append("log", [json!(number)]))).await;
    }
    let kept = [10, 22, 41, 50];
    let mut expected = Vec::new();
    for number in kept {
        expected.push(values_at(&store, "t", number).await);
    }
    assert_eq!(expected[3]["log"], json!([1, 2, 3, 4, 5, 20, 21, 50]));
    assert_eq!(retain(&store, "t", kept).await, 13);
    for (number, values) in kept.into_iter().zip(&expected) {
        assert_eq!(values_at(&store, "t", number).await, *values, "checkpoint {number}");
    }
    assert_eq!(retain(&store, "t", [50, 41]).await, 2);
    assert_eq!(values_at(&store, "t", 50).await, expected[3]);
    apply(&store, step("t", 1, 51, 50, append("log", [json!("more")]))).await;
    assert_eq!(values_at(&store, "t", 51).await["log"], json!([1, 2, 3, 4, 5, 20, 21, 50, "more"]));
}

/// Each namespace keeps what was named of it.
pub async fn namespaces_keep_their_own(store: Arc<dyn Store>) {
    long(&store, "t", 2).await;
    for (number, parent, name) in
        [(10, None, "sub"), (11, Some(10), "sub"), (20, None, "other"), (21, Some(20), "other")]
    {
        let new = in_namespace(&namespace(name), new_checkpoint(number, parent, append("log", [json!(number)])));
        apply(&store, Commit { checkpoints: vec![new], ..update("t", 1) }).await;
    }
    assert_eq!(retain(&store, "t", [2, 11, 20]).await, 4);
    assert_eq!(numbers(&store, "t").await, [2, 11, 20]);
    assert_eq!(values_at(&store, "t", 11).await, json!({ "log": [10, 11] }));
    assert_eq!(values_at(&store, "t", 20).await, json!({ "log": [20] }));
}

/// A question that waits at the head is there afterwards, with its finished siblings, and can be answered.
pub async fn a_waiting_thread_can_be_answered_afterwards(store: Arc<dyn Store>) {
    long(&store, "t", 4).await;
    let (asking, old) = (scene::task("t", 4, "pull:ask"), scene::task("t", 1, "pull:ask"));
    let (question, gone) = (scene::question(&asking, "t", 0), scene::question(&old, "t", 0));
    let sibling = TaskRecord { status: TaskStatus::Done, ..scene::task("t", 4, "pull:sibling") };
    let commit = Commit {
        tasks: vec![old, asking, sibling],
        questions: vec![gone.clone(), question.clone()],
        status: ThreadStatus::Interrupted,
        ..update("t", 1)
    };
    apply(&store, commit).await;
    let before = head(&store, "t").await;
    assert_eq!(retain(&store, "t", [4]).await, 4);
    assert_eq!(head(&store, "t").await, before);
    assert_eq!(store.question(&thread("t"), &gone.id).await, Ok(None), "it went with its checkpoint");
    let late = Commit { settlements: vec![scene::settle(&gone, "ana")], ..update("t", 1) };
    assert!(matches!(store.commit(late).await, Err(Error::QuestionNotFound { .. })));
    let answer =
        Commit { claim: Some(claim("second")), settlements: vec![scene::settle(&question, "ana")], ..update("t", 1) };
    apply(&store, answer).await;
    let found = head(&store, "t").await;
    assert_eq!((found.questions[0].status, found.thread.epoch), (QuestionStatus::Answered, Epoch(2)));
    apply(&store, step("t", 2, 5, 4, append("log", [json!("on")]))).await;
    assert_eq!(values_at(&store, "t", 5).await["log"], json!([1, 2, 3, 4, "on"]));
}

/// The head, the runs of its unfinished tasks, and nothing that is not there have to be among those kept; or nothing is removed.
pub async fn what_the_head_stands_on_must_be_kept(store: Arc<dyn Store>) {
    long(&store, "t", 2).await;
    let new = |number, name: &str| in_namespace(&namespace(name), new_checkpoint(number, None, replace([])));
    let task = |number, status, path: &str, child| TaskRecord {
        status,
        child: Some(checkpoint(child)),
        ..scene::task("t", number, path)
    };
    let commit = Commit {
        checkpoints: vec![new(10, "sub"), new(20, "sub|deep"), new(30, "done"), new(40, "before")],
        tasks: vec![
            task(2, TaskStatus::Interrupted, "pull:sub", 10),
            task(10, TaskStatus::Running, "pull:deep", 20),
            task(2, TaskStatus::Done, "pull:done", 30),
            task(1, TaskStatus::Running, "pull:before", 40),
        ],
        ..update("t", 1)
    };
    apply(&store, commit).await;
    let before = numbers(&store, "t").await;
    let refused: [(&str, Vec<CheckpointId>); 6] = [
        ("nothing", ids([])),
        ("without the head", ids([0, 1, 10, 20])),
        ("without a run", ids([2, 20])),
        ("without a run of a run", ids([2, 10])),
        ("one that is not there", ids([2, 10, 20, 77])),
        ("another thread's", ids([2, 10, 20, 3])),
    ];
    long(&store, "other", 3).await;
    for (what, keep) in refused {
        let outcome = store.retain(&thread("t"), Epoch(1), &keep, Vec::new()).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{what}: {outcome:?}");
        assert_eq!(numbers(&store, "t").await, before, "{what}");
    }
    let expected = head(&store, "t").await;
    assert_eq!(retain(&store, "t", [1, 2, 10, 20]).await, 3);
    assert_eq!(head(&store, "t").await, expected);
    assert_eq!(expected.children.len(), 1);
    // What is not the head's may go; a task that ran it still says where it was.
    let older = at(&store, "t", 1).await;
    assert!(older.children.is_empty());
    let running = older.tasks.iter().find(|task| task.path == "pull:before").expect("kept");
    assert_eq!(running.child, Some(checkpoint(40)));
}

/// Somebody who lost the thread removes nothing, and is told who has it.
pub async fn a_fenced_retention_removes_nothing(store: Arc<dyn Store>) {
    long(&store, "t", 3).await;
    apply(&store, Commit { claim: Some(claim("second")), ..update("t", 1) }).await;
    let before = (head(&store, "t").await, scene::history(&store, "t").await);
    for stale in [0, 1, 3, u64::MAX] {
        let fenced = Error::Fenced { thread: thread("t"), expected: Epoch(stale), found: Epoch(2) };
        assert_eq!(store.retain(&thread("t"), Epoch(stale), &ids([3]), Vec::new()).await, Err(fenced.clone()));
        assert_eq!(
            store.retain(&thread("t"), Epoch(stale), &[], Vec::new()).await,
            Err(fenced),
            "the epoch comes first"
        );
    }
    assert_eq!((head(&store, "t").await, scene::history(&store, "t").await), before);
    let unknown = Err(Error::ThreadNotFound(thread("unknown")));
    assert_eq!(store.retain(&thread("unknown"), Epoch(1), &[], Vec::new()).await, unknown);
}

/// Operations go on answering when the checkpoints of their tasks are gone (`effect-once`).
pub async fn operations_outlive_their_checkpoints(store: Arc<dyn Store>) {
    long(&store, "t", 2).await;
    let operation = scene::operation("t", "op", &scene::task("t", 0, "pull:a"));
    apply(&store, Commit { operations: vec![operation.clone()], ..update("t", 1) }).await;
    assert_eq!(retain(&store, "t", [2]).await, 2);
    assert_eq!(store.operation(&operation.key).await, Ok(Some(operation)));
}

/// Removing the thread afterwards, and using its name again, is as ever.
pub async fn what_is_left_can_be_deleted(store: Arc<dyn Store>) {
    long(&store, "t", 5).await;
    assert_eq!(retain(&store, "t", [5, 3]).await, 4);
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(store.snapshot(&thread("t"), None).await, Ok(None));
    long(&store, "t", 1).await;
    assert_eq!(values_at(&store, "t", 1).await, json!({ "log": [1], "n": 1, "first": "stays" }));
    assert_eq!(Value::Object(head(&store, "t").await.values)["n"], json!(1));
}

/// What is removed is on the record with it; what removes nothing is not.
pub async fn what_is_removed_is_on_the_record(store: Arc<dyn Store>) {
    long(&store, "t", 3).await;
    let audit = || vec![scene::audit("thread.pruned", Some("t"))];
    let recorded = async || store.audit_head().await.expect("the store can be read").map_or(0, |(place, _)| place);
    let all = ids([0, 1, 2, 3]);
    assert_eq!(store.retain(&thread("t"), Epoch(1), &all, audit()).await, Ok(0));
    assert!(store.retain(&thread("t"), Epoch(9), &ids([3]), audit()).await.is_err());
    assert!(store.retain(&thread("t"), Epoch(1), &ids([1]), audit()).await.is_err());
    let odd = vec![AuditEntry { at_ms: u64::MAX, ..scene::audit("thread.pruned", None) }];
    assert!(matches!(store.retain(&thread("t"), Epoch(1), &ids([3]), odd).await, Err(Error::Invalid(_))));
    assert_eq!((recorded().await, scene::history(&store, "t").await.len()), (0, 4));
    assert_eq!(store.retain(&thread("t"), Epoch(1), &ids([3]), audit()).await, Ok(3));
    assert_eq!(recorded().await, 1);
}

/// What a thread takes grows with what is stored in it, and is given back; what is another's does not count.
pub async fn a_threads_bytes_are_its_own(store: Arc<dyn Store>) {
    let bytes = async |name: &str| store.thread_bytes(&thread(name)).await.expect("the store can be read");
    assert_eq!(bytes("t").await, ThreadBytes::default());
    apply(&store, create("t", replace([("a", json!(1))]))).await;
    let small = bytes("t").await;
    assert!(
        small.checkpoints > 0 && small.values > 0 && small.total() >= small.checkpoints + small.values,
        "{small:?}"
    );
    assert_eq!((small.tasks, small.operations, small.questions), (0, 0, 0));
    let task = scene::task("t", 0, "pull:pay");
    let large = json!("x".repeat(5_000));
    let commit = Commit {
        tasks: vec![task.clone()],
        questions: vec![QuestionRecord { payload: large.clone(), ..scene::question(&task, "t", 0) }],
        operations: vec![OperationRecord { request: large.clone(), ..scene::operation("t", "op", &task) }],
        ..step("t", 1, 1, 0, replace([("a", large)]))
    };
    apply(&store, commit).await;
    let full = bytes("t").await;
    for (part, least) in [(full.values, 5_000), (full.questions, 5_000), (full.operations, 5_000), (full.tasks, 1)] {
        assert!((least..20_000).contains(&part), "{full:?}");
    }
    assert!(full.checkpoints > small.checkpoints);
    assert_eq!(bytes("u").await, ThreadBytes::default());
    apply(&store, step("t", 1, 2, 1, replace([("a", json!(2))]))).await;
    assert_eq!(store.retain(&thread("t"), Epoch(1), &ids([2]), Vec::new()).await, Ok(2));
    let kept = bytes("t").await;
    assert!(kept.values < 5_000 && kept.checkpoints < full.checkpoints, "{kept:?}");
    assert_eq!((kept.tasks, kept.questions, kept.operations), (0, 0, full.operations));
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(bytes("t").await, ThreadBytes { operations: full.operations, ..ThreadBytes::default() });
}
