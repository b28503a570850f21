//! What goes by itself: threads whose time is over, and sessions.
//!
//! A thread's time begins anew whenever it changes. That costs nothing then: it is found out when the time that is stored has come. One that has a
//! run, waits for somebody, or has an operation whose outcome is unknown stays for another while. Any number of hosts may look: the thread is removed
//! only as it was when it was looked at.

use holdpoint_engine::prune::{self, Rule};
use holdpoint_engine::{Error as EngineError, RunOptions};
use holdpoint_graph::actor::Actor;
use holdpoint_store::{
    AuditEntry, Error as StoreError, ExpiryRule, OperationFilter, Store, ThreadEntry, ThreadExpiry, ThreadRecord,
    ThreadStatus, ThreadSummary,
};
use serde_json::{Map, Value, json};

use super::{Runs, host};

/// Threads that are looked at in one go. What is beyond comes with the next.
const DUE_MAX: usize = 500;

/// Shortest while until a thread that could not go is looked at again.
const AGAIN_MS: u64 = 60_000;

/// How often sessions that are over are removed. They open nothing meanwhile.
pub(super) const SESSIONS_EVERY_MS: u64 = 600_000;

/// How long a thread that was made for one run outlives it where nobody removes it at the run's end, because the host died or the run asked somebody.
pub(super) const TEMPORARY_MS: u64 = 3_600_000;

impl Runs {
    /// Removes sessions that are over.
    pub(super) async fn clear_sessions(&self) {
        match self.store().clear_sessions(self.0.engine.now_ms()).await {
            Ok(0) => {}
            Ok(cleared) => tracing::debug!(cleared, "sessions that are over were removed"),
            Err(error) => tracing::error!(%error, "sessions that are over cannot be removed"),
        }
    }

    /// Has threads go whose time is over.
    pub(super) async fn end_threads(&self) {
        let due = match self.store().due_entries(self.0.engine.now_ms(), DUE_MAX).await {
            Ok(due) => due,
            Err(error) => return tracing::error!(%error, "the threads whose time is over cannot be read"),
        };
        for entry in due {
            if let Err(error) = self.end_thread(&entry).await {
                tracing::warn!(thread = %entry.thread, %error, "a thread whose time is over stays for now");
            }
        }
    }

    async fn end_thread(&self, due: &ThreadEntry) -> Result<(), EngineError> {
        let thread = &due.thread;
        // Nobody accepts a run of it here meanwhile. Another host may: then what was accepted stays.
        let _lane = self.lane(thread).lock().await;
        let now_ms = self.0.engine.now_ms();
        let Some(summary) = self.store().entry(thread).await? else { return Ok(()) };
        let Some(expiry) = summary.entry.expiry.filter(|expiry| expiry.at_ms <= now_ms) else { return Ok(()) };
        let used_at_ms = summary.record.as_ref().map_or(0, |record| record.updated_at_ms);
        let over_at_ms = used_at_ms.saturating_add(expiry.ttl_ms);
        if over_at_ms > now_ms {
            return self.put_off(&summary.entry, expiry, over_at_ms).await;
        }
        if self.is_needed(&summary).await? {
            return self.put_off(&summary.entry, expiry, now_ms.saturating_add(expiry.ttl_ms.max(AGAIN_MS))).await;
        }
        match (expiry.rule, &summary.record) {
            (ExpiryRule::Delete, record) => self.delete(&summary.entry, record.as_ref(), expiry, now_ms).await,
            (ExpiryRule::KeepLatest, record) => {
                if let Some(record) = record {
                    keep_latest(&**self.store(), record, |body| {
                        entry_of(&summary.entry, now_ms, "thread.pruned", body)
                    })
                    .await?;
                }
                self.put_off(&summary.entry, expiry, now_ms.saturating_add(expiry.ttl_ms)).await
            }
        }
    }

