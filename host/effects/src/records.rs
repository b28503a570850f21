//! What one execution knows of its operations, and what of that is durable.

use std::collections::HashMap;
use std::sync::Arc;

use holdpoint_graph::digest::canonical_json;
use holdpoint_graph::ids::TaskId;
use holdpoint_graph::nodes::Failure;
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState};

use crate::decision::First;

/// Requests and answers that one execution may hold, in bytes of JSON.
pub(crate) const TASK_BYTES_MAX: usize = 64 << 20;

/// The operations of one execution.
#[derive(Default)]
pub(crate) struct Records {
    known: HashMap<OperationKey, Known>,
    /// Keys of records that are not stored, in order of outcome; may also name some that are.
    unstored: Vec<OperationKey>,
    /// Requests that were tried and of which nothing is recorded.
    tried: HashMap<OperationKey, First>,
    bytes: usize,
}

struct Known {
    record: OperationRecord,
    stored: bool,
}

impl Records {
    /// What this execution knows of an operation.
    pub(crate) fn get(&self, key: &OperationKey) -> Option<&OperationRecord> {
        self.known.get(key).map(|known| &known.record)
    }

    /// The request that was tried under a key without a record.
    pub(crate) fn tried(&self, key: &OperationKey) -> Option<&First> {
        self.tried.get(key)
    }

    /// Takes note of a request of which nothing is recorded. The first one stays.
    pub(crate) fn put_tried(&mut self, key: OperationKey, first: First) {
        self.tried.entry(key).or_insert(first);
    }

    /// Takes in a record that the next commit has to store; gives the bytes of its request and outcome.
    pub(crate) fn put_unstored(&mut self, record: OperationRecord) -> usize {
        let outcome_bytes = outcome_bytes(&record.state);
        let bytes = outcome_bytes + canonical_json(&record.request).len();
        self.bytes += outcome_bytes;
        let key = record.key.clone();
        let before = self.known.insert(key.clone(), Known { record, stored: false });
        if before.is_none_or(|before| before.stored) {
            self.unstored.push(key);
        }
        bytes
    }

    /// Counts bytes of a request; gives all that are counted.
    pub(crate) fn add_bytes(&mut self, bytes: usize) -> usize {
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes
    }

    /// What a commit of these intents has to store: what is not stored yet, then the intents, each key once.
    pub(crate) fn unstored_with(&self, intents: &[OperationRecord]) -> Vec<OperationRecord> {
        let replaced = |key: &OperationKey| intents.iter().any(|intent| intent.key == *key);
        let unstored = self.unstored_records().filter(|record| !replaced(&record.key)).cloned();
        unstored.chain(intents.iter().cloned()).collect()
    }

    /// The commit of [`Self::unstored_with`] succeeded.
    pub(crate) fn all_stored(&mut self, intents: Vec<OperationRecord>) {
        for key in self.unstored.drain(..) {
            if let Some(known) = self.known.get_mut(&key) {
                known.stored = true;
            }
        }
        for intent in intents {
            self.known.insert(intent.key.clone(), Known { record: intent, stored: true });
        }
    }

    /// What is not stored, in order of outcome.
    pub(crate) fn into_unstored(mut self) -> Vec<OperationRecord> {
        let keys = std::mem::take(&mut self.unstored);
        keys.iter()
            .filter_map(|key| self.known.remove(key))
            .filter(|known| !known.stored)
            .map(|known| known.record)
            .collect()
    }

    fn unstored_records(&self) -> impl Iterator<Item = &OperationRecord> {
        self.unstored
            .iter()
            .filter_map(|key| self.known.get(key))
            .filter(|known| !known.stored)
            .map(|known| &known.record)
    }
}

/// What the journal and this process's memory say together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Merged {
    /// Nothing is known.
    Nothing,
    /// The journal's record; memory has nothing to add.
    Stored(OperationRecord),
    /// An outcome that is not in the journal yet.
    Remembered(OperationRecord),
    /// Another task did not get it sent, and the journal does not know that yet. Its commit would replace whatever a new attempt records, so there
    /// must be no new attempt before that.
    NotRecordedYet,
}

/// Puts the journal's record and the remembered outcome together, for `task`. The journal wins unless it lacks just what memory has.
pub(crate) fn merge(
    task: &TaskId,
    stored: Option<OperationRecord>,
    remembered: Option<Arc<OperationRecord>>,
) -> Merged {
    let remembered = remembered.filter(|remembered| match &stored {
        // What was not sent was an intent: where there is none, there is nothing to wait for.
        None => remembered.state != OperationState::NotSent,
        Some(stored) => {
            let same_attempt = stored.task == remembered.task
                && stored.epoch == remembered.epoch
                && stored.begun_at_ms == remembered.begun_at_ms;
            // A queued one was stored before anything was intended.
            stored.state == OperationState::Intended
                && same_attempt
                && !matches!(remembered.state, OperationState::Queued { .. })
        }
    });
    match (stored, remembered) {
        // A task's executions follow each other: an earlier one's commit has come, or never will.
        (_, Some(remembered)) if remembered.state == OperationState::NotSent && remembered.task != *task => {
            Merged::NotRecordedYet
        }
        (_, Some(remembered)) => Merged::Remembered(Arc::unwrap_or_clone(remembered)),
        (Some(stored), None) => Merged::Stored(stored),
        (None, None) => Merged::Nothing,
    }
}

