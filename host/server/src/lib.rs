//! Holdpoint over HTTP: LangGraph's dialect, so that its clients work unchanged; approvals, operations, audit, graphs; and the inbox.
//!
//! No SQL and no WebAssembly here: everything goes through the engine's handle and the store's traits.
//!
//! # Layout
//!
//! * [`Server`]: what it is made of, and how it is started and stopped. [`Settings`]: what an operator can set.
//! * [`context`]: what every handler gets. [`caller`]: who asks, and what they may. [`console`]: the command
//!   line's commands. [`body`]: what a
//!   request says. [`problem`]: how it is refused.
//! * `app`: the routes. `layers`: what every request passes.
//! * `identity`: API keys, tokens of an identity provider, loopback.
//! * `runs`: runs in their turn, and their events for those who watch.
//! * `langgraph`: LangGraph's dialect. `resources`: our own. `inbox`: pages for people.

pub mod body;
pub mod caller;
pub mod console;
pub mod context;
pub mod problem;
pub mod settings;

mod app;
mod layers;

pub mod identity;
mod inbox;
mod langgraph;
mod resources;
pub mod runs;

pub use app::Server;
pub use console::Console;
pub use context::{Context, Graphs, Outbox, Parts};
pub use problem::Problem;
pub use settings::Settings;
