//! Doubt about an operation: where it is found, what it holds up, and what a word leaves in its record.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{self, FakeNodes, NOON_MS, World, doubting, failed, operation, operation_key, thread, update};
use holdpoint_engine::{AsNode, Config, Deployment, Error, Input, Update, Word};
use holdpoint_graph::definition::{GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::ids::{NodeName, ThreadId};
use holdpoint_graph::nodes::{NodeCall, NodeOutcome, NodeReport};
use holdpoint_graph::operation::{NoteKind, OperationNote, OperationState};
use holdpoint_store::{Journal, MemoryStore, Store, ThreadStatus};
use serde_json::json;
use tokio::sync::Notify;

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

fn alone(node: &str) -> String {
    format!("start = \"{node}\"\n{LOG}[nodes.{node}]\n")
}

fn in_doubt(call: &NodeCall, id: &str, operations: bool) -> NodeReport {
    let reason = "no answer".to_owned();
    let record = operation(call, id, OperationState::InDoubt(reason.clone()));
    let outcome = NodeOutcome::InDoubt { operation: record.key.clone(), reason };
    NodeReport { outcome, operations: if operations { vec![record] } else { Vec::new() }, hits: Vec::new() }
}

#[tokio::test]
async fn a_word_that_queues_an_operation_lets_it_leave_anew() {
    let lookup = OperationNote {
        at_ms: NOON_MS,
        kind: NoteKind::Approved,
        by: "standing:finance".to_owned(),
        text: "below the limit".to_owned(),
    };
    let noted = lookup.clone();
    let nodes = FakeNodes::default().with_async("pay", move |call| {
        let noted = noted.clone();
        Box::pin(async move {
            let mut report = in_doubt(&call, "one", true);
            let record = &mut report.operations[0];
            record.send_by_ms = Some(NOON_MS + 500);
            record.settles_at_ms = Some(NOON_MS + 1000);
            record.notes = vec![noted];
            report
        })
    });
    let world = World::new(nodes);
    let graph = world.deploy(&alone("pay")).await;
    world.run(&graph, json!({})).await.unwrap();
    // From this very moment it cannot land any more.
    world.advance_ms(1000);
    let key = operation_key(&thread(), "one");
    let settled = world.engine.settle(&key, Word::Queue, "cli:ana", "not at the bank").await.unwrap();
    assert_eq!(settled.state, OperationState::Queued { attempts: 0, due_at_ms: NOON_MS + 1000 });
    // The bounds of the first attempt would forbid every other.
    assert_eq!((settled.send_by_ms, settled.settles_at_ms, settled.finished_at_ms), (None, None, None));
    let kinds: Vec<_> = settled.notes.iter().map(|note| (note.kind, note.by.as_str())).collect();
    assert_eq!(kinds, [(NoteKind::Approved, "standing:finance"), (NoteKind::NotHappened, "cli:ana")]);
    assert_eq!(world.store.operation(&key).await.unwrap(), Some(settled));
}

#[tokio::test]
async fn an_intent_of_a_worker_that_lost_the_thread_is_in_doubt() {
    let (begun, again) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signal = Arc::clone(&begun);
    let first = FakeNodes::default().with_async("pay", move |call| {
        let signal = Arc::clone(&signal);
        Box::pin(async move {
            call.journal.store(vec![operation(&call, "one", OperationState::Intended)]).await.unwrap();
            signal.notify_one();
            std::future::pending().await
        })
    });
    let world = World::new(first);
    let graph = world.deploy(&alone("pay")).await;
    let running = tokio::spawn({
        let world = world.clone();
        async move { world.run(&graph, json!({})).await }
    });
    begun.notified().await;
    running.abort();
    // Somebody else holds the thread now, and has not touched the operation.
    let signal = Arc::clone(&again);
    let second = world.second(
        "second",
        FakeNodes::default().with_async("pay", move |_| {
            let signal = Arc::clone(&signal);
            Box::pin(async move {
                signal.notify_one();
                std::future::pending().await
            })
        }),
    );
    second.owners.others_gone.store(true, Ordering::SeqCst);
    let running = tokio::spawn(async move { second.engine.proceed(&thread()).await });
    again.notified().await;
    let third = world.second("third", FakeNodes::default());
    let key = operation_key(&thread(), "one");
    let settled = third.engine.settle(&key, Word::Happened(json!("receipt")), "cli:ana", "it is there").await.unwrap();
    assert_eq!(settled.state, OperationState::Completed(json!("receipt")));
    running.abort();
}

/// Of two operations in doubt inside a subgraph one is settled while a worker runs both tasks again: the thread does not wait for that one.
#[tokio::test]
async fn a_word_on_one_of_two_doubts_in_a_subgraph_is_not_lost() {
    let store = Arc::new(MemoryStore::default());
    let (seen, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let pay = |id: &'static str, waits: bool| {
        let (journal, seen, go_on) = (Arc::clone(&store), Arc::clone(&seen), Arc::clone(&go_on));
        move |call: NodeCall| {
            let (journal, seen, go_on) = (Arc::clone(&journal), Arc::clone(&seen), Arc::clone(&go_on));
            let run = async move {
                let found = journal.operation(&operation_key(&call.task.lineage, id)).await.unwrap();
                match found.map(|record| record.state) {
                    None => in_doubt(&call, id, true),
                    Some(OperationState::Completed(answer)) => update(json!({ "log": [answer] })).into(),
                    Some(_) => {
                        if waits {
                            seen.notify_one();
                            go_on.notified().await;
                        }
                        in_doubt(&call, id, false)
                    }
                }
            };
            Box::pin(run) as std::pin::Pin<Box<dyn Future<Output = NodeReport> + Send>>
        }
    };
    let nodes = FakeNodes::default().with_async("a", pay("one", false)).with_async("b", pay("two", true));
    let clock = World::new(FakeNodes::default()).clock;
    let world = World::on(Arc::clone(&store), clock, "first", nodes, Config::default());
    let child = world.deploy(&format!("start = [\"a\", \"b\"]\n{LOG}[nodes.a]\n[nodes.b]\n")).await;
    let deployment = calling(&world, child, Persist::PerCall).await;
    assert_eq!(world.run(&deployment, json!({})).await.unwrap().interrupts.len(), 2);
    let worker = tokio::spawn({
        let world = world.clone();
        async move { world.engine.proceed(&thread()).await }
    });
    seen.notified().await;
    let key = operation_key(&thread(), "two");
    world.engine.settle(&key, Word::Happened(json!("two")), "cli:ana", "I see it").await.unwrap();
    go_on.notify_one();
    let view = worker.await.unwrap().unwrap();
    let waiting: Vec<_> = view.interrupts.iter().map(|interrupt| interrupt.id.as_str()).collect();
    assert_eq!((view.status, waiting), (ThreadStatus::Interrupted, vec!["one"]));
}

/// A graph whose one node runs `child`.
async fn calling(world: &World, child: Deployment, persist: Persist) -> Deployment {
    let mut parent = support::graph(&alone("child"));
    let work = Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest), persist });
    parent.nodes.get_mut(&NodeName::parse("child").unwrap()).unwrap().work = work;
    world.engine.deploy(parent).await.unwrap()
}

