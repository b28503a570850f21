//! The operations that this process performs now, or has performed and not seen in the journal yet.
//!
//! Two tasks of one process that name the same operation must not both find nothing in the journal and both send. The first claims the key; the
//! others wait until it has an outcome, and find that here even before it is durable. An outcome is dropped when there are many: what was not
//! de-duplicated by the receiver is an intent in the journal, so the worst that a dropped outcome causes is a doubt, never a second request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdpoint_graph::operation::{OperationKey, OperationRecord};
use tokio::sync::watch;

use crate::decision::First;

/// Outcomes kept. A task's commit follows its last outcome by milliseconds, so this is thousands of tasks.
const SETTLED_MAX: usize = 4096;
/// Bytes of outcomes kept, as counted by whoever settles.
const SETTLED_BYTES_MAX: usize = 64 << 20;

/// The table; clones are the same table.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    running: HashMap<OperationKey, Running>,
    settled: HashMap<OperationKey, (Arc<OperationRecord>, usize)>,
    /// Keys of `settled`, oldest first; a key that was settled again stands here more than once.
    order: VecDeque<OperationKey>,
    settled_bytes: usize,
}

struct Running {
    first: First,
    /// Dropped when the operation is not running any more: that wakes those who wait.
    ended: watch::Sender<()>,
}

/// What claiming a key gave.
pub(crate) enum Claimed {
    /// It is the caller's until the claim is settled or dropped. With it comes the outcome that this process remembers.
    Mine(Claim, Option<Arc<OperationRecord>>),
    /// Another task performs it.
    Busy {
        /// Its request.
        first: First,
        /// Closes when it is not running any more.
        ended: watch::Receiver<()>,
    },
}

/// A key that nobody else can claim. Dropped without an outcome, it leaves nothing behind.
pub(crate) struct Claim {
    table: InFlight,
    key: OperationKey,
}

impl InFlight {
    /// Claims a key, if nobody has.
    pub(crate) fn claim(&self, key: &OperationKey, first: First) -> Claimed {
        let mut table = self.lock();
        if let Some(running) = table.running.get(key) {
            return Claimed::Busy { first: running.first.clone(), ended: running.ended.subscribe() };
        }
        table.running.insert(key.clone(), Running { first, ended: watch::Sender::new(()) });
        let remembered = table.settled.get(key).map(|(record, _)| record.clone());
        Claimed::Mine(Claim { table: self.clone(), key: key.clone() }, remembered)
    }

    /// Forgets an outcome: the journal has the same or another.
    pub(crate) fn forget(&self, key: &OperationKey) {
        self.lock().forget(key);
    }

    /// The critical sections are a few map operations and do not wait, so a std mutex serves; none of them can leave the table half changed.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Ends the claim with an outcome, for those who come before it is durable. `bytes`: about what it holds in memory.
    pub(crate) fn settle(self, record: Arc<OperationRecord>, bytes: usize) {
        let mut table = self.table.lock();
        table.forget(&self.key);
        table.settled_bytes += bytes;
        table.settled.insert(self.key.clone(), (record, bytes));
        table.order.push_back(self.key.clone());
        while table.order.len() > SETTLED_MAX || table.settled_bytes > SETTLED_BYTES_MAX {
            let Some(oldest) = table.order.pop_front() else { break };
            table.forget(&oldest);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.table.lock().running.remove(&self.key);
    }
}

impl Table {
    fn forget(&mut self, key: &OperationKey) {
        if let Some((_, bytes)) = self.settled.remove(key) {
            self.settled_bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::digest::Digest;
    use holdpoint_graph::ids::{ConnectorName, Epoch, NodeName, OperationId, TaskId, ThreadId};
    use holdpoint_graph::operation::{OperationState, Scope};
    use serde_json::Value;

    use super::*;

    fn key(id: usize) -> OperationKey {
        OperationKey {
            scope: Scope::Global("refund".into()),
            connector: ConnectorName::parse("pay").expect("valid"),
            id: OperationId::parse(format!("id-{id}")).expect("valid"),
        }
    }

    fn first() -> First {
        First { digest: Digest::of_bytes(b""), thread: ThreadId::parse("t").expect("valid"), begun_at_ms: 0 }
    }

    fn record(id: usize) -> Arc<OperationRecord> {
        Arc::new(OperationRecord {
            key: key(id),
            thread: first().thread,
            task: TaskId::parse("00000000-0000-8000-8000-000000000000").expect("valid"),
            node: NodeName::parse("n").expect("valid"),
            request: Value::Null,
            request_digest: first().digest,
            state: OperationState::Completed(Value::Null),
            epoch: Epoch(1),
            begun_at_ms: 0,
            send_by_ms: None,
            settles_at_ms: None,
            notes: Vec::new(),
            finished_at_ms: Some(0),
        })
    }

    fn mine(table: &InFlight, id: usize) -> (Claim, Option<Arc<OperationRecord>>) {
        match table.claim(&key(id), first()) {
            Claimed::Mine(claim, remembered) => (claim, remembered),
            Claimed::Busy { .. } => panic!("nobody else has claimed {id}"),
        }
    }

    #[tokio::test]
    async fn a_key_has_one_owner_and_its_outcome_is_found_by_the_next() {
        let table = InFlight::default();
        let (claim, remembered) = mine(&table, 1);
        assert_eq!(remembered, None);
        let Claimed::Busy { mut ended, .. } = table.claim(&key(1), first()) else { panic!("it is claimed") };
        claim.settle(record(1), 10);
        assert!(ended.changed().await.is_err(), "the waiter is woken by the sender's end");
        let (claim, remembered) = mine(&table, 1);
        assert_eq!(remembered, Some(record(1)));
        table.forget(&key(1));
        drop(claim);
        let (claim, remembered) = mine(&table, 1);
        assert_eq!(remembered, None);
        drop(claim);
        mine(&table, 1);
    }

    #[test]
    fn outcomes_are_bounded_in_number_and_size() {
        let table = InFlight::default();
        for id in 0..SETTLED_MAX + 10 {
            mine(&table, id).0.settle(record(id), 1);
        }
        assert_eq!(table.lock().settled.len(), SETTLED_MAX);
        assert_eq!(mine(&table, 9).1, None, "the oldest went first");
        assert!(mine(&table, 10).1.is_some());
        mine(&table, 20_000).0.settle(record(20_000), SETTLED_BYTES_MAX);
        let table = table.lock();
        assert_eq!((table.settled.len(), table.settled_bytes, table.running.len()), (1, SETTLED_BYTES_MAX, 0));
    }
}
