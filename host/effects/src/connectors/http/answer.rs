//! What a response means: `{ status, headers, body }`, or why not.

use std::collections::BTreeMap;

use holdpoint_graph::nodes::Failure;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::attempt::{Attempt, Reply, failure};
use crate::configuration::secret::Scrubber;

/// Longest pause that a receiver can ask for; a longer one is cut to it.
const RETRY_AFTER_MAX_MS: u64 = 24 * 3_600_000;

/// Headers that no node needs: about the connection, or a session's secret.
const DROPPED: [&str; 8] =
    ["connection", "keep-alive", "proxy-authenticate", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade"];

/// What arrived of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// All of it.
    Complete(Vec<u8>),
    /// More than this limit.
    TooLarge(usize),
    /// Some of it.
    BrokenOff(String),
}

/// A response as it arrived, and what reading it needs.
pub(in crate::connectors) struct Exchange<'s> {
    pub(super) method: Method,
    pub(in crate::connectors) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// The host's time.
    pub(super) at_ms: u64,
    /// Largest answer, as JSON.
    pub(super) bytes_max: usize,
    pub(super) scrubber: &'s Scrubber,
}

impl Exchange<'_> {
    /// What it means for the operation. Pure.
    pub(in crate::connectors) fn attempt(&self) -> Attempt {
        let status = self.status;
        if status.is_success() {
            return self.success();
        }
        let failure = self.failure();
        Attempt::Landed(match status.as_u16() {
            425 | 429 => Reply::Later(failure),
            // With a time to come again, it is the conflict with a request of the same key that is still in progress.
            409 if failure.retry_after_ms.is_some() => Reply::Later(failure),
            408 | 500..=599 => Reply::Unclear(failure),
            300..=499 => Reply::Rejected(failure),
            _ => Reply::Unclear(failure),
        })
    }

    fn success(&self) -> Attempt {
        let bytes = match &self.body {
            Body::Complete(bytes) => bytes,
            Body::TooLarge(limit) => return Attempt::LandedUnusable(format!("its answer has more than {limit} bytes")),
            // It may come whole if it is asked for again, where that is safe.
            Body::BrokenOff(reason) => return Attempt::Unknown(self.scrubber.text(reason.clone())),
        };
        let body = match self.parse(bytes) {
            Ok(body) => body,
            Err(reason) => return Attempt::LandedUnusable(reason),
        };
        let answer = json!({ "status": self.status.as_u16(), "headers": headers(&self.headers), "body": body });
        let answer = self.scrubber.value(answer);
        // Text can be longer as JSON than it was: a node could never read it.
        if answer.to_string().len() > self.bytes_max {
            return Attempt::LandedUnusable(format!("its answer has more than {} bytes", self.bytes_max));
        }
        Attempt::Landed(Reply::Done(answer))
    }

    /// JSON where the response says so, else text; null where there is none.
    fn parse(&self, bytes: &[u8]) -> Result<Value, String> {
        let without_body = self.method == Method::HEAD || matches!(self.status.as_u16(), 204 | 205);
        if without_body {
            return Ok(Value::Null);
        }
        if content_type(&self.headers).is_some_and(is_json) {
            return serde_json::from_slice(bytes).map_err(|error| {
                format!("its answer is not the JSON that it says to be (at byte {})", error.column())
            });
        }
        match std::str::from_utf8(bytes) {
            Ok("") => Ok(Value::Null),
            Ok(text) => Ok(text.into()),
            Err(_) => Err("its answer is neither JSON nor UTF-8 text".into()),
        }
    }

    /// A failure with all that arrived: the status says what happened, whatever the body is.
    fn failure(&self) -> Failure {
        let status = self.status;
        let body = match &self.body {
            Body::Complete(bytes) if bytes.is_empty() => Value::Null,
            Body::Complete(bytes) => {
                serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
            }
            Body::TooLarge(_) | Body::BrokenOff(_) => Value::Null,
        };
        let details = json!({ "status": status.as_u16(), "headers": headers(&self.headers), "body": body });
        let mut details = self.scrubber.value(details);
        if details.to_string().len() > self.bytes_max {
            details = json!({ "status": status.as_u16() });
        }
        Failure {
            retry_after_ms: retry_after_ms(&self.headers, self.at_ms),
            details: Some(details),
            ..failure(format!("http-{}", status.as_u16()), format!("the receiver answered {status}"))
        }
    }

    /// The headers without secrets, by name in lower case.
    pub(super) fn scrubbed_headers(&self) -> Value {
        self.scrubber.value(headers(&self.headers))
    }

    /// The body without secrets, where all of it came and can be read.
    pub(super) fn scrubbed_body(&self) -> Option<Value> {
        let Body::Complete(bytes) = &self.body else { return None };
        self.parse(bytes).ok().map(|body| self.scrubber.value(body))
    }
}

