//! Doubt about an operation, and the words that end it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{self, FakeNodes, NOON_MS, World, thread, update};
use holdpoint_engine::{Error, Word};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::nodes::{NodeCall, NodeOutcome, NodeReport};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_store::{Journal, MemoryStore, ThreadStatus};
use serde_json::{Value, json};
use tokio::sync::Notify;

const PAY: &str =
    "start = \"pay\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\n[nodes.pay]\nnext = \"END\"\n";
const SETTLES_AT_MS: u64 = NOON_MS + 1000;

fn key() -> OperationKey {
    OperationKey {
        scope: Scope::Thread(thread()),
        connector: ConnectorName::parse("payments").unwrap(),
        id: OperationId::parse("refund:1").unwrap(),
    }
}

fn doubtful(call: &NodeCall, state: OperationState) -> OperationRecord {
    OperationRecord {
        key: key(),
        thread: call.task.thread.clone(),
        task: call.task.id.clone(),
        node: call.task.node.clone(),
        request: json!({ "amount": 1 }),
        request_digest: Digest::of_json(&json!({ "amount": 1 })),
        finished_at_ms: (state != OperationState::Intended).then_some(NOON_MS),
        state,
        epoch: call.task.epoch,
        begun_at_ms: NOON_MS,
        send_by_ms: Some(NOON_MS + 500),
        settles_at_ms: Some(SETTLES_AT_MS),
        notes: Vec::new(),
    }
}

/// What the effects do for an at-most-once operation whose reply was lost, without sending anything.
async fn pay(store: Arc<MemoryStore>, call: NodeCall) -> NodeReport {
    let in_doubt = || NodeOutcome::InDoubt { operation: key(), reason: "no answer".into() };
    match store.operation(&key()).await.unwrap().map(|record| record.state) {
        None => {
            let record = doubtful(&call, OperationState::InDoubt("no answer".into()));
            NodeReport { outcome: in_doubt(), operations: vec![record], hits: Vec::new() }
        }
        Some(OperationState::Completed(answer)) => update(json!({ "log": [answer] })).into(),
        Some(OperationState::Failed(failure)) => update(json!({ "log": [failure.code] })).into(),
        Some(OperationState::NotSent) => update(json!({ "log": ["sent again"] })).into(),
        Some(_) => in_doubt().into(),
    }
}

fn paying(store: &Arc<MemoryStore>) -> FakeNodes {
    let store = Arc::clone(store);
    FakeNodes::default().with_async("pay", move |call| Box::pin(pay(Arc::clone(&store), call)))
}

/// A thread that has parked on its one operation.
async fn parked() -> World {
    let store = Arc::new(MemoryStore::default());
    let plain = World::new(FakeNodes::default());
    let world =
        World::on(Arc::clone(&store), plain.clock, "first", paying(&store), holdpoint_engine::Config::default());
    let graph = world.deploy(PAY).await;
    assert_eq!(world.run(&graph, json!({})).await.unwrap().status, ThreadStatus::Interrupted);
    world
}

async fn status(world: &World) -> ThreadStatus {
    world.engine.view(&thread()).await.unwrap().status
}

#[tokio::test]
async fn each_word_ends_the_doubt_and_the_thread_goes_on() {
    let words: [(Word, &str, Value); 3] = [
        (Word::Happened(json!("receipt 7")), "happened", json!(["receipt 7"])),
        (Word::Send, "not-happened", json!(["sent again"])),
        (Word::Fail, "failed", json!(["settled-as-failed"])),
    ];
    for (word, said, log) in words {
        let world = parked().await;
        world.advance_ms(1000);
        let settled = world.engine.settle(&key(), word, "cli:ana", "asked the bank").await.unwrap();
        let note = settled.notes.last().unwrap();
        assert_eq!((note.kind.name(), note.by.as_str(), note.text.as_str()), (said, "cli:ana", "asked the bank"));
        assert_eq!(world.store.operation(&key()).await.unwrap(), Some(settled));
        assert_eq!(status(&world).await, ThreadStatus::Running, "it is anybody's to continue");
        let view = world.engine.proceed(&thread()).await.unwrap();
        assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, log));
    }
}

