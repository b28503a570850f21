//! Checkpoints and the values of their channels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::Namespace;
use holdpoint_graph::nodes::EffectMode;
use holdpoint_graph::state::{Change, Patch};
use serde_json::{Map, Value, json};

use super::scene::{self, NOW_MS, append, apply, create, new_checkpoint, patch, replace, step, values_at};
use crate::check::DEPTH_MAX;
use crate::records::{Arrivals, CheckpointRecord, NewCheckpoint, Source, Trigger};
use crate::store::{Commit, Error, Store};

/// JSON of every kind comes back equal, to the last bit of a number.
pub async fn every_kind_of_value_comes_back(store: Arc<dyn Store>) {
    let values = [
        ("null", Value::Null),
        ("bool", json!([true, false])),
        ("integers", json!([0, -1, i64::MIN, i64::MAX, u64::MAX, 9_007_199_254_740_993_u64])),
        ("floats", json!([0.1, -0.0, 1e300, 5e-324, f64::MAX, 1.0, 0.3 - 0.2, 123_456_789.123_456_79])),
        ("strings", json!(["", "ünï", "日本語", "😀", "\u{0}\n\t\"\\/\u{7f}\u{2028}", "' ; drop table thread; --"])),
        ("object", json!({ "": 1, "b": { "c": [ [], {} ] }, "ä": null, "a": "first" })),
        ("list", json!([[1, [2, [3]]], { "x": [] }])),
        ("long", json!("x".repeat(100_000))),
    ];
    let expected = Value::Object(Map::from_iter(values.clone().map(|(name, value)| (name.to_owned(), value))));
    apply(&store, create("t", replace(values))).await;
    let found = values_at(&store, "t", 0).await;
    assert_eq!(found, expected);
    assert_eq!(found.to_string(), expected.to_string(), "texts tell -0.0 from 0.0 too");
}

/// Channels that a patch does not name keep the parent's value.
pub async fn changes_apply_to_the_parents_values(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("a", json!(1)), ("b", json!([1]))]))).await;
    apply(&store, step("t", 1, 1, 0, append("b", [json!(2), json!([3])]))).await;
    apply(&store, step("t", 1, 2, 1, replace([("a", json!("new")), ("c", Value::Null)]))).await;
    apply(&store, step("t", 1, 3, 2, replace([]))).await;
    assert_eq!(values_at(&store, "t", 0).await, json!({ "a": 1, "b": [1] }));
    assert_eq!(values_at(&store, "t", 1).await, json!({ "a": 1, "b": [1, 2, [3]] }));
    assert_eq!(values_at(&store, "t", 2).await, json!({ "a": "new", "b": [1, 2, [3]], "c": null }));
    assert_eq!(values_at(&store, "t", 3).await, values_at(&store, "t", 2).await);
}

/// Appending to a channel that is absent or holds no array makes it an array of the items, as [`Patch::apply`] does.
pub async fn an_append_to_what_is_no_list_begins_one(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("null", Value::Null), ("object", json!({ "a": 1 })), ("list", json!([1]))])))
        .await;
    let items = || Change::Append(vec![json!(2)]);
    apply(&store, step("t", 1, 1, 0, patch([("absent", items()), ("null", items()), ("object", items())]))).await;
    let expected = json!({ "absent": [2], "null": [2], "object": [2], "list": [1] });
    assert_eq!(values_at(&store, "t", 1).await, expected);
    let nothing = || Change::Append(Vec::new());
    apply(&store, step("t", 1, 2, 1, patch([("list", nothing()), ("absent", nothing())]))).await;
    assert_eq!(values_at(&store, "t", 2).await, expected, "nothing appended changes nothing");
    apply(&store, step("t", 1, 3, 0, patch([("list", nothing()), ("absent", nothing()), ("null", nothing())]))).await;
    assert_eq!(values_at(&store, "t", 3).await, json!({ "absent": [], "null": [], "object": { "a": 1 }, "list": [1] }));
}

/// A replaced list can be appended to, an appended one replaced.
pub async fn replace_and_append_follow_each_other(store: Arc<dyn Store>) {
    apply(&store, create("t", append("a", [json!(1)]))).await;
    let patches = [
        append("a", [json!(2)]),
        replace([("a", json!(["new"]))]),
        append("a", [json!(3)]),
        replace([("a", json!("no list"))]),
        append("a", [json!(4)]),
        append("a", [json!(5), json!(6)]),
    ];
    let mut values = Map::from_iter([("a".to_owned(), json!([1]))]);
    for (number, patch) in (1..).zip(patches) {
        patch.apply(&mut values);
        apply(&store, step("t", 1, number, number - 1, patch)).await;
        assert_eq!(values_at(&store, "t", number).await, Value::Object(values.clone()), "checkpoint {number}");
    }
    assert_eq!(values["a"], json!([4, 5, 6]));
}

