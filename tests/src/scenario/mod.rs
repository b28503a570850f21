//! LangGraph's conformance scenarios as data, run with the real engine, the real sandbox and real `probe` nodes on each store.
//!
//! `tests/scenarios/*.toml` hold them; `cargo test -p holdpoint-tests --test scenarios` runs them and prints one line each, and
//! `… --test scenarios -- S05` those whose id or title contains a text. A scenario whose expectation is ours and not LangGraph's says why in
//! `deviation`, with the rule or section that it follows.
//!
//! ```toml
//! [[scenario]]
//! id = "S65"
//! title = "a fork with an update goes its own way"
//! graph = '''                                   # or [scenario.graphs], by name: nodes may name another as their `graph`
//! start = "a"
//! [nodes.a]
//! next = "b"
//! [nodes.b]
//! '''
//! [[scenario.step]]
//! run = {}                                      # what is called, in the thread `t` unless `thread` says another
//! values = { log = ["a", "b"] }                 # what has to hold after it
//! [[scenario.step]]
//! fork = { from = "before b", values = { log = ["x"] } }
//! values = { log = ["a", "x", "b"] }
//! ```
//!
//! A node's `script` is the probe's; a node without one appends its name to the channel `log`, and a graph without a `[state]` has that channel
//! alone. Every step must succeed unless it expects an `error`. In texts, `$null` stands for null and, where something is expected, `*` for
//! anything. All keys are described at the fields of [`data::Call`], [`data::Circumstances`] and [`data::Expected`].
//!
//! # Layout
//!
//! * [`data`]: the files as values. [`ids`]: the scenarios that there must be.
//! * [`world`]: an engine on a store, with a clock that stands and workers that can die. [`board`]: where they die, wait and are counted.
//!   [`outside`]: connectors that count. [`graphs`]: graph texts as deployed graphs.
//! * [`act`]: what steps call. [`names`]: how steps name checkpoints and questions. [`check`]: what they expect.
//! * [`report`]: runs all of it and tells.

pub mod data;
pub mod ids;

pub mod board;
pub mod graphs;
pub mod outside;
pub mod world;

pub mod act;
pub mod check;
pub mod names;

pub mod report;
