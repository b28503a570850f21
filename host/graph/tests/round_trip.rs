//! Graphs survive being stored, the file and the builder make the same value, and equal graphs have equal digests.

use holdpoint_graph::builder::{Edges, GraphBuilder, NodeBuilder};
use holdpoint_graph::definition::{Component, Graph, Limits, Next, Retry};
use holdpoint_graph::diagram::mermaid;
use holdpoint_graph::document::{digest, from_document, to_document};
use holdpoint_graph::file::parse;
use holdpoint_graph::state::Reducer;
use serde_json::{Value, json};

fn refund() -> Graph {
    parse(include_str!("refund.graph.toml"), "refund.graph.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn everything() -> Graph {
    let numbers = json!({ "float": 0.1 + 0.2, "small": 5e-324, "large": u64::MAX, "negative": i64::MIN, "null": null, "": "\u{0}" });
    GraphBuilder::new("everything")
        .channel("log", json!({ "type": "array", "items": { "type": "string" }, "default": ["a"] }), Reducer::Append)
        .channel("sum", json!({}), Reducer::Add)
        .channel("null", json!({ "default": null }), Reducer::Last)
        .start(Edges::when("size(state.log) > 1", "a").otherwise("b"))
        .recursion_limit(u32::MAX)
        .node(
            "a",
            NodeBuilder::component_named("refund", "1.2.3")
                .config(numbers)
                .reads([])
                .connectors(["x", "y"])
                .next(["b", "END"]),
        )
        .node(
            "b",
            NodeBuilder::component_digest(&holdpoint_graph::digest::Digest::of_bytes(b""))
                .join(["a", "c"])
                .interrupt(json!({ "answer_schema": { "type": "object" }, "deadline": "90m", "quorum": 2 }))
                .retry(&Retry { attempts_max: 3, backoff_ms: 1, factor: 1.1, backoff_max_ms: 86_400_000 })
                .timeout_ms(1501)
                .limits(&Limits { memory_bytes: Some(65_537), fuel: Some(u64::MAX), time_ms: Some(60_000) }),
        )
        .node("c", NodeBuilder::component_path("c d/é.wasm").interrupt(json!({})).next(Edges::when("true", "END")))
        .build()
        .unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_designs_own_example_is_sound() {
    let graph = refund();
    assert_eq!(graph.recursion_limit, 100);
    assert_eq!(graph.channels.len(), 6);
    let node = |name: &str| {
        graph.nodes.iter().find(|(node, _)| node.as_str() == name).map(|(_, node)| node.clone()).expect("exists")
    };
    let commit = node("commit_refund");
    assert_eq!(commit.component, Component::Path("refund.wasm".to_owned()));
    assert_eq!(commit.retry, Some(Retry { attempts_max: 3, backoff_ms: 500, factor: 2.0, backoff_max_ms: 30_000 }));
    assert_eq!(commit.timeout_ms, Some(30_000));
    assert_eq!(commit.limits, Limits { memory_bytes: Some(64 << 20), fuel: Some(5_000_000_000), time_ms: None });
    let gate = node("approval_gate");
    assert!(matches!(&gate.next, Next::First(branches) if branches.len() == 2));
    let interrupt = gate.interrupt.expect("has a policy");
    assert!(interrupt.answer_schema.is_some());
    assert_eq!(
        Value::Object(interrupt.policy),
        json!({
            "deadline": "2h",
            "on_timeout": { "answer": { "approved": false, "reason": "deadline" } },
            "assignees": ["group:finance"],
            "quorum": 1,
            "distinct_from": "requester",
            "escalate": [{ "after": "30m", "to": ["group:finance-leads"] }],
            "notify": ["slack-approvals"],
        })
    );
    assert!(mermaid(&graph).contains("state.approved == true"));
}

#[test]
fn stored_graphs_come_back_the_same() {
    for graph in [refund(), everything()] {
        let document = to_document(&graph);
        assert_eq!(document["format"], 1);
        let text = serde_json::to_string(&document).expect("serialises");
        let read: Value = serde_json::from_str(&text).expect("parses");
        assert_eq!(read, document, "numbers keep every bit in text");
        let back = from_document(&read).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(back, graph);
        assert_eq!(to_document(&back), document);
        assert_eq!(digest(&back), digest(&graph));
    }
    assert_ne!(digest(&refund()), digest(&everything()));
}

#[test]
fn file_and_builder_agree() {
    let written = parse(
        "name = \"g\"\nstart = \"a\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.a]\ncomponent = \"a.wasm\"\nwith = { n = 1 }\nnext = \"END\"",
        "g.toml",
    );
    let built = GraphBuilder::new("g")
        .channel("log", json!({ "type": "array" }), Reducer::Append)
        .start("a")
        .node("a", NodeBuilder::component_path("a.wasm").config(json!({ "n": 1 })).next("END"))
        .build();
    assert_eq!(written, built);
}

#[test]
fn other_stored_forms_are_refused() {
    let code = |document: Value| {
        let problems = from_document(&document).expect_err("refused").0;
        (problems.len(), problems[0].code)
    };
    assert_eq!(code(json!({ "format": 2, "anything": 1 })), (1, "HP0117"));
    assert_eq!(code(json!({})), (1, "HP0117"));
    assert_eq!(code(json!([])), (1, "HP0104"));
    assert_eq!(code(json!({ "format": 1, "name": null, "start": [null], "nodes": { "a": null } })), (3, "HP0104"));
    let mut deep = json!(null);
    for _ in 0..120 {
        deep = json!({ "a": [deep] });
    }
    let mut document = to_document(&refund());
    document["nodes"]["commit_refund"]["with"] = json!({ "deep": deep });
    from_document(&document).unwrap_or_else(|problems| panic!("{problems}"));
}
