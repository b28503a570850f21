//! What a script can do. Ids are never in an action: both engines resolve the same places, each to its own.

use holdpoint_graph::nodes::EffectMode;
use holdpoint_store::Source;
use holdpoint_store::faults::Fault;
use serde_json::Value;

use super::actors::Weather;

pub(crate) const THREADS: [&str; 3] = ["one", "two", "three"];

/// One action with all that holds for it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The clock before it.
    pub(crate) advance_ms: u64,
    pub(crate) weather: Weather,
    pub(crate) cut: Option<Cut>,
    /// Whether workers know that the dead ones are dead, or have to wait for their leases.
    pub(crate) gone: bool,
    pub(crate) before: Vec<&'static str>,
    pub(crate) after: Vec<&'static str>,
    pub(crate) effects: Option<EffectMode>,
    pub(crate) metadata: Value,
    pub(crate) drain: bool,
    pub(crate) thread: &'static str,
    pub(crate) action: Action,
}

/// What becomes of a worker at one of its writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) at: u64,
    pub(crate) fault: Fault,
    /// It dies there; otherwise the store is well again at once.
    pub(crate) dies: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Run {
        graph: usize,
        input: Value,
        supersede: bool,
    },
    Input {
        input: Value,
        supersede: bool,
    },
    Answer {
        answer: Reply,
        value: Value,
    },
    Command {
        answer: Option<(Reply, Value)>,
        update: Value,
        goto: Option<&'static str>,
        sent: Option<Value>,
    },
    Proceed,
    Update {
        at: Place,
        supersteps: Vec<Vec<Said>>,
    },
    Replay {
        at: Place,
    },
    Fork {
        at: Place,
        update: Said,
    },
    Copy {
        to: &'static str,
    },
    Build {
        graph: usize,
        supersteps: Vec<Vec<Said>>,
    },
    Settle {
        pick: usize,
        word: usize,
        reason: &'static str,
    },
    Delete,
    Prune {
        delete: bool,
        older_than_ms: Option<u64>,
        dry_run: bool,
    },
    State {
        at: Place,
    },
    Search {
        source: Option<Source>,
        step: Option<i64>,
        metadata: Value,
        before: Option<usize>,
    },
    /// Two workers give the same answer at once.
    Race {
        value: Value,
    },
    /// A worker stands still in a node for longer than its lease; another one goes on; the first wakes up.
    Zombie,
}

/// Which answer is given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Bare,
    One(usize),
    All,
    /// An id that nobody ever had, one that was settled before, one that another thread waits for.
    Unknown,
    Stale(usize),
    Foreign(usize),
    EmptyMap,
    NoMap,
}

/// Which checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Head,
    /// Of the thread's own graph, in order of storing.
    Own(usize),
    Start(usize),
    Inner(usize),
    Foreign(usize),
    Unknown,
}

/// One update.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) values: Option<Value>,
    /// A node, `__input__`, `__copy__` or `END`.
    pub(crate) as_node: Option<&'static str>,
    pub(crate) goto: Option<&'static str>,
}
