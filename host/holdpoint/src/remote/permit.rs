//! What may be run from outside, and by whom.
//!
//! | commands | role |
//! |---|---|
//! | `state`, `history`, `threads list`, `threads show`, `verify`, `export`, `operations list`, `operations show`, `graph list`, `graph show`, `approvals list`, `approvals show`, `audit` with `--thread` | viewer |
//! | `run`, `resume`, `replay`, `fork`, `update`, `copy`, `threads migrate`, `threads delete`, `operations resolve`, `operations deliver`, `graph check` | operator |
//! | `approvals` but for list and show, as far as the question's policy lets them, without `--break-glass` | approver |
//! | `keys`, `audit`, `graph deploy`, `db prune`; `run` and `threads migrate` with a graph file, which brings code and grants along; `--break-glass` | admin |
//!
//! All others are refused. Threads of other tenants are not there for any of them.

use clap::ArgMatches;
use clap::parser::ValueSource;
use holdpoint_graph::actor::Basis;
use holdpoint_server::Problem;
use holdpoint_server::caller::{Caller, Role};

use crate::cli::access_arguments::{ApprovalsCommand, AuditCommand};
use crate::cli::arguments::{Arguments, Command, GraphCommand, OperationsCommand, ThreadsCommand};

/// Options that say where a command finds its store: on a server that is settled.
pub(super) const WHERE: [&str; 5] = ["store", "config", "server", "api_key", "insecure"];

/// Options that say in whose name a command acts. Whoever has proven who they are does not say so.
const WHOSE: [&str; 2] = ["by", "group"];

/// Whose threads and keys a command is about is settled by who asks.
const TENANT: [&str; 1] = ["tenant"];

/// The role that a command needs, where `sent` says whether files came with it; none for what is not run from outside.
pub(super) fn role(command: &Command, sent: bool) -> Option<Role> {
    let brings_code = if sent { Role::Admin } else { Role::Operator };
    Some(match command {
        Command::State(_) | Command::History(_) | Command::Verify(_) | Command::Export(_) => Role::Viewer,
        Command::Run(_) => brings_code,
        Command::Resume(_) | Command::Update(_) | Command::Replay(_) | Command::Fork(_) | Command::Copy(_) => {
            Role::Operator
        }
        Command::Threads(threads) => match &threads.command {
            None | Some(ThreadsCommand::List { .. } | ThreadsCommand::Show { .. }) => Role::Viewer,
            Some(ThreadsCommand::Migrate { .. }) => brings_code,
            Some(ThreadsCommand::Delete { .. }) => Role::Operator,
        },
        Command::Operations(operations) => match &operations.command {
            None | Some(OperationsCommand::List { .. } | OperationsCommand::Show { .. }) => Role::Viewer,
            Some(OperationsCommand::Resolve(_) | OperationsCommand::Deliver) => Role::Operator,
        },
        Command::Graph(graph) => match &graph.command {
            GraphCommand::List { .. } | GraphCommand::Show { .. } => Role::Viewer,
            GraphCommand::Check { .. } => Role::Operator,
            GraphCommand::Deploy(_) => Role::Admin,
        },
        Command::Approvals(approvals) => match &approvals.command {
            None | Some(ApprovalsCommand::List { .. } | ApprovalsCommand::Show { .. }) => Role::Viewer,
            Some(
                ApprovalsCommand::Accept(decision)
                | ApprovalsCommand::Edit(decision)
                | ApprovalsCommand::Respond(decision)
                | ApprovalsCommand::Reject(decision)
                | ApprovalsCommand::Ignore(decision),
            ) => {
                if decision.break_glass {
                    Role::Admin
                } else {
                    Role::Approver
                }
            }
            Some(ApprovalsCommand::Delegate { .. }) => Role::Approver,
        },
        Command::Audit(audit) => match &audit.command {
            // A file of the server is nobody's to name.
            AuditCommand::Verify { file: Some(_), .. } => return None,
            AuditCommand::Export { thread } | AuditCommand::Verify { thread, .. } => {
                if thread.is_some() {
                    Role::Viewer
                } else {
                    Role::Admin
                }
            }
        },
        Command::Keys(_) | Command::Db(_) => Role::Admin,
        Command::Serve(_) | Command::Node(_) | Command::Doctor | Command::Demo(_) | Command::Bench(_) => return None,
    })
}

/// Whether the graph file that a command names comes with it.
pub(super) fn takes_files(command: &Command) -> bool {
    match command {
        Command::Run(_) => true,
        Command::Graph(graph) => matches!(graph.command, GraphCommand::Check { .. } | GraphCommand::Deploy(_)),
        Command::Threads(threads) => matches!(threads.command, Some(ThreadsCommand::Migrate { .. })),
        _ => false,
    }
}

/// Whether a command drives a run that its caller may stop at a superstep's end.
pub(super) fn drives_a_run(command: &Command) -> bool {
    match command {
        Command::Run(_) | Command::Resume(_) | Command::Replay(_) => true,
        Command::Fork(fork) => !fork.no_run,
        _ => false,
    }
}

/// Whether a caller may run a command.
///
/// # Errors
/// 422 `HP0736` for what is not run from outside, 422 `HP0738` for somebody else's name, 403 `HP0803` for a role that is too low.
pub(super) fn check(arguments: &Arguments, matches: &ArgMatches, sent: bool, caller: &Caller) -> Result<(), Problem> {
    let Some(needed) = role(&arguments.command, sent) else {
        return Err(Problem::invalid("HP0736", "this command is about the machine that it runs on")
            .with_cure("run it without --server, on the machine that is meant"));
    };
    if let Some(id) = WHERE.into_iter().find(|id| is_given(matches, id)) {
        let option = id.replace('_', "-");
        return Err(Problem::invalid("HP0736", format!("--{option} says what is settled on a server"))
            .with_cure("leave the option out"));
    }
    if sent && !takes_files(&arguments.command) {
        return Err(Problem::invalid("HP0736", "files were sent with a command that takes none"));
    }
    caller.require(needed)?;
    if given_anywhere(matches, &TENANT).is_some() {
        return Err(
            Problem::invalid("HP0738", "--tenant is settled by the key or token").with_cure("leave the option out")
        );
    }
    let proven = caller.principal.actor.basis != Basis::Asserted;
    if proven && let Some(id) = given_anywhere(matches, &WHOSE) {
        let detail = format!("--{id} is not for callers who have proven who they are: {}", caller.principal.actor.id);
        return Err(
            Problem::invalid("HP0738", detail).with_cure("leave the option out; the key or token says who acts")
        );
    }
    Ok(())
}

/// Whether somebody wrote an option of the whole program.
pub(super) fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// The first of some options that somebody wrote, at whatever level.
fn given_anywhere(matches: &ArgMatches, ids: &[&'static str]) -> Option<&'static str> {
    let here = |id: &&&'static str| matches.try_contains_id(id).is_ok() && is_given(matches, id);
    let found = ids.iter().find(here).copied();
    found.or_else(|| matches.subcommand().and_then(|(_, inner)| given_anywhere(inner, ids)))
}
