//! Questions and approvals (DESIGN 8): who may answer, what counts as an answer, and what time does. Pure.
//!
//! # Layout
//!
//! * [`policy`]: what holds for a question, read from its snapshot. [`people`]: who may answer.
//! * [`shape`]: what payloads say about themselves. [`value`]: from verdicts to the values that nodes get, and back.
//! * [`decide`]: what somebody's word comes to. [`time`]: reminders, escalation, deadline.
//! * [`approval`]: a question as people see it. [`notice`]: what they are told.

pub mod policy;

pub mod people;

pub mod shape;
pub mod value;

pub mod decide;
pub mod time;

pub mod approval;
pub mod notice;

pub use approval::{Approval, ApprovalStatus, Edit, Eligibility};
