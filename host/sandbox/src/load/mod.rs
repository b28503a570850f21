//! From bytes to something that can be instantiated.

pub(crate) mod components;
pub(crate) mod disk;
pub(crate) mod shape;
mod trusted;
pub(crate) mod wrap;
