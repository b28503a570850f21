//! Faulty graph files: each fault with its place and code, all of them at once.

use holdpoint_graph::file::parse;

/// What every case below stands in: lines of a case are counted from 5.
const AROUND: &str = "name = \"g\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"a.wasm\"\n";

fn places(text: &str) -> Vec<String> {
    match parse(text, "g.toml") {
        Ok(_) => Vec::new(),
        Err(problems) => {
            problems.0.iter().map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.code)).collect()
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let shown = parse(text, "g.toml").err().map(|problems| problems.to_string()).unwrap_or_default();
    assert_eq!(places(text), expected, "{text}\n{shown}");
}

/// A case in the table of the node `a`.
#[track_caller]
fn check_node(lines: &str, expected: &[&str]) {
    check(&format!("{AROUND}{lines}\n[state]\nx = {{}}\n[nodes.b]\ncomponent = \"b.wasm\"\n"), expected);
}

#[test]
fn sound_nodes() {
    for lines in [
        "",
        "next = \"b\"",
        "next = [\"a\", \"b\", \"END\"]",
        "next = [{ when = \"state.x == 1\", to = [\"a\", \"b\"] }, { to = \"END\" }]",
        "reads = []",
        "reads = [\"x\"]",
        "connectors = [\"payments\"]",
        "join = [\"b\"]",
        "join = { of = [\"b\"] }",
        "join = { of = [\"b\"], need = 1 }",
        "defer = true",
        "interrupt_before = true\ninterrupt_after = false",
        "error_handler = \"b\"",
        "cache = true",
        "cache = false",
        "cache = { ttl = \"1ms\" }",
        "with = { at = 2026-01-01T00:00:00Z, list = [1, 2.5, { a = true }] }",
        "timeout = \"30s\"",
        "retry = { attempts_max = 1 }",
        "retry = { attempts_max = 3, backoff = \"500ms\", factor = 2, max = \"30s\" }",
        "limits = { memory = \"64MiB\", fuel = 5_000_000_000, time = \"1s\" }",
        "limits = { memory = 1024 }",
        "interrupt = {}",
        "interrupt = { deadline = { cel = \"state.x == 'P0' ? '15m' : '2h'\" }, on_timeout = \"fail\", quorum = 2, notify = [\"mail\"] }",
        "interrupt = { escalate = [{ after = \"1m\", to = [\"g\"] }, { after = \"2m\", to = [\"h\"] }] }",
        "interrupt = { allowed = [\"accept\", \"reject\", \"delegate\"], reason_required_on = [\"reject\"], remind = [\"1m\", \"2m\"] }",
        "interrupt = { assignees = [\"a\", \"b\"], quorum = { approve = 2, reject = 2 } }",
        "interrupt = { assignees = [\"a\", \"group:b\"], quorum = 9 }",
        "interrupt = { risk = \"high\", step_up = \"15m\", break_glass = true }",
        "interrupt = { risk = \"low\", step_up = { within = \"15m\", acr = [\"urn:mfa\"] }, break_glass = false }",
        "interrupt = { step_up = { within = \"15m\" } }",
        "interrupt = { assignees = [\"a\"], quorum = 2, escalate = [{ after = \"1m\", to = [\"b\"] }] }",
        "reads = [\"x\"]\ninterrupt = { deadline = { cel = \"state.x\" } }",
    ] {
        check_node(lines, &[]);
    }
}

