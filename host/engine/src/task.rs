//! One task: its executions, its retries, and what is recorded of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdpoint_graph::definition::{CachePolicy, Component, Limits, Node, Retry, Work};
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::{Epoch, Namespace, QuestionId, TaskId, ThreadId};
use holdpoint_graph::nodes::{
    NodeCall, NodeOutcome, Nodes, Question, RecordedAnswer, State, TaskIdentity, TaskJournal,
};
use holdpoint_graph::notice::Directory;
use holdpoint_graph::operation::{OperationHit, OperationRecord, OperationState};
use holdpoint_store::{
    CacheRecord, CheckpointRecord, Proceedings, QuestionRecord, QuestionStatus, Snapshot, TaskRecord, TaskStatus,
    ThreadError,
};
use serde_json::{Map, Value, json};
use tracing::Instrument as _;

use crate::approvals::policy::{self, EVIDENCE, Policy};
use crate::approvals::time;
use crate::child::{self, Kept};
use crate::engine::{Config, RunOptions};
use crate::error::Error;
use crate::events::EventKind;
use crate::ledger::{Ledger, TaskScribe, Write};
use crate::plan::PlannedTask;
use crate::timings::Timer;
use crate::version::Version;

/// The code of tasks whose question's deadline cannot be told.
pub(crate) const NO_DEADLINE: &str = "HP0911";

/// Latest moment that a store can hold: a guest may ask for any.
const TIME_MS_MAX: u64 = i64::MAX.unsigned_abs() - 1;

/// What all of a claim shares.
pub(crate) struct Claimed {
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) thread: ThreadId,
    pub(crate) lineage: ThreadId,
    pub(crate) epoch: Epoch,
    pub(crate) config: Config,
    pub(crate) options: RunOptions,
    /// Who gave the thread its newest input.
    pub(crate) requester: Option<String>,
    /// Whom names in policies mean.
    pub(crate) directory: Arc<dyn Directory>,
    /// Who is told how long its nodes take.
    pub(crate) timer: Timer,
}

/// What all tasks of one run of a graph share.
pub(crate) struct Context {
    pub(crate) claimed: Arc<Claimed>,
    pub(crate) version: Arc<Version>,
    pub(crate) namespace: Namespace,
    /// Whether checkpoints, tasks and questions are stored: not inside a subgraph that keeps nothing.
    pub(crate) keeps: bool,
}

impl Context {
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.claimed.ledger
    }
}

/// Everything about a task that its executions depend on.
pub(crate) struct Assignment {
    pub(crate) planned: PlannedTask,
    pub(crate) checkpoint: Arc<CheckpointRecord>,
    pub(crate) state: State,
    /// Questions that it asked before.
    pub(crate) questions: Vec<QuestionRecord>,
    /// Executions recorded before.
    pub(crate) executions: u32,
    /// Supersteps left, where the node reads managed values.
    pub(crate) steps_left: Option<u32>,
    /// The run of its subgraph as it was left.
    pub(crate) child: Option<Snapshot>,
    /// Where the last call of its subgraph ended in this claim, for one that is kept per thread.
    pub(crate) kept: Option<Kept>,
}

impl Assignment {
    /// What the ids of its unnamed operations derive from.
    pub(crate) fn operations(&self, lineage: &ThreadId) -> TaskId {
        operations_of(lineage, &self.checkpoint, &self.planned.path)
    }

    /// What its node is told of it.
    pub(crate) fn identity(
        &self,
        version: &Version,
        thread: &ThreadId,
        lineage: &ThreadId,
        epoch: Epoch,
    ) -> TaskIdentity {
        TaskIdentity {
            graph: version.graph.name.clone(),
            thread: thread.clone(),
            lineage: lineage.clone(),
            checkpoint: self.checkpoint.id.clone(),
            step: u64::try_from(self.step()).unwrap_or(0),
            node: self.planned.node.clone(),
            id: self.planned.id.clone(),
            operations: self.operations(lineage),
            epoch,
        }
    }

    /// The superstep that its results lead to.
    pub(crate) fn step(&self) -> i64 {
        self.checkpoint.step + 1
    }
}

/// What the ids of the unnamed operations of a checkpoint's task derive from.
pub(crate) fn operations_of(lineage: &ThreadId, checkpoint: &CheckpointRecord, path: &str) -> TaskId {
    let kept = checkpoint.kept_operations.get(path).cloned();
    kept.unwrap_or_else(|| TaskId::derive(lineage, &checkpoint.anchor, path))
}

