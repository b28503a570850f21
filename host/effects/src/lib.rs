//! Side effects: a node names one, the host performs it once per operation id and records what became of it.
//!
//! # Layout
//!
//! * [`Effects`]: what a process has one of: configuration, connectors, the operations that are being performed now. [`TaskEffects`]: one
//!   execution of a node; its [`TaskEffects::perform_all`] is the only way to the outside.
//! * `decision`: replay the record, wait, perform, or stop in doubt: a pure function of what is found and what is asked.
//! * [`Attempt`]: the four ends of sending a request, and what each means for the classes of connectors.
//! * `in_flight`: the operations that this process performs now, or has performed and not seen in the journal yet.
//! * `records`: what one execution knows of its operations, and what of that is durable.
//! * `limiter`: rate and concurrency of a connector. `outbox`: what leaves only after a commit ([`Effects::deliver_due`]).
//! * [`Refusal`] and [`Halt`]: what a guest is told, and what ends its execution.
//! * `notices`: what people are told about questions, as operations that leave after the commit. `identity`: what an operation is known by.
//! * `task/recorded`: what becomes of operations on a branch that performs none.
//! * [`configuration`]: `holdpoint.toml`; secrets and their scrubbing.
//! * [`connectors`]: one file or folder for each kind, behind one trait.
//!
//! # Order of things
//!
//! ```text
//! guest          TaskEffects           journal            receiver
//!   | perform ------>|  found? ----------->|                  |
//!   |                |  intent (at-most-once) -> durable      |
//!   |                |  request ---------------------------->|   not after send_by
//!   |                |<----------------------------- outcome -|
//!   |<-- answer -----|  outcome rides on the next intent's commit or on the task's
//! ```

pub mod configuration;

mod attempt;
pub mod connectors;

mod decision;
mod identity;
mod in_flight;
mod limiter;
mod notices;
mod outbox;
mod perform;
mod records;
mod refusal;
mod task;

mod effects;

pub use attempt::{Attempt, Reply};
pub use configuration::Configuration;
pub use effects::Effects;
pub use outbox::Delivered;
pub use refusal::{Halt, Refusal};
pub use task::{Finished, OperationRequest, TaskEffects};
