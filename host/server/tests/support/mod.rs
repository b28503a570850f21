//! A real server on loopback over the real engine, with the memory store, nodes that are closures, and a clock that tests move.

#![allow(dead_code, reason = "each test file uses its part")]
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

use async_trait::async_trait;
use holdpoint_engine::claim::Owners;
use holdpoint_engine::{Config, Deployment, Engine, Input, Principal, ThreadView};
use holdpoint_graph::actor::Actor;
use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{Component, Graph, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::file;
use holdpoint_graph::ids::{ConnectorName, GraphName, OperationId, ThreadId};
use holdpoint_graph::nodes::{Command, Failure, NodeCall, NodeOutcome, NodeReport, Nodes, Question};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_server::caller::{Caller, Role};
use holdpoint_server::console::NoConsole;
use holdpoint_server::{Context, Graphs, Outbox, Parts, Problem, Server, Settings};
use holdpoint_store::memory::MemoryStore;
use holdpoint_store::sqlite::{SqliteOptions, SqliteStore};
use holdpoint_store::{Store, VersionKind, VersionRecord};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

type Body = Arc<dyn Fn(NodeCall) -> Pin<Box<dyn Future<Output = NodeReport> + Send>> + Send + Sync>;

/// Nodes by name; counts how often each is started.
#[derive(Default, Clone)]
pub(crate) struct FakeNodes {
    bodies: HashMap<String, Body>,
    started: Arc<Mutex<BTreeMap<String, u32>>>,
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

impl FakeClock {
    pub(crate) fn advance_ms(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Of several workers on one store, those that died.
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

pub(crate) const NOON_MS: u64 = 1_700_000_000_000;

/// What a server is started with. Several servers may share `store` and `clock`.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) nodes: FakeNodes,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) folder: Option<Arc<tempfile::TempDir>>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) worker: String,
    pub(crate) config: Config,
}

impl Default for Setup {
    fn default() -> Self {
        let (store, folder) = store();
        Self {
            settings: Settings::default(),
            nodes: standard_nodes(),
            store,
            folder,
            clock: Arc::new(FakeClock(AtomicU64::new(NOON_MS))),
            worker: "first".into(),
            config: Config::default(),
        }
    }
}

/// In memory; with `HOLDPOINT_TEST_STORE=sqlite` in a file, and the folder that goes when the test ends.
fn store() -> (Arc<dyn Store>, Option<Arc<tempfile::TempDir>>) {
    if std::env::var("HOLDPOINT_TEST_STORE").is_ok_and(|kind| kind == "sqlite") {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("store.db"), SqliteOptions::default()).unwrap();
        return (Arc::new(store), Some(Arc::new(folder)));
    }
    (Arc::new(MemoryStore::default()), None)
}

/// A server that runs until it is dropped, and a client of it.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) context: Context,
    pub(crate) http: Http,
    pub(crate) nodes: FakeNodes,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) description: utoipa::openapi::OpenApi,
    folder: Option<Arc<tempfile::TempDir>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

/// The standard server with these settings.
pub(crate) async fn start(settings: Settings) -> (SocketAddr, Context) {
    let server = Setup { settings, ..Setup::default() }.start().await;
    let started = (server.address, server.context.clone());
    // Runs until the test's runtime ends.
    std::mem::forget(server);
    started
}

impl Setup {
    pub(crate) async fn start(self) -> TestServer {
        let owners = FakeOwners { name: self.worker, others_gone: AtomicBool::new(false) };
        let engine = Engine::new(
            Arc::clone(&self.store),
            Arc::new(self.nodes.clone()),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::new(owners) as Arc<dyn Owners>,
            self.config,
        );
        let graphs = Arc::new(TestGraphs(engine.clone()));
        let server = Server::new(Parts {
            engine,
            graphs,
            outbox: Arc::new(NothingQueued),
            console: Arc::new(NoConsole),
            settings: self.settings,
        });
        let context = server.context().clone();
        let (_, description) = server.router();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stop = async move {
                let _ = stopped.await;
            };
            server.serve(listener, stop).await.unwrap();
        });
        TestServer {
            address,
            context,
            http: Http::new(address),
            nodes: self.nodes,
            clock: self.clock,
            description,
            folder: self.folder,
            stop: Some(stop),
            served: Some(served),
        }
    }
}

