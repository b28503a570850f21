//! The `http` connector against a real receiver on loopback.

use crate::support::{self, Reaction, Receiver, World, line, one, operation, pay};
use serde_json::json;

const JSON: &str = "content-type: application/json\r\n";
const IDEMPOTENT: &str = "class = { idempotent = { window = \"24h\" } }";

#[tokio::test]
async fn a_request_leaves_as_configured_and_its_answer_comes_back() {
    let receiver = Receiver::always(Reaction::Answer(201, JSON, "{\"receipt\":7}".into())).await;
    let configuration = "[connectors.payments]\nkind = \"http\"\nbase_url = \"${env:URL}/api/\"\nallow = [\"POST /refunds\"]\n\
        addresses = \"any\"\nidempotency_header = \"X-Request-Key\"\nheaders = { Authorization = \"Bearer ${env:KEY}\", x-source = \"holdpoint\" }";
    let world = World::new(configuration, &[("URL", &receiver.url), ("KEY", "s3cret-key")]);
    let request = json!({
        "method": "POST", "path": "/refunds", "query": { "dry": false, "tag": ["a b", "ü&"] },
        "headers": { "X-Trace": "abc" }, "body": { "amount": 1 },
    });
    let answer = world.once("t", 1, operation(Some("refund:9241:50000"), "payments", request)).await;
    let headers = "{\"content-length\":\"13\",\"content-type\":\"application/json\"}";
    assert_eq!(answer, format!("ok {{\"body\":{{\"receipt\":7}},\"headers\":{headers},\"status\":201}}"));

    let received = receiver.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].head.lines().next(), Some("POST /api/refunds?dry=false&tag=a+b&tag=%C3%BC%26 HTTP/1.1"));
    assert_eq!(received[0].body, "{\"amount\":1}");
    for (header, expected) in [
        ("authorization", Some("Bearer s3cret-key")),
        ("x-source", Some("holdpoint")),
        ("x-request-key", Some("t:refund:9241:50000")),
        ("x-trace", Some("abc")),
        ("content-type", Some("application/json")),
        ("cookie", None),
        ("idempotency-key", None),
    ] {
        assert_eq!(received[0].header(header), expected, "{header}");
    }
}

/// One operation against a receiver, executed twice; what the guest gets each time, what is recorded, how often the receiver was asked.
async fn twice(class: &str, reaction: Reaction) -> [String; 4] {
    let receiver = Receiver::always(reaction).await;
    let configuration = receiver.configuration(&format!("timeout = \"300ms\"\nresponse_limit = \"256B\"\n{class}"));
    let world = World::new(&configuration.replace("timeout = \"2s\"\n", ""), &[]);
    let first = short(world.once("t", 1, pay("a", 1)).await);
    let second = short(world.once("t", 1, pay("a", 1)).await);
    [first, second, world.journal.states().join(""), receiver.received().len().to_string()]
}

fn short(text: String) -> String {
    match text.strip_prefix("halt: operation a of connector payments is in doubt: ") {
        Some(_) => "halt".into(),
        None => text.split(" {").next().unwrap_or_default().to_owned(),
    }
}

#[tokio::test]
async fn every_end_of_a_request_for_each_class() {
    let answer = |status, headers, body: &str| Reaction::Answer(status, headers, body.to_owned());
    let (done, halt) = (["ok", "ok"], ["halt", "halt"]);
    let failed = |code: &str| [(); 2].map(|()| format!("failed {code} retryable=false sent=true"));
    let transient = |code: &str| [(); 2].map(|()| format!("failed {code} retryable=true sent=true"));
    let own = |lines: [&str; 2]| lines.map(str::to_owned);
    // Reaction; under idempotent: guest, record, requests; under at-most-once: the same.
    let table = [
        (answer(200, JSON, "{}"), (own(done), "a completed", 1), (own(done), "a completed", 1)),
        (answer(409, JSON, "{}"), (failed("http-409"), "a failed", 1), (failed("http-409"), "a failed", 1)),
        (
            answer(302, "location: /refunds/1\r\n", ""),
            (failed("http-302"), "a failed", 1),
            (failed("http-302"), "a failed", 1),
        ),
        (
            answer(429, "retry-after: 7\r\n", ""),
            (transient("http-429"), "", 2),
            (transient("http-429"), "a not-sent", 2),
        ),
        (answer(425, "", ""), (transient("http-425"), "", 2), (transient("http-425"), "a not-sent", 2)),
        (answer(500, JSON, "{}"), (transient("http-500"), "", 2), (own(halt), "a in-doubt", 1)),
        (answer(408, "", ""), (transient("http-408"), "", 2), (own(halt), "a in-doubt", 1)),
        (answer(200, JSON, "<html>"), (own(halt), "a in-doubt", 1), (own(halt), "a in-doubt", 1)),
        (answer(200, "", &"x".repeat(257)), (own(halt), "a in-doubt", 1), (own(halt), "a in-doubt", 1)),
        (Reaction::Drop, (transient("no-answer"), "", 2), (own(halt), "a in-doubt", 1)),
        (Reaction::BreakOff, (transient("no-answer"), "", 2), (own(halt), "a in-doubt", 1)),
        (Reaction::Silence, (transient("no-answer"), "", 2), (own(halt), "a in-doubt", 1)),
    ];
    for (reaction, idempotent, at_most_once) in table {
        for (class, (guest, record, requests)) in [(IDEMPOTENT, idempotent), ("class = \"at-most-once\"", at_most_once)]
        {
            let [first, second] = guest;
            let expected = [first, second, record.to_owned(), requests.to_string()];
            assert_eq!(twice(class, reaction.clone()).await, expected, "{class}, {reaction:?}");
        }
    }
}

