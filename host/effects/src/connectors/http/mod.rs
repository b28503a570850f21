//! `http`: one request to one configured host.
//!
//! The request is `{ method, path, query?, headers?, body? }`, the answer `{ status, headers, body }`. The idempotency header carries the operation's
//! key at the receiver: the operation id for scope `global`; `<lineage>:<operation id>` for scope `thread`, so that threads do not collide at a
//! receiver that knows nothing of them (its SHA-256 where it is longer than 255 bytes).
//!
//! # Layout
//!
//! * `settings`: its keys in the configuration.
//! * `connector`: [`Http`] prepares requests and sends them. `transport`: the client, shared with `webhook`.
//! * `request`: a guest's request checked; [`AllowedRequest`]: what the operator allows; `path`: paths without tricks; `header`: headers that a guest
//!   may not touch.
//! * `notice`: how it tells about questions.
//! * `answer`: what a response means. `question`: the operator's lookup and preview, and how their responses are read.

mod answer;
mod connector;
mod header;
mod notice;
mod path;
mod question;
mod request;
mod settings;
mod transport;

pub use connector::Http;
pub use path::AllowedRequest;

pub(crate) use settings::KIND;
pub(crate) use settings::parse_base_url;
pub(super) use settings::{read_headers, resolve_headers, url_tokens};
pub(super) use transport::{Outbound, Transport, TransportSettings};
