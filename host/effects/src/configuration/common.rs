//! The keys that every connector has, whatever its kind.

use holdpoint_graph::ids::GraphName;
use holdpoint_graph::state::Expression;
use toml::de::DeValue;

use crate::connectors::Kind;

use super::problem::Code;
use super::section::expression;
use super::toml_reader::{Item, Problems, Table};
use super::{ApprovalRule, Class, Rate, ScopeRule, StandingApproval, units};

const TIMEOUT_DEFAULT_MS: u64 = 10_000;
const CLOCK_SKEW_DEFAULT_MS: u64 = 5_000;
const REQUEST_BYTES_DEFAULT: usize = 1 << 20;

/// What rules about requests see.
const REQUEST: &[&str] = &["request"];

/// The values of those keys.
pub(super) struct Common {
    pub(super) class: Class,
    pub(super) scope: ScopeRule,
    pub(super) timeout_ms: u64,
    pub(super) clock_skew_ms: u64,
    pub(super) request_bytes_max: usize,
    pub(super) requires_approval: ApprovalRule,
    pub(super) standing_approvals: Vec<StandingApproval>,
    pub(super) rate: Option<Rate>,
    pub(super) concurrent_max: Option<u32>,
}

/// Reads them. What is wrong is noted, and its default stands in.
pub(super) fn read(table: &mut Table<'_, '_>, kind: &Kind, problems: &mut Problems<'_>) -> Common {
    let class = table.take("class").and_then(|item| class(item, &table.key("class"), kind, problems));
    Common {
        class: class.unwrap_or(kind.class_default),
        scope: scope(table, problems),
        timeout_ms: table.duration_ms("timeout", TIMEOUT_DEFAULT_MS, problems),
        clock_skew_ms: table.duration_ms("clock_skew", CLOCK_SKEW_DEFAULT_MS, problems),
        request_bytes_max: table.size_bytes("request_limit", REQUEST_BYTES_DEFAULT, problems),
        requires_approval: requires_approval(table, problems),
        standing_approvals: standing_approvals(table, problems),
        rate: rate(table, problems),
        concurrent_max: table.count_if_there("concurrency", problems),
    }
}

/// A class by its name; with a window, a table. One that the kind does not have is refused.
fn class(item: Item<'_, '_>, key: &str, kind: &Kind, problems: &mut Problems<'_>) -> Option<Class> {
    let possible = kind.classes.iter().map(|class| match class {
        Class::Idempotent { .. } => "{ idempotent = { window = \"24h\" } }".to_owned(),
        class => format!("{:?}", class.name()),
    });
    let cure = format!("write {}", possible.collect::<Vec<_>>().join(" or "));
    let supported = |name: &str| kind.classes.iter().copied().find(|class| class.name() == name);
    if let Some(name) = item.value.as_str() {
        let class = supported(name).filter(|class| !matches!(class, Class::Idempotent { .. }));
        if class.is_none() {
            let message = format!("`{key}` is {name:?}, which kind {:?} cannot be", kind.name);
            problems.add(Code::Value, item.offset, message, cure);
        }
        return class;
    }
    let Some(table) = item.value.as_table() else {
        problems.add(Code::Value, item.offset, format!("`{key}` is of type {}", item.value.type_str()), cure);
        return None;
    };
    if supported("idempotent").is_none() {
        problems.add(Code::Value, item.offset, format!("`{key}` is a table"), cure);
        return None;
    }
    let mut table = Table::new(key, item.offset, table);
    let idempotent = table.require("idempotent", &cure, problems);
    table.finish(problems);
    let mut table = idempotent?.table(&format!("{key}.idempotent"), problems)?;
    let window = table.require("window", "write how long the receiver remembers an id", problems);
    let window_ms = table.duration_ms("window", 1, problems);
    table.finish(problems);
    window.map(|_| Class::Idempotent { window_ms: Some(window_ms) })
}

