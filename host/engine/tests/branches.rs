//! What a branch of a thread takes along, what it leaves as it was, and who may make one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::support::{FakeNodes, World, ask, failed, graph, logs, object, thread, update};
use holdpoint_engine::{
    Answers, AsNode, Deployment, Drain, Engine, Error, HistoryEntry, Input, RunOptions, ThreadView, Update,
};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{Component, GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, NodeName, QuestionId, ThreadId};
use holdpoint_graph::nodes::{EffectMode, NodeCall, NodeOutcome};
use holdpoint_store::{Commit, Expect, QuestionStatus, Store, ThreadStatus};
use serde_json::{Value, json};
use tokio::sync::Notify;

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

fn asks(call: &NodeCall) -> NodeOutcome {
    match ask(call, 0, json!("?")) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    }
}

fn logging(names: &[&'static str]) -> FakeNodes {
    names.iter().fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)))
}

fn said(as_node: AsNode, values: Option<Value>) -> [Vec<Update>; 1] {
    [vec![Update { as_node: Some(as_node), values: values.map(object), ..Update::default() }]]
}

fn node(text: &str) -> AsNode {
    AsNode::Node(NodeName::parse(text).unwrap())
}

fn other() -> ThreadId {
    ThreadId::parse("other").unwrap()
}

async fn history(engine: &Engine, thread: &ThreadId) -> Vec<HistoryEntry> {
    engine.history(thread, None, 1000).await.unwrap()
}

/// The oldest checkpoint of the step.
async fn at(world: &World, step: i64) -> CheckpointId {
    let entries = history(&world.engine, &thread()).await;
    entries.into_iter().rev().find(|entry| entry.step == step).unwrap().checkpoint
}

fn only_question(view: &ThreadView) -> Answers {
    let [interrupt] = view.interrupts.as_slice() else { panic!("one question, not {:?}", view.interrupts) };
    Answers::ById([(QuestionId::parse(interrupt.id.as_str()).unwrap(), json!("late"))].into())
}

/// The one question is superseded: an answer to it is refused, and the history says why.
async fn is_superseded(engine: &Engine, thread: &ThreadId, answers: &Answers) {
    has_ended(engine, thread, answers, QuestionStatus::Superseded).await;
}

async fn has_ended(engine: &Engine, thread: &ThreadId, answers: &Answers, status: QuestionStatus) {
    let Answers::ById(map) = answers else { panic!("by id") };
    let refused = engine.answer(thread, answers, "ana").await;
    assert!(matches!(&refused, Err(Error::AlreadySettled(question)) if question.status == status), "{refused:?}");
    let entries = history(engine, thread).await;
    let questions = entries.iter().flat_map(|entry| &entry.tasks).flat_map(|task| &task.questions);
    let found: Vec<_> = questions.filter(|question| map.contains_key(&question.id)).collect();
    assert!(!found.is_empty() && found.iter().all(|question| question.status == status));
}

#[tokio::test]
async fn a_question_is_answered_on_the_branch_and_in_the_thread_that_asked_it() {
    let text = format!("start = \"first\"\n{LOG}[nodes.first]\nnext = \"asks\"\n[nodes.asks]\n");
    let world = World::new(logging(&["first"]).with("asks", asks));
    let graph = world.deploy(&text).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    let question = only_question(&view);
    world.engine.copy(&thread(), &other()).await.unwrap();
    is_superseded(&world.engine, &other(), &question).await;
    let from = at(&world, 0).await;
    let replayed = world.engine.replay(&thread(), &from).await.unwrap();
    assert_ne!(only_question(&replayed), question);
    is_superseded(&world.engine, &thread(), &question).await;
    let question = only_question(&replayed);
    world.engine.update(&thread(), None, &said(AsNode::End, None)).await.unwrap();
    // Nothing takes its place: whoever speaks for the end withdraws it.
    has_ended(&world.engine, &thread(), &question, QuestionStatus::Cancelled).await;
}

#[tokio::test]
async fn whoever_read_the_thread_before_an_update_stores_nothing_more() {
    let world = World::new(logging(&["a", "b"]));
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\n")).await;
    world.run(&graph, json!({})).await.unwrap();
    for supersteps in [said(node("a"), None), said(AsNode::Copy, None), said(AsNode::End, None)] {
        let before = world.store.thread(&thread()).await.unwrap().unwrap();
        world.engine.update(&thread(), None, &supersteps).await.unwrap();
        let late = Commit::new(thread(), Expect::Epoch(before.epoch), before.status, world.clock.now_ms());
        assert!(matches!(world.store.commit(late).await, Err(holdpoint_store::Error::Fenced { .. })), "{supersteps:?}");
    }
}

