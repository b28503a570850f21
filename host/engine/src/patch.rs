//! The change from one state to another. Pure.

use holdpoint_graph::ids::ChannelName;
use holdpoint_graph::state::{Change, Patch};
use serde_json::{Map, Value};

/// The patch that makes `after` of `before`. Lists that only grew are appended to, so that stores share what came before. No channel disappears
/// from a state, so that none has to be taken away.
pub fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Patch {
    let mut patch = Patch::default();
    for (name, value) in after {
        if before.get(name) == Some(value) {
            continue;
        }
        // Stored states hold channels of a graph only, whose names are valid.
        let Ok(channel) = ChannelName::parse(name.as_str()) else { continue };
        let change = match (before.get(name), value) {
            (Some(Value::Array(before)), Value::Array(after))
                if after.len() > before.len() && after.starts_with(before) =>
            {
                Change::Append(after[before.len()..].to_vec())
            }
            _ => Change::Replace(value.clone()),
        };
        patch.changes.insert(channel, change);
    }
    patch
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_lead_from_one_state_to_the_other() {
        let states = [
            json!({}),
            json!({ "a": null, "log": [] }),
            json!({ "a": 1, "log": ["x"] }),
            json!({ "a": 1, "log": ["x", "y"], "b": {} }),
            json!({ "a": 2, "log": ["y"], "b": [1] }),
        ];
        let mut current = Map::new();
        for state in states {
            let state = state.as_object().cloned().unwrap_or_default();
            let patch = difference(&current, &state);
            patch.apply(&mut current);
            assert_eq!(current, state);
            assert_eq!(difference(&current, &state), Patch::default());
        }
        let grown = difference(
            &json!({ "log": ["x"] }).as_object().cloned().unwrap_or_default(),
            &json!({ "log": ["x", "y"] }).as_object().cloned().unwrap_or_default(),
        );
        assert!(matches!(grown.changes.values().next(), Some(Change::Append(items)) if items == &[json!("y")]));
    }
}
