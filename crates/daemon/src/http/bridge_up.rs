//! `POST /v1/bridge/{connection}/up`: what the bridge answers and reports, batch by batch.

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use brigade_protocol::ErrorCode;
use brigade_protocol::bridge::{Batch, Up};

use super::{Api, Failure};
use crate::hosts::Recorded;

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
        let mut on_record = connection.hearing.lock().await;
        let new = connection.accept_batch(batch.seq);
        let mut records = Vec::new();
        for message in batch.messages {
            // Of a batch that is posted again only what could not be recorded is heard again.
            let for_the_record = matches!(message, Up::Taken { .. } | Up::Handed { .. });
            if new || (for_the_record && !*on_record) {
                records.extend(hub.receive(&connection, message).await);
            }
        }
        let recorded = all_recorded(records).await;
        *on_record = recorded.is_ok();
        recorded
    });
    match heard.await {
        Ok(recorded) => recorded.map(|()| StatusCode::NO_CONTENT),
        Err(error) => Err(Failure::new(
            ErrorCode::Internal,
            format!("a batch could not be taken in: {error}"),
        )),
    }
}

/// Waits until all of this is on record. The bridge forgets it once it is answered for, and tells it again where it
/// is answered with a failure.
pub(super) async fn all_recorded(records: Vec<Recorded>) -> Result<(), Failure> {
    let mut all = Ok(());
    for recorded in records {
        let recorded = match recorded.await {
            Ok(recorded) => recorded.map_err(Failure::from),
            Err(_) => Err(Failure::new(
                ErrorCode::Draining,
                "the daemon is going: register with the next one",
            )),
        };
        all = all.and(recorded);
    }
    all
}
