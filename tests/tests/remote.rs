//! The command line against a server: the same commands, the same answers, and nothing more than the caller may.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use holdpoint_tests::graphs::Probes;
use holdpoint_tests::payments::{Manner, Payments};
use holdpoint_tests::program::{Outcome, Place, cache_folder, program};
use holdpoint_tests::signal::{self, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::{Served, counter, refund};

const INPUT: &str = r#"{"order_id":"9241","amount_cents":50000}"#;

/// A folder from which a server is used: no store, no configuration.
struct Desk {
    folder: TempDir,
    server: String,
    key: Option<String>,
}

impl Desk {
    fn new(served: &Served) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), server: served.address.clone(), key: None }
    }

    /// With a key of this role and tenant, made on the server's store.
    fn with_key(served: &Served, place: &Place, name: &str, role: &str, tenant: &str) -> Self {
        let made = place.expect(0, &["keys", "create", name, "--role", role, "--tenant", tenant]);
        Self { key: Some(made["key"].as_str().unwrap().to_owned()), ..Self::new(served) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOLDPOINT_SERVER", &self.server)
            .env("HOLDPOINT_CACHE_DIR", cache_folder())
            .env_remove("HOLDPOINT_STORE")
            .env_remove("HOLDPOINT_CONFIG")
            .stdin(Stdio::null());
        match &self.key {
            Some(key) => command.env("HOLDPOINT_API_KEY", key),
            None => command.env_remove("HOLDPOINT_API_KEY"),
        };
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).arg("--json").output().unwrap())
    }

    fn expect(&self, exit: i32, arguments: &[&str]) -> Value {
        let outcome = self.run(arguments);
        assert_eq!(outcome.exit, Some(exit), "holdpoint {arguments:?}: {} {}", outcome.reply, outcome.notes);
        assert!(!self.folder.path().join("holdpoint.db").exists(), "holdpoint {arguments:?} made a store here");
        outcome.reply
    }

    fn refused(&self, exit: i32, code: &str, arguments: &[&str]) -> Value {
        let reply = self.expect(exit, arguments);
        assert_eq!(reply["error"]["code"], code, "holdpoint {arguments:?}: {reply}");
        for part in ["message", "cure"] {
            assert!(reply["error"][part].as_str().is_some_and(|text| !text.is_empty()), "no {part}: {reply}");
        }
        reply
    }

    /// Text, remarks and exit code without `--json`.
    fn text(&self, arguments: &[&str]) -> (String, String, Option<i32>) {
        said(&mut self.command(arguments))
    }
}

fn said(command: &mut Command) -> (String, String, Option<i32>) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// A reading command says the same through the server as on its store: for programs, for people, and in its exit code.
fn same(desk: &Desk, place: &Place, exit: i32, arguments: &[&str]) -> Value {
    let remote = desk.expect(exit, arguments);
    assert_eq!(remote, place.expect(exit, arguments), "holdpoint {arguments:?}");
    assert_eq!(desk.text(arguments), said(&mut place.command(arguments)), "holdpoint {arguments:?}");
    remote
}

/// What is on the record of thread `t`, read from the store.
fn trail(place: &Place) -> String {
    said(&mut place.command(&["audit", "export", "--thread", "t"])).0
}

struct Setting {
    payments: Payments,
    place: Place,
    served: Served,
    /// Dropped last: the graphs that were served from it.
    _graphs: TempDir,
}

/// The refund graph and the counter behind a server.
fn refunds() -> Setting {
    let payments = Payments::start();
    let place = Place::with_refund_connectors(payments.url());
    let graphs = tempfile::tempdir().unwrap();
    counter(graphs.path());
    refund(graphs.path());
    let served = Served::start(&place, &[graphs.path()]);
    Setting { payments, place, served, _graphs: graphs }
}

