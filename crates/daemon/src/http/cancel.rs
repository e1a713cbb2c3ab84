//! `POST /v1/cancel`: orders stops, and says of each delegation what came of it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use brigade_core::delegation::{Actor, State as Standing};
use brigade_core::id::DelegationId;
use brigade_protocol::ErrorCode;
use brigade_protocol::delegations::{Cancel, CancelResult, Cancelled, Scope};
use brigade_store::Listed;

use super::{Api, Failure, delegation, view};
use crate::engine::DispatchError;
use crate::project;

/// How long the proof is awaited that a run has stopped. A host takes well under a second.
pub(super) const STOPPED: Duration = Duration::from_secs(20);

pub(super) async fn handle(
    State(api): State<Api>,
    Json(request): Json<Cancel>,
) -> Result<Json<Cancelled>, Failure> {
    if request.ids.is_empty() && request.session.is_none() && !request.all {
        return Err(Failure::new(
            ErrorCode::BadRequest,
            "nothing was named to cancel: give IDs, a session, or ask for all",
        ));
    }
    let scope = Scope {
        directory: request.directory.clone(),
    };
    let (mut results, mut unknown) = (Vec::new(), Vec::new());
    for id in &request.ids {
        match delegation::find(&api, id, &scope).await {
            Ok(row) => results.push(cancel_row(&api, &row).await?),
            Err(failure) if request.ids.len() == 1 => return Err(failure),
            // A mistyped one must not keep the others running, nor keep what became of them from being told.
            Err(failure) => unknown.push(failure.0),
        }
    }
    if request.ids.is_empty() {
        let project = project::of_optional(request.directory.as_deref()).await;
        for entry in api.engine.entries() {
            let spec = entry.record().await.spec;
            let in_session = request.session.as_ref().is_none_or(|session| {
                spec.root.as_str() == session || spec.parent.as_str() == session
            });
            let in_project = project
                .as_ref()
                .is_none_or(|project| spec.project == *project);
            if in_session && in_project {
                results.push(cancel_one(&api, &spec.id).await?);
            }
        }
    }
    if request.wait {
        let deadline = tokio::time::Instant::now() + STOPPED;
        for result in results.iter_mut().filter(|result| result.ordered) {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if api.engine.ended(&result.id, left).await {
                result.state = standing(&api, &result.id).await?;
                result.message =
                    "cancelled: nothing of it runs any more; what it had said is kept".to_owned();
            }
        }
    }
    Ok(Json(Cancelled { results, unknown }))
}

async fn cancel_row(api: &Api, row: &Listed) -> Result<CancelResult, Failure> {
    match row {
        Listed::Ours(row) if !row.delegation.state.is_terminal() => {
            cancel_one(api, &row.delegation.spec.id).await
        }
        ended => {
            let id = match ended {
                Listed::Ours(row) => row.delegation.spec.id.clone(),
                Listed::Predecessor(file) => file.id.clone(),
            };
            let state = view::state(ended);
            Ok(CancelResult {
                id,
                ordered: false,
                state,
                message: format!("it had already ended as {state}; nothing was done"),
            })
        }
    }
}

async fn cancel_one(api: &Api, id: &DelegationId) -> Result<CancelResult, Failure> {
    let outcome = api.engine.cancel(id, Actor::Person).await;
    let state = standing(api, id).await?;
    let (ordered, message) = match outcome {
        Ok(()) if state == Standing::Running => (
            true,
            "its run is being stopped; what it has said so far is kept".to_owned(),
        ),
        Ok(()) => (true, "it was waiting and is cancelled".to_owned()),
        Err(DispatchError::Store(error)) => return Err(error.into()),
        Err(error) => (false, format!("{error}; nothing was done")),
    };
    Ok(CancelResult {
        id: id.clone(),
        ordered,
        state,
        message,
    })
}

async fn standing(api: &Api, id: &DelegationId) -> Result<Standing, Failure> {
    if let Some(entry) = api.engine.entry(id) {
        return Ok(entry.record().await.state);
    }
    let row = api.engine.store().get(id).await?;
    Ok(row.map_or(Standing::Cancelled, |row| row.delegation.state))
}