/// Everything that would let the doubt out of sight.
async fn is_held(world: &World, graph: &Deployment) {
    let commits = world.commits();
    let end = [vec![Update { as_node: Some(AsNode::End), ..Update::default() }]];
    let from = world.engine.history(&thread(), None, 1).await.unwrap()[0].checkpoint.clone();
    let input = Input { values: json!({}), supersede: true };
    let refusals = [
        world.engine.run(&thread(), graph, input).await,
        world.engine.update(&thread(), None, &end).await,
        world.engine.replay(&thread(), &from).await,
        world.engine.fork(&thread(), &from, end[0][0].clone()).await,
        world.engine.copy(&thread(), &ThreadId::parse("copy").unwrap()).await,
    ];
    for refused in refusals {
        assert!(matches!(refused, Err(Error::NotFinished { .. })), "{refused:?}");
    }
    assert!(matches!(world.engine.delete(&thread()).await, Err(Error::DeleteInDoubt { .. })));
    assert_eq!(world.commits(), commits, "nothing is written");
}

#[tokio::test]
async fn doubt_holds_up_whatever_would_lose_sight_of_it() {
    let world = World::new(doubting(FakeNodes::default(), "pay"));
    let graph = world.deploy(&alone("pay")).await;
    assert_eq!(world.run(&graph, json!({})).await.unwrap().status, ThreadStatus::Interrupted);
    is_held(&world, &graph).await;
}

#[tokio::test]
async fn doubt_in_a_subgraph_holds_up_whatever_would_lose_sight_of_it() {
    for persist in [Persist::PerCall, Persist::PerThread, Persist::None] {
        let world = World::new(doubting(FakeNodes::default(), "pay"));
        let child = world.deploy(&alone("pay")).await;
        let graph = calling(&world, child, persist).await;
        assert_eq!(world.run(&graph, json!({})).await.unwrap().status, ThreadStatus::Interrupted);
        is_held(&world, &graph).await;
    }
}

#[tokio::test]
async fn an_intent_that_a_failed_node_left_behind_is_a_doubt() {
    // The node failed, as far as it knows; what it had begun may have happened.
    let nodes = FakeNodes::default().with_async("pay", |call| {
        Box::pin(async move {
            call.journal.store(vec![operation(&call, "one", OperationState::Intended)]).await.unwrap();
            failed("lost its way", false).into()
        })
    });
    let world = World::new(nodes);
    let graph = world.deploy(&alone("pay")).await;
    assert_eq!(world.run(&graph, json!({})).await.unwrap().status, ThreadStatus::Failed);
    is_held(&world, &graph).await;
    let key = operation_key(&thread(), "one");
    world.engine.settle(&key, Word::Happened(json!(1)), "cli:ana", "it is there").await.unwrap();
    let end = [vec![Update { as_node: Some(AsNode::End), ..Update::default() }]];
    assert_eq!(world.engine.update(&thread(), None, &end).await.unwrap().status, ThreadStatus::Done);
    assert!(world.store.thread(&thread()).await.unwrap().unwrap().error.is_none());
}
