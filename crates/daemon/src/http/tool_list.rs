//! `POST /v1/tools/list`.

use axum::Json;
use axum::extract::State;
use brigade_core::delegation::State as Standing;
use brigade_core::text::replies::{self, ListItem, Scope};
use brigade_protocol::tools::{Answer, List};
use brigade_store::ListFilter;
use serde_json::Value;

use super::{Api, Failure, tool, view};

/// How many a model is shown at once.
const LIMIT: u32 = 50;

pub(super) async fn handle(
    State(api): State<Api>,
    Json(call): Json<List>,
) -> Result<Json<Answer>, Failure> {
    let session = tool::session(&call.caller)?;
    let project = tool::project(&api, &call.caller).await;
    api.engine.scan_predecessor(&project).await;
    let text = |name: &str| {
        call.args
            .get(name)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let scope = match text("scope") {
        Some("project") => Scope::Project,
        _ => Scope::Session,
    };
    // A child asks for what its parent has delegated.
    let root = match &call.caller.parent {
        Some(parent) => parent.parse()?,
        None => session,
    };
    let root = (scope == Scope::Session).then_some(root);
    let query = text("query");
    let (rows, more) = match query {
        Some(query) => {
            let hits = api
                .engine
                .store()
                .search(query, Some(&project), root.as_ref(), LIMIT)
                .await?;
            let rows = hits
                .into_iter()
                .map(|hit| {
                    (
                        view::listed_for_parent(&api.engine, &hit.row),
                        Some(hit.snippet),
                    )
                })
                .collect::<Vec<_>>();
            (rows, 0)
        }
        None => {
            let (rows, more) = api
                .engine
                .store()
                .list(ListFilter {
                    project: Some(project),
                    root,
                    limit: LIMIT,
                    ..ListFilter::default()
                })
                .await?;
            let rows = rows
                .iter()
                .map(|row| (view::listed_for_parent(&api.engine, row), None))
                .collect();
            (rows, more)
        }
    };
    let now = api.engine.now();
    let doings: Vec<String> = rows.iter().map(|(row, _)| tool::doing(row)).collect();
    let items: Vec<ListItem<'_>> = rows
        .iter()
        .zip(&doings)
        .map(|((row, snippet), doing)| ListItem {
            id: row.id.as_str(),
            title: &row.title,
            agent: &row.agent,
            state: row.state,
            unread: row.unread,
            age_ms: tool::age_ms(now, row.registered_at),
            summary: match (snippet, row.state) {
                (Some(snippet), _) => snippet,
                (None, Standing::Registered | Standing::Running) => doing,
                (None, _) => &row.summary,
            },
        })
        .collect();
    let output = replies::list(
        &items,
        scope,
        query,
        usize::try_from(more).unwrap_or(usize::MAX),
    );
    Ok(Json(Answer {
        title: format!("{} delegations", items.len()),
        output,
        handed: None,
        asks: Vec::new(),
        diff: None,
    }))
}
