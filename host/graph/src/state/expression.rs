//! CEL over other names than `state`: an operator's rule about a request, or a reading of a receiver's answer.

use std::fmt;
use std::sync::Arc;

use cel::Program;
use cel::objects::Key;
use serde_json::{Map, Value};

use super::condition::{compile, execute, shorten, to_cel};
use super::syntax::{Names, ROOT, is_function};

/// A compiled CEL expression. Cheap to clone; two are equal when their texts are.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: String,
    program: Program,
}

impl Expression {
    /// Compiles an expression that sees `names` and nothing else. `state` cannot be among them.
    ///
    /// # Errors
    /// What is wrong with the text: too long or too deep, not CEL, or another name.
    pub fn compile(text: &str, names: &[&str]) -> Result<Self, String> {
        let program = compile(text)?;
        let mut found = Names::default();
        found.visit(program.expression(), &mut Vec::new());
        let state = (found.whole || !found.channels.is_empty()).then_some(ROOT);
        let unknown = found.unknown.iter().copied().find(|name| !names.contains(name)).or(state);
        if let Some(unknown) = unknown {
            return Err(format!("unknown name `{}`; it sees {}", shorten(unknown), quoted(names)));
        }
        if let Some(unknown) = found.functions.iter().find(|name| !is_function(name)) {
            return Err(format!("unknown function `{}`", shorten(unknown)));
        }
        Ok(Self(Arc::new(Compiled { text: text.to_owned(), program })))
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Evaluates it. A name without a value is an error where the expression reads it.
    ///
    /// # Errors
    /// Why it has no value, or none that JSON can hold. May quote the values.
    pub fn evaluate(&self, values: &[(&str, &Value)]) -> Result<Value, String> {
        let variables = values.iter().map(|(name, value)| (*name, to_cel(value))).collect();
        from_cel(&execute(&self.0.program, variables)?)
    }

    /// Evaluates it to true or false.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and when the result is neither.
    pub fn holds(&self, values: &[(&str, &Value)]) -> Result<bool, String> {
        self.evaluate(values)?.as_bool().ok_or_else(|| "the result is neither true nor false".to_owned())
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Values nest no deeper than the expression and the JSON that it was made from.
fn from_cel(value: &cel::Value) -> Result<Value, String> {
    match value {
        cel::Value::Null => Ok(Value::Null),
        cel::Value::Bool(boolean) => Ok(Value::Bool(*boolean)),
        cel::Value::Int(integer) => Ok(Value::from(*integer)),
        cel::Value::UInt(integer) => Ok(Value::from(*integer)),
        cel::Value::Float(float) => serde_json::Number::from_f64(*float)
            .map(Value::Number)
            .ok_or_else(|| format!("the result {float} is no JSON number")),
        cel::Value::String(text) => Ok(Value::String(text.as_str().to_owned())),
        cel::Value::List(items) => items.iter().map(from_cel).collect::<Result<Vec<_>, _>>().map(Value::Array),
        cel::Value::Map(map) => {
            let mut members = Map::new();
            for (key, value) in map.map.iter() {
                let Key::String(key) = key else { return Err("the result has a key that is no text".to_owned()) };
                members.insert(key.as_str().to_owned(), from_cel(value)?);
            }
            Ok(Value::Object(members))
        }
        other => Err(format!("the result is {}, which is no JSON", other.type_of())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluate(text: &str) -> Result<Value, String> {
        let expression = Expression::compile(text, &["request", "status"])?;
        let request = json!({ "body": { "amount": 9007199254740993_u64, "tags": ["a"] } });
        expression.evaluate(&[("request", &request), ("status", &json!(200))])
    }

    #[test]
    fn it_sees_its_names_and_gives_json() {
        assert_eq!(evaluate("request.body.amount > 10000 && status == 200"), Ok(json!(true)));
        assert_eq!(evaluate("request.body.amount"), Ok(json!(9_007_199_254_740_993_u64)));
        assert_eq!(
            evaluate("{'a': request.body.tags, 'b': null, 'c': 0.5}"),
            Ok(json!({"a": ["a"], "b": null, "c": 0.5}))
        );
    }

    #[test]
    fn what_it_cannot_do_is_said() {
        let cases = [
            ("state.x", "unknown name `state`; it sees `request`, `status`"),
            ("body.x", "unknown name `body`; it sees `request`, `status`"),
            ("launch(status)", "unknown function `launch`"),
            ("", "the condition is empty"),
            ("{1: 2}", "the result has a key that is no text"),
            ("0.0 / 0.0", "the result NaN is no JSON number"),
        ];
        for (text, expected) in cases {
            assert_eq!(evaluate(text), Err(expected.to_owned()), "{text}");
        }
        assert!(evaluate("request.query.x == 1").is_err(), "a field that is not there");
        let holds = Expression::compile("request", &["request"]).and_then(|one| one.holds(&[("request", &json!(1))]));
        assert_eq!(holds, Err("the result is neither true nor false".to_owned()));
    }
}
