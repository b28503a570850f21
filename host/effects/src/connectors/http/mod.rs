//! `http`: one request to one configured host.
//!
//! # Layout
//!
//! * [`Http`]: builds the client and sends.
//! * `request`: a guest's request `{ method, path, query?, headers?, body? }` checked; [`AllowedRequest`]: what the operator allows.
//! * `path`: paths without tricks. `header`: headers that a guest may not touch.
//! * `address`: addresses that may be connected to, resolved once.
//! * `answer`: what a response means.

mod address;
mod answer;
mod client;
mod header;
mod path;
mod request;

pub use client::{Http, parse_base_url};
pub use header::check_header_name;
pub use path::AllowedRequest;
