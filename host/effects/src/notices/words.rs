//! A notice in words, for people. Texts come from graphs, nodes and callers: what would hide or turn around what follows is escaped.

use holdpoint_graph::digest::canonical_json;
use holdpoint_graph::notice::{AddedBy, Notice, NoticeKind};

/// A moment in ISO 8601, in UTC; none beyond the year 9999.
pub(super) fn moment(at_ms: u64) -> Option<String> {
    let at_ms = i64::try_from(at_ms).ok()?;
    jiff::Timestamp::from_millisecond(at_ms).ok().map(|moment| moment.to_string())
}

/// What happened, in one line.
pub(super) fn headline(notice: &Notice) -> String {
    let what = match notice.kind {
        NoticeKind::Requested => "Approval requested",
        NoticeKind::Reminded => "Approval still awaited",
        NoticeKind::Escalated => "Approval escalated",
        NoticeKind::Decided => "Approval decided",
        NoticeKind::Expired => "Approval expired",
        NoticeKind::Cancelled => "Approval no longer needed",
    };
    format!("{what}: {} of {}", notice.node, notice.graph)
}

/// What is known of it, as lines of a label and a text.
pub(super) fn facts(notice: &Notice) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some((verdict, by)) = &notice.outcome {
        let alone = if notice.break_glass { ", alone (break-glass)" } else { "" };
        facts.push(("Outcome", format!("{} by {}{alone}", visible(verdict), visible(by))));
    }
    if let Some(AddedBy { by, reason, until_ms }) = &notice.added {
        let until = until_ms.and_then(moment).map(|until| format!(", until {until}")).unwrap_or_default();
        let reason = reason.as_deref().map(|reason| format!(": {}", visible(reason))).unwrap_or_default();
        facts.push(("Added by", format!("{}{until}{reason}", visible(by))));
    }
    facts.push(("Thread", visible(notice.thread.as_str())));
    if !notice.to.is_empty() {
        facts.push(("For", notice.to.iter().map(|word| visible(word)).collect::<Vec<_>>().join(", ")));
    }
    if let Some(deadline) = notice.deadline_at_ms.and_then(moment) {
        facts.push(("Deadline", deadline));
    }
    facts
}

/// The facts, one a line.
pub(super) fn fact_lines(notice: &Notice) -> String {
    facts(notice).iter().map(|(label, text)| format!("{label}: {text}")).collect::<Vec<_>>().join("\n")
}

/// What is asked, as text.
pub(super) fn payload_text(notice: &Notice) -> String {
    let text = serde_json::to_string_pretty(&notice.payload).unwrap_or_else(|_| canonical_json(&notice.payload));
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// The text with characters escaped that act on what shows it, or cannot be seen.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let hidden = character.is_control()
            || matches!(
                character,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
            );
        if hidden {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The first characters of a text, marked where it was cut.
pub(super) fn cut(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(characters_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
pub(super) fn sample(kind: NoticeKind) -> Notice {
    use holdpoint_graph::ids::{ConnectorName, Epoch, GraphName, NodeName, QuestionId, TaskId, Tenant, ThreadId};

    let thread = ThreadId::parse("t-1").expect("valid");
    Notice {
        kind,
        number: 0,
        connectors: vec![ConnectorName::parse("hooks").expect("valid")],
        to: vec!["user:ana".into(), "group:finance".into()],
        tenant: Tenant::default(),
        lineage: thread.clone(),
        thread,
        graph: GraphName::parse("refund").expect("valid"),
        epoch: Epoch(1),
        task: TaskId::parse("00000000-0000-8000-8000-000000000000").expect("valid"),
        node: NodeName::parse("gate").expect("valid"),
        question: QuestionId::parse("0123456789abcdef0123456789abcdef").expect("valid"),
        payload: serde_json::json!({ "action": "pay <@U1> & \u{202e}run", "amount": 500 }),
        deadline_at_ms: Some(1_700_086_400_500),
        break_glass: false,
        added: None,
        outcome: (kind == NoticeKind::Decided).then(|| ("accept".to_owned(), "user:ana".to_owned())),
        at_ms: 1_700_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_answer_since_is_told_by_whom_and_why() {
        let added = AddedBy { by: "user:ana".into(), reason: Some("away\u{202e}".into()), until_ms: None };
        let notice = Notice { added: Some(added), ..sample(NoticeKind::Requested) };
        assert!(
            fact_lines(&notice).starts_with("Added by: user:ana: away\\u{202e}\nThread: "),
            "{}",
            fact_lines(&notice)
        );
        let notice = Notice { break_glass: true, ..sample(NoticeKind::Decided) };
        assert!(fact_lines(&notice).starts_with("Outcome: accept by user:ana, alone (break-glass)\n"));
    }

    #[test]
    fn texts_are_cut_and_cannot_hide_anything() {
        assert_eq!(visible("a\u{202e}b\r\nc\u{200b}é"), "a\\u{202e}b\\u{d}\\u{a}c\\u{200b}é");
        for (text, expected) in [("", ""), ("äöü", "äöü"), ("äöüß", "äö…")] {
            assert_eq!(cut(text, 3), expected);
        }
        let payload = payload_text(&sample(NoticeKind::Requested));
        assert_eq!(payload, "{\n  \"action\": \"pay <@U1> & \\u{202e}run\",\n  \"amount\": 500\n}");
    }
}
