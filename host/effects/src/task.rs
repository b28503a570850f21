//! The operations of one execution of a node: the one way to the outside.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::nodes::{NodeCall, TaskIdentity, TaskJournal};
use holdpoint_graph::operation::{OperationRecord, OperationState};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::attempt::in_doubt;
use crate::configuration::Class;
use crate::connectors::Rejection;
use crate::decision::{Asked, Decision, First, Found, decide};
use crate::effects::Shared;
use crate::in_flight::{Claim, Claimed};
use crate::perform::{SendBy, Sending};
use crate::records::{Merged, Records, merge};
use crate::refusal::{Halt, Reason, Refusal};
use act::Job;
use order::Order;
use results::{Results, busy_refusal};

mod act;
mod order;
mod results;

/// An operation as the guest asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRequest {
    /// The author's name for it; none derives one from the task and the call order.
    pub id: Option<String>,
    /// The connector.
    pub connector: String,
    /// What the connector is to do.
    pub request: Value,
}

/// The side effects of one execution of a node. Dropped before [`Self::finish`], it leaves what the journal stored: requests that were under
/// way are in doubt, or safe to send again, according to their class.
pub struct TaskEffects {
    shared: Arc<Shared>,
    task: TaskIdentity,
    granted: Vec<ConnectorName>,
    /// The task's recorded time.
    clock_ms: u64,
    journal: Arc<dyn TaskJournal>,
    /// Operations asked for so far, refused ones too: a replay counts the same.
    calls: u32,
    records: Records,
}

/// An operation that is this execution's to decide.
struct Owned {
    order: Order,
    claim: Claim,
    /// What this process remembers of it.
    remembered: Option<Arc<OperationRecord>>,
}

/// An operation that another task performs now.
struct Busy {
    order: Order,
    ended: watch::Receiver<()>,
}

impl TaskEffects {
    pub(crate) fn new(shared: Arc<Shared>, call: &NodeCall) -> Self {
        Self {
            shared,
            task: call.task.clone(),
            granted: call.connectors.clone(),
            clock_ms: call.unrecorded_since_ms(),
            journal: call.journal.clone(),
            calls: 0,
            records: Records::default(),
        }
    }

    /// Performs operations at the same time, each at most once for its id, and gives their answers in order. One that is refused does not stop
    /// the others. All intents that they need are one commit.
    ///
    /// # Errors
    /// [`Halt`]: the execution ends here and the guest gets nothing; call [`Self::finish`] all the same. When one is in doubt, the others have
    /// ended and are kept.
    pub async fn perform_all(&mut self, requests: Vec<OperationRequest>) -> Result<Vec<Result<Value, Refusal>>, Halt> {
        let mut results = Results { given: Vec::with_capacity(requests.len()), doubts: Vec::new() };
        let mut open = Vec::new();
        for (position, request) in requests.into_iter().enumerate() {
            let admitted = self.admit(position, request);
            results.given.push(admitted.as_ref().err().map(|reason| Err(reason.clone().into())));
            open.extend(admitted);
        }
        let wait_until = Instant::now() + self.wait_max(&open);
        while !open.is_empty() {
            let (owned, mut busy) = self.claim(open, &mut results);
            let jobs = self.decide(owned, &mut results).await?;
            let jobs = self.intend(jobs).await?;
            self.send(jobs, &mut results).await;
            // Nothing is claimed any more, so tasks that wait for each other's operations cannot wait for ever.
            if let Some(first) = busy.first_mut()
                && timeout_at(wait_until, first.ended.changed()).await.is_err()
            {
                for busy in busy.drain(..) {
                    results.given[busy.order.position] = Some(Err(busy_refusal()));
                }
            }
            open = busy.into_iter().map(|busy| busy.order).collect();
        }
        results.finish()
    }

    /// Ends the execution: gives the operations that reached an outcome and are not stored yet. They belong into the task's commit, whatever the
    /// execution's outcome, before the task is executed again.
    pub fn finish(self) -> Vec<OperationRecord> {
        self.records.into_unstored()
    }

    /// Claims what is free; what another task performs is left for later.
    fn claim(&self, open: Vec<Order>, results: &mut Results) -> (Vec<Owned>, Vec<Busy>) {
        let (mut owned, mut busy) = (Vec::new(), Vec::new());
        for order in open {
            let now_ms = self.shared.clock.now_ms();
            match self.shared.in_flight.claim(&order.key, self.first(&order, now_ms)) {
                Claimed::Mine(claim, remembered) => owned.push(Owned { order, claim, remembered }),
                Claimed::Busy { first, ended } => match decide(Found::Running(&first), &self.asked(&order, now_ms)) {
                    Decision::Conflict(reason) => results.refuse(&order, reason),
                    _ => busy.push(Busy { order, ended }),
                },
            }
        }
        (owned, busy)
    }

