//! Time travel that cannot hurt, from end to end: replay, fork and copy of a refund with a real payments server, what is refused, what a stream
//! prints, how a run is stopped, and what retention leaves.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::{Place, repository};
use serde_json::{Value, json};

const INPUT: &str = r#"{"order_id":"9241","amount_cents":50000}"#;
const YES: &str = r#"{"approved":true}"#;
/// What an approver's decision would have been for another amount.
const OTHER: &str = r#"{"approved":true,"amount_cents":4000,"operation_id":"refund:9241:4000"}"#;

fn graph() -> String {
    let path: PathBuf = repository().join("example-nodes/refund/refund.graph.toml");
    path.display().to_string()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
}

/// A refund of 500 that was approved and paid, as thread `t`, and its history, newest first.
fn paid_refund() -> (Payments, Place, Vec<Value>) {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    place.expect(3, &["run", &graph(), "--thread", "t", "--input", INPUT]);
    place.expect(0, &["resume", "--thread", "t", "--answer", YES]);
    assert_eq!(payments.log().len(), 1);
    let history = history(&place, "t");
    (payments, place, history)
}

fn history(place: &Place, thread: &str) -> Vec<Value> {
    place.expect(0, &["history", thread]).as_array().unwrap().clone()
}

fn id(entry: &Value) -> &str {
    entry["checkpoint_id"].as_str().unwrap()
}

/// What a command for people printed on standard output.
fn printed(place: &Place, exit: i32, arguments: &[&str]) -> String {
    let output = place.command(arguments).output().unwrap();
    let (out, notes) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "holdpoint {arguments:?}: {out} {notes}");
    out
}

#[test]
fn a_replay_with_recorded_effects_sends_nothing_and_ends_the_same() {
    let (payments, place, history) = paid_refund();
    let original = place.expect(0, &["state", "t"]);
    // From before the payment, and by the last digits of the id.
    let digits = id(&history[1]).rsplit_once('-').unwrap().1;
    let reply = place.expect(0, &["replay", "t", "--from", digits, "--effects", "recorded"]);
    assert_eq!((&reply["status"], &reply["values"]), (&json!("done"), &original["values"]));
    // From the very beginning: the question is asked anew, and answered alike it ends alike.
    let reply = place.expect(3, &["replay", "t", "--from", id(&history[4]), "--effects", "recorded"]);
    assert_eq!(reply["interrupts"][0]["kind"], "question");
    let reply = place.expect(0, &["resume", "--thread", "t", "--answer", YES]);
    assert_eq!((&reply["status"], &reply["values"]), (&json!("done"), &original["values"]));
    assert_eq!(payments.log().len(), 1, "{:?}", payments.log());
    let state = place.expect(0, &["state", "t"]);
    assert_eq!((&state["effects"], &state["view"]), (&json!("recorded"), &json!("live")));
}

#[test]
fn a_fork_with_recorded_effects_lists_what_it_would_have_done() {
    let (payments, place, entries) = paid_refund();
    let before = payments.log();
    let fork =
        ["fork", "t", "--from", id(&entries[2]), "--set", OTHER, "--as-node", "approval_gate", "--effects", "recorded"];
    let reply = place.expect(1, &fork);
    assert_eq!((&reply["status"], &reply["error"]["code"]), (&json!("failed"), &json!("HP0445")));
    let operations = reply["error"]["details"]["operations"].as_array().unwrap();
    let [operation] = operations.as_slice() else { panic!("one operation: {operations:?}") };
    assert_eq!((&operation["connector"], &operation["operation_id"]), (&json!("payments"), &json!("refund:9241:4000")));
    assert_eq!(operation["request"]["body"], json!({ "order_id": "9241", "amount_cents": 4000 }));
    let shown = printed(&place, 0, &["threads", "show", "t"]);
    assert!(shown.contains("would have sent") && shown.contains("refund:9241:4000"), "{shown}");
    assert!(printed(&place, 0, &["state", "t"]).contains("commit_refund would have done"));
    // Continued it stops again: a what-if stays one.
    assert_eq!(place.expect(1, &["resume", "--thread", "t"])["error"]["code"], "HP0445");
    assert_eq!(payments.log(), before, "nothing left the host");
    // The branch that was paid is as it was.
    assert_eq!(history(&place, "t")[1..], entries);
    let record = place.expect(0, &["state", "t", "--at", id(&entries[0])]);
    assert_eq!((&record["view"], &record["values"]["receipt"]["refund_id"]), (&json!("record"), &json!("re_1")));
    // On a live branch it is done, once.
    let live: Vec<&str> = fork.iter().map(|part| if *part == "recorded" { "live" } else { *part }).collect();
    assert_eq!(place.expect(0, &live)["values"]["status"], "approved");
    assert_eq!(payments.paid("refund:9241:4000"), 1);
}

