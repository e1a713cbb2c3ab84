//! `POST /v1/delegations/{id}/discard`: throws a worktree away.

use axum::Json;
use axum::extract::{Path, State};
use brigade_protocol::changes::{Discard, Discarded};
use brigade_protocol::delegations::Scope;

use super::{Api, Failure, delegation, send};

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(discard): Json<Discard>,
) -> Result<Json<Discarded>, Failure> {
    let scope = Scope {
        directory: discard.directory,
    };
    let row = send::ours(delegation::find(&api, &id, &scope).await?)?;
    let discarded = api
        .engine
        .worktrees()
        .discard(&row.delegation, discard.force);
    Ok(Json(discarded.await?))
}