#[test]
fn keys_and_types() {
    check_node("nxet = \"b\"", &["5:1 HP0102"]);
    check_node("next = 5", &["5:8 HP0104"]);
    check_node("next = { to = \"b\" }", &["5:8 HP0104"]);
    check_node("next = true", &["5:8 HP0104"]);
    check_node("with = [1]", &["5:8 HP0104"]);
    check_node("with = { a = nan, b = [inf] }", &["5:14 HP0105", "5:24 HP0105"]);
    check_node("with = { a = 99999999999999999999 }", &["5:14 HP0105"]);
    check_node("with = { a = 1e999 }", &["5:14 HP0105"]);
    check_node("retry = 3", &["5:9 HP0104"]);
    check_node("interrupt = true", &["5:13 HP0104"]);
    check("name = 5\nstart = \"a\"\n[nodes.a]\ncomponent = \"a\"", &["1:8 HP0104"]);
    check("name = \"g\"\nstart = \"a\"\nnodes = 5", &["3:9 HP0104"]);
    check(
        "name = \"g\"\nstart = \"a\"\nstate = []\nnodes = { a = { component = \"a\", reads = [\"x\"] } }",
        &["3:9 HP0104"],
    );
    check("name = \"g\"\nstart = \"a\"\nformat = 1\nnodes = { a = { component = \"a\" } }", &["3:1 HP0102"]);
    check("name = \"g\"\nstart = \"a\"\nnodes = { a = 7 }", &["3:15 HP0104"]);
}

#[test]
fn missing_parts() {
    check("", &["1:1 HP0103", "1:1 HP0119", "1:1 HP0103"]);
    check("name = \"g\"\nstart = \"END\"\n[nodes]", &["3:2 HP0119"]);
    check("name = \"g\"\nstart = \"a\"\n\n[nodes.a]", &["4:8 HP0103"]);
    check("name = \"g\"\nstart = \"a\"\nnodes = { a = {} }", &["3:11 HP0103"]);
    check_node("retry = {}", &["5:1 HP0103"]);
    check_node("interrupt = { deadline = {}, on_timeout = {} }", &["5:26 HP0103", "5:43 HP0103"]);
    check_node("next = [{ when = \"true\" }]", &["5:9 HP0103"]);
}

#[test]
fn names() {
    check("name = \"a b\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"a\"", &["1:8 HP0106"]);
    check("name = \"g\"\nstart = \"END\"\n[nodes.END]\ncomponent = \"a\"", &["3:8 HP0106"]);
    check("name = \"g\"\nstart = \"__a\"\n[nodes.__a]\ncomponent = \"a\"", &["3:8 HP0106"]);
    check("name = \"g\"\nstart = \"ä\"\n[nodes.\"ä\"]\ncomponent = \"a\"", &["3:8 HP0106"]);
    check(&format!("{AROUND}[state]\n\"a.b\" = {{}}\n"), &["6:1 HP0106"]);
    check_node("connectors = [\"ok\", \"not ok\", \"ok\"]", &["5:21 HP0106", "5:31 HP0114"]);
}

#[test]
fn references() {
    check_node("next = \"c\"", &["5:8 HP0107"]);
    check_node("next = [\"b\", \"c\"]", &["5:14 HP0107"]);
    check_node("next = [{ when = \"state.x == 1\", to = \"c\" }, { to = [\"d\"] }]", &["5:39 HP0107", "5:54 HP0107"]);
    check_node("reads = [\"x\", \"y\"]", &["5:15 HP0108"]);
    check_node("reads = [\"x\", \"x\"]", &["5:15 HP0114"]);
    check_node("join = [\"c\"]", &["5:9 HP0107"]);
    check_node("join = [\"a\"]", &["5:9 HP0113"]);
    check_node("join = []", &["5:8 HP0113"]);
    check_node("next = [{ when = \"state.y == 1\", to = \"b\" }]", &["5:18 HP0108"]);
    check_node("interrupt = { deadline = { cel = \"state.y\" } }", &["5:34 HP0108"]);
    check("name = \"g\"\nstart = \"b\"\n[nodes.a]\ncomponent = \"a\"", &["2:9 HP0107"]);
}

