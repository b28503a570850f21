//! What every request passes.
//!
//! # Layout
//!
//! * `connections`: accepts connections, as many as the settings allow, none of which may be silent for long. `writing`: nor leave its answer untaken.
//! * `form`: forms are read as a whole before a handler runs.
//! * `envelope`: what every answer has: an id, headers for browsers, and our form for errors.

pub(crate) mod connections;
pub(crate) mod envelope;
pub(crate) mod form;
mod writing;
