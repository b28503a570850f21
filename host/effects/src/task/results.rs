//! What a call has come to.

use holdpoint_graph::operation::{OperationKey, OperationState};
use serde_json::{Value, json};

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

    /// An operation whose outcome is known now.
    pub(super) fn settle(&mut self, order: &Order, state: &OperationState) {
        self.given[order.position] = match state {
            OperationState::Completed(answer) => Some(Ok(answer.clone())),
            OperationState::Failed(failure) => Some(Err(Refusal::Failed(failure.clone()))),
            _ => None,
        };
    }

    /// A place in the next commit is all that the node is told of.
    pub(super) fn queued(&mut self, order: &Order) {
        let receipt = json!({ "queued": true, "operation_id": order.key.id.as_str() });
        self.given[order.position] = Some(Ok(receipt));
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