#[test]
fn edges() {
    check_node("next = []", &["5:8 HP0113"]);
    check_node("next = \"START\"", &["5:8 HP0113"]);
    check_node("next = [\"b\", { to = \"a\" }]", &["5:9 HP0113"]);
    check_node("next = [{ to = \"b\" }, { when = \"true\", to = \"a\" }]", &["5:9 HP0113"]);
    check_node("next = [\"b\", \"b\"]", &["5:14 HP0114"]);
    check_node("next = [{ when = \"true\", to = [] }]", &["5:31 HP0113"]);
    check_node("next = [{ when = \"x ==\", to = \"b\" }]", &["5:18 HP0111"]);
    check_node("next = [{ when = \"x == 1\", to = \"b\" }]", &["5:18 HP0111"]);
    check_node("next = [{ when = true, to = \"b\" }]", &["5:18 HP0104"]);
    check_node("next = [{ if = \"true\", to = \"b\" }]", &["5:11 HP0102"]);
}

#[test]
fn figures() {
    check_node("timeout = \"30\"", &["5:11 HP0112"]);
    check_node("timeout = 30", &["5:11 HP0104"]);
    check_node("timeout = \"0s\"", &["5:11 HP0105"]);
    check_node("retry = { attempts_max = 0 }", &["5:26 HP0105"]);
    check_node("retry = { attempts_max = -1 }", &["5:26 HP0105"]);
    check_node("retry = { attempts_max = 1.5 }", &["5:26 HP0104"]);
    check_node("retry = { attempts_max = 2, factor = 0.5 }", &["5:38 HP0105"]);
    check_node("retry = { attempts_max = 2, factor = nan }", &["5:38 HP0105"]);
    check_node("retry = { attempts_max = 2, backoff = \"1m\", max = \"1s\" }", &["5:51 HP0105"]);
    check_node(
        "limits = { memory = \"64MB\", fuel = 0, time = \"x\" }",
        &["5:21 HP0112", "5:36 HP0105", "5:46 HP0112"],
    );
    check_node("limits = { memory = -1, memory_max = 1 }", &["5:21 HP0105", "5:25 HP0102"]);
    check_node("interrupt = { quorum = 0 }", &["5:24 HP0105"]);
    check("recursion_limit = 0\nname = \"g\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"a\"", &["1:19 HP0105"]);
    check("recursion_limit = 4294967296\nname = \"g\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"a\"", &["1:19 HP0105"]);
}

#[test]
fn channels() {
    let check_state = |lines: &str, expected: &[&str]| check(&format!("{AROUND}[state]\n{lines}\n"), expected);
    check_state("x = { type = \"strin\" }", &["6:14 HP0109"]);
    check_state("x = { type = \"string\", pattern = \"(\" }", &["6:34 HP0109"]);
    check_state("x = { type = \"string\", minLength = -1 }", &["6:36 HP0109"]);
    check_state("x = { \"$ref\" = \"https://example.com/schema.json\" }", &["6:1 HP0109"]);
    check_state("x = { \"$ref\" = \"other.json#/a\" }", &["6:1 HP0109"]);
    check_state("x = { \"$ref\" = \"#/$defs/missing\" }", &["6:1 HP0109"]);
    check_state("x = { typ = \"string\" }", &["6:7 HP0102"]);
    check_state("x = { reducr = \"add\" }", &["6:7 HP0102"]);
    check_state("x = { reducer = \"apend\" }", &["6:17 HP0110"]);
    check_state("x = { reducer = 5 }", &["6:17 HP0104"]);
    check_state("x = \"string\"", &["6:5 HP0104"]);
    check_state("x = { type = \"integer\", default = \"a\" }", &["6:35 HP0118"]);
    check_state("x = { default = {}, reducer = \"append\" }", &["6:17 HP0118"]);
    check_state("x = { \"$ref\" = \"#/$defs/a\", \"$defs\" = { a = { type = \"string\" } } }", &[]);
    check_state("x = { type = \"array\", default = [1], reducer = \"union\", \"x-note\" = 1, title = \"a\" }", &[]);
}

