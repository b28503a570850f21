//! What a call has come to.

use std::collections::HashSet;

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
    /// What the branch does not let happen, in order of the call.
    withheld: Vec<Value>,
    withheld_keys: HashSet<OperationKey>,
}

impl Results {
    pub(super) fn with_capacity(operations: usize) -> Self {
        Self {
            given: Vec::with_capacity(operations),
            doubts: Vec::new(),
            withheld: Vec::new(),
            withheld_keys: HashSet::new(),
        }
    }

    /// An operation that would be performed on another branch. The second request of the same call under one id would not be: it would get the
    /// first one's answer, or a conflict.
    pub(super) fn withhold(&mut self, order: &Order) {
        tracing::info!(connector = %order.key.connector, id = %order.key.id, digest = %order.digest, "withheld");
        if self.withheld_keys.insert(order.key.clone()) {
            self.withheld.push(json!({
                "connector": order.key.connector.as_str(),
                "operation_id": order.key.id.as_str(),
                "request": order.request,
            }));
        }
    }
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

    /// The doubt that comes first in the call, or what is withheld, or all answers.
    pub(super) fn finish(self) -> Result<Vec<Result<Value, Refusal>>, Halt> {
        if let Some((_, operation, reason)) = self.doubts.into_iter().min_by_key(|(position, ..)| *position) {
            return Err(Halt::InDoubt { operation, reason });
        }
        if !self.withheld.is_empty() {
            return Err(Halt::Withheld { operations: self.withheld });
        }
        let given = self.given.into_iter();
        Ok(given
            .map(|result| result.expect("invariant: every operation was answered, refused, withheld or in doubt"))
            .collect())
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