    /// Whether a thread has something to do, or somebody to wait for.
    async fn is_needed(&self, summary: &ThreadSummary) -> Result<bool, EngineError> {
        let Some(record) = &summary.record else { return Ok(summary.runs_open > 0) };
        if summary.runs_open > 0 || record.status == ThreadStatus::Running {
            return Ok(true);
        }
        let open =
            OperationFilter { thread: Some(record.id.clone()), open: true, limit: 1, ..OperationFilter::default() };
        if !self.store().find_operations(&open).await?.is_empty() {
            return Ok(true);
        }
        match self.0.engine.view(&record.id).await {
            Ok(view) => Ok(!view.interrupts.is_empty()),
            Err(EngineError::ThreadNotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn delete(
        &self,
        entry: &ThreadEntry,
        record: Option<&ThreadRecord>,
        expiry: ThreadExpiry,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        if let Some(record) = record {
            let options = RunOptions { principal: host(&entry.tenant), ..RunOptions::default() };
            match self.0.engine.with_options(options).delete_at(&entry.thread, record.epoch).await {
                Ok(()) | Err(EngineError::ThreadNotFound(_)) => {}
                // Somebody uses it after all: the next look sees when.
                Err(EngineError::Busy { .. } | EngineError::TakenOver(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let body = json!({ "ttl_ms": expiry.ttl_ms, "temporary": entry.temporary });
        let audit = entry_of(entry, now_ms, "thread.expired", body);
        match self.store().delete_entry(&entry.thread, vec![audit]).await {
            Ok(_) => Ok(()),
            // A run was accepted or began meanwhile: the thread begins anew with it.
            Err(StoreError::Invalid(_)) => {
                self.put_off(entry, expiry, now_ms.saturating_add(expiry.ttl_ms.max(AGAIN_MS))).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at it again at another moment. It is no change of the thread, so its times stay.
    async fn put_off(&self, entry: &ThreadEntry, expiry: ThreadExpiry, at_ms: u64) -> Result<(), EngineError> {
        let expiry = ThreadExpiry { at_ms, ..expiry };
        match self.store().set_expiry(&entry.thread, Some(expiry), entry.updated_at_ms, Vec::new()).await {
            Ok(_) | Err(StoreError::ThreadNotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Removes the checkpoints of a thread that is done which its newest state does not need, and puts it on the record. False for a thread that is not
/// done, has an operation without an outcome, has nothing to lose, or changes meanwhile.
///
/// # Errors
/// The store's.
pub(crate) async fn keep_latest(
    store: &dyn Store,
    record: &ThreadRecord,
    entry: impl FnOnce(Value) -> AuditEntry,
) -> Result<bool, StoreError> {
    let open = OperationFilter { thread: Some(record.id.clone()), open: true, limit: 1, ..OperationFilter::default() };
    if record.status != ThreadStatus::Done || !store.find_operations(&open).await?.is_empty() {
        return Ok(false);
    }
    let outline = store.outline(&record.id).await?;
    let keep: Vec<_> = prune::kept(Rule::KeepLatest, &outline, &record.head).into_iter().collect();
    if keep.len() >= outline.len() {
        return Ok(false);
    }
    let body = json!({ "checkpoints": outline.len() - keep.len(), "head": record.head.as_str() });
    match store.retain(&record.id, record.epoch, &keep, vec![entry(body)]).await {
        Ok(_) => Ok(true),
        Err(StoreError::Fenced { .. } | StoreError::ThreadNotFound(_)) => Ok(false),
        // The thread may have changed between the two readings: then its epoch has, too.
        Err(error @ StoreError::Invalid(_)) => match store.thread(&record.id).await? {
            Some(now) if now.epoch == record.epoch => Err(error),
            _ => Ok(false),
        },
        Err(error) => Err(error),
    }
}

fn entry_of(entry: &ThreadEntry, at_ms: u64, kind: &'static str, body: Value) -> AuditEntry {
    let body: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    let (thread, tenant) = (Some(entry.thread.clone()), entry.tenant.clone());
    AuditEntry { thread, tenant, at_ms, actor: Actor::worker(), kind, body }
}
