//! Bad input: each a stable code, a cause, a cure and an exit code; nothing is written and the thread stays answerable.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::Payments;
use holdpoint_tests::program::{Place, node, repository};
use serde_json::{Value, json};

const STRANGER: &str = "0123456789abcdef0123456789abcdef";

/// A thread `t` that waits for an answer which must be an object with `approved`.
fn waiting() -> (Place, Value) {
    let place = Place::new();
    let graph = Probes::new("start = \"gate\"", "approved = { type = [\"boolean\", \"null\"] }\namount = { type = \"integer\", minimum = 1 }")
        .node("gate", "next = \"END\"", "{ ask = { amount = \"$state.amount\" }, as = \"reply\" }, { set = { approved = \"$reply.approved\" } }")
        .lines("[nodes.gate.interrupt]\nanswer_schema = { type = \"object\", required = [\"approved\"], properties = { approved = { type = \"boolean\" } } }")
        .write(&place);
    let reply = place.expect(3, &["run", graph.to_str().unwrap(), "--thread", "t", "--input", r#"{"amount":5}"#]);
    (place, reply)
}

#[test]
fn answers_that_are_refused_leave_the_question_standing() {
    let (place, asked) = waiting();
    let stranger = json!({ STRANGER: {"approved": true} }).to_string();
    let bad_key = json!({ "q1": {"approved": true} }).to_string();
    let cases: [(&str, Vec<&str>); 9] = [
        ("HP0413", vec!["--answer", r#"{"ok":true}"#]),
        ("HP0413", vec!["--answer", r#"{"approved":"yes"}"#]),
        ("HP0412", vec!["--answer", "null"]),
        ("HP0406", vec!["--answers", &stranger]),
        ("HP0406", vec!["--answer", &stranger]),
        ("HP0411", vec!["--answers", &bad_key]),
        ("HP0410", vec!["--answers", "{}"]),
        ("HP0705", vec!["--answer", "{approved"]),
        ("HP0404", vec!["--input", r#"{"amount":7}"#]),
    ];
    let history = place.expect(0, &["history", "t"]);
    for (code, arguments) in cases {
        let arguments: Vec<&str> = ["resume", "--thread", "t"].into_iter().chain(arguments).collect();
        place.refused(2, code, &arguments);
        assert_eq!(place.expect(0, &["history", "t"]), history, "{arguments:?} wrote something");
    }
    assert_eq!(place.expect(3, &["resume", "--thread", "t"])["interrupts"], asked["interrupts"]);
    let done = place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":false}"#]);
    assert_eq!(done["values"]["approved"], false);
}

#[test]
fn input_may_supersede_only_when_it_says_so() {
    let (place, asked) = waiting();
    let reply = place.expect(3, &["resume", "--thread", "t", "--input", r#"{"amount":7}"#, "--supersede"]);
    assert_eq!(reply["interrupts"][0]["value"], json!({"amount": 7}));
    let old = json!({ asked["interrupts"][0]["id"].as_str().unwrap(): {"approved": true} }).to_string();
    let refusal = place.refused(2, "HP0407", &["resume", "--thread", "t", "--answers", &old]);
    assert!(refusal["error"]["message"].as_str().unwrap().contains("superseded"), "{refusal}");
}

#[test]
fn unknown_threads_and_stores() {
    let (place, _) = waiting();
    place.refused(2, "HP0401", &["resume", "--thread", "nobody", "--answer", "true"]);
    place.refused(2, "HP0401", &["resume", "--thread", "nobody"]);
    place.refused(2, "HP0401", &["history", "nobody"]);
    place.refused(2, "HP0401", &["threads", "show", "nobody"]);
    place.refused(2, "HP0401", &["threads", "delete", "nobody"]);
    place.refused(2, "HP0703", &["resume", "--thread", ""]);
    let empty = Place::new();
    empty.refused(2, "HP0702", &["resume", "--thread", "t"]);
    assert!(!empty.store().exists(), "looking makes no store");
}

#[test]
fn input_that_does_not_fit_the_state() {
    let place = Place::new();
    let graph =
        Probes::new("start = \"a\"", "amount = { type = \"integer\", minimum = 1 }").node("a", "", "").write(&place);
    let graph = graph.to_str().unwrap();
    for (code, input) in [
        ("HP0302", r#"{"amount":"five"}"#),
        ("HP0302", r#"{"amount":0}"#),
        ("HP0301", r#"{"amont":5}"#),
        ("HP0414", "[1]"),
        ("HP0414", "null"),
        ("HP0705", "{"),
        ("HP0704", "@nowhere.json"),
    ] {
        place.refused(2, code, &["run", graph, "--thread", "t", "--input", input]);
        assert_eq!(place.run(&["threads"]).reply, json!([]), "{input} left a thread");
    }
    assert_eq!(place.expect(0, &["run", graph, "--thread", "t", "--input", r#"{"amount":5}"#])["values"]["amount"], 5);
}

#[test]
fn components_that_are_refused() {
    let place = Place::new();
    fs::write(place.path("corrupt.wasm"), b"\0asm\x0d\0\x01\0 this is no component").unwrap();
    fs::write(place.path("empty.wasm"), b"").unwrap();
    // A core module that wants something of the host that no node may have.
    fs::write(place.path("foreign.wat.wasm"), foreign_module()).unwrap();
    for (name, codes) in [
        ("missing.wasm", &["HP0191"][..]),
        ("corrupt.wasm", &["HP0201", "HP0202", "HP0203", "HP0204"]),
        ("empty.wasm", &["HP0201", "HP0202", "HP0203", "HP0204"]),
        ("foreign.wat.wasm", &["HP0201", "HP0202", "HP0203", "HP0204"]),
    ] {
        let text = format!("name = \"g\"\nstart = \"a\"\n[state]\nx = {{}}\n[nodes.a]\ncomponent = \"{name}\"\n");
        fs::write(place.path("g.graph.toml"), text).unwrap();
        for command in [vec!["run", "g.graph.toml", "--thread", "t"], vec!["graph", "check", "g.graph.toml"]] {
            let outcome = place.run(&command);
            assert_eq!(outcome.exit, Some(2), "{name}: {outcome:?}");
            let code = outcome.reply["error"]["code"].as_str().unwrap_or_default().to_owned();
            assert!(codes.contains(&code.as_str()), "{name}: {outcome:?}");
        }
        assert_eq!(place.run(&["threads"]).reply.as_array().map_or(0, Vec::len), 0, "{name} left a thread");
    }
}

/// `(module (import "env" "open_door" (func)))`.
fn foreign_module() -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.extend([0x01, 0x04, 0x01, 0x60, 0x00, 0x00]);
    let import = [&[0x01, 0x03][..], b"env", &[0x09], b"open_door", &[0x00, 0x00]].concat();
    bytes.extend([0x02, u8::try_from(import.len()).unwrap()]);
    bytes.extend(import);
    bytes
}

#[test]
fn a_graph_with_ten_faults_reports_ten() {
    let place = Place::new();
    let probe = node("probe").display().to_string();
    let text = format!(
        r#"name = "ten faults"
start = "nowhere"
recursion_limit = 0
[state]
a = {{ type = "strin" }}
b = {{ type = "integer", reducer = "sum" }}
[nodes.one]
component = "{probe}"
nxt = "END"
next = "tow"
[nodes.two]
next = [{{ when = "state.a ==", to = "one" }}, {{ to = "END" }}]
[nodes.three]
component = "{probe}"
reads = ["c"]
timeout = "5 parsecs"
retry = {{ attempts_max = 0 }}
"#
    );
    fs::write(place.path("g.graph.toml"), &text).unwrap();
    let refusal = place.expect(2, &["graph", "check", "g.graph.toml"]);
    let problems = refusal["error"]["problems"].as_array().unwrap();
    assert!(problems.len() >= 10, "{} problems: {problems:#?}", problems.len());
    let lines: Vec<u64> = problems.iter().map(|problem| problem["line"].as_u64().unwrap()).collect();
    assert!(lines.windows(2).all(|pair| pair[0] <= pair[1]), "in order of line: {lines:?}");
    for problem in problems {
        assert!(problem["column"].as_u64().unwrap() > 0 && !problem["cure"].as_str().unwrap().is_empty(), "{problem}");
    }
    // For a person: file, line and column.
    let output = place.command(&["run", "g.graph.toml", "--thread", "t"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("g.graph.toml:2:"), "{text}");
}

#[test]
fn a_component_that_wants_more_than_it_is_granted() {
    let place = Place::with_refund_connectors(Payments::start().url());
    let text = format!(
        "name = \"g\"\nstart = \"a\"\n[state]\norder_id = {{}}\namount_cents = {{}}\noperation_id = {{}}\n[nodes.a]\ncomponent = \"{}\"\n",
        node("commit-refund").display()
    );
    fs::write(place.path("g.graph.toml"), text).unwrap();
    let refusal = place.refused(2, "HP0194", &["run", "g.graph.toml", "--thread", "t"]);
    assert!(refusal["error"]["message"].as_str().unwrap().contains("payments"), "{refusal}");
}

#[test]
fn stores_that_cannot_be_used() {
    let (place, _) = waiting();
    // Made by a newer version.
    let newer = Place::new();
    fs::copy(place.store(), newer.store()).unwrap();
    let mut header = fs::read(newer.store()).unwrap();
    // SQLite's user version lies at offset 60, big-endian: our schema version.
    header[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    fs::write(newer.store(), header).unwrap();
    newer.refused(1, "HP0609", &["threads"]);
    // Not a database at all.
    let foreign = Place::new();
    fs::write(foreign.store(), "this is a diary, not a database; it is long enough to be looked at".repeat(20))
        .unwrap();
    foreign.refused(1, "HP0611", &["threads"]);
    // In a folder that is not there.
    let nowhere = Place::new();
    let outcome =
        nowhere.command(&["threads", "--json"]).arg("--store").arg("sqlite:no/such/folder/h.db").output().unwrap();
    assert_eq!(outcome.status.code(), Some(2));
    let unknown = nowhere.command(&["threads", "--json"]).arg("--store").arg("oracle:x").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_read_only_store_is_readable_and_refuses_answers() {
    if is_root() {
        // Root may write anywhere, so the mode is enforced through another user.
        return read_only_as_nobody();
    }
    let (place, _) = waiting();
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o444)).unwrap();
    place.refused(1, "HP0608", &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

fn read_only_as_nobody() {
    use std::os::unix::process::CommandExt as _;
    let (place, _) = waiting();
    // The folder and the file belong to root; `nobody` may read both and write neither.
    fs::set_permissions(place.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o444)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = copy.path().join("holdpoint");
    fs::copy(holdpoint_tests::program::program(), &program).unwrap();
    let output = std::process::Command::new(&program)
        .args(["resume", "--thread", "t", "--answer", r#"{"approved":true}"#, "--json", "--store"])
        .arg(format!("sqlite:{}", place.store().display()))
        .current_dir(copy.path())
        .env_remove("HOLDPOINT_CACHE_DIR")
        .env("HOME", copy.path())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(reply["error"]["code"], "HP0608", "{reply} {}", String::from_utf8_lossy(&output.stderr));
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o644)).unwrap();
    place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":true}"#]);
}

#[test]
fn another_version_of_the_graph_is_not_slipped_under_a_thread() {
    let (place, _) = waiting();
    let other = Probes::new("start = \"gate\"", "amount = { type = \"integer\" }")
        .node("gate", "", "")
        .write_as(&place, "other.graph.toml");
    place.refused(2, "HP0415", &["run", other.to_str().unwrap(), "--thread", "t", "--input", "{}"]);
}

#[test]
fn usage_errors_exit_with_two() {
    let place = Place::new();
    for arguments in
        [&["frobnicate"][..], &["run"], &["resume"], &["resume", "--thread", "t", "--answer", "1", "--answers", "{}"]]
    {
        let output = place.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    assert!(repository().join("README.md").exists());
}
