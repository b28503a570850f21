//! Canonical JSON and digests.
//!
//! Canonical JSON is RFC 8785 with one deliberate difference: integers beyond ±2^53 keep all their digits. The RFC writes every number as an IEEE
//! double, which would give two different amounts of money the same digest.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::ids::InvalidId;

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The digest of bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(&Sha256::digest(bytes))))
    }

    /// The digest of a JSON value's canonical form: equal values have equal digests, however they were written.
    pub fn of_json(value: &Value) -> Self {
        Self::of_bytes(canonical_json(value).as_bytes())
    }

    /// Checks the text's form.
    ///
    /// # Errors
    /// [`InvalidId`] when the text is not `sha256:` and 64 lower-case hex digits.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        let well_formed = text.strip_prefix("sha256:").is_some_and(|digits| {
            digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        if well_formed {
            Ok(Self(text))
        } else {
            Err(InvalidId {
                kind: "digest",
                text: text.chars().take(80).collect(),
                reason: "expected `sha256:` and 64 lower-case hex digits",
            })
        }
    }

    /// The text form, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hex digits alone, for file names.
    pub fn hex_digits(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Writes a value in canonical form: no white space, members sorted by their UTF-16 code units, numbers as ECMAScript writes them.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_by(|left, right| left.encode_utf16().cmp(right.encode_utf16()));
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write_canonical(&members[name], text);
            }
            text.push('}');
        }
        Value::String(string) => write_string(string, text),
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && !number.is_u64() => {
                text.push_str(ryu_js::Buffer::new().format_finite(float));
            }
            _ => text.push_str(&number.to_string()),
        },
        Value::Bool(_) | Value::Null => text.push_str(&value.to_string()),
    }
}

/// serde_json escapes exactly what RFC 8785 section 3.2.2.2 asks for: `"`, `\`, and control characters, the short forms where they exist.
fn write_string(string: &str, text: &mut String) {
    text.push_str(&Value::from(string).to_string());
}

/// Lower-case hex digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(written: &str, canonical: &str) {
        let value: Value = serde_json::from_str(written).expect("valid JSON");
        assert_eq!(canonical_json(&value), canonical);
    }

    #[test]
    fn follows_rfc_8785() {
        check(r#"{ "b": 1, "a": [ true, null ] }"#, r#"{"a":[true,null],"b":1}"#);
        // RFC 8785 section 3.2.2 and 3.2.3.
        check(
            r#"[333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001]"#,
            "[333333333.3333333,1e+30,4.5,0.002,1e-27]",
        );
        check(r#""€$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#, r#""€$\u000f\nA'B\"\\\\\"/""#);
        check(
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        );
        check("[1.0, -0.0, 100.0]", "[1,0,100]");
    }

    #[test]
    fn large_amounts_keep_their_digits() {
        let one = json!({"amount": 9_007_199_254_740_993_u64});
        let other = json!({"amount": 9_007_199_254_740_992_u64});
        assert_ne!(Digest::of_json(&one), Digest::of_json(&other));
    }

    #[test]
    fn text_form_is_checked() {
        let digest = Digest::of_bytes(b"");
        assert_eq!(digest.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::parse(digest.as_str()), Ok(digest));
        assert!(Digest::parse("sha256:12").is_err());
        assert!(Digest::parse("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").is_err());
    }
}
