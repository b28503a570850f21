//! Every integration test of the engine in one program, so that it is linked once; a test file left out of it fails `tests/tests/all.rs`.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

mod answers;
mod approvals;
mod branches;
mod crash;
mod differential;
mod doubt;
mod durability;
mod effort;
mod graphs;
mod migrate;
mod prune;
mod scenarios;
mod settle;
mod stream;
mod take;
mod time_travel;
mod turns;
mod verify;
