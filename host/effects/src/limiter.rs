//! How many requests of a connector may leave, and how many may be under way.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::configuration::{ConnectorConfiguration, Rate};

/// The bounds of one connector in this process.
pub(crate) struct Limiter {
    concurrent: Option<Semaphore>,
    concurrent_max: Option<u32>,
    pace: Option<Pace>,
}

/// The generic cell rate algorithm: `requests` may leave at once, and one more each `interval` after that.
struct Pace {
    interval: Duration,
    burst: Duration,
    /// When the next request would leave, were they spread evenly.
    next: Mutex<Instant>,
}

/// The right to send one request; ends when it is dropped.
pub(crate) struct Permit<'l>(
    #[expect(dead_code, reason = "held until the request has ended")] Option<SemaphorePermit<'l>>,
);

impl Limiter {
    pub(crate) fn new(configuration: &ConnectorConfiguration) -> Self {
        let concurrent_max = configuration.concurrent_max;
        Self {
            concurrent: concurrent_max
                .map(|max| Semaphore::new(usize::try_from(max).unwrap_or(Semaphore::MAX_PERMITS))),
            concurrent_max,
            pace: configuration.rate.map(Pace::new),
        }
    }

    /// Waits for a place, not beyond `until`; none when there is none by then.
    pub(crate) async fn admit(&self, until: Option<Instant>) -> Option<Permit<'_>> {
        if let Some(pace) = &self.pace {
            sleep_until(pace.reserve(until)?).await;
        }
        let Some(semaphore) = &self.concurrent else { return Some(Permit(None)) };
        // The semaphore is never closed.
        let permit = match until {
            Some(until) => timeout_at(until, semaphore.acquire()).await.ok()?.ok()?,
            None => semaphore.acquire().await.ok()?,
        };
        Some(Permit(Some(permit)))
    }

    /// How long it can take until the last of `requests` begins, when each takes up to `timeout`.
    pub(crate) fn spread(&self, requests: usize, concurrent_max: usize, timeout: Duration) -> Duration {
        let own = self.concurrent_max.map_or(concurrent_max, |max| usize::try_from(max).unwrap_or(concurrent_max));
        let waves = u32::try_from(requests.div_ceil(own.clamp(1, concurrent_max))).unwrap_or(u32::MAX);
        let paced = self.pace.as_ref().map_or(Duration::ZERO, |pace| pace.backlog(requests));
        timeout.saturating_mul(waves).saturating_add(paced)
    }
}

impl Pace {
    fn new(rate: Rate) -> Self {
        let interval = Duration::from_millis(rate.per_ms) / rate.requests.max(1);
        let burst = interval.saturating_mul(rate.requests.saturating_sub(1));
        Self { interval, burst, next: Mutex::new(Instant::now()) }
    }

    /// Takes the next place; gives its moment. Takes none when that is after `until`.
    fn reserve(&self, until: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let even = (*next).max(now);
        let moment = even.checked_sub(self.burst).unwrap_or(now).max(now);
        if until.is_some_and(|until| moment > until) {
            return None;
        }
        *next = even + self.interval;
        Some(moment)
    }

    /// How long the next `requests` take to begin.
    fn backlog(&self, requests: usize) -> Duration {
        let next = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        let waiting = next.saturating_duration_since(Instant::now());
        waiting.saturating_add(self.interval.saturating_mul(requests)).saturating_sub(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: Option<Rate>, concurrent_max: Option<u32>) -> Limiter {
        let concurrent = concurrent_max.map(|max| Semaphore::new(max as usize));
        Limiter { concurrent, concurrent_max, pace: rate.map(Pace::new) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_leaves_at_once_and_the_rest_evenly() {
        let limiter = limiter(Some(Rate { requests: 4, per_ms: 1000 }), None);
        let begun = Instant::now();
        let mut moments = Vec::new();
        for _ in 0..7 {
            limiter.admit(None).await.expect("a place");
            moments.push(begun.elapsed().as_millis());
        }
        assert_eq!(moments, [0, 0, 0, 0, 250, 500, 750]);
        assert!(limiter.admit(Some(Instant::now() + Duration::from_millis(249))).await.is_none(), "no place by then");
        assert!(limiter.admit(Some(Instant::now() + Duration::from_millis(250))).await.is_some(), "none was taken");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_maximum_are_under_way() {
        let limiter = limiter(None, Some(2));
        let soon = || Some(Instant::now() + Duration::from_millis(10));
        let first = limiter.admit(soon()).await.expect("a place");
        let _second = limiter.admit(soon()).await.expect("a place");
        assert!(limiter.admit(soon()).await.is_none());
        drop(first);
        assert!(limiter.admit(soon()).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_knows_how_long_its_requests_take_to_begin() {
        let second = Duration::from_secs(1);
        assert_eq!(limiter(None, None).spread(65, 64, second), second * 2);
        assert_eq!(limiter(None, Some(10)).spread(65, 64, second), second * 7);
        let paced = limiter(Some(Rate { requests: 2, per_ms: 1000 }), None);
        assert_eq!(paced.spread(6, 64, second), second + Duration::from_millis(2500));
    }
}
