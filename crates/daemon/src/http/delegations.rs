//! `GET /v1/delegations`: the list, filtered and sorted.

use axum::Json;
use axum::extract::{Query, State};
use brigade_protocol::delegations::{ListQuery, Listing, Sort};
use brigade_store::ListFilter;

use super::{Api, Failure, view};
use crate::project;

/// How many rows are listed where the client does not say.
const DEFAULT_LIMIT: u32 = 1_000;

pub(super) async fn handle(
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Listing>, Failure> {
    let project = project::of_optional(query.directory.as_deref()).await;
    let root = query.session.as_deref().map(str::parse).transpose()?;
    if let Some(project) = &project {
        api.engine.look_for_predecessor(project).await;
    }
    let (rows, more) = api
        .engine
        .store()
        .list(ListFilter {
            project,
            root,
            states: query.state.unwrap_or_default().0,
            agent: query.agent,
            unread: query.unread,
            since: query.since,
            sort: sort(query.sort),
            reverse: query.reverse,
            offset: query.offset.unwrap_or(0),
            limit: query.limit.unwrap_or(DEFAULT_LIMIT),
        })
        .await?;
    Ok(Json(Listing {
        delegations: rows
            .iter()
            .map(|row| view::listed(&api.engine, row))
            .collect(),
        more,
    }))
}

fn sort(sort: Option<Sort>) -> brigade_store::Sort {
    use brigade_store::Sort as By;
    match sort {
        None | Some(Sort::Registered) => By::Registered,
        Some(Sort::Ended) => By::Ended,
        Some(Sort::Cost) => By::Cost,
        Some(Sort::Tokens) => By::Tokens,
        Some(Sort::Duration) => By::Duration,
        Some(Sort::State) => By::State,
    }
}
