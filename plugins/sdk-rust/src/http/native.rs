//! Requests outside of the engine: the author's test answers.

use std::{
    cell::{Cell, RefCell},
    vec::IntoIter,
};

use super::{Incoming, Request, Response, Url};
use crate::{Error, Result};

type Answer = Box<dyn Fn(&Request) -> Result<Response>>;

thread_local! {
    static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
    static PIECE_BYTES: Cell<usize> = const { Cell::new(usize::MAX) };
}

pub(crate) fn answer(answer: Answer) {
    ANSWER.set(Some(answer));
}

pub(crate) fn in_pieces(bytes: usize) {
    PIECE_BYTES.set(bytes.max(1));
}

pub(super) fn open(request: &Request, _: &Url<'_>) -> Result<Incoming> {
    ANSWER.with_borrow(|answer| match answer {
        Some(answer) => answer(request).map(|response| Incoming {
            status: response.status,
            headers: response.headers,
            body: Body {
                left: response.body.into_iter(),
            },
        }),
        None => Err(Error::permanent(format!(
            "{} was not sent: outside of the engine, `testing::answer_requests` says what is answered",
            request.shown()
        ))),
    })
}

/// The body of a response, in pieces of the size that the test sets.
pub(super) struct Body {
    left: IntoIter<u8>,
}

impl Body {
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let piece: Vec<u8> = self.left.by_ref().take(PIECE_BYTES.get()).collect();
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}
