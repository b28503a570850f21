//! Values that are never shown, and their removal from what comes back.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// What stands where a secret stood.
pub const REDACTED: &str = "[secret]";

/// A value that shows itself only to [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the moment of use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

/// Removes secrets from answers and messages: the values as they are, and as a URL and as a JSON text would write them. A receiver that returns a
/// secret in yet another form (hashed, encrypted, cut in two) gives it away all the same.
#[derive(Clone, Default)]
pub struct Scrubber {
    /// Longest first, so that a secret that contains another goes as a whole.
    forms: Vec<String>,
}

impl Scrubber {
    /// Values shorter than this are left alone: removing every `1` or `eu` would change answers and protect nothing.
    const BYTES_MIN: usize = 4;

    /// A scrubber of these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms: Vec<String> = secrets
            .into_iter()
            .map(|secret| secret.expose().trim())
            .filter(|value| value.len() >= Self::BYTES_MIN)
            .flat_map(|value| {
                let json = Value::from(value).to_string();
                [
                    value.to_owned(),
                    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string(),
                    utf8_percent_encode(value, UNRESERVED_KEPT).to_string(),
                    json[1..json.len() - 1].to_owned(),
                ]
            })
            .collect();
        forms.sort_by(|left, right| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        forms.dedup();
        Self { forms }
    }

    /// The text without secrets.
    pub fn text(&self, text: String) -> String {
        self.forms.iter().fold(text, |text, form| {
            if text.contains(form.as_str()) { text.replace(form.as_str(), REDACTED) } else { text }
        })
    }

    /// The value without secrets: in texts, in names of members, and where a number is one.
    pub fn value(&self, value: Value) -> Value {
        if self.forms.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Number(number) if self.forms.contains(&number.to_string()) => REDACTED.into(),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(name, member)| (self.text(name), self.value(member))).collect()
            }
            other => other,
        }
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Scrubber({} forms)", self.forms.len())
    }
}

/// What most programs leave unescaped in a URL.
const UNRESERVED_KEPT: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_removed_in_every_common_form() {
        let secrets = [
            Secret::new("k-e/y \"1\"\n"),
            Secret::new("12345678"),
            Secret::new("eu"),
            Secret::new("k-e/y \"1\"-longer"),
        ];
        let scrubber = Scrubber::new(&secrets);
        let table = [
            (json!("a k-e/y \"1\" b"), json!("a [secret] b")),
            (json!("?key=k%2De%2Fy%20%221%22"), json!("?key=[secret]")),
            (json!("?key=k-e%2Fy%20%221%22"), json!("?key=[secret]")),
            (json!("{\"key\":\"k-e/y \\\"1\\\"\"}"), json!("{\"key\":\"[secret]\"}")),
            (json!({"k-e/y \"1\"": [{"n": 12_345_678}]}), json!({"[secret]": [{"n": "[secret]"}]})),
            (json!("k-e/y \"1\"-longer"), json!("[secret]")),
            (
                json!({"region": "eu", "n": 123_456_789, "ok": true}),
                json!({"region": "eu", "n": 123_456_789, "ok": true}),
            ),
        ];
        for (value, expected) in table {
            assert_eq!(scrubber.value(value), expected);
        }
        assert_eq!(format!("{secrets:?} {scrubber:?}"), "[[secret], [secret], [secret], [secret]] Scrubber(9 forms)");
    }
}
