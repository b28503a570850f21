//! Time and randomness that repeat exactly when the task is executed again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest as _, Sha256};

/// Each reading moves the clock on by this much, so that a guest that waits for time to pass sees it pass.
pub(crate) const TICK_NS: u64 = 1_000_000;

/// A task's clock and randomness.
pub(crate) struct Recorded {
    pub(crate) clock: TaskClock,
    task: String,
    random: Option<ChaCha20Rng>,
}

impl Recorded {
    /// Both are functions of the task's recorded time and id alone.
    pub(crate) fn new(clock_ms: u64, task: &str) -> Self {
        Self {
            clock: TaskClock(Arc::new(AtomicU64::new(clock_ms.saturating_mul(TICK_NS)))),
            task: task.to_owned(),
            random: None,
        }
    }

    /// The next bytes of the task's one stream of randomness. Both contracts, `recorded` and `wasi:random`, draw from it.
    pub(crate) fn random(&mut self) -> &mut ChaCha20Rng {
        // The seed is no secret to whoever knows the task's id: nodes that need a secret use a connector.
        self.random.get_or_insert_with(|| ChaCha20Rng::from_seed(Sha256::digest(self.task.as_bytes()).into()))
    }

    pub(crate) fn random_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.random().fill_bytes(&mut bytes);
        bytes
    }
}

/// A task's clock, in nanoseconds since 1970. Starts at the task's recorded time and moves only when it is read or slept on.
#[derive(Clone)]
pub(crate) struct TaskClock(Arc<AtomicU64>);

impl TaskClock {
    /// Reads the clock, and moves it on by a tick.
    pub(crate) fn read_ns(&self) -> u64 {
        let moved = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(TICK_NS)));
        moved.unwrap_or_else(|now| now)
    }

    /// What the next reading gives at least.
    pub(crate) fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A sleep has ended.
    pub(crate) fn advance_to(&self, time_ns: u64) {
        self.0.fetch_max(time_ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_at_the_task_s_time_and_ticks() {
        let clock = Recorded::new(1_700_000_000_000, "t").clock;
        assert_eq!(clock.read_ns(), 1_700_000_000_000_000_000);
        assert_eq!(clock.read_ns(), 1_700_000_000_001_000_000);
        clock.advance_to(0);
        assert_eq!(clock.now_ns(), 1_700_000_000_002_000_000);
        clock.advance_to(1_700_000_001_000_000_000);
        assert_eq!(clock.read_ns(), 1_700_000_001_000_000_000);
        let late = Recorded::new(u64::MAX, "t").clock;
        assert_eq!((late.read_ns(), late.read_ns()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn randomness_is_the_task_s() {
        let bytes = |task: &str| Recorded::new(0, task).random_bytes(40);
        assert_eq!(bytes("one"), bytes("one"));
        assert_ne!(bytes("one"), bytes("two"));
        let mut parts = Recorded::new(0, "one");
        let first = parts.random_bytes(40);
        assert_ne!(first, parts.random_bytes(40));
        // Recorded threads rely on it for ever: the seed is SHA-256 of the id, the stream ChaCha20.
        assert_eq!(
            holdpoint_graph::digest::hex(&Recorded::new(0, "00000000-0000-8000-8000-000000000000").random_bytes(8)),
            "628fd04406b37b3f"
        );
    }
}
