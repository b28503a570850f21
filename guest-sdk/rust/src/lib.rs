//! SDK for Holdpoint nodes: one function, typed state in, a [`Command`] out.
//!
//! ```
//! use holdpoint_node::prelude::*;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Refund {
//!     order_id: String,
//!     amount_cents: u64,
//!     operation_id: String,
//! }
//!
//! /// Pays the approved refund.
//! #[node(connectors = ["payments"])]
//! fn commit_refund(refund: Refund, cx: Cx) -> Result<Command> {
//!     let receipt: Value = cx
//!         .side_effect("payments")
//!         .id(&refund.operation_id)
//!         .post("/refunds", json!({ "order_id": refund.order_id, "amount_cents": refund.amount_cents }))?;
//!     Ok(Command::update(json!({ "status": "approved", "receipt": receipt })))
//! }
//!
//! // The same function, tested on the host without WebAssembly:
//! use holdpoint_node::testing::FakeHost;
//!
//! let mut host = FakeHost::new();
//! host.reply("payments", json!({ "status": 201, "body": { "refund_id": "rf_1" } }));
//! let state = json!({ "order_id": "9241", "amount_cents": 50_000, "operation_id": "refund:9241:50000" });
//! let command = host.run(commit_refund, state).finished();
//! assert_eq!(command.update["receipt"]["refund_id"], "rf_1");
//! assert_eq!(host.performed()[0].request["path"], "/refunds");
//! ```
//!
//! # What a node may rely on
//!
//! A node is executed again from its start after each answer, retry or crash, with the same inputs. Everything that it gets through [`Cx`]
//! (answers, effect results, time, randomness) is what the first execution got; a side effect is performed once per operation id.
//! So a node needs no state of its own between executions, and may perform effects before it asks.
//!
//! # Layout
//!
//! [`Cx`] is what a running node can do; [`SideEffect`], [`Question`] and [`Answer`] belong to it. [`Command`] and [`Error`] are what it returns.
//! [`host`] is the boundary: the calls as a trait, JSON as text. On `wasm32` its implementation is the bindings, elsewhere it is [`testing`].
//!
//! # Features
//!
//! `allocator`, on by default: on `wasm32` the SDK brings the global allocator. A node's first 64 KiB come from memory that it has from the start, and
//! what is more from the standard allocator, so that most calls never ask the host for memory. Without the feature a node has the standard allocator,
//! or the one that it declares itself.

mod command;
mod cx;
mod error;
mod question;
mod side_effect;

pub mod host;
mod json;
mod node;

#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator", not(target_feature = "atomics"))))]
mod allocator;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;

pub use holdpoint_node_macros::node;
pub use serde_json::{Value, json};

pub use crate::command::{Command, Destination, Send};
pub use crate::cx::{Cx, Level, Task};
pub use crate::error::{Error, Refusal, Result};
pub use crate::node::{Description, Node};
pub use crate::question::{Answer, Question, Verdict};
pub use crate::side_effect::{HttpAnswer, Operation, SideEffect};

#[doc(hidden)]
pub use crate::node::execute;

/// What most nodes need, for one `use`.
pub mod prelude {
    pub use crate::{Command, Cx, Error, Question, Refusal, Result, Value, json, node};
}

/// The memory of every node. An author who wants another allocator turns the feature off.
#[cfg(all(target_arch = "wasm32", feature = "allocator", not(target_feature = "atomics")))]
#[global_allocator]
static ALLOCATOR: allocator::Allocator<{ allocator::ARENA_BYTES }> = allocator::Allocator::new();

/// Compiles and tests the examples of the package's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