#[tokio::test]
async fn an_update_from_an_older_checkpoint_leaves_what_is_recorded_there() {
    let world = World::new(logging(&["a", "b", "c"]));
    let chain = format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\nnext = \"c\"\n[nodes.c]\n");
    let graph = world.deploy(&chain).await;
    world.run(&graph, json!({})).await.unwrap();
    let from = at(&world, 1).await;
    let before = world.engine.state(&thread(), Some(&from)).await.unwrap();
    assert_eq!(before.tasks[0].result.as_ref().unwrap().update, object(json!({ "log": ["b"] })));
    for by_hand in ["first", "second"] {
        let supersteps = said(node("b"), Some(json!({ "log": [by_hand] })));
        let view = world.engine.update(&thread(), Some(&from), &supersteps).await.unwrap();
        assert_eq!(view.values["log"], json!(["a", by_hand]));
        assert_eq!(world.engine.state(&thread(), Some(&from)).await.unwrap(), before);
    }
}

/// A thread with a what-if branch at its head, whose nodes note in which mode they run.
async fn what_if() -> (World, Arc<Mutex<BTreeSet<&'static str>>>) {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let notes = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move |call: &NodeCall| {
            seen.lock().unwrap().insert(call.effects.name());
            update(json!({ "log": [name] }))
        }
    };
    let world = World::new(FakeNodes::default().with("a", notes("a")).with("b", notes("b")));
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\n")).await;
    world.run(&graph, json!({})).await.unwrap();
    let options = RunOptions { effects: Some(EffectMode::Recorded), ..RunOptions::default() };
    world.engine.with_options(options).replay(&thread(), &at(&world, 0).await).await.unwrap();
    seen.lock().unwrap().clear();
    (world, seen)
}

#[tokio::test]
async fn nothing_that_is_made_of_a_what_if_performs_effects() {
    // Nobody says it again: each of them would otherwise pay.
    for way in ["replay", "copy", "update", "sibling", "fork", "input"] {
        let (world, seen) = what_if().await;
        let engine = &world.engine;
        let entries = history(engine, &thread()).await;
        assert!(entries[..3].iter().all(|entry| entry.effects == EffectMode::Recorded));
        let (head, before_b) = (&entries[0].checkpoint, &entries[1].checkpoint);
        let of = match way {
            "replay" => {
                engine.replay(&thread(), before_b).await.unwrap();
                thread()
            }
            "copy" => {
                engine.update(&thread(), Some(head), &said(node("a"), None)).await.unwrap();
                engine.copy(&thread(), &other()).await.unwrap();
                engine.proceed(&other()).await.unwrap();
                other()
            }
            "update" => {
                engine.update(&thread(), None, &said(node("a"), None)).await.unwrap();
                engine.proceed(&thread()).await.unwrap();
                thread()
            }
            "sibling" => {
                engine.update(&thread(), Some(before_b), &said(AsNode::Copy, None)).await.unwrap();
                engine.proceed(&thread()).await.unwrap();
                thread()
            }
            "fork" => {
                let [updates] = said(node("a"), None);
                engine.fork(&thread(), before_b, updates[0].clone()).await.unwrap();
                thread()
            }
            _ => {
                engine.input(&thread(), Input { values: json!({}), supersede: false }).await.unwrap();
                thread()
            }
        };
        assert_eq!(*seen.lock().unwrap(), BTreeSet::from(["recorded"]), "{way}");
        assert_eq!(history(engine, &of).await[0].effects, EffectMode::Recorded, "{way}");
    }
}

/// Notes what the ids of unnamed operations of the node's tasks derive from, by thread.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Vec<(String, String)>>>);

impl Places {
    fn note(&self, call: &NodeCall) {
        let place = (call.task.thread.to_string(), call.task.operations.to_string());
        self.0.lock().unwrap().push(place);
    }

    fn of(&self, thread: &ThreadId) -> Vec<String> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(name, _)| name == thread.as_str()).map(|(_, place)| place.clone()).collect()
    }
}

