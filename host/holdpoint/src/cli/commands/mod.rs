//! One file per command. Each takes the context and its arguments, prints its result, and gives its exit code.

pub mod bench;
pub mod demo;
pub mod doctor;
pub mod graph;
pub mod history;
pub mod node;
pub mod operations;
pub mod replay;
pub mod resume;
pub mod run;
pub mod threads;
