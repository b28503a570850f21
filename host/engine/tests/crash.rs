//! Runs that are cut at every one of their writes, lost or done but reported lost, come to the same as one that was not; and what a subgraph costs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a panic is a failed test, and what is printed is its report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::support::{
    FakeClock, FakeNodes, FakeOwners, NOON_MS, ask, failed, goto, graph, logs, operation, thread, update,
};
use async_trait::async_trait;
use holdpoint_engine::claim::Owners;
use holdpoint_engine::{Answers, Config, Deployment, Engine, Error, Input, ThreadView};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{Graph, GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::ids::{NodeName, QuestionId};
use holdpoint_graph::nodes::{Destination, JournalError, NodeCall, NodeOutcome, NodeReport, Nodes};
use holdpoint_graph::operation::OperationState;
use holdpoint_store::faults::{Fault, FaultyStore};
use holdpoint_store::{Error as StoreError, MemoryStore, Store, TaskRecord, ThreadStatus};
use serde_json::{Value, json};

use crate::differential::observe::{self, Names};
use crate::differential::watch::Watch;

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";

/// Nodes whose starts the store watches.
#[derive(Clone)]
struct Watched {
    nodes: FakeNodes,
    watch: Arc<Watch>,
}

#[async_trait]
impl Nodes for Watched {
    async fn run(&self, call: NodeCall) -> NodeReport {
        self.watch.started(&call.task);
        self.nodes.run(call).await
    }
}

/// A graph by name, with the graphs that are nodes of it.
struct Scene {
    text: String,
    children: Vec<(&'static str, Persist, Self)>,
    nodes: FakeNodes,
    /// Nodes write to the journal while they run: a write that is lost there fails the task, which runs again, and need not end the run.
    journals: bool,
}

impl Scene {
    fn leaf(text: &str) -> Self {
        Self { text: text.replace("LOG", LOG), children: Vec::new(), nodes: FakeNodes::default(), journals: false }
    }

    fn with(mut self, node: &'static str, persist: Persist, child: Self) -> Self {
        self.children.push((node, persist, child));
        self
    }

    async fn deploy(&self, engine: &Engine) -> Deployment {
        let mut parent: Graph = graph(&self.text);
        for (node, persist, child) in &self.children {
            let child = Box::pin(child.deploy(engine)).await;
            let subgraph = Subgraph { graph: GraphReference::Digest(child.digest), persist: *persist };
            parent.nodes.get_mut(&NodeName::parse(*node).unwrap()).unwrap().work = Work::Subgraph(subgraph);
        }
        engine.deploy(parent).await.unwrap()
    }
}

/// A store that is watched, and workers on it.
struct World {
    watch: Arc<Watch>,
    nodes: Watched,
    config: Config,
    graph: Deployment,
}

impl World {
    async fn new(scene: &Scene, config: Config) -> Self {
        let watch = Arc::new(Watch::new(Arc::new(MemoryStore::new()), false));
        let nodes = Watched { nodes: scene.nodes.clone(), watch: Arc::clone(&watch) };
        let engine = engine(Arc::clone(&watch) as Arc<dyn Store>, &nodes, "author", &config);
        let graph = scene.deploy(&engine).await;
        Self { watch, nodes, config, graph }
    }

    /// Drives the thread to its end and answers what is asked; ends early when the worker dies.
    async fn drive(&self, store: Arc<dyn Store>, name: &str) -> Result<ThreadView, Error> {
        let engine = engine(store, &self.nodes, name, &self.config);
        for _ in 0..100 {
            let Some(record) = self.watch.thread(&thread()).await.unwrap() else {
                engine.run(&thread(), &self.graph, Input { values: json!({}), supersede: false }).await?;
                continue;
            };
            let view = engine.view(&thread()).await?;
            match record.status {
                ThreadStatus::Done => return Ok(view),
                _ if view.interrupts.is_empty() => engine.proceed(&thread()).await?,
                _ => {
                    let answers = view.interrupts.iter().map(|interrupt| {
                        let id = QuestionId::parse(interrupt.id.as_str()).unwrap();
                        (id, json!(format!("answer to {}", interrupt.value)))
                    });
                    engine.answer(&thread(), &Answers::ById(answers.collect()), "ana").await?
                }
            };
        }
        panic!("it comes to no end");
    }

    /// The thread's whole history, but for how often tasks were executed, and by whom.
    async fn told(&self) -> Vec<String> {
        let threads = observe::read(self.watch.as_ref(), Vec::new(), "", true).await;
        let mut names = Names::default();
        names.learn(&threads);
        let mut lines = Vec::new();
        for snapshot in threads.iter().flat_map(observe::Seen::snapshots) {
            let tasks: Vec<TaskRecord> =
                snapshot.tasks.iter().map(|task| TaskRecord { executions: 0, ..task.clone() }).collect();
            let told = format!("{:?} {:?} {tasks:?} {:?}", snapshot.checkpoint, snapshot.values, snapshot.questions);
            lines.push(names.named(&told));
        }
        // Each line tells its namespace and its place there.
        lines.sort();
        lines
    }
}

fn engine(store: Arc<dyn Store>, nodes: &Watched, name: &str, config: &Config) -> Engine {
    let owners = FakeOwners { name: name.into(), others_gone: AtomicBool::new(true) };
    Engine::new(
        store,
        Arc::new(nodes.clone()) as Arc<dyn Nodes>,
        Arc::new(FakeClock(AtomicU64::new(NOON_MS))) as Arc<dyn Clock>,
        Arc::new(owners) as Arc<dyn Owners>,
        config.clone(),
    )
}

/// One task after the other: the writes come in the same order every time.
fn config(run_ahead_max: usize) -> Config {
    let quick = std::time::Duration::from_secs(3_600);
    Config { tasks_max: 1, run_ahead_max, quick, ..Config::default() }
}

/// Cuts a run at each of its writes. Gives the final values of the run that was not cut.
async fn check(scene: &Scene, config: Config) -> Value {
    let whole = World::new(scene, config.clone()).await;
    let store = Arc::new(FaultyStore::new(Arc::clone(&whole.watch) as Arc<dyn Store>, |_| Fault::None));
    let end = whole.drive(Arc::clone(&store) as Arc<dyn Store>, "only").await.unwrap();
    let (expected, writes) = (whole.told().await, store.arrived());
    assert_eq!(whole.watch.faults(), Vec::<String>::new());
    println!("{writes} writes, {} checkpoints", expected.len());
    for at in 1..=writes {
        for (fault, dies) in
            [(Fault::Before, true), (Fault::After, true), (Fault::Before, false), (Fault::After, false)]
        {
            let place = format!("write {at} {fault:?}, dies: {dies}");
            let world = World::new(scene, config.clone()).await;
            let plan = move |number: u64| match number.cmp(&at) {
                std::cmp::Ordering::Equal => fault,
                // Nobody hears from it again.
                std::cmp::Ordering::Greater if dies => Fault::Before,
                _ => Fault::None,
            };
            let cut = FaultyStore::new(Arc::clone(&world.watch) as Arc<dyn Store>, plan);
            // A run that does not know what became of a write ends there, also when the store is well again.
            let died = world.drive(Arc::new(cut), "first").await;
            let view = match died {
                Err(error) => {
                    assert!(!matches!(error, Error::Store(StoreError::Invalid(_))), "{place}: {error}");
                    world.drive(Arc::clone(&world.watch) as Arc<dyn Store>, "second").await.unwrap()
                }
                Ok(view) => {
                    assert!(scene.journals && !dies, "{place}: it goes on without a store: {view:?}");
                    view
                }
            };
            assert_eq!(view.values, end.values, "{place}");
            assert_eq!(world.watch.faults(), Vec::<String>::new(), "{place}");
            let told = world.told().await;
            for (told, expected) in told.iter().zip(&expected) {
                assert_eq!(told, expected, "{place}");
            }
            assert_eq!(told.len(), expected.len(), "{place}");
        }
    }
    Value::Object(end.values)
}

fn asks(name: &'static str) -> impl Fn(&NodeCall) -> NodeOutcome + Send + Sync + 'static {
    move |call| match ask(call, 0, json!({ "node": name, "prompt": call.state.get("prompt") })) {
        Ok(answer) => update(json!({ "log": [answer] })),
        Err(question) => question,
    }
}

/// Performs an operation whose receiver de-duplicates it, and has it recorded before it goes on.
async fn pays(call: NodeCall) -> NodeReport {
    let record = operation(&call, "payment", OperationState::Completed(json!("paid")));
    match call.journal.store(vec![record]).await {
        Ok(()) => update(json!({ "log": ["paid"] })).into(),
        Err(JournalError::Fenced) => NodeOutcome::Fenced.into(),
        Err(JournalError::Unavailable(reason)) => NodeOutcome::HostFault(reason).into(),
    }
}

/// Subgraphs of all three modes, nested, sent and reached by edges, with a question, a breakpoint and an error handler inside.
fn nested() -> Scene {
    let inner = Scene::leaf(
        "start = \"first\"\nLOGprompt = { type = [\"integer\", \"null\"], default = 0 }\n[nodes.first]\nnext = \"second\"\n[nodes.second]\nnext = \"third\"\n[nodes.third]\ninterrupt_before = true\nerror_handler = \"rescue\"\n[nodes.rescue]\n",
    );
    let counter = || {
        Scene::leaf(
            "start = \"count\"\nLOGown = { type = \"integer\", default = 0 }\n[nodes.count]\nnext = \"more\"\n[nodes.more]\n",
        )
    };
    let plain = Scene::leaf("start = \"one\"\nLOG[nodes.one]\nnext = \"two\"\n[nodes.two]\n");
    let middle = Scene::leaf(
        "start = \"before\"\nLOG[nodes.before]\nnext = \"counter\"\n[nodes.counter]\nnext = \"asks\"\n[nodes.asks]\n",
    )
    .with("counter", Persist::PerThread, counter());
    let parent = Scene::leaf(
        "start = \"open\"\nLOG[nodes.open]\nnext = [\"kept\", \"bare\", \"deep\"]\n[nodes.call]\n[nodes.kept]\nnext = \"again\"\n[nodes.bare]\n[nodes.deep]\n[nodes.again]\n[nodes.close]\njoin = [\"kept\", \"bare\", \"deep\"]\n",
    );
    let names = ["first", "rescue", "before", "close", "one", "two", "more"];
    let nodes = names.into_iter().fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)));
    let nodes = nodes
        .with("open", |_| {
            let send = |index: u64| Destination::Send { node: "call".into(), argument: json!({ "prompt": index }) };
            goto(json!({ "log": ["open"] }), (0..2).map(send).collect())
        })
        .with("second", asks("second"))
        .with("asks", asks("asks"))
        .with("third", |_| failed("no", false))
        .with("count", |call| {
            let own = call.state.get("own").and_then(Value::as_u64).unwrap_or(0) + 1;
            update(json!({ "own": own, "log": [own] }))
        })
        // Once around.
        .with("again", |call| {
            let been = call.state["log"].as_array().is_some_and(|log| log.contains(&json!("again")));
            let next = if been { Destination::End } else { Destination::Node("kept".into()) };
            goto(json!({ "log": ["again"] }), vec![next])
        });
    let mut parent = parent
        .with("call", Persist::PerCall, inner)
        .with("kept", Persist::PerThread, counter())
        .with("bare", Persist::None, plain)
        .with("deep", Persist::PerCall, middle);
    parent.nodes = nodes;
    parent
}

