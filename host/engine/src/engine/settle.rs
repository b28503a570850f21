//! Doubt about an operation, settled by a person.

use holdpoint_graph::ids::{ConnectorName, OperationId, ThreadId};
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::{NoteKind, OperationKey, OperationNote, OperationRecord, OperationState, Scope};
use holdpoint_store::{OperationFilter, Snapshot, TaskRecord, TaskStatus, ThreadStatus};
use serde_json::{Value, json};

use super::Engine;
use crate::claim;
use crate::error::Error;

/// What a person says became of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// It happened; the node gets this answer.
    Happened(Value),
    /// It did not happen: whoever asks for it again may send it.
    Send,
    /// It did not happen, and leaves after a commit: it is queued again.
    Queue,
    /// It counts as failed for good; the node gets this failure.
    Fail,
}

impl Engine {
    /// Settles an operation whose outcome is unknown, in the name of `by` and for ever marked as a person's word. Threads that wait for it become
    /// running and nobody's; [`Engine::proceed`] continues them.
    ///
    /// # Errors
    /// [`Error::OperationNotFound`]; [`Error::NotInDoubt`]: it has an outcome, or somebody else settled it first (exactly one wins);
    /// [`Error::NotSettledYet`]: it may still arrive, so nobody can know that it will not; [`Error::NoReason`]; [`Error::Store`].
    pub async fn settle(
        &self,
        key: &OperationKey,
        word: Word,
        by: &str,
        reason: &str,
    ) -> Result<OperationRecord, Error> {
        if reason.trim().is_empty() {
            return Err(Error::NoReason);
        }
        let not_found = || Error::OperationNotFound(key.id.clone());
        let mut record = self.inner.store.operation(key).await?.ok_or_else(not_found)?;
        if self.has_idle_writer(&record).await? {
            // Its worker may sleep with the operation in hand. Continuing the thread takes it over, so that no outcome can replace the word.
            self.proceed(&record.thread).await?;
            record = self.inner.store.operation(key).await?.ok_or_else(not_found)?;
        }
        let now_ms = self.inner.clock.now_ms();
        self.check_in_doubt(&record, &word, now_ms).await?;
        let speaker = self.options.principal.actor_named(by);
        let next = settled(&record, word, &speaker.id, reason, now_ms);
        let body = json!({
            "operation": key.id.as_str(),
            "connector": key.connector.as_str(),
            "scope": key.scope.to_text(),
            "request_digest": record.request_digest.as_str(),
            "state": next.state.name(),
            "reason": reason,
        });
        let audit = vec![self.entry_by(speaker, &record.thread, "operation.settled", now_ms, body)];
        if self.inner.store.exchange_operation(&record, next.clone(), now_ms, audit).await? {
            return Ok(next);
        }
        let winner = self.inner.store.operation(key).await?.ok_or_else(not_found)?;
        Err(Error::NotInDoubt(Box::new(winner)))
    }

    /// Whether the thread is still at the epoch of an intent, and free to be taken over.
    async fn has_idle_writer(&self, record: &OperationRecord) -> Result<bool, Error> {
        if record.state != OperationState::Intended {
            return Ok(false);
        }
        let thread = self.inner.store.thread(&record.thread).await?;
        Ok(thread.is_some_and(|thread| {
            thread.epoch == record.epoch
                && thread.status == ThreadStatus::Running
                && claim::is_free(&thread, self.inner.owners.as_ref(), self.inner.clock.now_ms())
        }))
    }

    async fn check_in_doubt(&self, record: &OperationRecord, word: &Word, now_ms: u64) -> Result<(), Error> {
        let in_doubt = match record.state {
            OperationState::InDoubt(_) => true,
            OperationState::Intended => {
                // Somebody may be performing it this moment.
                let thread = self.inner.store.thread(&record.thread).await?;
                let owned = thread.is_some_and(|thread| {
                    thread.epoch == record.epoch && !claim::is_free(&thread, self.inner.owners.as_ref(), now_ms)
                });
                if owned {
                    return Err(Error::NotInDoubt(Box::new(record.clone())));
                }
                true
            }
            _ => false,
        };
        if !in_doubt {
            return Err(Error::NotInDoubt(Box::new(record.clone())));
        }
        match record.settles_at_ms {
            Some(settles_at_ms) if now_ms < settles_at_ms && !matches!(word, Word::Happened(_)) => {
                Err(Error::NotSettledYet { operation: record.key.id.clone(), settles_at_ms })
            }
            _ => Ok(()),
        }
    }

