//! HTTP to a server on loopback, without a client library's own work in the figures.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::unexpected;
use crate::failure::Failure;

/// One connection that is kept open.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// A request whose answer is a success, with its body.
    pub(super) async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Vec<u8>, Failure> {
        let framing = self.send(method, path, body).await?;
        let mut whole = Vec::new();
        match framing {
            Framing::Length(length) => {
                whole.resize(length, 0);
                self.stream.read_exact(&mut whole).await.map_err(|error| failed(&error))?;
            }
            Framing::Chunks => {
                loop {
                    let line = self.line().await?;
                    let size = usize::from_str_radix(line.trim(), 16);
                    let size = size.map_err(|_| unexpected(format!("the server sent a chunk of {line:?} bytes")))?;
                    let begin = whole.len();
                    // The chunk's own line end comes after it.
                    whole.resize(begin + size + 2, 0);
                    self.stream.read_exact(&mut whole[begin..]).await.map_err(|error| failed(&error))?;
                    whole.truncate(begin + size);
                    if size == 0 {
                        break;
                    }
                }
            }
        }
        Ok(whole)
    }

    /// A request whose answer is a success, as JSON.
    pub(super) async fn ask_json(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.ask(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| unexpected(format!("the server's answer is no JSON: {error}")))
    }

    /// Opens a stream of events.
    pub(super) async fn watch(mut self, path: &str) -> Result<Events, Failure> {
        self.send("GET", path, None).await?;
        Ok(Events(self))
    }

    async fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Framing, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        self.stream.get_mut().write_all(request.as_bytes()).await.map_err(|error| failed(&error))?;
        let status = self.line().await?;
        let mut framing = Framing::Chunks;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if let Some(length) = line.strip_prefix("content-length:") {
                framing = Framing::Length(length.trim().parse().unwrap_or(0));
            }
            if line.trim().is_empty() {
                break;
            }
        }
        if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
            return Ok(framing);
        }
        let mut told = vec![0; 2000];
        let length = self.stream.read(&mut told).await.unwrap_or(0);
        let told = String::from_utf8_lossy(&told[..length]).into_owned();
        Err(unexpected(format!("{method} {path} got {}: {told}", status.trim())))
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(0) => Err(unexpected("the server closed the connection".to_owned())),
            Ok(_) => Ok(line),
            Err(error) => Err(failed(&error)),
        }
    }
}

enum Framing {
    Length(usize),
    Chunks,
}

/// A stream of events.
pub(super) struct Events(Client);

impl Events {
    /// Waits for a line that begins so; gives the rest of it. The framing of the body stands on lines of its own and is passed over like comments.
    pub(super) async fn line_after(&mut self, beginning: &str) -> Result<String, Failure> {
        loop {
            if let Some(rest) = self.0.line().await?.strip_prefix(beginning) {
                return Ok(rest.trim().to_owned());
            }
        }
    }
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::host("HP0792", format!("the server on loopback does not answer: {error}"), "check this machine's loopback")
}
