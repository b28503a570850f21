//! `holdpoint.toml`: what is read, and what is refused with its place and cure.

use std::path::Path;

use holdpoint_effects::Configuration;
use holdpoint_effects::configuration::{ApprovalRule, Class, ConnectorConfiguration, Rate, ScopeRule};
use holdpoint_graph::notice::Directory as _;
use serde_json::json;

fn problems(text: &str) -> Vec<String> {
    match Configuration::parse(text, Path::new("h.toml"), &|_| None) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The settings of a kind are its own; they show themselves, but never a secret.
fn shown(connector: &ConnectorConfiguration) -> String {
    format!("{:?}", connector.settings)
}

#[test]
fn the_file_of_the_design_is_read() {
    let text = r#"
        [limits]
        operations_per_task = 50
        [connectors.payments]
        kind = "http"
        base_url = "${env:PAYMENTS_URL}"
        allow = ["POST /refunds", "GET /refunds/*"]
        class = { idempotent = { window = "24h" } }
        idempotency_header = "Idempotency-Key"
        scope = "global"
        shared_by = ["refund", "refund-v2"]
        addresses = ["10.0.0.0/8", "::1"]
        headers = { authorization = "Bearer ${env:PAYMENTS_KEY}" }
        timeout = "15s"
        [connectors.ledger]
        kind = "file"
        path = "${env:LEDGER_FILE}"
    "#;
    let configuration = Configuration::parse(text, Path::new("h.toml"), &|_| None).unwrap();
    assert_eq!(configuration.operations_per_task_max, 50);
    let [ledger, payments] = &configuration.connectors.values().collect::<Vec<_>>()[..] else {
        panic!("two connectors")
    };
    assert_eq!(payments.class, Class::Idempotent { window_ms: Some(86_400_000) });
    assert!(matches!(&payments.scope, ScopeRule::Global { shared_by } if shared_by.len() == 2));
    assert_eq!(payments.timeout_ms, 15_000);
    assert!(shown(payments).contains("addresses: Public { besides: [10.0.0.0/8, ::1/128] }"), "{}", shown(payments));
    assert_eq!((ledger.class, &ledger.scope), (Class::Idempotent { window_ms: None }, &ScopeRule::Thread));
    assert_eq!(configuration.check(Path::new("h.toml")).len(), 2, "both refer to variables that are missing");
    assert!(Configuration::parse("", Path::new("h.toml"), &|_| None).unwrap().connectors.is_empty());
}

#[test]
fn what_nobody_configured_is_refused_first() {
    let text = "[connectors.a]\nkind = \"http\"\nbase_url = \"http://a\"\nallow = []";
    let configuration = Configuration::parse(text, Path::new("h.toml"), &|_| None).unwrap();
    let connector = configuration.connectors.values().next().unwrap();
    assert_eq!((connector.class, &connector.scope), (Class::AtMostOnce, &ScopeRule::Thread));
    assert!(shown(connector).contains("addresses: Public { besides: [] }"), "{}", shown(connector));
    assert!(matches!(connector.requires_approval, ApprovalRule::Never) && connector.standing_approvals.is_empty());
    assert_eq!((connector.rate, connector.concurrent_max, connector.clock_skew_ms), (None, None, 5000));
}

#[test]
fn every_key_and_kind_is_read() {
    let text = r#"
        [connectors.payments]
        kind = "http"
        base_url = "https://pay.example"
        allow = ["POST /refunds"]
        clock_skew = "20s"
        requires_approval = "request.body.amount > 10000"
        rate = "100/m"
        concurrency = 8
        lookup = { get = "/refunds?key={id}", happened = "status == 200", not_there = "body.found == false", failed = "body.state == 'failed'", result = "body.refund" }
        preview = { post = "/refunds/preview", result = "body.effect" }
        [[connectors.payments.standing_approvals]]
        when = "request.body.amount < 20000"
        owner = "finance"
        until = 2027-01-31T00:00:00+01:00
        reason = "the spring sale"
        [[connectors.payments.standing_approvals]]
        owner = "ops"
        until = "2026-12-31T23:59:59Z"
        reason = "the audit of 2026"
        [connectors.ledger]
        kind = "sql"
        url = "postgres://holdpoint:${env:DATABASE_PASSWORD}@db.example/ledger"
        statements.add = "insert into entry (amount) values (:amount::int) returning id"
        statements.find = { sql = "select id from entry where amount = :amount" }
        requires_approval = true
        [connectors.hooks]
        kind = "webhook"
        url = "https://hooks.example/${env:HOOK_TOKEN}"
        secret = ["${env:HOOK_SECRET}", "${env:HOOK_SECRET_OLD}"]
        headers = { x-source = "holdpoint" }
        [connectors.mail]
        kind = "smtp"
        url = "smtps://holdpoint:${env:SMTP_PASSWORD}@mail.example"
        from = "Holdpoint <holdpoint@example.com>"
        allow_to = ["*@example.com"]
        class = "at-most-once"
        [connectors.lines]
        kind = "file"
        path = "lines.jsonl"
        class = "after-commit"
        requires_approval = false
    "#;
    let configuration = Configuration::parse(text, Path::new("h.toml"), &|_| Some("s3cret".into())).unwrap();
    let [hooks, ledger, lines, mail, payments] = &configuration.connectors.values().collect::<Vec<_>>()[..] else {
        panic!("five connectors")
    };
    let classes = [hooks, ledger, lines, mail, payments].map(|connector| connector.class);
    let after_commit = Class::AfterCommit { deduplicated: true };
    let expected = [after_commit, Class::Transactional, after_commit, Class::AtMostOnce, Class::Reconcilable];
    assert_eq!(classes, expected, "at-most-once with a lookup is reconcilable");
    assert_eq!(payments.clock_skew_ms, 20_000);
    assert_eq!(payments.rate, Some(Rate { requests: 100, per_ms: 60_000 }));
    assert_eq!(payments.concurrent_max, Some(8));
    let ApprovalRule::When(rule) = &payments.requires_approval else { panic!("a condition") };
    assert_eq!(rule.text(), "request.body.amount > 10000");
    assert!(matches!(
        (&ledger.requires_approval, &lines.requires_approval),
        (ApprovalRule::Always, ApprovalRule::Never)
    ));
    let [sale, audit] = &payments.standing_approvals[..] else { panic!("two approvals") };
    assert_eq!((sale.owner.as_str(), sale.until_ms, sale.when.is_some()), ("finance", 1_801_350_000_000, true));
    assert_eq!(
        (audit.reason.as_str(), audit.until_ms, audit.when.is_none()),
        ("the audit of 2026", 1_798_761_599_000, true)
    );
    let debug = format!("{configuration:?}");
    assert!(!debug.contains("s3cret"), "{debug}");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = r#"
unknown = 1
[limits]
operations_per_task = 0
[connectors."a b"]
kind = "file"
path = "x"
[connectors.pay]
kind = "http"
base_url = "ftp://host"
alow = ["GET /"]
allow = ["GET /a*", 5]
class = { idempotent = {} }
timeout = "10"
headers = { "content-length" = "1", "Idempotency-Key" = "x" }
addresses = ["10.0.0.0/99"]
[connectors.mail]
kind = "smpt"
[connectors.data]
kind = "htp"
[connectors.late]
kind = "file"
path = "${env:X"
class = "transactional"
requires_approval = 1
lookup = {}
shared_by = ["g"]
scope = "local"
[connectors.none]
"#;
    let expected = [
        "h.toml:2:1: `unknown` is not a known key (known here: `connectors`, `limits`, `server`, `users`) [HP0502]",
        "h.toml:4:23: `limits.operations_per_task` is not a whole number from 1 (write it such as 1000) [HP0504]",
        "h.toml:5:13: connector name \"a b\" is not valid: use letters, digits, `_` and `-` only (rename it) [HP0504]",
        "h.toml:8:1: `connectors.pay.headers` sets Idempotency-Key, which carries the operation id (remove it from the headers) [HP0504]",
        "h.toml:10:12: `connectors.pay.base_url` does not begin with http:// or https:// (correct it) [HP0504]",
        "h.toml:11:1: `connectors.pay.alow` is not a known key (did you mean `allow`?) [HP0502]",
        "h.toml:12:10: `connectors.pay.allow` has \"GET /a*\": `*` stands for a whole segment, `**` for the last ones (write it such as \"GET /refunds/*\") [HP0504]",
        "h.toml:12:21: `connectors.pay.allow` is of type integer (write text in quotes) [HP0504]",
        "h.toml:13:24: `connectors.pay.class.idempotent.window` is missing (write how long the receiver remembers an id) [HP0503]",
        "h.toml:14:11: `connectors.pay.timeout` is \"10\", not a duration (write it such as \"500ms\", \"10s\" or \"24h\") [HP0504]",
        "h.toml:15:13: header \"content-length\": the client sets it (use another header) [HP0504]",
        "h.toml:16:14: `connectors.pay.addresses` has \"10.0.0.0/99\", not a network (write it such as \"10.0.0.0/8\" or \"127.0.0.1\") [HP0504]",
        "h.toml:18:8: `connectors.mail.kind` is \"smpt\" (did you mean `smtp`?) [HP0504]",
        "h.toml:20:8: `connectors.data.kind` is \"htp\" (did you mean `http`?) [HP0504]",
        "h.toml:23:8: `connectors.late.path`: a reference has no closing `}` (write references as ${env:NAME} or ${file:PATH}) [HP0504]",
        "h.toml:24:9: `connectors.late.class` is \"transactional\", which kind \"file\" cannot be (write \"at-most-once\" or { idempotent = { window = \"24h\" } } or \"after-commit\") [HP0504]",
        "h.toml:25:21: `connectors.late.requires_approval` is of type integer (write true, false or a condition such as \"request.body.amount > 10000\") [HP0504]",
        "h.toml:26:1: `connectors.late.lookup` is not a known key (known here: `class`, `clock_skew`, `concurrency`, `kind`, `notify`, `path`, `rate`, `request_limit`, `requires_approval`, `scope`, `shared_by`, `standing_approvals`, `timeout`) [HP0502]",
        "h.toml:28:9: `connectors.late.scope` is \"local\" (write \"thread\" or \"global\") [HP0504]",
        "h.toml:29:1: `connectors.none.kind` is missing (write kind = and one of \"file\", \"http\", \"smtp\", \"sql\", \"webhook\") [HP0503]",
    ];
    check(text, &expected);
}

/// Compares all problems of a text.
fn check(text: &str, expected: &[&str]) {
    let found = problems(text);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn common_keys_that_do_not_fit_are_told() {
    let text = r#"
[connectors.a]
kind = "sql"
url = "sqlite:a.db"
statements = { x = "select 1" }
class = "at-most-once"
rate = "5/d"
concurrency = 0
clock_skew = "soon"
requires_approval = "response.body == 1"
[[connectors.a.standing_approvals]]
when = "request."
owner = " "
until = 2027-01-31
[[connectors.a.standing_approvals]]
owner = "ops"
until = "tomorrow"
reason = "x"
wen = "true"
"#;
    let expected = [
        "h.toml:6:9: `connectors.a.class` is \"at-most-once\", which kind \"sql\" cannot be (write \"transactional\") [HP0504]",
        "h.toml:7:8: `connectors.a.rate` is \"5/d\", not a rate (write it such as \"5/s\", \"100/m\" or \"1000/h\") [HP0504]",
        "h.toml:8:15: `connectors.a.concurrency` is not a whole number from 1 (write it such as 1000) [HP0504]",
        "h.toml:9:14: `connectors.a.clock_skew` is \"soon\", not a duration (write it such as \"500ms\", \"10s\" or \"24h\") [HP0504]",
        "h.toml:10:21: `connectors.a.requires_approval` cannot be used: unknown name `response`; it sees `request` (correct the CEL) [HP0504]",
        "h.toml:11:1: `connectors.a.standing_approvals.reason` is missing (write why it was given) [HP0503]",
    ];
    let found = problems(text);
    assert_eq!(found[..expected.len()], expected, "{found:#?}");
    let rest = found[expected.len()..].join("\n");
    for part in [
        "12:8: `connectors.a.standing_approvals.when`",
        "13:9: `connectors.a.standing_approvals.owner` is empty",
        "14:9: `connectors.a.standing_approvals.until` is no moment",
        "17:9: `connectors.a.standing_approvals.until` is no moment: \"tomorrow\"",
        "19:1: `connectors.a.standing_approvals.wen` is not a known key (did you mean `when`?)",
    ] {
        assert!(rest.contains(part), "{part} in {rest}");
    }
    assert_eq!(found.len(), expected.len() + 5, "{found:#?}");
}

#[test]
fn keys_of_kinds_that_do_not_fit_are_told() {
    let http = "[connectors.a]\nkind = \"http\"\nbase_url = \"http://a\"\nallow = []\n";
    let table = [
        ("class = \"reconcilable\"", "`connectors.a.lookup` is missing: class \"reconcilable\" asks the receiver"),
        ("lookup = { get = \"/by-key/{id}\" }", "`connectors.a.lookup.happened` is missing"),
        ("lookup = { get = \"/by-key\", happened = \"true\" }", "`connectors.a.lookup.get`: it has no `{id}`"),
        (
            "lookup = { get = \"http://b/{id}\", happened = \"true\" }",
            "`connectors.a.lookup.get`: the path has to begin",
        ),
        (
            "lookup = { get = \"/../{id}\", happened = \"true\" }",
            "`connectors.a.lookup.get`: the path has a `.` or `..`",
        ),
        ("lookup = { get = \"/x?a={id}#b\", happened = \"true\" }", "`connectors.a.lookup.get`: the query has '#'"),
        (
            "lookup = { get = \"/{id}\", happened = \"state.x\" }",
            "`connectors.a.lookup.happened` cannot be used: unknown name `state`",
        ),
        (
            "lookup = { get = \"/{id}\", happened = \"true\", when = 1 }",
            "`connectors.a.lookup.when` is not a known key",
        ),
        ("lookup = 1", "`connectors.a.lookup` is of type integer"),
        ("preview = {}", "`connectors.a.preview` needs one of `get` and `post`"),
        ("preview = { get = \"/a\", post = \"/b\" }", "`connectors.a.preview` needs one of `get` and `post`"),
        ("preview = { post = \"/a/../b\" }", "`connectors.a.preview`: the path has a `.` or `..`"),
        (
            "preview = { post = \"/a\", result = \"request.x\" }",
            "`connectors.a.preview.result` cannot be used: unknown name `request`",
        ),
    ];
    for (line, expected) in table {
        let found = problems(&format!("{http}{line}"));
        assert!(found.len() == 1 && found[0].contains(expected), "{line}: {found:?}");
    }
    let table = [
        (
            "kind = \"sql\"\nurl = \"mysql://h/d\"\nstatements.a = \"select 1\"",
            "`connectors.a.url` does not begin with sqlite: or postgres://",
        ),
        ("kind = \"sql\"\nurl = \"sqlite:a.db\"", "`connectors.a.statements` is missing"),
        ("kind = \"sql\"\nurl = \"sqlite:a.db\"\nstatements = {}", "`connectors.a.statements` has no statement"),
        (
            "kind = \"sql\"\nurl = \"sqlite:a.db\"\nstatements.a = \"select 1; select 2\"",
            "`connectors.a.statements.a` has more than one statement",
        ),
        (
            "kind = \"sql\"\nurl = \"postgres://${env:H}/d\"\nstatements.a = \"select $1\"",
            "`connectors.a.statements.a` has a parameter with `$`: write :name",
        ),
        (
            "kind = \"sql\"\nurl = \"sqlite:a.db\"\nstatements.a = \"drop table entry\"",
            "`connectors.a.statements.a` begins with none of select",
        ),
        (
            "kind = \"sql\"\nurl = \"sqlite:a.db\"\nstatements.a = { sq = \"select 1\", sql = \"select 1\" }",
            "`connectors.a.statements.a.sq` is not a known key",
        ),
        ("kind = \"webhook\"\nurl = \"https://h/\"", "`connectors.a.secret` is missing"),
        ("kind = \"webhook\"\nurl = \"https://h/\"\nsecret = []", "`connectors.a.secret` is empty"),
        (
            "kind = \"webhook\"\nurl = \"https://h/\"\nsecret = \"s3cret\"",
            "`connectors.a.secret` does not begin with `whsec_`",
        ),
        (
            "kind = \"webhook\"\nurl = \"https://h/#x\"\nsecret = \"${env:S}\"",
            "`connectors.a.url` has a query or fragment",
        ),
        (
            "kind = \"webhook\"\nurl = \"https://h/\"\nsecret = \"${env:S}\"\nheaders = { Webhook-Id = \"x\" }",
            "`connectors.a.headers` sets webhook-id",
        ),
        ("kind = \"smtp\"\nurl = \"smtps://h\"\nfrom = \"a@b.example\"", "`connectors.a.allow_to` is missing"),
        (
            "kind = \"smtp\"\nurl = \"smtps://h\"\nfrom = \"a\"\nallow_to = []",
            "`connectors.a.from` is \"a\", which is no address",
        ),
        (
            "kind = \"smtp\"\nurl = \"smtps://h\"\nfrom = \"a@b.example\"\nallow_to = [\"b.example\"]",
            "`connectors.a.allow_to` has \"b.example\"",
        ),
        (
            "kind = \"smtp\"\nurl = \"smtp://h\"\ntls = \"maybe\"\nfrom = \"a@b.example\"\nallow_to = []",
            "`connectors.a.tls` is \"maybe\"",
        ),
        (
            "kind = \"smtp\"\nurl = \"smtps://h\"\nclass = \"reconcilable\"\nfrom = \"a@b.example\"\nallow_to = []",
            "kind \"smtp\" cannot be",
        ),
        (
            "kind = \"smtp\"\nurl = \"smtps://h\"\nclass = { idempotent = { window = \"1h\" } }\nfrom = \"a@b.example\"\nallow_to = []",
            "`connectors.a.class` is a table",
        ),
    ];
    for (lines, expected) in table {
        let found = problems(&format!("[connectors.a]\n{lines}"));
        assert!(found.len() == 1 && found[0].contains(expected), "{lines}: {found:?}");
        assert!(!found[0].contains("s3cret"), "{found:?}");
    }
}

#[test]
fn what_is_told_to_whom_is_read() {
    let text = r#"
[server]
public_url = "https://hold.example/approvals/"
listen = "127.0.0.1:8080"
[server.oidc]
issuer = "https://id.example"
client_secret = "s3cret"
audiences = ["a", "b"]
[server.limits]
body = 1_000
ratio = 0.5
[users.ana]
id = "user:ana@id.example"
email = "ana@example.com"
groups = ["finance"]
[users."Bob B."]
id = "key:bob"
groups = ["finance", "ops"]
"#;
    let configuration = Configuration::parse(text, Path::new("h.toml"), &|_| None).unwrap();
    let (server, users) = (configuration.server(), configuration.users());
    assert_eq!(server.public_url(), Some("https://hold.example/approvals"));
    assert_eq!(server.get("oidc.audiences"), Some(&json!(["a", "b"])));
    assert_eq!((server.get("limits.body"), server.get("limits.ratio")), (Some(&json!(1000)), Some(&json!(0.5))));
    assert_eq!((server.get("oidc.none"), server.get("public_url"), server.get("")), (None, None, None));
    assert_eq!(server.rest().keys().collect::<Vec<_>>(), ["limits", "listen", "oidc"]);
    let places = ["oidc.issuer", "oidc.none", "listen", ""].map(|path| server.place(path).line);
    assert_eq!(places, [6, 5, 4, 2], "what is not there has the place of the table around it");
    let unknown = server.unknown_keys("", &["oidc", "listening", "limits"]);
    assert_eq!(
        unknown.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["h.toml:4:10: `server.listen` is not a known key (did you mean `listening`?) [HP0502]"]
    );
    assert_eq!(server.unknown_keys("oidc", &["issuer", "audiences"]).len(), 1);
    let problem = server.problem("limits.body", "`server.limits.body` is too small", "raise it");
    assert_eq!(problem.to_string(), "h.toml:10:8: `server.limits.body` is too small (raise it) [HP0504]");
    assert!(!format!("{configuration:?}").contains("s3cret"));

    assert_eq!(users.user("ana").as_deref(), Some("user:ana@id.example"));
    assert_eq!(users.user("Bob B.").as_deref(), Some("key:bob"));
    assert_eq!((users.user("user:ana@id.example"), users.user("eve")), (None, None), "an id is no name");
    let meant = |word: &str| users.meant_by(word).iter().map(|user| user.name.as_str()).collect::<Vec<_>>().join(", ");
    let words = ["ana", "user:ana@id.example", "key:bob", "group:finance", "group:ops", "group:none", "eve", "finance"];
    assert_eq!(words.map(meant), ["ana", "ana", "Bob B.", "Bob B., ana", "Bob B.", "", "", ""]);
    let none = Configuration::parse("", Path::new("h.toml"), &|_| None).unwrap();
    assert_eq!((none.server().public_url(), none.users().iter().count()), (None, 0));
}

#[test]
fn what_is_told_wrongly_is_refused() {
    let text = r#"
[server]
public_url = "hold.example"
limit = nan
[users]
ana = 1
[users."user:eve"]
id = "user:eve"
[users.bob]
id = "bob"
email = "Bob <bob@example.com>"
groups = ["group:ops", ""]
mail = "x"
[users.carla]
[connectors.mail]
kind = "smtp"
url = "smtps://h"
from = "a@b.example"
allow_to = []
notify = { to = ["*@b.example", "ops@b.example"], payload = "all", shape = "json" }
[connectors.data]
kind = "sql"
url = "sqlite:a.db"
statements.a = "select 1"
notify = {}
[connectors.slack]
kind = "http"
base_url = "http://a"
allow = []
notify = { shape = "slak", method = "GET", path = "/a/../b", routing_key = "x" }
[connectors.chat]
kind = "http"
base_url = "http://a"
allow = []
notify = { shape = "slack", path = "/a", routing_key = "s3cret" }
[connectors.pager]
kind = "http"
base_url = "http://a"
allow = []
notify = { shape = "pagerduty" }
"#;
    let expected = [
        "h.toml:3:14: `server.public_url` is not a URL: relative URL without a base (write public_url = \"https://holdpoint.example.com\") [HP0504]",
        "h.toml:4:9: `server.limit` is not a number that can be used (write another one) [HP0504]",
        "h.toml:6:7: `users.ana` is of type integer (write a table) [HP0504]",
        "h.toml:7:8: `users` has \"user:eve\", which is no name of a user (use a name without colons and control characters) [HP0504]",
        "h.toml:10:6: `users.bob.id` is \"bob\", which is no actor's id (write id = \"user:\" and the name that they sign in with) [HP0504]",
        "h.toml:11:9: `users.bob.email` is \"Bob <bob@example.com>\", which is no address (write it such as \"ana@example.com\") [HP0504]",
        "h.toml:12:11: `users.bob.groups` has \"group:ops\", which is no name of a group (write it such as \"finance\") [HP0504]",
        "h.toml:12:24: `users.bob.groups` has \"\", which is no name of a group (write it such as \"finance\") [HP0504]",
        "h.toml:13:1: `users.bob.mail` is not a known key (did you mean `email`?) [HP0502]",
        "h.toml:14:1: `users.carla.id` is missing (write id = \"user:\" and the name that they sign in with) [HP0503]",
        "h.toml:20:18: `connectors.mail.notify.to` has \"*@b.example\", which is no address (write it such as \"approvals@example.com\") [HP0504]",
        "h.toml:20:61: `connectors.mail.notify.payload` is \"all\" (write \"thin\", for ids and the link, or \"full\", for what is asked as well) [HP0504]",
        "h.toml:20:68: `connectors.mail.notify.shape` is not a known key (known here: `payload`, `to`) [HP0502]",
        "h.toml:25:1: `connectors.data.notify` is not a known key",
        "h.toml:30:20: `connectors.slack.notify.shape` is \"slak\" (did you mean `slack`?) [HP0504]",
        "h.toml:30:37: `connectors.slack.notify.method` is \"GET\" (write \"POST\", \"PUT\" or \"PATCH\") [HP0504]",
        "h.toml:30:51: `connectors.slack.notify.path` is not usable: the path has a `.` or `..`",
        "h.toml:35:10: `connectors.chat.notify.routing_key` has no meaning for this shape (remove it, or write shape = \"pagerduty\") [HP0504]",
        "h.toml:40:10: `connectors.pager.notify.path` is missing (write path = \"/v2/enqueue\") [HP0503]",
        "h.toml:40:10: `connectors.pager.notify.routing_key` is missing (write routing_key = \"${env:PAGERDUTY_ROUTING_KEY}\") [HP0503]",
    ];
    let found = problems(text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.join("").contains("s3cret"));
    let missing = "[connectors.p]\nkind = \"http\"\nbase_url = \"http://a\"\nallow = []\n\
                   notify = { shape = \"pagerduty\", path = \"/${env:P}\", routing_key = \"${env:K}\" }";
    let check = |path: &'static str| {
        let environment = move |name: &str| (name == "P" && !path.is_empty()).then(|| path.to_owned());
        let found =
            Configuration::parse(missing, Path::new("h.toml"), &environment).unwrap().check(Path::new("h.toml"));
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(check("").contains("`${env:P}` is not set"), "{}", check(""));
    assert!(check("a/../s3cret").contains("notify.path is not usable") && !check("a/../s3cret").contains("s3cret"));
    assert!(check("a").contains("`${env:K}` is not set"), "{}", check("a"));
}

#[test]
fn values_that_do_not_fit_once_they_are_filled_in_are_told_without_showing_them() {
    let table = [
        ("kind = \"http\"\nbase_url = \"${env:X}\"\nallow = []", "base_url is not a URL"),
        (
            "kind = \"sql\"\nurl = \"${env:X}\"\nstatements.a = \"select 1\"",
            "url does not begin with sqlite: or postgres://",
        ),
        (
            "kind = \"sql\"\nurl = \"postgres://u:${env:X}@h:p/d\"\nstatements.a = \"select 1\"",
            "url is not the URL of a PostgreSQL server",
        ),
        ("kind = \"webhook\"\nurl = \"https://h/\"\nsecret = \"${env:X}\"", "secret does not begin with `whsec_`"),
        ("kind = \"smtp\"\nurl = \"${env:X}\"\nfrom = \"a@b.example\"\nallow_to = []", "url is not a URL"),
    ];
    for (lines, expected) in table {
        let text = format!("[connectors.a]\n{lines}");
        let parse = |value: Option<&str>| {
            let value = value.map(str::to_owned);
            Configuration::parse(&text, Path::new("h.toml"), &|_| value.clone()).unwrap().check(Path::new("h.toml"))
        };
        let found = parse(Some("s3cret of \u{1} ours"));
        assert!(
            found.len() == 1 && found[0].message.contains(expected) && found[0].code == "HP0507",
            "{lines}: {found:?}"
        );
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
        let missing = parse(None);
        assert!(missing.len() == 1 && missing[0].code == "HP0506", "{lines}: {missing:?}");
    }
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    for text in ["[connectors", "a = ", "a = 1\na = 2", "\u{0}", "[connectors.pay]\nkind = \"http"] {
        let found = problems(text);
        assert!(!found.is_empty() && found.iter().all(|problem| problem.ends_with("[HP0501]")), "{text:?}: {found:?}");
    }
    for text in
        ["connectors = 1", "connectors.a = 1", "connectors = { a = [] }", "limits = []", "[connectors.a]\nkind = []"]
    {
        assert!(!problems(text).is_empty(), "{text:?}");
    }
    for class in [
        "\"idempotent\"",
        "{ transactional = {} }",
        "{}",
        "5",
        "{ idempotent = { window = \"0s\" } }",
        "\"reconcilable\"",
    ] {
        let text = format!("[connectors.a]\nkind = \"file\"\npath = \"x\"\nclass = {class}");
        assert!(!problems(&text).is_empty(), "{text}");
    }
}
