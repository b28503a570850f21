//! A commit with everything that can be prepared outside the writer: its JSON is text already when the writer gets it, so that serialising
//! runs on the callers' threads and the writer, of which there is one, only writes.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{ChannelName, CheckpointId, QuestionId, ThreadId};
use holdpoint_graph::operation::{OperationHit, OperationRecord};
use holdpoint_graph::state::Change;
use serde_json::Value;

use super::rows::{integer, operation_outcome};
use super::{forms, proceedings};
use crate::approvals::{DeadlineGuard, Proceedings, Withdrawn};
use crate::audit::AuditEntry;
use crate::records::{
    CacheRecord, CheckpointRecord, NewCheckpoint, QuestionRecord, QuestionStatus, Settlement, TaskRecord, ThreadStatus,
};
use crate::runs::{RunStatus, RunUpdate};
use crate::store::{Claim, Commit, Expect};

/// A commit as the writer applies it. Records keep their place beside the texts made of them: they are moved, not copied.
pub(super) struct CommitRows {
    pub(super) thread: ThreadId,
    pub(super) expect: Expect,
    pub(super) claim: Option<Claim>,
    pub(super) release: bool,
    pub(super) lease_until_ms: Option<i64>,
    pub(super) settlements: Vec<SettlementRow>,
    pub(super) checkpoints: Vec<CheckpointRow>,
    pub(super) head: Option<CheckpointId>,
    pub(super) graph: Option<Digest>,
    pub(super) tasks: Vec<TaskRow>,
    pub(super) questions: Vec<QuestionRow>,
    pub(super) operations: Vec<OperationRow>,
    pub(super) hits: Vec<OperationHit>,
    pub(super) cache: Vec<CacheRow>,
    pub(super) runs: Vec<RunUpdateRow>,
    pub(super) requester: Option<String>,
    pub(super) audit: Vec<AuditEntry>,
    pub(super) status: ThreadStatus,
    pub(super) error: Option<String>,
    pub(super) at_ms: i64,
}

pub(super) struct SettlementRow {
    pub(super) question: QuestionId,
    pub(super) status: QuestionStatus,
    pub(super) answer: Option<AnswerRow>,
    /// Who called it off, and when.
    pub(super) withdrawn: Option<String>,
}

pub(super) struct AnswerRow {
    pub(super) text: String,
    pub(super) guard: DeadlineGuard,
    pub(super) proceedings: Box<Proceedings>,
    pub(super) said: Option<String>,
}

pub(super) struct CheckpointRow {
    pub(super) record: CheckpointRecord,
    pub(super) next: String,
    pub(super) joins: Option<String>,
    pub(super) details: Option<String>,
    pub(super) changes: Vec<ChangeRow>,
}

pub(super) struct ChangeRow {
    pub(super) channel: ChannelName,
    pub(super) kind: ChangeKind,
    /// The whole value, or the array of the items to append.
    pub(super) text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// Replaces by an array.
    List,
    /// Replaces by anything else.
    Value,
    /// Appends items.
    Append,
    /// Appends none: makes an array of what is none, and leaves an array alone.
    AppendNothing,
}

pub(super) struct TaskRow {
    pub(super) record: TaskRecord,
    pub(super) result: Option<String>,
    pub(super) error: Option<String>,
}

pub(super) struct QuestionRow {
    pub(super) record: QuestionRecord,
    pub(super) payload: String,
    pub(super) answer_schema: Option<String>,
    pub(super) policy: String,
    pub(super) answer: Option<String>,
    pub(super) proceedings: Option<String>,
}

pub(super) struct RunUpdateRow {
    pub(super) update: RunUpdate,
    pub(super) error: Option<String>,
}

pub(super) struct OperationRow {
    pub(super) scope: String,
    pub(super) record: OperationRecord,
    pub(super) request: String,
    pub(super) outcome: Option<String>,
    pub(super) notes: Option<String>,
}

pub(super) struct CacheRow {
    pub(super) key: Digest,
    pub(super) expires_at_ms: Option<i64>,
    pub(super) result: String,
}

/// An exchange as the writer applies it.
pub(super) struct ExchangeRows {
    pub(super) expected: OperationRecord,
    pub(super) next: OperationRow,
    pub(super) at_ms: i64,
    pub(super) audit: Vec<AuditEntry>,
}

impl ExchangeRows {
    pub(super) fn new(expected: OperationRecord, next: OperationRecord, at_ms: u64, audit: Vec<AuditEntry>) -> Self {
        Self { expected, next: operation(next), at_ms: integer(at_ms), audit }
    }
}

