//! The bound on a guest's memory: all linear memories and tables together.

use wasmtime::ResourceLimiter;

use crate::call::state::{Ended, Exceeded};

/// A table's element is a pointer.
const ELEMENT_BYTES: u64 = 8;

/// Counts what a store holds. Growing beyond the bound ends the call: a guest told "no" would only panic, and nobody would know why.
pub(crate) struct MemoryLimiter {
    bytes_max: u64,
    bytes: u64,
    /// The last growth that was allowed, taken back if it then fails.
    granted: u64,
    exceeded: Option<Exceeded>,
}

impl MemoryLimiter {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, granted: 0, exceeded: None }
    }

    /// Set once the bound was hit.
    pub(crate) fn take_exceeded(&mut self) -> Option<Exceeded> {
        self.exceeded.take()
    }

    fn grow(&mut self, growth: u64) -> wasmtime::Result<bool> {
        let wanted = self.bytes.saturating_add(growth);
        if wanted > self.bytes_max {
            let message = format!("the node wanted {wanted} bytes of memory; its limit is {}", self.bytes_max);
            self.exceeded.get_or_insert(Exceeded { limit: "memory", message });
            return Err(Ended.into());
        }
        self.bytes = wanted;
        self.granted = growth;
        Ok(true)
    }

    fn take_back(&mut self) {
        self.bytes = self.bytes.saturating_sub(self.granted);
        self.granted = 0;
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Beyond the maximum that the module itself declares, growing fails as the module expects.
        if maximum.is_some_and(|maximum| desired > maximum) && (desired as u64) <= self.bytes_max {
            return Ok(false);
        }
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(error = format!("{error:#}"), "a memory could not grow");
        self.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum)
            && (desired as u64).saturating_mul(ELEMENT_BYTES) <= self.bytes_max
        {
            return Ok(false);
        }
        self.grow((desired.saturating_sub(current) as u64).saturating_mul(ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(error = format!("{error:#}"), "a table could not grow");
        self.take_back();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together() {
        let mut limiter = MemoryLimiter::new(200_000);
        assert!(limiter.memory_growing(0, 65_536, None).expect("fits"));
        assert!(limiter.memory_growing(65_536, 131_072, None).expect("fits"));
        assert!(limiter.table_growing(0, 1_000, None).expect("fits"));
        assert!(limiter.take_exceeded().is_none());
        assert!(limiter.memory_growing(0, 65_536, None).is_err());
        assert_eq!(limiter.take_exceeded().map(|exceeded| exceeded.limit), Some("memory"));
    }

    #[test]
    fn growth_that_fails_is_not_counted() {
        let mut limiter = MemoryLimiter::new(100_000);
        assert!(limiter.memory_growing(0, 65_536, None).expect("fits"));
        limiter.memory_grow_failed(wasmtime::Error::msg("no pages")).expect("noted");
        assert!(limiter.memory_growing(0, 65_536, None).expect("fits again"));
    }

    #[test]
    fn a_module_s_own_maximum_is_no_limit_of_ours() {
        let mut limiter = MemoryLimiter::new(1_000_000);
        assert!(!limiter.memory_growing(65_536, 131_072, Some(65_536)).expect("refused to the guest"));
        assert!(limiter.take_exceeded().is_none());
        assert!(limiter.table_growing(0, usize::MAX, None).is_err());
    }
}
