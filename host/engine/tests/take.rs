//! A decision that claims the thread which waited for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use holdpoint_engine::claim::Owners;
use holdpoint_engine::{Config, Decided, Decision, Drain, Engine, Error, Input, RunOptions, Taken};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::ids::{CheckpointId, QuestionId, ThreadId};
use holdpoint_graph::nodes::{NodeCall, Verdict};
use holdpoint_store::forward::Forward;
use holdpoint_store::{
    AuditFilter, AuditTrail, Changed, Claim, Commit, Error as StoreError, Expect, QuestionChange, QuestionFilter,
    Snapshot, Store, ThreadStatus,
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{FakeNodes, NOON_MS, World, ask, logs, thread, update};

const GATE: &str =
    "start = \"gate\"\n[state]\nlog = { reducer = \"append\" }\n[nodes.gate]\nnext = \"after\"\n[nodes.after]\n";

fn nodes() -> FakeNodes {
    let gate = |call: &NodeCall| match ask(call, 0, json!("go?")) {
        Ok(answer) => update(json!({ "log": [answer["verdict"].as_str().unwrap_or("yes")] })),
        Err(question) => question,
    };
    FakeNodes::default().with("gate", gate).with("after", logs("after"))
}

/// A thread that waits, and its question.
async fn waiting(world: &World) -> QuestionId {
    let deployment = world.deploy(GATE).await;
    let view = world.run(&deployment, json!({})).await.unwrap();
    QuestionId::parse(view.interrupts[0].id.as_str()).unwrap()
}

async fn decide(engine: &Engine, question: &QuestionId, take_up: bool) -> Decided {
    let digest = engine.approval(question).await.unwrap().digest;
    let decision = Decision { value: Some(json!("yes")), ..Decision::new(Verdict::Respond, digest) };
    let taking = engine.with_options(RunOptions { take_up, ..RunOptions::default() });
    taking.decide(question, decision).await.unwrap()
}

async fn taken(world: &World, question: &QuestionId) -> Taken {
    let decided = decide(&world.engine, question, true).await;
    assert!(decided.answered && decided.woken);
    decided.taken.expect("it waited for nobody else")
}

#[tokio::test]
async fn one_write_decides_and_claims() {
    let world = World::new(nodes());
    let question = waiting(&world).await;
    let before = world.commits().commits;
    let taken = taken(&world, &question).await;
    assert_eq!(world.commits().commits - before, 1);
    let claimed = world.store.thread(&thread()).await.unwrap().unwrap();
    assert_eq!((claimed.status, claimed.owner.as_deref()), (ThreadStatus::Running, Some("first")));
    assert_eq!(claimed.lease_until_ms, NOON_MS + 30_000, "like any other claim");
    let view = world.engine.drive_taken(taken).await.unwrap();
    assert_eq!((view.status, &view.values["log"]), (ThreadStatus::Done, &json!(["yes", "after"])));
    assert_eq!(world.commits().commits - before, 2, "and one more ends it");
    assert_eq!((world.nodes.started("gate"), world.nodes.started("after")), (2, 1));
    let filter = AuditFilter { thread: Some(thread()), limit: 100, ..AuditFilter::default() };
    let kinds: Vec<String> = world.store.audit(&filter).await.unwrap().into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["question.decided", "thread.stopped"]);
}

#[tokio::test]
async fn who_does_not_ask_for_it_gets_no_claim() {
    let world = World::new(nodes());
    let question = waiting(&world).await;
    let decided = decide(&world.engine, &question, false).await;
    assert!(decided.woken && decided.taken.is_none());
    assert_eq!(world.store.thread(&thread()).await.unwrap().unwrap().owner, None);
}

#[tokio::test]
async fn a_claim_that_nobody_drives_is_over_with_its_lease() {
    let world = World::new(nodes());
    let question = waiting(&world).await;
    drop(taken(&world, &question).await);
    let other = world.second("second", nodes());
    assert!(matches!(other.engine.proceed(&thread()).await, Err(Error::Busy { .. })));
    world.advance_ms(29_999);
    assert!(matches!(other.engine.proceed(&thread()).await, Err(Error::Busy { .. })));
    world.advance_ms(1);
    let view = other.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, &view.values["log"]), (ThreadStatus::Done, &json!(["yes", "after"])));
}

#[tokio::test]
async fn a_claim_of_a_process_that_died_is_taken_at_once() {
    let world = World::new(nodes());
    let question = waiting(&world).await;
    drop(taken(&world, &question).await);
    let other = world.second("second", nodes());
    other.owners.others_gone.store(true, Ordering::SeqCst);
    let view = other.engine.proceed(&thread()).await.unwrap();
    assert_eq!((view.status, &view.values["log"]), (ThreadStatus::Done, &json!(["yes", "after"])));
    assert_eq!((other.nodes.started("gate"), other.nodes.started("after")), (1, 1), "once each");
}

#[tokio::test]
async fn who_comes_too_late_to_drive_runs_nothing() {
    let world = World::new(nodes());
    let question = waiting(&world).await;
    let taken = taken(&world, &question).await;
    world.advance_ms(30_000);
    let other = world.second("second", nodes());
    assert_eq!(other.engine.proceed(&thread()).await.unwrap().status, ThreadStatus::Done);
    let before = world.commits().commits;
    assert!(matches!(world.engine.drive_taken(taken).await, Err(Error::TakenOver(_))));
    assert_eq!(world.commits().commits, before);
}

