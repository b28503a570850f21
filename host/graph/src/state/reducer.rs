//! How writes combine with a channel's value.

use std::collections::HashSet;

use serde_json::{Map, Number, Value, json};

use crate::digest::canonical_json;

/// How the writes of a superstep change a channel's value. Writes are taken in the order of their tasks, never of their completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reducer {
    /// The value of the one write. Two writes in one step are an error.
    #[default]
    Last,
    /// An array that grows: an array extends it, any other value is added as one item.
    Append,
    /// The sum. Integers stay exact; a sum that cannot be exact is an error.
    Add,
    /// Members of objects, the later write first; nested objects are replaced whole.
    Merge,
    /// An array as a set: as `append`, without items that it has already (by canonical JSON).
    Union,
    /// The value of any write of the step: all must be equal.
    Any,
    /// An array of messages: as `append`, but a message whose `id` is there already replaces that one in its place.
    Messages,
    /// The largest of numbers or of strings.
    Max,
    /// The smallest of numbers or of strings.
    Min,
}

impl Reducer {
    /// All reducers with the names that the graph file uses.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::Last, "last"),
        (Self::Append, "append"),
        (Self::Add, "add"),
        (Self::Merge, "merge"),
        (Self::Union, "union"),
        (Self::Any, "any"),
        (Self::Messages, "messages"),
        (Self::Max, "max"),
        (Self::Min, "min"),
    ];

    /// Reads a name; `None` when there is no such reducer.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(reducer, _)| *reducer)
    }

    /// The name that the graph file uses.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(reducer, _)| *reducer == self).map_or("last", |(_, name)| name)
    }

    /// The value before the first write, where the reducer has a neutral one.
    pub fn zero(self) -> Option<Value> {
        match self {
            Self::Append | Self::Union | Self::Messages => Some(json!([])),
            Self::Add => Some(json!(0)),
            Self::Merge => Some(json!({})),
            Self::Last | Self::Any | Self::Max | Self::Min => None,
        }
    }

    /// Whether the channel's value is an array that writes add items to.
    pub(super) fn collects(self) -> bool {
        matches!(self, Self::Append | Self::Union | Self::Messages)
    }

    /// Checks that a value is of the kind that later writes can be combined with: for what reaches a channel past its reducer.
    ///
    /// # Errors
    /// What the value should be.
    pub fn check_shape(self, value: &Value) -> Result<(), &'static str> {
        let fits = match self {
            Self::Last | Self::Any => true,
            Self::Append | Self::Union | Self::Messages => value.is_array(),
            Self::Add => value.is_number(),
            Self::Merge => value.is_object(),
            Self::Max | Self::Min => value.is_number() || value.is_string() || value.is_null(),
        };
        if fits { Ok(()) } else { Err(self.shape()) }
    }

    fn shape(self) -> &'static str {
        match self {
            Self::Last | Self::Any => "any value",
            Self::Append | Self::Union | Self::Messages => "an array",
            Self::Add => "a number",
            Self::Merge => "an object",
            Self::Max | Self::Min => "a number or a string",
        }
    }
}

/// Adds exactly, or says why it cannot.
pub(super) fn add(left: &Value, right: &Value) -> Result<Value, String> {
    let (left, right) = (number(left)?, number(right)?);
    if let (Some(a), Some(b)) = (integer(left), integer(right)) {
        // Both are at most 64 bits wide, so the sum fits 128.
        let sum = a + b;
        return i64::try_from(sum)
            .map(Value::from)
            .or_else(|_| u64::try_from(sum).map(Value::from))
            .map_err(|_| format!("the sum {sum} of {left} and {right} does not fit 64 bits"));
    }
    let sum = exact_float(left)? + exact_float(right)?;
    Number::from_f64(sum).map(Value::Number).ok_or_else(|| format!("the sum of {left} and {right} is not finite"))
}

/// Puts the members of `write` over those of `value`.
pub(super) fn merge(value: &mut Map<String, Value>, write: &Map<String, Value>) {
    for (name, member) in write {
        value.insert(name.clone(), member.clone());
    }
}

/// The larger (or smaller) of two numbers or two strings. Of equal ones, the first stays.
pub(super) fn extreme(largest: bool, left: &Value, right: &Value) -> Result<Value, String> {
    use std::cmp::Ordering;
    let order = match (left, right) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => compare(a, b),
        _ => return Err(format!("{} and {} cannot be compared", kind(left), kind(right))),
    };
    let right_wins = if largest { order == Ordering::Less } else { order == Ordering::Greater };
    Ok(if right_wins { right.clone() } else { left.clone() })
}

/// The items of a write to an array: an array's own, or the value as one.
pub(super) fn items(write: &Value) -> &[Value] {
    match write {
        Value::Array(items) => items,
        other => std::slice::from_ref(other),
    }
}

