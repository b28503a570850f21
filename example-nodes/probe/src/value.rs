//! Values with references in them, and what these stand for.

use std::collections::BTreeMap;

use holdpoint_node::{Value, json};

/// What references can name.
#[derive(Debug)]
pub(crate) struct Scope {
    names: BTreeMap<String, Value>,
}

impl Scope {
    pub(crate) fn new(state: Value, argument: Value, config: Value, task: Value) -> Self {
        let names = [("state", state), ("argument", argument), ("config", config), ("task", task)];
        Self { names: names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// Names `value`; returns what had the name before.
    pub(crate) fn bind(&mut self, name: &str, value: Value) -> Option<Value> {
        self.names.insert(name.to_owned(), value)
    }

    /// Gives a name back what it had before.
    pub(crate) fn restore(&mut self, name: &str, before: Option<Value>) {
        match before {
            Some(value) => self.bind(name, value),
            None => self.names.remove(name),
        };
    }

    /// `value` with all references replaced by what they stand for.
    pub(crate) fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.resolve_text(text),
            Value::Array(list) => list.iter().map(|value| self.resolve(value)).collect(),
            Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), self.resolve(value))).collect(),
            other => other.clone(),
        }
    }

    /// As [`Scope::resolve`], as text: strings as they are, anything else as JSON.
    pub(crate) fn text(&self, value: &Value) -> String {
        as_text(self.resolve(value))
    }

    fn resolve_text(&self, text: &str) -> Value {
        match whole_reference(text) {
            Some(path) => self.look_up(path),
            None => Value::String(self.interpolate(text)),
        }
    }

    /// Replaces each `${path}`; what only looks like one stays as it is.
    fn interpolate(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            match after.split_once('}') {
                Some((path, behind)) if is_path(path) => {
                    result.push_str(&as_text(self.look_up(path)));
                    rest = behind;
                }
                _ => {
                    result.push_str("${");
                    rest = after;
                }
            }
        }
        result.push_str(rest);
        result
    }

    fn look_up(&self, path: &str) -> Value {
        let mut parts = path.split('.');
        let root = parts.next().and_then(|name| self.names.get(name));
        let found = parts.fold(root, |value, part| match value? {
            Value::Object(entries) => entries.get(part),
            Value::Array(list) => list.get(part.parse::<usize>().ok()?),
            _ => None,
        });
        found.cloned().unwrap_or(Value::Null)
    }
}

/// Whether two values are the same; numbers by what they are worth, so that 1 and 1.0 are.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

/// Whether `text` can be given to a value as its name.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// The path of a string that is one reference: `$a.b` or `${a.b}`.
fn whole_reference(text: &str) -> Option<&str> {
    let path = text.strip_prefix('$')?;
    let path = path.strip_prefix('{').and_then(|path| path.strip_suffix('}')).unwrap_or(path);
    is_path(path).then_some(path)
}

fn is_path(text: &str) -> bool {
    let mut parts = text.split('.');
    let step = |part: &str| {
        !part.is_empty()
            && part.chars().all(|character| character.is_ascii_alphanumeric() || character == '_' || character == '-')
    };
    parts.next().is_some_and(is_name) && parts.all(step)
}

fn as_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The value of a decision for scripts.
pub(crate) fn decision(answer: &holdpoint_node::Answer) -> Value {
    json!({
        "verdict": answer.verdict.name(),
        "value": answer.value,
        "answered_by": answer.answered_by,
        "answered_at_ms": answer.answered_at_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let state = json!({ "n": 3, "name": "ana", "list": [{ "id": "a" }, { "id": "b" }], "with-dash": true });
        let mut scope = Scope::new(state, json!({ "parcel": 7 }), json!({ "script": [] }), json!({ "id": "task-1" }));
        scope.bind("reply", json!({ "body": { "ok": true } }));
        scope
    }

    #[test]
    fn a_whole_reference_keeps_its_type() {
        for (text, value) in [
            ("$state.n", json!(3)),
            ("$state.list.1.id", json!("b")),
            ("$state.list.1", json!({ "id": "b" })),
            ("$state.with-dash", json!(true)),
            ("$argument", json!({ "parcel": 7 })),
            ("$argument.parcel", json!(7)),
            ("$config.script", json!([])),
            ("$task.id", json!("task-1")),
            ("$reply.body.ok", json!(true)),
            ("${reply.body.ok}", json!(true)),
        ] {
            assert_eq!(scope().resolve(&json!(text)), value, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_null() {
        for text in ["$nobody", "$state.x", "$state.n.x", "$state.list.9", "$state.list.x", "$state.list.-1"] {
            assert_eq!(scope().resolve(&json!(text)), Value::Null, "{text}");
        }
    }

    #[test]
    fn longer_strings_are_interpolated() {
        for (text, value) in [
            ("order-${state.n}", "order-3"),
            ("${state.name}-${state.n}", "ana-3"),
            ("all: ${state.list}", r#"all: [{"id":"a"},{"id":"b"}]"#),
            ("none: ${state.x}.", "none: null."),
            ("costs $5", "costs $5"),
            ("$5.00", "$5.00"),
            ("$", "$"),
            ("${", "${"),
            ("a ${not a path} ${state.n}", "a ${not a path} 3"),
            ("a ${ ${state.n}", "a ${ 3"),
            ("$state.n and more", "$state.n and more"),
        ] {
            assert_eq!(scope().resolve(&json!(text)), json!(value), "{text}");
        }
    }

    #[test]
    fn references_are_found_at_any_depth() {
        let value = json!({ "a": ["$state.n", { "b": "x${state.n}" }], "$state.n": null, "c": 1 });
        let resolved = json!({ "a": [3, { "b": "x3" }], "$state.n": null, "c": 1 });
        assert_eq!(scope().resolve(&value), resolved);
    }

    #[test]
    fn what_a_reference_stands_for_is_not_resolved_again() {
        let scope = Scope::new(json!({ "text": "$task" }), Value::Null, Value::Null, json!(1));
        assert_eq!(scope.resolve(&json!("$state.text")), json!("$task"));
        assert_eq!(scope.resolve(&json!("<${state.text}>")), json!("<$task>"));
    }

    #[test]
    fn numbers_are_equal_by_worth() {
        for (left, right, same) in [
            (json!(1), json!(1.0), true),
            (json!([1, { "a": 2.0 }]), json!([1.0, { "a": 2 }]), true),
            (json!(u64::MAX), json!(u64::MAX), true),
            (json!(1), json!("1"), false),
            (json!({ "a": null }), json!({}), false),
            (json!([1]), json!([1, 1]), false),
            (json!(null), json!(false), false),
        ] {
            assert_eq!(equal(&left, &right), same, "{left} {right}");
        }
    }
}
