//! Deploying: nested graph files, everything that is wrong at once, what a version may do more, names, and threads that keep their version.

use std::fs;
use std::path::Path;

use holdpoint::deploy::versions::{self, Plan};
use holdpoint::deploy::{files, prepare};
use holdpoint::{Host, HostOptions};
use holdpoint_effects::Configuration;
use holdpoint_engine::Config;
use holdpoint_store::SqliteOptions;
use holdpoint_tests::graphs::Probes;
use holdpoint_tests::program::{Place, cache_folder, node, repository};
use serde_json::{Value, json};

const REFUND: &str = r#"{"order_id":"9241","amount_cents":50000}"#;
const SET_ONE: &str = "{ set = { x = 1 } }";
const ASK: &str = "{ ask = { x = \"$state.x\" }, as = \"reply\" }, { set = { answer = \"$reply\" } }";

fn refund() -> String {
    repository().join("example-nodes/refund/refund.graph.toml").display().to_string()
}

/// A place whose only connectors are files: `notices` and `ledger`.
fn with_files() -> Place {
    let mut place = Place::new();
    let file =
        |name: &str| format!("[connectors.{name}]\nkind = \"file\"\npath = \"{}\"\n", place.path(name).display());
    let text = file("notices") + &file("ledger");
    place.configure(&text);
    place
}

