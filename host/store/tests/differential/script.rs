//! What a script does, one operation after the other.

use std::collections::BTreeMap;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, Namespace, QuestionId, ThreadId};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_store::conformance::scene;
use holdpoint_store::{
    Content, Error, Expect, Journal, NewCheckpoint, OperationFilter, Settlement, Snapshot, Store, ThreadFilter,
    ThreadStatus,
};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::pair::{Pair, assert_same, key};
use crate::{KEYS, THREADS};

/// Draws the next operation. Remembers what could be referred to; some of it is stale or was never stored, which is wanted.
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    pub(crate) random: ChaCha8Rng,
    pub(crate) epochs: BTreeMap<ThreadId, u64>,
    /// Numbers of checkpoints by thread, with their namespaces.
    pub(crate) checkpoints: BTreeMap<ThreadId, Vec<(u64, Namespace)>>,
    /// The highest number that a checkpoint had.
    pub(crate) numbered: u64,
    /// In order of asking, with their threads.
    pub(crate) questions: Vec<(String, QuestionId)>,
    pub(crate) contents: Vec<Content>,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            steps: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
            epochs: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            numbered: 0,
            questions: Vec::new(),
            contents: Vec::new(),
        }
    }

    /// Does one thing on both stores; what was reached.
    pub(crate) async fn step(&mut self, pair: &Pair) -> String {
        self.steps += 1;
        let name = *THREADS.choose(&mut self.random).expect("there are some");
        let thread = scene::thread(name);
        match self.random.random_range(0..216) {
            0..55 => {
                let commit = self.commit(name);
                let creates = matches!(commit.expect, Expect::New(_));
                let claims = commit.claim.is_some();
                let cancels = commit.settlements.iter().any(|end| matches!(end, Settlement::Cancel { .. }));
                let stored: Vec<(u64, Namespace)> = commit.checkpoints.iter().map(known).collect();
                let outcome = both!(pair, self, commit(commit.clone()));
                if outcome.is_ok() {
                    if creates {
                        self.epochs.insert(thread.clone(), 1);
                        self.checkpoints.insert(thread.clone(), Vec::new());
                    } else if claims {
                        *self.epochs.entry(thread.clone()).or_default() += 1;
                    }
                    let known = self.checkpoints.entry(thread).or_default();
                    known.extend(stored);
                }
                if cancels && outcome.is_ok() {
                    return "commit cancelled a question".to_owned();
                }
                outcome_of("commit", &outcome)
            }
            55..60 => presence("thread", &both!(pair, self, thread(&thread))),
            60..65 => {
                let status = self.random.random_bool(0.5).then(|| self.status());
                let filter = ThreadFilter {
                    status,
                    graph_name: self.random.random_bool(0.4).then(|| self.graph_name()),
                    limit: self.random.random_range(0..4),
                    offset: self.random.random_range(0..3),
                };
                let found = both!(pair, self, threads(&filter)).expect("the store can be read");
                let what =
                    if filter.graph_name.is_some() && !found.is_empty() { "threads of a graph" } else { "threads" };
                what.to_owned()
            }
            65..73 => {
                let checkpoint = self.random.random_bool(0.7).then(|| self.checkpoint(name));
                let found = both!(pair, self, snapshot(&thread, checkpoint.as_ref()));
                match found.as_ref().ok().and_then(Option::as_ref).map_or(0, depth) {
                    0 => presence("snapshot", &found),
                    1 => "snapshot with a child".to_owned(),
                    _ => "snapshot with a grandchild".to_owned(),
                }
            }
            73..78 => {
                let filter = self.history_filter(name);
                let found = both!(pair, self, history(&thread, &filter));
                match &found {
                    Ok(found) if found.is_empty() => "history none".to_owned(),
                    Ok(_) if !filter.namespace.is_root() => "history of a subgraph".to_owned(),
                    Ok(_) if !filter.metadata.is_empty() => "history by metadata".to_owned(),
                    Ok(_) if filter.source.is_some() => "history by source".to_owned(),
                    _ => some_or_none("history", &found),
                }
            }
            78..82 => {
                let question = self.question_id(name);
                presence("question", &both!(pair, self, question(&thread, &question)))
            }
            82..85 => {
                let key = self.operation_key(name);
                presence("operation", &both!(pair, self, operation(&key)))
            }
            85..88 => {
                both!(pair, self, operations(&thread)).expect("the store can be read");
                "operations".to_owned()
            }
            88 => {
                let epoch = self.epoch(&thread);
                let outcome = both!(pair, self, delete_thread(&thread, Epoch(epoch), Vec::new()));
                outcome_of("delete", &outcome)
            }
            89..94 => {
                let bytes: Vec<u8> =
                    (0..self.random.random_range(0..50)).map(|_| self.random.random_range(0..4)).collect();
                let mut content = Content { digest: Digest::of_bytes(&bytes), bytes };
                self.contents.push(content.clone());
                if self.random.random_bool(0.2) {
                    content.bytes.push(9);
                }
                outcome_of("put", &both!(pair, self, put_contents(vec![content.clone()])))
            }
            100..104 => {
                let filter = OperationFilter {
                    id: self.random.random_bool(0.4).then(|| self.operation_id()),
                    thread: self.random.random_bool(0.4).then(|| thread.clone()),
                    tenant: self.random.random_bool(0.4).then(|| self.tenant()),
                    open: self.random.random_bool(0.5),
                    limit: self.random.random_range(0..12),
                };
                some_or_none("find", &both!(pair, self, find_operations(&filter)))
            }
            104..107 => {
                let (now_ms, limit) = (self.random.random_range(0..12), self.random.random_range(0..4));
                some_or_none("due", &both!(pair, self, due_operations(now_ms, limit)))
            }
            107..110 => {
                let key = self.operation_key(name);
                some_or_none("hits", &both!(pair, self, hits(&key)))
            }
            110..118 => self.exchange(pair, name).await,
            94..97 => {
                let digest = self.digest();
                presence("content", &both!(pair, self, content(&digest)))
            }
            97..100 => {
                let digests = [self.digest(), self.digest(), self.digest()];
                both!(pair, self, missing_contents(&digests)).expect("the store can be read");
                "missing".to_owned()
            }
            118..122 => some_or_none("outline", &both!(pair, self, outline(&thread))),
            122..125 => self.retain(pair, name).await,
            125..131 => {
                let (key, now_ms) = (key(self.random.random_range(0..KEYS)), self.random.random_range(0..12));
                presence("cached", &both!(pair, self, cached(&key, now_ms)))
            }
            131..134 => {
                let now_ms = self.random.random_bool(0.8).then(|| self.random.random_range(0..12));
                let removed = both!(pair, self, clear_cache(now_ms)).expect("the store can be written");
                if removed == 0 { "clear none" } else { "clear some" }.to_owned()
            }
            134..140 => {
                let version = self.version();
                outcome_of("version", &both!(pair, self, put_version(version.clone(), Vec::new())))
            }
            140..146 => {
                let version = self.version();
                let named = if self.random.random_bool(0.1) { "unknown" } else { version.name.as_str() };
                let name = self.random.random_bool(0.7).then_some(named);
                some_or_none("versions", &both!(pair, self, versions(version.kind, name)))
            }
            146.. => self.serve(pair).await,
            other => unreachable!("{other} is not drawn"),
        }
    }

    /// Removes some of a thread's checkpoints, mostly none that must be kept.
    async fn retain(&mut self, pair: &Pair, name: &str) -> String {
        let thread = scene::thread(name);
        let mut keep = Vec::new();
        for outline in pair.memory.outline(&thread).await.expect("memory can be read") {
            if self.random.random_bool(0.7) {
                keep.push(outline.checkpoint.id);
            }
        }
        if let Some(head) = pair.memory.snapshot(&thread, None).await.expect("memory can be read")
            && self.random.random_bool(0.9)
        {
            live(&head, &mut keep);
        }
        if self.random.random_bool(0.05) {
            keep.push(scene::checkpoint(100_000));
        }
        let epoch = Epoch(self.epoch(&thread));
        let audit = self.audit(name);
        let outcome = both!(pair, self, retain(&thread, epoch, &keep, audit.clone()));
        if let Some(known) = self.checkpoints.get_mut(&thread)
            && outcome.is_ok()
        {
            known.retain(|(number, _)| keep.contains(&scene::checkpoint(*number)));
        }
        match outcome {
            Ok(0) => "retain none".to_owned(),
            Ok(_) => "retain some".to_owned(),
            Err(error) => format!("retain {}", error.code()),
        }
    }

    /// Exchanges what is stored, or what was stored once, for something else.
    async fn exchange(&mut self, pair: &Pair, name: &str) -> String {
        let awaited = if self.random.random_bool(0.5) { pair.awaited().await } else { Vec::new() };
        let key = awaited.choose(&mut self.random).cloned().unwrap_or_else(|| self.operation_key(name));
        let stored = pair.memory.operation(&key).await.expect("memory can be read");
        let mut expected =
            stored.unwrap_or_else(|| scene::operation(name, key.id.as_str(), &scene::task(name, 0, "pull:x")));
        let task = scene::task(name, 0, "pull:x");
        let mut next = OperationRecord { key: key.clone(), ..self.operation(name, &task) };
        match self.random.random_range(0..20) {
            0 => expected.begun_at_ms += 1,
            1 => expected.state = OperationState::Intended,
            2 => expected.epoch = Epoch(77),
            3 => expected.settles_at_ms = None,
            4 => next.key = scene::operation_key("another", key.id.as_str()),
            _ => {}
        }
        let at_ms = scene::NOW_MS + self.random.random_range(0..50);
        let running = async || {
            let filter =
                ThreadFilter { status: Some(ThreadStatus::Running), limit: usize::MAX, ..ThreadFilter::default() };
            pair.memory.threads(&filter).await.expect("memory can be read").len()
        };
        let before = running().await;
        let outcome = both!(pair, self, exchange_operation(&expected, next.clone(), at_ms, Vec::new()));
        for name in THREADS {
            both!(pair, self, thread(&scene::thread(name))).expect("the store can be read");
        }
        match outcome {
            Ok(true) if running().await > before => "exchange woke".to_owned(),
            Ok(true) => "exchange won".to_owned(),
            Ok(false) => "exchange lost".to_owned(),
            Err(error) => format!("exchange {}", error.code()),
        }
    }
}

