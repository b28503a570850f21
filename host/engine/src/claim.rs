//! Who may advance a thread (`one-writer`).
//!
//! A claim raises the thread's epoch, so it is safe in any case: the writer before it can store nothing more. These rules only keep live
//! workers from robbing each other.

use holdpoint_store::{ThreadRecord, ThreadStatus};

/// Tells whether the worker behind an owner's name is certainly gone.
pub trait Owners: Send + Sync {
    /// This worker's own name, recorded with its claims.
    fn own_name(&self) -> &str;

    /// True only when that worker cannot be alive any more. False when in doubt: its lease then decides.
    fn is_gone(&self, owner: &str) -> bool;
}

/// Whether a thread's claim is free to take at `now_ms`.
pub fn is_free(thread: &ThreadRecord, owners: &dyn Owners, now_ms: u64) -> bool {
    match (&thread.owner, thread.status) {
        (Some(owner), ThreadStatus::Running) => now_ms >= thread.lease_until_ms || owners.is_gone(owner),
        _ => true,
    }
}