#[test]
fn a_fork_that_asks_pays_after_the_answer() {
    let (payments, place, entries) = paid_refund();
    let fork =
        ["fork", "t", "--from", id(&entries[2]), "--set", OTHER, "--as-node", "approval_gate", "--effects", "ask"];
    for (approved, status, paid) in [(false, "failed", 0), (true, "done", 1)] {
        let reply = place.expect(3, &fork);
        let question = &reply["interrupts"][0];
        assert_eq!((&question["kind"], &question["node"]), (&json!("approval"), &json!("commit_refund")), "{reply}");
        assert!(question["value"].to_string().contains("refund:9241:4000"), "{question}");
        assert_eq!(payments.paid("refund:9241:4000"), 0, "nothing is sent before somebody says yes");
        let answer = json!({ "approved": approved, "reason": "checked" }).to_string();
        let exit = if approved { 0 } else { 1 };
        let reply = place.expect(exit, &["resume", "--thread", "t", "--answer", &answer]);
        assert_eq!(reply["status"], status, "{reply}");
        assert_eq!(payments.paid("refund:9241:4000"), paid);
    }
}

#[test]
fn the_tree_shows_every_branch() {
    let (_payments, place, entries) = paid_refund();
    place.expect(
        1,
        &[
            "fork",
            "t",
            "--from",
            id(&entries[2]),
            "--set",
            OTHER,
            "--as-node",
            "approval_gate",
            "--effects",
            "recorded",
        ],
    );
    let text = printed(&place, 0, &["history", "t", "--tree"]);
    let digits = |entry: &Value| id(entry).rsplit_once('-').unwrap().1.to_owned();
    let newest = &history(&place, "t")[0];
    let line =
        |entry: &Value| text.lines().find(|line| line.contains(&digits(entry))).unwrap_or_else(|| panic!("{text}"));
    assert!(line(&entries[4]).starts_with("●  -1 input"), "{text}");
    assert!(line(&entries[2]).contains("by prepare_refund  → approval_gate"), "{text}");
    assert!(line(&entries[1]).starts_with("├─○   2 loop"), "{text}");
    assert!(line(&entries[0]).starts_with("│ ○   3 loop"), "{text}");
    let last = line(newest);
    assert!(
        last.starts_with("●   2 update") && last.ends_with("→ commit_refund  [effects: recorded]  ← head"),
        "{text}"
    );
    let tree = place.expect(0, &["history", "t", "--tree"]);
    let tree = tree.as_array().unwrap();
    assert_eq!(tree.len(), entries.len() + 1);
    let heads: Vec<&str> = tree.iter().filter(|entry| entry["head"] == true).map(id).collect();
    assert_eq!(heads, [id(newest)]);
    assert_eq!(tree.iter().filter(|entry| entry["on_head_branch"] == true).count(), 4);
    let updates = place.expect(0, &["history", "t", "--source", "update"]);
    assert_eq!(updates.as_array().unwrap().iter().map(id).collect::<Vec<_>>(), [id(newest)]);
    let steps = place.expect(0, &["history", "t", "--step", "-1"]);
    assert_eq!(steps.as_array().unwrap().iter().map(id).collect::<Vec<_>>(), [id(&entries[4])]);
}

/// Two nodes in one step, then a third; channel `x` is a positive integer.
fn fan(place: &Place) -> String {
    let set = |value: u8| format!("{{ set = {{ log = [{value}] }} }}");
    let graph = Probes::new(
        "start = [\"a\", \"b\"]",
        "x = { type = \"integer\", minimum = 1 }\nlog = { type = \"array\", reducer = \"append\" }",
    )
    .node("a", "next = \"c\"", &set(1))
    .node("b", "next = \"c\"", &set(2))
    .node("c", "", "{ ask = \"go on?\" }, { set = { log = [3] } }")
    .write(place);
    graph.display().to_string()
}

