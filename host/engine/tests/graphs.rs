//! Features of graphs: joins, deferred nodes, breakpoints, error handlers, cache, managed values, subgraphs.

use crate::support::{FakeNodes, World, ask, failed, goto, graph, logs, object, thread, update};
use holdpoint_engine::{Answers, Breakpoints, Error, RunOptions, Selection};
use holdpoint_graph::definition::{GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::ids::NodeName;
use holdpoint_graph::nodes::{Command, Destination};
use holdpoint_store::{Store, TaskStatus, ThreadStatus};
use serde_json::{Value, json};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

fn logging(names: &[&'static str]) -> FakeNodes {
    names.iter().fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)))
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

#[tokio::test]
async fn a_deferred_node_waits_for_everything_else() {
    // S06
    let world = World::new(logging(&["start", "long", "longer", "short", "last"]));
    let graph = world
        .deploy(&format!(
            "start = \"start\"\n{LOG}[nodes.start]\nnext = [\"long\", \"short\"]\n[nodes.long]\nnext = \"longer\"\n[nodes.longer]\nnext = \"last\"\n[nodes.short]\nnext = \"last\"\n[nodes.last]\ndefer = true\n"
        ))
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.values["log"], json!(["start", "long", "short", "longer", "last"]));
    assert_eq!(world.nodes.started("last"), 1);
}

#[tokio::test]
async fn a_join_may_need_only_some() {
    let text = |join: &str| {
        format!(
            "start = [\"a\", \"b\", \"c\"]\n{LOG}[nodes.a]\n[nodes.b]\nnext = \"b2\"\n[nodes.b2]\n[nodes.c]\nnext = \"c2\"\n[nodes.c2]\nnext = \"c3\"\n[nodes.c3]\n[nodes.never]\n[nodes.z]\njoin = {join}\n"
        )
    };
    let check = async |join: &str, expected: Value| {
        let world = World::new(logging(&["a", "b", "b2", "c", "c2", "c3", "z"]));
        let graph = world.deploy(&text(join)).await;
        let view = world.run(&graph, json!({})).await.unwrap();
        assert_eq!((view.status, &view.values["log"]), (ThreadStatus::Done, &expected), "{join}");
        assert_eq!(world.nodes.started("z"), 1, "{join}");
    };
    // All; two of three at once; two of three, but an hour's wait that the last comer ends; and when nobody else can come.
    check("[\"a\", \"b2\", \"c3\"]", json!(["a", "b", "c", "b2", "c2", "c3", "z"])).await;
    check("{ of = [\"a\", \"b2\", \"c3\"], need = 2 }", json!(["a", "b", "c", "b2", "c2", "c3", "z"])).await;
    check("{ of = [\"a\", \"b2\", \"c3\"], need = 2, within = \"1h\" }", json!(["a", "b", "c", "b2", "c2", "c3", "z"]))
        .await;
    check(
        "{ of = [\"a\", \"b2\", \"never\"], need = 2, within = \"1h\" }",
        json!(["a", "b", "c", "b2", "c2", "c3", "z"]),
    )
    .await;
}

#[tokio::test]
async fn breakpoints_of_the_graph_and_of_the_call() {
    let text = "start = \"a\"\ninterrupt_after = \"*\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.a]\nnext = \"b\"\n[nodes.b]\nnext = \"c\"\n[nodes.c]\n";
    let world = World::new(logging(&["a", "b", "c"]));
    let graph = world.deploy(text).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.paused, view.next.clone()), (ThreadStatus::Interrupted, true, vec![name("b")]));
    assert!(matches!(
        world.engine.answer(&thread(), &Answers::Bare(json!(1)), "ana").await,
        Err(Error::NothingPending { .. })
    ));
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.paused, view.next.clone()), (true, vec![name("c")]));
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["a", "b", "c"])));
    // Of the call: before, and remembered by nobody.
    let text = text.replace("interrupt_after = \"*\"\n", "");
    let world = World::new(logging(&["a", "b", "c"]));
    let graph = world.deploy(&text).await;
    let before = RunOptions {
        breakpoints: Breakpoints { before: Selection::parse(["a", "c"]).unwrap(), ..Breakpoints::default() },
        ..RunOptions::default()
    };
    let input = || holdpoint_engine::Input { values: json!({}), supersede: false };
    let engine = world.engine.with_options(before.clone());
    let view = engine.run(&thread(), &graph, input()).await.unwrap();
    assert_eq!((view.paused, view.next.clone(), world.nodes.started("a")), (true, vec![name("a")], 0));
    let view = engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.paused, view.next.clone()), (true, vec![name("c")]));
    // S39: a destination joins the step that the thread paused before.
    let command = Command { update: object(json!({ "log": ["x"] })), goto: vec![Destination::Node("b".into())] };
    let view = world.engine.command(&thread(), None, command, "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["a", "b", "x", "c", "b", "c"]));
    let unknown = RunOptions {
        breakpoints: Breakpoints { before: Selection::parse(["nope"]).unwrap(), ..Breakpoints::default() },
        ..RunOptions::default()
    };
    let refused = world.engine.with_options(unknown).run(&thread(), &graph, input()).await;
    assert!(matches!(refused, Err(Error::UnknownNode { .. })));
}

