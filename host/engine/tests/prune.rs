//! What retention takes and what it leaves.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::support::{self, FakeNodes, NOON_MS, World, ask, graph, logs, thread, update};
use async_trait::async_trait;
use holdpoint_engine::claim::Owners;
use holdpoint_engine::prune::{self, Rule};
use holdpoint_engine::{Answers, Config, Deployment, Engine, Input, PruneReport, PruneRequest, Update};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::definition::{GraphReference, Persist, Subgraph, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, ConnectorName, NodeName, OperationId, TaskId, ThreadId};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState, Scope};
use holdpoint_store::forward::Forward;
use holdpoint_store::{
    AuditEntry, AuditFilter, AuditTrail, Claim, Commit, Error as StoreError, Expect, Journal, MemoryStore,
    OperationFilter, Source, Store, ThreadStatus,
};
use serde_json::{Value, json};

const LOG: &str = "[state]\nlog = { type = \"array\", reducer = \"append\" }\n";
const DAY_MS: u64 = 86_400_000;

fn id(text: &str) -> ThreadId {
    ThreadId::parse(text).unwrap()
}

fn request(rule: Rule, older_than_ms: Option<u64>) -> PruneRequest {
    PruneRequest { rule, older_than_ms, now_ms: NOON_MS, dry_run: false }
}

async fn world() -> (World, Deployment) {
    let nodes = FakeNodes::default().with("a", logs("a")).with("b", logs("b")).with("gate", |call| {
        match ask(call, 0, json!("?")) {
            Ok(answer) => update(json!({ "log": [answer] })),
            Err(question) => question,
        }
    });
    let world = World::new(nodes);
    let graph = world
        .deploy(&format!(
            "start = [{{ when = \"state.log == ['wait']\", to = \"gate\" }}, {{ to = \"a\" }}]\n{LOG}[nodes.gate]\nnext = \"a\"\n[nodes.a]\nnext = \"b\"\n[nodes.b]\n"
        ))
        .await;
    (world, graph)
}

async fn run(world: &World, graph: &Deployment, name: &str, log: &str) {
    let input = Input { values: json!({ "log": [log] }), supersede: false };
    world.engine.run(&id(name), graph, input).await.unwrap();
}

async fn count(world: &World, name: &str) -> usize {
    world.store.outline(&id(name)).await.unwrap().len()
}

#[tokio::test]
async fn keep_latest_leaves_the_newest_state_and_a_thread_that_works() {
    let (world, graph) = world().await;
    run(&world, &graph, "t", "one").await;
    run(&world, &graph, "t", "two").await;
    let before = world.engine.view(&id("t")).await.unwrap();
    let all = count(&world, "t").await as u64;
    let dry = PruneRequest { dry_run: true, ..request(Rule::KeepLatest, None) };
    let expected = PruneReport { threads: 1, trimmed: 1, checkpoints: all - 1, ..PruneReport::default() };
    assert_eq!(world.engine.prune(&dry).await.unwrap(), expected);
    assert_eq!(count(&world, "t").await as u64, all, "a dry run removes nothing");
    assert_eq!(world.engine.prune(&request(Rule::KeepLatest, None)).await.unwrap(), expected);
    assert_eq!(count(&world, "t").await, 1);
    assert_eq!(world.engine.view(&id("t")).await.unwrap(), before);
    let again = world.engine.prune(&request(Rule::KeepLatest, None)).await.unwrap();
    assert_eq!(again, PruneReport { threads: 1, ..PruneReport::default() }, "nothing is left to take");
    run(&world, &graph, "t", "three").await;
    assert_eq!(
        world.engine.view(&id("t")).await.unwrap().values["log"],
        json!(["one", "a", "b", "two", "a", "b", "three", "a", "b"])
    );
}

#[tokio::test]
async fn only_threads_that_are_done_are_touched() {
    let (world, graph) = world().await;
    run(&world, &graph, "done", "x").await;
    run(&world, &graph, "waits", "wait").await;
    let (done, waits) = (count(&world, "done").await, count(&world, "waits").await);
    let report = world.engine.prune(&request(Rule::Delete, Some(0))).await.unwrap();
    assert_eq!((report.threads, report.deleted, report.checkpoints), (1, 1, done as u64));
    assert_eq!(world.store.thread(&id("done")).await.unwrap(), None);
    assert_eq!(count(&world, "waits").await, waits);
    let view = world.engine.answer(&id("waits"), &Answers::Bare(json!("yes")), "ana").await.unwrap();
    assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, json!(["wait", "yes", "a", "b"])));
}

