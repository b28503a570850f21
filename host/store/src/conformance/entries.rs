//! Threads as their callers know them.

use std::sync::Arc;

use holdpoint_graph::ids::{Epoch, GraphName, ThreadId};
use serde_json::{Map, Value, json};

use super::scene::{self, NOW_MS, apply, create, replace, tenant, thread, update};
use crate::records::ThreadStatus;
use crate::runs::{EntryFilter, EntryOrder, EntryStatus, RunStatus, ThreadEntry, ThreadSummary};
use crate::store::{Commit, Error, Expect, Store};

fn entry(name: &str, of: &str, metadata: Value, at: u64) -> ThreadEntry {
    let Value::Object(metadata) = metadata else { panic!("metadata is an object") };
    ThreadEntry::new(thread(name), tenant(of), metadata, NOW_MS + at)
}

async fn put(store: &Arc<dyn Store>, entry: ThreadEntry) {
    store.put_entry(entry, Vec::new()).await.expect("the entry fits");
}

async fn listed(store: &Arc<dyn Store>, filter: &EntryFilter) -> Vec<String> {
    let found = store.entries(filter).await.expect("the store can be read");
    found.into_iter().map(|summary| summary.entry.thread.to_string()).collect()
}

async fn summary(store: &Arc<dyn Store>, name: &str) -> ThreadSummary {
    store.entry(&thread(name)).await.expect("the store can be read").expect("the entry is there")
}

fn everything() -> EntryFilter {
    EntryFilter { limit: usize::MAX, ..EntryFilter::default() }
}

/// Creates a thread of a tenant.
fn create_of(name: &str, of: &str) -> Commit {
    let mut commit = create(name, replace([]));
    if let Expect::New(new) = &mut commit.expect {
        new.tenant = tenant(of);
        new.graph_name = GraphName::parse("incident").expect("valid");
    }
    commit
}

/// A thread's first input makes its entry, with its graph's name; one that is there stays as it is.
pub async fn a_new_thread_has_an_entry(store: Arc<dyn Store>) {
    assert_eq!(store.entry(&thread("t")).await, Ok(None));
    apply(&store, Commit { requester: Some("user:ana".to_owned()), at_ms: NOW_MS + 3, ..create_of("t", "acme") }).await;
    let found = summary(&store, "t").await;
    assert_eq!(found.entry, entry("t", "acme", json!({ "graph_id": "incident" }), 3));
    let record = found.record.expect("it has a head");
    assert_eq!((record.tenant, record.requester.as_deref()), (tenant("acme"), Some("user:ana")));
    // Who gave the newest input counts; a commit without input says nothing of it.
    apply(&store, update("t", 1)).await;
    assert_eq!(summary(&store, "t").await.record.and_then(|record| record.requester).as_deref(), Some("user:ana"));
    let threads = store.threads(&crate::ThreadFilter { limit: 9, ..crate::ThreadFilter::default() }).await;
    let snapshot = scene::head(&store, "t").await.thread;
    assert_eq!(threads, Ok(vec![snapshot.clone()]));
    assert_eq!((snapshot.tenant, snapshot.requester.as_deref()), (tenant("acme"), Some("user:ana")));

    let made = entry("made", "acme", json!({ "graph_id": "other", "a": 1 }), 1);
    put(&store, made.clone()).await;
    assert_eq!(summary(&store, "made").await, ThreadSummary { entry: made.clone(), record: None, runs_open: 0 });
    apply(&store, create_of("made", "acme")).await;
    assert_eq!(summary(&store, "made").await.entry, made);
}

/// A thread is not made where its id is another tenant's.
pub async fn an_entry_keeps_its_id_for_its_tenant(store: Arc<dyn Store>) {
    put(&store, entry("t", "acme", json!({}), 0)).await;
    let outcome = store.commit(create_of("t", "other")).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    assert_eq!(store.thread(&thread("t")).await, Ok(None));
    apply(&store, create_of("t", "acme")).await;
    for name in ["t", "u"] {
        if name == "u" {
            apply(&store, create_of("u", "acme")).await;
        }
        let outcome = store.put_entry(entry(name, "acme", json!({}), 0), vec![scene::audit("made", None)]).await;
        assert_eq!(outcome, Err(Error::ThreadExists(thread(name))));
    }
    assert_eq!(store.audit_head().await, Ok(None));
    // After its history is deleted, its entry is still there and still its tenant's.
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert!(summary(&store, "t").await.record.is_none());
    let mut again = create_of("t", "other");
    assert!(store.commit(again.clone()).await.is_err());
    if let Expect::New(new) = &mut again.expect {
        new.tenant = tenant("acme");
        new.epoch = Epoch(9);
    }
    apply(&store, again).await;
}

