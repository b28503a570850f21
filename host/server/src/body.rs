//! What a request says: its body, its query and its path, read so that everything wrong with them is a [`Problem`].
//!
//! A member or parameter that is null counts as absent, and one that nobody knows is passed over, as LangGraph's server does.

use std::sync::Arc;

use axum::RequestPartsExt as _;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer as _, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::context::Context;
use crate::problem::Problem;

/// A JSON object as a request's body; nothing at all counts as an empty one. Refused are one that is larger than
/// [`crate::Settings::body_bytes_max`] (413), comes slower than [`crate::Settings::body_timeout`] (408), is not declared as JSON (415), is not JSON
/// (400), or is not a `T` (422, naming the member).
///
/// That it must be declared is what keeps forms of other sites out: a browser sends none as JSON without asking first.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Context> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Problem> {
        object(json(request, context).await?).map(Self)
    }
}

fn object<T: DeserializeOwned>(value: Option<Value>) -> Result<T, Problem> {
    match value {
        None => from_members(Map::new()),
        Some(Value::Object(members)) => from_members(members),
        Some(_) => Err(Problem::invalid("HP0821", "the request's body is not an object")),
    }
}

/// As [`Body`], up to [`crate::Settings::component_bytes_max`], for requests that bring components. Of those that are larger than a [`Body`] may be,
/// [`UPLOADS_MAX`] are held at once, and the others wait to be read: so many bytes times that are the most that they take. The place is given up with
/// the second field.
#[derive(Debug)]
pub struct LargeBody<T>(pub T, pub Option<OwnedSemaphorePermit>);

/// See [`LargeBody`].
pub const UPLOADS_MAX: usize = 2;

impl<T: DeserializeOwned> FromRequest<Context> for LargeBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Problem> {
        let size = Size::Components(context.settings().component_bytes_max, context.uploads());
        let (value, place) = json_of(request, context, size).await?;
        object(value).map(|read| Self(read, place))
    }
}

/// A JSON array of objects as a request's body. Refused as [`Body`] is.
#[derive(Debug)]
pub struct BodyList<T>(pub Vec<T>);

impl<T: DeserializeOwned> FromRequest<Context> for BodyList<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Problem> {
        let not_objects = || Problem::invalid("HP0821", "the request's body is not an array of objects");
        let Some(Value::Array(items)) = json(request, context).await? else { return Err(not_objects()) };
        let read = items.into_iter().map(|item| match item {
            Value::Object(members) => from_members(members),
            _ => Err(not_objects()),
        });
        read.collect::<Result<_, _>>().map(Self)
    }
}

/// How large a body may be.
enum Size<'c> {
    /// As large as any.
    Ordinary,
    /// So large, with a place among those that are larger than any.
    Components(usize, &'c Arc<Semaphore>),
}

/// A request's body as JSON; none when there is nothing.
async fn json(request: Request, context: &Context) -> Result<Option<Value>, Problem> {
    json_of(request, context, Size::Ordinary).await.map(|(value, _)| value)
}

async fn json_of(
    request: Request,
    context: &Context,
    size: Size<'_>,
) -> Result<(Option<Value>, Option<OwnedSemaphorePermit>), Problem> {
    let (parts, body) = request.into_parts();
    let settings = context.settings();
    let reading = read(&parts.headers, body, settings.body_bytes_max, size);
    let (bytes, place) = match tokio::time::timeout(settings.body_timeout, reading).await {
        Ok(bytes) => bytes?,
        Err(_) => {
            let seconds = settings.body_timeout.as_secs_f64();
            let detail = format!("the request's body was not there after {seconds} s");
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "HP0824", detail));
        }
    };
    if bytes.is_empty() {
        return Ok((None, None));
    }
    if !is_json(&parts.headers) {
        let detail = "the request's body is not declared as JSON";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "HP0823", detail)
            .with_cure("send the header `content-type: application/json`"));
    }
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "HP0820", format!("the request's body is not JSON: {error}"))
    })?;
    Ok((Some(value), place))
}

async fn read(
    headers: &HeaderMap,
    body: axum::body::Body,
    ordinary_max: usize,
    size: Size<'_>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
    let (bytes_max, setting, places) = match size {
        Size::Ordinary => (ordinary_max, "body_bytes_max", None),
        Size::Components(bytes_max, places) => (bytes_max.max(ordinary_max), "component_bytes_max", Some(places)),
    };
    let too_large = || {
        let detail = format!("the request's body is larger than {bytes_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "HP0822", detail)
            .with_cure(format!("send less, or have the operator raise `{setting}` in the [server] table"))
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let mut place = None;
    let mut bytes: Vec<u8> = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "HP0820", "the connection ended before the request's body did")
        })?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        if let Some(places) = places
            && place.is_none()
            && bytes.len() + chunk.len() > ordinary_max
        {
            // Nothing closes it. What is not read meanwhile, the client keeps.
            place = Arc::clone(places).acquire_owned().await.ok();
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, place))
}

fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads an object's members as a `T`. Members that are null count as absent.
///
/// # Errors
/// 422 `HP0821`, naming the member.
pub fn from_members<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Problem> {
    T::deserialize(Members(members)).map_err(|error| Problem::invalid("HP0821", error.to_string()))
}

/// An object that says of which member an error is.
struct Members(Map<String, Value>);