#[test]
fn components() {
    for sound in ["a", "a.wasm", "../a b/ä.wasm", "a@1.0.0", "team.a@2.1.0-rc.1+build", "a@b/c.wasm"] {
        check(&format!("name = \"g\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"{sound}\""), &[]);
    }
    for faulty in ["", " ", "sha256:12", "a@", "@1", "a@1@2", "a\\u0000.wasm"] {
        check(&format!("name = \"g\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"{faulty}\""), &["4:13 HP0116"]);
    }
}

#[test]
fn questions() {
    check_node("interrupt = { on_timeout = \"approve\" }", &["5:28 HP0105"]);
    check_node(
        "interrupt = { answer_schema = { required = [\"approved\"] }, on_timeout = { answer = { reason = \"late\" } } }",
        &["5:84 HP0105"],
    );
    check_node("interrupt = { answer_schema = { type = 5 } }", &["5:40 HP0109"]);
    check_node("interrupt = { assignees = [\"\", \"group:a\", \"group:a\"] }", &["5:28 HP0105", "5:43 HP0114"]);
    check_node(
        "interrupt = { escalate = [{ after = \"2m\", to = [\"a\"] }, { after = \"2m\", to = [\"b\"] }] }",
        &["5:67 HP0105"],
    );
    check_node("interrupt = { escalate = [{ after = \"2m\" }, { to = [\"b\"] }] }", &["5:27 HP0103", "5:45 HP0103"]);
    check_node("interrupt = { deadlin = \"2h\" }", &["5:15 HP0102"]);
    check_node("interrupt = { deadline = \"0s\" }", &["5:26 HP0105"]);
    check_node("reads = []\ninterrupt = { deadline = { cel = \"state.x\" } }", &["6:34 HP0105"]);
    check_node("interrupt = { allowed = [\"approve\"] }", &["5:26 HP0105"]);
    check_node("interrupt = { allowed = [] }", &["5:25 HP0105"]);
    check_node("interrupt = { allowed = [\"delegate\"] }", &["5:25 HP0105"]);
    check_node("interrupt = { allowed = [\"accept\", \"accept\"] }", &["5:36 HP0114"]);
    check_node("interrupt = { allowed = \"accept\" }", &["5:25 HP0104"]);
    check_node("interrupt = { reason_required_on = [\"delegate\"] }", &["5:37 HP0105"]);
    check_node("interrupt = { quorum = { reject = 2 } }", &["5:24 HP0103"]);
    check_node("interrupt = { risk = \"extreme\" }", &["5:22 HP0105"]);
    check_node("interrupt = { risk = 3 }", &["5:22 HP0104"]);
    check_node("interrupt = { step_up = \"0s\" }", &["5:25 HP0105"]);
    check_node("interrupt = { step_up = true }", &["5:25 HP0104"]);
    check_node("interrupt = { step_up = { acr = [\"mfa\"] } }", &["5:25 HP0103"]);
    check_node("interrupt = { step_up = { within = \"1m\", acr = [] } }", &["5:48 HP0105"]);
    check_node("interrupt = { step_up = { within = \"1m\", how = \"mfa\" } }", &["5:42 HP0102"]);
    check_node("interrupt = { break_glass = \"yes\" }", &["5:29 HP0104"]);
    check_node(
        "interrupt = { quorum = { approve = 0, reject = 0, ignore = 1 } }",
        &["5:36 HP0105", "5:48 HP0105", "5:51 HP0102"],
    );
    check_node("interrupt = { quorum = \"all\" }", &["5:24 HP0104"]);
    check_node("interrupt = { assignees = [\"a\", \"b\"], quorum = 3 }", &["5:48 HP0105"]);
    check_node("interrupt = { remind = [\"2m\", \"2m\"] }", &["5:31 HP0105"]);
    check_node("interrupt = { remind = [\"soon\"] }", &["5:25 HP0112"]);
}

