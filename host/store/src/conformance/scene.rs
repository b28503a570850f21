//! Records and commits to play with. Everything has a value; tests change what they are about with `..` syntax.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdpoint_graph::actor::Actor;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{
    ChannelName, CheckpointId, ConnectorName, Epoch, GraphName, Namespace, NodeName, OperationId, QuestionId, RunId,
    TaskId, Tenant, ThreadId,
};
use holdpoint_graph::nodes::{Answer, EffectMode, Verdict};
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_graph::state::{Change, Patch};
use serde_json::{Map, Value, json};

use crate::approvals::{DeadlineGuard, Proceedings, QuestionChange};
use crate::audit::AuditEntry;
use crate::records::{
    CheckpointRecord, NewCheckpoint, QuestionRecord, QuestionStatus, Settlement, Snapshot, Source, TaskRecord,
    TaskStatus, ThreadError, ThreadStatus, Trigger,
};
use crate::runs::{RunRecord, RunStatus, RunUpdate};
use crate::store::{Claim, Commit, Expect, HistoryFilter, NewThread, Store};

/// The moment at which everything happens.
pub const NOW_MS: u64 = 1_700_000_000_000;

/// The thread of this name.
pub fn thread(name: &str) -> ThreadId {
    ThreadId::parse(name).expect("invariant: a valid thread id")
}

/// The node of this name.
pub fn node(name: &str) -> NodeName {
    NodeName::parse(name).expect("invariant: a valid node name")
}

/// The graph of all threads.
pub fn graph() -> Digest {
    Digest::of_bytes(b"graph")
}

/// The namespace of this text.
pub fn namespace(text: &str) -> Namespace {
    Namespace::parse(text).expect("invariant: a valid namespace")
}

/// The checkpoint of this number.
pub fn checkpoint(number: u64) -> CheckpointId {
    CheckpointId::from_entropy(NOW_MS, 0, number)
}

/// Replaces channels.
pub fn replace<const N: usize>(values: [(&str, Value); N]) -> Patch {
    patch(values.map(|(name, value)| (name, Change::Replace(value))))
}

/// Appends items to a channel.
pub fn append<const N: usize>(channel: &str, items: [Value; N]) -> Patch {
    patch([(channel, Change::Append(items.into()))])
}

/// Changes channels.
pub fn patch<const N: usize>(changes: [(&str, Change); N]) -> Patch {
    let named = |(name, change)| (ChannelName::parse(name).expect("invariant: a valid channel name"), change);
    Patch {
        changes: BTreeMap::from_iter(changes.map(|(name, change): (&str, Change)| named((name.to_owned(), change)))),
    }
}

/// A checkpoint made by a superstep.
pub fn new_checkpoint(number: u64, parent: Option<u64>, patch: Patch) -> NewCheckpoint {
    NewCheckpoint {
        record: CheckpointRecord {
            id: checkpoint(number),
            parent: parent.map(checkpoint),
            namespace: Namespace::root(),
            graph: graph(),
            step: i64::try_from(number).unwrap_or(i64::MAX),
            source: Source::Loop,
            writers: BTreeSet::new(),
            next: vec![Trigger::Pull(node("pay"))],
            deferred: BTreeSet::new(),
            joins: BTreeMap::new(),
            children: BTreeMap::new(),
            anchor: checkpoint(number),
            kept_operations: BTreeMap::new(),
            effects: EffectMode::Live,
            metadata: Map::new(),
            clock_ms: NOW_MS,
            created_at_ms: NOW_MS + number,
        },
        patch,
    }
}

/// A checkpoint of a subgraph's.
pub fn in_namespace(namespace: &Namespace, new: NewCheckpoint) -> NewCheckpoint {
    NewCheckpoint { record: CheckpointRecord { namespace: namespace.clone(), ..new.record }, patch: new.patch }
}

/// Creates a thread with checkpoint 0, epoch 1.
pub fn create(name: &str, patch: Patch) -> Commit {
    Commit {
        expect: Expect::New(NewThread {
            epoch: Epoch(1),
            lineage: thread(name),
            graph: graph(),
            graph_name: GraphName::parse("refund").expect("invariant: a valid graph name"),
            tenant: Tenant::default(),
        }),
        claim: Some(claim("first")),
        checkpoints: vec![new_checkpoint(0, None, patch)],
        head: Some(checkpoint(0)),
        ..update(name, 0)
    }
}

