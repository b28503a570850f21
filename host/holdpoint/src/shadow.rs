//! Threads that have run, replayed on a version before it takes over.
//!
//! Each thread gets a store of its own in memory, where its recorded inputs and answers are given to the new version. Operations answer from the
//! real journal, which is only read; what has no record is listed and not performed. Nothing is written to the real store and nothing is sent.
//!
//! # Layout
//!
//! * [`replay`]: the last threads of a graph on a version.
//! * [`Report`]: what came of it.
//! * `journal`: the real journal, read-only. `nodes`: the sandbox, with what people said to the host's own questions.

mod journal;
mod nodes;
mod report;

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_engine::recording::Recording;
use holdpoint_engine::{Config, Engine};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::Nodes;
use holdpoint_sandbox::{ComponentSource, Sandbox};
use holdpoint_store::{MemoryStore, Store, ThreadFilter, ThreadRecord, ThreadStatus};

use crate::deploy::prepare::Prepared;
use crate::failure::Failure;
use crate::host::Host;
use crate::system::{ProcessOwners, SystemClock};
use journal::ReadOnlyJournal;
use nodes::RecordedNodes;
pub use report::{Asked, Differences, Outcome, Report, ThreadReport};

/// Replays the last `count` threads of the graph's name, whatever their versions, that are done, failed or waiting.
///
/// # Errors
/// What the host cannot do. What the version does otherwise is the report.
pub async fn replay(host: &Host, prepared: &Arc<Prepared>, count: usize) -> Result<Report, Failure> {
    let journal = Arc::new(ReadOnlyJournal::new(Arc::clone(&host.store) as Arc<dyn Store>));
    let components = Arc::new(Components { prepared: Arc::clone(prepared) });
    let sandbox = host.sandbox_beside(journal, components)?;
    let mut threads = Vec::new();
    for thread in last_threads(host, prepared, count).await? {
        threads.push(replay_thread(host, prepared, &sandbox, thread).await?);
    }
    Ok(Report { threads })
}

async fn last_threads(host: &Host, prepared: &Prepared, count: usize) -> Result<Vec<ThreadRecord>, Failure> {
    const PAGE: usize = 100;
    let mut filter =
        ThreadFilter { graph_name: Some(prepared.root.graph.name.clone()), limit: PAGE, ..ThreadFilter::default() };
    let mut threads = Vec::new();
    loop {
        let page = host.engine.threads(&filter).await.map_err(|error| Failure::from_engine(&error))?;
        let is_last = page.len() < PAGE;
        threads.extend(page.into_iter().filter(|thread| thread.status != ThreadStatus::Running));
        if is_last || threads.len() >= count {
            threads.truncate(count);
            return Ok(threads);
        }
        filter.offset += PAGE;
    }
}

async fn replay_thread(
    host: &Host,
    prepared: &Prepared,
    sandbox: &Sandbox,
    thread: ThreadRecord,
) -> Result<ThreadReport, Failure> {
    let engine_failure = |error: holdpoint_engine::Error| Failure::from_engine(&error);
    let recording = Recording::read(host.store.as_ref(), &thread.id).await.map_err(engine_failure)?;
    let (id, graph) = (thread.id, thread.graph);
    if let Some(obstacle) = &recording.obstacle {
        return Ok(ThreadReport { thread: id, graph, outcome: Outcome::NotRepeatable(obstacle.to_string()) });
    }
    let before = host.engine.view(&id).await.map_err(engine_failure)?;
    let nodes: Arc<dyn Nodes> = Arc::new(RecordedNodes::new(sandbox.clone(), &recording));
    let engine = Engine::new(
        Arc::new(MemoryStore::default()),
        nodes,
        Arc::new(SystemClock),
        Arc::new(ProcessOwners::of_this_process()),
        Config::default(),
    );
    let deployment = prepared.deploy_into(&engine).await?;
    let repetition = engine.repeat(&recording, &deployment).await.map_err(engine_failure)?;
    Ok(ThreadReport { thread: id, graph, outcome: Outcome::of(&recording, &before, &repetition) })
}

/// The version's components, which are not in any store yet.
struct Components {
    prepared: Arc<Prepared>,
}

#[async_trait]
impl ComponentSource for Components {
    async fn bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, String> {
        Ok(self.prepared.components.get(digest).map(|component| component.bytes.clone()))
    }
}