#[tokio::test]
async fn nested_subgraphs_survive_a_cut_at_every_write() {
    for ahead in [0, 1, 3] {
        let end = check(&nested(), config(ahead)).await;
        println!("{end}");
    }
}

#[tokio::test]
async fn a_fan_out_with_a_join_survives_a_cut_at_every_write() {
    let mut scene = Scene::leaf(
        "start = \"fan\"\nLOG[nodes.fan]\nnext = [\"a\", \"b\"]\n[nodes.work]\nnext = \"sum\"\n[nodes.a]\n[nodes.b]\nnext = \"c\"\n[nodes.c]\n[nodes.sum]\n[nodes.meet]\njoin = [\"a\", \"c\", \"sum\"]\nnext = \"pay\"\n[nodes.pay]\nnext = \"last\"\n[nodes.last]\n",
    );
    scene.journals = true;
    scene.nodes = ["a", "c", "sum", "meet", "last"]
        .into_iter()
        .fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)))
        .with("b", asks("b"))
        .with("work", |call| update(json!({ "log": [call.argument] })))
        .with_async("pay", |call| Box::pin(pays(call)))
        .with("fan", |_| {
            let send = |index: u64| Destination::Send { node: "work".into(), argument: json!(index) };
            goto(json!({ "log": ["fan"] }), (0..3).map(send).collect())
        });
    for ahead in [0, 1, 3] {
        let end = check(&scene, config(ahead)).await;
        assert_eq!(end["log"].as_array().unwrap().len(), 11, "{end}");
    }
}

