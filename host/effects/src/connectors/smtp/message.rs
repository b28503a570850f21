//! A guest's e-mail, checked: `{ to, subject, text, html?, reply_to? }`.

use std::time::{Duration, SystemTime};

use holdpoint_graph::digest::Digest;
use holdpoint_graph::operation::OperationKey;
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use serde_json::{Map, Value};

use crate::connectors::Rejection;

/// Most recipients of one e-mail.
pub(crate) const RECIPIENTS_MAX: usize = 50;
/// Longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 900;

/// Whom nodes may write to: addresses, `*@domain`, or `*` for anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recipients(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Anybody,
    /// In lower case.
    Domain(String),
    /// In lower case.
    Address(String),
}

impl Recipients {
    /// Adds a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(&mut self, text: &str) -> Result<(), &'static str> {
        let lower = text.to_ascii_lowercase();
        let pattern = match lower.strip_prefix("*@") {
            _ if text == "*" => Pattern::Anybody,
            Some(domain) if !domain.contains('*') && Address::new("a", domain).is_ok() => {
                Pattern::Domain(domain.to_owned())
            }
            None if !lower.contains('*') && lower.parse::<Address>().is_ok() => Pattern::Address(lower),
            _ => return Err("it is neither an address nor `*@` and a domain nor `*`"),
        };
        self.0.push(pattern);
        Ok(())
    }

    fn allows(&self, address: &Address) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Anybody => true,
            Pattern::Domain(domain) => address.domain().eq_ignore_ascii_case(domain),
            Pattern::Address(allowed) => address.to_string().eq_ignore_ascii_case(allowed),
        })
    }
}

/// An e-mail that may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) to: Vec<Address>,
    subject: String,
    text: String,
    html: Option<String>,
    reply_to: Option<Address>,
}

impl Mail {
    /// Checks a request against what is possible and what is allowed.
    ///
    /// # Errors
    /// What the guest is told.
    pub(super) fn read(request: &Value, allowed: &Recipients) -> Result<Self, Rejection> {
        let members = request.as_object().ok_or_else(|| invalid("the request is not an object"))?;
        let known = ["to", "subject", "text", "html", "reply_to"];
        if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
            let name: String = unknown.chars().take(80).collect();
            return Err(invalid(format!("the request has an unknown member {name:?}")));
        }
        let list = members.get("to").and_then(Value::as_array).ok_or_else(|| invalid("`to` is not a list"))?;
        if list.is_empty() || list.len() > RECIPIENTS_MAX {
            return Err(invalid(format!("`to` has not from 1 to {RECIPIENTS_MAX} addresses")));
        }
        let mut to: Vec<Address> = Vec::new();
        for item in list {
            let address = address(item, "to")?;
            if !allowed.allows(&address) {
                return Err(Rejection::Denied(format!("the connector may not write to {address}")));
            }
            if !to.contains(&address) {
                to.push(address);
            }
        }
        let subject = text(members, "subject")?.ok_or_else(|| invalid("`subject` is missing"))?;
        if subject.chars().any(char::is_control) {
            return Err(invalid("`subject` has a line break or another control character"));
        }
        if subject.len() > SUBJECT_BYTES_MAX {
            return Err(invalid(format!("`subject` has more than {SUBJECT_BYTES_MAX} bytes")));
        }
        let body = text(members, "text")?.ok_or_else(|| invalid("`text` is missing"))?;
        let reply_to = members.get("reply_to").filter(|value| !value.is_null());
        let reply_to = reply_to.map(|value| address(value, "reply_to")).transpose()?;
        Ok(Self { to, subject, text: body, html: text(members, "html")?, reply_to })
    }

    /// The e-mail as it is sent.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn message(
        &self,
        from: &Mailbox,
        message_id: &str,
        at_ms: u64,
    ) -> Result<Vec<u8>, lettre::error::Error> {
        let mut builder = Message::builder()
            .from(from.clone())
            .subject(self.subject.clone())
            .message_id(Some(message_id.to_owned()))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms));
        for address in &self.to {
            builder = builder.to(Mailbox::new(None, address.clone()));
        }
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(Mailbox::new(None, reply_to.clone()));
        }
        let message = match &self.html {
            Some(html) => builder.multipart(MultiPart::alternative_plain_html(self.text.clone(), html.clone()))?,
            None => builder.singlepart(lettre::message::SinglePart::plain(self.text.clone()))?,
        };
        Ok(message.formatted())
    }
}

