//! The sandbox: the only crate that knows wasmtime. It loads nodes, bounds them and runs them.
//!
//! A node is a component of the world `holdpoint:node/node`, or a core module that wraps into one. Each call gets a store of its own, runs one
//! export in it and drops it; nothing survives a call but what it returned and what the journal took.
//!
//! A node is a function of its recorded inputs: it has no file, network, environment, clock or randomness of its own (`isolated`, `replayable`).
//! It pauses by a trap that no guest can catch: the question is the call's outcome, and after the answer the node runs again from its start.
//!
//! # Layout
//!
//! * [`Options`], [`CallLimits`]: what a sandbox is set up with.
//! * [`Sandbox`]: [`Sandbox::load`], [`Sandbox::inspect`], and the implementation of [`holdpoint_graph::nodes::Nodes`].
//! * `engine`, `ticker`: wasmtime's configuration in one place, and the thread that interrupts guests.
//! * `load`: from bytes to something that can be instantiated: what the bytes are, wrapping, compiling, the caches.
//! * `call`: one call: its data, its limits, its clock, its log, and what its end means.
//! * `imports`: the interfaces of the contract that the host serves.
//! * `bindings`: generated from `wit/`.

mod options;
mod sandbox;

mod engine;
mod error;
mod ticker;

mod load;

mod call;
mod imports;

mod bindings;

pub use error::Error;
pub use load::components::ComponentSource;
pub use load::shape::Kind;
pub use load::wrap::componentize;
pub use options::{Allocation, CallLimits, Options};
pub use sandbox::{Description, Inspection, Loaded, Sandbox};
