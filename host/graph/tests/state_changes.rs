//! What the writes of one superstep do to the state: reducers, overwrites, schemas.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use holdpoint_graph::builder::{Edges, GraphBuilder, NodeBuilder};
use holdpoint_graph::definition::{Graph, Managed, Target};
use holdpoint_graph::state::{Change, Patch, Reducer, Schema, StateError, initial_values, reduce};
use serde_json::{Map, Value, json};

fn graph_of(channels: &[(&str, Value, Reducer)]) -> Graph {
    let graph = channels
        .iter()
        .fold(GraphBuilder::new("g"), |graph, (name, schema, reducer)| graph.channel(*name, schema.clone(), *reducer));
    graph
        .start("a")
        .node("a", NodeBuilder::component_path("a.wasm"))
        .build()
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// One channel per reducer, named after it, that takes any value.
fn graph() -> Graph {
    let channels: Vec<(&str, Value, Reducer)> =
        Reducer::NAMES.iter().map(|(reducer, name)| (*name, json!({}), *reducer)).collect();
    graph_of(&channels)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// Writes of the nodes `a`, `b`, … to one channel.
fn write(graph: &Graph, channel: &str, before: Option<&Value>, writes: &[Value]) -> Result<Patch, StateError> {
    let values: Map<String, Value> = before.map(|value| (channel.to_owned(), value.clone())).into_iter().collect();
    let updates: Vec<Map<String, Value>> =
        writes.iter().map(|value| Map::from_iter([(channel.to_owned(), value.clone())])).collect();
    let named: Vec<(&str, &Map<String, Value>)> = ["a", "b", "c", "d", "e"].into_iter().zip(&updates).collect();
    let unchanged = values.clone();
    let patch = reduce(graph, &values, &named);
    assert_eq!(values, unchanged);
    patch
}

#[track_caller]
fn check(reducer: &str, before: Value, writes: &[Value], after: Value) {
    let patch = write(&graph(), reducer, Some(&before), writes).unwrap_or_else(|error| panic!("{reducer}: {error}"));
    let mut values = Map::from_iter([(reducer.to_owned(), before)]);
    patch.apply(&mut values);
    assert_eq!(values[reducer], after);
}

#[track_caller]
fn refuse(reducer: &str, before: Value, writes: &[Value], code: &str) -> String {
    let error = write(&graph(), reducer, Some(&before), writes).expect_err("refused");
    assert_eq!(error.code(), code, "{error}");
    assert!(!error.cure().is_empty());
    error.to_string()
}

#[test]
fn reducers_combine() {
    check("last", json!(1), &[json!({ "a": 1 })], json!({ "a": 1 }));
    check("last", json!(1), &[json!(null)], json!(null));
    check("any", json!(1), &[json!({ "a": 1, "b": 2.0 }), json!({ "b": 2, "a": 1 })], json!({ "a": 1, "b": 2.0 }));
    check(
        "append",
        json!([1]),
        &[json!([2, 3]), json!(4), json!([[5]]), json!({ "a": 1 })],
        json!([1, 2, 3, 4, [5], { "a": 1 }]),
    );
    check("append", json!(null), &[json!(1)], json!([1]));
    check("add", json!(1), &[json!(2), json!(3)], json!(6));
    check("add", json!(null), &[json!(2.5), json!(3)], json!(5.5));
    check(
        "merge",
        json!({ "a": { "x": 1 }, "b": 1 }),
        &[json!({ "a": { "y": 2 } }), json!({ "c": 3, "b": 4 })],
        json!({ "a": { "y": 2 }, "b": 4, "c": 3 }),
    );
    check(
        "union",
        json!([1, { "a": 1, "b": 2 }]),
        &[json!([2, 1.0, { "b": 2, "a": 1 }]), json!(2), json!([3, 3])],
        json!([1, { "a": 1, "b": 2 }, 2, 3]),
    );
    check("max", json!(null), &[json!(3), json!(1), json!(2)], json!(3));
    check("min", json!(5), &[json!(7), json!(4.5)], json!(4.5));
    check("max", json!("a"), &[json!("c"), json!("b")], json!("c"));
}

#[test]
fn messages_are_replaced_in_place() {
    let message = |id: &str, text: &str| json!({ "id": id, "text": text });
    check(
        "messages",
        json!([message("1", "a"), message("2", "b")]),
        &[
            json!([message("1", "A"), message("3", "c")]),
            message("3", "C"),
            json!({ "text": "without" }),
            json!("plain"),
        ],
        json!([message("1", "A"), message("2", "b"), message("3", "C"), { "text": "without" }, "plain"]),
    );
    let patch = write(&graph(), "messages", Some(&json!([message("1", "a")])), &[message("2", "b")]).expect("sound");
    assert_eq!(patch.changes.values().next(), Some(&Change::Append(vec![message("2", "b")])));
    let patch = write(&graph(), "messages", Some(&json!([message("1", "a")])), &[message("1", "b")]).expect("sound");
    assert!(matches!(patch.changes.values().next(), Some(Change::Replace(_))));
    refuse("messages", json!([]), &[json!({ "id": 1 })], "HP0304");
}

#[test]
fn what_cannot_be_combined_is_refused() {
    assert_eq!(
        refuse("last", json!(1), &[json!(2), json!(2)], "HP0303"),
        "channel `last` takes one write in a step and got 2: from a, b"
    );
    assert_eq!(
        refuse("any", json!(1), &[json!(2), json!(3)], "HP0308"),
        "channel `any` got different values in a step: from a, b"
    );
    assert_eq!(
        refuse("add", json!(1), &[json!(1), json!("1")], "HP0304"),
        "reducer `add` of channel `add` cannot take the write of b: expected a number, found a string"
    );
    refuse("add", json!(1), &[json!(null)], "HP0304");
    refuse("add", json!(u64::MAX), &[json!(1)], "HP0304");
    refuse("add", json!("text"), &[json!(1)], "HP0304");
    refuse("merge", json!({}), &[json!([1])], "HP0304");
    refuse("merge", json!([1]), &[json!({})], "HP0304");
    refuse("max", json!(1), &[json!("1")], "HP0304");
    refuse("min", json!(null), &[json!(true)], "HP0304");
    refuse("append", json!(7), &[json!(1)], "HP0304");
}

#[test]
fn overwrites_pass_the_reducer() {
    let overwrite = |value: Value| json!({ "__overwrite__": value });
    // S07: writes of the same step count for nothing, before and after; those of the next step are reduced again.
    check("append", json!(["x"]), &[json!("a"), overwrite(json!(["b"])), json!("c")], json!(["b"]));
    check("append", json!(["b"]), &[json!("d")], json!(["b", "d"]));
    check("last", json!(1), &[json!(2), overwrite(json!(3))], json!(3));
    check("add", json!(10), &[overwrite(json!(0))], json!(0));
    check("merge", json!({ "a": 1 }), &[overwrite(json!({})), json!({ "b": 1 })], json!({}));
    check("messages", json!([{ "id": "1" }]), &[overwrite(json!([]))], json!([]));
    check("max", json!(10), &[overwrite(json!(null))], json!(null));
    // Only exactly this one member makes an overwrite.
    check("merge", json!({}), &[json!({ "__overwrite__": 1, "a": 2 })], json!({ "__overwrite__": 1, "a": 2 }));
    assert_eq!(
        refuse("append", json!([]), &[overwrite(json!([1])), json!(2), overwrite(json!([3]))], "HP0305"),
        "channel `append` is overwritten more than once in a step: by a, c"
    );
    refuse("append", json!([]), &[overwrite(json!(1))], "HP0304");
    refuse("add", json!(0), &[overwrite(json!("0"))], "HP0304");
}

#[test]
fn appends_carry_only_what_is_new() {
    let change = |reducer: &str, before: Value, writes: &[Value]| {
        write(&graph(), reducer, Some(&before), writes).expect("sound").changes.into_values().next()
    };
    assert_eq!(change("append", json!([1]), &[json!([2]), json!(3)]), Some(Change::Append(vec![json!(2), json!(3)])));
    assert_eq!(change("append", json!([1]), &[json!([])]), None);
    assert_eq!(change("append", json!(null), &[json!([])]), Some(Change::Replace(json!([]))));
    assert_eq!(change("union", json!([1]), &[json!([1, 2])]), Some(Change::Append(vec![json!(2)])));
    assert_eq!(change("union", json!([1]), &[json!(1)]), None);
    assert_eq!(change("last", json!(1), &[json!(1)]), Some(Change::Replace(json!(1))));
}

#[test]
fn schemas_hold_for_the_value_after_the_step() {
    let graph = graph_of(&[
        ("amount", json!({ "type": "integer", "minimum": 1 }), Reducer::Last),
        ("total", json!({ "maximum": 10 }), Reducer::Add),
        ("log", json!({ "type": "array", "items": { "type": "string" } }), Reducer::Append),
        ("few", json!({ "type": "array", "maxItems": 3, "uniqueItems": true }), Reducer::Append),
        ("tree", json!({ "items": { "$ref": "#" }, "type": ["array", "integer"] }), Reducer::Append),
    ]);
    let error = write(&graph, "amount", None, &[json!(0)]).expect_err("too small");
    assert_eq!(
        error.to_string(),
        "channel `amount` breaks its schema after the write of a: 0 is less than the minimum of 1"
    );
    assert_eq!(error.code(), "HP0302");
    let error = write(&graph, "total", Some(&json!(8)), &[json!(1), json!(2)]).expect_err("too much");
    assert_eq!(
        error.to_string(),
        "channel `total` breaks its schema after the write of a, b: 11 is greater than the maximum of 10"
    );
    let error = write(&graph, "log", Some(&json!(["x", "y"])), &[json!(["z", 1]), json!(2)]).expect_err("not texts");
    assert_eq!(
        error.to_string(),
        "channel `log` breaks its schema after the write of a, b: at /3: 1 is not of type \"string\", at /4: 2 is not of type \"string\""
    );
    assert!(write(&graph, "few", Some(&json!([1, 2])), &[json!(3)]).is_ok());
    assert!(write(&graph, "few", Some(&json!([1, 2])), &[json!([3, 4])]).is_err());
    assert!(write(&graph, "few", Some(&json!([1, 2])), &[json!(1)]).is_err());
    assert!(write(&graph, "tree", Some(&json!([1])), &[json!([[[2]]])]).is_ok());
    assert!(write(&graph, "tree", Some(&json!([1])), &[json!([[["x"]]])]).is_err());
    assert!(write(&graph, "log", Some(&json!([])), &[json!({ "__overwrite__": [1] })]).is_err());
}

#[test]
fn all_errors_are_told_at_once() {
    let first = object(json!({ "lsat": 1, "add": "x", "last": 1, "append": 1 }));
    let second = object(json!({ "last": 2, "other": 1, "append": 2 }));
    let error = reduce(&graph(), &Map::new(), &[("a", &first), ("b", &second)]).expect_err("refused");
    let StateError::Several(errors) = &error else { panic!("{error}") };
    let codes: Vec<&str> = errors.iter().map(StateError::code).collect();
    assert_eq!(codes, ["HP0301", "HP0301", "HP0304", "HP0303"]);
    assert_eq!(errors[0].to_string(), "a writes the unknown channel `lsat`");
    assert_eq!(errors[0].cure(), "did you mean `last`?");
    assert_eq!(errors[1].cure(), "declare `other` under [state], or do not write it");
    assert_eq!(error.code(), "HP0301");
}

#[test]
fn initial_values_are_defaults_or_zeros() {
    let mut expected: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, zero) in
        [("append", json!([])), ("union", json!([])), ("messages", json!([])), ("add", json!(0)), ("merge", json!({}))]
    {
        expected.insert(name, zero);
    }
    assert_eq!(Value::Object(initial_values(&graph())), json!(expected));
    let graph = graph_of(&[
        ("a", json!({ "default": 5 }), Reducer::Add),
        ("b", json!({ "default": null }), Reducer::Last),
        ("c", json!({}), Reducer::Last),
    ]);
    assert_eq!(Value::Object(initial_values(&graph)), json!({ "a": 5, "b": null }));
    assert_eq!(reduce(&graph, &Map::new(), &[]), Ok(Patch::default()));
}

/// A pseudo-random sequence of writes: applying patches step by step gives what a plain model gives, and the patches alone rebuild it.
#[test]
fn patches_rebuild_the_state() {
    let graph = graph();
    let (mut values, mut seed) = (initial_values(&graph), 7_u64);
    let mut patches = Vec::new();
    let mut sum = 0_i64;
    let mut log = Vec::new();
    for _ in 0..500 {
        let mut draw = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        let number = i64::try_from(draw(1000)).expect("small") - 500;
        sum += number;
        log.push(json!(number));
        let update = object(json!({
            "add": number, "append": number, "union": draw(20), "last": draw(9), "messages": { "id": draw(30).to_string(), "n": number },
        }));
        let patch = reduce(&graph, &values, &[("a", &update)]).expect("sound");
        patch.apply(&mut values);
        patches.push(patch);
    }
    assert_eq!(values["add"], json!(sum));
    assert_eq!(values["append"], json!(log));
    assert_eq!(values["union"].as_array().map(Vec::len), Some(20));
    assert_eq!(values["messages"].as_array().map(Vec::len), Some(30));
    let mut rebuilt = initial_values(&graph);
    patches.iter().for_each(|patch| patch.apply(&mut rebuilt));
    assert_eq!(rebuilt, values);
}

/// Appending must not look at what is there: with a million items before, thousands of appends take no noticeable time.
#[test]
fn appending_costs_only_what_is_appended() {
    let graph = graph_of(&[("log", json!({ "type": "array", "items": { "type": "integer" } }), Reducer::Append)]);
    let values = object(json!({ "log": vec![1; 1_000_000] }));
    let update = object(json!({ "log": 2 }));
    let started = Instant::now();
    for _ in 0..5000 {
        reduce(&graph, &values, &[("a", &update)]).expect("sound");
    }
    // One look at a million items takes milliseconds, so that 5000 of them would take far longer on any machine.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn schemas_are_shared_compared_and_sent() {
    fn sendable<T: Send + Sync + Clone>(value: &T) -> T {
        value.clone()
    }
    let schema = Schema::compile(json!({ "type": "integer" })).expect("a schema");
    assert_eq!(sendable(&schema), schema);
    assert_ne!(schema, Schema::compile(json!({ "type": "string" })).expect("a schema"));
    assert_eq!(schema.document(), &json!({ "type": "integer" }));
    assert_eq!(schema.check(&json!(1)), Ok(()));
    assert_eq!(schema.check(&json!(1.5)).expect_err("no integer")[0].pointer, "");
    let _ = sendable(&graph());
    for faulty in [
        json!(5),
        json!({ "type": 5 }),
        json!({ "$ref": "file:///etc/passwd" }),
        json!({ "$ref": "http://localhost/" }),
        json!({ "pattern": "(" }),
    ] {
        assert!(Schema::compile(faulty.clone()).is_err(), "{faulty}");
    }
    let long = Schema::compile(json!({ "type": "integer" }))
        .expect("a schema")
        .check(&json!("x".repeat(1 << 20)))
        .expect_err("no integer");
    assert!(long[0].message.len() < 2000);
}

#[test]
fn recursive_schemas_end() {
    for document in [json!({ "$ref": "#" }), json!({ "allOf": [{ "$ref": "#" }] }), json!({ "not": { "$ref": "#" } })] {
        if let Ok(schema) = Schema::compile(document) {
            let _ = schema.check(&json!(1));
        }
    }
    let tree = Schema::compile(json!({ "type": ["array", "null"], "items": { "$ref": "#" } })).expect("a schema");
    let mut deep = json!(null);
    for _ in 0..127 {
        deep = json!([deep]);
    }
    assert_eq!(tree.check(&deep), Ok(()));
}

#[test]
fn managed_channels_are_no_part_of_the_state() {
    let graph = GraphBuilder::new("g")
        .channel("steps", json!({}), Reducer::Add)
        .managed("step", Managed::RemainingSteps)
        .start(Edges::when("!has(state.step) && size(state) == 1", "a").otherwise("END"))
        .node("a", NodeBuilder::component_path("a.wasm"))
        .build()
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(Value::Object(initial_values(&graph)), json!({ "steps": 0 }));
    for value in [json!(1), json!({ "__overwrite__": 1 })] {
        let error = write(&graph, "step", None, &[value]).expect_err("refused");
        assert_eq!(error.to_string(), "a writes the managed channel `step`");
        assert_eq!(error.code(), "HP0309");
        assert_eq!(error.cure(), "do not write `step`: the engine computes its value for each task");
    }
    let error = write(&graph, "stepp", None, &[json!(1)]).expect_err("refused");
    assert_eq!(error.cure(), "did you mean `steps`?", "not one that cannot be written");
    let state = object(json!({ "steps": 3, "step": 9 }));
    let start = graph.start.resolve(&state, &graph).expect("a branch holds");
    assert!(matches!(start.as_slice(), [Target::Node(_)]), "conditions see no managed values: {start:?}");
}
