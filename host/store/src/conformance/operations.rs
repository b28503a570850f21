//! The journal of operations.

use std::sync::Arc;

use holdpoint_graph::ids::{ConnectorName, Epoch};
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use serde_json::{Value, json};

use super::scene::{self, NOW_MS, apply, create, head, operation, operation_key, replace, step, task, thread, update};
use crate::store::{Commit, Store};

async fn stored(store: &Arc<dyn Store>, key: &OperationKey) -> OperationRecord {
    store.operation(key).await.expect("the store can be read").expect("the operation is there")
}

/// An intent and then its outcome: the key has one record, the last.
pub async fn an_operation_is_replaced_under_its_key(store: Arc<dyn Store>) {
    let task = task("t", 0, "pull:pay");
    let intent = OperationRecord {
        state: OperationState::Intended,
        send_by_ms: Some(NOW_MS + 10),
        finished_at_ms: None,
        ..operation("t", "op", &task)
    };
    apply(&store, Commit { operations: vec![intent.clone()], ..create("t", replace([])) }).await;
    assert_eq!(stored(&store, &intent.key).await, intent);
    let outcome = OperationRecord { epoch: Epoch(7), request: json!("changed"), ..operation("t", "op", &task) };
    apply(&store, Commit { operations: vec![outcome.clone()], ..update("t", 1) }).await;
    assert_eq!(stored(&store, &intent.key).await, outcome);
    assert_eq!(store.operations(&thread("t")).await, Ok(vec![outcome]));
}

/// All that an operation records comes back, in every state.
pub async fn operations_in_every_state_come_back(store: Arc<dyn Store>) {
    let failure = |retry_after_ms, details| Failure {
        code: "declined".to_owned(),
        message: "no \u{0} funds".to_owned(),
        retryable: true,
        retry_after_ms,
        details,
    };
    let states = [
        OperationState::Intended,
        OperationState::Completed(Value::Null),
        OperationState::Completed(json!({ "status": 201, "body": [u64::MAX, 0.1] })),
        OperationState::Failed(failure(None, None)),
        OperationState::Failed(failure(Some(500), Some(Value::Null))),
        OperationState::InDoubt(String::new()),
        OperationState::InDoubt("timed out \"after\" 10 s".to_owned()),
        OperationState::NotSent,
    ];
    apply(&store, create("t", replace([]))).await;
    let task = task("t", 0, "pull:pay");
    for (index, state) in states.into_iter().enumerate() {
        let record = OperationRecord { state, ..operation("t", &format!("op:{index}"), &task) };
        apply(&store, Commit { operations: vec![record.clone()], ..update("t", 1) }).await;
        assert_eq!(stored(&store, &record.key).await, record);
    }
}

/// Scope, connector and id each tell operations apart.
pub async fn keys_differ_by_each_part(store: Arc<dyn Store>) {
    let task = task("t", 0, "pull:pay");
    let first = operation("t", "op", &task);
    let connector = ConnectorName::parse("ledger").expect("valid");
    let keys = [
        first.key.clone(),
        OperationKey { scope: Scope::Thread(thread("other")), ..first.key.clone() },
        OperationKey { scope: Scope::Global("t".to_owned()), ..first.key.clone() },
        OperationKey { scope: Scope::Global("thread:t ü".to_owned()), ..first.key.clone() },
        OperationKey { connector, ..first.key.clone() },
        operation_key("t", "OP"),
    ];
    let records: Vec<OperationRecord> =
        (0..).zip(keys).map(|(index, key)| OperationRecord { key, request: json!(index), ..first.clone() }).collect();
    apply(&store, Commit { operations: records.clone(), ..create("t", replace([])) }).await;
    for record in &records {
        assert_eq!(stored(&store, &record.key).await, *record);
    }
    assert_eq!(store.operations(&thread("t")).await, Ok(records));
}

/// Only those that the thread performed first, oldest first.
pub async fn a_threads_operations_come_oldest_first(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    let task = task("t", 0, "pull:pay");
    let begun = |id: &str, begun_at_ms| OperationRecord { begun_at_ms, ..operation("t", id, &task) };
    let others = OperationRecord { thread: thread("other"), ..begun("other", 1) };
    apply(&store, Commit { operations: vec![begun("c", 3), begun("a", 1), others], ..update("t", 1) }).await;
    apply(&store, Commit { operations: vec![begun("b", 1), begun("d", 2), begun("c", 3)], ..update("t", 1) }).await;
    let found = store.operations(&thread("t")).await.expect("the store can be read");
    let ids: Vec<&str> = found.iter().map(|record| record.key.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "d", "c"]);
}

/// A snapshot shows the operations of its own tasks that have no outcome, and only those.
pub async fn a_snapshot_shows_what_its_tasks_left_unsettled(store: Arc<dyn Store>) {
    let (mine, older) = (task("t", 1, "pull:pay"), task("t", 0, "pull:pay"));
    let record = |id: &str, state, task| OperationRecord { state, ..operation("t", id, task) };
    let doubt = || OperationState::InDoubt("no answer".to_owned());
    let unrecorded = task("t", 1, "pull:unrecorded");
    let expected = [record("intended", OperationState::Intended, &mine), record("doubt", doubt(), &mine)];
    let operations = vec![
        expected[0].clone(),
        record("completed", OperationState::Completed(json!(1)), &mine),
        record("not-sent", OperationState::NotSent, &mine),
        expected[1].clone(),
        record("older", doubt(), &older),
        record("unrecorded", doubt(), &unrecorded),
        OperationRecord { thread: thread("other"), ..record("foreign", doubt(), &mine) },
    ];
    apply(&store, create("t", replace([]))).await;
    let commit = Commit { tasks: vec![mine, older], operations, ..step("t", 1, 1, 0, replace([])) };
    apply(&store, commit).await;
    assert_eq!(head(&store, "t").await.unsettled, expected);
    assert_eq!(scene::at(&store, "t", 0).await.unsettled.len(), 1);
}
