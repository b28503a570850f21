//! What the nodes of the graphs do: a function of the call, of the weather, and of the journal of operations.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdpoint_graph::clock::Clock;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::nodes::{
    Destination, EffectMode, HOST_OCCURRENCE_FIRST, JournalError, NodeCall, NodeOutcome, NodeReport, Nodes, Question,
};
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_store::Journal;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::watch::Watch;
use crate::support::{FakeClock, failed, goto, update};

/// What goes wrong in the nodes while one action lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// Nodes fail for good, fail once, trap, go over a limit, or the host cannot run them.
    Broken,
    Flaky,
    Trapped,
    Limited,
    Faulty,
    /// The outcome of a payment is lost on the way.
    Lost,
    /// A node goes where no node is; to a parent that there is not; a loop does not end.
    Astray,
    Upward,
    Endless,
    /// Nodes ask something else than the last time, and some that never asked do.
    Moody,
    /// Sends go to a subgraph that is kept per thread, or carry no channels.
    Contested,
    Shapeless,
    /// Two parallel nodes write what does not fit: one of `BAD_WRITES`.
    Odd(usize),
}

/// By number of [`Weather::Odd`]: what one node and what the other writes.
pub(crate) const BAD_WRITES: [(&str, &str); 7] = [
    (r#"{"nowhere": 1}"#, "{}"),
    (r#"{"x": "text"}"#, "{}"),
    (r#"{"x": 1}"#, r#"{"x": 2}"#),
    (r#"{"sum": "text"}"#, "{}"),
    (r#"{"log": {"__overwrite__": []}}"#, r#"{"log": {"__overwrite__": ["b"]}}"#),
    (r#"{"same": 1}"#, r#"{"same": 2}"#),
    (r#"{"left": 1}"#, "{}"),
];

/// Holds the first node that starts.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) started: Notify,
    pub(crate) release: Notify,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Actors {
    watch: Arc<Watch>,
    clock: Arc<FakeClock>,
    lingers: bool,
    weather: Arc<Mutex<Weather>>,
    gate: Arc<Mutex<Option<Arc<Gate>>>>,
}

impl Actors {
    pub(crate) fn new(watch: Arc<Watch>, clock: Arc<FakeClock>, lingers: bool) -> Self {
        Self { watch, clock, lingers, weather: Arc::new(Mutex::new(Weather::Fine)), gate: Arc::default() }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    pub(crate) fn hold(&self, gate: Option<Arc<Gate>>) {
        *self.gate.lock().unwrap() = gate;
    }
}

#[async_trait]
impl Nodes for Actors {
    async fn run(&self, call: NodeCall) -> NodeReport {
        let weather = *self.weather.lock().unwrap();
        let executions = self.watch.started(&call.task);
        if self.lingers {
            // Whoever executes nodes gives way after one that takes over a millisecond: all of them do, so that the order does not depend on the
            // machine.
            std::thread::sleep(std::time::Duration::from_micros(1_100));
        }
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.started.notify_one();
            gate.release.notified().await;
        }
        let text = |name: &str| call.config[name].as_str().unwrap_or_default().to_owned();
        let said = || json!({ "log": [call.task.node.as_str()] });
        let x = || call.state.get("x").and_then(Value::as_i64).unwrap_or(0);
        match text("do").as_str() {
            "log" => update(said()).into(),
            "ask" => asks(&call, weather).into(),
            "shy" if weather == Weather::Moody => asks(&call, weather).into(),
            "shy" => update(said()).into(),
            "pay" => self.pay(&call, weather).await,
            "mail" => self.mail(&call),
            "fan" => fan(&call, weather).into(),
            "work" if call.argument.as_ref().is_some_and(|argument| argument["prompt"] == json!(1)) => {
                asks(&call, weather).into()
            }
            "work" => self.pay(&call, weather).await,
            "write" => match weather {
                Weather::Odd(kind) => update(serde_json::from_str(BAD_WRITES[kind].0).unwrap()).into(),
                _ => update(call.config["values"].clone()).into(),
            },
            "risky" => match weather {
                Weather::Odd(kind) => update(serde_json::from_str(BAD_WRITES[kind].1).unwrap()),
                Weather::Broken => failed("broken", false),
                Weather::Flaky if executions % 2 == 1 => failed("flaky", true),
                Weather::Trapped => NodeOutcome::Trapped("unreachable".into()),
                Weather::Limited => NodeOutcome::LimitExceeded { limit: "fuel".into(), message: "too much".into() },
                Weather::Faulty => NodeOutcome::HostFault("no cache".into()),
                _ => update(json!({ "log": [call.task.node.as_str()], "sum": 1 })),
            }
            .into(),
            "spin" => {
                let left = call.state.get("left").and_then(Value::as_u64).unwrap_or(0);
                let again = weather == Weather::Endless || left > 6;
                let next = if again { Destination::Node(call.task.node.to_string()) } else { Destination::End };
                goto(json!({ "log": [left, call.state.get("last")] }), vec![next]).into()
            }
            "wander" => match weather {
                Weather::Astray => goto(said(), vec![Destination::Node("nowhere".into())]),
                Weather::Upward => goto(said(), vec![Destination::Parent("close".into())]),
                _ => update(said()),
            }
            .into(),
            "leave" => match weather {
                Weather::Astray => {
                    goto(said(), vec![Destination::Parent("close".into()), Destination::Node("first".into())])
                }
                Weather::Upward => goto(said(), vec![Destination::Parent("close".into())]),
                _ => update(said()),
            }
            .into(),
            "tick" => {
                let own = call.state.get("own").and_then(Value::as_u64).unwrap_or(0) + 1;
                update(json!({ "own": own, "log": [own], "x": x() })).into()
            }
            other => NodeOutcome::HostFault(format!("nobody knows how to {other}")).into(),
        }
    }
}

fn asks(call: &NodeCall, weather: Weather) -> NodeOutcome {
    let mut answers = Vec::new();
    for occurrence in 0..u32::try_from(call.config["questions"].as_u64().unwrap_or(1)).unwrap() {
        let payload = json!({ "node": call.task.node.as_str(), "x": call.state.get("x"), "argument": call.argument, "moody": weather == Weather::Moody });
        let schema = (occurrence == 0).then(|| json!({ "type": "integer" }));
        match ask(call, occurrence, payload, schema, None) {
            Ok(answer) => answers.push(answer),
            Err(question) => return question,
        }
    }
    // 13 stands for nothing: an answer cannot be null, a channel can.
    let last = answers.last().filter(|answer| **answer != json!(13)).cloned().unwrap_or_default();
    match call.config["keeps"].as_bool() {
        Some(true) => update(json!({ "log": [answers], "x": last })),
        _ => update(json!({ "log": [answers] })),
    }
}

fn ask(
    call: &NodeCall,
    occurrence: u32,
    payload: Value,
    answer_schema: Option<Value>,
    evidence: Option<Value>,
) -> Result<Value, NodeOutcome> {
    let payload_digest = Digest::of_json(&payload);
    let same = |occurred: u32, digest: &Digest| occurred == occurrence && *digest == payload_digest;
    let recorded = call.answers.iter().find(|answer| same(answer.occurrence, &answer.payload_digest));
    recorded.map(|recorded| recorded.answer.value.clone()).ok_or_else(|| {
        NodeOutcome::Interrupted(Question {
            occurrence,
            payload,
            payload_digest,
            answer_schema,
            deadline_ms: Some(6_000_000),
            evidence: evidence.map(Box::new),
        })
    })
}

fn fan(call: &NodeCall, weather: Weather) -> NodeOutcome {
    let count = call.config["count"].as_u64().unwrap_or(0);
    let to = match (weather, call.config["contested"].as_str()) {
        (Weather::Contested, Some(contested)) => contested,
        _ => call.config["to"].as_str().unwrap_or_default(),
    };
    let send = |index: u64| Destination::Send {
        node: to.to_owned(),
        argument: if weather == Weather::Shapeless { json!(index) } else { json!({ "prompt": index }) },
    };
    goto(json!({ "log": [call.task.node.as_str()] }), (0..count).map(send).collect())
}

impl Actors {
    /// What the effects do for an at-most-once operation, or one whose receiver de-duplicates it, without sending anything.
    async fn pay(&self, call: &NodeCall, weather: Weather) -> NodeReport {
        let request = json!({ "pay": call.state.get("x"), "for": call.argument });
        let (scope, id) = match call.config["scope"].as_str() {
            Some("global") => {
                let id = format!("pay:{}", call.state.get("x").cloned().unwrap_or_default());
                (Scope::Global("g".into()), OperationId::parse(id).unwrap())
            }
            _ => {
                let id = OperationId::derive(&call.task.operations, &Digest::of_json(&request), 0);
                (Scope::Thread(call.task.lineage.clone()), id)
            }
        };
        let key = OperationKey { scope, connector: ConnectorName::parse("payments").unwrap(), id };
        let found = match self.watch.operation(&key).await {
            Ok(found) => found,
            Err(error) => return NodeOutcome::HostFault(error.to_string()).into(),
        };
        let in_doubt = || NodeOutcome::InDoubt { operation: key.clone(), reason: "no answer".into() };
        match found.map(|record| (record.state.clone(), record)) {
            None | Some((OperationState::NotSent, _)) => self.perform(call, key, request, weather).await,
            Some((OperationState::Completed(answer), record)) => {
                let hit = OperationHit {
                    key,
                    thread: call.task.thread.clone(),
                    task: call.task.id.clone(),
                    at_ms: self.clock.now_ms(),
                };
                let foreign = record.thread != call.task.thread;
                NodeReport {
                    hits: foreign.then_some(hit).into_iter().collect(),
                    ..update(json!({ "log": [answer] })).into()
                }
            }
            Some((OperationState::Failed(failure), _)) => NodeOutcome::Failed(failure).into(),
            Some((OperationState::Queued { .. }, _)) => update(json!({ "log": ["queued"] })).into(),
            Some((OperationState::Intended, record)) if record.thread == call.task.thread => {
                let record = OperationRecord { state: OperationState::InDoubt("its worker died".into()), ..record };
                NodeReport { operations: vec![record], ..in_doubt().into() }
            }
            Some((OperationState::Intended | OperationState::InDoubt(_), _)) => in_doubt().into(),
        }
    }

    async fn perform(&self, call: &NodeCall, key: OperationKey, request: Value, weather: Weather) -> NodeReport {
        match call.effects {
            EffectMode::Live => {}
            EffectMode::Recorded => {
                let operation = json!({ "connector": "payments", "operation_id": key.id.as_str(), "request": request });
                return NodeOutcome::Withheld { operations: vec![operation] }.into();
            }
            EffectMode::Ask => {
                let evidence = json!({ "rule": "the branch asks" });
                match ask(call, HOST_OCCURRENCE_FIRST, request.clone(), None, Some(evidence)) {
                    Ok(answer) if answer == json!(0) => return failed("declined", false).into(),
                    Ok(_) => {}
                    Err(question) => return question.into(),
                }
            }
        }
        let done = update(json!({ "log": ["paid"] }));
        if call.config["class"] == json!("idempotent") {
            let paid = self.operation(call, key, request, OperationState::Completed(json!("paid")));
            return NodeReport { operations: vec![paid], ..done.into() };
        }
        let intent = self.operation(call, key.clone(), request, OperationState::Intended);
        match call.journal.store(vec![intent.clone()]).await {
            Ok(()) => {}
            Err(JournalError::Fenced) => return NodeOutcome::Fenced.into(),
            Err(JournalError::Unavailable(reason)) => return NodeOutcome::HostFault(reason).into(),
        }
        let finished_at_ms = Some(self.clock.now_ms());
        if weather == Weather::Lost {
            let state = OperationState::InDoubt("no answer".into());
            let lost = OperationRecord { state, finished_at_ms, ..intent };
            let outcome = NodeOutcome::InDoubt { operation: key, reason: "no answer".into() };
            return NodeReport { operations: vec![lost], ..outcome.into() };
        }
        let paid = OperationRecord { state: OperationState::Completed(json!("paid")), finished_at_ms, ..intent };
        NodeReport { operations: vec![paid], ..done.into() }
    }

    /// An operation that leaves after the commit.
    fn mail(&self, call: &NodeCall) -> NodeReport {
        let request = json!({ "mail": call.state.get("log") });
        let key = OperationKey {
            scope: Scope::Thread(call.task.lineage.clone()),
            connector: ConnectorName::parse("mail").unwrap(),
            id: OperationId::derive(&call.task.operations, &Digest::of_json(&request), 0),
        };
        let state = OperationState::Queued { attempts: 0, due_at_ms: self.clock.now_ms() };
        let queued = OperationRecord { finished_at_ms: None, ..self.operation(call, key, request, state) };
        NodeReport { operations: vec![queued], ..update(json!({ "log": ["mailed"] })).into() }
    }

    fn operation(&self, call: &NodeCall, key: OperationKey, request: Value, state: OperationState) -> OperationRecord {
        let now_ms = self.clock.now_ms();
        OperationRecord {
            key,
            thread: call.task.thread.clone(),
            task: call.task.id.clone(),
            node: call.task.node.clone(),
            request_digest: Digest::of_json(&request),
            request,
            finished_at_ms: (state != OperationState::Intended).then_some(now_ms),
            state,
            epoch: call.task.epoch,
            begun_at_ms: now_ms,
            send_by_ms: Some(now_ms + 2_000),
            settles_at_ms: Some(now_ms + 20_000),
            notes: Vec::new(),
        }
    }
}