/// A commit that changes nothing but the time.
pub fn update(name: &str, epoch: u64) -> Commit {
    Commit::new(thread(name), Expect::Epoch(Epoch(epoch)), ThreadStatus::Running, NOW_MS)
}

/// A commit of one superstep: a checkpoint that becomes the head.
pub fn step(name: &str, epoch: u64, number: u64, parent: u64, patch: Patch) -> Commit {
    Commit {
        checkpoints: vec![new_checkpoint(number, Some(parent), patch)],
        head: Some(checkpoint(number)),
        ..update(name, epoch)
    }
}

/// A claim for a minute.
pub fn claim(owner: &str) -> Claim {
    Claim { owner: owner.to_owned(), lease_until_ms: NOW_MS + 60_000 }
}

/// The id of the task at a place of a step.
pub fn task_id(name: &str, number: u64, path: &str) -> TaskId {
    TaskId::derive(&thread(name), &checkpoint(number), path)
}

/// An interrupted task of checkpoint `number`.
pub fn task(name: &str, number: u64, path: &str) -> TaskRecord {
    TaskRecord {
        id: task_id(name, number, path),
        checkpoint: checkpoint(number),
        node: node("pay"),
        path: path.to_owned(),
        status: TaskStatus::Interrupted,
        executions: 1,
        result: None,
        error: None,
        child: None,
        steps_left: None,
        updated_at_ms: NOW_MS,
    }
}

/// A task of checkpoint `number` that waits for this operation's doubt to be settled, as the engine records it.
pub fn task_in_doubt(name: &str, number: u64, path: &str, key: &OperationKey) -> TaskRecord {
    let details = json!({
        "scope": key.scope.to_text(),
        "connector": key.connector.as_str(),
        "operation_id": key.id.as_str(),
    });
    let error = ThreadError {
        code: "HP0520".to_owned(),
        message: "no answer".to_owned(),
        node: Some(node("pay")),
        details: Some(details),
    };
    TaskRecord { status: TaskStatus::InDoubt, error: Some(error), ..task(name, number, path) }
}

/// The id of a question of a task.
pub fn question_id(task: &TaskRecord, name: &str, occurrence: u32) -> QuestionId {
    QuestionId::derive(&thread(name), &task.checkpoint, &task.id, occurrence, &Digest::of_json(&payload(occurrence)))
}

/// Proceedings after so many changes.
pub fn proceedings(version: u32) -> Box<Proceedings> {
    Box::new(Proceedings { version, ..Proceedings::default() })
}

/// A pending question of a task.
pub fn question(task: &TaskRecord, name: &str, occurrence: u32) -> QuestionRecord {
    let payload = payload(occurrence);
    QuestionRecord {
        id: question_id(task, name, occurrence),
        checkpoint: task.checkpoint.clone(),
        task: task.id.clone(),
        node: task.node.clone(),
        occurrence,
        payload_digest: Digest::of_json(&payload),
        payload,
        answer_schema: None,
        policy: json!({}),
        asked_at_ms: NOW_MS,
        deadline_at_ms: None,
        due_at_ms: None,
        proceedings: Proceedings::default(),
        status: QuestionStatus::Pending,
        answer: None,
    }
}

fn payload(occurrence: u32) -> Value {
    json!({ "pay": 100 + occurrence })
}

/// An answer by somebody.
pub fn answer(by: &str, value: Value) -> Answer {
    Answer { verdict: Verdict::Respond, value, answered_by: by.to_owned(), answered_at_ms: NOW_MS + 5 }
}

/// An answer to a question.
pub fn settle(question: &QuestionRecord, by: &str) -> Settlement {
    Settlement::Answer {
        question: question.id.clone(),
        answer: answer(by, json!({ "approved": true })),
        proceedings: proceedings(question.proceedings.version + 1),
    }
}

/// Something said of a pending question that leaves it pending: one change more of its proceedings.
pub fn change(name: &str, question: &QuestionRecord) -> QuestionChange {
    QuestionChange {
        thread: thread(name),
        question: question.id.clone(),
        proceedings: Proceedings { version: question.proceedings.version + 1, ..question.proceedings.clone() },
        due_at_ms: question.due_at_ms,
        guard: DeadlineGuard::Open,
        answer: None,
        claim: None,
        operations: Vec::new(),
        reply: None,
        link: None,
        audit: Vec::new(),
        at_ms: NOW_MS,
    }
}

