//! `holdpoint audit`: the record of every change, written out and checked.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use holdpoint_graph::ids::ThreadId;
use holdpoint_store::audit::Verifier;
use holdpoint_store::{AuditFilter, AuditRecord};
use serde_json::{Value, json};

use crate::cli::access_arguments::{AuditArguments, AuditCommand};
use crate::cli::context::{Context, thread_id};
use crate::cli::output;
use crate::failure::{EXIT_DONE, Failure};

/// Records that are read at once.
const PAGE: usize = 1000;

/// Exports or verifies.
///
/// # Errors
/// A breach, a file that cannot be read, and the store's.
pub async fn run(context: &Context, arguments: AuditArguments) -> Result<u8, Failure> {
    match arguments.command {
        AuditCommand::Export { thread } => {
            let thread = thread.as_deref().map(thread_id).transpose()?;
            let mut last = None;
            each(context, thread.as_ref(), |record| {
                output::print_text(&record.to_json().to_string());
                last = Some(record.digest.hex_digits().to_owned());
                Ok(())
            })
            .await?;
            let last = last.unwrap_or_else(|| "nothing: there are no records".to_owned());
            output::print_note(&format!("the last record's digest, to be kept apart from the file: {last}"));
            Ok(EXIT_DONE)
        }
        AuditCommand::Verify { file, thread, head } => {
            let thread = thread.as_deref().map(thread_id).transpose()?;
            // What a server shows of its trail is one tenant's: the others' records are missing in between.
            let is_part = thread.is_some() || (context.is_served() && file.is_none());
            let mut check = Check::new(is_part, thread.clone());
            match &file {
                Some(file) => check.file(file)?,
                None => each(context, thread.as_ref(), |record| check.record(&record)).await?,
            }
            check.end(head.as_deref())?;
            report(context, &check);
            Ok(EXIT_DONE)
        }
    }
}

/// Hands over the store's records, oldest first.
async fn each(
    context: &Context,
    thread: Option<&ThreadId>,
    mut take: impl FnMut(AuditRecord) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let host = context.existing_host()?;
    let mut after = 0;
    loop {
        let filter = AuditFilter { thread: thread.cloned(), tenant: None, after, limit: PAGE };
        let records = host.store.audit(&filter).await.map_err(|error| Failure::from_store(&error))?;
        let is_last = records.len() < PAGE;
        for record in records {
            after = record.sequence;
            take(record)?;
        }
        output::room().await;
        if is_last {
            return Ok(());
        }
    }
}

/// Records that are checked one after the other.
struct Check {
    verifier: Verifier,
    thread: Option<ThreadId>,
    records: u64,
}

impl Check {
    fn new(is_part: bool, thread: Option<ThreadId>) -> Self {
        let verifier = if is_part { Verifier::of_one_thread() } else { Verifier::default() };
        Self { verifier, thread, records: 0 }
    }

    fn record(&mut self, record: &AuditRecord) -> Result<(), Failure> {
        if let Some(thread) = self.thread.as_ref().filter(|thread| record.thread.as_ref() != Some(thread)) {
            return Err(breach(&format!("record {} is not about thread {thread}", record.sequence)));
        }
        self.verifier.check(record).map_err(|error| breach(&error.to_string()))?;
        self.records += 1;
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| {
            let message = format!("{} cannot be read: {error}", path.display());
            Failure::invalid("HP0920", message, "name a file that `holdpoint audit export` wrote")
        };
        let lines = BufReader::new(File::open(path).map_err(unreadable)?).lines();
        for (index, line) in lines.enumerate() {
            let line = match line {
                // A byte that is no text any more was changed.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => String::new(),
                other => other.map_err(unreadable)?,
            };
            let odd = |reason: &str| breach(&format!("line {} is no record: {reason}", index + 1));
            let value: Value = serde_json::from_str(&line).map_err(|error| odd(&error.to_string()))?;
            let record = AuditRecord::from_json(&value).map_err(|reason| odd(&reason))?;
            // Everything in the line has to be what the digest was made of.
            if record.to_json() != value {
                return Err(odd("something in it does not belong there"));
            }
            self.record(&record)?;
        }
        Ok(())
    }

    fn end(&self, head: Option<&str>) -> Result<(), Failure> {
        let Some(head) = head else { return Ok(()) };
        let head = head.strip_prefix("sha256:").unwrap_or(head);
        self.verifier.ends_with(head).map_err(|error| breach(&error.to_string()))
    }

    fn last(&self) -> Option<&str> {
        self.verifier.head().as_ref().map(|(_, digest)| digest.hex_digits())
    }
}

fn breach(what: &str) -> Failure {
    let cure = "somebody or something changed the record after it was written: compare it with a copy, and keep this one as evidence";
    Failure::host("HP0921", format!("the record is not what was written: {what}"), cure)
}

fn report(context: &Context, check: &Check) {
    if context.json {
        output::print_json(&json!({ "records": check.records, "head": check.last() }));
        return;
    }
    let head = check.last().unwrap_or("nothing");
    output::print_text(&format!("{} records, unchanged and in order; the last one's digest is {head}", check.records));
}
