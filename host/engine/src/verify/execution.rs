//! A task that executes a component, executed again.

use std::sync::Arc;

use holdpoint_graph::definition::Node;
use holdpoint_graph::digest::Digest;
use holdpoint_graph::ids::OperationId;
use holdpoint_graph::nodes::{HOST_OCCURRENCE_FIRST, NodeOutcome, TaskIdentity};
use holdpoint_graph::operation::OperationState;
use holdpoint_store::{OperationFilter, QuestionRecord, TaskRecord, TaskStatus};
use serde_json::{Value, json};

use super::quiet::RefusingJournal;
use super::step::Step;
use super::{Reason, Verdict, command_json, error_json};
use crate::engine::operation_of;
use crate::error::Error;
use crate::plan::PlannedTask;
use crate::task::{Assignment, NO_DEADLINE, deadline_ms, expired, failure_record, node_call};

/// The codes of errors that are the host's and not the node's.
pub(super) const HOST_FAULT: &str = "HP0425";
const WITHHELD: &str = "HP0445";
const LIMIT: &str = "HP0424";

/// The limit that depends on how busy the machine is.
const TIME: &str = "time";

/// Operations of one id that are looked through for one that has been performed since.
const OPERATIONS_MAX: usize = 1000;

impl Step<'_> {
    /// Executes a task with what it saw when it was last executed, and compares what comes of it.
    pub(super) async fn execution(
        &mut self,
        planned: &PlannedTask,
        record: &TaskRecord,
        node: &Node,
        component: &Digest,
    ) -> Result<Verdict, Error> {
        if let Some(reason) = unrepeatable(record) {
            return Ok(Verdict::Skipped(reason));
        }
        let mut first = None;
        for seen in self.seen_by(record) {
            let verdict = match self.assignment(planned, record, seen) {
                Ok(assignment) => self.execute(assignment, record, node, component).await?,
                Err(error) => Verdict::differs("values", json!("fit the state"), json!({ "error": error.to_string() })),
            };
            if verdict == Verdict::Same {
                return Ok(Verdict::Same);
            }
            first.get_or_insert(verdict);
        }
        Ok(first.unwrap_or(Verdict::Skipped(Reason::Unfinished)))
    }

    async fn execute(
        &self,
        mut assignment: Assignment,
        record: &TaskRecord,
        node: &Node,
        component: &Digest,
    ) -> Result<Verdict, Error> {
        let thread = &self.checker.thread;
        let identity = assignment.identity(&self.version, &self.author, &thread.lineage, thread.epoch);
        // What it was waiting for then: an answer that has come since was not there.
        let waited_for = match record.status {
            TaskStatus::Interrupted => assignment.questions.last_mut().map(|question| {
                question.answer = None;
                question.clone()
            }),
            _ => None,
        };
        if let Some(error) = expired(&assignment.questions) {
            let expected = record.error.as_ref().map_or_else(|| record.status.name().into(), error_json);
            return Ok(Verdict::compare("failure", expected, error_json(&error)));
        }
        let call = node_call(identity.clone(), &assignment, node, component, Arc::new(RefusingJournal));
        let outcome = self.checker.nodes.run(call).await.outcome;
        if is_time_limit(&outcome) {
            return Ok(Verdict::Skipped(Reason::TimeLimit));
        }
        let shown = || outcome_json(&outcome, &identity, component);
        match record.status {
            TaskStatus::Done => {
                let expected = record.result.as_ref().map_or(Value::Null, command_json);
                Ok(match &outcome {
                    NodeOutcome::Completed(command) => Verdict::compare("result", expected, command_json(command)),
                    _ => Verdict::differs("result", expected, shown()),
                })
            }
            TaskStatus::Interrupted => self.compare_question(waited_for, &outcome, &identity, shown).await,
            TaskStatus::InDoubt => self.compare_doubt(record, &outcome, shown).await,
            TaskStatus::Failed => self.compare_failure(record, outcome.clone(), &assignment, node, shown()).await,
            TaskStatus::Running | TaskStatus::Paused => Ok(Verdict::Skipped(Reason::Unfinished)),
        }
    }

    async fn compare_question(
        &self,
        question: Option<QuestionRecord>,
        outcome: &NodeOutcome,
        identity: &TaskIdentity,
        shown: impl Fn() -> Value,
    ) -> Result<Verdict, Error> {
        let Some(question) = question else {
            return Ok(Verdict::differs("question", json!("no question is recorded"), shown()));
        };
        let expected = json!({ "asked": { "id": question.id.as_str(), "payload": question.payload } });
        if question.occurrence < HOST_OCCURRENCE_FIRST {
            return Ok(match outcome {
                NodeOutcome::Interrupted(asked) if asked.id(identity) == question.id => Verdict::Same,
                _ => Verdict::differs("question", expected, shown()),
            });
        }
        // The host asked about an operation. Here nobody is asked and the operation is withheld.
        match outcome {
            NodeOutcome::Withheld { operations }
                if operations.iter().any(|operation| is_same_request(operation, &question.payload)) =>
            {
                Ok(Verdict::Same)
            }
            _ if self.is_performed(&question.payload).await? => Ok(Verdict::Skipped(Reason::PerformedSince)),
            _ => Ok(Verdict::differs("question", expected, shown())),
        }
    }

    async fn compare_doubt(
        &self,
        record: &TaskRecord,
        outcome: &NodeOutcome,
        shown: impl Fn() -> Value,
    ) -> Result<Verdict, Error> {
        let details = record.error.as_ref().and_then(|error| error.details.clone()).unwrap_or_default();
        let key = operation_of(&details);
        if let (NodeOutcome::InDoubt { operation, .. }, Some(key)) = (outcome, &key)
            && operation == key
        {
            return Ok(Verdict::Same);
        }
        let stored = match &key {
            Some(key) => self.checker.store.operation(key).await?,
            None => None,
        };
        let settled =
            stored.is_some_and(|stored| !matches!(stored.state, OperationState::InDoubt(_) | OperationState::Intended));
        if settled {
            return Ok(Verdict::Skipped(Reason::SettledSince));
        }
        Ok(Verdict::differs("doubt", json!({ "in_doubt": details }), shown()))
    }

    async fn compare_failure(
        &self,
        record: &TaskRecord,
        outcome: NodeOutcome,
        assignment: &Assignment,
        node: &Node,
        shown: Value,
    ) -> Result<Verdict, Error> {
        let Some(error) = &record.error else {
            return Ok(Verdict::differs("failure", json!("no error is recorded"), shown));
        };
        let withheld = error.details.as_ref().and_then(|details| details.get("operations")).and_then(Value::as_array);
        if let (WITHHELD, Some(withheld)) = (error.code.as_str(), withheld) {
            let same = matches!(&outcome, NodeOutcome::Withheld { operations } if operations == withheld);
            if same {
                return Ok(Verdict::Same);
            }
            for operation in withheld {
                if self.is_performed(operation).await? {
                    return Ok(Verdict::Skipped(Reason::PerformedSince));
                }
            }
            return Ok(Verdict::differs("failure", json!({ "withheld": withheld }), shown));
        }
        if let (NO_DEADLINE, NodeOutcome::Interrupted(_)) = (error.code.as_str(), &outcome) {
            let found = match deadline_ms(&self.version, assignment) {
                Err(found) => error_json(&found),
                Ok(_) => shown,
            };
            return Ok(Verdict::compare("failure", error_json(error), found));
        }
        let failed_again =
            matches!(outcome, NodeOutcome::Failed(_) | NodeOutcome::Trapped(_) | NodeOutcome::LimitExceeded { .. });
        let is_fault = matches!(outcome, NodeOutcome::HostFault(_) | NodeOutcome::Fenced);
        if failed_again {
            let found = failure_record(outcome, assignment);
            if (&found.code, &found.message) == (&error.code, &error.message) {
                return Ok(Verdict::Same);
            }
        }
        if !is_fault && !node.connectors.is_empty() {
            // What a receiver did not take, and may take the next time, is not recorded.
            return Ok(Verdict::Skipped(Reason::FailureNotRecorded));
        }
        Ok(Verdict::differs("failure", json!({ "failed": error_json(error) }), shown))
    }

    /// Whether an operation that was withheld, or asked about, has a record by now.
    async fn is_performed(&self, wanted: &Value) -> Result<bool, Error> {
        let Some(id) = wanted["operation_id"].as_str().and_then(|id| OperationId::parse(id).ok()) else {
            return Ok(false);
        };
        let filter = OperationFilter { id: Some(id), limit: OPERATIONS_MAX, ..OperationFilter::default() };
        let found = self.checker.store.find_operations(&filter).await?;
        Ok(found.iter().any(|record| {
            record.key.connector.as_str() == wanted["connector"]
                && record.request == wanted["request"]
                && record.state != OperationState::NotSent
        }))
    }
}

