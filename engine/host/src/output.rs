//! The output of a guest during a call: log lines, stdout, stderr and emitted chunks.
//!
//! The output goes to the call's sink within the limits of the call. Exceeding a limit ends the call. A nested call
//! shares the sink and the limits of its caller, and may have smaller limits. It has its own partial lines,
//! and its own last error lines, which explain a trap.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes as Chunk;
use heddle_json::object::{self, clip};
use heddle_kernel::Level;
use heddle_runtime::ports::Sink;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

use crate::{
    error::LimitExceeded,
    lock::lock,
    policy::{CallLimits, Limit, LimitSource},
    units::Bytes,
};

/// The cost of a line on top of its bytes: even empty lines reach the limit.
const LINE_COST: usize = 64;

/// How many of the last error lines are kept, and how many bytes of each.
const LAST_LINES: usize = 12;
const LAST_LINE_BYTES: usize = 600;

/// The output of one call, and how much of its limits the call has used.
pub(crate) struct Output {
    sink: Arc<dyn Sink>,
    limits: Arc<CallLimits>,
    log_line_bytes: usize,
    /// The output of the caller, if this call has its own limits.
    outer: Option<Arc<Self>>,
    consumed: Mutex<Consumed>,
    /// The first limit that was exceeded, as a message.
    exceeded: OnceLock<String>,
}

#[derive(Default)]
struct Consumed {
    log: usize,
    emit: usize,
    outgoing: usize,
    requests: usize,
}

/// What a piece of output uses of the call's limits.
#[derive(Clone, Copy)]
enum Cost {
    Log(usize),
    Emit(usize),
    Outgoing(usize),
    Request,
}

