//! What leaves only after the commit that asked for it: operations of class `after-commit`, and notices, whatever their connector's class.
//!
//! Their records are the outbox. Whoever delivers takes a record by exchanging it, so of several hosts one sends: where the receiver
//! de-duplicates, the taken record falls due again should its taker die; elsewhere it becomes an intent first, and its taker's death is a doubt
//! that a person settles. No thread waits for any of it.
//!
//! A notice is never in doubt: one that may not have arrived is sent again, with the same id. Told twice is better than not told, and nobody has to
//! find out what became of a message.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState};
use holdpoint_store::Error;

use crate::attempt::{Attempt, NotSent, Reply, failure};
use crate::configuration::Class;
use crate::connectors::telling::{self, Telling};
use crate::connectors::{Outgoing, Rejection};
use crate::effects::{Effects, Shared, Slot};
use crate::notices;
use crate::perform::millis;

/// Pauses after the first, second, … attempt that did not succeed: the schedule that Standard Webhooks recommends. After the last one it failed.
const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// Pause before a connector that cannot be used is looked at again.
const PAUSE_UNUSABLE: Duration = Duration::from_secs(60);
/// Deliveries that are under way at the same time.
const CONCURRENT_MAX: usize = 16;
/// Records read at once.
const BATCH: usize = 64;

/// What delivering came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Requests that landed.
    pub completed: u64,
    /// Requests that failed for good.
    pub failed: u64,
    /// Requests that are to be tried again later.
    pub postponed: u64,
    /// Requests whose outcome is unknown, at a receiver that does not de-duplicate.
    pub in_doubt: u64,
}

impl Effects {
    /// Sends every queued operation that is due, each once; those that fail for now fall due again later. Several hosts may do so at once.
    ///
    /// # Errors
    /// The journal's. What was sent before is recorded.
    pub async fn deliver_due(&self) -> Result<Delivered, Error> {
        let shared = self.shared();
        let mut delivered = Delivered::default();
        loop {
            let due = shared.journal.due_operations(shared.clock.now_ms(), BATCH).await?;
            let last = due.len() < BATCH;
            let mut ends = stream::iter(due).map(|record| deliver(shared, record)).buffer_unordered(CONCURRENT_MAX);
            let mut moved = false;
            while let Some(end) = ends.next().await {
                let Some(state) = end? else { continue };
                moved = true;
                match state {
                    OperationState::Completed(_) => delivered.completed += 1,
                    OperationState::Failed(_) => delivered.failed += 1,
                    OperationState::InDoubt(_) => delivered.in_doubt += 1,
                    _ => delivered.postponed += 1,
                }
            }
            // When nothing moved, others deliver the same records: there is nothing to do here.
            if last || !moved {
                return Ok(delivered);
            }
        }
    }
}

