//! The `holdpoint` binary: see [`holdpoint::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    holdpoint::cli::main()
}
