//! The memory budget of large responses: a limited number of runs is read concurrently, and responses that clients have
//! not read yet share a limited number of bytes.
//!
//! A run's state can take 16 MiB, and a response is in memory until its client has read it. If the budget is used up,
//! the request is refused with `Retry-After`, because a waiting response would need the same memory.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{
    BoxError,
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{
    Stream, TryStreamExt,
    stream::{self, BoxStream},
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    blocking,
    response::problem::{Problem, ProblemKind},
};

/// Responses of up to this size do not count, and larger ones are sent in pieces of this size.
const SMALL_BYTES: usize = 64 << 10;
/// The number of large texts that are serialized concurrently.
const SERIALIZED_AT_ONCE: usize = 2;
/// The number of pieces of long responses that are read concurrently.
const PIECES_AT_ONCE: usize = 4;
/// How long a piece waits for clients that have not read theirs.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// The unit of the budget, in bytes.
const UNIT: usize = 1 << 10;

/// The budget of all large responses. A clone refers to the same budget.
#[derive(Clone)]
pub(crate) struct ResponseBudget {
    reads: Arc<Semaphore>,
    serializations: Arc<Semaphore>,
    pieces: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limit: usize,
}

impl ResponseBudget {
    pub(crate) fn new(reads_at_once: usize, limit: usize) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(reads_at_once.clamp(1, Semaphore::MAX_PERMITS))),
            serializations: Arc::new(Semaphore::new(SERIALIZED_AT_ONCE)),
            pieces: Arc::new(Semaphore::new(PIECES_AT_ONCE)),
            bytes: Arc::new(Semaphore::new((limit / UNIT).clamp(1, Semaphore::MAX_PERMITS))),
            limit,
        }
    }

    /// Waits for a permit to read a run's history. Hold it while the read data is in memory, and wait for nothing but
    /// reads meanwhile.
    pub(crate) async fn read_permit(&self) -> OwnedSemaphorePermit {
        let permit = self.reads.clone().acquire_owned().await;
        permit.expect("this semaphore is never closed")
    }

    /// Serializes an event of about `bytes` bytes. A large one is serialized on a blocking thread, of which there are few,
    /// so that many clients that watch large events do not delay other requests.
    pub(crate) async fn serialize(
        &self,
        bytes: usize,
        serialize: impl FnOnce() -> String + Send + 'static,
    ) -> String {
        if bytes <= SMALL_BYTES {
            return serialize();
        }
        let permit = self.serializations.clone().acquire_owned().await;
        blocking::run_with(permit.expect("this semaphore is never closed"), serialize).await
    }

    /// Returns a JSON response.
    ///
    /// # Errors
    /// `no-memory` if the response is large and the budget is used up.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<Response, Problem> {
        let text = serde_json::to_vec(value).expect("Heddle's own types serialize");
        let headers = [(header::CONTENT_TYPE, "application/json")];
        if text.len() <= SMALL_BYTES {
            return Ok((headers, text).into_response());
        }
        let Ok(permit) = self.bytes.clone().try_acquire_many_owned(self.units(text.len())) else {
            let detail = format!(
                "the response takes {} bytes, and large responses that clients have not read yet use most of their \
                 limit of {} (max_answer_bytes): try again later",
                text.len(),
                self.limit
            );
            return Err(Problem::new(ProblemKind::NO_MEMORY, detail).retry_after(1));
        };
        let len = text.len();
        // The permit is released with the last piece.
        let pieces = stream::unfold((text, 0, permit), |(text, at, permit)| async move {
            let end = text.len().min(at + SMALL_BYTES);
            let piece = text.get(at..end).filter(|piece| !piece.is_empty())?.to_vec();
            Some((Ok::<_, std::convert::Infallible>(piece), (text, end, permit)))
        });
        let headers = [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::CONTENT_LENGTH, len.to_string()),
        ];
        Ok((headers, Body::from_stream(pieces)).into_response())
    }

    /// The pieces of a long response, which are read as fast as the client reads. A large piece counts until the client has
    /// read it. If there is no room for a piece, the stream ends with an error, which closes the connection.
    pub(crate) fn pieces<E: Error + Send + Sync + 'static>(
        &self,
        pieces: BoxStream<'static, Result<Vec<u8>, E>>,
    ) -> impl Stream<Item = Result<Vec<u8>, BoxError>> + Send + 'static {
        let state = (self.clone(), pieces, None::<LargePiece>);
        stream::try_unfold(state, |(all, mut pieces, mut large)| async move {
            loop {
                if let Some(part) = large.as_mut().and_then(LargePiece::next) {
                    return Ok(Some((part, (all, pieces, large))));
                }
                drop(large.take());
                let reading = all.pieces.clone().acquire_owned().await;
                let _reading = reading.expect("this semaphore is never closed");
                let Some(text) = pieces.try_next().await? else {
                    return Ok(None);
                };
                if text.len() <= SMALL_BYTES {
                    return Ok(Some((text, (all, pieces, None))));
                }
                let permit = all.bytes.clone().acquire_many_owned(all.units(text.len()));
                let Ok(permit) = tokio::time::timeout(PIECE_TIMEOUT, permit).await else {
                    return Err(format!("clients read too slowly (max_answer_bytes: {})", all.limit).into());
                };
                large = Some(LargePiece {
                    text,
                    at: 0,
                    _permit: permit.expect("this semaphore is never closed"),
                });
            }
        })
    }

    /// The share of a text. A text larger than the whole budget uses all of it.
    fn units(&self, len: usize) -> u32 {
        let most = (self.limit / UNIT).max(1);
        u32::try_from(len.div_ceil(UNIT).min(most)).unwrap_or(u32::MAX)
    }
}

