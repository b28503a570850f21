//! The audit trail in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ThreadId;

use super::MemoryStore;
use crate::audit::{AuditEntry, AuditFilter, AuditRecord, AuditTrail, ChainHead};
use crate::check;
use crate::store::Error;

/// What is on the record.
#[derive(Default)]
pub(super) struct Trail {
    /// In order of their places.
    records: Vec<AuditRecord>,
    /// Where each thread's records end.
    threads: HashMap<ThreadId, (u64, Digest)>,
}

impl Trail {
    /// Puts entries on the record.
    pub(super) fn extend(&mut self, entries: Vec<AuditEntry>) {
        for entry in entries {
            let thread_head = entry.thread.as_ref().and_then(|thread| self.threads.get(thread).cloned());
            let record = AuditRecord::chain(entry, &self.head(), &thread_head);
            if let (Some(thread), Some((place, _))) = (&record.thread, &record.in_thread) {
                self.threads.insert(thread.clone(), (*place, record.digest.clone()));
            }
            self.records.push(record);
        }
    }

    fn head(&self) -> ChainHead {
        self.records.last().map(|record| (record.sequence, record.digest.clone()))
    }
}

#[async_trait]
impl AuditTrail for MemoryStore {
    async fn put_audit(&self, entries: Vec<AuditEntry>) -> Result<(), Error> {
        check::audit(&entries)?;
        self.state().trail.extend(entries);
        Ok(())
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, Error> {
        let state = self.state();
        let wanted = |record: &&AuditRecord| {
            record.sequence > filter.after
                && filter.thread.as_ref().is_none_or(|thread| record.thread.as_ref() == Some(thread))
                && filter.tenant.as_ref().is_none_or(|tenant| record.tenant == *tenant)
        };
        Ok(state.trail.records.iter().filter(wanted).take(filter.limit).cloned().collect())
    }

    async fn audit_head(&self) -> Result<ChainHead, Error> {
        Ok(self.state().trail.head())
    }
}
