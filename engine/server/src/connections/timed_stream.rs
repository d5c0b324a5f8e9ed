//! A connection's stream. Reads fail if a request's head takes too long; writes fail if the client does not read.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use super::slots::ConnectionSlot;

/// A TCP stream with timeouts.
pub(super) struct TimedStream {
    stream: TcpStream,
    /// Held here so that the slot stays taken after an upgrade to a WebSocket.
    slot: Arc<ConnectionSlot>,
    head_timeout: Duration,
    write_timeout: Duration,
    /// Runs from the first byte of a request's head to its end; for the first request, from the connection's start.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while a write is blocked.
    write: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    pub(super) fn new(
        stream: TcpStream,
        slot: Arc<ConnectionSlot>,
        head_timeout: Duration,
        write_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            slot,
            head_timeout,
            write_timeout,
            head: Some(Box::pin(sleep(head_timeout))),
            write: None,
        }
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = write(Pin::new(&mut self.stream), cx) {
            self.write = None;
            return Poll::Ready(written);
        }
        let timeout = self.write_timeout;
        let waits = self.write.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(waits.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the client does not read")))
    }
}

fn timed_out(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.slot.is_waiting() {
            self.head = None;
            return read;
        }
        if buf.filled().len() > before && self.head.is_none() {
            self.head = Some(Box::pin(sleep(self.head_timeout)));
        }
        let late = self
            .head
            .as_ref()
            .is_some_and(|head| head.deadline() <= Instant::now());
        match (read, &mut self.head) {
            (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error)),
            _ if late => Poll::Ready(Err(timed_out("the request head did not arrive in time"))),
            (Poll::Pending, Some(head)) => {
                ready!(head.as_mut().poll(cx));
                Poll::Ready(Err(timed_out("the request head did not arrive in time")))
            }
            (read, _) => read,
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
