//! What a script draws: commits, records, values, and names of what may be there or not.

use std::collections::BTreeSet;

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, GraphName, Namespace, OperationId, QuestionId, ThreadId};
use holdpoint_graph::nodes::{Answer, Command, EffectMode, Failure, Verdict};
use holdpoint_graph::operation::{
    NoteKind, OperationHit, OperationKey, OperationNote, OperationRecord, OperationState,
};
use holdpoint_graph::state::{Change, Patch};
use holdpoint_store::conformance::scene;
use holdpoint_store::{
    Arrivals, CacheRecord, CheckpointRecord, Commit, Expect, HistoryFilter, QuestionRecord, Settlement, Source,
    TaskRecord, TaskStatus, ThreadError, ThreadStatus, Trigger, VersionKind, VersionRecord,
};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use crate::pair::key;
use crate::script::{Script, known};
use crate::{KEYS, NAMESPACES, OPERATIONS, THREADS};

impl Script {
    pub(crate) fn history_filter(&mut self, name: &str) -> HistoryFilter {
        HistoryFilter {
            namespace: if self.random.random_bool(0.7) { Namespace::root() } else { self.namespace() },
            before: self.random.random_bool(0.5).then(|| self.checkpoint(name)),
            source: self.random.random_bool(0.2).then(|| self.source()),
            step: self.random.random_bool(0.1).then(|| self.number(name)).and_then(|number| i64::try_from(number).ok()),
            metadata: if self.random.random_bool(0.3) { self.metadata() } else { Map::new() },
            limit: self.random.random_range(1..20),
        }
    }

    pub(crate) fn namespace(&mut self) -> Namespace {
        scene::namespace(NAMESPACES.choose(&mut self.random).expect("there are some"))
    }

    pub(crate) fn source(&mut self) -> Source {
        Source::NAMES[self.random.random_range(0..4)].0
    }

    pub(crate) fn graph_name(&mut self) -> GraphName {
        let name = *["refund", "incident", "unknown"].choose(&mut self.random).expect("there are some");
        GraphName::parse(name).expect("valid")
    }

    pub(crate) fn metadata(&mut self) -> Map<String, Value> {
        let values = [json!(1), json!(1.0), json!("1"), json!([1, null]), Value::Null];
        (0..self.random.random_range(0..3))
            .map(|_| {
                let name = *["run", "ü.$\"", ""].choose(&mut self.random).expect("there are some");
                (name.to_owned(), values.choose(&mut self.random).expect("there are some").clone())
            })
            .collect()
    }

    pub(crate) fn version(&mut self) -> VersionRecord {
        VersionRecord {
            kind: VersionKind::NAMES[self.random.random_range(0..2)].0,
            name: (*["a", "b", "c\u{0}"].choose(&mut self.random).expect("there are some")).to_owned(),
            version: self.random.random_range(1..5).to_string(),
            digest: key(self.random.random_range(0..2)),
            deployed_at_ms: self.random.random_range(0..9),
            deployed_by: "cli:ana".to_owned(),
            gains: (0..self.random.random_range(0..3)).map(|number| format!("connector \"{number}\"")).collect(),
        }
    }

    /// What a checkpoint records beside its place.
    pub(crate) fn fill(&mut self, name: &str, record: &mut CheckpointRecord) {
        let names = |random: &mut ChaCha8Rng| -> BTreeSet<_> {
            (0..random.random_range(0..3)).map(|_| scene::node(["a", "b", "c"][random.random_range(0..3)])).collect()
        };
        record.source = self.source();
        record.graph = key(self.random.random_range(0..3));
        record.writers = names(&mut self.random);
        record.deferred = names(&mut self.random);
        record.anchor = self.checkpoint(name);
        record.effects = EffectMode::NAMES[self.random.random_range(0..3)].0;
        record.metadata = self.metadata();
        if self.random.random_bool(0.2) {
            record.children.insert(scene::node("sub"), self.checkpoint(name));
        }
        if self.random.random_bool(0.2) {
            let arrived = names(&mut self.random);
            let (since_ms, started) = (self.random.random_range(0..9), self.random.random_bool(0.5));
            record.joins.insert(scene::node("all"), Arrivals { arrived, since_ms, started });
        }
    }

