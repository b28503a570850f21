//! An engine over the memory store, nodes that are closures, and a clock that tests move.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdpoint_engine::claim::Owners;
use holdpoint_engine::{Config, Deployment, Engine, Error, Input, ThreadView};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{Component, Graph, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::file;
use holdpoint_graph::ids::ThreadId;
use holdpoint_graph::nodes::{Command, Destination, Failure, NodeCall, NodeOutcome, NodeReport, Nodes, Question};
use holdpoint_store::memory::MemoryStore;
use holdpoint_store::{Statistics, Store};
use serde_json::{Map, Value, json};

pub(crate) type Body = Arc<dyn Fn(NodeCall) -> Pin<Box<dyn Future<Output = NodeReport> + Send>> + Send + Sync>;

/// Nodes by name; counts how often each is started.
#[derive(Default, Clone)]
pub(crate) struct FakeNodes {
    bodies: HashMap<String, Body>,
    pub(crate) started: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl FakeNodes {
    /// A node that decides at once.
    pub(crate) fn with(self, name: &str, body: impl Fn(&NodeCall) -> NodeOutcome + Send + Sync + 'static) -> Self {
        let body = Arc::new(body);
        self.with_async(name, move |call| {
            let body = Arc::clone(&body);
            Box::pin(async move { body(&call).into() })
        })
    }

    /// A node that takes its time.
    pub(crate) fn with_async(
        mut self,
        name: &str,
        body: impl Fn(NodeCall) -> Pin<Box<dyn Future<Output = NodeReport> + Send>> + Send + Sync + 'static,
    ) -> Self {
        self.bodies.insert(name.into(), Arc::new(body));
        self
    }

    pub(crate) fn started(&self, name: &str) -> u32 {
        self.started.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Nodes for FakeNodes {
    async fn run(&self, call: NodeCall) -> NodeReport {
        let name = call.task.node.to_string();
        *self.started.lock().unwrap().entry(name.clone()).or_default() += 1;
        match self.bodies.get(&name) {
            Some(body) => body(call).await,
            None => NodeOutcome::HostFault(format!("no body for {name}")).into(),
        }
    }
}

pub(crate) struct FakeClock(pub(crate) AtomicU64);

impl Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) struct FakeOwners {
    pub(crate) name: String,
    pub(crate) others_gone: AtomicBool,
}

impl Owners for FakeOwners {
    fn own_name(&self) -> &str {
        &self.name
    }

    fn is_gone(&self, owner: &str) -> bool {
        owner != self.name && self.others_gone.load(Ordering::SeqCst)
    }
}

/// One worker on a store that others may share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) nodes: FakeNodes,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) owners: Arc<FakeOwners>,
}

pub(crate) const NOON_MS: u64 = 1_700_000_000_000;

impl World {
    pub(crate) fn new(nodes: FakeNodes) -> Self {
        Self::with_config(nodes, Config::default())
    }

    pub(crate) fn with_config(nodes: FakeNodes, config: Config) -> Self {
        let clock = Arc::new(FakeClock(AtomicU64::new(NOON_MS)));
        Self::on(Arc::new(MemoryStore::default()), clock, "first", nodes, config)
    }

    pub(crate) fn on(
        store: Arc<MemoryStore>,
        clock: Arc<FakeClock>,
        name: &str,
        nodes: FakeNodes,
        config: Config,
    ) -> Self {
        let owners = Arc::new(FakeOwners { name: name.into(), others_gone: AtomicBool::new(false) });
        let engine = Engine::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(nodes.clone()),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&owners) as Arc<dyn Owners>,
            config,
        );
        Self { engine, store, nodes, clock, owners }
    }

    /// Another worker on the same store.
    pub(crate) fn second(&self, name: &str, nodes: FakeNodes) -> Self {
        Self::on(Arc::clone(&self.store), Arc::clone(&self.clock), name, nodes, Config::default())
    }

    /// Deploys a graph given as TOML without `name`; `component` lines are added to each node.
    pub(crate) async fn deploy(&self, text: &str) -> Deployment {
        self.engine.deploy(graph(text)).await.unwrap()
    }

    pub(crate) async fn run(&self, deployment: &Deployment, input: Value) -> Result<ThreadView, Error> {
        self.engine.run(&thread(), deployment, Input { values: input, supersede: false }).await
    }

    pub(crate) fn commits(&self) -> Statistics {
        self.store.statistics()
    }

    pub(crate) fn advance_ms(&self, by_ms: u64) {
        self.clock.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

pub(crate) fn thread() -> ThreadId {
    ThreadId::parse("t").unwrap()
}

/// Parses a graph whose nodes have no component and gives each one by digest.
pub(crate) fn graph(text: &str) -> Graph {
    let text: String = text
        .lines()
        .map(|line| {
            let is_node = line.trim_start().starts_with("[nodes.") && !line.contains(".interrupt]");
            if is_node && !line.contains("# subgraph") {
                format!("{line}\ncomponent = \"x.wasm\"\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let mut graph = file::parse(&format!("name = \"g\"\n{text}"), "test.graph.toml")
        .unwrap_or_else(|problems| panic!("{problems}"));
    for (name, node) in &mut graph.nodes {
        if let Work::Component(component) = &mut node.work {
            *component = Component::Digest(Digest::of_bytes(name.as_str().as_bytes()));
        }
    }
    graph
}

pub(crate) fn update(value: Value) -> NodeOutcome {
    NodeOutcome::Completed(Command { update: object(value), goto: Vec::new() })
}

pub(crate) fn goto(value: Value, destinations: Vec<Destination>) -> NodeOutcome {
    NodeOutcome::Completed(Command { update: object(value), goto: destinations })
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

pub(crate) fn failed(code: &str, retryable: bool) -> NodeOutcome {
    NodeOutcome::Failed(Failure {
        code: code.into(),
        message: "it failed".into(),
        retryable,
        retry_after_ms: None,
        details: None,
    })
}

/// What `interrupt` does in a guest: the recorded answer to exactly this question, or the end of the execution.
pub(crate) fn ask(call: &NodeCall, occurrence: u32, payload: Value) -> Result<Value, NodeOutcome> {
    let payload_digest = Digest::of_json(&payload);
    let recorded =
        call.answers.iter().find(|answer| answer.occurrence == occurrence && answer.payload_digest == payload_digest);
    match recorded {
        Some(recorded) => Ok(recorded.answer.value.clone()),
        None => Err(NodeOutcome::Interrupted(Question {
            occurrence,
            payload,
            payload_digest,
            answer_schema: None,
            deadline_ms: None,
            evidence: None,
        })),
    }
}

/// A node that appends its name to `log`.
pub(crate) fn logs(name: &'static str) -> impl Fn(&NodeCall) -> NodeOutcome + Send + Sync + 'static {
    move |_| update(json!({ "log": [name] }))
}

/// Operation `id` of connector `payments`, as the task of a call records it.
pub(crate) fn operation(
    call: &NodeCall,
    id: &str,
    state: holdpoint_graph::operation::OperationState,
) -> holdpoint_graph::operation::OperationRecord {
    use holdpoint_graph::operation::{OperationRecord, OperationState};
    let has_outcome = !matches!(state, OperationState::Intended | OperationState::Queued { .. });
    OperationRecord {
        key: operation_key(&call.task.lineage, id),
        thread: call.task.thread.clone(),
        task: call.task.id.clone(),
        node: call.task.node.clone(),
        request: json!(1),
        request_digest: Digest::of_json(&json!(1)),
        state,
        epoch: call.task.epoch,
        begun_at_ms: NOON_MS,
        send_by_ms: None,
        settles_at_ms: None,
        finished_at_ms: has_outcome.then_some(NOON_MS),
        notes: Vec::new(),
    }
}

/// What identifies operation `id` of connector `payments`.
pub(crate) fn operation_key(lineage: &ThreadId, id: &str) -> holdpoint_graph::operation::OperationKey {
    use holdpoint_graph::ids::{ConnectorName, OperationId};
    use holdpoint_graph::operation::{OperationKey, Scope};
    OperationKey {
        scope: Scope::Thread(lineage.clone()),
        connector: ConnectorName::parse("payments").unwrap(),
        id: OperationId::parse(id).unwrap(),
    }
}

/// A node whose operation `one` of connector `payments` is in doubt.
pub(crate) fn doubting(nodes: FakeNodes, name: &str) -> FakeNodes {
    use holdpoint_graph::operation::OperationState;
    nodes.with_async(name, |call| {
        Box::pin(async move {
            let reason = "no answer".to_owned();
            let record = operation(&call, "one", OperationState::InDoubt(reason.clone()));
            let outcome = NodeOutcome::InDoubt { operation: record.key.clone(), reason };
            NodeReport { outcome, operations: vec![record], hits: Vec::new() }
        })
    })
}