#[test]
fn what_does_not_fit_is_refused_and_writes_nothing() {
    let place = Place::new();
    let graph = fan(&place);
    for thread in ["t", "other"] {
        place.expect(3, &["run", &graph, "--thread", thread, "--input", r#"{"x":1}"#]);
    }
    let foreign = history(&place, "other")[0]["checkpoint_id"].as_str().unwrap().to_owned();
    let before = (history(&place, "t"), place.expect(0, &["state", "t"]));
    let first = before.0.last().unwrap()["checkpoint_id"].as_str().unwrap().to_owned();
    let update =
        |arguments: &[&str]| ["update", "t"].iter().chain(arguments).map(|part| (*part).to_owned()).collect::<Vec<_>>();
    let refusals: Vec<(&str, Vec<String>)> = vec![
        ("HP0436", update(&["--set", r#"{"x":2}"#])),
        ("HP0435", update(&["--set", r#"{"x":2}"#, "--as-node", "nobody"])),
        ("HP0417", update(&["--set", r#"{"x":2}"#, "--as-node", "a", "--at", &foreign])),
        ("HP0708", update(&["--set", r#"{"x":2}"#, "--as-node", "a", "--at", "yesterday"])),
        ("HP0708", update(&["--set", r#"{"x":2}"#, "--as-node", "a", "--at", "fefefefefefefe"])),
        ("HP0302", update(&["--set", r#"{"x":0}"#, "--as-node", "a"])),
        ("HP0301", update(&["--set", r#"{"nowhere":0}"#, "--as-node", "a"])),
        ("HP0720", update(&["--set", "[1]", "--as-node", "a"])),
        ("HP0722", update(&["--set", "{}", "--as-node", "a b"])),
        ("HP0705", update(&["--set", "{x", "--as-node", "a"])),
        ("HP0437", update(&["--supersteps", "[]"])),
        ("HP0438", update(&["--supersteps", "[[]]"])),
        ("HP0723", update(&["--supersteps", "[{}]"])),
        ("HP0439", update(&["--supersteps", r#"[[{"as_node":"END"}],[{"as_node":"a"}]]"#])),
        ("HP0439", update(&["--set", r#"{"x":2}"#, "--as-node", "END"])),
        ("HP0417", vec!["replay".into(), "t".into(), "--from".into(), foreign.clone()]),
        ("HP0417", vec!["fork".into(), "t".into(), "--from".into(), foreign.clone(), "--set".into(), "{}".into()]),
        ("HP0435", ["fork", "t", "--from", &first, "--as-node", "nobody"].map(str::to_owned).into()),
        ("HP0435", ["resume", "--thread", "t", "--goto", "nobody"].map(str::to_owned).into()),
        (
            "HP0435",
            ["resume", "--thread", "t", "--answer", "1", "--interrupt-before", "nobody"].map(str::to_owned).into(),
        ),
        ("HP0720", ["resume", "--thread", "t", "--answer", "1", "--metadata", "[]"].map(str::to_owned).into()),
        ("HP0402", ["copy", "t", "other"].map(str::to_owned).into()),
        ("HP0401", ["state", "nobody"].map(str::to_owned).into()),
        ("HP0724", ["history", "t", "--namespace", "a b"].map(str::to_owned).into()),
        ("HP0726", ["threads", "list", "--graph", "a b"].map(str::to_owned).into()),
    ];
    for (code, arguments) in refusals {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let outcome = place.run(&arguments);
        assert_eq!(
            outcome.reply["error"]["code"], code,
            "holdpoint {arguments:?}: {} {}",
            outcome.reply, outcome.notes
        );
        assert!(outcome.exit.is_some_and(|exit| exit == 1 || exit == 2), "{arguments:?}");
        let now = (history(&place, "t"), place.expect(0, &["state", "t"]));
        assert_eq!(now, before, "{arguments:?} wrote something");
    }
    assert_eq!(place.expect(0, &["resume", "--thread", "t", "--answer", "1"])["values"]["log"], json!([1, 2, 3]));
}

#[test]
fn updates_move_a_thread_on_and_a_command_rides_on_an_answer() {
    let place = Place::new();
    let graph = fan(&place);
    place.expect(3, &["run", &graph, "--thread", "t", "--input", r#"{"x":1}"#, "--metadata", r#"{"ticket":7}"#]);
    let live = place.expect(0, &["state", "t"]);
    assert_eq!((&live["next"], live["interrupts"].as_array().unwrap().len()), (&json!(["c"]), 1));
    let reply =
        place.expect(0, &["update", "t", "--set", r#"{"x":5}"#, "--as-node", "a", "--metadata", r#"{"by":"hand"}"#]);
    assert_eq!(
        (&reply["status"], &reply["paused"], &reply["values"]["x"]),
        (&json!("interrupted"), &json!(true), &json!(5))
    );
    assert_eq!(reply["interrupts"], json!([]), "asked anew when the thread goes on");
    let by_hand = place.expect(0, &["history", "t", "--metadata", r#"{"by":"hand","ticket":7}"#]);
    assert_eq!(by_hand.as_array().unwrap().len(), 1, "{by_hand}");
    assert_eq!(place.expect(3, &["resume", "--thread", "t"])["interrupts"].as_array().unwrap().len(), 1);
    let copy = place.expect(0, &["copy", "t", "copy"]);
    assert_eq!((&copy["thread_id"], &copy["values"]), (&json!("copy"), &reply["values"]));
    let reply = place.expect(0, &["resume", "--thread", "t", "--answer", "1", "--update", r#"{"log":["by hand"]}"#]);
    assert_eq!(reply["values"]["log"], json!([1, 2, "by hand", 3]));
    // The copy asks for itself.
    place.expect(3, &["resume", "--thread", "copy"]);
    assert_eq!(place.expect(0, &["resume", "--thread", "copy", "--answer", "2"])["values"]["log"], json!([1, 2, 3]));
    let listed = place.expect(0, &["threads", "list", "--graph", "probes"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(place.expect(0, &["threads", "list", "--graph", "other"]), json!([]));
}

#[test]
fn breakpoints_of_a_call_pause_it() {
    let place = Place::new();
    let graph = fan(&place);
    let reply = place.expect(3, &["run", &graph, "--thread", "t", "--input", "{}", "--interrupt-before", "c"]);
    assert_eq!(
        (&reply["paused"], &reply["next"], &reply["values"]["log"]),
        (&json!(true), &json!(["c"]), &json!([1, 2]))
    );
    let reply = place.expect(3, &["resume", "--thread", "t"]);
    assert_eq!((&reply["paused"], reply["interrupts"].as_array().unwrap().len()), (&json!(false), 1));
    let reply = place.expect(3, &["run", &graph, "--thread", "u", "--input", "{}", "--interrupt-before", "*"]);
    assert_eq!((&reply["next"], &reply["values"]["log"]), (&json!(["a", "b"]), &json!([])));
}

#[test]
fn a_stream_is_json_lines_in_order_and_nothing_else() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    let run = ["run", &graph(), "--thread", "t", "--input", INPUT, "--stream", "updates,values"];
    let told = lines(&printed(&place, 3, &run));
    let shape: Vec<(String, String)> = told
        .iter()
        .map(|line| {
            assert_eq!(line["ns"], json!([]));
            let keys = line["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",");
            (line["type"].as_str().unwrap().to_owned(), keys)
        })
        .collect();
    let values = "amount_cents,approval_payload,operation_id,order_id,status";
    assert_eq!(
        shape[..5],
        [
            ("values".to_owned(), "amount_cents,order_id".to_owned()),
            ("updates".to_owned(), "prepare_refund".to_owned()),
            ("values".to_owned(), values.to_owned()),
            ("updates".to_owned(), "__interrupt__".to_owned()),
            ("values".to_owned(), format!("__interrupt__,{values}")),
        ]
    );
    let [end] = &told[5..] else { panic!("one line more: {told:?}") };
    assert_eq!((&end["type"], &end["data"]["status"]), (&json!("end"), &json!("interrupted")));
    assert_eq!(end["data"]["interrupts"][0]["id"], told[3]["data"]["__interrupt__"][0]["id"]);

    let resume = ["resume", "--thread", "t", "--answer", YES, "--stream", "tasks"];
    let told = lines(&printed(&place, 0, &resume));
    let names: Vec<_> =
        told.iter().map(|line| (line["type"].as_str().unwrap(), line["data"]["name"].as_str())).collect();
    assert_eq!(names.iter().filter(|(kind, _)| *kind == "end").count(), 1);
    for node in ["approval_gate", "commit_refund"] {
        assert_eq!(names.iter().filter(|(_, name)| *name == Some(node)).count(), 2, "{told:?}");
    }
    assert_eq!(told.last().unwrap()["data"]["status"], "done");

    let told =
        lines(&printed(&place, 0, &["replay", "t", "--from", id(&history(&place, "t")[1]), "--stream", "debug"]));
    assert!(told.iter().all(|line| line["type"] == "end" || line["data"]["payload"].is_object()), "{told:?}");

    // Errors are one line, too.
    for (exit, arguments) in [
        (2, vec!["run", "missing.graph.toml", "--stream", "values"]),
        (2, vec!["resume", "--thread", "t", "--answer", YES, "--stream", "values"]),
        (2, vec!["run", &graph(), "--input", "[", "--stream", "values"]),
    ] {
        let told = lines(&printed(&place, exit, &arguments));
        let [error] = told.as_slice() else { panic!("one line: {told:?}") };
        assert_eq!(error["type"], "error");
        for part in ["code", "message", "cure"] {
            assert!(error["data"][part].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        }
    }
    assert_eq!(payments.log().len(), 1);
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_signal_stops_a_run_between_two_supersteps() {
    const ROUNDS: u64 = 3000;
    let place = Place::new();
    let next = format!("next = [{{ when = \"state.n < {ROUNDS}\", to = \"a\" }}, {{ to = \"END\" }}]");
    let graph = Probes::new("start = \"a\"\nrecursion_limit = 100000", "n = { type = \"integer\", reducer = \"add\" }")
        .node("a", &next, "{ set = { n = 1 } }")
        .write(&place);
    let mut child = place
        .command(&["run", graph.to_str().unwrap(), "--thread", "t", "--stream", "values"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    out.read_line(&mut text).unwrap();
    signal(&child, "INT");
    out.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "it waits to be continued");
    let told = lines(&text);
    let end = told.last().unwrap();
    assert_eq!((&end["type"], &end["data"]["status"]), (&json!("end"), &json!("running")), "{end}");
    let reached = end["data"]["values"]["n"].as_u64().unwrap();
    assert!(reached < ROUNDS, "it stopped before the end");
    assert_eq!(told[told.len() - 2]["data"]["n"], reached, "what was told is what is there");
    let mut notes = String::new();
    child.stderr.take().unwrap().read_to_string(&mut notes).unwrap();
    assert!(notes.contains("holdpoint resume --thread t"), "{notes}");
    assert_eq!(place.expect(0, &["resume", "--thread", "t"])["values"]["n"], ROUNDS);
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    place.expect(3, &["run", &graph(), "--thread", "t", "--input", INPUT]);
    payments.behave(Manner::PaySilently);
    let mut child = place.start(&["resume", "--thread", "t", "--answer", YES]);
    payments.wait_for(1);
    let mut notes = BufReader::new(child.stderr.take().unwrap());
    signal(&child, "TERM");
    let mut note = String::new();
    notes.read_line(&mut note).unwrap();
    assert!(note.contains("a second signal stops at once"), "{note}");
    assert_eq!(child.try_wait().unwrap(), None, "the step is not over");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    // The receiver de-duplicates: the payment is found again, not made again.
    payments.behave(Manner::Deduplicate);
    assert_eq!(place.expect(0, &["resume", "--thread", "t"])["values"]["status"], "approved");
    assert_eq!(payments.paid("refund:9241:50000"), 1);
}

#[test]
fn pruning_keeps_the_newest_state_and_whatever_waits() {
    let (payments, place, _) = paid_refund();
    place.expect(3, &["run", &graph(), "--thread", "waits", "--input", r#"{"order_id":"1","amount_cents":100}"#]);
    let (paid, waiting) = (place.expect(0, &["state", "t"]), history(&place, "waits"));
    let dry = place.expect(0, &["db", "prune", "--keep-latest", "--dry-run"]);
    assert_eq!((&dry["trimmed"], &dry["checkpoints_removed"]), (&json!(1), &json!(4)), "{dry}");
    assert_eq!(history(&place, "t").len(), 5);
    let none = place.expect(0, &["db", "prune", "--keep-latest", "--older-than", "1d"]);
    assert_eq!((&none["threads"], &none["trimmed"]), (&json!(0), &json!(0)));
    let done = place.expect(0, &["db", "prune", "--keep-latest"]);
    assert_eq!((&done["threads"], &done["trimmed"], &done["checkpoints_removed"]), (&json!(1), &json!(1), &json!(4)));
    assert_eq!(history(&place, "t").len(), 1);
    assert_eq!(place.expect(0, &["state", "t"])["values"], paid["values"]);
    assert_eq!(history(&place, "waits"), waiting);
    assert_eq!(place.expect(0, &["resume", "--thread", "waits", "--answer", YES])["values"]["status"], "approved");
    let deleted = place.expect(0, &["db", "prune", "--delete", "--older-than", "0s", "--cache"]);
    assert_eq!(deleted["deleted"], 2);
    assert_eq!(place.expect(0, &["threads", "list"]), json!([]));
    // The records of the operations stay: the same refund in a new thread is answered, not paid again.
    place.expect(3, &["run", &graph(), "--thread", "again", "--input", INPUT]);
    let reply = place.expect(0, &["resume", "--thread", "again", "--answer", YES]);
    assert_eq!(reply["values"]["receipt"]["refund_id"], "re_1");
    assert_eq!(payments.log().len(), 2);
    place.refused(2, "HP0725", &["db", "prune", "--delete", "--older-than", "soon"]);
}

#[test]
fn a_subgraph_shows_in_state_stream_and_tree() {
    let place = Place::new();
    let ask = "{ ask = \"go on?\", as = \"reply\" }, { set = { log = [\"$reply\"] } }";
    let log = "log = { type = \"array\", reducer = \"append\" }";
    Probes::new("start = \"inner\"", log).node("inner", "", ask).write_as(&place, "child.graph.toml");
    let parent =
        Probes::new("start = \"outer\"", log).lines("[nodes.outer]\ngraph = \"child.graph.toml\"").write(&place);
    let run = ["run", parent.to_str().unwrap(), "--thread", "t", "--input", r#"{"log":["in"]}"#, "--stream", "updates"];
    let told = lines(&printed(&place, 3, &run));
    let asked: Vec<(&Value, usize)> = told
        .iter()
        .filter(|line| line["data"].get("__interrupt__").is_some())
        .map(|line| (&line["data"]["__interrupt__"][0]["value"], line["ns"].as_array().unwrap().len()))
        .collect();
    assert_eq!(asked, [(&json!("go on?"), 1), (&json!("go on?"), 0)], "told inside and where it was called: {told:?}");

    let state = place.expect(0, &["state", "t"]);
    let inner = &state["tasks"][0]["state"];
    assert_eq!(
        (&state["next"], &inner["next"], &inner["values"]["log"]),
        (&json!(["outer"]), &json!(["inner"]), &json!(["in"]))
    );
    assert_eq!(
        (&state["interrupts"][0]["node"], &state["interrupts"][0]["namespace"]),
        (&json!("inner"), &inner["namespace"])
    );
    assert!(printed(&place, 0, &["state", "t"]).contains("outer › inner"));

    place.expect(0, &["resume", "--thread", "t", "--answer", "\"yes\""]);
    let namespace = inner["namespace"].as_str().unwrap();
    let runs = place.expect(0, &["history", "t", "--namespace", namespace]);
    let steps: Vec<i64> = runs.as_array().unwrap().iter().map(|entry| entry["step"].as_i64().unwrap()).collect();
    assert_eq!(steps, [1, 0, -1]);
    let tree = printed(&place, 0, &["history", "t", "--tree", "--subgraphs"]);
    let shape: Vec<String> =
        tree.lines().map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect();
    let of = |at: usize, start: &str| assert!(shape[at].starts_with(start), "{tree}");
    of(1, "● -1 input");
    of(2, "● 0 loop");
    of(3, "│ ○ -1 input");
    of(4, "│ ○ 0 loop");
    of(5, "│ ○ 1 loop");
    of(6, "● 1 loop");
    assert!(tree.lines().nth(3).unwrap().contains("in outer"), "{tree}");
    // What a thread of its subgraphs' checkpoints cannot do: branch off inside one.
    let inside = runs[0]["checkpoint_id"].as_str().unwrap();
    place.refused(2, "HP0440", &["replay", "t", "--from", inside]);
}
