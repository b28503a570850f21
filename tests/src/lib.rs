//! What the end-to-end tests share: real processes of the built program, real nodes, a real payments server.
//!
//! `make test` builds the program and the nodes first; the tests say so when they are missing.
//!
//! # Layout
//!
//! * [`program`]: runs `holdpoint` in processes of its own on a store of its own.
//! * [`payments`]: a payments server on loopback with a log of its own: the judge of how often money moved.
//! * [`payment_server`]: the same as a program of its own, which can do everything that a bad receiver does.
//! * [`graphs`]: graph files of `probe` nodes, written as data.
//! * [`crash`]: crash enumeration. [`signal`]: signals to processes.
//! * [`scenario`]: LangGraph's conformance scenarios as data.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "test support: a panic is a failed test")]

pub mod program;

pub mod payment_server;
pub mod payments;

pub mod graphs;

pub mod crash;
pub mod signal;

pub mod scenario;

pub use graphs::Probes;
pub use payment_server::PaymentServer;
pub use payments::Payments;
pub use program::{Outcome, Place};
