//! LangGraph's semantics where we keep them and the deviations of DESIGN section 6; names in brackets are those of `reference/scenarios.md`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a panic is a failed test, and what is printed is its report"
)]

use crate::support::{FakeNodes, World, ask, failed, goto, logs, thread, update};
use holdpoint_engine::{Answers, Error, Input};
use holdpoint_graph::ids::QuestionId;
use holdpoint_graph::nodes::Destination;
use holdpoint_store::ThreadStatus;
use serde_json::{Value, json};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

fn id_of(view: &holdpoint_engine::ThreadView, node: &str) -> QuestionId {
    let interrupt = view.interrupts.iter().find(|interrupt| interrupt.node.as_str() == node).unwrap();
    QuestionId::parse(interrupt.id.as_str()).unwrap()
}

fn by_id(id: QuestionId, value: Value) -> Answers {
    Answers::ById([(id, value)].into())
}

#[tokio::test]
async fn a_chain_leaves_five_checkpoints() {
    // S01
    let nodes = FakeNodes::default().with("a", logs("a")).with("b", logs("b")).with("c", logs("c"));
    let world = World::new(nodes);
    let graph = world
        .deploy(&format!(
            "start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\nnext = \"c\"\n[nodes.c]\nnext = \"END\"\n"
        ))
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["a", "b", "c"])));
    let history = world.engine.history(&thread(), None, 10).await.unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|entry| {
            (
                entry.source.name(),
                entry.step,
                entry.next.join(","),
                entry.values.get("log").cloned().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("loop", 3, String::new(), json!(["a", "b", "c"])),
            ("loop", 2, "c".into(), json!(["a", "b"])),
            ("loop", 1, "b".into(), json!(["a"])),
            ("loop", 0, "a".into(), json!([])),
            ("input", -1, "__start__".into(), json!([])),
        ]
    );
    // R3: a second input goes on counting, on the same state.
    let view = world.run(&graph, json!({ "log": ["x"] })).await.unwrap();
    assert_eq!(view.values["log"], json!(["a", "b", "c", "x", "a", "b", "c"]));
    let newest = world.engine.history(&thread(), None, 5).await.unwrap();
    assert_eq!(newest.iter().map(|entry| entry.step).collect::<Vec<_>>(), [8, 7, 6, 5, 4]);
}

#[tokio::test]
async fn sends_write_in_order_of_sending() {
    // S04, and "deterministic write order" of table 1.1: the last one sent finishes first.
    let slow = |call: holdpoint_graph::nodes::NodeCall| -> std::pin::Pin<Box<dyn Future<Output = holdpoint_graph::nodes::NodeReport> + Send>> {
        Box::pin(async move {
            let index = call.argument.as_ref().and_then(Value::as_u64).unwrap_or(0);
            for _ in index..3 {
                tokio::task::yield_now().await;
            }
            update(json!({ "log": [index] })).into()
        })
    };
    let nodes = FakeNodes::default()
        .with("fan", |_| {
            let send = |index: u64| Destination::Send { node: "work".into(), argument: json!(index) };
            goto(json!({}), (0..3).map(send).collect())
        })
        .with_async("work", slow)
        .with("end", logs("end"));
    let world = World::new(nodes.clone());
    let graph =
        world.deploy(&format!("start = \"fan\"\n{LOG}[nodes.fan]\n[nodes.work]\nnext = \"end\"\n[nodes.end]\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.values["log"], json!([0, 1, 2, "end"]));
    assert_eq!((nodes.started("work"), nodes.started("end")), (3, 1));
}

#[tokio::test]
async fn a_join_waits_for_all() {
    // S05: rewrite leads to r2 directly and to r1 by way of the analyzer; qa runs once, after both.
    let nodes = ["rewrite", "analyzer", "r1", "r2", "qa"]
        .into_iter()
        .fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)));
    for edges in ["", "next = \"qa\""] {
        let world = World::new(nodes.clone());
        let text = format!(
            "start = \"rewrite\"\n{LOG}[nodes.rewrite]\nnext = [\"analyzer\", \"r2\"]\n[nodes.analyzer]\nnext = \"r1\"\n[nodes.r1]\n{edges}\n[nodes.r2]\n{edges}\n[nodes.qa]\njoin = [\"r1\", \"r2\"]\nnext = \"END\"\n"
        );
        let graph = world.deploy(&text).await;
        let view = world.run(&graph, json!({})).await.unwrap();
        assert_eq!(view.values["log"], json!(["rewrite", "analyzer", "r2", "r1", "qa"]), "edges {edges:?}");
    }
}

