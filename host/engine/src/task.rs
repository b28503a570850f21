//! One task: its executions, its retries, and what is recorded of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_graph::definition::{Graph, Node, Retry};
use holdpoint_graph::ids::{Epoch, ThreadId};
use holdpoint_graph::nodes::{NodeCall, NodeOutcome, Nodes, Question, RecordedAnswer, TaskIdentity};
use holdpoint_graph::operation::{OperationHit, OperationRecord, OperationState};
use holdpoint_graph::{definition::Component, definition::Limits};
use holdpoint_store::{CheckpointRecord, QuestionRecord, QuestionStatus, TaskRecord, TaskStatus, ThreadError};
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::ledger::{Ledger, TaskScribe, Write};
use crate::plan::PlannedTask;

/// The key of a question's policy that holds the evidence of the host's own questions.
pub(crate) const EVIDENCE: &str = "evidence";

/// What all tasks of a claim share.
pub(crate) struct Context {
    pub(crate) graph: Arc<Graph>,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) thread: ThreadId,
    pub(crate) lineage: ThreadId,
    pub(crate) epoch: Epoch,
}

/// Everything about a task that its executions depend on.
pub(crate) struct Assignment {
    pub(crate) planned: PlannedTask,
    pub(crate) checkpoint: CheckpointRecord,
    pub(crate) state: Map<String, Value>,
    /// Questions that it asked before.
    pub(crate) questions: Vec<QuestionRecord>,
    /// Executions recorded before.
    pub(crate) executions: u32,
}

/// How a task ended, for now.
pub(crate) struct TaskResult {
    pub(crate) record: TaskRecord,
    pub(crate) question: Option<QuestionRecord>,
    /// Operations with an outcome that are not stored yet.
    pub(crate) operations: Vec<OperationRecord>,
    /// Records of other threads that answered, not stored yet.
    pub(crate) hits: Vec<OperationHit>,
    /// Whether any operation was performed or recorded in this claim.
    pub(crate) performed: bool,
    /// When the last operation's outcome was known.
    pub(crate) last_outcome_at_ms: Option<u64>,
    pub(crate) elapsed: Duration,
}

