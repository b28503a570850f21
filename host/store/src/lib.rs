//! What is durable.
//!
//! One write is one value: a [`Commit`] says everything that changes, and a store applies it in one transaction or not at all.
//!
//! # Layout
//!
//! * [`records`]: what is stored, as values.
//! * [`approvals`]: questions between asking and answer. [`runs`]: requests in their turn, and threads as callers know them.
//! * [`audit`](mod@audit): the record of every change, in hash chains. [`access`]: API keys, approval links and sessions.
//! * [`store`]: the traits [`Store`] and [`Journal`], [`Commit`], and the errors.
//! * `check`: what every store refuses before it looks at what is stored.
//! * [`memory`]: the store in memory, the oracle that others are compared with.
//! * [`sqlite`]: the default store, one file.
//! * [`conformance`]: the suite that every store answers.
//! * [`forward`]: stores around stores. [`faults`]: one for tests, that commits and then reports failure.

pub mod records;

pub mod approvals;
pub mod runs;

pub mod access;
pub mod audit;

pub mod store;

mod check;

pub mod memory;
pub mod sqlite;

pub mod conformance;
pub mod forward;

pub mod faults;

pub use access::{Access, ApiKeyRecord, LinkRecord, SessionRecord};
pub use approvals::{
    Added, Approvals, Changed, DeadlineGuard, Proceedings, Proposal, QuestionChange, QuestionCounts, QuestionFilter,
    ReplyRecord, ThreadQuestion, Vote, Withdrawn,
};
pub use audit::{AuditEntry, AuditFilter, AuditRecord, AuditTrail, ChainHead};
pub use memory::MemoryStore;
pub use records::*;
pub use runs::{
    EntryFilter, EntryOrder, EntryStatus, ExpiryRule, RunCancel, RunFilter, RunRecord, RunStatus, RunUpdate, Runs,
    ThreadEntry, ThreadExpiry, ThreadSummary,
};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use store::{
    Claim, Commit, Content, Error, Expect, HistoryFilter, Journal, NewThread, OperationCounts, OperationFilter,
    Statistics, Store, ThreadBytes, ThreadFilter,
};
