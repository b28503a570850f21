//! A payments server for the demo: on loopback, with a log of its own that it writes before it answers.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::failure::Failure;

/// A running server; ends with the process.
pub(crate) struct Payments {
    url: String,
    log: PathBuf,
}

/// Its books. The lock is held for one append and one look-up.
struct Books {
    log: File,
    receipts: HashMap<String, Value>,
}

impl Payments {
    pub(crate) async fn start(log: PathBuf) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&log)?;
        let books = Arc::new(Mutex::new(Books { log: file, receipts: HashMap::new() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().route("/refunds", post(refund)).with_state(books);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, log })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn log_path(&self) -> &Path {
        &self.log
    }

    pub(crate) fn log_text(&self) -> Result<String, Failure> {
        std::fs::read_to_string(&self.log).map(|text| text.trim_end().to_owned()).map_err(|error| {
            Failure::host(
                "HP0780",
                format!("the payments server's log cannot be read: {error}"),
                "check the folder for temporary files",
            )
        })
    }
}

async fn refund(
    State(books): State<Arc<Mutex<Books>>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
    let known = books.receipts.get(&key).cloned();
    let line = json!({ "request": "POST /refunds", "idempotency_key": key, "body": body, "paid": known.is_none() });
    if writeln!(books.log, "{line}").and_then(|()| books.log.sync_data()).is_err() {
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "the log cannot be written" })));
    }
    let receipt = known
        .unwrap_or_else(|| json!({ "refund_id": format!("re_{}", books.receipts.len() + 1), "status": "refunded" }));
    books.receipts.insert(key, receipt.clone());
    (StatusCode::CREATED, Json(receipt))
}
