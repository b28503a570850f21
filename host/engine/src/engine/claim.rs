//! Claiming a thread and driving it.

use std::sync::Arc;

use holdpoint_graph::ids::{Epoch, Namespace, ThreadId};
use holdpoint_store::{Claim, Commit, Expect, Snapshot, ThreadRecord, ThreadStatus};
use tracing::Instrument as _;

use super::{Engine, RunOptions};
use crate::approvals::notice::Subject;
use crate::claim;
use crate::driver;
use crate::error::Error;
use crate::ledger::{Ledger, Scribe};
use crate::task::{Claimed, Context};
use crate::version::Version;
use crate::view::{self, ThreadView};

impl Engine {
    /// Drives a thread that was claimed from `snapshot`.
    pub(super) async fn drive(&self, snapshot: Snapshot, version: Arc<Version>) -> Result<ThreadView, Error> {
        let epoch = snapshot.thread.epoch.next();
        self.drive_at(snapshot, version, epoch).await
    }

    pub(super) async fn drive_at(
        &self,
        snapshot: Snapshot,
        version: Arc<Version>,
        epoch: Epoch,
    ) -> Result<ThreadView, Error> {
        let inner = &self.inner;
        let thread = snapshot.thread.id.clone();
        let scribe = Scribe {
            subject: Subject {
                tenant: snapshot.thread.tenant.clone(),
                thread: thread.clone(),
                lineage: snapshot.thread.lineage.clone(),
                graph: snapshot.thread.graph_name.clone(),
                epoch,
            },
            run: self.options.run.as_ref().map(|turn| turn.run.clone()),
            notices: Arc::clone(&inner.notices),
        };
        let ledger = Ledger::new(
            Arc::clone(&inner.store),
            Arc::clone(&inner.clock),
            thread.clone(),
            epoch,
            inner.config.lease_ms,
            self.options.events.clone(),
            Some(scribe),
        );
        let ledger = Arc::new(ledger.timed(inner.timer.clone()));
        let claimed = Arc::new(Claimed {
            nodes: Arc::clone(&inner.nodes),
            ledger,
            thread: thread.clone(),
            lineage: snapshot.thread.lineage.clone(),
            epoch,
            config: inner.config.clone(),
            options: (*self.options).clone(),
            requester: snapshot.thread.requester.clone(),
            directory: Arc::clone(&inner.directory),
            timer: inner.timer.clone(),
        });
        let context = Arc::new(Context { claimed, version, namespace: Namespace::root(), keeps: true });
        let run = self.options.run.as_ref().map_or("", |turn| turn.run.as_str());
        let graph = snapshot.thread.graph_name.as_str();
        let span = tracing::info_span!("claim", thread = thread.as_str(), run, graph, epoch = epoch.0);
        driver::drive_thread(context, snapshot).instrument(span).await?;
        let snapshot = self.snapshot(&thread).await?;
        // The run ended where the thread parked: what comes now is nobody's run.
        let onward = || self.with_options(RunOptions { run: None, ..(*self.options).clone() });
        // Doubt that was settled while this claim still ran finds a thread that waits for nothing: the next claim continues it.
        if snapshot.thread.status == ThreadStatus::Interrupted && self.doubt_is_settled(&snapshot).await? {
            return Box::pin(onward().proceed(&thread)).await;
        }
        // So does a question that was answered meanwhile: the store woke the thread when it parked.
        let woken = snapshot.thread.status == ThreadStatus::Running && snapshot.thread.owner.is_none();
        if woken && !self.options.drain.is_requested() {
            return match Box::pin(onward().proceed(&thread)).await {
                // Another worker looks for work too.
                Err(Error::Busy { .. } | Error::TakenOver(_)) => self.view(&thread).await,
                proceeded => proceeded,
            };
        }
        let version = self.version(&snapshot.checkpoint.graph).await.ok();
        Ok(view::thread_view(&snapshot, version.as_deref(), self.now_ms()))
    }

    pub(super) fn claiming(&self, thread: &ThreadRecord, now_ms: u64) -> Commit {
        self.writing(&thread.id, Expect::Epoch(thread.epoch), now_ms)
    }

    pub(super) fn writing(&self, thread: &ThreadId, expect: Expect, now_ms: u64) -> Commit {
        Commit {
            claim: Some(self.claim(now_ms)),
            runs: self.turn(),
            ..Commit::new(thread.clone(), expect, ThreadStatus::Running, now_ms)
        }
    }

    pub(super) fn claim(&self, now_ms: u64) -> Claim {
        Claim { owner: self.inner.owners.own_name().to_owned(), lease_until_ms: now_ms + self.inner.config.lease_ms }
    }

    pub(super) fn check_free(&self, thread: &ThreadRecord) -> Result<(), Error> {
        if claim::is_free(thread, self.inner.owners.as_ref(), self.inner.clock.now_ms()) {
            Ok(())
        } else {
            Err(Error::Busy { thread: thread.id.clone(), owner: thread.owner.clone().unwrap_or_default() })
        }
    }
}