/// A new checkpoint's number and namespace.
pub(crate) fn known(new: &NewCheckpoint) -> (u64, Namespace) {
    (u64::try_from(new.record.step).expect("a script's steps are numbers"), new.record.namespace.clone())
}

/// How deep subgraphs run from a snapshot.
fn depth(snapshot: &Snapshot) -> usize {
    snapshot.children.values().map(|child| 1 + depth(child)).max().unwrap_or(0)
}

/// The checkpoints of a snapshot and of the subgraphs that run from it.
fn live(snapshot: &Snapshot, found: &mut Vec<CheckpointId>) {
    found.push(snapshot.checkpoint.id.clone());
    snapshot.children.values().for_each(|child| live(child, found));
}

pub(crate) fn outcome_of(operation: &str, outcome: &Result<(), Error>) -> String {
    match outcome {
        Ok(()) => format!("{operation} ok"),
        Err(error) => format!("{operation} {}", error.code()),
    }
}

pub(crate) fn some_or_none<T>(operation: &str, outcome: &Result<Vec<T>, Error>) -> String {
    presence(operation, &outcome.as_ref().map(|found| found.first()).map_err(Error::clone))
}

pub(crate) fn presence<T>(operation: &str, outcome: &Result<Option<T>, Error>) -> String {
    match outcome {
        Ok(Some(_)) => format!("{operation} some"),
        Ok(None) => format!("{operation} none"),
        Err(error) => format!("{operation} {}", error.code()),
    }
}
