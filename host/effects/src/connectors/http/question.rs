//! What the operator lets the host ask a receiver without changing anything there: what became of an operation, and what a request would do.

use holdpoint_graph::nodes::Failure;
use holdpoint_graph::state::Expression;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};

use crate::attempt::failure;
use crate::connectors::{LookUp, Rejection};

use super::answer::Exchange;
use super::path::{Path, is_path_character};
use super::request::{HttpRequest, url_at};
use super::transport::Outbound;

/// What the expressions see: the response's status, its headers by name in lower case, and its body where that can be read.
pub(super) const NAMES: &[&str] = &["status", "headers", "body"];

/// When an operation is not there, if the operator does not say.
pub(super) const NOT_THERE_DEFAULT: &str = "status == 404";

/// Where the key goes.
const PLACEHOLDER: &str = "{id}";

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How a receiver is asked what became of an operation.
///
/// An answer of status 408, 425, 429 or 5xx says nothing. Else `failed` is looked at first, then `happened`, then `not_there`; where an answer is
/// `not_there` and another one too, where none holds, or where `failed` cannot be evaluated, the outcome stays unknown.
///
/// The guest gets what it would have got at first: `result` if that has `status`, `headers` and `body`, else the lookup's status and headers with
/// `result` as the body.
#[derive(Debug, Clone)]
pub(super) struct LookupRule {
    pub(super) path: PathTemplate,
    pub(super) happened: Expression,
    pub(super) not_there: Expression,
    pub(super) failed: Option<Expression>,
    pub(super) result: Option<Expression>,
}

/// How a receiver is asked what a request would do: a path of the operator, with the query, headers and (unless it is a `GET`) the body of the
/// request, and without the idempotency header, so that nobody takes it for the request itself.
#[derive(Debug, Clone)]
pub(super) struct PreviewRule {
    pub(super) method: Method,
    pub(super) path: Path,
    pub(super) result: Option<Expression>,
}

/// A path, with a query if need be, that `{id}` stands in for an operation's key: percent-encoded, in a path as a part of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTemplate {
    path: String,
    query: Option<String>,
}

impl PathTemplate {
    /// Reads a template; `with_id`: it has to have its `{id}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str, with_id: bool) -> Result<Self, String> {
        if with_id && !text.contains(PLACEHOLDER) {
            return Err("it has no `{id}`, where the operation's key goes".into());
        }
        let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
        Path::parse(&path.replace(PLACEHOLDER, "id"))?;
        let plain = query.unwrap_or_default().replace(PLACEHOLDER, "id");
        if let Some(odd) = plain.chars().find(|odd| !is_path_character(*odd) && *odd != '?') {
            return Err(format!("the query has {odd:?}: percent-encode it"));
        }
        Ok(Self { path: path.to_owned(), query: query.map(str::to_owned) })
    }

    /// The URL for a key. One that a path cannot carry as one segment is refused, before anything is sent.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub(super) fn url(&self, base: &Url, id: &str) -> Result<Url, Rejection> {
        let encoded = utf8_percent_encode(id, ENCODED).to_string();
        let path = Path::parse(&self.path.replace(PLACEHOLDER, &encoded)).map_err(|reason| {
            Rejection::Invalid(format!("the operation id cannot be looked up later: in the lookup's path, {reason}"))
        })?;
        let mut url = url_at(base, &path)?;
        url.set_query(self.query.as_ref().map(|query| query.replace(PLACEHOLDER, &encoded)).as_deref());
        Ok(url)
    }
}

impl LookupRule {
    /// Reads the receiver's answer. Pure.
    pub(super) fn read(&self, exchange: &Exchange<'_>) -> LookUp {
        let status = exchange.status;
        if matches!(status.as_u16(), 100..=199 | 408 | 425 | 429 | 500..=599) {
            return LookUp::Unknown(format!("the lookup was answered with {status}"));
        }
        let seen = Seen::of(exchange);
        let failed = match &self.failed {
            Some(failed) => match seen.holds(failed) {
                Ok(failed) => failed,
                // A 404 rarely has the fields that tell a failure; anything else that lacks them is not understood.
                Err(_) if seen.holds(&self.not_there) == Ok(true) => false,
                Err(reason) => return LookUp::Unknown(format!("`failed` of the lookup: {reason}")),
            },
            None => false,
        };
        let (happened, not_there) = (seen.holds(&self.happened), seen.holds(&self.not_there));
        match (failed, &happened, &not_there) {
            (true, _, Ok(true)) | (_, Ok(true), Ok(true)) => {
                LookUp::Unknown("the lookup says at once that it is there and that it is not".into())
            }
            (true, ..) => LookUp::Failed(Failure {
                details: Some(seen.answer(None)),
                ..failure("reported-failed", "the receiver says that the operation failed")
            }),
            (false, Ok(true), _) => self.happened(&seen, exchange.bytes_max),
            (false, _, Ok(true)) => LookUp::NotThere,
            (false, Err(reason), _) => LookUp::Unknown(format!("`happened` of the lookup: {reason}")),
            (false, _, Err(reason)) => LookUp::Unknown(format!("`not_there` of the lookup: {reason}")),
            (false, Ok(false), Ok(false)) => {
                LookUp::Unknown(format!("the lookup was answered with {status}, which no rule covers"))
            }
        }
    }

