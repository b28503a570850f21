//! Both stores answer the same suite.

use holdpoint_store::conformance::Fixture;
use holdpoint_store::{MemoryStore, SqliteOptions, SqliteStore};

fn new_memory() -> Fixture {
    Fixture::new(MemoryStore::new(), ())
}

fn new_sqlite() -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(directory.path().join("store.db"), SqliteOptions::default()).expect("opens");
    Fixture::new(store, directory)
}

mod memory {
    use super::new_memory;

    holdpoint_store::conformance_tests!(new_memory);
}

mod sqlite {
    use super::new_sqlite;

    holdpoint_store::conformance_tests!(new_sqlite);
}

#[tokio::test]
async fn the_suite_runs_as_one() {
    holdpoint_store::conformance::run_all(new_memory).await;
}
