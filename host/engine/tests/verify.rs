//! Histories executed again (`replayable`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{
    FakeClock, FakeNodes, NOON_MS, World, ask, doubting, failed, goto, graph, logs, object, thread, update,
};
use holdpoint_engine::transfer::Transfer;
use holdpoint_engine::verify::{Reason, Report};
use holdpoint_engine::{Answers, AsNode, Config, Deployment, Error, Input, RunOptions, Update};
use holdpoint_graph::definition::{GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ConnectorName, Epoch, NodeName, OperationId, ThreadId};
use holdpoint_graph::nodes::{Command, Destination, EffectMode, JournalError, NodeCall, NodeOutcome, NodeReport};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_graph::state::Change;
use holdpoint_store::{Claim, Commit, Content, Expect, Journal, NewThread, OperationFilter, Store, ThreadStatus};
use serde_json::{Value, json};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\nx = { type = \"integer\" }\n";

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn logging(names: &[&'static str]) -> FakeNodes {
    names.iter().fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)))
}

/// A node that asks and logs the answer.
fn asks(payload: &'static str) -> impl Fn(&NodeCall) -> NodeOutcome + Send + Sync + 'static {
    move |call| match ask(call, 0, json!(payload)) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    }
}

async fn verified(world: &World) -> Report {
    verified_thread(world, &thread()).await
}

async fn verified_thread(world: &World, thread: &ThreadId) -> Report {
    let before = world.commits();
    let mut told = Vec::new();
    let report = world.engine.verify(thread, |done, all| told.push((done, all))).await.unwrap();
    assert_eq!(world.commits(), before, "a verification writes nothing");
    if report.difference.is_none() {
        let all = told[0].1;
        assert_eq!((told[0], told.last().copied()), ((0, all), Some((all, all))), "progress is told to its end");
    }
    report
}

/// All of it was checked and is as recorded; gives the tasks and the transitions.
fn whole(report: &Report) -> (u64, u64) {
    assert_eq!(report.difference, None);
    assert_eq!(report.skipped.len(), 0, "{:?}", report.skipped_first);
    (report.tasks, report.transitions)
}

fn difference(report: &Report) -> (&'static str, Option<&str>, i64) {
    let difference = report.difference.as_ref().expect("a difference");
    assert_ne!(difference.expected, difference.found);
    (difference.what, difference.place.node.as_ref().map(NodeName::as_str), difference.place.step)
}

/// The same thread in a store of its own, changed on the way.
async fn carried(world: &World, change: impl FnOnce(&mut Transfer)) -> World {
    let mut transfer = Transfer::read(world.store.as_ref(), &thread()).await.unwrap();
    change(&mut transfer);
    let clock = Arc::new(FakeClock(AtomicU64::new(NOON_MS + 1)));
    let other = World::on(Arc::default(), clock, "other", world.nodes.clone(), Config::default());
    let mut digests: Vec<Digest> =
        transfer.checkpoints.iter().map(|checkpoint| checkpoint.record.graph.clone()).collect();
    digests.push(transfer.thread.graph.clone());
    while let Some(digest) = digests.pop() {
        let children = world
            .engine
            .version(&digest)
            .await
            .unwrap()
            .children
            .values()
            .map(|child| child.digest.clone())
            .collect::<Vec<_>>();
        digests.extend(children);
        let bytes = world.store.content(&digest).await.unwrap().unwrap();
        other.store.put_contents(vec![Content { digest, bytes }]).await.unwrap();
    }
    let new = NewThread {
        epoch: Epoch(1),
        lineage: transfer.thread.lineage,
        graph: transfer.thread.graph,
        graph_name: transfer.thread.graph_name,
        tenant: transfer.thread.tenant,
    };
    let commit = Commit {
        claim: Some(Claim { owner: "other".into(), lease_until_ms: NOON_MS }),
        head: Some(transfer.thread.head),
        checkpoints: transfer.checkpoints,
        tasks: transfer.tasks,
        questions: transfer.questions,
        operations: world
            .store
            .find_operations(&OperationFilter { limit: 100, ..OperationFilter::default() })
            .await
            .unwrap(),
        ..Commit::new(thread(), Expect::New(new), transfer.thread.status, NOON_MS)
    };
    other.store.commit(commit).await.unwrap();
    other
}

