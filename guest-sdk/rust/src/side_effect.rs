//! Side effects: what the host performs once per operation id.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cx::Cx;
use crate::error::{Error, Refusal, Result};
use crate::host::OperationText;
use crate::json;

/// One operation as a value, for [`Cx::side_effects`].
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The author's name for the effect; none derives one from the task and the call order.
    pub id: Option<String>,
    /// The connector that performs it.
    pub connector: String,
    /// What the connector is asked to do.
    pub request: Value,
}

impl Operation {
    /// Asks `connector` to perform `request`.
    pub fn new(connector: impl Into<String>, request: Value) -> Self {
        Self { id: None, connector: connector.into(), request }
    }

    /// Names the effect; see [`SideEffect::id`].
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    pub(crate) fn into_text(self) -> OperationText {
        OperationText { id: self.id, connector: self.connector, request: self.request.to_string() }
    }
}

/// A side effect that is being put together. Nothing happens before one of the methods that return a result.
#[must_use = "nothing is performed until a request method is called"]
#[derive(Debug)]
pub struct SideEffect<'a> {
    cx: &'a Cx,
    connector: String,
    id: Option<String>,
    query: Map<String, Value>,
    headers: Map<String, Value>,
}

/// What an `http` connector returns.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Header name to value.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// The body: JSON where it was JSON, else text.
    #[serde(default)]
    pub body: Value,
}

impl<'a> SideEffect<'a> {
    pub(crate) fn new(cx: &'a Cx, connector: String) -> Self {
        Self { cx, connector, id: None, query: Map::new(), headers: Map::new() }
    }

    /// Names the business operation, such as `refund:9241:50000`. One request is ever sent for one id: build it from what makes the
    /// operation the same one to the receiver. Without it an id is derived from the task and the call order.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Adds a query parameter of an HTTP request.
    pub fn query(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.query.insert(name.into(), value.into());
        self
    }

    /// Adds a header of an HTTP request. Secrets belong into the connector's configuration.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), Value::String(value.into()));
        self
    }

    /// Performs `request`, in the form that the connector wants, and returns its answer as it is.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn request(self, request: Value) -> Result<Value, Refusal> {
        let Self { cx, connector, id, .. } = self;
        let answer = cx.perform(Operation { id, connector, request })?;
        json::from_text(&answer, json::RESULT).map_err(Refusal::Failed)
    }

    /// `GET path`; returns the body of a 2xx answer.
    ///
    /// # Errors
    /// The host's refusal; else `http-status` for another status and `invalid-result` for a body that is no `T`.
    pub fn get<T: DeserializeOwned>(self, path: impl AsRef<str>) -> Result<T, Refusal> {
        self.body_of("GET", path.as_ref(), None)
    }

    /// `POST path` with `body` as JSON; returns the body of a 2xx answer.
    ///
    /// # Errors
    /// As [`SideEffect::get`]; `invalid` when `body` has no JSON form.
    pub fn post<T: DeserializeOwned>(self, path: impl AsRef<str>, body: impl Serialize) -> Result<T, Refusal> {
        self.body_of("POST", path.as_ref(), Some(to_value(&body)?))
    }

    /// `PUT path` with `body` as JSON; returns the body of a 2xx answer.
    ///
    /// # Errors
    /// As [`SideEffect::post`].
    pub fn put<T: DeserializeOwned>(self, path: impl AsRef<str>, body: impl Serialize) -> Result<T, Refusal> {
        self.body_of("PUT", path.as_ref(), Some(to_value(&body)?))
    }

    /// `PATCH path` with `body` as JSON; returns the body of a 2xx answer.
    ///
    /// # Errors
    /// As [`SideEffect::post`].
    pub fn patch<T: DeserializeOwned>(self, path: impl AsRef<str>, body: impl Serialize) -> Result<T, Refusal> {
        self.body_of("PATCH", path.as_ref(), Some(to_value(&body)?))
    }

    /// `DELETE path`; returns the body of a 2xx answer.
    ///
    /// # Errors
    /// As [`SideEffect::get`].
    pub fn delete<T: DeserializeOwned>(self, path: impl AsRef<str>) -> Result<T, Refusal> {
        self.body_of("DELETE", path.as_ref(), None)
    }

    /// Sends an HTTP request and returns the answer whatever its status.
    ///
    /// # Errors
    /// The host's refusal; `invalid-result` when the connector's answer is no HTTP answer.
    pub fn fetch(self, method: &str, path: &str, body: Option<Value>) -> Result<HttpAnswer, Refusal> {
        let Self { cx, connector, id, query, headers } = self;
        // Absent parts are left out: the digest of the request is what makes two of them the same.
        let mut request = json!({ "method": method, "path": path });
        if !query.is_empty() {
            request["query"] = Value::Object(query);
        }
        if !headers.is_empty() {
            request["headers"] = Value::Object(headers);
        }
        if let Some(body) = body {
            request["body"] = body;
        }
        let answer = cx.perform(Operation { id, connector, request })?;
        json::from_text(&answer, json::RESULT).map_err(Refusal::Failed)
    }

    fn body_of<T: DeserializeOwned>(self, method: &str, path: &str, body: Option<Value>) -> Result<T, Refusal> {
        let answer = self.fetch(method, path, body)?;
        if !answer.is_success() {
            // Not retryable: the answer is recorded, so the same operation would return it again.
            let message = format!("{method} {path} was answered with status {}", answer.status);
            let details = json!({ "status": answer.status, "body": answer.body });
            return Err(Refusal::Failed(Error::new("http-status", message).details(details)));
        }
        json::from_value(&answer.body, json::RESULT).map_err(Refusal::Failed)
    }
}

impl HttpAnswer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_str())
    }
}

fn to_value(body: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(body).map_err(|error| Refusal::Invalid(format!("the body has no JSON form: {error}")))
}
