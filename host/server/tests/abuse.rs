//! What strangers and broken clients send: the server answers in its form, decides nothing, and stays up.

use std::time::Duration;

use crate::support::{APPROVAL, Setup, TestServer};
use holdpoint_server::Settings;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn with(settings: Settings) -> TestServer {
    Setup { settings, ..Setup::default() }.start().await
}

/// An approval that waits, and its path.
async fn waiting(server: &TestServer) -> (String, String) {
    let deployment = server.deploy("graph", APPROVAL).await;
    let view = server.run("t", &deployment, json!({})).await;
    let path = format!("/approvals/{}", view.interrupts[0].id);
    let shown = server.http.get(&path).await.expect(200);
    (path, shown["digest"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn malformed_bodies_and_wrong_types() {
    let server = Setup::default().start().await;
    let (path, digest) = waiting(&server).await;
    let answers = format!("{path}/answers");
    let json = [("content-type", "application/json")];
    for (body, status, code) in [
        ("{", 400, "HP0820"),
        ("\u{0}", 400, "HP0820"),
        ("[]", 422, "HP0821"),
        ("\"accept\"", 422, "HP0821"),
        ("{\"decision\": {}}", 422, "HP0821"),
        ("{\"decision\": \"accept\", \"payload_digest\": 7}", 422, "HP0821"),
    ] {
        server.http.send(Method::POST, &answers, &json, body.to_owned()).await.refused(status, code);
    }
    let deep = format!(
        "{{\"decision\": \"respond\", \"payload_digest\": \"{digest}\", \"value\": {}1{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    server.http.send(Method::POST, &answers, &json, deep).await.refused(400, "HP0820");
    let body = json!({ "decision": "accept", "payload_digest": digest }).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        server.http.send(Method::POST, &answers, &[("content-type", kind)], body.clone()).await.refused(415, "HP0823");
    }
    server.http.get("/nowhere").await.refused(404, "HP0825");
    server.http.delete(&path).await.refused(405, "HP0826");
    assert_eq!(server.http.get(&path).await.expect(200)["status"], "pending");
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let server = with(Settings { body_bytes_max: 1000, ..Settings::default() }).await;
    let (path, digest) = waiting(&server).await;
    let body = json!({ "decision": "respond", "value": "x".repeat(2000), "payload_digest": digest }).to_string();
    let json = [("content-type", "application/json")];
    server.http.send(Method::POST, &format!("{path}/answers"), &json, body).await.refused(413, "HP0822");
    // Nobody says beforehand how much is to come.
    let chunk = format!("64\r\n{}\r\n", " ".repeat(100));
    let head = format!(
        "POST {path}/answers HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n",
        server.address
    );
    let answer = raw(&server, format!("{head}{}", chunk.repeat(11)).as_bytes()).await.expect("the connection ends");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("HP0822"), "{answer}");
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", server.http.base.as_str())];
    let body = format!("credential={}", "x".repeat(2000));
    server.http.send(Method::POST, "/inbox/login", &form, body).await.refused(413, "HP0822");
    assert_eq!(server.http.get(&path).await.expect(200)["status"], "pending");
}

/// Sends raw bytes and gives what comes back until the connection ends, or `None` when it stays open for longer than ten seconds.
async fn raw(server: &TestServer, bytes: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    reading.await.ok()?.ok();
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn bodies_that_never_come() {
    let server = with(Settings { body_timeout: Duration::from_millis(100), ..Settings::default() }).await;
    let (path, _) = waiting(&server).await;
    for (path, kind) in [
        (format!("{path}/answers").as_str(), "application/json"),
        ("/inbox/login", "application/x-www-form-urlencoded"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: 50\r\n\r\n{{",
            server.address
        );
        let answer = raw(&server, head.as_bytes()).await.expect("the connection ends");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("HP0824"), "{answer}");
    }
}

#[tokio::test]
async fn heads_that_are_no_http() {
    let server = Setup::default().start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET /ok\r\n\r\n",
        b"\r\n\r\n\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = raw(&server, bytes).await.expect("the connection ends");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let long = format!("GET /approvals HTTP/1.1\r\nhost: {}\r\nx: {}\r\n\r\n", server.address, "x".repeat(200_000));
    let answer = raw(&server, long.as_bytes()).await.expect("the connection ends");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.http.get("/approvals").await.expect(200);
}

#[tokio::test]
async fn a_thousand_silent_connections_stop_nobody() {
    let server = Setup::default().start().await;
    let mut silent = Vec::new();
    for number in 0..1000 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"POST /approvals HTTP/1.1\r\nhost: ").await.unwrap();
        }
        silent.push(stream);
    }
    let asked = tokio::time::timeout(Duration::from_secs(5), server.http.get("/approvals"));
    asked.await.expect("answered at once").expect(200);
}

#[tokio::test]
async fn silent_connections_make_room() {
    let server = with(Settings { connections_max: 2, ..Settings::default() }).await;
    let mut silent =
        [TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap()];
    silent[0].write_all(b"GET ").await.unwrap();
    // Both places are taken until the silent ones have had their time; then the third, which has waited, is served.
    let asked = tokio::time::timeout(Duration::from_secs(60), server.http.get("/approvals"));
    asked.await.expect("served in the end").expect(200);
}

#[tokio::test]
async fn somebody_who_asks_too_often() {
    let server = with(Settings { requests_per_second_max: 1, ..Settings::default() }).await;
    let mut refused = None;
    for _ in 0..20 {
        let reply = server.http.get("/approvals").await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("more than the burst is refused");
    refused.refused(429, "HP0806");
    assert!(
        refused
            .header("retry-after")
            .and_then(|seconds| seconds.parse::<u64>().ok())
            .is_some_and(|seconds| seconds > 0)
    );
    // Others are not held up by it.
    server.http.send(Method::GET, "/approvals", &[("x-holdpoint-actor", "ben")], "").await.expect(200);
    // Guessing keys is held up likewise.
    let mut last = 0;
    for number in 0..20 {
        let key = format!("hp_{number}");
        last = server.http.send(Method::GET, "/approvals", &[("x-api-key", &key)], "").await.status;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn answers_are_named_and_safe_for_browsers() {
    let server = Setup::default().start().await;
    let reply = server.http.send(Method::GET, "/approvals", &[("x-request-id", "mine-1")], "").await;
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    for odd in ["", "a b", &"x".repeat(129)] {
        let reply = server.http.send(Method::GET, "/approvals", &[("x-request-id", odd)], "").await;
        let given = reply.header("x-request-id").unwrap();
        assert!(given != odd && given.len() == 36, "{given}");
    }
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let preflight = [
        ("origin", "https://chat.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-api-key"),
    ];
    let reply = server.http.send(Method::OPTIONS, "/approvals", &preflight, "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("*")));
    assert_eq!(reply.header("access-control-allow-headers"), Some("content-type,x-api-key"));
    assert_eq!(reply.header("access-control-allow-credentials"), None, "cookies stay at home");
    let reply = server.http.send(Method::GET, "/approvals", &[("origin", "http://localhost:3000")], "").await;
    let exposed = reply.header("access-control-expose-headers").unwrap_or_default();
    for name in ["x-pagination-total", "x-pagination-next", "content-location", "location"] {
        assert!(exposed.contains(name), "{exposed}");
    }
}

#[tokio::test]
async fn forms_of_other_sites_decide_nothing() {
    let server = Setup::default().start().await;
    let (path, digest) = waiting(&server).await;
    let body = json!({ "decision": "accept", "payload_digest": digest }).to_string();
    for origin in ["https://evil.example", "null"] {
        let headers = [("content-type", "application/json"), ("origin", origin)];
        server.http.send(Method::POST, &format!("{path}/answers"), &headers, body.clone()).await.refused(401, "HP0801");
        let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin)];
        let fields = format!("verdict=accept&digest={digest}&csrf=");
        let reply = server.http.send(Method::POST, &format!("/inbox{path}"), &form, fields).await;
        assert_eq!(reply.status, 401, "{}", reply.text);
    }
    // Even from our own origin, a form without the page's token is none of ours.
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", server.http.base.as_str())];
    let fields = format!("verdict=accept&digest={digest}&csrf=guess");
    let reply = server.http.send(Method::POST, &format!("/inbox{path}"), &form, fields).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert_eq!(server.http.get(&path).await.expect(200)["status"], "pending");
}

#[tokio::test]
async fn counts_are_served_without_ids_and_payloads() {
    let server = Setup::default().start().await;
    let (path, digest) = waiting(&server).await;
    server.http.send(Method::GET, "/approvals", &[("x-api-key", "hp_x")], "").await.refused(401, "HP0801");
    server.clock.advance_ms(90_000);
    let text = server.http.get("/metrics").await.text;
    for line in [
        "holdpoint_questions_pending 1",
        "holdpoint_questions_overdue 0",
        "holdpoint_question_oldest_seconds 90.0",
        "holdpoint_operations_in_doubt 0",
        "holdpoint_http_refused_total 1",
        "holdpoint_runs{status=\"pending\"} 0",
        "holdpoint_http_requests_total{method=\"GET\",route=\"/approvals/{approval_id}\",status=\"200\"} 1",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
    }
    let id = path.rsplit('/').next().unwrap();
    for secret in [id, digest.as_str(), "approval_required"] {
        assert!(!text.contains(secret), "{text}");
    }
    let kind: Value = json!(server.http.get("/metrics").await.header("content-type"));
    assert!(kind.as_str().unwrap().starts_with("application/openmetrics-text"));
}

#[tokio::test]
async fn only_what_brings_components_may_be_larger() {
    let settings = Settings { body_bytes_max: 1000, component_bytes_max: 10_000, ..Settings::default() };
    let server = with(settings).await;
    let json = [("content-type", "application/json")];
    let graph = |bytes: usize| json!({ "graph": "name = \"g\"", "files": { "n.wasm": "A".repeat(bytes) } }).to_string();
    // It is read, and refused for what it says.
    server.http.send(Method::POST, "/graphs", &json, graph(5000)).await.refused(422, "HP0811");
    let commands = json!({ "arguments": ["graph", "deploy", "g"], "files": { "g": "A".repeat(5000) } }).to_string();
    server.http.send(Method::POST, "/commands", &json, commands).await.refused(422, "HP0736");
    for path in ["/graphs", "/commands"] {
        let reply = server.http.send(Method::POST, path, &json, graph(20_000)).await;
        reply.refused(413, "HP0822");
        assert!(reply.body["cure"].as_str().unwrap().contains("component_bytes_max"), "{}", reply.text);
    }
    let reply = server.http.send(Method::POST, "/threads", &json, graph(5000)).await;
    reply.refused(413, "HP0822");
    assert!(reply.body["cure"].as_str().unwrap().contains("`body_bytes_max`"), "{}", reply.text);
}

#[tokio::test]
async fn few_large_requests_are_held_at_once_and_small_ones_do_not_wait_for_them() {
    let settings = Settings {
        body_bytes_max: 1000,
        component_bytes_max: 10_000,
        body_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    let server = with(settings).await;
    let head = format!(
        "POST /graphs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{}",
        server.address,
        " ".repeat(5000)
    );
    let mut slow = Vec::new();
    for _ in 0..holdpoint_server::body::UPLOADS_MAX {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let json = [("content-type", "application/json")];
    let small = json!({ "graph": 7 }).to_string();
    let asked = tokio::time::timeout(Duration::from_secs(4), server.http.send(Method::POST, "/graphs", &json, small));
    asked.await.expect("answered at once").refused(422, "HP0811");
    // Another large one is read when a place is free: the slow ones have had their time.
    let large = json!({ "graph": 7, "files": "A".repeat(5000) }).to_string();
    let reply = server.http.send(Method::POST, "/graphs", &json, large.clone()).await;
    assert!(matches!(reply.status, 408 | 422), "{}", reply.text);
    server.http.send(Method::POST, "/graphs", &json, large).await.refused(422, "HP0811");
}
