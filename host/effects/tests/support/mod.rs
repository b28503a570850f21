//! A task, its journal, a clock and a receiver, all in memory or on loopback.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
pub mod connectors;
pub mod counting;
pub mod log;
pub mod postgres;
pub mod signature;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdpoint_effects::{Configuration, Effects, Halt, OperationRequest, Refusal, TaskEffects};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::Limits;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, ConnectorName, Epoch, GraphName, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{EffectMode, JournalError, NodeCall, State, TaskIdentity, TaskJournal, TaskReport};
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord, OperationState};
use holdpoint_store::{Error, Journal, OperationFilter};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub const NOW_MS: u64 = 1_700_000_000_000;

/// A clock that stands still.
pub struct StillClock(pub AtomicU64);

impl Clock for StillClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The journal, and the task's way into it. Remembers every commit.
#[derive(Default)]
pub struct TestJournal {
    pub records: Mutex<HashMap<OperationKey, OperationRecord>>,
    pub commits: Mutex<Vec<String>>,
    pub hits: Mutex<Vec<OperationHit>>,
    pub failing: Mutex<Option<JournalError>>,
    pub unreadable: Mutex<bool>,
}

impl TestJournal {
    /// Commits what `finish` gave, as the engine does.
    pub fn commit(&self, records: Vec<OperationRecord>) {
        let mut texts: Vec<String> =
            records.iter().map(|record| format!("{} {}", record.key.id, record.state.name())).collect();
        texts.sort();
        self.commits.lock().unwrap().push(texts.join(", "));
        self.records.lock().unwrap().extend(records.into_iter().map(|record| (record.key.clone(), record)));
    }

    pub fn commits(&self) -> Vec<String> {
        self.commits.lock().unwrap().clone()
    }

    /// Ids and states, sorted.
    pub fn states(&self) -> Vec<String> {
        let records = self.records.lock().unwrap();
        let mut states: Vec<String> =
            records.values().map(|record| format!("{} {}", record.key.id, record.state.name())).collect();
        states.sort();
        states
    }
}

#[async_trait]
impl Journal for TestJournal {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        if *self.unreadable.lock().unwrap() {
            return Err(Error::Unavailable("the disk is gone".into()));
        }
        Ok(self.records.lock().unwrap().get(key).cloned())
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        Ok(self.records.lock().unwrap().values().filter(|record| record.thread == *thread).cloned().collect())
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        let records = self.records.lock().unwrap();
        let wanted = |record: &&OperationRecord| filter.id.as_ref().is_none_or(|id| record.key.id == *id);
        Ok(records.values().filter(wanted).take(filter.limit).cloned().collect())
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        let due = |record: &&OperationRecord| matches!(record.state, OperationState::Queued { due_at_ms, .. } if due_at_ms <= now_ms);
        let due = self.records.lock().unwrap().values().filter(due).take(limit).cloned().collect();
        // Whoever else delivers reads the same now.
        tokio::task::yield_now().await;
        Ok(due)
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        Ok(self.hits.lock().unwrap().iter().filter(|hit| hit.key == *key).cloned().collect())
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        _at_ms: u64,
        _audit: Vec<holdpoint_store::AuditEntry>,
    ) -> Result<bool, Error> {
        let mut records = self.records.lock().unwrap();
        let Some(stored) = records.get_mut(&expected.key).filter(|stored| **stored == *expected) else {
            return Ok(false);
        };
        self.commits.lock().unwrap().push(format!("{} {} (exchanged)", next.key.id, next.state.name()));
        *stored = next;
        Ok(true)
    }
}

#[async_trait]
impl TaskJournal for TestJournal {
    async fn store(&self, records: Vec<OperationRecord>) -> Result<(), JournalError> {
        if let Some(error) = self.failing.lock().unwrap().clone() {
            return Err(error);
        }
        self.commit(records);
        Ok(())
    }

    fn report(&self, _report: TaskReport) {}
}

/// Everything that a test needs.
pub struct World {
    pub journal: Arc<TestJournal>,
    pub clock: Arc<StillClock>,
    pub effects: Effects,
}

impl World {
    /// A world with this configuration; `environment` holds its variables.
    pub fn new(configuration: &str, environment: &[(&str, &str)]) -> Self {
        Self::with_journal(configuration, environment, Arc::default())
    }

    /// Another process on the same journal.
    pub fn with_journal(configuration: &str, environment: &[(&str, &str)], journal: Arc<TestJournal>) -> Self {
        Self::of(parse(configuration, environment), journal)
    }

    pub fn of(configuration: Configuration, journal: Arc<TestJournal>) -> Self {
        let clock = Arc::new(StillClock(AtomicU64::new(NOW_MS)));
        let effects = Effects::new(configuration, journal.clone(), clock.clone());
        Self { journal, clock, effects }
    }

    /// A new execution of task `task` of thread `thread`.
    pub fn task(&self, thread: &str, task: u8) -> TaskEffects {
        self.effects.task(&self.call(thread, task))
    }

