//! `GET /v1/events`: the event log from a sequence number on, and then what is added to it. A reader
//! that comes back names the last number it saw and misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use brigade_protocol::daemon::{EventsQuery, LoggedEvent};
use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Api;

/// How many events are read from the store at a time.
const PAGE: u32 = 500;

struct Reader {
    api: Api,
    after: i64,
    page: VecDeque<LoggedEvent>,
    grown: watch::Receiver<i64>,
    stop: CancellationToken,
}

pub(super) async fn handle(
    State(api): State<Api>,
    Query(query): Query<EventsQuery>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let reader = Reader {
        grown: api.engine.store().grown(),
        stop: api.stop.clone(),
        api,
        after: query.after,
        page: VecDeque::new(),
    };
    let stream = futures::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        let event = Event::default()
            .id(event.seq.to_string())
            .json_data(&event)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "an event could not be written as JSON");
                Event::default().comment("unwritable")
            });
        Some((Ok(event), reader))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

impl Reader {
    async fn next(&mut self) -> Option<LoggedEvent> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.after = event.seq;
                return Some(event);
            }
            // Marked as seen before reading: what is added meanwhile is a change again.
            self.grown.borrow_and_update();
            match self.api.engine.store().events_after(self.after, PAGE).await {
                Ok(rows) if !rows.is_empty() => {
                    self.page = rows
                        .into_iter()
                        .map(|row| LoggedEvent {
                            seq: row.seq,
                            at: row.at,
                            delegation: row.delegation,
                            event: row.event,
                        })
                        .collect();
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "the event log could not be read; the stream ends");
                    return None;
                }
            }
            tokio::select! {
                changed = self.grown.changed() => changed.ok()?,
                () = self.stop.cancelled() => return None,
            }
        }
    }
}