impl Output {
    pub(crate) fn new(sink: Arc<dyn Sink>, limits: Arc<CallLimits>, log_line_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            sink,
            limits,
            log_line_bytes,
            outer: None,
            consumed: Mutex::default(),
            exceeded: OnceLock::new(),
        })
    }

    /// The output of a nested call with these limits: the same output, unless a policy limits the nested call.
    pub(crate) fn nested(self: &Arc<Self>, limits: &Arc<CallLimits>) -> Arc<Self> {
        let CallLimits {
            log,
            emit,
            outgoing,
            http_requests,
            ..
        } = **limits;
        if [log, emit, outgoing, http_requests]
            .iter()
            .all(|limit| limit.source == LimitSource::Default)
        {
            return self.clone();
        }
        // The host's own limits apply to the whole chain, at the outermost call.
        let own = |limit: Limit<usize>| match limit.source {
            LimitSource::Default => Limit {
                value: usize::MAX,
                ..limit
            },
            _ => limit,
        };
        Arc::new(Self {
            sink: self.sink.clone(),
            limits: Arc::new(CallLimits {
                log: own(log),
                emit: own(emit),
                outgoing: own(outgoing),
                http_requests: own(http_requests),
                ..**limits
            }),
            log_line_bytes: self.log_line_bytes,
            outer: Some(self.clone()),
            consumed: Mutex::default(),
            exceeded: OnceLock::new(),
        })
    }

    /// The limit that the call exceeded, as a message.
    pub(crate) fn exceeded(&self) -> Option<&str> {
        self.exceeded.get().map(String::as_str)
    }

    /// Counts a piece of output of this call and of its callers.
    fn consume(&self, consume: Cost) -> Result<(), LimitExceeded> {
        let CallLimits {
            log,
            emit,
            outgoing,
            http_requests,
            ..
        } = &*self.limits;
        let message = {
            let mut consumed = lock(&self.consumed);
            let more = |so_far: &mut usize, source: usize, limit: &Limit<usize>| {
                *so_far = so_far.saturating_add(source);
                *so_far > limit.value
            };
            match consume {
                Cost::Log(bytes) => more(&mut consumed.log, bytes, log)
                    .then(|| format!("logged more than its limit of {}", log.bytes("log"))),
                Cost::Emit(bytes) => more(&mut consumed.emit, bytes, emit)
                    .then(|| format!("emitted more than its limit of {}", emit.bytes("emit"))),
                Cost::Outgoing(bytes) => more(&mut consumed.outgoing, bytes, outgoing).then(|| {
                    let limit = outgoing.bytes("outgoing");
                    format!("sent more in its requests than its limit of {limit}")
                }),
                Cost::Request => more(&mut consumed.requests, 1, http_requests).then(|| {
                    let limit = http_requests.count("http_requests");
                    format!("made more requests than its limit of {limit}")
                }),
            }
        };
        if let Some(message) = message {
            self.exceeded.get_or_init(|| message);
            return Err(LimitExceeded);
        }
        self.outer.as_ref().map_or(Ok(()), |outer| outer.consume(consume))
    }

    /// Passes a line to the sink, cut at the limit of a line. A line that exceeds the call's limit is not passed on.
    fn log(&self, level: Level, line: &str) -> Result<(), LimitExceeded> {
        let kept = clip(line, self.log_line_bytes);
        self.consume(Cost::Log(kept.len() + LINE_COST))?;
        if kept.len() == line.len() {
            self.sink.log(level, line);
        } else {
            let limit = Bytes(self.log_line_bytes);
            self.sink.log(
                level,
                &format!("{kept}… (cut at the limit of {limit}, log_line_bytes)"),
            );
        }
        Ok(())
    }

    /// Logs a line of the host about the call's side effects. It does not count as the guest's output, so a flood of
    /// output cannot hide it; the actions behind such lines have separate limits.
    pub(crate) fn log_host_line(&self, level: Level, line: &str) {
        self.sink.log(level, line);
    }

    /// Counts one more HTTP request of the call.
    ///
    /// # Errors
    /// If the limit is exceeded: the call fails, even if the guest ignores the error.
    pub(crate) fn count_request(&self) -> Result<(), LimitExceeded> {
        self.consume(Cost::Request)
    }

    /// Counts bytes of a request's body.
    ///
    /// # Errors
    /// As [`Self::count_request`].
    pub(crate) fn count_sent(&self, bytes: usize) -> Result<(), LimitExceeded> {
        self.consume(Cost::Outgoing(bytes))
    }

    /// Passes a chunk to the sink if it is JSON.
    pub(crate) fn emit(&self, chunk: &str) -> Result<(), LimitExceeded> {
        self.consume(Cost::Emit(chunk.len() + LINE_COST))?;
        match object::admit(chunk) {
            Ok(chunk) => {
                self.sink.emit(chunk);
                Ok(())
            }
            Err(error) => self.log(Level::Warn, &format!("a chunk was dropped: {error}")),
        }
    }
}

/// The lines of one instance: partial lines of stdout and stderr, and the last error lines.
pub(crate) struct Lines {
    output: Arc<Output>,
    stdout: Partial,
    stderr: Partial,
    last: VecDeque<String>,
}

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    has_text: bool,
}

