//! Lists of a thread's checkpoints: filters, pages, and the outline.

use std::sync::Arc;

use holdpoint_graph::ids::Epoch;
use serde_json::{Map, Value, json};

use super::scene::{
    self, append, apply, checkpoint, create, in_namespace, namespace, new_checkpoint, replace, thread, update,
};
use crate::records::{CheckpointRecord, NewCheckpoint, Outline, Source, TaskRecord};
use crate::store::{Commit, HistoryFilter, Store};

fn with(new: NewCheckpoint, source: Source, metadata: Value) -> NewCheckpoint {
    let metadata = metadata.as_object().cloned().expect("invariant: metadata is an object");
    NewCheckpoint { record: CheckpointRecord { source, metadata, ..new.record }, patch: new.patch }
}

/// Thread "t" with checkpoints 0 to 6 of its own graph, and 10 and 11 of a subgraph's between them; 0 is an input without metadata.
async fn story(store: &Arc<dyn Store>) {
    apply(store, create("t", replace([("n", json!(0))]))).await;
    let metadata = [
        json!({ "run": 1, "user": "ana" }),
        json!({ "run": 1, "user": "ben", "more": { "tags": ["x"] } }),
        json!({ "run": 2, "user": "ana" }),
        json!({ "run": 2, "user": "ana", "more": { "tags": ["x"] } }),
        json!({ "run": null }),
        json!({ "run": "1" }),
    ];
    let sources = [Source::Loop, Source::Update, Source::Loop, Source::Fork, Source::Loop, Source::Input];
    for (number, (metadata, source)) in (1..).zip(metadata.into_iter().zip(sources)) {
        let new = with(new_checkpoint(number, Some(number - 1), append("log", [json!(number)])), source, metadata);
        let mut checkpoints = vec![new];
        if number % 3 == 0 {
            let (own, parent) = if number == 3 { (10, None) } else { (11, Some(10)) };
            let child = new_checkpoint(own, parent, append("log", [json!(own)]));
            checkpoints.push(in_namespace(&namespace("sub"), with(child, Source::Loop, json!({ "run": 1 }))));
        }
        apply(store, Commit { checkpoints, head: Some(checkpoint(number)), ..update("t", 1) }).await;
    }
}

/// The steps, which are the numbers, of what a filter lets through.
async fn list(store: &Arc<dyn Store>, filter: HistoryFilter) -> Vec<i64> {
    let found = store.history(&thread("t"), &filter).await.expect("the store can be read");
    found.iter().map(|snapshot| snapshot.checkpoint.step).collect()
}

fn all() -> HistoryFilter {
    HistoryFilter::newest(100)
}

fn by(metadata: Value) -> HistoryFilter {
    HistoryFilter { metadata: metadata.as_object().cloned().expect("an object"), ..all() }
}