/// Delivers one; none when another host has it.
async fn deliver(shared: &Shared, record: OperationRecord) -> Result<Option<OperationState>, Error> {
    let OperationState::Queued { attempts, .. } = record.state else { return Ok(None) };
    let now_ms = shared.clock.now_ms();
    let (slot, prepared) = match prepare(shared, &record) {
        Ok(ready) => ready,
        Err(Unready::Later) => {
            let state = OperationState::Queued { attempts, due_at_ms: now_ms.saturating_add(millis(PAUSE_UNUSABLE)) };
            return exchange(shared, &record, state).await;
        }
        Err(Unready::Never(reason)) => {
            return exchange(shared, &record, OperationState::Failed(failure("rejected", reason))).await;
        }
    };
    let configuration = &slot.configuration;
    if is_superseded(shared, slot, &record.key).await? {
        let reason = "the question ended before people were told of it";
        return exchange(shared, &record, OperationState::Failed(failure("superseded", reason))).await;
    }
    // A class that was changed meanwhile counts as a receiver that does not de-duplicate.
    let deduplicated = telling::is_notice(record.key.id.as_str())
        || matches!(
            configuration.class,
            Class::AfterCommit { deduplicated: true } | Class::Idempotent { .. } | Class::Transactional
        );
    let Some(_permit) = slot.limiter.admit(None).await else { return Ok(None) };
    let taken_at_ms = shared.clock.now_ms();
    let timeout = Duration::from_millis(configuration.timeout_ms);
    let settles_at_ms = taken_at_ms
        .saturating_add(configuration.timeout_ms.saturating_mul(2))
        .saturating_add(configuration.clock_skew_ms);
    let taken = if deduplicated {
        let state = OperationState::Queued { attempts: attempts.saturating_add(1), due_at_ms: settles_at_ms };
        OperationRecord { state, ..record.clone() }
    } else {
        let send_by_ms = Some(taken_at_ms.saturating_add(configuration.timeout_ms));
        let settles_at_ms = Some(settles_at_ms);
        OperationRecord { state: OperationState::Intended, send_by_ms, settles_at_ms, ..record.clone() }
    };
    if !shared.journal.exchange_operation(&record, taken.clone(), taken_at_ms, Vec::new()).await? {
        return Ok(None);
    }
    let at_ms = shared.clock.now_ms();
    let attempt = if taken.send_by_ms.is_some_and(|send_by_ms| at_ms > send_by_ms) {
        Attempt::NotSent(NotSent::ForNow("the moment until which it was to be sent has passed".into()))
    } else {
        prepared.send(Outgoing { at_ms, timeout }).await
    };
    let ended_at_ms = shared.clock.now_ms();
    let state = conclude(attempt, attempts.saturating_add(1), deduplicated, ended_at_ms);
    exchange(shared, &taken, state).await
}

/// Whether a notice asks people for what does not wait any more: a call for an answer that comes after the news of it misleads them, and would open
/// an incident again that the news has closed. Programs get every event, and tell by its time which came first.
async fn is_superseded(shared: &Shared, slot: &Slot, key: &OperationKey) -> Result<bool, Error> {
    if !slot.configuration.settings.telling().is_some_and(Telling::tells_people) {
        return Ok(false);
    }
    for end in notices::ends(key) {
        if shared.journal.operation(&end).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn exchange(
    shared: &Shared,
    expected: &OperationRecord,
    state: OperationState,
) -> Result<Option<OperationState>, Error> {
    let now_ms = shared.clock.now_ms();
    let queued = matches!(state, OperationState::Queued { .. });
    let next = OperationRecord {
        state: state.clone(),
        send_by_ms: expected.send_by_ms.filter(|_| !queued),
        settles_at_ms: expected.settles_at_ms.filter(|_| !queued),
        finished_at_ms: (!queued).then_some(now_ms),
        ..expected.clone()
    };
    let key = &next.key;
    tracing::info!(connector = %key.connector, id = %key.id, state = state.name(), "a queued operation was tried");
    Ok(shared.journal.exchange_operation(expected, next.clone(), now_ms, Vec::new()).await?.then_some(state))
}

/// Why one cannot be sent.
enum Unready {
    /// The operator may cure it.
    Later,
    /// The connector refuses the request.
    Never(String),
}

type Ready<'s> = (&'s Slot, Box<dyn crate::connectors::Prepared>);

fn prepare<'s>(shared: &'s Shared, record: &OperationRecord) -> Result<Ready<'s>, Unready> {
    let name = &record.key.connector;
    let Some(slot) = shared.connectors.get(name) else {
        tracing::error!(connector = %name, id = %record.key.id, "the connector of a queued operation is not configured [HP0531]");
        return Err(Unready::Later);
    };
    let connector = slot.connector(name).map_err(|_| Unready::Later)?;
    let prepared = connector.prepare(&record.key, &record.request).map_err(|rejection| match rejection {
        Rejection::Invalid(reason) | Rejection::Denied(reason) => Unready::Never(reason),
        Rejection::Address => Unready::Never("the receiver's address is not allowed [HP0527]".to_owned()),
    })?;
    Ok((slot, prepared))
}

