//! The store that loses commits, on both stores.

use std::sync::Arc;

use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_store::conformance::Fixture;
use holdpoint_store::conformance::scene::{self, NOW_MS, apply, create, head, replace, step, thread, update};
use holdpoint_store::faults::{Fault, FaultyStore};
use holdpoint_store::{Commit, Error, MemoryStore, SqliteOptions, SqliteStore, Store};
use serde_json::json;

fn memory() -> Fixture {
    Fixture::new(FaultyStore::new(Arc::new(MemoryStore::new()), |_| Fault::None), ())
}

fn sqlite() -> (Arc<dyn Store>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(directory.path().join("store.db"), SqliteOptions::default()).expect("opens");
    (Arc::new(store), directory)
}

// Without faults it is as good a store as the one inside: nothing is swapped on the way.
holdpoint_store::conformance_tests!(memory);

/// Wraps a store so that one of its writes fails.
fn failing(inner: &Arc<dyn Store>, number: u64, fault: Fault) -> Arc<FaultyStore> {
    let plan = move |arrived| if arrived == number { fault } else { Fault::None };
    Arc::new(FaultyStore::new(Arc::clone(inner), plan))
}

fn is_unavailable<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Unavailable(_)))
}

async fn commits_are_lost(inner: Arc<dyn Store>) {
    let faulty = failing(&inner, 2, Fault::Before);
    let store: Arc<dyn Store> = faulty.clone();
    apply(&store, create("t", replace([("n", json!(0))]))).await;
    let lost = store.commit(step("t", 1, 1, 0, replace([("n", json!(1))]))).await;
    assert!(is_unavailable(&lost), "{lost:?}");
    assert_eq!(head(&inner, "t").await.values["n"], json!(0), "nothing was written");
    apply(&store, step("t", 1, 1, 0, replace([("n", json!(1))]))).await;
    assert_eq!(head(&inner, "t").await.values["n"], json!(1), "the next one is done");
    assert_eq!((faulty.arrived(), store.statistics().commits), (3, 2));
}

async fn outcomes_are_lost(inner: Arc<dyn Store>) {
    let store: Arc<dyn Store> = failing(&inner, 2, Fault::After);
    apply(&store, create("t", replace([("n", json!(0))]))).await;
    let lost = store.commit(step("t", 1, 1, 0, replace([("n", json!(1))]))).await;
    assert!(is_unavailable(&lost), "{lost:?}");
    assert_eq!(head(&store, "t").await.values["n"], json!(1), "it was written before its caller was told so");
    let again = store.commit(step("t", 1, 1, 0, replace([("n", json!(1))]))).await;
    assert!(matches!(again, Err(Error::Invalid(_))), "{again:?}");
    // A refusal is no more known than a success.
    let store: Arc<dyn Store> = failing(&inner, 1, Fault::After);
    let lost = store.commit(create("t", replace([]))).await;
    assert!(is_unavailable(&lost), "{lost:?}");
    assert_eq!(store.commit(create("t", replace([]))).await, Err(Error::ThreadExists(thread("t"))));
}

async fn exchanges_are_lost(inner: Arc<dyn Store>) {
    let intended = OperationRecord {
        state: OperationState::Intended,
        ..scene::operation("t", "op", &scene::task("t", 0, "pull:pay"))
    };
    let done = OperationRecord { state: OperationState::NotSent, ..intended.clone() };
    apply(&inner, create("t", replace([]))).await;
    for (fault, found) in [(Fault::Before, &intended), (Fault::After, &done)] {
        apply(&inner, Commit { operations: vec![intended.clone()], ..update("t", 1) }).await;
        let store: Arc<dyn Store> = failing(&inner, 1, fault);
        let lost = store.exchange_operation(&intended, done.clone(), NOW_MS, Vec::new()).await;
        assert!(is_unavailable(&lost), "{lost:?}");
        assert_eq!(inner.operation(&intended.key).await, Ok(Some(found.clone())), "{fault:?}");
        let again = store.exchange_operation(&intended, done.clone(), NOW_MS, Vec::new()).await;
        assert_eq!(again, Ok(fault == Fault::Before), "{fault:?}");
    }
}

#[tokio::test]
async fn in_memory() {
    commits_are_lost(Arc::new(MemoryStore::new())).await;
    outcomes_are_lost(Arc::new(MemoryStore::new())).await;
    exchanges_are_lost(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn on_sqlite() {
    let (store, _directory) = sqlite();
    commits_are_lost(store).await;
    let (store, _directory) = sqlite();
    outcomes_are_lost(store).await;
    let (store, _directory) = sqlite();
    exchanges_are_lost(store).await;
}
