//! JSON text into typed values, with errors that name the field.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use serde_path_to_error::Error as PathError;

use crate::error::{Error, Result};

/// What a document is, for the error when it does not fit.
pub(crate) struct Document {
    code: &'static str,
    name: &'static str,
}

pub(crate) const STATE: Document = Document { code: "invalid-state", name: "the state" };
pub(crate) const ARGUMENT: Document = Document { code: "invalid-argument", name: "the argument" };
pub(crate) const CONFIG: Document = Document { code: "invalid-config", name: "the configuration" };
pub(crate) const ANSWER: Document = Document { code: "invalid-answer", name: "the answer" };
pub(crate) const RESULT: Document = Document { code: "invalid-result", name: "the operation's result" };

/// Reads `text` as a `T`.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str, document: Document) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = read(&mut deserializer, &document)?;
    match deserializer.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(misfit(&document, None, &error.to_string())),
    }
}

/// Reads `value` as a `T`.
pub(crate) fn from_value<T: DeserializeOwned>(value: &Value, document: Document) -> Result<T> {
    read(value, &document)
}

fn read<'a, T, D>(deserializer: D, document: &Document) -> Result<T>
where
    T: Deserialize<'a>,
    D: Deserializer<'a>,
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error: PathError<D::Error>| {
        let message = error.inner().to_string();
        misfit(document, field(&error.path().to_string(), &message).as_deref(), &message)
    })
}

fn misfit(document: &Document, field: Option<&str>, message: &str) -> Error {
    let Document { code, name } = document;
    match field {
        Some(field) => Error::new(*code, format!("{name} does not fit the node at `{field}`: {message}"))
            .details(json!({ "field": field })),
        None => Error::new(*code, format!("{name} does not fit the node: {message}")),
    }
}

/// The field to name: where reading stopped and, as a missing field is reported by the object around it, the name in the message.
fn field(path: &str, message: &str) -> Option<String> {
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
    match (path, missing) {
        (".", None) => None,
        (".", Some(name)) => Some(name.to_owned()),
        (path, None) => Some(path.to_owned()),
        (path, Some(name)) => Some(format!("{path}.{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        id: String,
        lines: Vec<Line>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        amount_cents: u64,
    }

    fn check(text: &str, field: Option<&str>, message: &str) {
        let error = from_text::<Order>(text, STATE).expect_err("should not fit");
        assert_eq!(error.code, "invalid-state", "{text}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.details, field.map(|field| json!({ "field": field })), "{text}");
    }

    #[test]
    fn misfits_name_the_field() {
        check("{}", Some("id"), "missing field `id`");
        check(r#"{"id": 7, "lines": []}"#, Some("id"), "invalid type: integer `7`, expected a string");
        check(r#"{"id": "a", "lines": [{"amount_cents": -1}]}"#, Some("lines[0].amount_cents"), "invalid value");
        check(r#"{"id": "a", "lines": [{}]}"#, Some("lines[0].amount_cents"), "missing field");
        check("7", None, "invalid type");
        check(r#"{"id": "a", "lines": []} x"#, None, "trailing characters");
    }

    #[test]
    fn a_document_that_fits_is_read() {
        let order = Order { id: "a".to_owned(), lines: vec![Line { amount_cents: 5 }] };
        let text = r#"{"id": "a", "lines": [{"amount_cents": 5, "more": true}]}"#;
        assert_eq!(from_text::<Order>(text, STATE), Ok(order));
    }
}