/// Why a task's outcome cannot be had again, where its record says so.
fn unrepeatable(record: &TaskRecord) -> Option<Reason> {
    match (record.status, &record.error) {
        (TaskStatus::Running | TaskStatus::Paused, _) => Some(Reason::Unfinished),
        (TaskStatus::Failed, Some(error)) if error.code == HOST_FAULT => Some(Reason::HostFault),
        (TaskStatus::Failed, Some(error)) if error.code == LIMIT => {
            let limit = error.details.as_ref().and_then(|details| details.get("limit"));
            (limit.and_then(Value::as_str) == Some(TIME)).then_some(Reason::TimeLimit)
        }
        _ => None,
    }
}

fn is_time_limit(outcome: &NodeOutcome) -> bool {
    matches!(outcome, NodeOutcome::LimitExceeded { limit, .. } if limit == TIME)
}

/// Whether a withheld operation is the one that a payload asks about.
fn is_same_request(operation: &Value, payload: &Value) -> bool {
    ["connector", "operation_id", "request"].iter().all(|member| operation.get(member) == payload.get(member))
}

/// How an execution ended, as a difference shows it.
fn outcome_json(outcome: &NodeOutcome, identity: &TaskIdentity, component: &Digest) -> Value {
    match outcome {
        NodeOutcome::Completed(command) => command_json(command),
        NodeOutcome::Interrupted(asked) => {
            json!({ "asked": { "id": asked.id(identity).as_str(), "payload": asked.payload } })
        }
        NodeOutcome::InDoubt { operation, reason } => json!({ "in_doubt": {
            "scope": operation.scope.to_text(), "connector": operation.connector.as_str(),
            "operation_id": operation.id.as_str(), "reason": reason,
        } }),
        NodeOutcome::Failed(failure) => json!({ "failed": { "code": failure.code, "message": failure.message } }),
        NodeOutcome::Trapped(message) => json!({ "trapped": message }),
        NodeOutcome::LimitExceeded { limit, message } => json!({ "limit": limit, "message": message }),
        NodeOutcome::HostFault(message) => json!({ "host_fault": message, "component": component.as_str() }),
        NodeOutcome::Withheld { operations } => json!({ "withheld": operations }),
        NodeOutcome::Fenced => json!("fenced"),
    }
}