/// Reads an attempt at delivery. Pure. `attempts` includes it.
fn conclude(attempt: Attempt, attempts: u32, deduplicated: bool, now_ms: u64) -> OperationState {
    let later = |asked_ms: Option<u64>, why: String| {
        let pause = usize::try_from(attempts).ok().and_then(|attempts| PAUSES.get(attempts.saturating_sub(1)));
        match pause {
            Some(pause) => {
                let due_at_ms = now_ms.saturating_add(millis(*pause).max(asked_ms.unwrap_or(0)));
                OperationState::Queued { attempts, due_at_ms }
            }
            None => OperationState::Failed(failure("given-up", format!("given up after {attempts} attempts: {why}"))),
        }
    };
    match attempt {
        Attempt::Landed(Reply::Done(answer)) => OperationState::Completed(answer),
        // Nobody waits for the answer, so that it cannot be read harms nobody.
        Attempt::LandedUnusable(reason) => OperationState::Completed(serde_json::json!({ "unusable": reason })),
        Attempt::Landed(Reply::Rejected(failure)) => OperationState::Failed(failure),
        Attempt::Landed(Reply::Later(failure)) => later(failure.retry_after_ms, failure.message),
        Attempt::NotSent(NotSent::ForNow(reason)) => later(None, reason),
        Attempt::NotSent(NotSent::AddressNotAllowed) => {
            OperationState::Failed(failure("address", "the receiver's address is not allowed [HP0527]"))
        }
        Attempt::Landed(Reply::Unclear(failure)) if deduplicated => later(failure.retry_after_ms, failure.message),
        Attempt::Unknown(reason) if deduplicated => later(None, reason),
        Attempt::Landed(Reply::Unclear(failure)) => {
            OperationState::InDoubt(format!("{}: the receiver may have executed it [HP0542]", failure.message))
        }
        Attempt::Unknown(reason) => OperationState::InDoubt(format!("no answer came: {reason} [HP0542]")),
    }
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::nodes::Failure;
    use serde_json::json;

    use super::*;

    fn check(attempt: Attempt, attempts: u32, deduplicated: bool) -> String {
        match conclude(attempt, attempts, deduplicated, 0) {
            OperationState::Queued { attempts, due_at_ms } => format!("attempt {attempts}, again in {due_at_ms}"),
            OperationState::Failed(failure) => format!("failed {}", failure.code),
            state => state.name().to_owned(),
        }
    }

    #[test]
    fn each_end_of_a_delivery() {
        let later = Failure { retry_after_ms: Some(7_000), ..failure("http-429", "busy") };
        let table = [
            (Attempt::Landed(Reply::Done(json!(1))), ["completed"; 2]),
            (Attempt::LandedUnusable("garbage".into()), ["completed"; 2]),
            (Attempt::Landed(Reply::Rejected(failure("http-410", "gone"))), ["failed http-410"; 2]),
            (Attempt::Landed(Reply::Later(later)), ["attempt 1, again in 7000"; 2]),
            (Attempt::Landed(Reply::Unclear(failure("http-500", "no"))), ["attempt 1, again in 5000", "in-doubt"]),
            (Attempt::Unknown("timeout".into()), ["attempt 1, again in 5000", "in-doubt"]),
            (Attempt::NotSent(NotSent::ForNow("refused".into())), ["attempt 1, again in 5000"; 2]),
            (Attempt::NotSent(NotSent::AddressNotAllowed), ["failed address"; 2]),
        ];
        for (attempt, [deduplicated, other]) in table {
            assert_eq!(check(attempt.clone(), 1, true), deduplicated, "{attempt:?}");
            assert_eq!(check(attempt.clone(), 1, false), other, "{attempt:?}");
        }
        let refused = || Attempt::NotSent(NotSent::ForNow("refused".into()));
        assert_eq!(check(refused(), 9, true), "attempt 9, again in 86400000");
        assert_eq!(check(refused(), 10, true), "failed given-up");
    }
}