/// A list is of one namespace, newest first.
pub async fn a_list_is_of_one_namespace(store: Arc<dyn Store>) {
    story(&store).await;
    apply(&store, create("other", replace([]))).await;
    assert_eq!(list(&store, all()).await, [6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(list(&store, HistoryFilter { namespace: namespace("sub"), ..all() }).await, [11, 10]);
    assert_eq!(list(&store, HistoryFilter { namespace: namespace("su"), ..all() }).await, [0_i64; 0]);
    assert_eq!(list(&store, HistoryFilter { namespace: namespace("sub|sub"), ..all() }).await, [0_i64; 0]);
}

/// Each member of the filter has to be there with an equal value; an empty filter lets everything through.
pub async fn metadata_filters_by_equal_members(store: Arc<dyn Store>) {
    story(&store).await;
    for (metadata, expected) in [
        (json!({}), vec![6, 5, 4, 3, 2, 1, 0]),
        (json!({ "run": 1 }), vec![2, 1]),
        (json!({ "run": 1, "user": "ana" }), vec![1]),
        (json!({ "run": 2, "user": "ana" }), vec![4, 3]),
        (json!({ "more": { "tags": ["x"] } }), vec![4, 2]),
        (json!({ "more": { "tags": ["x"] }, "run": 2 }), vec![4]),
        (json!({ "more": {} }), vec![]),
        (json!({ "run": null }), vec![5]),
        (json!({ "absent": null }), vec![]),
        (json!({ "run": "1" }), vec![6]),
        (json!({ "run": 3 }), vec![]),
    ] {
        assert_eq!(list(&store, by(metadata.clone())).await, expected, "{metadata}");
    }
    let child = HistoryFilter { namespace: namespace("sub"), ..by(json!({ "run": 1 })) };
    assert_eq!(list(&store, child).await, [11, 10]);
}

/// What made a checkpoint and its step can be asked for, alone and together.
pub async fn sources_and_steps_filter(store: Arc<dyn Store>) {
    story(&store).await;
    for (source, expected) in
        [(Source::Input, vec![6]), (Source::Loop, vec![5, 3, 1, 0]), (Source::Update, vec![2]), (Source::Fork, vec![4])]
    {
        assert_eq!(list(&store, HistoryFilter { source: Some(source), ..all() }).await, expected, "{}", source.name());
    }
    assert_eq!(list(&store, HistoryFilter { step: Some(3), ..all() }).await, [3]);
    assert_eq!(list(&store, HistoryFilter { step: Some(10), ..all() }).await, [0_i64; 0], "a subgraph's");
    assert_eq!(list(&store, HistoryFilter { step: Some(-1), ..all() }).await, [0_i64; 0]);
    let both = HistoryFilter { source: Some(Source::Loop), step: Some(4), ..all() };
    assert_eq!(list(&store, both).await, [0_i64; 0]);
}

/// The limit counts what passes the filters, and `before` is a place in the thread, of whatever namespace.
pub async fn limit_and_before_go_with_filters(store: Arc<dyn Store>) {
    story(&store).await;
    let limited = |limit, filter: HistoryFilter| HistoryFilter { limit, ..filter };
    let before = |number, filter: HistoryFilter| HistoryFilter { before: Some(checkpoint(number)), ..filter };
    assert_eq!(list(&store, limited(1, by(json!({ "run": 1 })))).await, [2]);
    assert_eq!(list(&store, limited(2, by(json!({ "run": 1 })))).await, [2, 1]);
    assert_eq!(list(&store, limited(0, by(json!({ "run": 1 })))).await, [0_i64; 0]);
    assert_eq!(list(&store, before(2, by(json!({ "run": 1 })))).await, [1]);
    assert_eq!(list(&store, limited(1, before(5, by(json!({ "user": "ana" }))))).await, [4]);
    assert_eq!(list(&store, before(1, by(json!({ "run": 1 })))).await, [0_i64; 0]);
    let loops = HistoryFilter { source: Some(Source::Loop), ..all() };
    assert_eq!(list(&store, limited(2, before(5, loops.clone()))).await, [3, 1]);
    // The subgraph's first checkpoint was stored after checkpoint 3, its second after checkpoint 6.
    assert_eq!(list(&store, before(10, all())).await, [3, 2, 1, 0]);
    assert_eq!(list(&store, HistoryFilter { namespace: namespace("sub"), ..before(6, all()) }).await, [10]);
    assert_eq!(list(&store, before(77, loops)).await, [0_i64; 0]);
}

/// A list's checkpoints come with their values, tasks and questions, filtered or not.
pub async fn a_list_shows_whole_checkpoints(store: Arc<dyn Store>) {
    story(&store).await;
    let task = scene::task("t", 2, "pull:a");
    let question = scene::question(&task, "t", 0);
    apply(&store, Commit { tasks: vec![task.clone()], questions: vec![question.clone()], ..update("t", 1) }).await;
    let found = store.history(&thread("t"), &by(json!({ "run": 1 }))).await.expect("the store can be read");
    assert_eq!(found[0], scene::at(&store, "t", 2).await);
    assert_eq!((&found[0].tasks, &found[0].questions), (&vec![task], &vec![question]));
    assert_eq!(Value::Object(found[0].values.clone()), json!({ "n": 0, "log": [1, 2] }));
    assert_eq!(found[1], scene::at(&store, "t", 1).await);
}

/// The outline has every checkpoint of every namespace in order of storing, and where the subgraphs of its tasks stand.
pub async fn an_outline_is_the_whole_thread(store: Arc<dyn Store>) {
    assert_eq!(store.outline(&thread("t")).await, Ok(Vec::new()));
    story(&store).await;
    apply(&store, create("other", replace([]))).await;
    let running =
        |path: &str, child: Option<u64>| TaskRecord { child: child.map(checkpoint), ..scene::task("t", 3, path) };
    let tasks = vec![running("pull:a", Some(11)), running("pull:b", None), running("pull:c", Some(10))];
    apply(&store, Commit { tasks, ..update("t", 1) }).await;
    let found = store.outline(&thread("t")).await.expect("the store can be read");
    let numbers: Vec<i64> = found.iter().map(|outline| outline.checkpoint.step).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 10, 4, 5, 6, 11]);
    for Outline { checkpoint: record, task_children } in found {
        let snapshot = scene::at(&store, "t", u64::try_from(record.step).expect("a number")).await;
        assert_eq!(record, snapshot.checkpoint);
        let expected = if record.step == 3 { vec![checkpoint(10), checkpoint(11)] } else { Vec::new() };
        assert_eq!(task_children, expected, "of checkpoint {}", record.step);
    }
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(store.outline(&thread("t")).await, Ok(Vec::new()), "every namespace goes with the thread");
    assert_eq!(list(&store, HistoryFilter { namespace: namespace("sub"), ..all() }).await, [0_i64; 0]);
    assert_eq!(scene::at(&store, "other", 0).await.values, Map::new());
}
