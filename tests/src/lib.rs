//! What the end-to-end tests share: real processes of the built program, real nodes, a real payments server.
//!
//! `make test` builds the program and the nodes first; the tests say so when they are missing.
//!
//! # Layout
//!
//! * [`program`]: runs `holdpoint` in processes of its own on a store of its own.
//! * [`payments`]: a payments server on loopback with a log of its own: the judge of how often money moved.
//! * [`graphs`]: graph files of `probe` nodes, written as data.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "test support: a panic is a failed test")]

pub mod graphs;
pub mod payments;
pub mod program;

pub use graphs::Probes;
pub use payments::Payments;
pub use program::{Outcome, Place};
