//! One of the two: workers that come and go on one store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use holdpoint_engine::claim::Owners;
use holdpoint_engine::{
    Breakpoints, Config, Deployment, Drain, Engine, Error, Event, EventSink, RunOptions, Selection,
};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::ids::{Epoch, QuestionId, ThreadId};
use holdpoint_graph::nodes::Nodes;
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::faults::{Fault, FaultyStore};
use holdpoint_store::{Journal, OperationFilter, Store, ThreadStatus};

use super::action::{Action, Step, THREADS};
use super::actors::Actors;
use super::draw::Fact;
use super::errors;
use super::graphs;
use super::observe::{self, Cache, Names, Seen};
use super::resolve::pending;
use super::watch::Watch;
use crate::support::{FakeClock, FakeOwners, NOON_MS, object};

/// Far from what a real lease is measured with, so that no sign of life falls due while a test runs.
pub(crate) const LEASE_MS: u64 = 3_600_000;

/// What an action came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// What was given, or the error by name, code and message; names in place of ids.
    pub(crate) told: Vec<String>,
    /// The error's name.
    pub(crate) error: Option<&'static str>,
    /// The worker died of it, or stopped because it does not know what became of a write.
    pub(crate) died: bool,
}

pub(crate) struct World {
    pub(crate) watch: Arc<Watch>,
    pub(crate) actors: Actors,
    /// Looks and does nothing.
    reader: Engine,
    pub(crate) clock: Arc<FakeClock>,
    config: Config,
    at_once: bool,
    pub(crate) graphs: Vec<Deployment>,
    engines: BTreeMap<(usize, bool), Engine>,
    /// Workers so far; the last one is at work.
    pub(crate) workers: usize,
    pub(crate) names: Names,
    pub(crate) threads: Vec<Seen>,
    /// Operations whose outcome is unknown.
    pub(crate) unsettled: Vec<OperationRecord>,
    cache: Cache,
    told: Arc<Told>,
}

/// The events of one action.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl EventSink for Told {
    fn take(&self, event: Event) {
        self.0.lock().unwrap().push(format!("event {event:?}"));
    }
}

pub(crate) fn id(name: &str) -> ThreadId {
    ThreadId::parse(name).unwrap()
}

impl World {
    pub(crate) async fn new(store: Arc<dyn Store>, at_once: bool) -> Self {
        let watch = Arc::new(Watch::new(store, !at_once));
        let clock = Arc::new(FakeClock(AtomicU64::new(NOON_MS)));
        let actors = Actors::new(Arc::clone(&watch), Arc::clone(&clock), !at_once);
        let config = Config {
            lease_ms: LEASE_MS,
            tasks_max: if at_once { 64 } else { 1 },
            // What is stored early must not depend on how busy the machine is.
            quick: std::time::Duration::from_secs(3_600),
            run_ahead_max: 1,
        };
        let owners = Arc::new(FakeOwners { name: "author".into(), others_gone: AtomicBool::new(false) });
        let reader = Engine::new(
            Arc::clone(&watch) as Arc<dyn Store>,
            Arc::new(actors.clone()) as Arc<dyn Nodes>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            owners as Arc<dyn Owners>,
            config.clone(),
        );
        Self {
            watch,
            actors,
            graphs: graphs::deploy(&reader).await,
            reader,
            clock,
            config,
            at_once,
            engines: BTreeMap::new(),
            workers: 1,
            names: Names::default(),
            threads: Vec::new(),
            unsettled: Vec::new(),
            cache: Cache::default(),
            told: Arc::default(),
        }
    }

    /// An engine of worker `ahead` from the one at work: the same as long as that one lives, since it remembers graphs.
    pub(crate) fn engine(&mut self, ahead: usize, gone: bool) -> Engine {
        let key = (self.workers + ahead, gone);
        if !self.engines.contains_key(&key) {
            let engine = self.engine_on(Arc::clone(&self.watch) as Arc<dyn Store>, ahead, gone);
            self.engines.insert(key, engine);
        }
        self.engines[&key].clone()
    }