fn chain() -> String {
    format!("start = \"a\"\n{LOG}[nodes.a]\nnext = \"b\"\n[nodes.b]\nnext = \"c\"\n[nodes.c]\n")
}

async fn chain_world() -> World {
    let world = World::new(logging(&["a", "c"]).with("b", asks("go on?")));
    let graph = world.deploy(&chain()).await;
    world.run(&graph, json!({})).await.unwrap();
    world.advance_ms(60_000);
    world.engine.answer(&thread(), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    world
}

#[tokio::test]
async fn a_history_that_is_what_its_nodes_do() {
    let world = chain_world().await;
    let report = verified(&world).await;
    assert_eq!((report.checkpoints, whole(&report)), (5, (3, 4)));
    assert!(matches!(
        world.engine.verify(&ThreadId::parse("none").unwrap(), |_, _| ()).await,
        Err(Error::ThreadNotFound(_))
    ));
}

#[tokio::test]
async fn a_waiting_thread_asks_the_same_question() {
    let world = World::new(logging(&["a", "c"]).with("b", asks("go on?")));
    let graph = world.deploy(&chain()).await;
    world.run(&graph, json!({})).await.unwrap();
    assert_eq!(whole(&verified(&world).await), (2, 2));
    let other = world.second("other", logging(&["a", "c"]).with("b", asks("go on, now?")));
    let report = verified(&other).await;
    assert_eq!(difference(&report), ("question", Some("b"), 2));
    assert_eq!(report.difference.unwrap().found["asked"]["payload"], "go on, now?");
    // A question that was superseded was asked all the same.
    world.engine.input(&thread(), Input { values: json!({}), supersede: true }).await.unwrap();
    whole(&verified(&world).await);
    assert_eq!(difference(&verified(&other).await), ("question", Some("b"), 2));
}

#[tokio::test]
async fn a_changed_output_is_found_with_its_node_and_step() {
    let world = chain_world().await;
    let other = world.second("other", logging(&["a"]).with("b", asks("go on?")).with("c", logs("d")));
    let report = verified(&other).await;
    assert_eq!(difference(&report), ("result", Some("c"), 3));
    let found = report.difference.unwrap();
    assert_eq!(
        (&found.expected["update"], &found.found["update"]),
        (&json!({ "log": ["c"] }), &json!({ "log": ["d"] }))
    );
    let history = world.engine.history(&thread(), None, 10).await.unwrap();
    assert_eq!(found.place.checkpoint, history[1].checkpoint);
    // One that cannot be executed at all is no different.
    let other = world.second("other", logging(&["a"]).with("b", asks("go on?")));
    let report = verified(&other).await;
    assert_eq!(difference(&report), ("result", Some("c"), 3));
    let component = report.difference.unwrap().found["component"].clone();
    assert_eq!(component, Digest::of_bytes(b"c").as_str());
}

#[tokio::test]
async fn what_was_tampered_with_is_found() {
    let world = chain_world().await;
    whole(&verified(&carried(&world, |_| ()).await).await);
    let head = |transfer: &mut Transfer| transfer.checkpoints.len() - 1;
    let check = async |change: &dyn Fn(&mut Transfer), expected: (&str, Option<&str>, i64)| {
        let other = carried(&world, |transfer| change(transfer)).await;
        assert_eq!(difference(&verified(&other).await), expected);
    };
    // The last value, a value in the middle, what runs next, the clock, who wrote.
    let log =
        |value: Value| [(holdpoint_graph::ids::ChannelName::parse("log").unwrap(), Change::Replace(value))].into();
    check(&|transfer| transfer.checkpoints[4].patch.changes = log(json!(["a", "no", "c"])), ("values", None, 3)).await;
    check(&|transfer| transfer.checkpoints[2].patch.changes = log(json!(["x"])), ("values", None, 1)).await;
    check(&|transfer| transfer.checkpoints[3].record.next.clear(), ("next", None, 2)).await;
    check(&|transfer| transfer.checkpoints[3].record.clock_ms += 1, ("id", None, 2)).await;
    check(&|transfer| transfer.checkpoints[4].record.writers.clear(), ("writers", None, 3)).await;
    check(
        &|transfer| {
            let last = head(transfer);
            transfer.checkpoints[last].record.metadata = object(json!({ "user": "bob" }));
        },
        ("metadata", None, 3),
    )
    .await;
    // The input, a result, an answer, a task that nothing leads to.
    check(
        &|transfer| transfer.tasks[0].result = Some(Command { update: object(json!({ "x": 7 })), goto: vec![] }),
        ("values", None, 0),
    )
    .await;
    check(
        &|transfer| {
            let task = transfer.tasks.iter_mut().find(|task| task.node == name("a")).unwrap();
            task.result = Some(Command { update: object(json!({ "log": ["x"] })), goto: vec![] });
        },
        ("result", Some("a"), 1),
    )
    .await;
    check(&|transfer| transfer.questions[0].answer.as_mut().unwrap().value = json!("no"), ("result", Some("b"), 2))
        .await;
    check(
        &|transfer| {
            let mut task = transfer.tasks.iter().find(|task| task.node == name("a")).unwrap().clone();
            task.path = "pull:z".into();
            task.id = holdpoint_graph::ids::TaskId::derive(&thread(), &task.checkpoint, &task.path);
            transfer.tasks.push(task);
        },
        ("task", Some("a"), 1),
    )
    .await;
}

/// A node that performs one operation of this id: as the effects do it, in small.
fn pays(id: &'static str, world: &Arc<std::sync::OnceLock<World>>) -> FakeNodes {
    let world = Arc::clone(world);
    FakeNodes::default().with_async("pays", move |call| {
        let world = Arc::clone(&world);
        Box::pin(async move { pay(&call, id, &world).await })
    })
}

async fn pay(call: &NodeCall, id: &str, world: &std::sync::OnceLock<World>) -> NodeReport {
    let key = OperationKey {
        scope: Scope::Thread(call.task.lineage.clone()),
        connector: ConnectorName::parse("payments").unwrap(),
        id: OperationId::parse(id).unwrap(),
    };
    let wanted = json!({ "connector": "payments", "operation_id": id, "request": 1 });
    let record = match world.get() {
        Some(world) => world.store.operation(&key).await.unwrap(),
        None => None,
    };
    match record.map(|record| record.state) {
        Some(OperationState::Completed(answer)) => return update(json!({ "log": [answer] })).into(),
        Some(OperationState::InDoubt(reason)) => return NodeOutcome::InDoubt { operation: key, reason }.into(),
        _ => {}
    }
    if call.effects == EffectMode::Recorded {
        let refused = call.journal.store(Vec::new()).await;
        assert!(matches!(refused, Err(JournalError::Unavailable(_))) || call.task.epoch.0 > 0);
        return NodeOutcome::Withheld { operations: vec![wanted] }.into();
    }
    let operation = OperationRecord {
        key,
        thread: call.task.thread.clone(),
        task: call.task.id.clone(),
        node: call.task.node.clone(),
        request: json!(1),
        request_digest: Digest::of_json(&json!(1)),
        state: OperationState::Completed(json!("paid")),
        epoch: call.task.epoch,
        begun_at_ms: NOON_MS,
        send_by_ms: None,
        settles_at_ms: None,
        finished_at_ms: Some(NOON_MS + 5000),
        notes: Vec::new(),
    };
    let outcome = update(json!({ "log": ["paid"] }));
    NodeReport { outcome, operations: vec![operation], hits: Vec::new() }
}

#[tokio::test]
async fn operations_are_answered_from_their_records_and_a_withheld_one_is_found() {
    let shared = Arc::new(std::sync::OnceLock::new());
    let world = World::new(pays("one", &shared));
    assert!(shared.set(world.clone()).is_ok());
    let graph = world.deploy(&format!("start = \"pays\"\n{LOG}[nodes.pays]\n")).await;
    world.run(&graph, json!({})).await.unwrap();
    assert_eq!(whole(&verified(&world).await), (1, 2), "the clock that the operation moved included");
    let other = world.second("other", pays("another", &shared));
    let report = verified(&other).await;
    assert_eq!(difference(&report), ("result", Some("pays"), 1));
    assert_eq!(report.difference.unwrap().found["withheld"][0]["operation_id"], "another");
    // A what-if that stopped where the operation had none: the same again, until somebody performs it.
    let what_if = RunOptions { effects: Some(EffectMode::Recorded), ..RunOptions::default() };
    let from = world.engine.history(&thread(), None, 2).await.unwrap()[1].checkpoint.clone();
    let view = other.engine.with_options(what_if).replay(&thread(), &from).await.unwrap();
    assert_eq!(view.error.unwrap().code, "HP0445");
    let both = FakeNodes::default().with_async("pays", {
        let shared = Arc::clone(&shared);
        move |call| {
            let shared = Arc::clone(&shared);
            // The first branch named it differently.
            let id = if call.task.checkpoint.as_str() == from.as_str() { "one" } else { "another" };
            Box::pin(async move { pay(&call, id, &shared).await })
        }
    });
    let both = world.second("both", both);
    assert_eq!(whole(&verified(&both).await), (2, 2));
    let fork = world.engine.view(&thread()).await.unwrap().checkpoint;
    let live = RunOptions { effects: Some(EffectMode::Live), ..RunOptions::default() };
    both.engine.with_options(live).replay(&thread(), &fork).await.unwrap();
    let report = verified(&both).await;
    assert_eq!((report.difference, report.skipped), (None, [(Reason::PerformedSince, 1)].into()));
}

#[tokio::test]
async fn doubt_is_met_again_until_it_is_settled() {
    let world = World::new(doubting(FakeNodes::default(), "pays"));
    let graph = world.deploy(&format!("start = \"pays\"\n{LOG}[nodes.pays]\n")).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Interrupted);
    assert_eq!(whole(&verified(&world).await), (1, 1));
    let other = world.second("other", logging(&["pays"]));
    assert_eq!(difference(&verified(&other).await), ("doubt", Some("pays"), 1));
    // Settled, and not executed since.
    let key = OperationKey {
        scope: Scope::Thread(thread()),
        connector: ConnectorName::parse("payments").unwrap(),
        id: OperationId::parse("one").unwrap(),
    };
    let record = world.store.operation(&key).await.unwrap().unwrap();
    let settled = OperationRecord { state: OperationState::Completed(json!("paid")), ..record.clone() };
    assert!(world.store.exchange_operation(&record, settled, NOON_MS, Vec::new()).await.unwrap());
    let report = verified(&other).await;
    assert_eq!((report.difference, report.skipped), (None, [(Reason::SettledSince, 1)].into()));
}

