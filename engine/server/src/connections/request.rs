//! A request on its connection: what it holds until its answer is sent.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;

use super::open::{Phase, Place};
use crate::bodies::HeldBytes;

/// A request: an extension of itself.
#[derive(Clone)]
pub(crate) struct OnConnection(Arc<Inner>);

struct Inner {
    place: Arc<Place>,
    /// What its body takes, until its answer is sent.
    body: Mutex<Option<HeldBytes>>,
}

impl OnConnection {
    /// A request begins, whose body is still to be received where it has one.
    pub(super) fn begin(place: Arc<Place>, has_body: bool) -> Self {
        place.enter(match has_body {
            true => Phase::Receiving,
            false => Phase::Busy,
        });
        let body = Mutex::new(None);
        Self(Arc::new(Inner { place, body }))
    }

    /// What tells the connection to close.
    pub(crate) fn end(&self) -> Arc<Notify> {
        self.0.place.end()
    }

    /// The body was received.
    pub(crate) fn received(&self, body: HeldBytes) {
        self.0.place.enter(Phase::Busy);
        *self.0.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// The body of the answer, with whose end the request ends.
    pub(super) fn answer(self, body: Body) -> Answer {
        Answer {
            body,
            request: Some(self),
        }
    }

    /// The connection becomes a WebSocket.
    pub(super) fn upgrade(self, body: Body) -> Answer {
        self.0.place.enter(Phase::Busy);
        Answer { body, request: None }
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    request: Option<OnConnection>,
}

impl HttpBody for Answer {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(OnConnection(inner)) = &self.request {
            inner.place.enter(Phase::Waiting);
        }
    }
}
