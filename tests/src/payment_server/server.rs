//! Connections, and what is done with each request.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::behaviour::{Behaviour, Rule};
use super::books::{Books, Entry};
use super::log::Event;
use super::wire::{Connection, Request, percent_decoded};
use crate::signal::{self, Signal};

/// How much later a slow answer comes.
const SLOW: Duration = Duration::from_millis(500);

/// A header with the id of a process to kill between receiving its request and dealing with it.
pub const KILL_HEADER: &str = "x-kill-client";

/// Shared by all connections.
#[derive(Clone)]
pub struct Server {
    books: Arc<Mutex<Books>>,
    /// Whether [`KILL_HEADER`] is obeyed.
    may_kill: bool,
}

impl Server {
    /// A server with these books.
    pub fn new(books: Books, may_kill: bool) -> Self {
        Self { books: Arc::new(Mutex::new(books)), may_kill }
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// No connection can be accepted any more.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let server = self.clone();
            tokio::spawn(async move {
                // Clients that break off are what this server is for.
                let _ = server.connection(stream).await;
            });
        }
    }

    async fn connection(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut connection = Connection::new(stream);
        while let Some(request) = connection.read().await? {
            let goes_on = match request.method.as_str() {
                "PUT" => self.control(&mut connection, &request).await?,
                "GET" => self.look_up(&mut connection, &request).await?,
                _ => self.pay(&mut connection, request).await?,
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    async fn control(&self, connection: &mut Connection, request: &Request) -> io::Result<bool> {
        let body = &request.body;
        let behaviour = body["behaviour"].as_str().and_then(Behaviour::parse);
        let Some(behaviour) = behaviour.filter(|_| request.path == "/behaviour") else {
            connection.answer(400, "", r#"{"error":"no such behaviour"}"#).await?;
            return Ok(true);
        };
        let key = body["key"].as_str().map(str::to_owned);
        let times = body["times"].as_u64().map(|times| u32::try_from(times).unwrap_or(u32::MAX));
        self.books().behave(Rule { behaviour, key, times });
        connection.answer(200, "", "{}").await?;
        Ok(true)
    }

    /// Not logged: looking changes nothing.
    async fn look_up(&self, connection: &mut Connection, request: &Request) -> io::Result<bool> {
        let key = request.path.strip_prefix("/refunds/by-key/").and_then(percent_decoded);
        let receipt = key.and_then(|key| self.books().receipt(&key));
        match receipt {
            Some(receipt) => connection.answer(200, "", &receipt.to_string()).await?,
            None => connection.answer(404, "", r#"{"error":"not found"}"#).await?,
        }
        Ok(true)
    }

    async fn pay(&self, connection: &mut Connection, request: Request) -> io::Result<bool> {
        let line = format!("{} {}", request.method, request.path);
        let key = request.header("idempotency-key").unwrap_or_default().to_owned();
        let client = request.header(KILL_HEADER).and_then(|text| text.parse().ok()).filter(|_| self.may_kill);
        let entry = self.books().receive(line, key, request.body)?;
        if let Some(process) = client {
            self.books().note(&entry, Event::ClientKilled { process })?;
            signal::send(process, Signal::Kill)?;
        }
        match entry.behaviour {
            Behaviour::Pay => {
                let receipt = self.books().apply(&entry)?;
                self.answer(connection, &entry, 201, "", &receipt).await
            }
            Behaviour::Slow => {
                let receipt = self.books().apply(&entry)?;
                tokio::time::sleep(SLOW).await;
                self.answer(connection, &entry, 201, "", &receipt).await
            }
            Behaviour::ApplyThenDrop => {
                self.books().apply(&entry)?;
                self.drop_request(&entry)
            }
            Behaviour::ApplyLate => {
                connection.wait_for_end().await;
                self.books().apply(&entry)?;
                self.drop_request(&entry)
            }
            Behaviour::Never => {
                connection.wait_for_end().await;
                self.drop_request(&entry)
            }
            Behaviour::Conflict => self.answer(connection, &entry, 409, "", &json!({ "error": "conflict" })).await,
            Behaviour::Busy => {
                self.answer(connection, &entry, 429, "retry-after: 1\r\n", &json!({ "error": "busy" })).await
            }
            Behaviour::FailBefore => self.answer(connection, &entry, 500, "", &json!({ "error": "broken" })).await,
            Behaviour::FailAfter => {
                self.books().apply(&entry)?;
                self.answer(connection, &entry, 500, "", &json!({ "error": "broken" })).await
            }
            Behaviour::Garbage => {
                self.books().apply(&entry)?;
                self.books().note(&entry, Event::Answered { status: 200 })?;
                connection.answer(200, "", "<html>thank you</html>").await?;
                Ok(true)
            }
        }
    }

    async fn answer(
        &self,
        connection: &mut Connection,
        entry: &Entry,
        status: u16,
        headers: &str,
        body: &Value,
    ) -> io::Result<bool> {
        self.books().note(entry, Event::Answered { status })?;
        connection.answer(status, headers, &body.to_string()).await?;
        Ok(true)
    }

    fn drop_request(&self, entry: &Entry) -> io::Result<bool> {
        self.books().note(entry, Event::Dropped)?;
        Ok(false)
    }

    /// Held for one line of the log.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("a poisoned lock means a failed test already")
    }
}
