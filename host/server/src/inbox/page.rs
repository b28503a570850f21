//! The frame of every page, and how times and values show.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::text::text;
use crate::caller::Caller;
use crate::problem::Problem;

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    Doubt,
    Threads,
    Audit,
    Elsewhere,
}

/// A page as it is sent.
pub(super) struct Page {
    status: StatusCode,
    markup: Markup,
}

impl Page {
    pub(super) fn new(title: &str, place: Place, caller: &Caller, content: Markup) -> Self {
        let entry = |to: &str, name: &str, own: Place| {
            html! { a href=(to) aria-current=[(own == place).then_some("page")] { (name) } }
        };
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) " · Holdpoint" }
                    link rel="stylesheet" href="/inbox/style.css";
                }
                body {
                    a.skip href="#content" { "skip to the content" }
                    header.top {
                        strong { "Holdpoint" }
                        nav aria-label="pages" {
                            (entry("/inbox", "Waiting", Place::Waiting))
                            (entry("/inbox/doubt", "In doubt", Place::Doubt))
                            (entry("/inbox/threads", "Threads", Place::Threads))
                            (entry("/inbox/audit", "Audit", Place::Audit))
                        }
                        span.faint { (text(&caller.principal.actor.id)) " (" (caller.principal.actor.basis.name()) ")" }
                    }
                    main id="content" { (content) }
                }
            }
        };
        Self { status: StatusCode::OK, markup }
    }

    /// A page that says why something was not done.
    pub(super) fn refusal(problem: &Problem, caller: &Caller, back: &str) -> Self {
        let content = html! {
            h1 { "That was not done" }
            p.notice.bad role="alert" { (text(&problem.detail)) }
            @if let Some(cure) = &problem.cure { p { (text(cure)) } }
            p.faint { "code " code { (problem.code) } }
            p { a href=(back) { "back" } }
        };
        Self { status: problem.status, ..Self::new("Not done", Place::Elsewhere, caller, content) }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers: [(HeaderName, HeaderValue); 2] = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (self.status, headers, self.markup.into_string()).into_response()
    }
}

/// A moment, for people: how long ago or ahead, with the exact time behind it.
pub(super) fn moment(at_ms: u64, now_ms: u64) -> Markup {
    let exact = exact(at_ms);
    let shown =
        if at_ms > now_ms { format!("in {}", span(at_ms - now_ms)) } else { format!("{} ago", span(now_ms - at_ms)) };
    html! { time datetime=(exact) title=(exact) { (shown) } }
}

/// How much time is left until a moment to come, in its two largest units.
pub(super) fn left(at_ms: u64, now_ms: u64) -> Markup {
    let exact = exact(at_ms);
    let shown = two_units(at_ms.saturating_sub(now_ms));
    html! { time datetime=(exact) title=(exact) { (shown) " left" } }
}

fn two_units(span_ms: u64) -> String {
    let seconds = span_ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A moment as the standard writes it.
pub(super) fn exact(at_ms: u64) -> String {
    let time = i64::try_from(at_ms).ok().and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok());
    time.map_or_else(|| format!("{at_ms} ms"), |time| format!("{time:.0}"))
}

/// A span in its largest unit that is at least one, rounded down.
fn span(span_ms: u64) -> String {
    let seconds = SignedDuration::from_millis(i64::try_from(span_ms).unwrap_or(i64::MAX)).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A JSON value as a person reads it: an object as a table, long texts whole, nothing hidden.
pub(super) fn value(value: &Value) -> Markup {
    match value {
        Value::Object(members) if !members.is_empty() => html! {
            dl.facts {
                @for (name, member) in members {
                    dt { (text(name)) }
                    dd { (self::value(member)) }
                }
            }
        },
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => html! {
            ol { @for item in items { li { (self::value(item)) } } }
        },
        Value::String(content) => html! { span.value { (text(content)) } },
        other => html! { code.value { (text(&other.to_string())) } },
    }
}

/// The end of a long id.
pub(super) fn short(id: &str) -> &str {
    let from = id.len().saturating_sub(8);
    id.get(from..).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans() {
        for (span_ms, shown) in
            [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 days")]
        {
            assert_eq!(span(span_ms), shown);
        }
        assert!(moment(5_000, 2_000).into_string().contains("in 3 s"));
        assert!(moment(2_000, 5_000).into_string().contains("3 s ago"));
    }

    #[test]
    fn what_is_left() {
        for (span_ms, shown) in [
            (999, "0 s"),
            (59_000, "59 s"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h 0 min"),
            (86_399_000, "23 h 59 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(two_units(span_ms), shown);
        }
        assert!(left(5_000, 9_000).into_string().contains("0 s left"));
    }

    #[test]
    fn values_are_never_markup() {
        let shown = value(&json!({ "<b>": "<script>", "list": [{ "a": 1 }] })).into_string();
        assert!(shown.contains("&lt;b&gt;") && shown.contains("&lt;script&gt;") && !shown.contains("<script>"));
    }

    #[test]
    fn short_ids() {
        assert_eq!((short("0123456789"), short("abc")), ("23456789", "abc"));
    }
}
