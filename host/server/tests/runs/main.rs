//! Runs over HTTP: in their turn, resumed strictly, streamed, cancelled, and there after a restart.

#![allow(clippy::unwrap_used, reason = "tests: a panic is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod scene;

mod basics;
mod resume;

mod commands;
mod streams;

mod cancel;
mod restart;
mod webhooks;
