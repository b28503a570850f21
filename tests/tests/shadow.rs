//! A version sees threads that have run before it takes over: from their records, performing nothing, writing nothing.

use std::fs;

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::{Place, repository};
use serde_json::{Value, json};

const STATE: &str = "amount = { type = \"integer\" }\napproved = {}\nnotice = {}\nseen = {}\ndice = {}";

/// A place with the connector `notices`, a file.
fn place() -> Place {
    let mut place = Place::new();
    let path = place.path("notices.jsonl").display().to_string();
    place.configure(&format!("[connectors.notices]\nkind = \"file\"\npath = \"{path}\"\n"));
    place
}

fn notices(place: &Place) -> String {
    fs::read_to_string(place.path("notices.jsonl")).unwrap_or_default()
}

/// Asks for the amount, writes a notice under a derived id, then notes the time and random bytes.
fn graph(place: &Place, question: &str, notice: &str) -> String {
    Probes::new("start = \"gate\"", STATE)
        .node("gate", "next = \"tell\"", &format!("{{ ask = {question}, as = \"reply\" }}, {{ set = {{ approved = \"$reply\" }} }}"))
        .node(
            "tell",
            "connectors = [\"notices\"]\nnext = \"look\"",
            &format!("{{ effect = {{ connector = \"notices\", request = {notice} }}, as = \"done\" }}, {{ set = {{ notice = \"$done\" }} }}"),
        )
        .node(
            "look",
            "",
            "{ now = \"time\" }, { random = { bytes = 8, as = \"dice\" } }, { set = { seen = \"$time\", dice = \"$dice\" } }",
        )
        .write(place)
        .display()
        .to_string()
}

const QUESTION: &str = "{ amount = \"$state.amount\" }";
const NOTICE: &str = "{ amount = \"$state.amount\" }";

