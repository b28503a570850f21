//! What a life leaves behind: one line for each point that it reached, written before it may die there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The point's number in this life, from 1; 0 where a life begins.
    pub point: u32,
    /// What was reached.
    pub moment: Moment,
}

/// A point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// A process begins.
    LifeBegins,
    /// About to hand a write to the store.
    BeforeCommit(Written),
    /// The store has said what became of it.
    AfterCommit {
        /// Which.
        write: u32,
        /// `ok`, or the error's code.
        outcome: String,
    },
    /// About to send a request.
    BeforeSend {
        /// Its operation.
        operation: String,
    },
    /// Sent and received; the receiver has not dealt with it yet.
    InFlight {
        /// Its operation.
        operation: String,
    },
    /// Answered; nothing of that is recorded.
    AfterSend {
        /// Its operation.
        operation: String,
    },
}

/// What a write holds, as far as it is checked later.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Written {
    /// Counts a life's writes from 1.
    pub write: u32,
    /// New checkpoints.
    pub checkpoints: Vec<String>,
    /// Questions that are answered by it.
    pub answered: Vec<String>,
    /// Questions that are asked by it.
    pub asked: Vec<String>,
    /// Operations as they stand now.
    pub operations: Vec<Operation>,
}

/// One operation in a write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// The epoch under which it is recorded: with the id, one attempt.
    pub epoch: u64,
    /// The stored name of its state.
    pub state: String,
}

impl Moment {
    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LifeBegins => "life begins",
            Self::BeforeCommit(_) => "before commit",
            Self::AfterCommit { .. } => "after commit",
            Self::BeforeSend { .. } => "before send",
            Self::InFlight { .. } => "received, not answered",
            Self::AfterSend { .. } => "answered, not recorded",
        }
    }
}

/// Writes a trace. Each line is one write to a file that is only appended to.
pub struct Writer(File);

impl Writer {
    /// Opens a trace, making it if it is absent.
    ///
    /// # Errors
    /// The file's.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(OpenOptions::new().append(true).create(true).open(path)?))
    }

    /// Appends a line.
    ///
    /// # Errors
    /// The file's.
    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.0.write_all(text.as_bytes())
    }
}

/// Reads the lines of all lives, in order; none where no life wrote any.
///
/// # Errors
/// The file cannot be read, or is no trace.
pub fn read(path: &Path) -> io::Result<Vec<Vec<Line>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut lives: Vec<Vec<Line>> = Vec::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line)?;
        match (&line.moment, lives.last_mut()) {
            (Moment::LifeBegins, _) | (_, None) => lives.push(vec![line]),
            (_, Some(life)) => life.push(line),
        }
    }
    Ok(lives)
}
