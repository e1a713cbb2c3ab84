//! `GET /v1/stats`: what delegations have used.

use axum::Json;
use axum::extract::{Query, State};
use brigade_protocol::stats::{BudgetEntry, Stats, StatsBy, StatsQuery, StatsRow, Usage};
use brigade_store::{UsageBy, UsageFilter, UsageRow};

use super::{Api, Failure};
use crate::project;

pub(super) async fn handle(
    State(api): State<Api>,
    Query(query): Query<StatsQuery>,
) -> Result<Json<Stats>, Failure> {
    let filter = UsageFilter {
        project: project::of_optional(query.directory.as_deref()).await,
        root: query.session.as_deref().map(str::parse).transpose()?,
        since: query.since,
    };
    let store = api.engine.store();
    let mut rows: Vec<_> = store
        .usage(filter, by(query.by))
        .await?
        .into_iter()
        .map(row)
        .collect();
    if query.by != StatsBy::Day {
        rows.sort_by(|a, b| {
            let size = |row: &StatsRow| row.usage.tokens_in + row.usage.tokens_out;
            let by_cost = b.usage.cost.total_cmp(&a.usage.cost);
            by_cost.then_with(|| size(b).cmp(&size(a)))
        });
    }
    let mut total = Usage::default();
    for row in &rows {
        total.add(&row.usage);
    }
    Ok(Json(Stats {
        by: query.by,
        total,
        rows,
        budget: budget(&api, query.directory.as_deref()).await?,
    }))
}

/// The budgets of a day, as they hold in this directory.
async fn budget(api: &Api, directory: Option<&str>) -> Result<Vec<BudgetEntry>, Failure> {
    let configs = api.engine.configs();
    let budget = match directory {
        Some(directory) => configs.for_directory(directory).budget,
        None => configs.user().budget,
    };
    if budget.day_cost.is_none() && budget.day_tokens.is_none() {
        return Ok(Vec::new());
    }
    let used = api.engine.store().used_today().await?;
    let entry = |key: &str, used: f64, limit: Option<f64>| {
        limit.map(|limit| BudgetEntry {
            key: key.to_owned(),
            used,
            limit,
        })
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact far beyond what is used on a day"
    )]
    let (tokens, most) = (
        used.tokens as f64,
        budget.day_tokens.map(|most| most as f64),
    );
    let entries = [
        entry("day_cost", used.cost, budget.day_cost),
        entry("day_tokens", tokens, most),
    ];
    Ok(entries.into_iter().flatten().collect())
}

fn by(by: StatsBy) -> UsageBy {
    match by {
        StatsBy::Day => UsageBy::Day,
        StatsBy::Agent => UsageBy::Agent,
        StatsBy::Model => UsageBy::Model,
        StatsBy::Session => UsageBy::Session,
        StatsBy::Project => UsageBy::Project,
    }
}

fn row(row: UsageRow) -> StatsRow {
    StatsRow {
        key: if row.key.is_empty() {
            "unknown".to_owned()
        } else {
            row.key
        },
        usage: Usage {
            delegations: row.delegations,
            active: row.active,
            complete: row.complete,
            error: row.error,
            cancelled: row.cancelled,
            timeout: row.timeout,
            tokens_in: row.tokens_in,
            tokens_out: row.tokens_out,
            cost: row.cost,
            ran_ms: row.ran_ms,
        },
    }
}