impl TestServer {
    /// Asks the server to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.served.take().unwrap().await.unwrap();
    }

    /// Deploys a graph given as TOML without `name`; `component` lines are added to each node.
    pub(crate) async fn deploy(&self, name: &str, text: &str) -> Deployment {
        deploy(&self.context, name, text).await
    }

    /// Runs a thread to where it stops, past the HTTP interface.
    pub(crate) async fn run(&self, thread: &str, deployment: &Deployment, input: Value) -> ThreadView {
        let thread = ThreadId::parse(thread).unwrap();
        let engine = self.context.engine(&admin(&self.context));
        engine.run(&thread, deployment, Input { values: input, supersede: false }).await.unwrap()
    }
}

/// Whoever sits at the host.
pub(crate) fn admin(context: &Context) -> Caller {
    let principal =
        Principal { actor: Actor::asserted("test"), tenant: context.settings().tenant.clone(), ..Principal::default() };
    Caller { principal, role: Some(Role::Admin), by_cookie: false, page: None }
}

pub(crate) async fn deploy(context: &Context, name: &str, text: &str) -> Deployment {
    let deployment = context.engine(&admin(context)).deploy(graph(name, text)).await.unwrap();
    register(context.store().as_ref(), name, &deployment.digest, "test").await.unwrap();
    deployment
}

async fn register(store: &dyn Store, name: &str, digest: &Digest, by: &str) -> Result<VersionRecord, Problem> {
    let versions = store.versions(VersionKind::Graph, Some(name)).await?;
    if let Some(newest) = versions.first().filter(|newest| newest.digest == *digest) {
        return Ok(newest.clone());
    }
    let record = VersionRecord {
        kind: VersionKind::Graph,
        name: name.into(),
        version: (versions.len() + 1).to_string(),
        digest: digest.clone(),
        deployed_at_ms: NOON_MS,
        deployed_by: by.into(),
        gains: Vec::new(),
    };
    store.put_version(record.clone(), Vec::new()).await?;
    Ok(record)
}

/// Graphs without components: each node's component is named by the digest of the node's name.
struct TestGraphs(Engine);

#[async_trait]
impl Graphs for TestGraphs {
    async fn newest(&self, name: &GraphName) -> Result<Option<Deployment>, Problem> {
        let versions = self.0.store().versions(VersionKind::Graph, Some(name.as_str())).await?;
        let Some(newest) = versions.into_iter().next() else { return Ok(None) };
        let version = self.0.version(&newest.digest).await?;
        Ok(Some(Deployment { digest: newest.digest, graph: Arc::clone(&version.graph) }))
    }

    async fn deploy(&self, request: &Value, caller: &Caller) -> Result<Value, Problem> {
        let text = request["graph"].as_str().ok_or_else(|| Problem::invalid("HP0811", "`graph` is missing"))?;
        let mut graph = file::parse(text, "request").map_err(|error| Problem::invalid("HP0811", error.to_string()))?;
        pin(&mut graph);
        let name = graph.name.clone();
        let Deployment { digest, .. } = self.0.deploy(graph).await?;
        let by = &caller.principal.actor.id;
        let record = register(self.0.store().as_ref(), name.as_str(), &digest, by).await?;
        Ok(json!({ "name": record.name, "version": record.version, "digest": record.digest.as_str(), "gains": [] }))
    }
}

/// Connector `mail` is the one whose operations leave after a commit.
struct NothingQueued;

#[async_trait]
impl Outbox for NothingQueued {
    async fn deliver_due(&self) {}

    fn leaves_after_commit(&self, connector: &ConnectorName) -> bool {
        connector.as_str() == "mail"
    }
}

/// Parses a graph whose nodes have no component and gives each one by digest.
pub(crate) fn graph(name: &str, text: &str) -> Graph {
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
    let mut graph = file::parse(&format!("name = \"{name}\"\n{text}"), "test.graph.toml")
        .unwrap_or_else(|problems| panic!("{problems}"));
    pin(&mut graph);
    graph
}

fn pin(graph: &mut Graph) {
    for (name, node) in &mut graph.nodes {
        if let Work::Component(component) = &mut node.work {
            *component = Component::Digest(Digest::of_bytes(name.as_str().as_bytes()));
        }
    }
}

