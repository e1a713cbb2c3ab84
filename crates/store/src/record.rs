//! How a delegation stands in its row.

use brigade_core::delegation::{Delegation, Phase};
use brigade_core::id::DelegationId;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use crate::rows::{Progress, Row, at};

/// The columns of a [`Row`]; `d` is the delegation, `p` its prompt, `n` its notice.
pub(crate) const COLUMNS: &str = "d.record, p.prompt, d.title, d.summary, d.artifact, d.read_at, d.progress, d.ran_ms, n.state, d.seen";
/// The tables that these columns come from.
pub(crate) const TABLES: &str = "delegations d JOIN prompts p ON p.delegation = d.seq LEFT JOIN notices n ON n.delegation = d.seq";

/// Reads the columns of [`COLUMNS`].
pub(crate) fn row(sql: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let artifact: Option<String> = sql.get(4)?;
    let read_at: Option<i64> = sql.get(5)?;
    let progress: Option<String> = sql.get(6)?;
    let notice: Option<String> = sql.get(8)?;
    Ok(Row {
        delegation: record(&sql.get::<_, String>(0)?, sql.get(1)?)?,
        title: sql.get(2)?,
        summary: sql.get(3)?,
        artifact: artifact.map(Into::into),
        read_at: read_at.map(at).transpose()?,
        progress: json_or_default(progress.as_deref())?,
        ran_ms: u64::try_from(sql.get::<_, i64>(7)?).unwrap_or(0),
        notice: notice.unwrap_or_else(|| "none".to_owned()),
        seen: sql.get(9)?,
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(crate) fn json_or_default(text: Option<&str>) -> rusqlite::Result<Progress> {
    text.map_or_else(|| Ok(Progress::default()), json)
}

pub(crate) fn record(text: &str, prompt: String) -> rusqlite::Result<Delegation> {
    let mut delegation: Delegation = json(text)?;
    delegation.spec.prompt = prompt;
    Ok(delegation)
}

/// The record without its prompt, which has a table of its own.
pub(crate) fn record_json(delegation: &mut Delegation) -> Result<String, serde_json::Error> {
    let prompt = std::mem::take(&mut delegation.spec.prompt);
    let text = serde_json::to_string(delegation);
    delegation.spec.prompt = prompt;
    text
}

/// What a repeated delegation is looked up by; agent and prompt themselves decide.
pub(crate) fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Waiting { .. } => "waiting",
        Phase::Starting => "starting",
        Phase::Working => "working",
        Phase::Stopping { .. } => "stopping",
        Phase::Finishing { .. } => "finishing",
        Phase::Ended { .. } => "ended",
    }
}

/// A delegation's number in the store.
pub(crate) fn seq_of(db: &Connection, id: &DelegationId) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT seq FROM delegations WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()
}