fn write(place: &Place, name: &str, text: &str) -> String {
    let path = place.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A graph of one node; `keys` are its lines.
fn one_node(name: &str, keys: &str) -> String {
    format!("name = \"{name}\"\nstart = \"a\"\n[state]\nx = {{}}\n[nodes.a]\n{keys}\n")
}

fn probe(keys: &str, script: &str) -> String {
    format!("component = \"{}\"\n{keys}\nwith = {{ script = [{script}] }}", node("probe").display())
}

/// What is deployed: name, version and who deployed it, newest first.
fn deployed(place: &Place) -> Vec<(String, String, String)> {
    if !place.store().exists() {
        return Vec::new();
    }
    let listed = place.expect(0, &["graph", "list"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = listed.as_array().unwrap().iter();
    rows.map(|row| (text(&row["graph"]), text(&row["version"]), text(&row["deployed_by"]))).collect()
}

/// Counts of everything that a store holds, by table.
fn rows(place: &Place) -> Vec<(String, i64)> {
    if !place.store().exists() {
        return Vec::new();
    }
    let database = rusqlite::Connection::open(place.store()).unwrap();
    let names: Vec<String> = database
        .prepare("select name from sqlite_schema where type = 'table' order by name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let count = |name: String| {
        let count = database.query_row(&format!("select count(*) from \"{name}\""), [], |row| row.get(0)).unwrap();
        (name, count)
    };
    names.into_iter().map(count).collect()
}

#[test]
fn nested_files_are_read_from_where_they_are_named_and_kept() {
    let place = Place::new();
    write(&place, "inner/leaf.graph.toml", &one_node("leaf", &probe("", SET_ONE)));
    let middle = format!(
        "name = \"middle\"\nstart = \"in\"\n[state]\nx = {{}}\nanswer = {{}}\n[nodes.in]\ngraph = \"leaf.graph.toml\"\nnext = \"ask\"\n[nodes.ask]\n{}\n",
        probe("", ASK)
    );
    write(&place, "inner/middle.graph.toml", &middle);
    let outer = "name = \"outer\"\nstart = \"m\"\n[state]\nx = {}\nanswer = {}\n[nodes.m]\ngraph = \"inner/middle.graph.toml\"\n";
    let outer = write(&place, "outer.graph.toml", outer);
    let checked = place.expect(0, &["graph", "check", &outer]);
    assert_eq!((&checked["ok"], &checked["graph"]), (&json!(true), &json!("outer")));
    assert!(!place.store().exists(), "a check needs no store");
    let asked = place.expect(3, &["run", &outer, "--thread", "t"]);
    assert_eq!(asked["interrupts"][0]["value"], json!({ "x": 1 }), "the innermost node wrote it");
    // What the thread needs is in the store.
    fs::remove_dir_all(place.path("inner")).unwrap();
    fs::remove_file(&outer).unwrap();
    let done = place.expect(0, &["resume", "--thread", "t", "--answer", "7"]);
    assert_eq!(done["values"], json!({ "x": 1, "answer": 7 }));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_nothing_is_stored() {
    let place = Place::new();
    fs::write(place.path("corrupt.wasm"), b"\0asm\x0d\0\x01\0 this is no component").unwrap();
    let child = format!(
        "name = \"child\"\nstart = \"pay\"\n[state]\nx = {{}}\n[nodes.pay]\ncomponent = \"{}\"\n[nodes.named]\ncomponent = \"nobody@1.0.0\"\n[nodes.gone]\ncomponent = \"gone.wasm\"\n",
        node("commit-refund").display()
    );
    write(&place, "child.graph.toml", &child);
    write(&place, "faulty.graph.toml", &one_node("faulty", "component = \"x.wasm\"\nnxt = \"END\""));
    let stranger = format!("sha256:{}", "0".repeat(64));
    let parent = format!(
        "name = \"parent\"\nstart = \"a\"\n[state]\nx = {{}}\n[nodes.a]\ncomponent = \"corrupt.wasm\"\n[nodes.b]\ngraph = \"child.graph.toml\"\n\
         [nodes.c]\ngraph = \"faulty.graph.toml\"\n[nodes.d]\ngraph = \"absent.graph.toml\"\n[nodes.e]\ngraph = \"{stranger}\"\n[nodes.f]\ncomponent = \"{stranger}\"\n"
    );
    let parent = write(&place, "parent.graph.toml", &parent);
    let mut wanted = ["HP0102", "HP0187", "HP0190", "HP0191", "HP0192", "HP0193", "HP0194", "HP0201"];
    for command in [&["graph", "check", &parent][..], &["graph", "deploy", &parent]] {
        let refusal = place.expect(2, command);
        let problems = refusal["error"]["problems"].as_array().unwrap();
        let mut codes: Vec<&str> = problems.iter().map(|problem| problem["code"].as_str().unwrap()).collect();
        codes.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(codes, wanted, "{command:?}: {problems:#?}");
        for problem in problems {
            assert!(problem["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{problem}");
            assert!(problem["file"].as_str().is_some_and(|file| file.ends_with(".graph.toml")), "{problem}");
        }
        assert!(!place.store().exists(), "{command:?} left a store");
    }
    assert_eq!(
        place.expect(2, &["run", &parent])["error"]["problems"].as_array().map(Vec::len),
        Some(2),
        "the files' own"
    );
    assert!(!place.store().exists());
}

#[test]
fn graphs_that_contain_each_other_are_refused_with_the_chain() {
    let place = Place::new();
    let one = write(&place, "one.graph.toml", &one_node("one", "graph = \"two.graph.toml\""));
    write(&place, "two.graph.toml", &one_node("two", "graph = \"./one.graph.toml\""));
    for command in [&["graph", "check", &one][..], &["graph", "deploy", &one], &["run", &one]] {
        let refusal = place.refused(2, "HP0195", command);
        let message = refusal["error"]["message"].as_str().unwrap();
        let order: Vec<usize> =
            ["one.graph.toml →", "two.graph.toml →"].iter().map(|part| message.find(part).unwrap()).collect();
        assert!(order[0] < order[1] && message.ends_with("one.graph.toml"), "{message}");
        assert!(!place.store().exists());
    }
}

#[test]
fn what_a_version_may_do_more_somebody_has_to_take() {
    let place = with_files();
    let graph = |keys: &str, more: &str| {
        let inner = write(&place, "inner.graph.toml", &one_node("inner", &probe(keys, SET_ONE)));
        assert!(Path::new(&inner).exists());
        write(
            &place,
            "g.graph.toml",
            &format!(
                "name = \"g\"\nstart = \"sub\"\n[state]\nx = {{}}\n[nodes.sub]\ngraph = \"inner.graph.toml\"\n{more}"
            ),
        )
    };
    let file = graph("", "");
    let first = place.expect(0, &["graph", "deploy", &file, "--by", "ana"]);
    assert_eq!((&first["version"], &first["deployed"], &first["previous"]), (&json!("1"), &json!(true), &Value::Null));
    assert_eq!(first["deployed_by"], "cli:ana");
    let gains = first["gains"].as_array().unwrap();
    assert_eq!(gains[0], "sub/a: new component probe@0.1.0", "a first version gains all it has: {gains:?}");
    assert!(gains.iter().any(|gain| gain.as_str().unwrap().starts_with("sub/a: import holdpoint:node/side-effect@")));

    // A connector for a nested node, and a node that runs another component.
    let reject = format!("[nodes.reject]\ncomponent = \"{}\"\n", node("reject-refund").display());
    graph("connectors = [\"notices\", \"ledger\"]", &reject);
    let before = rows(&place);
    let refusal = place.refused(2, "HP0198", &["graph", "deploy", &file]);
    let gains = refusal["error"]["details"]["gains"].as_array().unwrap();
    for gain in ["reject: new component reject-refund@0.1.0", "sub/a: connector ledger", "sub/a: connector notices"] {
        assert!(gains.contains(&json!(gain)), "{gain}: {gains:?}");
        assert!(refusal["error"]["message"].as_str().unwrap().contains(gain), "{refusal}");
    }
    assert!(!gains.iter().any(|gain| gain.as_str().unwrap().starts_with("sub/a: import")), "it had these: {gains:?}");
    let difference = refusal["error"]["details"]["difference"].as_array().unwrap();
    assert_eq!(difference[1]["node"], "sub/a");
    assert_eq!(difference[1]["connectors_gained"], json!(["ledger", "notices"]));
    assert_eq!(rows(&place), before, "nothing is stored without --accept");
    // The table for people, and the refusal beside it.
    let output = place.command(&["graph", "deploy", &file]).output().unwrap();
    let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(shown.contains("sub/a") && shown.contains("connector ledger"), "{shown}");
    assert!(said.contains("HP0198") && said.contains("--accept"), "{said}");

    let second = place.expect(0, &["graph", "deploy", &file, "--accept", "--by", "ben"]);
    assert_eq!((&second["version"], &second["gains"]), (&json!("2"), &json!(gains)));
    assert_eq!(second["previous"]["version"], "1");
    let again = place.expect(0, &["graph", "deploy", &file, "--by", "cy"]);
    assert_eq!((&again["version"], &again["deployed"]), (&json!("2"), &json!(false)));
    assert_eq!(again["deployed_by"], "cli:ben", "who took it stays");
    let output = place.command(&["graph", "deploy", &file]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("version 2 of g already"));

    // To do less needs nobody.
    graph("connectors = [\"notices\"]", "");
    let third = place.expect(0, &["graph", "deploy", &file, "--by", "ana"]);
    assert_eq!((&third["version"], &third["gains"]), (&json!("3"), &json!([])));
    assert_eq!(third["difference"][1]["connectors_lost"], json!(["ledger"]));
    assert_eq!(third["difference"][0]["component"], Value::Null, "the other node is gone");
    // Back to what was there first is a version of its own.
    graph("", "");
    assert_eq!(place.expect(0, &["graph", "deploy", &file, "--by", "ana"])["version"], "4");
    let ana = |version: &str| ("g".to_owned(), version.to_owned(), "cli:ana".to_owned());
    assert_eq!(deployed(&place), [ana("4"), ana("3"), ("g".into(), "2".into(), "cli:ben".into()), ana("1")]);
    assert_eq!(place.expect(0, &["graph", "list", "g@2"]).as_array().unwrap().len(), 1);
}

#[test]
fn components_are_known_by_name_and_version() {
    let mut place = Place::with_refund_connectors("http://127.0.0.1:1");
    place.set("UNUSED", "");
    let named = |reference: &str| one_node("named", &format!("component = \"{reference}\""));
    let file = write(&place, "named.graph.toml", &named("reject-refund@0.1.0"));
    let refusal = place.refused(2, "HP0193", &["graph", "check", &file]);
    assert!(refusal["error"]["message"].as_str().unwrap().contains("no version of reject-refund"), "{refusal}");
    place.expect(0, &["graph", "deploy", &refund(), "--by", "ana"]);
    assert_eq!(place.expect(0, &["graph", "check", &file])["ok"], true);

    let text =
        "name = \"named\"\nstart = \"a\"\n[state]\nstatus = {}\n[nodes.a]\ncomponent = \"reject-refund@0.1.0\"\n";
    let runs = write(&place, "runs.graph.toml", text);
    assert_eq!(place.expect(0, &["run", &runs, "--thread", "t"])["values"]["status"], "rejected");
    place.expect(0, &["graph", "deploy", &runs, "--by", "ana"]);

    let before = rows(&place);
    for (reference, known) in [("reject-refund@9.9.9", "0.1.0"), ("nobody@0.1.0", "no version of nobody")] {
        let file = write(&place, "unknown.graph.toml", &named(reference));
        for command in [&["run", &file][..], &["graph", "check", &file], &["graph", "deploy", &file]] {
            let refusal = place.refused(2, "HP0193", command);
            assert!(refusal["error"]["message"].as_str().unwrap().contains(known), "{refusal}");
        }
    }
    // The same name and version with another content: an empty custom section changes nothing but the digest.
    let mut bytes = fs::read(node("reject-refund")).unwrap();
    bytes.extend([0x00, 0x05, 0x04, b'm', b'a', b'r', b'k']);
    fs::write(place.path("changed.wasm"), bytes).unwrap();
    let file = write(&place, "changed.graph.toml", &one_node("changed", "component = \"changed.wasm\""));
    let refusal = place.refused(2, "HP0197", &["graph", "deploy", &file, "--accept"]);
    let message = refusal["error"]["message"].as_str().unwrap();
    assert_eq!(message.matches("sha256:").count(), 2, "both digests: {message}");
    assert!(message.contains("reject-refund@0.1.0"), "{message}");
    let both = one_node("both", "component = \"changed.wasm\"")
        + &format!("[nodes.b]\ncomponent = \"{}\"\n", node("reject-refund").display());
    let file = write(&place, "both.graph.toml", &both);
    place.expect(2, &["graph", "deploy", &file]);
    assert_eq!(rows(&place), before, "refusals store nothing");
}

#[test]
fn names_start_threads_and_waiting_threads_keep_their_version() {
    let place = Place::new();
    Place::new().refused(2, "HP0702", &["run", "probes"]);
    let file = |version: u32| {
        let graph = Probes::new("start = \"gate\"", "x = {}\nanswer = {}\nversion = {}").node(
            "gate",
            "",
            &format!("{ASK}, {{ set = {{ version = {version} }} }}"),
        );
        graph.write(&place).display().to_string()
    };
    let graph = file(1);
    place.expect(0, &["graph", "deploy", &graph]);
    fs::remove_file(&graph).unwrap();
    place.expect(3, &["run", "probes", "--thread", "old", "--input", r#"{"x":1}"#]);
    file(2);
    place.expect(0, &["graph", "deploy", &graph]);
    fs::remove_file(&graph).unwrap();
    place.expect(3, &["run", "probes", "--thread", "new", "--input", r#"{"x":1}"#]);
    place.expect(3, &["run", "probes@1", "--thread", "chosen", "--input", r#"{"x":1}"#]);
    for (thread, version) in [("old", 1), ("new", 2), ("chosen", 1)] {
        let done = place.expect(0, &["resume", "--thread", thread, "--answer", "true"]);
        assert_eq!(done["values"]["version"], version, "{thread}");
    }
    let drawn = place.expect(0, &["graph", "show", "probes@2"])["mermaid"].as_str().unwrap().to_owned();
    assert!(drawn.contains("gate"), "{drawn}");

    let before = rows(&place);
    for (reference, known) in [("nobody", "probes"), ("probes@3", "2, 1"), ("nobody@1", "probes")] {
        for command in
            [&["run", reference, "--thread", "t"][..], &["graph", "show", reference], &["graph", "list", reference]]
        {
            let refusal = place.refused(2, "HP0199", command);
            assert!(refusal["error"]["message"].as_str().unwrap().contains(known), "{refusal}");
        }
    }
    // What can only be a file is one.
    place.refused(2, "HP0190", &["run", "probes.graph.toml"]);
    assert_eq!(rows(&place), before);
}

#[test]
fn the_refund_example_is_deployed_and_run_by_name() {
    let place = Place::with_refund_connectors("http://127.0.0.1:1");
    let deployed = place.expect(0, &["graph", "deploy", &refund()]);
    assert!(deployed["gains"].as_array().unwrap().contains(&json!("commit_refund: connector payments")));
    let asked = place.expect(3, &["run", "refund", "--thread", "t", "--input", REFUND]);
    assert_eq!(asked["interrupts"][0]["value"]["amount_cents"], 50000);
    let done = place.expect(0, &["resume", "--thread", "t", "--answer", r#"{"approved":false}"#]);
    assert_eq!(done["values"]["status"], "rejected");
}

#[test]
fn graphs_that_unfold_without_end_are_refused() {
    let place = Place::new();
    let leaf = one_node("leaf", &probe("", SET_ONE));
    write(&place, "14.graph.toml", &leaf);
    for level in (0..14).rev() {
        let inner = format!("graph = \"{}.graph.toml\"", level + 1);
        write(&place, &format!("{level}.graph.toml"), &(one_node("twice", &inner) + &format!("[nodes.b]\n{inner}\n")));
    }
    let outer = place.path("0.graph.toml").display().to_string();
    let refusal = place.refused(2, "HP0196", &["graph", "check", &outer]);
    assert!(refusal["error"]["message"].as_str().unwrap().contains("nodes"), "{refusal}");
    // A graph inside it that unfolds less is in order.
    let inner = place.path("5.graph.toml").display().to_string();
    assert_eq!(place.expect(0, &["graph", "check", &inner])["ok"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_deploy_at_once_one_is_told() {
    let place = Place::new();
    let host = open(&place);
    let sandbox = holdpoint::host::checking_sandbox().unwrap();
    let mut plans = Vec::new();
    for value in 1..=2 {
        let script = format!("{{ set = {{ x = {value} }} }}");
        let file = write(&place, "g.graph.toml", &one_node("g", &probe("", &script)));
        let prepared =
            prepare::prepare(&sandbox, Some(host.store.as_ref()), files::read(Path::new(&file))).await.unwrap();
        plans.push(Plan::make(&host, &sandbox, prepared, &file).await.unwrap());
    }
    assert_eq!(plans[0].take_over(&host, "cli:ana").await.unwrap().version, "1");
    let lost = plans[1].take_over(&host, "cli:ben").await.unwrap_err();
    assert_eq!(lost.code, "HP0189", "{lost}");
    let listed = versions::list(&host, Some("g")).await.unwrap();
    assert_eq!(listed.iter().map(|version| version.deployed_by.as_str()).collect::<Vec<_>>(), ["cli:ana"]);
}

fn open(place: &Place) -> Host {
    Host::open(HostOptions {
        store: place.store(),
        sqlite: SqliteOptions::default(),
        configuration: Configuration::default(),
        cache_dir: Some(cache_folder()),
        engine: Config::default(),
    })
    .unwrap()
}
