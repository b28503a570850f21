//! Waiting threads on another version of their graph (DESIGN 10).

use std::sync::{Arc, Mutex};

use crate::support::{FakeNodes, World, ask, doubting, failed, graph, logs, thread, update};
use holdpoint_engine::{Answers, Deployment, Error, ThreadView};
use holdpoint_graph::definition::{Component, GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::NodeName;
use holdpoint_graph::nodes::NodeCall;
use holdpoint_store::{Store, ThreadStatus};
use serde_json::{Value, json};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\nx = { type = \"integer\" }\n";

fn text() -> String {
    format!(
        "start = \"first\"\n{LOG}[nodes.first]\nnext = [\"asks\", \"done\"]\n[nodes.asks]\nnext = \"last\"\n[nodes.done]\n[nodes.last]\n"
    )
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

/// Which version of the nodes runs is told by the digest of the component: that of version 2 is the digest of `NODE@2`.
fn is_second(call: &NodeCall) -> bool {
    call.component == Digest::of_bytes(format!("{}@2", call.task.node).as_bytes())
}

type Change = Arc<Mutex<Option<&'static str>>>;

/// Nodes whose second version does the same, but for the one that is named.
fn nodes(changed: &Change) -> FakeNodes {
    let is_changed = |node: &'static str| {
        let changed = Arc::clone(changed);
        move |call: &NodeCall| is_second(call) && *changed.lock().unwrap() == Some(node)
    };
    let (asks, done) = (is_changed("asks"), is_changed("done"));
    FakeNodes::default()
        .with("first", logs("first"))
        .with("asks", move |call| match ask(call, 0, json!(if asks(call) { "really?" } else { "?" })) {
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(question) => question,
        })
        .with("done", move |call| update(json!({ "log": [if done(call) { "did" } else { "done" }] })))
        .with("last", |call| update(json!({ "log": [if is_second(call) { "last of 2" } else { "last" }] })))
}

async fn waiting() -> (World, Change, ThreadView) {
    let changed = Change::default();
    let world = World::new(nodes(&changed));
    let deployment = world.deploy(&text()).await;
    let view = world.run(&deployment, json!({ "x": 5 })).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Interrupted);
    (world, changed, view)
}

/// The second version: other components, and this text.
async fn second(world: &World, text: &str) -> Deployment {
    let mut graph = graph(text);
    for (name, node) in &mut graph.nodes {
        if let Work::Component(component) = &mut node.work {
            *component = Component::Digest(Digest::of_bytes(format!("{name}@2").as_bytes()));
        }
    }
    world.engine.deploy(graph).await.unwrap()
}

async fn differences(world: &World, to: &Deployment) -> Vec<String> {
    let commits = world.commits();
    let before = world.store.snapshot(&thread(), None).await.unwrap();
    let error = world.engine.migrate(&thread(), to).await.unwrap_err();
    assert_eq!(error.code(), "HP0442");
    assert_eq!((world.commits(), world.store.snapshot(&thread(), None).await.unwrap()), (commits, before));
    match error {
        Error::NotMigratable { differences, to: digest, .. } if digest == to.digest => differences,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_thread_goes_on_with_the_new_version_and_its_question_stays() {
    let (world, _, view) = waiting().await;
    let wider = text()
        .replace("x = { type = \"integer\" }", "x = { type = \"integer\", minimum = 1 }\ny = { type = \"string\" }");
    let to = second(&world, &wider).await;
    let migrated = world.engine.migrate(&thread(), &to).await.unwrap();
    assert_eq!(
        (migrated.status, &migrated.graph, &migrated.checkpoint),
        (ThreadStatus::Interrupted, &to.digest, &view.checkpoint)
    );
    assert_eq!(migrated.interrupts, view.interrupts, "the same question, under its id");
    assert_eq!(migrated.values, view.values);
    // Who read the thread before is too late; to migrate again changes nothing.
    let epoch = world.store.thread(&thread()).await.unwrap().unwrap().epoch;
    assert_eq!(world.engine.migrate(&thread(), &to).await.unwrap(), migrated);
    assert_eq!(world.store.thread(&thread()).await.unwrap().unwrap().epoch, epoch);
    let done = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!(done.values["log"], json!(["first", "yes", "done", "last of 2"]));
    assert_eq!(world.nodes.started("done"), 2, "once to do it, once to see whether it does the same");
    // Each checkpoint is checked with the version that ran from it.
    let report = world.engine.verify(&thread(), |_, _| ()).await.unwrap();
    assert_eq!((report.difference, report.tasks, report.transitions), (None, 4, 4));
    let graphs: Vec<Digest> =
        world.engine.outline(&thread()).await.unwrap().iter().map(|outline| outline.checkpoint.graph.clone()).collect();
    assert_eq!(graphs.iter().filter(|graph| **graph == to.digest).count(), 3);
}

#[tokio::test]
async fn everything_that_differs_is_listed() {
    let (world, changed, _) = waiting().await;
    *changed.lock().unwrap() = Some("asks");
    let to = second(&world, &text()).await;
    let [only] = differences(&world, &to).await.try_into().unwrap();
    assert!(only.contains("node asks: the question was") && only.contains("really?"), "{only}");
    *changed.lock().unwrap() = Some("done");
    let [only] = differences(&world, &to).await.try_into().unwrap();
    assert!(only.contains("node done: the result was") && only.contains("did"), "{only}");
    // A node that is gone, a channel that is gone, a value that does not fit, and the changed node: all at once.
    let other = text()
        .replace("[nodes.asks]\nnext = \"last\"\n", "")
        .replace("next = [\"asks\", \"done\"]", "next = \"done\"")
        .replace("x = { type = \"integer\" }", "x = { type = \"integer\", maximum = 4 }");
    let to = second(&world, &other).await;
    let all = differences(&world, &to).await;
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].contains("node asks is not there"), "{all:?}");
    assert!(all[1].contains('x') && all[1].contains('4'), "{all:?}");
    assert!(all[2].contains("node done"), "{all:?}");
    let renamed = text().replace("x = { type = \"integer\" }", "z = { type = \"integer\" }");
    *changed.lock().unwrap() = None;
    let to = second(&world, &renamed).await;
    let [only] = differences(&world, &to).await.try_into().unwrap();
    assert!(only.contains("\"x\"") || only.contains("`x`"), "{only}");
    // It goes on with what it has.
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["first", "yes", "done", "last"]));
}

