//! `GET /v1/search`: full text over titles, summaries, prompts and results, best first.

use axum::Json;
use axum::extract::{Query, State};
use brigade_protocol::delegations::{Hit, SearchQuery, SearchResults};

use super::{Api, Failure, view};
use crate::project;

/// How many hits are given where the client does not say.
const DEFAULT_LIMIT: u32 = 20;

pub(super) async fn handle(
    State(api): State<Api>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<SearchResults>, Failure> {
    let project = project::of_optional(query.directory.as_deref()).await;
    if let Some(project) = &project {
        api.engine.look_for_predecessor(project).await;
    }
    let hits = api
        .engine
        .store()
        .search(
            &query.q,
            project.as_ref(),
            None,
            query.limit.unwrap_or(DEFAULT_LIMIT),
        )
        .await?;
    Ok(Json(SearchResults {
        hits: hits
            .into_iter()
            .map(|hit| Hit {
                summary: view::listed(&api.engine, &hit.row),
                snippet: hit.snippet,
            })
            .collect(),
    }))
}
