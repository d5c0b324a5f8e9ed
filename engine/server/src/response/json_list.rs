//! Long JSON lists, serialized item by item as the client reads, so that only one piece is in memory.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Serialize;

/// A piece gets no further item after it has reached this size.
const PIECE_BYTES: usize = 64 << 10;

/// Returns a response with a JSON object that has one list, at `key`.
pub(crate) fn list<T: Serialize>(
    key: &str,
    items: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
) -> Response {
    respond(format!("{{\"{key}\":["), items)
}

/// Returns a response with a JSON object that has `name` and one list, at `key`.
pub(crate) fn named_list<T: Serialize>(
    name: &str,
    key: &str,
    items: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
) -> Response {
    let name = serde_json::Value::from(name);
    respond(format!("{{\"name\":{name},\"{key}\":["), items)
}

fn respond<T: Serialize>(
    begin: String,
    items: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
) -> Response {
    let pieces = stream::iter(Pieces {
        items: items.into_iter(),
        piece: begin.into_bytes(),
        written: 0,
        done: false,
    });
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, Body::from_stream(pieces)).into_response()
}

struct Pieces<I> {
    items: I,
    piece: Vec<u8>,
    /// The number of items written so far.
    written: usize,
    done: bool,
}

impl<T: Serialize, I: Iterator<Item = T>> Iterator for Pieces<I> {
    type Item = Result<Vec<u8>, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        while self.piece.len() < PIECE_BYTES {
            let Some(item) = self.items.next() else {
                self.done = true;
                self.piece.extend_from_slice(b"]}");
                break;
            };
            if self.written > 0 {
                self.piece.push(b',');
            }
            self.written += 1;
            serde_json::to_writer(&mut self.piece, &item).expect("Heddle's own types serialize");
        }
        Some(Ok(std::mem::take(&mut self.piece)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn the_pieces_of_a_list_are_one_json_object() {
        for count in [0, 1, 2, 5_000] {
            let items: Vec<String> = (0..count)
                .map(|n| format!("item \"{n}\" {}", "x".repeat(40)))
                .collect();
            let mut body = list("items", items.clone()).into_body().into_data_stream();
            let (mut text, mut pieces) = (Vec::new(), 0);
            while let Some(piece) = body.next().await {
                let piece = piece.unwrap();
                assert!(piece.len() < PIECE_BYTES + 100);
                text.extend_from_slice(&piece);
                pieces += 1;
            }
            let expected = serde_json::json!({ "items": items });
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&text).unwrap(),
                expected
            );
            assert_eq!(pieces > 1, count > 1_000);
        }
    }
}
