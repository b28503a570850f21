//! One file per command. Each takes the context and its arguments, prints its result, and gives its exit code.

pub mod approvals;
pub mod audit;
pub mod bench;
pub mod copy;
pub mod db;
pub mod demo;
pub mod doctor;
pub mod export;
pub mod fork;
pub mod graph;
pub mod history;
pub mod keys;
pub mod migrate;
pub mod node;
pub mod operations;
pub mod replay;
pub mod resume;
pub mod run;
pub mod serve;
pub mod state;
pub mod threads;
pub mod update;
pub mod verify;
