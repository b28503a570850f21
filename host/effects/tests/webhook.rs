//! The `webhook` connector against a consumer that verifies what it gets, by its own means.

use std::sync::Arc;
use std::time::Duration;

use crate::support::connectors::{connector, global, line, of_thread, outgoing, send_within};
use crate::support::signature::verify;
use crate::support::{NOW_MS, Reaction, Received, Receiver};
use holdpoint_effects::connectors::{Connector, Outgoing};
use serde_json::{Value, json};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECRET_OLD: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn configuration(receiver: &Receiver, more: &str) -> String {
    format!(
        "[connectors.it]\nkind = \"webhook\"\nurl = \"{}/hooks?tenant=1\"\naddresses = \"any\"\n{more}",
        receiver.url
    )
}

fn connected(receiver: &Receiver, more: &str) -> Arc<dyn Connector> {
    let environment = [("NEW", SECRET), ("OLD", SECRET_OLD)];
    connector(&configuration(receiver, &format!("secret = \"${{env:NEW}}\"\n{more}")), &environment, "it")
}

fn event() -> Value {
    json!({ "type": "refund.done", "data": { "é": 1.0, "a": "x.y" } })
}

#[tokio::test]
async fn a_message_is_signed_and_its_id_stays() {
    let receiver = Receiver::always(Reaction::Answer(202, "", "thanks".into())).await;
    let connector = connected(&receiver, "headers = { x-source = \"holdpoint\" }");
    let prepared = connector.prepare(&global("refund:1"), &event()).unwrap();
    for at_ms in [NOW_MS, NOW_MS + 61_999] {
        let outgoing = Outgoing { at_ms, timeout: Duration::from_secs(5) };
        assert_eq!(line(&prepared.send(outgoing).await), "done {\"status\":202}");
    }
    let [first, second] = &receiver.received()[..] else { panic!("two messages") };
    assert_eq!(first.head.lines().next(), Some("POST /hooks?tenant=1 HTTP/1.1"));
    assert_eq!(first.body, "{\"data\":{\"a\":\"x.y\",\"é\":1},\"type\":\"refund.done\"}");
    for (name, expected) in [
        ("content-type", "application/json"),
        ("x-source", "holdpoint"),
        ("webhook-id", "refund:1"),
        ("webhook-timestamp", "1700000000"),
    ] {
        assert_eq!(first.header(name), Some(expected), "{name}");
    }
    assert_eq!(
        (second.header("webhook-id"), second.header("webhook-timestamp")),
        (Some("refund:1"), Some("1700000061"))
    );
    assert!(verify(SECRET, first) && verify(SECRET, second) && !verify(SECRET_OLD, first));
    assert!(!verify(SECRET, &Received { body: first.body.replace('1', "2"), ..first.clone() }), "a changed body");
    assert!(!verify(SECRET, &Received { head: first.head.replace("1700000000", "1700000001"), ..first.clone() }));
}

#[tokio::test]
async fn secrets_are_rotated_and_ids_cannot_be_stretched() {
    let receiver = Receiver::always(Reaction::Answer(204, "", String::new())).await;
    let both = configuration(&receiver, "secret = [\"${env:NEW}\", \"${env:OLD}\"]");
    let connector = connector(&both, &[("NEW", SECRET), ("OLD", SECRET_OLD)], "it");
    let keys = [global("a.1700000000.{}"), global("ä"), of_thread("t.1", "a"), of_thread("t1", "a")];
    for key in &keys {
        let prepared = connector.prepare(key, &event()).unwrap();
        assert_eq!(line(&prepared.send(outgoing(Duration::from_secs(5))).await), "done {\"status\":204}");
    }
    let received = receiver.received();
    assert!(received.iter().all(|received| verify(SECRET, received) && verify(SECRET_OLD, received)));
    let ids: Vec<&str> = received.iter().map(|received| received.header("webhook-id").unwrap()).collect();
    assert!(ids[..3].iter().all(|id| id.len() == 64 && !id.contains('.')), "{ids:?}");
    assert_eq!(ids[3], "t1:a");
}

#[tokio::test]
async fn what_the_consumer_says_decides() {
    let answer = |status, headers, body: &str| Reaction::Answer(status, headers, body.to_owned());
    let table = [
        (answer(200, "content-type: application/json\r\n", "<garbage"), "done {\"status\":200}"),
        (answer(200, "", &"x".repeat(100_000)), "done {\"status\":200}"),
        (Reaction::BreakOff, "done {\"status\":200}"),
        (
            answer(410, "", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            "rejected http-410: the receiver answered 410 Gone",
        ),
        (answer(400, "", ""), "rejected http-400: "),
        (answer(302, "location: /elsewhere\r\n", ""), "rejected http-302: "),
        (answer(429, "retry-after: 3\r\n", ""), "later http-429: "),
        (answer(425, "", ""), "later http-425: "),
        (answer(408, "", ""), "unclear http-408: "),
        (answer(503, "", ""), "unclear http-503: "),
        (Reaction::Drop, "unknown: "),
        (Reaction::Silence, "unknown: nothing came within 300 ms"),
    ];
    for (reaction, expected) in table {
        let receiver = Receiver::always(reaction.clone()).await;
        let connector = connected(&receiver, "");
        let found = send_within(&connector, "a", &event(), Duration::from_millis(300)).await;
        assert!(found.starts_with(expected) && !found.contains("whsec"), "{reaction:?}: {found}");
        assert_eq!(receiver.received().len(), 1, "{reaction:?}");
    }
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_and_secrets_are_not_shown() {
    let receiver = Receiver::always(Reaction::Answer(422, "", format!("{SECRET} {SECRET_OLD}"))).await;
    let text = format!("[connectors.it]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"${{env:NEW}}\"", receiver.url);
    let refused = connector(&text, &[("NEW", SECRET)], "it");
    assert_eq!(send_within(&refused, "a", &event(), Duration::from_secs(5)).await, "Address");
    let named = connector(&text.replace("127.0.0.1", "localhost"), &[("NEW", SECRET)], "it");
    let line = send_within(&named, "a", &event(), Duration::from_secs(5)).await;
    assert_eq!(line, "not sent: AddressNotAllowed");
    assert_eq!(receiver.connections(), 0);

    let prepared = connected(&receiver, "").prepare(&global("a"), &event()).unwrap();
    let shown = format!("{:?}", prepared.send(outgoing(Duration::from_secs(5))).await);
    assert!(shown.contains("[secret]") && !shown.contains("MfKQ9r8"), "{shown}");
}
