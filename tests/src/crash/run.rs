//! One plan, life after life, to the end of its thread; then everything that can be asked about it.

use std::collections::BTreeSet;
use std::path::Path;

use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::{HistoryFilter, Journal as _, QuestionRecord, Snapshot, SqliteOptions, SqliteStore, Store as _};
use serde_json::json;

use super::check::{self, WriteFate};
use super::lane::{End, Lane};
use super::order::{Doubt, Lost, Report, Word};
use super::plan::Plan;
use super::points::{Blow, Fate};
use super::scenario::{Effect, Receiver};
use super::tampered::Red;
use super::template::Template;
use super::trace::{self, Line};
use crate::payment_server::log::Account;

/// A person looks at a doubt an hour later: by then a request that has not landed will not land any more.
const PERSON_TAKES_MS: u64 = 3_600_000;
/// Lives after the last death: more means that the thread is stuck.
const LIVES_AFTER_DEATH_MAX: usize = 12;
const CHECKPOINTS_MAX: usize = 1_000;

/// What is done to a run besides killing it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Variation {
    /// A guard is taken out.
    pub red: Option<Red>,
    /// A write of the first life is lost.
    pub lost: Option<Lost>,
    /// Each write takes so much longer, and a claim stands for little more than that.
    pub slow_ms: Option<u64>,
}

/// Everything that a run left behind.
pub struct Evidence {
    /// What was planned.
    pub plan: Plan,
    /// The run's name.
    pub run: String,
    /// How each life ended.
    pub ends: Vec<End>,
    /// What each life passed.
    pub traces: Vec<Vec<Line>>,
    /// For each life: the attempts without an outcome that the store held when it had ended, where a write was under way then. Only the store can
    /// tell whether such a write was done.
    pub found: Vec<BTreeSet<Doubt>>,
    /// What was to be done, and what its receiver says of it.
    pub accounts: Vec<(Effect, Account)>,
    /// The doubts that a person was shown.
    pub shown: BTreeSet<Doubt>,
    /// How many of them a person said had happened.
    pub said_happened: usize,
    /// How many of them a person had sent.
    pub said_send: usize,
    /// The store, read anew.
    pub stored: Stored,
}

/// What the store holds in the end.
#[derive(Default)]
pub struct Stored {
    /// The thread at its head.
    pub snapshot: Option<Snapshot>,
    /// All checkpoints with their tasks and questions.
    pub history: Vec<Snapshot>,
    /// All operations.
    pub operations: Vec<OperationRecord>,
    /// What SQLite says of the file.
    pub integrity: String,
}

impl Stored {
    /// All questions.
    pub fn questions(&self) -> impl Iterator<Item = &QuestionRecord> {
        self.history.iter().flat_map(|snapshot| &snapshot.questions)
    }
}

/// A run and the verdict.
pub struct Run {
    /// What it left behind.
    pub evidence: Evidence,
    /// What was found in that.
    pub verdict: check::Verdict,
}

/// Runs a plan on a fresh copy of a store.
pub fn run(lane: &mut Lane, template: &Template, plan: &Plan, variation: Variation) -> Run {
    let run = lane.next_run();
    template.copy_to(&lane.store());
    let mut course = Course::new(lane, template, plan, variation, &run);
    course.live_to_the_end();
    let Course { ends, found, traces, shown, said_happened, said_send, .. } = course;
    let effects = plan.scenario.effects(&run);
    let accounts = effects.into_iter().map(|effect| (effect.clone(), lane.account(&run, &effect))).collect();
    let stored = read(&lane.store(), &run);
    lane.forget(&run);
    let plan = plan.clone();
    let evidence = Evidence { plan, run, ends, traces, found, accounts, shown, said_happened, said_send, stored };
    let verdict = check::check(&evidence);
    Run { evidence, verdict }
}

struct Course<'a> {
    lane: &'a mut Lane,
    template: &'a Template,
    plan: &'a Plan,
    variation: Variation,
    run: &'a str,
    ends: Vec<End>,
    traces: Vec<Vec<Line>>,
    found: Vec<BTreeSet<Doubt>>,
    shown: BTreeSet<Doubt>,
    said_happened: usize,
    said_send: usize,
}

