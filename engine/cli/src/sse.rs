//! Reads server-sent events (WHATWG HTML standard, section 9.2).

use std::io::{self, BufRead, Lines};

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StreamEvent {
    /// The type of the event; empty if absent.
    pub(crate) kind: String,
    /// The data of the event. Several data lines are joined with line breaks.
    pub(crate) data: String,
    /// The number of the first data line in the stream, from 1.
    pub(crate) line: usize,
}

/// Reads the events of a stream.
pub(crate) struct EventReader<R> {
    lines: Lines<R>,
    line: usize,
}

impl<R: BufRead> EventReader<R> {
    pub(crate) fn of(reader: R) -> Self {
        Self {
            lines: reader.lines(),
            line: 0,
        }
    }

    /// The next event with data or a type; none at the end of the stream. An incomplete event at the end is dropped.
    pub(crate) fn next(&mut self) -> io::Result<Option<StreamEvent>> {
        let (mut kind, mut data, mut begin) = (String::new(), Vec::new(), 0);
        while let Some(line) = self.lines.next().transpose()? {
            self.line += 1;
            if line.is_empty() {
                if kind.is_empty() && data.is_empty() {
                    continue;
                }
                return Ok(Some(StreamEvent {
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
                // A comment, an event id or a retry time.
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
        let mut messages = EventReader::of(stream.as_bytes());
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
    fn an_incomplete_event_at_the_end_is_dropped() {
        let mut messages = EventReader::of("data: 1\n\ndata: {\"cut\"".as_bytes());
        assert_eq!(
            messages.next().expect("it can be read").map(|m| m.data),
            Some("1".to_owned())
        );
        assert_eq!(messages.next().expect("it can be read"), None);
    }
}
