//! Failures at the edge: typed errors become status and body.

use axum::Json;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use brigade_core::id::IdError;
use brigade_protocol::{ErrorBody, ErrorCode};
use brigade_store::StoreError;

use super::Peer;

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) ErrorBody);

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorBody::new(code, message))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self(
            ErrorBody::new(ErrorCode::NotFound, format!("there is no delegation {what:?} here"))
                .with_hint("`brigade list` shows this project's delegations, `brigade list --all` those of all projects"),
        )
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a request");
        Self(
            ErrorBody::new(ErrorCode::Store, error.to_string())
                .with_hint("`brigade doctor` says what is wrong with the store"),
        )
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::new(ErrorCode::BadRequest, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// Refuses every peer that is not the daemon's own user, whatever the socket's mode let through.
pub(super) async fn only_own_user(
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if peer.allowed {
        tracing::debug!(method = %request.method(), path = request.uri().path(), "a request");
        next.run(request).await
    } else {
        Failure::new(
            ErrorCode::Refused,
            "this daemon serves its own user only; nothing was done",
        )
        .into_response()
    }
}
