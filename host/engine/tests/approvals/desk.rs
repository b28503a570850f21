//! A thread that waits for one answer, and people around it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use holdpoint_engine::{Answers, Approval, Decided, Decision, Engine, Error, Input, Principal, RunOptions, ThreadView};
use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{OperationId, QuestionId, ThreadId};
use holdpoint_graph::nodes::{HOST_OCCURRENCE_FIRST, NodeCall, NodeOutcome, Question, Verdict};
use holdpoint_graph::notice::{Directory, Notice, Notices};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_store::{AuditFilter, AuditRecord, AuditTrail, Store};
use serde_json::{Value, json};

use crate::support::{FakeNodes, World, thread, update};

/// The node `gate` asks what the input `payload` says, and writes what it was told.
pub(crate) const STATE: &str =
    "start = \"gate\"\n[state]\npayload = {}\nschema = {}\nstands_ms = {}\nevidence = {}\ntold = {}\n[nodes.gate]\n";

pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) engine: Engine,
    pub(crate) id: QuestionId,
    pub(crate) told: Arc<Told>,
}

pub(crate) fn person(id: &str, groups: &[&str]) -> Principal {
    let actor = Actor { id: id.to_owned(), basis: Basis::Token };
    Principal { actor, groups: groups.iter().map(|name| (*name).to_owned()).collect(), ..Principal::default() }
}

pub(crate) fn asserted(id: &str) -> Principal {
    Principal { actor: Actor::asserted(id), groups: BTreeSet::new(), ..Principal::default() }
}

pub(crate) fn as_person(engine: &Engine, principal: Principal) -> Engine {
    engine.with_options(RunOptions { principal, ..RunOptions::default() })
}

fn gate(call: &NodeCall) -> NodeOutcome {
    let payload = call.state["payload"].clone();
    let payload_digest = Digest::of_json(&payload);
    let recorded = call.answers.iter().find(|answer| answer.payload_digest == payload_digest);
    let Some(recorded) = recorded else {
        let answer_schema = call.state.get("schema").cloned();
        let deadline_ms = call.state.get("stands_ms").and_then(Value::as_u64);
        let evidence = call.state.get("evidence").cloned().map(Box::new);
        let occurrence = if evidence.is_some() { HOST_OCCURRENCE_FIRST } else { 0 };
        return NodeOutcome::Interrupted(Question {
            occurrence,
            payload,
            payload_digest,
            answer_schema,
            deadline_ms,
            evidence,
        });
    };
    let answer = &recorded.answer;
    update(json!({ "told": [answer.verdict.name(), answer.value, answer.answered_by] }))
}

/// Nodes that ask once.
pub(crate) fn nodes() -> FakeNodes {
    FakeNodes::default().with("gate", gate)
}

impl Desk {
    /// A question for `payload` with these lines in the node's `interrupt` table, asked by rita.
    pub(crate) async fn new(policy: &str, payload: Value) -> Self {
        Self::with_input(policy, json!({ "payload": payload }), &[]).await
    }

    /// The same with a directory of names.
    pub(crate) async fn with_input(policy: &str, input: Value, names: &[(&str, &str)]) -> Self {
        let world = World::new(nodes());
        let told = Arc::new(Told::default());
        let directory = Arc::new(Names(Mutex::new(owned(names))));
        let engine = world.engine.with_people(directory, Arc::clone(&told) as Arc<dyn Notices>);
        let graph = crate::support::graph(&format!("{STATE}[nodes.gate.interrupt]\n{policy}\n"));
        let deployment = engine.deploy(graph).await.unwrap();
        let rita = as_person(&engine, person("user:rita", &[]));
        let view = rita.run(&thread(), &deployment, Input { values: input, supersede: false }).await.unwrap();
        assert_eq!(view.interrupts.len(), 1, "{:?}", view.error);
        let id = QuestionId::parse(view.interrupts[0].id.as_str()).unwrap();
        Self { world, engine, id, told }
    }

    pub(crate) fn by(&self, principal: Principal) -> Engine {
        as_person(&self.engine, principal)
    }