#[tokio::test]
async fn failures_fail_again_and_handlers_handle_again() {
    let nodes = logging(&["b"])
        .with("a", |_| failed("no-money", false))
        .with("mend", |call| update(json!({ "log": [call.argument.as_ref().unwrap()["error"]["code"]] })));
    let text = format!(
        "start = \"a\"\n{LOG}[nodes.a]\nerror_handler = \"mend\"\nnext = \"b\"\n[nodes.mend]\nnext = \"b\"\n[nodes.b]\n"
    );
    let world = World::new(nodes.clone());
    let graph = world.deploy(&text).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.values["log"], json!(["no-money", "b"]));
    assert_eq!(whole(&verified(&world).await), (3, 3));
    let other = world.second("other", nodes.with("a", |_| failed("no-account", false)));
    assert_eq!(difference(&verified(&other).await), ("failure", Some("a"), 1));
    // What the host could not do, and what took too long, cannot be had again.
    for (outcome, reason) in [
        (NodeOutcome::HostFault("no room".into()), Reason::HostFault),
        (NodeOutcome::LimitExceeded { limit: "time".into(), message: "too long".into() }, Reason::TimeLimit),
    ] {
        let world = World::new(FakeNodes::default().with("a", move |_| outcome.clone()));
        let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
        world.run(&graph, json!({})).await.unwrap();
        let report = verified(&world.second("other", logging(&["a"]))).await;
        assert_eq!((report.difference, report.skipped), (None, [(reason, 1)].into()));
    }
    // Another limit can.
    let memory = NodeOutcome::LimitExceeded { limit: "memory".into(), message: "too much".into() };
    let world = World::new(FakeNodes::default().with("a", move |_| memory.clone()));
    let graph = world.deploy(&format!("start = \"a\"\n{LOG}[nodes.a]\n")).await;
    world.run(&graph, json!({})).await.unwrap();
    assert_eq!(whole(&verified(&world).await), (1, 1));
    assert_eq!(difference(&verified(&world.second("other", logging(&["a"]))).await), ("failure", Some("a"), 1));
}

