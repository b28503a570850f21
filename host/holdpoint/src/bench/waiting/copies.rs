//! From one thread that waits to another.

use std::collections::BTreeMap;

use holdpoint_engine::patch;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, TaskId, ThreadId};
use holdpoint_store::{
    Claim, Commit, Expect, NewCheckpoint, NewThread, QuestionRecord, Snapshot, TaskRecord, ThreadStatus,
};
use serde_json::{Map, Value, json};

pub(super) const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A thread that waits, as it is stored.
pub(super) struct Template {
    /// Oldest first.
    history: Vec<Snapshot>,
    pub(super) asked_at_ms: u64,
}

impl Template {
    /// From a history, newest first; none when nothing of it waits.
    pub(super) fn new(mut history: Vec<Snapshot>) -> Option<Self> {
        history.reverse();
        let asked_at_ms = history.last()?.questions.first()?.asked_at_ms;
        Some(Self { history, asked_at_ms })
    }

    /// The commits of another thread like it: its input, and its question with a deadline of its own.
    pub(super) fn copy(&self, number: usize, deadline_at_ms: u64) -> [Commit; 2] {
        let thread = ThreadId::parse(format!("waiting-{number:07}"))
            .expect("invariant: a word and a number are a thread's name");
        let mut copy = Copy { thread: thread.clone(), number, checkpoints: BTreeMap::new() };
        let head = self.history.last().expect("invariant: a template has a head");
        // Every checkpoint gets its id before anything names it.
        for snapshot in &self.history {
            copy.name(snapshot);
        }
        let mut values = Map::new();
        let mut checkpoints = Vec::new();
        let mut tasks = Vec::new();
        let mut questions = Vec::new();
        for snapshot in &self.history {
            let now = copy.values(&snapshot.values);
            checkpoints.push(copy.checkpoint(snapshot, patch::difference(&values, &now)));
            values = now;
            let ids: BTreeMap<&TaskId, TaskId> =
                snapshot.tasks.iter().map(|task| (&task.id, copy.task_id(task))).collect();
            tasks.extend(snapshot.tasks.iter().map(|task| copy.task(task, &ids)));
            questions.extend(snapshot.questions.iter().map(|found| copy.question(found, &ids, deadline_at_ms)));
        }
        let (before, at_ms) = (&head.thread, self.asked_at_ms);
        let new = NewThread {
            epoch: Epoch(at_ms),
            lineage: thread.clone(),
            graph: before.graph.clone(),
            graph_name: before.graph_name.clone(),
            tenant: before.tenant.clone(),
        };
        // Its tasks that only repeat what was given come with the input.
        let (asking, giving): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|task| questions.iter().any(|question| question.task == task.id));
        [
            Commit {
                claim: Some(Claim { owner: "bench".to_owned(), lease_until_ms: at_ms }),
                head: Some(copy.id(&before.head)),
                checkpoints,
                tasks: giving,
                requester: before.requester.clone(),
                ..Commit::new(thread.clone(), Expect::New(new), ThreadStatus::Running, at_ms)
            },
            Commit {
                release: true,
                tasks: asking,
                questions,
                ..Commit::new(thread, Expect::Epoch(Epoch(at_ms)), ThreadStatus::Interrupted, at_ms)
            },
        ]
    }
}

/// The thread that is being made.
struct Copy {
    thread: ThreadId,
    number: usize,
    /// From the template's checkpoints to its own.
    checkpoints: BTreeMap<CheckpointId, CheckpointId>,
}

impl Copy {
    fn name(&mut self, snapshot: &Snapshot) {
        let record = &snapshot.checkpoint;
        let id = CheckpointId::from_entropy(record.clock_ms, record.step, self.number as u64);
        self.checkpoints.insert(record.id.clone(), id);
    }

    fn id(&self, template: &CheckpointId) -> CheckpointId {
        self.checkpoints.get(template).unwrap_or(template).clone()
    }

    /// Each thread asks about something else.
    fn payload(&self, template: &Value) -> Value {
        let mut payload = template.clone();
        if let Some(members) = payload.as_object_mut() {
            members.insert("title".to_owned(), format!("Refund order {}?", self.number).into());
            members.insert("order_id".to_owned(), json!(self.number));
        }
        payload
    }

    fn values(&self, template: &Map<String, Value>) -> Map<String, Value> {
        let mut values = template.clone();
        if let Some(payload) = values.get_mut("approval_payload") {
            *payload = self.payload(payload);
        }
        values
    }

    fn checkpoint(&self, snapshot: &Snapshot, patch: holdpoint_graph::state::Patch) -> NewCheckpoint {
        let mut record = snapshot.checkpoint.clone();
        record.id = self.id(&record.id);
        record.parent = record.parent.map(|parent| self.id(&parent));
        record.anchor = self.id(&record.anchor);
        NewCheckpoint { record, patch }
    }

    fn task_id(&self, task: &TaskRecord) -> TaskId {
        TaskId::derive(&self.thread, &self.id(&task.checkpoint), &task.path)
    }

    fn task(&self, task: &TaskRecord, ids: &BTreeMap<&TaskId, TaskId>) -> TaskRecord {
        let mut record = task.clone();
        record.id = ids[&task.id].clone();
        record.checkpoint = self.id(&task.checkpoint);
        if let Some(result) = &mut record.result {
            result.update = self.values(&result.update);
        }
        record
    }

    fn question(
        &self,
        question: &QuestionRecord,
        ids: &BTreeMap<&TaskId, TaskId>,
        deadline_at_ms: u64,
    ) -> QuestionRecord {
        let mut record = question.clone();
        record.payload = self.payload(&question.payload);
        record.payload_digest = Digest::of_json(&record.payload);
        record.checkpoint = self.id(&question.checkpoint);
        record.task = ids[&question.task].clone();
        record.id = QuestionId::derive(
            &self.thread,
            &record.checkpoint,
            &record.task,
            record.occurrence,
            &record.payload_digest,
        );
        record.asked_at_ms = deadline_at_ms.saturating_sub(WEEK_MS);
        record.deadline_at_ms = Some(deadline_at_ms);
        record.due_at_ms = Some(deadline_at_ms);
        record
    }
}