#[tokio::test]
async fn two_questions_of_one_node_are_asked_in_turn() {
    // S11, S13, S52, G4.
    let nodes = FakeNodes::default().with("a", |call| {
        let first = match ask(call, 0, json!({ "value": 1 })) {
            Ok(answer) => answer,
            Err(interrupted) => return interrupted,
        };
        match ask(call, 1, json!({ "value": 2 })) {
            Ok(second) => update(json!({ "log": [first, second] })),
            Err(interrupted) => interrupted,
        }
    });
    let world = World::new(nodes.clone());
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    let first = id_of(&view, "a");
    assert_eq!(view.interrupts[0].value, json!({ "value": 1 }));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("one")), "ana").await.unwrap();
    let second = id_of(&view, "a");
    assert_ne!(first, second);
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Interrupted, json!([])));
    // G4: going on without an answer answers nothing.
    let same = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!(same.interrupts, view.interrupts);
    assert_eq!(nodes.started("a"), 2, "nothing ran");
    // The first card sent again does not answer the second question.
    let again = world.engine.answer(&thread(), &by_id(first, json!("late")), "bob").await.unwrap_err();
    assert!(matches!(again, Error::AlreadySettled(_)), "{again}");
    let view = world.engine.answer(&thread(), &by_id(second, json!(false)), "ana").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["one", false])));
}

#[tokio::test]
async fn parallel_questions_are_answered_one_by_one_and_finished_siblings_stay() {
    // S18, S28, S30, R11, G6.
    let asks = |call: &holdpoint_graph::nodes::NodeCall| match ask(call, 0, json!({ "from": call.task.node.as_str() }))
    {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(interrupted) => interrupted,
    };
    let nodes = FakeNodes::default().with("n1", asks).with("n2", asks).with("done", logs("done"));
    let world = World::new(nodes.clone());
    let graph =
        world.deploy(&format!("start = [\"n1\", \"n2\", \"done\"]\n{LOG}[nodes.n1]\n[nodes.n2]\n[nodes.done]\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.interrupts.len(), 2);
    assert_eq!(view.values["log"], json!(["done"]), "the live view shows what the finished sibling wrote");
    assert_eq!(view.next.iter().map(|node| node.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
    let ambiguous = world.engine.answer(&thread(), &Answers::Bare(json!(1)), "ana").await.unwrap_err();
    assert!(matches!(ambiguous, Error::Ambiguous(ids) if ids.len() == 2));
    let second = id_of(&view, "n2");
    let view = world.engine.answer(&thread(), &by_id(second.clone(), json!("two")), "ana").await.unwrap();
    assert_eq!(view.status, ThreadStatus::Interrupted);
    assert_eq!(id_of(&view, "n1").as_str().len(), 32);
    let settled = world.engine.answer(&thread(), &by_id(second, json!("again")), "bob").await.unwrap_err();
    assert!(settled.to_string().contains("ana"), "the loser is told who won: {settled}");
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("one")), "ana").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["done", "one", "two"])));
    assert_eq!((nodes.started("n1"), nodes.started("n2"), nodes.started("done")), (2, 2, 1));
}

