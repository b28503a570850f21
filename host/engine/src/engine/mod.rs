//! The handle on everything that threads can be asked to do.
//!
//! Every request is accepted with one durable commit that also claims the thread, and then driven until the thread is done, fails or waits.
//! Waiting costs nothing: no memory, no task, no timer.
//!
//! # Layout
//!
//! * `input`, `answer`, `replay`, `update`, `copy`: what a thread can be asked to do; each is accepted or refused as a whole.
//! * `approve`: decisions on questions, by themselves; `take`: with a claim on the thread. `monitor`: what time does to questions. `ending`: questions that end without an answer.
//! * [`RunOptions`]: what a caller may say about a run.
//! * `shadow`: a recorded thread, given to another version.
//! * `settle`: doubt about an operation, ended by a person.
//! * `verify`: a history executed again. `migrate`: a waiting thread on another version.
//! * `prune`: what finished threads need not keep.
//! * `record`: what is put on the record of a change.
//! * `claim`: claiming a thread and driving it.
//! * `reads`: looking at threads. `refusal`: what the loser of a race is told.

mod claim;

pub(crate) mod record;

mod answer;
mod approve;
mod copy;
mod ending;
mod input;
mod monitor;
mod options;
mod prune;
mod replay;
mod settle;
mod shadow;
mod take;
mod update;

mod migrate;
mod verify;

mod reads;
mod refusal;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{Component, Graph, GraphReference, Subgraph, Work};
use holdpoint_graph::digest::{Digest, canonical_json};
use holdpoint_graph::document;
use holdpoint_graph::ids::{Epoch, QuestionId, TaskId, ThreadId};
use holdpoint_graph::nodes::Nodes;
use holdpoint_graph::notice::{Directory, NoDirectory, NoNotices, Notices};
use holdpoint_store::{
    Changed, Commit, Content, QuestionChange, QuestionRecord, QuestionStatus, Snapshot, Store, TaskStatus,
};
use serde_json::{Value, json};

use crate::claim::Owners;
use crate::error::Error;
use crate::timings::{Timer, Timings};
use crate::version::Version;
use crate::view::{self, ThreadView};

pub use approve::{Decided, Decision, Delegation, ReplyKey};
pub use monitor::MonitorReport;
pub use options::{Authentication, Breakpoints, Principal, RunOptions, Selection, Turn};
pub use prune::{PruneReport, PruneRequest};
pub use settle::Word;
pub(crate) use settle::operation_of;
pub use shadow::Repetition;
pub use take::Taken;
pub use update::TakeBack;

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
    options: Arc<RunOptions>,
}

struct Inner {
    store: Arc<dyn Store>,
    nodes: Arc<dyn Nodes>,
    clock: Arc<dyn Clock>,
    owners: Arc<dyn Owners>,
    config: Config,
    directory: Arc<dyn Directory>,
    notices: Arc<dyn Notices>,
    timer: Timer,
    /// Graph versions by digest. Held for look-ups only, never across an await.
    versions: Mutex<HashMap<Digest, Arc<Version>>>,
}

