//! The part that reaches outside: intents made durable, requests sent, outcomes kept.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use holdpoint_graph::nodes::JournalError;
use holdpoint_graph::operation::{OperationNote, OperationRecord, OperationState};
use tracing::Instrument as _;

use crate::attempt::{Conclusion, GuestReply, conclude};
use crate::configuration::Class;
use crate::in_flight::Claim;
use crate::perform::{self, SendBy, Sending, millis};
use crate::refusal::Halt;

use super::TaskEffects;
use super::order::Order;
use super::reconcile::Doubtful;
use super::results::Results;

/// Requests of one call that are under way at the same time; the others wait their turn.
const CONCURRENT_MAX: usize = 64;

/// An operation that is about to leave.
pub(super) struct Job {
    pub(super) order: Order,
    pub(super) claim: Claim,
    pub(super) sending: Sending,
    /// Whether its intent has to be durable first.
    pub(super) intent: bool,
    /// Whether it leaves only after the commit of its step.
    pub(super) queue: bool,
    pub(super) begun_at_ms: u64,
    /// Set with the intent.
    pub(super) settles_at_ms: Option<u64>,
    /// Who let it pass.
    pub(super) notes: Vec<OperationNote>,
}

impl TaskEffects {
    /// Takes out what leaves after the step's commit; gives the others.
    pub(super) fn queue(&mut self, jobs: Vec<Job>, results: &mut Results) -> Vec<Job> {
        let (queued, leaving): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.queue);
        for job in queued {
            let record = self.record(&job, OperationState::Queued { attempts: 0, due_at_ms: job.begun_at_ms });
            results.queued(&job.order);
            self.keep(job.claim, record);
        }
        leaving
    }

    /// Makes the intents of all jobs that need one durable, in one commit, together with what is not stored yet.
    pub(super) async fn intend(&mut self, mut jobs: Vec<Job>) -> Result<Vec<Job>, Halt> {
        let now_ms = self.shared.clock.now_ms();
        // All of them share the places of this call, whatever their connector.
        let jobs_together = jobs.len();
        let mut intents = Vec::new();
        for job in jobs.iter_mut().filter(|job| job.intent) {
            let connector = &job.order.key.connector;
            let Some(slot) = self.shared.connectors.get(connector) else {
                unreachable!("invariant: an admitted operation's connector is configured");
            };
            // Until then the request may leave for the last time; what came of it is known a timeout later.
            let send_by =
                SendBy::after(now_ms, slot.limiter.spread(jobs_together, CONCURRENT_MAX, job.sending.timeout));
            let settles_at_ms = send_by
                .wall_ms
                .saturating_add(millis(job.sending.timeout))
                .saturating_add(slot.configuration.clock_skew_ms);
            job.sending.send_by = Some(send_by);
            job.begun_at_ms = now_ms;
            job.settles_at_ms = Some(settles_at_ms);
            intents.push(self.record(job, OperationState::Intended));
        }
        if intents.is_empty() {
            return Ok(jobs);
        }
        let stored = self.journal.store(self.records.unstored_with(&intents)).await;
        match stored {
            Ok(()) => {
                self.records.all_stored(intents);
                Ok(jobs)
            }
            Err(JournalError::Fenced) => Err(Halt::Fenced),
            // The intents may be stored all the same: then they are found without an outcome, and a person is asked about a request that never
            // left. To record now that it did not could replace what another task records of it meanwhile.
            Err(JournalError::Unavailable(reason)) => {
                Err(Halt::Fault(format!("the intents of operations cannot be stored: {reason} [HP0551]")))
            }
        }
    }

    /// Sends what is to be sent. Each outcome is kept as it comes, so that an execution that is abandoned keeps those that came before. Gives
    /// those whose outcome only the receiver knows.
    pub(super) async fn send(&mut self, jobs: Vec<Job>, results: &mut Results) -> Vec<Doubtful> {
        let shared = Arc::clone(&self.shared);
        let mut doubtful = Vec::new();
        let mut sending = stream::iter(jobs)
            .map(|job| {
                let key = &job.order.key;
                let span = tracing::info_span!("operation", connector = %key.connector, id = %key.id, digest = %job.order.digest);
                let shared = &shared;
                async move {
                    let Some(slot) = shared.connectors.get(&job.order.key.connector) else {
                        unreachable!("invariant: an admitted operation's connector is configured");
                    };
                    let attempt = perform::send(&job.sending, &slot.limiter).await;
                    (job, attempt)
                }
                .instrument(span)
            })
            .buffer_unordered(CONCURRENT_MAX);
        while let Some((job, attempt)) = sending.next().await {
            let conclusion = conclude(job.order.class, attempt);
            match conclusion {
                Conclusion { state: Some(state @ OperationState::InDoubt(_)), reply: GuestReply::InDoubt(reason) }
                    if job.order.class == Class::Reconcilable =>
                {
                    // Known to this execution at once: should it be abandoned while the receiver is asked, the doubt is kept.
                    let record = self.record(&job, state);
                    self.records.put_unstored(record.clone());
                    let (order, claim) = (job.order, job.claim);
                    doubtful.push(Doubtful { order, claim, record, reason, found: false });
                }
                conclusion => self.settle(job, conclusion, results),
            }
        }
        doubtful
    }

    /// Keeps what a job came to.
    pub(super) fn settle(&mut self, job: Job, conclusion: Conclusion, results: &mut Results) {
        match conclusion.state {
            Some(state) => {
                let record = self.record(&job, state);
                self.keep(job.claim, record);
            }
            None => self.records.put_tried(job.order.key.clone(), self.first(&job.order, job.begun_at_ms)),
        }
        match conclusion.reply {
            GuestReply::Result(result) => results.given[job.order.position] = Some(result),
            GuestReply::InDoubt(reason) => results.doubts.push((job.order.position, job.order.key, reason)),
        }
    }

    /// Keeps an outcome, or that it is queued, for the next commit and for tasks that ask before it.
    pub(super) fn keep(&mut self, claim: Claim, record: OperationRecord) {
        let bytes = self.records.put_unstored(record.clone());
        claim.settle(Arc::new(record), bytes);
    }

    /// What is recorded of a job.
    pub(super) fn record(&self, job: &Job, state: OperationState) -> OperationRecord {
        let Job { order, .. } = job;
        let open = matches!(state, OperationState::Intended | OperationState::Queued { .. });
        OperationRecord {
            key: order.key.clone(),
            thread: self.task.thread.clone(),
            task: self.task.id.clone(),
            node: self.task.node.clone(),
            request: order.request.clone(),
            request_digest: order.digest.clone(),
            state,
            epoch: self.task.epoch,
            begun_at_ms: job.begun_at_ms,
            send_by_ms: job.sending.send_by.filter(|_| job.intent).map(|send_by| send_by.wall_ms),
            settles_at_ms: job.settles_at_ms,
            finished_at_ms: (!open).then(|| self.shared.clock.now_ms()),
            notes: job.notes.clone(),
        }
    }
}