#[tokio::test]
async fn managed_values_are_those_of_the_first_execution() {
    let nodes = FakeNodes::default().with("a", |call| match ask(call, 0, call.state["left"].clone()) {
        Ok(_) => update(json!({ "log": [call.state["left"]] })),
        Err(question) => question,
    });
    let world = World::new(nodes.with("z", logs("z")));
    let text = "start = \"z\"\nrecursion_limit = 7\n[state]\nlog = { type = \"array\", reducer = \"append\" }\nleft = { managed = \"remaining_steps\" }\n[nodes.z]\nnext = \"a\"\nreads = [\"log\"]\n[nodes.a]\n";
    let graph = world.deploy(text).await;
    let view = world.run(&graph, json!({})).await.unwrap();
    assert_eq!(view.interrupts[0].value, json!(6));
    whole(&verified(&world).await);
    let view = world.engine.answer(&thread(), &Answers::Bare(json!(1)), "ana").await.unwrap();
    assert_eq!(view.values["log"], json!(["z", 6]));
    assert_eq!(whole(&verified(&world).await), (2, 3));
    let other = carried(&world, |transfer| transfer.tasks.iter_mut().for_each(|task| task.steps_left = Some(5))).await;
    assert_eq!(difference(&verified(&other).await), ("result", Some("a"), 2));
}

