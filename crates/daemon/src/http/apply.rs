//! `POST /v1/delegations/{id}/apply`: a person brings changes into a tree, or takes them out again.

use axum::Json;
use axum::extract::{Path, State};
use brigade_protocol::ErrorCode;
use brigade_protocol::changes::{Apply, ApplyReport};
use brigade_protocol::delegations::Scope;
use tokio_util::sync::CancellationToken;

use super::{Api, Failure, delegation, send};
use crate::worktrees::{ApplyRequest, NotApplied};

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Json(apply): Json<Apply>,
) -> Result<Json<ApplyReport>, Failure> {
    let scope = Scope {
        directory: apply.directory,
    };
    let row = send::ours(delegation::find(&api, &id, &scope).await?)?;
    if apply.undo && !apply.paths.is_empty() {
        let why = "an apply is undone as a whole: leave the paths out";
        return Err(Failure::new(ErrorCode::BadRequest, why));
    }
    let request = ApplyRequest {
        to: apply.to,
        paths: apply.paths,
        markers: apply.markers,
        dry_run: apply.dry_run,
        allowed: None,
        call: None,
        by: "person",
    };
    let cancel = CancellationToken::new();
    // Dropped when the client hangs up: what is written by then is taken back.
    let hung_up = cancel.clone().drop_guard();
    let applying = api
        .engine
        .apply(row.delegation, request, apply.undo, cancel);
    let applied = applying.await;
    hung_up.disarm();
    Ok(Json(applied?.report))
}

impl From<NotApplied> for Failure {
    fn from(why: NotApplied) -> Self {
        match why {
            NotApplied::Refused(why) => Failure::new(ErrorCode::Refused, why),
            NotApplied::Failed(why) | NotApplied::BrokeOff(why) => {
                Failure::new(ErrorCode::Internal, why)
            }
            NotApplied::Store(error) => error.into(),
        }
    }
}
