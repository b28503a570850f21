//! Crash enumeration: a worker made of the product's own parts dies at every point of a graph's life, and what it leaves is judged.
//!
//! ```text
//! orchestrator            crash_worker (one life each)            payments_server
//!   | plan [k1, k2, k3]         |                                       |
//!   |-- start, die at k1 ------>| commit* intent* send* outcome*        |
//!   |                           x (* = points; each is traced first)    |
//!   |-- start, die at k2 ------>| continues from what is durable ------>| its log is the judge
//!   |     … until done; doubts are settled as a person would, by the server's log
//!   |-- check: store, trace and log must agree
//! ```
//!
//! # Layout
//!
//! * [`trace`]: what a life leaves behind, line by line; [`points`]: where it can die.
//! * [`wrapped`]: a store with a hook around its writes; [`watched`]: points around commits; [`tampered`]: the red proofs; [`connector`]: points
//!   around sends.
//! * [`order`]: what one life is told and what it reports; [`worker`]: one life.
//! * [`scenario`]: graphs, their connectors and effects. [`template`]: a store with a graph deployed, copied for each run.
//! * [`plan`]: where to die, as text; [`lane`]: what runs after each other share; [`run`]: one plan, life after life. [`check`]: the promises.
//! * [`tally`]: what a set of runs came to. [`enumerate`]: which plans are run. [`zombie`]: standing still instead of dying.

pub mod trace;

pub mod points;
pub mod wrapped;

pub mod connector;
pub mod tampered;
pub mod watched;

pub mod order;
pub mod worker;

pub mod scenario;
pub mod template;

pub mod lane;
pub mod plan;
pub mod run;

pub mod check;
pub mod tally;

pub mod enumerate;
pub mod zombie;
