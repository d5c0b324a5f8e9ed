//! Server-sent events (the WHATWG's HTML standard, 9.2), as a client reads them.

use std::io::{self, BufRead, Lines};

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its type; empty where it has none.
    pub(crate) kind: String,
    /// Its data; of several lines with line breaks between them.
    pub(crate) data: String,
    /// The number of the line in which its data begins, from 1.
    pub(crate) line: usize,
}

/// Reads the events of a stream one after the other.
pub(crate) struct Messages<R> {
    lines: Lines<R>,
    line: usize,
}

impl<R: BufRead> Messages<R> {
    pub(crate) fn of(reader: R) -> Self {
        Self {
            lines: reader.lines(),
            line: 0,
        }
    }

    /// The next event that has data or a type; nothing at the end of the stream. An event that the stream
    /// breaks off in is none.
    pub(crate) fn next(&mut self) -> io::Result<Option<Message>> {
        let (mut kind, mut data, mut begin) = (String::new(), Vec::new(), 0);
        while let Some(line) = self.lines.next().transpose()? {
            self.line += 1;
            if line.is_empty() {
                if kind.is_empty() && data.is_empty() {
                    continue;
                }
                return Ok(Some(Message {
                    kind,
                    data: data.join("\n"),
                    line: begin,
                }));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut kind),
                "data" => {
                    if data.is_empty() {
                        begin = self.line;
                    }
                    data.push(value.to_owned());
                }
                // A comment, the event's id, or how long to wait before coming back.
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_several_lines_is_one_event() {
        let stream = ": hello\nretry: 2000\n\nid: 1\ndata: {\"a\":\ndata: 1}\n\nevent: chunk\ndata:2\n\nevent: end\ndata: {}\n\n";
        let mut messages = Messages::of(stream.as_bytes());
        let mut next = || {
            messages
                .next()
                .expect("it can be read")
                .map(|m| (m.kind, m.data, m.line))
        };
        let message = |kind: &str, data: &str, line| Some((kind.to_owned(), data.to_owned(), line));
        assert_eq!(next(), message("", "{\"a\":\n1}", 5));
        assert_eq!(next(), message("chunk", "2", 9));
        assert_eq!(next(), message("end", "{}", 12));
        assert_eq!(next(), None);
    }

    #[test]
    fn an_event_that_the_stream_breaks_off_in_is_none() {
        let mut messages = Messages::of("data: 1\n\ndata: {\"cut\"".as_bytes());
        assert_eq!(
            messages.next().expect("it can be read").map(|m| m.data),
            Some("1".to_owned())
        );
        assert_eq!(messages.next().expect("it can be read"), None);
    }
}
