//! `isolated`: a guest can neither crash, stall nor fill the host. Each limit names itself, and the thread can be continued.

use std::time::Instant;

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::program::Place;
use serde_json::json;

/// Runs one probe with a script; it must fail the thread, with this code and text.
fn check(keys: &str, script: &str, code: &str, text: &str) {
    let place = Place::new();
    let graph = Probes::new("start = \"a\"", "x = {}").node("a", keys, script).write(&place);
    let reply = place.expect(1, &["run", graph.to_str().unwrap(), "--thread", "t"]);
    assert_eq!(reply["status"], "failed", "{script}: {reply}");
    assert_eq!(reply["error"]["code"], code, "{script}: {reply}");
    assert_eq!(reply["error"]["node"], "a");
    assert!(reply["error"].to_string().contains(text), "{script}: {reply}");
    assert_eq!(reply["next"], json!(["a"]), "the task can be continued: {reply}");
    assert_eq!(place.expect(1, &["resume", "--thread", "t"])["error"]["code"], code);
}

#[test]
fn an_endless_loop_ends_at_its_time() {
    let begun = Instant::now();
    check("timeout = \"300ms\"", "{ spin = true }", "HP0424", "time");
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn an_endless_loop_ends_at_its_fuel() {
    check("limits = { fuel = 20_000_000 }", "{ spin = true }", "HP0424", "fuel");
}

#[test]
fn a_memory_bomb_ends_at_its_memory() {
    check("limits = { memory = \"32MiB\" }", "{ allocate = 268435456 }", "HP0424", "memory");
}

#[test]
fn a_trap_is_a_trap_and_a_failure_is_a_failure() {
    check("", "{ trap = true }", "HP0423", "trap");
    check("", "{ fail = { code = \"no-stock\", message = \"sold out\", retryable = false } }", "no-stock", "sold out");
}

#[test]
fn a_value_over_the_limit_is_refused() {
    let place = Place::new();
    let script = "{ set = { y = \"${state.x}${state.x}\" } }";
    let graph = Probes::new("start = \"a\"", "x = {}\ny = {}").node("a", "", script).write(&place);
    let input = json!({ "x": "x".repeat(700_000) }).to_string();
    std::fs::write(place.path("input.json"), input).unwrap();
    let reply = place.expect(1, &["run", graph.to_str().unwrap(), "--thread", "t", "--input", "@input.json"]);
    assert_eq!(reply["error"]["code"], "HP0424", "{}", reply["error"]);
    assert!(reply["error"].to_string().contains("value"), "{}", reply["error"]);
}

#[test]
fn a_log_flood_fills_nothing() {
    let place = Place::new();
    let script = "{ repeat = { times = 1000000 }, do = [{ log = \"flood flood flood flood flood flood flood\" }] }";
    let graph = Probes::new("start = \"a\"", "x = {}").node("a", "timeout = \"20s\"", script).write(&place);
    let output = place
        .command(&["run", graph.to_str().unwrap(), "--thread", "t", "--json"])
        .env("HOLDPOINT_LOG", "info")
        .output()
        .unwrap();
    let outcome = holdpoint_tests::Outcome::of(output);
    assert_eq!(outcome.reply["error"]["code"], "HP0424", "{}", outcome.reply);
    assert_eq!(outcome.reply["error"]["details"]["limit"], "log-volume");
    assert!(outcome.notes.contains("flood") && outcome.notes.len() < 4 << 20, "{} bytes of log", outcome.notes.len());
}

#[test]
fn an_ungranted_connector_is_denied() {
    let place = {
        let mut place = Place::new();
        let ledger = place.path("ledger.jsonl");
        place.configure(&format!("[connectors.ledger]\nkind = \"file\"\npath = \"{}\"\n", ledger.display()));
        place
    };
    let script = "{ effect = { id = \"a\", connector = \"ledger\", request = { row = 1 } } }";
    let graph = Probes::new("start = \"a\"", "x = {}").node("a", "", script).write(&place);
    let reply = place.expect(1, &["run", graph.to_str().unwrap(), "--thread", "t"]);
    assert_eq!(reply["error"]["code"], "denied", "{reply}");
    assert!(!place.path("ledger.jsonl").exists());
}

#[test]
fn a_node_sees_no_clock_and_no_chance_of_its_own() {
    let place = Place::new();
    let script = "{ now = \"t1\" }, { random = { bytes = 8, as = \"r1\" } }, { ask = \"go on?\", as = \"reply\" }, \
                  { now = \"t2\" }, { random = { bytes = 8, as = \"r2\" } }, \
                  { set = { seen = { t1 = \"$t1\", r1 = \"$r1\", t2 = \"$t2\", r2 = \"$r2\" } } }, { emit = \"$r1\" }";
    let graph = Probes::new("start = \"a\"", "seen = {}").node("a", "", script).write(&place);
    let graph = graph.to_str().unwrap();
    place.expect(3, &["run", graph, "--thread", "t"]);
    let reply = place.expect(0, &["resume", "--thread", "t", "--answer", "true"]);
    let seen = &reply["values"]["seen"];
    assert_ne!(seen["r1"], seen["r2"], "randomness goes on within an execution");
    assert!(seen["t1"].as_u64().unwrap() <= seen["t2"].as_u64().unwrap());
    // The same input on another thread is another task: other randomness.
    place.expect(3, &["run", graph, "--thread", "u"]);
    let other = place.expect(0, &["resume", "--thread", "u", "--answer", "true"]);
    assert_ne!(other["values"]["seen"]["r1"], seen["r1"]);
}

#[test]
fn what_a_task_read_of_time_and_chance_repeats_when_it_runs_again() {
    // `replayable`: the first execution asks with what it read; the second must ask the very same, or the answer would not fit.
    let place = Place::new();
    let script = "{ now = \"t\" }, { random = { bytes = 16, as = \"r\" } }, { ask = { t = \"$t\", r = \"$r\" }, as = \"reply\" }, \
                  { set = { seen = { t = \"$t\", r = \"$r\" } } }";
    let graph = Probes::new("start = \"a\"", "seen = {}").node("a", "", script).write(&place);
    let asked = place.expect(3, &["run", graph.to_str().unwrap(), "--thread", "t"]);
    let done = place.expect(0, &["resume", "--thread", "t", "--answer", "true"]);
    assert_eq!(done["values"]["seen"], asked["interrupts"][0]["value"]);
    let history = place.expect(0, &["history", "t"]);
    assert_eq!(history[1]["tasks"][0]["executions"], 2, "it ran twice");
}
