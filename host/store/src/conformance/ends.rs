//! What is to end: runs that somebody wants ended, threads that go by themselves, sessions.

use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use serde_json::{Map, json};

use super::scene::{self, NOW_MS, apply, create, replace, run, run_id, run_update, tenant, thread, update};
use crate::access::SessionRecord;
use crate::runs::{ExpiryRule, RunCancel, RunRecord, RunStatus, ThreadEntry, ThreadExpiry};
use crate::store::{Commit, Error, Store};

async fn put(store: &Arc<dyn Store>, run: RunRecord) {
    store.put_run(run, false, Vec::new()).await.expect("the run fits");
}

async fn becomes(store: &Arc<dyn Store>, number: u64, from: RunStatus, to: RunStatus) {
    store.update_run(run_update(number, from, to), NOW_MS + 1, Vec::new()).await.expect("the run is so");
}

async fn stored(store: &Arc<dyn Store>, number: u64) -> RunRecord {
    store.run(&run_id(number)).await.expect("the store can be read").expect("the run is there")
}

async fn requested(store: &Arc<dyn Store>, limit: usize) -> Vec<RunRecord> {
    store.cancel_requests(limit).await.expect("the store can be read")
}

async fn recorded(store: &Arc<dyn Store>) -> u64 {
    store.audit_head().await.expect("the store can be read").map_or(0, |(place, _)| place)
}

/// A wish is durable, is on the record once, grows and never shrinks; one that comes too late is refused.
pub async fn a_run_is_wanted_ended(store: Arc<dyn Store>) {
    let want = async |number, cancel, at| {
        store.request_cancel(&run_id(number), cancel, NOW_MS + at, vec![scene::audit("run.cancelled", Some("t"))]).await
    };
    for (number, name) in [(1, "t"), (2, "u"), (3, "v"), (4, "w")] {
        put(&store, run(name, number)).await;
    }
    becomes(&store, 1, RunStatus::Pending, RunStatus::Running).await;
    becomes(&store, 2, RunStatus::Pending, RunStatus::Running).await;
    assert_eq!(requested(&store, 9).await, []);
    assert_eq!(want(1, RunCancel::Interrupt, 5).await, Ok(()));
    let found = stored(&store, 1).await;
    assert_eq!(
        (found.cancel, found.status, found.updated_at_ms),
        (Some(RunCancel::Interrupt), RunStatus::Running, NOW_MS + 5)
    );
    assert_eq!(recorded(&store).await, 1);
    // Again, and the other way round: as much is wanted already.
    assert_eq!(want(1, RunCancel::Interrupt, 6).await, Ok(()));
    assert_eq!((stored(&store, 1).await, recorded(&store).await), (found.clone(), 1));
    assert_eq!(want(1, RunCancel::Rollback, 7).await, Ok(()));
    assert_eq!(want(1, RunCancel::Interrupt, 8).await, Ok(()));
    let found = stored(&store, 1).await;
    assert_eq!((found.cancel, found.updated_at_ms), (Some(RunCancel::Rollback), NOW_MS + 7));
    assert_eq!(recorded(&store).await, 2);

    // One that waits is wanted ended once it has begun.
    assert_eq!(want(3, RunCancel::Interrupt, 9).await, Ok(()));
    assert_eq!(want(2, RunCancel::Interrupt, 9).await, Ok(()));
    assert_eq!(requested(&store, 9).await, [stored(&store, 1).await, stored(&store, 2).await]);
    assert_eq!(requested(&store, 1).await, [stored(&store, 1).await]);
    becomes(&store, 3, RunStatus::Pending, RunStatus::Running).await;
    assert_eq!(requested(&store, 9).await.len(), 3);

    becomes(&store, 4, RunStatus::Pending, RunStatus::Interrupted).await;
    let before = recorded(&store).await;
    let late = Error::RunChanged { run: run_id(4), found: "interrupted" };
    assert_eq!(want(4, RunCancel::Rollback, 9).await, Err(late));
    let unknown = Error::RunChanged { run: run_id(99), found: "unknown" };
    assert_eq!(want(99, RunCancel::Interrupt, 9).await, Err(unknown));
    let outcome = store.request_cancel(&run_id(1), RunCancel::Rollback, u64::MAX, Vec::new()).await;
    assert!(matches!(outcome, Err(Error::Invalid(_))), "{outcome:?}");
    assert_eq!((stored(&store, 4).await.cancel, recorded(&store).await), (None, before));
}

