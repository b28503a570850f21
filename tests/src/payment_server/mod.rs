//! A payments server that is a program of its own, `payments_server`: it can be killed, it can kill, and its log is the judge of what was done.
//!
//! It takes any `POST` as a payment under the `Idempotency-Key`, answers `GET /refunds/by-key/{id}`, and `PUT /behaviour` says what it does next.
//!
//! # Layout
//!
//! * [`behaviour`]: what it can do with a request. [`log`]: its log, one JSON line for each event, and how tests read it.
//! * [`books`]: who paid what; everything passes the log first. [`wire`]: as much of HTTP as is needed, so that answers can be left out.
//! * [`server`]: connections. [`process`]: the program as tests hold it.

pub mod behaviour;
pub mod log;

pub mod books;
pub mod server;
pub mod wire;

pub mod process;

pub use behaviour::Behaviour;
pub use log::Judge;
pub use process::{PaymentServer, Start};
