//! JSON at the boundary: bounded in size and depth in both directions.

use holdpoint_graph::nodes::NodeOutcome;
use serde_json::Value;

use crate::call::state::{Exceeded, malformed};

/// Nesting that serde_json reads. Deeper documents serve no honest purpose and cost stack wherever they are walked.
const DEPTH_MAX: usize = 127;

/// Reads what a guest handed over. `what` names it in messages; `code` is that of the failure when it is no JSON.
pub(crate) fn read(text: &str, what: &str, code: &str, bytes_max: usize) -> Result<Value, NodeOutcome> {
    match parse(text, what, bytes_max)? {
        Ok(value) => Ok(value),
        Err(reason) => Err(malformed(code, format!("{what} is not valid JSON: {reason}"))),
    }
}

/// As [`read`], where invalid JSON is answered rather than ended with: the inner error is the parser's.
pub(crate) fn parse(text: &str, what: &str, bytes_max: usize) -> Result<Result<Value, String>, Exceeded> {
    check_size(text.len(), what, bytes_max)?;
    match serde_json::from_str(text) {
        Ok(value) => Ok(Ok(value)),
        Err(error) => {
            // serde_json has no public kind for "too deep".
            let depth = depth(text);
            if depth > DEPTH_MAX {
                let message = format!("{what} nests {depth} levels deep; the limit is {DEPTH_MAX}");
                return Err(Exceeded { limit: "json-depth", message });
            }
            Ok(Err(error.to_string()))
        }
    }
}

/// Writes what a guest gets.
pub(crate) fn write(value: &Value, what: &str, bytes_max: usize) -> Result<String, Exceeded> {
    let text = value.to_string();
    check_size(text.len(), what, bytes_max)?;
    Ok(text)
}

pub(crate) fn check_size(bytes: usize, what: &str, bytes_max: usize) -> Result<(), Exceeded> {
    if bytes > bytes_max {
        return Err(Exceeded {
            limit: "value-size",
            message: format!("{what} has {bytes} bytes; the limit is {bytes_max}"),
        });
    }
    Ok(())
}

/// The deepest nesting of arrays and objects, as far as the text is JSON.
fn depth(text: &str) -> usize {
    let (mut deepest, mut open, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match parse(text, "the payload", 1000) {
            Ok(Ok(value)) => format!("value {value}"),
            Ok(Err(reason)) => format!("invalid {reason}"),
            Err(exceeded) => format!("{}: {}", exceeded.limit, exceeded.message),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn bounded_in_size_and_depth() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        check(r#"{"a": 1}"#, r#"value {"a":1}"#);
        check(&nested(DEPTH_MAX), &format!("value {}", nested(DEPTH_MAX)));
        check(&nested(DEPTH_MAX + 1), "json-depth: the payload nests 128 levels deep; the limit is 127");
        check(&"[".repeat(500), "json-depth: the payload nests 500 levels deep; the limit is 127");
        check(&format!("\"{}", "[".repeat(500)), "invalid EOF while parsing a string at line 1 column 501");
        check(&"x".repeat(1001), "value-size: the payload has 1001 bytes; the limit is 1000");
        check("", "invalid EOF while parsing a value at line 1 column 0");
        check("1e999", "invalid number out of range at line 1 column 5");
    }

    #[test]
    fn values_for_the_guest_are_bounded_too() {
        let value = Value::from("x".repeat(10));
        assert_eq!(write(&value, "the answer", 12).expect("fits").len(), 12);
        assert_eq!(write(&value, "the answer", 11).expect_err("too large").limit, "value-size");
    }
}
