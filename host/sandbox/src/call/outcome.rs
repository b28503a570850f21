//! How a call ended, told from what the guest returned or how it died.

use holdpoint_graph::nodes::{Command, Destination, Failure, NodeOutcome};
use serde_json::Value;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::{I32Exit, ResourceTableError};

use crate::bindings::holdpoint::node::types;
use crate::call::json;
use crate::call::report::cut;
use crate::call::state::{Exceeded, State, malformed};

/// An author's code is a word, not a text.
const FAILURE_CODE_BYTES_MAX: usize = 256;

/// Whether a guest was being made or was running when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Start,
    Run,
}

/// What became of a guest that did not return. What the host decided comes before what the guest died of.
pub(crate) fn died(state: &mut State, phase: Phase, error: &wasmtime::Error) -> NodeOutcome {
    if let Some(outcome) = decided(state) {
        return outcome;
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::Interrupt => state.time_is_over().into(),
            Trap::OutOfFuel => Exceeded { limit: "fuel", message: "the node used all its fuel".to_owned() }.into(),
            trap => {
                tracing::debug!(error = format!("{error:?}"), "a node trapped");
                trapped(state, trap.to_string())
            }
        };
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return trapped(state, format!("the node called exit({})", exit.0));
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return Exceeded {
            limit: "handles",
            message: format!("the node held more than {} handles", state.limits.handles),
        }
        .into();
    }
    let text = error.root_cause().to_string();
    // wasmtime has no public types for these.
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        let message = format!("the node handed over more than {} bytes at once", state.limits.transfer_bytes());
        return Exceeded { limit: "value-size", message }.into();
    }
    if error.is::<PoolConcurrencyLimitError>() || phase == Phase::Start {
        return NodeOutcome::HostFault(format!("the node could not be started: {text}"));
    }
    trapped(state, text)
}

/// What the host decided, whatever the guest did afterwards.
pub(crate) fn decided(state: &mut State) -> Option<NodeOutcome> {
    state
        .ended
        .take()
        .or_else(|| state.memory.take_exceeded().map(NodeOutcome::from))
        .or_else(|| state.reporter.take_exceeded().map(NodeOutcome::from))
}

/// Names the trap and what the guest said last: the text of a panic goes through the log.
fn trapped(state: &State, trap: String) -> NodeOutcome {
    match state.reporter.take_last_error() {
        Some(last) => NodeOutcome::Trapped(format!("{trap}; the node's last error: {last}")),
        None => NodeOutcome::Trapped(trap),
    }
}

/// What a guest that returned wants.
pub(crate) fn returned(state: &State, result: Result<types::Command, types::Failure>) -> NodeOutcome {
    let converted = match result {
        Ok(command) => read_command(state, command).map(NodeOutcome::Completed),
        Err(failure) => read_failure(state, failure).map(NodeOutcome::Failed),
    };
    converted.unwrap_or_else(|outcome| outcome)
}

fn read_command(state: &State, command: types::Command) -> Result<Command, NodeOutcome> {
    let bytes_max = state.limits.value_bytes;
    let Value::Object(update) = json::read(&command.update, "the command's update", "invalid-command", bytes_max)?
    else {
        return Err(malformed("invalid-command", "the command's update is not a JSON object".to_owned()));
    };
    if command.goto.len() > state.limits.destinations {
        let message = format!(
            "the command names {} destinations; the limit is {}",
            command.goto.len(),
            state.limits.destinations
        );
        return Err(Exceeded { limit: "destinations", message }.into());
    }
    let goto = command
        .goto
        .into_iter()
        .map(|destination| {
            Ok(match destination {
                types::Destination::Node(node) => Destination::Node(node),
                types::Destination::Send(send) => Destination::Send {
                    argument: json::read(&send.argument, "the argument of a send", "invalid-command", bytes_max)?,
                    node: send.node,
                },
                types::Destination::Parent(node) => Destination::Parent(node),
                types::Destination::End => Destination::End,
            })
        })
        .collect::<Result<_, NodeOutcome>>()?;
    Ok(Command { update, goto })
}

fn read_failure(state: &State, failure: types::Failure) -> Result<Failure, NodeOutcome> {
    let types::Failure { mut code, message, retryable, retry_after_ms, details } = failure;
    code.truncate(code.floor_char_boundary(FAILURE_CODE_BYTES_MAX));
    let details = match details {
        // A failure is worth more than the form of its details: text that is no JSON is kept as text.
        Some(text) => {
            Some(json::parse(&text, "the failure's details", state.limits.value_bytes)?.unwrap_or(Value::String(text)))
        }
        None => None,
    };
    Ok(Failure { code, message: cut(&message), retryable, retry_after_ms, details })
}
