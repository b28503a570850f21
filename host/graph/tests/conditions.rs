//! CEL conditions over JSON state: what holds, what fails, and that nothing panics.

use holdpoint_graph::builder::{Edges, GraphBuilder, NodeBuilder};
use holdpoint_graph::definition::{Deadline, Graph, Next, Target};
use holdpoint_graph::state::{Condition, Reducer, StateError};
use serde_json::{Map, Value, json};

const CHANNELS: [&str; 7] = ["approved", "amount_cents", "big", "ratio", "status", "items", "nested"];

fn graph() -> Graph {
    let graph =
        CHANNELS.iter().fold(GraphBuilder::new("g"), |graph, name| graph.channel(*name, json!({}), Reducer::Last));
    graph.start("a").node("a", NodeBuilder::component_path("a.wasm")).build().expect("a sound graph")
}

fn state() -> Map<String, Value> {
    let state = json!({
        "approved": true,
        "amount_cents": 100_001,
        "big": u64::MAX,
        "ratio": 2.5,
        "status": "pending",
        "items": [1, 2, 3],
        "nested": { "a": { "b": 7 }, "with space": 1 },
    });
    state.as_object().expect("an object").clone()
}

fn holds(text: &str, state: &Map<String, Value>) -> Result<bool, StateError> {
    Condition::compile(text).unwrap_or_else(|fault| panic!("{text}: {fault}")).holds(state, &graph().channels)
}

#[test]
fn conditions_hold_or_not() {
    for (text, expected) in [
        ("state.approved", true),
        ("state.approved == true", true),
        ("!state.approved", false),
        ("state.amount_cents > 100000", true),
        ("state.amount_cents > 100001", false),
        ("state.amount_cents + 1 == 100002", true),
        ("state.amount_cents == 100001.0", true),
        ("state.amount_cents < 100001.5", true),
        ("state.amount_cents * 2 >= 200002", true),
        ("state.big > 100000", true),
        ("state.big > 9223372036854775807", true),
        ("state.big == 18446744073709551615u", true),
        ("state.ratio > 2", true),
        ("state.ratio == 2.5", true),
        ("state.ratio < 3 && state.amount_cents > 3", true),
        ("state.status == 'pending'", true),
        ("state.status in ['pending', 'approved']", true),
        ("state.status.startsWith('pen') && state.status.matches('^p.*g$')", true),
        ("size(state.items) == 3", true),
        ("state.items[0] == 1", true),
        ("state.items.exists(item, item > 2)", true),
        ("state.items.all(item, item > 2)", false),
        ("2 in state.items", true),
        ("state.nested.a.b == 7", true),
        ("state['nested']['with space'] == 1", true),
        ("has(state.nested.a)", true),
        ("has(state.nested.zzz)", false),
        ("state.approved ? state.ratio > 1.0 : false", true),
        ("true", true),
    ] {
        assert_eq!(holds(text, &state()), Ok(expected), "{text}");
    }
}

#[test]
fn absent_channels_are_null() {
    let empty = Map::new();
    for (text, expected) in [
        ("state.approved == null", true),
        ("state.approved == true", false),
        ("state.amount_cents != null && state.amount_cents > 3", false),
        ("state.status == 'x'", false),
    ] {
        assert_eq!(holds(text, &empty), Ok(expected), "{text}");
    }
    let with_null = json!({ "approved": null }).as_object().expect("an object").clone();
    assert_eq!(holds("state.approved == null", &with_null), Ok(true));
}