#[tokio::test]
async fn an_answer_does_not_reach_another_question() {
    // G9, `approved-is-executed`: the node asks something else when it runs again.
    let amount = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(5));
    let asked = std::sync::Arc::clone(&amount);
    let nodes = FakeNodes::default().with("a", move |call| {
        let amount = asked.load(std::sync::atomic::Ordering::SeqCst);
        match ask(call, 0, json!({ "pay": amount })) {
            Ok(_) => update(json!({ "log": [amount] })),
            Err(interrupted) => interrupted,
        }
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
    world.run(&graph, json!({})).await.unwrap();
    amount.store(5_000_000, std::sync::atomic::Ordering::SeqCst);
    let view = world.engine.answer(&thread(), &Answers::Bare(json!(true)), "ana").await.unwrap();
    assert_eq!(view.status, ThreadStatus::Interrupted, "five was approved, five million was not");
    assert_eq!(view.interrupts[0].value, json!({ "pay": 5_000_000 }));
}

#[tokio::test]
async fn a_failed_task_alone_runs_again() {
    // R10, R31: one fails, one asks, one is done.
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = std::sync::Arc::clone(&broken);
    let nodes = FakeNodes::default()
        .with("fails", move |_| {
            if seen.load(std::sync::atomic::Ordering::SeqCst) {
                failed("boom", true)
            } else {
                update(json!({ "log": ["fails"] }))
            }
        })
        .with("asks", |call| match ask(call, 0, json!("?")) {
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(interrupted) => interrupted,
        })
        .with("done", logs("done"));
    let world = World::new(nodes.clone());
    let graph = world
        .deploy(&format!("start = [\"fails\", \"asks\", \"done\"]\n{LOG}[nodes.fails]\n[nodes.asks]\n[nodes.done]\n"))
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Failed);
    assert_eq!(view.error.as_ref().map(|error| error.code.as_str()), Some("boom"));
    assert_eq!(view.interrupts.len(), 1, "the question is recorded all the same");
    let refused = world.run(&graph, json!({})).await.unwrap_err();
    assert!(matches!(refused, Error::Waiting { .. }), "failed or not, a question is not superseded unasked: {refused}");
    broken.store(false, std::sync::atomic::Ordering::SeqCst);
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, view.error), (ThreadStatus::Interrupted, None));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["yes", "done", "fails"]));
    assert_eq!((nodes.started("fails"), nodes.started("asks"), nodes.started("done")), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn retries_follow_the_policy_and_interrupts_are_not_retried() {
    // S61, S17.
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = std::sync::Arc::clone(&attempts);
    let nodes = FakeNodes::default()
        .with("flaky", move |_| match counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => failed("busy", true),
            1 => holdpoint_graph::nodes::NodeOutcome::Trapped("unreachable".into()),
            _ => update(json!({ "log": ["third"] })),
        })
        .with("final", |_| failed("no", false))
        .with("asks", |call| ask(call, 0, json!("?")).map_or_else(|interrupted| interrupted, |_| update(json!({}))));
    let retry = "retry = { attempts_max = 3, backoff = \"500ms\", factor = 2.0, max = \"30s\" }";
    let world = World::new(nodes.clone());
    let graph = world.deploy(&format!("start = \"flaky\"\n{LOG}[nodes.flaky]\n{retry}\nnext = \"asks\"\n[nodes.asks]\n{retry}\nnext = \"final\"\n[nodes.final]\n{retry}\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, nodes.started("flaky"), nodes.started("asks")), (ThreadStatus::Interrupted, 3, 1));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!(1)), "ana").await.unwrap();
    assert_eq!(
        (view.status, nodes.started("final")),
        (ThreadStatus::Failed, 1),
        "it said that trying again does not help"
    );
}

#[tokio::test]
async fn the_recursion_limit_stops_a_run_that_can_go_on() {
    // S10.
    let world = World::new(FakeNodes::default().with("a", logs("a")));
    let graph = world.deploy(&format!("start = \"a\"\nrecursion_limit = 3\n{LOG}[nodes.a]\nnext = \"a\"\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.error.unwrap().code.as_str()), (ThreadStatus::Failed, "HP0420"));
    assert_eq!(view.values["log"], json!(["a", "a", "a"]));
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!(view.values["log"].as_array().unwrap().len(), 6, "a fresh budget");
}

#[tokio::test]
async fn conflicts_fail_the_step_and_leave_the_thread_readable() {
    // G13, R36.
    let sets = |value: &'static str| move |_: &holdpoint_graph::nodes::NodeCall| update(json!({ "x": value }));
    let world = World::new(FakeNodes::default().with("a", sets("a")).with("b", sets("b")));
    let graph =
        world.deploy("start = [\"a\", \"b\"]\n[state]\nx = { type = \"string\" }\n[nodes.a]\n[nodes.b]\n").await;
    let view = world.run(&graph, json!({ "x": "before" })).await.unwrap();
    assert_eq!((view.status, view.values["x"].clone()), (ThreadStatus::Failed, json!("before")));
    assert_eq!(view.error.unwrap().code, "HP0303");
    assert_eq!(world.engine.view(&thread()).await.unwrap().values["x"], json!("before"));
    let view = world.run(&graph, json!({ "x": "after" })).await;
    assert!(view.is_ok(), "new input starts a new turn: {view:?}");
}

#[tokio::test]
async fn a_branch_never_ends_by_oversight() {
    let world = World::new(FakeNodes::default().with("a", |_| update(json!({ "x": 2 }))));
    let graph = world
        .deploy("start = \"a\"\n[state]\nx = {}\n[nodes.a]\nnext = [{ when = \"state.x == 1\", to = \"END\" }]\n")
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.error.unwrap().code.as_str()), (ThreadStatus::Failed, "HP0307"));
}

#[tokio::test]
async fn commands_that_go_nowhere_known_fail_the_step() {
    for (destination, code) in
        [(Destination::Node("nobody".into()), "HP0421"), (Destination::Parent("p".into()), "HP0422")]
    {
        let world = World::new(FakeNodes::default().with("a", move |_| goto(json!({}), vec![destination.clone()])));
        let graph = world.deploy("start = \"a\"\n[state]\n[nodes.a]\n").await;
        let view = world.run(&graph, json!({})).await.unwrap();
        assert_eq!(view.error.unwrap().code, code);
    }
}

#[tokio::test]
async fn new_input_waits_its_turn_and_drops_nothing() {
    // G5, G6.
    let nodes = FakeNodes::default()
        .with("done", logs("done"))
        .with("asks", |call| ask(call, 0, json!("?")).map_or_else(|interrupted| interrupted, |_| update(json!({}))));
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = [\"done\", \"asks\"]\n{LOG}[nodes.done]\n[nodes.asks]\n")).await;
    let first = world.run(&graph, json!({})).await.unwrap();
    let refused = world.run(&graph, json!({ "log": ["x"] })).await.unwrap_err();
    assert!(matches!(refused, Error::Waiting { .. }), "{refused}");
    let input = Input { values: json!({ "log": ["x"] }), supersede: true };
    let view = world.engine.run(&thread(), &graph, input).await.unwrap();
    assert_eq!(view.values["log"], json!(["done", "x", "done"]), "what the finished sibling wrote is kept");
    let superseded = world.engine.answer(&thread(), &by_id(id_of(&first, "asks"), json!(1)), "ana").await.unwrap_err();
    assert!(superseded.to_string().contains("superseded"), "{superseded}");
}

#[tokio::test]
async fn refusals_before_anything_runs() {
    // G2, R4, R6.
    let world = World::new(FakeNodes::default().with("a", logs("a")));
    let nobody = world.engine.answer(&thread(), &Answers::Bare(json!(1)), "ana").await.unwrap_err();
    assert!(matches!(nobody, Error::ThreadNotFound(_)));
    assert!(matches!(world.engine.proceed(&thread()).await.unwrap_err(), Error::ThreadNotFound(_)));
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
    let bad = world.run(&graph, json!({ "nope": 1 })).await.unwrap_err();
    assert_eq!(bad.code(), "HP0301");
    assert!(matches!(world.engine.view(&thread()).await.unwrap_err(), Error::ThreadNotFound(_)), "nothing was written");
    assert_eq!(world.commits().commits, 0);
}
