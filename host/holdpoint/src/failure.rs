//! Every error that a person meets: a stable code, a cause, a cure, and an exit code by kind.

use std::fmt;

use holdpoint_graph::problem::Problem;
use serde_json::{Value, json};

/// Exit code of a thread that is done, or a command that did what it was asked.
pub const EXIT_DONE: u8 = 0;
/// Exit code of a failed thread, and of a host that cannot work.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of wrong usage or invalid input: nothing was done.
pub const EXIT_INVALID: u8 = 2;
/// Exit code of a thread that waits.
pub const EXIT_INTERRUPTED: u8 = 3;

/// An error as a person meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable code, `HP` and four digits.
    pub code: String,
    /// What happened and why.
    pub message: String,
    /// What to do about it.
    pub cure: String,
    /// Exit code of the command that ends with it.
    pub exit: u8,
    /// Each problem of a file, when a file is what is wrong.
    pub problems: Vec<Value>,
    /// What the message sums up, for programs; none when it says everything. In a box, because most failures have none.
    pub details: Option<Box<Value>>,
}

impl Failure {
    /// Wrong usage or invalid input.
    pub fn invalid(code: &str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            cure: cure.into(),
            exit: EXIT_INVALID,
            problems: Vec::new(),
            details: None,
        }
    }

    /// The host cannot do it.
    pub fn host(code: &str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { exit: EXIT_FAILED, ..Self::invalid(code, message, cure) }
    }

    /// The engine's error.
    pub fn from_engine(error: &holdpoint_engine::Error) -> Self {
        use holdpoint_engine::Error as Engine;
        let exit = match error {
            Engine::Store(error) => store_exit(error),
            Engine::Busy { .. } | Engine::TakenOver(_) | Engine::GraphUnavailable { .. } => EXIT_FAILED,
            _ => EXIT_INVALID,
        };
        Self { exit, ..Self::invalid(error.code(), error.to_string(), error.cure()) }
    }

    /// The store's error.
    pub fn from_store(error: &holdpoint_store::Error) -> Self {
        let exit = store_exit(error);
        Self { exit, ..Self::from_engine(&holdpoint_engine::Error::Store(error.clone())) }
    }

    /// The sandbox's error.
    pub fn from_sandbox(error: &holdpoint_sandbox::Error) -> Self {
        use holdpoint_sandbox::Error as Sandbox;
        let exit = match error {
            Sandbox::Unavailable(_) | Sandbox::RuntimeOutdated { .. } | Sandbox::Source { .. } => EXIT_FAILED,
            _ => EXIT_INVALID,
        };
        Self { exit, ..Self::invalid(error.code(), error.to_string(), error.cure()) }
    }

    /// The problems of a graph file and of what it names. A single one that has no line is the failure itself.
    pub fn from_all(file: &str, problems: Vec<Problem>) -> Self {
        let mut problems = problems;
        if problems.len() == 1
            && let Some(problem) = problems.pop_if(|problem| problem.line == 0)
        {
            return Self::invalid(problem.code, problem.message, problem.cure);
        }
        let count = problems.len();
        let plural = if count == 1 { "" } else { "s" };
        Self {
            problems: problems
                .iter()
                .map(|problem| {
                    json!({
                        "code": problem.code, "file": problem.file, "line": problem.line, "column": problem.column,
                        "message": problem.message, "cure": problem.cure,
                    })
                })
                .collect(),
            ..Self::invalid(
                problems.first().map_or("HP0100", |problem| problem.code),
                format!("{file} has {count} problem{plural}"),
                "mend each of them; nothing was started",
            )
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message, "cure": self.cure });
        if !self.problems.is_empty() {
            error["problems"] = Value::Array(self.problems.clone());
        }
        if let Some(details) = &self.details {
            error["details"] = Value::clone(details);
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "error {}: {}", self.code, self.message)?;
        for problem in &self.problems {
            let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
            let place = match problem["line"].as_u64() {
                Some(line) if line > 0 => format!("{}:{line}:{}", text("file"), problem["column"]),
                _ => text("file"),
            };
            writeln!(formatter, "  {place}: {} {}\n    cure: {}", text("code"), text("message"), text("cure"))?;
        }
        write!(formatter, "cure: {}", self.cure)
    }
}

impl std::error::Error for Failure {}

fn store_exit(error: &holdpoint_store::Error) -> u8 {
    use holdpoint_store::Error as Store;
    match error {
        Store::ThreadExists(_)
        | Store::ThreadNotFound(_)
        | Store::QuestionSettled(_)
        | Store::QuestionNotFound { .. } => EXIT_INVALID,
        _ => EXIT_FAILED,
    }
}
