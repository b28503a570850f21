//! Updates, replays, forks and copies; names in brackets are those of `reference/scenarios.md`, rules those of `reference/langgraph-semantics.md`.

use crate::support::{FakeNodes, World, ask, failed, goto, logs, object, thread, update};
use holdpoint_engine::{Answers, AsNode, Error, HistoryEntry, Input, RunOptions, ThreadView, Update};
use holdpoint_graph::ids::{CheckpointId, NodeName, QuestionId, ThreadId};
use holdpoint_graph::nodes::{Command, Destination, EffectMode};
use holdpoint_store::{HistoryFilter, QuestionStatus, Source, Store, ThreadStatus};
use serde_json::{Value, json};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\nx = { type = \"integer\" }\n";

fn logging(names: &[&'static str]) -> FakeNodes {
    names.iter().fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)))
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn chain() -> String {
    format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\nnext = \"c\"\n[nodes.c]\nnext = \"END\"\n")
}

fn set(values: Value, as_node: Option<AsNode>) -> Update {
    Update { values: Some(object(values)), as_node, ..Update::default() }
}

fn node(text: &str) -> Option<AsNode> {
    Some(AsNode::Node(name(text)))
}

async fn history(world: &World) -> Vec<HistoryEntry> {
    world.engine.history(&thread(), None, 1000).await.unwrap()
}

async fn at(world: &World, step: i64) -> CheckpointId {
    history(world).await.into_iter().find(|entry| entry.step == step).unwrap().checkpoint
}

fn id_of(view: &ThreadView, node: &str) -> QuestionId {
    let interrupt = view.interrupts.iter().find(|interrupt| interrupt.node.as_str() == node).unwrap();
    QuestionId::parse(interrupt.id.as_str()).unwrap()
}

async fn chain_world() -> World {
    let world = World::new(logging(&["a", "b", "c"]));
    let graph = world.deploy(&chain()).await;
    world.run(&graph, json!({})).await.unwrap();
    world
}

#[tokio::test]
async fn a_fork_with_an_update_goes_on_from_there() {
    // S65, S66, R57: two forks are independent, and the old branch stays.
    let world = chain_world().await;
    let before_b = at(&world, 1).await;
    let view = world.engine.fork(&thread(), &before_b, set(json!({ "log": ["x"] }), None)).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["a", "x", "b", "c"])));
    let view = world.engine.fork(&thread(), &before_b, set(json!({ "log": ["y"] }), node("b"))).await.unwrap();
    assert_eq!(view.values["log"], json!(["a", "y", "c"]));
    let entries = history(&world).await;
    assert_eq!(entries.len(), 5 + 3 + 2);
    assert_eq!(entries.iter().filter(|entry| entry.parent.as_ref() == Some(&before_b)).count(), 3);
    let old = entries.iter().find(|entry| entry.step == 3 && entry.values["log"] == json!(["a", "b", "c"]));
    assert!(old.is_some(), "the first branch is there");
}

#[tokio::test]
async fn a_replay_runs_what_comes_after_on_a_branch_of_its_own() {
    // S01, S63, S64, S71, R52
    let world = chain_world().await;
    let view = world.engine.replay(&thread(), &at(&world, 3).await).await.unwrap();
    assert_eq!((view.status, history(&world).await.len()), (ThreadStatus::Done, 5));
    let from = at(&world, 1).await;
    for count in 1..=3 {
        let view = world.engine.replay(&thread(), &from).await.unwrap();
        assert_eq!(view.values["log"], json!(["a", "b", "c"]));
        assert_eq!((world.nodes.started("a"), world.nodes.started("b")), (1, 1 + count));
        assert_eq!(history(&world).await.len(), 5 + 3 * usize::try_from(count).unwrap());
    }
    // From the input, too: it is recorded as it was given.
    let view = world.engine.replay(&thread(), &at(&world, -1).await).await.unwrap();
    assert_eq!((view.values["log"].clone(), world.nodes.started("a")), (json!(["a", "b", "c"]), 2));
}

