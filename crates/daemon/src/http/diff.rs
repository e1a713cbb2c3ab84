//! `GET /v1/delegations/{id}/diff`: the patch of what was changed, as it is.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use brigade_protocol::ErrorCode;
use brigade_protocol::changes::DiffQuery;
use brigade_protocol::delegations::Scope;

use super::{Api, Failure, delegation, send};
use crate::worktrees::Patch;

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<DiffQuery>,
) -> Result<Response, Failure> {
    let scope = Scope {
        directory: query.directory,
    };
    let row = send::ours(delegation::find(&api, &id, &scope).await?)?;
    let paths: Vec<String> = query
        .paths
        .iter()
        .flat_map(|paths| paths.lines().map(str::to_owned))
        .collect();
    let patch = api
        .engine
        .worktrees()
        .patch(&row.delegation, &paths)
        .await?;
    let body = match patch {
        Patch::File(path) => {
            let file = tokio::fs::File::open(&path).await.map_err(|error| {
                let what = format!("the patch {} can't be read: {error}", path.display());
                Failure::new(ErrorCode::Internal, what)
            })?;
            Body::from_stream(tokio_util::io::ReaderStream::new(file))
        }
        Patch::Part(bytes) => Body::from(bytes),
        Patch::Nothing => Body::empty(),
    };
    Ok(([(CONTENT_TYPE, "text/x-diff")], body).into_response())
}
