//! The command line against a server: every command that is about what a server has runs there, by the code that runs it on a store.
//!
//! ```text
//! holdpoint history order-1 --server URL            the server
//!   reads its own files, sends        ──POST /commands──▶  parses with the same definitions, permits by role and
//!   arguments and graph files                              kind, runs the command in the caller's name on a host
//!   prints, writes --out              ◀──lines of JSON───  confined to their tenant, tells what it would print
//! ```
//!
//! What keeps a caller from what is not theirs: nothing but arguments and the files sent along is looked at (`served`), a command without a
//! rule is refused (`permit`), and the store that the command sees holds no other tenant's threads (`tenant`).
//!
//! # Layout
//!
//! * `command_line`: a command as arguments again, with what it names read. `client`: sending it, and printing what comes back. `address`: to whom
//!   the key may be sent.
//! * `console`: the server's end. `permit`: what may be run from outside, and by whom. `served`: what a command is served with. `tenant`: the store as
//!   one tenant sees it.

mod address;
mod command_line;

pub(crate) mod client;

mod console;
mod permit;
mod tenant;

pub(crate) mod served;

pub(crate) use console::HostConsole;
pub(crate) use tenant::TenantStore;
