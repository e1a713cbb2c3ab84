//! `POST /v1/bridge/{connection}/up`: what the bridge answers and reports, batch by batch.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use brigade_protocol::ErrorCode;
use brigade_protocol::bridge::{Batch, Up};

use super::{Api, Failure};

/// A batch longer than this many bytes is taken in when no other such one is: read and taken apart, a body is in
/// memory three times over.
const LARGE: u64 = 4 * 1024 * 1024;
/// How long a large batch waits for its turn; a bridge that has sent half of one must not keep the others waiting.
const TURN: Duration = Duration::from_secs(10);

/// A batch that was taken in in its turn.
pub(super) struct Whole(pub(super) Batch);

impl FromRequest<Api> for Whole {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let length = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let _turn = if length.is_none_or(|length| length > LARGE) {
            tokio::time::timeout(TURN, api.large.acquire()).await.ok()
        } else {
            None
        };
        match Json::from_request(request, api).await {
            Ok(Json(batch)) => Ok(Self(batch)),
            // The status tells a bridge not to send it again.
            Err(error) => Err(Failure::new(ErrorCode::BadRequest, error.body_text())),
        }
    }
}

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Whole(batch): Whole,
) -> Result<StatusCode, Failure> {
    let hub = api.engine.hub();
    let connection = hub.connection(&id).ok_or_else(|| {
        Failure::new(
            ErrorCode::UnknownConnection,
            "this connection is not known: register again",
        )
    })?;
    let hub = hub.clone();
    // A task of its own: a bridge that gives up waiting and posts the batch again must find it heard
    // whole, not broken off in the middle.
    let heard = tokio::spawn(async move {
        let _in_order = connection.hearing.lock().await;
        // The bridge forgets these once they are answered for: they have to be on record by then.
        let for_the_record = batch
            .messages
            .iter()
            .any(|message| matches!(message, Up::Taken { .. } | Up::Handed { .. }));
        if connection.accept_batch(batch.seq) {
            for message in batch.messages {
                hub.receive(&connection, message).await;
            }
        }
        !for_the_record || hub.heard().await
    });
    let failed = |why: String| {
        let message = format!("a batch could not be taken in: {why}");
        Failure::new(ErrorCode::Internal, message)
    };
    match heard.await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(failed("the daemon is going".to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}
