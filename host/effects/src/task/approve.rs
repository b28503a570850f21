//! Requests that a person has to approve before the host sends them, whatever the node does.

use holdpoint_graph::digest::Digest;
use holdpoint_graph::nodes::{Answer, EffectMode, HOST_OCCURRENCE_FIRST, Question, RecordedAnswer, Verdict};
use holdpoint_graph::operation::{NoteKind, OperationNote};
use serde_json::{Value, json};

use crate::configuration::{ApprovalRule, ConnectorConfiguration};
use crate::connectors::Outgoing;
use crate::perform::Sending;
use crate::refusal::{Halt, Reason};

use super::TaskEffects;
use super::act::Job;
use super::order::Order;
use super::results::Results;

/// Why a branch in mode `ask` asks.
const BRANCH_ASKS: &str = "this branch asks before each new operation";

/// What stands in the way of a request.
enum Approval {
    /// Nothing; with the approval that let it pass.
    Given(Option<OperationNote>),
    /// Somebody's no.
    Refused(Reason),
    /// Nobody has been asked yet. Holds the reason of the rule.
    Wanted(String),
}

impl TaskEffects {
    /// Keeps the jobs that may leave. When one needs an approval that nobody has given, nothing of the call leaves and the first such request is
    /// asked about: that way a person never approves what was half done.
    pub(super) async fn approved(&self, jobs: Vec<Job>, results: &mut Results) -> Result<Vec<Job>, Halt> {
        let mut approved = Vec::with_capacity(jobs.len());
        let mut first_wanted: Option<(Job, String)> = None;
        for mut job in jobs {
            match self.approval(&job.order) {
                Approval::Given(note) => {
                    // One that is sent again, after the receiver did not know it, has its approval already.
                    let approved_before = job.notes.iter().any(|note| note.kind == NoteKind::Approved);
                    job.notes.extend(note.filter(|_| !approved_before));
                    approved.push(job);
                }
                Approval::Refused(reason) => results.refuse(&job.order, reason),
                Approval::Wanted(reason) => {
                    if first_wanted.as_ref().is_none_or(|(first, _)| job.order.position < first.order.position) {
                        first_wanted = Some((job, reason));
                    }
                }
            }
        }
        match first_wanted {
            None => Ok(approved),
            Some((job, reason)) => {
                let preview = self.preview(&job.sending).await;
                Err(Halt::Question(Box::new(question(&job.order, &reason, preview))))
            }
        }
    }

    fn approval(&self, order: &Order) -> Approval {
        let Some(slot) = self.shared.connectors.get(&order.key.connector) else {
            unreachable!("invariant: an admitted operation's connector is configured");
        };
        let rule = reason_to_ask(&slot.configuration, &order.request);
        let asking = self.mode == EffectMode::Ask;
        let reason = match (asking, rule) {
            (false, None) => return Approval::Given(None),
            (false, Some(rule)) => rule,
            (true, None) => BRANCH_ASKS.to_owned(),
            (true, Some(rule)) => format!("{BRANCH_ASKS}; {rule}"),
        };
        if let Some(answer) = answer_to(order, &self.answers) {
            return decided(answer);
        }
        // A standing approval was given for what the thread does, not for what it is tried out to do.
        let standing = (!asking).then(|| standing(&slot.configuration, &order.request, self.shared.clock.now_ms()));
        match standing.flatten() {
            Some(note) => Approval::Given(Some(note)),
            None => Approval::Wanted(reason),
        }
    }

    /// Whose no this execution has for a request already, in whatever mode.
    pub(super) fn refused_by_answer(&self, order: &Order) -> Option<Reason> {
        match decided(answer_to(order, &self.answers)?) {
            Approval::Refused(reason) => Some(reason),
            Approval::Given(_) | Approval::Wanted(_) => None,
        }
    }

