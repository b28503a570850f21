//! What the store is doing when the power goes: lanes that write at once, each the stories of its own threads.
//!
//! A lane knows what was acknowledged to it and what was not: at most one act, since it waits for each. What was acknowledged is also done to a
//! store in memory, which is the lane's word on what must be there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, ThreadId};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use holdpoint_graph::state::Change;
use holdpoint_store::conformance::scene;
use holdpoint_store::{
    AuditFilter, Commit, Content, Error, HistoryFilter, MemoryStore, QuestionChange, RunRecord, RunStatus, RunUpdate,
    Snapshot, SqliteOptions, SqliteStore, Store, TaskRecord, TaskStatus, ThreadStatus, ThreadSummary, audit::Verifier,
};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::task::JoinSet;

use super::disk::Disk;

/// Writers at once: what a batch of the store's writer may hold.
pub(crate) const LANES: u64 = 6;

/// One write.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Commit(Box<Commit>),
    Put(Content),
    Delete(ThreadId, Epoch),
    Retain(ThreadId, Epoch, Vec<CheckpointId>),
    /// An operation's record, to the one that takes its place.
    Exchange(Box<[OperationRecord; 2]>),
    /// A person's say.
    Change(Box<QuestionChange>),
    Run(Box<RunRecord>),
}

