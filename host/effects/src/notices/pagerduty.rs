//! A notice as an event of PagerDuty's Events API v2, without its `routing_key`, which is filled in on the way out.
//!
//! The question is the alert: all its events have its id as `dedup_key`, those that call for an answer trigger it, its end resolves it.

use holdpoint_graph::notice::{Notice, NoticeKind};
use serde_json::{Value, json};

use super::words::{cut, facts, headline, moment};

/// Largest event, with room for the routing key. The API takes 512 KB.
pub(super) const BYTES_MAX: usize = 500_000;
/// Longest summary.
const SUMMARY_CHARACTERS_MAX: usize = 1024;

/// The event.
pub(super) fn event(notice: &Notice, url: Option<&str>, payload: bool) -> Value {
    let severity = match notice.kind {
        NoticeKind::Requested | NoticeKind::Reminded => "warning",
        NoticeKind::Escalated => "error",
        NoticeKind::Decided | NoticeKind::Expired | NoticeKind::Cancelled => {
            return json!({ "event_action": "resolve", "dedup_key": notice.question.as_str() });
        }
    };
    let mut details: Value =
        facts(notice).into_iter().map(|(label, text)| (label.to_lowercase(), Value::from(text))).collect();
    if payload {
        details["payload"] = notice.payload.clone();
    }
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": notice.question.as_str(),
        "client": "Holdpoint",
        "payload": {
            "summary": cut(&headline(notice), SUMMARY_CHARACTERS_MAX),
            "source": "holdpoint",
            "severity": severity,
            "timestamp": moment(notice.at_ms),
            "component": notice.node.as_str(),
            "group": notice.graph.as_str(),
            "class": notice.kind.name(),
            "custom_details": details,
        },
    });
    if let Some(url) = url {
        event["client_url"] = url.into();
        event["links"] = json!([{ "href": url, "text": "Answer" }]);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::super::words::sample;
    use super::*;

    #[test]
    fn a_call_for_an_answer_triggers() {
        let notice = sample(NoticeKind::Requested);
        let thin = json!({
            "event_action": "trigger",
            "dedup_key": "0123456789abcdef0123456789abcdef",
            "client": "Holdpoint",
            "client_url": "https://hold.example/x",
            "links": [{ "href": "https://hold.example/x", "text": "Answer" }],
            "payload": {
                "summary": "Approval requested: gate of refund",
                "source": "holdpoint",
                "severity": "warning",
                "timestamp": "2023-11-14T22:13:20Z",
                "component": "gate",
                "group": "refund",
                "class": "approval.requested",
                "custom_details": {
                    "thread": "t-1",
                    "for": "user:ana, group:finance",
                    "deadline": "2023-11-15T22:13:20.5Z",
                },
            },
        });
        assert_eq!(event(&notice, Some("https://hold.example/x"), false), thin);
        let full = event(&notice, None, true);
        assert_eq!(full["payload"]["custom_details"]["payload"], notice.payload);
        assert_eq!((full.get("links"), full.get("client_url")), (None, None));
        let escalated = event(&sample(NoticeKind::Escalated), None, false);
        assert_eq!(
            (&escalated["event_action"], &escalated["payload"]["severity"]),
            (&json!("trigger"), &json!("error"))
        );
    }

    #[test]
    fn an_end_resolves() {
        let expected = json!({ "event_action": "resolve", "dedup_key": "0123456789abcdef0123456789abcdef" });
        for kind in [NoticeKind::Decided, NoticeKind::Expired, NoticeKind::Cancelled] {
            assert_eq!(event(&sample(kind), Some("https://hold.example/x"), true), expected);
        }
    }
}