#[tokio::test]
async fn a_receiver_that_cannot_be_reached_is_asked_later_with_a_new_intent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let configuration = format!(
        "[connectors.payments]\nkind = \"http\"\nbase_url = \"http://127.0.0.1:{port}\"\nallow = [\"POST /refunds\"]\naddresses = \"any\""
    );
    let world = World::new(&configuration, &[]);
    assert_eq!(world.once("t", 1, pay("a", 1)).await, "failed not-sent retryable=true sent=false");
    assert_eq!(world.journal.commits(), ["a intended", "a not-sent"]);

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let served = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.unwrap();
    });
    assert_eq!(world.once("t", 1, pay("a", 1)).await, "ok {\"body\":null,\"headers\":{},\"status\":204}");
    served.await.unwrap();
    assert_eq!(world.journal.commits(), ["a intended", "a not-sent", "a intended", "a completed"]);
}

#[tokio::test]
async fn tricks_are_refused_and_nothing_is_sent() {
    let receiver = Receiver::always(Reaction::Answer(200, "", String::new())).await;
    let world = World::new(
        &receiver.configuration("headers = { x-api-key = \"k3y-of-the-operator\" }\nrequest_limit = \"1KiB\""),
        &[],
    );
    let post = |path: &str| json!({ "method": "POST", "path": path });
    let with = |name: &str, value: serde_json::Value| {
        let mut request = json!({ "method": "POST", "path": "/refunds" });
        request[name] = value;
        request
    };
    let requests = [
        post("/refunds/../admin"),
        post("/%2e%2e/admin"),
        post("/refunds%2f..%2fadmin"),
        post("/refunds%252f1"),
        post("//evil.example/refunds"),
        post("http://evil.example/refunds"),
        post("/refunds?x=1"),
        post("/refunds#x"),
        post("/refunds\r\nX: y"),
        post("/refunds%00"),
        post("\\refunds"),
        post("@evil.example/refunds"),
        post(".evil.example"),
        post(":80@evil.example/refunds"),
        post(""),
        post("/admin"),
        post("/refunds/"),
        post("/refunds/1"),
        with("method", json!("DELETE")),
        with("method", json!("post")),
        with("method", json!("POST /admin HTTP/1.1\r\n")),
        with("method", json!(1)),
        with("headers", json!({ "Host": "evil.example" })),
        with("headers", json!({ "authorization": "x" })),
        with("headers", json!({ "Idempotency-Key": "x" })),
        with("headers", json!({ "X-API-KEY": "x" })),
        with("headers", json!({ "Transfer-Encoding": "chunked" })),
        with("headers", json!({ "x-http-method-override": "DELETE" })),
        with("headers", json!({ "x-a": "b\r\nx-c: d" })),
        with("headers", json!({ "x-a\r\nx-c": "d" })),
        with("headers", json!({ "x-a": 1 })),
        with("headers", json!("x-a: b")),
        with("query", json!("a=b")),
        with("query", json!({ "a": { "b": 1 } })),
        with("body", json!("x".repeat(1024))),
        with("url", json!("http://evil.example")),
        json!("GET /"),
        json!(null),
        json!({ "method": "GET", "path": "/refunds/1", "body": {} }),
    ];
    for request in requests {
        let shown = request.to_string();
        let outcome = world.once("t", 1, operation(Some("a"), "payments", request)).await;
        assert!(outcome.starts_with("invalid: ") || outcome.starts_with("denied: "), "{shown}: {outcome}");
        assert!(!outcome.contains("k3y-of"), "{outcome}");
    }
    for id in [" a", "a ", "ä"] {
        let outcome = world.once("t", 1, pay(id, 1)).await;
        assert!(outcome.starts_with("invalid: the operation id has to be ASCII"), "{outcome}");
    }
    assert_eq!((receiver.connections(), world.journal.commits().len()), (0, 0), "no connection, no intent");
    assert!(world.once("t", 1, pay("a", 1)).await.starts_with("ok"), "the receiver was there all the time");
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_unless_allowed() {
    let receiver = Receiver::always(Reaction::Answer(204, "", String::new())).await;
    let denied = "denied: the receiver's address is not allowed: the operator allows it with the connector's `addresses` [HP0527]";
    let hosts = [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
    ];
    for host in hosts {
        for addresses in ["", "addresses = \"public\"", "addresses = [\"10.0.0.0/8\"]"] {
            let configuration = format!(
                "[connectors.payments]\nkind = \"http\"\nbase_url = \"http://{host}:{}\"\nallow = [\"POST /refunds\"]\n{addresses}",
                receiver.port
            );
            let world = World::new(&configuration, &[]);
            assert_eq!(world.once("t", 1, pay("a", 1)).await, denied, "{host}, {addresses}");
            assert!(!world.journal.states().contains(&"a intended".to_owned()), "nothing stays in doubt");
        }
    }
    assert_eq!(receiver.connections(), 0);
    for (host, addresses) in
        [("localhost", "\"any\""), ("localhost", "[\"127.0.0.0/8\"]"), ("127.0.0.1", "[\"127.0.0.1\"]")]
    {
        let configuration = format!(
            "[connectors.payments]\nkind = \"http\"\nbase_url = \"http://{host}:{}\"\nallow = [\"POST /refunds\"]\naddresses = {addresses}",
            receiver.port
        );
        let outcome = World::new(&configuration, &[]).once("t", 1, pay("a", 1)).await;
        assert!(outcome.starts_with("ok"), "{host}, {addresses}: {outcome}");
    }
}

#[tokio::test]
async fn secrets_come_back_nowhere() {
    const KEY: &str = "s3cret/of the \"operator\"";
    // The receiver returns all that it got, in its header and body, as success and as failure.
    let receiver = Receiver::start(|received| {
        let key = received.header("authorization").unwrap_or_default().to_owned();
        let status = if received.body.contains("fail") { 422 } else { 200 };
        Reaction::Answer(status, JSON, json!({ "echo": received.head, "key": { key.clone(): [key] } }).to_string())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "from-a-file-7\n").unwrap();
    let more = format!(
        "headers = {{ authorization = \"${{env:KEY}}\", x-file = \"${{file:{}}}\" }}\n{IDEMPOTENT}",
        file.display()
    );
    let configuration = receiver.configuration(&more);
    let world = World::new(&configuration, &[("KEY", KEY)]);
    let mut shown = format!("{:?}", support::parse(&configuration, &[("KEY", KEY)]));
    for body in ["ok", "fail"] {
        let request = json!({ "method": "POST", "path": "/refunds", "body": body });
        let mut effects = world.task("t", 1);
        let results = effects.perform_all(vec![operation(Some(body), "payments", request)]).await.unwrap();
        shown.push_str(&format!("{results:?} {} {:?}", line(&results[0]), effects.finish().operations));
    }
    assert_eq!(receiver.received()[0].header("authorization"), Some(KEY), "it was sent");
    assert_eq!(receiver.received()[0].header("x-file"), Some("from-a-file-7"));
    assert!(shown.contains("[secret]"), "{shown}");
    for secret in ["s3cret", "operator", "from-a-file-7"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn a_missing_secret_stops_only_its_connector_and_is_told_to_operators_only() {
    let receiver = Receiver::always(Reaction::Answer(204, "", String::new())).await;
    let configuration = receiver.configuration("headers = { authorization = \"Bearer ${env:PAYMENTS_KEY}\" }");
    let configuration = format!("{configuration}[connectors.ledger]\nkind = \"file\"\npath = \"${{env:LEDGER_FILE}}\"");
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let environment = [("LEDGER_FILE", ledger.to_str().unwrap())];
    let world = World::new(&configuration, &environment);
    let denied = "denied: connector payments cannot be used as it is configured: the operator finds the reason in the log and with \
        `holdpoint doctor` [HP0524]";
    assert_eq!(world.once("t", 1, pay("a", 1)).await, denied);
    assert!(world.once("t", 1, operation(None, "ledger", json!(1))).await.starts_with("ok"));
    assert_eq!(receiver.connections(), 0);
    let problems = support::parse(&configuration, &environment).check("holdpoint.toml".as_ref());
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = "holdpoint.toml:7:29: `connectors.payments`: `${env:PAYMENTS_KEY}` is not set (set the variable or write the file, then \
        start again) [HP0506]";
    assert_eq!(problems, [expected]);
}

#[tokio::test]
async fn connections_are_kept_where_requests_may_be_repeated() {
    for (class, connections) in [(IDEMPOTENT, 1), ("", 3)] {
        let receiver = Receiver::always(Reaction::Answer(204, "", String::new())).await;
        let world = World::new(&receiver.configuration(class), &[]);
        let mut effects = world.task("t", 1);
        for id in ["a", "b", "c"] {
            assert!(one(effects.perform_all(vec![pay(id, 1)]).await).starts_with("ok"));
        }
        assert_eq!(receiver.connections(), connections, "{class:?}");
    }
}
