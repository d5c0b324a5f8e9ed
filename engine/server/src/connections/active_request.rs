//! A request on its connection: it holds its connection slot and its body's bytes until the response is sent.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;

use super::{
    body_budget::BodyReservation,
    slots::{ConnectionSlot, Phase},
};

/// An active request. It is also an extension of the request, so that the body extractor finds it.
#[derive(Clone)]
pub(crate) struct ActiveRequest(Arc<Inner>);

struct Inner {
    slot: Arc<ConnectionSlot>,
    /// The bytes of the request's body, held until the response is sent.
    body: Mutex<Option<BodyReservation>>,
}

impl ActiveRequest {
    /// Marks the connection as receiving the body, or as busy if the request has no body.
    pub(super) fn begin(slot: Arc<ConnectionSlot>, has_body: bool) -> Self {
        slot.enter(match has_body {
            true => Phase::Receiving,
            false => Phase::Busy,
        });
        let body = Mutex::new(None);
        Self(Arc::new(Inner { slot, body }))
    }

    /// Returns the notification that closes the connection.
    pub(crate) fn close_signal(&self) -> Arc<Notify> {
        self.0.slot.close_signal()
    }

    /// Marks the connection as busy after the body was received, and keeps the body's bytes reserved.
    pub(crate) fn body_received(&self, body: BodyReservation) {
        self.0.slot.enter(Phase::Busy);
        *self.0.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// Wraps a response body. The request ends when that body is dropped.
    pub(super) fn respond(self, body: Body) -> ResponseBody {
        ResponseBody {
            body,
            request: Some(self),
        }
    }

    /// Wraps the body of a WebSocket upgrade, after which the connection stays busy.
    pub(super) fn upgrade(self, body: Body) -> ResponseBody {
        self.0.slot.enter(Phase::Busy);
        ResponseBody { body, request: None }
    }
}

/// A response body that ends its request when it is dropped.
pub(super) struct ResponseBody {
    body: Body,
    request: Option<ActiveRequest>,
}

impl HttpBody for ResponseBody {
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

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(ActiveRequest(inner)) = &self.request {
            inner.slot.enter(Phase::Waiting);
        }
    }
}