    /// A checkpoint that a task at `namespace` may have come to; now and then one that it may not.
    pub(crate) fn child(&mut self, name: &str, commit: &Commit, namespace: &Namespace) -> Option<CheckpointId> {
        if self.random.random_bool(0.05) {
            return Some(self.checkpoint(name));
        }
        let stored = self.checkpoints.get(&scene::thread(name)).into_iter().flatten().cloned();
        let all = stored.chain(commit.checkpoints.iter().map(known));
        let deeper: Vec<u64> = all
            .filter(|(_, found)| found.parts().count() > namespace.parts().count())
            .map(|(number, _)| number)
            .collect();
        // Mostly the newest, so that runs have tasks of their own.
        let newest = deeper.len().saturating_sub(4);
        deeper[newest..].choose(&mut self.random).map(|number| scene::checkpoint(*number))
    }

    /// Where a checkpoint of this number is, as far as it is known.
    pub(crate) fn namespace_of(&self, name: &str, commit: &Commit, number: u64) -> Namespace {
        let stored = self.checkpoints.get(&scene::thread(name)).into_iter().flatten().cloned();
        let mut all = stored.chain(commit.checkpoints.iter().map(known));
        all.find(|(found, _)| *found == number).map(|(_, namespace)| namespace).unwrap_or_default()
    }

    pub(crate) fn operation_id(&mut self) -> OperationId {
        OperationId::parse(format!("op:{}", self.random.random_range(0..OPERATIONS + 2))).expect("valid")
    }

    pub(crate) fn operation_key(&mut self, name: &str) -> OperationKey {
        OperationKey { id: self.operation_id(), ..scene::operation_key(name, "any") }
    }

    pub(crate) fn commit(&mut self, name: &str) -> Commit {
        let thread = scene::thread(name);
        let create = self.random.random_bool(0.08);
        let mut commit = if create {
            let patch = self.patch();
            scene::create(name, patch)
        } else {
            scene::update(name, self.epoch(&thread))
        };
        if let Expect::New(new) = &mut commit.expect {
            new.graph_name = self.graph_name();
            // Rarely, since its entry keeps the name for that tenant.
            if self.random.random_bool(0.03) {
                new.tenant = self.tenant();
            }
        }
        for _ in 0..self.random.random_range(0..3) {
            // Rarely one that is there already.
            self.numbered += 1;
            let number = if self.random.random_bool(0.03) { self.number(name) } else { self.numbered };
            let parent = self.random.random_bool(0.85).then(|| if create { 0 } else { self.number(name) });
            let mut new = scene::new_checkpoint(number, parent, self.patch());
            let odd = self.random.random_bool(0.02);
            new.record.namespace = match parent {
                Some(parent) if !odd => self.namespace_of(name, &commit, parent),
                _ => self.namespace(),
            };
            self.fill(name, &mut new.record);
            if self.random.random_bool(0.2) {
                let argument = self.value(2);
                new.record.next.push(Trigger::Push { node: scene::node("pay"), argument });
            }
            commit.checkpoints.push(new);
        }
        if self.random.random_bool(0.6) {
            let own = commit.checkpoints.iter().rev().find(|new| new.record.namespace.is_root());
            commit.head = own.map(|new| new.record.id.clone()).or(commit.head);
        } else if self.random.random_bool(0.1) {
            commit.head = Some(self.checkpoint(name));
        }
        for _ in 0..self.random.random_range(0..3) {
            let number = commit.checkpoints.last().and_then(|new| u64::try_from(new.record.step).ok());
            let number = if self.random.random_bool(0.5) { number } else { None }.unwrap_or_else(|| self.number(name));
            let mut task = self.task(name, number);
            if self.random.random_bool(0.5) {
                task.child = self.child(name, &commit, &self.namespace_of(name, &commit, number));
            }
            if self.random.random_bool(0.4) {
                let question = self.question(&task, name);
                self.questions.push((name.to_owned(), question.id.clone()));
                commit.questions.push(question);
            }
            if self.random.random_bool(0.4) {
                commit.operations.push(self.operation(name, &task));
            }
            if self.random.random_bool(0.1) {
                let at_ms = self.random.random_range(0..5);
                let owner = *THREADS.choose(&mut self.random).expect("there are some");
                let key = self.operation_key(owner);
                commit.hits.push(OperationHit { at_ms, ..scene::hit(&key, name, &task) });
            }
            // Without its task a question may point nowhere.
            if self.random.random_bool(0.95) {
                commit.tasks.push(task);
            }
        }
        if self.random.random_bool(0.25) {
            let question = self.question_id(name);
            let verdict = if self.random.random_bool(0.3) { Verdict::Expired } else { Verdict::Respond };
            let answer = Answer { verdict, ..scene::answer("ana", self.value(2)) };
            commit.settlements.push(if self.random.random_bool(0.7) {
                let proceedings = scene::proceedings(self.random.random_range(1..3));
                Settlement::Answer { question, answer, proceedings }
            } else {
                self.closing(question)
            });
        }
        if self.random.random_bool(0.1) {
            commit.claim = Some(scene::claim("worker"));
        }
        for _ in 0..self.random.random_range(0..2) {
            let result = Command { update: self.metadata(), goto: Vec::new() };
            let expires_at_ms = self.random.random_bool(0.8).then(|| self.random.random_range(0..10));
            commit.cache.push(CacheRecord { key: key(self.random.random_range(0..KEYS)), result, expires_at_ms });
        }
        commit.graph = self.random.random_bool(0.1).then(|| key(self.random.random_range(0..KEYS)));
        commit.release = self.random.random_bool(0.2);
        commit.lease_until_ms = self.random.random_bool(0.1).then(|| self.random.random_range(0..1_000));
        commit.status = self.status();
        if self.random.random_bool(0.1) {
            commit.runs.push(self.run_update());
        }
        commit.requester = self.random.random_bool(0.2).then(|| "user:ana".to_owned());
        commit.audit = self.audit(name);
        commit.error = self.random.random_bool(0.1).then(|| ThreadError {
            code: "HP9999".to_owned(),
            message: "ü\u{0}".to_owned(),
            node: None,
            details: self.random.random_bool(0.5).then(|| self.value(1)),
        });
        commit.at_ms = scene::NOW_MS + self.random.random_range(0..50);
        commit
    }