    /// Whether a thread waits for doubt that has been settled meanwhile: then it can go on at once. Looks at each task in doubt, of which there
    /// are few.
    pub(super) async fn doubt_is_settled(&self, snapshot: &Snapshot) -> Result<bool, Error> {
        for task in tasks_in_doubt(snapshot) {
            let key = task.error.as_ref().and_then(|error| operation_of(error.details.as_ref()?));
            let Some(key) = key else { return Ok(true) };
            if self.inner.store.operation(&key).await?.is_none_or(|record| !is_unsettled(&record)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first of the thread's operations whose outcome is unknown, wherever it was begun: in a subgraph, in one that keeps nothing, or by a worker
    /// that died before it could record its task.
    pub(super) async fn in_doubt(&self, thread: &ThreadId) -> Result<Option<OperationId>, Error> {
        let open = OperationFilter {
            thread: Some(thread.clone()),
            open: true,
            limit: usize::MAX,
            ..OperationFilter::default()
        };
        let found = self.inner.store.find_operations(&open).await?;
        Ok(found.into_iter().find(is_unsettled).map(|record| record.key.id))
    }
}

fn is_unsettled(record: &OperationRecord) -> bool {
    matches!(record.state, OperationState::InDoubt(_) | OperationState::Intended)
}

/// The tasks of a step that are in doubt, those of running subgraphs included.
fn tasks_in_doubt(snapshot: &Snapshot) -> Vec<&TaskRecord> {
    let own = snapshot.tasks.iter().filter(|task| task.status == TaskStatus::InDoubt);
    own.chain(snapshot.children.values().flat_map(tasks_in_doubt)).collect()
}

/// The record with a person's word in it. Pure.
fn settled(record: &OperationRecord, word: Word, by: &str, reason: &str, now_ms: u64) -> OperationRecord {
    let (state, kind) = match word {
        Word::Happened(answer) => (OperationState::Completed(answer), NoteKind::Happened),
        Word::Send => (OperationState::NotSent, NoteKind::NotHappened),
        Word::Queue => (OperationState::Queued { attempts: 0, due_at_ms: now_ms }, NoteKind::NotHappened),
        Word::Fail => (OperationState::Failed(failure(by, reason)), NoteKind::Failed),
    };
    let queued = matches!(state, OperationState::Queued { .. });
    let note = OperationNote { at_ms: now_ms, kind, by: by.to_owned(), text: reason.to_owned() };
    OperationRecord {
        state,
        send_by_ms: record.send_by_ms.filter(|_| !queued),
        settles_at_ms: record.settles_at_ms.filter(|_| !queued),
        finished_at_ms: (!queued).then_some(now_ms),
        notes: record.notes.iter().cloned().chain([note]).collect(),
        ..record.clone()
    }
}

/// What the node gets. `request_sent` is null: nobody knows.
fn failure(by: &str, reason: &str) -> Failure {
    Failure {
        code: "settled-as-failed".to_owned(),
        message: format!("{by} settled the doubt: {reason}"),
        retryable: false,
        retry_after_ms: None,
        details: Some(json!({ "request_sent": null })),
    }
}

/// The operation that a task in doubt names in its error.
pub(crate) fn operation_of(details: &Value) -> Option<OperationKey> {
    let text = |name: &str| details.get(name).and_then(Value::as_str);
    Some(OperationKey {
        scope: Scope::parse(text("scope")?)?,
        connector: ConnectorName::parse(text("connector")?).ok()?,
        id: OperationId::parse(text("operation_id")?).ok()?,
    })
}