/// Siblings that append different things to one parent see the parent's items and their own.
pub async fn branches_share_their_past_and_part(store: Arc<dyn Store>) {
    apply(&store, create("t", append("a", [json!(0)]))).await;
    let mut models: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    models.insert(0, Map::from_iter([("a".to_owned(), json!([0]))]));
    // A tree: every checkpoint has up to three children.
    for number in 1..60_u64 {
        let parent = (number - 1) / 3;
        let patch = match number % 7 {
            6 => replace([("a", json!([format!("fresh {number}")]))]),
            _ => append("a", [json!(number), json!("x".repeat(usize::try_from(number % 40).expect("small")))]),
        };
        let mut values = models[&parent].clone();
        patch.apply(&mut values);
        models.insert(number, values);
        apply(&store, step("t", 1, number, parent, patch)).await;
    }
    for (number, values) in &models {
        assert_eq!(values_at(&store, "t", *number).await, Value::Object(values.clone()), "checkpoint {number}");
    }
    let history = scene::history(&store, "t").await;
    for (snapshot, (number, values)) in history.iter().zip(models.iter().rev()) {
        assert_eq!(snapshot.checkpoint.id, scene::checkpoint(*number));
        assert_eq!(&snapshot.values, values, "checkpoint {number} in the history");
    }
}

/// However a list came together, every checkpoint shows it as it was.
pub async fn long_lists_come_back_at_every_checkpoint(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("a", json!([]))]))).await;
    let mut models = vec![Map::from_iter([("a".to_owned(), json!([]))])];
    for number in 1..200_u64 {
        let item =
            json!({ "number": number, "text": "é".repeat(usize::try_from(number * number % 97).expect("small")) });
        let patch = append("a", [item]);
        let mut values = models.last().expect("begins with one").clone();
        patch.apply(&mut values);
        models.push(values);
        apply(&store, step("t", 1, number, number - 1, patch)).await;
    }
    let history = scene::history(&store, "t").await;
    assert_eq!(history.len(), models.len());
    for (snapshot, values) in history.iter().rev().zip(&models) {
        assert_eq!(&snapshot.values, values, "step {}", snapshot.checkpoint.step);
    }
    assert_eq!(values_at(&store, "t", 150).await, Value::Object(models[150].clone()));
}

/// Checkpoints of one commit may stand on each other, parents first.
pub async fn one_commit_may_hold_a_chain_of_checkpoints(store: Arc<dyn Store>) {
    let mut commit = create("t", append("a", [json!(1)]));
    commit.checkpoints.push(new_checkpoint(1, Some(0), append("a", [json!(2)])));
    commit.checkpoints.push(new_checkpoint(2, Some(1), append("a", [json!(3)])));
    commit.checkpoints.push(new_checkpoint(3, Some(0), append("a", [json!(4)])));
    commit.head = Some(scene::checkpoint(2));
    apply(&store, commit).await;
    assert_eq!(scene::head(&store, "t").await.values["a"], json!([1, 2, 3]));
    assert_eq!(values_at(&store, "t", 1).await, json!({ "a": [1, 2] }));
    assert_eq!(values_at(&store, "t", 3).await, json!({ "a": [1, 4] }));
}

/// A parent that is not stored, or comes after its child, refuses the commit.
pub async fn a_parent_must_be_stored(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    apply(&store, create("other", replace([]))).await;
    apply(&store, step("other", 1, 1, 0, replace([]))).await;
    let backwards = Commit {
        checkpoints: vec![new_checkpoint(3, Some(2), replace([])), new_checkpoint(2, Some(0), replace([]))],
        ..scene::update("t", 1)
    };
    let foreign = step("t", 1, 2, 1, replace([]));
    for commit in [foreign, backwards] {
        let outcome = store.commit(commit).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    }
    assert_eq!(scene::history(&store, "t").await.len(), 1);
}

