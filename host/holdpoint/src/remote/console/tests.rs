//! Hostile requests: nothing that is asked for from outside reads, writes or names anything of the server's machine.

use holdpoint_graph::actor::{Actor, Basis};
use holdpoint_server::caller::Role;
use serde_json::json;

use super::*;

fn caller(role: Option<Role>, basis: Basis) -> Caller {
    let actor = Actor { id: "key:bot".into(), basis };
    Caller { principal: Principal { actor, ..Principal::default() }, role, by_cookie: false, page: None }
}

fn request(words: &[&str], files: Value) -> CommandRequest {
    let Value::Object(files) = files else { panic!("files are an object") };
    CommandRequest { arguments: words.iter().map(|word| (*word).to_owned()).collect(), files, place: None }
}

fn refusal(words: &[&str], files: Value, caller: &Caller) -> Option<(u16, String)> {
    parse(&request(words, files), caller).err().map(|problem| (problem.status.as_u16(), problem.code))
}

#[test]
fn what_is_about_the_machine_is_refused() {
    let admin = caller(Some(Role::Admin), Basis::ApiKey);
    for words in [
        &["serve", "--listen", "0.0.0.0:1"][..],
        &["node", "build", "/etc"],
        &["node", "inspect", "/etc/passwd"],
        &["doctor"],
        &["demo"],
        &["bench"],
        &["--help"],
        &["--version"],
        &["help"],
        &["history", "--help"],
        &[],
        &["nonsense"],
        &["history"],
        &["audit", "verify", "/etc/passwd"],
        &["--store", "sqlite:/etc/x", "history", "t"],
        &["history", "t", "--store=sqlite:other.db"],
        &["threads", "--config", "/etc/passwd"],
        &["threads", "list", "--server", "http://127.0.0.1:1"],
        &["state", "t", "--api-key", "hp_x"],
        &["state", "t", "--insecure"],
    ] {
        assert_eq!(refusal(words, json!({}), &admin), Some((422, "HP0736".into())), "{words:?}");
    }
    let many = vec!["x"; WORDS_MAX + 1];
    assert_eq!(refusal(&many, json!({}), &admin), Some((422, "HP0736".into())));
}

#[test]
fn files_come_with_commands_that_take_them() {
    let admin = caller(Some(Role::Admin), Basis::ApiKey);
    let files = || json!({ "g.toml": "AA==" });
    for words in [&["state", "t"][..], &["resume", "--thread", "t"], &["graph", "list"], &["graph", "show", "g.toml"]] {
        assert_eq!(refusal(words, files(), &admin), Some((422, "HP0736".into())), "{words:?}");
    }
    for words in
        [&["run", "g.toml"][..], &["graph", "deploy", "g.toml"], &["threads", "migrate", "t", "--to", "g.toml"]]
    {
        assert_eq!(refusal(words, files(), &admin), None, "{words:?}");
    }
    for content in [json!("not base64!"), json!(1), json!(null), json!(["AA=="])] {
        let Value::Object(files) = json!({ "g.toml": content }) else { panic!("an object") };
        assert_eq!(read(&files).expect_err("refused").code, "HP0736");
    }
}

#[test]
fn roles_are_checked() {
    const LINES: [(&[&str], Role); 31] = [
        (&["state", "t"], Role::Viewer),
        (&["history", "t", "--tree"], Role::Viewer),
        (&["verify", "t"], Role::Viewer),
        (&["export", "t", "--out", "x"], Role::Viewer),
        (&["threads"], Role::Viewer),
        (&["threads", "show", "t"], Role::Viewer),
        (&["operations"], Role::Viewer),
        (&["operations", "show", "o"], Role::Viewer),
        (&["graph", "list"], Role::Viewer),
        (&["graph", "show", "refund"], Role::Viewer),
        (&["run", "refund"], Role::Operator),
        (&["resume", "--thread", "t"], Role::Operator),
        (&["update", "t", "--set", "{}"], Role::Operator),
        (&["replay", "t", "--from", "1234"], Role::Operator),
        (&["fork", "t", "--from", "1234", "--set", "{}"], Role::Operator),
        (&["copy", "t", "u"], Role::Operator),
        (&["threads", "delete", "t"], Role::Operator),
        (&["threads", "migrate", "t", "--to", "sha256:x"], Role::Operator),
        (&["operations", "resolve", "o", "--send", "--reason", "r"], Role::Operator),
        (&["operations", "deliver"], Role::Operator),
        (&["approvals"], Role::Viewer),
        (&["approvals", "show", "q"], Role::Viewer),
        (&["audit", "export", "--thread", "t"], Role::Viewer),
        (&["approvals", "accept", "q"], Role::Approver),
        (&["approvals", "accept", "q", "--break-glass", "--message", "x"], Role::Admin),
        (&["approvals", "delegate", "q", "--to", "bea"], Role::Approver),
        (&["audit", "export"], Role::Admin),
        (&["audit", "verify"], Role::Admin),
        (&["keys", "create", "bot", "--role", "viewer"], Role::Admin),
        (&["graph", "deploy", "g.toml"], Role::Admin),
        (&["db", "prune", "--delete", "--older-than", "1d"], Role::Admin),
    ];
    let roles = [None, Some(Role::Viewer), Some(Role::Approver), Some(Role::Operator), Some(Role::Admin)];
    for (words, needed) in LINES {
        for role in roles {
            let refused = refusal(words, json!({}), &caller(role, Basis::ApiKey));
            let expected = (role < Some(needed)).then(|| (403, "HP0803".to_owned()));
            assert_eq!(refused, expected, "{words:?} as {role:?}");
        }
    }
    // A graph file brings code and grants along.
    let operator = caller(Some(Role::Operator), Basis::ApiKey);
    for words in [&["run", "g.toml"][..], &["threads", "migrate", "t", "--to", "g.toml"]] {
        assert_eq!(refusal(words, json!({ "g.toml": "AA==" }), &operator), Some((403, "HP0803".into())), "{words:?}");
    }
}

#[test]
fn who_has_proven_their_name_gives_no_other() {
    for words in [&["approvals", "list", "--tenant", "other"][..], &["keys", "list", "--tenant", "other"]] {
        for basis in [Basis::ApiKey, Basis::Asserted] {
            let refused = refusal(words, json!({}), &caller(Some(Role::Admin), basis));
            assert_eq!(refused, Some((422, "HP0738".into())), "{words:?}");
        }
    }
    let lines = [
        &["approvals", "accept", "q", "--group", "finance"][..],
        &["approvals", "accept", "q", "--by", "ana"],
        &["resume", "--thread", "t", "--answer", "1", "--by", "ana"],
        &["graph", "deploy", "g.toml", "--by", "ana"],
        &["operations", "resolve", "o", "--send", "--reason", "r", "--by", "ana"],
    ];
    for words in lines {
        for basis in [Basis::ApiKey, Basis::Token, Basis::Link] {
            let refused = refusal(words, json!({}), &caller(Some(Role::Admin), basis));
            assert_eq!(refused, Some((422, "HP0738".into())), "{words:?}");
        }
        assert_eq!(refusal(words, json!({}), &caller(Some(Role::Admin), Basis::Asserted)), None, "{words:?}");
    }
}