#[tokio::test]
async fn age_counts_from_the_last_change() {
    let (world, graph) = world().await;
    run(&world, &graph, "old", "x").await;
    world.advance_ms(10 * DAY_MS);
    run(&world, &graph, "new", "x").await;
    let now_ms = NOON_MS + 10 * DAY_MS;
    let at = |bound_ms: u64, now_ms: u64| PruneRequest { now_ms, ..request(Rule::Delete, Some(bound_ms)) };
    assert_eq!(world.engine.prune(&at(10 * DAY_MS, now_ms - 1)).await.unwrap(), PruneReport::default());
    assert_eq!(world.engine.prune(&at(10 * DAY_MS, now_ms)).await.unwrap().deleted, 1);
    assert_eq!(world.store.thread(&id("old")).await.unwrap(), None);
    assert!(world.store.thread(&id("new")).await.unwrap().is_some());
}

#[tokio::test]
async fn every_page_is_looked_at() {
    const THREADS: u64 = 1200;
    let (world, graph) = world().await;
    for index in 0..THREADS {
        run(&world, &graph, &format!("t{index}"), "x").await;
    }
    let trimmed = world.engine.prune(&request(Rule::KeepLatest, None)).await.unwrap();
    assert_eq!((trimmed.threads, trimmed.trimmed), (THREADS, THREADS));
    let deleted = world.engine.prune(&request(Rule::Delete, None)).await.unwrap();
    assert_eq!((deleted.threads, deleted.deleted, deleted.checkpoints), (THREADS, THREADS, THREADS));
    assert_eq!(world.engine.prune(&request(Rule::Delete, None)).await.unwrap(), PruneReport::default());
}

#[tokio::test]
async fn an_operation_without_an_outcome_holds_its_thread() {
    let (world, graph) = world().await;
    run(&world, &graph, "t", "x").await;
    let record = world.store.thread(&id("t")).await.unwrap().unwrap();
    let request_digest = Digest::of_json(&json!({}));
    let queued = OperationRecord {
        key: OperationKey {
            scope: Scope::Thread(id("t")),
            connector: ConnectorName::parse("mail").unwrap(),
            id: OperationId::parse("m1").unwrap(),
        },
        thread: id("t"),
        task: TaskId::derive(&id("t"), &record.head, "pull:b"),
        node: NodeName::parse("b").unwrap(),
        request: json!({}),
        request_digest,
        state: OperationState::Queued { attempts: 0, due_at_ms: NOON_MS },
        epoch: record.epoch,
        begun_at_ms: NOON_MS,
        send_by_ms: None,
        settles_at_ms: None,
        finished_at_ms: None,
        notes: Vec::new(),
    };
    let commit = Commit {
        operations: vec![queued.clone()],
        ..Commit::new(id("t"), Expect::Epoch(record.epoch), ThreadStatus::Done, NOON_MS)
    };
    world.store.commit(commit).await.unwrap();
    for rule in [Rule::KeepLatest, Rule::Delete] {
        let report = world.engine.prune(&request(rule, None)).await.unwrap();
        assert_eq!(report, PruneReport { threads: 1, open: 1, ..PruneReport::default() });
    }
    let sent = OperationRecord {
        state: OperationState::Completed(Value::Null),
        finished_at_ms: Some(NOON_MS),
        ..queued.clone()
    };
    assert!(world.store.exchange_operation(&queued, sent, NOON_MS, Vec::new()).await.unwrap());
    assert_eq!(world.engine.prune(&request(Rule::Delete, None)).await.unwrap().deleted, 1);
    let key = &queued.key;
    assert!(world.store.operation(key).await.unwrap().is_some(), "the record goes on answering");
}

