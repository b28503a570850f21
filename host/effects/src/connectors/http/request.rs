//! A guest's request, checked: `{ method, path, query?, headers?, body? }`.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Map, Value};

use crate::connectors::Rejection;

use super::connector::Target;
use super::header::{check_guest_header, check_guest_value};
use super::path::{Path, check_method};

/// Longest URL: what common servers and proxies take.
const URL_BYTES_MAX: usize = 8000;
const HEADERS_MAX: usize = 64;

/// A request that may leave, without what the host adds to it.
#[derive(Clone)]
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
}

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A node: what the operator allows nodes.
    Node,
    /// The host, as the operator wrote it.
    Host,
}

/// Checks a request against what is possible and what is allowed.
pub(super) fn read(target: &Target, request: &Value, asker: Asker) -> Result<HttpRequest, Rejection> {
    let members = request.as_object().ok_or_else(|| invalid("the request is not an object"))?;
    if let Some(unknown) =
        members.keys().find(|name| !["method", "path", "query", "headers", "body"].contains(&name.as_str()))
    {
        let name: String = unknown.chars().take(80).collect();
        return Err(invalid(format!("the request has an unknown member {name:?}")));
    }
    let method_name = check_method(text(members, "method")?).map_err(Rejection::Invalid)?;
    let method = Method::from_bytes(method_name.as_bytes()).map_err(|_| invalid("the method is not valid"))?;
    let path = Path::parse(text(members, "path")?).map_err(Rejection::Invalid)?;
    if asker == Asker::Node && !target.allow.iter().any(|allowed| allowed.allows(method_name, &path)) {
        return Err(Rejection::Denied(format!("{method_name} on this path is not allowed for this connector")));
    }
    let url = url(target, &path, members.get("query"))?;
    let mut headers = headers(target, members.get("headers"))?;
    let body = body(&method, &mut headers, members.get("body"))?;
    Ok(HttpRequest { method, url, headers, body })
}

fn url(target: &Target, path: &Path, query: Option<&Value>) -> Result<Url, Rejection> {
    let mut url = url_at(&target.base_url, path)?;
    if let Some(query) = query {
        let query = query.as_object().ok_or_else(|| invalid("`query` is not an object"))?;
        let mut pairs = url.query_pairs_mut();
        for (name, value) in query {
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for value in values {
                match value {
                    Value::String(text) => pairs.append_pair(name, text),
                    Value::Number(_) | Value::Bool(_) => pairs.append_pair(name, &value.to_string()),
                    _ => {
                        return Err(invalid(
                            "`query` has a value that is neither text, number, boolean nor a list of those",
                        ));
                    }
                };
            }
        }
    }
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(invalid(format!("path and query together are longer than {URL_BYTES_MAX} bytes")));
    }
    Ok(url)
}

/// The URL of a path below the base.
pub(super) fn url_at(base: &Url, path: &Path) -> Result<Url, Rejection> {
    let mut url = base.clone();
    let full_path = format!("{}{}", base.path().trim_end_matches('/'), path.as_str());
    url.set_path(&full_path);
    // What was checked is what is sent, or nothing is.
    if url.path() != full_path || url.origin() != base.origin() {
        return Err(invalid("the path changes when it becomes a URL"));
    }
    Ok(url)
}

fn headers(target: &Target, headers: Option<&Value>) -> Result<HeaderMap, Rejection> {
    let mut map = HeaderMap::new();
    let Some(headers) = headers else { return Ok(map) };
    let headers = headers.as_object().ok_or_else(|| invalid("`headers` is not an object"))?;
    if headers.len() > HEADERS_MAX {
        return Err(invalid(format!("the request has more than {HEADERS_MAX} headers")));
    }
    for (name, value) in headers {
        let shown: String = name.chars().take(80).collect();
        let fault = |reason| invalid(format!("header {shown:?}: {reason}"));
        let configured = target.reserved_headers();
        check_guest_header(name, configured).map_err(fault)?;
        let text = value.as_str().ok_or_else(|| fault("its value is not text"))?;
        check_guest_value(text).map_err(fault)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault("it is not a header's name"))?;
        let value =
            HeaderValue::from_str(text).map_err(|_| fault("its value has characters that no header may have"))?;
        if map.insert(name, value).is_some() {
            return Err(fault("it is there twice"));
        }
    }
    Ok(map)
}

/// A body is JSON, unless it is text and its content type says that it is something else.
fn body(method: &Method, headers: &mut HeaderMap, body: Option<&Value>) -> Result<Option<Vec<u8>>, Rejection> {
    let Some(body) = body.filter(|body| !body.is_null()) else { return Ok(None) };
    if [Method::GET, Method::HEAD].contains(method) {
        return Err(invalid(format!("a {method} request has no body")));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match (content_type, body) {
        (Some(content_type), Value::String(text)) if !super::answer::is_json(content_type) => {
            Ok(Some(text.clone().into_bytes()))
        }
        (Some(content_type), _) if !super::answer::is_json(content_type) => {
            Err(invalid("a body that is not text can only be sent as JSON"))
        }
        (Some(_), _) => Ok(Some(body.to_string().into_bytes())),
        (None, _) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(Some(body.to_string().into_bytes()))
        }
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<&'m str, Rejection> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| invalid(format!("`{name}` is not text")))
}

fn invalid(reason: impl Into<String>) -> Rejection {
    Rejection::Invalid(reason.into())
}
