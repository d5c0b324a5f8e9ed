//! What a guest writes while it is called: log lines, stdout, stderr and emitted chunks.
//!
//! It reaches the call's sink within the limits of the call. A nested call shares the sink and
//! the limits of the one that made it, and has its own half-written lines and its own last
//! words, from which a trap is explained.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes as Chunk;
use heddle_kernel::{
    Level,
    object::{self, clip},
};
use heddle_runtime::ports::Sink;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::settings::{Bytes, HostSettings};

/// What a line counts on top of its bytes: an endless row of empty lines ends too.
const LINE_COST: usize = 64;

/// How many of the last lines that tell of errors are kept, and how much of each.
const LAST_LINES: usize = 12;
const LAST_LINE_BYTES: usize = 600;

/// Where the output of one call goes, with what is left of the call's limits.
pub(crate) struct Output {
    sink: Arc<dyn Sink>,
    log_bytes: usize,
    log_line_bytes: usize,
    emit_bytes: usize,
    http_requests: usize,
    spent: Mutex<Spent>,
}

#[derive(Default)]
struct Spent {
    log: usize,
    log_cut: bool,
    emit: usize,
    emit_cut: bool,
    requests: usize,
}

impl Output {
    pub(crate) fn new(sink: Arc<dyn Sink>, settings: &HostSettings) -> Self {
        Self {
            sink,
            log_bytes: settings.log_bytes,
            log_line_bytes: settings.log_line_bytes,
            emit_bytes: settings.emit_bytes,
            http_requests: settings.http_requests,
            spent: Mutex::default(),
        }
    }

    /// Passes a line on, cut where it is too long, until the call's share is used up.
    fn log(&self, level: Level, line: &str) {
        let kept = clip(line, self.log_line_bytes);
        {
            let mut spent = held(&self.spent);
            if spent.log_cut {
                return;
            }
            spent.log = spent.log.saturating_add(kept.len() + LINE_COST);
            spent.log_cut = spent.log > self.log_bytes;
            if spent.log_cut {
                drop(spent);
                let limit = Bytes(self.log_bytes);
                let said = format!(
                    "this call logged more than its limit of {limit} (log_bytes): the rest is dropped"
                );
                return self.sink.log(Level::Warn, &said);
            }
        }
        if kept.len() == line.len() {
            self.sink.log(level, line);
        } else {
            let limit = Bytes(self.log_line_bytes);
            self.sink.log(
                level,
                &format!("{kept}… (cut at the limit of {limit}, log_line_bytes)"),
            );
        }
    }

    /// Passes on a line of the host's own, about what the call did outside. It does not count as the
    /// guest's output, so that no flood of that hides it: what leads to such lines has its own limit.
    pub(crate) fn note(&self, level: Level, line: &str) {
        self.sink.log(level, line);
    }

    /// Counts one more request of the call. False where it may make no more, which is told once.
    pub(crate) fn may_request(&self) -> bool {
        let requests = {
            let mut spent = held(&self.spent);
            spent.requests = spent.requests.saturating_add(1);
            spent.requests
        };
        if requests == self.http_requests.saturating_add(1) {
            let limit = self.http_requests;
            self.note(
                Level::Warn,
                &format!(
                    "this call made more requests than its limit of {limit} (http_requests): the rest fail"
                ),
            );
        }
        requests <= self.http_requests
    }

    /// Passes a chunk on to who watches, if it is JSON and within the call's share.
    pub(crate) fn emit(&self, chunk: &str) {
        {
            let mut spent = held(&self.spent);
            if spent.emit_cut {
                return;
            }
            spent.emit = spent.emit.saturating_add(chunk.len() + LINE_COST);
            spent.emit_cut = spent.emit > self.emit_bytes;
            if spent.emit_cut {
                drop(spent);
                let limit = Bytes(self.emit_bytes);
                let said = format!(
                    "this call emitted more than its limit of {limit} (emit_bytes): the rest is dropped"
                );
                return self.log(Level::Warn, &said);
            }
        }
        match object::json(chunk) {
            Ok(chunk) => self.sink.emit(chunk),
            Err(error) => self.log(
                Level::Warn,
                &format!("a chunk was dropped that is not JSON: {error}"),
            ),
        }
    }
}

/// The lines of one instance: its stdout and stderr as far as they have no end yet, and its last words.
pub(crate) struct Lines {
    output: Arc<Output>,
    stdout: Partial,
    stderr: Partial,
    last: VecDeque<String>,
}

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    begun: bool,
}

