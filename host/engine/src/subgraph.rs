//! What a graph and its subgraph hand to each other. Pure.
//!
//! Channels that both declare are the parent's: the subgraph begins with the parent's values, and what it did to them is done to the parent's. The
//! other channels of the subgraph are its own.

use holdpoint_graph::definition::Graph;
use holdpoint_graph::state::Reducer;
use serde_json::{Map, Value, json};

/// The input of a subgraph that edges lead to: the parent's values of shared channels, whatever reducers the subgraph has for them.
pub(crate) fn handed_down(child: &Graph, state: &Map<String, Value>) -> Map<String, Value> {
    let shared = child.channels.iter().filter(|(_, channel)| channel.managed.is_none());
    shared
        .filter_map(|(name, _)| {
            let value = state.get(name.as_str()).filter(|value| !value.is_null())?;
            Some((name.to_string(), json!({ "__overwrite__": value })))
        })
        .collect()
}

/// What a subgraph did to the shared channels, as an update of the parent: only channels that changed, and of a list that grew or of a sum only
/// what was added, so that the parent's reducers count nothing twice. `before` are the subgraph's values when its input was applied, `after` those
/// at its end.
pub(crate) fn handed_up(
    parent: &Graph,
    child: &Graph,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Map<String, Value> {
    let mut update = Map::new();
    for (name, channel) in &child.channels {
        let Some(shared) = parent.channels.get(name) else { continue };
        let key = name.as_str();
        if channel.managed.is_some() || shared.managed.is_some() || before.get(key) == after.get(key) {
            continue;
        }
        let Some(value) = after.get(key) else { continue };
        update.insert(key.to_owned(), contribution(shared.reducer, before.get(key), value));
    }
    update
}

/// The write to a channel with this reducer that makes `after` of `before`, if the parent's value is still `before`.
fn contribution(reducer: Reducer, before: Option<&Value>, after: &Value) -> Value {
    match (reducer, before, after) {
        (Reducer::Append, Some(Value::Array(before)), Value::Array(after)) if after.starts_with(before) => {
            after[before.len()..].to_vec().into()
        }
        (Reducer::Append, None | Some(Value::Null), Value::Array(_)) => after.clone(),
        (Reducer::Append, ..) => json!({ "__overwrite__": after }),
        (Reducer::Add, Some(before), after) => {
            difference(before, after).unwrap_or_else(|| json!({ "__overwrite__": after }))
        }
        // Last and any take the value; the others come to the same whether they see what they know once or twice.
        _ => after.clone(),
    }
}

/// Exact, or none.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    let whole = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    if let (Some(before), Some(after)) = (whole(before), whole(after)) {
        let difference = after - before;
        return i64::try_from(difference).map(Value::from).or_else(|_| u64::try_from(difference).map(Value::from)).ok();
    }
    let (before, after) = (before.as_f64()?, after.as_f64()?);
    let difference = after - before;
    (before + difference == after).then(|| difference.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributions() {
        let check = |reducer, before: Value, after: Value, write: Value| {
            assert_eq!(contribution(reducer, Some(&before), &after), write, "{reducer:?}: {before} to {after}");
        };
        check(Reducer::Append, json!(["a"]), json!(["a", "b"]), json!(["b"]));
        check(Reducer::Append, json!(["a"]), json!(["b"]), json!({ "__overwrite__": ["b"] }));
        check(Reducer::Append, Value::Null, json!(["b"]), json!(["b"]));
        check(Reducer::Add, json!(5), json!(8), json!(3));
        check(Reducer::Add, json!(u64::MAX), json!(0), json!({ "__overwrite__": 0 }));
        check(Reducer::Add, json!(0.5), json!(2.0), json!(1.5));
        check(Reducer::Last, json!(1), json!(2), json!(2));
        check(Reducer::Max, json!(1), json!(2), json!(2));
        check(Reducer::Merge, json!({ "a": 1 }), json!({ "a": 1, "b": 2 }), json!({ "a": 1, "b": 2 }));
    }
}