#[tokio::test]
async fn a_thread_that_changes_meanwhile_is_left_and_counted() {
    let (world, graph) = world().await;
    for name in ["t", "u"] {
        run(&world, &graph, name, "x").await;
    }
    // Somebody claims and finishes `t` after it was listed and before it is pruned.
    let raced = Raced { inner: Arc::clone(&world.store), thread: id("t") };
    let engine = Engine::new(
        Arc::new(raced),
        Arc::new(world.nodes.clone()),
        Arc::clone(&world.clock) as Arc<dyn Clock>,
        Arc::clone(&world.owners) as Arc<dyn Owners>,
        Config::default(),
    );
    for (rule, expected) in [
        (
            Rule::KeepLatest,
            PruneReport { threads: 2, trimmed: 1, changed: 1, checkpoints: 3, ..PruneReport::default() },
        ),
        (Rule::Delete, PruneReport { threads: 2, deleted: 1, changed: 1, checkpoints: 1, ..PruneReport::default() }),
    ] {
        let before = count(&world, "t").await;
        assert_eq!(engine.prune(&request(rule, None)).await.unwrap(), expected, "{rule:?}");
        assert_eq!(count(&world, "t").await, before);
    }
}

#[tokio::test]
async fn what_a_fork_or_update_was_made_from_stays() {
    let (world, graph) = world().await;
    run(&world, &graph, "t", "x").await;
    let history = world.engine.history(&id("t"), None, 10).await.unwrap();
    let update = Update { values: Some(support::object(json!({ "log": ["by hand"] }))), ..Update::default() };
    let view = world.engine.update(&id("t"), None, &[vec![update]]).await.unwrap();
    assert_eq!(view.status, ThreadStatus::Done);
    let outline = world.store.outline(&id("t")).await.unwrap();
    let head = outline.iter().find(|outline| outline.checkpoint.id == view.checkpoint).unwrap();
    assert_eq!(head.checkpoint.source, Source::Update);
    let keep = prune::kept(Rule::KeepLatest, &outline, &view.checkpoint);
    assert_eq!(keep, BTreeSet::from([view.checkpoint.clone(), history[0].checkpoint.clone()]));
    assert_eq!(prune::kept(Rule::Delete, &outline, &view.checkpoint), BTreeSet::new());
    world.engine.prune(&request(Rule::KeepLatest, None)).await.unwrap();
    let left: Vec<CheckpointId> =
        world.engine.history(&id("t"), None, 10).await.unwrap().into_iter().map(|entry| entry.checkpoint).collect();
    assert_eq!(left, [view.checkpoint, history[0].checkpoint.clone()]);
}

/// A parent whose node `child` runs a subgraph that counts its calls, and asks when `log` is `["wait"]`.
async fn nested(persist: Persist) -> (World, Deployment) {
    let nodes = FakeNodes::default().with("count", |call| {
        let own = call.state.get("own").and_then(Value::as_u64).unwrap_or(0);
        update(json!({ "own": own + 1, "log": [own + 1] }))
    });
    let nodes = nodes.with("gate", |call| match ask(call, 0, json!("?")) {
        Ok(_) => update(json!({})),
        Err(question) => question,
    });
    let world = World::new(nodes);
    let child = "start = \"count\"\n[state]\nlog = { type = \"array\", reducer = \"append\" }\nown = { type = \"integer\" }\n[nodes.count]\nnext = [{ when = \"'wait' in state.log\", to = \"gate\" }, { to = \"END\" }]\n[nodes.gate]\n";
    let child = world.engine.deploy(graph(child)).await.unwrap();
    let mut parent = graph(&format!("start = \"child\"\n{LOG}[nodes.child]\n"));
    parent.nodes.get_mut(&NodeName::parse("child").unwrap()).unwrap().work =
        Work::Subgraph(Subgraph { graph: GraphReference::Digest(child.digest), persist });
    let deployment = world.engine.deploy(parent).await.unwrap();
    (world, deployment)
}

#[tokio::test]
async fn a_subgraph_kept_per_thread_counts_on_after_pruning() {
    let (world, graph) = nested(Persist::PerThread).await;
    for _ in 0..3 {
        world.run(&graph, json!({})).await.unwrap();
    }
    let report = world.engine.prune(&request(Rule::KeepLatest, None)).await.unwrap();
    assert_eq!(report.trimmed, 1);
    assert_eq!(
        world.store.outline(&thread()).await.unwrap().len(),
        2,
        "the head, and where the subgraph's last call ended"
    );
    assert_eq!(world.run(&graph, json!({})).await.unwrap().values["log"], json!([1, 2, 3, 4]));
}

