//! What delegations have used: days, sums.

use brigade_core::id::{ProjectId, SessionId};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::types::Value;
use rusqlite::{Connection, Row as SqlRow, params, params_from_iter};

use crate::Store;
use crate::error::StoreError;

/// By what sums are broken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// The local day on which it ended; what is active counts for the present day.
    Day,
    /// The agent.
    Agent,
    /// The model; empty where it is not known.
    Model,
    /// The root session.
    Session,
    /// The project.
    Project,
}

/// What is summed.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Only this project's.
    pub project: Option<ProjectId>,
    /// Only this root session's.
    pub root: Option<SessionId>,
    /// Only what ended on this day or later, or is active.
    pub since: Option<Date>,
}

/// What some delegations have used together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsageRow {
    /// What they have in common.
    pub key: String,
    /// How many there are.
    pub delegations: u64,
    /// How many of them are registered or running.
    pub active: u64,
    /// How many ended with an answer.
    pub complete: u64,
    /// How many ended in an error.
    pub error: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// How many were over their time.
    pub timeout: u64,
    /// Tokens read, cached ones included.
    pub tokens_in: u64,
    /// Tokens written, reasoning included.
    pub tokens_out: u64,
    /// Cost in US dollars, as the host counts it.
    pub cost: f64,
    /// Running time in milliseconds.
    pub ran_ms: u64,
}

/// What was used so far, for a budget to be held against.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    /// Cost in US dollars.
    pub cost: f64,
    /// Tokens read and written.
    pub tokens: u64,
}

/// The local day in the daemon's time zone.
fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::system()).date()
}

/// The local day as it is stored.
pub(crate) fn day(at: Timestamp) -> String {
    date(at).to_string()
}

/// A number as it is stored; what is beyond the store's range is not worth telling apart.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(sql: &SqlRow<'_>, at: usize) -> rusqlite::Result<u64> {
    sql.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0))
}

impl Store {
    /// What was used, broken down. Nothing is known of what the predecessor's have used, so they do not count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage(
        &self,
        filter: UsageFilter,
        by: UsageBy,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let today = day(self.0.clock.now());
        self.0
            .workers
            .read(move |db| Ok(usage(db, &filter, by, today)?))
            .await
    }

    /// What the delegations of a root session have used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn used_in_session(&self, root: &SessionId) -> Result<Used, StoreError> {
        let root = root.clone();
        self.0
            .workers
            .read(move |db| {
                Ok(sum(
                    db,
                    "delegations INDEXED BY delegations_by_root WHERE root = ?1",
                    root.as_str(),
                )?)
            })
            .await
    }

    /// What was used on the present local day, over all projects: by those that ended on it, and by those that are
    /// active, whenever they began.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn used_today(&self) -> Result<Used, StoreError> {
        let today = day(self.0.clock.now());
        self.0
            .workers
            .read(move |db| {
                let ended = sum(
                    db,
                    "delegations INDEXED BY delegations_by_day WHERE day = ?1",
                    &today,
                )?;
                let active = sum(
                    db,
                    "delegations INDEXED BY delegations_active WHERE active = 1 AND ?1 <> ''",
                    &today,
                )?;
                Ok(Used {
                    cost: ended.cost + active.cost,
                    tokens: ended.tokens.saturating_add(active.tokens),
                })
            })
            .await
    }
}

fn sum(db: &Connection, from: &str, value: &str) -> rusqlite::Result<Used> {
    let sql = format!("SELECT total(cost), coalesce(sum(tokens_in + tokens_out), 0) FROM {from}");
    db.prepare_cached(&sql)?.query_row(params![value], |row| {
        Ok(Used {
            cost: row.get(0)?,
            tokens: number(row, 1)?,
        })
    })
}

fn usage(
    db: &Connection,
    filter: &UsageFilter,
    by: UsageBy,
    today: String,
) -> rusqlite::Result<Vec<UsageRow>> {
    let key = match by {
        UsageBy::Day => "coalesce(day, ?1)",
        UsageBy::Agent => "agent",
        UsageBy::Model => "model",
        UsageBy::Session => "root",
        UsageBy::Project => "project",
    };
    let index = if filter.root.is_some() {
        "delegations_by_root"
    } else {
        "delegations_by_project"
    };
    let mut values: Vec<Value> = vec![today.into()];
    let mut clause = "?1 <> ''".to_owned();
    let mut add = |condition: &str, value: Option<String>| {
        if let Some(value) = value {
            values.push(value.into());
            clause += &format!(" AND {condition} ?{}", values.len());
        }
    };
    add(
        "project =",
        filter.project.as_ref().map(ToString::to_string),
    );
    add("root =", filter.root.as_ref().map(ToString::to_string));
    add(
        "coalesce(day, ?1) >=",
        filter.since.map(|date| date.to_string()),
    );
    let sql = format!(
        "SELECT {key}, count(*), sum(active), sum(state = 'complete'), sum(state = 'error'),
                sum(state = 'cancelled'), sum(state = 'timeout'), sum(tokens_in), sum(tokens_out), total(cost),
                sum(spent_ms + ran_ms)
         FROM delegations INDEXED BY {index} WHERE {clause} GROUP BY 1 ORDER BY 1"
    );
    db.prepare_cached(&sql)?
        .query_map(params_from_iter(values), |row| {
            Ok(UsageRow {
                key: row.get(0)?,
                delegations: number(row, 1)?,
                active: number(row, 2)?,
                complete: number(row, 3)?,
                error: number(row, 4)?,
                cancelled: number(row, 5)?,
                timeout: number(row, 6)?,
                tokens_in: number(row, 7)?,
                tokens_out: number(row, 8)?,
                cost: row.get(9)?,
                ran_ms: number(row, 10)?,
            })
        })?
        .collect()
}