/// Members are merged one by one, null removes one, and values come back as they were given.
pub async fn metadata_is_merged(store: Arc<dyn Store>) {
    put(&store, entry("t", "acme", json!({ "a": { "b": 1 }, "c": 2, "d": 3 }), 0)).await;
    let members = json!({ "a": { "e": [null, 0.1] }, "c": null, "ü.$\" \u{0}": "😀", "never": null });
    let Value::Object(members) = members else { panic!("an object") };
    let merged = store
        .merge_metadata(&thread("t"), members, NOW_MS + 5, vec![scene::audit("thread.metadata", Some("t"))])
        .await
        .expect("it is there");
    let expected = json!({ "a": { "e": [null, 0.1] }, "d": 3, "ü.$\" \u{0}": "😀" });
    assert_eq!(Value::Object(merged.metadata.clone()), expected);
    assert_eq!((merged.created_at_ms, merged.updated_at_ms), (NOW_MS, NOW_MS + 5));
    assert_eq!(summary(&store, "t").await.entry, merged);
    let unknown =
        store.merge_metadata(&thread("u"), Map::new(), NOW_MS, vec![scene::audit("thread.metadata", None)]).await;
    assert_eq!(unknown, Err(Error::ThreadNotFound(thread("u"))));
    let outcome = store.merge_metadata(&thread("t"), Map::new(), u64::MAX, Vec::new()).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    // What took place is on the record, and nothing else.
    assert_eq!(store.audit_head().await.expect("readable").map(|(place, _)| place), Some(1));
}

/// An entry's status is its runs', then its head's.
pub async fn entries_have_the_status_that_callers_see(store: Arc<dyn Store>) {
    put(&store, entry("new", "acme", json!({}), 0)).await;
    put(&store, entry("asked", "acme", json!({}), 0)).await;
    for (status, name) in ThreadStatus::NAMES {
        apply(&store, create_of(name, "acme")).await;
        apply(&store, Commit { status, release: true, ..update(name, 1) }).await;
    }
    for (number, name) in [(1, "asked"), (2, "done")] {
        assert_eq!(store.put_run(scene::run(name, number), false, Vec::new()).await, Ok(()));
    }
    let started = scene::run_update(2, RunStatus::Pending, RunStatus::Running);
    assert_eq!(store.update_run(started, NOW_MS, Vec::new()).await, Ok(()));
    assert_eq!(summary(&store, "asked").await.runs_open, 1);
    let of = async |status| {
        let filter = EntryFilter { status: Some(status), order: EntryOrder::Id, ascending: true, ..everything() };
        let found = listed(&store, &filter).await;
        assert_eq!(store.count_entries(&filter).await, Ok(u64::try_from(found.len()).expect("few")));
        for summary in store.entries(&filter).await.expect("the store can be read") {
            let record = summary.record.map(|record| record.status);
            assert_eq!(EntryStatus::of(record, summary.runs_open), status);
        }
        found
    };
    assert_eq!(of(EntryStatus::Idle).await, ["new"]);
    assert_eq!(of(EntryStatus::Busy).await, ["asked", "done", "running"]);
    assert_eq!(of(EntryStatus::Interrupted).await, ["interrupted"]);
    assert_eq!(of(EntryStatus::Error).await, ["failed"]);
    let ended = scene::run_update(2, RunStatus::Running, RunStatus::Success);
    assert_eq!(store.update_run(ended, NOW_MS, Vec::new()).await, Ok(()));
    assert_eq!(of(EntryStatus::Idle).await, ["done", "new"]);
}