fn headers(headers: &HeaderMap) -> Value {
    let mut joined: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        if DROPPED.contains(&name.as_str()) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        joined
            .entry(name.as_str())
            .and_modify(|text| {
                text.push_str(", ");
                text.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    json!(joined)
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(reqwest::header::CONTENT_TYPE)?.to_str().ok()
}

/// Whether a content type is JSON: `application/json`, `text/json` or one with the suffix `+json`.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "application/json" | "text/json") || essence.ends_with("+json")
}

/// Seconds, or a date.
fn retry_after_ms(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause_ms = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1000),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?;
            u64::try_from(date.timestamp().as_millisecond()).ok()?.saturating_sub(now_ms)
        }
    };
    Some(pause_ms.min(RETRY_AFTER_MAX_MS))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::configuration::secret::Secret;

    fn check(status: u16, headers: &[(&str, &str)], body: Body) -> String {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).expect("valid"), HeaderValue::from_str(value).expect("valid"))
            })
            .collect();
        let status = StatusCode::from_u16(status).expect("valid");
        let scrubber = Scrubber::new(&[Secret::new("s3cret")]);
        let (method, at_ms) = (Method::POST, 784_111_776_000);
        match (Exchange { method, status, headers, body, at_ms, bytes_max: 500, scrubber: &scrubber }).attempt() {
            Attempt::Landed(Reply::Done(answer)) => format!("done {answer}"),
            Attempt::Landed(Reply::Rejected(failure)) => {
                format!("rejected {failure} {}", failure.details.as_ref().expect("details")["body"])
            }
            Attempt::Landed(Reply::Later(failure)) => format!("later {:?}", failure.retry_after_ms),
            Attempt::Landed(Reply::Unclear(failure)) => {
                format!("unclear {} {:?}", failure.code, failure.retry_after_ms)
            }
            Attempt::LandedUnusable(reason) => format!("unusable: {reason}"),
            Attempt::Unknown(reason) => format!("unknown: {reason}"),
            Attempt::NotSent(_) => "not sent".into(),
        }
    }

    #[test]
    fn what_a_response_means() {
        let whole = |text: &str| Body::Complete(text.into());
        let json_type = ("content-type", "application/json; charset=utf-8");
        let broken = || Body::BrokenOff("the connection closed".into());
        let table = [
            (
                check(201, &[json_type], whole("{\"id\":\"s3cret\"}")),
                "done {\"body\":{\"id\":\"[secret]\"},\"headers\":{\"content-type\":\"application/json; charset=utf-8\"},\"status\":201}",
            ),
            (
                check(200, &[("set-cookie", "a=b"), ("x", "1"), ("x", "s3cret")], whole("hi s3cret")),
                "done {\"body\":\"hi [secret]\",\"headers\":{\"x\":\"1, [secret]\"},\"status\":200}",
            ),
            (
                check(204, &[json_type], whole("")),
                "done {\"body\":null,\"headers\":{\"content-type\":\"application/json; charset=utf-8\"},\"status\":204}",
            ),
            (check(200, &[], whole("")), "done {\"body\":null,\"headers\":{},\"status\":200}"),
            (
                check(200, &[json_type], whole("{\"id\"")),
                "unusable: its answer is not the JSON that it says to be (at byte 5)",
            ),
            (
                check(200, &[json_type], whole("")),
                "unusable: its answer is not the JSON that it says to be (at byte 0)",
            ),
            (
                check(200, &[("content-type", "application/problem+json")], whole("<html>")),
                "unusable: its answer is not the JSON that it says to be (at byte 1)",
            ),
            (check(200, &[], Body::Complete(vec![0xff])), "unusable: its answer is neither JSON nor UTF-8 text"),
            (check(200, &[json_type], Body::TooLarge(10)), "unusable: its answer has more than 10 bytes"),
            (check(200, &[], whole(&"\"".repeat(300))), "unusable: its answer has more than 500 bytes"),
            (
                check(400, &[], whole(&"\"".repeat(300))),
                "rejected http-400: the receiver answered 400 Bad Request null",
            ),
            (check(200, &[json_type], broken()), "unknown: the connection closed"),
            (
                check(302, &[("location", "http://evil/")], whole("")),
                "rejected http-302: the receiver answered 302 Found null",
            ),
            (
                check(409, &[json_type], whole("{\"why\":\"s3cret\"}")),
                "rejected http-409: the receiver answered 409 Conflict {\"why\":\"[secret]\"}",
            ),
            (
                check(422, &[json_type], whole("garbage")),
                "rejected http-422: the receiver answered 422 Unprocessable Entity \"garbage\"",
            ),
            (check(404, &[], broken()), "rejected http-404: the receiver answered 404 Not Found null"),
            (check(409, &[("retry-after", "1")], whole("")), "later Some(1000)"),
            (check(429, &[("retry-after", "7")], whole("")), "later Some(7000)"),
            (check(429, &[("retry-after", "99999999999")], whole("")), "later Some(86400000)"),
            (check(425, &[("retry-after", "soon")], whole("")), "later None"),
            (check(503, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], whole("")), "unclear http-503 Some(1000)"),
            (check(408, &[], whole("")), "unclear http-408 None"),
            (check(500, &[], Body::TooLarge(10)), "unclear http-500 None"),
        ];
        for (found, expected) in table {
            assert_eq!(found, expected);
        }
    }
}
