//! `holdpoint demo --serve`: what it says to try does what it says.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use holdpoint_tests::program::{program, repository};
use holdpoint_tests::signal::{self, Signal};
use serde_json::Value;

/// The demo while it runs.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command as a person would, and reads what it prints.
fn shell(line: &str) -> Value {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{line}\n{error}: {text} {output:?}"))
}

#[test]
fn what_it_says_to_try_can_be_tried() {
    let mut child = Command::new(program())
        .args(["demo", "--serve", "--listen", "127.0.0.1:0"])
        .current_dir(repository())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut demo = Demo(child);
    let mut said = String::new();
    for line in output.lines() {
        let line = line.unwrap();
        said.push_str(&line);
        said.push('\n');
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    let joined = said.replace("\\\n", " ");
    let commands: Vec<&str> = joined.lines().map(str::trim).filter(|line| line.starts_with("curl")).collect();
    assert_eq!(commands.len(), 3, "{said}");
    let log = said.split_whitespace().find(|word| word.ends_with("payments.log.")).expect("the log is named");
    let paid = || std::fs::read_to_string(log.trim_end_matches('.')).unwrap_or_default().lines().count();

    let asked = shell(commands[0]);
    assert_eq!(asked["__interrupt__"].as_array().map(Vec::len), Some(1), "{asked}");
    assert_eq!(paid(), 0);

    let waiting = shell(commands[1]);
    let approvals = waiting.as_array().or_else(|| waiting["approvals"].as_array()).expect("a list");
    assert_eq!(approvals.len(), 1, "{waiting}");
    let text = |name: &str| approvals[0][name].as_str().unwrap_or_else(|| panic!("{name}: {waiting}")).to_owned();
    let (id, digest, thread) = (text("approval_id"), text("payload_digest"), text("thread_id"));

    let decided = shell(&commands[2].replace("/ID/", &format!("/{id}/")).replace("DIGEST", &digest));
    assert_eq!(decided["status"], "approved", "{decided}");
    let address = commands[1].split_whitespace().find_map(|word| word.strip_suffix("/approvals")).expect("an address");
    let done = (0..1000).any(|_| shell(&format!("curl -s {address}/threads/{thread}"))["status"] == "idle");
    assert!(done, "the thread goes on and finishes");
    assert_eq!(paid(), 1, "paid once");

    signal::send(demo.0.id(), Signal::Terminate).unwrap();
    assert!(demo.0.wait().unwrap().success(), "it ends when it is told to");
}
