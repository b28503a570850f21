//! How often somebody may ask: a bucket that fills at the allowed rate and holds ten seconds of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers that are remembered. Above it those whose buckets are full again are forgotten, which changes nothing for them.
const CALLERS_MAX: usize = 10_000;

/// Seconds of requests that a bucket holds.
const BURST_SECONDS: f64 = 10.0;

pub(super) struct Rates {
    per_second: f64,
    /// Held for a look-up only, never across an await.
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), buckets: Mutex::default() }
    }

    /// Takes one request of a caller.
    ///
    /// # Errors
    /// After which time one is allowed again.
    pub(super) fn take(&self, who: &str, now: Instant) -> Result<(), Duration> {
        let burst = self.per_second * BURST_SECONDS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(who) {
            buckets.retain(|_, bucket| self.left(bucket, now) < burst);
            if buckets.len() >= CALLERS_MAX {
                // Nobody new until somebody is quiet: better than to forget who asks too often.
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(who.to_owned()).or_insert(Bucket { left: burst, at: now });
        bucket.left = self.left(bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn left(&self, bucket: &Bucket, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.left + gained).min(self.per_second * BURST_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rates, start) = (Rates::new(2), Instant::now());
        for _ in 0..20 {
            assert_eq!(rates.take("ana", start), Ok(()));
        }
        assert_eq!(rates.take("ana", start), Err(Duration::from_millis(500)));
        assert_eq!(rates.take("ben", start), Ok(()), "each has their own");
        assert_eq!(rates.take("ana", start + Duration::from_millis(500)), Ok(()));
        assert!(rates.take("ana", start + Duration::from_millis(500)).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let (rates, start) = (Rates::new(1), Instant::now());
        for number in 0..CALLERS_MAX {
            assert_eq!(rates.take(&number.to_string(), start), Ok(()));
        }
        assert!(rates.take("new", start).is_err());
        assert_eq!(rates.take("new", start + Duration::from_secs(11)), Ok(()), "the quiet ones are forgotten");
        assert_eq!(rates.buckets.lock().expect("not poisoned").len(), 1);
    }
}
