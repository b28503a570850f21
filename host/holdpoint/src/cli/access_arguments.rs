//! The arguments of commands about people: approvals, keys, the audit trail.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use holdpoint_graph::definition::duration_ms;
use holdpoint_graph::ids::Tenant;

use crate::failure::Failure;

/// Arguments of `approvals`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  holdpoint approvals\n  holdpoint approvals show 0f3a…\n  \
    holdpoint approvals accept 0f3a… --by ana --group finance --message 'checked with the customer'")]
pub struct ApprovalsArguments {
    /// What to do; lists what waits when left out.
    #[command(subcommand)]
    pub command: Option<ApprovalsCommand>,
}

/// Commands of `approvals`.
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// List questions: the pending ones with the soonest deadline first.
    List {
        /// Those that are decided or superseded too.
        #[arg(long)]
        all: bool,
        /// Only those that you may answer.
        #[arg(long)]
        mine: bool,
        /// Only those of graphs with this name.
        #[arg(long, value_name = "NAME")]
        graph: Option<String>,
        /// Only those of this thread.
        #[arg(long, value_name = "THREAD")]
        thread: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Who looks.
        #[command(flatten)]
        who: Who,
    },
    /// Show one question: what is asked, who may answer, what was said so far, and the digest that an answer names.
    Show {
        /// The question's id.
        id: String,
        /// Who looks.
        #[command(flatten)]
        who: Who,
    },
    /// Go ahead with what is asked.
    Accept(DecideArguments),
    /// Go ahead with something else: other arguments with --args, or the whole value with --value.
    Edit(DecideArguments),
    /// Answer with a value, or with the message.
    Respond(DecideArguments),
    /// Do not go ahead.
    Reject(DecideArguments),
    /// Dismiss it without a decision.
    Ignore(DecideArguments),
    /// Hand it on: they may answer in your place. You keep it too; of the two, one can vote.
    Delegate {
        /// The question's id.
        id: String,
        /// To whom: a user, or `group:NAME`.
        #[arg(long, value_name = "NAME")]
        to: String,
        /// Until when, such as 2027-01-31T12:00:00Z; as long as the question stands when left out.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Why: kept on the record.
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        /// Who hands it on.
        #[command(flatten)]
        who: Who,
    },
}

/// Arguments of a decision.
#[derive(Debug, Args)]
pub struct DecideArguments {
    /// The question's id.
    pub id: String,
    /// Why, or the response: kept on the record.
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// The whole value that the node gets: JSON, `@FILE`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE", conflicts_with = "args")]
    pub value: Option<String>,
    /// Other arguments for what is asked about: JSON, `@FILE`, or `-` for standard input.
    #[arg(long, value_name = "JSON|@FILE")]
    pub args: Option<String>,
    /// The digest that `show` printed. Left out, it is that of what was asked at first: once somebody has edited it, the digest has to be named.
    #[arg(long, value_name = "DIGEST")]
    pub digest: Option<String>,
    /// In whose place, where somebody handed it on to you.
    #[arg(long, value_name = "NAME")]
    pub on_behalf_of: Option<String>,
    /// Decide alone, whoever may answer, however many it takes and whose doing is asked about, where the question's policy says
    /// `break_glass = true`. Needs --message; marked on the record and in what people are told. On a server it is for administrators.
    #[arg(long, requires = "message")]
    pub break_glass: bool,
    /// Decide only, and leave it to others to continue the thread: a server on the same store, or `holdpoint resume`.
    #[arg(long)]
    pub no_run: bool,
    /// Who decides.
    #[command(flatten)]
    pub who: Who,
}

/// In whose name a command acts. Asserted, not proven: whoever holds the store may say anything.
#[derive(Debug, Args, Clone, Default)]
pub struct Who {
    /// Your name, for the record. Asserted, not proven: whoever holds the store may say any name.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// A group that you belong to; may be repeated. Asserted likewise.
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// For which tenant.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub tenant: String,
}

/// Arguments of `keys`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  holdpoint keys create payments-bot --role operator\n  \
    holdpoint keys create ana --role approver --group finance --expires-in 90d")]
pub struct KeysArguments {
    /// What to do; lists when left out.
    #[command(subcommand)]
    pub command: Option<KeysCommand>,
}

/// Commands of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make an API key and print it, this once: only its digest is stored.
    Create {
        /// Its name: the holder is `key:NAME` on the record.
        name: String,
        /// What the holder may do: viewer, approver, operator or admin. Each may do what those before it may.
        #[arg(long, value_name = "ROLE", required = true)]
        role: Vec<String>,
        /// How long it is good for, such as 90d or 12h; for ever when left out.
        #[arg(long, value_name = "TIME")]
        expires_in: Option<String>,
        /// A group that the holder belongs to; may be repeated.
        #[arg(long = "holder-group", visible_alias = "in-group", value_name = "NAME")]
        holder_groups: Vec<String>,
        /// Who makes it.
        #[command(flatten)]
        who: Owner,
    },
    /// List keys, without the keys themselves.
    List {
        /// Whose.
        #[command(flatten)]
        who: Owner,
    },
    /// Revoke a key: from now on it opens nothing.
    Revoke {
        /// Its name.
        name: String,
        /// Who revokes it.
        #[command(flatten)]
        who: Owner,
    },
}

/// Whose keys, and who says so.
#[derive(Debug, Args, Clone, Default)]
pub struct Owner {
    /// Who does it, for the record. Asserted, not proven: whoever holds the store may say any name.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// For which tenant.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub tenant: String,
}

/// Arguments of `audit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: export, keep the digest somewhere safe, and check later that nothing was changed or cut off\n  \
    holdpoint audit export > trail.jsonl\n  holdpoint audit verify trail.jsonl --head DIGEST"
)]
pub struct AuditArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// Commands of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Write the record of every change to standard output, one JSON object in each line, and the digest of the last one to standard error.
    Export {
        /// Only what is about this thread.
        #[arg(long, value_name = "THREAD")]
        thread: Option<String>,
    },
    /// Check that nothing on the record was changed, removed, added or moved.
    Verify {
        /// A file that `export` wrote; the store when left out.
        file: Option<PathBuf>,
        /// Only this thread's records; needed for a file that was exported so.
        #[arg(long, value_name = "THREAD")]
        thread: Option<String>,
        /// The digest that the last record has to have (64 hex digits): without it, records that were cut off at the end are not noticed.
        #[arg(long, value_name = "DIGEST")]
        head: Option<String>,
    },
}

/// Reads a tenant's name.
///
/// # Errors
/// When it is not one.
pub(super) fn tenant(text: &str) -> Result<Tenant, Failure> {
    Tenant::parse(text)
        .map_err(|error| Failure::invalid("HP0922", error.to_string(), "name the tenant of the key or thread"))
}

/// Reads how long something is good for.
///
/// # Errors
/// When it is no span of time, or none at all.
pub(super) fn span_ms(option: &str, text: &str) -> Result<u64, Failure> {
    let cure = "write it as 90d, 12h or 30m";
    match duration_ms(text) {
        Ok(0) => Err(Failure::invalid("HP0922", format!("{option} is no time at all"), cure)),
        Ok(span_ms) => Ok(span_ms),
        Err(reason) => Err(Failure::invalid("HP0922", format!("{option}: {reason}"), cure)),
    }
}
