//! Runs the scenarios and tells what came of them, a line each.

use std::time::Duration;

use super::act::act;
use super::check::{self, Before, Memory};
use super::data::{self, Scenario};
use super::ids;
use super::world::{StoreKind, World, thread_id};

/// Longest time of a scenario on one store: none waits for anything but its own nodes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the scenarios whose id or title contains one of the filters, all of them when there is none. Each line is told as
/// soon as it is known. Gives whether everything was as expected.
pub async fn run(filters: &[String], mut tell: impl FnMut(&str)) -> bool {
    let scenarios = match data::read_all() {
        Ok(scenarios) => scenarios,
        Err(fault) => {
            tell(&format!("FAIL {fault}"));
            return false;
        }
    };
    let faults = ids::faults(scenarios.iter().map(|scenario| scenario.id.as_str()));
    faults.iter().for_each(|fault| tell(&format!("FAIL {fault}")));
    let wanted = |scenario: &&Scenario| {
        let is_meant = |filter: &String| scenario.id == *filter || scenario.title.contains(filter.as_str());
        filters.is_empty() || filters.iter().any(is_meant)
    };
    let mut scenarios: Vec<&Scenario> = scenarios.iter().filter(wanted).collect();
    scenarios.sort_by_key(|scenario| ids::IDS.iter().position(|id| *id == scenario.id));
    let (mut passed, mut failed) = (0, 0);
    for scenario in &scenarios {
        let mut notes = Vec::new();
        let mut stores = String::new();
        for (kind, name) in StoreKind::NAMES {
            let found = match tokio::time::timeout(PATIENCE, play(scenario, kind)).await {
                Ok(Ok(faults)) => faults,
                Ok(Err(fault)) => vec![fault],
                Err(_) => vec![format!("it is not over after {} s", PATIENCE.as_secs())],
            };
            if found.is_empty() {
                passed += 1;
                stores.push_str(&format!(" {name:<7}"));
            } else {
                failed += 1;
                stores.push_str(&format!(" {:<7}", "-"));
                notes.extend(found.iter().map(|fault| format!("     {name}: {}", shortened(fault))));
            }
        }
        let mark = if notes.is_empty() { "ok  " } else { "FAIL" };
        tell(&format!("{:<4} {mark}{stores} {}", scenario.id, scenario.title));
        notes.iter().for_each(|note| tell(note));
        if let Some(deviation) = &scenario.deviation {
            tell(&format!("          deviation: {deviation}"));
        }
    }
    let failures = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    let stores = StoreKind::NAMES.len();
    tell(&format!("{} scenarios, {stores} stores: {passed} passed{failures}", scenarios.len()));
    failed == 0 && faults.is_empty()
}

/// A whole history fills screens, and its beginning says what it is.
fn shortened(fault: &str) -> String {
    const CHARACTERS_MAX: usize = 1500;
    match fault.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &fault[..end]),
        None => fault.to_owned(),
    }
}

/// Plays one scenario on one store; gives what was not as expected. A step after one that was not tells nothing.
///
/// # Errors
/// What is wrong with the scenario itself.
pub async fn play(scenario: &Scenario, kind: StoreKind) -> Result<Vec<String>, String> {
    let mut world = World::new(scenario, kind).await?;
    let mut memory = Memory::default();
    for (index, step) in scenario.steps.iter().enumerate() {
        let place = format!("step {}", index + 1);
        let about = step.call.copy.as_deref().or(step.circumstances.thread.as_deref()).unwrap_or("t");
        let before = Before::of(&world, &thread_id(about)?).await?;
        let done = act(&mut world, step, &memory.names).await.map_err(|fault| format!("{place}: {fault}"))?;
        let faults = check::check(&world, step, &before, &done, &mut memory).await;
        let faults = faults.map_err(|fault| format!("{place}: {fault}"))?;
        if !faults.is_empty() {
            return Ok(faults.into_iter().map(|fault| format!("{place}: {fault}")).collect());
        }
    }
    Ok(Vec::new())
}