#[tokio::test]
async fn only_threads_that_wait_can_be_migrated() {
    let (world, _, _) = waiting().await;
    let to = second(&world, &text()).await;
    let missing = Deployment { digest: Digest::of_bytes(b"none"), graph: Arc::clone(&to.graph) };
    let refused = world.engine.migrate(&thread(), &missing).await;
    assert!(matches!(refused, Err(Error::GraphUnavailable { digest, .. }) if digest == missing.digest));
    world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    let refused = world.engine.migrate(&thread(), &to).await;
    assert!(matches!(refused, Err(Error::NotWaiting { status: ThreadStatus::Done, .. })));
    let unknown = holdpoint_graph::ids::ThreadId::parse("none").unwrap();
    assert!(matches!(world.engine.migrate(&unknown, &to).await, Err(Error::ThreadNotFound(_))));
}

#[tokio::test]
async fn a_handled_failure_has_to_be_the_same_and_handled_by_the_same() {
    let text = format!(
        "start = [\"asks\", \"fails\"]\n{LOG}[nodes.asks]\n[nodes.fails]\nerror_handler = \"mends\"\n[nodes.mends]\n[nodes.mends_too]\n"
    );
    let nodes = FakeNodes::default()
        .with("asks", |call| match ask(call, 0, json!("?")) {
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(question) => question,
        })
        .with("fails", |call| failed(if call.config["as"] == "other" { "other" } else { "no" }, false))
        .with("mends", logs("mended"))
        .with("mends_too", logs("mended"));
    let world = World::new(nodes);
    let deployment = world.deploy(&text).await;
    world.run(&deployment, json!({})).await.unwrap();
    let to = second(&world, &text.replace("\"mends\"", "\"mends_too\"")).await;
    let [only] = differences(&world, &to).await.try_into().unwrap();
    assert!(only.contains("mends_too"), "{only}");
    let to = second(&world, &text.replace("error_handler", "with = { as = \"other\" }\nerror_handler")).await;
    let [only] = differences(&world, &to).await.try_into().unwrap();
    assert!(only.contains("node fails: the failure was"), "{only}");
    let to = second(&world, &text).await;
    world.engine.migrate(&thread(), &to).await.unwrap();
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["yes", "mended"]));
}