#[tokio::test]
async fn a_subgraph_costs_at_most_one_commit_for_each_of_its_supersteps() {
    let child = || Scene::leaf("start = \"one\"\nLOG[nodes.one]\nnext = \"two\"\n[nodes.two]\n");
    for (persist, ahead, budget) in [
        // The input; `before`; the child's first superstep, with the two checkpoints of its input; its second, with the parent's superstep that
        // it completes; `after`, with the end of the run. 1 + 3 supersteps of the parent + 2 of the child - 1 that they share.
        (Persist::PerCall, 0, 5),
        (Persist::PerThread, 0, 5),
        // Nothing of the child is stored: 1 + 3.
        (Persist::None, 0, 4),
        // Every other superstep rides on the next one's commit: `before` on the child's first, the parent's second on `after`.
        (Persist::PerCall, 1, 3),
        (Persist::None, 1, 3),
    ] {
        let mut scene = Scene::leaf(
            "start = \"before\"\nLOG[nodes.before]\nnext = \"child\"\n[nodes.child]\nnext = \"after\"\n[nodes.after]\n",
        )
        .with("child", persist, child());
        scene.nodes = ["before", "one", "two", "after"]
            .into_iter()
            .fold(FakeNodes::default(), |nodes, name| nodes.with(name, logs(name)));
        let world = World::new(&scene, config(ahead)).await;
        let view = world.drive(Arc::clone(&world.watch) as Arc<dyn Store>, "only").await.unwrap();
        assert_eq!(view.values["log"], json!(["before", "one", "two", "after"]));
        assert_eq!(world.watch.statistics().commits, budget, "{persist:?}, {ahead} superstep(s) ahead");
    }
}
