//! One call of one node, in a store of its own.

pub(crate) mod execute;
pub(crate) mod json;
pub(crate) mod memory;
pub(crate) mod outcome;
pub(crate) mod recorded;
pub(crate) mod report;
pub(crate) mod state;
pub(crate) mod wasi;