/// A checkpoint id stands for one state for ever.
pub async fn a_checkpoint_is_stored_once(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([("a", json!(1))]))).await;
    let outcome = store.commit(step("t", 1, 0, 0, replace([("a", json!(2))]))).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    assert_eq!(values_at(&store, "t", 0).await, json!({ "a": 1 }));
    apply(&store, create("other", replace([("a", json!(3))]))).await;
    assert_eq!(values_at(&store, "t", 0).await, json!({ "a": 1 }), "ids are each thread's own");
}

/// All that a checkpoint records comes back.
pub async fn checkpoints_come_back_whole(store: Arc<dyn Store>) {
    let names = |names: &[&str]| names.iter().map(|name| scene::node(name)).collect::<BTreeSet<_>>();
    let arrivals = |arrived: &[&str], started| Arrivals { arrived: names(arrived), since_ms: NOW_MS - 1, started };
    let record = CheckpointRecord {
        id: scene::checkpoint(0),
        parent: None,
        namespace: Namespace::root(),
        graph: Digest::of_bytes(b"another graph"),
        step: -1,
        source: Source::Input,
        writers: names(&["one", "two"]),
        next: vec![
            Trigger::Start,
            Trigger::Pull(scene::node("pay")),
            Trigger::Push { node: scene::node("pay"), argument: json!({ "n": u64::MAX }) },
            Trigger::Push { node: scene::node("pay"), argument: Value::Null },
        ],
        deferred: names(&["later"]),
        joins: BTreeMap::from([
            (scene::node("join"), arrivals(&["a", "b"], true)),
            (scene::node("empty"), arrivals(&[], false)),
        ]),
        children: BTreeMap::from([
            (scene::node("sub"), scene::checkpoint(9)),
            (scene::node("pay"), scene::checkpoint(0)),
        ]),
        anchor: scene::checkpoint(77),
        kept_operations: BTreeMap::from([("pull:pay".to_owned(), scene::task_id("t", 3, "pull:pay"))]),
        effects: EffectMode::Recorded,
        metadata: Map::from_iter([("run_id".to_owned(), json!("r")), (String::new(), json!({ "n": [null, 0.5] }))]),
        clock_ms: NOW_MS + 1,
        created_at_ms: NOW_MS + 2,
    };
    let first = NewCheckpoint { record: record.clone(), patch: Patch::default() };
    apply(&store, Commit { checkpoints: vec![first], ..create("t", replace([])) }).await;
    assert_eq!(scene::at(&store, "t", 0).await.checkpoint, record);
    for (number, (source, _)) in (1..).zip(Source::NAMES) {
        let mut new = new_checkpoint(number, Some(number - 1), replace([]));
        new.record = CheckpointRecord { source, next: Vec::new(), step: i64::MAX, ..new.record };
        let expected = new.record.clone();
        apply(&store, Commit { checkpoints: vec![new], ..scene::update("t", 1) }).await;
        assert_eq!(scene::at(&store, "t", number).await.checkpoint, expected);
    }
    for (number, (effects, _)) in (10..).zip(EffectMode::NAMES) {
        let mut new = new_checkpoint(number, None, replace([]));
        new.record.effects = effects;
        apply(&store, Commit { checkpoints: vec![new], ..scene::update("t", 1) }).await;
        assert_eq!(scene::at(&store, "t", number).await.checkpoint.effects, effects);
    }
}

/// Values nest as deep as a guest's JSON can be and a good deal more; what could not be read back is not stored.
pub async fn deep_values_come_back_and_deeper_ones_are_refused(store: Arc<dyn Store>) {
    let nested = |levels: usize| (0..levels).fold(json!(1), |value, _| Value::Array(vec![value]));
    apply(&store, create("t", replace([("a", nested(DEPTH_MAX)), ("b", json!([]))]))).await;
    apply(&store, step("t", 1, 1, 0, append("b", [nested(DEPTH_MAX)]))).await;
    assert_eq!(values_at(&store, "t", 1).await["b"], json!([nested(DEPTH_MAX)]));
    let with_metadata = |levels| {
        let mut new = new_checkpoint(2, Some(1), replace([]));
        new.record.metadata.insert("deep".to_owned(), nested(levels));
        Commit { checkpoints: vec![new], ..scene::update("t", 1) }
    };
    for commit in [step("t", 1, 2, 1, replace([("a", nested(DEPTH_MAX + 1))])), with_metadata(DEPTH_MAX + 1)] {
        let outcome = store.commit(commit).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    }
    apply(&store, with_metadata(DEPTH_MAX)).await;
    assert_eq!(scene::at(&store, "t", 2).await.checkpoint.metadata["deep"], nested(DEPTH_MAX));
}