    /// Finds out what is known of each operation and acts on it; gives back those that are to be performed.
    async fn decide(&mut self, owned: Vec<Owned>, results: &mut Results) -> Result<Vec<Job>, Halt> {
        let journal = self.shared.journal.clone();
        let reads = owned.iter().map(|owned| {
            let (journal, key) = (&journal, &owned.order.key);
            let own = self.records.get(key).is_some();
            async move { if own { Ok(None) } else { journal.operation(key).await } }
        });
        let stored = future::try_join_all(reads).await.map_err(|error| journal_fault(&error))?;
        let mut jobs = Vec::new();
        for (owned, stored) in owned.into_iter().zip(stored) {
            let Owned { order, claim, remembered } = owned;
            let now_ms = self.shared.clock.now_ms();
            let had_memory = remembered.is_some();
            let record = match self.records.get(&order.key) {
                Some(own) => Some(own.clone()),
                None => match merge(&self.task.id, stored, remembered) {
                    Merged::Nothing => None,
                    Merged::Stored(record) => {
                        if had_memory {
                            self.shared.in_flight.forget(&order.key);
                        }
                        Some(record)
                    }
                    Merged::Remembered(record) => {
                        // Another task's commit will store it too; whichever is first lets this task's answer stand on something durable.
                        // A doubt is left to that one: it may be settled by the time that this task commits.
                        if !matches!(record.state, OperationState::InDoubt(_)) {
                            self.records.put_unstored(record.clone());
                        }
                        Some(record)
                    }
                    Merged::NotRecordedYet => {
                        results.given[order.position] = Some(Err(busy_refusal()));
                        continue;
                    }
                },
            };
            let found = match (&record, self.records.tried(&order.key)) {
                (Some(record), _) => Found::Recorded(record),
                (None, Some(first)) => Found::Tried(first),
                (None, None) => Found::Nothing,
            };
            match decide(found, &self.asked(&order, now_ms)) {
                Decision::Replay(answer) => {
                    self.report_replay(&order, record.as_ref());
                    results.given[order.position] = Some(answer.map_err(Refusal::Failed));
                }
                Decision::Conflict(reason) => results.refuse(&order, reason),
                Decision::InDoubt(reason) => results.doubts.push((order.position, order.key, reason)),
                Decision::WindowPassed(reason) => {
                    self.settle(order, claim, now_ms, None, in_doubt(reason), results);
                }
                Decision::Perform { intent } => match self.sending(&order, now_ms) {
                    Ok(sending) => jobs.push(Job { order, claim, sending, intent, begun_at_ms: now_ms }),
                    Err(reason) => results.refuse(&order, reason),
                },
                Decision::Wait => unreachable!("invariant: whoever holds the claim does not wait for it"),
            }
        }
        Ok(jobs)
    }

    /// Has the connector check the request.
    fn sending(&self, order: &Order, now_ms: u64) -> Result<Sending, Reason> {
        let Some(slot) = self.shared.connectors.get(&order.key.connector) else {
            unreachable!("invariant: an admitted operation's connector is configured");
        };
        let connector = slot.connector(&order.key.connector)?;
        let prepared = connector.prepare(&order.key, &order.request).map_err(|rejection| match rejection {
            Rejection::Invalid(reason) => Reason::RequestInvalid(reason),
            Rejection::Denied(reason) => Reason::RequestDenied(reason),
            Rejection::Address => Reason::Address,
        })?;
        let send_by = match order.class {
            Class::Idempotent { window_ms: Some(window_ms) } => {
                let left_ms = self.clock_ms.saturating_add(window_ms).saturating_sub(now_ms);
                Some(SendBy::after(now_ms, Duration::from_millis(left_ms)))
            }
            // Set with the intent, when it is known how many leave together.
            Class::AtMostOnce | Class::Idempotent { window_ms: None } => None,
        };
        let timeout = Duration::from_millis(slot.configuration.timeout_ms);
        Ok(Sending { prepared, class: order.class, timeout, send_by, clock: self.shared.clock.clone() })
    }

    fn first(&self, order: &Order, begun_at_ms: u64) -> First {
        First { digest: order.digest.clone(), thread: self.task.thread.clone(), begun_at_ms }
    }

    fn asked<'a>(&'a self, order: &'a Order, now_ms: u64) -> Asked<'a> {
        Asked { digest: &order.digest, thread: &self.task.thread, class: order.class, clock_ms: self.clock_ms, now_ms }
    }

    /// As long as an operation can take that began just now: its last attempt begins within a timeout.
    fn wait_max(&self, open: &[Order]) -> Duration {
        let timeouts = open.iter().filter_map(|order| self.shared.connectors.get(&order.key.connector));
        let longest_ms = timeouts.map(|slot| slot.configuration.timeout_ms).max().unwrap_or_default();
        Duration::from_millis(longest_ms).saturating_mul(2).saturating_add(Duration::from_secs(1))
    }

    /// A hit of another thread is worth knowing: shared business operations are meant to be, guessed ids are not.
    fn report_replay(&self, order: &Order, record: Option<&OperationRecord>) {
        let key = &order.key;
        match record {
            Some(record) if record.thread != self.task.thread => tracing::warn!(
                connector = %key.connector, id = %key.id, digest = %order.digest, thread = %self.task.thread,
                first_thread = %record.thread, "an operation of another thread answers"
            ),
            _ => {
                tracing::debug!(connector = %key.connector, id = %key.id, digest = %order.digest, "answered from the journal");
            }
        }
    }
}

fn journal_fault(error: &holdpoint_store::Error) -> Halt {
    match error {
        holdpoint_store::Error::Fenced { .. } => Halt::Fenced,
        other => Halt::Fault(format!("the operations' journal cannot be read: {other} [HP0550]")),
    }
}

/// The operation's id: the author's, or derived from the task and the call order.
fn operation_id(id: Option<String>, task: &TaskIdentity, call: u32) -> Result<OperationId, Reason> {
    match id {
        Some(id) => OperationId::parse(id).map_err(|error| Reason::OperationId(error.to_string())),
        None => Ok(OperationId::derive(&task.id, call)),
    }
}
