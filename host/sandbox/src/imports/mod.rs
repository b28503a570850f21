//! The interfaces of `holdpoint:node` that the host serves, a file each.

mod interrupt;
mod recorded;
mod report;
mod side_effect;
