//! Runs over HTTP: in their turn, resumed strictly, streamed, cancelled, and there after a restart.

mod scene;

mod basics;
mod resume;

mod commands;
mod streams;

mod cancel;
mod restart;
mod webhooks;