/// One of the two streams.
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

    /// Logs a line of the guest.
    pub(crate) fn log(&mut self, level: Level, message: &str) -> Result<(), LimitExceeded> {
        if level == Level::Error {
            message.lines().for_each(|line| self.keep_error_line(line));
        }
        self.output.log(level, message)
    }

    /// Splits what the guest wrote to a stream into lines.
    fn write(&mut self, stream: Stream, mut bytes: &[u8]) -> Result<(), LimitExceeded> {
        // One byte more than a line may have, so that a longer line is recognized.
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
            partial.has_text |= !part.is_empty();
            let Some(end) = end else { return Ok(()) };
            bytes = &bytes[end + 1..];
            self.end_line(stream)?;
        }
    }

    fn end_line(&mut self, stream: Stream) -> Result<(), LimitExceeded> {
        let (partial, level) = match stream {
            Stream::Out => (&mut self.stdout, Level::Info),
            Stream::Err => (&mut self.stderr, Level::Warn),
        };
        partial.has_text = false;
        let bytes = std::mem::take(&mut partial.bytes);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if matches!(stream, Stream::Err) {
            self.keep_error_line(line);
        }
        self.output.log(level, line)
    }

    /// Logs the partial lines.
    pub(crate) fn flush(&mut self) -> Result<(), LimitExceeded> {
        if self.stdout.has_text {
            self.end_line(Stream::Out)?;
        }
        if self.stderr.has_text {
            self.end_line(Stream::Err)?;
        }
        Ok(())
    }

    fn keep_error_line(&mut self, line: &str) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last
            .push_back(clip(line.trim_end(), LAST_LINE_BYTES).to_owned());
    }

    /// The guest's last words about an error: a Rust panic with its location, else the last line.
    pub(crate) fn error_excerpt(&self) -> Option<String> {
        let is_telling = |line: &&String| !line.trim().is_empty() && !line.trim_start().starts_with("note: ");
        if let Some(at) = self.last.iter().rposition(|line| line.contains("panicked at ")) {
            let (_, place) = self.last[at].split_once("panicked at ")?;
            let message: Vec<_> = self
                .last
                .range(at + 1..)
                .filter(is_telling)
                .map(|line| line.trim())
                .collect();
            let place = place.trim_end_matches(':');
            return Some(match message.is_empty() {
                true => format!("panicked at {place}"),
                false => format!("{} (panicked at {place})", message.join(" ")),
            });
        }
        self.last
            .iter()
            .rev()
            .find(is_telling)
            .map(|line| line.trim().to_owned())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // The call has ended and its result is known.
        let _ = self.flush();
    }
}

/// A guest's stdout or stderr.
#[derive(Clone)]
pub(crate) struct LogStream {
    pub(crate) lines: Arc<Mutex<Lines>>,
    pub(crate) stream: Stream,
}

impl LogStream {
    /// How many bytes a guest may write at once.
    const PERMIT: usize = 64 << 10;