/// A case with one problem: its place, its code and its whole text.
#[track_caller]
fn check_shown(text: &str, place: &str, shown: &str) {
    check(text, &[place]);
    let problems = parse(text, "g.toml").expect_err("faulty");
    assert_eq!(format!("{} ({})", problems.0[0].message, problems.0[0].cure), shown);
}

/// As [`check_shown`], in the table of the node `a`.
#[track_caller]
fn check_node_shown(lines: &str, place: &str, shown: &str) {
    check_shown(&format!("{AROUND}{lines}\n[state]\nx = {{}}\n[nodes.b]\ncomponent = \"b.wasm\"\n"), place, shown);
}

#[test]
fn joins_of_some() {
    check_node_shown("join = { of = [\"b\"], need = 2 }", "5:29 HP0105", "`nodes.a.join.need` is 2 (write 1)");
    check_node_shown("join = { of = [\"b\"], need = 0 }", "5:29 HP0105", "`nodes.a.join.need` is 0 (write 1)");
    for lines in
        ["join = { of = [\"b\"], need = 1, within = \"1h\" }", "join = { of = [\"b\"], within = \"1h\" }  # all"]
    {
        let column = lines.find("within").expect("is there") + 1;
        check_node_shown(
            lines,
            &format!("5:{column} HP0120"),
            "`nodes.a.join.within` has no meaning where all are needed (make `need` smaller than the number of nodes in `of`, or remove `within`)",
        );
    }
    check_node("join = { of = [\"b\", \"b\"], need = 1 }", &["5:21 HP0114"]);
    check_node("join = { of = [\"b\", \"c\"], need = 1, within = \"0s\" }", &["5:21 HP0107", "5:46 HP0105"]);
    check_node("join = { of = [\"b\", \"a\"], need = 1 }", &["5:21 HP0113"]);
    check_node("join = { of = [] }", &["5:15 HP0113"]);
    check_node("join = { of = \"b\" }", &["5:15 HP0104"]);
    check_node("join = { need = 1 }", &["5:8 HP0103"]);
    check_node("join = { of = [\"b\"], needs = 1 }", &["5:22 HP0102"]);
    check_node("join = true", &["5:8 HP0104"]);
    // END is no node that could be waited for, so it is not suggested either.
    check_node_shown(
        "join = [\"END\"]",
        "5:9 HP0107",
        "`nodes.a.join` names the unknown node \"END\" (add [nodes.END])",
    );
}

#[test]
fn subgraphs() {
    let around = "name = \"g\"\nstart = \"a\"\n[nodes.a]\n";
    for (key, line) in [
        ("with", "with = {}"),
        ("connectors", "connectors = []"),
        ("interrupt", "interrupt = {}"),
        ("retry", "retry = { attempts_max = 2 }"),
        ("timeout", "timeout = \"1s\""),
        ("limits", "limits = {}"),
        ("cache", "cache = true"),
    ] {
        check_shown(
            &format!("{around}graph = \"b.graph.toml\"\n{line}"),
            "5:1 HP0120",
            &format!(
                "`nodes.a.{key}` does not go with `graph` (say `{key}` of the nodes inside the subgraph, or remove it)"
            ),
        );
    }
    check_shown(
        &format!("{around}component = \"a.wasm\"\ngraph = \"b.graph.toml\""),
        "4:1 HP0120",
        "`nodes.a` has both `component` and `graph` (keep one of them)",
    );
    check_shown(
        &format!("{around}next = \"END\""),
        "3:8 HP0103",
        "`nodes.a` has neither `component` nor `graph` (add `component`, or `graph` for a subgraph)",
    );
    check_shown(
        &format!("{around}component = \"a.wasm\"\npersist = \"none\""),
        "5:1 HP0120",
        "`nodes.a.persist` says what is kept of a subgraph, and there is none (remove it, or name a `graph` instead of the component)",
    );
    check_shown(
        &format!("{around}graph = \"b\"\npersist = \"per-cal\""),
        "5:11 HP0105",
        "`nodes.a.persist` is \"per-cal\" (did you mean `per-call`?)",
    );
    check_shown(
        &format!("{around}graph = \"b\"\npersist = \"for ever and a day\""),
        "5:11 HP0105",
        "`nodes.a.persist` is \"for ever and a day\" (write \"per-call\" or \"per-thread\" or \"none\")",
    );
    check(&format!("{around}graph = \"b\"\npersist = true"), &["5:11 HP0104"]);
    for faulty in ["", " ", "sha256:12", "a\\u0000.toml"] {
        check(&format!("{around}graph = \"{faulty}\""), &["4:9 HP0116"]);
    }
    check(&format!("{around}graph = 5"), &["4:9 HP0104"]);
}

