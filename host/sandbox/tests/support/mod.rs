//! What the tests share: guests, calls, and a sandbox to run them in.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part; a test that cannot unwrap has failed"
)]

pub mod guest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdpoint_effects::{Configuration, Effects};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::Limits;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, GraphName, NodeName, TaskId, ThreadId};
use holdpoint_graph::nodes::{
    Answer, EffectMode, JournalError, LogLevel, NodeCall, NodeOutcome, NodeReport, Nodes as _, RecordedAnswer, State,
    TaskIdentity, TaskJournal, TaskReport, Verdict,
};
use holdpoint_graph::operation::OperationRecord;
use holdpoint_sandbox::{CallLimits, ComponentSource, Options, Sandbox};
use holdpoint_store::MemoryStore;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The recorded time of all tasks.
pub const CLOCK_MS: u64 = 1_700_000_000_000;

/// Components by digest.
#[derive(Default)]
pub struct Shelf {
    components: Mutex<HashMap<Digest, Vec<u8>>>,
    /// How often each was asked for.
    asked: Mutex<u32>,
}

impl Shelf {
    pub fn put(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of_bytes(bytes);
        self.put_as(&digest, bytes);
        digest
    }

    pub fn put_as(&self, digest: &Digest, bytes: &[u8]) {
        self.components.lock().unwrap().insert(digest.clone(), bytes.to_vec());
    }

    pub fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}

#[async_trait]
impl ComponentSource for Shelf {
    async fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        *self.asked.lock().unwrap() += 1;
        Ok(self.components.lock().unwrap().get(digest).cloned())
    }
}

/// Remembers what nodes say and store.
#[derive(Default)]
pub struct Journal {
    reports: Mutex<Vec<String>>,
    stored: Mutex<Vec<OperationRecord>>,
    pub heard: Notify,
}

impl Journal {
    pub fn reports(&self) -> Vec<String> {
        self.reports.lock().unwrap().clone()
    }
}

#[async_trait]
impl TaskJournal for Journal {
    async fn store(&self, records: Vec<OperationRecord>) -> Result<(), JournalError> {
        self.stored.lock().unwrap().extend(records);
        Ok(())
    }

    fn report(&self, report: TaskReport) {
        self.reports.lock().unwrap().push(match report {
            TaskReport::Log { level, message } => format!("{level:?}: {message}"),
            TaskReport::Custom(event) => format!("event {event}"),
        });
        self.heard.notify_one();
    }
}

/// A clock that stands.
pub struct Stopped;

impl Clock for Stopped {
    fn now_ms(&self) -> u64 {
        CLOCK_MS + 5
    }
}

/// A sandbox with a shelf of components.
pub struct Bench {
    pub sandbox: Sandbox,
    pub shelf: Arc<Shelf>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// Short on time, so that tests of what never ends do end.
    pub fn limited(change: impl FnOnce(&mut CallLimits)) -> Self {
        let mut options = Options::default();
        change(&mut options.limits);
        Self::with(options)
    }

    pub fn with(options: Options) -> Self {
        Self::with_connectors(options, "")
    }

    pub fn with_connectors(options: Options, configuration: &str) -> Self {
        let shelf = Arc::new(Shelf::default());
        let configuration =
            Configuration::parse(configuration, "holdpoint.toml".as_ref(), &|_| None).expect("a valid configuration");
        let effects = Effects::new(configuration, Arc::new(MemoryStore::default()), Arc::new(Stopped));
        let sandbox = Sandbox::new(options, shelf.clone(), effects).expect("a sandbox");
        Self { sandbox, shelf }
    }

    /// Runs a guest once with an empty state.
    pub async fn outcome(&self, guest: &[u8]) -> NodeOutcome {
        self.report(call(self.shelf.put(guest))).await.outcome
    }

    pub async fn report(&self, call: NodeCall) -> NodeReport {
        self.sandbox.run(call).await
    }
}

/// A call of a component.
pub fn call(component: Digest) -> NodeCall {
    call_with(component, Arc::new(Journal::default()))
}

pub fn call_with(component: Digest, journal: Arc<dyn TaskJournal>) -> NodeCall {
    let thread = ThreadId::parse("thread-1").unwrap();
    let checkpoint = CheckpointId::from_entropy(CLOCK_MS, 0, 1);
    NodeCall {
        task: TaskIdentity {
            graph: GraphName::parse("graph").unwrap(),
            lineage: thread.clone(),
            id: TaskId::derive(&thread, &checkpoint, "pull:node"),
            operations: TaskId::derive(&thread, &checkpoint, "pull:node"),
            thread,
            checkpoint,
            step: 1,
            node: NodeName::parse("node").unwrap(),
            epoch: Epoch(1),
        },
        component,
        state: State::default(),
        argument: None,
        config: json!({}),
        connectors: Vec::new(),
        limits: Limits::default(),
        clock_ms: CLOCK_MS,
        answers: Vec::new(),
        effects: EffectMode::Live,
        journal,
    }
}

/// A state with these channels.
pub fn state(channels: Value) -> State {
    State::new(channels.as_object().expect("an object").clone())
}

pub fn answer(occurrence: u32, payload: &Value, value: Value) -> RecordedAnswer {
    RecordedAnswer {
        occurrence,
        payload_digest: Digest::of_json(payload),
        answer: Answer { verdict: Verdict::Edit, value, answered_by: "cli:ana".to_owned(), answered_at_ms: 42 },
    }
}

/// The update of a command that went well.
pub fn update(outcome: NodeOutcome) -> Value {
    match outcome {
        NodeOutcome::Completed(command) => Value::Object(command.update),
        other => panic!("not completed: {other:?}"),
    }
}

/// The limit that was exceeded.
pub fn limit(outcome: NodeOutcome) -> String {
    match outcome {
        NodeOutcome::LimitExceeded { limit, message } => {
            assert!(!message.is_empty());
            limit
        }
        other => panic!("no limit: {other:?}"),
    }
}

pub fn levels() -> [LogLevel; 2] {
    [LogLevel::Info, LogLevel::Error]
}
