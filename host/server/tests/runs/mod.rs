//! Runs over HTTP: in their turn, resumed strictly, streamed, cancelled, and there after a restart.

pub(crate) mod scene;

mod basics;
mod resume;

mod commands;
mod streams;
mod subgraphs;

mod cancel;
mod elsewhere;
mod restart;
mod taking;
mod webhooks;

mod metrics;