/// An interrupt is over with its run; a rollback stands until the run is deleted, or given up.
pub async fn a_rollback_stands_until_it_is_carried_out(store: Arc<dyn Store>) {
    for (number, cancel) in [(1, RunCancel::Interrupt), (2, RunCancel::Rollback), (3, RunCancel::Rollback)] {
        put(&store, run(&format!("t{number}"), number)).await;
        becomes(&store, number, RunStatus::Pending, RunStatus::Running).await;
        assert_eq!(store.request_cancel(&run_id(number), cancel, NOW_MS, Vec::new()).await, Ok(()));
        becomes(&store, number, RunStatus::Running, RunStatus::Interrupted).await;
    }
    assert_eq!(stored(&store, 1).await.cancel, Some(RunCancel::Interrupt));
    assert_eq!(requested(&store, 9).await, [stored(&store, 2).await, stored(&store, 3).await]);
    assert_eq!(store.delete_run(&run_id(2)).await, Ok(true));
    assert_eq!(requested(&store, 9).await, [stored(&store, 3).await]);
    becomes(&store, 3, RunStatus::Interrupted, RunStatus::Interrupted).await;
    assert_eq!((stored(&store, 3).await.cancel, requested(&store, 9).await), (None, Vec::new()));
}

/// The write that begins a run keeps where its thread was before: nowhere, or at its head. What comes later does not change it.
pub async fn a_run_knows_where_it_began(store: Arc<dyn Store>) {
    for (name, number) in [("t", 1), ("t", 2), ("t", 3), ("u", 4)] {
        put(&store, run(name, number)).await;
    }
    let begins = |number| vec![run_update(number, RunStatus::Pending, RunStatus::Running)];
    let ends = |number| run_update(number, RunStatus::Running, RunStatus::Success);
    assert_eq!(stored(&store, 1).await.base, None);
    apply(&store, Commit { runs: begins(1), ..create("t", replace([])) }).await;
    assert_eq!(stored(&store, 1).await.base, Some(None), "there was no thread");
    apply(&store, Commit { runs: vec![ends(1)], ..scene::step("t", 1, 1, 0, replace([])) }).await;
    // The head before the commit, though it makes another.
    apply(&store, Commit { runs: begins(2), ..scene::step("t", 1, 2, 1, replace([])) }).await;
    assert_eq!(stored(&store, 2).await.base, Some(Some(scene::checkpoint(1))));
    apply(&store, Commit { runs: vec![ends(2)], ..scene::step("t", 1, 3, 2, replace([])) }).await;
    assert_eq!(stored(&store, 2).await.base, Some(Some(scene::checkpoint(1))));
    assert_eq!(stored(&store, 1).await.base, Some(None));
    // Without a commit likewise; and one that is ended before it begins began nowhere.
    becomes(&store, 3, RunStatus::Pending, RunStatus::Running).await;
    assert_eq!(stored(&store, 3).await.base, Some(Some(scene::checkpoint(3))));
    becomes(&store, 4, RunStatus::Pending, RunStatus::Interrupted).await;
    assert_eq!(stored(&store, 4).await.base, None);
    // A refused commit began nothing.
    put(&store, run("t", 5)).await;
    assert!(store.commit(Commit { runs: begins(5), ..update("t", 9) }).await.is_err());
    assert_eq!(stored(&store, 5).await, run("t", 5));
    let whole = RunRecord {
        cancel: Some(RunCancel::Interrupt),
        base: Some(Some(scene::checkpoint(7))),
        status: RunStatus::Error,
        ..run("t", 6)
    };
    put(&store, whole.clone()).await;
    assert_eq!(stored(&store, 6).await, whole);
}