#[test]
fn error_handlers() {
    check_node_shown(
        "error_handler = \"a\"",
        "5:17 HP0121",
        "`nodes.a.error_handler` is the node itself (name another node, or use `retry`)",
    );
    check_node("error_handler = \"c\"", &["5:17 HP0107"]);
    check_node("error_handler = \"END\"", &["5:17 HP0107"]);
    check_node("error_handler = [\"b\"]", &["5:17 HP0104"]);
    let nodes = "[nodes.a]\ncomponent = \"a\"\nerror_handler = \"b\"\n[nodes.b]\ncomponent = \"b\"\n[nodes.c]\ncomponent = \"c\"";
    check_shown(
        &format!("name = \"g\"\nstart = \"a\"\n{nodes}\n[nodes.d]\ncomponent = \"d\"\nerror_handler = \"a\""),
        "5:17 HP0121",
        "`nodes.a.error_handler`: a node that handles errors has no handler itself (remove it, or let another node than `a` handle errors)",
    );
    check(&format!("error_handler = \"a\"\nname = \"g\"\nstart = \"a\"\n{nodes}"), &["6:17 HP0121"]);
    check(&format!("error_handler = \"x\"\nname = \"g\"\nstart = \"a\"\n{nodes}"), &["1:17 HP0107"]);
}

#[test]
fn breakpoints() {
    check_node("interrupt_before = \"yes\"", &["5:20 HP0104"]);
    check_node("interrupt_after = 1", &["5:19 HP0104"]);
    check_node("defer = \"yes\"", &["5:9 HP0104"]);
    let rest = "\nname = \"g\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"a\"\n";
    check_shown(
        &format!("interrupt_before = \"a\"{rest}"),
        "1:20 HP0105",
        "`interrupt_before` is \"a\" (write a list of nodes, or \"*\" for all)",
    );
    check(&format!("interrupt_before = true{rest}"), &["1:20 HP0104"]);
    check(&format!("interrupt_after = [\"a\", \"b\"]{rest}"), &["1:25 HP0107"]);
    check(&format!("interrupt_after = [\"a\", \"a\"]{rest}"), &["1:25 HP0114"]);
    check_shown(
        &format!("interrupt_after = [\"a\"]{rest}interrupt_after = false"),
        "6:19 HP0120",
        "`nodes.a.interrupt_after` is false, and the graph's `interrupt_after` names the node (remove one of them)",
    );
}

#[test]
fn caches() {
    check_node_shown(
        "cache = { ttl = \"0ms\" }",
        "5:17 HP0105",
        "`nodes.a.cache.ttl` is \"0ms\" (write a longer duration)",
    );
    check_node("cache = { ttl = \"soon\" }", &["5:17 HP0112"]);
    check_node("cache = {}", &["5:1 HP0103"]);
    check_node("cache = true\nconnectors = [\"payments\"]", &["5:1 HP0120"]);
    check_node("cache = { tll = \"1h\", ttl = \"1h\" }", &["5:11 HP0102"]);
    check_node("cache = \"1h\"", &["5:9 HP0104"]);
}

