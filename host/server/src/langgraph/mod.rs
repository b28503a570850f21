//! LangGraph's HTTP dialect, so that its clients work unchanged.
//!
//! # Layout
//!
//! * `info`: what this server is. `assistants`: deployed graphs, as clients know them; `drawing`: their pictures. `fixed`: what cannot be changed here.
//! * `threads`: made, changed, copied, deleted; `search`: found, `extract`: with single values of theirs; `prune`: what they need not keep.
//!   `ttl`: how long they stay. `storage`: what they take.
//! * `state`: a thread's state, read and written; `history`: its checkpoints.
//! * `runs`: what threads are asked to do; `stream`: what is told of it; `commands`: the same in the newer protocol.
//! * `reading`: a thread and its state from one consistent read. `forms`: what is sent. `ids`: ids as clients send them.

mod info;

mod assistants;
mod drawing;
mod fixed;

mod threads;

mod extract;
mod prune;
mod search;
mod storage;
mod ttl;

mod history;
mod state;

pub(crate) mod runs;

mod commands;
mod stream;

pub(crate) mod forms;
mod ids;
mod reading;

use utoipa_axum::router::OpenApiRouter;

use crate::context::Context;

pub(crate) use ids::thread;

/// All of it.
pub(crate) fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .merge(info::routes())
        .merge(assistants::routes())
        .merge(fixed::routes())
        .merge(threads::routes())
        .merge(search::routes())
        .merge(prune::routes())
        .merge(storage::routes())
        .merge(state::routes())
        .merge(history::routes())
        .merge(runs::routes())
        .merge(stream::routes())
        .merge(commands::routes())
}
