//! What somebody changed of what was asked.

use holdpoint_engine::approvals::Edit;
use maud::{Markup, html};
use serde_json::Value;

use super::page::value;
use super::text::text;

/// Changes that are shown; what is left out says how many.
const SHOWN_MAX: usize = 200;

/// One value that is another one now.
#[derive(Debug, PartialEq)]
struct Change<'v> {
    /// Where: member names and places, with dots between them; empty for the whole.
    place: String,
    asked: Option<&'v Value>,
    edited: Option<&'v Value>,
}

/// A table of what is other than it was asked.
pub(super) fn table(edit: &Edit) -> Markup {
    let mut changes = Vec::new();
    let several = edit.asked.len() > 1;
    for (index, (asked, edited)) in edit.asked.iter().zip(&edit.edited).enumerate() {
        let place = if several { format!("action {}", index + 1) } else { String::new() };
        compare(place, Some(asked), Some(edited), &mut changes);
    }
    html! {
        @if changes.is_empty() { p { "Nothing of it is changed." } }
        @else {
            div.scroll {
                table.diff {
                    thead { tr { th { "what" } th { "as asked" } th { "as edited" } } }
                    tbody {
                        @for change in changes.iter().take(SHOWN_MAX) {
                            tr {
                                th scope="row" { @if change.place.is_empty() { "all of it" } @else { (text(&change.place)) } }
                                td { @match change.asked { Some(asked) => { del { (value(asked)) } } None => { span.faint { "not there" } } } }
                                td { @match change.edited { Some(edited) => { ins { (value(edited)) } } None => { span.faint { "removed" } } } }
                            }
                        }
                    }
                }
            }
            @if changes.len() > SHOWN_MAX { p.notice { "And " (changes.len() - SHOWN_MAX) " more changes: look at the whole value below." } }
        }
    }
}

/// Both are walked alike, so neither is deeper than what the store takes.
fn compare<'v>(place: String, asked: Option<&'v Value>, edited: Option<&'v Value>, changes: &mut Vec<Change<'v>>) {
    let inside = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match (asked, edited) {
        (asked, edited) if asked == edited => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            for (name, member) in before {
                compare(inside(name), Some(member), after.get(name), changes);
            }
            for (name, member) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                compare(inside(name), None, Some(member), changes);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(inside(&index.to_string()), before.get(index), after.get(index), changes);
            }
        }
        (asked, edited) => changes.push(Change { place, asked, edited }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(asked: &Value, edited: &Value) -> Vec<(String, Value, Value)> {
        let mut changes = Vec::new();
        compare(String::new(), Some(asked), Some(edited), &mut changes);
        let whole = |value: Option<&Value>| value.cloned().unwrap_or_else(|| json!("-"));
        changes.into_iter().map(|change| (change.place, whole(change.asked), whole(change.edited))).collect()
    }

    #[test]
    fn only_what_differs_shows_with_its_place() {
        let asked = json!({ "amount": 5, "to": { "name": "Ana", "iban": "X" }, "tags": ["a", "b"] });
        let edited = json!({ "amount": 4, "to": { "name": "Ana", "bic": "Y" }, "tags": ["a"], "note": null });
        let expected = [
            ("amount", json!(5), json!(4)),
            ("tags.1", json!("b"), json!("-")),
            ("to.iban", json!("X"), json!("-")),
            ("to.bic", json!("-"), json!("Y")),
            ("note", json!("-"), json!(null)),
        ];
        let mut found = changed(&asked, &edited);
        found.sort_by_key(|(place, _, _)| expected.iter().position(|(known, _, _)| known == place));
        assert_eq!(found, expected.map(|(place, asked, edited)| (place.to_owned(), asked, edited)));
        assert_eq!(changed(&asked, &asked), []);
        assert_eq!(changed(&json!(1), &json!([1])), [(String::new(), json!(1), json!([1]))]);
    }

    #[test]
    fn markup_stays_text_and_long_lists_say_what_is_left_out() {
        let edit = Edit { asked: vec![json!({ "<b>": "<i>" })], edited: vec![json!({ "<b>": "<u>" })] };
        let shown = table(&edit).into_string();
        assert!(shown.contains("<del>") && shown.contains("&lt;i&gt;") && !shown.contains("<i>"), "{shown}");
        let long = |from: usize| Value::from((from..from + SHOWN_MAX + 7).collect::<Vec<_>>());
        let shown = table(&Edit { asked: vec![long(0)], edited: vec![long(1)] }).into_string();
        assert!(shown.contains("And 7 more changes"), "{shown}");
    }
}
