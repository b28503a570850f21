//! The judge itself: the payments server's log tells the truth, also after the server's own death.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use holdpoint_tests::payment_server::{Behaviour, PaymentServer, Start};
use serde_json::{Value, json};

/// Pays over a connection of its own; gives the status, 0 when no answer came.
fn pay(server: &PaymentServer, key: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).unwrap();
    let body = r#"{"cents":5}"#;
    let length = body.len();
    write!(stream, "POST /refunds HTTP/1.1\r\nIdempotency-Key: {key}\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    // A connection that is reset is an answer that did not come.
    let _ = stream.read_to_string(&mut text);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default())
}

#[test]
fn what_it_applied_survives_its_own_death() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = PaymentServer::start(&folder.path().join("log"), Start { deduplicate: true, ..Start::default() });
    let (status, receipt) = pay(&server, "a:1");
    assert_eq!((status, &receipt["refund_id"], &receipt["for"]), (201, &json!("re_1"), &json!({ "cents": 5 })));
    server.kill_and_restart();
    assert_eq!(pay(&server, "a:1"), (201, receipt.clone()), "paid before it died");
    assert_eq!(pay(&server, "b").1["refund_id"], "re_2", "numbers go on");
    assert_eq!(server.look_up("a%3A1"), (200, receipt));
    assert_eq!(server.look_up("c").0, 404);
    let mut judge = server.judge();
    let account = judge.settled("a:1");
    assert_eq!((account.received, account.applied, account.concluded), (2, 1, 2));
    assert_eq!(judge.keys(), ["a:1", "b"]);
}

#[test]
fn without_deduplication_it_pays_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = PaymentServer::start(&folder.path().join("log"), Start::default());
    assert_eq!(
        (pay(&server, "a").1["refund_id"].clone(), pay(&server, "a").1["refund_id"].clone()),
        (json!("re_1"), json!("re_2"))
    );
    assert_eq!(server.judge().settled("a").applied, 2);
}

#[test]
fn it_behaves_as_it_is_told_for_a_key_and_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let start = Start { behaviour: Behaviour::FailBefore, ..Start::default() };
    let server = PaymentServer::start(&folder.path().join("log"), start);
    assert_eq!(pay(&server, "a").0, 500);
    server.behave(Behaviour::Pay);
    server.behave_for("a", Behaviour::Busy, 1);
    assert_eq!([pay(&server, "b").0, pay(&server, "a").0, pay(&server, "a").0], [201, 429, 201]);
    for (behaviour, status, applied) in [
        (Behaviour::ApplyThenDrop, 0, 1),
        (Behaviour::ApplyLate, 0, 1),
        (Behaviour::Conflict, 409, 0),
        (Behaviour::FailBefore, 500, 0),
        (Behaviour::FailAfter, 500, 1),
        (Behaviour::Garbage, 200, 1),
        (Behaviour::Slow, 201, 1),
        (Behaviour::Never, 0, 0),
    ] {
        let key = behaviour.name();
        server.behave(behaviour);
        assert_eq!(pay(&server, key).0, status, "{key}");
        let account = server.judge().wait(key, |account| account.concluded == 1);
        assert_eq!((account.received, account.applied), (1, applied), "{key}");
    }
}
