//! One of the two: workers that come and go on one store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use holdpoint_engine::claim::Owners;
use holdpoint_engine::prune::Rule;
use holdpoint_engine::{
    Answers, AsNode, Breakpoints, Config, Deployment, Drain, Engine, Error, Event, EventSink, Input, PruneRequest,
    RunOptions, Selection, ThreadView, Update, Word,
};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, NodeName, QuestionId, ThreadId};
use holdpoint_graph::nodes::{Command, Destination, Nodes};
use holdpoint_store::faults::FaultyStore;
use holdpoint_store::{HistoryFilter, Journal, OperationFilter, QuestionRecord, QuestionStatus, Snapshot, Store};
use serde_json::{Map, Value, json};

use crate::action::{Action, Fact, Place, Reply, Said, Step, THREADS};
use crate::actors::{Actors, Gate};
use crate::errors;
use crate::graphs;
use crate::observe::{self, Cache, Names, Seen, checkpoint_at};
use crate::support::{FakeClock, FakeOwners, NOON_MS, object};
use crate::watch::Watch;

/// Far from what a real lease is measured with, so that no sign of life falls due while a test runs.
const LEASE_MS: u64 = 3_600_000;

/// What an action came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// What was given, or the error by name, code and message; names in place of ids.
    pub(crate) told: Vec<String>,
    /// The error's name.
    pub(crate) error: Option<&'static str>,
    /// The worker died of it.
    pub(crate) died: bool,
}