    fn engine_on(&self, store: Arc<dyn Store>, ahead: usize, gone: bool) -> Engine {
        let name = format!("worker-{}", self.workers + ahead);
        Engine::new(
            store,
            Arc::new(self.actors.clone()) as Arc<dyn Nodes>,
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::new(FakeOwners { name, others_gone: AtomicBool::new(gone) }) as Arc<dyn Owners>,
            self.config.clone(),
        )
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn seen(&self, name: &str) -> Option<&Seen> {
        self.threads.iter().find(|seen| seen.record.id.as_str() == name)
    }

    /// What draws look at.
    pub(crate) fn facts(&self) -> [Fact; 3] {
        THREADS.map(|name| {
            let Some(seen) = self.seen(name) else { return Fact::default() };
            let graph = self.graphs.iter().position(|graph| graph.digest == seen.record.graph);
            Fact {
                status: Some(seen.record.status),
                graph: graph.unwrap_or(0),
                pending: pending(&seen.head).len(),
                in_doubt: seen
                    .operations
                    .iter()
                    .any(|operation| ["in-doubt", "intended"].contains(&operation.state.name())),
            }
        })
    }

    /// The generation of the thread's writer when it may not change: somebody holds the thread, and nobody knows that he is dead.
    pub(crate) fn held(&self, step: &Step) -> Option<Epoch> {
        let record = &self.seen(step.thread)?.record;
        let owner = record.owner.as_ref()?;
        let is_held = record.status == ThreadStatus::Running
            && self.now_ms() + step.advance_ms < record.lease_until_ms
            && (!step.gone || *owner == format!("worker-{}", self.workers));
        (is_held && !matches!(step.action, Action::Zombie)).then_some(record.epoch)
    }

    pub(crate) fn epoch(&self, name: &str) -> Option<Epoch> {
        self.seen(name).map(|seen| seen.record.epoch)
    }

    /// Does it, then reads what has changed, or everything.
    pub(crate) async fn perform(&mut self, step: &Step, whole: bool) -> Outcome {
        self.clock.0.fetch_add(step.advance_ms, Ordering::SeqCst);
        self.actors.set_weather(step.weather);
        let cut = step.cut;
        let plan = move |number| match cut {
            Some(cut) if number == cut.at => cut.fault,
            // Nobody hears from it again.
            Some(cut) if number > cut.at && cut.dies => Fault::Before,
            _ => Fault::None,
        };
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&self.watch) as Arc<dyn Store>, plan));
        let engine = match cut {
            Some(_) => self.engine_on(Arc::clone(&faulty) as Arc<dyn Store>, 0, step.gone),
            None => self.engine(0, step.gone),
        };
        let given = self.act(&engine.with_options(self.options(step)), step).await;
        let died = cut.is_some_and(|cut| faulty.arrived() >= cut.at);
        for _ in 0..if died { 100 } else { 0 } {
            // What it had begun is abandoned, but not before the scheduler comes to it.
            tokio::task::yield_now().await;
        }
        self.workers += usize::from(died);
        let before = std::mem::take(&mut self.threads);
        self.threads = observe::read(self.watch.as_ref(), before, step.thread, whole).await;
        let open = OperationFilter { open: true, limit: 1_000, ..OperationFilter::default() };
        self.unsettled = self.watch.find_operations(&open).await.unwrap();
        self.unsettled.retain(|record| ["in-doubt", "intended"].contains(&record.state.name()));
        self.names.learn(&self.threads);
        let (mut told, error) = match given {
            Ok(lines) => (lines, None),
            Err(error) => (vec![self.refusal(&error)], Some(errors::name(&error))),
        };
        let events = std::mem::take(&mut *self.told.0.lock().unwrap());
        if !self.at_once {
            told.extend(events);
        }
        told = told.iter().map(|line| self.names.named(line)).collect();
        Outcome { told, error, died }
    }

    /// Everything that can be seen, line by line.
    pub(crate) async fn tell(&mut self) -> Vec<String> {
        let Self { reader, threads, names, cache, at_once, .. } = self;
        let mut lines = observe::tell(reader, threads, names, cache, *at_once).await;
        if !self.at_once {
            lines.push(format!("commits {}", self.watch.statistics().commits));
        }
        lines
    }

    fn options(&self, step: &Step) -> RunOptions {
        let drain = Drain::default();
        if step.drain {
            drain.request();
        }
        RunOptions {
            breakpoints: Breakpoints {
                before: Selection::parse(step.before.iter().copied()).unwrap(),
                after: Selection::parse(step.after.iter().copied()).unwrap(),
            },
            metadata: object(step.metadata.clone()),
            effects: step.effects,
            events: Some(Arc::clone(&self.told) as Arc<dyn EventSink>),
            drain,
            ..RunOptions::default()
        }
    }

    /// Where the ids of several questions are told, their order is that of the ids, and so is which of several settled ones is named.
    fn refusal(&self, error: &Error) -> String {
        let named =
            |ids: &[QuestionId]| -> BTreeSet<String> { ids.iter().map(|id| self.names.named(id.as_str())).collect() };
        let told = match error {
            Error::Ambiguous(ids) => format!("{:?}", named(ids)),
            Error::UnknownQuestion { unknown, pending } => format!("{:?} {:?}", named(unknown), named(pending)),
            Error::Waiting { thread, pending } => format!("{thread} {:?}", named(pending)),
            Error::NothingPending { thread, last } => format!("{thread} {}", last.is_some()),
            Error::DeleteInDoubt { thread, operation } => {
                let named = |record: &OperationRecord| record.thread == *thread && record.key.id == *operation;
                assert!(self.unsettled.iter().any(named), "{operation} is not in doubt");
                // Which of several doubts is named depends on which task was first.
                if self.at_once { format!("{thread}") } else { error.to_string() }
            }
            other => other.to_string(),
        };
        format!(
            "{} {}: {told}; {}",
            errors::name(error),
            error.code(),
            if told == error.to_string() { error.cure() } else { String::new() }
        )
    }
}