    /// Whoever it is, without groups.
    pub(crate) fn of(&self, id: &str) -> Engine {
        self.by(person(id, &[]))
    }

    pub(crate) async fn approval(&self) -> Approval {
        self.engine.approval(&self.id).await.unwrap()
    }

    /// A decision on the question as it is now.
    pub(crate) async fn decision(&self, verdict: Verdict) -> Decision {
        Decision::new(verdict, self.approval().await.digest)
    }

    pub(crate) async fn decide(&self, who: &str, verdict: Verdict) -> Result<Decided, Error> {
        self.of(who).decide(&self.id, self.decision(verdict).await).await
    }

    /// Continues the thread and gives what the node was told: verdict, value, by whom.
    pub(crate) async fn told_node(&self) -> Value {
        let view = self.engine.proceed(&thread()).await.unwrap();
        view.values.get("told").cloned().unwrap_or_default()
    }

    pub(crate) async fn resume(&self, who: &str, value: Value) -> Result<ThreadView, Error> {
        self.of(who).answer(&thread(), &Answers::Bare(value), who).await
    }

    pub(crate) async fn audit(&self) -> Vec<AuditRecord> {
        let filter = AuditFilter { thread: Some(thread()), limit: 1000, ..AuditFilter::default() };
        self.world.store.audit(&filter).await.unwrap()
    }

    /// What is on the record about questions, with its actor.
    pub(crate) async fn kinds(&self) -> Vec<String> {
        let records = self.audit().await.into_iter().filter(|record| record.kind.starts_with("question."));
        records.map(|record| format!("{} {}", &record.kind["question.".len()..], record.actor.id)).collect()
    }

    /// What would be seen if something had been written.
    pub(crate) async fn footprint(&self) -> Value {
        let question = self.world.store.question(&thread(), &self.id).await.unwrap().unwrap();
        json!([question.status.name(), question.proceedings.version, question.proceedings.votes.len()])
    }
}

fn owned(names: &[(&str, &str)]) -> BTreeMap<String, String> {
    names.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect()
}

/// A directory that can change.
pub(crate) struct Names(pub(crate) Mutex<BTreeMap<String, String>>);

impl Directory for Names {
    fn user(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().get(name).cloned()
    }
}

/// Takes notices and queues one operation for each.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<Notice>>);

impl Told {
    pub(crate) fn take(&self) -> Vec<String> {
        let notices = std::mem::take(&mut *self.0.lock().unwrap());
        notices
            .iter()
            .map(|notice| {
                format!("{} {} {}", notice.kind.name(), notice.number, notice.to.join(",")).trim_end().to_owned()
            })
            .collect()
    }
}

impl Notices for Told {
    fn operations(&self, notice: &Notice) -> Vec<OperationRecord> {
        self.0.lock().unwrap().push(notice.clone());
        let operation = |connector: &holdpoint_graph::ids::ConnectorName| OperationRecord {
            key: OperationKey {
                scope: Scope::Thread(notice.lineage.clone()),
                connector: connector.clone(),
                id: OperationId::parse(format!("{}-{}-{}", notice.question, notice.kind.name(), notice.number))
                    .unwrap(),
            },
            thread: notice.thread.clone(),
            task: notice.task.clone(),
            node: notice.node.clone(),
            request: json!(notice.to),
            request_digest: Digest::of_json(&json!(notice.to)),
            state: OperationState::Queued { attempts: 0, due_at_ms: notice.at_ms },
            epoch: notice.epoch,
            begun_at_ms: notice.at_ms,
            send_by_ms: None,
            settles_at_ms: None,
            finished_at_ms: None,
            notes: Vec::new(),
        };
        notice.connectors.iter().map(operation).collect()
    }
}

pub(crate) fn threads(count: usize) -> Vec<ThreadId> {
    (0..count).map(|number| ThreadId::parse(format!("t{number}")).unwrap()).collect()
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().code()
}

impl World {
    pub(crate) async fn store_question(&self, id: &QuestionId) -> holdpoint_store::QuestionRecord {
        self.store.question(&thread(), id).await.unwrap().unwrap()
    }
}
