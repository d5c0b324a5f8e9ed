//! Replaces secrets in responses: a server may send back what it received, and the guest must not see secrets.
//!
//! Each secret becomes [`SHOWN`], whatever its length. Secrets are found verbatim and in the forms that
//! [`super::forms`] lists; other encodings and compressed bodies hide them.
//!
//! The last bytes of a body are always held back, as many as the longest form has, less one. So no part of a secret is
//! passed on before the whole secret is recognized. The amount is the same whether or not these bytes begin a secret,
//! so it reveals nothing. If a body breaks off, the bytes that are held back are dropped.

use std::{
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_RANGE},
};
use http_body::{Body, Frame, SizeHint};

use super::forms::SecretForms;

/// The replacement of a secret.
pub(super) const SHOWN: &str = "[secret]";

/// Replaces the secrets in the headers of a response, and removes the length of its body, which changes.
pub(super) fn headers(headers: &mut HeaderMap, forms: &SecretForms) {
    if forms.is_empty() {
        return;
    }
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_RANGE);
    trailers(headers, forms);
}

/// Replaces the secrets in trailers.
fn trailers(headers: &mut HeaderMap, forms: &SecretForms) {
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        // Header names are in lower case.
        if forms.any_in_lower_case(name.as_str().as_bytes()) {
            headers.remove(name);
        }
    }
    for value in headers.values_mut() {
        if let Some(masked) = masked(value.as_bytes(), forms) {
            *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static(SHOWN));
        }
    }
}

/// The text with its secrets replaced; none if there are none.
fn masked(text: &[u8], forms: &SecretForms) -> Option<Vec<u8>> {
    let found = merged(forms.find(text, text.len()));
    let mut at = 0;
    let mut masked = Vec::with_capacity(text.len());
    for range in &found {
        masked.extend_from_slice(&text[at..range.start]);
        masked.extend_from_slice(SHOWN.as_bytes());
        at = range.end;
    }
    masked.extend_from_slice(&text[at..]);
    (!found.is_empty()).then_some(masked)
}

/// Merges overlapping ranges. Adjacent ranges stay separate.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// A body whose secrets are replaced, even if they span several chunks.
pub(super) struct MaskedBody<B> {
    body: B,
    forms: SecretForms,
    /// The bytes that are held back.
    held: BytesMut,
    /// How many of these bytes belong to a secret that was replaced already.
    hidden: usize,
    /// The trailers or the end, if the body has ended.
    after: Option<Option<HeaderMap>>,
}

impl<B> MaskedBody<B> {
    pub(super) fn new(body: B, forms: SecretForms) -> Self {
        Self {
            body,
            forms,
            held: BytesMut::new(),
            hidden: 0,
            after: None,
        }
    }

    /// Adds a chunk, and returns the bytes that may be passed on.
    fn pass(&mut self, part: &[u8]) -> Bytes {
        self.held.extend_from_slice(part);
        let decided = self.held.len().saturating_sub(self.forms.longest() - 1);
        self.pass_until(decided)
    }

