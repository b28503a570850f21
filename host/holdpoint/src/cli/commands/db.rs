//! `holdpoint db`.

use holdpoint_engine::prune::Rule;
use holdpoint_engine::{PruneReport, PruneRequest};
use holdpoint_graph::clock::Clock;
use serde_json::json;

use crate::cli::context::Context;
use crate::cli::output::{self, Progress};
use crate::cli::time_arguments::{DatabaseArguments, DatabaseCommand, PruneArguments};
use crate::failure::{EXIT_DONE, Failure};
use crate::system::SystemClock;

/// Cares for the store.
///
/// # Errors
/// The store's.
pub async fn run(context: &Context, arguments: DatabaseArguments) -> Result<u8, Failure> {
    match arguments.command {
        DatabaseCommand::Prune(arguments) => prune(context, arguments).await,
    }
}

async fn prune(context: &Context, arguments: PruneArguments) -> Result<u8, Failure> {
    let older_than_ms = arguments.older_than.as_deref().map(duration_ms).transpose()?;
    let rule = match (arguments.keep_latest, arguments.delete) {
        (_, true) => Some(Rule::Delete),
        (true, false) => Some(Rule::KeepLatest),
        (false, false) => None,
    };
    let host = context.existing_host()?;
    let progress = Progress::begin("pruning", context.json);
    let now_ms = SystemClock.now_ms();
    let dry_run = arguments.dry_run;
    let report = match rule {
        Some(rule) => {
            let request = PruneRequest { rule, older_than_ms, now_ms, dry_run };
            host.engine.prune(&request).await.map_err(|error| Failure::from_engine(&error))?
        }
        None => PruneReport::default(),
    };
    let cached = if dry_run {
        0
    } else {
        let until_ms = (!arguments.cache).then_some(now_ms);
        host.store.clear_cache(until_ms).await.map_err(|error| Failure::from_store(&error))?
    };
    drop(progress);
    if context.json {
        output::print_json(&json!({
            "dry_run": dry_run,
            "threads": report.threads,
            "trimmed": report.trimmed,
            "deleted": report.deleted,
            "checkpoints_removed": report.checkpoints,
            "left_with_open_operations": report.open,
            "left_because_changed": report.changed,
            "cache_entries_removed": cached,
        }));
        return Ok(EXIT_DONE);
    }
    let row = |what: &str, count: u64| vec![what.to_owned(), count.to_string()];
    let mut rows = vec![
        row("finished threads, old enough", report.threads),
        row("trimmed to their newest state", report.trimmed),
        row("deleted", report.deleted),
        row("checkpoints removed", report.checkpoints),
        row("left alone: an operation has no outcome yet", report.open),
        row("left alone: changed meanwhile", report.changed),
    ];
    if !dry_run {
        rows.push(row("cached results removed", cached));
    }
    let title = if dry_run { "would be" } else { "was done" };
    output::print_text(&output::table(&[title, ""], rows));
    Ok(EXIT_DONE)
}

/// Reads a duration such as `90m`, `12h` or `30d`; in milliseconds.
fn duration_ms(text: &str) -> Result<u64, Failure> {
    const UNITS: [(&str, u64); 5] =
        [("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 7 * 86_400_000)];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let duration_ms = number.parse::<u64>().ok().zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    duration_ms.ok_or_else(|| {
        Failure::invalid("HP0725", format!("--older-than {text} is not a duration"), "such as 90m, 12h, 30d or 8w")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(duration_ms(text).map_err(|failure| failure.code).ok(), expected, "{text}");
        };
        check("90s", Some(90_000));
        check("30d", Some(2_592_000_000));
        check("8w", Some(4_838_400_000));
        check("0h", Some(0));
        for wrong in ["", "d", "30", "-1d", "1.5h", "1 h", "99999999999999999999d", "18446744073709551615w"] {
            check(wrong, None);
        }
    }
}
