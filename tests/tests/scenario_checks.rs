//! The runner of scenarios notices what is not as expected: each kind of expectation, met and not met.

use holdpoint_tests::scenario::data;
use holdpoint_tests::scenario::ids;
use holdpoint_tests::scenario::report::play;
use holdpoint_tests::scenario::world::StoreKind;

const GRAPH: &str = r#"
[[scenario]]
id = "S01"
title = "a node with an operation and a question"
graph = '''
start = "a"
[nodes.a]
next = "gate"
[nodes.gate]
connectors = ["ledger"]
script = [
  { effect = { connector = "ledger", id = "note", request = { n = 1 } } },
  { ask = "ok?", as = "reply", answer_schema = { type = "string" }, deadline_ms = 60000 },
  { set = { log = ["$reply"] } },
]
'''
"#;

const RUN: &str = "[[scenario.step]]\nrun = {}\nmodes = [\"updates\"]\nsave = { asked = \"gate\" }\n";

/// Lines that hold after the run, and the same that do not.
const AFTER_RUN: [(&str, &str); 32] = [
    (r#"status = "interrupted""#, r#"status = "done""#),
    (r#"values = { log = ["a"] }"#, r#"values = { log = ["a", "b"] }"#),
    (r#"values = { log = "*" }"#, r#"values = { log = ["a"], more = 1 }"#),
    (r#"next = ["gate"]"#, "next = []"),
    ("paused = false", "paused = true"),
    (r#"asks = ["ok?"]"#, "asks = []"),
    ("doubts = []", r#"doubts = ["note"]"#),
    ("asked_anew = true", "asked_anew = false"),
    ("deadlines_ms = [60000]", "deadlines_ms = []"),
    (r#"questions = { gate = "pending" }"#, r#"questions = { gate = "answered" }"#),
    (
        r#"history = [["loop", ["gate"], 1], ["loop", ["a"], 0], ["input", ["__start__"], -1]]"#,
        r#"history = [["loop", ["gate"], 1], ["loop", ["a"], 0]]"#,
    ),
    (
        r#"history = [["loop", ["gate"], 1, { log = ["a"] }], ["loop", ["a"], 0, { log = [] }], ["input", ["__start__"], -1, { log = [] }]]"#,
        r#"history = [["loop", ["gate"], 1, { log = ["a"] }], ["loop", ["a"], 0, { log = ["x"] }], ["input", ["__start__"], -1, { log = [] }]]"#,
    ),
    ("checkpoints = 3", "checkpoints = 2"),
    (r#"source = "loop""#, r#"source = "fork""#),
    ("step = 1", "step = 2"),
    ("head_is_new = true", "head_is_new = false"),
    (r#"history_like = "t""#, ""),
    (r#"tasks = [{ node = "gate" }]"#, r#"tasks = [{ node = "a" }]"#),
    (r#"tasks = [{ node = "gate", status = "interrupted" }]"#, r#"tasks = [{ node = "gate", status = "done" }]"#),
    (r#"tasks = [{ node = "gate", executions = 1 }]"#, r#"tasks = [{ node = "gate", executions = 2 }]"#),
    (r#"tasks = [{ node = "gate", asks = ["ok?"] }]"#, r#"tasks = [{ node = "gate", asks = [] }]"#),
    (r#"tasks = [{ node = "gate", answers = [] }]"#, r#"tasks = [{ node = "gate", answers = ["yes"] }]"#),
    (r#"tasks = [{ node = "gate", schemas = [{ type = "string" }] }]"#, r#"tasks = [{ node = "gate", schemas = [] }]"#),
    ("", r#"tasks = [{ node = "gate", error = "HP0520" }]"#),
    ("", r#"tasks = [{ node = "gate", result = {} }]"#),
    ("", r#"tasks = [{ node = "gate", values = {} }]"#),
    ("runs = { a = 1, gate = 1 }", "runs = { a = 2 }"),
    (r#"order = ["a", "gate"]"#, r#"order = ["gate", "a"]"#),
    (r#"ended = ["a"]"#, r#"ended = ["a", "gate"]"#),
    (r#"sent = ["note"]"#, "sent = []"),
    (
        r#"stream = [["updates", { a = { log = ["a"] } }], ["updates", { __interrupt__ = [{ value = "ok?", id = "*" }] }]]"#,
        r#"stream = [["updates", { a = { log = ["a"] } }]]"#,
    ),
    ("stream_ends_at_head = true", "commits = 99"),
];

/// Lines that never hold after the run.
const NEVER: [&str; 7] = [
    r#"failed = "HP0420""#,
    r#"error = "HP0401""#,
    "absent = true",
    "unchanged = true",
    "pending_told = true",
    r#"sibling_of = "head""#,
    r#"kill = { node = "nobody" }"#,
];

/// Steps after the run that are as expected, and the same that are not.
const SECOND: [(&str, &str); 6] = [
    (
        "answers = { missing = 1 }\nerror = \"HP0406\"\nunchanged = true\npending_told = true\nsays = \"no such question\"",
        "answers = { missing = 1 }\nerror = \"HP0406\"\nsays = \"something else\"",
    ),
    ("answer = \"yes\"\nstatus = \"done\"", "answer = \"yes\"\nhistory_kept = true"),
    ("replay = \"before a\"\nhistory_kept = true", "replay = \"before a\"\nhistory_like = \"other\""),
    ("proceed = true\nunchanged = true\nasked_anew = false", "proceed = true\nasked_anew = true"),
    (
        "together = { calls = [{ answer = \"x\" }, { answer = \"y\" }], hold = \"gate\", outcomes = [\"ok\", \"HP0408\"] }",
        "together = { calls = [{ answer = \"x\" }, { answer = \"y\" }], hold = \"gate\", outcomes = [\"ok\", \"ok\"] }",
    ),
    (
        "answer = \"yes\"\nkill = { node = \"gate\" }\nstatus = \"running\"",
        "answer = \"yes\"\nkill = { sent = \"note\" }",
    ),
];

/// What is wrong with a scenario on the memory store; none when all is as expected.
async fn fault(steps: &str) -> Option<String> {
    let scenarios = match data::read(&format!("{GRAPH}{steps}")) {
        Ok(scenarios) => scenarios,
        Err(fault) => return Some(fault),
    };
    match play(&scenarios[0], StoreKind::Memory).await {
        Ok(faults) => faults.into_iter().next(),
        Err(fault) => Some(fault),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_expected_is_noticed() {
    for (holds, does_not) in AFTER_RUN {
        assert_eq!(fault(&format!("{RUN}{holds}\n")).await, None, "{holds}");
        if !does_not.is_empty() {
            assert!(fault(&format!("{RUN}{does_not}\n")).await.is_some(), "{does_not}");
        }
    }
    for line in NEVER {
        assert!(fault(&format!("{RUN}{line}\n")).await.is_some(), "{line}");
    }
    for (holds, does_not) in SECOND {
        let step = |lines: &str| format!("{RUN}[[scenario.step]]\n{lines}\n");
        assert_eq!(fault(&step(holds)).await, None, "{holds}");
        assert!(fault(&step(does_not)).await.is_some(), "{does_not}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_key_is_no_expectation() {
    let fault = fault(&format!("{RUN}statsu = \"done\"\n")).await;
    assert!(fault.as_ref().is_some_and(|fault| fault.contains("statsu")), "{fault:?}");
    assert!(data::read("[[scenario]]\nid = \"S01\"\ntitle = \"x\"\nstep = []\ndeviaton = \"x\"\n").is_err());
}

#[test]
fn missing_unknown_and_repeated_ids_are_told() {
    assert_eq!(ids::faults(ids::IDS), Vec::<String>::new());
    let faults = ids::faults(ids::IDS.into_iter().skip(1).chain(["G1", "S99"]));
    assert_eq!(
        faults,
        ["scenario G1 is there twice", "scenario S99 is not one of the reference's", "scenario S01 is missing"]
    );
}