/// A piece of a response that is sent in smaller parts.
struct LargePiece {
    text: Vec<u8>,
    at: usize,
    _permit: OwnedSemaphorePermit,
}

impl LargePiece {
    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let part = rest[..rest.len().min(SMALL_BYTES)].to_vec();
        self.at += part.len();
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn large_responses_share_a_budget() {
        let all = ResponseBudget::new(1, 1 << 20);
        let large = "x".repeat(600 << 10);
        let first = all.json(&large).expect("there is room");
        let refused = all.json(&large).expect_err("there is no room for two");
        assert!(
            refused.detail().contains("limit of 1048576 (max_answer_bytes)"),
            "{}",
            refused.detail()
        );
        all.json(&"small").expect("small ones need no room");
        let mut body = first.into_body().into_data_stream();
        let mut text = Vec::new();
        while let Some(piece) = body.next().await {
            text.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(text.len(), large.len() + 2);
        drop(body);
        let second = all.json(&large).expect("the first one is gone");
        drop(second);
        all.json(&"x".repeat(5 << 20))
            .expect("a response larger than the budget is sent alone");
    }

    #[tokio::test(start_paused = true)]
    async fn the_pieces_of_long_responses_share_the_budget() {
        let all = ResponseBudget::new(1, 1 << 20);
        let long = |sizes: &'static [usize]| {
            let pieces = sizes
                .iter()
                .map(|size| Ok::<_, std::fmt::Error>(vec![b'x'; *size]));
            Box::pin(all.pieces(stream::iter(pieces).boxed()))
        };
        let mut slow = long(&[600 << 10, 10]);
        assert_eq!(slow.next().await.unwrap().unwrap().len(), SMALL_BYTES);
        // Small pieces need no room.
        let mut other = long(&[10, 600 << 10]);
        assert_eq!(other.next().await.unwrap().unwrap().len(), 10);
        let refused = other.next().await.unwrap().unwrap_err();
        assert!(
            refused.to_string().contains("(max_answer_bytes: 1048576)"),
            "{refused}"
        );
        let rest: Vec<_> = slow.by_ref().collect().await;
        let rest: usize = rest.into_iter().map(|part| part.unwrap().len()).sum();
        assert_eq!(rest, (600 << 10) - SMALL_BYTES + 10);
        let mut next = long(&[5 << 20]);
        assert_eq!(next.next().await.unwrap().unwrap().len(), SMALL_BYTES);
    }

    #[tokio::test]
    async fn large_texts_are_limited_and_small_ones_do_not_wait() {
        let all = ResponseBudget::new(1, 1 << 20);
        let (begin, begun) = std::sync::mpsc::channel();
        let mut ends = Vec::new();
        let texts: Vec<_> = (0..=SERIALIZED_AT_ONCE)
            .map(|_| {
                let (end, ended) = std::sync::mpsc::channel::<()>();
                ends.push(end);
                let (all, begin) = (all.clone(), begin.clone());
                tokio::spawn(async move {
                    let serialize = move || {
                        begin.send(()).expect("the test listens");
                        ended.recv().expect("the test says when");
                        "large".to_owned()
                    };
                    all.serialize(SMALL_BYTES + 1, serialize).await
                })
            })
            .collect();
        let begun = tokio::task::spawn_blocking(move || {
            for _ in 0..SERIALIZED_AT_ONCE {
                begun.recv().expect("a text is begun");
            }
            let early = begun.recv_timeout(Duration::from_millis(100));
            (begun, early.is_ok())
        });
        let (_begun, early) = begun.await.unwrap();
        assert!(!early, "a further one waits");
        assert_eq!(all.serialize(SMALL_BYTES, || "small".to_owned()).await, "small");
        for end in ends {
            end.send(()).expect("it is being made, or will be");
        }
        for text in texts {
            assert_eq!(text.await.unwrap(), "large");
        }
    }

    #[tokio::test]
    async fn runs_are_read_a_few_at_a_time() {
        let all = ResponseBudget::new(1, 1);
        let permit = all.read_permit().await;
        assert!(futures_util::FutureExt::now_or_never(all.read_permit()).is_none());
        drop(permit);
        drop(all.read_permit().await);
    }
}
