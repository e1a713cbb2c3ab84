//! `POST /v1/bridge/{connection}/up`: what the bridge answers and reports, batch by batch.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use brigade_protocol::ErrorCode;
use brigade_protocol::bridge::{Batch, Up};

use super::{Api, Failure};

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(batch): Json<Batch>,
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