fn scope(table: &mut Table<'_, '_>, problems: &mut Problems<'_>) -> ScopeRule {
    let shared_by = table.take("shared_by");
    let scope = table.text("scope", problems);
    match (scope, shared_by) {
        (Some((_, "global")), shared_by) => {
            let graphs = shared_by.map_or_else(Vec::new, |item| item.texts(&table.key("shared_by"), problems));
            let parsed = graphs.into_iter().filter_map(|(offset, name)| match GraphName::parse(name) {
                Ok(name) => Some(name),
                Err(error) => {
                    problems.add(Code::Value, offset, error.to_string(), "write names of graphs");
                    None
                }
            });
            ScopeRule::Global { shared_by: parsed.collect() }
        }
        (Some((offset, other)), _) if other != "thread" => {
            let message = format!("`{}` is {other:?}", table.key("scope"));
            problems.add(Code::Value, offset, message, "write \"thread\" or \"global\"");
            ScopeRule::Thread
        }
        (_, None) => ScopeRule::Thread,
        (_, Some(item)) => {
            let message = format!("`{}` has no meaning without a global scope", table.key("shared_by"));
            problems.add(Code::Value, item.offset, message, "add scope = \"global\"");
            ScopeRule::Thread
        }
    }
}

fn requires_approval(table: &mut Table<'_, '_>, problems: &mut Problems<'_>) -> ApprovalRule {
    let Some(item) = table.take("requires_approval") else { return ApprovalRule::Never };
    let key = table.key("requires_approval");
    match item.value {
        DeValue::Boolean(false) => ApprovalRule::Never,
        DeValue::Boolean(true) => ApprovalRule::Always,
        DeValue::String(_) => {
            expression(item, &key, REQUEST, problems).map_or(ApprovalRule::Always, ApprovalRule::When)
        }
        other => {
            let message = format!("`{key}` is of type {}", other.type_str());
            let cure = "write true, false or a condition such as \"request.body.amount > 10000\"";
            problems.add(Code::Value, item.offset, message, cure);
            ApprovalRule::Always
        }
    }
}

fn standing_approvals(table: &mut Table<'_, '_>, problems: &mut Problems<'_>) -> Vec<StandingApproval> {
    let Some(item) = table.take("standing_approvals") else { return Vec::new() };
    let key = table.key("standing_approvals");
    let items = item.items(&key, "[[…]] before each of them", problems);
    items.into_iter().filter_map(|item| standing_approval(item.table(&key, problems)?, problems)).collect()
}

fn standing_approval(mut table: Table<'_, '_>, problems: &mut Problems<'_>) -> Option<StandingApproval> {
    let when: Option<Option<Expression>> =
        table.take("when").map(|item| expression(item, &table.key("when"), REQUEST, problems));
    let owner = words(&mut table, "owner", "write who answers for it", problems);
    let until_ms = table
        .require("until", "write until when it holds, such as 2027-01-31T00:00:00Z", problems)
        .and_then(|item| moment_ms(item, &table.key("until"), problems));
    let reason = words(&mut table, "reason", "write why it was given", problems);
    table.finish(problems);
    let when = match when {
        // A condition that cannot be read must not become none.
        Some(None) => return None,
        Some(when) => when,
        None => None,
    };
    Some(StandingApproval { when, owner: owner?, until_ms: until_ms?, reason: reason? })
}

/// A text that says something.
fn words(table: &mut Table<'_, '_>, key: &'static str, cure: &str, problems: &mut Problems<'_>) -> Option<String> {
    let item = table.require(key, cure, problems)?;
    let text = item.text(&table.key(key), problems)?.trim();
    if text.is_empty() {
        problems.add(Code::Value, item.offset, format!("`{}` is empty", table.key(key)), cure);
        return None;
    }
    Some(text.to_owned())
}

/// A moment with its offset, as TOML or in quotes; in milliseconds since 1970.
fn moment_ms(item: Item<'_, '_>, key: &str, problems: &mut Problems<'_>) -> Option<u64> {
    let text = match item.value {
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::String(text) => text.to_string(),
        other => other.type_str().to_owned(),
    };
    let moment = text.parse::<jiff::Timestamp>().ok();
    let moment_ms = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    if moment_ms.is_none() {
        let message = format!("`{key}` is no moment: {text:?}");
        problems.add(Code::Value, item.offset, message, "write it such as 2027-01-31T00:00:00Z, with its offset");
    }
    moment_ms
}

fn rate(table: &mut Table<'_, '_>, problems: &mut Problems<'_>) -> Option<Rate> {
    let (offset, text) = table.text("rate", problems)?;
    let rate = units::rate(text);
    if rate.is_none() {
        let message = format!("`{}` is {text:?}, not a rate", table.key("rate"));
        problems.add(Code::Value, offset, message, "write it such as \"5/s\", \"100/m\" or \"1000/h\"");
    }
    rate
}
