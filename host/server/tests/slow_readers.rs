//! Clients that do not read what they are sent: their connections are cut off after a bound, and nobody else is held up by them.

use std::time::Duration;

use holdpoint_server::Settings;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{ECHO, Setup, TestServer};

/// More than the system holds for a connection whose other side does not read.
const LARGE_BYTES: usize = 6 << 20;

/// Longer than anybody here is kept from reading by the others.
const BOUND: Duration = Duration::from_millis(1500);

async fn server(write_timeout: Duration) -> (TestServer, String) {
    let settings = Settings { write_timeout, heartbeat: Duration::from_millis(50), ..Settings::default() };
    let server = Setup { settings, ..Setup::default() }.start().await;
    let graph = ECHO.replace("[state]", "[state]\ntitle = { type = \"string\" }");
    server.deploy("echo", &graph).await;
    let thread = server.thread().await;
    (server, thread)
}

/// Sends a request and does not read the answer, of which the system here holds little.
async fn ask(server: &TestServer, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// How many connections the server has, as it says itself; others can ask all the time.
async fn connections(server: &TestServer) -> u64 {
    let text = server.http.get("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix("holdpoint_http_connections "));
    line.unwrap_or_else(|| panic!("no connections in {text}")).parse().unwrap()
}

async fn until_connections(server: &TestServer, expected: u64) {
    let fewer = async {
        while connections(server).await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fewer).await.expect("the connection stays");
}

async fn large_run(server: &TestServer, thread: &str) {
    let body = json!({ "assistant_id": "echo", "input": { "title": "x".repeat(LARGE_BYTES) } });
    let run = server.start_run(thread, body).await;
    server.join(thread, &run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stream_that_nobody_reads_is_cut_off() {
    let (server, thread) = server(BOUND).await;
    let own = connections(&server).await;
    let mut stream = ask(&server, &format!("/threads/{thread}/stream")).await;
    until_connections(&server, own + 1).await;
    // The head is there: the watcher has its place.
    let mut head = [0; 17];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK\r\n");
    large_run(&server, &thread).await;
    until_connections(&server, own).await;
    // It was cut off, not ended: whoever reads after all is not told that this was everything.
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.unwrap();
    assert!(read.is_err() || !rest.ends_with(b"0\r\n\r\n"), "the stream ends as if it were whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_answer_that_nobody_reads_is_cut_off() {
    let (server, thread) = server(BOUND).await;
    large_run(&server, &thread).await;
    let own = connections(&server).await;
    let stream = ask(&server, &format!("/threads/{thread}/state")).await;
    until_connections(&server, own + 1).await;
    until_connections(&server, own).await;
    drop(stream);
}