/// Orders, both ways, with ties in order of id; pages; and each filter.
pub async fn entries_are_ordered_filtered_and_paged(store: Arc<dyn Store>) {
    // Updated by its head, by its metadata, by neither; equal times.
    put(&store, entry("b", "acme", json!({ "graph_id": "refund", "n": 1 }), 5)).await;
    put(&store, entry("a", "acme", json!({ "graph_id": "refund", "n": 1.0 }), 5)).await;
    put(&store, entry("d", "acme", json!({ "graph_id": 1, "n": [1] }), 1)).await;
    put(&store, entry("c", "other", json!({ "graph_id": "refund" }), 9)).await;
    apply(&store, Commit { at_ms: NOW_MS + 3, ..create_of("e", "acme") }).await;
    apply(&store, Commit { at_ms: NOW_MS + 8, ..update("e", 1) }).await;
    assert!(store.merge_metadata(&thread("d"), Map::new(), NOW_MS + 20, Vec::new()).await.is_ok());
    let by = |order, ascending| EntryFilter { order, ascending, ..everything() };
    let cases = [
        (EntryOrder::Updated, false, ["d", "c", "e", "a", "b"]),
        (EntryOrder::Updated, true, ["a", "b", "e", "c", "d"]),
        (EntryOrder::Created, false, ["c", "a", "b", "e", "d"]),
        (EntryOrder::Created, true, ["d", "e", "a", "b", "c"]),
        (EntryOrder::Id, false, ["e", "d", "c", "b", "a"]),
        (EntryOrder::Id, true, ["a", "b", "c", "d", "e"]),
    ];
    for (order, ascending, expected) in cases {
        let filter = by(order, ascending);
        assert_eq!(listed(&store, &filter).await, expected, "{order:?} {ascending}");
        for offset in 0..6 {
            let page = EntryFilter { offset, limit: 2, ..filter.clone() };
            assert_eq!(listed(&store, &page).await, expected.iter().copied().skip(offset).take(2).collect::<Vec<_>>());
        }
        assert_eq!(store.count_entries(&EntryFilter { limit: 1, offset: 3, ..filter }).await, Ok(5), "its page aside");
    }
    let with = |metadata: Value| {
        let Value::Object(metadata) = metadata else { panic!("an object") };
        EntryFilter { metadata, ..by(EntryOrder::Id, true) }
    };
    let ids = |names: &[&str]| names.iter().map(|name| thread(name)).collect::<Vec<ThreadId>>();
    let base = || by(EntryOrder::Id, true);
    let cases: [(EntryFilter, &[&str]); 12] = [
        (EntryFilter { tenant: Some(tenant("acme")), ..base() }, &["a", "b", "d", "e"]),
        (EntryFilter { tenant: Some(tenant("nobody")), ..base() }, &[]),
        (EntryFilter { threads: ids(&["c", "a", "unknown"]), ..base() }, &["a", "c"]),
        (EntryFilter { threads: ids(&["c", "a"]), tenant: Some(tenant("acme")), ..base() }, &["a"]),
        (with(json!({ "graph_id": "refund" })), &["a", "b", "c"]),
        (EntryFilter { tenant: Some(tenant("acme")), ..with(json!({ "graph_id": "refund" })) }, &["a", "b"]),
        (with(json!({ "graph_id": "incident" })), &["e"]),
        (with(json!({ "graph_id": 1 })), &["d"]),
        (with(json!({ "graph_id": "1" })), &[]),
        (with(json!({ "n": 1 })), &["b"]),
        (with(json!({ "n": 1.0, "graph_id": "refund" })), &["a"]),
        (with(json!({ "n": [1], "m": null })), &[]),
    ];
    for (filter, expected) in cases {
        assert_eq!(listed(&store, &filter).await, expected, "{filter:?}");
        assert_eq!(store.count_entries(&filter).await, Ok(u64::try_from(expected.len()).expect("few")), "{filter:?}");
        if let Some(first) = expected.first() {
            assert_eq!(listed(&store, &EntryFilter { limit: 1, ..filter.clone() }).await, [*first], "{filter:?}");
        }
        let rest = listed(&store, &EntryFilter { offset: 1, ..filter.clone() }).await;
        assert_eq!(rest, expected.iter().copied().skip(1).collect::<Vec<_>>(), "{filter:?}");
    }
}

/// An entry goes when its thread is gone, with its runs; never before, nor while one of them is open.
pub async fn an_entry_is_deleted_after_its_thread(store: Arc<dyn Store>) {
    apply(&store, create_of("t", "acme")).await;
    for (name, number) in [("t", 1), ("t", 2), ("u", 3)] {
        assert_eq!(store.put_run(scene::run(name, number), false, Vec::new()).await, Ok(()));
    }
    let audit = || vec![scene::audit("thread.deleted", Some("t"))];
    let outcome = store.delete_entry(&thread("t"), audit()).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    assert_eq!(store.delete_thread(&thread("t"), Epoch(1), Vec::new()).await, Ok(()));
    assert!(store.run(&scene::run_id(1)).await.expect("readable").is_some(), "runs stay with the entry");
    for number in [1, 2] {
        let outcome = store.delete_entry(&thread("t"), audit()).await;
        assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
        let ends = scene::run_update(number, RunStatus::Pending, RunStatus::Interrupted);
        assert_eq!(store.update_run(ends, NOW_MS, Vec::new()).await, Ok(()));
    }
    assert_eq!(store.audit_head().await, Ok(None));
    assert_eq!(store.delete_entry(&thread("t"), audit()).await, Ok(true));
    assert_eq!(store.entry(&thread("t")).await, Ok(None));
    assert_eq!(store.run(&scene::run_id(1)).await, Ok(None));
    assert_eq!(store.run(&scene::run_id(2)).await, Ok(None));
    assert!(store.run(&scene::run_id(3)).await.expect("readable").is_some(), "another thread's");
    assert_eq!(store.delete_entry(&thread("t"), audit()).await, Ok(false));
    assert_eq!(store.audit_head().await.expect("readable").map(|(place, _)| place), Some(1));
}
