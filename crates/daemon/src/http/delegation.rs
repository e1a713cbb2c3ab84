//! `GET /v1/delegations/{id}`: everything about one.

use axum::Json;
use axum::extract::{Path, Query, State};
use brigade_core::delegation::Spec;
use brigade_protocol::delegations::{Details, Scope};
use brigade_protocol::{ErrorBody, ErrorCode};
use brigade_store::{Found, Listed, StoreError};

use super::{Api, Failure, view, worktree};
use crate::project;

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(scope): Query<Scope>,
) -> Result<Json<Details>, Failure> {
    match find(&api, &id, &scope).await? {
        Listed::Ours(row) => {
            let events = api.engine.store().timeline(&row.delegation.spec.id).await?;
            let mut details = view::details(&api.engine, &row, &events);
            details.worktree = worktree::details(&api, &row.delegation).await?;
            Ok(Json(details))
        }
        Listed::Predecessor(file) => Ok(Json(Details {
            summary: view::foreign(&file),
            prompt: String::new(),
            child: None,
            directory: String::new(),
            model: None,
            access: "unknown: the predecessor ran it".to_owned(),
            withheld: Vec::new(),
            ran_ms: 0,
            max_run_ms: None,
            notice: "none".to_owned(),
            continues: None,
            retries: None,
            worktree: None,
            trace: None,
            attempts: Vec::new(),
            tools: Vec::new(),
            refusals: Vec::new(),
            timeline: Vec::new(),
        })),
    }
}

/// Notes that a person has got a result.
pub(super) async fn read_by_person(api: &Api, spec: &Spec) -> Result<(), StoreError> {
    let store = api.engine.store();
    if spec.from_shell() {
        // Nobody else is going to read it.
        store.mark_read(&spec.id, "person").await
    } else {
        // Recorded, and no more: for its parent the result stays unread.
        store.record_read(&spec.id, "person").await
    }
}

/// The delegation that an ID or unique prefix means, in the scope asked for.
pub(super) async fn find(api: &Api, id: &str, scope: &Scope) -> Result<Listed, Failure> {
    let project = project::of_optional(scope.directory.as_deref()).await;
    if let Some(project) = &project {
        api.engine.scan_predecessor(project).await;
    }
    let plausible =
        !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if !plausible {
        return Err(Failure::new(
            ErrorCode::BadRequest,
            format!(
                "{:?} is no delegation ID: an ID is three lower-case words joined by hyphens, or a beginning of one",
                id.chars().take(60).collect::<String>()
            ),
        ));
    }
    match api.engine.store().find(id, project.as_ref()).await? {
        Found::One(row) => Ok(row),
        Found::None => Err(Failure::not_found(id)),
        Found::Many(ids) => Err(Failure(
            ErrorBody::new(
                ErrorCode::Ambiguous,
                format!("{id:?} could be any of these: {}", list(&ids)),
            )
            .with_hint("type more of the ID"),
        )),
    }
}

fn list(ids: &[brigade_core::id::DelegationId]) -> String {
    ids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
