//! One operation, and what its ends are, whatever the database.

use std::sync::Arc;

use holdpoint_graph::nodes::Failure;
use serde_json::{Map, Value, json};

use crate::attempt::{Attempt, NotSent, Reply, failure};
use crate::configuration::secret::Scrubber;
use crate::connectors::LookUp;

use super::statement::Statement;

/// Largest results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) rows_max: usize,
    /// As JSON.
    pub(super) bytes_max: usize,
}

/// What is to be executed once, and under which key.
pub(super) struct Job {
    pub(super) scope: String,
    pub(super) connector: String,
    pub(super) id: String,
    pub(super) digest: String,
    pub(super) statement: Arc<Statement>,
    pub(super) parameters: Vec<Value>,
    pub(super) limits: Limits,
    pub(super) scrubber: Arc<Scrubber>,
}

/// What the database's own record says.
pub(super) struct Recorded {
    pub(super) digest: String,
    pub(super) answer: Option<String>,
}

impl Job {
    /// What the guest gets of an operation that was executed before.
    pub(super) fn repeated(&self, recorded: &Recorded) -> Attempt {
        if recorded.digest != self.digest {
            let message = "the database has this operation id with another request";
            return Attempt::Landed(Reply::Rejected(failure("conflict", message)));
        }
        match recorded.answer() {
            Some(answer) => Attempt::Landed(Reply::Done(answer)),
            None => Attempt::LandedUnusable("its record in the database cannot be read".into()),
        }
    }

    /// What the record says to whoever asks.
    pub(super) fn looked_up(&self, recorded: Option<&Recorded>) -> LookUp {
        let Some(recorded) = recorded else { return LookUp::NotThere };
        if recorded.digest != self.digest {
            return LookUp::Unknown("the database has this operation id with another request".into());
        }
        match recorded.answer() {
            Some(answer) => LookUp::Happened(answer),
            None => LookUp::Unknown("its record in the database cannot be read".into()),
        }
    }

    /// A failure for good: the transaction is rolled back.
    pub(super) fn rejected(&self, code: impl Into<String>, message: impl Into<String>) -> Attempt {
        Attempt::Landed(Reply::Rejected(self.failure(code, message)))
    }

    /// Not in this time: the transaction is rolled back.
    pub(super) fn late(&self) -> Attempt {
        Attempt::Landed(Reply::Later(self.failure("timeout", "the statement took too long and was rolled back")))
    }

    /// Nothing was executed.
    pub(super) fn not_sent(&self, reason: impl Into<String>) -> Attempt {
        Attempt::NotSent(NotSent::ForNow(self.scrubber.text(reason.into())))
    }

    /// It may have been executed.
    pub(super) fn unknown(&self, reason: impl Into<String>) -> Attempt {
        Attempt::Unknown(self.scrubber.text(reason.into()))
    }

    fn failure(&self, code: impl Into<String>, message: impl Into<String>) -> Failure {
        failure(code, self.scrubber.text(message.into()))
    }
}

impl Recorded {
    fn answer(&self) -> Option<Value> {
        serde_json::from_str(self.answer.as_deref()?).ok()
    }
}

/// Rows as they come, within the limits.
pub(super) struct Rows<'j> {
    job: &'j Job,
    columns: Vec<String>,
    rows: Vec<Value>,
    bytes: usize,
}

impl<'j> Rows<'j> {
    /// Rows with these columns.
    ///
    /// # Errors
    /// Two columns have one name.
    pub(super) fn new(job: &'j Job, columns: Vec<String>) -> Result<Self, String> {
        let twice = columns.iter().enumerate().find(|(index, name)| columns[..*index].contains(name));
        match twice {
            Some((_, name)) => Err(format!("two columns are named {name:?}: give one of them another name")),
            None => Ok(Self { job, columns, rows: Vec::new(), bytes: 0 }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Takes one row in.
    ///
    /// # Errors
    /// It is one too many, or more bytes than may be.
    pub(super) fn push(&mut self, values: impl Iterator<Item = Result<Value, String>>) -> Result<(), String> {
        let Limits { rows_max, bytes_max } = self.job.limits;
        let mut row = Map::new();
        for (name, value) in self.columns.iter().zip(values) {
            row.insert(name.clone(), value.map_err(|reason| format!("column {name:?} {reason}"))?);
        }
        let row = self.job.scrubber.value(Value::Object(row));
        self.bytes = self.bytes.saturating_add(row.to_string().len() + 1);
        if self.rows.len() >= rows_max {
            return Err(format!("the result has more than {rows_max} rows (`row_limit`)"));
        }
        if self.bytes > bytes_max {
            return Err(format!("the result has more than {bytes_max} bytes (`response_limit`)"));
        }
        self.rows.push(row);
        Ok(())
    }

    /// The answer.
    pub(super) fn answer(self, affected: u64) -> Value {
        json!({ "rows": self.rows, "affected": affected })
    }
}