#[test]
fn managed_channels() {
    let check_state =
        |lines: &str, place: &str, shown: &str| check_shown(&format!("{AROUND}[state]\n{lines}\n"), place, shown);
    check_state(
        "x = { managed = \"remaining_stepps\" }",
        "6:17 HP0105",
        "`state.x.managed` is \"remaining_stepps\" (did you mean `remaining_steps`?)",
    );
    check_state(
        "x = { managed = \"clock\" }",
        "6:17 HP0105",
        "`state.x.managed` is \"clock\" (write \"remaining_steps\" or \"is_last_step\")",
    );
    for (key, value) in [("reducer", "\"add\""), ("default", "1")] {
        check_state(
            &format!("x = {{ managed = \"remaining_steps\", {key} = {value} }}"),
            "6:36 HP0122",
            &format!(
                "`state.x.{key}` does not go with `managed` (remove it: the engine computes the value for each task)"
            ),
        );
    }
    check_state(
        "x = { managed = \"is_last_step\", type = \"integer\" }",
        "6:7 HP0122",
        "`state.x` does not allow what `is_last_step` gives: true is not of type \"integer\" (remove the schema: the engine's values have one of their own)",
    );
    let managed = "[state]\nx = { managed = \"remaining_steps\" }\n";
    check_shown(
        &format!("{AROUND}next = [{{ when = \"state.x > 1\", to = \"END\" }}]\n{managed}"),
        "5:18 HP0122",
        "`nodes.a.next[0].when` reads the managed channel \"x\" (managed values are given to nodes only: let a node write what the condition needs to another channel)",
    );
    check(&format!("{AROUND}interrupt = {{ deadline = {{ cel = \"state.x\" }} }}\n{managed}"), &["5:34 HP0122"]);
    check(
        &format!(
            "name = \"g\"\nstart = [{{ when = \"state.x > 1\", to = \"a\" }}]\nnodes.a.component = \"a\"\n{managed}"
        ),
        &["2:19 HP0122"],
    );
    check(&format!("{AROUND}reads = [\"x\"]\n{managed}"), &[]);
}

#[test]
fn syntax() {
    check("name = \"g\nstart = \"a\"", &["1:10 HP0101"]);
    check("name = \"g\"\nname = \"h\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"a\"", &["2:1 HP0101"]);
    check(
        "name = \"g\"\nstart = \"a\"\n[nodes.a]\ncomponent = \"a\"\nnext = \"END\"\n[nodes.a]\nnext = \"END\"",
        &["6:8 HP0101", "7:1 HP0101"],
    );
    // Several at once, together with a fault of another kind; the node that seems to be missing is no fault.
    check(
        "name = \"g\"\nstart = \"b\"\nrecursion_limit = 0\n[nodes.a\ncomponent = \"a\"\nx = = 1",
        &["3:19 HP0105", "4:9 HP0101", "6:5 HP0101", "6:7 HP0101"],
    );
}

#[test]
fn columns_count_characters() {
    check(
        "\"ä€😀\" = 1\nname = \"g\"\nstart = \"a\"\nnodes = { a = { component = \"😀\", nxt = \"ä\", timeout = \"x\" } }",
        &["1:1 HP0102", "4:34 HP0102", "4:55 HP0112"],
    );
}

