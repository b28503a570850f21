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
    _runtime: tokio::runtime::Runtime,
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
}

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Method and path.
    pub request: String,
    /// The idempotency key.
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
    /// Starts a server that de-duplicates.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let books: Arc<Mutex<Books>> = Arc::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(serve).with_state(Arc::clone(&books));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, books, _runtime: runtime }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes what it does with requests.
    pub fn behave(&self, manner: Manner) {
        lock(&self.books).manner = manner;
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

async fn serve(State(books): State<Arc<Mutex<Books>>>, request: Request) -> (StatusCode, Json<Value>) {
    let line = format!("{} {}", request.method(), request.uri());
    let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap().to_owned()).unwrap_or_default();
    let bytes = body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let mut books = lock(&books);
    let known = books.receipts.get(&key).cloned();
    let paid = match books.manner {
        Manner::Deduplicate => known.is_none(),
        Manner::PayAlways => true,
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