#[tokio::test]
async fn commands_count_for_the_tasks_that_came_after_them() {
    let nodes = logging(&["extra"]).with("before", |call| update(json!({ "log": [call.state.get("x")] }))).with(
        "asks",
        |call| match ask(call, 0, json!("?")) {
            Ok(_) => update(json!({ "log": [call.state["x"]] })),
            Err(question) => question,
        },
    );
    let world = World::new(nodes);
    let graph = world
        .deploy(&format!("start = [\"asks\", \"before\"]\n{LOG}[nodes.asks]\n[nodes.before]\n[nodes.extra]\n"))
        .await;
    // All in one millisecond, and spread over a minute.
    for pause_ms in [0, 60_000] {
        let thread = ThreadId::parse(format!("pause-{pause_ms}")).unwrap();
        let input = Input { values: json!({ "x": 1 }), supersede: false };
        world.engine.run(&thread, &graph, input).await.unwrap();
        world.advance_ms(pause_ms);
        let command = Command { update: object(json!({ "x": 2 })), goto: vec![Destination::Node("extra".into())] };
        let answer = Answers::Bare(json!("yes"));
        let view = world.engine.command(&thread, Some(&answer), command, "ana").await.unwrap();
        assert_eq!((view.status, &view.values["log"]), (ThreadStatus::Done, &json!([2, 1, "extra"])));
        assert_eq!(whole(&verified_thread(&world, &thread).await), (3, 2));
    }
}