#[tokio::test]
async fn updates_speak_for_nodes() {
    // R44, R45, R49
    let world = chain_world().await;
    assert!(matches!(world.engine.update(&thread(), None, &[]).await, Err(Error::NoUpdates)));
    assert!(matches!(world.engine.update(&thread(), None, &[vec![]]).await, Err(Error::EmptySuperstep)));
    let unknown = world.engine.update(&thread(), None, &[vec![set(json!({}), node("nope"))]]).await;
    assert!(matches!(unknown, Err(Error::UnknownNode { .. })));
    let broken = world.engine.update(&thread(), None, &[vec![set(json!({ "x": "no" }), None)]]).await.unwrap_err();
    assert_eq!(broken.code(), "HP0302");
    assert_eq!(history(&world).await.len(), 5, "nothing was written");
    // The last writer is inferred, and its edges are followed: c leads to the end.
    let view = world.engine.update(&thread(), None, &[vec![set(json!({ "log": ["u"] }), None)]]).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["a", "b", "c", "u"])));
    let newest = &history(&world).await[0];
    assert_eq!((newest.source, newest.step, newest.writers.clone()), (Source::Update, 4, vec![name("c")]));
    // For a: b is next, and the thread waits to be continued.
    let view = world.engine.update(&thread(), None, &[vec![set(json!({}), node("a"))]]).await.unwrap();
    assert_eq!((view.status, view.paused, view.next), (ThreadStatus::Interrupted, true, vec![name("b")]));
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!(view.values["log"], json!(["a", "b", "c", "u", "b", "c"]));
    // END clears, __copy__ makes a sibling.
    world.engine.update(&thread(), None, &[vec![set(json!({}), node("a"))]]).await.unwrap();
    let end = Update { as_node: Some(AsNode::End), ..Update::default() };
    let view = world.engine.update(&thread(), None, &[vec![end.clone()]]).await.unwrap();
    assert_eq!((view.status, view.next.len()), (ThreadStatus::Done, 0));
    let copied = at(&world, 2).await;
    let copy = Update { as_node: Some(AsNode::Copy), ..Update::default() };
    let view = world.engine.update(&thread(), Some(&copied), &[vec![copy.clone()]]).await.unwrap();
    assert_eq!((view.values["log"].clone(), view.next), (json!(["a", "b"]), vec![name("c")]));
    let entries = history(&world).await;
    let original = entries.iter().find(|entry| entry.checkpoint == copied).unwrap();
    assert_eq!(
        (&entries[0].parent, entries[0].source, entries[0].step),
        (&original.parent, Source::Fork, original.step)
    );
    for several in [vec![end.clone(), end], vec![copy.clone(), copy]] {
        assert!(matches!(world.engine.update(&thread(), None, &[several]).await, Err(Error::NotInBulk(_))));
    }
}

#[tokio::test]
async fn an_update_keeps_what_finished_and_what_waits() {
    // G6, R46–R48
    let nodes = logging(&["done", "join", "other"]).with("asks", |call| match ask(call, 0, json!("?")) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    });
    let world = World::new(nodes);
    let graph = world
        .deploy(&format!(
            "start = [\"asks\", \"done\"]\n{LOG}[nodes.asks]\n[nodes.done]\n[nodes.other]\n[nodes.join]\njoin = [\"asks\", \"done\"]\n"
        ))
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    let old = id_of(&view, "asks");
    // Nobody but the finished sibling can be meant; it is kept, and so is what waits.
    let view = world.engine.update(&thread(), None, &[vec![set(json!({ "x": 1 }), None)]]).await.unwrap();
    assert_eq!((view.values["log"].clone(), view.next), (json!(["done"]), vec![name("asks")]));
    let late = world.engine.answer(&thread(), &Answers::ById([(old, json!(1))].into()), "ana").await.unwrap_err();
    assert!(
        matches!(&late, Error::AlreadySettled(question) if question.status == QuestionStatus::Superseded),
        "{late}"
    );
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!(view.interrupts.len(), 1, "the question is asked anew");
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["done", "yes", "join"]), "the join lives");
    assert_eq!(world.nodes.started("done"), 1);
}

