//! `side-effect`: operations, performed and recorded by the effects crate.

use std::time::Instant;

use holdpoint_effects::{Halt, OperationRequest, Refusal};
use holdpoint_graph::nodes::{Failure, NodeOutcome};
use serde_json::Value;

use crate::bindings::holdpoint::node::{side_effect, types};
use crate::call::json;
use crate::call::state::{Exceeded, State};

type Performed = Result<String, side_effect::Refusal>;

impl side_effect::Host for State {
    async fn perform(&mut self, operation: side_effect::Operation) -> wasmtime::Result<Performed> {
        let mut performed = self.perform_operations(vec![operation]).await?;
        match performed.pop() {
            Some(performed) => Ok(performed),
            None => self.end(NodeOutcome::HostFault("an operation came back without a result".to_owned())),
        }
    }

    async fn perform_all(&mut self, operations: Vec<side_effect::Operation>) -> wasmtime::Result<Vec<Performed>> {
        self.perform_operations(operations).await
    }
}

impl State {
    async fn perform_operations(
        &mut self,
        operations: Vec<side_effect::Operation>,
    ) -> wasmtime::Result<Vec<Performed>> {
        self.running("perform")?;
        // All requests are read before any is sent: one that is too large ends the call with nothing done.
        let mut invalid = Vec::new();
        let mut requests = Vec::with_capacity(operations.len());
        for (index, operation) in operations.into_iter().enumerate() {
            match json::parse(&operation.request, "the operation's request", self.limits.value_bytes) {
                Ok(Ok(request)) => {
                    requests.push(OperationRequest { id: operation.id, connector: operation.connector, request });
                }
                Ok(Err(reason)) => invalid.push((index, format!("the request is not valid JSON: {reason}"))),
                Err(exceeded) => return self.end(exceeded),
            }
        }
        let mut performed = self.await_operations(requests).await?;
        // Those that were never sent take their places again, in ascending order.
        for (index, reason) in invalid {
            performed.insert(index.min(performed.len()), Err(side_effect::Refusal::Invalid(reason)));
        }
        Ok(performed)
    }

    async fn await_operations(&mut self, requests: Vec<OperationRequest>) -> wasmtime::Result<Vec<Performed>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let operations_deadline = self.operations_deadline();
        let running = self.running("perform")?;
        let performing = running.performing.get_or_insert_with(|| running.effects.task(&running.call));
        // An operation that was begun in time may outlast the guest's time for a while: stopping it would leave it in doubt.
        let results = tokio::time::timeout_at(operations_deadline.into(), performing.perform_all(requests)).await;
        match results {
            Err(_) => {
                let message = format!(
                    "an operation did not end within {} ms and another {} ms",
                    self.time_ms, self.limits.operation_grace_ms
                );
                self.end(Exceeded { limit: "time", message })
            }
            Ok(Err(halt)) => self.end(halted(halt)),
            Ok(Ok(_)) if Instant::now() >= self.deadline => self.end(self.time_is_over()),
            Ok(Ok(results)) => results.into_iter().map(|result| self.performed(result)).collect(),
        }
    }

    fn performed(&mut self, result: Result<Value, Refusal>) -> wasmtime::Result<Performed> {
        let bytes_max = self.limits.value_bytes;
        let performed = match result {
            Ok(answer) => json::write(&answer, "the operation's answer", bytes_max).map(Ok),
            Err(Refusal::Denied(reason)) => Ok(Err(side_effect::Refusal::Denied(reason))),
            Err(Refusal::Invalid(reason)) => Ok(Err(side_effect::Refusal::Invalid(reason))),
            Err(Refusal::Conflict(reason)) => Ok(Err(side_effect::Refusal::Conflict(reason))),
            Err(Refusal::Failed(failure)) => {
                failure_to_guest(failure, bytes_max).map(|failure| Err(side_effect::Refusal::Failed(failure)))
            }
        };
        match performed {
            Ok(performed) => Ok(performed),
            Err(exceeded) => self.end(exceeded),
        }
    }
}

fn halted(halt: Halt) -> NodeOutcome {
    match halt {
        Halt::InDoubt { operation, reason } => NodeOutcome::InDoubt { operation, reason },
        Halt::Question(question) => NodeOutcome::Interrupted(*question),
        Halt::Withheld { operations } => NodeOutcome::Withheld { operations },
        Halt::Fenced => NodeOutcome::Fenced,
        Halt::Fault(reason) => NodeOutcome::HostFault(reason),
    }
}

fn failure_to_guest(failure: Failure, bytes_max: usize) -> Result<types::Failure, Exceeded> {
    let Failure { code, message, retryable, retry_after_ms, details } = failure;
    let details = match details {
        Some(details) => Some(json::write(&details, "the failure's details", bytes_max)?),
        None => None,
    };
    Ok(types::Failure { code, message, retryable, retry_after_ms, details })
}
