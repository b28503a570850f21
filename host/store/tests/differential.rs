//! Random scripts on both stores: every answer must be equal, refusals included.
//!
//! A script goes on until everything that can happen on both has happened (`REACHED`). Set `HOLDPOINT_SEED` to repeat one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, OperationId, QuestionId, ThreadId};
use holdpoint_graph::nodes::{Command, Failure};
use holdpoint_graph::operation::{
    NoteKind, OperationHit, OperationKey, OperationNote, OperationRecord, OperationState,
};
use holdpoint_graph::state::{Change, Patch};
use holdpoint_store::conformance::scene;
use holdpoint_store::{
    Commit, Content, Error, Journal, MemoryStore, OperationFilter, QuestionRecord, Settlement, SqliteOptions,
    SqliteStore, Store, TaskRecord, TaskStatus, ThreadError, ThreadFilter, ThreadStatus, Trigger,
};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const THREADS: [&str; 3] = ["one", "two", "three"];

/// What a script has to reach: each operation with each of its outcomes.
const REACHED: [&str; 37] = [
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
    "snapshot some",
    "snapshot none",
    "history some",
    "history none",
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
];

/// Operations of each thread.
const OPERATIONS: u32 = 10;

const STEPS_MIN: usize = 1_500;
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
        while steps < STEPS_MIN || reached.len() < REACHED.len() {
            assert!(steps < STEPS_MAX, "seed={seed}: not reached: {:?}", missing(&reached));
            reached.insert(script.step(&pair).await);
            steps += 1;
        }
        pair.same_everywhere(&script).await;
        assert!(missing(&reached).is_empty(), "seed={seed}: not reached: {:?}", missing(&reached));
    }
}

fn missing(reached: &BTreeSet<String>) -> Vec<&'static str> {
    REACHED.into_iter().filter(|what| !reached.contains(*what)).collect()
}

struct Pair {
    memory: MemoryStore,
    sqlite: SqliteStore,
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

fn assert_same<T: PartialEq + Debug>(expected: &T, found: &T, context: impl Fn() -> String) {
    assert!(expected == found, "{}\nmemory: {expected:#?}\nsqlite: {found:#?}", context());
}

impl Pair {
    /// Operations that are stored and that interrupted threads are in doubt about.
    async fn awaited(&self) -> Vec<OperationKey> {
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

    async fn same_everywhere(&self, script: &Script) {
        for name in THREADS {
            let id = scene::thread(name);
            both!(self, script, snapshot(&id, None)).expect("the store can be read");
            both!(self, script, history(&id, None, usize::MAX)).expect("the store can be read");
            both!(self, script, operations(&id)).expect("the store can be read");
            for number in 0..OPERATIONS {
                let key = scene::operation_key(name, &format!("op:{number}"));
                both!(self, script, hits(&key)).expect("the store can be read");
            }
        }
        let all = OperationFilter { limit: usize::MAX, ..OperationFilter::default() };
        both!(self, script, find_operations(&all)).expect("the store can be read");
        both!(self, script, due_operations(u64::MAX, usize::MAX)).expect("the store can be read");
    }
}

/// Draws the next operation. Remembers what could be referred to; some of it is stale or was never stored, which is wanted.
struct Script {
    seed: u64,
    steps: usize,
    random: ChaCha8Rng,
    epochs: BTreeMap<ThreadId, u64>,
    /// Numbers of checkpoints by thread.
    checkpoints: BTreeMap<ThreadId, Vec<u64>>,
    /// In order of asking, with their threads.
    questions: Vec<(String, QuestionId)>,
    contents: Vec<Content>,
}

impl Script {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            steps: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
            epochs: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            questions: Vec::new(),
            contents: Vec::new(),
        }
    }