#[tokio::test]
async fn an_ambiguous_update_is_refused() {
    let world = World::new(logging(&["a", "b", "c"]));
    let graph = world.deploy(&format!("start = [\"a\", \"b\"]\n{LOG}[nodes.a]\nnext = \"c\"\n[nodes.b]\nnext = \"c\"\n[nodes.c]\ninterrupt_before = true\n")).await;
    world.run(&graph, json!({})).await.unwrap();
    let refused = world.engine.update(&thread(), None, &[vec![set(json!({}), None)]]).await;
    assert!(matches!(refused, Err(Error::AmbiguousUpdate { candidates }) if candidates == [name("a"), name("b")]));
    // S05: the update at a breakpoint passes it.
    let view = world.engine.update(&thread(), None, &[vec![set(json!({ "log": ["u"] }), node("a"))]]).await.unwrap();
    assert_eq!(view.next, [name("c")]);
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!(view.values["log"], json!(["a", "b", "u", "c"]));
}

#[tokio::test]
async fn a_thread_is_rebuilt_from_updates() {
    // S73
    let sends = || (0..2).map(|index| Destination::Send { node: "work".into(), argument: json!(index) }).collect();
    let nodes = logging(&["a", "end"])
        .with("work", |call| update(json!({ "log": [call.argument] })))
        .with("fan", move |_| goto(json!({ "log": ["fan"] }), sends()));
    let text = format!(
        "start = \"a\"\n{LOG}[nodes.a]\nnext = \"fan\"\n[nodes.fan]\n[nodes.work]\nnext = \"end\"\n[nodes.end]\n"
    );
    let world = World::new(nodes);
    let graph = world.deploy(&text).await;
    world.run(&graph, json!({ "log": ["in"] })).await.unwrap();
    let shape = |entries: &[HistoryEntry]| -> Vec<_> {
        entries.iter().map(|entry| (entry.step, entry.next.clone(), entry.values.clone())).collect()
    };
    let real = history(&world).await;
    let built = ThreadId::parse("built").unwrap();
    let supersteps = [
        vec![set(json!({ "log": ["in"] }), Some(AsNode::Input))],
        vec![set(json!({ "log": ["a"] }), node("a"))],
        vec![Update { goto: sends(), ..set(json!({ "log": ["fan"] }), node("fan")) }],
        vec![set(json!({ "log": [0] }), node("work")), set(json!({ "log": [1] }), node("work"))],
        vec![set(json!({ "log": ["end"] }), node("end"))],
    ];
    let view = world.engine.create_by_updates(&built, &graph, &supersteps).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Done);
    let entries = world.engine.history(&built, None, 100).await.unwrap();
    assert_eq!(shape(&entries), shape(&real));
    let result = |entries: &[HistoryEntry]| {
        entries
            .iter()
            .map(|entry| entry.tasks.iter().map(|task| task.result.clone()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    assert_eq!(result(&entries), result(&real), "the results of tasks too");
    let again = world.engine.create_by_updates(&built, &graph, &supersteps).await;
    assert!(matches!(again, Err(Error::Busy { .. })));
    let headless = world.engine.create_by_updates(&ThreadId::parse("u").unwrap(), &graph, &supersteps[1..]).await;
    assert!(matches!(headless, Err(Error::NotInBulk(_))));
}

#[tokio::test]
async fn answers_come_with_updates_and_destinations() {
    // S11, S21, R28
    let nodes = logging(&["extra"]).with("asks", |call| {
        let first = match ask(call, 0, json!(1)) {
            Ok(answer) => answer,
            Err(question) => return question,
        };
        match ask(call, 1, json!({ "x": call.state["x"] })) {
            Ok(second) => update(json!({ "log": [first, second] })),
            Err(question) => question,
        }
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"asks\"\n{LOG}[nodes.asks]\n[nodes.extra]\n")).await;
    world.run(&graph, json!({ "x": 1 })).await.unwrap();
    let command = |values: Value, goto: Vec<Destination>| Command { update: object(values), goto };
    let bad = world
        .engine
        .command(&thread(), Some(&Answers::Bare(json!("A"))), command(json!({ "x": "no" }), vec![]), "ana")
        .await;
    assert_eq!(bad.unwrap_err().code(), "HP0302");
    let lost = vec![Destination::Node("nope".into())];
    let bad = world.engine.command(&thread(), Some(&Answers::Bare(json!("A"))), command(json!({}), lost), "ana").await;
    assert!(matches!(bad, Err(Error::UnknownNode { .. })));
    let to_extra = vec![Destination::Node("extra".into())];
    let view = world
        .engine
        .command(
            &thread(),
            Some(&Answers::Bare(json!("A"))),
            command(json!({ "x": 2, "log": ["u1"] }), to_extra),
            "ana",
        )
        .await
        .unwrap();
    assert_eq!(view.interrupts[0].value, json!({ "x": 2 }), "the node sees the update");
    assert_eq!(view.values, object(json!({ "x": 2, "log": ["u1", "extra"] })), "the live view too");
    let view = world
        .engine
        .command(&thread(), Some(&Answers::Bare(json!("B"))), command(json!({ "log": ["u2"] }), vec![]), "ana")
        .await
        .unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["u1", "u2", "A", "B", "extra"])));
    assert_eq!(world.nodes.started("extra"), 1);
    let refused = world.engine.command(&thread(), None, command(json!({ "x": 3 }), vec![]), "ana").await;
    assert!(matches!(refused, Err(Error::NotWaiting { .. })));
}

