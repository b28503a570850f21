//! All SQL that the store executes once it is open. Postgres will come as a sibling with the same statements where both dialects agree.

mod approvals;
mod audit;
mod bytes;
mod checkpoints;
mod entries;
mod operations;
mod retention;
mod shared;
mod threads;

#[cfg(test)]
mod plans;

pub(super) use self::approvals::*;
pub(super) use self::audit::*;
pub(super) use self::bytes::*;
pub(super) use self::checkpoints::*;
pub(super) use self::entries::*;
pub(super) use self::operations::*;
pub(super) use self::retention::*;
pub(super) use self::shared::*;
pub(super) use self::threads::*;

/// Takes the write lock at once, so that a transaction never has to be given up half way.
pub(super) const BEGIN_WRITE: &str = "begin immediate";
pub(super) const BEGIN_READ: &str = "begin deferred";
pub(super) const COMMIT: &str = "commit";
pub(super) const ROLLBACK: &str = "rollback";
pub(super) const SAVEPOINT: &str = "savepoint one_commit";
pub(super) const RELEASE: &str = "release one_commit";
pub(super) const ROLLBACK_TO: &str = "rollback to one_commit";
