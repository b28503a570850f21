//! The seam to the host's clock, so that tests move time instead of waiting for it.

/// Tells the host's time. Guests never see it: their clocks start at their task's recorded time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}