#[tokio::test]
async fn who_drains_gives_it_back_before_anything_runs() {
    let world = World::new(nodes());
    let question = waiting(&world).await;
    let taken = taken(&world, &question).await;
    let drain = Drain::default();
    drain.request();
    let draining = world.engine.with_options(RunOptions { drain, ..RunOptions::default() });
    let view = draining.drive_taken(taken).await.unwrap();
    assert_eq!((view.status, world.nodes.started("gate")), (ThreadStatus::Running, 1));
    let other = world.second("second", nodes());
    assert_eq!(other.engine.proceed(&thread()).await.unwrap().status, ThreadStatus::Done, "nobody waits for a lease");
}

#[tokio::test]
async fn a_thread_that_somebody_advances_is_theirs() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = {
        let gate = Arc::clone(&gate);
        nodes().with_async("slow", move |_| {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                update(json!({ "log": ["slow"] })).into()
            })
        })
    };
    // Whatever takes effort is stored while others still run.
    let config = Config { quick: std::time::Duration::ZERO, ..Default::default() };
    let world = World::with_config(slow, config);
    let text = "start = [\"gate\", \"slow\"]\n[state]\nlog = { reducer = \"append\" }\n[nodes.gate]\n[nodes.slow]\n";
    let deployment = world.deploy(text).await;
    let running = {
        let world = world.clone();
        tokio::spawn(async move { world.run(&deployment, json!({})).await })
    };
    let question = loop {
        let asked = world.engine.approvals(&QuestionFilter::pending(1)).await.unwrap();
        match asked.first() {
            Some(asked) => break asked.id.clone(),
            None => tokio::task::yield_now().await,
        }
    };
    let decided = decide(&world.engine, &question, true).await;
    assert!(decided.woken && decided.taken.is_none());
    gate.add_permits(2);
    let view = running.await.unwrap().unwrap();
    assert_eq!((view.status, world.nodes.started("slow")), (ThreadStatus::Done, 1));
}

/// A store in which the thread is always read before the claim is stored; and, where that is asked for, is claimed by somebody else in between.
struct ReadFirst {
    inner: Arc<dyn Store>,
    snapshots: Semaphore,
    read: AtomicU64,
    meddles: AtomicBool,
}

#[async_trait]
impl Forward for ReadFirst {
    fn inner(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn snapshot(
        &self,
        thread: &ThreadId,
        checkpoint: Option<&CheckpointId>,
    ) -> Result<Option<Snapshot>, StoreError> {
        let snapshot = self.inner.snapshot(thread, checkpoint).await;
        self.read.fetch_add(1, Ordering::SeqCst);
        self.snapshots.add_permits(1);
        snapshot
    }

    async fn change_question(&self, change: QuestionChange) -> Result<Changed, StoreError> {
        self.snapshots.acquire().await.unwrap().forget();
        if self.meddles.load(Ordering::SeqCst) {
            let epoch = self.inner.thread(&change.thread).await?.unwrap().epoch;
            let of = |epoch, status| Commit::new(change.thread.clone(), Expect::Epoch(epoch), status, NOON_MS);
            let claim = Claim { owner: "somebody".into(), lease_until_ms: NOON_MS + 1 };
            self.inner.commit(Commit { claim: Some(claim), ..of(epoch, ThreadStatus::Running) }).await?;
            self.inner.commit(Commit { release: true, ..of(epoch.next(), ThreadStatus::Interrupted) }).await?;
        }
        self.inner.change_question(change).await
    }
}

#[tokio::test]
async fn what_is_read_beside_the_claim_is_driven_unless_something_came_between() {
    for meddles in [false, true] {
        let world = World::new(nodes());
        let store = Arc::new(ReadFirst {
            inner: Arc::clone(&world.store) as Arc<dyn Store>,
            snapshots: Semaphore::new(0),
            read: AtomicU64::new(0),
            meddles: meddles.into(),
        });
        let engine = Engine::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(world.nodes.clone()),
            Arc::clone(&world.clock) as Arc<dyn Clock>,
            Arc::clone(&world.owners) as Arc<dyn Owners>,
            Config::default(),
        );
        let deployment = engine.deploy(crate::support::graph(GATE)).await.unwrap();
        let view = engine.run(&thread(), &deployment, Input { values: json!({}), supersede: false }).await.unwrap();
        let question = QuestionId::parse(view.interrupts[0].id.as_str()).unwrap();
        store.snapshots.forget_permits(usize::MAX);
        let before = store.read.load(Ordering::SeqCst);
        let taken = decide(&engine, &question, true).await.taken.unwrap();
        let view = engine.drive_taken(taken).await.unwrap();
        assert_eq!((view.status, &view.values["log"]), (ThreadStatus::Done, &json!(["yes", "after"])));
        // Beside the claim, to see how it ended, and once more where the first reading was too old.
        assert_eq!(store.read.load(Ordering::SeqCst) - before, 2 + u64::from(meddles));
        assert_eq!((world.nodes.started("gate"), world.nodes.started("after")), (2, 1));
    }
}
