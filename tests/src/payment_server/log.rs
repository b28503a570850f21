//! The server's log: one JSON line for each event, written before what it says is done.
//!
//! Each line is one write to a file that is only appended to, so it is there whatever becomes of the server, and lines of two servers never mix.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Counts the log's lines from 1.
    pub sequence: u64,
    /// Counts requests from 1; ties the lines of one together.
    pub request: u64,
    /// The `Idempotency-Key`: the operation's id.
    pub key: String,
    /// What happened.
    pub event: Event,
}

/// What happened. A request is received, applied or not, and then answered or dropped, in this order: after that nothing more happens to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// All of it has arrived.
    Received {
        /// Method and path.
        line: String,
        /// Its body.
        body: Value,
    },
    /// Its client was killed.
    ClientKilled {
        /// The process.
        process: u32,
    },
    /// Money moved.
    Applied {
        /// What the client is told of it.
        receipt: Value,
    },
    /// Money had moved under this key before, and this server de-duplicates.
    Repeated,
    /// An answer went out.
    Answered {
        /// Its status.
        status: u16,
    },
    /// No answer goes out.
    Dropped,
}

/// The log as the server writes it.
pub struct Log {
    file: File,
    sequence: u64,
}

impl Log {
    /// Opens a log, making it if it is absent; gives the lines that are in it.
    ///
    /// # Errors
    /// The file cannot be read or written, or is no log.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Line>)> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let lines = Reader::new(path).read()?;
        let sequence = lines.last().map_or(0, |line| line.sequence);
        Ok((Self { file, sequence }, lines))
    }

    /// Appends one line.
    ///
    /// # Errors
    /// It could not be written: then nothing may be done.
    pub fn write(&mut self, request: u64, key: &str, event: Event) -> io::Result<Line> {
        self.sequence += 1;
        let line = Line { sequence: self.sequence, request, key: key.to_owned(), event };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        Ok(line)
    }
}

/// Reads a log as it grows.
pub struct Reader {
    path: PathBuf,
    read_bytes: u64,
}

impl Reader {
    /// A reader that stands at the beginning.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read_bytes: 0 }
    }

    /// The whole lines that came since the last call.
    ///
    /// # Errors
    /// The file cannot be read, or is no log.
    pub fn read(&mut self) -> io::Result<Vec<Line>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |last| last + 1);
        self.read_bytes += whole as u64;
        text[..whole].lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
    }
}

/// What the log says of one key.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Account {
    /// Requests that arrived.
    pub received: usize,
    /// How often money moved.
    pub applied: usize,
    /// Requests that were answered or dropped.
    pub concluded: usize,
    /// The bodies that arrived, in order.
    pub bodies: Vec<Value>,
    /// The receipts, in order of payment.
    pub receipts: Vec<Value>,
}

/// What the log says, key by key: what tests believe.
pub struct Judge {
    reader: Reader,
    accounts: HashMap<String, Account>,
}

impl Judge {
    /// Longest time until a request that arrived is answered or dropped: far beyond every time-out of these tests.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A judge who has read nothing yet.
    pub fn new(path: &Path) -> Self {
        Self { reader: Reader::new(path), accounts: HashMap::new() }
    }

    /// What is known of a key now.
    pub fn account(&mut self, key: &str) -> Account {
        self.read();
        self.accounts.get(key).cloned().unwrap_or_default()
    }

    /// All keys that arrived, in order of name.
    pub fn keys(&mut self) -> Vec<String> {
        self.read();
        let mut keys: Vec<String> = self.accounts.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// What is known of a key once `enough` holds.
    ///
    /// # Panics
    /// It does not hold in time.
    pub fn wait(&mut self, key: &str, enough: impl Fn(&Account) -> bool) -> Account {
        let begun = Instant::now();
        loop {
            let account = self.account(key);
            if enough(&account) {
                return account;
            }
            assert!(begun.elapsed() < Self::PATIENCE, "the server's log never came to it: {key}: {account:?}");
            std::thread::yield_now();
        }
    }

    /// What is known of a key once nothing of it is under way at the server.
    pub fn settled(&mut self, key: &str) -> Account {
        self.wait(key, |account| account.concluded == account.received)
    }

    fn read(&mut self) {
        for line in self.reader.read().expect("the server's log can be read") {
            let account = self.accounts.entry(line.key).or_default();
            match line.event {
                Event::Received { body, .. } => {
                    account.received += 1;
                    account.bodies.push(body);
                }
                Event::Applied { receipt } => {
                    account.applied += 1;
                    account.receipts.push(receipt);
                }
                Event::Answered { .. } | Event::Dropped => account.concluded += 1,
                Event::ClientKilled { .. } | Event::Repeated => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_log_goes_on_where_it_ended_and_a_cut_line_waits_for_its_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, lines) = Log::open(&path).unwrap();
        assert_eq!(lines, []);
        log.write(1, "a", Event::Received { line: "POST /".into(), body: json!(1) }).unwrap();
        log.write(1, "a", Event::Applied { receipt: json!("r") }).unwrap();
        drop(log);
        let (mut log, lines) = Log::open(&path).unwrap();
        assert_eq!(lines.len(), 2);
        let mut judge = Judge::new(&path);
        let account = judge.account("a");
        assert_eq!((account.received, account.applied, account.concluded), (1, 1, 0));
        let third = log.write(1, "a", Event::Answered { status: 201 }).unwrap();
        assert_eq!(third.sequence, 3);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"sequence\":4").unwrap();
        assert_eq!(judge.settled("a").concluded, 1);
    }
}