/// How a task ended, for now.
pub(crate) struct TaskResult {
    pub(crate) record: TaskRecord,
    /// The question that it asks itself; those of a subgraph are in `write`.
    pub(crate) question: Option<QuestionRecord>,
    /// What else is not stored yet.
    pub(crate) write: Write,
    /// Whether any operation was performed or recorded in this claim.
    pub(crate) performed: bool,
    /// When something from outside last reached it: an operation's outcome, or what its subgraph knows.
    pub(crate) last_event_at_ms: Option<u64>,
    pub(crate) elapsed: Duration,
    /// Its result was used again.
    pub(crate) cached: bool,
    /// It stopped because somebody asked all runs to.
    pub(crate) drained: bool,
    /// Where its subgraph ended, for one that is kept per thread.
    pub(crate) kept: Option<Kept>,
    /// The task, where an error handler may have to take its place.
    pub(crate) planned: Option<PlannedTask>,
}

impl TaskResult {
    pub(crate) fn new(record: TaskRecord, begun: Instant) -> Self {
        Self {
            record,
            question: None,
            write: Write::default(),
            performed: false,
            last_event_at_ms: None,
            elapsed: begun.elapsed(),
            cached: false,
            drained: false,
            kept: None,
            planned: None,
        }
    }
}

/// Executes a task until it is done, waits for somebody, or has used up its retries.
pub(crate) async fn run(context: Arc<Context>, assignment: Assignment) -> Result<TaskResult, Error> {
    let span = tracing::info_span!(
        "task",
        thread = context.claimed.thread.as_str(),
        task = assignment.planned.id.as_str(),
        node = assignment.planned.node.as_str(),
        checkpoint = assignment.checkpoint.id.as_str(),
    );
    run_within(context, assignment).instrument(span).await
}

async fn run_within(context: Arc<Context>, assignment: Assignment) -> Result<TaskResult, Error> {
    let begun = Instant::now();
    let planned = &assignment.planned;
    context.ledger().tell(&context.namespace, assignment.step(), || EventKind::TaskStarted {
        task: planned.id.clone(),
        node: planned.node.clone(),
        argument: planned.argument.clone(),
    });
    let version = Arc::clone(&context.version);
    let Some(node) = version.node(&planned.node) else {
        // A deployed graph is validated and pinned, so only a damaged store leads here.
        let reason = format!("the graph has no node {}", planned.node);
        return Ok(ended(&context, &assignment, NodeOutcome::HostFault(reason), 0, Progress::default(), begun));
    };
    let planned = node.error_handler.is_some().then(|| planned.clone());
    let result = match &node.work {
        Work::Component(component) => execute(context, assignment, node, component, begun).await?,
        // Boxed: it is large, and every task's future would be as large.
        Work::Subgraph(_) => Box::pin(child::run(context, assignment, begun)).await?,
    };
    Ok(TaskResult { planned, ..result })
}