impl Act {
    pub(crate) async fn perform(&self, store: &dyn Store) -> Result<(), Error> {
        match self {
            Self::Commit(commit) => store.commit((**commit).clone()).await,
            Self::Put(content) => store.put_contents(vec![content.clone()]).await,
            Self::Delete(thread, epoch) => {
                store.delete_thread(thread, *epoch, vec![scene::audit("deleted", Some(thread.as_str()))]).await
            }
            Self::Change(change) => store.change_question((**change).clone()).await.map(drop),
            Self::Run(run) => {
                let audit = vec![scene::audit("run", Some(run.thread.as_str()))];
                store.put_run((**run).clone(), false, audit).await
            }
            Self::Retain(thread, epoch, keep) => store.retain(thread, *epoch, keep, Vec::new()).await.map(drop),
            Self::Exchange(records) => {
                let [expected, next] = &**records;
                match store.exchange_operation(expected, next.clone(), scene::NOW_MS, Vec::new()).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(Error::Invalid("the operation's record is not the expected one".to_owned())),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// Everything that a store holds of a lane's.
#[derive(Debug, PartialEq)]
pub(crate) struct Holdings {
    /// Each checkpoint with its values, tasks and questions, and the operations, which outlive their thread.
    pub(crate) threads: BTreeMap<ThreadId, (Vec<Snapshot>, Vec<OperationRecord>)>,
    pub(crate) contents: BTreeMap<Digest, Option<Vec<u8>>>,
    /// What is on the record of each thread: the kinds, in order. The chain over all lanes is checked for itself.
    pub(crate) record: BTreeMap<ThreadId, Vec<String>>,
    /// Each thread's entry, and how many of its runs are open.
    pub(crate) entries: BTreeMap<ThreadId, Option<ThreadSummary>>,
}

/// One writer.
pub(crate) struct Lane {
    pub(crate) number: u64,
    random: ChaCha8Rng,
    stories: u64,
    /// The rest of the story that is being told.
    planned: VecDeque<Act>,
    threads: BTreeSet<ThreadId>,
    digests: BTreeSet<Digest>,
    pub(crate) acknowledged: Vec<Act>,
    /// What was acknowledged, done.
    pub(crate) expected: MemoryStore,
    /// What was not acknowledged when the power went.
    pub(crate) in_flight: Option<Act>,
}

/// Writes until the power goes. The store is closed and opened again now and then, as a program that is restarted does: closing folds the log
/// and removes it.
///
/// # Errors
/// What the store refused while the power was on, and what it read that was not written.
pub(crate) async fn live(
    path: &Path,
    options: &SqliteOptions,
    lanes: Vec<Lane>,
    disk: &Arc<Disk>,
    random: &mut ChaCha8Rng,
) -> Result<Vec<Lane>, String> {
    let mut lanes = lanes;
    while !disk.is_off() {
        let store = match SqliteStore::open(path, options.clone()) {
            Ok(store) => Arc::new(store),
            Err(_) if disk.is_off() => break,
            Err(error) => return Err(format!("the store does not open while the power is on: {error}")),
        };
        let acts = random.random_range(10..80);
        let mut writing = JoinSet::new();
        for mut lane in lanes.drain(..) {
            let (store, disk) = (Arc::clone(&store), Arc::clone(disk));
            writing.spawn(async move {
                for _ in 0..acts {
                    if !lane.act(&*store, &disk).await? {
                        break;
                    }
                }
                Ok::<Lane, String>(lane)
            });
        }
        for lane in writing.join_all().await {
            lanes.push(lane?);
        }
        lanes.sort_by_key(|lane| lane.number);
    }
    Ok(lanes)
}

/// The kinds of each thread's records, once its chain is checked.
async fn recorded(store: &dyn Store) -> Result<BTreeMap<ThreadId, Vec<String>>, Error> {
    let mut verifiers: BTreeMap<ThreadId, Verifier> = BTreeMap::new();
    let mut kinds: BTreeMap<ThreadId, Vec<String>> = BTreeMap::new();
    for record in store.audit(&AuditFilter { limit: usize::MAX, ..AuditFilter::default() }).await? {
        let Some(thread) = &record.thread else { continue };
        let verifier = verifiers.entry(thread.clone()).or_insert_with(Verifier::of_one_thread);
        verifier.check(&record).map_err(|breach| Error::Corrupt(breach.to_string()))?;
        kinds.entry(thread.clone()).or_default().push(record.kind);
    }
    Ok(kinds)
}

/// Checks the record of all lanes, from its beginning to its end.
pub(crate) async fn verify_trail(store: &dyn Store) -> Result<(), Error> {
    let mut verifier = Verifier::default();
    for record in store.audit(&AuditFilter { limit: usize::MAX, ..AuditFilter::default() }).await? {
        verifier.check(&record).map_err(|breach| Error::Corrupt(breach.to_string()))?;
    }
    if store.audit_head().await? == *verifier.head() {
        Ok(())
    } else {
        Err(Error::Corrupt("the trail ends with another record than the one that it says".to_owned()))
    }
}

impl Lane {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        Self {
            number,
            random: ChaCha8Rng::seed_from_u64(seed * LANES + number),
            stories: 0,
            planned: VecDeque::new(),
            threads: BTreeSet::new(),
            digests: BTreeSet::new(),
            acknowledged: Vec::new(),
            expected: MemoryStore::new(),
            in_flight: None,
        }
    }

    /// Performs the next act; false when the power has gone and the lane does not know whether it happened.
    async fn act(&mut self, store: &dyn Store, disk: &Disk) -> Result<bool, String> {
        let act = self.next();
        match act.perform(store).await {
            Ok(()) => self.acknowledge(act).await?,
            Err(_) if disk.is_off() => {
                self.in_flight = Some(act);
                return Ok(false);
            }
            Err(error) => return Err(format!("lane {}: refused while the power is on: {error}", self.number)),
        }
        // Readers take part too: they hold marks in the log that folding must respect.
        if self.random.random_bool(0.1)
            && let Some(thread) = self.threads.last()
        {
            let expected = self.expected.snapshot(thread, None).await;
            match store.snapshot(thread, None).await {
                found if found == expected => {}
                Err(_) if disk.is_off() => {}
                found => return Err(format!("lane {}: read {found:?} instead of {expected:?}", self.number)),
            }
        }
        Ok(true)
    }

    /// Adds an act to those that must be there.
    pub(crate) async fn acknowledge(&mut self, act: Act) -> Result<(), String> {
        let done = act.perform(&self.expected).await;
        done.map_err(|error| format!("lane {}: the store took what is refused: {error}", self.number))?;
        self.acknowledged.push(act);
        Ok(())
    }

    /// Takes the act up again that did not happen.
    pub(crate) fn retry(&mut self, act: Act) {
        self.planned.push_front(act);
    }

    /// What a store holds of this lane's.
    pub(crate) async fn holdings(&self, store: &dyn Store) -> Result<Holdings, Error> {
        let mut holdings = Holdings {
            threads: BTreeMap::new(),
            contents: BTreeMap::new(),
            record: BTreeMap::new(),
            entries: BTreeMap::new(),
        };
        for thread in &self.threads {
            let history = store.history(thread, &HistoryFilter::newest(usize::MAX)).await?;
            holdings.threads.insert(thread.clone(), (history, store.operations(thread).await?));
            holdings.entries.insert(thread.clone(), store.entry(thread).await?);
        }
        holdings.record = recorded(store).await?;
        holdings.record.retain(|thread, _| self.threads.contains(thread));
        for digest in &self.digests {
            holdings.contents.insert(digest.clone(), store.content(digest).await?);
        }
        Ok(holdings)
    }

    fn next(&mut self) -> Act {
        loop {
            if let Some(act) = self.planned.pop_front() {
                return act;
            }
            self.plan();
        }
    }

    /// Plans the story of one thread: supersteps with their operations, questions and answers, to its end.
    fn plan(&mut self) {
        let name = format!("lane-{}-{}", self.number, self.stories);
        self.stories += 1;
        self.threads.insert(scene::thread(&name));
        if self.random.random_bool(0.3) {
            let mut bytes = vec![0; self.random.random_range(1..30_000)];
            self.random.fill_bytes(&mut bytes);
            let content = Content { digest: Digest::of_bytes(&bytes), bytes };
            self.digests.insert(content.digest.clone());
            self.planned.push_back(Act::Put(content));
        }
        let patch =
            scene::patch([("log", Change::Append(vec![json!(0)])), ("note", Change::Replace(json!(self.text())))]);
        let audit = vec![scene::audit("created", Some(&name))];
        let run = scene::run(&name, self.number * 1_000_000 + self.stories);
        let begins = RunUpdate { run: run.id.clone(), from: RunStatus::Pending, to: RunStatus::Running, error: None };
        self.planned.push_back(Act::Run(Box::new(run)));
        self.commit(Commit { audit, runs: vec![begins], ..scene::create(&name, patch) });
        let mut epoch = 1;
        let steps = self.random.random_range(1..6);
        for number in 1..=steps {
            epoch = self.plan_superstep(&name, epoch, number);
        }
        if self.random.random_bool(0.3) {
            let keep = vec![scene::checkpoint(steps)];
            self.planned.push_back(Act::Retain(scene::thread(&name), Epoch(epoch), keep));
        }
        self.commit(Commit { status: ThreadStatus::Done, release: true, ..scene::update(&name, epoch) });
        if self.random.random_bool(0.25) {
            self.planned.push_back(Act::Delete(scene::thread(&name), Epoch(epoch)));
        }
    }

    /// One superstep onto checkpoint `number`; the thread's epoch after it.
    fn plan_superstep(&mut self, name: &str, epoch: u64, number: u64) -> u64 {
        let parent = number - 1;
        let task = scene::task(name, parent, "pull:pay");
        let mut epoch = epoch;
        if self.random.random_bool(0.3) {
            let question = scene::question(&task, name, 0);
            self.commit(Commit {
                tasks: vec![task.clone()],
                questions: vec![question.clone()],
                status: ThreadStatus::Interrupted,
                release: true,
                ..scene::update(name, epoch)
            });
            let audit = vec![scene::audit("decided", Some(name)), scene::audit("host", None)];
            if self.random.random_bool(0.5) {
                let claim = Some(scene::claim("second"));
                let change = QuestionChange { claim, audit, ..scene::decide(name, &question, "user:ana") };
                self.planned.push_back(Act::Change(Box::new(change)));
            } else {
                self.commit(Commit {
                    claim: Some(scene::claim("second")),
                    settlements: vec![scene::settle(&question, "ana")],
                    audit,
                    ..scene::update(name, epoch)
                });
            }
            epoch += 1;
        }
        let mut operations = Vec::new();
        if self.random.random_bool(0.4) {
            let outcome = scene::operation(name, &format!("refund:{number}"), &task);
            let intent = OperationRecord {
                state: OperationState::Intended,
                send_by_ms: Some(scene::NOW_MS + 10),
                finished_at_ms: None,
                ..outcome.clone()
            };
            self.commit(Commit { operations: vec![intent.clone()], ..scene::update(name, epoch) });
            // Settled by a person, or by the superstep that it is part of.
            if self.random.random_bool(0.3) {
                self.planned.push_back(Act::Exchange(Box::new([intent, outcome])));
            } else {
                operations.push(outcome);
            }
        }
        let patch =
            scene::patch([("log", Change::Append(vec![json!(number)])), ("note", Change::Replace(json!(self.text())))]);
        self.commit(Commit {
            tasks: vec![TaskRecord { status: TaskStatus::Done, executions: 2, ..task }],
            operations,
            audit: vec![scene::audit("step", Some(name))],
            ..scene::step(name, epoch, number, parent, patch)
        });
        epoch
    }

    fn commit(&mut self, commit: Commit) {
        self.planned.push_back(Act::Commit(Box::new(commit)));
    }

    /// Mostly less than a page, now and then several, so that the log is full and folded before long.
    fn text(&mut self) -> String {
        let length = if self.random.random_bool(0.25) { 20_000 } else { 1_500 };
        let letter = self.random.random_range(b'a'..=b'z');
        char::from(letter).to_string().repeat(self.random.random_range(0..length))
    }
}