/// Asks in the middle: `plan`, then `approve` (a question), then `pay`. Each appends its name to `log`; `approve` also writes the answer.
pub(crate) const APPROVAL: &str = r#"
start = "plan"
[state]
title = { type = "string" }
log = { type = "array", reducer = "append" }
answer = {}
[nodes.plan]
next = "approve"
[nodes.approve]
next = "pay"
[nodes.approve.interrupt]
answer_schema = { type = ["object", "boolean", "string", "array"] }
[nodes.pay]
next = "END"
"#;

/// One node that appends its name to `log`.
pub(crate) const ECHO: &str = r#"
start = "plan"
[state]
log = { type = "array", reducer = "append" }
[nodes.plan]
next = "END"
"#;

/// One node, `boom`, that fails.
pub(crate) const BOOM: &str = r#"
start = "boom"
[state]
log = { type = "array", reducer = "append" }
[nodes.boom]
next = "END"
"#;

/// One node, `doubt`, whose operation `one` of connector `payments` is in doubt.
pub(crate) const DOUBT: &str = r#"
start = "doubt"
[state]
log = { type = "array", reducer = "append" }
[nodes.doubt]
next = "END"
"#;

/// Two questions at once: `left` and `right`, then `pay`.
pub(crate) const PAIR: &str = r#"
start = ["left", "right"]
[state]
log = { type = "array", reducer = "append" }
[nodes.left]
interrupt = {}
[nodes.right]
interrupt = {}
[nodes.pay]
join = ["left", "right"]
next = "END"
"#;

/// The nodes of the graphs above.
pub(crate) fn standard_nodes() -> FakeNodes {
    FakeNodes::default()
        .with("plan", |_| update(json!({ "log": ["plan"] })))
        .with("approve", |call| match ask(call, 0, json!({ "type": "approval_required" })) {
            Ok(answer) => update(json!({ "log": ["approve"], "answer": answer })),
            Err(outcome) => outcome,
        })
        .with("left", |call| match ask(call, 0, json!("left?")) {
            Ok(_) => update(json!({ "log": ["left"] })),
            Err(outcome) => outcome,
        })
        .with("right", |call| match ask(call, 0, json!("right?")) {
            Ok(_) => update(json!({ "log": ["right"] })),
            Err(outcome) => outcome,
        })
        .with("pay", |_| update(json!({ "log": ["pay"] })))
        .with("boom", |_| failed("ValueError", false))
        .with_async("doubt", {
            // Started again, its operation is settled.
            let first = Arc::new(AtomicBool::new(true));
            move |call| {
                let first = first.swap(false, Ordering::SeqCst);
                let report = if first { doubt(&call) } else { update(json!({ "log": ["doubt"] })).into() };
                Box::pin(async move { report })
            }
        })
}

/// An operation that may have happened.
fn doubt(call: &NodeCall) -> NodeReport {
    let key = OperationKey {
        scope: Scope::Thread(call.task.lineage.clone()),
        connector: ConnectorName::parse("payments").unwrap(),
        id: OperationId::parse("one").unwrap(),
    };
    let reason = "no answer".to_owned();
    let record = OperationRecord {
        key: key.clone(),
        thread: call.task.thread.clone(),
        task: call.task.id.clone(),
        node: call.task.node.clone(),
        request: json!({ "amount": 1 }),
        request_digest: Digest::of_json(&json!({ "amount": 1 })),
        state: OperationState::InDoubt(reason.clone()),
        epoch: call.task.epoch,
        begun_at_ms: NOON_MS,
        send_by_ms: None,
        settles_at_ms: None,
        finished_at_ms: Some(NOON_MS),
        notes: Vec::new(),
    };
    let outcome = NodeOutcome::InDoubt { operation: key, reason };
    NodeReport { outcome, operations: vec![record], hits: Vec::new() }
}

pub(crate) fn update(value: Value) -> NodeOutcome {
    NodeOutcome::Completed(Command { update: object(value), goto: Vec::new() })
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
        message: "kaboom".into(),
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

/// A client of one server.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) client: reqwest::Client,
    pub(crate) base: String,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Null when it is not JSON.
    pub(crate) body: Value,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { client, base: format!("http://{address}") }
    }

    /// Sends a request and waits for its head: for streams.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let response = self.open(method, path, headers, body).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status, headers, text, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send(Method::PATCH, path, &[("content-type", "application/json")], body.to_string()).await
    }
}

impl Reply {
    /// The body of a reply that has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// Checks a refusal: its status, its code, and that its form is ours.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", self.text);
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
