//! `POST /v1/delegations/{id}/retry`: the same work anew.

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use brigade_core::text::replies;
use brigade_protocol::delegations::{Retried, Scope};

use super::{Api, Failure, Peer, delegation, send};
use crate::engine::Started;

pub(super) async fn handle(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    Json(scope): Json<Scope>,
) -> Result<Json<Retried>, Failure> {
    let row = send::ours(delegation::find(&api, &id, &scope).await?)?;
    let Started {
        delegation,
        existing,
        ..
    } = api.engine.retry(&row, peer.process()).await?;
    let id = delegation.spec.id;
    Ok(Json(Retried {
        message: replies::retried(&row.delegation.spec.id, &id, existing),
        existing,
        state: delegation.state,
        id,
    }))
}