    fn take(&self, bytes: &[u8]) -> Result<(), LimitExceeded> {
        lock(&self.lines).write(self.stream, bytes)
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
        self.take(&bytes).map_err(|error| StreamError::Trap(error.into()))
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
        Poll::Ready(match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => Err(std::io::Error::other(error)),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A sink that discards everything.
pub(crate) struct DiscardSink;

impl Sink for DiscardSink {
    fn log(&self, _: Level, _: &str) {}

    fn emit(&self, _: object::Json) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::HostSettings;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl Sink for Seen {
        fn log(&self, level: Level, message: &str) {
            lock(&self.0).push(format!("{} {message}", level.as_str()));
        }

        fn emit(&self, chunk: object::Json) {
            lock(&self.0).push(format!("emit {chunk}"));
        }
    }

    fn lines(settings: HostSettings) -> (Arc<Seen>, Lines) {
        let seen = Arc::new(Seen::default());
        let limits = Arc::new(settings.call_limits());
        let output = Output::new(seen.clone(), limits, settings.log_line_bytes);
        (seen, Lines::new(output))
    }

    #[test]
    fn streams_are_logged_line_by_line_and_a_partial_line_at_the_end() {
        let (seen, mut lines) = lines(HostSettings::default());
        lines.write(Stream::Out, b"one\r\ntwo").unwrap();
        lines.write(Stream::Err, b"oh").unwrap();
        lines.write(Stream::Out, b"\n\nthr\xffee").unwrap();
        drop(lines);
        assert_eq!(
            *lock(&seen.0),
            ["info one", "info two", "info ", "info thr\u{fffd}ee", "warn oh"]
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let (seen, mut lines) = lines(HostSettings {
            log_line_bytes: 4,
            ..HostSettings::default()
        });
        lines.write(Stream::Out, "abcdefgh\nabcd\n".as_bytes()).unwrap();
        lines.log(Level::Info, "äöü").unwrap();
        assert_eq!(
            *lock(&seen.0),
            [
                "info abcd… (cut at the limit of 4 bytes, log_line_bytes)",
                "info abcd",
                "info äö… (cut at the limit of 4 bytes, log_line_bytes)",
            ]
        );
    }

    #[test]
    fn output_above_a_limit_is_not_passed_on_and_the_limit_is_reported() {
        let (seen, mut lines) = lines(HostSettings {
            log_bytes: 200,
            emit_bytes: 80,
            ..HostSettings::default()
        });
        assert!(lines.output.emit("[1]").is_ok() && lines.output.exceeded().is_none());
        assert!((0..3).all(|_| lines.log(Level::Debug, "x").is_ok()));
        assert!(lines.output.emit("[2]").is_err() && lines.log(Level::Debug, "x").is_err());
        assert_eq!(*lock(&seen.0), ["emit [1]", "debug x", "debug x", "debug x"]);
        assert_eq!(
            lines.output.exceeded(),
            Some("emitted more than its limit of 80 bytes (emit, the server's default)")
        );
    }

    #[test]
    fn a_nested_call_counts_against_its_callers_limits_and_its_own() {
        let (seen, lines) = lines(HostSettings {
            log_bytes: 300,
            ..HostSettings::default()
        });
        let outer = &lines.output;
        let plain = Arc::new(HostSettings::default().call_limits());
        assert!(
            Arc::ptr_eq(outer, &outer.nested(&plain)),
            "the call has no limits of its own, so it shares the output"
        );
        let source = LimitSource::Policy;
        let own = |value| {
            let log = Limit { value, source };
            Arc::new(CallLimits { log, ..*plain })
        };
        let small = outer.nested(&own(100));
        assert!(small.log(Level::Info, "1").is_ok() && small.log(Level::Info, "2").is_err());
        assert!(
            small
                .exceeded()
                .unwrap()
                .ends_with("100 bytes (log, set by the policy)")
        );
        assert!(outer.exceeded().is_none());
        let large = outer.nested(&own(1000));
        assert!(large.log(Level::Info, "3").is_ok() && large.log(Level::Info, "4").is_ok());
        assert!(large.log(Level::Info, "5").is_ok() && large.log(Level::Info, "6").is_err());
        assert!(large.exceeded().is_none() && outer.exceeded().is_some());
        assert_eq!(*lock(&seen.0), ["info 1", "info 3", "info 4", "info 5"]);
    }

    #[test]
    fn a_chunk_is_let_in_as_all_json_from_outside_or_dropped_with_a_warning() {
        let (seen, lines) = lines(HostSettings::default());
        lines.output.emit("{nope").unwrap();
        lines.output.emit("{\"n\": 1E400}").unwrap();
        lines.output.emit("{\n\"n\": 1.50}").unwrap();
        let seen = lock(&seen.0);
        assert!(
            seen[0].starts_with("warn a chunk was dropped: not JSON"),
            "{seen:?}"
        );
        assert!(
            seen[1].starts_with("warn a chunk was dropped: at /n: the number"),
            "{seen:?}"
        );
        assert_eq!(seen[2], r#"emit {"n":1.50}"#);
    }

    #[test]
    fn last_words_are_the_panic_or_the_last_line() {
        let (_seen, mut lines) = lines(HostSettings::default());
        assert_eq!(lines.error_excerpt(), None);
        lines
            .write(Stream::Err, b"Traceback\nValueError: no\n\n")
            .unwrap();
        assert_eq!(lines.error_excerpt().as_deref(), Some("ValueError: no"));
        lines
            .write(
                Stream::Err,
                b"\nthread '<unnamed>' panicked at src/lib.rs:3:5:\nno such row\nnote: run with it\n",
            )
            .unwrap();
        assert_eq!(
            lines.error_excerpt().as_deref(),
            Some("no such row (panicked at src/lib.rs:3:5)")
        );
    }
}