/// One thread that is done, one that waits.
fn run_threads(place: &Place, graph: &str) {
    place.expect(3, &["run", graph, "--thread", "done", "--input", r#"{"amount":5}"#]);
    place.expect(0, &["resume", "--thread", "done", "--answer", "true"]);
    place.expect(3, &["run", graph, "--thread", "waits", "--input", r#"{"amount":6}"#]);
}

/// Everything that a store holds, as text.
fn dump(place: &Place) -> Vec<String> {
    let database = rusqlite::Connection::open(place.store()).unwrap();
    let names: Vec<String> = database
        .prepare("select name from sqlite_schema where type = 'table' order by name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut rows = Vec::new();
    for name in names {
        let mut statement = database.prepare(&format!("select * from \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<String> =
                (0..columns).map(|column| format!("{:?}", row.get_ref(column).unwrap())).collect();
            rows.push(format!("{name}: {}", values.join("|")));
        }
    }
    rows.sort_unstable();
    rows
}

/// The outcome of each thread by name.
fn outcome<'r>(report: &'r Value, thread: &str) -> &'r Value {
    report.as_array().unwrap().iter().find(|entry| entry["thread_id"] == thread).unwrap()
}

#[test]
fn a_version_that_does_the_same_says_so() {
    let place = place();
    let file = graph(&place, QUESTION, NOTICE);
    run_threads(&place, &file);
    let (before, sent) = (dump(&place), notices(&place));
    assert_eq!(sent.lines().count(), 1);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("start =", "recursion_limit = 50\nstart =")).unwrap();
    let reply = place.expect(0, &["graph", "deploy", &file, "--shadow", "10"]);
    assert_eq!(reply["shadow"].as_array().unwrap().len(), 2);
    for thread in ["done", "waits"] {
        assert_eq!(outcome(&reply["shadow"], thread)["outcome"], "same", "{reply:#}");
    }
    assert_eq!(notices(&place), sent, "the notice is not written again");
    let after = dump(&place);
    let changed: Vec<&String> = before.iter().filter(|row| after.binary_search(row).is_err()).collect();
    assert_eq!(changed, [] as [&String; 0], "no row of a thread, task, question or operation changed");
}

#[test]
fn only_the_last_threads_are_replayed() {
    let place = place();
    let file = graph(&place, QUESTION, NOTICE);
    run_threads(&place, &file);
    let reply = place.expect(0, &["graph", "deploy", &file, "--shadow", "1"]);
    assert_eq!(reply["shadow"].as_array().unwrap().len(), 1);
    assert_eq!(reply["shadow"][0]["thread_id"], "waits");
    // Threads of other graphs are not its business.
    let other = Probes::new("start = \"a\"", "x = {}").node("a", "", "").write_as(&place, "other.graph.toml");
    let text = fs::read_to_string(&other).unwrap().replace("name = \"probes\"", "name = \"other\"");
    fs::write(&other, text).unwrap();
    let reply = place.expect(0, &["graph", "deploy", other.to_str().unwrap(), "--shadow", "5"]);
    assert_eq!(reply["shadow"], json!([]));
}

#[test]
fn another_question_stops_the_replay_there() {
    let place = place();
    run_threads(&place, &graph(&place, QUESTION, NOTICE));
    let (before, sent) = (dump(&place), notices(&place));
    let file = graph(&place, "{ amount = \"$state.amount\", currency = \"EUR\" }", NOTICE);
    let refusal = place.refused(1, "HP0188", &["graph", "deploy", &file, "--shadow", "10"]);
    let report = &refusal["error"]["details"]["shadow"];
    let done = &outcome(report, "done")["differences"];
    assert_eq!(done["status"], json!({ "recorded": "done", "now": "interrupted" }));
    assert_eq!(done["asked_only_now"], json!([{ "node": "gate", "value": { "amount": 5, "currency": "EUR" } }]));
    assert_eq!(done["no_longer_asked"], json!([{ "node": "gate", "value": { "amount": 5 } }]));
    assert_eq!(done["values"]["approved"]["now"], Value::Null, "an answer to another question is none");
    let waits = &outcome(report, "waits")["differences"];
    assert_eq!(waits["status"], Value::Null);
    assert_eq!(waits["asked_only_now"][0]["value"]["currency"], "EUR");
    assert_eq!((dump(&place), notices(&place)), (before, sent), "nothing was stored, nothing sent");
    // For people: a table and the refusal.
    let output = place.command(&["graph", "deploy", &file, "--shadow", "10"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("asks only now") && shown.contains("done → interrupted"), "{shown}");
    // Who accepts it deploys it.
    let reply = place.expect(0, &["graph", "deploy", &file, "--shadow", "10", "--accept"]);
    assert_eq!((&reply["deployed"], &reply["version"]), (&json!(true), &json!("1")));
    assert_eq!(outcome(&reply["shadow"], "done")["outcome"], "differs");
}

#[test]
fn operations_without_a_record_are_listed_and_not_performed() {
    let place = place();
    run_threads(&place, &graph(&place, QUESTION, NOTICE));
    let (before, sent) = (dump(&place), notices(&place));
    let file = graph(&place, QUESTION, "{ amount = \"$state.amount\", loud = true }");
    let refusal = place.refused(1, "HP0188", &["graph", "deploy", &file, "--shadow", "10"]);
    let report = &refusal["error"]["details"]["shadow"];
    let done = &outcome(report, "done")["differences"];
    let operations = done["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 1, "{done:#}");
    assert_eq!(operations[0]["connector"], "notices");
    assert_eq!(operations[0]["request"], json!({ "amount": 5, "loud": true }));
    assert_eq!(done["error"]["now"]["node"], "tell");
    assert_eq!(
        (&done["asked_only_now"], &done["no_longer_asked"]),
        (&json!([]), &json!([])),
        "the answer was the recorded one"
    );
    assert_eq!(outcome(report, "waits")["outcome"], "same", "it has not come to that yet");
    assert_eq!((dump(&place), notices(&place)), (before, sent));
}

#[test]
fn other_values_and_failures_are_shown_by_channel() {
    let place = place();
    let script = |script: &str| {
        let graph = Probes::new("start = \"a\"", "x = {}\ny = {}\nz = {}").node("a", "", script).write(&place);
        graph.display().to_string()
    };
    let file = script("{ set = { x = \"$state.z\", y = 2 } }");
    place.expect(0, &["run", &file, "--thread", "t", "--input", r#"{"z":1}"#]);
    script("{ set = { x = \"$state.z\", y = 3 } }");
    let refusal = place.refused(1, "HP0188", &["graph", "deploy", &file, "--shadow", "1"]);
    let differences = &refusal["error"]["details"]["shadow"][0]["differences"];
    assert_eq!(differences["values"], json!({ "y": { "recorded": 2, "now": 3 } }));
    script("{ fail = { code = \"no\", message = \"not any more\" } }");
    let refusal = place.refused(1, "HP0188", &["graph", "deploy", &file, "--shadow", "1"]);
    let differences = &refusal["error"]["details"]["shadow"][0]["differences"];
    assert_eq!(differences["status"], json!({ "recorded": "done", "now": "failed" }));
    assert_eq!(differences["error"]["now"]["code"], "no");
    // A failure that was there before is the same.
    place.expect(1, &["run", &file, "--thread", "fails", "--input", r#"{"z":1}"#]);
    let reply = place.expect(0, &["graph", "deploy", &file, "--shadow", "1"]);
    assert_eq!(reply["shadow"][0]["outcome"], "same", "{reply:#}");
    // A state that the input does not fit any more.
    let text = fs::read_to_string(&file).unwrap().replace("z = {}", "z = { type = \"string\" }");
    fs::write(&file, text).unwrap();
    let refusal = place.refused(1, "HP0188", &["graph", "deploy", &file, "--shadow", "1"]);
    let differences = &refusal["error"]["details"]["shadow"][0]["differences"];
    assert!(differences["refused"].as_str().unwrap().contains("HP0302"), "{differences}");
}

#[test]
fn several_inputs_branches_and_subgraphs_are_followed() {
    let place = place();
    let ask = "{ ask = { n = \"$state.n\" }, as = \"reply\" }, { set = { log = [\"$reply\"] } }";
    let child = Probes::new("start = \"inner\"", "n = {}\nlog = { type = \"array\", reducer = \"append\" }")
        .node("inner", "", ask)
        .write_as(&place, "child.graph.toml");
    assert!(child.exists());
    let parent = Probes::new("start = \"sub\"", "n = {}\nlog = { type = \"array\", reducer = \"append\" }\ntwice = {}")
        .lines("[nodes.sub]\ngraph = \"child.graph.toml\"\nnext = \"after\"")
        .node("after", "", "{ set = { twice = \"$state.log\" } }")
        .write(&place);
    let file = parent.display().to_string();
    place.expect(3, &["run", &file, "--thread", "t", "--input", r#"{"n":1}"#]);
    place.expect(0, &["resume", "--thread", "t", "--answer", "\"one\""]);
    // A second input is superseded by a third.
    place.expect(3, &["resume", "--thread", "t", "--input", r#"{"n":2}"#]);
    place.expect(3, &["resume", "--thread", "t", "--input", r#"{"n":3}"#, "--supersede"]);
    let done = place.expect(0, &["resume", "--thread", "t", "--answer", "\"three\""]);
    assert_eq!(done["values"]["twice"], json!(["one", "three"]));
    // Replayed from before the last answer, and answered otherwise: the branch of the head counts.
    let history = place.expect(0, &["history", "t"]);
    let entries = history.as_array().unwrap();
    let gate = entries.iter().find(|entry| entry["next"] == json!(["sub"])).unwrap();
    place.expect(3, &["replay", "--thread", "t", "--from", gate["checkpoint_id"].as_str().unwrap()]);
    let done = place.expect(0, &["resume", "--thread", "t", "--answer", "\"other\""]);
    assert_eq!(done["values"]["twice"], json!(["one", "other"]));
    let reply = place.expect(0, &["graph", "deploy", &file, "--shadow", "1"]);
    assert_eq!(reply["shadow"][0]["outcome"], "same", "{reply:#}");
}

#[test]
fn the_refund_example_pays_nothing_in_the_shadow() {
    let payments = Payments::start();
    let mut place = Place::with_refund_connectors(payments.url());
    place.set("UNUSED", "");
    let file = repository().join("example-nodes/refund/refund.graph.toml").display().to_string();
    for (order, answer) in [("1", r#"{"approved":true}"#), ("2", r#"{"approved":false}"#)] {
        let input = json!({ "order_id": order, "amount_cents": 500 }).to_string();
        place.expect(3, &["run", &file, "--thread", order, "--input", &input]);
        place.expect(0, &["resume", "--thread", order, "--answer", answer]);
    }
    place.expect(3, &["run", &file, "--thread", "3", "--input", r#"{"order_id":"3","amount_cents":500}"#]);
    // One whose payment failed for now: it has no record, and the version would perform it.
    payments.behave(Manner::Refuse(503));
    place.expect(3, &["run", &file, "--thread", "4", "--input", r#"{"order_id":"4","amount_cents":500}"#]);
    place.expect(1, &["resume", "--thread", "4", "--answer", r#"{"approved":true}"#]);
    payments.behave(Manner::Deduplicate);
    let sent = payments.log().len();
    let refusal = place.refused(1, "HP0188", &["graph", "deploy", &file, "--shadow", "10"]);
    let report = &refusal["error"]["details"]["shadow"];
    for thread in ["1", "2", "3"] {
        assert_eq!(outcome(report, thread)["outcome"], "same", "{report:#}");
    }
    let differences = &outcome(report, "4")["differences"];
    assert_eq!(differences["operations"][0]["operation_id"], "refund:4:500", "{differences:#}");
    assert_eq!(payments.log().len(), sent, "nothing was sent");
}

#[test]
fn doubt_and_approvals_are_what_they_were() {
    let payments = Payments::start();
    let mut place = Place::new();
    place.configure(&format!(
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST /refunds\"]\nclass = \"at-most-once\"\naddresses = \"any\"\n\
         requires_approval = \"request.body.cents > 100\"\n",
        payments.url()
    ));
    let script = "{ effect = { id = \"pay:${state.order}\", connector = \"payments\", request = { method = \"POST\", path = \"/refunds\", body = { cents = \"$state.cents\" } } }, \
                  as = \"done\", catch = true }, { set = { done = \"$done\" } }";
    let file = Probes::new("start = \"pay\"", "order = {}\ncents = {}\ndone = {}")
        .node("pay", "connectors = [\"payments\"]", script)
        .write(&place)
        .display()
        .to_string();
    let input = |order: &str, cents: u32| json!({ "order": order, "cents": cents }).to_string();
    place.expect(3, &["run", &file, "--thread", "yes", "--input", &input("yes", 500)]);
    place.expect(0, &["resume", "--thread", "yes", "--answer", r#"{"approved":true}"#]);
    place.expect(3, &["run", &file, "--thread", "no", "--input", &input("no", 500)]);
    place.expect(0, &["resume", "--thread", "no", "--answer", r#"{"approved":false}"#]);
    place.expect(3, &["run", &file, "--thread", "asked", "--input", &input("asked", 500)]);
    payments.behave(Manner::Refuse(500));
    let doubt = place.expect(3, &["run", &file, "--thread", "doubt", "--input", &input("doubt", 5)]);
    assert_eq!(doubt["interrupts"][0]["kind"], "in-doubt");
    let sent = payments.log().len();
    let reply = place.expect(0, &["graph", "deploy", &file, "--shadow", "10"]);
    for thread in ["yes", "no", "asked", "doubt"] {
        assert_eq!(outcome(&reply["shadow"], thread)["outcome"], "same", "{reply:#}");
    }
    assert_eq!(payments.log().len(), sent);
}

#[test]
fn threads_that_cannot_be_repeated_say_why() {
    let place = place();
    let file = graph(&place, QUESTION, NOTICE);
    run_threads(&place, &file);
    place.expect(0, &["update", "waits", "--set", r#"{"amount":7}"#, "--as-node", "gate"]);
    let reply = place.expect(0, &["graph", "deploy", &file, "--shadow", "2"]);
    let updated = outcome(&reply["shadow"], "waits");
    assert_eq!(updated["outcome"], "not-repeatable", "{reply:#}");
    assert!(updated["reason"].as_str().unwrap().contains("updated"), "{updated}");
    assert_eq!(outcome(&reply["shadow"], "done")["outcome"], "same");
}
