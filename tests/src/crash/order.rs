//! What one life is told, and what it says when it was not killed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::points::Fate;
use super::tampered::Red;

/// What one life is told: the worker's only argument, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The store.
    pub store: PathBuf,
    /// Where compiled nodes are.
    pub cache_folder: PathBuf,
    /// The connectors, as a configuration file's text; paths in it are absolute.
    pub configuration: String,
    /// The same with [`KILL_HEADER`](crate::payment_server::server::KILL_HEADER), for those whose receivers kill. `PROCESS` stands for the id.
    pub lethal_configuration: String,
    /// The thread to advance.
    pub thread: String,
    /// The graph, which is in the store.
    pub graph: String,
    /// What the thread is started with, if it is not there.
    pub input: Value,
    /// What questions are answered with.
    pub answer: Value,
    /// What a person says of operations in doubt, before anything else is done.
    pub words: Vec<Word>,
    /// Where the points go.
    pub trace: PathBuf,
    /// Where it dies.
    pub fate: Option<Fate>,
    /// The guard that is taken out.
    pub red: Option<Red>,
    /// The write that fails.
    pub lost: Option<Lost>,
    /// How long each of its writes takes at least.
    pub slow_ms: u64,
    /// How far its clock goes ahead: a person takes time.
    pub ahead_ms: u64,
    /// How long its claims stand.
    pub lease_ms: u64,
}

/// A person's word on one operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The operation's id.
    pub operation: String,
    /// Its answer when it has happened; none to have it sent.
    pub happened: Option<Value>,
}

/// A write whose outcome is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Which of the life's writes, from 1.
    pub write: u64,
    /// Whether it is done all the same.
    pub done: bool,
}

/// What a life says at its end, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// The thread's status; empty when there is no thread.
    pub status: String,
    /// Its values.
    pub values: Map<String, Value>,
    /// The operations in doubt that a person is shown.
    pub doubts: Vec<Doubt>,
    /// What was acknowledged to the caller in this life.
    pub acknowledged: Vec<Acknowledged>,
    /// The code of the error that ended it.
    pub error: Option<String>,
    /// That error in words.
    pub message: Option<String>,
    /// How many points it passed.
    pub points: u32,
    /// How many writes it made.
    pub writes: u32,
}

/// An operation in doubt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Doubt {
    /// Its id.
    pub operation: String,
    /// The epoch of its record: with the id, one attempt.
    pub epoch: u64,
}

/// What a caller was told had been accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acknowledged {
    /// The input, and that this question waits.
    Asked {
        /// The question's id.
        question: String,
    },
    /// The answer.
    Answered {
        /// The question's id.
        question: String,
    },
    /// A word on a doubt.
    Settled {
        /// The operation's id.
        operation: String,
    },
    /// That the thread is done.
    Done,
}
