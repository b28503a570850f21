//! The arguments of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  holdpoint serve --listen 127.0.0.1:2024 --graphs example-nodes/refund --store sqlite:holdpoint.db\n\n\
    LangGraph's clients work unchanged: point them at http://127.0.0.1:2024. People open http://127.0.0.1:2024/inbox.\n\
    Beyond loopback nobody is let in without a key (`holdpoint keys create`) or a token of an identity provider ([server.oidc]).\n\
    SIGTERM or Ctrl-C takes no more requests and stops runs at their next superstep; the next start continues them."
)]
pub struct ServeArguments {
    /// Where to listen. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2024", env = "HOLDPOINT_LISTEN")]
    pub listen: SocketAddr,
    /// Folders whose *.graph.toml are deployed before anything is served.
    #[arg(long, value_name = "FOLDER", num_args = 1..)]
    pub graphs: Vec<PathBuf>,
    /// Take what a graph may do more than its version before.
    #[arg(long)]
    pub accept: bool,
    /// In whose name graphs are deployed; your user name when left out.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}
