//! Server-sent events, as <https://html.spec.whatwg.org/multipage/server-sent-events.html> has them: blocks of lines
//! `field: value`, each ended by an empty line. An event is returned as soon as its block is complete, wherever
//! the pieces of the body are split.

use super::Incoming;
use crate::{Error, Result};

/// The limit of one event, in bytes.
const EVENT_BYTES: usize = 1 << 20;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The event's name; empty if the sender gave none.
    pub name: String,
    /// Its lines of data, joined with newlines.
    pub data: String,
    /// The last id that the sender gave, to this event or one before.
    pub id: String,
}

/// The events of a response, in order, until its body ends.
pub struct Events {
    incoming: Incoming,
    lines: Lines,
    next: Event,
    /// Whether the event has a line of data. Without one, the event is dropped.
    has_data: bool,
    is_over: bool,
}

impl Events {
    pub(super) fn of(incoming: Incoming) -> Self {
        Self {
            incoming,
            lines: Lines::default(),
            next: Event::default(),
            has_data: false,
            is_over: false,
        }
    }

    /// The next event, or none at the end. As the specification requires, an incomplete block at the end is dropped.
    fn read(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(line) = self.lines.next() {
                if let Some(event) = self.take(&line) {
                    return Ok(Some(event));
                }
            }
            if self.lines.waiting() + self.next.data.len() > EVENT_BYTES {
                return Err(Error::permanent(format!(
                    "the answer has an event of more than {EVENT_BYTES} bytes"
                )));
            }
            match self.incoming.next_bytes()? {
                Some(bytes) => self.lines.add(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// Processes a line, and returns the event that it ends.
    fn take(&mut self, line: &[u8]) -> Option<Event> {
        let line = String::from_utf8_lossy(line);
        if line.is_empty() {
            let id = self.next.id.clone();
            let event = std::mem::replace(
                &mut self.next,
                Event {
                    id,
                    ..Event::default()
                },
            );
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.next.name = value.to_owned(),
            "id" if !value.contains('\0') => self.next.id = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.next.data.push('\n');
                }
                self.has_data = true;
                self.next.data.push_str(value);
            }
            // A comment, or an unknown field.
            _ => {}
        }
        None
    }
}

impl Iterator for Events {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.read();
        self.is_over = !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

/// Bytes that come, line by line. A line ends with `\n`, `\r` or both.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where what was not taken yet begins.
    at: usize,
    /// Up to where no line ends.
    seen: usize,
    /// Whether the last line ended with `\r`, so that a `\n` belongs to it.
    after_return: bool,
    /// Whether any byte has arrived: a byte order mark counts only at the beginning.
    begun: bool,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.seen -= self.at;
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait for the end of their line.
    fn waiting(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.after_return && self.at < self.bytes.len() {
            self.after_return = false;
            if self.bytes[self.at] == b'\n' {
                self.at += 1;
                self.seen = self.seen.max(self.at);
            }
        }
        let end = self.bytes[self.seen..]
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end.map(|end| self.seen + end) else {
            self.seen = self.bytes.len();
            return None;
        };
        let mut line = &self.bytes[self.at..end];
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        let line = line.to_vec();
        self.after_return = self.bytes[end] == b'\r';
        self.at = end + 1;
        self.seen = self.at;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::{Request, Response},
        testing,
    };

    fn events(body: &str, piece_bytes: usize) -> Vec<Event> {
        let body = body.as_bytes().to_vec();
        testing::answer_requests(move |_| {
            Ok(Response {
                status: 200,
                headers: Vec::new(),
                body: body.clone(),
            })
        });
        testing::answer_in_pieces(piece_bytes);
        let answer = Request::get("https://a.org").open().expect("it is answered");
        let events: Result<Vec<Event>> = answer.events().collect();
        events.expect("all goes well")
    }

    fn event(name: &str, data: &str, id: &str) -> Event {
        Event {
            name: name.into(),
            data: data.into(),
            id: id.into(),
        }
    }

    #[test]
    fn events_are_the_same_wherever_the_pieces_are_split() {
        let body = "\u{feff}: a comment\n\ndata: één\ndata:two\r\n\r\nevent: end\rid: 7\rdata\r\rid\n\nretry: 5\n\nevent: none\n\n\
                    data:  x: y\n\ndata: cut off\n";
        let expected = [
            event("", "één\ntwo", ""),
            event("end", "", "7"),
            event("", " x: y", ""),
        ];
        for piece_bytes in (1..40).chain([usize::MAX]) {
            assert_eq!(events(body, piece_bytes), expected, "pieces of {piece_bytes}");
        }
    }

    #[test]
    fn an_event_has_a_limit() {
        for body in [
            "x".repeat(EVENT_BYTES + 1),
            "data: 12345678901234567890\n".repeat(EVENT_BYTES / 20),
        ] {
            testing::answer_requests(move |_| {
                Ok(Response {
                    status: 200,
                    headers: Vec::new(),
                    body: body.clone().into_bytes(),
                })
            });
            testing::answer_in_pieces(1 << 16);
            let mut events = Request::get("https://a.org")
                .open()
                .expect("it is answered")
                .events();
            let error = events.next().expect("an error").expect_err("it is too large");
            assert!(error.message.contains("more than 1048576 bytes"), "{error}");
            assert!(events.next().is_none(), "nothing comes after an error");
        }
    }
}
