//! Bodies with a limit of their size and of the time between their chunks.

use std::{
    any::Any,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use heddle_kernel::Level;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

use super::error::internal;
use crate::output::Output;

/// The largest size of a body, and the message if it is exceeded.
pub(super) struct Limit {
    pub(super) bytes: usize,
    pub(super) message: String,
}

/// A body that ends with an error at its limit.
pub(super) struct LimitedBody<B> {
    body: B,
    left: usize,
    message: String,
    is_over: bool,
    /// Logs the message if the limit is reached.
    output: Option<Arc<Output>>,
    /// The call whose limit of sent bytes the body counts against.
    sender: Option<Arc<Output>>,
    quiet: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Dropped when the body ends.
    held: Option<Box<dyn Any + Send>>,
}

impl<B> LimitedBody<B> {
    pub(super) fn new(body: B, limit: Limit) -> Self {
        Self {
            body,
            left: limit.bytes,
            message: limit.message,
            is_over: false,
            output: None,
            sender: None,
            quiet: None,
            held: None,
        }
    }

    pub(super) fn noting(self, output: Arc<Output>) -> Self {
        Self {
            output: Some(output),
            ..self
        }
    }

    pub(super) fn spending(self, sender: Arc<Output>) -> Self {
        Self {
            sender: Some(sender),
            ..self
        }
    }

    pub(super) fn holding(self, held: impl Any + Send) -> Self {
        Self {
            held: Some(Box::new(held)),
            ..self
        }
    }

    /// Ends the body if no chunk arrives for so long.
    pub(super) fn within(self, quiet: Option<Duration>) -> Self {
        Self {
            quiet: quiet.map(|span| (span, Box::pin(sleep(span)))),
            ..self
        }
    }

    fn end<T>(&mut self, error: Error) -> Poll<Option<Result<T, Error>>> {
        self.is_over = true;
        self.held = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes, Error: Into<Error>> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                if size > this.left {
                    let message = std::mem::take(&mut this.message);
                    if let Some(output) = &this.output {
                        output.log_host_line(Level::Warn, &message);
                    }
                    return this.end(internal(message));
                }
                this.left -= size;
                if let Some(Err(exceeded)) = this.sender.as_ref().map(|sender| sender.count_sent(size)) {
                    return this.end(internal(format!("{exceeded} (outgoing)")));
                }
                if let Some((span, sleep)) = &mut this.quiet {
                    sleep.as_mut().reset(Instant::now() + *span);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.end(error.into()),
            Poll::Ready(None) => {
                this.is_over = true;
                this.held = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let quiet = this.quiet.as_mut();
                match quiet.is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready()) {
                    true => this.end(Error::ConnectionReadTimeout),
                    false => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
