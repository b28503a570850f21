//! Every integration test of the effects in one program, so that it is linked once; a test file left out of it fails `tests/tests/all.rs`.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

mod approvals;
mod configuration;
mod file;
mod http;
mod modes;
mod notices;
mod operations;
mod outbox;
mod postgres;
mod questions;
mod reconcile;
mod smtp;
mod sqlite;
mod unnamed;
mod webhook;
