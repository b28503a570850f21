//! Claiming a thread and driving it.

use std::sync::Arc;

use holdpoint_graph::definition::Graph;
use holdpoint_graph::ids::{Epoch, ThreadId};
use holdpoint_store::{Claim, Commit, Expect, Snapshot, ThreadRecord, ThreadStatus};

use super::Engine;
use crate::claim;
use crate::driver::Driver;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::task::Context;
use crate::view::{self, ThreadView};

impl Engine {
    /// Drives a thread that was claimed from `snapshot`.
    pub(super) async fn drive(&self, snapshot: Snapshot, graph: Arc<Graph>) -> Result<ThreadView, Error> {
        let epoch = snapshot.thread.epoch.next();
        self.drive_at(snapshot, graph, epoch).await
    }

    pub(super) async fn drive_at(
        &self,
        snapshot: Snapshot,
        graph: Arc<Graph>,
        epoch: Epoch,
    ) -> Result<ThreadView, Error> {
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
        let snapshot = self.snapshot(&thread).await?;
        // Doubt that was settled while this claim still ran finds a thread that waits for nothing: the next claim continues it.
        if snapshot.thread.status == ThreadStatus::Interrupted && self.doubt_is_settled(&snapshot).await? {
            return Box::pin(self.proceed(&thread)).await;
        }
        let graph = self.graph(&snapshot.thread.graph).await.ok();
        Ok(view::thread_view(&snapshot, graph.as_deref()))
    }

    pub(super) fn claiming(&self, thread: &ThreadRecord, now_ms: u64) -> Commit {
        self.writing(&thread.id, Expect::Epoch(thread.epoch), now_ms)
    }

    pub(super) fn writing(&self, thread: &ThreadId, expect: Expect, now_ms: u64) -> Commit {
        let claim = Claim {
            owner: self.inner.owners.own_name().to_owned(),
            lease_until_ms: now_ms + self.inner.config.lease_ms,
        };
        Commit { claim: Some(claim), ..Commit::new(thread.clone(), expect, ThreadStatus::Running, now_ms) }
    }

    pub(super) fn check_free(&self, thread: &ThreadRecord) -> Result<(), Error> {
        if claim::is_free(thread, self.inner.owners.as_ref(), self.inner.clock.now_ms()) {
            Ok(())
        } else {
            Err(Error::Busy { thread: thread.id.clone(), owner: thread.owner.clone().unwrap_or_default() })
        }
    }
}