    fn closing(&mut self, question: QuestionId) -> Settlement {
        if self.random.random_bool(0.5) {
            Settlement::Supersede { question }
        } else {
            Settlement::Cancel { question, by: scene::audit("x", None).actor }
        }
    }

    pub(crate) fn task(&mut self, name: &str, number: u64) -> TaskRecord {
        let path = format!("push:{:02}", self.random.random_range(0..4));
        let statuses = TaskStatus::NAMES.map(|(status, _)| status);
        let update = [("a".to_owned(), self.value(2))].into_iter().collect();
        let status = *statuses.choose(&mut self.random).expect("there are some");
        // In doubt about something, whatever the status: it alone decides.
        let owner = *THREADS.choose(&mut self.random).expect("there are some");
        let error = scene::task_in_doubt(name, number, &path, &self.operation_key(owner)).error;
        TaskRecord {
            status,
            error: if self.random.random_bool(0.8) { error } else { None },
            executions: self.random.random_range(0..5),
            steps_left: self.random.random_bool(0.3).then(|| self.random.random_range(0..=u32::MAX)),
            result: self.random.random_bool(0.5).then_some(Command { update, goto: Vec::new() }),
            ..scene::task(name, number, &path)
        }
    }

    pub(crate) fn question(&mut self, task: &TaskRecord, name: &str) -> QuestionRecord {
        let occurrence = self.random.random_range(0..3);
        QuestionRecord {
            answer_schema: self.random.random_bool(0.3).then(|| self.value(1)),
            deadline_at_ms: self.random.random_bool(0.6).then(|| scene::NOW_MS + self.random.random_range(0..60)),
            due_at_ms: self.random.random_bool(0.6).then(|| scene::NOW_MS + self.random.random_range(0..60)),
            asked_at_ms: scene::NOW_MS + self.random.random_range(0..4),
            ..scene::question(task, name, occurrence)
        }
    }

