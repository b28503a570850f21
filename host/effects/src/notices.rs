//! What people are told about questions: for each connector that a question names, an operation that is queued with what it tells.
//!
//! # Layout
//!
//! * `impl Notices for Effects`: which operations, under which keys. [`ends`]: what makes a call for an answer obsolete.
//! * `event`: the event as JSON. `mail`, `slack`, `pagerduty`: it in the words and form of others; `words`: what they share.

use std::collections::BTreeSet;

use holdpoint_graph::digest::canonical_json;
use holdpoint_graph::ids::{ConnectorName, OperationId};
use holdpoint_graph::notice::{Notice, NoticeKind, Notices};
use holdpoint_graph::operation::{OperationKey, OperationRecord, OperationState};
use serde_json::{Value, json};

use crate::connectors::smtp::RECIPIENTS_MAX;
use crate::connectors::telling::{Form, NOTICE_PREFIX, Shape, Telling};
use crate::effects::{Effects, Shared};
use crate::identity::{request_digest, scope};

mod event;
mod mail;
mod pagerduty;
mod slack;
mod words;

/// Why a connector tells nothing of a notice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Untold {
    #[error("the connector is not configured [HP0549]")]
    Unknown,
    #[error("the connector has no way to tell it: an http connector needs `notify`, a sql connector cannot [HP0549]")]
    NoForm,
    #[error("there is no address of anybody whom it is for: see `notify.to` and `users` [HP0552]")]
    Nobody,
    #[error("its request has {bytes} bytes, the limit is {max} [HP0553]")]
    TooLarge { bytes: usize, max: usize },
}

impl Notices for Effects {
    fn operations(&self, notice: &Notice) -> Vec<OperationRecord> {
        let shared = self.shared();
        let connectors: BTreeSet<&ConnectorName> = notice.connectors.iter().collect();
        let operations = connectors.into_iter().filter_map(|connector| {
            operation(shared, notice, connector)
                .inspect_err(|untold| {
                    let (kind, question) = (notice.kind.name(), &notice.question);
                    tracing::error!(connector = %connector, %question, kind, cause = %untold, "a notice is not told");
                })
                .ok()
        });
        operations.collect()
    }
}

/// The operation by which a connector tells of a notice.
fn operation(shared: &Shared, notice: &Notice, connector: &ConnectorName) -> Result<OperationRecord, Untold> {
    let configuration = &shared.connectors.get(connector).ok_or(Untold::Unknown)?.configuration;
    let telling = configuration.settings.telling().ok_or(Untold::NoForm)?;
    let max = configuration.request_bytes_max;
    let mut request = request(shared, notice, telling, telling.payload)?;
    let mut canonical = canonical_json(&request);
    if telling.payload && canonical.len() > max.min(telling.bytes_max()) {
        // That there is a question is worth more than what it is.
        request = self::request(shared, notice, telling, false)?;
        canonical = canonical_json(&request);
    }
    if canonical.len() > max {
        return Err(Untold::TooLarge { bytes: canonical.len(), max });
    }
    let key = OperationKey {
        scope: scope(&configuration.scope, &notice.graph, &notice.lineage),
        connector: connector.clone(),
        id: id(notice.kind, notice.question.as_str(), notice.number),
    };
    Ok(OperationRecord {
        key,
        thread: notice.thread.clone(),
        task: notice.task.clone(),
        node: notice.node.clone(),
        request_digest: request_digest(connector, &canonical),
        request,
        state: OperationState::Queued { attempts: 0, due_at_ms: notice.at_ms },
        epoch: notice.epoch,
        begun_at_ms: notice.at_ms,
        send_by_ms: None,
        settles_at_ms: None,
        finished_at_ms: None,
        notes: Vec::new(),
    })
}