/// A change that answers a question.
pub fn decide(name: &str, question: &QuestionRecord, by: &str) -> QuestionChange {
    QuestionChange { answer: Some(answer(by, json!({ "approved": true }))), ..change(name, question) }
}

/// The change of the deadline, at this moment.
pub fn expire(name: &str, question: &QuestionRecord, at_ms: u64) -> QuestionChange {
    let answer = Answer { verdict: Verdict::Expired, ..answer("system:deadline", Value::Null) };
    QuestionChange { guard: DeadlineGuard::Passed, answer: Some(answer), at_ms, ..change(name, question) }
}

/// Something to put on the record, about a thread or about none.
pub fn audit(kind: &'static str, name: Option<&str>) -> AuditEntry {
    AuditEntry {
        thread: name.map(thread),
        tenant: Tenant::default(),
        at_ms: NOW_MS,
        actor: Actor::asserted("cli:ana"),
        kind,
        body: Map::from_iter([("text".to_owned(), json!("ü \" \u{0}")), ("number".to_owned(), json!(0.1))]),
    }
}

/// The tenant of this name.
pub fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).expect("invariant: a valid tenant")
}

/// The id of the run of this number.
pub fn run_id(number: u64) -> RunId {
    RunId::parse(format!("018bcfe5-6800-7000-8000-{number:012x}")).expect("invariant: a valid run id")
}

/// A pending run of a thread.
pub fn run(name: &str, number: u64) -> RunRecord {
    RunRecord {
        id: run_id(number),
        thread: thread(name),
        tenant: Tenant::default(),
        actor: Actor::asserted("cli:ana"),
        status: RunStatus::Pending,
        request: json!({ "input": { "amount": number } }),
        metadata: Map::new(),
        not_before_ms: NOW_MS,
        error: None,
        cancel: None,
        base: None,
        created_at_ms: NOW_MS + number,
        updated_at_ms: NOW_MS + number,
    }
}

/// A run's next status.
pub fn run_update(number: u64, from: RunStatus, to: RunStatus) -> RunUpdate {
    RunUpdate { run: run_id(number), from, to, error: None }
}

/// The key of a thread's operation.
pub fn operation_key(name: &str, id: &str) -> OperationKey {
    OperationKey {
        scope: Scope::Thread(thread(name)),
        connector: ConnectorName::parse("payments").expect("invariant: a valid connector name"),
        id: OperationId::parse(id).expect("invariant: a valid operation id"),
    }
}

/// A completed operation of a task.
pub fn operation(name: &str, id: &str, task: &TaskRecord) -> OperationRecord {
    let request = json!({ "method": "POST", "path": "/refunds" });
    OperationRecord {
        key: operation_key(name, id),
        thread: thread(name),
        task: task.id.clone(),
        node: task.node.clone(),
        request_digest: Digest::of_json(&request),
        request,
        state: OperationState::Completed(json!({ "status": 201 })),
        epoch: Epoch(1),
        begun_at_ms: NOW_MS,
        send_by_ms: None,
        settles_at_ms: None,
        finished_at_ms: Some(NOW_MS + 1),
        notes: Vec::new(),
    }
}

/// A hit that a task had on an operation.
pub fn hit(key: &OperationKey, name: &str, task: &TaskRecord) -> OperationHit {
    OperationHit { key: key.clone(), thread: thread(name), task: task.id.clone(), at_ms: NOW_MS }
}

/// Applies a commit that has to succeed.
pub async fn apply(store: &Arc<dyn Store>, commit: Commit) {
    store.commit(commit).await.expect("the commit fits");
}

/// The newest checkpoints of the thread's own graph.
pub async fn history(store: &Arc<dyn Store>, name: &str) -> Vec<Snapshot> {
    let filter = HistoryFilter::newest(usize::MAX);
    store.history(&thread(name), &filter).await.expect("the store can be read")
}

/// The thread at its head, which has to be there.
pub async fn head(store: &Arc<dyn Store>, name: &str) -> Snapshot {
    store.snapshot(&thread(name), None).await.expect("the store can be read").expect("the thread is there")
}

/// The thread at a checkpoint, which has to be there.
pub async fn at(store: &Arc<dyn Store>, name: &str, number: u64) -> Snapshot {
    let found = store.snapshot(&thread(name), Some(&checkpoint(number))).await.expect("the store can be read");
    found.expect("the checkpoint is there")
}

/// The values at a checkpoint.
pub async fn values_at(store: &Arc<dyn Store>, name: &str, number: u64) -> Value {
    Value::Object(at(store, name, number).await.values)
}