/// Those of `writes` that are not in `existing`, each once, in order of first appearance.
pub(super) fn new_members<'a>(existing: &[Value], writes: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut seen: Option<HashSet<String>> = None;
    let mut added = Vec::new();
    for item in writes {
        // Made only when something is written.
        let seen = seen.get_or_insert_with(|| existing.iter().map(canonical_json).collect());
        if seen.insert(canonical_json(item)) {
            added.push(item.clone());
        }
    }
    added
}

/// A message's id: `None` when it has none.
///
/// # Errors
/// The id is not a string.
pub(super) fn message_id(message: &Value) -> Result<Option<&str>, String> {
    match message.get("id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(other) => Err(format!("the `id` of a message is a string, not {}", kind(other))),
    }
}

/// What kind of JSON value it is, with its article.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn number(value: &Value) -> Result<&Number, String> {
    value.as_number().ok_or_else(|| format!("expected a number, found {}", kind(value)))
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// The number as a double, if it is one: an amount must not lose digits because a sibling wrote a fraction.
fn exact_float(number: &Number) -> Result<f64, String> {
    let inexact = || format!("{number} cannot be added to a fraction without losing digits");
    let float = number.as_f64().ok_or_else(inexact)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates at 128 bits, which no 64-bit integer equals"
    )]
    let same = integer(number).is_none_or(|integer| float as i128 == integer);
    if same { Ok(float) } else { Err(inexact()) }
}

/// Compares numbers by value, whatever their form; integers are compared exactly, also with fractions.
fn compare(left: &Number, right: &Number) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    match (integer(left), integer(right)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_with_float(a, right.as_f64().unwrap_or(0.0)),
        (None, Some(b)) => compare_with_float(b, left.as_f64().unwrap_or(0.0)).reverse(),
        (None, None) => left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal),
    }
}

fn compare_with_float(integer: i128, float: f64) -> std::cmp::Ordering {
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates beyond 128 bits, which keeps the order")]
    let whole = float.floor() as i128;
    // Of equal whole parts, a fraction makes the float the larger.
    integer
        .cmp(&whole)
        .then_with(|| if float.fract() == 0.0 { std::cmp::Ordering::Equal } else { std::cmp::Ordering::Less })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_zeros() {
        for (reducer, name) in Reducer::NAMES {
            assert_eq!(Reducer::parse(name), Some(reducer));
            assert_eq!(reducer.name(), name);
            if let Some(zero) = reducer.zero() {
                assert_eq!(reducer.check_shape(&zero), Ok(()), "{name}");
            }
        }
        assert_eq!(Reducer::parse("latest"), None);
    }

    #[test]
    fn sums_are_exact_or_refused() {
        let sum = |a: Value, b: Value| add(&a, &b);
        assert_eq!(sum(json!(1), json!(2)), Ok(json!(3)));
        assert_eq!(sum(json!(i64::MAX), json!(1)), Ok(json!(9_223_372_036_854_775_808_u64)));
        assert_eq!(sum(json!(u64::MAX), json!(-1)), Ok(json!(u64::MAX - 1)));
        assert!(sum(json!(u64::MAX), json!(1)).is_err());
        assert!(sum(json!(i64::MIN), json!(-1)).is_err());
        assert_eq!(sum(json!(1), json!(0.5)), Ok(json!(1.5)));
        assert!(sum(json!(9_007_199_254_740_993_i64), json!(0.5)).is_err(), "would lose a cent");
        assert!(sum(json!(u64::MAX), json!(0.5)).is_err());
        assert!(sum(json!(1e308), json!(1e308)).is_err());
        assert!(sum(json!("1"), json!(1)).is_err());
        assert!(sum(json!(null), json!(1)).is_err());
    }

    #[test]
    fn extremes() {
        let check = |a: Value, b: Value, small: Value, large: Value| {
            assert_eq!(extreme(false, &a, &b), Ok(small), "min of {a} and {b}");
            assert_eq!(extreme(true, &a, &b), Ok(large), "max of {a} and {b}");
        };
        check(json!(1), json!(2), json!(1), json!(2));
        check(json!(-1), json!(u64::MAX), json!(-1), json!(u64::MAX));
        check(json!(2.5), json!(2), json!(2), json!(2.5));
        check(json!(-3), json!(-2.5), json!(-3), json!(-2.5));
        check(
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_992.0),
            json!(9_007_199_254_740_992.0),
            json!(9_007_199_254_740_993_i64),
        );
        check(json!(1e300), json!(1), json!(1), json!(1e300));
        check(json!("a"), json!("b"), json!("a"), json!("b"));
        check(json!(1), json!(1.0), json!(1), json!(1));
        assert!(extreme(true, &json!(1), &json!("1")).is_err());
        assert!(extreme(true, &json!([1]), &json!([2])).is_err());
    }
}