#[tokio::test]
async fn a_copy_is_a_thread_of_its_own() {
    let nodes = FakeNodes::default().with("asks", |call| match ask(call, 0, json!("?")) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"asks\"\n{LOG}[nodes.asks]\n")).await;
    let view = world.run(&graph, json!({ "log": ["in"] })).await.unwrap();
    let original = id_of(&view, "asks");
    let other = ThreadId::parse("other").unwrap();
    let view = world.engine.copy(&thread(), &other).await.unwrap();
    assert_eq!(
        (view.status, view.paused, view.values["log"].clone()),
        (ThreadStatus::Interrupted, true, json!(["in"]))
    );
    let foreign = world.engine.answer(&other, &Answers::ById([(original.clone(), json!("no"))].into()), "ana").await;
    assert!(foreign.is_err());
    let view = world.engine.proceed(&other).await.unwrap();
    assert_ne!(id_of(&view, "asks"), original);
    let view = world.engine.answer(&other, &Answers::Bare(json!("copy")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["in", "copy"]));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("first")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["in", "first"]));
    assert!(matches!(world.engine.copy(&thread(), &other).await, Err(Error::Busy { .. })));
    assert_eq!(world.store.thread(&other).await.unwrap().unwrap().lineage, thread());
}

#[tokio::test]
async fn branches_keep_their_mode_and_runs_their_metadata() {
    let world = World::new(logging(&["a", "b", "c"]).with("b", |call| {
        assert!(call.state["log"] == json!(["a"]) || call.effects == EffectMode::Recorded);
        update(json!({ "log": [call.effects.name()] }))
    }));
    let graph = world.deploy(&chain()).await;
    let options = RunOptions { metadata: object(json!({ "user": "ana", "n": 1 })), ..RunOptions::default() };
    let input = || Input { values: json!({}), supersede: false };
    world.engine.with_options(options).run(&thread(), &graph, input()).await.unwrap();
    let what_if = RunOptions { effects: Some(EffectMode::Recorded), ..RunOptions::default() };
    let from = at(&world, 1).await;
    let view = world.engine.with_options(what_if).replay(&thread(), &from).await.unwrap();
    assert_eq!(view.values["log"], json!(["a", "recorded", "c"]));
    // A what-if stays one, also for what comes after.
    world.run(&graph, json!({})).await.unwrap();
    assert!(history(&world).await.iter().take(4).all(|entry| entry.effects == EffectMode::Recorded));
    let filter = HistoryFilter { metadata: object(json!({ "user": "ana" })), ..HistoryFilter::newest(100) };
    assert_eq!(world.engine.find_history(&thread(), &filter).await.unwrap().len(), 5 + 3);
    let filter = HistoryFilter { source: Some(Source::Fork), ..filter };
    assert_eq!(world.engine.find_history(&thread(), &filter).await.unwrap().len(), 1);
}