async fn execute(
    context: Arc<Context>,
    assignment: Assignment,
    node: &Node,
    component: &Component,
    begun: Instant,
) -> Result<TaskResult, Error> {
    let Component::Digest(component) = component else {
        let reason = format!("the component of node {} is not deployed", assignment.planned.node);
        return Ok(ended(&context, &assignment, NodeOutcome::HostFault(reason), 0, Progress::default(), begun));
    };
    if let Some(error) = expired(&assignment.questions) {
        return Ok(failed(&context, &assignment, error, begun));
    }
    // What a node may do outside must be done for each thread: its results are its own.
    let pure = node.connectors.is_empty() && assignment.questions.is_empty() && assignment.executions == 0;
    let cache = node.cache.filter(|_| pure);
    let cache = cache.map(|policy| (policy, cache_key(node, component, &assignment)));
    if let Some((_, key)) = &cache
        && let Some(command) = context.ledger().cached(key).await?
    {
        let mut result = ended(&context, &assignment, NodeOutcome::Completed(command), 0, Progress::default(), begun);
        result.cached = true;
        return Ok(result);
    }
    let mut progress = Progress::default();
    let mut attempt = 1;
    loop {
        let running = context.claimed.nodes.run(call(&context, &assignment, node, component));
        let report = context.claimed.timer.execution(running, |report| &report.outcome).await;
        progress.take(&report.outcome, report.operations, report.hits);
        if report.outcome == NodeOutcome::Fenced {
            return Err(Error::TakenOver(context.claimed.thread.clone()));
        }
        let pause = node.retry.as_ref().and_then(|retry| pause_before_retry(retry, attempt, &report.outcome));
        let Some(pause) = pause else {
            let result = ended(&context, &assignment, report.outcome, attempt, progress, begun);
            return Ok(with_cache_entry(result, cache, context.ledger().now_ms()));
        };
        tracing::info!(
            thread = context.claimed.thread.as_str(),
            node = assignment.planned.node.as_str(),
            attempt,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the node is tried again"
        );
        if !progress.operations.is_empty() {
            // The next attempt must find them recorded.
            let operations = std::mem::take(&mut progress.operations);
            let hits = std::mem::take(&mut progress.hits);
            context.ledger().store(Write { operations, hits, ..Write::default() }).await?;
        }
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// Everything that a result depends on which may be used again.
fn cache_key(node: &Node, component: &Digest, assignment: &Assignment) -> Digest {
    let connectors: Vec<&str> = node.connectors.iter().map(|name| name.as_str()).collect();
    Digest::of_json(&json!({
        "component": component.as_str(),
        "config": node.config,
        "connectors": connectors,
        "state": assignment.state.values(),
        "argument": assignment.planned.argument,
        "is_sent": assignment.planned.argument.is_some(),
    }))
}

/// Keeps the result of an execution that finished and touched nothing outside.
fn with_cache_entry(mut result: TaskResult, cache: Option<(CachePolicy, Digest)>, now_ms: u64) -> TaskResult {
    if let Some((policy, key)) = cache
        && !result.performed
        && result.write.hits.is_empty()
        && let (TaskStatus::Done, Some(command)) = (result.record.status, &result.record.result)
    {
        let expires_at_ms = policy.ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms));
        result.write.cache.push(CacheRecord { key, result: command.clone(), expires_at_ms });
    }
    result
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

fn call(context: &Context, assignment: &Assignment, node: &Node, component: &Digest) -> NodeCall {
    let claimed = &context.claimed;
    let identity = assignment.identity(&context.version, &claimed.thread, &claimed.lineage, claimed.epoch);
    let journal = TaskScribe {
        ledger: Arc::clone(context.ledger()),
        task: assignment.planned.id.clone(),
        node: assignment.planned.node.clone(),
        namespace: context.namespace.clone(),
        step: assignment.step(),
    };
    node_call(identity, assignment, node, component, Arc::new(journal))
}

/// What a node is called with: a function of what is recorded (`replayable`).
pub(crate) fn node_call(
    task: TaskIdentity,
    assignment: &Assignment,
    node: &Node,
    component: &Digest,
    journal: Arc<dyn TaskJournal>,
) -> NodeCall {
    let time_ms = match (node.limits.time_ms, node.timeout_ms) {
        (Some(limit), Some(timeout)) => Some(limit.min(timeout)),
        (limit, timeout) => limit.or(timeout),
    };
    NodeCall {
        task,
        component: component.clone(),
        state: assignment.state.clone(),
        argument: assignment.planned.argument.clone(),
        config: node.config.clone(),
        connectors: node.connectors.clone(),
        limits: Limits { time_ms, ..node.limits },
        clock_ms: assignment.checkpoint.clock_ms,
        answers: assignment.questions.iter().filter_map(recorded_answer).collect(),
        effects: assignment.checkpoint.effects,
        journal,
    }
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
    progress: Progress,
    begun: Instant,
) -> TaskResult {
    let now_ms = context.ledger().now_ms();
    let node = &assignment.planned.node;
    let mut question = None;
    let mut result = None;
    let mut error = None;
    let status = match outcome {
        NodeOutcome::Completed(command) => {
            result = Some(command);
            TaskStatus::Done
        }
        NodeOutcome::Interrupted(_) if !context.keeps => {
            error = Some(ThreadError {
                code: "HP0429".into(),
                message: format!("node {node} asks a question in a subgraph that keeps nothing"),
                node: Some(node.clone()),
                details: None,
            });
            TaskStatus::Failed
        }
        NodeOutcome::Interrupted(asked) => match question_record(context, assignment, asked, now_ms) {
            Ok(asked) => {
                question = Some(asked);
                TaskStatus::Interrupted
            }
            Err(faulty) => {
                error = Some(faulty);
                TaskStatus::Failed
            }
        },
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
        status,
        executions: assignment.executions.saturating_add(attempts),
        result,
        error,
        ..record(assignment, now_ms)
    };
    let Progress { operations, hits, performed, last_outcome_at_ms } = progress;
    TaskResult {
        question,
        performed,
        last_event_at_ms: last_outcome_at_ms,
        write: Write { operations, hits, ..Write::default() },
        ..TaskResult::new(record, begun)
    }
}

/// The record of a task of which nothing is known yet.
pub(crate) fn record(assignment: &Assignment, now_ms: u64) -> TaskRecord {
    TaskRecord {
        id: assignment.planned.id.clone(),
        checkpoint: assignment.checkpoint.id.clone(),
        node: assignment.planned.node.clone(),
        path: assignment.planned.path.clone(),
        status: TaskStatus::Running,
        executions: assignment.executions,
        result: None,
        error: None,
        child: None,
        steps_left: assignment.steps_left,
        updated_at_ms: now_ms,
    }
}

/// What is recorded of a task whose execution ended so.
pub(crate) fn failure_record(outcome: NodeOutcome, assignment: &Assignment) -> ThreadError {
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
        NodeOutcome::Withheld { operations } => (
            "HP0445".into(),
            format!("the branch performs no new operations, and the node wants {}", operations.len()),
            Some(json!({ "operations": operations })),
        ),
        // The caller has dealt with the others.
        other => ("HP0425".into(), format!("unexpected outcome {other:?}"), None),
    };
    ThreadError { code, message, node: Some(assignment.planned.node.clone()), details }
}

