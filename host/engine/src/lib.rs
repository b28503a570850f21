//! Supersteps: what runs next, what its results mean, and the driver that does both against a store.
//!
//! The engine knows traits only: [`holdpoint_store::Store`] for what is durable, [`holdpoint_graph::nodes::Nodes`] for whatever executes nodes.
//!
//! # Layout
//!
//! * [`plan`]: from a snapshot to the tasks that run next. Pure.
//! * [`apply`]: from the tasks' results to the next checkpoint. Pure.
//! * [`answers`]: which answer belongs to which question. Pure.
//! * [`claim`]: who may advance a thread. Pure.
//! * [`view`]: a thread as its users see it. Pure.
//! * [`engine`]: the handle: start, answer, continue, read.
//! * `driver`, `task`, `ledger`: the thin asynchronous edge: executes tasks, retries, commits.
//! * [`error`]: how it fails.

pub mod plan;

pub mod apply;

pub mod answers;
pub mod claim;
pub mod view;

pub mod engine;

mod driver;
mod ledger;
mod task;

pub mod error;

pub use answers::Answers;
pub use engine::{Config, Deployment, Engine, Input, Word};
pub use error::Error;
pub use view::{HistoryEntry, Interrupt, InterruptKind, TaskView, ThreadView};
