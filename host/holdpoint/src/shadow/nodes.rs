//! The sandbox, as it would be if operations that have a record had been performed just now.

use async_trait::async_trait;
use holdpoint_engine::recording::Recording;
use holdpoint_graph::nodes::{HOST_OCCURRENCE_FIRST, NodeCall, NodeOutcome, NodeReport, Nodes, RecordedAnswer};
use holdpoint_graph::operation::{NoteKind, OperationRecord, OperationState};
use holdpoint_sandbox::Sandbox;
use holdpoint_store::QuestionRecord;

use super::journal::noting;

/// Runs nodes for the repetition of one thread.
pub(super) struct RecordedNodes {
    sandbox: Sandbox,
    /// What people said to the host's questions about operations: on a branch that performs none these are not asked, and a no would be forgotten.
    decided: Vec<QuestionRecord>,
}

impl RecordedNodes {
    pub(super) fn new(sandbox: Sandbox, recording: &Recording) -> Self {
        let questions = recording.questions.iter();
        let decided = questions.filter(|question| is_hosts(question) && question.answer.is_some());
        Self { sandbox, decided: decided.cloned().collect() }
    }

    /// The decisions of the task or, where the version has another task there, of its node. One counts only for exactly the request that it was
    /// about.
    fn decisions(&self, call: &NodeCall) -> Vec<RecordedAnswer> {
        let own = |question: &&QuestionRecord| question.task == call.task.id;
        let of_task: Vec<&QuestionRecord> = self.decided.iter().filter(own).collect();
        let chosen = if of_task.is_empty() {
            self.decided.iter().filter(|question| question.node == call.task.node).collect()
        } else {
            of_task
        };
        let answers = chosen.into_iter().filter_map(|question| {
            Some(RecordedAnswer {
                occurrence: question.occurrence,
                payload_digest: question.payload_digest.clone(),
                answer: question.answer.clone()?,
            })
        });
        answers.collect()
    }
}

#[async_trait]
impl Nodes for RecordedNodes {
    async fn run(&self, mut call: NodeCall) -> NodeReport {
        call.answers.extend(self.decisions(&call));
        let thread = call.task.thread.clone();
        let (mut report, read) = noting(self.sandbox.run(call)).await;
        // The thread's clock went on when an operation ended, and nodes are told it: so it must here. An operation in doubt has to be where the
        // engine looks whether it still is.
        let in_doubt = matches!(report.outcome, NodeOutcome::InDoubt { .. });
        report.operations.extend(
            read.into_iter()
                .filter(|record| (record.thread == thread && ended_in_run(record)) || (in_doubt && is_open(record))),
        );
        report
    }
}

/// Whether a question is the host's own, about an operation.
pub(super) fn is_hosts(question: &QuestionRecord) -> bool {
    question.occurrence >= HOST_OCCURRENCE_FIRST
}

/// Whether the outcome came while the node ran: not later, by somebody's word.
fn ended_in_run(record: &OperationRecord) -> bool {
    matches!(record.state, OperationState::Completed(_) | OperationState::Failed(_))
        && record.notes.iter().all(|note| note.kind == NoteKind::Approved)
}

fn is_open(record: &OperationRecord) -> bool {
    matches!(record.state, OperationState::Intended | OperationState::InDoubt(_))
}