impl Inner {
    /// The same parts; graph versions are read anew.
    fn copied(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            nodes: Arc::clone(&self.nodes),
            clock: Arc::clone(&self.clock),
            owners: Arc::clone(&self.owners),
            config: self.config.clone(),
            directory: Arc::clone(&self.directory),
            notices: Arc::clone(&self.notices),
            timer: self.timer.clone(),
            versions: Mutex::default(),
        }
    }

    /// The store's commit.
    async fn commit(&self, commit: Commit) -> Result<(), holdpoint_store::Error> {
        self.timer.write(self.store.commit(commit)).await
    }

    /// The store's change of a question.
    async fn change_question(&self, change: QuestionChange) -> Result<Changed, holdpoint_store::Error> {
        self.timer.write(self.store.change_question(change)).await
    }
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
        let (directory, notices) = (Arc::new(NoDirectory), Arc::new(NoNotices));
        let (timer, versions) = (Timer::default(), Mutex::default());
        let inner = Inner { store, nodes, clock, owners, config, directory, notices, timer, versions };
        Self { inner: Arc::new(inner), options: Arc::default() }
    }

    /// The same engine, with those who know whom a name means and who tell people about questions.
    #[must_use]
    pub fn with_people(&self, directory: Arc<dyn Directory>, notices: Arc<dyn Notices>) -> Self {
        let inner = Inner { directory, notices, ..self.inner.copied() };
        Self { inner: Arc::new(inner), options: Arc::clone(&self.options) }
    }

    /// The same engine, with somebody who is told how long things take.
    #[must_use]
    pub fn with_timings(&self, timings: Arc<dyn Timings>) -> Self {
        let inner = Inner { timer: Timer::new(timings), ..self.inner.copied() };
        Self { inner: Arc::new(inner), options: Arc::clone(&self.options) }
    }

    /// What is durable.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The host's clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// The same engine; what is called on this handle runs with these options.
    #[must_use]
    pub fn with_options(&self, options: RunOptions) -> Self {
        Self { inner: Arc::clone(&self.inner), options: Arc::new(options) }
    }

    /// Stores a graph version, so that any process on the store can continue its threads. Every component and every subgraph must be named by
    /// digest, and subgraphs must be stored already.
    ///
    /// # Errors
    /// [`Error::GraphUnavailable`] when one is not; [`Error::Store`].
    pub async fn deploy(&self, graph: Graph) -> Result<Deployment, Error> {
        let digest = document::digest(&graph);
        let by_path = |work: &Work| match work {
            Work::Component(component) => !matches!(component, Component::Digest(_)),
            Work::Subgraph(subgraph) => !matches!(subgraph.graph, GraphReference::Digest(_)),
        };
        if let Some((name, _)) = graph.nodes.iter().find(|(_, node)| by_path(&node.work)) {
            let reason = format!("what executes node {name} is not named by digest");
            return Err(Error::GraphUnavailable { digest, reason });
        }
        let graph = Arc::new(graph);
        let version = Arc::new(self.complete(digest.clone(), Arc::clone(&graph)).await?);
        let missing = self.inner.store.missing_contents(std::slice::from_ref(&digest)).await?;
        if !missing.is_empty() {
            let bytes = canonical_json(&document::to_document(&graph)).into_bytes();
            self.inner.store.put_contents(vec![Content { digest: digest.clone(), bytes }]).await?;
        }
        self.remember(&version);
        Ok(Deployment { digest, graph })
    }

    /// Gives input to a thread, creating it when it is new, and drives it.
    ///
    /// # Errors
    /// Refusals leave the thread as it was. [`Error::Store`] and [`Error::TakenOver`] may come after the input was accepted.
    pub async fn run(&self, thread: &ThreadId, deployment: &Deployment, input: Input) -> Result<ThreadView, Error> {
        let version = self.version(&deployment.digest).await?;
        match self.inner.store.snapshot(thread, None).await? {
            Some(snapshot) if snapshot.thread.graph != deployment.digest => Err(Error::OtherGraph {
                thread: thread.clone(),
                pinned: snapshot.thread.graph,
                given: deployment.digest.clone(),
            }),
            Some(snapshot) => self.give_input(snapshot, &version, input).await,
            None => self.create(thread, &version, input).await,
        }
    }

    /// Gives input to a thread that exists and drives it.
    ///
    /// # Errors
    /// As [`Engine::run`], and [`Error::ThreadNotFound`].
    pub async fn input(&self, thread: &ThreadId, input: Input) -> Result<ThreadView, Error> {
        let snapshot = self.snapshot(thread).await?;
        let version = self.version(&snapshot.thread.graph).await?;
        self.give_input(snapshot, &version, input).await
    }

    /// Removes a thread that nobody advances. Its operations' records stay, so that their ids go on answering. Questions that were pending are
    /// cancelled first, and whoever was asked is told; a crash between the two leaves the thread without them.
    ///
    /// # Errors
    /// [`Error::ThreadNotFound`], [`Error::Busy`], [`Error::DeleteInDoubt`], [`Error::TakenOver`], [`Error::Store`].
    pub async fn delete(&self, thread: &ThreadId) -> Result<(), Error> {
        self.delete_if(thread, |_| true).await
    }

    /// The same, for a thread that nobody has advanced since it was looked at and had this epoch.
    ///
    /// # Errors
    /// As [`Engine::delete`]; [`Error::TakenOver`] when it has another epoch.
    pub async fn delete_at(&self, thread: &ThreadId, epoch: Epoch) -> Result<(), Error> {
        self.delete_if(thread, |own| own == epoch).await
    }

    async fn delete_if(&self, thread: &ThreadId, fits: impl FnOnce(Epoch) -> bool) -> Result<(), Error> {
        let head = self.snapshot(thread).await?;
        self.check_free(&head.thread)?;
        if !fits(head.thread.epoch) {
            return Err(Error::TakenOver(thread.clone()));
        }
        // The doubt would have nobody left to tell.
        if let Some(operation) = self.in_doubt(thread).await? {
            return Err(Error::DeleteInDoubt { thread: thread.clone(), operation });
        }
        let epoch = self.cancel_questions(&head).await?;
        let record = &head.thread;
        let audit = vec![self.entry(thread, "thread.deleted", self.now_ms(), json!({ "head": record.head.as_str() }))];
        match self.inner.store.delete_thread(thread, epoch, audit).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(thread, error, &[]).await?),
        }
    }

    async fn snapshot(&self, thread: &ThreadId) -> Result<Snapshot, Error> {
        self.inner.store.snapshot(thread, None).await?.ok_or_else(|| Error::ThreadNotFound(thread.clone()))
    }

    /// A graph version with all that it consists of.
    ///
    /// # Errors
    /// [`Error::GraphUnavailable`] when it, or one of its subgraphs, is not stored or is damaged; [`Error::Store`].
    pub async fn version(&self, digest: &Digest) -> Result<Arc<Version>, Error> {
        let known = self.inner.versions.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        if let Some(version) = known {
            return Ok(version);
        }
        let unavailable = |reason: String| Error::GraphUnavailable { digest: digest.clone(), reason };
        let bytes =
            self.inner.store.content(digest).await?.ok_or_else(|| unavailable("it is not in the store".into()))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| unavailable(error.to_string()))?;
        let graph = Arc::new(document::from_document(&value).map_err(|problems| unavailable(problems.to_string()))?);
        let version = Arc::new(self.complete(digest.clone(), graph).await?);
        self.remember(&version);
        Ok(version)
    }

    /// A graph with its subgraphs. That one contains itself is impossible: each names the others by their content.
    async fn complete(&self, digest: Digest, graph: Arc<Graph>) -> Result<Version, Error> {
        let mut children = BTreeMap::new();
        for (name, node) in &graph.nodes {
            if let Work::Subgraph(Subgraph { graph: GraphReference::Digest(child), .. }) = &node.work {
                children.insert(name.clone(), Box::pin(self.version(child)).await?);
            }
        }
        Ok(Version { digest, graph, children })
    }

    fn remember(&self, version: &Arc<Version>) {
        let mut versions = self.inner.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.insert(version.digest.clone(), Arc::clone(version));
    }

    /// Breakpoints of the call must be those of nodes that exist.
    fn check_breakpoints(&self, version: &Version) -> Result<(), Error> {
        let Breakpoints { before, after } = &self.options.breakpoints;
        match before.unknown(&version.graph).or_else(|| after.unknown(&version.graph)) {
            Some(node) => Err(Error::UnknownNode { node: node.to_string(), graph: version.graph.name.clone() }),
            None => Ok(()),
        }
    }
}

