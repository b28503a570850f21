//! Runs and entries in memory.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use async_trait::async_trait;
use holdpoint_graph::ids::{CheckpointId, RunId, ThreadId};
use serde_json::{Map, Value};

use super::thread::count;
use super::{MemoryStore, State};
use crate::audit::AuditEntry;
use crate::check;
use crate::records::ThreadStatus;
use crate::runs::{
    EntryFilter, EntryOrder, EntryStatus, RunCancel, RunFilter, RunRecord, RunStatus, RunUpdate, Runs, ThreadEntry,
    ThreadExpiry, ThreadSummary,
};
use crate::store::{Commit, Error, NewThread};

impl State {
    /// The entry to make for a new thread; none when one is there.
    pub(super) fn entry_of(&self, new: &NewThread, commit: &Commit) -> Result<Option<ThreadEntry>, Error> {
        match self.entries.get(&commit.thread) {
            Some(known) if known.tenant != new.tenant => Err(check::of_another_tenant(&commit.thread)),
            Some(_) => Ok(None),
            None => {
                let metadata = Map::from_iter([("graph_id".to_owned(), new.graph_name.as_str().into())]);
                Ok(Some(ThreadEntry::new(commit.thread.clone(), new.tenant.clone(), metadata, commit.at_ms)))
            }
        }
    }

    /// The thread's runs that the updates change, one update after the other. Those that begin go back to `base`, if they are rolled back.
    pub(super) fn updated_runs(
        &self,
        thread: &ThreadId,
        updates: &[RunUpdate],
        base: Option<&CheckpointId>,
        at_ms: u64,
    ) -> Result<Vec<RunRecord>, Error> {
        let mut changed: Vec<RunRecord> = Vec::new();
        for update in updates {
            let newest = changed.iter().rev().chain(&self.runs).find(|run| run.id == update.run);
            let found = newest.filter(|run| run.thread == *thread);
            let run = check_status(found, update)?;
            changed.push(updated(run, update, base, at_ms));
        }
        Ok(changed)
    }

    /// Puts changed runs in the places of those that they were.
    pub(super) fn replace_runs(&mut self, changed: Vec<RunRecord>) {
        for run in changed {
            self.runs.iter_mut().filter(|known| known.id == run.id).for_each(|known| *known = run.clone());
        }
    }

    fn is_advanced(&self, thread: &ThreadId) -> bool {
        self.threads.get(thread).is_some_and(|thread| thread.record.status == ThreadStatus::Running)
    }

    fn open_runs(&self, thread: &ThreadId) -> impl Iterator<Item = &RunRecord> {
        self.runs.iter().filter(move |run| run.thread == *thread && !run.status.is_over())
    }

    fn change_entry(
        &mut self,
        thread: &ThreadId,
        change: impl FnOnce(&mut ThreadEntry),
        audit: Vec<AuditEntry>,
    ) -> Result<ThreadEntry, Error> {
        let entry = self.entries.get_mut(thread).ok_or_else(|| Error::ThreadNotFound(thread.clone()))?;
        change(entry);
        let changed = entry.clone();
        self.trail.extend(audit);
        Ok(changed)
    }

    fn summary(&self, entry: &ThreadEntry) -> ThreadSummary {
        ThreadSummary {
            entry: entry.clone(),
            record: self.threads.get(&entry.thread).map(|thread| thread.record.clone()),
            runs_open: count(self.open_runs(&entry.thread).count()),
        }
    }

    /// All that a filter lets through, its page aside.
    fn summaries(&self, filter: &EntryFilter) -> Vec<ThreadSummary> {
        let wanted = |entry: &&ThreadEntry| {
            filter.tenant.as_ref().is_none_or(|tenant| entry.tenant == *tenant)
                && (filter.threads.is_empty() || filter.threads.contains(&entry.thread))
                && filter.metadata.iter().all(|(name, value)| entry.metadata.get(name) == Some(value))
        };
        let found = self.entries.values().filter(wanted).map(|entry| self.summary(entry));
        let status = |summary: &ThreadSummary| {
            EntryStatus::of(summary.record.as_ref().map(|record| record.status), summary.runs_open)
        };
        let mut found: Vec<ThreadSummary> =
            found.filter(|summary| filter.status.is_none_or(|wanted| status(summary) == wanted)).collect();
        // Stable: entries of the same moment stay in order of id.
        let moment = |summary: &ThreadSummary| match filter.order {
            EntryOrder::Updated => {
                let head = summary.record.as_ref().map_or(0, |record| record.updated_at_ms);
                summary.entry.updated_at_ms.max(head)
            }
            EntryOrder::Created => summary.entry.created_at_ms,
            EntryOrder::Id => 0,
        };
        match (filter.order, filter.ascending) {
            (EntryOrder::Id, false) => found.reverse(),
            (_, false) => found.sort_by_key(|summary| Reverse(moment(summary))),
            (_, true) => found.sort_by_key(moment),
        }
        found
    }
}