/// The Message-ID of an operation: the same however often it is sent, and another one for every other operation.
pub(super) fn message_id(key: &OperationKey, from: &Mailbox) -> String {
    let parts = Value::from(vec![key.scope.to_text(), key.connector.to_string(), key.id.to_string()]);
    format!("<{}@{}>", Digest::of_json(&parts).hex_digits(), from.email.domain())
}

fn address(value: &Value, name: &str) -> Result<Address, Rejection> {
    value
        .as_str()
        .and_then(parse_address)
        .ok_or_else(|| invalid(format!("`{name}` has something that is no address in ASCII")))
}

/// ASCII only: the name of a domain has such a form, and few servers take other names of people.
fn parse_address(text: &str) -> Option<Address> {
    let plain = text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ');
    text.parse().ok().filter(|_| plain && text.len() <= 254)
}

/// Whether a text of the configuration is the address of somebody.
pub(crate) fn is_address(text: &str) -> bool {
    parse_address(text).is_some() && !text.contains('*')
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Rejection> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(format!("`{name}` is not text"))),
    }
}

fn invalid(reason: impl Into<String>) -> Rejection {
    Rejection::Invalid(reason.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowed() -> Recipients {
        let mut recipients = Recipients::default();
        for pattern in ["*@Example.com", "ops@other.example"] {
            recipients.add(pattern).expect(pattern);
        }
        recipients
    }

    #[test]
    fn only_whom_the_operator_allows() {
        let read = |to: &str| Mail::read(&json!({ "to": [to], "subject": "s", "text": "t" }), &allowed());
        for to in ["ana@example.com", "ANA@EXAMPLE.COM", "Ops@other.example"] {
            assert!(read(to).is_ok(), "{to}");
        }
        for to in ["ana@sub.example.com", "ana@example.com.evil.example", "ana@other.example", "a@evil.example"] {
            assert!(matches!(read(to), Err(Rejection::Denied(_))), "{to}");
        }
        for to in [
            "",
            "ana",
            "ana@example.com\r\nBcc: x@evil.example",
            "ana@example.com,x@evil.example",
            "Ana <ana@example.com>",
            "ana @example.com",
            "änä@example.com",
            "\"a b\"@example.com",
            "@example.com",
        ] {
            assert!(matches!(read(to), Err(Rejection::Invalid(_))), "{to:?}");
        }
        let mut recipients = Recipients::default();
        for pattern in ["", "*@", "*@*", "a*@example.com", "*@*.example.com", "example.com"] {
            assert!(recipients.add(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn what_is_no_plain_mail_is_refused() {
        let good = json!({ "to": ["ana@example.com"], "subject": "s", "text": "t" });
        let with = |name: &str, value: Value| {
            let mut request = good.clone();
            request[name] = value;
            request
        };
        for request in [
            json!(null),
            with("to", json!("ana@example.com")),
            with("to", json!([])),
            with("to", json!(vec!["ana@example.com"; 51])),
            with("subject", json!(null)),
            with("subject", json!("a\r\nBcc: x@evil.example")),
            with("subject", json!("a\u{0}")),
            with("subject", json!("x".repeat(901))),
            with("text", json!(1)),
            with("html", json!([])),
            with("reply_to", json!("a@b\r\nX: y")),
            with("bcc", json!(["x@evil.example"])),
            with("headers", json!({})),
        ] {
            assert!(matches!(Mail::read(&request, &allowed()), Err(Rejection::Invalid(_))), "{request}");
        }
        assert!(Mail::read(&with("html", json!("<b>t</b>")), &allowed()).is_ok());
    }

    #[test]
    fn a_mail_is_written_without_what_could_be_another_header() {
        let request = json!({
            "to": ["ana@example.com"], "subject": "Grüße: =?utf-8?q?x?=", "text": "line\n.\nBcc: x\n", "reply_to": "ops@other.example",
        });
        let mail = Mail::read(&request, &allowed()).expect("valid");
        let from: Mailbox = "Holdpoint <hold@example.com>".parse().expect("valid");
        let bytes = mail.message(&from, "<id@example.com>", 1_700_000_000_000).expect("written");
        let text = String::from_utf8(bytes).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        for line in [
            "From: Holdpoint <hold@example.com>",
            "To: ana@example.com",
            "Reply-To: ops@other.example",
            "Message-ID: <id@example.com>",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000",
        ] {
            assert!(head.lines().any(|found| found == line), "{line} in {head}");
        }
        assert!(!head.contains("Bcc") && body.contains("Bcc: x"), "{text}");
    }
}
