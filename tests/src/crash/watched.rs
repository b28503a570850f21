//! Points before and after each write to the store.

use std::sync::Arc;

use async_trait::async_trait;
use holdpoint_graph::operation::OperationRecord;
use holdpoint_store::{AuditEntry, Changed, Commit, Error, QuestionChange, Settlement, Store};

use super::points::Points;
use super::trace::{Moment, Operation, Written};
use super::wrapped::Hook;

/// The hook.
pub struct Watch(pub Arc<Points>);

#[async_trait]
impl Hook for Watch {
    async fn commit(&self, store: &dyn Store, commit: Commit) -> Result<(), Error> {
        let write = self.0.next_write();
        self.0.reach(Moment::BeforeCommit(written(&commit, write))).await;
        let outcome = store.commit(commit).await;
        self.after(write, outcome.as_ref().err().map_or("ok", Error::code)).await;
        outcome
    }

    async fn exchange(
        &self,
        store: &dyn Store,
        expected: &OperationRecord,
        next: OperationRecord,
        at_ms: u64,
        audit: Vec<AuditEntry>,
    ) -> Result<bool, Error> {
        let write = self.0.next_write();
        let operations = vec![operation(&next)];
        self.0.reach(Moment::BeforeCommit(Written { write, operations, ..Written::default() })).await;
        let outcome = store.exchange_operation(expected, next, at_ms, audit).await;
        let said = match &outcome {
            Ok(true) => "ok",
            Ok(false) => "lost",
            Err(error) => error.code(),
        };
        self.after(write, said).await;
        outcome
    }

    async fn change(&self, store: &dyn Store, change: QuestionChange) -> Result<Changed, Error> {
        let write = self.0.next_write();
        let answered = change.answer.iter().map(|_| change.question.to_string()).collect();
        let operations = change.operations.iter().map(operation).collect();
        self.0.reach(Moment::BeforeCommit(Written { write, answered, operations, ..Written::default() })).await;
        let outcome = store.change_question(change).await;
        self.after(write, outcome.as_ref().err().map_or("ok", Error::code)).await;
        outcome
    }
}

impl Watch {
    async fn after(&self, write: u32, outcome: &str) {
        self.0.reach(Moment::AfterCommit { write, outcome: outcome.to_owned() }).await;
    }
}

fn written(commit: &Commit, write: u32) -> Written {
    let answered = commit.settlements.iter().filter_map(|settlement| match settlement {
        Settlement::Answer { question, .. } => Some(question.to_string()),
        Settlement::Supersede { .. } | Settlement::Cancel { .. } => None,
    });
    Written {
        write,
        checkpoints: commit.checkpoints.iter().map(|checkpoint| checkpoint.record.id.to_string()).collect(),
        answered: answered.collect(),
        asked: commit.questions.iter().map(|question| question.id.to_string()).collect(),
        operations: commit.operations.iter().map(operation).collect(),
    }
}

fn operation(record: &OperationRecord) -> Operation {
    Operation { id: record.key.id.to_string(), epoch: record.epoch.0, state: record.state.name().to_owned() }
}
