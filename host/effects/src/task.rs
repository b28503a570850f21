//! The operations of one execution of a node: the one way to the outside.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::ConnectorName;
use holdpoint_graph::nodes::{EffectMode, HOST_OCCURRENCE_FIRST, NodeCall, RecordedAnswer, TaskIdentity, TaskJournal};
use holdpoint_graph::operation::{OperationHit, OperationRecord, OperationState};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::attempt::in_doubt;
use crate::configuration::Class;
use crate::decision::{Asked, Decision, First, Found, decide};
use crate::effects::Shared;
use crate::in_flight::{Claim, Claimed};
use crate::perform::{SendBy, Sending};
use crate::records::{Merged, Records, merge};
use crate::refusal::{Halt, Reason, Refusal};
use act::Job;
use order::Order;
use reconcile::Doubtful;
use results::{Results, busy_refusal};

mod act;
mod approve;
mod order;
mod reconcile;
mod recorded;
mod results;

/// What an execution leaves for its task's commit, whatever the execution's outcome.
#[derive(Debug, Default)]
pub struct Finished {
    /// Operations that reached an outcome, or were queued, and are not stored yet.
    pub operations: Vec<OperationRecord>,
    /// Other threads' records that answered.
    pub hits: Vec<OperationHit>,
}

/// An operation as the guest asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRequest {
    /// The author's name for it; none derives one from the task, the request, and which of the execution's equal requests it is.
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
    /// What becomes of operations that have no record.
    mode: EffectMode,
    /// Operations asked for so far, refused ones too: a replay counts the same.
    calls: u32,
    /// How many of them asked for the same of the same connector, by digest.
    equal_requests: HashMap<Digest, u32>,
    /// What people said to the host's questions.
    answers: Vec<RecordedAnswer>,
    records: Records,
    hits: Vec<OperationHit>,
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
            mode: call.effects,
            calls: 0,
            equal_requests: HashMap::new(),
            answers: call.answers.iter().filter(|answer| answer.occurrence >= HOST_OCCURRENCE_FIRST).cloned().collect(),
            records: Records::default(),
            hits: Vec::new(),
        }
    }

    /// Performs operations at the same time, each at most once for its id, and gives their answers in order. One that is refused does not stop
    /// the others. All intents that they need are one commit.
    ///
    /// In mode [`EffectMode::Recorded`] nothing is performed, asked or stored: what has a record is answered from it, the rest is withheld. In
    /// mode [`EffectMode::Ask`] a person is asked before each operation that has no record.
    ///
    /// # Errors
    /// [`Halt`]: the execution ends here and the guest gets nothing; call [`Self::finish`] all the same. When one is in doubt, the others have
    /// ended and are kept.
    pub async fn perform_all(&mut self, requests: Vec<OperationRequest>) -> Result<Vec<Result<Value, Refusal>>, Halt> {
        let mut results = Results::with_capacity(requests.len());
        let mut open = Vec::new();
        for (position, request) in requests.into_iter().enumerate() {
            let admitted = self.admit(position, request);
            results.given.push(admitted.as_ref().err().map(|reason| Err(reason.clone().into())));
            open.extend(admitted);
        }
        if self.mode == EffectMode::Recorded {
            self.answer_from_records(open, &mut results).await?;
            return results.finish();
        }
        let wait_until = Instant::now() + self.wait_max(&open);
        while !open.is_empty() {
            let (owned, mut busy) = self.claim(open, &mut results);
            let (mut jobs, mut doubtful) = self.decide(owned, &mut results).await?;
            // A second round sends again what the receivers of the first do not know. What is in doubt after that stays so.
            for round in 0..2 {
                jobs.extend(self.reconcile(doubtful, &mut results).await?);
                jobs = self.approved(jobs, &mut results).await?;
                let leaving = self.queue(jobs, &mut results);
                jobs = self.intend(leaving).await?;
                doubtful = self.send(jobs, &mut results).await;
                jobs = Vec::new();
                if round == 1 || doubtful.is_empty() {
                    break;
                }
            }
            self.leave_in_doubt(doubtful, &mut results);
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

    /// Ends the execution: gives what is not stored yet. It belongs into the task's commit, whatever the execution's outcome, before the task is
    /// executed again.
    pub fn finish(self) -> Finished {
        Finished { operations: self.records.into_unstored(), hits: self.hits }
    }

    /// Claims what is free; what another task performs is left for later.
    fn claim(&self, open: Vec<Order>, results: &mut Results) -> (Vec<Owned>, Vec<Busy>) {
        let (mut owned, mut busy) = (Vec::new(), Vec::new());
        for order in open {
            let now_ms = self.shared.clock.now_ms();
            match self.shared.in_flight.claim(&order.key, self.first(&order, now_ms)) {
                Claimed::Mine(claim, remembered) => owned.push(Owned { order, claim, remembered }),
                Claimed::Busy { first, ended } => {
                    match decide(Found::Running(&first), &self.asked(&order, self.clock_ms, now_ms)) {
                        Decision::Conflict(reason) => results.refuse(&order, reason),
                        _ => busy.push(Busy { order, ended }),
                    }
                }
            }
        }
        (owned, busy)
    }

    /// Finds out what is known of each operation and acts on it; gives back those that are to be performed.
    async fn decide(&mut self, owned: Vec<Owned>, results: &mut Results) -> Result<(Vec<Job>, Vec<Doubtful>), Halt> {
        let journal = self.shared.journal.clone();
        let reads = owned.iter().map(|owned| {
            let (journal, key) = (&journal, &owned.order.key);
            let own = self.records.get(key).is_some();
            async move { if own { Ok(None) } else { journal.operation(key).await } }
        });
        let stored = future::try_join_all(reads).await.map_err(|error| journal_fault(&error))?;
        let (mut jobs, mut doubtful) = (Vec::new(), Vec::new());
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
            let unsent_at_ms = self.unsent_at_ms(record.as_ref());
            match decide(found, &self.asked(&order, unsent_at_ms, now_ms)) {
                Decision::Replay(answer) => {
                    self.report_replay(&order, record.as_ref());
                    results.given[order.position] = Some(answer.map_err(Refusal::Failed));
                }
                Decision::Conflict(reason) => results.refuse(&order, reason),
                Decision::InDoubt(reason) => results.doubts.push((order.position, order.key, reason)),
                Decision::Elsewhere => results.given[order.position] = Some(Err(busy_refusal())),
                Decision::Receipt => {
                    self.report_replay(&order, record.as_ref());
                    results.queued(&order);
                }
                Decision::LookUp(reason) => {
                    if let Some(record) = record {
                        doubtful.push(Doubtful { order, claim, record, reason, found: true });
                    }
                }
                decision @ (Decision::WindowPassed(_) | Decision::Perform { .. } | Decision::Queue) => {
                    let sending = match self.sending(&order, unsent_at_ms, now_ms) {
                        Ok(sending) => sending,
                        Err(reason) => {
                            results.refuse(&order, reason);
                            continue;
                        }
                    };
                    // Who settled it before, if anybody did.
                    let notes = record.map(|record| record.notes).unwrap_or_default();
                    let (begun_at_ms, settles_at_ms) = (now_ms, None);
                    let intent = decision == Decision::Perform { intent: true };
                    let queue = decision == Decision::Queue;
                    let job = Job { order, claim, sending, intent, queue, begun_at_ms, settles_at_ms, notes };
                    match decision {
                        Decision::WindowPassed(reason) => self.settle(job, in_doubt(reason), results),
                        _ => jobs.push(job),
                    }
                }
                Decision::Wait => unreachable!("invariant: whoever holds the claim does not wait for it"),
            }
        }
        Ok((jobs, doubtful))
    }

    /// Has the connector check the request.
    fn sending(&self, order: &Order, unsent_at_ms: u64, now_ms: u64) -> Result<Sending, Reason> {
        let Some(slot) = self.shared.connectors.get(&order.key.connector) else {
            unreachable!("invariant: an admitted operation's connector is configured");
        };
        let connector = slot.connector(&order.key.connector)?;
        let prepared = connector.prepare(&order.key, &order.request)?;
        let send_by = match order.class {
            Class::Idempotent { window_ms: Some(window_ms) } => {
                let left_ms = unsent_at_ms.saturating_add(window_ms).saturating_sub(now_ms);
                Some(SendBy::after(now_ms, Duration::from_millis(left_ms)))
            }
            // Set with the intent, when it is known how many leave together.
            _ => None,
        };
        let timeout = Duration::from_millis(slot.configuration.timeout_ms);
        Ok(Sending { prepared, timeout, send_by, clock: self.shared.clock.clone() })
    }

    fn first(&self, order: &Order, begun_at_ms: u64) -> First {
        First { digest: order.digest.clone(), thread: self.task.thread.clone(), begun_at_ms }
    }

    /// The last moment at which the request certainly had not left: the task's recorded time, or when somebody said that it had not happened.
    fn unsent_at_ms(&self, record: Option<&OperationRecord>) -> u64 {
        let said =
            record.filter(|record| record.state == OperationState::NotSent).and_then(|record| record.finished_at_ms);
        said.unwrap_or(0).max(self.clock_ms)
    }

    fn asked<'a>(&'a self, order: &'a Order, unsent_at_ms: u64, now_ms: u64) -> Asked<'a> {
        let digests_checked = self.shared.digests_checked;
        let class = order.class;
        Asked { digest: &order.digest, digests_checked, thread: &self.task.thread, class, unsent_at_ms, now_ms }
    }

    /// As long as an operation can take that began just now: its last attempt begins within a timeout.
    fn wait_max(&self, open: &[Order]) -> Duration {
        let timeouts = open.iter().filter_map(|order| self.shared.connectors.get(&order.key.connector));
        let longest_ms = timeouts.map(|slot| slot.configuration.timeout_ms).max().unwrap_or_default();
        Duration::from_millis(longest_ms).saturating_mul(2).saturating_add(Duration::from_secs(1))
    }

    /// A hit of another thread is worth knowing: shared business operations are meant to be, guessed ids are not.
    fn report_replay(&mut self, order: &Order, record: Option<&OperationRecord>) {
        let key = &order.key;
        match record {
            Some(record) if record.thread != self.task.thread => {
                tracing::warn!(
                    connector = %key.connector, id = %key.id, digest = %order.digest, thread = %self.task.thread,
                    first_thread = %record.thread, "an operation of another thread answers"
                );
                // A branch that touches nothing leaves no trace with another thread's operation either.
                if self.mode == EffectMode::Recorded {
                    return;
                }
                self.hits.push(OperationHit {
                    key: key.clone(),
                    thread: self.task.thread.clone(),
                    task: self.task.id.clone(),
                    at_ms: self.shared.clock.now_ms(),
                });
            }
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