/// All questions of a thread's unfinished step, those of running subgraphs included, in order of their tasks' paths: tasks that ran at once asked in an
/// order that means nothing.
fn all_questions(snapshot: &Snapshot) -> Vec<QuestionRecord> {
    let paths: HashMap<&TaskId, &str> = snapshot.tasks.iter().map(|task| (&task.id, task.path.as_str())).collect();
    let mut own = snapshot.questions.clone();
    own.sort_by_key(|question| (paths.get(&question.task).copied().unwrap_or_default(), question.occurrence));
    let inner = view::children_in_order(snapshot).into_iter().flat_map(all_questions);
    own.into_iter().chain(inner).collect()
}

fn pending_ids(snapshot: &Snapshot) -> Vec<QuestionId> {
    let questions = all_questions(snapshot).into_iter();
    questions.filter(|question| question.status == QuestionStatus::Pending).map(|question| question.id).collect()
}

/// Whether the outcome of an operation of the current step is unknown.
fn is_in_doubt(snapshot: &Snapshot) -> bool {
    !snapshot.unsettled.is_empty()
        || snapshot.tasks.iter().any(|task| task.status == TaskStatus::InDoubt)
        || snapshot.children.values().any(is_in_doubt)
}

/// 64 random bits for the ids of checkpoints that something from outside causes.
fn entropy() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 ^ uuid::Uuid::new_v4().as_u64_pair().0.rotate_left(17)
}