    pub(crate) fn operation(&mut self, name: &str, task: &TaskRecord) -> OperationRecord {
        let state = match self.random.random_range(0..6) {
            0 => OperationState::Intended,
            1 => OperationState::Completed(self.value(2)),
            2 => OperationState::Failed(Failure {
                code: "no".to_owned(),
                message: String::new(),
                retryable: false,
                retry_after_ms: None,
                details: self.random.random_bool(0.5).then(|| self.value(1)),
            }),
            3 => OperationState::InDoubt("lost".to_owned()),
            4 => OperationState::Queued {
                attempts: self.random.random_range(0..2),
                due_at_ms: self.random.random_range(0..10),
            },
            _ => OperationState::NotSent,
        };
        OperationRecord {
            state,
            begun_at_ms: self.random.random_range(0..5),
            send_by_ms: self.random.random_bool(0.5).then_some(7),
            settles_at_ms: self.random.random_bool(0.5).then_some(9),
            notes: self.notes(),
            ..scene::operation(name, &format!("op:{}", self.random.random_range(0..OPERATIONS)), task)
        }
    }

    pub(crate) fn notes(&mut self) -> Vec<OperationNote> {
        let kinds = NoteKind::NAMES.map(|(kind, _)| kind);
        (0..self.random.random_range(0..3))
            .map(|at_ms| OperationNote {
                at_ms,
                kind: *kinds.choose(&mut self.random).expect("there are some"),
                by: "cli:ana".to_owned(),
                text: "ü\u{0}\"".to_owned(),
            })
            .collect()
    }

    pub(crate) fn patch(&mut self) -> Patch {
        let mut patch = Patch::default();
        for _ in 0..self.random.random_range(0..4) {
            let channel = ["a", "b", "c", "d"].choose(&mut self.random).expect("there are some");
            let change = if self.random.random_bool(0.6) {
                Change::Append((0..self.random.random_range(0..3)).map(|_| self.value(2)).collect())
            } else {
                Change::Replace(self.value(3))
            };
            patch.changes.insert(holdpoint_graph::ids::ChannelName::parse(*channel).expect("valid"), change);
        }
        patch
    }

    pub(crate) fn value(&mut self, levels: usize) -> Value {
        match self.random.random_range(0..if levels == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.random.random_range(i64::MIN..=i64::MAX)),
            2 => json!(self.random.random_range(-1e3..1e3)),
            3 => json!("\"é😀\\".repeat(self.random.random_range(0..20))),
            4 => json!(self.random.random_bool(0.5)),
            5 => (0..self.random.random_range(0..4)).map(|_| self.value(levels - 1)).collect(),
            _ => (0..self.random.random_range(0..4)).map(|key| (format!("k{key}"), self.value(levels - 1))).collect(),
        }
    }

    pub(crate) fn status(&mut self) -> ThreadStatus {
        ThreadStatus::NAMES.map(|(status, _)| status)[self.random.random_range(0..4)]
    }

    /// The thread's epoch; now and then another one.
    pub(crate) fn epoch(&mut self, thread: &ThreadId) -> u64 {
        let epoch = self.epochs.get(thread).copied().unwrap_or(1);
        if self.random.random_bool(0.1) { epoch.saturating_sub(1) } else { epoch }
    }

    /// The number of a checkpoint of the thread; now and then of none.
    pub(crate) fn number(&mut self, name: &str) -> u64 {
        let known = self.checkpoints.get(&scene::thread(name)).and_then(|known| known.choose(&mut self.random));
        match known.map(|(number, _)| *number) {
            Some(number) if self.random.random_bool(0.97) => number,
            _ => 100_000,
        }
    }

    pub(crate) fn checkpoint(&mut self, name: &str) -> CheckpointId {
        let number = self.number(name);
        scene::checkpoint(number)
    }

    pub(crate) fn question_id(&mut self, name: &str) -> QuestionId {
        let own = self.questions.iter().rev().filter(|(thread, _)| thread == name).map(|(_, question)| question);
        let newest: Vec<QuestionId> = own.take(6).cloned().collect();
        match newest.choose(&mut self.random) {
            Some(question) if self.random.random_bool(0.9) => question.clone(),
            _ => scene::question_id(&scene::task(name, 100_000, "pull:x"), name, 0),
        }
    }

    pub(crate) fn digest(&mut self) -> Digest {
        let known = self.contents.choose(&mut self.random).map(|content| content.digest.clone());
        known.filter(|_| self.random.random_bool(0.7)).unwrap_or_else(|| Digest::of_bytes(b"unknown"))
    }
}
