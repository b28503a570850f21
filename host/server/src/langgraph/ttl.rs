//! How long a thread stays after it was last used, as clients say it and are told: in minutes.

use holdpoint_store::{ExpiryRule, ThreadSummary};
use serde_json::{Value, json};

use super::forms::time_text;
use crate::problem::Problem;
use crate::settings::ThreadTtl;

/// Longest life that can be asked for, in minutes: a hundred years.
const MINUTES_MAX: f64 = 52_560_000.0;

const MINUTE_MS: f64 = 60_000.0;

/// Reads `{"ttl": minutes, "strategy": "delete" | "keep_latest"}`, or minutes alone; 0 means that the thread stays. None when nothing is said.
///
/// # Errors
/// 422 `HP0821`.
pub(super) fn read(given: Option<&Value>) -> Result<Option<Option<ThreadTtl>>, Problem> {
    let wrong = |detail: String| Problem::invalid("HP0821", format!("`ttl`: {detail}"));
    let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(None) };
    let (minutes, strategy) = match given {
        Value::Object(members) => (members.get("ttl").unwrap_or(&Value::Null), members.get("strategy")),
        minutes => (minutes, None),
    };
    let in_range = |minutes: &f64| (0.0..=MINUTES_MAX).contains(minutes);
    let minutes = minutes
        .as_f64()
        .filter(in_range)
        .ok_or_else(|| wrong(format!("{minutes} is no number of minutes from 0 to {MINUTES_MAX}")))?;
    let rule = match strategy.filter(|strategy| !strategy.is_null()) {
        None => ExpiryRule::Delete,
        Some(strategy) => strategy
            .as_str()
            .and_then(ExpiryRule::parse)
            .ok_or_else(|| wrong(format!("the strategy {strategy} is neither delete nor keep_latest")))?,
    };
    if minutes == 0.0 {
        return Ok(Some(None));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let ttl_ms = (minutes * MINUTE_MS).ceil() as u64;
    Ok(Some(Some(ThreadTtl { ttl_ms, rule })))
}

/// What `include=ttl` shows; null for a thread that stays.
pub(super) fn shown(summary: &ThreadSummary) -> Value {
    let Some(expiry) = summary.entry.expiry else { return Value::Null };
    let used_at_ms = summary.record.as_ref().map_or(0, |record| record.updated_at_ms);
    let at_ms = expiry.at_ms.max(used_at_ms.saturating_add(expiry.ttl_ms));
    #[expect(clippy::cast_precision_loss, reason = "minutes are shown")]
    let minutes = expiry.ttl_ms as f64 / MINUTE_MS;
    json!({ "strategy": expiry.rule.name(), "ttl_minutes": minutes, "expires_at": time_text(at_ms) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say() {
        let ttl = |ttl_ms, rule| Ok(Some(Some(ThreadTtl { ttl_ms, rule })));
        let check = |given: Value, expected| assert_eq!(read(Some(&given)), expected, "{given}");
        check(json!({ "ttl": 5 }), ttl(300_000, ExpiryRule::Delete));
        check(json!({ "ttl": 0.5, "strategy": "keep_latest" }), ttl(30_000, ExpiryRule::KeepLatest));
        check(json!({ "ttl": 1, "strategy": null, "odd": 1 }), ttl(60_000, ExpiryRule::Delete));
        check(json!(2), ttl(120_000, ExpiryRule::Delete));
        check(json!(1e-9), ttl(1, ExpiryRule::Delete));
        check(json!({ "ttl": 0 }), Ok(Some(None)));
        check(Value::Null, Ok(None));
        assert_eq!(read(None), Ok(None));
        for odd in [
            json!({}),
            json!({ "ttl": "5" }),
            json!({ "ttl": -1 }),
            json!({ "ttl": 1e12 }),
            json!({ "ttl": 1, "strategy": "explode" }),
            json!("5"),
            json!(true),
            json!([5]),
        ] {
            let refused = read(Some(&odd)).expect_err("refused");
            assert_eq!((refused.status.as_u16(), refused.code.as_str()), (422, "HP0821"), "{odd}");
        }
    }
}