    /// Passes on the first `decided` bytes: every form that begins before that position is complete.
    fn pass_until(&mut self, decided: usize) -> Bytes {
        let found = merged(self.forms.find(&self.held, decided));
        let mut passed = BytesMut::with_capacity(decided);
        let mut at = self.hidden.min(decided);
        let mut hidden = self.hidden;
        for range in found {
            // A form that overlaps a replaced secret belongs to it.
            if range.start >= hidden {
                passed.extend_from_slice(&self.held[at..range.start]);
                passed.extend_from_slice(SHOWN.as_bytes());
            }
            hidden = hidden.max(range.end);
            at = hidden.min(decided);
        }
        passed.extend_from_slice(&self.held[at..decided]);
        drop(self.held.split_to(decided));
        self.hidden = hidden.saturating_sub(decided);
        passed.freeze()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for MaskedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.forms.is_empty() {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        while this.after.is_none() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    // The bytes that are held back may begin a secret, and the body does not continue.
                    this.held.clear();
                    this.after = Some(None);
                    return Poll::Ready(Some(Err(error)));
                }
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
                    let mut found = frame.into_trailers().unwrap_or_default();
                    trailers(&mut found, &this.forms);
                    this.after = Some(Some(found));
                }
            }
        }
        if !this.held.is_empty() {
            let rest = this.pass_until(this.held.len());
            if !rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(rest))));
            }
        }
        let trailers = this.after.as_mut().and_then(Option::take);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match self.forms.is_empty() {
            true => self.body.is_end_stream(),
            false => self.held.is_empty() && matches!(self.after, Some(None)),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.forms.is_empty() {
            true => self.body.size_hint(),
            false => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt;

    use super::*;
    use crate::policy::Secret;

    /// A body of these parts.
    struct Parts(VecDeque<Result<Frame<Bytes>, &'static str>>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn forms(secrets: &[&str]) -> SecretForms {
        let secrets: Vec<_> = secrets.iter().map(|value| Secret::of_test(value)).collect();
        SecretForms::of(&secrets)
    }

    fn parts(text: &str, cut: usize) -> VecDeque<Result<Frame<Bytes>, &'static str>> {
        let parts = text.as_bytes().chunks(cut).map(Bytes::copy_from_slice);
        parts.map(|part| Ok(Frame::data(part))).collect()
    }

    async fn read(parts: VecDeque<Result<Frame<Bytes>, &'static str>>, secrets: &[&str]) -> Vec<String> {
        let mut body = MaskedBody::new(Parts(parts), forms(secrets));
        let mut passed = Vec::new();
        while let Some(frame) = body.frame().await {
            passed.push(match frame.map(Frame::into_data) {
                Ok(Ok(data)) => String::from_utf8(data.to_vec()).expect("it is ASCII"),
                Ok(Err(_)) => "trailers".to_owned(),
                Err(error) => format!("error: {error}"),
            });
        }
        passed
    }

    async fn masked_body(text: &str, cut: usize, secrets: &[&str]) -> String {
        read(parts(text, cut), secrets).await.concat()
    }

    #[tokio::test]
    async fn secrets_are_replaced_even_if_they_span_chunks() {
        for (text, secrets, expected) in [
            (
                "a sk-sk-sk-12345678 and sk-12345678sk-12345678, sk-1234",
                &["sk-12345678", "no such thing"][..],
                "a sk-sk-[secret] and [secret][secret], sk-1234",
            ),
            // They overlap.
            ("abcdefghijklm", &["abcdefgh", "efghijkl"], "[secret]m"),
            ("abababababab!", &["abababab"], "[secret]!"),
            // One secret contains the other, at each end and inside.
            ("x0123456789y", &["0123456789", "01234567"], "x[secret]y"),
            ("x0123456789y", &["0123456789", "23456789"], "x[secret]y"),
            ("x0123456789y", &["0123456789", "12345678"], "x[secret]y"),
            ("x01234567_9y", &["0123456789", "01234567"], "x[secret]_9y"),
            // At the beginning, at the end, and alone.
            ("12345678 and 12345678", &["12345678"], "[secret] and [secret]"),
            ("12345678", &["12345678"], "[secret]"),
            ("1234567", &["12345678"], "1234567"),
            ("", &["12345678"], ""),
        ] {
            for cut in 1..=text.len().max(1) {
                let passed = masked_body(text, cut, secrets).await;
                assert_eq!(passed, expected, "{text:?} cut every {cut}");
            }
        }
    }

    #[tokio::test]
    async fn secrets_of_every_length_are_masked_the_same() {
        let short = masked_body("<12345678>", 3, &["12345678"]).await;
        let long = "x".repeat(5000);
        assert_eq!(short, masked_body(&format!("<{long}>"), 7, &[&long]).await);
    }

    #[tokio::test]
    async fn the_amount_held_back_does_not_depend_on_the_content() {
        // The first part ends with the beginning of the secret in one text, and not in the other.
        let lens = async |text: &str| {
            let passed = read(parts(text, 20), &["sk-12345678"]).await;
            passed.iter().map(String::len).collect::<Vec<_>>()
        };
        let like = lens("0123456789sk-1234567 and what comes behind it").await;
        let unlike = lens("0123456789sk-1234560 and what comes behind it").await;
        assert_eq!(like, unlike);
    }

    #[tokio::test]
    async fn held_back_bytes_of_a_broken_body_are_dropped() {
        let mut broken = parts("key: sk-1234567", 100);
        broken.push_back(Err("reset"));
        let longest = forms(&["sk-12345678"]).longest();
        let passed = read(broken, &["sk-12345678"]).await;
        assert_eq!(passed.last().unwrap(), "error: reset");
        assert_eq!(passed.concat().len(), "error: reset".len() + 16 - longest.min(16));
        assert!(!passed.concat().contains("sk-"), "{passed:?}");
    }

    #[tokio::test]
    async fn a_body_without_secrets_is_passed_on_as_it_comes() {
        assert_eq!(read(parts("any", 1), &[]).await, ["a", "n", "y"]);
    }

    #[test]
    fn secrets_in_headers_are_replaced_and_the_length_is_removed() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("x-echo", "Bearer sk-12345678"),
            ("location", "https://b.org/?key=sk-12345678&x=sk-12345678"),
            ("content-length", "11"),
            ("content-range", "bytes 0-10/11"),
            ("sk-12345678", "x"),
            ("x-other", "sk"),
        ] {
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static(value),
            );
        }
        headers(&mut map, &forms(&["SK-12345678", "sk-12345678"]));
        let mut left: Vec<_> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "location: https://b.org/?key=[secret]&x=[secret]",
                "x-echo: Bearer [secret]",
                "x-other: sk"
            ]
        );
    }

    #[tokio::test]
    async fn secrets_in_trailers_are_replaced() {
        let mut sent = HeaderMap::new();
        sent.insert("x-sum", HeaderValue::from_static("of 12345678"));
        let mut all = parts("text", 10);
        all.push_back(Ok(Frame::trailers(sent)));
        let mut body = MaskedBody::new(Parts(all), forms(&["12345678"]));
        let text = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&text[..], trailers["x-sum"].as_bytes()),
            (&b"text"[..], &b"of [secret]"[..])
        );
    }
}
