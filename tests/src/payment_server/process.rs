//! The program as tests hold it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::log::Judge;
use crate::program::beside_the_tests;

/// A running `payments_server`; ends when this is dropped.
pub struct PaymentServer {
    child: Child,
    url: String,
    log: PathBuf,
    start: Start,
}

/// How it is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// Pays once for each key.
    pub deduplicate: bool,
    /// What it does until it is told otherwise.
    pub behaviour: Behaviour,
    /// Kills clients that ask for it.
    pub may_kill: bool,
}

impl PaymentServer {
    /// Starts the program with its log at `log`, which an earlier one may have written.
    pub fn start(log: &Path, start: Start) -> Self {
        Self::start_at(log, start, "127.0.0.1:0")
    }

    fn start_at(log: &Path, start: Start, address: &str) -> Self {
        let mut command = Command::new(beside_the_tests("payments_server"));
        command.args(["--until-input-ends", "--address", address, "--behaviour", start.behaviour.name(), "--log"]);
        command.arg(log).stdin(Stdio::piped()).stdout(Stdio::piped());
        if start.deduplicate {
            command.arg("--deduplicate");
        }
        if start.may_kill {
            command.arg("--may-kill");
        }
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        assert!(url.starts_with("http://"), "the payments server did not start: {url:?}");
        Self { child, url, log: log.to_owned(), start }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A judge who reads its log from the beginning.
    pub fn judge(&self) -> Judge {
        Judge::new(&self.log)
    }

    /// Changes what it does with all requests.
    pub fn behave(&self, behaviour: Behaviour) {
        self.put(&json!({ "behaviour": behaviour.name() }));
    }

    /// Changes what it does with the next `times` requests under a key.
    pub fn behave_for(&self, key: &str, behaviour: Behaviour, times: u32) {
        self.put(&json!({ "behaviour": behaviour.name(), "key": key, "times": times }));
    }

    /// Kills it, wherever it is, and starts it anew at the same address with the same log.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let address = self.url.trim_start_matches("http://").to_owned();
        *self = Self::start_at(&self.log.clone(), self.start, &address);
    }

    /// What it answers to a lookup: status and body.
    pub fn look_up(&self, key: &str) -> (u16, Value) {
        self.ask("GET", &format!("/refunds/by-key/{key}"), "")
    }

    fn put(&self, rule: &Value) {
        let (status, body) = self.ask("PUT", "/behaviour", &rule.to_string());
        assert_eq!(status, 200, "{rule}: {body}");
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for PaymentServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