impl<'de> Deserializer<'de> for Members {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_map(MemberAccess { members: self.0.into_iter(), current: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

struct MemberAccess {
    members: serde_json::map::IntoIter,
    current: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for MemberAccess {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        self.current = self.members.find(|(_, value)| !value.is_null());
        let Some((name, _)) = &self.current else { return Ok(None) };
        let name: StringDeserializer<Self::Error> = name.clone().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        let (name, value) = self.current.take().expect("invariant: a key was read before its value");
        seed.deserialize(value).map_err(|error| Self::Error::custom(format!("`{name}`: {error}")))
    }
}

/// A request's query, by name.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::invalid("HP0821", format!("the query cannot be read: {}", error.body_text())))?;
        Ok(Self(pairs))
    }
}

impl Parameters {
    /// A parameter that is there and not empty; the last one of several.
    pub fn text(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().rev().find(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that may be repeated, or hold several values with commas between them.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(known, _)| known == name);
        named.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|value| !value.is_empty()).collect()
    }

    /// A parameter that is `true` or `false` (`1`, `0`); false when absent.
    ///
    /// # Errors
    /// 422 `HP0821`.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(Problem::invalid("HP0821", format!("`{name}`: {other:?} is neither true nor false"))),
        }
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    /// 422 `HP0821`.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text
            .parse()
            .map_err(|_| Problem::invalid("HP0821", format!("`{name}`: {text:?} is not a whole number from 0 on")));
        number.map(Some)
    }
}

/// How many of something are asked for, from 1 to `max`.
///
/// # Errors
/// 422 `HP0821` for a number out of that range.
pub fn limit(given: Option<u64>, default: usize, max: usize) -> Result<usize, Problem> {
    match given {
        None => Ok(default),
        Some(given) => usize::try_from(given)
            .ok()
            .filter(|limit| (1..=max).contains(limit))
            .ok_or_else(|| Problem::invalid("HP0821", format!("`limit`: {given} is not in the range from 1 to {max}"))),
    }
}

/// How many are passed over.
///
/// # Errors
/// 422 `HP0821` for a number that no page can have.
pub fn offset(given: Option<u64>) -> Result<usize, Problem> {
    // Stores count with signed numbers.
    let given = given.unwrap_or(0);
    i64::try_from(given)
        .ok()
        .and_then(|offset| usize::try_from(offset).ok())
        .ok_or_else(|| Problem::invalid("HP0821", format!("`offset`: {given} is too large")))
}

/// The parts of a request's path that a route names.
#[derive(Debug)]
pub struct Segments<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Path(segments) = parts
            .extract::<Path<T>>()
            .await
            .map_err(|error| Problem::invalid("HP0821", format!("the path cannot be read: {}", error.body_text())))?;
        Ok(Self(segments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Sample {
        name: String,
        count: Option<u8>,
        #[serde(default)]
        inner: Vec<bool>,
    }

    fn check(body: Value, expected: Result<Sample, &str>) {
        let Value::Object(members) = body.clone() else { panic!("not an object: {body}") };
        let read = from_members::<Sample>(members).map_err(|problem| {
            assert_eq!((problem.status.as_u16(), problem.code.as_str()), (422, "HP0821"));
            problem.detail
        });
        assert_eq!(read, expected.map_err(str::to_owned), "{body}");
    }

    #[test]
    fn members_are_named_and_nulls_passed_over() {
        let sample = |count| Sample { name: "a".into(), count, inner: Vec::new() };
        check(json!({ "name": "a", "count": null, "inner": null, "odd": [1] }), Ok(sample(None)));
        check(json!({ "name": "a", "count": 7 }), Ok(sample(Some(7))));
        check(json!({ "name": "a", "count": 256 }), Err("`count`: invalid value: integer `256`, expected u8"));
        check(json!({ "name": 1 }), Err("`name`: invalid type: integer `1`, expected a string"));
        check(json!({ "name": null }), Err("missing field `name`"));
        check(
            json!({ "name": "a", "inner": [true, "x"] }),
            Err("`inner`: invalid type: string \"x\", expected a boolean"),
        );
    }

    #[test]
    fn what_is_declared_as_json() {
        let declared = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(text));
            is_json(&headers)
        };
        assert!(declared("application/json"));
        assert!(declared("Application/JSON; charset=utf-8"));
        assert!(declared("application/problem+json"));
        assert!(!declared("text/plain"));
        assert!(!declared("application/x-www-form-urlencoded"));
        assert!(!declared("text/plain; application/json"));
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn queries() {
        let uri = "/x?a=1&a=2,3&flag=TRUE&odd=maybe&empty=&number=18446744073709551616".parse().expect("an address");
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).expect("a query");
        let parameters = Parameters(pairs);
        assert_eq!(parameters.list("a"), ["1", "2", "3"]);
        assert_eq!((parameters.text("a"), parameters.text("empty"), parameters.text("b")), (Some("2,3"), None, None));
        assert_eq!((parameters.flag("flag"), parameters.flag("none")), (Ok(true), Ok(false)));
        assert!(parameters.flag("odd").is_err() && parameters.number("number").is_err());
        assert_eq!(parameters.number("none"), Ok(None));
    }

    #[test]
    fn pages() {
        assert_eq!((limit(None, 10, 1000), limit(Some(1000), 10, 1000)), (Ok(10), Ok(1000)));
        assert!(limit(Some(0), 10, 1000).is_err() && limit(Some(1001), 10, 1000).is_err());
        assert!(limit(Some(u64::MAX), 10, 1000).is_err());
        assert_eq!(offset(None), Ok(0));
        assert!(offset(Some(u64::MAX)).is_err());
    }
}
