//! All end-to-end tests in one binary; a test file left out of it fails.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a panic is a failed test, and what is printed is its report"
)]

mod import_rule;

mod refund;

mod bad_input;
mod budget;
mod clients;
mod codes;
mod crash;
mod crash_points;
mod demo_server;
mod deploy;
mod doubt;
mod hostile;
mod inbox;
mod lost_commits;
mod one_writer;
mod order;
mod payment_behaviour;
mod payments_server;
mod red_proofs;
mod remote;
mod scenario_checks;
mod shadow;
mod slow_store;
mod telemetry;
mod time_travel;
mod verify;
mod zombie;

#[test]
fn no_test_file_is_forgotten() {
    let repository = holdpoint_tests::program::repository();
    let alone = ["all", "memory", "scenarios"];
    for (folder, alone) in [
        ("tests", &alone[..]),
        ("host/engine", &alone[..1]),
        ("host/effects", &alone[..1]),
        ("host/server", &alone[..1]),
    ] {
        let folder = repository.join(folder).join("tests");
        let runner = std::fs::read_to_string(folder.join("all.rs")).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let is_test = path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").is_file();
            let is_run = alone.contains(&name) || runner.contains(&format!("\nmod {name};\n"));
            assert!(!is_test || is_run, "{} is in no runner", path.display());
        }
    }
}
