//! The same against SQLite: a vote, a decision, the ladder and the deadline go through the store's own statements.

use std::sync::Arc;

use holdpoint_engine::claim::Owners;
use holdpoint_engine::{Config, Decision, Engine, Error, Input};
use holdpoint_graph::clock::Clock;
use holdpoint_graph::ids::{QuestionId, ThreadId};
use holdpoint_graph::nodes::Verdict;
use holdpoint_store::audit::Verifier;
use holdpoint_store::sqlite::{SqliteOptions, SqliteStore};
use holdpoint_store::{AuditFilter, Store};
use serde_json::{Value, json};

use super::desk::{STATE, as_person, nodes, person, threads};
use crate::support::World;

struct Bench {
    engine: Engine,
    world: World,
    store: Arc<dyn Store>,
    asked: Vec<(ThreadId, QuestionId)>,
    folder: std::path::PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What is left is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn bench(name: &str, policy: &str, count: usize) -> Bench {
    let folder = std::env::temp_dir().join(format!("holdpoint-approvals-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let store = SqliteStore::open(folder.join("store.db"), SqliteOptions::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let world = World::new(nodes());
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let owners = Arc::clone(&world.owners) as Arc<dyn Owners>;
    let engine = Engine::new(Arc::clone(&store), Arc::new(world.nodes.clone()), clock, owners, Config::default());
    let graph = crate::support::graph(&format!("{STATE}[nodes.gate.interrupt]\n{policy}\n"));
    let deployment = engine.deploy(graph).await.unwrap();
    let rita = as_person(&engine, person("user:rita", &[]));
    let mut asked = Vec::new();
    for thread in threads(count) {
        let input = Input { values: json!({ "payload": thread.as_str() }), supersede: false };
        let view = rita.run(&thread, &deployment, input).await.unwrap();
        asked.push((thread, QuestionId::parse(view.interrupts[0].id.as_str()).unwrap()));
    }
    Bench { engine, world, store, asked, folder }
}

impl Bench {
    async fn decide(&self, who: &str, verdict: Verdict) -> Result<bool, Error> {
        let engine = as_person(&self.engine, person(who, &[]));
        let (_, id) = &self.asked[0];
        let digest = engine.approval(id).await?.digest;
        Ok(engine.decide(id, Decision::new(verdict, digest)).await?.answered)
    }

    async fn told(&self, thread: &ThreadId) -> Value {
        self.engine.proceed(thread).await.unwrap().values.get("told").cloned().unwrap_or_default()
    }

    async fn check_audit(&self) {
        let mut verifier = Verifier::default();
        for record in self.store.audit(&AuditFilter { limit: 10_000, ..AuditFilter::default() }).await.unwrap() {
            verifier.check(&record).unwrap();
        }
    }
}

#[tokio::test]
async fn votes_refusals_and_the_ladder() {
    let policy = "assignees = [\"user:ana\", \"user:ben\"]\nquorum = 2\ndistinct_from = \"requester\"\n\
                  escalate = [{ after = \"15m\", to = [\"user:rita\", \"user:boss\"] }]";
    let bench = bench("votes", policy, 1).await;
    assert!(!bench.decide("user:ana", Verdict::Accept).await.unwrap());
    assert_eq!(bench.decide("user:ana", Verdict::Accept).await.unwrap_err().code(), "HP0903");
    assert_eq!(bench.decide("user:boss", Verdict::Accept).await.unwrap_err().code(), "HP0901");
    bench.world.advance_ms(900_000);
    assert_eq!(bench.engine.monitor(10).await.unwrap().escalated, 1);
    assert_eq!(bench.engine.monitor(10).await.unwrap().looked_at, 0);
    assert_eq!(bench.decide("user:rita", Verdict::Accept).await.unwrap_err().code(), "HP0902");
    assert!(bench.decide("user:boss", Verdict::Accept).await.unwrap());
    let (thread, _) = &bench.asked[0];
    assert_eq!(bench.told(thread).await, json!(["accept", { "approved": true }, "user:boss"]));
    bench.check_audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_of_many_threads() {
    let bench = bench("deadlines", "deadline = \"1s\"", 200).await;
    bench.world.advance_ms(999);
    assert_eq!(bench.engine.monitor(1000).await.unwrap().looked_at, 0);
    assert!(bench.decide("user:ana", Verdict::Accept).await.unwrap());
    bench.world.advance_ms(1);
    let (one, two) = tokio::join!(bench.engine.monitor(1000), bench.engine.monitor(1000));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.expired + two.expired, one.failed + two.failed), (199, 0));
    let (thread, _) = &bench.asked[1];
    assert_eq!(bench.told(thread).await[0], "expired");
    let (thread, _) = &bench.asked[0];
    assert_eq!(bench.told(thread).await[0], "accept");
    bench.check_audit().await;
}
