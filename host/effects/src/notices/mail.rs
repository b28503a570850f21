//! A notice as an e-mail: `{ to, subject, text }`.

use holdpoint_graph::notice::Notice;
use serde_json::{Value, json};

use super::words::{fact_lines, headline, payload_text};

/// The e-mail. Without `payload` it says where to look, not what is asked: mail is read on many screens and kept in many places.
pub(super) fn mail(notice: &Notice, to: &[String], url: Option<&str>, payload: bool) -> Value {
    let mut parts = vec![format!("{}.", headline(notice)), fact_lines(notice)];
    if payload {
        parts.push(format!("What is asked:\n{}", payload_text(notice)));
    }
    parts.push(match url {
        Some(url) => format!("See it, and answer, at\n{url}"),
        None => format!("Its id is {}.", notice.question),
    });
    json!({ "to": to, "subject": headline(notice), "text": format!("{}\n", parts.join("\n\n")) })
}

#[cfg(test)]
mod tests {
    use holdpoint_graph::notice::NoticeKind;

    use super::super::words::sample;
    use super::*;

    #[test]
    fn thin_and_full() {
        let notice = sample(NoticeKind::Requested);
        let to = ["ana@example.com".to_owned()];
        let head = "Approval requested: gate of refund.\n\n\
                    Thread: t-1\nFor: user:ana, group:finance\nDeadline: 2023-11-15T22:13:20.5Z\n\n";
        let text = format!("{head}See it, and answer, at\nhttps://hold.example/x\n");
        let expected = json!({ "to": to, "subject": "Approval requested: gate of refund", "text": text });
        assert_eq!(mail(&notice, &to, Some("https://hold.example/x"), false), expected);
        let full = mail(&notice, &to, None, true);
        let asked = "What is asked:\n{\n  \"action\": \"pay <@U1> & \\u{202e}run\",\n  \"amount\": 500\n}\n\n";
        assert_eq!(full["text"], format!("{head}{asked}Its id is 0123456789abcdef0123456789abcdef.\n"));
    }

    #[test]
    fn an_end_says_what_became_of_it() {
        let text = mail(&sample(NoticeKind::Decided), &[], None, false)["text"].clone();
        assert!(
            text.as_str().is_some_and(|text| text.contains("\n\nOutcome: accept by user:ana\nThread: t-1\n")),
            "{text}"
        );
    }
}
