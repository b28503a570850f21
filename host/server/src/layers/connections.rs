//! Accepts connections, as many as the settings allow. One that does not send a whole request head in time is closed, and one that does not take its
//! answer, so that silent ones make room for others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::writing::Written;
use crate::context::Context;

/// Longest time until the head of a connection's first or next request is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A pause after the system had no more connections to give, such as when all file descriptors are used.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and answers requests until `stop` is ready. Then no connection is accepted any more, those that are idle are closed, and
/// `drained` begins; what is still being answered when it has ended and `grace` is over is cut off.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    context: &Context,
    stop: impl Future<Output = ()>,
    drained: impl Future<Output = ()>,
    grace: Duration,
) {
    let places = Arc::new(Semaphore::new(context.settings().connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let graceful = GracefulShutdown::new();
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            let (stream, peer) = accept(&listener).await;
            Some((place, stream, peer))
        };
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = open.join_next() => {}
            Some((place, stream, peer)) = accepted => {
                let router = router.clone();
                let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                    request.extensions_mut().insert(ConnectInfo(peer));
                    router.clone().oneshot(request.map(Body::new))
                });
                let stream = TokioIo::new(Written::new(stream, context.settings().write_timeout));
                let connection = graceful.watch(http.serve_connection(stream, service));
                let context = context.clone();
                context.metrics().connected();
                open.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                    context.metrics().disconnected();
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    let closed = async {
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("connections were cut off: they did not end in time");
        }
    };
    tokio::join!(drained, closed);
    open.shutdown().await;
}

/// The next connection. An error is about one connection, or passes: it never ends the server.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small answers are not held back. What cannot be set changes nothing but the delay.
                stream.set_nodelay(true).ok();
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