/// Executes a task until it is done, waits for somebody, or has used up its retries.
pub(crate) async fn run(context: Arc<Context>, assignment: Assignment) -> Result<TaskResult, Error> {
    let begun = Instant::now();
    let node = context.graph.nodes.get(&assignment.planned.node).cloned();
    let Some(node) = node else {
        // A deployed graph is validated and pinned, so only a damaged store leads here.
        let reason = format!("the graph has no node {}", assignment.planned.node);
        return Ok(ended(&context, &assignment, NodeOutcome::HostFault(reason), 0, &mut Progress::default(), begun));
    };
    let mut progress = Progress::default();
    let mut attempt = 1;
    loop {
        let report = match call(&context, &assignment, &node) {
            Ok(call) => context.nodes.run(call).await,
            Err(reason) => {
                return Ok(ended(&context, &assignment, NodeOutcome::HostFault(reason), attempt, &mut progress, begun));
            }
        };
        progress.take(&report.outcome, report.operations, report.hits);
        if report.outcome == NodeOutcome::Fenced {
            return Err(Error::TakenOver(context.thread.clone()));
        }
        let pause = node.retry.as_ref().and_then(|retry| pause_before_retry(retry, attempt, &report.outcome));
        let Some(pause) = pause else {
            return Ok(ended(&context, &assignment, report.outcome, attempt, &mut progress, begun));
        };
        tracing::info!(
            thread = context.thread.as_str(),
            node = assignment.planned.node.as_str(),
            attempt,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the node is tried again"
        );
        if !progress.operations.is_empty() {
            // The next attempt must find them recorded.
            let operations = std::mem::take(&mut progress.operations);
            let hits = std::mem::take(&mut progress.hits);
            context.ledger.store(Write { operations, hits, ..Write::default() }).await?;
        }
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// What the attempts of a task came to so far.
#[derive(Default)]
struct Progress {
    operations: Vec<OperationRecord>,
    hits: Vec<OperationHit>,
    performed: bool,
    last_outcome_at_ms: Option<u64>,
}

impl Progress {
    fn take(&mut self, outcome: &NodeOutcome, mut operations: Vec<OperationRecord>, hits: Vec<OperationHit>) {
        if !matches!(outcome, NodeOutcome::Completed(_) | NodeOutcome::Interrupted(_) | NodeOutcome::InDoubt { .. }) {
            // What was to leave after the step's commit does not leave after an execution that came to nothing.
            operations.retain(|operation| !matches!(operation.state, OperationState::Queued { .. }));
        }
        self.performed |= !operations.is_empty();
        self.last_outcome_at_ms =
            operations.iter().filter_map(|operation| operation.finished_at_ms).chain(self.last_outcome_at_ms).max();
        self.operations.extend(operations);
        self.hits.extend(hits);
    }
}

fn call(context: &Arc<Context>, assignment: &Assignment, node: &Node) -> Result<NodeCall, String> {
    let Component::Digest(component) = &node.component else {
        return Err(format!("the component of node {} is not deployed", assignment.planned.node));
    };
    let identity = TaskIdentity {
        graph: context.graph.name.clone(),
        thread: context.thread.clone(),
        lineage: context.lineage.clone(),
        checkpoint: assignment.checkpoint.id.clone(),
        step: u64::try_from(assignment.checkpoint.step + 1).unwrap_or(0),
        node: assignment.planned.node.clone(),
        id: assignment.planned.id.clone(),
        epoch: context.epoch,
    };
    let time_ms = match (node.limits.time_ms, node.timeout_ms) {
        (Some(limit), Some(timeout)) => Some(limit.min(timeout)),
        (limit, timeout) => limit.or(timeout),
    };
    Ok(NodeCall {
        task: identity,
        component: component.clone(),
        state: assignment.state.clone(),
        argument: assignment.planned.argument.clone(),
        config: node.config.clone(),
        connectors: node.connectors.clone(),
        limits: Limits { time_ms, ..node.limits },
        clock_ms: assignment.checkpoint.clock_ms,
        answers: assignment.questions.iter().filter_map(recorded_answer).collect(),
        journal: Arc::new(TaskScribe {
            ledger: Arc::clone(&context.ledger),
            task: assignment.planned.id.clone(),
            node: assignment.planned.node.clone(),
        }),
    })
}

fn recorded_answer(question: &QuestionRecord) -> Option<RecordedAnswer> {
    Some(RecordedAnswer {
        occurrence: question.occurrence,
        payload_digest: question.payload_digest.clone(),
        answer: question.answer.clone()?,
    })
}

/// How long to wait before the next execution; none when there is none. `attempt` counts from 1.
fn pause_before_retry(retry: &Retry, attempt: u32, outcome: &NodeOutcome) -> Option<Duration> {
    let asked_ms = match outcome {
        NodeOutcome::Failed(failure) if failure.retryable => failure.retry_after_ms,
        NodeOutcome::Trapped(_) => None,
        _ => return None,
    };
    if attempt >= retry.attempts_max {
        return None;
    }
    let grown = retry.backoff_ms as f64 * retry.factor.powi(i32::try_from(attempt - 1).unwrap_or(i32::MAX));
    // A cast from a float saturates, and the bound is applied in any case.
    let backoff_ms = (grown as u64).min(retry.backoff_max_ms);
    Some(Duration::from_millis(asked_ms.unwrap_or(0).max(backoff_ms)))
}

fn ended(
    context: &Context,
    assignment: &Assignment,
    outcome: NodeOutcome,
    attempts: u32,
    progress: &mut Progress,
    begun: Instant,
) -> TaskResult {
    let now_ms = context.ledger.now_ms();
    let node = &assignment.planned.node;
    let mut question = None;
    let mut result = None;
    let mut error = None;
    let status = match outcome {
        NodeOutcome::Completed(command) => {
            result = Some(command);
            TaskStatus::Done
        }
        NodeOutcome::Interrupted(asked) => {
            question = Some(question_record(context, assignment, asked, now_ms));
            TaskStatus::Interrupted
        }
        NodeOutcome::InDoubt { operation, reason } => {
            let details = json!({
                "scope": operation.scope.to_text(),
                "connector": operation.connector.as_str(),
                "operation_id": operation.id.as_str(),
            });
            error = Some(ThreadError {
                code: "HP0520".into(),
                message: reason,
                node: Some(node.clone()),
                details: Some(details),
            });
            TaskStatus::InDoubt
        }
        failed => {
            error = Some(failure_record(failed, assignment));
            TaskStatus::Failed
        }
    };
    let record = TaskRecord {
        id: assignment.planned.id.clone(),
        checkpoint: assignment.checkpoint.id.clone(),
        node: node.clone(),
        path: assignment.planned.path.clone(),
        status,
        executions: assignment.executions.saturating_add(attempts),
        result,
        error,
        updated_at_ms: now_ms,
    };
    TaskResult {
        record,
        question,
        operations: std::mem::take(&mut progress.operations),
        hits: std::mem::take(&mut progress.hits),
        performed: progress.performed,
        last_outcome_at_ms: progress.last_outcome_at_ms,
        elapsed: begun.elapsed(),
    }
}

fn failure_record(outcome: NodeOutcome, assignment: &Assignment) -> ThreadError {
    let (code, message, details) = match outcome {
        NodeOutcome::Failed(failure) => (
            failure.code,
            failure.message,
            Some(
                json!({ "retryable": failure.retryable, "retry_after_ms": failure.retry_after_ms, "details": failure.details }),
            ),
        ),
        NodeOutcome::Trapped(message) => ("HP0423".into(), format!("the node trapped: {message}"), None),
        NodeOutcome::LimitExceeded { limit, message } => ("HP0424".into(), message, Some(json!({ "limit": limit }))),
        NodeOutcome::HostFault(message) => ("HP0425".into(), message, None),
        // The caller has dealt with the others.
        other => ("HP0425".into(), format!("unexpected outcome {other:?}"), None),
    };
    ThreadError { code, message, node: Some(assignment.planned.node.clone()), details }
}

fn question_record(context: &Context, assignment: &Assignment, asked: Question, now_ms: u64) -> QuestionRecord {
    let planned = &assignment.planned;
    let mut policy = Map::new();
    if let Some(evidence) = asked.evidence {
        // The host's question about an operation: the node's own policy is about the node's own questions.
        policy.insert(EVIDENCE.into(), *evidence);
    } else if let Some(interrupt) = context.graph.nodes.get(&planned.node).and_then(|node| node.interrupt.as_ref()) {
        policy = interrupt.policy.clone();
        if let Some(schema) = &interrupt.answer_schema {
            policy.insert("answer_schema".into(), schema.document().clone());
        }
    }
    QuestionRecord {
        id: holdpoint_graph::ids::QuestionId::derive(
            &context.thread,
            &assignment.checkpoint.id,
            &planned.id,
            asked.occurrence,
            &asked.payload_digest,
        ),
        checkpoint: assignment.checkpoint.id.clone(),
        task: planned.id.clone(),
        node: planned.node.clone(),
        occurrence: asked.occurrence,
        payload: asked.payload,
        payload_digest: asked.payload_digest,
        answer_schema: asked.answer_schema,
        policy: Value::Object(policy),
        asked_at_ms: now_ms,
        deadline_at_ms: asked.deadline_ms.map(|deadline_ms| now_ms.saturating_add(deadline_ms)),
        status: QuestionStatus::Pending,
        answer: None,
    }
}