    fn happened(&self, seen: &Seen, bytes_max: usize) -> LookUp {
        let answer = match (&self.result, &seen.body) {
            (Some(result), _) => seen.evaluate(result),
            (None, Some(body)) => Ok(body.clone()),
            (None, None) => Err("the body cannot be read".into()),
        };
        match answer {
            Ok(Value::Object(whole)) if ["status", "headers", "body"].iter().all(|name| whole.contains_key(*name)) => {
                bounded(Value::Object(whole), bytes_max)
            }
            Ok(body) => bounded(seen.answer(Some(body)), bytes_max),
            Err(reason) => LookUp::Unknown(format!("it has happened, but the lookup has no result: {reason}")),
        }
    }
}

fn bounded(answer: Value, bytes_max: usize) -> LookUp {
    if answer.to_string().len() > bytes_max {
        return LookUp::Unknown(format!("it has happened, but its answer has more than {bytes_max} bytes"));
    }
    LookUp::Happened(answer)
}

impl PreviewRule {
    /// The request that asks; `own`: the operator's headers.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(super) fn outbound(&self, base: &Url, request: &HttpRequest, own: &HeaderMap) -> Result<Outbound, String> {
        let mut url = url_at(base, &self.path).map_err(|_| "the preview's path changes when it becomes a URL")?;
        url.set_query(request.url.query());
        let mut headers = request.headers.clone();
        let body = request.body.clone().filter(|_| self.method != Method::GET);
        if body.is_none() {
            headers.remove(CONTENT_TYPE);
        }
        headers.extend(own.clone());
        Ok(Outbound { method: self.method.clone(), url, headers, body })
    }

    /// Reads the receiver's answer. Pure.
    ///
    /// # Errors
    /// What stands in the place of an answer.
    pub(super) fn read(&self, exchange: &Exchange<'_>) -> Result<Value, String> {
        let seen = Seen::of(exchange);
        if !exchange.status.is_success() {
            let body = seen.body.map(|body| format!(": {}", body.to_string().chars().take(500).collect::<String>()));
            return Err(format!("the dry run was answered with {}{}", exchange.status, body.unwrap_or_default()));
        }
        let answer = match (&self.result, &seen.body) {
            (Some(result), _) => {
                seen.evaluate(result).map_err(|reason| format!("the dry run has no result: {reason}"))?
            }
            (None, Some(body)) => body.clone(),
            (None, None) => return Err("the dry run's answer cannot be read".into()),
        };
        let bytes_max = exchange.bytes_max;
        if answer.to_string().len() > bytes_max {
            return Err(format!("the dry run's answer has more than {bytes_max} bytes"));
        }
        Ok(answer)
    }
}

/// A response as the expressions see it.
struct Seen {
    status: Value,
    headers: Value,
    body: Option<Value>,
}

impl Seen {
    fn of(exchange: &Exchange<'_>) -> Self {
        Self {
            status: exchange.status.as_u16().into(),
            headers: exchange.scrubbed_headers(),
            body: exchange.scrubbed_body(),
        }
    }

    fn values(&self) -> Vec<(&str, &Value)> {
        let mut values = vec![("status", &self.status), ("headers", &self.headers)];
        values.extend(self.body.iter().map(|body| ("body", body)));
        values
    }

    fn holds(&self, expression: &Expression) -> Result<bool, String> {
        expression.holds(&self.values())
    }

    fn evaluate(&self, expression: &Expression) -> Result<Value, String> {
        expression.evaluate(&self.values())
    }

    /// As the guest knows answers; `body` in place of what came.
    fn answer(&self, body: Option<Value>) -> Value {
        let mut answer = Map::new();
        answer.insert("status".into(), self.status.clone());
        answer.insert("headers".into(), self.headers.clone());
        answer.insert("body".into(), body.or_else(|| self.body.clone()).unwrap_or(json!(null)));
        Value::Object(answer)
    }
}