#[tokio::test]
async fn foreign_and_inner_checkpoints_are_refused() {
    let world = chain_world().await;
    let graph = world.deploy(&chain()).await;
    let other = ThreadId::parse("other").unwrap();
    world.engine.run(&other, &graph, Input { values: json!({}), supersede: false }).await.unwrap();
    let foreign = world.engine.history(&other, None, 1).await.unwrap()[0].checkpoint.clone();
    let updates = [vec![set(json!({}), node("a"))]];
    for refused in [
        world.engine.replay(&thread(), &foreign).await,
        world.engine.update(&thread(), Some(&foreign), &updates).await,
        world.engine.fork(&thread(), &foreign, updates[0][0].clone()).await,
    ] {
        assert!(matches!(refused, Err(Error::CheckpointNotFound { .. })));
    }
    assert!(matches!(world.engine.state(&thread(), Some(&foreign)).await, Err(Error::CheckpointNotFound { .. })));
    assert_eq!(history(&world).await.len(), 5);
}

#[tokio::test]
async fn a_conflict_is_repaired_by_an_update() {
    // G13
    let nodes = FakeNodes::default().with("a", |_| update(json!({ "x": 1 }))).with("b", |_| update(json!({ "x": 2 })));
    let world = World::new(nodes.with("c", logs("c")));
    let graph = world
        .deploy(&format!("start = [\"a\", \"b\"]\n{LOG}[nodes.a]\nnext = \"c\"\n[nodes.b]\nnext = \"c\"\n[nodes.c]\n"))
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.error.unwrap().code), (ThreadStatus::Failed, "HP0303".to_owned()));
    let start = at(&world, 0).await;
    let refused = world.engine.update(&thread(), None, &[vec![set(json!({}), node("a"))]]).await;
    assert_eq!(refused.unwrap_err().code(), "HP0303", "nobody says what the value is to be");
    let copy = ThreadId::parse("ended").unwrap();
    world.engine.run(&copy, &graph, Input { values: json!({}), supersede: false }).await.unwrap();
    let end = Update { as_node: Some(AsNode::End), ..Update::default() };
    assert_eq!(world.engine.update(&copy, None, &[vec![end]]).await.unwrap().status, ThreadStatus::Done);
    let repaired = ThreadId::parse("repaired").unwrap();
    world.engine.run(&repaired, &graph, Input { values: json!({}), supersede: false }).await.unwrap();
    let view = world.engine.update(&repaired, None, &[vec![set(json!({ "x": 3 }), node("a"))]]).await.unwrap();
    assert_eq!((view.values["x"].clone(), view.next), (json!(3), vec![name("c")]));
    assert_eq!(world.engine.proceed(&repaired).await.unwrap().values["log"], json!(["c"]));
    // From an older checkpoint, what finished does not count.
    let input = at(&world, -1).await;
    let view = world.engine.replay(&thread(), &input).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Failed);
    let one = [vec![set(json!({ "x": 3 }), node("a")), Update { as_node: node("b"), ..Update::default() }]];
    let view = world.engine.update(&thread(), Some(&start), &one).await.unwrap();
    assert_eq!(
        (view.status, view.values["x"].clone(), view.next),
        (ThreadStatus::Interrupted, json!(3), vec![name("c")])
    );
    assert_eq!(world.engine.proceed(&thread()).await.unwrap().values["log"], json!(["c"]));
}

