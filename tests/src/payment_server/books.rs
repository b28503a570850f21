//! Who paid what. Everything is in the log before it holds.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::behaviour::{Behaviour, Rule, Rules};
use super::log::{Event, Log};

/// The server's books.
pub struct Books {
    log: Log,
    deduplicate: bool,
    rules: Rules,
    requests: u64,
    payments: u64,
    receipts: HashMap<String, Value>,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number.
    pub request: u64,
    /// Its key.
    pub key: String,
    /// What it asks for.
    pub body: Value,
    /// What is done with it.
    pub behaviour: Behaviour,
}

impl Books {
    /// Opens the books: what an earlier server wrote into the log still holds.
    ///
    /// # Errors
    /// The log's.
    pub fn open(log: &Path, deduplicate: bool, behaviour: Behaviour) -> io::Result<Self> {
        let (log, lines) = Log::open(log)?;
        let mut rules = Rules::default();
        rules.set(Rule { behaviour, key: None, times: None });
        let mut books = Self { log, deduplicate, rules, requests: 0, payments: 0, receipts: HashMap::new() };
        for line in lines {
            books.requests = books.requests.max(line.request);
            if let Event::Applied { receipt } = line.event {
                books.payments += 1;
                books.receipts.insert(line.key, receipt);
            }
        }
        Ok(books)
    }

    /// Changes what is done with requests.
    pub fn behave(&mut self, rule: Rule) {
        self.rules.set(rule);
    }

    /// Enters a request.
    ///
    /// # Errors
    /// The log's, here and below: then nothing was done.
    pub fn receive(&mut self, line: String, key: String, body: Value) -> io::Result<Entry> {
        self.requests += 1;
        self.log.write(self.requests, &key, Event::Received { line, body: body.clone() })?;
        let behaviour = self.rules.next(&key);
        Ok(Entry { request: self.requests, key, body, behaviour })
    }

    /// Moves the money; gives the receipt. Where the server de-duplicates, the first one under a key stays.
    ///
    /// # Errors
    /// See [`Self::receive`].
    pub fn apply(&mut self, entry: &Entry) -> io::Result<Value> {
        if self.deduplicate
            && let Some(receipt) = self.receipts.get(&entry.key).cloned()
        {
            self.note(entry, Event::Repeated)?;
            return Ok(receipt);
        }
        let number = self.payments + 1;
        let receipt = json!({ "refund_id": format!("re_{number}"), "status": "refunded", "for": entry.body });
        self.note(entry, Event::Applied { receipt: receipt.clone() })?;
        self.payments = number;
        self.receipts.insert(entry.key.clone(), receipt.clone());
        Ok(receipt)
    }

    /// Notes what else happens to a request.
    ///
    /// # Errors
    /// See [`Self::receive`].
    pub fn note(&mut self, entry: &Entry, event: Event) -> io::Result<()> {
        self.log.write(entry.request, &entry.key, event).map(drop)
    }

    /// What was paid under a key, for those who look it up.
    pub fn receipt(&self, key: &str) -> Option<Value> {
        self.receipts.get(key).cloned()
    }
}
