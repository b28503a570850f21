//! The command line: arguments, output, and one file per command.
//!
//! Every command prints a table or text for people, and with `--json` one JSON document for programs on standard output, errors included.

pub mod access_arguments;
pub mod arguments;
pub mod run_flags;
pub mod serve_arguments;
pub mod time_arguments;

pub mod commands;

pub mod output;
pub mod state_output;

pub(crate) mod context;
mod session;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::failure::{EXIT_FAILED, Failure};
use crate::{remote, telemetry};
use arguments::{Arguments, Command};

/// Parses the arguments, runs the command, prints its output, and gives its exit code.
pub fn main() -> ExitCode {
    let (arguments, matches) = parse();
    let _telemetry = telemetry::start(arguments.json);
    let json = arguments.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure =
                Failure::host("HP0790", format!("the runtime cannot be started: {error}"), "check the process limits");
            return finish(Err(failure), json);
        }
    };
    // On a worker of the runtime, not on this thread: the driver of a run and its tasks then wake each other without a switch of threads.
    let outcome = match runtime.block_on(runtime.spawn(run_where_it_belongs(arguments, matches))) {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    finish(outcome, json)
}

fn parse() -> (Arguments, ArgMatches) {
    let matches = Arguments::command().get_matches();
    match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => (arguments, matches),
        Err(error) => error.format(&mut Arguments::command()).exit(),
    }
}

/// On the server that the options name, where the command is about what a server has; here otherwise.
async fn run_where_it_belongs(arguments: Arguments, matches: ArgMatches) -> Result<u8, Failure> {
    match remote::client::server(&arguments, &matches)? {
        Some(server) => remote::client::run(server, arguments, matches).await,
        None => run(arguments).await,
    }
}

/// Runs a command of whoever started the process, or of somebody whom this task serves.
pub(crate) async fn run(arguments: Arguments) -> Result<u8, Failure> {
    let context = context::Context::new(&arguments);
    match arguments.command {
        Command::Run(run) => commands::run::run(&context, run).await,
        Command::Resume(resume) => commands::resume::run(&context, resume).await,
        Command::Serve(serve) => commands::serve::run(&context, serve).await,
        Command::Threads(threads) => commands::threads::run(&context, threads).await,
        Command::State(state) => commands::state::run(&context, state).await,
        Command::Update(update) => commands::update::run(&context, update).await,
        Command::History(history) => commands::history::run(&context, history).await,
        Command::Replay(replay) => commands::replay::run(&context, replay).await,
        Command::Fork(fork) => commands::fork::run(&context, fork).await,
        Command::Copy(copy) => commands::copy::run(&context, copy).await,
        Command::Verify(verify) => commands::verify::run(&context, verify).await,
        Command::Export(export) => commands::export::run(&context, export).await,
        Command::Operations(operations) => commands::operations::run(&context, operations).await,
        Command::Approvals(approvals) => commands::approvals::run(&context, approvals).await,
        Command::Keys(keys) => commands::keys::run(&context, keys).await,
        Command::Audit(audit) => commands::audit::run(&context, audit).await,
        Command::Graph(graph) => commands::graph::run(&context, graph).await,
        Command::Node(node) => commands::node::run(&context, node).await,
        Command::Db(database) => commands::db::run(&context, database).await,
        Command::Doctor => commands::doctor::run(&context).await,
        Command::Demo(demo) => commands::demo::run(&context, demo).await,
        Command::Bench(bench) => commands::bench::run(&context, bench).await,
    }
}

fn finish(outcome: Result<u8, Failure>, json: bool) -> ExitCode {
    ExitCode::from(tell(outcome, json))
}

/// Prints how a command failed, and gives its exit code.
pub(crate) fn tell(outcome: Result<u8, Failure>, json: bool) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            if json {
                output::print_json(&failure.to_json());
            } else {
                output::print_error(&failure);
            }
            failure.exit.max(EXIT_FAILED)
        }
    }
}