#[tokio::test]
async fn a_running_subgraph_has_to_be_the_same() {
    let parent = format!("start = \"child\"\n{LOG}[nodes.child]\nnext = \"last\"\n[nodes.last]\n");
    let child = format!("start = \"asks\"\n{LOG}[nodes.asks]\n");
    let nodes = nodes(&Change::default());
    let world = World::new(nodes);
    let deploy = async |parent: &str, child: &str| {
        let child = world.engine.deploy(graph(child)).await.unwrap();
        let mut parent = graph(parent);
        parent.nodes.get_mut(&name("child")).unwrap().work =
            Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest), persist: Persist::PerCall });
        world.engine.deploy(parent).await.unwrap()
    };
    let first = deploy(&parent, &child).await;
    world.run(&first, json!({})).await.unwrap();
    let other_child = deploy(&parent, &child.replace("x = { type = \"integer\" }", "x = { type = \"number\" }")).await;
    let [only] = differences(&world, &other_child).await.try_into().unwrap();
    assert!(only.contains("node child has run the subgraph"), "{only}");
    let longer = parent.replace("[nodes.last]\n", "[nodes.last]\nnext = \"end\"\n[nodes.end]\n");
    let to = deploy(&longer, &child).await;
    let view = world.engine.migrate(&thread(), &to).await.unwrap();
    assert_eq!(view.interrupts.len(), 1);
    let world = world.second("other", world.nodes.clone().with("end", logs("end")));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["yes", "last", "end"]));
}

#[tokio::test]
async fn an_operation_in_doubt_is_settled_first() {
    let world = World::new(doubting(FakeNodes::default(), "asks"));
    let text = format!("start = \"asks\"\n{LOG}[nodes.asks]\n");
    let deployment = world.deploy(&text).await;
    world.run(&deployment, Value::Object(Default::default())).await.unwrap();
    let to = second(&world, &text).await;
    assert!(matches!(world.engine.migrate(&thread(), &to).await, Err(Error::NotFinished { .. })));
}

#[tokio::test]
async fn who_has_arrived_at_a_join_has_to_be_waited_for() {
    let text = format!(
        "start = [\"asks\", \"done\"]\n{LOG}[nodes.asks]\nnext = \"more\"\n[nodes.more]\n[nodes.done]\n[nodes.last]\njoin = [\"done\", \"more\"]\n"
    );
    let world = World::new(nodes(&Change::default()).with("more", |call| match ask(call, 0, json!("more?")) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    }));
    let deployment = world.deploy(&text).await;
    world.run(&deployment, json!({})).await.unwrap();
    world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    let to = second(&world, &text.replace("join = [\"done\", \"more\"]", "join = [\"more\"]")).await;
    let [only] = differences(&world, &to).await.try_into().unwrap();
    assert_eq!(only, "node last does not wait for node done, which has arrived");
    let to = second(&world, &text).await;
    world.engine.migrate(&thread(), &to).await.unwrap();
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("and more")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["yes", "done", "and more", "last of 2"]));
}
