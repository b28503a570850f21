//! Graphs survive being stored, the file and the builder make the same value, and equal graphs have equal digests.

use holdpoint_graph::builder::{Edges, GraphBuilder, NodeBuilder};
use holdpoint_graph::definition::{
    CachePolicy, Component, Deadline, Graph, GraphReference, Join, Limits, Managed, Next, Node, Persist, Retry,
    Subgraph, Work,
};
use holdpoint_graph::diagram::mermaid;
use holdpoint_graph::document::{digest, from_document, to_document};
use holdpoint_graph::file::parse;
use holdpoint_graph::state::Reducer;
use serde_json::{Value, json};

fn refund() -> Graph {
    parse(include_str!("refund.graph.toml"), "refund.graph.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn features() -> Graph {
    parse(include_str!("features.graph.toml"), "features.graph.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn named<'a>(graph: &'a Graph, name: &str) -> &'a Node {
    graph.nodes.iter().find(|(node, _)| node.as_str() == name).map(|(_, node)| node).expect("exists")
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
        .node(
            "d",
            NodeBuilder::component_path("d.wasm").interrupt(json!({
                "deadline": { "cel": "size(state.log) > 1 ? '15m' : '2h'" },
                "allowed": ["accept", "reject"],
                "reason_required_on": ["reject"],
                "quorum": { "approve": 2, "reject": 2 },
                "remind": ["10m"],
            })),
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
    assert_eq!(commit.component_digest(), None);
    assert_eq!(commit.work, Work::Component(Component::Path("refund.wasm".to_owned())));
    assert_eq!(commit.retry, Some(Retry { attempts_max: 3, backoff_ms: 500, factor: 2.0, backoff_max_ms: 30_000 }));
    assert_eq!(commit.timeout_ms, Some(30_000));
    assert_eq!(commit.limits, Limits { memory_bytes: Some(64 << 20), fuel: Some(5_000_000_000), time_ms: None });
    let gate = node("approval_gate");
    assert!(matches!(&gate.next, Next::First(branches) if branches.len() == 2));
    let interrupt = gate.interrupt.expect("has a policy");
    assert_eq!(interrupt.deadline, Some(Deadline::After(7_200_000)));
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
    for graph in [refund(), everything(), features()] {
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

/// Stored graphs are found by digest: what later versions add must not change the digests of graphs that do not use it.
#[test]
fn digests_stay_what_they_were() {
    let mut before = everything();
    before.nodes.retain(|name, _| name.as_str() != "d");
    let digests = [
        (refund(), "sha256:51c55f266dec734fd1064bcf6b84b365032b167f32af94fa989a6563dec2bc04"),
        (before, "sha256:90ca3e82a599f7b6a8130c4289aa0492d156d723547cf46e77423a5b60b4125a"),
        (everything(), "sha256:27549d197f08a7f760de82da2b6c65bcb69ddaf437a40b518ab702ff684fcbce"),
    ];
    for (graph, expected) in digests {
        assert_eq!(digest(&graph).as_str(), expected, "{}", graph.name);
        let document = to_document(&graph);
        let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        let nodes = document["nodes"].as_object().expect("an object").values();
        let channels = document["state"].as_object().expect("an object").values();
        let all: Vec<String> = nodes.chain(channels).chain([&document]).flat_map(keys).collect();
        for added in
            ["graph", "persist", "defer", "interrupt_before", "interrupt_after", "error_handler", "cache", "managed"]
        {
            assert!(!all.contains(&added.to_owned()), "{added}");
        }
    }
    assert_eq!(to_document(&everything())["nodes"]["b"]["join"], json!(["a", "c"]));
    // That all are needed may be said in two ways, and is one graph.
    assert_eq!(to_document(&features())["nodes"]["both"]["join"], json!(["fetch", "once"]));
}

#[test]
fn what_a_graph_says_of_all_nodes_is_written_out() {
    let graph = features();
    let flags: Vec<(&str, bool, bool, Option<&str>)> = graph
        .nodes
        .iter()
        .map(|(name, node)| {
            let handler = node.error_handler.as_ref().map(|handler| handler.as_str());
            (name.as_str(), node.interrupt_before, node.interrupt_after, handler)
        })
        .collect();
    assert_eq!(
        flags,
        [
            ("both", false, true, Some("mend")),
            ("child", true, false, Some("mend_child")),
            ("fetch", true, true, Some("mend")),
            ("first", false, true, Some("mend")),
            ("kept", false, true, Some("mend")),
            ("mend", false, true, None),
            ("mend_child", false, true, None),
            ("once", false, true, Some("mend")),
            ("pair", false, true, Some("mend")),
        ]
    );
    let document = to_document(&graph);
    for key in ["interrupt_before", "interrupt_after", "error_handler"] {
        assert_eq!(document.get(key), None, "{key}");
    }
}

#[test]
fn the_features_are_read() {
    let graph = features();
    let names = |of: &[&str]| of.iter().map(|name| name.parse().expect("a name")).collect::<Vec<_>>();
    let subgraphs: Vec<(&str, &Subgraph)> =
        graph.subgraphs().map(|(name, subgraph)| (name.as_str(), subgraph)).collect();
    let path = |path: &str| GraphReference::Path(path.to_owned());
    let empty = holdpoint_graph::digest::Digest::of_bytes(b"");
    assert_eq!(
        subgraphs,
        [
            ("child", &Subgraph { graph: path("child/child.graph.toml"), persist: Persist::PerCall }),
            ("kept", &Subgraph { graph: path("kept.graph.toml"), persist: Persist::PerThread }),
            ("once", &Subgraph { graph: GraphReference::Digest(empty), persist: Persist::None }),
        ]
    );
    assert!(named(&graph, "child").defer && !named(&graph, "once").defer);
    assert_eq!(named(&graph, "child").component(), None);
    assert_eq!(named(&graph, "child").reads.as_ref().map(Vec::len), Some(1));
    assert_eq!(named(&graph, "fetch").cache, Some(CachePolicy { ttl_ms: None }));
    assert_eq!(named(&graph, "pair").cache, Some(CachePolicy { ttl_ms: Some(3_600_000) }));
    let join = |name: &str| named(&graph, name).join.clone().expect("joins");
    let pair = Join { of: names(&["fetch", "once", "kept"]), need: 2, within_ms: Some(5_400_000) };
    assert_eq!(join("pair"), pair);
    assert_eq!(join("first"), Join { of: names(&["fetch", "once"]), need: 1, within_ms: None });
    assert_eq!(join("both"), Join { of: names(&["fetch", "once"]), need: 2, within_ms: None });
    let managed: Vec<(Option<Managed>, Value)> =
        graph.channels.values().map(|channel| (channel.managed, channel.schema.document().clone())).collect();
    assert_eq!(
        managed,
        [
            (Some(Managed::IsLastStep), json!({ "type": "boolean", "title": "whether to hurry" })),
            (Some(Managed::RemainingSteps), json!({ "type": "integer", "minimum": 1 })),
            (None, json!({ "type": "string" })),
        ]
    );
}

#[test]
fn the_builder_has_the_features_too() {
    let node = |name: &str| NodeBuilder::component_path(format!("{name}.wasm"));
    let built = GraphBuilder::new("features")
        .channel("text", json!({ "type": "string" }), Reducer::Last)
        .managed("steps", Managed::RemainingSteps)
        .managed("last_step", Managed::IsLastStep)
        .start(["fetch", "child", "once", "kept"])
        .interrupt_after_all()
        .error_handler("mend")
        .node("fetch", node("fetch").reads(["text", "steps"]).interrupt_before().cache(None).next("pair"))
        .node(
            "child",
            NodeBuilder::subgraph_path("child/child.graph.toml")
                .reads(["text"])
                .join(["fetch"])
                .defer()
                .interrupt_before()
                .interrupt_after()
                .error_handler("mend_child")
                .next("END"),
        )
        .node(
            "once",
            NodeBuilder::subgraph_digest(&holdpoint_graph::digest::Digest::of_bytes(b"")).persist(Persist::None),
        )
        .node("kept", NodeBuilder::subgraph_path("kept.graph.toml").persist(Persist::PerThread))
        .node("pair", node("pair").join_some(["fetch", "once", "kept"], 2, Some(5_400_000)).cache(Some(3_600_000)))
        .node("first", node("first").join_some(["fetch", "once"], 1, None))
        .node("both", node("both").join(["fetch", "once"]))
        .node("mend", node("mend"))
        .node("mend_child", node("mend"))
        .build()
        .unwrap_or_else(|problems| panic!("{problems}"));
    // The file says two things that the builder has no words for.
    let written = include_str!("features.graph.toml")
        .replace("interrupt_after = false\n", "")
        .replace(", type = \"boolean\", title = \"whether to hurry\"", "");
    assert_eq!(Ok(&built), parse(&written, "features.graph.toml").as_ref());
    let before = GraphBuilder::new("g").start("a").interrupt_before_all().node("a", node("a")).build().expect("sound");
    assert!(named(&before, "a").interrupt_before && !named(&before, "a").interrupt_after);
}
