//! A run's events as a stream of server-sent events (the WHATWG's HTML standard, 9.2).

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
use heddle_runtime::{Watch, Watched};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    App,
    closing::Listener,
    extract::no_such_run,
    problem::{Kind, Problem},
    view::{ChunkView, EventView, MissedView},
};

/// How long a reader that lost the stream is asked to wait before it comes back.
const RETRY: Duration = Duration::from_secs(2);

/// The stream of a run's events after `Last-Event-ID`, else after `after`, else all of them.
pub(crate) async fn stream(
    app: App,
    run: RunId,
    after: Option<u64>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let seen = last_event_id(headers)?;
    let after = seen.or(after).unwrap_or_default();
    let watch = app.engine.watch(run, after).await?;
    let watch = watch.ok_or_else(|| no_such_run(run))?;
    if let Some(seen) = seen {
        let row = app.engine.row(run).await?;
        if row.is_some_and(|row| row.status.is_over() && seen >= row.last_seq) {
            // This status, and no other, tells a browser's EventSource not to come back.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    let watcher = app.watcher()?;
    let closing = app.closing.listen();
    let keep_alive = KeepAlive::new().interval(app.settings.heartbeat);
    let told = Telling {
        app,
        run,
        watch,
        closing,
        stage: Stage::Opening,
        _watcher: watcher,
    };
    let events = stream::unfold(told, |mut told| async move {
        let event = told.next().await?;
        Some((Ok::<_, Infallible>(event), told))
    });
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// The last event that the reader of a stream has seen, where it says so.
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
            "`Last-Event-ID` is an event's number, got `{}`",
            id.escape_debug()
        );
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}

struct Telling {
    app: App,
    run: RunId,
    watch: Watch,
    closing: Listener,
    stage: Stage,
    _watcher: OwnedSemaphorePermit,
}

enum Stage {
    Opening,
    Telling,
    Over,
}

impl Telling {
    async fn next(&mut self) -> Option<Event> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Telling;
                return Some(Event::default().retry(RETRY).comment("events follow"));
            }
            Stage::Telling => {}
            Stage::Over => return None,
        }
        let told = tokio::select! {
            // The reader comes back to the next server by itself, with the last event's number.
            () = self.closing.begun() => return None,
            told = self.watch.next() => told,
        };
        match told {
            Some(Ok(Watched::Event(event))) => {
                let (run, seq, bytes) = (self.run, event.seq, event.event.size());
                let text = self
                    .app
                    .large
                    .text(bytes, move || EventView::of(run, &event).text());
                Some(Event::default().id(seq.to_string()).data(text.await))
            }
            Some(Ok(Watched::Chunk(chunk))) => Some(
                Event::default()
                    .event("chunk")
                    .data(ChunkView::of(self.run, &chunk).text()),
            ),
            Some(Ok(Watched::Missed(count))) => Some(
                Event::default()
                    .event("chunk")
                    .data(MissedView::of(self.run, count).text()),
            ),
            Some(Err(error)) => {
                if !self.app.engine.is_draining() {
                    tracing::error!(run = %self.run, %error, "a run cannot be watched any more");
                }
                None
            }
            None => {
                self.stage = Stage::Over;
                Some(
                    Event::default()
                        .event("end")
                        .data(format!(r#"{{"run_id":"{}"}}"#, self.run)),
                )
            }
        }
    }
}
