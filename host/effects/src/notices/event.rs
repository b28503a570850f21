//! A notice as an event in JSON, as Standard Webhooks recommends: `{ type, timestamp, data }`.

use holdpoint_graph::notice::{AddedBy, Notice};
use serde_json::{Value, json};

use super::words::moment;

/// The event. Thin: ids, whom it is for, until when, and the link; `payload` adds what is asked. An end has `outcome`, `{ verdict, by }`, with
/// `break_glass: true` where it is one administrator's word; who may answer since it was asked is told by whom, in `added`.
pub(super) fn event(notice: &Notice, url: Option<&str>, payload: bool) -> Value {
    let mut event = json!({
        "type": notice.kind.name(),
        "timestamp": moment(notice.at_ms),
        "data": {
            "approval_id": notice.question.as_str(),
            "thread_id": notice.thread.as_str(),
            "graph": notice.graph.as_str(),
            "node": notice.node.as_str(),
            "to": notice.to,
            "deadline": notice.deadline_at_ms.and_then(moment),
            "url": url,
        },
    });
    if let Some((verdict, by)) = &notice.outcome {
        event["data"]["outcome"] = json!({ "verdict": verdict, "by": by });
        if notice.break_glass {
            event["data"]["outcome"]["break_glass"] = true.into();
        }
    }
    if let Some(AddedBy { by, reason, until_ms }) = &notice.added {
        event["data"]["added"] = json!({ "by": by, "reason": reason, "until": until_ms.and_then(moment) });
    }
    if payload {
        event["data"]["payload"] = notice.payload.clone();
    }
    event
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::notice::NoticeKind;

    use super::super::words::sample;
    use super::*;

    #[test]
    fn thin_and_full() {
        let notice = sample(NoticeKind::Requested);
        let thin = json!({
            "type": "approval.requested",
            "timestamp": "2023-11-14T22:13:20Z",
            "data": {
                "approval_id": "0123456789abcdef0123456789abcdef",
                "thread_id": "t-1",
                "graph": "refund",
                "node": "gate",
                "to": ["user:ana", "group:finance"],
                "deadline": "2023-11-15T22:13:20.5Z",
                "url": "https://hold.example/inbox/approvals/0123456789abcdef0123456789abcdef",
            },
        });
        let url = thin["data"]["url"].as_str();
        assert_eq!(event(&notice, url, false), thin);
        let mut full = thin.clone();
        full["data"]["payload"] = notice.payload.clone();
        assert_eq!(event(&notice, url, true), full);
        let without = Notice { deadline_at_ms: None, to: Vec::new(), ..notice };
        let mut bare = thin.clone();
        (bare["data"]["deadline"], bare["data"]["url"], bare["data"]["to"]) = (Value::Null, Value::Null, json!([]));
        assert_eq!(event(&without, None, false), bare);
    }

    #[test]
    fn every_kind_and_the_outcome() {
        for (kind, name) in NoticeKind::NAMES {
            assert_eq!(event(&sample(kind), None, false)["type"], name);
        }
        let decided = event(&sample(NoticeKind::Decided), None, false);
        assert_eq!(decided["data"]["outcome"], json!({ "verdict": "accept", "by": "user:ana" }));
        let alone = event(&Notice { break_glass: true, ..sample(NoticeKind::Decided) }, None, false);
        assert_eq!(alone["data"]["outcome"], json!({ "verdict": "accept", "by": "user:ana", "break_glass": true }));
        let added = AddedBy { by: "user:ana".into(), reason: Some("away".into()), until_ms: Some(1_700_086_400_500) };
        let handed_on = event(&Notice { added: Some(added), ..sample(NoticeKind::Requested) }, None, false);
        let expected = json!({ "by": "user:ana", "reason": "away", "until": "2023-11-15T22:13:20.5Z" });
        assert_eq!(handed_on["data"]["added"], expected);
    }

    #[test]
    fn a_moment_that_no_calendar_has_is_left_out() {
        let notice = Notice { deadline_at_ms: Some(u64::MAX), ..sample(NoticeKind::Requested) };
        assert_eq!(event(&notice, None, false)["data"]["deadline"], Value::Null);
    }
}
