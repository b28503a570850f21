//! Connections whose other side takes what it is sent. One that takes nothing for too long is cut off: its request, its place among the connections
//! and its place in a feed are given up, and what the system still holds for it is thrown away.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A connection that fails when nothing can be written to it for `timeout`, however long that is after something could.
#[derive(Debug)]
pub(super) struct Written<S> {
    stream: S,
    timeout: Duration,
    /// Throws away what was written and not taken.
    cut: fn(&S),
    /// The end of the patience with a write that waits; none while none waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Written<TcpStream> {
    pub(super) fn new(stream: TcpStream, timeout: Duration) -> Self {
        // Closed without this, the system would go on holding what was written until the other side takes it. Where that cannot be set it does.
        let cut = |stream: &TcpStream| {
            stream.set_zero_linger().ok();
        };
        Self { stream, timeout, cut, patience: None }
    }
}

impl<S> Written<S> {
    /// What a write came to: progress ends the wait, and a wait that is too long ends the connection.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let timeout = self.timeout;
        let patience =
            self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        if patience.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        (self.cut)(&self.stream);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of what it is sent")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Written<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Written<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered above the system: there is no progress in it.
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        this.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn written(timeout: Duration) -> (Written<DuplexStream>, DuplexStream) {
        let (stream, other) = tokio::io::duplex(10);
        (Written { stream, timeout, cut: |_| {}, patience: None }, other)
    }

    #[tokio::test]
    async fn whoever_takes_something_is_waited_for_anew() {
        let (mut written, mut other) = written(Duration::from_secs(3600));
        for _ in 0..3 {
            written.write_all(&[0; 10]).await.expect("there is room");
            let full = poll_fn(|context| Poll::Ready(Pin::new(&mut written).poll_write(context, &[0])));
            assert!(full.await.is_pending());
            assert!(written.patience.is_some(), "the wait has begun");
            let mut taken = [0; 10];
            other.read_exact(&mut taken).await.expect("it was written");
            let freed = poll_fn(|context| Poll::Ready(Pin::new(&mut written).poll_write(context, &[])));
            assert!(freed.await.is_ready());
            assert!(written.patience.is_none(), "and is over");
        }
    }

    #[tokio::test]
    async fn whoever_takes_nothing_is_cut_off() {
        let (mut written, _other) = written(Duration::from_millis(20));
        let error = written.write_all(&[0; 11]).await.expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
