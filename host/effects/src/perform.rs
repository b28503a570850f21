//! Sends one operation's request, again only while nothing of it left.

use std::sync::Arc;
use std::time::Duration;

use holdpoint_graph::clock::Clock;
use tokio::time::Instant;

use crate::attempt::{Attempt, NotSent};
use crate::connectors::{Outgoing, Prepared};
use crate::limiter::Limiter;

/// Attempts of one execution: longer troubles are for the node's retry policy.
const ATTEMPTS_MAX: u32 = 3;
/// Pause before the second attempt; four times that before the third.
const PAUSE: Duration = Duration::from_millis(100);

/// One request that is to leave.
pub(crate) struct Sending {
    pub(crate) prepared: Box<dyn Prepared>,
    pub(crate) timeout: Duration,
    /// The moment after which it does not leave any more.
    pub(crate) send_by: Option<SendBy>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A moment on both clocks: the wall clock, which the journal and other hosts go by, and the monotonic one, which nobody sets back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendBy {
    pub(crate) wall_ms: u64,
    pub(crate) monotonic: Instant,
}

impl SendBy {
    /// The moment that lies `window` after `now_ms`, which is now.
    pub(crate) fn after(now_ms: u64, window: Duration) -> Self {
        Self { wall_ms: now_ms.saturating_add(millis(window)), monotonic: Instant::now() + window }
    }

    fn has_passed(self, now_ms: u64) -> bool {
        now_ms > self.wall_ms || Instant::now() > self.monotonic
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sends it; gives the last attempt.
pub(crate) async fn send(sending: &Sending, limiter: &Limiter) -> Attempt {
    let mut pause = PAUSE;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let Some(_permit) = limiter.admit(sending.send_by.map(|send_by| send_by.monotonic)).await else {
            return Attempt::NotSent(NotSent::ForNow(
                "the connector's rate or concurrency left no place in time".into(),
            ));
        };
        // Read as late as possible: what follows is the connector's own.
        let at_ms = sending.clock.now_ms();
        if sending.send_by.is_some_and(|send_by| send_by.has_passed(at_ms)) {
            return Attempt::NotSent(NotSent::ForNow("the moment until which it was to be sent has passed".into()));
        }
        let attempt = sending.prepared.send(Outgoing { at_ms, timeout: sending.timeout }).await;
        log(&attempt, attempts);
        match attempt {
            Attempt::NotSent(NotSent::ForNow(_)) if attempts < ATTEMPTS_MAX => {
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            last => return last,
        }
    }
}

fn log(attempt: &Attempt, attempts: u32) {
    match attempt {
        Attempt::Landed(_) => tracing::debug!(attempts, "the receiver answered"),
        Attempt::NotSent(NotSent::ForNow(reason)) => tracing::warn!(attempts, reason, "the request was not sent"),
        Attempt::NotSent(NotSent::AddressNotAllowed) => {
            tracing::warn!(attempts, "the receiver's address is not allowed [HP0527]");
        }
        Attempt::LandedUnusable(reason) => tracing::warn!(attempts, reason, "the receiver's answer cannot be used"),
        Attempt::Unknown(reason) => tracing::warn!(attempts, reason, "no answer came"),
    }
}
