//! Long lists, written item by item as the client reads them: of the answer no more is in memory than a piece.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Serialize;

/// A piece of an answer takes no further item from this size on.
const PIECE_BYTES: usize = 64 << 10;

/// An answer that is a JSON object with one list under this key.
pub(crate) fn list<T: Serialize>(
    key: &str,
    items: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
) -> Response {
    written(format!("{{\"{key}\":["), items)
}

/// The same with the `name` of what the items are of.
pub(crate) fn list_of<T: Serialize>(
    name: &str,
    key: &str,
    items: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
) -> Response {
    let name = serde_json::Value::from(name);
    written(format!("{{\"name\":{name},\"{key}\":["), items)
}

fn written<T: Serialize>(
    begin: String,
    items: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
) -> Response {
    let pieces = stream::iter(Pieces {
        items: items.into_iter(),
        piece: begin.into_bytes(),
        before: 0,
        over: false,
    });
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, Body::from_stream(pieces)).into_response()
}

struct Pieces<I> {
    items: I,
    piece: Vec<u8>,
    /// How many items were written.
    before: usize,
    over: bool,
}

impl<T: Serialize, I: Iterator<Item = T>> Iterator for Pieces<I> {
    type Item = Result<Vec<u8>, Infallible>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        while self.piece.len() < PIECE_BYTES {
            let Some(item) = self.items.next() else {
                self.over = true;
                self.piece.extend_from_slice(b"]}");
                break;
            };
            if self.before > 0 {
                self.piece.push(b',');
            }
            self.before += 1;
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
    async fn a_list_is_the_json_that_it_would_be_in_one_piece() {
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
