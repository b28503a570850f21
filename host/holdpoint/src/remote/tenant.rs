//! A store as one tenant sees it.
//!
//! What belongs to a thread of another tenant is not there: reads find nothing, lists pass over it, writes are refused. So nothing above the store
//! can forget to check, and the check is made on the very record that is acted on. Graphs, components and cached results are everybody's.
//!
//! Sessions are not a tenant's: one is found by its secret alone. Two reads are not confined either. An operation is found by its whole key, whoever performed it: the engine has to know what became of what a thread waits
//! for, and nobody comes by a key but through [`Journal::find_operations`] and their own threads. The head of the audit trail is one for all.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{CheckpointId, Epoch, QuestionId, RunId, Tenant, ThreadId};
use holdpoint_graph::nodes::Command;
use holdpoint_graph::operation::{OperationHit, OperationKey, OperationRecord};
use holdpoint_store::{
    Access, ApiKeyRecord, Approvals, AuditEntry, AuditFilter, AuditRecord, AuditTrail, ChainHead, Changed, Commit,
    Content, EntryFilter, Error, Expect, HistoryFilter, Journal, LinkRecord, OperationCounts, OperationFilter, Outline,
    QuestionChange, QuestionCounts, QuestionFilter, QuestionRecord, ReplyRecord, RunCancel, RunFilter, RunRecord,
    RunUpdate, Runs, SessionRecord, Snapshot, Statistics, Store, ThreadBytes, ThreadEntry, ThreadExpiry, ThreadFilter,
    ThreadQuestion, ThreadRecord, ThreadSummary, VersionKind, VersionRecord,
};
use serde_json::{Map, Value};

/// Records that are read at once where those of other tenants are passed over.
const PAGE: usize = 1000;

/// See the module.
pub(crate) struct TenantStore {
    inner: Arc<dyn Store>,
    tenant: Tenant,
}

impl TenantStore {
    /// `inner` as `tenant` sees it.
    pub(crate) fn new(inner: Arc<dyn Store>, tenant: Tenant) -> Self {
        Self { inner, tenant }
    }

    /// Whether a thread is the tenant's. One whose history is deleted still is somebody's.
    async fn owns(&self, thread: &ThreadId) -> Result<bool, Error> {
        Ok(self.inner.entry(thread).await?.is_some_and(|summary| summary.entry.tenant == self.tenant))
    }

    async fn check(&self, thread: &ThreadId) -> Result<(), Error> {
        if self.owns(thread).await? { Ok(()) } else { Err(Error::ThreadNotFound(thread.clone())) }
    }

    fn check_tenant(&self, tenant: &Tenant, what: &str) -> Result<(), Error> {
        if *tenant == self.tenant { Ok(()) } else { Err(Error::Invalid(format!("{what} is another tenant's"))) }
    }

    /// The tenant to filter by; none when the filter wants another one's, of which there is nothing.
    fn wanted(&self, tenant: Option<&Tenant>) -> Option<Tenant> {
        tenant.is_none_or(|tenant| *tenant == self.tenant).then(|| self.tenant.clone())
    }

    /// Those of `threads` that are the tenant's.
    async fn own<'t>(&self, threads: impl Iterator<Item = &'t ThreadId>) -> Result<BTreeSet<ThreadId>, Error> {
        let threads: BTreeSet<ThreadId> = threads.cloned().collect();
        let threads: Vec<ThreadId> = threads.into_iter().collect();
        let mut own = BTreeSet::new();
        for threads in threads.chunks(PAGE) {
            let filter = EntryFilter {
                tenant: Some(self.tenant.clone()),
                threads: threads.to_vec(),
                limit: threads.len(),
                ..EntryFilter::default()
            };
            own.extend(self.inner.entries(&filter).await?.into_iter().map(|summary| summary.entry.thread));
        }
        Ok(own)
    }

    async fn own_operations(&self, found: Vec<OperationRecord>) -> Result<Vec<OperationRecord>, Error> {
        let own = self.own(found.iter().map(|record| &record.thread)).await?;
        Ok(found.into_iter().filter(|record| own.contains(&record.thread)).collect())
    }

    async fn own_run(&self, run: &RunId) -> Result<Option<RunRecord>, Error> {
        Ok(self.inner.run(run).await?.filter(|found| found.tenant == self.tenant))
    }
}

#[async_trait]
impl Journal for TenantStore {
    async fn operation(&self, key: &OperationKey) -> Result<Option<OperationRecord>, Error> {
        self.inner.operation(key).await
    }

    async fn operations(&self, thread: &ThreadId) -> Result<Vec<OperationRecord>, Error> {
        if self.owns(thread).await? { self.inner.operations(thread).await } else { Ok(Vec::new()) }
    }

