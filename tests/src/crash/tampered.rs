//! Red proofs: the product with one of its guards taken out, from outside. The suite must notice each.

use async_trait::async_trait;
use holdpoint_graph::operation::OperationState;
use holdpoint_store::{Commit, Error, Expect, Store};
use serde::{Deserialize, Serialize};

use super::wrapped::Hook;

/// What is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Red {
    /// No intent is stored before a request leaves.
    NoIntent,
    /// A write is not refused when another writer has taken the thread over.
    NoEpochGuard,
    /// A used id answers another request.
    NoDigestCheck,
    /// The outcome of an operation is not stored.
    NoResult,
}

/// The hook for those that are about writes.
pub struct Tamper(pub Red);

#[async_trait]
impl Hook for Tamper {
    async fn commit(&self, store: &dyn Store, mut commit: Commit) -> Result<(), Error> {
        match self.0 {
            Red::NoIntent => commit.operations.retain(|operation| operation.state != OperationState::Intended),
            Red::NoResult => {
                commit.operations.retain(|operation| !matches!(operation.state, OperationState::Completed(_)));
            }
            Red::NoEpochGuard => {
                if let Expect::Epoch(expected) = &mut commit.expect
                    && let Some(stored) = store.thread(&commit.thread).await?
                {
                    *expected = stored.epoch;
                }
            }
            Red::NoDigestCheck => {}
        }
        store.commit(commit).await
    }
}
