//! The SDK's values from and into those of the bindings, so that no generated type is part of the SDK's interface.

use super::bindings;
use super::bindings::holdpoint::node::{interrupt, report, side_effect, types};
use crate::command::{Command, Destination};
use crate::cx::{Level, Task};
use crate::error::{Error, Refusal};
use crate::host::{AnswerText, InputText, OperationText, QuestionText};
use crate::node::Description;
use crate::question::Verdict;

impl From<bindings::Input> for InputText {
    fn from(input: bindings::Input) -> Self {
        let types::Task { graph, thread_id, checkpoint_id, step, node, id } = input.task;
        let task = Task { graph, thread_id, checkpoint_id, step, node, id };
        Self { task, state: input.state, argument: input.argument, config: input.config }
    }
}

impl From<Command> for bindings::Command {
    fn from(command: Command) -> Self {
        Self {
            update: command.update.to_string(),
            goto: command.goto.into_iter().map(types::Destination::from).collect(),
        }
    }
}

impl From<Destination> for types::Destination {
    fn from(destination: Destination) -> Self {
        match destination {
            Destination::Node(node) => Self::Node(node),
            Destination::Send(send) => Self::Send(types::Send { node: send.node, argument: send.argument.to_string() }),
            Destination::Parent(node) => Self::Parent(node),
            Destination::End => Self::End,
        }
    }
}

impl From<Error> for types::Failure {
    fn from(error: Error) -> Self {
        Self {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            retry_after_ms: error.retry_after_ms,
            details: error.details.map(|details| details.to_string()),
        }
    }
}

impl From<types::Failure> for Error {
    fn from(failure: types::Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
            retryable: failure.retryable,
            retry_after_ms: failure.retry_after_ms,
            // The host sends JSON; should it not be, the text itself is more use than nothing.
            details: failure.details.map(|details| serde_json::from_str(&details).unwrap_or_else(|_| details.into())),
        }
    }
}

impl From<side_effect::Refusal> for Refusal {
    fn from(refusal: side_effect::Refusal) -> Self {
        match refusal {
            side_effect::Refusal::Denied(reason) => Self::Denied(reason),
            side_effect::Refusal::Invalid(reason) => Self::Invalid(reason),
            side_effect::Refusal::Conflict(reason) => Self::Conflict(reason),
            side_effect::Refusal::Failed(failure) => Self::Failed(failure.into()),
        }
    }
}

impl From<OperationText> for side_effect::Operation {
    fn from(operation: OperationText) -> Self {
        Self { id: operation.id, connector: operation.connector, request: operation.request }
    }
}

impl From<QuestionText> for interrupt::Question {
    fn from(question: QuestionText) -> Self {
        Self { payload: question.payload, answer_schema: question.answer_schema, deadline_ms: question.deadline_ms }
    }
}

impl From<interrupt::Answer> for AnswerText {
    fn from(answer: interrupt::Answer) -> Self {
        Self {
            verdict: answer.verdict.into(),
            value: answer.value,
            answered_by: answer.answered_by,
            answered_at_ms: answer.answered_at_ms,
        }
    }
}

impl From<interrupt::Verdict> for Verdict {
    fn from(verdict: interrupt::Verdict) -> Self {
        match verdict {
            interrupt::Verdict::Accept => Self::Accept,
            interrupt::Verdict::Edit => Self::Edit,
            interrupt::Verdict::Respond => Self::Respond,
            interrupt::Verdict::Reject => Self::Reject,
            interrupt::Verdict::Ignore => Self::Ignore,
            interrupt::Verdict::Expired => Self::Expired,
        }
    }
}

impl From<Level> for report::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

impl From<Description> for bindings::Description {
    fn from(description: Description) -> Self {
        Self {
            name: description.name.to_owned(),
            version: description.version.to_owned(),
            summary: description.summary.to_owned(),
            state_schema: description.state_schema.map(str::to_owned),
            update_schema: description.update_schema.map(str::to_owned),
            config_schema: description.config_schema.map(str::to_owned),
            connectors: description.connectors.iter().map(|&connector| connector.to_owned()).collect(),
        }
    }
}
