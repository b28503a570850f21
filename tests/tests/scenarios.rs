//! LangGraph's conformance scenarios, a line each: see [`holdpoint_tests::scenario`]. Without cargo's harness, so that the lines show.

#![allow(clippy::print_stdout, reason = "what is printed is the report")]

use std::process::ExitCode;

use holdpoint_tests::scenario::report;

fn main() -> ExitCode {
    // Options are cargo's harness's: of those, only the listing has a meaning here.
    let (options, filters): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|text| text.starts_with('-'));
    if options.iter().any(|option| option == "--list") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        println!("FAIL no runtime");
        return ExitCode::FAILURE;
    };
    if runtime.block_on(report::run(&filters, |line| println!("{line}"))) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
