//! A payments server on loopback. It writes each request to its log before it answers, and its log is what tests believe.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Json, Router, body};
use serde_json::{Value, json};

/// A running server; ends when it is dropped.
pub struct Payments {
    url: String,
    books: Arc<Mutex<Books>>,
    /// Ends in the background: a runtime may not be waited for from inside another.
    runtime: Option<tokio::runtime::Runtime>,
}

/// What the server does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Pays once for each idempotency key and answers with the same receipt.
    #[default]
    Deduplicate,
    /// Pays every time.
    PayAlways,
    /// Refuses with this status.
    Refuse(u16),
    /// Pays and never answers.
    PaySilently,
}

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Method and path.
    pub request: String,
    /// The idempotency key, of a webhook its id.
    pub key: String,
    /// The body.
    pub body: Value,
    /// Whether money moved.
    pub paid: bool,
}

#[derive(Default)]
struct Books {
    manner: Manner,
    log: Vec<Entry>,
    receipts: HashMap<String, Value>,
}

impl Payments {
    /// As [`Payments::start`], for tests that run inside a runtime themselves, where no other may be started.
    pub fn start_on_thread() -> Self {
        std::thread::spawn(Self::start).join().unwrap()
    }

    /// Starts a server that de-duplicates.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let books: Arc<Mutex<Books>> = Arc::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(serve).with_state(Arc::clone(&books));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, books, runtime: Some(runtime) }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes what it does with requests.
    pub fn behave(&self, manner: Manner) {
        lock(&self.books).manner = manner;
    }

    /// Waits until it has seen so many requests.
    pub fn wait_for(&self, requests: usize) {
        let begun = std::time::Instant::now();
        while self.log().len() < requests {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "no request came");
            std::thread::yield_now();
        }
    }

    /// Everything that it saw.
    pub fn log(&self) -> Vec<Entry> {
        lock(&self.books).log.clone()
    }

    /// How often money moved for a key.
    pub fn paid(&self, key: &str) -> usize {
        lock(&self.books).log.iter().filter(|entry| entry.paid && entry.key == key).count()
    }
}

impl Drop for Payments {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(State(books): State<Arc<Mutex<Books>>>, request: Request) -> (StatusCode, Json<Value>) {
    let reply = enter(&books, request).await;
    if lock(&books).manner == Manner::PaySilently {
        std::future::pending::<()>().await;
    }
    reply
}

async fn enter(books: &Mutex<Books>, request: Request) -> (StatusCode, Json<Value>) {
    let line = format!("{} {}", request.method(), request.uri());
    let key = request
        .headers()
        .get("idempotency-key")
        .or_else(|| request.headers().get("webhook-id"))
        .map(|key| key.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let bytes = body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let mut books = lock(books);
    let known = books.receipts.get(&key).cloned();
    let paid = match books.manner {
        Manner::Deduplicate => known.is_none(),
        Manner::PayAlways | Manner::PaySilently => true,
        Manner::Refuse(_) => false,
    };
    books.log.push(Entry { request: line, key: key.clone(), body, paid });
    if let Manner::Refuse(status) = books.manner {
        return (StatusCode::from_u16(status).unwrap(), Json(json!({ "error": "refused" })));
    }
    let receipt = match known {
        Some(receipt) if !paid => receipt,
        _ => json!({ "refund_id": format!("re_{}", books.log.len()), "status": "refunded" }),
    };
    books.receipts.insert(key, receipt.clone());
    (StatusCode::CREATED, Json(receipt))
}

/// Held for one entry; a poisoned lock means a failed test already.
fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap()
}