#[async_trait]
impl Runs for MemoryStore {
    async fn put_entry(&self, entry: ThreadEntry, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::entry(&entry)?;
        check::audit(&audit)?;
        let mut state = self.state();
        if state.entries.contains_key(&entry.thread) || state.threads.contains_key(&entry.thread) {
            return Err(Error::ThreadExists(entry.thread));
        }
        state.entries.insert(entry.thread.clone(), entry);
        state.trail.extend(audit);
        Ok(())
    }

    async fn merge_metadata(
        &self,
        thread: &ThreadId,
        metadata: Map<String, Value>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<ThreadEntry, Error> {
        check::merge(&metadata, at_ms)?;
        check::audit(&audit)?;
        self.state().change_entry(thread, |entry| entry.merge(metadata, at_ms), audit)
    }

    async fn set_expiry(
        &self,
        thread: &ThreadId,
        expiry: Option<ThreadExpiry>,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<ThreadEntry, Error> {
        check::expiry(expiry.as_ref(), at_ms)?;
        check::audit(&audit)?;
        let change =
            |entry: &mut ThreadEntry| (entry.expiry, entry.updated_at_ms) = (expiry, entry.updated_at_ms.max(at_ms));
        self.state().change_entry(thread, change, audit)
    }

    async fn due_entries(&self, now_ms: u64, limit: usize) -> Result<Vec<ThreadEntry>, Error> {
        let state = self.state();
        let due = |entry: &ThreadEntry| entry.expiry.map(|expiry| expiry.at_ms).filter(|at_ms| *at_ms <= now_ms);
        let mut found: Vec<(u64, &ThreadEntry)> =
            state.entries.values().filter_map(|entry| Some((due(entry)?, entry))).collect();
        // Stable: those due at the same moment stay in order of id.
        found.sort_by_key(|(at_ms, _)| *at_ms);
        Ok(found.into_iter().take(limit).map(|(_, entry)| entry.clone()).collect())
    }

    async fn entry(&self, thread: &ThreadId) -> Result<Option<ThreadSummary>, Error> {
        let state = self.state();
        Ok(state.entries.get(thread).map(|entry| state.summary(entry)))
    }

    async fn entries(&self, filter: &EntryFilter) -> Result<Vec<ThreadSummary>, Error> {
        let found = self.state().summaries(filter);
        Ok(found.into_iter().skip(filter.offset).take(filter.limit).collect())
    }

    async fn count_entries(&self, filter: &EntryFilter) -> Result<u64, Error> {
        Ok(count(self.state().summaries(filter).len()))
    }

    async fn delete_entry(&self, thread: &ThreadId, audit: Vec<AuditEntry>) -> Result<bool, Error> {
        check::audit(&audit)?;
        let mut state = self.state();
        if state.threads.contains_key(thread) {
            return Err(check::thread_is_there(thread));
        }
        if state.open_runs(thread).next().is_some() {
            return Err(check::run_is_open(thread));
        }
        if state.entries.remove(thread).is_none() {
            return Ok(false);
        }
        state.runs.retain(|run| run.thread != *thread);
        state.trail.extend(audit);
        Ok(true)
    }

    async fn put_run(&self, run: RunRecord, alone: bool, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::run(&run)?;
        check::audit(&audit)?;
        let mut state = self.state();
        if state.runs.iter().any(|known| known.id == run.id) {
            return Err(check::run_exists(&run.id));
        }
        if alone {
            if let Some(other) = state.open_runs(&run.thread).next() {
                return Err(check::run_changed(&other.id, Some(other.status)));
            }
            if state.is_advanced(&run.thread) {
                return Err(check::run_changed(&run.id, Some(RunStatus::Running)));
            }
        }
        state.runs.push(run);
        state.trail.extend(audit);
        Ok(())
    }

    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>, Error> {
        Ok(self.state().runs.iter().find(|known| known.id == *run).cloned())
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, Error> {
        let state = self.state();
        let wanted = |run: &&RunRecord| {
            filter.thread.as_ref().is_none_or(|thread| run.thread == *thread)
                && filter.tenant.as_ref().is_none_or(|tenant| run.tenant == *tenant)
                && filter.status.is_none_or(|status| run.status == status)
        };
        Ok(state.runs.iter().rev().filter(wanted).skip(filter.offset).take(filter.limit).cloned().collect())
    }

    async fn next_runs(&self, now_ms: u64, limit: usize) -> Result<Vec<RunRecord>, Error> {
        let state = self.state();
        let mut seen = BTreeSet::new();
        let is_next = |run: &&RunRecord| {
            let due = run.status == RunStatus::Pending && run.not_before_ms <= now_ms;
            let busy = || state.open_runs(&run.thread).any(|other| other.status == RunStatus::Running);
            let goes_back = || {
                let back = |other: &RunRecord| other.status.is_over() && other.cancel == Some(RunCancel::Rollback);
                state.runs.iter().any(|other| other.thread == run.thread && back(other))
            };
            due && !busy() && !goes_back() && seen.insert(run.thread.clone())
        };
        Ok(state.runs.iter().filter(is_next).take(limit).cloned().collect())
    }

    async fn update_run(&self, update: RunUpdate, at_ms: u64, audit: Vec<AuditEntry>) -> Result<(), Error> {
        check::run_update(&update, at_ms)?;
        check::audit(&audit)?;
        let mut state = self.state();
        let run = check_status(state.runs.iter().find(|run| run.id == update.run), &update)?;
        let base = state.threads.get(&run.thread).map(|thread| &thread.record.head);
        let changed = updated(run, &update, base, at_ms);
        state.replace_runs(vec![changed]);
        state.trail.extend(audit);
        Ok(())
    }

    async fn request_cancel(
        &self,
        run: &RunId,
        cancel: RunCancel,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<(), Error> {
        check::cancel(at_ms)?;
        check::audit(&audit)?;
        let mut state = self.state();
        match state.runs.iter_mut().find(|known| known.id == *run) {
            None => Err(check::run_changed(run, None)),
            Some(found) if found.status.is_over() => Err(check::run_changed(run, Some(found.status))),
            Some(found) if found.cancel >= Some(cancel) => Ok(()),
            Some(found) => {
                (found.cancel, found.updated_at_ms) = (Some(cancel), at_ms);
                state.trail.extend(audit);
                Ok(())
            }
        }
    }

    async fn cancel_requests(&self, limit: usize) -> Result<Vec<RunRecord>, Error> {
        let wanted = |run: &&RunRecord| match run.status {
            RunStatus::Pending => false,
            RunStatus::Running => run.cancel.is_some(),
            RunStatus::Success | RunStatus::Error | RunStatus::Interrupted => run.cancel == Some(RunCancel::Rollback),
        };
        Ok(self.state().runs.iter().filter(wanted).take(limit).cloned().collect())
    }

    async fn delete_run(&self, run: &RunId) -> Result<bool, Error> {
        let mut state = self.state();
        match state.runs.iter().position(|known| known.id == *run) {
            None => Ok(false),
            Some(place) if state.runs[place].status.is_over() => {
                state.runs.remove(place);
                Ok(true)
            }
            Some(place) => Err(check::run_changed(run, Some(state.runs[place].status))),
        }
    }
}

fn check_status<'a>(found: Option<&'a RunRecord>, update: &RunUpdate) -> Result<&'a RunRecord, Error> {
    let as_expected = found.filter(|run| run.status == update.from);
    as_expected.ok_or_else(|| check::run_changed(&update.run, found.map(|run| run.status)))
}

fn updated(run: &RunRecord, update: &RunUpdate, base: Option<&CheckpointId>, at_ms: u64) -> RunRecord {
    let begins = update.from == RunStatus::Pending && update.to == RunStatus::Running;
    RunRecord {
        status: update.to,
        error: update.error.clone(),
        cancel: run.cancel.filter(|_| !update.from.is_over()),
        base: if begins { Some(base.cloned()) } else { run.base.clone() },
        updated_at_ms: at_ms,
        ..run.clone()
    }
}
