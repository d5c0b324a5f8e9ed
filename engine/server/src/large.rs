//! Answers that take much memory: how many are made at once, and how many bytes may be on their way to clients.
//!
//! A run's state may take 16 MiB, and an answer is in memory from when it is made until its client has read it. So runs
//! are read a few at a time, and a large answer takes its bytes from what all may have together. Where nothing is left,
//! the client is told to come again: waiting would keep the bytes, too.

use std::sync::Arc;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Kind, Problem};

/// An answer up to this size is small, and sent whatever else is on its way.
const SMALL_BYTES: usize = 64 << 10;
/// How many large texts are made at once.
const TEXTS_AT_ONCE: usize = 2;
/// The unit in which bytes are counted.
const UNIT: usize = 1 << 10;

/// What all large answers have together.
#[derive(Clone)]
pub(crate) struct LargeAnswers {
    reads: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    texts: Arc<Semaphore>,
    limit: usize,
}

impl LargeAnswers {
    pub(crate) fn new(reads_at_once: usize, limit: usize) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(reads_at_once.clamp(1, Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new((limit / UNIT).clamp(1, Semaphore::MAX_PERMITS))),
            texts: Arc::new(Semaphore::new(TEXTS_AT_ONCE)),
            limit,
        }
    }

    /// The text of something that takes about so many bytes. A large text is made on a thread for long work, and few are
    /// made at once: many clients that watch large events must not delay other requests.
    pub(crate) async fn text(&self, bytes: usize, make: impl FnOnce() -> String + Send + 'static) -> String {
        if bytes <= SMALL_BYTES {
            return make();
        }
        let turn = self.texts.clone().acquire_owned().await;
        let turn = turn.expect("nobody closes this semaphore");
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            make()
        });
        made.await
            .expect("making a text does not panic and is not cancelled")
    }

    /// Waits for its turn to read a run's history. Until the permit is dropped, what was read may be in memory; whoever
    /// holds it waits for nothing but reads.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        let turn = self.reads.clone().acquire_owned().await;
        turn.expect("nobody closes this semaphore")
    }

    /// An answer in JSON, if there is room for it on its way.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<Response, Problem> {
        let text = serde_json::to_vec(value).expect("Heddle's own types serialize");
        let headers = [(header::CONTENT_TYPE, "application/json")];
        if text.len() <= SMALL_BYTES {
            return Ok((headers, text).into_response());
        }
        let units = u32::try_from(text.len().div_ceil(UNIT)).unwrap_or(u32::MAX);
        // One that is larger than all may be goes alone.
        let units = units.min(u32::try_from((self.limit / UNIT).max(1)).unwrap_or(u32::MAX));
        let Ok(permit) = self.bytes.clone().try_acquire_many_owned(units) else {
            let detail = format!(
                "the answer takes {} bytes, and the large answers on their way to clients take as many as they may, {} \
                 (max_answer_bytes): try again in a moment",
                text.len(),
                self.limit
            );
            return Err(Problem::new(Kind::NO_MEMORY, detail).retry_after(1));
        };
        let len = text.len();
        // The permit goes with the last piece.
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
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn few_large_texts_are_made_at_once_and_small_ones_wait_for_none() {
        let all = LargeAnswers::new(1, 1 << 20);
        let (begin, begun) = std::sync::mpsc::channel();
        let mut ends = Vec::new();
        let texts: Vec<_> = (0..=TEXTS_AT_ONCE)
            .map(|_| {
                let (end, ended) = std::sync::mpsc::channel::<()>();
                ends.push(end);
                let (all, begin) = (all.clone(), begin.clone());
                tokio::spawn(async move {
                    let make = move || {
                        begin.send(()).expect("the test listens");
                        ended.recv().expect("the test says when");
                        "large".to_owned()
                    };
                    all.text(SMALL_BYTES + 1, make).await
                })
            })
            .collect();
        let begun = tokio::task::spawn_blocking(move || {
            for _ in 0..TEXTS_AT_ONCE {
                begun.recv().expect("a text is begun");
            }
            let early = begun.recv_timeout(std::time::Duration::from_millis(100));
            (begun, early.is_ok())
        });
        let (_begun, early) = begun.await.unwrap();
        assert!(!early, "a further one waits");
        assert_eq!(all.text(SMALL_BYTES, || "small".to_owned()).await, "small");
        for end in ends {
            end.send(()).expect("it is being made, or will be");
        }
        for text in texts {
            assert_eq!(text.await.unwrap(), "large");
        }
    }

    #[tokio::test]
    async fn large_answers_take_their_bytes_from_what_all_have() {
        let all = LargeAnswers::new(1, 1 << 20);
        let large = "x".repeat(600 << 10);
        let first = all.json(&large).expect("there is room");
        let refused = all.json(&large).expect_err("there is no room for two");
        assert!(
            refused.detail().contains("1048576 (max_answer_bytes)"),
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
            .expect("one that is larger than all may be goes alone");
    }

    #[tokio::test]
    async fn runs_are_read_a_few_at_a_time() {
        let all = LargeAnswers::new(1, 1);
        let turn = all.turn().await;
        assert!(futures_util::FutureExt::now_or_never(all.turn()).is_none());
        drop(turn);
        drop(all.turn().await);
    }
}
