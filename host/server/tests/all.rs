//! Every integration test of the server in one program, so that it is linked once; a test file left out of it fails `tests/tests/all.rs`.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

mod abuse;
mod approvals;
mod approvals_audit;
mod expiry;
mod identity;
mod identity_tokens;
mod inbox;
mod links;
mod policies;
mod resources;
mod roles;
mod runs;
mod slow_readers;
mod state;
mod tenants;
mod threads;
