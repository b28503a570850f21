//! Holdpoint: durable graphs whose nodes are sandboxed WebAssembly components, with people in the loop.
//!
//! This crate composes the parts and is what other programs embed; the `holdpoint` binary is built on it.
//!
//! # Layout
//!
//! * [`host`]: [`Host`]: a store, a sandbox and an engine, put together.
//! * [`deploy`](mod@deploy): from a graph file and its components to a stored, pinned version.
//! * [`serve`](mod@serve): a host with a server in front of it.
//! * [`shadow`]: threads that have run, replayed on a version before it takes over.
//! * [`fixture`]: a thread as one file, to be verified on any machine.
//! * [`telemetry`]: logs and traces.
//! * [`system`]: the host's clock and processes.
//! * [`node_build`]: builds nodes for WebAssembly on machines with and without the target.
//! * [`demo`]: the refund story, told by real processes.
//! * [`bench`](mod@bench): figures with their baselines.
//! * [`cli`]: the command line. `remote`: the same against a server.
//! * [`failure`]: every error with its code, cause and cure; [`codes`]: the page of all codes.
//! * [`when_it_dies`]: what happens at each point where a process can end. [`connectors`]: the configuration, key by key.
//! * [`approvals`]: questions, who may answer them, deadlines, and what is on the record.
//! * [`serving`]: `holdpoint serve`, its configuration and its roles.
//! * [`coming_from_langgraph`]: what is the same, what is stricter and why. [`graph_file`]: the graph file, key by key.

pub mod host;

pub mod deploy;
pub mod fixture;
pub mod serve;
pub mod shadow;
pub mod system;
pub mod telemetry;

pub mod node_build;

pub mod bench;
pub mod demo;

pub mod cli;
mod remote;

pub mod codes;
pub mod failure;

pub mod approvals;
pub mod coming_from_langgraph;
pub mod connectors;
pub mod graph_file;
pub mod serving;
pub mod when_it_dies;

pub use failure::Failure;
pub use host::{Host, HostOptions};