/// Why a task fails without running: the deadline of one of its questions has come, and there is nothing that its node could be told.
pub(crate) fn expired(questions: &[QuestionRecord]) -> Option<ThreadError> {
    questions.iter().find_map(time::failure)
}

fn failed(context: &Context, assignment: &Assignment, error: ThreadError, begun: Instant) -> TaskResult {
    let base = record(assignment, context.ledger().now_ms());
    TaskResult::new(TaskRecord { status: TaskStatus::Failed, error: Some(error), ..base }, begun)
}

/// The record of a question that is asked now.
///
/// # Errors
/// How the task fails, because nobody can say until when the question stands.
fn question_record(
    context: &Context,
    assignment: &Assignment,
    asked: Question,
    now_ms: u64,
) -> Result<QuestionRecord, ThreadError> {
    let planned = &assignment.planned;
    let mut snapshot = Map::new();
    let mut longest_ms = None;
    if let Some(evidence) = asked.evidence {
        // The host's question about an operation: the node's own policy is about the node's own questions.
        snapshot.insert(EVIDENCE.into(), *evidence);
    } else if let Some(interrupt) = context.version.node(&planned.node).and_then(|node| node.interrupt.as_ref()) {
        let claimed = &context.claimed;
        snapshot = policy::snapshot(interrupt, claimed.directory.as_ref(), claimed.requester.as_deref());
        longest_ms = deadline_ms(&context.version, assignment)?;
    }
    let snapshot = Value::Object(snapshot);
    let duration_ms = asked.deadline_ms.into_iter().chain(longest_ms).min();
    let deadline_at_ms = duration_ms.map(|duration_ms| now_ms.saturating_add(duration_ms).min(TIME_MS_MAX));
    let proceedings = Proceedings::default();
    let due_at_ms = match Policy::read(&snapshot) {
        Ok(policy) => time::due_at_ms(&policy, &proceedings, now_ms, deadline_at_ms),
        Err(_) => deadline_at_ms,
    };
    Ok(QuestionRecord {
        id: QuestionId::derive(
            &context.claimed.thread,
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
        policy: snapshot,
        asked_at_ms: now_ms,
        deadline_at_ms,
        due_at_ms,
        proceedings,
        status: QuestionStatus::Pending,
        answer: None,
    })
}

/// How long the questions of a task's node stand at most. A function of what is recorded of the task.
///
/// # Errors
/// How the task fails, because the graph's expression does not say.
pub(crate) fn deadline_ms(version: &Version, assignment: &Assignment) -> Result<Option<u64>, ThreadError> {
    let node = &assignment.planned.node;
    let deadline = version.node(node).and_then(|node| node.interrupt.as_ref()?.deadline.as_ref());
    let duration_ms = deadline.map(|deadline| deadline.duration_ms(assignment.state.values(), &version.graph.channels));
    duration_ms.transpose().map_err(|error| ThreadError {
        code: NO_DEADLINE.into(),
        message: format!("the deadline of node {node} cannot be told: {error}"),
        node: Some(node.clone()),
        details: None,
    })
}