    /// Does one thing on both stores; what was reached.
    async fn step(&mut self, pair: &Pair) -> String {
        self.steps += 1;
        let name = *THREADS.choose(&mut self.random).expect("there are some");
        let thread = scene::thread(name);
        match self.random.random_range(0..118) {
            0..55 => {
                let commit = self.commit(name);
                let creates = matches!(commit.expect, holdpoint_store::Expect::New(_));
                let claims = commit.claim.is_some();
                let numbers: Vec<i64> = commit.checkpoints.iter().map(|new| new.record.step).collect();
                let outcome = both!(pair, self, commit(commit.clone()));
                if outcome.is_ok() {
                    if creates {
                        self.epochs.insert(thread.clone(), 1);
                        self.checkpoints.insert(thread.clone(), Vec::new());
                    } else if claims {
                        *self.epochs.entry(thread.clone()).or_default() += 1;
                    }
                    let known = self.checkpoints.entry(thread).or_default();
                    known.extend(numbers.into_iter().filter_map(|number| u64::try_from(number).ok()));
                }
                outcome_of("commit", &outcome)
            }
            55..60 => presence("thread", &both!(pair, self, thread(&thread))),
            60..65 => {
                let status = self.random.random_bool(0.5).then(|| self.status());
                let filter = ThreadFilter {
                    status,
                    limit: self.random.random_range(0..4),
                    offset: self.random.random_range(0..3),
                };
                both!(pair, self, threads(&filter)).expect("the store can be read");
                "threads".to_owned()
            }
            65..73 => {
                let checkpoint = self.random.random_bool(0.7).then(|| self.checkpoint(name));
                presence("snapshot", &both!(pair, self, snapshot(&thread, checkpoint.as_ref())))
            }
            73..78 => {
                let before = self.random.random_bool(0.6).then(|| self.checkpoint(name));
                let limit = self.random.random_range(1..20);
                let found = both!(pair, self, history(&thread, before.as_ref(), limit));
                presence("history", &found.map(|found| found.into_iter().next()))
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
                let outcome = both!(pair, self, delete_thread(&thread, Epoch(epoch)));
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
            other => unreachable!("{other} is not drawn"),
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
            let filter = ThreadFilter { status: Some(ThreadStatus::Running), limit: usize::MAX, offset: 0 };
            pair.memory.threads(&filter).await.expect("memory can be read").len()
        };
        let before = running().await;
        let outcome = both!(pair, self, exchange_operation(&expected, next.clone(), at_ms));
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

    fn operation_id(&mut self) -> OperationId {
        OperationId::parse(format!("op:{}", self.random.random_range(0..OPERATIONS + 2))).expect("valid")
    }

    fn operation_key(&mut self, name: &str) -> OperationKey {
        OperationKey { id: self.operation_id(), ..scene::operation_key(name, "any") }
    }

    fn commit(&mut self, name: &str) -> Commit {
        let thread = scene::thread(name);
        let create = self.random.random_bool(0.08);
        let mut commit = if create {
            let patch = self.patch();
            scene::create(name, patch)
        } else {
            scene::update(name, self.epoch(&thread))
        };
        for _ in 0..self.random.random_range(0..3) {
            // Rarely one that is there already.
            let fresh =
                self.checkpoints.get(&thread).and_then(|known| known.iter().max()).map_or(1, |newest| newest + 1);
            let fresh = fresh + u64::try_from(commit.checkpoints.len()).expect("few");
            let number = if self.random.random_bool(0.03) { self.number(name) } else { fresh };
            let parent = self.random.random_bool(0.95).then(|| if create { 0 } else { self.number(name) });
            let mut new = scene::new_checkpoint(number, parent, self.patch());
            if self.random.random_bool(0.2) {
                let argument = self.value(2);
                new.record.next.push(Trigger::Push { node: scene::node("pay"), argument });
            }
            commit.checkpoints.push(new);
        }
        if self.random.random_bool(0.6) {
            commit.head = commit.checkpoints.last().map(|new| new.record.id.clone()).or(commit.head);
        } else if self.random.random_bool(0.1) {
            commit.head = Some(self.checkpoint(name));
        }
        for _ in 0..self.random.random_range(0..3) {
            let number = commit.checkpoints.last().and_then(|new| u64::try_from(new.record.step).ok());
            let number = if self.random.random_bool(0.5) { number } else { None }.unwrap_or_else(|| self.number(name));
            let task = self.task(name, number);
            if self.random.random_bool(0.4) {
                let question = self.question(&task, name);
                self.questions.push((name.to_owned(), question.id.clone()));
                commit.questions.push(question);
            }
            if self.random.random_bool(0.4) {
                commit.operations.push(self.operation(name, &task));
            }
            if self.random.random_bool(0.1) {
                let at_ms = self.random.random_range(0..5);
                let owner = *THREADS.choose(&mut self.random).expect("there are some");
                let key = self.operation_key(owner);
                commit.hits.push(OperationHit { at_ms, ..scene::hit(&key, name, &task) });
            }
            // Without its task a question may point nowhere.
            if self.random.random_bool(0.95) {
                commit.tasks.push(task);
            }
        }
        if self.random.random_bool(0.25) {
            let question = self.question_id(name);
            let answer = scene::answer("ana", self.value(2));
            commit.settlements.push(if self.random.random_bool(0.7) {
                Settlement::Answer { question, answer }
            } else {
                Settlement::Supersede { question }
            });
        }
        if self.random.random_bool(0.1) {
            commit.claim = Some(scene::claim("worker"));
        }
        commit.release = self.random.random_bool(0.05);
        commit.lease_until_ms = self.random.random_bool(0.1).then(|| self.random.random_range(0..1_000));
        commit.status = self.status();
        commit.error = self.random.random_bool(0.1).then(|| ThreadError {
            code: "HP9999".to_owned(),
            message: "ü\u{0}".to_owned(),
            node: None,
            details: self.random.random_bool(0.5).then(|| self.value(1)),
        });
        commit.at_ms = scene::NOW_MS + self.random.random_range(0..50);
        commit
    }

    fn task(&mut self, name: &str, number: u64) -> TaskRecord {
        let path = format!("push:{:02}", self.random.random_range(0..4));
        let statuses = TaskStatus::NAMES.map(|(status, _)| status);
        let update = [("a".to_owned(), self.value(2))].into_iter().collect();
        let status = *statuses.choose(&mut self.random).expect("there are some");
        // In doubt about something, whatever the status: it alone decides.
        let owner = *THREADS.choose(&mut self.random).expect("there are some");
        let error = scene::task_in_doubt(name, number, &path, &self.operation_key(owner)).error;
        TaskRecord {
            status,
            error: if self.random.random_bool(0.8) { error } else { None },
            executions: self.random.random_range(0..5),
            result: self.random.random_bool(0.5).then_some(Command { update, goto: Vec::new() }),
            ..scene::task(name, number, &path)
        }
    }

    fn question(&mut self, task: &TaskRecord, name: &str) -> QuestionRecord {
        let occurrence = self.random.random_range(0..3);
        QuestionRecord {
            answer_schema: self.random.random_bool(0.3).then(|| self.value(1)),
            ..scene::question(task, name, occurrence)
        }
    }

    fn operation(&mut self, name: &str, task: &TaskRecord) -> OperationRecord {
        let state = match self.random.random_range(0..6) {
            0 => OperationState::Intended,
            1 => OperationState::Completed(self.value(2)),
            2 => OperationState::Failed(Failure {
                code: "no".to_owned(),
                message: String::new(),
                retryable: false,
                retry_after_ms: None,
                details: self.random.random_bool(0.5).then(|| self.value(1)),
            }),
            3 => OperationState::InDoubt("lost".to_owned()),
            4 => OperationState::Queued {
                attempts: self.random.random_range(0..2),
                due_at_ms: self.random.random_range(0..10),
            },
            _ => OperationState::NotSent,
        };
        OperationRecord {
            state,
            begun_at_ms: self.random.random_range(0..5),
            send_by_ms: self.random.random_bool(0.5).then_some(7),
            settles_at_ms: self.random.random_bool(0.5).then_some(9),
            notes: self.notes(),
            ..scene::operation(name, &format!("op:{}", self.random.random_range(0..OPERATIONS)), task)
        }
    }

    fn notes(&mut self) -> Vec<OperationNote> {
        let kinds = NoteKind::NAMES.map(|(kind, _)| kind);
        (0..self.random.random_range(0..3))
            .map(|at_ms| OperationNote {
                at_ms,
                kind: *kinds.choose(&mut self.random).expect("there are some"),
                by: "cli:ana".to_owned(),
                text: "ü\u{0}\"".to_owned(),
            })
            .collect()
    }

    fn patch(&mut self) -> Patch {
        let mut patch = Patch::default();
        for _ in 0..self.random.random_range(0..4) {
            let channel = ["a", "b", "c", "d"].choose(&mut self.random).expect("there are some");
            let change = if self.random.random_bool(0.6) {
                Change::Append((0..self.random.random_range(0..3)).map(|_| self.value(2)).collect())
            } else {
                Change::Replace(self.value(3))
            };
            patch.changes.insert(holdpoint_graph::ids::ChannelName::parse(*channel).expect("valid"), change);
        }
        patch
    }

    fn value(&mut self, levels: usize) -> Value {
        match self.random.random_range(0..if levels == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.random.random_range(i64::MIN..=i64::MAX)),
            2 => json!(self.random.random_range(-1e3..1e3)),
            3 => json!("\"é😀\\".repeat(self.random.random_range(0..20))),
            4 => json!(self.random.random_bool(0.5)),
            5 => (0..self.random.random_range(0..4)).map(|_| self.value(levels - 1)).collect(),
            _ => (0..self.random.random_range(0..4)).map(|key| (format!("k{key}"), self.value(levels - 1))).collect(),
        }
    }

    fn status(&mut self) -> ThreadStatus {
        ThreadStatus::NAMES.map(|(status, _)| status)[self.random.random_range(0..4)]
    }

    /// The thread's epoch; now and then another one.
    fn epoch(&mut self, thread: &ThreadId) -> u64 {
        let epoch = self.epochs.get(thread).copied().unwrap_or(1);
        if self.random.random_bool(0.1) { epoch.saturating_sub(1) } else { epoch }
    }

    /// The number of a checkpoint of the thread; now and then of none.
    fn number(&mut self, name: &str) -> u64 {
        let known =
            self.checkpoints.get(&scene::thread(name)).and_then(|known| known.choose(&mut self.random)).copied();
        match known {
            Some(number) if self.random.random_bool(0.97) => number,
            _ => 100_000,
        }
    }

    fn checkpoint(&mut self, name: &str) -> CheckpointId {
        let number = self.number(name);
        scene::checkpoint(number)
    }

    fn question_id(&mut self, name: &str) -> QuestionId {
        let own = self.questions.iter().rev().filter(|(thread, _)| thread == name).map(|(_, question)| question);
        let newest: Vec<QuestionId> = own.take(6).cloned().collect();
        match newest.choose(&mut self.random) {
            Some(question) if self.random.random_bool(0.9) => question.clone(),
            _ => scene::question_id(&scene::task(name, 100_000, "pull:x"), name, 0),
        }
    }

    fn digest(&mut self) -> Digest {
        let known = self.contents.choose(&mut self.random).map(|content| content.digest.clone());
        known.filter(|_| self.random.random_bool(0.7)).unwrap_or_else(|| Digest::of_bytes(b"unknown"))
    }
}

fn outcome_of(operation: &str, outcome: &Result<(), Error>) -> String {
    match outcome {
        Ok(()) => format!("{operation} ok"),
        Err(error) => format!("{operation} {}", error.code()),
    }
}

fn some_or_none<T>(operation: &str, outcome: &Result<Vec<T>, Error>) -> String {
    presence(operation, &outcome.as_ref().map(|found| found.first()).map_err(Error::clone))
}

fn presence<T>(operation: &str, outcome: &Result<Option<T>, Error>) -> String {
    match outcome {
        Ok(Some(_)) => format!("{operation} some"),
        Ok(None) => format!("{operation} none"),
        Err(error) => format!("{operation} {}", error.code()),
    }
}
