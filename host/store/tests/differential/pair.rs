//! Both stores, and the questions that they have to answer alike.

use std::fmt::Debug;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::operation::OperationKey;
use holdpoint_store::conformance::scene;
use holdpoint_store::{
    HistoryFilter, Journal, MemoryStore, OperationFilter, SqliteStore, Store, TaskStatus, ThreadStatus, VersionKind,
};

use crate::script::Script;
use crate::{KEYS, NAMESPACES, OPERATIONS, THREADS};

pub(crate) struct Pair {
    pub(crate) memory: MemoryStore,
    pub(crate) sqlite: SqliteStore,
}

/// Asks both stores and gives the answer, which must be the same. Evaluates the arguments for each.
macro_rules! both {
    ($pair:expr, $script:expr, $method:ident($($argument:expr),*)) => {{
        let expected = $pair.memory.$method($($argument),*).await;
        let found = $pair.sqlite.$method($($argument),*).await;
        assert_same(&expected, &found, || format!("seed={} step={} {}", $script.seed, $script.steps, stringify!($method)));
        expected
    }};
}

pub(crate) fn assert_same<T: PartialEq + Debug>(expected: &T, found: &T, context: impl Fn() -> String) {
    assert!(expected == found, "{}\nmemory: {expected:#?}\nsqlite: {found:#?}", context());
}

impl Pair {
    /// Operations that are stored and that interrupted threads are in doubt about.
    pub(crate) async fn awaited(&self) -> Vec<OperationKey> {
        let mut found = Vec::new();
        for name in THREADS {
            let snapshot = self.memory.snapshot(&scene::thread(name), None).await.expect("memory can be read");
            let waiting = snapshot.filter(|snapshot| snapshot.thread.status == ThreadStatus::Interrupted);
            let tasks = waiting.into_iter().flat_map(|snapshot| snapshot.tasks);
            for task in tasks.filter(|task| task.status == TaskStatus::InDoubt) {
                let Some(details) = task.error.and_then(|error| error.details) else { continue };
                let text = |name: &str| details[name].as_str().expect("a script's errors name operations").to_owned();
                let owner = text("scope").trim_start_matches("thread:").to_owned();
                let key = scene::operation_key(&owner, &text("operation_id"));
                if self.memory.operation(&key).await.expect("memory can be read").is_some() {
                    found.push(key);
                }
            }
        }
        found
    }

    pub(crate) async fn same_everywhere(&self, script: &Script) {
        for name in THREADS {
            let id = scene::thread(name);
            both!(self, script, snapshot(&id, None)).expect("the store can be read");
            for namespace in NAMESPACES {
                let filter =
                    HistoryFilter { namespace: scene::namespace(namespace), ..HistoryFilter::newest(usize::MAX) };
                both!(self, script, history(&id, &filter)).expect("the store can be read");
            }
            for outline in both!(self, script, outline(&id)).expect("the store can be read") {
                both!(self, script, snapshot(&id, Some(&outline.checkpoint.id))).expect("the store can be read");
            }
            both!(self, script, operations(&id)).expect("the store can be read");
            for number in 0..OPERATIONS {
                let key = scene::operation_key(name, &format!("op:{number}"));
                both!(self, script, hits(&key)).expect("the store can be read");
            }
        }
        let all = OperationFilter { limit: usize::MAX, ..OperationFilter::default() };
        both!(self, script, find_operations(&all)).expect("the store can be read");
        both!(self, script, due_operations(u64::MAX, usize::MAX)).expect("the store can be read");
        for number in 0..KEYS {
            both!(self, script, cached(&key(number), 0)).expect("the store can be read");
        }
        for (kind, _) in VersionKind::NAMES {
            both!(self, script, versions(kind, None)).expect("the store can be read");
        }
    }
}

/// The key of a result that may be used again.
pub(crate) fn key(number: u32) -> Digest {
    Digest::of_bytes(&number.to_le_bytes())
}
