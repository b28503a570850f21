//! One life: the product's parts put together as [`holdpoint::Host`] does, with points around what they do.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint::system::{ProcessOwners, SystemClock};
use holdpoint_effects::{Configuration, Effects};
use holdpoint_engine::{Answers, Config, Deployment, Engine, Error, Input, InterruptKind, ThreadView, Word as Say};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::document;
use holdpoint_graph::ids::ThreadId;
use holdpoint_sandbox::{Allocation, ComponentSource, Options, Sandbox};
use holdpoint_store::faults::{Fault, FaultyStore};
use holdpoint_store::{Journal, OperationFilter, SqliteOptions, SqliteStore, Store, ThreadStatus};
use serde_json::Value;

use super::connector;
use super::order::{Acknowledged, Doubt, Order, Report, Word};
use super::points::Points;
use super::tampered::{Red, Tamper};
use super::watched::Watch;
use super::wrapped::{Slow, Wrapped};

/// Who answers and settles.
pub const PERSON: &str = "cli:ana";

/// Lives a life to its end, if it is let.
pub async fn live(order: Order) -> Report {
    let points = Arc::new(Points::begin(&order.trace, order.fate).expect("the trace can be written"));
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&order.store, SqliteOptions::default()).expect("the store opens"));
    // From the inside out: what the points tell is what the file was told, whatever stands around them.
    let mut store = Wrapped::around(store, Watch(Arc::clone(&points)));
    if let Some(red) = order.red {
        store = Wrapped::around(store, Tamper(red));
    }
    if order.slow_ms > 0 {
        store = Wrapped::around(store, Slow(order.slow_ms));
    }
    if let Some(lost) = order.lost {
        let fault = if lost.done { Fault::After } else { Fault::Before };
        store = Arc::new(FaultyStore::new(store, move |write| if write == lost.write { fault } else { Fault::None }));
    }
    let mut report = Report::default();
    let life = Life { engine: engine(&order, &store, &points), store, thread: thread(&order), order: &order };
    if let Err(error) = life.advance(&mut report).await {
        report.error = Some(error.code().to_owned());
        report.message = Some(error.to_string());
    }
    report.points = points.count();
    report.writes = points.next_write() - 1;
    report
}

fn thread(order: &Order) -> ThreadId {
    ThreadId::parse(&order.thread).expect("a thread's name")
}

fn engine(order: &Order, store: &Arc<dyn Store>, points: &Arc<Points>) -> Engine {
    let clock = Arc::new(ClockAhead(order.ahead_ms));
    let process = std::process::id().to_string();
    let lethal = parse(&order.lethal_configuration.replace("PROCESS", &process));
    let configuration = connector::watch(parse(&order.configuration), lethal, points);
    let journal: Arc<dyn Journal> = Arc::clone(store) as Arc<dyn Journal>;
    let mut effects = Effects::new(configuration, journal, Arc::clone(&clock) as Arc<dyn Clock>);
    if order.red == Some(Red::NoDigestCheck) {
        effects = effects.without_digest_check();
    }
    let options = Options {
        // One thread's nodes need no pool, and reserving one would take longer than the rest of the life.
        allocation: Allocation::OnDemand,
        cache_dir: Some(order.cache_folder.clone()),
        ..Options::default()
    };
    let components = Arc::new(Stored(Arc::clone(store)));
    let sandbox = Sandbox::new(options, components, effects).expect("the sandbox starts");
    let owners = Arc::new(ProcessOwners::of_this_process());
    let config = Config { lease_ms: order.lease_ms, ..Config::default() };
    Engine::new(Arc::clone(store), Arc::new(sandbox), clock, owners, config)
}

fn parse(text: &str) -> Configuration {
    Configuration::parse(text, Path::new("/holdpoint.toml"), &|_| None).expect("the connectors are configured well")
}

struct Life<'a> {
    engine: Engine,
    store: Arc<dyn Store>,
    thread: ThreadId,
    order: &'a Order,
}

impl Life<'_> {
    /// As far as it gets: until the thread is done, failed twice, or waits for a person's word on a doubt.
    async fn advance(&self, report: &mut Report) -> Result<(), Error> {
        for word in &self.order.words {
            self.settle(word).await?;
            report.acknowledged.push(Acknowledged::Settled { operation: word.operation.clone() });
        }
        let mut retried = false;
        loop {
            let view = match self.engine.view(&self.thread).await {
                Ok(view) => view,
                Err(Error::ThreadNotFound(_)) => self.start().await?,
                Err(error) => return Err(error),
            };
            let question = view.interrupts.iter().find(|interrupt| interrupt.kind == InterruptKind::Question);
            if let Some(question) = question {
                report.acknowledged.push(Acknowledged::Asked { question: question.id.clone() });
                let id = question.id.clone();
                self.engine.answer(&self.thread, &Answers::Bare(self.order.answer.clone()), PERSON).await?;
                report.acknowledged.push(Acknowledged::Answered { question: id });
                continue;
            }
            match view.status {
                ThreadStatus::Running => drop(self.engine.proceed(&self.thread).await?),
                ThreadStatus::Failed if !retried => {
                    retried = true;
                    self.engine.proceed(&self.thread).await?;
                }
                ThreadStatus::Done => {
                    report.acknowledged.push(Acknowledged::Done);
                    return self.tell(view, report).await;
                }
                ThreadStatus::Failed | ThreadStatus::Interrupted => return self.tell(view, report).await,
            }
        }
    }

    async fn start(&self) -> Result<ThreadView, Error> {
        let digest = Digest::parse(&self.order.graph).expect("a digest");
        let bytes = self.store.content(&digest).await?.expect("the template holds the graph");
        let graph: Value = serde_json::from_slice(&bytes).expect("a graph's document");
        let graph = Arc::new(document::from_document(&graph).expect("a graph's document"));
        let input = Input { values: self.order.input.clone(), supersede: false };
        self.engine.run(&self.thread, &Deployment { digest, graph }, input).await
    }

    async fn settle(&self, word: &Word) -> Result<(), Error> {
        let filter = OperationFilter {
            id: Some(holdpoint_graph::ids::OperationId::parse(&word.operation).expect("an operation's id")),
            thread: Some(self.thread.clone()),
            open: true,
            limit: 2,
            ..OperationFilter::default()
        };
        let found = self.store.find_operations(&filter).await?;
        let [operation] = found.as_slice() else { panic!("one operation is in doubt: {found:?}") };
        let say = word.happened.clone().map_or(Say::Send, Say::Happened);
        self.engine.settle(&operation.key, say, PERSON, "the receiver's log says so").await.map(drop)
    }

    async fn tell(&self, view: ThreadView, report: &mut Report) -> Result<(), Error> {
        report.status = view.status.name().to_owned();
        if let Some(error) = view.error {
            report.error = Some(error.code);
            report.message = Some(error.message);
        }
        let records = self.store.operations(&self.thread).await?;
        for interrupt in view.interrupts.iter().filter(|interrupt| interrupt.kind == InterruptKind::InDoubt) {
            let record = records.iter().find(|record| record.key.id.as_str() == interrupt.id);
            let epoch = record.map_or(0, |record| record.epoch.0);
            report.doubts.push(Doubt { operation: interrupt.id.clone(), epoch });
        }
        report.values = view.values;
        Ok(())
    }
}

/// The system's clock, so many milliseconds ahead.
struct ClockAhead(u64);

impl Clock for ClockAhead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0
    }
}

struct Stored(Arc<dyn Store>);

#[async_trait]
impl ComponentSource for Stored {
    async fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        self.0.content(digest).await.map_err(|error| error.to_string())
    }
}
