//! Where much is at stake, whoever goes ahead says with what: a click is too quick.

use holdpoint_engine::Approval;
use holdpoint_engine::approvals::policy::Risk;
use holdpoint_graph::nodes::Verdict;
use maud::{Markup, html};
use serde_json::Value;

use super::page::short;
use super::text::{is_suspicious, text};
use crate::problem::Problem;

/// Members that say with what, the most telling first.
const TELLING: [&str; 7] = ["amount_cents", "amount", "total", "order_id", "account", "name", "id"];

/// Longest text that somebody is asked to type.
const CHARACTERS_MAX: usize = 40;

/// What is to be typed to go ahead, and what it is; none where a click will do.
pub(crate) fn wanted(approval: &Approval) -> Option<(&'static str, String)> {
    if approval.risk != Some(Risk::High) {
        return None;
    }
    // The edited form, where there is one, is what would be done.
    let edit = approval.edit();
    let edited = edit.as_ref().and_then(|edit| edit.edited.first());
    let asked = approval.actions.first().map_or(&approval.payload, |action| &action.args);
    let about = edited.unwrap_or(asked);
    let told = TELLING.into_iter().find_map(|name| Some((name, word(about.get(name)?)?)));
    Some(told.unwrap_or_else(|| ("the end of its id", short(approval.id.as_str()).to_owned())))
}

/// What a person can type and mean.
fn word(value: &Value) -> Option<String> {
    let word = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let fits = !word.is_empty() && word.chars().count() <= CHARACTERS_MAX && !is_suspicious(&word);
    (fits && !word.chars().any(char::is_control)).then_some(word)
}

/// The field to type it into.
pub(crate) fn field(approval: &Approval) -> Markup {
    html! {
        @if let Some((name, word)) = wanted(approval) {
            p.notice { "Much is at stake. To go ahead, type " strong { (text(&word)) } " (" (name) ")." }
            label for="confirm" { "Type it here to go ahead" }
            input type="text" id="confirm" name="confirm" maxlength="100" autocomplete="off" spellcheck="false";
        }
    }
}

/// Refuses to go ahead without it.
///
/// # Errors
/// 422 `HP0916`.
pub(crate) fn check(approval: &Approval, verdict: Verdict, typed: &str) -> Result<(), Problem> {
    let goes_ahead = matches!(verdict, Verdict::Accept | Verdict::Edit | Verdict::Respond);
    match wanted(approval) {
        Some((name, word)) if goes_ahead && typed.trim() != word => {
            Err(Problem::invalid("HP0916", format!("to go ahead, {name} has to be typed as it is shown"))
                .with_cure("go back, look again, and type it"))
        }
        _ => Ok(()),
    }
}
