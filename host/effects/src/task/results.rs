//! What a call has come to.

use holdpoint_graph::operation::OperationKey;
use serde_json::Value;

use crate::attempt::{GuestReply, failure, transient};
use crate::refusal::{Halt, Reason, Refusal};

use super::order::Order;

/// What a call has come to so far.
pub(super) struct Results {
    /// By position in the call.
    pub(super) given: Vec<Option<Result<Value, Refusal>>>,
    /// Position, operation and reason.
    pub(super) doubts: Vec<(usize, OperationKey, String)>,
}

impl Results {
    pub(super) fn refuse(&mut self, order: &Order, reason: Reason) {
        tracing::debug!(connector = %order.key.connector, id = %order.key.id, code = reason.code(), "refused");
        self.given[order.position] = Some(Err(reason.into()));
    }

    /// The doubt that comes first in the call, or all answers.
    pub(super) fn finish(self) -> Result<Vec<Result<Value, Refusal>>, Halt> {
        if let Some((_, operation, reason)) = self.doubts.into_iter().min_by_key(|(position, ..)| *position) {
            return Err(Halt::InDoubt { operation, reason });
        }
        let given = self.given.into_iter();
        Ok(given.map(|result| result.expect("invariant: every operation was answered, refused or in doubt")).collect())
    }
}

/// What a guest gets when another task's operation does not end.
pub(super) fn busy_refusal() -> Refusal {
    let conclusion = transient(failure("busy", "another task is performing this operation"), false, None);
    match conclusion.reply {
        GuestReply::Result(Err(refusal)) => refusal,
        _ => unreachable!("invariant: a transient failure is a refusal"),
    }
}