#[tokio::test]
async fn branches_updates_and_copies_are_checked_too() {
    let world = chain_world().await;
    let from = world.engine.history(&thread(), None, 10).await.unwrap()[2].checkpoint.clone();
    let input = world.engine.history(&thread(), None, 10).await.unwrap()[4].checkpoint.clone();
    // Replayed with another answer, forked with an update, given its input again.
    world.engine.replay(&thread(), &from).await.unwrap();
    world.engine.answer(&thread(), &Answers::Bare(json!("no")), "ana").await.unwrap();
    let forked = Update {
        values: Some(object(json!({ "log": ["forked"] }))),
        as_node: Some(AsNode::Node(name("b"))),
        ..Update::default()
    };
    world.engine.fork(&thread(), &from, forked).await.unwrap();
    world.engine.replay(&thread(), &input).await.unwrap();
    let report = verified(&world).await;
    assert_eq!(whole(&report), (8, 4 + 1 + 1 + 2 + 1));
    let other = world.second(
        "other",
        logging(&["a"]).with("b", asks("go on?")).with("c", |call| {
            let forked = call.state["log"].as_array().unwrap().contains(&json!("forked"));
            update(json!({ "log": [if forked { "d" } else { "c" }] }))
        }),
    );
    assert_eq!(difference(&verified(&other).await), ("result", Some("c"), 3), "on the forked branch only");
    // A copy is checked with what its original recorded, under the name that it was recorded under; a copy of a copy as far as names are known.
    let (copy, second) = (ThreadId::parse("copy").unwrap(), ThreadId::parse("second").unwrap());
    world.engine.copy(&thread(), &copy).await.unwrap();
    world.engine.proceed(&copy).await.unwrap();
    world.engine.answer(&copy, &Answers::Bare(json!("copied")), "ana").await.unwrap();
    whole(&verified_thread(&world, &copy).await);
    world.engine.copy(&copy, &second).await.unwrap();
    let report = verified_thread(&world, &second).await;
    assert_eq!(report.difference, None);
    assert_eq!(report.skipped.keys().collect::<Vec<_>>(), [&Reason::OtherThread]);
}

#[tokio::test]
async fn results_that_nobody_executed_are_said_to_be_such() {
    let world = World::new(logging(&["a", "b"]));
    let graph = world
        .deploy(&format!(
            "start = \"a\"\n{LOG}[nodes.a]\ncache = true\nnext = \"b\"\n[nodes.b]\ninterrupt_before = true\n"
        ))
        .await;
    let other = ThreadId::parse("other").unwrap();
    let input = || Input { values: json!({}), supersede: false };
    world.engine.run(&other, &graph, input()).await.unwrap();
    world.engine.run(&thread(), &graph, input()).await.unwrap();
    assert_eq!(world.nodes.started("a"), 1);
    let report = verified(&world).await;
    assert_eq!((report.tasks, report.skipped, report.difference), (0, [(Reason::NotExecuted, 1)].into(), None));
    assert_eq!(report.skipped_first[0].place.node, Some(name("a")));
}

/// Deploys `child`, then a parent whose node `child` runs it.
async fn nested(world: &World, parent: &str, child: &str, persist: Persist) -> Deployment {
    let child = world.engine.deploy(graph(child)).await.unwrap();
    let mut parent = graph(parent);
    parent.nodes.get_mut(&name("child")).unwrap().work =
        Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest), persist });
    world.engine.deploy(parent).await.unwrap()
}

#[tokio::test]
async fn subgraphs_are_checked_where_they_ran_and_where_they_hand_up() {
    let parent = format!("start = \"child\"\n{LOG}[nodes.child]\nnext = \"after\"\n[nodes.after]\n");
    let child = "start = \"n1\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\nown = { type = \"integer\", reducer = \"add\" }\n[nodes.n1]\nnext = \"n2\"\n[nodes.n2]\n";
    let nodes = logging(&["after"])
        .with("n1", |call| update(json!({ "own": 1, "log": [call.state.get("own")] })))
        .with("n2", |call| update(json!({ "log": [call.state["log"].as_array().unwrap().len()] })));
    for (persist, tasks) in [(Persist::PerCall, 4), (Persist::PerThread, 4), (Persist::None, 2)] {
        let world = World::new(nodes.clone());
        let deployment = nested(&world, &parent, child, persist).await;
        world.run(&deployment, json!({})).await.unwrap();
        assert_eq!(whole(&verified(&world).await).0, tasks, "{persist:?}");
        world.run(&deployment, json!({})).await.unwrap();
        assert_eq!(whole(&verified(&world).await).0, 2 * tasks, "{persist:?}");
        let inner = if persist == Persist::None { "child" } else { "n2" };
        let other = world.second("other", nodes.clone().with("n2", |_| update(json!({ "log": ["other"] }))));
        let report = verified(&other).await;
        assert_eq!(difference(&report).1, Some(inner), "{persist:?}");
        assert_eq!(report.difference.unwrap().place.namespace.is_root(), persist == Persist::None);
        // What was handed up.
        let tampered = carried(&world, |transfer| {
            let task = transfer.tasks.iter_mut().find(|task| task.node == name("child")).unwrap();
            task.result.as_mut().unwrap().update = object(json!({ "log": [0] }));
        });
        assert_eq!(difference(&verified(&tampered.await).await), ("result", Some("child"), 1), "{persist:?}");
        if persist == Persist::None {
            continue;
        }
        // What it began with: the values of its first checkpoint but one.
        let tampered = carried(&world, |transfer| {
            let inner = transfer.checkpoints.iter_mut().filter(|made| !made.record.namespace.is_root());
            let start = inner.into_iter().nth(1).unwrap();
            start
                .patch
                .changes
                .insert(holdpoint_graph::ids::ChannelName::parse("own").unwrap(), Change::Replace(json!(40)));
        });
        assert_eq!(difference(&verified(&tampered.await).await), ("run", Some("child"), 1), "{persist:?}");
    }
}