impl<'a> Course<'a> {
    fn new(lane: &'a mut Lane, template: &'a Template, plan: &'a Plan, variation: Variation, run: &'a str) -> Self {
        Self {
            lane,
            template,
            plan,
            variation,
            run,
            ends: Vec::new(),
            traces: Vec::new(),
            found: Vec::new(),
            shown: BTreeSet::new(),
            said_happened: 0,
            said_send: 0,
        }
    }

    fn live_to_the_end(&mut self) {
        let mut order = self.lane.order(self.plan.scenario, &self.template.graph, self.run);
        order.red = self.variation.red;
        order.lost = self.variation.lost;
        if let Some(slow_ms) = self.variation.slow_ms {
            order.slow_ms = slow_ms;
            order.lease_ms = slow_ms + 10;
        }
        let mut deaths = self.plan.deaths.iter().copied();
        let mut until_death = deaths.next();
        let mut lives_left = self.plan.deaths.len() + LIVES_AFTER_DEATH_MAX;
        while lives_left > 0 {
            lives_left -= 1;
            order.fate = until_death.map(|point| Fate { point, blow: Blow::Kill });
            let end = self.lane.live(&order);
            self.ends.push(end.clone());
            self.look_back();
            order.words.clear();
            order.lost = None;
            match end {
                // Whoever comes next looks for itself: what a person said counted for what that person saw.
                End::Killed => until_death = deaths.next(),
                End::Broken(_) => return,
                End::Reported(report) => {
                    until_death =
                        until_death.and_then(|point| point.checked_sub(report.points)).filter(|left| *left > 0);
                    if report.doubts.is_empty() && !report.status.is_empty() && report.status != "running" {
                        return;
                    }
                    if !report.doubts.is_empty() {
                        order.ahead_ms += PERSON_TAKES_MS;
                        order.words = self.words(&report);
                    }
                }
            }
        }
    }

    /// Takes the trace of the life that has just ended, and looks into the store where that leaves a question.
    fn look_back(&mut self) {
        let trace = trace::read(&self.lane.path(&format!("{}.trace", self.run))).unwrap();
        let life = trace.into_iter().nth(self.traces.len()).unwrap_or_default();
        let unknown = check::writes(&life).any(|(_, fate)| fate == WriteFate::Unknown);
        let stored = if unknown { read(&self.lane.store(), self.run) } else { Stored::default() };
        let open = stored.operations.into_iter().filter(|operation| check::is_open(operation.state.name()));
        let doubt =
            |operation: OperationRecord| Doubt { operation: operation.key.id.to_string(), epoch: operation.epoch.0 };
        self.found.push(open.map(doubt).collect());
        self.traces.push(life);
    }

    /// What a person finds in the receivers' logs. Counted when it is said; it may have to be said again.
    fn words(&mut self, report: &Report) -> Vec<Word> {
        let effects = self.plan.scenario.effects(self.run);
        let words = report.doubts.iter().map(|doubt| {
            let effect = effects.iter().find(|effect| effect.operation == doubt.operation);
            let effect = effect.unwrap_or_else(|| panic!("a doubt about an operation that nobody knows: {doubt:?}"));
            let account = self.lane.account(self.run, effect);
            let happened = account.receipts.last().filter(|_| effect.receiver != Receiver::File);
            let happened = happened.map(|receipt| json!({ "status": 201, "headers": {}, "body": receipt }));
            if self.shown.insert(doubt.clone()) {
                *if happened.is_some() { &mut self.said_happened } else { &mut self.said_send } += 1;
            }
            Word { operation: doubt.operation.clone(), happened }
        });
        words.collect()
    }
}

/// Reads a store as somebody does who has nothing to do with those who wrote it.
pub fn read(store: &Path, thread: &str) -> Stored {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let integrity = integrity(store);
    let thread = ThreadId::parse(thread).unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(store, SqliteOptions::default()).unwrap();
        Stored {
            snapshot: store.snapshot(&thread, None).await.unwrap(),
            history: store.history(&thread, &HistoryFilter::newest(CHECKPOINTS_MAX)).await.unwrap(),
            operations: store.operations(&thread).await.unwrap(),
            integrity,
        }
    })
}

fn integrity(store: &Path) -> String {
    let connection = rusqlite::Connection::open(store).unwrap();
    connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap()
}