#[tokio::test]
async fn an_error_handler_takes_the_place_of_a_failed_node() {
    // S58, S60
    let nodes = FakeNodes::default()
        .with("a", |_| failed("no", false))
        .with("b", logs("b"))
        .with("handler", |call| {
            let argument = call.argument.clone().unwrap();
            match ask(call, 0, json!({ "failed": argument["node"], "code": argument["error"]["code"] })) {
                Ok(answer) => update(json!({ "log": [answer] })),
                Err(question) => question,
            }
        })
        .with("end", logs("end"));
    let world = World::new(nodes.clone());
    let graph = world
        .deploy(&format!(
            "start = [\"a\", \"b\"]\n{LOG}[nodes.a]\nerror_handler = \"handler\"\nnext = \"b\"\n[nodes.b]\n[nodes.handler]\nnext = \"end\"\n[nodes.end]\n"
        ))
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Interrupted);
    assert_eq!(view.interrupts[0].value, json!({ "failed": "a", "code": "no" }));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("handled")), "ana").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["handled", "b", "end"])));
    assert_eq!((nodes.started("a"), nodes.started("b"), nodes.started("handler")), (1, 1, 2));
}

#[tokio::test]
async fn a_failed_error_handler_alone_runs_again() {
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = std::sync::Arc::clone(&broken);
    let nodes = FakeNodes::default().with("a", |_| failed("no", false)).with("handler", move |_| {
        if seen.swap(false, std::sync::atomic::Ordering::SeqCst) {
            failed("also", false)
        } else {
            update(json!({ "log": ["ok"] }))
        }
    });
    let world = World::new(nodes.clone());
    let graph =
        world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\nerror_handler = \"handler\"\n[nodes.handler]\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.error.unwrap().code), (ThreadStatus::Failed, "also".to_owned()));
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["ok"])));
    assert_eq!((nodes.started("a"), nodes.started("handler")), (1, 2));
}

#[tokio::test]
async fn results_are_used_again_across_threads() {
    let world = World::new(FakeNodes::default().with("a", |call| update(json!({ "y": call.state["x"] }))));
    let graph = world
        .deploy("start = \"a\"\n[state]\nx = { type = \"integer\" }\ny = { type = \"integer\" }\n[nodes.a]\nreads = [\"x\"]\ncache = { ttl = \"1h\" }\n")
        .await;
    let run = async |id: &str, x: i64| {
        let input = holdpoint_engine::Input { values: json!({ "x": x }), supersede: false };
        let id = holdpoint_graph::ids::ThreadId::parse(id).unwrap();
        world.engine.run(&id, &graph, input).await.unwrap().values["y"].clone()
    };
    assert_eq!((run("t1", 1).await, run("t2", 1).await, run("t3", 2).await), (json!(1), json!(1), json!(2)));
    assert_eq!(world.nodes.started("a"), 2);
    world.advance_ms(3_600_000);
    assert_eq!((run("t4", 1).await, world.nodes.started("a")), (json!(1), 3), "the result is too old");
    let entry = world.engine.history(&holdpoint_graph::ids::ThreadId::parse("t2").unwrap(), None, 2).await.unwrap();
    assert_eq!(entry[1].tasks[0].executions, 0, "marked as not executed");
}