#[tokio::test]
async fn of_sixteen_words_one_counts_and_the_others_are_told_whose() {
    let world = parked().await;
    world.advance_ms(1000);
    let words = (0..16).map(|number| {
        let world = world.clone();
        async move {
            let word = if number % 2 == 0 { Word::Send } else { Word::Happened(json!(number)) };
            world.engine.settle(&key(), word, &format!("cli:{number}"), "because").await
        }
    });
    let results = futures_join(words).await;
    let winners: Vec<_> = results.iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    let winner = &winners[0].notes[0].by;
    for loser in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(loser.code(), "HP0431");
        assert!(loser.to_string().contains(winner.as_str()), "{loser}");
    }
}

async fn futures_join<T: Send + 'static>(
    futures: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let handles: Vec<_> = futures.map(tokio::spawn).collect();
    let mut results = Vec::new();
    for handle in handles {
        results.push(handle.await.unwrap());
    }
    results
}

#[tokio::test]
async fn nobody_can_say_that_it_will_not_happen_while_it_still_can() {
    let world = parked().await;
    world.advance_ms(999);
    for word in [Word::Send, Word::Fail, Word::Queue] {
        let error = world.engine.settle(&key(), word, "cli:ana", "hurry").await.unwrap_err();
        assert_eq!(error.code(), "HP0432", "{error}");
    }
    assert_eq!(status(&world).await, ThreadStatus::Interrupted);
    world.engine.settle(&key(), Word::Happened(json!(1)), "cli:ana", "I see it").await.unwrap();
}

#[tokio::test]
async fn what_is_not_in_doubt_is_not_settled() {
    let world = parked().await;
    world.advance_ms(1000);
    let unknown = OperationKey { id: OperationId::parse("other").unwrap(), ..key() };
    assert_eq!(world.engine.settle(&unknown, Word::Send, "x", "y").await.unwrap_err().code(), "HP0430");
    assert_eq!(world.engine.settle(&key(), Word::Send, "x", "  ").await.unwrap_err().code(), "HP0433");
    assert_eq!(world.engine.delete(&thread()).await.unwrap_err().code(), "HP0434");
    world.engine.settle(&key(), Word::Happened(json!(1)), "x", "y").await.unwrap();
    assert_eq!(world.engine.settle(&key(), Word::Fail, "x", "y").await.unwrap_err().code(), "HP0431");
}

#[tokio::test]
async fn an_intent_is_in_doubt_only_when_nobody_can_be_performing_it() {
    let begun = Arc::new(Notify::new());
    let signal = begun.clone();
    let nodes = FakeNodes::default().with_async("pay", move |call| {
        let signal = signal.clone();
        Box::pin(async move {
            call.journal.store(vec![doubtful(&call, OperationState::Intended)]).await.unwrap();
            signal.notify_one();
            std::future::pending().await
        })
    });
    let world = World::new(nodes);
    let graph = world.deploy(PAY).await;
    let other = world.second("second", FakeNodes::default());
    let worker = tokio::spawn({
        let world = world.clone();
        async move { world.run(&graph, json!({})).await }
    });
    begun.notified().await;
    world.advance_ms(1000);
    let error = other.engine.settle(&key(), Word::Send, "cli:ana", "it hangs").await.unwrap_err();
    assert!(matches!(error, Error::NotInDoubt(_)) && error.to_string().contains("being performed"), "{error}");
    worker.abort();
    other.owners.others_gone.store(true, Ordering::SeqCst);
    other.engine.settle(&key(), Word::Send, "cli:ana", "its process is gone").await.unwrap();
}

/// The word comes while a worker runs the task again and has already seen the doubt: the thread must not wait for a word that was said.
#[tokio::test]
async fn a_word_that_comes_while_the_task_runs_is_not_lost() {
    let store = Arc::new(MemoryStore::default());
    let (seen, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, wait, journal) = (seen.clone(), go_on.clone(), Arc::clone(&store));
    let nodes = FakeNodes::default().with_async("pay", move |call| {
        let (signal, wait, journal) = (signal.clone(), wait.clone(), Arc::clone(&journal));
        Box::pin(async move {
            let report = pay(journal, call).await;
            if matches!(report.outcome, NodeOutcome::InDoubt { .. }) && report.operations.is_empty() {
                signal.notify_one();
                wait.notified().await;
            }
            report
        })
    });
    let clock = World::new(FakeNodes::default()).clock;
    let world = World::on(Arc::clone(&store), clock, "first", nodes, holdpoint_engine::Config::default());
    let graph = world.deploy(PAY).await;
    world.run(&graph, json!({})).await.unwrap();
    world.advance_ms(1000);
    let worker = tokio::spawn({
        let world = world.clone();
        async move { world.engine.proceed(&thread()).await }
    });
    seen.notified().await;
    world.engine.settle(&key(), Word::Happened(json!("late")), "cli:ana", "I see it").await.unwrap();
    go_on.notify_one();
    let view = worker.await.unwrap().unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["late"])));
}