#[tokio::test]
async fn an_update_of_a_copy_keeps_what_the_tasks_of_the_original_did() {
    let places = Places::default();
    let note = places.clone();
    let nodes = logging(&["done"]).with("asks", move |call| {
        note.note(call);
        asks(call)
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = [\"asks\", \"done\"]\n{LOG}[nodes.asks]\n[nodes.done]\n")).await;
    world.run(&graph, json!({})).await.unwrap();
    world.engine.copy(&thread(), &other()).await.unwrap();
    world.engine.proceed(&other()).await.unwrap();
    for by_hand in ["first", "second"] {
        let speaks = said(node("done"), Some(json!({ "log": [by_hand] })));
        world.engine.update(&other(), None, &speaks).await.unwrap();
        world.engine.proceed(&other()).await.unwrap();
    }
    let (original, copied) = (places.of(&thread()), places.of(&other()));
    assert_eq!((original.len(), copied.len()), (1, 3));
    assert!(copied.iter().all(|place| *place == original[0]), "{original:?} {copied:?}");
}

#[tokio::test]
async fn an_update_keeps_what_an_error_handler_did() {
    let places = Places::default();
    let note = places.clone();
    let nodes = logging(&["done"]).with("a", |_| failed("no", false)).with("rescue", move |call| {
        note.note(call);
        asks(call)
    });
    let world = World::new(nodes);
    let text = format!(
        "start = [\"a\", \"done\"]\n{LOG}[nodes.a]\nerror_handler = \"rescue\"\n[nodes.done]\n[nodes.rescue]\n"
    );
    let graph = world.deploy(&text).await;
    world.run(&graph, json!({})).await.unwrap();
    world.engine.update(&thread(), None, &said(node("done"), None)).await.unwrap();
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!(view.interrupts.len(), 1);
    let places = places.of(&thread());
    assert!(places.len() == 2 && places[0] == places[1], "{places:?}");
}

/// Deploys a graph whose one node runs `child`.
async fn calling(world: &World, child: &str, persist: Persist) -> Deployment {
    let child = world.deploy(child).await;
    let mut parent = graph(&format!("start = \"child\"\n{LOG}[nodes.child]\n"));
    parent.nodes.get_mut(&NodeName::parse("child").unwrap()).unwrap().work =
        Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest), persist });
    world.engine.deploy(parent).await.unwrap()
}

#[tokio::test]
async fn a_subgraph_kept_per_thread_counts_on_after_an_update() {
    let nodes = FakeNodes::default().with("count", |call| {
        let own = call.state.get("own").and_then(Value::as_u64).unwrap_or(0) + 1;
        update(json!({ "own": own, "log": [own] }))
    });
    let world = World::new(nodes);
    let child = format!("start = \"count\"\n{LOG}own = {{ type = \"integer\" }}\n[nodes.count]\n");
    let graph = calling(&world, &child, Persist::PerThread).await;
    world.run(&graph, json!({})).await.unwrap();
    for supersteps in [said(node("child"), None), said(AsNode::End, None), said(AsNode::Copy, None)] {
        world.engine.update(&thread(), None, &supersteps).await.unwrap();
        world.run(&graph, json!({})).await.unwrap();
    }
    assert_eq!(world.engine.view(&thread()).await.unwrap().values["log"], json!([1, 2, 3, 4]));
}

#[tokio::test]
async fn nobody_branches_off_inside_a_subgraph() {
    let world = World::new(FakeNodes::default().with("asks", asks));
    let child = format!("start = \"asks\"\n{LOG}[nodes.asks]\n");
    let graph = calling(&world, &child, Persist::PerCall).await;
    world.run(&graph, json!({})).await.unwrap();
    let outline = world.engine.outline(&thread()).await.unwrap();
    let inner: Vec<_> = outline.iter().filter(|outline| !outline.checkpoint.namespace.is_root()).collect();
    assert_eq!(inner.len(), 2);
    let commits = world.commits();
    for inside in inner.iter().map(|outline| &outline.checkpoint.id) {
        let [updates] = said(AsNode::End, None);
        for refused in [
            world.engine.replay(&thread(), inside).await,
            world.engine.update(&thread(), Some(inside), &said(AsNode::Copy, None)).await,
            world.engine.fork(&thread(), inside, updates[0].clone()).await,
        ] {
            assert!(matches!(refused, Err(Error::InSubgraph { .. })), "{refused:?}");
        }
    }
    assert_eq!(world.commits(), commits);
}

#[tokio::test]
async fn new_input_leaves_a_checkpoint_at_which_joins_still_wait() {
    // What finished in the step that the input drops is kept in a checkpoint of its own; whoever branches off there finds who had arrived.
    let world = World::new(logging(&["a", "b", "done", "both"]).with("c", asks));
    let text = format!(
        "start = [\"a\", \"b\"]\n{LOG}[nodes.a]\n[nodes.b]\nnext = [\"c\", \"done\"]\n[nodes.c]\n[nodes.done]\n[nodes.both]\njoin = [\"a\", \"c\"]\n"
    );
    let graph = world.deploy(&text).await;
    assert_eq!(world.run(&graph, json!({})).await.unwrap().interrupts.len(), 1);
    let input = Input { values: json!({}), supersede: true };
    world.engine.input(&thread(), input).await.unwrap();
    let entries = history(&world.engine, &thread()).await;
    let kept = entries.iter().find(|entry| entry.next.is_empty()).unwrap();
    assert_eq!(kept.values["log"], json!(["a", "b", "done"]));
    let view = world.engine.update(&thread(), Some(&kept.checkpoint), &said(node("c"), None)).await.unwrap();
    assert_eq!(view.next, [NodeName::parse("both").unwrap()], "a had arrived, and now c has");
}

