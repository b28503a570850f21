//! Supersteps: what runs next, what its results mean, and the driver that does both against a store.
//!
//! The engine knows traits only: [`holdpoint_store::Store`] for what is durable, [`holdpoint_graph::nodes::Nodes`] for whatever executes nodes.
//!
//! # Layout
//!
//! * [`version`]: a graph with its subgraphs.
//! * [`plan`]: from a snapshot to the tasks that run next. Pure.
//! * [`apply`], `upcoming`: from the tasks' results to the next checkpoint. Pure.
//! * [`update`]: a caller's update as the next checkpoint; [`patch`]: from one state to another; `subgraph`: what graphs hand each other. Pure.
//! * [`answers`]: which answer belongs to which question. Pure.
//! * [`approvals`]: who may answer a question, what counts as an answer, what time does. Pure.
//! * [`claim`]: who may advance a thread. [`prune`]: what of a thread's history has to stay. Pure.
//! * [`view`]: a thread as its users see it. Pure.
//! * [`engine`]: the handle: start, answer, continue, read.
//! * [`events`]: what happens in a run, told while it happens; [`stream`]: as LangGraph's streams. Pure.
//! * [`tree`]: all branches of a thread, drawn. Pure.
//! * [`transfer`]: a thread as one value. [`recording`]: what a thread was given from outside. [`verify`]: whether its history is what its nodes do.
//! * `driver`, `frame`, `telling`, `lanes`, `task`, `child`, `states`, `ledger`: the thin asynchronous edge: executes tasks, retries, commits.
//! * [`timings`]: how long it takes. [`error`]: how it fails.

pub mod version;

pub mod plan;

pub mod apply;
pub mod patch;
pub mod update;

mod subgraph;
mod upcoming;

pub mod answers;
pub mod approvals;
pub mod claim;
pub mod prune;
pub mod view;

pub mod events;
pub mod recording;
pub mod stream;
pub mod transfer;
pub mod tree;

pub mod verify;

pub mod engine;

mod child;
mod driver;
mod frame;
mod lanes;
mod ledger;
mod states;
mod task;
mod telling;
pub mod timings;

pub mod error;

pub use answers::Answers;
pub use approvals::{Approval, ApprovalStatus, Eligibility};
pub use engine::{
    Authentication, Breakpoints, Config, Decided, Decision, Delegation, Deployment, Engine, Input, MonitorReport,
    Principal, PruneReport, PruneRequest, Repetition, ReplyKey, RunOptions, Selection, TakeBack, Taken, Turn, Word,
};
pub use error::Error;
pub use events::{Drain, Event, EventKind, EventSink};
pub use timings::{ExecutionEnd, Timings};
pub use update::{AsNode, Update};
pub use version::Version;
pub use view::{HistoryEntry, Interrupt, InterruptKind, TaskView, ThreadView};