/// Entries come when their time is over, the longest due first, and not once they stay. Other entries are not looked at.
pub async fn an_entry_goes_when_its_time_is_over(store: Arc<dyn Store>) {
    let ends = |at, rule| Some(ThreadExpiry { at_ms: NOW_MS + at, ttl_ms: 60_000, rule });
    let entry = |name: &str, expiry| ThreadEntry {
        expiry,
        ..ThreadEntry::new(thread(name), tenant("acme"), Map::from_iter([("a".to_owned(), json!(1))]), NOW_MS)
    };
    let temporary = ThreadEntry { temporary: true, ..entry("late", ends(9, ExpiryRule::Delete)) };
    for each in [
        entry("b", ends(5, ExpiryRule::KeepLatest)),
        temporary.clone(),
        entry("stays", None),
        entry("a", ends(5, ExpiryRule::Delete)),
    ] {
        assert_eq!(store.put_entry(each.clone(), Vec::new()).await, Ok(()));
        let found = store.entry(&each.thread).await.expect("readable").expect("there");
        assert_eq!(found.entry, each);
    }
    let due = async |at, limit| store.due_entries(NOW_MS + at, limit).await.expect("the store can be read");
    assert_eq!(due(4, 9).await, []);
    assert_eq!(due(5, 9).await, [entry("a", ends(5, ExpiryRule::Delete)), entry("b", ends(5, ExpiryRule::KeepLatest))]);
    assert_eq!(due(9, 1).await, [entry("a", ends(5, ExpiryRule::Delete))]);
    assert_eq!(due(9, 9).await.last(), Some(&temporary));

    let audit = || vec![scene::audit("thread.expiry", Some("a"))];
    let changed = store.set_expiry(&thread("a"), ends(7, ExpiryRule::KeepLatest), NOW_MS + 3, audit()).await;
    let expected = ThreadEntry { updated_at_ms: NOW_MS + 3, ..entry("a", ends(7, ExpiryRule::KeepLatest)) };
    assert_eq!(changed, Ok(expected.clone()));
    assert_eq!(due(9, 2).await[1], expected);
    let stays = store.set_expiry(&thread("b"), None, NOW_MS + 4, Vec::new()).await;
    assert_eq!(stays, Ok(ThreadEntry { updated_at_ms: NOW_MS + 4, ..entry("b", None) }));
    assert_eq!(due(9, 9).await.len(), 2);
    let older = store.set_expiry(&thread("b"), None, NOW_MS, Vec::new()).await;
    assert_eq!(older.map(|entry| entry.updated_at_ms), Ok(NOW_MS + 4));
    assert_eq!(recorded(&store).await, 1);
    let unknown = store.set_expiry(&thread("unknown"), None, NOW_MS, audit()).await;
    assert_eq!(unknown, Err(Error::ThreadNotFound(thread("unknown"))));
    let odd = store.set_expiry(&thread("a"), ends(u64::MAX - NOW_MS, ExpiryRule::Delete), NOW_MS, audit()).await;
    assert!(matches!(odd, Err(Error::Invalid(_))), "{odd:?}");
    assert_eq!(recorded(&store).await, 1);
    // Metadata and expiry leave each other alone.
    let merged = store.merge_metadata(&thread("a"), Map::new(), NOW_MS + 8, Vec::new()).await;
    assert_eq!(merged, Ok(ThreadEntry { updated_at_ms: NOW_MS + 8, ..expected }));
    assert_eq!(store.delete_entry(&thread("a"), Vec::new()).await, Ok(true));
    assert_eq!(due(9, 9).await, [temporary]);
    // The first input of a thread makes an entry that stays.
    apply(&store, create("made", replace([]))).await;
    let made = store.entry(&thread("made")).await.expect("readable").expect("there").entry;
    assert_eq!((made.expiry, made.temporary), (None, false));
}

/// A session is found by its digest until it is ended or cleared.
pub async fn a_session_opens_until_it_ends(store: Arc<dyn Store>) {
    let digest = |name: &str| Digest::of_bytes(name.as_bytes());
    let session = |name: &str, at| SessionRecord {
        digest: digest(name),
        caller: json!({ "subject": name, "odd": [null, 0.1, "ü \u{0}"] }),
        created_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + at,
    };
    assert_eq!(store.session(&digest("ana")).await, Ok(None));
    for (name, at) in [("ana", 5), ("bob", 6), ("eva", 6)] {
        assert_eq!(store.put_session(session(name, at)).await, Ok(()));
    }
    assert_eq!(store.session(&digest("ana")).await, Ok(Some(session("ana", 5))));
    assert_eq!(store.put_session(session("ana", 9)).await, Ok(()), "it is prolonged");
    assert_eq!(store.session(&digest("ana")).await, Ok(Some(session("ana", 9))));
    assert_eq!(store.delete_session(&digest("eva")).await, Ok(true));
    assert_eq!(store.delete_session(&digest("eva")).await, Ok(false));
    assert_eq!(store.session(&digest("eva")).await, Ok(None));
    assert_eq!(store.clear_sessions(NOW_MS + 5).await, Ok(0));
    assert_eq!(store.clear_sessions(NOW_MS + 6).await, Ok(1));
    assert_eq!(store.session(&digest("bob")).await, Ok(None));
    assert_eq!(store.session(&digest("ana")).await, Ok(Some(session("ana", 9))));
    let odd = store.put_session(SessionRecord { expires_at_ms: u64::MAX, ..session("ana", 0) }).await;
    assert!(matches!(odd, Err(Error::Invalid(_))), "{odd:?}");
}
