//! The command line: arguments, output, and one file per command.
//!
//! Every command prints a table or text for people, and with `--json` one JSON document for programs on standard output, errors included.

pub mod arguments;
pub mod run_flags;
pub mod time_arguments;

pub mod commands;

pub mod output;
pub mod state_output;
pub mod tree;

mod context;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::{EXIT_FAILED, Failure};
use arguments::{Arguments, Command};

/// Parses the arguments, runs the command, prints its output, and gives its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging(arguments.json);
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
    let outcome = match runtime.block_on(runtime.spawn(run(arguments))) {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    finish(outcome, json)
}

async fn run(arguments: Arguments) -> Result<u8, Failure> {
    let context = context::Context::new(&arguments);
    match arguments.command {
        Command::Run(run) => commands::run::run(&context, run).await,
        Command::Resume(resume) => commands::resume::run(&context, resume).await,
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
        Command::Graph(graph) => commands::graph::run(&context, graph).await,
        Command::Node(node) => commands::node::run(&context, node).await,
        Command::Db(database) => commands::db::run(&context, database).await,
        Command::Doctor => commands::doctor::run(&context).await,
        Command::Demo(demo) => commands::demo::run(&context, demo).await,
        Command::Bench(bench) => commands::bench::run(&context, bench).await,
    }
}

fn finish(outcome: Result<u8, Failure>, json: bool) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if json {
                output::print_json(&failure.to_json());
            } else {
                output::print_error(&failure);
            }
            ExitCode::from(failure.exit.max(EXIT_FAILED))
        }
    }
}

/// Logs go to standard error, warnings and worse unless `HOLDPOINT_LOG` says otherwise (such as `info` or `holdpoint=debug`).
fn start_logging(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("HOLDPOINT_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second initialisation can only come from a program that embeds this one: then its logging stands.
    let _ = if json { builder.json().try_init() } else { builder.with_target(true).try_init() };
}
