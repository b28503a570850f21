//! As much of HTTP/1.1 as the server needs. Its own, because a server's library always answers something.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 << 10;
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// One connection, request after request.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next request; none when the client has closed the connection.
    ///
    /// # Errors
    /// The connection broke, or what came is no request.
    pub async fn read(&mut self) -> io::Result<Option<Request>> {
        let head_bytes = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(malformed("its head is too long"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_bytes]).into_owned();
        let request = parse_head(&head).ok_or_else(|| malformed("its head cannot be read"))?;
        let length = request.header("content-length").unwrap_or("0");
        let length: usize = length.parse().map_err(|_| malformed("its length cannot be read"))?;
        if length > BODY_BYTES_MAX || request.header("transfer-encoding").is_some() {
            return Err(malformed("its body is too long, or of unknown length"));
        }
        while self.buffer.len() < head_bytes + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
        let body = serde_json::from_slice(&self.buffer[head_bytes..head_bytes + length]).unwrap_or(Value::Null);
        self.buffer.drain(..head_bytes + length);
        Ok(Some(Request { body, ..request }))
    }

    /// Answers with JSON and further header lines.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn answer(&mut self, status: u16, headers: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        self.stream.write_all(text.as_bytes()).await
    }

    /// Waits until the client has gone.
    pub async fn wait_for_end(&mut self) {
        // Whatever it still sends is of no interest; an error is an end, too.
        while self.stream.read_buf(&mut self.buffer).await.is_ok_and(|bytes| bytes > 0) {
            self.buffer.clear();
        }
    }
}

/// A request without its body.
fn parse_head(head: &str) -> Option<Request> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Request { method, path, headers: headers.collect::<Option<_>>()?, body: Value::Null })
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a request was refused: {reason}"))
}

/// Reads `%XX` in a path's segment.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let digits = [*rest.next()?, *rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}