impl RunUpdateRow {
    /// Whether the run begins with it.
    pub(super) fn begins(&self) -> bool {
        self.update.from == RunStatus::Pending && self.update.to == RunStatus::Running
    }
}

impl CommitRows {
    pub(super) fn new(commit: Commit) -> Self {
        Self {
            thread: commit.thread,
            expect: commit.expect,
            claim: commit.claim,
            release: commit.release,
            lease_until_ms: commit.lease_until_ms.map(integer),
            settlements: commit.settlements.into_iter().map(|end| settlement(end, commit.at_ms)).collect(),
            checkpoints: commit.checkpoints.into_iter().map(checkpoint).collect(),
            head: commit.head,
            graph: commit.graph,
            tasks: commit.tasks.into_iter().map(task).collect(),
            questions: commit.questions.into_iter().map(question).collect(),
            operations: commit.operations.into_iter().map(operation).collect(),
            hits: commit.hits,
            cache: commit.cache.into_iter().map(cache).collect(),
            runs: commit.runs.into_iter().map(run_update).collect(),
            requester: commit.requester,
            audit: commit.audit,
            status: commit.status,
            error: commit.error.as_ref().map(forms::write_error),
            at_ms: integer(commit.at_ms),
        }
    }

    /// How many versions of channel values the commit may use up.
    pub(super) fn versions_wanted(&self) -> i64 {
        let changes: usize = self.checkpoints.iter().map(|checkpoint| checkpoint.changes.len()).sum();
        i64::try_from(changes).expect("invariant: what is in memory can be counted")
    }
}

fn settlement(settlement: Settlement, at_ms: u64) -> SettlementRow {
    match settlement {
        Settlement::Answer { question, answer, proceedings } => {
            let answer = AnswerRow {
                text: forms::write_answer(&answer),
                guard: DeadlineGuard::of(answer.verdict),
                said: proceedings::write(&proceedings),
                proceedings,
            };
            SettlementRow { question, status: QuestionStatus::Answered, answer: Some(answer), withdrawn: None }
        }
        Settlement::Supersede { question } => {
            SettlementRow { question, status: QuestionStatus::Superseded, answer: None, withdrawn: None }
        }
        Settlement::Cancel { question, by } => {
            let withdrawn = proceedings::write_withdrawal(&Withdrawn { by, at_ms });
            SettlementRow { question, status: QuestionStatus::Cancelled, answer: None, withdrawn: Some(withdrawn) }
        }
    }
}

fn checkpoint(new: NewCheckpoint) -> CheckpointRow {
    CheckpointRow {
        next: forms::write_triggers(&new.record.next),
        joins: forms::write_joins(&new.record.joins),
        details: forms::write_details(&new.record),
        changes: new.patch.changes.into_iter().map(change).collect(),
        record: new.record,
    }
}

fn change((channel, change): (ChannelName, Change)) -> ChangeRow {
    let (kind, text) = match change {
        Change::Replace(value @ Value::Array(_)) => (ChangeKind::List, forms::write(&value)),
        Change::Replace(value) => (ChangeKind::Value, forms::write(&value)),
        Change::Append(items) if items.is_empty() => (ChangeKind::AppendNothing, "[]".to_owned()),
        Change::Append(items) => (ChangeKind::Append, forms::write(&items)),
    };
    ChangeRow { channel, kind, text }
}

fn task(record: TaskRecord) -> TaskRow {
    TaskRow {
        result: record.result.as_ref().map(forms::write_command),
        error: record.error.as_ref().map(forms::write_error),
        record,
    }
}

fn question(record: QuestionRecord) -> QuestionRow {
    QuestionRow {
        payload: forms::write(&record.payload),
        answer_schema: record.answer_schema.as_ref().map(forms::write),
        policy: forms::write(&record.policy),
        answer: record.answer.as_ref().map(forms::write_answer),
        proceedings: proceedings::write(&record.proceedings),
        record,
    }
}

fn cache(record: CacheRecord) -> CacheRow {
    CacheRow {
        key: record.key,
        expires_at_ms: record.expires_at_ms.map(integer),
        result: forms::write_command(&record.result),
    }
}

pub(super) fn run_update(update: RunUpdate) -> RunUpdateRow {
    RunUpdateRow { error: update.error.as_ref().map(forms::write_error), update }
}

pub(super) fn operation(record: OperationRecord) -> OperationRow {
    OperationRow {
        scope: record.key.scope.to_text(),
        request: forms::write(&record.request),
        outcome: operation_outcome(&record.state),
        notes: forms::write_notes(&record.notes),
        record,
    }
}