#[tokio::test]
async fn a_failed_thread_is_repaired_by_speaking_for_the_failed_node() {
    let world = World::new(logging(&["a", "c"]).with("b", |_| failed("no", false)));
    let graph = world.deploy(&chain()).await;
    assert_eq!(world.run(&graph, json!({})).await.unwrap().status, ThreadStatus::Failed);
    let view =
        world.engine.update(&thread(), None, &[vec![set(json!({ "log": ["by hand"] }), node("b"))]]).await.unwrap();
    assert_eq!((view.status, view.error, view.next), (ThreadStatus::Interrupted, None, vec![name("c")]));
    assert_eq!(world.engine.proceed(&thread()).await.unwrap().values["log"], json!(["a", "by hand", "c"]));
}

#[tokio::test]
async fn a_pruned_thread_can_be_copied_and_replayed() {
    let world = chain_world().await;
    let record = world.store.thread(&thread()).await.unwrap().unwrap();
    let middle = at(&world, 1).await;
    let removed =
        world.store.retain(&thread(), record.epoch, &[record.head.clone(), middle.clone()], Vec::new()).await.unwrap();
    assert_eq!(removed, 3);
    let other = ThreadId::parse("other").unwrap();
    let view = world.engine.copy(&thread(), &other).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["a", "b", "c"])));
    let view = world.engine.replay(&other, &middle).await.unwrap();
    assert_eq!(view.values["log"], json!(["a", "b", "c"]));
}

#[tokio::test]
async fn unnamed_operations_of_a_replay_are_those_of_the_branch_that_it_repeats() {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    let seen: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let notes = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move |call: &holdpoint_graph::nodes::NodeCall| {
            seen.lock().unwrap().entry(name.to_owned()).or_default().push(call.task.operations.to_string());
            update(json!({ "log": [name] }))
        }
    };
    let nodes = FakeNodes::default().with("a", notes("a")).with("b", notes("b")).with("c", notes("c"));
    let world = World::new(nodes);
    let graph = world.deploy(&chain()).await;
    world.run(&graph, json!({})).await.unwrap();
    let (input, before_b) = (at(&world, -1).await, at(&world, 1).await);
    // From the input, from the middle, in a copy, and after an update that keeps what was next.
    world.engine.replay(&thread(), &input).await.unwrap();
    world.engine.replay(&thread(), &before_b).await.unwrap();
    let other = ThreadId::parse("other").unwrap();
    world.engine.copy(&thread(), &other).await.unwrap();
    world.engine.replay(&other, &before_b).await.unwrap();
    world.engine.fork(&thread(), &before_b, set(json!({ "log": ["x"] }), node("a"))).await.unwrap();
    let all = seen.lock().unwrap().clone();
    assert_eq!((all["a"].len(), all["b"].len(), all["c"].len()), (2, 5, 5));
    for (name, operations) in &all {
        assert!(operations[..2].iter().all(|one| *one == operations[0]), "{name}: {operations:?}");
    }
    assert!(all["b"].iter().all(|one| *one == all["b"][0]), "{all:?}");
    assert!(all["c"][..4].iter().all(|one| *one == all["c"][0]), "{all:?}");
    // A new turn is another place.
    world.run(&graph, json!({})).await.unwrap();
    assert!(seen.lock().unwrap()["b"].last() != all["b"].last());
}
