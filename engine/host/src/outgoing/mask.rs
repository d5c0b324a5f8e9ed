//! Answers in which the secrets of their requests are made unreadable: a server may send back what it was
//! sent, and the guest must not see it.
//!
//! Only a value as it was sent is found; one that the server encoded or compressed is not. Each of its bytes
//! becomes a `*`, so that lengths stay what they were said to be.

use std::{
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::policy::Secret;

/// What one secret's byte is shown as.
const SHOWN: u8 = b'*';

/// Makes the secrets in headers unreadable.
pub(super) fn headers(headers: &mut HeaderMap, secrets: &[Secret]) {
    for value in headers.values_mut() {
        let mut bytes = value.as_bytes().to_vec();
        if hide(&mut bytes, secrets) {
            *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("***"));
        }
    }
}

/// A body in which the secrets are unreadable, wherever its parts are cut.
pub(super) struct Masked<B> {
    body: B,
    secrets: Vec<Secret>,
    /// The end of what came, as it came, where that may be the beginning of a secret.
    held: BytesMut,
    /// How many of the first bytes of what is held are the end of a secret that began before.
    hidden: usize,
    /// What comes after what is held: the trailers, or the end.
    after: Option<Option<HeaderMap>>,
}

impl<B> Masked<B> {
    pub(super) fn new(body: B, secrets: Vec<Secret>) -> Self {
        Self {
            body,
            secrets,
            held: BytesMut::new(),
            hidden: 0,
            after: None,
        }
    }

    /// What may be passed on once `part` came behind what is held.
    fn pass(&mut self, part: &[u8]) -> Bytes {
        self.held.extend_from_slice(part);
        let kept = self
            .secrets
            .iter()
            .map(|secret| begun(&self.held, secret.bytes()));
        let kept = kept.max().unwrap_or(0);
        self.pass_but(kept)
    }

    /// What is held, but for this many bytes of its end, with its secrets unreadable.
    fn pass_but(&mut self, kept: usize) -> Bytes {
        let end = self.held.len() - kept;
        let found = found(&self.held, &self.secrets);
        let mut passed = self.held.split_to(end);
        let before = self.hidden;
        passed[..before.min(end)].fill(SHOWN);
        self.hidden = before.saturating_sub(end);
        for range in found {
            // What begins in what is kept is found again with what comes behind it.
            if range.start < end {
                passed[range.start..range.end.min(end)].fill(SHOWN);
                self.hidden = self.hidden.max(range.end.saturating_sub(end));
            }
        }
        passed.freeze()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Masked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.secrets.is_empty() {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        while this.after.is_none() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.after = Some(None);
                    break;
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let passed = this.pass(&data);
                    if !passed.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(passed))));
                    }
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    headers(&mut trailers, &this.secrets);
                    this.after = Some(Some(trailers));
                }
            }
        }
        if !this.held.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(this.pass_but(0)))));
        }
        let trailers = this.after.as_mut().and_then(Option::take);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.secrets.is_empty() || self.held.is_empty() {
            true => self.body.size_hint(),
            false => SizeHint::new(),
        }
    }
}

/// Makes every secret in it unreadable. Answers whether there was one.
fn hide(bytes: &mut [u8], secrets: &[Secret]) -> bool {
    // Only when all are found, since they may overlap.
    let found = found(bytes, secrets);
    for range in &found {
        bytes[range.clone()].fill(SHOWN);
    }
    !found.is_empty()
}

/// Where the secrets are.
fn found(bytes: &[u8], secrets: &[Secret]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for secret in secrets {
        let secret = secret.bytes();
        let mut from = 0;
        while let Some(at) = find(&bytes[from..], secret) {
            found.push(from + at..from + at + secret.len());
            from += at + 1;
        }
    }
    found
}

fn find(bytes: &[u8], secret: &[u8]) -> Option<usize> {
    let first = *secret.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == first) {
        if bytes[from + at..].starts_with(secret) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// How many bytes at the end may be the beginning of the secret.
fn begun(bytes: &[u8], secret: &[u8]) -> usize {
    let longest = bytes.len().min(secret.len() - 1);
    let begins = |len: &usize| secret.starts_with(&bytes[bytes.len() - len..]);
    (1..=longest).rev().find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible};

    use http_body_util::BodyExt;

    use super::*;

    /// A body of these parts.
    struct Parts(VecDeque<Bytes>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
        }
    }

    async fn masked(text: &str, cut: usize, secrets: &[&str]) -> Vec<String> {
        let secrets = secrets.iter().map(|value| Secret::of_test(value)).collect();
        let parts = text.as_bytes().chunks(cut).map(Bytes::copy_from_slice);
        let mut body = Masked::new(Parts(parts.collect()), secrets);
        let mut passed = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().expect("there are no trailers");
            passed.push(String::from_utf8(data.to_vec()).expect("it is ASCII"));
        }
        passed
    }

    #[tokio::test]
    async fn secrets_are_found_wherever_a_body_is_cut() {
        let text = "a sk-sk-sk-12345678 and sk-12345678sk-12345678, sk-1234";
        let expected = "a sk-sk-*********** and **********************, sk-1234";
        for cut in 1..=text.len() {
            let passed = masked(text, cut, &["sk-12345678", "no such thing"]).await;
            assert_eq!(passed.concat(), expected, "cut every {cut}");
        }
        for cut in 1..=12 {
            let overlap = masked("abcdefghijklm", cut, &["abcdefgh", "efghijkl"]).await;
            assert_eq!(overlap.concat(), "************m", "cut every {cut}");
        }
    }

    #[tokio::test]
    async fn only_what_may_be_the_beginning_of_a_secret_is_held_back() {
        assert_eq!(masked("token s", 6, &["sk-12345678"]).await, ["token ", "s"]);
        assert_eq!(
            masked("data: {}\n\nx", 10, &["sk-12345678"]).await,
            ["data: {}\n\n", "x"]
        );
        assert_eq!(masked("any", 1, &[]).await, ["a", "n", "y"]);
    }

    #[test]
    fn secrets_in_headers_are_unreadable() {
        let mut map = HeaderMap::new();
        map.insert("x-echo", HeaderValue::from_static("Bearer sk-12345678"));
        map.insert("x-other", HeaderValue::from_static("sk"));
        headers(&mut map, &[Secret::of_test("sk-12345678")]);
        assert_eq!(
            (map["x-echo"].as_bytes(), map["x-other"].as_bytes()),
            (&b"Bearer ***********"[..], &b"sk"[..])
        );
    }
}
