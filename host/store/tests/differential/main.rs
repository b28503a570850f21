//! Random scripts on both stores: every answer must be equal, refusals included.
//!
//! A script goes on until everything that can happen on both has happened (`REACHED`). Set `HOLDPOINT_SEED` to repeat one.

#[macro_use]
mod pair;

mod script;

mod draw;
mod serving;

use std::collections::BTreeSet;

use holdpoint_store::{MemoryStore, SqliteOptions, SqliteStore};

use self::pair::Pair;
use self::script::Script;

const THREADS: [&str; 3] = ["one", "two", "three"];

/// The thread's own graph, subgraphs kept per thread, and one that a task runs.
const NAMESPACES: [&str; 5] = ["", "sub", "sub|deep", "other", "other:018bcfe5-6800-8000-8000-000000000001"];

/// What a script has to reach: each operation with each of its outcomes.
const REACHED: [&str; 128] = [
    "commit ok",
    "commit HP0601",
    "commit HP0602",
    "commit HP0603",
    "commit HP0604",
    "commit HP0605",
    "commit HP0606",
    "thread some",
    "thread none",
    "threads",
    "threads of a graph",
    "snapshot some",
    "snapshot with a child",
    "snapshot with a grandchild",
    "snapshot none",
    "history some",
    "history none",
    "history of a subgraph",
    "history by metadata",
    "history by source",
    "outline some",
    "outline none",
    "retain some",
    "retain none",
    "retain HP0601",
    "retain HP0603",
    "retain HP0606",
    "cached some",
    "cached none",
    "clear some",
    "clear none",
    "version ok",
    "version HP0606",
    "versions some",
    "versions none",
    "question some",
    "question none",
    "operation some",
    "operation none",
    "operations",
    "find some",
    "find none",
    "due some",
    "due none",
    "hits some",
    "hits none",
    "exchange won",
    "exchange woke",
    "exchange lost",
    "exchange HP0606",
    "delete ok",
    "delete HP0601",
    "delete HP0603",
    "put ok",
    "put HP0606",
    "content some",
    "content none",
    "missing",
    "commit HP0612",
    "commit HP0613",
    "commit HP0616",
    "change ok",
    "change woke",
    "change claimed",
    "change HP0604",
    "change HP0605",
    "change HP0606",
    "change HP0612",
    "change HP0613",
    "change HP0614",
    "change HP0615",
    "find question some",
    "find question none",
    "questions some",
    "questions none",
    "next questions some",
    "next questions none",
    "due questions some",
    "due questions none",
    "counts",
    "reply some",
    "reply none",
    "clear replies",
    "clear no replies",
    "audit ok",
    "key ok",
    "key HP0617",
    "revoke true",
    "revoke false",
    "entry ok",
    "entry HP0602",
    "merge ok",
    "merge HP0603",
    "entries some",
    "entries none",
    "delete entry true",
    "delete entry false",
    "delete entry HP0606",
    "run ok",
    "run HP0616",
    "run HP0617",
    "runs some",
    "runs none",
    "delete run true",
    "delete run false",
    "delete run HP0616",
    "update run ok",
    "update run HP0616",
    "expiry ok",
    "expiry HP0603",
    "due entries some",
    "due entries none",
    "cancel ok",
    "cancel HP0616",
    "cancel requests some",
    "cancel requests none",
    "cancel requests of one that is over",
    "session some",
    "session none",
    "end session true",
    "end session false",
    "clear sessions",
    "clear no sessions",
    "open operations some",
    "open operations none",
    "commit cancelled a question",
    "trail some",
    "trail none",
];

/// Operations of each thread.
const OPERATIONS: u32 = 10;

/// Results that may be used again.
const KEYS: u32 = 6;

const STEPS_MIN: usize = 3_000;
const STEPS_MAX: usize = 50_000;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the seed of a failed run is wanted")]
async fn both_stores_give_the_same_answers() {
    let seeds = match std::env::var("HOLDPOINT_SEED") {
        Ok(seed) => vec![seed.parse().expect("HOLDPOINT_SEED is a number")],
        Err(_) => vec![1, 2, 3],
    };
    for seed in seeds {
        println!("seed={seed}");
        let directory = tempfile::tempdir().expect("a directory");
        let sqlite = SqliteStore::open(directory.path().join("store.db"), SqliteOptions::default()).expect("opens");
        let pair = Pair { memory: MemoryStore::new(), sqlite };
        let mut script = Script::new(seed);
        let mut reached = BTreeSet::new();
        let mut steps = 0;
        while steps < STEPS_MIN || !missing(&reached).is_empty() {
            assert!(steps < STEPS_MAX, "seed={seed}: not reached: {:?}", missing(&reached));
            reached.insert(script.step(&pair).await);
            steps += 1;
        }
        pair.same_everywhere(&script).await;
        pair.same_beside(&script).await;
        assert!(missing(&reached).is_empty(), "seed={seed}: not reached: {:?}", missing(&reached));
    }
}

fn missing(reached: &BTreeSet<String>) -> Vec<&'static str> {
    REACHED.into_iter().filter(|what| !reached.contains(*what)).collect()
}
