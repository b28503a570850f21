//! The handle on everything that threads can be asked to do.
//!
//! Every request is accepted with one durable commit that also claims the thread, and then driven until the thread is done, fails or waits.
//! Waiting costs nothing: no memory, no task, no timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{Component, Graph};
use holdpoint_graph::digest::{Digest, canonical_json};
use holdpoint_graph::document;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, ThreadId};
use holdpoint_graph::nodes::{Answer, Nodes, Verdict};
use holdpoint_graph::state::{self, Patch};
use holdpoint_store::{
    CheckpointRecord, Claim, Commit, Content, Expect, NewCheckpoint, NewThread, QuestionStatus, Settlement, Snapshot,
    Source, Store, TaskStatus, ThreadFilter, ThreadRecord, ThreadStatus, Trigger,
};
use serde_json::Value;

use crate::answers::{self, Answers, Matched};
use crate::apply::{self, Applied};
use crate::claim::{self, Owners};
use crate::driver::Driver;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::plan::{Plan, plan, tasks_of};
use crate::task::Context;
use crate::view::{self, HistoryEntry, ThreadView};

/// How an engine works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a claim stands without a sign of life. It is prolonged at a third of that.
    pub lease_ms: u64,
    /// Tasks of one step that run at once.
    pub tasks_max: usize,
    /// A task that takes longer is stored as soon as it is done (DESIGN 6.2).
    pub quick: Duration,
    /// Supersteps without operations and quicker than `quick` that may be stored together with the one after them. What they write is a function
    /// of what is durable, so a crash costs the time to run them again and nothing else. 0: each is stored before the next starts.
    pub run_ahead_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { lease_ms: 30_000, tasks_max: 64, quick: Duration::from_millis(100), run_ahead_max: 1 }
    }
}

/// A graph version that is stored: threads are pinned to its digest.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Digest of the graph's document.
    pub digest: Digest,
    /// The graph; every component in it is named by digest.
    pub graph: Arc<Graph>,
}

/// Input for a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// An object of channels.
    pub values: Value,
    /// Whether it may take the place of questions that wait for an answer. Without it, a waiting thread refuses input.
    pub supersede: bool,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    nodes: Arc<dyn Nodes>,
    clock: Arc<dyn Clock>,
    owners: Arc<dyn Owners>,
    config: Config,
    /// Graph versions by digest. Held for look-ups only, never across an await.
    graphs: Mutex<HashMap<Digest, Arc<Graph>>>,
}

impl Engine {
    /// An engine over a store and whatever executes nodes.
    pub fn new(
        store: Arc<dyn Store>,
        nodes: Arc<dyn Nodes>,
        clock: Arc<dyn Clock>,
        owners: Arc<dyn Owners>,
        config: Config,
    ) -> Self {
        Self { inner: Arc::new(Inner { store, nodes, clock, owners, config, graphs: Mutex::default() }) }
    }

    /// Stores a graph version, so that any process on the store can continue its threads. Every component must be named by digest.
    ///
    /// # Errors
    /// [`Error::GraphUnavailable`] when a component is not; [`Error::Store`].
    pub async fn deploy(&self, graph: Graph) -> Result<Deployment, Error> {
        let digest = document::digest(&graph);
        if let Some((name, _)) = graph.nodes.iter().find(|(_, node)| !matches!(node.component, Component::Digest(_))) {
            let reason = format!("the component of node {name} is not named by digest");
            return Err(Error::GraphUnavailable { digest, reason });
        }
        let missing = self.inner.store.missing_contents(std::slice::from_ref(&digest)).await?;
        if !missing.is_empty() {
            let bytes = canonical_json(&document::to_document(&graph)).into_bytes();
            self.inner.store.put_contents(vec![Content { digest: digest.clone(), bytes }]).await?;
        }
        let graph = Arc::new(graph);
        self.remember(&digest, &graph);
        Ok(Deployment { digest, graph })
    }

    /// Gives input to a thread, creating it when it is new, and drives it.
    ///
    /// # Errors
    /// Refusals leave the thread as it was. [`Error::Store`] and [`Error::TakenOver`] may come after the input was accepted.
    pub async fn run(&self, thread: &ThreadId, deployment: &Deployment, input: Input) -> Result<ThreadView, Error> {
        match self.inner.store.snapshot(thread, None).await? {
            Some(snapshot) if snapshot.thread.graph != deployment.digest => Err(Error::OtherGraph {
                thread: thread.clone(),
                pinned: snapshot.thread.graph,
                given: deployment.digest.clone(),
            }),
            Some(snapshot) => self.give_input(snapshot, &deployment.graph, input).await,
            None => self.create(thread, deployment, input).await,
        }
    }