#[tokio::test]
async fn a_branch_runs_on_the_version_of_the_checkpoint_that_it_was_made_from() {
    let text = format!(
        "start = \"first\"\n{LOG}[nodes.first]\nnext = \"asks\"\n[nodes.asks]\nnext = \"last\"\n[nodes.last]\n"
    );
    let second = |call: &NodeCall| call.component == Digest::of_bytes(format!("{}@2", call.task.node).as_bytes());
    let nodes = logging(&["first"])
        .with("asks", asks)
        .with("last", move |call| update(json!({ "log": [if second(call) { "last of 2" } else { "last of 1" }] })));
    let world = World::new(nodes);
    let one = world.deploy(&text).await;
    world.run(&one, json!({})).await.unwrap();
    let mut newer = graph(&text);
    for (name, node) in &mut newer.nodes {
        node.work = Work::Component(Component::Digest(Digest::of_bytes(format!("{name}@2").as_bytes())));
    }
    let two = world.engine.deploy(newer).await.unwrap();
    world.engine.migrate(&thread(), &two).await.unwrap();
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!((view.graph.clone(), &view.values["log"][2]), (two.digest.clone(), &json!("last of 2")));
    let (before, after) = (at(&world, 0).await, at(&world, 2).await);
    // Back before the migration, and forward again, each by both ways.
    let pinned = async || world.store.thread(&thread()).await.unwrap().unwrap().graph;
    world.engine.replay(&thread(), &before).await.unwrap();
    assert_eq!(pinned().await, one.digest);
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!(view.values["log"][2], json!("last of 1"));
    world.engine.update(&thread(), Some(&after), &said(AsNode::Copy, None)).await.unwrap();
    assert_eq!(pinned().await, two.digest);
    assert_eq!(world.engine.proceed(&thread()).await.unwrap().values["log"][2], json!("last of 2"));
    world.engine.update(&thread(), Some(&before), &said(node("asks"), None)).await.unwrap();
    assert_eq!(pinned().await, one.digest);
    world.engine.replay(&thread(), &after).await.unwrap();
    assert_eq!(pinned().await, two.digest);
}

/// Everything that branches off refuses with an error of this kind and writes nothing.
async fn all_refused(engine: &Engine, world: &World, is_right: impl Fn(&Error) -> bool) {
    let (from, commits) = (at(world, 0).await, world.commits());
    let [updates] = said(AsNode::End, None);
    for refused in [
        engine.update(&thread(), None, &said(AsNode::End, None)).await,
        engine.update(&thread(), Some(&from), &said(AsNode::End, None)).await,
        engine.replay(&thread(), &from).await,
        engine.fork(&thread(), &from, updates[0].clone()).await,
        engine.copy(&thread(), &other()).await,
    ] {
        assert!(refused.as_ref().is_err_and(&is_right), "{refused:?}");
    }
    assert_eq!(world.commits(), commits);
}

#[tokio::test]
async fn a_thread_in_the_middle_of_a_run_is_left_alone() {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let drain = Drain::default();
    let (signal, wait, asked) = (Arc::clone(&reached), Arc::clone(&go_on), drain.clone());
    let nodes = logging(&["b"]).with_async("a", move |_| {
        let (signal, wait, asked) = (Arc::clone(&signal), Arc::clone(&wait), asked.clone());
        Box::pin(async move {
            signal.notify_one();
            wait.notified().await;
            asked.request();
            update(json!({ "log": ["a"] })).into()
        })
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\n")).await;
    let engine = world.engine.with_options(RunOptions { drain, ..RunOptions::default() });
    let worker =
        tokio::spawn(async move { engine.run(&thread(), &graph, Input { values: json!({}), supersede: false }).await });
    reached.notified().await;
    let second = world.second("second", logging(&["a", "b"]));
    all_refused(&second.engine, &world, |error| matches!(error, Error::Busy { owner, .. } if owner == "first")).await;
    go_on.notify_one();
    // It stops at the next boundary, and the thread is nobody's.
    assert_eq!(worker.await.unwrap().unwrap().status, ThreadStatus::Running);
    all_refused(&second.engine, &world, |error| {
        matches!(error, Error::NotFinished { status: ThreadStatus::Running, .. })
    })
    .await;
    assert_eq!(second.engine.proceed(&thread()).await.unwrap().values["log"], json!(["a", "b"]));
}