#[test]
fn every_command_says_what_it_says_on_the_store() {
    let Setting { payments, place, served, .. } = refunds();
    let desk = Desk::new(&served);
    let shown = |thread: &str| place.expect(0, &["threads", "show", thread]);

    let asked = desk.expect(3, &["run", "refund", "--thread", "t", "--input", INPUT]);
    assert_eq!((&asked["status"], &asked), (&json!("interrupted"), &shown("t")));
    same(&desk, &place, 0, &["approvals"]);
    same(&desk, &place, 0, &["approvals", "show", asked["interrupts"][0]["id"].as_str().unwrap()]);
    same(&desk, &place, 0, &["state", "t"]);

    let updated = desk.expect(0, &["update", "t", "--set", r#"{"amount_cents":4000}"#, "--as-node", "prepare_refund"]);
    assert_eq!(updated, shown("t"));
    desk.expect(3, &["resume", "--thread", "t"]);
    let answer = desk.folder.path().join("answer.json");
    std::fs::write(&answer, r#"{"approved":true}"#).unwrap();
    let done = desk.expect(0, &["answer", "--thread", "t", "--answer", "@answer.json", "--by", "ana"]);
    assert_eq!((&done["status"], &done), (&json!("done"), &shown("t")));
    assert_eq!(payments.log().len(), 1, "paid once");

    let history = same(&desk, &place, 0, &["history", "t"]);
    same(&desk, &place, 0, &["history", "t", "--tree", "--subgraphs"]);
    same(&desk, &place, 0, &["history", "t", "--limit", "1", "--source", "update"]);
    same(&desk, &place, 0, &["state", "t", "--at", history[1]["checkpoint_id"].as_str().unwrap()]);
    let audit = trail(&place);
    assert!(audit.contains("cli:ana"), "who answered is on the record: {audit}");

    let before_payment = history[1]["checkpoint_id"].as_str().unwrap();
    let replayed = desk.expect(0, &["replay", "t", "--from", before_payment, "--effects", "recorded"]);
    assert_eq!(replayed, shown("t"));
    let fork = ["fork", "t", "--from", before_payment, "--set", r#"{"status":"approved"}"#, "--effects", "recorded"];
    let forked = desk.expect(0, &fork);
    assert_eq!(forked, shown("t"));
    let copied = desk.expect(0, &["copy", "t", "u"]);
    assert_eq!(copied, shown("u"));
    assert_eq!(payments.log().len(), 1, "none of that paid again");

    same(&desk, &place, 0, &["threads"]);
    same(&desk, &place, 0, &["threads", "list", "--status", "done", "--limit", "1", "--offset", "1"]);
    same(&desk, &place, 0, &["threads", "show", "u"]);
    same(&desk, &place, 0, &["operations"]);
    let operations = same(&desk, &place, 0, &["operations", "list", "--all"]);
    same(&desk, &place, 0, &["operations", "show", operations[0]["operation_id"].as_str().unwrap()]);
    same(&desk, &place, 0, &["verify", "t"]);
    same(&desk, &place, 0, &["graph", "list"]);
    same(&desk, &place, 0, &["graph", "show", "refund"]);

    let exported = desk.expect(0, &["export", "t", "--out", "t.fixture"]);
    let locally = place.expect(0, &["export", "t", "--out", "t.fixture"]);
    assert_eq!(exported, locally);
    let of = |folder: &Path| std::fs::read_to_string(folder.join("t.fixture")).unwrap();
    assert_eq!(of(desk.folder.path()), std::fs::read_to_string(place.path("t.fixture")).unwrap());
    assert_eq!(desk.expect(0, &["verify", "t.fixture"])["ok"], true, "a file is verified here");

    assert_eq!(desk.expect(0, &["threads", "delete", "u"]), json!({ "thread_id": "u", "deleted": true }));
    for refusal in [
        &["threads", "show", "u"][..],
        &["state", "nobody"],
        &["state", "t", "--at", "zzzz"],
        &["resume", "--thread", "t", "--answer", "true"],
        &["update", "t", "--set", "[]"],
        &["update", "t", "--set", "@nowhere.json"],
        &["history", "t", "--metadata", "1"],
        &["run", "nothing-like-this"],
        &["run", "missing.graph.toml"],
        &["operations", "show", "nothing"],
        &["threads", "list", "--status", "odd"],
    ] {
        let outcome = desk.run(refusal);
        let exit = outcome.exit.unwrap();
        assert!(exit == 2 && outcome.reply["error"]["code"].is_string(), "{refusal:?}: {outcome:?}");
        same(&desk, &place, exit, refusal);
    }
    assert_eq!(desk.expect(0, &["db", "prune", "--delete", "--older-than", "0s"])["deleted"], 1);
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn graph_files_travel_with_all_that_they_name() {
    let place = Place::new();
    let served = Served::start(&place, &[]);
    let desk = Desk::new(&served);
    let inner = desk.folder.path().join("graphs/inner");
    std::fs::create_dir_all(&inner).unwrap();
    let write = |path: &str, text: &str| std::fs::write(desk.folder.path().join("graphs").join(path), text).unwrap();
    let child = Probes::new("start = \"a\"", "count = { type = \"integer\", reducer = \"add\" }").node(
        "a",
        "next = \"END\"",
        "{ set = { count = 1 } }",
    );
    child.write_into(&inner, "child.graph.toml");
    let probe = holdpoint_tests::program::node("probe");
    std::fs::copy(probe, desk.folder.path().join("probe.wasm")).unwrap();
    let nodes = "[nodes.one]\ngraph = \"inner/../inner/child.graph.toml\"\nnext = \"two\"\n\
                 [nodes.two]\ncomponent = \"../probe.wasm\"\nnext = \"END\"\nwith = { script = [{ set = { count = 10 } }] }\n";
    let state = "[state]\ncount = { type = \"integer\", reducer = \"add\" }\n";
    write("outer.graph.toml", &format!("name = \"outer\"\nstart = \"one\"\n{state}{nodes}"));

    let ran = desk.expect(0, &["run", "graphs/outer.graph.toml", "--thread", "t", "--input", "{\"count\":100}"]);
    assert_eq!(ran["values"]["count"].as_i64().map(|count| count % 10), Some(1), "{ran}");
    let deployed = desk.expect(0, &["graph", "deploy", "graphs/outer.graph.toml"]);
    assert_eq!((&deployed["graph"], &deployed["version"]), (&json!("outer"), &json!("1")), "{deployed}");
    assert_eq!(same(&desk, &place, 0, &["graph", "list"])[0]["digest"], deployed["digest"]);
    let again = desk.expect(0, &["graph", "deploy", "graphs/outer.graph.toml", "--accept"]);
    assert_eq!(again["deployed"], false, "{again}");
    desk.expect(0, &["run", "outer@1", "--thread", "by-name"]);

    // What is wrong with files is told as it is here, with the paths of here.
    write(
        "broken.graph.toml",
        &format!(
            "name = \"broken\"\nstart = \"one\"\n{state}{nodes}[nodes.x]\ncomponent = \"gone.wasm\"\nnxt = 1\n[nodes.y]\ngraph = \"gone.toml\"\n"
        ),
    );
    write(
        "circle.graph.toml",
        &format!("name = \"circle\"\nstart = \"a\"\n{state}[nodes.a]\ngraph = \"../graphs/circle.graph.toml\"\n"),
    );
    for file in ["graphs/broken.graph.toml", "graphs/circle.graph.toml", "graphs/gone.graph.toml"] {
        for command in [
            &["graph", "deploy", file][..],
            &["run", file, "--thread", "x"],
            &["threads", "migrate", "t", "--to", file],
        ] {
            let there = desk.command(command).arg("--json").output().unwrap();
            let mut here = desk.command(command);
            here.env_remove("HOLDPOINT_SERVER").arg("--store").arg(format!("sqlite:{}", place.store().display()));
            let here = here.arg("--json").output().unwrap();
            let (there, here) = (Outcome::of(there), Outcome::of(here));
            assert_eq!((there.exit, &there.reply), (here.exit, &here.reply), "{command:?}");
            assert_eq!(there.exit, Some(2), "{command:?}: {}", there.reply);
        }
    }
    assert_eq!(desk.expect(0, &["graph", "check", "graphs/outer.graph.toml"])["ok"], true);
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn doubt_is_settled_from_afar() {
    let payments = Payments::start();
    payments.behave(Manner::Refuse(500));
    let mut place = Place::new();
    place.configure(&format!(
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"{}\"\nallow = [\"POST /refunds\"]\nclass = \"at-most-once\"\naddresses = \"any\"\n",
        payments.url()
    ));
    let script = "{ effect = { id = \"pay:1\", connector = \"payments\", request = { method = \"POST\", path = \"/refunds\", \
                  body = { cents = 5 } } }, as = \"receipt\" }, { set = { receipt = \"$receipt\" } }";
    let graph = Probes::new("start = \"pay\"", "receipt = {}").node("pay", "connectors = [\"payments\"]", script);
    let graph = graph.write(&place).display().to_string();
    let served = Served::start(&place, &[]);
    let desk = Desk::new(&served);
    desk.expect(3, &["run", &graph, "--thread", "t"]);
    let open = same(&desk, &place, 0, &["operations"]);
    assert_eq!(open[0]["state"], "in-doubt", "{open}");
    same(&desk, &place, 2, &["operations", "resolve", "pay:2", "--fail", "--reason", "asked them"]);
    let settled = desk
        .expect(0, &["operations", "resolve", "pay:1", "--happened", "{\"ok\":1}", "--reason", "asked", "--by", "ana"]);
    assert_eq!(settled["operation"]["notes"][0]["by"], "cli:ana", "{settled}");
    let values = place.expect(0, &["threads", "show", "t"])["values"].clone();
    assert_eq!(values["receipt"], json!({ "ok": 1 }), "it went on with the word");
    assert_eq!(payments.log().len(), 1, "nothing was sent again");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn roles_and_tenants_are_kept_apart() {
    let Setting { place, served, .. } = refunds();
    let desk = |name: &str, role: &str, tenant: &str| Desk::with_key(&served, &place, name, role, tenant);
    let operator = desk("bot", "operator", "default");
    let (viewer, approver) = (desk("eye", "viewer", "default"), desk("ann", "approver", "default"));
    let admin = desk("boss", "admin", "default");
    let (stranger, strange_admin) = (desk("eve", "operator", "acme"), desk("eva", "admin", "acme"));

    let asked = operator.expect(3, &["run", "refund", "--thread", "t", "--input", INPUT]);
    let question = asked["interrupts"][0]["id"].as_str().unwrap();
    assert!(trail(&place).contains("\"key:bot\""), "in the key's name");
    // Each role what it may, and no more.
    assert_eq!(viewer.expect(0, &["state", "t"])["thread_id"], "t");
    let answer = ["resume", "--thread", "t", "--answer", r#"{"approved":true}"#];
    for below in [&viewer, &approver] {
        below.refused(2, "HP0803", &answer);
        below.refused(2, "HP0803", &["threads", "delete", "t"]);
        below.refused(2, "HP0803", &["run", "refund"]);
    }
    viewer.refused(2, "HP0803", &["approvals", "accept", question]);
    let file = place.path("own.graph.toml");
    let graph = Probes::new("start = \"a\"", "x = {}").node("a", "next = \"END\"", "{ set = { x = 1 } }");
    graph.write_into(file.parent().unwrap(), "own.graph.toml");
    for command in [["run", file.to_str().unwrap()].as_slice(), &["graph", "deploy", file.to_str().unwrap()]] {
        operator.refused(2, "HP0803", command);
    }
    operator.refused(2, "HP0803", &["audit", "export"]);
    operator.refused(2, "HP0803", &["db", "prune", "--cache"]);
    operator.refused(2, "HP0803", &["keys", "list"]);
    operator.refused(2, "HP0738", &["resume", "--thread", "t", "--answer", "1", "--by", "somebody"]);
    assert_eq!(admin.expect(0, &["keys", "list"]).as_array().map(Vec::len), Some(4), "the tenant's own keys");

    // Another tenant's threads are not there, whatever is asked.
    let checkpoint = asked["checkpoint_id"].as_str().unwrap();
    for command in [
        &["state", "t"][..],
        &["state", "t", "--at", checkpoint],
        &["threads", "show", "t"],
        &["history", "t", "--tree"],
        &["verify", "t"],
        &["export", "t", "--out", "stolen"],
        &["update", "t", "--set", "{}"],
        &["replay", "t", "--from", checkpoint],
        &["fork", "t", "--from", checkpoint, "--set", "{}"],
        &["fork", "t", "--from", checkpoint, "--set", "{}", "--no-run"],
        &["copy", "t", "mine"],
        &["threads", "delete", "t"],
        &["threads", "migrate", "t", "--to", asked["checkpoint_id"].as_str().unwrap()],
        &answer,
        &["resume", "--thread", "t"],
        &["resume", "--thread", "t", "--input", "{}"],
    ] {
        let theirs = strange_admin.expect(2, command)["error"].clone();
        let nobodys = strange_admin.expect(2, &renamed(command))["error"].clone();
        assert_eq!(theirs["code"], nobodys["code"], "{command:?}");
        let renamed = |error: &Value| error["message"].as_str().unwrap().replace("none", "t");
        assert_eq!(renamed(&theirs), renamed(&nobodys), "{command:?}: told as if there were none");
    }
    for list in [&["threads"][..], &["operations", "list", "--all"], &["approvals"], &["history", "t"]] {
        let reply = stranger.run(list).reply;
        assert!(reply.as_array().is_none_or(Vec::is_empty), "{list:?}: {reply}");
    }
    assert!(!strange_admin.folder.path().join("stolen").exists());
    // Its name is taken all the same, and its thread untouched.
    let taken = stranger.run(&["run", "refund", "--thread", "t", "--input", INPUT]);
    assert!(taken.exit != Some(0) && taken.exit != Some(3), "{taken:?}");
    let taken = stranger.run(&["copy", "t", "t"]);
    assert_eq!(taken.exit, Some(2), "{taken:?}");
    let exported = strange_admin.text(&["audit", "export"]).0;
    assert!(!exported.contains("order_id") && !exported.contains("key:bot"), "another tenant's record: {exported}");
    assert_eq!(strange_admin.expect(0, &["db", "prune", "--delete", "--older-than", "0s"])["threads"], 0);
    assert_eq!(place.expect(0, &["threads", "show", "t"]), asked, "as it was");

    // An approver answers, and the server goes on by itself.
    approver.expect(0, &["approvals", "accept", question, "--value", r#"{"approved":true}"#]);
    assert!(trail(&place).contains("\"key:ann\""), "in the approver's name");
    // Without a key that counts nobody comes in, and a wrong one is not nobody.
    let wrong = Desk { key: Some("hp_wrong".to_owned()), ..Desk::new(&served) };
    wrong.refused(2, "HP0801", &["threads"]);
    assert_eq!(served.stop(), Some(0));
}

/// The same command about a thread that nobody has.
fn renamed<'a>(command: &[&'a str]) -> Vec<&'a str> {
    command.iter().map(|word| if *word == "t" { "none" } else { word }).collect()
}

#[test]
fn nothing_from_outside_names_a_file_of_the_server() {
    let Setting { place, served, .. } = refunds();
    let secret = place.path("secret.json");
    std::fs::write(&secret, r#"{"order_id":"s3cret","amount_cents":1}"#).unwrap();
    // A file in the server's own folder that has the name of a graph, and of a thread.
    std::fs::write(place.path("refund"), "s3cret").unwrap();
    std::fs::write(place.path("t"), "s3cret").unwrap();
    let post = |body: Value| http(&served.address, "POST", "/commands", &body.to_string());
    let at = format!("@{}", secret.display());
    for words in [
        json!(["run", "refund", "--thread", "a", "--input", at]),
        json!(["run", "refund", "--thread", "a", "--input", "-"]),
        json!(["run", secret.display().to_string(), "--thread", "a"]),
        json!(["run", "./secret.json", "--thread", "a"]),
        json!(["run", "refund", "--thread", "a", "--metadata", at, "--input", INPUT]),
        json!(["graph", "show", secret.display().to_string()]),
        json!(["graph", "check", "./secret.json"]),
        json!(["graph", "deploy", secret.display().to_string()]),
        json!(["verify", secret.display().to_string()]),
        json!(["verify", "t"]),
        json!(["threads", "migrate", "t", "--to", secret.display().to_string()]),
        json!(["audit", "verify", secret.display().to_string()]),
        json!(["history", "t", "--store", "sqlite:other.db"]),
        json!(["history", "t", "--config", secret.display().to_string()]),
        json!(["threads", "--server", served.address]),
        json!(["node", "inspect", secret.display().to_string()]),
        json!(["serve"]),
        json!(["doctor"]),
        json!(["--help"]),
    ] {
        let (status, reply) = post(json!({ "arguments": words }));
        assert!(
            !reply.contains("s3cret") && !reply.contains("{\"exit\":0}") && !reply.contains("{\"exit\":3}"),
            "{words}: {reply}"
        );
        assert!(
            status == 422 || (status == 200 && reply.trim_end().ends_with("{\"exit\":2}")),
            "{words}: {status} {reply}"
        );
    }
    // A file that was sent names others: they are not looked for on the server.
    let nodes = holdpoint_tests::program::node("probe").display().to_string();
    let graph =
        format!("name = \"g\"\nstart = \"a\"\n[state]\nx = {{}}\n[nodes.a]\ncomponent = \"{nodes}\"\nnext = \"END\"\n");
    let (status, reply) =
        post(json!({ "arguments": ["graph", "deploy", "g.toml"], "files": { "g.toml": base64(&graph) } }));
    assert!(status == 200 && reply.contains("HP0191") && reply.contains("No such file"), "{reply}");
    // Where a file is to be written is the caller's matter.
    post(json!({ "arguments": ["run", "refund", "--thread", "t", "--input", INPUT] }));
    let out = place.path("written");
    let (status, reply) = post(json!({ "arguments": ["export", "t", "--out", out.display().to_string()] }));
    assert!(status == 200 && reply.contains("{\"file\":"), "{reply}");
    assert!(!out.exists(), "the server wrote it");
    for body in [
        json!({}),
        json!({ "arguments": "threads" }),
        json!({ "arguments": [1] }),
        json!({ "arguments": ["threads"], "files": { "x": 1 } }),
        json!([]),
    ] {
        assert_eq!(post(body.clone()).0, 422, "{body}");
    }
    assert_eq!(http(&served.address, "DELETE", "/commands/none", "").0, 404);
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn a_run_outlives_its_watcher_and_stops_when_it_is_asked_to() {
    let Setting { place, served, .. } = refunds();
    let desk = Desk::new(&served);
    let begin = |thread: &str, until: u32| {
        let input = format!("{{\"until\":{until}}}");
        let mut command =
            desk.command(&["run", "counter", "--thread", thread, "--input", &input, "--stream", "values"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        (child, lines)
    };
    // Killed: nobody hears it any more, and the run is done all the same.
    let (mut child, lines) = begin("left", 300);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    let ended = (0..500).find_map(|_| {
        let shown = desk.run(&["threads", "show", "left"]);
        (shown.reply["status"] == "done").then_some(shown.reply)
    });
    assert_eq!(ended.expect("it ends")["values"]["count"], 300);
    // Asked: it stops at a superstep's end, and can be continued.
    let (child, lines) = begin("asked", 1_000_000);
    signal::send(child.id(), Signal::Terminate).unwrap();
    let last = lines.map(Result::unwrap).last().unwrap();
    let last: Value = serde_json::from_str(&last).unwrap();
    let output = child.wait_with_output().unwrap();
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), &last["data"]["status"]), (Some(3), &json!("running")), "{last} {notes}");
    assert!(notes.contains("asking the server to stop") && notes.contains("continue with"), "{notes}");
    // The server stops: so does what it runs, and its watcher is told.
    let (child, lines) = begin("stopped", 1_000_000);
    assert_eq!(served.stop(), Some(0));
    let last = lines.map(Result::unwrap).last().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{last} {}", String::from_utf8_lossy(&output.stderr));
    place.expect(0, &["verify", "stopped"]);
}

#[test]
fn a_server_that_is_not_there_is_told_with_its_cure() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let desk = Desk { folder: tempfile::tempdir().unwrap(), server: format!("http://{free}"), key: None };
    desk.refused(1, "HP0798", &["threads"]);
    // Somebody else who listens there.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 302 Found\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (mut stream, _) = other.accept().unwrap();
            let mut head = [0; 64 << 10];
            let _ = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let desk = Desk { server: format!("http://{address}"), ..desk };
    desk.refused(1, "HP0799", &["threads"]);
    desk.refused(1, "HP0798", &["threads"]);
    served.join().unwrap();
    // A key does not travel in clear, and where is said once.
    let desk = Desk { server: "http://holdpoint.example".to_owned(), key: Some("hp_x".to_owned()), ..desk };
    desk.refused(2, "HP0735", &["threads"]);
    desk.refused(2, "HP0735", &["threads", "--server", "http://127.0.0.1:1", "--store", "sqlite:x.db"]);
    desk.refused(2, "HP0735", &["threads", "--server", "nonsense"]);
    // What is about this machine asks nobody.
    assert_ne!(desk.run(&["graph", "check", "missing.toml"]).reply["error"]["code"], "HP0735");
}

/// One request, without any library between.
fn http(server: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let address = server.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    // Each chunk: its length in hexadecimal digits, a line's end, the chunk, a line's end.
    let (mut rest, mut text) = (body, String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        text.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    (status, text)
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        let digit = |place: usize| char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]);
        (0..4).map(|place| if place <= chunk.len() { digit(place) } else { '=' }).collect::<String>()
    };
    text.as_bytes().chunks(3).map(digits).collect()
}