/// Which of the two streams is meant.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Lines {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        Self {
            output,
            stdout: Partial::default(),
            stderr: Partial::default(),
            last: VecDeque::new(),
        }
    }

    /// Takes a line that the guest logged.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        if level == Level::Error {
            message.lines().for_each(|line| self.remember(line));
        }
        self.output.log(level, message);
    }

    /// Takes what the guest wrote to a stream.
    fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        // One byte more than a line may have: then it is seen that the line was cut.
        let room = self.output.log_line_bytes + 1;
        loop {
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let partial = match stream {
                Stream::Out => &mut self.stdout,
                Stream::Err => &mut self.stderr,
            };
            let take = part.len().min(room.saturating_sub(partial.bytes.len()));
            partial.bytes.extend_from_slice(&part[..take]);
            partial.begun |= !part.is_empty();
            let Some(end) = end else { return };
            bytes = &bytes[end + 1..];
            self.end_line(stream);
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let (partial, level) = match stream {
            Stream::Out => (&mut self.stdout, Level::Info),
            Stream::Err => (&mut self.stderr, Level::Warn),
        };
        partial.begun = false;
        let bytes = std::mem::take(&mut partial.bytes);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if matches!(stream, Stream::Err) {
            self.remember(line);
        }
        self.output.log(level, line);
    }

    /// Passes on the lines that have no end.
    pub(crate) fn flush(&mut self) {
        if self.stdout.begun {
            self.end_line(Stream::Out);
        }
        if self.stderr.begun {
            self.end_line(Stream::Err);
        }
    }

    fn remember(&mut self, line: &str) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last
            .push_back(clip(line.trim_end(), LAST_LINE_BYTES).to_owned());
    }

    /// What the guest said last of an error: a Rust panic with its place, else the last line.
    pub(crate) fn last_words(&self) -> Option<String> {
        let telling = |line: &&String| !line.trim().is_empty() && !line.trim_start().starts_with("note: ");
        if let Some(at) = self.last.iter().rposition(|line| line.contains("panicked at ")) {
            let (_, place) = self.last[at].split_once("panicked at ")?;
            let said: Vec<_> = self
                .last
                .range(at + 1..)
                .filter(telling)
                .map(|line| line.trim())
                .collect();
            let place = place.trim_end_matches(':');
            return Some(match said.is_empty() {
                true => format!("panicked at {place}"),
                false => format!("{} (panicked at {place})", said.join(" ")),
            });
        }
        self.last
            .iter()
            .rev()
            .find(telling)
            .map(|line| line.trim().to_owned())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A guest's stdout or stderr.
#[derive(Clone)]
pub(crate) struct LogStream {
    pub(crate) lines: Arc<Mutex<Lines>>,
    pub(crate) stream: Stream,
}

impl LogStream {
    /// How much a guest may write at once.
    const PERMIT: usize = 64 << 10;

    fn take(&self, bytes: &[u8]) {
        held(&self.lines).write(self.stream, bytes);
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Chunk) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(Self::PERMIT)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Takes a std mutex, which nothing awaits under. A panic under it leaves text that is whole.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink for calls that nobody listens to.
pub(crate) struct Nobody;

impl Sink for Nobody {
    fn log(&self, _: Level, _: &str) {}

    fn emit(&self, _: object::Json) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl Sink for Seen {
        fn log(&self, level: Level, message: &str) {
            held(&self.0).push(format!("{} {message}", level.as_str()));
        }

        fn emit(&self, chunk: object::Json) {
            held(&self.0).push(format!("emit {chunk}"));
        }
    }

    fn lines(settings: HostSettings) -> (Arc<Seen>, Lines) {
        let seen = Arc::new(Seen::default());
        let output = Output::new(seen.clone(), &settings);
        (seen, Lines::new(Arc::new(output)))
    }

    #[test]
    fn streams_are_logged_line_by_line_and_a_partial_line_at_the_end() {
        let (seen, mut lines) = lines(HostSettings::default());
        lines.write(Stream::Out, b"one\r\ntwo");
        lines.write(Stream::Err, b"oh");
        lines.write(Stream::Out, b"\n\nthr\xffee");
        drop(lines);
        assert_eq!(
            *held(&seen.0),
            ["info one", "info two", "info ", "info thr\u{fffd}ee", "warn oh"]
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let (seen, mut lines) = lines(HostSettings {
            log_line_bytes: 4,
            ..HostSettings::default()
        });
        lines.write(Stream::Out, "abcdefgh\nabcd\n".as_bytes());
        lines.log(Level::Info, "äöü");
        assert_eq!(
            *held(&seen.0),
            [
                "info abcd… (cut at the limit of 4 bytes, log_line_bytes)",
                "info abcd",
                "info äö… (cut at the limit of 4 bytes, log_line_bytes)",
            ]
        );
    }

    #[test]
    fn the_share_of_a_call_ends_with_one_line_that_says_so() {
        let (seen, mut lines) = lines(HostSettings {
            log_bytes: 200,
            emit_bytes: 80,
            ..HostSettings::default()
        });
        lines.output.emit("[1]");
        lines.output.emit("[2]");
        lines.output.emit("[3]");
        (0..5).for_each(|_| lines.log(Level::Debug, "x"));
        assert_eq!(
            *held(&seen.0),
            [
                "emit [1]",
                "warn this call emitted more than its limit of 80 bytes (emit_bytes): the rest is dropped",
                "warn this call logged more than its limit of 200 bytes (log_bytes): the rest is dropped",
            ]
        );
    }

    #[test]
    fn what_is_not_json_is_not_emitted() {
        let (seen, lines) = lines(HostSettings::default());
        lines.output.emit("{nope");
        assert!(held(&seen.0)[0].starts_with("warn a chunk was dropped that is not JSON"));
    }

    #[test]
    fn last_words_are_the_panic_or_the_last_line() {
        let (_seen, mut lines) = lines(HostSettings::default());
        assert_eq!(lines.last_words(), None);
        lines.write(Stream::Err, b"Traceback\nValueError: no\n\n");
        assert_eq!(lines.last_words().as_deref(), Some("ValueError: no"));
        lines.write(
            Stream::Err,
            b"\nthread '<unnamed>' panicked at src/lib.rs:3:5:\nno such row\nnote: run with it\n",
        );
        assert_eq!(
            lines.last_words().as_deref(),
            Some("no such row (panicked at src/lib.rs:3:5)")
        );
    }
}
