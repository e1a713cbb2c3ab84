//! `POST /v1/bridge/{connection}/up`: what the bridge answers and reports, batch by batch.

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use brigade_protocol::ErrorCode;
use brigade_protocol::bridge::{Batch, Up};

use super::{Api, Failure};

/// A batch that was taken in in its turn.
pub(super) struct Whole(pub(super) Batch);

impl FromRequest<Api> for Whole {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let length = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        // Read and taken apart, a body is in memory three times over.
        let _turn = api.turn(length.unwrap_or(u64::MAX)).await;
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