#[tokio::test]
async fn a_waiting_subgraph_can_be_answered_with_what_is_kept() {
    for persist in [Persist::PerThread, Persist::PerCall] {
        let (world, graph) = nested(persist).await;
        world.run(&graph, json!({})).await.unwrap();
        let view = world.run(&graph, json!({ "log": ["wait"] })).await.unwrap();
        assert_eq!(view.status, ThreadStatus::Interrupted);
        let outline = world.store.outline(&thread()).await.unwrap();
        let keep: Vec<CheckpointId> = prune::kept(Rule::KeepLatest, &outline, &view.checkpoint).into_iter().collect();
        assert!(keep.len() < outline.len());
        let epoch = world.store.thread(&thread()).await.unwrap().unwrap().epoch;
        world.store.retain(&thread(), epoch, &keep, Vec::new()).await.unwrap();
        let view = world.engine.answer(&thread(), &Answers::Bare(json!(true)), "ana").await.unwrap();
        let counted = if persist == Persist::PerThread { json!([1, "wait", 2]) } else { json!([1, "wait", 1]) };
        assert_eq!((view.status, view.values["log"].clone()), (ThreadStatus::Done, counted), "{persist:?}");
    }
}

/// A store in which nothing can be put on the record by itself.
struct Unrecorded(Arc<MemoryStore>);

#[async_trait]
impl Forward for Unrecorded {
    fn inner(&self) -> &dyn Store {
        self.0.as_ref()
    }

    async fn put_audit(&self, _entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("cut off between a change and its record".to_owned()))
    }
}

#[tokio::test]
async fn what_is_removed_is_on_the_record_in_the_same_write() {
    let (world, graph) = world().await;
    run(&world, &graph, "t", "one").await;
    let engine = Engine::new(
        Arc::new(Unrecorded(Arc::clone(&world.store))),
        Arc::new(world.nodes.clone()),
        Arc::clone(&world.clock) as Arc<dyn Clock>,
        Arc::clone(&world.owners) as Arc<dyn Owners>,
        Config::default(),
    );
    let removed = count(&world, "t").await - 1;
    let head = world.store.thread(&id("t")).await.unwrap().unwrap().head;
    assert_eq!(engine.prune(&request(Rule::KeepLatest, None)).await.unwrap().trimmed, 1);
    assert_eq!(engine.prune(&request(Rule::KeepLatest, None)).await.unwrap().trimmed, 0, "nothing is left to remove");
    assert_eq!(engine.prune(&request(Rule::Delete, None)).await.unwrap().deleted, 1);
    let filter = AuditFilter { thread: Some(id("t")), limit: 99, ..AuditFilter::default() };
    let records = world.store.audit(&filter).await.unwrap();
    let pruned: Vec<_> = records.iter().filter(|record| record.kind == "thread.pruned").collect();
    assert_eq!(pruned.len(), 1, "{records:?}");
    let body = json!({ "checkpoints": removed, "head": head.as_str(), "by": "retention" });
    assert_eq!(Value::Object(pruned[0].body.clone()), body);
    assert_eq!(records.last().map(|record| record.kind.as_str()), Some("thread.deleted"));
}

/// A store in which somebody else claims a thread and gives it back, whenever its operations are looked for.
struct Raced {
    inner: Arc<MemoryStore>,
    thread: ThreadId,
}

#[async_trait]
impl Forward for Raced {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, StoreError> {
        if filter.thread.as_ref() == Some(&self.thread) {
            let thread = self.inner.thread(&self.thread).await?.unwrap();
            let claim = Claim { owner: "another".into(), lease_until_ms: 0 };
            let expect = Expect::Epoch(thread.epoch);
            let claiming = Commit::new(self.thread.clone(), expect, ThreadStatus::Done, thread.updated_at_ms);
            self.inner.commit(Commit { claim: Some(claim), ..claiming }).await?;
        }
        self.inner.find_operations(filter).await
    }
}