#[tokio::test]
async fn managed_values_count_down_and_stay_what_they_were() {
    let nodes = FakeNodes::default().with("loop", |call| {
        let left = call.state["left"].as_u64().unwrap();
        assert_eq!(call.state["last"], json!(left == 1));
        if left == 2 {
            return match ask(call, 0, json!({ "left": left })) {
                Ok(_) => goto(json!({ "log": [left] }), vec![Destination::Node("loop".into())]),
                Err(question) => question,
            };
        }
        let next = if left == 1 { Destination::End } else { Destination::Node("loop".into()) };
        goto(json!({ "log": [left] }), vec![next])
    });
    let world = World::new(nodes);
    let graph = world
        .deploy("start = \"loop\"\nrecursion_limit = 4\n[state]\nlog = { type = \"array\", reducer = \"append\" }\nleft = { managed = \"remaining_steps\" }\nlast = { managed = \"is_last_step\" }\n[nodes.loop]\n")
        .await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!((view.status, view.values.clone()), (ThreadStatus::Interrupted, object(json!({ "log": [4, 3] }))));
    // The budget is fresh, the inputs of the task that asked are not.
    let view = world.engine.answer(&thread(), &Answers::Bare(json!(true)), "ana").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Interrupted, json!([4, 3, 2, 3])));
}

#[tokio::test]
async fn a_drained_run_stops_at_a_boundary_and_goes_on() {
    // S59
    let drain = holdpoint_engine::Drain::default();
    let asked = drain.clone();
    let nodes = logging(&["b"]).with("a", move |_| {
        asked.request();
        update(json!({ "log": ["a"] }))
    });
    let world = World::new(nodes);
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\n")).await;
    let options = RunOptions { drain, ..RunOptions::default() };
    let input = holdpoint_engine::Input { values: json!({}), supersede: false };
    let view = world.engine.with_options(options).run(&thread(), &graph, input).await.unwrap();
    assert_eq!((view.status, world.nodes.started("b")), (ThreadStatus::Running, 0));
    assert_eq!(world.store.thread(&thread()).await.unwrap().unwrap().owner, None);
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["a", "b"])));
}

/// Deploys `child`, then a parent whose node `child` runs it.
async fn nested(world: &World, parent: &str, child: &str, persist: Persist) -> holdpoint_engine::Deployment {
    let child = world.engine.deploy(graph(child)).await.unwrap();
    let mut parent = graph(parent);
    parent.nodes.get_mut(&name("child")).unwrap().work =
        Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest), persist });
    world.engine.deploy(parent).await.unwrap()
}

#[tokio::test]
async fn a_subgraph_hands_up_what_it_added_and_its_questions_bubble() {
    // S31 (ii): shared lists are not counted twice.
    let asks = |name: &'static str| {
        move |call: &holdpoint_graph::nodes::NodeCall| match ask(call, 0, json!(name)) {
            Ok(answer) => update(json!({ "log": [answer], "own": [name] })),
            Err(question) => question,
        }
    };
    let nodes = logging(&["before", "after"]).with("n1", asks("n1")).with("n2", asks("n2"));
    let world = World::new(nodes.clone());
    let parent = format!(
        "start = \"before\"\n{LOG}[nodes.before]\nnext = \"child\"\n[nodes.child]\nnext = \"after\"\n[nodes.after]\n"
    );
    let child = "start = \"n1\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\nown = { type = \"array\", reducer = \"append\" }\n[nodes.n1]\nnext = \"n2\"\n[nodes.n2]\n";
    let deployment = nested(&world, &parent, child, Persist::PerCall).await;
    let view = world.run(&deployment, json!({})).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Interrupted, json!(["before"])));
    assert_eq!((view.interrupts[0].node.as_str(), view.next.clone()), ("n1", vec![name("child")]));
    assert!(view.interrupts[0].namespace.as_str().starts_with("child:"));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("one")), "ana").await.unwrap();
    assert_eq!((view.interrupts.len(), view.interrupts[0].node.as_str()), (1, "n2"));
    let state = world.engine.state(&thread(), None).await.unwrap();
    let inner = state.tasks[0].state.as_ref().unwrap();
    assert_eq!(inner.values, object(json!({ "log": ["before", "one"], "own": ["n1"] })));
    let view = world.engine.answer(&thread(), &Answers::Bare(json!("two")), "ana").await.unwrap();
    assert_eq!(
        (view.status, view.values),
        (ThreadStatus::Done, object(json!({ "log": ["before", "one", "two", "after"] })))
    );
    assert_eq!((nodes.started("n1"), nodes.started("n2"), nodes.started("before")), (2, 2, 1));
}

