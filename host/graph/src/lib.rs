//! The vocabulary of Holdpoint and the definition of graphs.
//!
//! Everything here is pure: no I/O, no clock, no async runtime. Every other host crate speaks this crate's words.
//!
//! # Layout
//!
//! * [`ids`]: identifiers, each its own type.
//! * [`actor`]: who did something, and on what the name stands.
//! * [`digest`]: canonical JSON (RFC 8785) and SHA-256 digests.
//! * [`nodes`]: the seam between the engine and whatever runs nodes: [`nodes::Nodes`], [`nodes::NodeCall`], [`nodes::NodeOutcome`].
//! * [`clock`]: the seam to the host's clock.
//! * [`notice`]: the seams to those who tell people about questions, and who know whom a name means.
//! * [`operation`]: a named side effect, its key and its record.
//! * [`definition`]: a graph as a value: channels, nodes, edges, policies.
//! * [`file`](mod@file): the TOML graph file; [`builder`]: the same value from Rust; [`problem`]: what is wrong with it, all at once.
//! * [`state`]: how writes change channels: reducers, schemas, conditions.
//! * [`document`]: the stored form of a graph and its digest.
//! * [`diagram`]: a graph drawn as Mermaid.

pub mod actor;
pub mod ids;

pub mod digest;

pub mod clock;
pub mod nodes;
pub mod notice;
pub mod operation;

pub mod definition;

pub mod builder;
pub mod diagram;
pub mod document;
pub mod file;
pub mod problem;
mod reader;
pub mod state;