    async fn find_operations(&self, filter: &OperationFilter) -> Result<Vec<OperationRecord>, Error> {
        match self.wanted(filter.tenant.as_ref()) {
            Some(tenant) => {
                let own = OperationFilter { tenant: Some(tenant), ..filter.clone() };
                self.inner.find_operations(&own).await
            }
            None => Ok(Vec::new()),
        }
    }

    async fn due_operations(&self, now_ms: u64, limit: usize) -> Result<Vec<OperationRecord>, Error> {
        let found = self.inner.due_operations(now_ms, limit).await?;
        self.own_operations(found).await
    }

    async fn hits(&self, key: &OperationKey) -> Result<Vec<OperationHit>, Error> {
        let found = self.inner.hits(key).await?;
        let own = self.own(found.iter().map(|hit| &hit.thread)).await?;
        Ok(found.into_iter().filter(|hit| own.contains(&hit.thread)).collect())
    }

    async fn exchange_operation(
        &self,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        self.check(&expected.thread).await?;
        self.inner.exchange_operation(expected, next, at_ms, audit).await
    }
}

#[async_trait]
impl Store for TenantStore {
    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        match &commit.expect {
            Expect::New(new) => self.check_tenant(&new.tenant, "the new thread")?,
            // The epoch was read here, and no other thread of the name ever has it: the store refuses what does not fit.
            Expect::Epoch(_) => {}
        }
        self.inner.commit(commit).await
    }

    async fn thread(&self, thread: &ThreadId) -> Result<Option<ThreadRecord>, Error> {
        Ok(self.inner.thread(thread).await?.filter(|found| found.tenant == self.tenant))
    }

    async fn threads(&self, filter: &ThreadFilter) -> Result<Vec<ThreadRecord>, Error> {
        let mut own = Vec::new();
        let (mut offset, mut passed_over) = (0, 0);
        while own.len() < filter.limit {
            let page = ThreadFilter { offset, limit: PAGE, ..filter.clone() };
            let found = self.inner.threads(&page).await?;
            let is_last = found.len() < PAGE;
            offset += found.len();
            for thread in found.into_iter().filter(|thread| thread.tenant == self.tenant) {
                if passed_over < filter.offset {
                    passed_over += 1;
                } else if own.len() < filter.limit {
                    own.push(thread);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(own)
    }

    async fn snapshot(&self, thread: &ThreadId, checkpoint: Option<&CheckpointId>) -> Result<Option<Snapshot>, Error> {
        let found = self.inner.snapshot(thread, checkpoint).await?;
        Ok(found.filter(|snapshot| snapshot.thread.tenant == self.tenant))
    }

    async fn history(&self, thread: &ThreadId, filter: &HistoryFilter) -> Result<Vec<Snapshot>, Error> {
        let found = self.inner.history(thread, filter).await?;
        Ok(found.into_iter().filter(|snapshot| snapshot.thread.tenant == self.tenant).collect())
    }

    async fn outline(&self, thread: &ThreadId) -> Result<Vec<Outline>, Error> {
        if self.owns(thread).await? { self.inner.outline(thread).await } else { Ok(Vec::new()) }
    }

    async fn retain(
        &self,
        thread: &ThreadId,
        epoch: Epoch,
        keep: &[CheckpointId],
        audit: Vec<AuditEntry>,
    ) -> Result<u64, Error> {
        self.check(thread).await?;
        self.inner.retain(thread, epoch, keep, audit).await
    }

    async fn thread_bytes(&self, thread: &ThreadId) -> Result<ThreadBytes, Error> {
        if self.owns(thread).await? { self.inner.thread_bytes(thread).await } else { Ok(ThreadBytes::default()) }
    }

    async fn count_operations(&self, tenant: Option<&Tenant>) -> Result<OperationCounts, Error> {
        match self.wanted(tenant) {
            Some(tenant) => self.inner.count_operations(Some(&tenant)).await,
            None => Ok(OperationCounts::default()),
        }
    }

    async fn cached(&self, key: &Digest, now_ms: u64) -> Result<Option<Command>, Error> {
        self.inner.cached(key, now_ms).await
    }

    async fn clear_cache(&self, now_ms: Option<u64>) -> Result<u64, Error> {
        self.inner.clear_cache(now_ms).await
    }

    async fn put_version(&self, version: VersionRecord, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.inner.put_version(version, audit).await
    }

    async fn versions(&self, kind: VersionKind, name: Option<&str>) -> Result<Vec<VersionRecord>, Error> {
        self.inner.versions(kind, name).await
    }

    async fn question(&self, thread: &ThreadId, question: &QuestionId) -> Result<Option<QuestionRecord>, Error> {
        if self.owns(thread).await? { self.inner.question(thread, question).await } else { Ok(None) }
    }

    async fn delete_thread(&self, thread: &ThreadId, epoch: Epoch, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.check(thread).await?;
        self.inner.delete_thread(thread, epoch, audit).await
    }

    async fn put_contents(&self, contents: Vec<Content>) -> Result<(), Error> {
        self.inner.put_contents(contents).await
    }

    async fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        self.inner.content(digest).await
    }

    async fn missing_contents(&self, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        self.inner.missing_contents(digests).await
    }

    fn statistics(&self) -> Statistics {
        self.inner.statistics()
    }
}

#[async_trait]
impl Approvals for TenantStore {
    async fn change_question(&self, change: QuestionChange) -> Result<Changed, Error> {
        self.check(&change.thread).await?;
        self.inner.change_question(change).await
    }

    async fn find_question(&self, question: &QuestionId) -> Result<Option<ThreadQuestion>, Error> {
        Ok(self.inner.find_question(question).await?.filter(|found| found.tenant == self.tenant))
    }

    async fn questions(&self, filter: &QuestionFilter) -> Result<Vec<ThreadQuestion>, Error> {
        match self.wanted(filter.tenant.as_ref()) {
            Some(tenant) => self.inner.questions(&QuestionFilter { tenant: Some(tenant), ..filter.clone() }).await,
            None => Ok(Vec::new()),
        }
    }

    async fn due_questions(&self, now_ms: u64, limit: usize) -> Result<Vec<ThreadQuestion>, Error> {
        let found = self.inner.due_questions(now_ms, limit).await?;
        Ok(found.into_iter().filter(|found| found.tenant == self.tenant).collect())
    }

    async fn count_questions(&self, tenant: Option<&Tenant>, now_ms: u64) -> Result<QuestionCounts, Error> {
        match self.wanted(tenant) {
            Some(tenant) => self.inner.count_questions(Some(&tenant), now_ms).await,
            None => Ok(QuestionCounts::default()),
        }
    }

    async fn reply(&self, actor: &str, key: &str, now_ms: u64) -> Result<Option<ReplyRecord>, Error> {
        self.inner.reply(actor, key, now_ms).await
    }

    async fn clear_replies(&self, now_ms: u64) -> Result<u64, Error> {
        self.inner.clear_replies(now_ms).await
    }
}

#[async_trait]
impl Runs for TenantStore {
    async fn put_entry(&self, entry: ThreadEntry, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.check_tenant(&entry.tenant, "the entry")?;
        self.inner.put_entry(entry, audit).await
    }

    async fn merge_metadata(
        &self,
        thread: &ThreadId,
        metadata: Map<String, Value>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<ThreadEntry, Error> {
        self.check(thread).await?;
        self.inner.merge_metadata(thread, metadata, at_ms, audit).await
    }

    async fn set_expiry(
        &self,
        thread: &ThreadId,
        expiry: Option<ThreadExpiry>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<ThreadEntry, Error> {
        self.check(thread).await?;
        self.inner.set_expiry(thread, expiry, at_ms, audit).await
    }

    async fn due_entries(&self, now_ms: u64, limit: usize) -> Result<Vec<ThreadEntry>, Error> {
        let found = self.inner.due_entries(now_ms, limit).await?;
        Ok(found.into_iter().filter(|entry| entry.tenant == self.tenant).collect())
    }

    async fn entry(&self, thread: &ThreadId) -> Result<Option<ThreadSummary>, Error> {
        Ok(self.inner.entry(thread).await?.filter(|found| found.entry.tenant == self.tenant))
    }

    async fn entries(&self, filter: &EntryFilter) -> Result<Vec<ThreadSummary>, Error> {
        match self.wanted(filter.tenant.as_ref()) {
            Some(tenant) => self.inner.entries(&EntryFilter { tenant: Some(tenant), ..filter.clone() }).await,
            None => Ok(Vec::new()),
        }
    }

    async fn count_entries(&self, filter: &EntryFilter) -> Result<u64, Error> {
        match self.wanted(filter.tenant.as_ref()) {
            Some(tenant) => self.inner.count_entries(&EntryFilter { tenant: Some(tenant), ..filter.clone() }).await,
            None => Ok(0),
        }
    }

    async fn delete_entry(&self, thread: &ThreadId, audit: Vec<AuditEntry>) -> Result<bool, Error> {
        if self.owns(thread).await? { self.inner.delete_entry(thread, audit).await } else { Ok(false) }
    }

    async fn put_run(&self, run: RunRecord, alone: bool, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.check_tenant(&run.tenant, "the run")?;
        self.check(&run.thread).await?;
        self.inner.put_run(run, alone, audit).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>, Error> {
        self.own_run(run).await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        match self.wanted(filter.tenant.as_ref()) {
            Some(tenant) => self.inner.runs(&RunFilter { tenant: Some(tenant), ..filter.clone() }).await,
            None => Ok(Vec::new()),
        }
    }

    async fn next_runs(&self, now_ms: u64, limit: usize) -> Result<Vec<RunRecord>, Error> {
        let found = self.inner.next_runs(now_ms, limit).await?;
        Ok(found.into_iter().filter(|run| run.tenant == self.tenant).collect())
    }

    async fn update_run(&self, update: RunUpdate, at_ms: u64, audit: Vec<AuditEntry>) -> Result<(), Error> {
        if self.own_run(&update.run).await?.is_none() {
            return Err(Error::RunChanged { run: update.run, found: "unknown" });
        }
        self.inner.update_run(update, at_ms, audit).await
    }

    async fn request_cancel(
        &self,
        run: &RunId,
        cancel: RunCancel,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<(), Error> {
        if self.own_run(run).await?.is_none() {
            return Err(Error::RunChanged { run: run.clone(), found: "unknown" });
        }
        self.inner.request_cancel(run, cancel, at_ms, audit).await
    }

    async fn cancel_requests(&self, limit: usize) -> Result<Vec<RunRecord>, Error> {
        let found = self.inner.cancel_requests(limit).await?;
        Ok(found.into_iter().filter(|run| run.tenant == self.tenant).collect())
    }

    async fn delete_run(&self, run: &RunId) -> Result<bool, Error> {
        if self.own_run(run).await?.is_some() { self.inner.delete_run(run).await } else { Ok(false) }
    }
}

#[async_trait]
impl AuditTrail for TenantStore {
    async fn put_audit(&self, entries: Vec<AuditEntry>) -> Result<(), Error> {
        for entry in &entries {
            self.check_tenant(&entry.tenant, "an entry of the audit trail")?;
        }
        self.inner.put_audit(entries).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, Error> {
        match self.wanted(filter.tenant.as_ref()) {
            Some(tenant) => self.inner.audit(&AuditFilter { tenant: Some(tenant), ..filter.clone() }).await,
            None => Ok(Vec::new()),
        }
    }

    async fn audit_head(&self) -> Result<ChainHead, Error> {
        self.inner.audit_head().await
    }
}

#[async_trait]
impl Access for TenantStore {
    async fn put_key(&self, key: ApiKeyRecord, audit: Vec<AuditEntry>) -> Result<(), Error> {
        self.check_tenant(&key.tenant, "the key")?;
        self.inner.put_key(key, audit).await
    }

    async fn key(&self, digest: &Digest) -> Result<Option<ApiKeyRecord>, Error> {
        Ok(self.inner.key(digest).await?.filter(|found| found.tenant == self.tenant))
    }

    async fn keys(&self, tenant: Option<&Tenant>) -> Result<Vec<ApiKeyRecord>, Error> {
        match self.wanted(tenant) {
            Some(tenant) => self.inner.keys(Some(&tenant)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn revoke_key(&self, tenant: &Tenant, name: &str, at_ms: u64, audit: Vec<AuditEntry>) -> Result<bool, Error> {
        match self.wanted(Some(tenant)) {
            Some(tenant) => self.inner.revoke_key(&tenant, name, at_ms, audit).await,
            None => Ok(false),
        }
    }

    async fn put_links(&self, links: Vec<LinkRecord>) -> Result<(), Error> {
        let threads: BTreeSet<&ThreadId> = links.iter().map(|link| &link.thread).collect();
        for thread in threads {
            self.check(thread).await?;
        }
        self.inner.put_links(links).await
    }

    async fn link(&self, digest: &Digest) -> Result<Option<LinkRecord>, Error> {
        match self.inner.link(digest).await? {
            Some(link) if self.owns(&link.thread).await? => Ok(Some(link)),
            _ => Ok(None),
        }
    }

    async fn put_session(&self, session: SessionRecord) -> Result<(), Error> {
        self.inner.put_session(session).await
    }

    async fn session(&self, digest: &Digest) -> Result<Option<SessionRecord>, Error> {
        self.inner.session(digest).await
    }

    async fn delete_session(&self, digest: &Digest) -> Result<bool, Error> {
        self.inner.delete_session(digest).await
    }

    async fn clear_sessions(&self, now_ms: u64) -> Result<u64, Error> {
        self.inner.clear_sessions(now_ms).await
    }
}