#[tokio::test]
async fn a_subgraph_kept_per_thread_goes_on_where_it_ended_on_its_branch() {
    let nodes = FakeNodes::default().with("count", |call| {
        let own = call.state.get("own").and_then(Value::as_u64).unwrap_or(0);
        update(json!({ "own": own + 1, "log": [own + 1] }))
    });
    let parent = format!("start = \"child\"\n{LOG}[nodes.child]\n");
    let child = "start = \"count\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\nown = { type = \"integer\" }\n[nodes.count]\n";
    for (persist, expected) in [
        (Persist::PerThread, json!([1, 2, 3])),
        (Persist::PerCall, json!([1, 1, 1])),
        (Persist::None, json!([1, 1, 1])),
    ] {
        let world = World::new(nodes.clone());
        let deployment = nested(&world, &parent, child, persist).await;
        for _ in 0..3 {
            world.run(&deployment, json!({})).await.unwrap();
        }
        let view = world.engine.view(&thread()).await.unwrap();
        assert_eq!(view.values["log"], expected, "{persist:?}");
        // S76: a branch from the second turn counts on from the end of the first.
        let history = world.engine.history(&thread(), None, 100).await.unwrap();
        let turn = history.iter().filter(|entry| entry.next == ["child"]).nth(1).unwrap();
        let view = world.engine.replay(&thread(), &turn.checkpoint).await.unwrap();
        let expected = expected.as_array().unwrap()[..2].to_vec();
        assert_eq!(view.values["log"], json!(expected), "{persist:?}");
    }
}

#[tokio::test]
async fn many_calls_of_a_subgraph_ask_at_once() {
    // S27
    let nodes = FakeNodes::default()
        .with("fan", |_| {
            let send = |index: u64| Destination::Send { node: "child".into(), argument: json!({ "prompt": index }) };
            goto(json!({}), (0..5).map(send).collect())
        })
        .with("ask", |call| match ask(call, 0, call.state["prompt"].clone()) {
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(question) => question,
        });
    let world = World::new(nodes);
    let parent = format!("start = \"fan\"\n{LOG}[nodes.fan]\n[nodes.child]\n");
    let child = "start = \"ask\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\nprompt = { type = \"integer\" }\n[nodes.ask]\n";
    let deployment = nested(&world, &parent, child, Persist::PerCall).await;
    let view = world.run(&deployment, json!({})).await.unwrap();
    assert_eq!(
        view.interrupts.iter().map(|interrupt| interrupt.value.clone()).collect::<Vec<_>>(),
        (0..5).map(Value::from).collect::<Vec<_>>()
    );
    let refused = world.engine.answer(&thread(), &Answers::Bare(json!(1)), "ana").await;
    let asked: Vec<_> = view.interrupts.iter().map(|interrupt| interrupt.id.clone()).collect();
    let Err(Error::Ambiguous(told)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        told.iter().map(ToString::to_string).collect::<Vec<_>>(),
        asked,
        "in order of asking, as they are shown"
    );
    let answers = view.interrupts.iter().map(|interrupt| {
        let id = holdpoint_graph::ids::QuestionId::parse(interrupt.id.as_str()).unwrap();
        (id, json!(format!("answer {}", interrupt.value)))
    });
    let view = world.engine.answer(&thread(), &Answers::ById(answers.collect()), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["answer 0", "answer 1", "answer 2", "answer 3", "answer 4"]));
}

#[tokio::test]
async fn a_subgraph_can_be_left_for_its_parent() {
    // S09
    let nodes = logging(&["init", "a_child", "nb"])
        .with("b_child", |_| goto(json!({ "log": ["b_child"] }), vec![Destination::Parent("nb".into())]));
    let world = World::new(nodes);
    let parent = format!("start = \"init\"\n{LOG}[nodes.init]\nnext = \"child\"\n[nodes.child]\n[nodes.nb]\n");
    let child = format!("start = \"a_child\"\n{LOG}[nodes.a_child]\nnext = \"b_child\"\n[nodes.b_child]\n");
    let deployment = nested(&world, &parent, &child, Persist::PerCall).await;
    let view = world.run(&deployment, json!({})).await.unwrap();
    assert_eq!(view.values["log"], json!(["init", "b_child", "nb"]));
    let history = world.engine.history(&thread(), None, 10).await.unwrap();
    assert!(history.iter().flat_map(|entry| &entry.tasks).all(|task| task.status == Some(TaskStatus::Done)));
}