    /// Gives input to a thread that exists and drives it.
    ///
    /// # Errors
    /// As [`Engine::run`], and [`Error::ThreadNotFound`].
    pub async fn input(&self, thread: &ThreadId, input: Input) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let graph = self.graph(&snapshot.thread.graph).await?;
        self.give_input(snapshot, &graph, input).await
    }

    /// Answers questions in the name of `answered_by` and drives the thread.
    ///
    /// # Errors
    /// Every refusal of strict resume: then nothing is written and the questions stand. See [`Engine::run`] for errors after acceptance.
    pub async fn answer(&self, thread: &ThreadId, answers: &Answers, answered_by: &str) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let accepted = match answers::match_answers(thread, &snapshot.questions, answers) {
            Ok(Matched::Accepted(accepted)) => accepted,
            Ok(Matched::Elsewhere(ids)) => return Err(self.explain_elsewhere(&snapshot, ids).await?),
            Err(Error::NothingPending { thread, last: None }) => {
                let last = self.last_settled(&thread).await?;
                return Err(Error::NothingPending { thread, last });
            }
            Err(error) => return Err(error),
        };
        self.check_free(&snapshot.thread)?;
        let graph = self.graph(&snapshot.thread.graph).await?;
        let at_ms = self.inner.clock.now_ms();
        let settlements: Vec<Settlement> = accepted
            .iter()
            .map(|(question, value)| Settlement::Answer {
                question: question.id.clone(),
                answer: Answer {
                    verdict: Verdict::Respond,
                    value: value.clone(),
                    answered_by: answered_by.to_owned(),
                    answered_at_ms: at_ms,
                },
            })
            .collect();
        let named: Vec<QuestionId> = accepted.iter().map(|(question, _)| question.id.clone()).collect();
        let commit = Commit { settlements: settlements.clone(), ..self.claiming(&snapshot.thread, at_ms) };
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &named).await?);
        }
        let mut snapshot = snapshot;
        for settlement in settlements {
            if let Settlement::Answer { question, answer } = settlement
                && let Some(record) = snapshot.questions.iter_mut().find(|record| record.id == question)
            {
                record.status = QuestionStatus::Answered;
                record.answer = Some(answer);
            }
        }
        self.drive(snapshot, graph).await
    }

    /// Continues what can continue and answers nothing: after a crash, after a failure, after doubt was settled. A thread that is done or that only
    /// waits for answers is left as it is.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Busy`]; see [`Engine::run`] for errors after the claim.
    pub async fn proceed(&self, thread: &ThreadId) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let planned = tasks_of(thread, &snapshot.checkpoint);
        let can_continue = match (snapshot.thread.status, plan(&planned, &snapshot.tasks, &snapshot.questions)) {
            (ThreadStatus::Running | ThreadStatus::Failed, _) => true,
            (ThreadStatus::Done, _) | (_, Plan::Wait | Plan::Finished) => false,
            (ThreadStatus::Interrupted, Plan::Run(ready)) => {
                ready.iter().any(|task| !self.still_in_doubt(&snapshot, &task.id))
            }
            (ThreadStatus::Interrupted, Plan::Apply) => true,
        };
        let graph = self.graph(&snapshot.thread.graph).await?;
        if !can_continue {
            return Ok(view::thread_view(&snapshot, Some(&graph)));
        }
        self.check_free(&snapshot.thread)?;
        let commit = self.claiming(&snapshot.thread, self.inner.clock.now_ms());
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &[]).await?);
        }
        self.drive(snapshot, graph).await
    }

    /// Runs a thread again from one of its checkpoints, on a branch of its own (R52–R54): the old branch stays, questions are asked anew, recorded
    /// operations answer from their records. From a checkpoint after which nothing runs it does nothing (R53).
    ///
    /// # Errors
    /// [`Error::CheckpointNotFound`], [`Error::NotReplayable`], [`Error::Busy`], [`Error::NotFinished`]; see [`Engine::run`] for errors after
    /// the branch was made.
    pub async fn replay(&self, thread: &ThreadId, from: &CheckpointId) -> Result<ThreadView, Error> {
        let head = self.snapshot(thread).await?;
        let not_found = || Error::CheckpointNotFound { thread: thread.clone(), checkpoint: from.clone() };
        let base = self.inner.store.snapshot(thread, Some(from)).await?.ok_or_else(not_found)?;
        let graph = self.graph(&head.thread.graph).await?;
        if base.checkpoint.next.is_empty() {
            return Ok(view::thread_view(&head, Some(&graph)));
        }
        if base.checkpoint.next.contains(&Trigger::Start) {
            return Err(Error::NotReplayable(from.clone()));
        }
        self.check_free(&head.thread)?;
        let in_doubt = head.tasks.iter().any(|task| task.status == TaskStatus::InDoubt);
        if in_doubt || head.thread.status == ThreadStatus::Running {
            return Err(Error::NotFinished { thread: thread.clone(), status: head.thread.status });
        }
        let now_ms = self.inner.clock.now_ms();
        let clock_ms = head.checkpoint.clock_ms.max(now_ms);
        let step = base.checkpoint.step + 1;
        let fork = CheckpointRecord {
            id: CheckpointId::from_entropy(clock_ms, step, entropy()),
            parent: Some(from.clone()),
            step,
            source: Source::Fork,
            clock_ms,
            created_at_ms: now_ms,
            ..base.checkpoint
        };
        let pending = pending_ids(&head);
        let commit = Commit {
            settlements: pending.iter().map(|question| Settlement::Supersede { question: question.clone() }).collect(),
            checkpoints: vec![NewCheckpoint { record: fork.clone(), patch: Patch::default() }],
            head: Some(fork.id.clone()),
            ..self.claiming(&head.thread, now_ms)
        };
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &pending).await?);
        }
        let branch = Snapshot {
            thread: head.thread,
            checkpoint: fork,
            values: base.values,
            tasks: Vec::new(),
            questions: Vec::new(),
            unsettled: Vec::new(),
        };
        self.drive(branch, graph).await
    }

    /// A thread as it stands.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn view(&self, thread: &ThreadId) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let graph = self.graph(&snapshot.thread.graph).await.ok();
        Ok(view::thread_view(&snapshot, graph.as_deref()))
    }

    /// A thread's checkpoints, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Store`].
    pub async fn history(
        &self,
        thread: &ThreadId,
        before: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, Error> {
        if self.inner.store.thread(thread).await?.is_none() {
            return Err(Error::ThreadNotFound(thread.clone()));
        }
        let snapshots = self.inner.store.history(thread, before, limit).await?;
        Ok(snapshots.iter().map(view::history_entry).collect())
    }

    /// Threads, newest change first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        Ok(self.inner.store.threads(filter).await?)
    }

    /// Removes a thread that nobody advances. Its operations' records stay, so that their ids go on answering.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Busy`], [`Error::TakenOver`], [`Error::Store`].
    pub async fn delete(&self, thread: &ThreadId) -> Result<(), Error> {
        let record = self.inner.store.thread(thread).await?.ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
        self.check_free(&record)?;
        match self.inner.store.delete_thread(thread, record.epoch).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(thread, error, &[]).await?),
        }
    }

    async fn create(&self, thread: &ThreadId, deployment: &Deployment, input: Input) -> Result<ThreadView, Error> {
        let Value::Object(input) = input.values else { return Err(Error::InputNotAnObject) };
        let graph = &deployment.graph;
        let now_ms = self.inner.clock.now_ms();
        let checkpoints =
            apply::input_checkpoints(graph, thread, None, &state::initial_values(graph), &input, now_ms, entropy())
                .map_err(Error::InvalidInput)?;
        let new =
            NewThread { lineage: thread.clone(), graph: deployment.digest.clone(), graph_name: graph.name.clone() };
        let [_, first] = &checkpoints;
        let first = first.record.clone();
        let commit = Commit {
            head: Some(first.id.clone()),
            checkpoints: checkpoints.to_vec(),
            ..self.writing(thread, Expect::New(new), now_ms)
        };
        match self.inner.store.commit(commit).await {
            Ok(()) => {}
            Err(holdpoint_store::Error::ThreadExists(_)) => {
                return Err(Error::Busy {
                    thread: thread.clone(),
                    owner: "another caller that created it just now".into(),
                });
            }
            Err(error) => return Err(Error::Store(error)),
        }
        let snapshot = self.snapshot(thread).await?;
        self.drive_at(snapshot, Arc::clone(graph), Epoch(1)).await
    }

    async fn give_input(&self, snapshot: Snapshot, graph: &Arc<Graph>, input: Input) -> Result<ThreadView, Error> {
        let Value::Object(input_values) = input.values else { return Err(Error::InputNotAnObject) };
        let thread = &snapshot.thread.id;
        self.check_free(&snapshot.thread)?;
        let pending = pending_ids(&snapshot);
        match snapshot.thread.status {
            ThreadStatus::Running => {
                return Err(Error::NotFinished { thread: thread.clone(), status: ThreadStatus::Running });
            }
            ThreadStatus::Interrupted if !input.supersede => {
                return Err(Error::Waiting { thread: thread.clone(), pending });
            }
            // Doubt about an operation is never dropped: it has to be settled first.
            _ if snapshot.tasks.iter().any(|task| task.status == TaskStatus::InDoubt) => {
                return Err(Error::NotFinished { thread: thread.clone(), status: snapshot.thread.status });
            }
            _ => {}
        }
        let now_ms = self.inner.clock.now_ms();
        let mut checkpoints = Vec::new();
        let mut parent = snapshot.checkpoint.clone();
        let mut values = snapshot.values.clone();
        if let Some(kept) = self.kept_writes(&snapshot, graph, now_ms) {
            kept.patch.apply(&mut values);
            parent = kept.record.clone();
            checkpoints.push(kept);
        }
        checkpoints.extend(
            apply::input_checkpoints(graph, thread, Some(&parent), &values, &input_values, now_ms, entropy())
                .map_err(Error::InvalidInput)?,
        );
        let commit = Commit {
            settlements: pending.iter().map(|question| Settlement::Supersede { question: question.clone() }).collect(),
            head: checkpoints.last().map(|checkpoint| checkpoint.record.id.clone()),
            checkpoints,
            ..self.claiming(&snapshot.thread, now_ms)
        };
        if let Err(error) = self.inner.store.commit(commit).await {
            return Err(self.lost(thread, error, &pending).await?);
        }
        let claimed = self.snapshot(thread).await?;
        self.drive_at(claimed, Arc::clone(graph), snapshot.thread.epoch.next()).await
    }

    /// A checkpoint with the writes of the step's finished tasks, which new input must not drop (DESIGN 6.5).
    fn kept_writes(&self, snapshot: &Snapshot, graph: &Graph, now_ms: u64) -> Option<NewCheckpoint> {
        let planned = tasks_of(&snapshot.thread.id, &snapshot.checkpoint);
        let finished: Vec<_> = planned
            .iter()
            .filter_map(|task| {
                let record = snapshot.tasks.iter().find(|record| record.id == task.id)?;
                (record.status == TaskStatus::Done).then_some((task, record.result.as_ref()?))
            })
            .collect();
        if finished.is_empty() {
            return None;
        }
        let patch = apply::reduce_all(graph, &snapshot.values, &finished).ok()?;
        let applied = Applied { patch, next: Vec::new(), joins: snapshot.checkpoint.joins.clone() };
        let mut kept = apply::next_checkpoint(&snapshot.thread.id, &snapshot.checkpoint, applied, Some(now_ms), now_ms);
        kept.record.source = Source::Update;
        kept.record.id = CheckpointId::from_entropy(kept.record.clock_ms, kept.record.step, entropy());
        Some(kept)
    }

    /// Drives a thread that was claimed from `snapshot`.
    async fn drive(&self, snapshot: Snapshot, graph: Arc<Graph>) -> Result<ThreadView, Error> {
        let epoch = snapshot.thread.epoch.next();
        self.drive_at(snapshot, graph, epoch).await
    }

    async fn drive_at(&self, snapshot: Snapshot, graph: Arc<Graph>, epoch: Epoch) -> Result<ThreadView, Error> {
        let inner = &self.inner;
        let thread = snapshot.thread.id.clone();
        let ledger = Arc::new(Ledger::new(
            Arc::clone(&inner.store),
            Arc::clone(&inner.clock),
            thread.clone(),
            epoch,
            inner.config.lease_ms,
        ));
        let context = Arc::new(Context {
            graph,
            nodes: Arc::clone(&inner.nodes),
            ledger,
            thread: thread.clone(),
            lineage: snapshot.thread.lineage,
            epoch,
        });
        let driver = Driver {
            context,
            config: inner.config.clone(),
            checkpoint: snapshot.checkpoint,
            values: snapshot.values,
            tasks: snapshot.tasks,
            questions: snapshot.questions,
        };
        driver.drive().await?;
        self.view(&thread).await
    }

    fn claiming(&self, thread: &ThreadRecord, now_ms: u64) -> Commit {
        self.writing(&thread.id, Expect::Epoch(thread.epoch), now_ms)
    }

    fn writing(&self, thread: &ThreadId, expect: Expect, now_ms: u64) -> Commit {
        let claim = Claim {
            owner: self.inner.owners.own_name().to_owned(),
            lease_until_ms: now_ms + self.inner.config.lease_ms,
        };
        Commit {
            thread: thread.clone(),
            expect,
            claim: Some(claim),
            release: false,
            lease_until_ms: None,
            settlements: Vec::new(),
            checkpoints: Vec::new(),
            head: None,
            tasks: Vec::new(),
            questions: Vec::new(),
            operations: Vec::new(),
            status: ThreadStatus::Running,
            error: None,
            at_ms: now_ms,
        }
    }

    fn check_free(&self, thread: &ThreadRecord) -> Result<(), Error> {
        if claim::is_free(thread, self.inner.owners.as_ref(), self.inner.clock.now_ms()) {
            Ok(())
        } else {
            Err(Error::Busy { thread: thread.id.clone(), owner: thread.owner.clone().unwrap_or_default() })
        }
    }

    fn still_in_doubt(&self, snapshot: &Snapshot, task: &holdpoint_graph::ids::TaskId) -> bool {
        snapshot.tasks.iter().any(|record| record.id == *task && record.status == TaskStatus::InDoubt)
            && snapshot.unsettled.iter().any(|operation| operation.task == *task)
    }

    async fn snapshot(&self, thread: &ThreadId) -> Result<Snapshot, Error> {
        self.inner.store.snapshot(thread, None).await?.ok_or_else(|| Error::ThreadNotFound(thread.clone()))
    }

    async fn graph(&self, digest: &Digest) -> Result<Arc<Graph>, Error> {
        let known = self.inner.graphs.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        if let Some(graph) = known {
            return Ok(graph);
        }
        let unavailable = |reason: String| Error::GraphUnavailable { digest: digest.clone(), reason };
        let bytes =
            self.inner.store.content(digest).await?.ok_or_else(|| unavailable("it is not in the store".into()))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| unavailable(error.to_string()))?;
        let graph = Arc::new(document::from_document(&value).map_err(|problems| unavailable(problems.to_string()))?);
        self.remember(digest, &graph);
        Ok(graph)
    }

    fn remember(&self, digest: &Digest, graph: &Arc<Graph>) {
        let mut graphs = self.inner.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        graphs.insert(digest.clone(), Arc::clone(graph));
    }

    /// Tells the loser of a race who won.
    async fn lost(
        &self,
        thread: &ThreadId,
        error: holdpoint_store::Error,
        questions: &[QuestionId],
    ) -> Result<Error, Error> {
        match error {
            holdpoint_store::Error::QuestionSettled(question) => Ok(Error::AlreadySettled(question)),
            holdpoint_store::Error::Fenced { .. } => {
                for id in questions {
                    if let Some(question) = self.inner.store.question(thread, id).await?
                        && question.status != QuestionStatus::Pending
                    {
                        return Ok(Error::AlreadySettled(Box::new(question)));
                    }
                }
                match self.inner.store.thread(thread).await? {
                    Some(ThreadRecord { owner: Some(owner), .. }) => Ok(Error::Busy { thread: thread.clone(), owner }),
                    _ => Ok(Error::TakenOver(thread.clone())),
                }
            }
            holdpoint_store::Error::ThreadNotFound(thread) => Ok(Error::ThreadNotFound(thread)),
            other => Ok(Error::Store(other)),
        }
    }

    /// Ids that are not of the current step: settled earlier in the thread's life, or never asked.
    async fn explain_elsewhere(&self, snapshot: &Snapshot, ids: Vec<QuestionId>) -> Result<Error, Error> {
        for id in &ids {
            if let Some(question) = self.inner.store.question(&snapshot.thread.id, id).await? {
                return Ok(Error::AlreadySettled(Box::new(question)));
            }
        }
        Ok(Error::UnknownQuestion { unknown: ids, pending: pending_ids(snapshot) })
    }

    /// Looks a short way back: enough to tell a late answerer who was first.
    async fn last_settled(&self, thread: &ThreadId) -> Result<Option<Box<holdpoint_store::QuestionRecord>>, Error> {
        const LOOK_BACK_CHECKPOINTS: usize = 20;
        let snapshots = self.inner.store.history(thread, None, LOOK_BACK_CHECKPOINTS).await?;
        Ok(snapshots.iter().find_map(|snapshot| answers::last_settled(&snapshot.questions)))
    }
}

fn pending_ids(snapshot: &Snapshot) -> Vec<QuestionId> {
    let pending = snapshot.questions.iter().filter(|question| question.status == QuestionStatus::Pending);
    pending.map(|question| question.id.clone()).collect()
}

/// 64 random bits for the ids of checkpoints that something from outside causes.
fn entropy() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 ^ uuid::Uuid::new_v4().as_u64_pair().0.rotate_left(17)
}
