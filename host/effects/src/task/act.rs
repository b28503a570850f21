//! The part that reaches outside: intents made durable, requests sent, outcomes kept.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use holdpoint_graph::nodes::JournalError;
use holdpoint_graph::operation::{OperationRecord, OperationState};
use tracing::Instrument as _;

use crate::attempt::{Conclusion, GuestReply};
use crate::in_flight::Claim;
use crate::perform::{self, SendBy, Sending};
use crate::refusal::Halt;

use super::TaskEffects;
use super::order::Order;
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
    pub(super) begun_at_ms: u64,
}

impl TaskEffects {
    /// Makes the intents of all jobs that need one durable, in one commit, together with what is not stored yet.
    pub(super) async fn intend(&mut self, mut jobs: Vec<Job>) -> Result<Vec<Job>, Halt> {
        let now_ms = self.shared.clock.now_ms();
        let waves = u32::try_from(jobs.len().div_ceil(CONCURRENT_MAX)).unwrap_or(u32::MAX);
        let mut intents = Vec::new();
        for job in jobs.iter_mut().filter(|job| job.intent) {
            // Until then the request may leave for the last time; what came of it is known a timeout later.
            let send_by = SendBy::after(now_ms, job.sending.timeout.saturating_mul(waves));
            job.sending.send_by = Some(send_by);
            job.begun_at_ms = now_ms;
            intents.push(self.record(&job.order, OperationState::Intended, now_ms, Some(send_by.wall_ms)));
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

    /// Sends what is to be sent. Each outcome is kept as it comes, so that an execution that is abandoned keeps those that came before.
    pub(super) async fn send(&mut self, jobs: Vec<Job>, results: &mut Results) {
        let mut sending = stream::iter(jobs)
            .map(|job| {
                let key = &job.order.key;
                let span = tracing::info_span!("operation", connector = %key.connector, id = %key.id, digest = %job.order.digest);
                async move {
                    let conclusion = perform::send(&job.sending).await;
                    (job, conclusion)
                }
                .instrument(span)
            })
            .buffer_unordered(CONCURRENT_MAX);
        while let Some((job, conclusion)) = sending.next().await {
            let send_by_ms = job.sending.send_by.filter(|_| job.intent);
            let send_by_ms = send_by_ms.map(|send_by| send_by.wall_ms);
            self.settle(job.order, job.claim, job.begun_at_ms, send_by_ms, conclusion, results);
        }
    }

    pub(super) fn settle(
        &mut self,
        order: Order,
        claim: Claim,
        begun_at_ms: u64,
        send_by_ms: Option<u64>,
        conclusion: Conclusion,
        results: &mut Results,
    ) {
        match conclusion.state {
            Some(state) => {
                let record = self.record(&order, state, begun_at_ms, send_by_ms);
                self.keep(claim, record);
            }
            None => self.records.put_tried(order.key.clone(), self.first(&order, begun_at_ms)),
        }
        match conclusion.reply {
            GuestReply::Result(result) => results.given[order.position] = Some(result),
            GuestReply::InDoubt(reason) => results.doubts.push((order.position, order.key, reason)),
        }
    }

    fn keep(&mut self, claim: Claim, record: OperationRecord) {
        let bytes = self.records.put_unstored(record.clone());
        claim.settle(Arc::new(record), bytes);
    }

    fn record(
        &self,
        order: &Order,
        state: OperationState,
        begun_at_ms: u64,
        send_by_ms: Option<u64>,
    ) -> OperationRecord {
        let finished_at_ms = (state != OperationState::Intended).then(|| self.shared.clock.now_ms());
        OperationRecord {
            key: order.key.clone(),
            thread: self.task.thread.clone(),
            task: self.task.id.clone(),
            node: self.task.node.clone(),
            request: order.request.clone(),
            request_digest: order.digest.clone(),
            state,
            epoch: self.task.epoch,
            begun_at_ms,
            send_by_ms,
            finished_at_ms,
        }
    }
}