    pub fn call(&self, thread: &str, task: u8) -> NodeCall {
        let thread = ThreadId::parse(thread).unwrap();
        NodeCall {
            task: TaskIdentity {
                graph: GraphName::parse("refund").unwrap(),
                thread: thread.clone(),
                lineage: thread,
                checkpoint: CheckpointId::from_entropy(NOW_MS, 0, 1),
                step: 0,
                node: NodeName::parse("commit").unwrap(),
                id: TaskId::parse(format!("00000000-0000-8000-8000-0000000000{task:02x}")).unwrap(),
                operations: TaskId::parse(format!("00000000-0000-8000-8000-00000000f0{task:02x}")).unwrap(),
                epoch: Epoch(1),
            },
            component: Digest::of_bytes(b""),
            state: State::default(),
            argument: None,
            config: Value::Null,
            connectors: ["payments", "ledger", "absent"].map(|name| ConnectorName::parse(name).unwrap()).to_vec(),
            limits: Limits::default(),
            clock_ms: NOW_MS,
            answers: Vec::new(),
            effects: EffectMode::Live,
            journal: self.journal.clone(),
        }
    }

    /// One execution that performs one operation and ends; what it leaves is committed.
    pub async fn once(&self, thread: &str, task: u8, request: OperationRequest) -> String {
        let mut effects = self.task(thread, task);
        let outcome = one(effects.perform_all(vec![request]).await);
        let left = effects.finish();
        self.journal.hits.lock().unwrap().extend(left.hits);
        if !left.operations.is_empty() {
            self.journal.commit(left.operations);
        }
        outcome
    }
}

pub fn parse(configuration: &str, environment: &[(&str, &str)]) -> Configuration {
    let environment =
        |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    match Configuration::parse(configuration, Path::new("holdpoint.toml"), &environment) {
        Ok(configuration) => configuration,
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

/// A result as one line.
pub fn line(result: &Result<Value, Refusal>) -> String {
    match result {
        Ok(answer) => format!("ok {answer}"),
        Err(Refusal::Failed(failure)) => {
            let sent = failure.details.as_ref().map(|details| details["request_sent"].clone()).unwrap_or_default();
            format!("failed {} retryable={} sent={sent}", failure.code, failure.retryable)
        }
        Err(refusal) => refusal.to_string(),
    }
}

pub fn lines(results: Result<Vec<Result<Value, Refusal>>, Halt>) -> Vec<String> {
    match results {
        Ok(results) => results.iter().map(line).collect(),
        Err(halt) => vec![format!("halt: {halt}")],
    }
}

pub fn one(results: Result<Vec<Result<Value, Refusal>>, Halt>) -> String {
    lines(results).join(" | ")
}

/// A POST to `/refunds` with an id.
pub fn pay(id: &str, amount: u64) -> OperationRequest {
    operation(Some(id), "payments", json!({ "method": "POST", "path": "/refunds", "body": { "amount": amount } }))
}

pub fn operation(id: Option<&str>, connector: &str, request: Value) -> OperationRequest {
    OperationRequest { id: id.map(str::to_owned), connector: connector.to_owned(), request }
}

/// A request as the receiver read it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Request line and headers.
    pub head: String,
    pub body: String,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (header, value) = line.split_once(':')?;
            header.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// How the receiver answers.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// With this status, these header lines and this body.
    Answer(u16, &'static str, String),
    /// Applies it and closes the connection.
    Drop,
    /// Announces more than it sends, then closes.
    BreakOff,
    /// Applies it and says nothing while the client waits.
    Silence,
}

/// A receiver on loopback with its own log.
pub struct Receiver {
    pub url: String,
    pub port: u16,
    log: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Answers each request with what `react` says.
    pub async fn start(react: impl Fn(&Received) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver =
            Self { url: format!("http://127.0.0.1:{port}"), port, log: Arc::default(), connections: Arc::default() };
        let (log, connections, react) = (receiver.log.clone(), receiver.connections.clone(), Arc::new(react));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, log.clone(), react.clone()));
            }
        });
        receiver
    }

    /// One that always answers like this.
    pub async fn always(reaction: Reaction) -> Self {
        Self::start(move |_| reaction.clone()).await
    }

    pub fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A configuration whose connector `payments` leads here.
    pub fn configuration(&self, more: &str) -> String {
        format!(
            "[connectors.payments]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST /refunds\", \"GET /refunds/*\"]\n\
             addresses = [\"127.0.0.0/8\"]\ntimeout = \"2s\"\n{more}\n",
            self.url
        )
    }
}

async fn serve(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<Received>>>,
    react: Arc<impl Fn(&Received) -> Reaction + Send + Sync + 'static>,
) {
    while let Some(received) = read(&mut stream).await {
        let reaction = react(&received);
        log.lock().unwrap().push(received);
        let text = match reaction {
            Reaction::Answer(204, headers, _) => format!("HTTP/1.1 204 X\r\n{headers}\r\n"),
            Reaction::Answer(status, headers, body) => {
                format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
            }
            Reaction::BreakOff => {
                let _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\npart").await;
                return;
            }
            Reaction::Drop => return,
            Reaction::Silence => {
                // Until the client goes.
                let _ = stream.read_u8().await;
                return;
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let received = Received { head, body: String::new() };
    let length: usize = received.header("content-length").map_or(0, |text| text.parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { body: String::from_utf8(bytes[head_end..head_end + length].to_vec()).ok()?, ..received })
}
