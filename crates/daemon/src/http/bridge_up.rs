//! `POST /v1/bridge/{connection}/up`: what the bridge answers and reports, batch by batch.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use brigade_protocol::ErrorCode;
use brigade_protocol::bridge::Batch;

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
    if connection.accept_batch(batch.seq) {
        for message in batch.messages {
            hub.receive(&connection, message).await;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
