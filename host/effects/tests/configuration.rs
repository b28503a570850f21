//! `holdpoint.toml`: what is read, and what is refused with its place and cure.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::Path;

use holdpoint_effects::Configuration;
use holdpoint_effects::configuration::{AddressRule, Class, Kind, ScopeRule};

fn problems(text: &str) -> Vec<String> {
    match Configuration::parse(text, Path::new("h.toml"), &|_| None) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
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
    let Kind::Http(http) = &payments.kind else { panic!("an http connector") };
    assert!(matches!(&http.addresses, AddressRule::Public { besides } if besides.len() == 2));
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
    let Kind::Http(http) = &connector.kind else { panic!("an http connector") };
    assert_eq!(http.addresses, AddressRule::Public { besides: Vec::new() });
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
kind = "smtp"
[connectors.data]
kind = "htp"
[connectors.late]
kind = "file"
path = "${env:X"
class = "transactional"
requires_approval = true
lookup = {}
shared_by = ["g"]
scope = "local"
[connectors.none]
"#;
    let expected = [
        "h.toml:2:1: `unknown` is not a known key (known here: `connectors`, `limits`) [HP0502]",
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
        "h.toml:18:8: kind \"smtp\" is not supported by this version (use \"http\" or \"file\") [HP0505]",
        "h.toml:20:8: `connectors.data.kind` is \"htp\" (did you mean `http`?) [HP0504]",
        "h.toml:23:8: `connectors.late.path`: a reference has no closing `}` (write references as ${env:NAME} or ${file:PATH}) [HP0504]",
        "h.toml:24:9: class \"transactional\" is not supported by this version (write \"at-most-once\" or { idempotent = { window = \"24h\" } }) [HP0505]",
        "h.toml:25:1: `connectors.late.requires_approval` is not supported by this version (remove it, or use a version that has it) [HP0505]",
        "h.toml:26:1: `connectors.late.lookup` is not supported by this version (remove it, or use a version that has it) [HP0505]",
        "h.toml:28:9: `connectors.late.scope` is \"local\" (write \"thread\" or \"global\") [HP0504]",
        "h.toml:29:1: `connectors.none.kind` is missing (write kind = \"http\" or kind = \"file\") [HP0503]",
    ];
    let found = problems(text);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
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
