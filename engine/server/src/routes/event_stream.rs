//! A run's events as server-sent events (WHATWG HTML standard, section 9.2).

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use heddle_kernel::RunId;
use heddle_runtime::{Watch, WatchItem};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    app::App,
    connections::{active_request::ActiveRequest, shutdown::ShutdownListener},
    response::problem::{Problem, ProblemKind, no_such_run},
    view::{
        chunk::{ChunkView, MissedView},
        event::EventView,
    },
};

/// The delay before a client that lost the stream connects again.
const RETRY: Duration = Duration::from_secs(2);

/// Returns a run's events after `Last-Event-ID`, else after `after`, else from the beginning.
pub(crate) async fn respond(
    app: App,
    run: RunId,
    after: Option<u64>,
    headers: &HeaderMap,
    active: Option<&ActiveRequest>,
) -> Result<Response, Problem> {
    let seen = last_event_id(headers)?;
    let after = seen.or(after).unwrap_or_default();
    let watch = app.engine.watch(run, after).await?;
    let mut watch = watch.ok_or_else(|| no_such_run(run))?;
    if let Some(active) = active {
        watch = watch.closed_by(active.close_signal());
    }
    if let Some(seen) = seen {
        let row = app.engine.row(run).await?;
        if row.is_some_and(|row| row.status.is_over() && seen >= row.last_seq) {
            // Only this status stops a browser's EventSource from connecting again.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    let watcher = app.acquire_watcher()?;
    let shutdown = app.shutdown.listen();
    let keep_alive = KeepAlive::new().interval(app.settings.heartbeat);
    let stream = RunEventStream {
        app,
        run,
        watch,
        shutdown,
        stage: Stage::Opening,
        _watcher: watcher,
    };
    let events = stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// Reads `Last-Event-ID`: the number of the last event that the client has received.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(id) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = id.to_str().unwrap_or("(not text)");
    if id.is_empty() {
        return Ok(None);
    }
    id.parse().map(Some).map_err(|_| {
        let detail = format!(
            "`Last-Event-ID` must be an event number, got `{}`",
            id.escape_debug()
        );
        Problem::new(ProblemKind::BAD_REQUEST, detail)
    })
}

struct RunEventStream {
    app: App,
    run: RunId,
    watch: Watch,
    shutdown: ShutdownListener,
    stage: Stage,
    _watcher: OwnedSemaphorePermit,
}

enum Stage {
    /// The retry delay has not been sent yet.
    Opening,
    Streaming,
    /// The `end` event has been sent.
    Ended,
}

impl RunEventStream {
    async fn next(&mut self) -> Option<Event> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Streaming;
                return Some(Event::default().retry(RETRY).comment("events follow"));
            }
            Stage::Streaming => {}
            Stage::Ended => return None,
        }
        let next = tokio::select! {
            // The client connects again by itself, with the number of the last event.
            () = self.shutdown.begun() => return None,
            next = self.watch.next() => next,
        };
        match next {
            Some(Ok(WatchItem::Event(event))) => {
                let (run, seq, bytes) = (self.run, event.seq, event.event.size());
                let text = self
                    .app
                    .responses
                    .serialize(bytes, move || EventView::of(run, &event).text());
                Some(Event::default().id(seq.to_string()).data(text.await))
            }
            Some(Ok(WatchItem::Chunk(chunk))) => Some(
                Event::default()
                    .event("chunk")
                    .data(ChunkView::of(self.run, &chunk).text()),
            ),
            Some(Ok(WatchItem::Missed(count))) => Some(
                Event::default()
                    .event("chunk")
                    .data(MissedView::of(self.run, count).text()),
            ),
            Some(Err(error)) => {
                if !self.app.engine.is_draining() {
                    tracing::error!(run = %self.run, %error, "an event stream ended because the run could not be read");
                }
                None
            }
            None => {
                self.stage = Stage::Ended;
                Some(
                    Event::default()
                        .event("end")
                        .data(format!(r#"{{"run_id":"{}"}}"#, self.run)),
                )
            }
        }
    }
}
