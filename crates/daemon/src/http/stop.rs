//! `POST /v1/stop`: the daemon answers, then goes. What runs in hosts goes on; the next daemon takes
//! it up from the store.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use brigade_protocol::bridge::Down;
use brigade_protocol::daemon::Stop;

use super::Api;

/// The reason that stands for a person's wish: bridges then leave the daemon stopped.
const BY_PERSON: &str = "stop";

pub(super) async fn handle(State(api): State<Api>, Json(stop): Json<Stop>) -> StatusCode {
    tracing::info!(reason = %stop.reason, "asked to stop");
    if stop.reason == BY_PERSON {
        for connection in api.engine.hub().connections() {
            connection.send(Down::Stopping {});
        }
    }
    api.stop.cancel();
    StatusCode::NO_CONTENT
}
