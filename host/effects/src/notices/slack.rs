//! A notice as a Slack message: `{ text, blocks }`.
//!
//! All texts of blocks are `plain_text`: nothing that a node wrote becomes a link, a mention or an emoji.

use holdpoint_graph::notice::Notice;
use serde_json::{Value, json};

use super::words::{cut, fact_lines, headline, payload_text};

/// Longest text of a section.
const SECTION_CHARACTERS_MAX: usize = 3000;

/// The message: a section, what is asked with `payload`, and a button that opens the page.
pub(super) fn message(notice: &Notice, url: Option<&str>, payload: bool) -> Value {
    let headline = headline(notice);
    let mut blocks = vec![section(&format!("{headline}\n{}", fact_lines(notice)))];
    if payload {
        blocks.push(section(&payload_text(notice)));
    }
    if let Some(url) = url {
        let button = json!({ "type": "button", "text": plain("Open"), "url": url, "action_id": "holdpoint_open" });
        blocks.push(json!({ "type": "actions", "elements": [button] }));
    }
    // Shown in notifications. Names of nodes and graphs have no character that means anything there.
    json!({ "text": headline, "blocks": blocks })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": plain(&cut(text, SECTION_CHARACTERS_MAX)) })
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::notice::NoticeKind;

    use super::super::words::sample;
    use super::*;

    #[test]
    fn thin_and_full() {
        let notice = sample(NoticeKind::Requested);
        let text = "Approval requested: gate of refund\nThread: t-1\nFor: user:ana, group:finance\nDeadline: 2023-11-15T22:13:20.5Z";
        let section =
            |text: &str| json!({ "type": "section", "text": { "type": "plain_text", "text": text, "emoji": false } });
        let button = json!({
            "type": "button",
            "text": { "type": "plain_text", "text": "Open", "emoji": false },
            "url": "https://hold.example/x",
            "action_id": "holdpoint_open",
        });
        let thin = json!({
            "text": "Approval requested: gate of refund",
            "blocks": [section(text), { "type": "actions", "elements": [button] }],
        });
        assert_eq!(message(&notice, Some("https://hold.example/x"), false), thin);
        let asked = "{\n  \"action\": \"pay <@U1> & \\u{202e}run\",\n  \"amount\": 500\n}";
        assert_eq!(message(&notice, None, true)["blocks"], json!([section(text), section(asked)]));
    }

    #[test]
    fn what_is_asked_is_cut_to_what_a_section_takes() {
        let notice = Notice { payload: json!("é".repeat(5000)), ..sample(NoticeKind::Requested) };
        let text = message(&notice, None, true)["blocks"][1]["text"]["text"].as_str().map(|text| text.chars().count());
        assert_eq!(text, Some(SECTION_CHARACTERS_MAX));
    }
}