/// The request in the connector's form.
fn request(shared: &Shared, notice: &Notice, telling: &Telling, payload: bool) -> Result<Value, Untold> {
    let url = shared.public_url.as_ref().map(|base| format!("{base}/inbox/approvals/{}", notice.question));
    let url = url.as_deref();
    Ok(match &telling.form {
        Form::Event => event::event(notice, url, payload),
        Form::Mail { to } => mail::mail(notice, &addresses(shared, notice, to)?, url, payload),
        Form::Http { method, path, shape } => {
            let body = match shape {
                Shape::Json => event::event(notice, url, payload),
                Shape::Slack => slack::message(notice, url, payload),
                Shape::PagerDuty => pagerduty::event(notice, url, payload),
            };
            json!({ "method": method, "path": path, "body": body })
        }
    })
}

/// To whom an e-mail goes: the connector's own list, or whoever the notice is for.
fn addresses(shared: &Shared, notice: &Notice, configured: &[String]) -> Result<Vec<String>, Untold> {
    let meant = || notice.to.iter().flat_map(|word| shared.users.meant_by(word)).filter_map(|user| user.email.as_ref());
    let mut addresses: Vec<String> = Vec::new();
    let own = configured.iter().cloned();
    let all: Vec<String> = if configured.is_empty() { meant().cloned().collect() } else { own.collect() };
    for address in all {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.len() > RECIPIENTS_MAX {
        let (question, left_out) = (&notice.question, addresses.len() - RECIPIENTS_MAX);
        tracing::warn!(%question, left_out, "a notice is for more people than one e-mail can have [HP0552]");
        addresses.truncate(RECIPIENTS_MAX);
    }
    if addresses.is_empty() { Err(Untold::Nobody) } else { Ok(addresses) }
}

impl Telling {
    /// Largest request that the receiver takes.
    fn bytes_max(&self) -> usize {
        match &self.form {
            Form::Http { shape: Shape::PagerDuty, .. } => pagerduty::BYTES_MAX,
            _ => usize::MAX,
        }
    }
}

/// The operation id of a notice: `holdpoint-notice:KIND:QUESTION:NUMBER`.
fn id(kind: NoticeKind, question: &str, number: u32) -> OperationId {
    let kind = kind.name().trim_start_matches("approval.");
    OperationId::parse(format!("{NOTICE_PREFIX}{kind}:{question}:{number}"))
        .expect("invariant: a question's id is short and plain")
}

/// The keys of the notices that make this one obsolete: of a call for an answer, those of the question's end.
pub(crate) fn ends(key: &OperationKey) -> Vec<OperationKey> {
    let Some((kind, rest)) = key.id.as_str().strip_prefix(NOTICE_PREFIX).and_then(|rest| rest.split_once(':')) else {
        return Vec::new();
    };
    let Some((question, _number)) = rest.rsplit_once(':') else { return Vec::new() };
    if !["requested", "reminded", "escalated"].contains(&kind) {
        return Vec::new();
    }
    [NoticeKind::Decided, NoticeKind::Expired, NoticeKind::Cancelled]
        .map(|end| OperationKey { id: id(end, question, 0), ..key.clone() })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::operation::Scope;

    use super::*;

    #[test]
    fn a_call_for_an_answer_is_obsolete_once_the_question_has_ended() {
        let check = |id: &str| {
            let key = OperationKey {
                scope: Scope::Global("refund".into()),
                connector: ConnectorName::parse("slack").expect("valid"),
                id: OperationId::parse(id).expect("valid"),
            };
            ends(&key).into_iter().map(|end| end.id.to_string()).collect::<Vec<_>>()
        };
        let expected =
            ["holdpoint-notice:decided:q1:0", "holdpoint-notice:expired:q1:0", "holdpoint-notice:cancelled:q1:0"];
        for kind in ["requested:q1:0", "reminded:q1:3", "escalated:q1:1"] {
            assert_eq!(check(&format!("holdpoint-notice:{kind}")), expected);
        }
        for id in [
            "holdpoint-notice:decided:q1:0",
            "holdpoint-notice:expired:q1:0",
            "holdpoint-notice:cancelled:q1:0",
            "holdpoint-notice:",
            "refund:1",
        ] {
            assert!(check(id).is_empty(), "{id}");
        }
    }
}
