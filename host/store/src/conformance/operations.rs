//! The journal of operations.

use std::sync::Arc;

use holdpoint_graph::ids::{ConnectorName, Epoch, OperationId};
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::{
    NoteKind, OperationHit, OperationKey, OperationNote, OperationRecord, OperationState, Scope,
};
use serde_json::{Value, json};

use super::scene::{self, NOW_MS, apply, create, head, operation, operation_key, replace, step, task, thread, update};
use crate::store::{Commit, Error, Expect, OperationCounts, OperationFilter, Store};

fn note(kind: NoteKind) -> OperationNote {
    OperationNote { at_ms: NOW_MS, kind, by: "cli:ana".to_owned(), text: "ticket \"7\" \u{0} ü".to_owned() }
}

fn ids(found: &[OperationRecord]) -> Vec<&str> {
    found.iter().map(|record| record.key.id.as_str()).collect()
}

async fn stored(store: &Arc<dyn Store>, key: &OperationKey) -> OperationRecord {
    store.operation(key).await.expect("the store can be read").expect("the operation is there")
}

/// An intent and then its outcome: the key has one record, the last.
pub async fn an_operation_is_replaced_under_its_key(store: Arc<dyn Store>) {
    let task = task("t", 0, "pull:pay");
    let intent = OperationRecord {
        state: OperationState::Intended,
        send_by_ms: Some(NOW_MS + 10),
        settles_at_ms: Some(NOW_MS + 20),
        notes: vec![note(NoteKind::Approved)],
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
        OperationState::Queued { attempts: 0, due_at_ms: 0 },
        OperationState::Queued { attempts: u32::MAX, due_at_ms: NOW_MS },
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

/// The moment at which a doubt settles, and all that was said of an operation, come back in order.
pub async fn notes_and_the_settling_moment_come_back(store: Arc<dyn Store>) {
    let task = task("t", 0, "pull:pay");
    apply(&store, create("t", replace([]))).await;
    let mut record = OperationRecord { settles_at_ms: Some(0), ..operation("t", "op", &task) };
    for (at_ms, (kind, _)) in (0..).zip(NoteKind::NAMES.into_iter().rev()) {
        record.notes.push(OperationNote { at_ms, ..note(kind) });
        record.settles_at_ms = Some(NOW_MS + at_ms);
        apply(&store, Commit { operations: vec![record.clone()], ..update("t", 1) }).await;
        assert_eq!(stored(&store, &record.key).await, record);
    }
    record.notes.push(OperationNote { by: String::new(), text: String::new(), ..note(NoteKind::Failed) });
    record.settles_at_ms = None;
    apply(&store, Commit { operations: vec![record.clone()], ..update("t", 1) }).await;
    assert_eq!(stored(&store, &record.key).await, record);
    record.notes.clear();
    apply(&store, Commit { operations: vec![record.clone()], ..update("t", 1) }).await;
    assert_eq!(stored(&store, &record.key).await, record);
}

/// What no database can hold is refused.
pub async fn moments_out_of_range_are_refused(store: Arc<dyn Store>) {
    let task = task("t", 0, "pull:pay");
    apply(&store, create("t", replace([]))).await;
    let good = operation("t", "op", &task);
    let queued = OperationState::Queued { attempts: 0, due_at_ms: u64::MAX };
    let records = [
        OperationRecord { settles_at_ms: Some(u64::MAX), ..good.clone() },
        OperationRecord { notes: vec![OperationNote { at_ms: u64::MAX, ..note(NoteKind::Failed) }], ..good.clone() },
        OperationRecord { state: queued, ..good.clone() },
    ];
    for record in records {
        let outcome = store.commit(Commit { operations: vec![record.clone()], ..update("t", 1) }).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
        let outcome = store.exchange_operation(&good, record, NOW_MS, Vec::new()).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    }
    let hit = OperationHit { at_ms: u64::MAX, ..scene::hit(&good.key, "t", &task) };
    let outcome = store.commit(Commit { hits: vec![hit], ..update("t", 1) }).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    assert_eq!(store.operation(&good.key).await, Ok(None));
    assert_eq!(store.hits(&good.key).await, Ok(Vec::new()));
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
    assert_eq!(ids(&found), ["a", "b", "d", "c"]);
}

/// By id, by thread, by having no outcome, and by all of it; oldest first, at most the limit.
pub async fn operations_are_found_across_threads(store: Arc<dyn Store>) {
    let task = task("t", 0, "pull:pay");
    let record =
        |name: &str, id: &str, begun_at_ms, state| OperationRecord { state, begun_at_ms, ..operation(name, id, &task) };
    let queued = || OperationState::Queued { attempts: 1, due_at_ms: NOW_MS };
    let done = || OperationState::Completed(json!(1));
    let failed = Failure {
        code: "no".to_owned(),
        message: String::new(),
        retryable: false,
        retry_after_ms: None,
        details: None,
    };
    let first = vec![
        record("t", "same", 5, done()),
        record("t", "doubt", 3, OperationState::InDoubt("lost".to_owned())),
        record("t", "queued", 4, queued()),
        record("other", "same", 5, OperationState::Intended),
    ];
    let second = vec![
        record("other", "failed", 9, OperationState::Failed(failed)),
        record("other", "intended", 3, OperationState::Intended),
        record("t", "not-sent", 1, OperationState::NotSent),
        record("third", "same", 4, queued()),
        // Replaced, so it keeps its place among those of its moment.
        record("t", "same", 5, done()),
    ];
    apply(&store, Commit { operations: first, ..create("t", replace([])) }).await;
    apply(&store, Commit { operations: second, ..update("t", 1) }).await;
    let all = OperationFilter { limit: usize::MAX, ..OperationFilter::default() };
    let by_id = OperationFilter { id: Some(OperationId::parse("same").expect("valid")), ..all.clone() };
    let by_thread = OperationFilter { thread: Some(thread("t")), ..all.clone() };
    let unknown = OperationFilter { id: Some(OperationId::parse("SAME").expect("valid")), ..all.clone() };
    let open = |filter: &OperationFilter| OperationFilter { open: true, ..filter.clone() };
    let both = OperationFilter { thread: Some(thread("other")), ..by_id.clone() };
    let in_order =
        ["t not-sent", "t doubt", "other intended", "t queued", "third same", "t same", "other same", "other failed"];
    let cases: [(&OperationFilter, &[&str]); 9] = [
        (&all, &in_order),
        (&open(&all), &["t doubt", "other intended", "t queued", "third same", "other same"]),
        (&by_id, &["third same", "t same", "other same"]),
        (&open(&by_id), &["third same", "other same"]),
        (&by_thread, &["t not-sent", "t doubt", "t queued", "t same"]),
        (&open(&by_thread), &["t doubt", "t queued"]),
        (&both, &["other same"]),
        (&open(&OperationFilter { thread: Some(thread("t")), ..by_id.clone() }), &[]),
        (&unknown, &[]),
    ];
    for (filter, expected) in cases {
        for limit in [usize::MAX, 2, 1, 0] {
            let filter = OperationFilter { limit, ..filter.clone() };
            let found = store.find_operations(&filter).await.expect("the store can be read");
            let found: Vec<String> =
                found.iter().map(|record| format!("{} {}", record.thread, record.key.id)).collect();
            assert_eq!(found, expected[..expected.len().min(limit)], "{filter:?}");
        }
    }
    let whole = store.find_operations(&by_thread).await;
    assert_eq!(whole, store.operations(&thread("t")).await);
}

/// Queued ones whose moment has come, the longest due first, at most the limit.
pub async fn due_operations_come_longest_due_first(store: Arc<dyn Store>) {
    let task = task("t", 0, "pull:pay");
    let queued = |id: &str, due_at_ms| OperationRecord {
        state: OperationState::Queued { attempts: 0, due_at_ms },
        begun_at_ms: 100 - due_at_ms,
        ..operation("t", id, &task)
    };
    let intended = OperationRecord { state: OperationState::Intended, ..operation("t", "intended", &task) };
    let operations =
        vec![queued("c", 30), queued("a", 10), intended, queued("b1", 20), queued("z", 40), queued("b2", 20)];
    apply(&store, Commit { operations, ..create("t", replace([])) }).await;
    let due = async |now_ms, limit| {
        let found = store.due_operations(now_ms, limit).await.expect("the store can be read");
        ids(&found).join(" ")
    };
    assert_eq!(due(9, 100).await, "");
    assert_eq!(due(10, 100).await, "a");
    assert_eq!(due(39, usize::MAX).await, "a b1 b2 c");
    assert_eq!(due(u64::MAX, 100).await, "a b1 b2 c z");
    assert_eq!(due(39, 2).await, "a b1");
    assert_eq!(due(39, 0).await, "");
    assert_eq!(store.due_operations(10, 1).await, Ok(vec![queued("a", 10)]));
    let done = OperationRecord { state: OperationState::NotSent, ..queued("a", 10) };
    apply(&store, Commit { operations: vec![done], ..update("t", 1) }).await;
    assert_eq!(store.exchange_operation(&queued("b1", 20), queued("b1", 50), NOW_MS, Vec::new()).await, Ok(true));
    assert_eq!(due(40, 100).await, "b2 c z", "those that went on are not due");
}

/// Hits come back by key, oldest first, with the commit that stored them and for ever.
pub async fn hits_come_oldest_first_and_stay(store: Arc<dyn Store>) {
    let (first, second) = (task("t", 0, "pull:a"), task("t", 0, "pull:b"));
    let key = OperationKey { scope: Scope::Global("refünds".to_owned()), ..operation_key("t", "op") };
    let hit = |key: &OperationKey, name: &str, at_ms| OperationHit { at_ms, ..scene::hit(key, name, &first) };
    let other = operation_key("t", "op");
    assert_eq!(store.hits(&key).await, Ok(Vec::new()));
    let hits = vec![hit(&key, "t", 3), hit(&other, "t", 2), hit(&key, "t", 1)];
    apply(&store, Commit { hits, ..create("t", replace([])) }).await;
    let again = OperationHit { task: second.id.clone(), ..hit(&key, "u", 1) };
    apply(&store, Commit { hits: vec![again.clone(), hit(&key, "u", 3)], ..create("u", replace([])) }).await;
    let refused = store.commit(Commit { hits: vec![hit(&key, "t", 2)], ..update("t", 9) }).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    let expected = vec![hit(&key, "t", 1), again, hit(&key, "t", 3), hit(&key, "u", 3)];
    assert_eq!(store.hits(&key).await, Ok(expected.clone()));
    assert_eq!(store.hits(&other).await, Ok(vec![hit(&other, "t", 2)]));
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(store.hits(&key).await, Ok(expected), "what was audited outlives its thread");
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
        record("queued", OperationState::Queued { attempts: 0, due_at_ms: NOW_MS }, &mine),
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

/// Two tasks may queue one operation; whichever commits second must not undo what became of the first.
pub async fn a_queued_operation_replaces_only_what_was_not_sent(store: Arc<dyn Store>) {
    apply(&store, create("t", replace([]))).await;
    let queued = |record: &OperationRecord| OperationRecord {
        state: OperationState::Queued { attempts: 0, due_at_ms: NOW_MS },
        finished_at_ms: None,
        ..record.clone()
    };
    for (id, state, replaced) in [
        ("done", OperationState::Completed(json!(1)), false),
        ("intended", OperationState::Intended, false),
        ("again", OperationState::NotSent, true),
    ] {
        let record = OperationRecord { state, ..operation("t", id, &task("t", 0, "pull:a")) };
        for operations in [vec![record.clone()], vec![queued(&record)]] {
            apply(&store, Commit { operations, ..update("t", 1) }).await;
        }
        let found = store.operation(&record.key).await.expect("readable").expect("stored");
        assert_eq!(found.state.name() == "queued", replaced, "{id}: {:?}", found.state);
    }
}

/// Operations are their thread's tenant's, whoever looks for them and whatever became of the thread; open ones are counted for each.
pub async fn operations_are_their_threads_tenants(store: Arc<dyn Store>) {
    let states = [
        OperationState::Intended,
        OperationState::InDoubt("lost".to_owned()),
        OperationState::Queued { attempts: 0, due_at_ms: 5 },
        OperationState::Completed(json!(1)),
        OperationState::NotSent,
    ];
    for (name, of) in [("a", "acme"), ("b", "other")] {
        let mut commit = create(name, replace([]));
        if let Expect::New(new) = &mut commit.expect {
            new.tenant = scene::tenant(of);
        }
        let task = task(name, 0, "pull:pay");
        commit.operations = (0..)
            .zip(&states)
            .map(|(number, state)| OperationRecord {
                state: state.clone(),
                begun_at_ms: NOW_MS + 9 - number,
                ..operation(name, &format!("op:{number}"), &task)
            })
            .collect();
        commit.tasks = vec![task];
        apply(&store, commit).await;
    }
    let found = async |filter: OperationFilter| {
        let found = store.find_operations(&filter).await.expect("the store can be read");
        found.into_iter().map(|record| format!("{} {}", record.thread, record.key.id)).collect::<Vec<_>>()
    };
    let acme = || OperationFilter { tenant: Some(scene::tenant("acme")), limit: 9, ..OperationFilter::default() };
    let all = ["a op:4", "a op:3", "a op:2", "a op:1", "a op:0"];
    let open = ["a op:2", "a op:1", "a op:0"];
    let counts = async |of: Option<&str>| store.count_operations(of.map(scene::tenant).as_ref()).await;
    let check = async || {
        assert_eq!(found(acme()).await, all);
        assert_eq!(found(OperationFilter { limit: 2, ..acme() }).await, all[..2]);
        assert_eq!(found(OperationFilter { open: true, ..acme() }).await, open);
        assert_eq!(found(OperationFilter { thread: Some(thread("a")), ..acme() }).await, all);
        assert_eq!(found(OperationFilter { thread: Some(thread("a")), open: true, ..acme() }).await, open);
        assert_eq!(found(OperationFilter { thread: Some(thread("b")), ..acme() }).await, [""; 0]);
        assert_eq!(found(OperationFilter { thread: Some(thread("b")), open: true, ..acme() }).await, [""; 0]);
        let id = Some(OperationId::parse("op:1").expect("valid"));
        assert_eq!(found(OperationFilter { id: id.clone(), ..acme() }).await, ["a op:1"]);
        assert_eq!(found(OperationFilter { id, tenant: None, ..acme() }).await, ["a op:1", "b op:1"]);
        assert_eq!(counts(Some("acme")).await, Ok(OperationCounts { open: 3, in_doubt: 1 }));
        assert_eq!(counts(Some("nobody")).await, Ok(OperationCounts::default()));
        assert_eq!(counts(None).await, Ok(OperationCounts { open: 6, in_doubt: 2 }));
    };
    check().await;
    // It outlives the thread and its entry.
    assert_eq!(store.delete_thread(&thread("a"), Epoch(1), Vec::new()).await, Ok(()));
    assert_eq!(store.delete_entry(&thread("a"), Vec::new()).await, Ok(true));
    check().await;
    let doubt = store.operation(&operation_key("b", "op:1")).await.expect("readable").expect("there");
    let settled = OperationRecord { state: OperationState::NotSent, ..doubt.clone() };
    assert_eq!(store.exchange_operation(&doubt, settled, NOW_MS, Vec::new()).await, Ok(true));
    assert_eq!(counts(Some("other")).await, Ok(OperationCounts { open: 2, in_doubt: 0 }));
}