    /// A dry run for the person who decides. Its failure is shown too and stops nothing.
    async fn preview(&self, sending: &Sending) -> Option<Value> {
        let outgoing = Outgoing { at_ms: self.shared.clock.now_ms(), timeout: sending.timeout };
        let preview = sending.prepared.preview(outgoing).await?;
        Some(match preview {
            Ok(shown) => json!({ "result": shown }),
            Err(reason) => json!({ "unavailable": reason }),
        })
    }
}

/// Why a request needs an approval; none when it does not. A rule that cannot be evaluated asks: it fails closed.
fn reason_to_ask(configuration: &ConnectorConfiguration, request: &Value) -> Option<String> {
    match &configuration.requires_approval {
        ApprovalRule::Never => None,
        ApprovalRule::Always => Some("every request of this connector needs an approval".to_owned()),
        ApprovalRule::When(rule) => match rule.holds(&[("request", request)]) {
            Ok(false) => None,
            Ok(true) => Some(format!("the rule `{}` holds", rule.text())),
            Err(cause) => {
                Some(format!("the rule `{}` cannot be evaluated ({cause}), so it is taken to hold", rule.text()))
            }
        },
    }
}

fn standing(configuration: &ConnectorConfiguration, request: &Value, now_ms: u64) -> Option<OperationNote> {
    let covers = configuration.standing_approvals.iter().find(|standing| {
        let shape = standing.when.as_ref().is_none_or(|when| when.holds(&[("request", request)]) == Ok(true));
        shape && now_ms < standing.until_ms
    })?;
    Some(OperationNote {
        at_ms: now_ms,
        kind: NoteKind::Approved,
        by: format!("standing:{}", covers.owner),
        text: covers.reason.clone(),
    })
}

/// Exactly what is shown and what the answer binds to: the operation and its request, nothing that may differ when the node runs again.
fn payload(order: &Order) -> Value {
    json!({
        "approve": "operation",
        "connector": order.key.connector.as_str(),
        "operation_id": order.key.id.as_str(),
        "request": order.request,
        "request_digest": order.digest.as_str(),
    })
}

fn question(order: &Order, reason: &str, preview: Option<Value>) -> Question {
    let payload = payload(order);
    let answer_schema = json!({
        "type": "object",
        "required": ["approved"],
        "properties": { "approved": { "type": "boolean" }, "reason": { "type": "string" } },
        "additionalProperties": false,
    });
    let mut evidence = json!({ "asked_by": "host", "reason": reason });
    if let (Some(evidence), Some(preview)) = (evidence.as_object_mut(), preview) {
        evidence.insert("preview".to_owned(), preview);
    }
    Question {
        occurrence: occurrence(order),
        payload_digest: Digest::of_json(&payload),
        payload,
        answer_schema: Some(answer_schema),
        deadline_ms: None,
        evidence: Some(Box::new(evidence)),
    }
}

fn occurrence(order: &Order) -> u32 {
    HOST_OCCURRENCE_FIRST.saturating_add(order.call)
}

/// The answer to exactly this request (`approved-is-executed`).
fn answer_to<'a>(order: &Order, answers: &'a [RecordedAnswer]) -> Option<&'a Answer> {
    let occurrence = occurrence(order);
    let recorded = answers.iter().find(|answer| answer.occurrence == occurrence)?;
    (recorded.payload_digest == Digest::of_json(&payload(order))).then_some(&recorded.answer)
}

/// Only a plain yes is one. An edited request would be another request.
fn decided(answer: &Answer) -> Approval {
    let yes = matches!(answer.verdict, Verdict::Accept | Verdict::Respond) && answer.value["approved"] == json!(true);
    let reason = answer.value["reason"].as_str().map(ToOwned::to_owned);
    if yes {
        Approval::Given(Some(OperationNote {
            at_ms: answer.answered_at_ms,
            kind: NoteKind::Approved,
            by: answer.answered_by.clone(),
            text: reason.unwrap_or_default(),
        }))
    } else {
        Approval::Refused(Reason::NotApproved { by: answer.answered_by.clone(), reason })
    }
}
