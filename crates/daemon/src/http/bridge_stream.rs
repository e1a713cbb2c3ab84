//! `GET /v1/bridge/{connection}/stream`: what the daemon asks and tells the bridge. The connection
//! lives as long as this stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use brigade_protocol::ErrorCode;
use brigade_protocol::bridge::Down;
use futures::Stream;
use tokio::sync::mpsc;

use super::{Api, Failure};
use crate::hosts::{Connection, Hub};

/// How often a comment is sent on a silent stream, so that a dead peer is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Disconnects the bridge when the stream is dropped, however that comes about.
struct Listening {
    hub: Hub,
    connection: Arc<Connection>,
    messages: mpsc::UnboundedReceiver<Down>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.hub.disconnect(&self.connection);
    }
}

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let gone = || {
        Failure::new(
            ErrorCode::UnknownConnection,
            "this connection is not known: register again",
        )
    };
    let connection = api.engine.hub().connection(&id).ok_or_else(gone)?;
    let messages = connection.take_stream().ok_or_else(gone)?;
    let listening = Listening {
        hub: api.engine.hub().clone(),
        connection,
        messages,
    };
    let stream = futures::stream::unfold((listening, api), |(mut listening, api)| async move {
        let mut message = tokio::select! {
            // What is queued goes out even if the daemon is about to go.
            biased;
            message = listening.messages.recv() => message?,
            () = listening.connection.closed.cancelled() => return None,
            () = api.stop.cancelled() => return None,
        };
        if let Down::Call { sent_ms, .. } = &mut message {
            *sent_ms = Some(api.engine.now().as_millisecond());
        }
        let event = Event::default()
            .json_data(&message)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "a message could not be written as JSON");
                Event::default().comment("unwritable")
            });
        Some((Ok(event), (listening, api)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