pub(crate) struct World {
    pub(crate) watch: Arc<Watch>,
    actors: Actors,
    /// Looks and does nothing.
    reader: Engine,
    clock: Arc<FakeClock>,
    config: Config,
    at_once: bool,
    graphs: Vec<Deployment>,
    /// Workers so far; the last one is at work.
    workers: usize,
    pub(crate) names: Names,
    pub(crate) threads: Vec<Seen>,
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

fn id(name: &str) -> ThreadId {
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
            workers: 1,
            names: Names::default(),
            threads: Vec::new(),
            cache: Cache::default(),
            told: Arc::default(),
        }
    }

    /// An engine of worker `ahead` from the one at work.
    fn engine(&self, ahead: usize, gone: bool) -> Engine {
        self.engine_on(Arc::clone(&self.watch) as Arc<dyn Store>, ahead, gone)
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

    fn seen(&self, name: &str) -> Option<&Seen> {
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

    /// Does it, then reads what has changed, or everything.
    pub(crate) async fn perform(&mut self, step: &Step, whole: bool) -> Outcome {
        self.clock.0.fetch_add(step.advance_ms, Ordering::SeqCst);
        self.actors.set_weather(step.weather);
        let cut = step.cut;
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&self.watch) as Arc<dyn Store>, move |number| match cut {
            Some((at, fault)) if number == at => fault,
            // Nobody hears from it again.
            Some((at, _)) if number > at => holdpoint_store::faults::Fault::Before,
            _ => holdpoint_store::faults::Fault::None,
        }));
        let engine = self.engine_on(Arc::clone(&faulty) as Arc<dyn Store>, 0, step.gone);
        let given = self.act(&engine.with_options(self.options(step)), step).await;
        let died = cut.is_some_and(|(at, _)| faulty.arrived() >= at);
        for _ in 0..if died { 100 } else { 0 } {
            // What it had begun is abandoned, but not before the scheduler comes to it.
            tokio::task::yield_now().await;
        }
        self.workers += usize::from(died);
        let before = std::mem::take(&mut self.threads);
        self.threads = observe::read(self.watch.as_ref(), before, step.thread, whole).await;
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
            other => other.to_string(),
        };
        format!(
            "{} {}: {told}; {}",
            errors::name(error),
            error.code(),
            if told == error.to_string() { error.cure() } else { String::new() }
        )
    }

    async fn act(&mut self, engine: &Engine, step: &Step) -> Result<Vec<String>, Error> {
        let thread = &id(step.thread);
        let told =
            |view: ThreadView| vec![format!("{:?} {:?} {:?} {:?}", view.status, view.next, view.paused, view.error)];
        match &step.action {
            Action::Run { graph, input, supersede } => {
                let unknown =
                    || Deployment { digest: Digest::of_bytes(b"nobody"), graph: Arc::clone(&self.graphs[0].graph) };
                let graph = self.graphs.get(*graph).cloned().unwrap_or_else(unknown);
                let input = Input { values: input.clone(), supersede: *supersede };
                engine.run(thread, &graph, input).await.map(told)
            }
            Action::Input { input, supersede } => {
                engine.input(thread, Input { values: input.clone(), supersede: *supersede }).await.map(told)
            }
            Action::Answer { answer, value } => {
                engine.answer(thread, &self.answers(step.thread, *answer, value)?, "ana").await.map(told)
            }
            Action::Command { answer, update, goto, sent } => {
                let answers = match answer {
                    Some((answer, value)) => Some(self.answers(step.thread, *answer, value)?),
                    None => None,
                };
                let destination = |node: &&str| match sent {
                    Some(argument) => Destination::Send { node: (*node).into(), argument: argument.clone() },
                    None => Destination::Node((*node).into()),
                };
                let command = Command {
                    update: object(update.clone()),
                    goto: goto.as_ref().map(destination).into_iter().collect(),
                };
                engine.command(thread, answers.as_ref(), command, "bob").await.map(told)
            }
            Action::Proceed => engine.proceed(thread).await.map(told),
            Action::Update { at, supersteps } => {
                let at = self.place(step.thread, *at);
                engine.update(thread, at.as_ref(), &said(supersteps)).await.map(told)
            }
            Action::Replay { at } => engine.replay(thread, &self.place_or_head(step.thread, *at)).await.map(told),
            Action::Fork { at, update } => {
                let update = said(&[vec![update.clone()]]).remove(0).remove(0);
                engine.fork(thread, &self.place_or_head(step.thread, *at), update).await.map(told)
            }
            Action::Copy { to } => engine.copy(thread, &id(to)).await.map(told),
            Action::Build { graph, supersteps } => {
                engine.create_by_updates(thread, &self.graphs[*graph], &said(supersteps)).await.map(told)
            }
            Action::Settle { pick, word, reason } => self.settle(engine, *pick, *word, reason).await,
            Action::Delete => engine.delete(thread).await.map(|()| Vec::new()),
            Action::Prune { delete, older_than_ms, dry_run } => {
                let rule = if *delete { Rule::Delete } else { Rule::KeepLatest };
                let request =
                    PruneRequest { rule, older_than_ms: *older_than_ms, now_ms: self.now_ms(), dry_run: *dry_run };
                Ok(vec![format!("{:?}", engine.prune(&request).await?)])
            }
            Action::State { at } => {
                let at = self.place(step.thread, *at);
                let entry = engine.state(thread, at.as_ref()).await?;
                Ok(vec![format!("{} {:?} {:?} {:?}", entry.checkpoint, entry.next, entry.values, entry.tasks.len())])
            }
            Action::Search { source, step: number, metadata, before } => {
                let before = before.and_then(|index| self.place(step.thread, Place::Own(index)));
                let metadata = object(metadata.clone());
                let filter =
                    HistoryFilter { before, source: *source, step: *number, metadata, ..HistoryFilter::newest(5) };
                let found = engine.find_history(thread, &filter).await?;
                Ok(found.into_iter().map(|entry| entry.checkpoint.to_string()).collect())
            }
            Action::Race { value } => Ok(self.race(engine, step, value).await),
            Action::Zombie => self.zombie(engine, step).await,
        }
    }

    /// In order of their names, since that of their ids is random.
    fn questions(&self, found: impl Iterator<Item = QuestionRecord>) -> Vec<QuestionId> {
        let mut named: Vec<(String, QuestionId)> =
            found.map(|question| (self.names.named(question.id.as_str()), question.id)).collect();
        named.sort();
        named.into_iter().map(|(_, id)| id).collect()
    }

    fn answers(&self, name: &str, answer: Reply, value: &Value) -> Result<Answers, Error> {
        let one = |id: QuestionId| Answers::ById(BTreeMap::from([(id, value.clone())]));
        let open = |name: &str| {
            self.questions(self.seen(name).map(|seen| pending(&seen.head)).unwrap_or_default().into_iter())
        };
        let nobody = || QuestionId::parse("0123456789abcdef0123456789abcdef").unwrap();
        let among = |ids: Vec<QuestionId>, index: usize| match ids.len() {
            0 => nobody(),
            count => ids[index % count].clone(),
        };
        Ok(match answer {
            Reply::Bare => Answers::Bare(value.clone()),
            Reply::One(index) => one(among(open(name), index)),
            Reply::All => Answers::ById(open(name).into_iter().map(|id| (id, value.clone())).collect()),
            Reply::Unknown => one(nobody()),
            Reply::Stale(index) => {
                let settled = self.seen(name).into_iter().flat_map(Seen::snapshots).flat_map(|found| &found.questions);
                let settled = settled.filter(|question| question.status != QuestionStatus::Pending).cloned();
                one(among(self.questions(settled), index))
            }
            Reply::Foreign(index) => {
                let others = THREADS.into_iter().filter(|other| *other != name).flat_map(open);
                one(among(others.collect(), index))
            }
            Reply::EmptyMap => Answers::from_map(Map::new())?,
            Reply::NoMap => Answers::from_map(object(json!({ "approved": true })))?,
        })
    }

    fn place(&self, name: &str, place: Place) -> Option<CheckpointId> {
        let seen = self.seen(name);
        let unknown = || CheckpointId::from_entropy(NOON_MS, 3, 7);
        let own = |seen: &Seen| seen.own().iter().map(|found| found.checkpoint.id.clone()).collect::<Vec<_>>();
        let _ = own;
        let found = match place {
            Place::Head => return None,
            Place::Unknown => None,
            Place::Own(index) => seen.and_then(|seen| checkpoint_at(&seen.own().iter().collect::<Vec<_>>(), index)),
            Place::Start(index) => seen.and_then(|seen| {
                let is_start = |found: &&Snapshot| found.checkpoint.next.contains(&holdpoint_store::Trigger::Start);
                checkpoint_at(&seen.own().iter().filter(is_start).collect::<Vec<_>>(), index)
            }),
            Place::Inner(index) => seen.and_then(|seen| {
                let mut inner: Vec<(String, &Snapshot)> = seen.histories[1..]
                    .iter()
                    .flat_map(|(_, found)| found)
                    .map(|found| (self.names.named(found.checkpoint.id.as_str()), found))
                    .collect();
                inner.sort_by(|left, right| left.0.cmp(&right.0));
                checkpoint_at(&inner.into_iter().map(|(_, found)| found).collect::<Vec<_>>(), index)
            }),
            Place::Foreign(index) => {
                let other = THREADS.into_iter().find(|other| *other != name && self.seen(other).is_some());
                let other = other.and_then(|other| self.seen(other));
                other.and_then(|other| checkpoint_at(&other.own().iter().collect::<Vec<_>>(), index))
            }
        };
        Some(found.unwrap_or_else(unknown))
    }

    fn place_or_head(&self, name: &str, place: Place) -> CheckpointId {
        let head = || self.place(name, Place::Own(usize::MAX));
        self.place(name, place).or_else(head).unwrap_or_else(|| CheckpointId::from_entropy(NOON_MS, 3, 7))
    }

    async fn settle(&self, engine: &Engine, pick: usize, word: usize, reason: &str) -> Result<Vec<String>, Error> {
        let all = OperationFilter { limit: 1_000, ..OperationFilter::default() };
        let mut found = self.watch.find_operations(&all).await?;
        // Those in doubt first, so that they are met; then by what they are.
        found.sort_by_cached_key(|record| {
            (
                record.state.name() != "in-doubt",
                record.state.name() != "intended",
                self.names.named(&format!("{record:?}")),
            )
        });
        let word = match word {
            0 => Word::Happened(json!("receipt")),
            1 => Word::Send,
            2 => Word::Queue,
            _ => Word::Fail,
        };
        let nobody = holdpoint_graph::operation::OperationKey {
            scope: holdpoint_graph::operation::Scope::Global("nobody".into()),
            connector: holdpoint_graph::ids::ConnectorName::parse("payments").unwrap(),
            id: holdpoint_graph::ids::OperationId::parse("nothing").unwrap(),
        };
        let key = found.get(pick / 3).map_or(nobody, |record| record.key.clone());
        Ok(vec![format!("{:?}", engine.settle(&key, word, "cli:ana", reason).await?)])
    }

    /// Which of the two wins is left to the scheduler: both say the same, so that it makes no difference.
    async fn race(&mut self, engine: &Engine, step: &Step, value: &Value) -> Vec<String> {
        let thread = id(step.thread);
        let Ok(answers) = self.answers(step.thread, Reply::One(0), value) else { return Vec::new() };
        let other = self.engine(1, false);
        let (one, two) = tokio::join!(engine.answer(&thread, &answers, "ana"), other.answer(&thread, &answers, "ana"));
        self.workers += 1;
        match (one, two) {
            (Ok(_), Ok(_)) => panic!("two answers to one question were accepted"),
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => {
                let lost = ["HP0407", "HP0402", "HP0403"].contains(&error.code());
                vec![format!("one won, the other was told so: {lost}")]
            }
            (Err(one), Err(two)) => {
                let mut both = [one, two].map(|error| errors::name(&error));
                both.sort_unstable();
                vec![format!("{both:?}")]
            }
        }
    }

    async fn zombie(&mut self, engine: &Engine, step: &Step) -> Result<Vec<String>, Error> {
        let (thread, gate) = (id(step.thread), Arc::new(Gate::default()));
        self.actors.hold(Some(Arc::clone(&gate)));
        let sleeper = engine.clone();
        let runs = {
            let thread = thread.clone();
            let input = Input { values: json!({}), supersede: true };
            let fresh =
                self.seen(step.thread).is_none_or(|seen| seen.record.status == holdpoint_store::ThreadStatus::Done);
            tokio::spawn(async move {
                if fresh { sleeper.input(&thread, input).await } else { sleeper.proceed(&thread).await }
            })
        };
        let mut runs = std::pin::pin!(runs);
        tokio::select! {
            biased;
            ended = &mut runs => {
                self.actors.hold(None);
                let view = ended.unwrap()?;
                return Ok(vec![format!("it did not sleep: {:?}", view.status)]);
            }
            () = gate.started.notified() => {}
        }
        self.clock.0.fetch_add(LEASE_MS + 1, Ordering::SeqCst);
        self.workers += 1;
        let second = self.engine(0, false).proceed(&thread).await?;
        gate.release.notify_one();
        let woken = runs.await.unwrap();
        let told = format!("{:?} while the other slept", second.status);
        woken.map(|view| vec![told, format!("woken up: {:?}", view.status)])
    }
}

/// The questions of the head's step that wait, those of running subgraphs included.
pub(crate) fn pending(snapshot: &Snapshot) -> Vec<QuestionRecord> {
    let own = snapshot.questions.iter().filter(|question| question.status == QuestionStatus::Pending).cloned();
    own.chain(snapshot.children.values().flat_map(pending)).collect()
}

fn said(supersteps: &[Vec<Said>]) -> Vec<Vec<Update>> {
    let update = |said: &Said| Update {
        values: said.values.clone().map(object),
        as_node: said.as_node.map(|name| match name {
            "END" => AsNode::End,
            "__copy__" => AsNode::Copy,
            "__input__" => AsNode::Input,
            node => AsNode::Node(NodeName::parse(node).unwrap()),
        }),
        goto: said.goto.map(|node| Destination::Node(node.into())).into_iter().collect(),
    };
    supersteps.iter().map(|updates| updates.iter().map(update).collect()).collect()
}