/// A worker sleeps past its lease between its intent and its outcome; a person settles; the worker wakes up with another outcome.
#[tokio::test]
async fn a_word_fences_off_whoever_still_has_the_operation_in_hand() {
    let (begun, wake) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (signal, wait) = (begun.clone(), wake.clone());
    let nodes = FakeNodes::default().with_async("pay", move |call| {
        let (signal, wait) = (signal.clone(), wait.clone());
        Box::pin(async move {
            call.journal.store(vec![doubtful(&call, OperationState::Intended)]).await.unwrap();
            signal.notify_one();
            wait.notified().await;
            let landed = doubtful(&call, OperationState::Completed(json!("landed")));
            NodeReport { outcome: update(json!({ "log": ["landed"] })), operations: vec![landed], hits: Vec::new() }
        })
    });
    let world = World::new(nodes);
    let graph = world.deploy(PAY).await;
    let other = world.second("second", paying(&world.store));
    let worker = tokio::spawn({
        let world = world.clone();
        async move { world.run(&graph, json!({})).await }
    });
    begun.notified().await;
    world.advance_ms(60_000);
    other.engine.settle(&key(), Word::Fail, "cli:ana", "it is not at the bank").await.unwrap();
    wake.notify_one();
    assert_eq!(worker.await.unwrap().unwrap_err().code(), "HP0403", "the worker is told");
    assert_eq!(world.store.operation(&key()).await.unwrap().unwrap().state.name(), "failed", "the word stands");
    let view = other.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["settled-as-failed"])));
}

#[tokio::test]
async fn doubt_in_a_nested_subgraph_stops_the_thread_and_is_settled_where_it_is() {
    use holdpoint_engine::InterruptKind;
    use holdpoint_graph::definition::{GraphReference, Persist, Subgraph, Work};
    use holdpoint_graph::ids::NodeName;
    for persist in [Persist::PerCall, Persist::PerThread, Persist::None] {
        let store = Arc::new(MemoryStore::default());
        let plain = World::new(FakeNodes::default());
        let nodes = paying(&store).with("after", support::logs("after"));
        let world = World::on(Arc::clone(&store), plain.clock, "first", nodes, holdpoint_engine::Config::default());
        let mut inner = world.deploy(PAY).await.digest;
        let log = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";
        for text in [
            format!("start = \"mid\"\n{log}[nodes.mid]\n"),
            format!("start = \"top\"\n{log}[nodes.top]\nnext = \"after\"\n[nodes.after]\n"),
        ] {
            let mut graph = support::graph(&text);
            let name = NodeName::parse(if text.contains("top") { "top" } else { "mid" }).unwrap();
            graph.nodes.get_mut(&name).unwrap().work =
                Work::Subgraph(Subgraph { graph: GraphReference::Digest(inner), persist });
            inner = world.engine.deploy(graph).await.unwrap().digest;
        }
        let version = world.engine.version(&inner).await.unwrap();
        let deployment = holdpoint_engine::Deployment { digest: inner, graph: Arc::clone(&version.graph) };
        let view = world.run(&deployment, json!({})).await.unwrap();
        assert_eq!((view.status, view.interrupts.len()), (ThreadStatus::Interrupted, 1), "{persist:?}");
        assert_eq!((view.interrupts[0].kind, view.interrupts[0].id.as_str()), (InterruptKind::InDoubt, "refund:1"));
        let input = holdpoint_engine::Input { values: json!({}), supersede: true };
        let refused = world.engine.input(&thread(), input).await;
        assert!(matches!(refused, Err(Error::NotFinished { .. })), "doubt is never dropped");
        world.advance_ms(1000);
        world.engine.settle(&key(), Word::Happened(json!("receipt 7")), "cli:ana", "asked the bank").await.unwrap();
        assert_eq!(status(&world).await, ThreadStatus::Running, "{persist:?}: it is anybody's to continue");
        let view = world.engine.proceed(&thread()).await.unwrap();
        assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["receipt 7", "after"])));
    }
}
