//! `POST /v1/cancel`: orders stops, and says of each delegation what came of it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use brigade_core::delegation::{Actor, State as Standing};
use brigade_core::id::DelegationId;
use brigade_core::text::replies::{self, Stood};
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
    let (mut results, mut stood, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let mut note = |(result, was): (CancelResult, Option<Stood>)| {
        results.push(result);
        stood.push(was);
    };
    for id in &request.ids {
        match delegation::find(&api, id, &scope).await {
            Ok(row) => note(cancel_row(&api, &row).await?),
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
                note(cancel_one(&api, &spec.id).await?);
            }
        }
    }
    if request.wait {
        let deadline = tokio::time::Instant::now() + STOPPED;
        for (result, stood) in results.iter_mut().zip(&stood) {
            let Some(stood) = stood else {
                continue;
            };
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let ended = api.engine.ended(&result.id, left).await;
            result.state = standing(&api, &result.id).await?;
            result.message = replies::cancelled(stood, ended);
        }
    }
    Ok(Json(Cancelled { results, unknown }))
}

async fn cancel_row(api: &Api, row: &Listed) -> Result<(CancelResult, Option<Stood>), Failure> {
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
            let result = CancelResult {
                id,
                ordered: false,
                state,
                message: format!("it had already ended as {state}; nothing was done"),
            };
            Ok((result, None))
        }
    }
}

async fn cancel_one(
    api: &Api,
    id: &DelegationId,
) -> Result<(CancelResult, Option<Stood>), Failure> {
    let outcome = api.engine.cancel(id, Actor::Person).await;
    let state = standing(api, id).await?;
    let (stood, message) = match outcome {
        Ok(stood) => {
            let message = match stood {
                Stood::Running => {
                    "its run is being stopped; what it has said so far is kept".to_owned()
                }
                Stood::Queued | Stood::CutOff { .. } => {
                    "it was waiting and is cancelled".to_owned()
                }
            };
            (Some(stood), message)
        }
        Err(DispatchError::Store(error)) => return Err(error.into()),
        Err(error) => (None, format!("{error}; nothing was done")),
    };
    let result = CancelResult {
        id: id.clone(),
        ordered: stood.is_some(),
        state,
        message,
    };
    Ok((result, stood))
}

async fn standing(api: &Api, id: &DelegationId) -> Result<Standing, Failure> {
    if let Some(entry) = api.engine.entry(id) {
        return Ok(entry.record().await.state);
    }
    let row = api.engine.store().get(id).await?;
    Ok(row.map_or(Standing::Cancelled, |row| row.delegation.state))
}
