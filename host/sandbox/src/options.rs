//! What a sandbox is set up with.

use std::path::PathBuf;

/// Set-up of a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the guests' memories come from.
    pub allocation: Allocation,
    /// Memories of guests that exist at the same time. Most components have one, so this is about the number of calls that run at once; calls
    /// beyond it wait.
    pub concurrency_max: u32,
    /// Compiled components kept in memory; the least recently used one goes first.
    pub components_max: usize,
    /// Largest component that is compiled.
    pub component_bytes_max: usize,
    /// Where compiled code is kept between processes; none means nowhere. Made if absent, private to the user. Code in it is authenticated by a key
    /// that lies beside it: a file that was not written here is ignored and replaced.
    pub cache_dir: Option<PathBuf>,
    /// Size of that directory; the oldest files go first.
    pub cache_bytes_max: u64,
    /// Bounds of each call.
    pub limits: CallLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allocation: Allocation::Pooled,
            concurrency_max: 1000,
            components_max: 256,
            component_bytes_max: 64 << 20,
            cache_dir: None,
            cache_bytes_max: 2 << 30,
            limits: CallLimits::default(),
        }
    }
}

/// Where the guests' memories come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// From a pool whose address space is reserved at start (about 4 GiB for each of [`Options::concurrency_max`], none of it resident). Falls
    /// back to [`Self::OnDemand`] where so much cannot be reserved, and says so in the log.
    Pooled,
    /// From the operating system, call by call: slower, and frugal with address space.
    OnDemand,
}

/// Bounds of each call. The graph file may set memory, fuel and time per node; the rest holds for all.
///
/// A call that reaches one ends with [`holdpoint_graph::nodes::NodeOutcome::LimitExceeded`]; the name in parentheses is its `limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// Linear memories and tables together, unless the node sets its own (`memory`). 256 MiB: interpreters start at 13 MiB and grow.
    pub memory_bytes: u64,
    /// Wall time, host calls included, unless the node sets its own (`time`). Compiling the component does not count.
    pub time_ms: u64,
    /// How much longer an operation that was begun in time may take, so that its outcome is recorded instead of left in doubt; the call ends
    /// afterwards (`time`). Connectors have shorter time-outs of their own.
    pub operation_grace_ms: u64,
    /// One JSON document in either direction (`value-size`). One host call, or the result, may carry four times as much in all.
    pub value_bytes: usize,
    /// Log lines and events together (`log-volume`).
    pub report_bytes: usize,
    /// Count of log lines and events (`log-volume`).
    pub reports: usize,
    /// Random bytes of one request (`random-bytes`).
    pub random_bytes: u32,
    /// Handles of resources that are alive at once (`handles`).
    pub handles: usize,
    /// Places to go next (`destinations`).
    pub destinations: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            time_ms: 30_000,
            operation_grace_ms: 60_000,
            value_bytes: 1 << 20,
            report_bytes: 1 << 20,
            reports: 10_000,
            random_bytes: 64 << 10,
            handles: 10_000,
            destinations: 10_000,
        }
    }
}

impl CallLimits {
    /// What one host call or the result may carry in all: a few documents and the names around them.
    pub(crate) fn transfer_bytes(&self) -> usize {
        self.value_bytes.saturating_mul(4).saturating_add(64 << 10)
    }
}
