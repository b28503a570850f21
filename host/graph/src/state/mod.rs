//! How the state changes: what a write does to a channel, what a channel may hold, and what a condition sees of it.
//!
//! # Layout
//!
//! * [`reduce`]: the writes of one superstep as one [`Patch`]; nothing is mutated until the patch is applied.
//! * [`Reducer`]: how writes combine with a channel's value.
//! * [`Schema`]: JSON Schema, compiled once.
//! * [`Condition`]: CEL, compiled once; [`Next::resolve`](crate::definition::Next::resolve) follows it.
//! * [`Expression`]: CEL over other names than `state`, for operators' rules about requests and answers.
//! * [`StateError`]: everything that can be wrong with a write or a condition.

mod condition;
mod error;
mod expression;
mod patch;
mod reducer;
mod route;
mod schema;
mod syntax;

pub use condition::Condition;
pub use error::StateError;
pub use expression::Expression;
pub use patch::{Change, Patch, initial_values, reduce};
pub use reducer::Reducer;
pub use schema::{Schema, SchemaViolation};
