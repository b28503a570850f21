//! What the `http` connector asks a receiver without changing anything there, and which key it sends.

use std::sync::Arc;
use std::time::Duration;

use crate::support::connectors::{connector, global, of_thread, outgoing};
use crate::support::{Reaction, Receiver};
use holdpoint_effects::connectors::{Connector, LookUp, Rejection};
use serde_json::{Value, json};

const JSON: &str = "content-type: application/json\r\n";

fn connected(receiver: &Receiver, more: &str) -> Arc<dyn Connector> {
    let more = format!("headers = {{ authorization = \"Bearer ${{env:KEY}}\" }}\n{more}");
    connector(&receiver.configuration(&more), &[("KEY", "s3cret-key")], "payments")
}

fn request() -> Value {
    json!({ "method": "POST", "path": "/refunds", "query": { "tag": "x" }, "headers": { "x-trace": "abc" }, "body": { "amount": 1 } })
}

/// A receiver that answers lookups like this; what the lookup says.
async fn look_up(rules: &str, reaction: Reaction) -> String {
    let receiver = Receiver::always(reaction).await;
    let connector =
        connected(&receiver, &format!("lookup = {{ get = \"/by-key/{{id}}\", {rules} }}\nresponse_limit = \"300B\""));
    let prepared = connector.prepare(&global("a"), &request()).unwrap();
    match prepared.look_up(outgoing(Duration::from_millis(500))).await {
        LookUp::Happened(answer) => format!("happened {answer}"),
        LookUp::Failed(failure) => format!("failed {failure} {}", failure.details.clone().unwrap()["body"]),
        LookUp::NotThere => "not there".into(),
        LookUp::Unknown(reason) => format!("unknown: {reason}"),
    }
}

fn answer(status: u16, body: &str) -> Reaction {
    Reaction::Answer(status, JSON, body.to_owned())
}

#[tokio::test]
async fn what_an_answer_to_a_lookup_means() {
    const STATUS: &str = "happened = \"status == 200\"";
    const STATE: &str =
        "happened = \"body.state == 'done'\", failed = \"body.state == 'failed'\", result = \"body.refund\"";
    let headers = "\"headers\":{\"content-length\":\"15\",\"content-type\":\"application/json\"}";
    let whole = format!("happened {{\"body\":{{\"receipt\": 7}},{headers},\"status\":200}}").replace("\": 7", "\":7");
    let original = r#"{"state":"done","refund":{"status":201,"headers":{},"body":{"r":1}}}"#;
    let table = [
        (STATUS, answer(200, "{\"receipt\": 7 }"), whole.as_str()),
        (STATUS, answer(404, "{}"), "not there"),
        (STATUS, Reaction::Answer(404, "content-type: text/html\r\n", "<html>".into()), "not there"),
        (STATUS, Reaction::Answer(404, JSON, String::new()), "not there"),
        (STATUS, answer(403, "{}"), "unknown: the lookup was answered with 403 Forbidden, which no rule covers"),
        (STATUS, answer(302, "{}"), "unknown: the lookup was answered with 302 Found, which no rule covers"),
        (STATUS, answer(500, "{}"), "unknown: the lookup was answered with 500 Internal Server Error"),
        (STATUS, answer(429, "{}"), "unknown: the lookup was answered with 429 Too Many Requests"),
        (
            STATUS,
            answer(200, "{\"rec"),
            "unknown: it has happened, but the lookup has no result: the body cannot be read",
        ),
        (
            STATUS,
            Reaction::Answer(200, "", "x".repeat(301)),
            "unknown: it has happened, but the lookup has no result: the body cannot be read",
        ),
        (
            STATUS,
            Reaction::Answer(200, "", "\"".repeat(280)),
            "unknown: it has happened, but its answer has more than 300 bytes",
        ),
        (
            "happened = \"true\", not_there = \"status != 200\"",
            answer(503, "{}"),
            "unknown: the lookup was answered with 503 Service Unavailable",
        ),
        (
            "happened = \"true\", not_there = \"true\"",
            answer(200, "{}"),
            "unknown: the lookup says at once that it is there and that it is not",
        ),
        (
            "happened = \"status == 200\", not_there = \"body.found == false\"",
            answer(200, "{\"found\":false}"),
            "unknown: the lookup says at once that it is there and that it is not",
        ),
        (STATE, answer(200, original), "happened {\"body\":{\"r\":1},\"headers\":{},\"status\":201}"),
        (
            STATE,
            answer(200, "{\"state\":\"failed\"}"),
            "failed reported-failed: the receiver says that the operation failed {\"state\":\"failed\"}",
        ),
        (STATE, answer(404, "{}"), "not there"),
        (
            STATE,
            answer(200, "{\"state\":\"open\"}"),
            "unknown: the lookup was answered with 200 OK, which no rule covers",
        ),
        (STATE, answer(200, "{\"state\":\"done\"}"), "unknown: it has happened, but the lookup has no result: "),
        (STATE, answer(200, "{}"), "unknown: `failed` of the lookup: "),
        (STATE, answer(200, "garbage"), "unknown: `failed` of the lookup: "),
        (STATUS, Reaction::Drop, "unknown: the receiver cannot be asked: "),
        (STATUS, Reaction::Silence, "unknown: the receiver cannot be asked: nothing came within 500 ms"),
    ];
    for (rules, reaction, expected) in table {
        let found = look_up(rules, reaction.clone()).await;
        assert!(found.starts_with(expected), "{rules}, {reaction:?}: {found}");
    }
    let echo = format!("{{\"key\":\"Bearer {}\"}}", "s3cret-key");
    let found = look_up(STATUS, answer(200, &echo)).await;
    assert!(found.starts_with("happened") && found.contains("[secret]") && !found.contains("s3cret"), "{found}");
}