#[tokio::test]
async fn subgraphs_that_wait_fail_or_leave() {
    let parent = format!("start = \"child\"\n{LOG}[nodes.child]\nnext = \"after\"\n[nodes.after]\n");
    let child = format!("start = \"n1\"\n{LOG}[nodes.n1]\nnext = \"n2\"\n[nodes.n2]\n");
    let stubborn = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&stubborn);
    let nodes = logging(&["after", "n1"]).with("n2", move |call| {
        if fails.load(Ordering::SeqCst) {
            return failed("not-yet", false);
        }
        match ask(call, 0, json!("?")) {
            Ok(answer) if answer == "leave" => {
                goto(json!({ "log": ["left"] }), vec![Destination::Parent("after".into())])
            }
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(question) => question,
        }
    });
    for answer in ["leave", "stay"] {
        stubborn.store(true, Ordering::SeqCst);
        let world = World::new(nodes.clone());
        let deployment = nested(&world, &parent, &child, Persist::PerCall).await;
        let view = world.run(&deployment, json!({})).await.unwrap();
        assert_eq!(view.error.unwrap().code, "not-yet");
        assert_eq!(whole(&verified(&world).await).0, 3);
        stubborn.store(false, Ordering::SeqCst);
        world.engine.proceed(&thread()).await.unwrap();
        assert_eq!(whole(&verified(&world).await).0, 3, "it waits");
        let command = Command { update: object(json!({ "log": ["told"] })), goto: vec![] };
        world.advance_ms(1000);
        let view = world.engine.command(&thread(), Some(&Answers::Bare(json!(answer))), command, "ana").await.unwrap();
        assert_eq!(view.status, ThreadStatus::Done);
        assert_eq!(whole(&verified(&world).await).0, 4, "{answer}");
    }
    // An input that does not fit: the run never began.
    let strict = child.replace("x = { type = \"integer\" }", "x = { type = \"integer\", maximum = 3 }");
    let world = World::new(nodes);
    let deployment = nested(&world, &parent, &strict, Persist::PerCall).await;
    let view = world.run(&deployment, json!({ "x": 9 })).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Failed);
    assert_eq!(whole(&verified(&world).await).0, 1);
}

#[tokio::test]
async fn a_version_that_is_missing_is_named() {
    let world = chain_world().await;
    let graph = world.store.thread(&thread()).await.unwrap().unwrap().graph;
    let other = World::new(world.nodes.clone());
    let transfer = Transfer::read(world.store.as_ref(), &thread()).await.unwrap();
    let new = NewThread {
        epoch: Epoch(1),
        lineage: thread(),
        graph: graph.clone(),
        graph_name: transfer.thread.graph_name.clone(),
        tenant: holdpoint_graph::ids::Tenant::default(),
    };
    let commit = Commit {
        claim: Some(Claim { owner: "other".into(), lease_until_ms: NOON_MS }),
        head: Some(transfer.thread.head),
        checkpoints: transfer.checkpoints,
        tasks: transfer.tasks,
        ..Commit::new(thread(), Expect::New(new), ThreadStatus::Done, NOON_MS)
    };
    other.store.commit(commit).await.unwrap();
    let error = other.engine.verify(&thread(), |_, _| ()).await.unwrap_err();
    assert!(matches!(&error, Error::GraphUnavailable { digest, .. } if *digest == graph), "{error}");
    assert_eq!(error.code(), "HP0416");
}
