//! `file`: appends one JSON line for each operation, `{"id","scope","at_ms","request"}`: the embedded default for trying things out.
//!
//! The request is any JSON value; the answer is `{"line","id"}`, the same however often it is asked for. The file is the receiver that
//! de-duplicates: an id of the same scope that is in it already is not written again, whoever asks, so the class is `idempotent` without a window
//! unless configured otherwise. Programs of Holdpoint may share a file; others may read it, but must not write to it.

mod ledger;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::operation::OperationKey;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::attempt::{Attempt, NotSent, Reply, failure};

use super::{Connector, Outgoing, Prepared, Rejection, Unusable};
use ledger::{Appended, Ledger, Line};
use settings::FileSettings;

pub(crate) use settings::KIND;

/// Lines of one file.
pub struct File {
    /// Shared with the thread that writes, which goes on when nobody waits for it any more.
    ledger: Arc<Mutex<Ledger>>,
}

impl File {
    /// Fills the path in.
    ///
    /// # Errors
    /// What is missing or does not fit.
    fn build(configuration: &FileSettings) -> Result<Self, Unusable> {
        let path = configuration.path.resolve()?;
        let path: PathBuf = configuration.folder.join(path.text.expose());
        let place = configuration.path.place();
        if path.file_name().is_none() || path.is_dir() {
            return Err(Unusable::value("path", place, "is not the path of a file"));
        }
        if !path.parent().is_none_or(|folder| folder == Path::new("") || folder.is_dir()) {
            return Err(Unusable::value("path", place, "lies in a folder that does not exist"));
        }
        Ok(Self { ledger: Arc::new(Mutex::new(Ledger::new(path))) })
    }
}

impl Connector for File {
    fn prepare(&self, key: &OperationKey, request: &Value) -> Result<Box<dyn Prepared>, Rejection> {
        let line = Line { scope: key.scope.to_text(), id: key.id.to_string(), request: request.clone() };
        Ok(Box::new(PreparedLine { ledger: self.ledger.clone(), line }))
    }
}

struct PreparedLine {
    ledger: Arc<Mutex<Ledger>>,
    line: Line,
}

#[async_trait]
impl Prepared for PreparedLine {
    async fn send(&self, outgoing: Outgoing) -> Attempt {
        let until = Instant::now() + outgoing.timeout;
        let Ok(mut ledger) = timeout_at(until, self.ledger.clone().lock_owned()).await else {
            return Attempt::NotSent(NotSent::ForNow("other operations keep the file busy".into()));
        };
        let line = self.line.clone();
        let writing = tokio::task::spawn_blocking(move || ledger.append(&line, outgoing.at_ms, until.into_std()));
        match timeout_at(until + ledger::GRACE, writing).await {
            Ok(Ok(appended)) => self.attempt(appended),
            Ok(Err(_)) => Attempt::Unknown("writing the file was cut short".into()),
            Err(_) => Attempt::Unknown(format!("the file was not written within {} ms", outgoing.timeout.as_millis())),
        }
    }
}

impl PreparedLine {
    fn attempt(&self, appended: Appended) -> Attempt {
        match appended {
            Appended::At(line) => Attempt::Landed(Reply::Done(json!({ "line": line, "id": self.line.id }))),
            Appended::OtherRequest(line) => {
                let message = format!("line {line} of the file has this id with another request");
                Attempt::Landed(Reply::Rejected(failure("conflict", message)))
            }
            Appended::Not(reason) => Attempt::NotSent(NotSent::ForNow(reason)),
            Appended::Unknown(reason) => Attempt::Unknown(reason),
        }
    }
}
