//! JSON Schema, compiled once.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::problem::printable;

/// Violations reported of one value; more help nobody.
const VIOLATIONS_MAX: usize = 20;

/// Longest message of a violation: it may quote the value.
const MESSAGE_CHARACTERS_MAX: usize = 400;

/// A compiled JSON Schema (draft 2020-12 unless it says otherwise) and its document. Cheap to clone. Resolves nothing from outside: neither
/// files nor the network.
#[derive(Clone)]
pub struct Schema(Arc<Compiled>);

struct Compiled {
    document: Value,
    validator: jsonschema::Validator,
    itemwise: bool,
}

/// One way in which a value breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaViolation {
    /// Where in the value: a JSON pointer, empty for the value itself.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for SchemaViolation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "at {}: {}", self.pointer, self.message)
        }
    }
}

impl Schema {
    /// Compiles a schema document.
    ///
    /// # Errors
    /// What is wrong with the document: not a schema, an invalid pattern, or a `$ref` that leaves the document.
    pub fn compile(document: Value) -> Result<Self, String> {
        Self::compile_located(document).map_err(|fault| fault.to_string())
    }

    /// As [`Schema::compile`], with the place of the fault in the document.
    pub(crate) fn compile_located(document: Value) -> Result<Self, SchemaViolation> {
        let fault = |message: &str| SchemaViolation { pointer: String::new(), message: message.to_owned() };
        if !document.is_object() && !document.is_boolean() {
            return Err(fault("a schema is an object, true or false"));
        }
        if let Some(reference) = outside_reference(&document) {
            let reference = printable(reference, MESSAGE_CHARACTERS_MAX);
            return Err(fault(&format!(
                "the reference to {reference:?} leaves the document; copy that schema under `$defs` and refer to `#/$defs/…`"
            )));
        }
        let validator = jsonschema::options().offline().build(&document).map_err(|error| violation(&error))?;
        let itemwise = is_itemwise(&document);
        Ok(Self(Arc::new(Compiled { document, validator, itemwise })))
    }

    /// The document as compiled.
    pub fn document(&self) -> &Value {
        &self.0.document
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What is wrong with the value, at most 20 violations.
    pub fn check(&self, value: &Value) -> Result<(), Vec<SchemaViolation>> {
        // The answer is nearly always yes, and asking only that is much cheaper.
        if self.0.validator.is_valid(value) {
            return Ok(());
        }
        let violations: Vec<SchemaViolation> =
            self.0.validator.iter_errors(value).take(VIOLATIONS_MAX).map(|error| violation(&error)).collect();
        Err(violations)
    }

    /// Whether an array satisfies the schema exactly when each of its items does by itself, so that appending needs no look at the items before.
    pub(crate) fn is_itemwise(&self) -> bool {
        self.0.itemwise
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.0.document == other.0.document
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Schema").field(&self.0.document).finish()
    }
}

/// Only `type` and a schema for every item, besides keywords that constrain nothing.
fn is_itemwise(document: &Value) -> bool {
    const HARMLESS: [&str; 10] = [
        "$schema",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
    ];
    let Some(members) = document.as_object() else { return document == &Value::Bool(true) };
    members.iter().all(|(keyword, value)| match keyword.as_str() {
        "type" => value == "array" || value.as_array().is_some_and(|types| types.iter().any(|kind| kind == "array")),
        "items" => value.is_object() || value.is_boolean(),
        other => HARMLESS.contains(&other),
    })
}

/// The first reference that is not to a place in the same document. Looks at every member so called, also where it is data: a schema that
/// needs a literal `$ref` in an `enum` is rarer than one that hopes to fetch a file.
fn outside_reference(document: &Value) -> Option<&str> {
    match document {
        Value::Array(items) => items.iter().find_map(outside_reference),
        Value::Object(members) => members.iter().find_map(|(name, value)| match value {
            Value::String(target) if matches!(name.as_str(), "$ref" | "$dynamicRef") && !target.starts_with('#') => {
                Some(target.as_str())
            }
            _ => outside_reference(value),
        }),
        _ => None,
    }
}

fn violation(error: &jsonschema::ValidationError<'_>) -> SchemaViolation {
    SchemaViolation {
        pointer: printable(&error.instance_path().to_string(), MESSAGE_CHARACTERS_MAX),
        message: printable(&error.to_string(), MESSAGE_CHARACTERS_MAX),
    }
}