fn outcome_bytes(state: &OperationState) -> usize {
    match state {
        OperationState::Completed(answer) => canonical_json(answer).len(),
        OperationState::Failed(Failure { message, details, .. }) => {
            message.len() + details.as_ref().map_or(0, |details| canonical_json(details).len())
        }
        OperationState::InDoubt(reason) => reason.len(),
        OperationState::Intended | OperationState::NotSent | OperationState::Queued { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::digest::Digest;
    use holdpoint_graph::ids::{ConnectorName, Epoch, NodeName, OperationId, TaskId, ThreadId};
    use holdpoint_graph::operation::Scope;
    use serde_json::json;

    use super::*;

    fn record(id: &str, state: OperationState, begun_at_ms: u64) -> OperationRecord {
        OperationRecord {
            key: OperationKey {
                scope: Scope::Global("refund".into()),
                connector: ConnectorName::parse("pay").expect("valid"),
                id: OperationId::parse(id).expect("valid"),
            },
            thread: ThreadId::parse("t").expect("valid"),
            task: TaskId::parse("00000000-0000-8000-8000-000000000000").expect("valid"),
            node: NodeName::parse("n").expect("valid"),
            request: json!(1),
            request_digest: Digest::of_json(&json!(1)),
            state,
            epoch: Epoch(1),
            begun_at_ms,
            send_by_ms: None,
            settles_at_ms: None,
            notes: Vec::new(),
            finished_at_ms: None,
        }
    }

    fn names(records: &[OperationRecord]) -> Vec<String> {
        records.iter().map(|record| format!("{} {}", record.key.id, record.state.name())).collect()
    }

    #[test]
    fn a_commit_stores_each_key_once_and_nothing_twice() {
        let mut records = Records::default();
        records.put_unstored(record("a", OperationState::NotSent, 1));
        records.put_unstored(record("b", OperationState::Completed(json!(1)), 1));
        let intents = vec![record("a", OperationState::Intended, 2), record("c", OperationState::Intended, 2)];
        assert_eq!(names(&records.unstored_with(&intents)), ["b completed", "a intended", "c intended"]);
        records.all_stored(intents);
        assert!(records.unstored_with(&[]).is_empty());
        records.put_unstored(record("c", OperationState::Completed(json!(1)), 2));
        records.put_unstored(record("a", OperationState::Failed(crate::attempt::failure("x", "y")), 2));
        assert_eq!(names(&records.into_unstored()), ["c completed", "a failed"]);
    }

    #[test]
    fn the_journal_wins_unless_it_lacks_the_outcome() {
        let done = || OperationState::Completed(json!(1));
        let memory = |state| Some(Arc::new(record("a", state, 5)));
        let table = [
            (None, None, Merged::Nothing),
            (None, memory(done()), Merged::Remembered(record("a", done(), 5))),
            (None, memory(OperationState::NotSent), Merged::Nothing),
            (Some((OperationState::Intended, 5)), memory(done()), Merged::Remembered(record("a", done(), 5))),
            (Some((OperationState::Intended, 5)), memory(OperationState::NotSent), Merged::NotRecordedYet),
            (
                Some((OperationState::Intended, 6)),
                memory(done()),
                Merged::Stored(record("a", OperationState::Intended, 6)),
            ),
            (
                Some((OperationState::NotSent, 5)),
                memory(OperationState::NotSent),
                Merged::Stored(record("a", OperationState::NotSent, 5)),
            ),
            (Some((done(), 5)), memory(OperationState::NotSent), Merged::Stored(record("a", done(), 5))),
            (Some((done(), 5)), None, Merged::Stored(record("a", done(), 5))),
        ];
        for (stored, remembered, expected) in table {
            let stored = stored.map(|(state, begun_at_ms)| record("a", state, begun_at_ms));
            let other = TaskId::parse("00000000-0000-8000-8000-000000000001").expect("valid");
            assert_eq!(merge(&other, stored.clone(), remembered.clone()), expected, "{stored:?} {remembered:?}");
            if expected == Merged::NotRecordedYet {
                let own = record("a", OperationState::NotSent, 5);
                assert_eq!(merge(&own.task.clone(), stored, remembered), Merged::Remembered(own));
            }
        }
    }
}