#[test]
fn what_is_neither_true_nor_false_is_an_error() {
    for text in [
        "1",
        "'true'",
        "null",
        "state.status",
        "state",
        "state.amount_cents > 'a'",
        "state.amount_cents / 0 == 1",
        "state.amount_cents * 9223372036854775807 > 0",
        "state.items[9] == 1",
        "state.items[-1] == 1",
        "state.nested.zzz == 1",
        "state.status.matches('(') == true",
        "int(state.status) == 1",
        "-(-9223372036854775807 - 1) > 0",
        "-9223372036854775808 % -1 == 0",
        "-9223372036854775808 / -1 == 0",
        "int(1e300) > 0",
        "uint(-1) > 0u",
    ] {
        match holds(text, &state()) {
            Err(error @ StateError::ConditionFailed { .. }) => {
                assert_eq!(error.code(), "HP0306");
                assert!(error.to_string().len() < 1000, "{error}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn faulty_texts_do_not_compile() {
    for (text, message) in [
        ("", "empty"),
        ("   ", "empty"),
        ("state.approved ==", "not a CEL expression"),
        ("state.approved = true", "not a CEL expression"),
        ("approved == true", "unknown name `approved`"),
        ("state.approved && thread.id == 'x'", "unknown name `thread`"),
        ("state.items.exists(item, itm > 2)", "unknown name `itm`"),
        ("sizes(state.items) == 3", "unknown function `sizes`"),
        ("state.status.upper() == 'A'", "unknown function `upper`"),
        ("Foo{a: 1} == state", "unknown name `Foo`"),
        ("'a", "not a CEL expression"),
        ("9223372036854775808 > 1", "not a CEL expression"),
        ("\u{0}", "not a CEL expression"),
        ("state.\u{202e}x", "not a CEL expression"),
    ] {
        let fault = Condition::compile(text).expect_err(text);
        assert!(fault.contains(message), "{text}: {fault}");
    }
}

#[test]
fn hostile_texts_neither_panic_nor_overflow_the_stack() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}state{}", open.repeat(depth), close.repeat(depth));
    let mut texts = vec!["x".repeat(1 << 20), "1+".repeat(1 << 19), "\"".repeat(999), "state".repeat(800)];
    for depth in [20, 24, 25, 199, 1000] {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("{1:", "}"), ("state[", "]"), ("size(", ")")]
        {
            texts.push(nested(open, close, depth));
        }
        for chain in ["1 + ", "state.x && ", "true ? 1 : ", "state.x || ", "1 == ", "1 in "] {
            texts.push(format!("{}1", chain.repeat(depth)));
        }
        texts.push(format!("state{}", ".a".repeat(depth)));
        texts.push(format!("state{}", "[0]".repeat(depth)));
        texts.push(format!("{}1", "1 ? ".repeat(depth)));
        texts.push(format!("{}true{}", "[1].all(x, ".repeat(depth), ")".repeat(depth)));
    }
    for text in texts {
        if let Ok(condition) = Condition::compile(&text) {
            let _ = condition.holds(&state(), &graph().channels);
        }
    }
}

#[test]
fn a_condition_names_the_channels_that_it_reads() {
    let channels = |text: &str| {
        Condition::compile(text).expect("compiles").channels().map(|names| names.iter().cloned().collect::<Vec<_>>())
    };
    assert_eq!(channels("state.b > 1 && has(state.a) && state.b < 3"), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(channels("state.nested.a.b == 7"), Some(vec!["nested".to_owned()]));
    assert_eq!(channels("'a' in state"), None);
    assert_eq!(channels("[{'x': 1}].all(state, state.x == 1)"), Some(Vec::new()));
}

#[test]
fn equality_is_of_texts() {
    let one = Condition::compile("state.a == 1").expect("compiles");
    assert_eq!(one, one.clone());
    assert_ne!(one, Condition::compile("state.a==1").expect("compiles"));
    assert_eq!(format!("{one:?}"), "Condition(\"state.a == 1\")");
}

#[test]
fn edges_resolve() {
    let graph = GraphBuilder::new("g")
        .channel("x", json!({}), Reducer::Last)
        .start(["a", "b"])
        .node(
            "a",
            NodeBuilder::component_path("a.wasm").next(Edges::when("state.x == 1", "b").or_when("state.x == 2", "END")),
        )
        .node("b", NodeBuilder::component_path("a.wasm").next(Edges::when("state.x > 1", "a").otherwise("END")))
        .node("c", NodeBuilder::component_path("a.wasm"))
        .build()
        .expect("a sound graph");
    let next = |name: &str| {
        graph.nodes.iter().find(|(node, _)| node.as_str() == name).map(|(_, node)| node.next.clone()).expect("exists")
    };
    let resolve = |next: &Next, x: Value| {
        let state = json!({ "x": x }).as_object().expect("an object").clone();
        next.resolve(&state, &graph).map(|targets| {
            targets
                .iter()
                .map(|target| if let Target::Node(name) = target { name.as_str().to_owned() } else { "END".to_owned() })
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(resolve(&graph.start, json!(0)), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(resolve(&next("a"), json!(1)), Ok(vec!["b".to_owned()]));
    assert_eq!(resolve(&next("a"), json!(2)), Ok(vec!["END".to_owned()]));
    let none = resolve(&next("a"), json!(3)).expect_err("no branch holds");
    assert_eq!((none.code(), none.to_string().as_str()), ("HP0307", "no branch holds: `state.x == 1`, `state.x == 2`"));
    assert_eq!(resolve(&next("b"), json!("text")).expect_err("cannot be compared").code(), "HP0306");
    assert_eq!(resolve(&next("b"), json!(0)), Ok(vec!["END".to_owned()]));
    assert_eq!(resolve(&next("c"), json!(0)), Ok(Vec::new()));
}

#[test]
fn deadlines_are_durations_or_errors() {
    let deadline = |text: &str| {
        let condition = Condition::compile(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        Deadline::Computed(condition).duration_ms(&state(), &graph().channels)
    };
    assert_eq!(deadline("state.amount_cents > 100000 ? '15m' : '2h'"), Ok(900_000));
    assert_eq!(deadline("state.status == 'P0' ? '15m' : '2h'"), Ok(7_200_000));
    assert_eq!(deadline("state.status + '5m'").map_err(|error| error.code()), Err("HP0306"));
    for (text, told) in [
        ("state.approved", "the result is bool, not a text"),
        ("'0s'", "0s is no time at all"),
        ("'soon'", "soon is not a duration"),
        ("'40000d'", "40000d is longer than 100 years"),
    ] {
        let error = deadline(text).expect_err(text).to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    assert_eq!(Deadline::After(5).duration_ms(&Map::new(), &graph().channels), Ok(5));
}