#[tokio::test]
async fn a_lookup_asks_for_the_key_that_was_sent() {
    let receiver = Receiver::always(answer(404, "{}")).await;
    let lookup = "lookup = { get = \"/by-key/{id}\", happened = \"status == 200\" }";
    let query = "lookup = { get = \"/refunds?limit=1&key={id}\", happened = \"status == 200\" }";
    let table = [
        (lookup, global("refund:1"), "GET /by-key/refund%3A1 HTTP/1.1", "refund:1"),
        (lookup, of_thread("t 1", "refund:1"), "GET /by-key/t%25201%3Arefund%3A1 HTTP/1.1", "t%201:refund:1"),
        (query, global("a/b&c"), "GET /refunds?limit=1&key=a%2Fb%26c HTTP/1.1", "a/b&c"),
    ];
    for (rule, key, line, sent) in table {
        let connector = connected(&receiver, rule);
        let prepared = connector.prepare(&key, &request()).unwrap();
        assert_eq!(prepared.look_up(outgoing(Duration::from_secs(5))).await, LookUp::NotThere);
        let asked = receiver.received().pop().unwrap();
        assert_eq!(asked.head.lines().next(), Some(line));
        assert_eq!((asked.header("authorization"), asked.header("idempotency-key")), (Some("Bearer s3cret-key"), None));
        assert_eq!((asked.header("x-trace"), asked.body.as_str()), (None, ""));
        let _ = prepared.send(outgoing(Duration::from_secs(5))).await;
        assert_eq!(receiver.received().pop().unwrap().header("idempotency-key"), Some(sent));
    }
    let before = receiver.received().len();
    let connector = connected(&receiver, lookup);
    for id in ["..", ".", "a/b", "a%2fb", "..;x", "a\\b"] {
        let refused = connector.prepare(&global(id), &request());
        assert!(matches!(refused, Err(Rejection::Invalid(_))), "{id}");
    }
    assert_eq!(receiver.received().len(), before, "nothing was sent");
    let without = connected(&receiver, "").prepare(&global("a"), &request()).unwrap();
    let nothing = without.look_up(outgoing(Duration::from_secs(5))).await;
    assert_eq!(nothing, LookUp::Unknown("the connector has no lookup".into()));
    assert_eq!(without.preview(outgoing(Duration::from_secs(5))).await, None);
}

#[tokio::test]
async fn a_preview_is_a_dry_run_and_never_the_request() {
    let receiver = Receiver::start(|received| match received.head.split(' ').nth(1) {
        Some("/refunds/preview?tag=x") => answer(200, "{\"effect\":{\"fee\":3},\"key\":\"s3cret-key\"}"),
        Some("/quotes?tag=x") => answer(200, "{\"fee\":4}"),
        Some("/bad?tag=x") => answer(422, "{\"why\":\"too late, s3cret-key\"}"),
        _ => Reaction::Drop,
    })
    .await;
    let table = [
        (
            "{ post = \"/refunds/preview\", result = \"body.effect\" }",
            Ok(json!({ "fee": 3 })),
            "POST",
            "{\"amount\":1}",
        ),
        (
            "{ post = \"/refunds/preview\" }",
            Ok(json!({ "effect": { "fee": 3 }, "key": "[secret]" })),
            "POST",
            "{\"amount\":1}",
        ),
        ("{ get = \"/quotes\" }", Ok(json!({ "fee": 4 })), "GET", ""),
        (
            "{ post = \"/bad\" }",
            Err("the dry run was answered with 422 Unprocessable Entity: {\"why\":\"too late, [secret]\"}"),
            "POST",
            "{\"amount\":1}",
        ),
    ];
    for (rule, expected, method, body) in table {
        let connector = connected(&receiver, &format!("preview = {rule}\nidempotency_header = \"X-Key\""));
        let prepared = connector.prepare(&global("a"), &request()).unwrap();
        let found = prepared.preview(outgoing(Duration::from_secs(5))).await;
        assert_eq!(found, Some(expected.map_err(str::to_owned)), "{rule}");
        let asked = receiver.received().pop().unwrap();
        assert!(asked.head.starts_with(method) && asked.body == body, "{asked:?}");
        assert_eq!((asked.header("x-key"), asked.header("idempotency-key")), (None, None));
        assert_eq!((asked.header("authorization"), asked.header("x-trace")), (Some("Bearer s3cret-key"), Some("abc")));
    }
    let connector = connected(&receiver, "preview = { post = \"/gone\" }");
    let prepared = connector.prepare(&global("a"), &request()).unwrap();
    let found = prepared.preview(outgoing(Duration::from_secs(5))).await.unwrap().unwrap_err();
    assert!(found.starts_with("the receiver cannot be asked: "), "{found}");
}