#[tokio::test]
async fn a_subgraph_that_keeps_nothing_may_not_ask_and_stores_nothing() {
    let nodes = FakeNodes::default().with("ask", |call| match ask(call, 0, json!(1)) {
        Ok(_) => update(json!({})),
        Err(question) => question,
    });
    let world = World::new(nodes);
    let parent = format!("start = \"child\"\n{LOG}[nodes.child]\n");
    let child = format!("start = \"ask\"\n{LOG}[nodes.ask]\n");
    let deployment = nested(&world, &parent, &child, Persist::None).await;
    let view = world.run(&deployment, json!({})).await.unwrap();
    assert_eq!((view.status, view.error.unwrap().code), (ThreadStatus::Failed, "HP0429".to_owned()));
    let outline = world.engine.outline(&thread()).await.unwrap();
    assert!(outline.iter().all(|outline| outline.checkpoint.namespace.is_root()));
}

#[tokio::test]
async fn a_breakpoint_in_a_subgraph_pauses_the_thread() {
    // S34
    let world = World::new(logging(&["g1", "g2", "after"]));
    let parent = format!("start = \"child\"\n{LOG}[nodes.child]\nnext = \"after\"\n[nodes.after]\n");
    let child = format!("start = \"g1\"\n{LOG}[nodes.g1]\nnext = \"g2\"\n[nodes.g2]\ninterrupt_before = true\n");
    let deployment = nested(&world, &parent, &child, Persist::PerCall).await;
    let view = world.run(&deployment, json!({})).await.unwrap();
    assert_eq!((view.status, view.paused, view.values["log"].clone()), (ThreadStatus::Interrupted, true, json!([])));
    let view = world.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["g1", "g2", "after"])));
    assert_eq!(world.nodes.started("g1"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_sends_run_a_few_at_a_time_and_write_in_order() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    const SENDS: u64 = 10_000;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let nodes = FakeNodes::default()
        .with("fan", |_| {
            let send = |index: u64| Destination::Send { node: "work".into(), argument: json!(index) };
            goto(json!({}), (0..SENDS).map(send).collect())
        })
        .with_async("work", move |call| {
            let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
            Box::pin(async move {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                update(json!({ "log": [call.argument] })).into()
            })
        });
    // What is stored early must not depend on how busy the machine is.
    let hour = std::time::Duration::from_secs(3_600);
    let config = holdpoint_engine::Config { quick: hour, lease_ms: 3_600_000, ..holdpoint_engine::Config::default() };
    let world = World::with_config(nodes.clone(), config);
    let graph = world.deploy(&format!("start = \"fan\"\n{LOG}[nodes.fan]\n[nodes.work]\nreads = []\n")).await;
    let commits = world.commits().commits;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.values["log"], Value::from((0..SENDS).collect::<Vec<_>>()));
    assert_eq!(u64::from(nodes.started("work")), SENDS);
    let limit = holdpoint_engine::Config::default().tasks_max;
    assert!(most.load(Ordering::SeqCst) <= limit, "{} at once, {limit} allowed", most.load(Ordering::SeqCst));
    assert!(world.commits().commits - commits <= 3, "start, and the supersteps");
}

#[tokio::test]
async fn an_update_keeps_what_unfinished_tasks_did() {
    // The ids of unnamed operations derive from the same before and after an update that keeps the task, and on a replay.
    use std::sync::{Arc, Mutex};
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let nodes = logging(&["done"]).with("asks", move |call| {
        note.lock().unwrap().push(call.task.operations.clone());
        match ask(call, 0, json!("?")) {
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(question) => question,
        }
    });
    let world = World::new(nodes);
    let graph = world
        .deploy(&format!("start = [\"asks\", \"done\"]\n{LOG}[nodes.asks]\nnext = \"asks\"\n[nodes.done]\n"))
        .await;
    world.run(&graph, json!({})).await.unwrap();
    let speak = || holdpoint_engine::Update { values: Some(object(json!({ "log": ["u"] }))), ..Default::default() };
    for _ in 0..2 {
        world.engine.update(&thread(), None, &[vec![speak()]]).await.unwrap();
        world.engine.proceed(&thread()).await.unwrap();
    }
    world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 5);
    assert!(seen[..4].iter().all(|operations| *operations == seen[0]), "one task, however often it was kept");
    assert_ne!(seen[4], seen[0], "its next round is another");
}
