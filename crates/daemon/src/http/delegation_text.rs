//! `GET /v1/delegations/{id}/text`: the artifact, or the text so far.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use brigade_protocol::delegations::{Scope, Text};
use brigade_store::Listed;

use super::{Api, Failure, delegation, view};

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(scope): Query<Scope>,
) -> Result<Response, Failure> {
    let row = delegation::find(&api, &id, &scope).await?;
    let state = view::state(&row);
    let _turn = api.turn(api.engine.store().artifact_len(&row).await).await;
    let (id, text) = match &row {
        Listed::Predecessor(file) => (file.id.clone(), api.engine.artifact_text(&row).await?),
        Listed::Ours(ours) => {
            let id = ours.delegation.spec.id.clone();
            let text = if view::is_terminal(&row) {
                let text = api.engine.artifact_text(&row).await?;
                delegation::read_by_person(&api, &ours.delegation.spec).await?;
                text
            } else {
                let live = api.engine.entry(&id).map(|entry| entry.live().partial);
                match live.filter(|text| !text.is_empty()) {
                    Some(text) => text.to_string(),
                    // Said before this daemon was there, or in an earlier attempt.
                    None => api.engine.store().text(&id).await?.unwrap_or_default(),
                }
            };
            (id, text)
        }
    };
    // Written down in this turn, too.
    Ok(Json(Text { id, state, text }).into_response())
}