#[test]
fn ten_faults_are_ten_problems() {
    let text = r#"name = "refund graph"
start = "prepare"
recursion_limit = 0
[state]
amount = { type = "integr" }
log = { reducer = "apend" }
[nodes.gate]
component = "gate.wasm"
next = [{ when = "state.amnt > 5", to = "pay" }, { to = "END" }]
timeout = "30 seconds"
[nodes.pay]
component = ""
conectors = ["payments"]
retry = { attempts_max = 0 }
"#;
    let problems = parse(text, "refund.graph.toml").expect_err("faulty");
    let shown: Vec<String> = problems.0.iter().map(|problem| format!("{problem}")).collect();
    assert_eq!(
        shown,
        [
            "refund.graph.toml:1:8: graph name \"refund graph\" is not valid (use letters, digits, `_` and `-` only)",
            "refund.graph.toml:2:9: `start` names the unknown node \"prepare\" (add [nodes.prepare])",
            "refund.graph.toml:3:19: `recursion_limit` is 0 (write a number from 1 to 4294967295)",
            "refund.graph.toml:5:19: `state.amount` is not a JSON Schema: at /type: \"integr\" is not valid under any of the schemas listed in the 'anyOf' keyword (write a JSON Schema such as { type = \"string\" })",
            "refund.graph.toml:6:19: `state.log.reducer`: unknown reducer \"apend\" (did you mean `append`?)",
            "refund.graph.toml:9:18: `nodes.gate.next[0].when` reads the unknown channel \"amnt\" (did you mean `amount`?)",
            "refund.graph.toml:10:11: `nodes.gate.timeout`: \"30 seconds\" is not a duration (write a duration such as \"500ms\", \"30s\", \"15m\", \"2h\" or \"7d\")",
            "refund.graph.toml:12:13: `nodes.pay.component` is \"\" (write a path, name@version, or sha256: and 64 lower-case hex digits)",
            "refund.graph.toml:13:1: unknown key `nodes.pay.conectors` (did you mean `connectors`?)",
            "refund.graph.toml:14:26: `nodes.pay.retry.attempts_max` is 0 (write a number from 1 to 4294967295)",
        ]
    );
}

#[test]
fn hostile_files_neither_panic_nor_hang() {
    let megabyte = "x".repeat(1 << 20);
    let mut texts = vec![
        format!("name = \"{megabyte}\""),
        format!("{megabyte} = 1"),
        format!("name = {}", "9".repeat(1 << 20)),
        format!("name = {}{}", "[".repeat(1 << 19), "]".repeat(1 << 19)),
        format!("name = {}", "{a=".repeat(1 << 18)),
        format!("[{}a]", "a.".repeat(1 << 16)),
        format!("{}a = 1", "a.".repeat(1 << 16)),
        "[[".repeat(1 << 18),
        "a\n".repeat(1 << 16),
        "\u{feff}name = 1".to_owned(),
        "\0".repeat(1000),
        "\r\r\r".to_owned(),
        "x".repeat(5 << 20),
        format!("{AROUND}next = \"{megabyte}\"\nreads = [\"{megabyte}\"]"),
        format!("{AROUND}next = [{{ when = \"{megabyte}\", to = \"a\" }}]"),
        format!("{AROUND}timeout = \"{megabyte}s\"\nlimits = {{ memory = \"{}MiB\" }}", "9".repeat(1 << 20)),
        format!("{AROUND}reads = [{}]", "\"a\",".repeat(1 << 17)),
        format!("{AROUND}[state]\nx = {{ pattern = \"{}\" }}", "(a*)*".repeat(1 << 10)),
        format!("{AROUND}[state]\nx = {{ pattern = \"{}\" }}", "(".repeat(1 << 16)),
        format!("{AROUND}[state]\nx = {{ pattern = \"a{{99999}}{{99999}}\" }}"),
        format!("{AROUND}[state]\nx = {}{}", "{not=".repeat(70), "}".repeat(70)),
    ];
    texts.push((0..20_000).map(|index| format!("k{index} = 1\n")).collect());
    texts.push((0..2000).map(|index| format!("[nodes.n{index}]\nnext = \"m{index}\"\n")).collect());
    for text in texts {
        let problems = parse(&text, "g.toml").err().map(|problems| problems.0).unwrap_or_default();
        assert!(problems.len() <= 1001);
        for problem in problems {
            assert!(
                problem.message.len() + problem.cure.len() < 4000,
                "{} bytes: {:.200}",
                problem.message.len(),
                problem.message
            );
        }
    }
    // Every prefix of graphs that use everything.
    for text in [include_str!("refund.graph.toml"), include_str!("features.graph.toml")] {
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let _ = parse(&text[..end], "g.toml");
        }
    }
}
