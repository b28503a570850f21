//! Ids of operations that their author did not name.

use crate::support::counting::Counting;
use crate::support::{World, lines, operation};
use holdpoint_effects::OperationRequest;
use holdpoint_effects::configuration::Class;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{OperationId, TaskId, ThreadId};
use holdpoint_graph::nodes::NodeCall;
use serde_json::{Value, json};

fn unnamed(request: Value) -> OperationRequest {
    operation(None, "payments", request)
}

/// One execution, committed; the ids that it sent.
async fn execute(
    world: &World,
    counting: &Counting,
    call: &NodeCall,
    calls: Vec<Vec<OperationRequest>>,
) -> Vec<String> {
    let before = counting.sent().len();
    let mut effects = world.effects.task(call);
    for requests in calls {
        effects.perform_all(requests).await.unwrap();
    }
    world.journal.commit(effects.finish().operations);
    counting.sent()[before..].to_vec()
}

#[tokio::test]
async fn an_id_is_where_what_and_which() {
    let counting = Counting::default();
    let world = World::of(counting.configuration(Class::AtMostOnce, ""), std::sync::Arc::default());
    let call = world.call("t", 7);
    let id = |request: &Value, occurrence| {
        let digest = Digest::of_json(&json!({ "connector": "payments", "request": request }));
        OperationId::derive(&call.task.operations, &digest, occurrence).to_string()
    };
    let (one, two) = (json!({ "b": 1, "a": 2 }), json!({ "b": 2 }));
    let calls = || {
        vec![
            // Refused ones count where they are equal, and nowhere else; named ones count too.
            vec![operation(None, "other", one.clone()), unnamed(one.clone()), unnamed(two.clone())],
            vec![operation(Some("a\nb"), "payments", two.clone())],
            vec![operation(Some("named"), "payments", one.clone())],
            vec![unnamed(json!({ "a": 2, "b": 1.0 })), unnamed(two.clone())],
        ]
    };
    let sent = execute(&world, &counting, &call, calls()).await;
    assert_eq!(sent, [id(&one, 0), id(&two, 0), "named".into(), id(&one, 2), id(&two, 2)]);

    // A repetition of the task on another branch of the lineage: another task, the same place.
    let mut repetition = world.call("fork", 8);
    repetition.task.lineage = ThreadId::parse("t").unwrap();
    repetition.task.operations = call.task.operations.clone();
    assert_eq!(execute(&world, &counting, &repetition, calls()).await, [""; 0], "all have records");
    // What else it asks for, and in which order, changes nothing.
    let other = vec![vec![unnamed(json!("new")), unnamed(two.clone()), unnamed(one.clone())]];
    assert_eq!(execute(&world, &counting, &repetition, other).await, [id(&json!("new"), 0)]);
    // Another place has ids of its own.
    let mut elsewhere = call.clone();
    elsewhere.task.operations = TaskId::parse("00000000-0000-8000-8000-00000000f0ff").unwrap();
    let sent = execute(&world, &counting, &elsewhere, vec![vec![unnamed(one.clone())]]).await;
    assert_eq!(sent.len(), 1);
    assert_ne!(sent[0], id(&one, 0));
}

#[tokio::test]
async fn equal_requests_of_two_connectors_are_two_operations() {
    let (payments, ledger) = (Counting::default(), Counting::default());
    let mut configuration = payments.configuration(Class::AtMostOnce, "");
    let mut settings = ledger.configuration(Class::AtMostOnce, "").connectors.into_values().next().unwrap();
    settings.class = Class::AtMostOnce;
    configuration.connectors.insert(holdpoint_graph::ids::ConnectorName::parse("ledger").unwrap(), settings);
    let world = World::of(configuration, std::sync::Arc::default());
    let requests = vec![unnamed(json!(1)), operation(None, "ledger", json!(1))];
    let results = lines(world.task("t", 1).perform_all(requests).await);
    assert_eq!(results, ["ok \"sent\"", "ok \"sent\""]);
    assert_ne!(payments.sent(), ledger.sent());
    assert!([&payments, &ledger].iter().all(|one| one.sent()[0].ends_with(":0")), "each is the first of its kind");
}
