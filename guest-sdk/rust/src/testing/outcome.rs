//! How an execution ended.

use crate::command::Command;
use crate::error::Error;
use crate::question::Question;

/// How an execution of a node ended.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "look at how the node ended"]
pub enum Outcome {
    /// It returned this command.
    Finished(Command),
    /// It returned this failure.
    Failed(Error),
    /// It asked this question, which has no answer yet.
    Interrupted(Question),
    /// It panicked with this message; as a component it would trap.
    Panicked(String),
}

impl Outcome {
    /// The command; for tests, so it panics for any other outcome.
    #[track_caller]
    pub fn finished(self) -> Command {
        match self {
            Self::Finished(command) => command,
            other => panic!("the node did not finish: {other:?}"),
        }
    }

    /// The failure; for tests, so it panics for any other outcome.
    #[track_caller]
    pub fn failed(self) -> Error {
        match self {
            Self::Failed(error) => error,
            other => panic!("the node did not fail: {other:?}"),
        }
    }

    /// The question; for tests, so it panics for any other outcome.
    #[track_caller]
    pub fn interrupted(self) -> Question {
        match self {
            Self::Interrupted(question) => question,
            other => panic!("the node did not ask: {other:?}"),
        }
    }

    /// The panic's message; for tests, so it panics for any other outcome.
    #[track_caller]
    pub fn panicked(self) -> String {
        match self {
            Self::Panicked(message) => message,
            other => panic!("the node did not panic: {other:?}"),
        }
    }
}
