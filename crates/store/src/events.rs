//! The event log.

use brigade_core::id::DelegationId;
use rusqlite::{Row as SqlRow, params};

use crate::Store;
use crate::error::StoreError;
use crate::rows::{EventRow, at, parsed};

fn event(sql: &SqlRow<'_>) -> rusqlite::Result<EventRow> {
    let text: String = sql.get(3)?;
    Ok(EventRow {
        seq: sql.get(0)?,
        at: at(sql.get(1)?)?,
        delegation: parsed(&sql.get::<_, String>(2)?)?,
        event: serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                3,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?,
    })
}

impl Store {
    /// The events behind a place in the log, in order, at most so many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        self.0
            .workers
            .read(move |db| {
                let rows = db
                    .prepare_cached(
                        "SELECT e.seq, e.at, d.id, e.event FROM events e JOIN delegations d ON d.seq = e.delegation
                         WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2",
                    )?
                    .query_map(params![seq, limit], event)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// All events of one delegation, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn timeline(&self, id: &DelegationId) -> Result<Vec<EventRow>, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                let rows = db
                    .prepare_cached(
                        "SELECT e.seq, e.at, d.id, e.event FROM delegations d JOIN events e ON e.delegation = d.seq
                         WHERE d.id = ?1 ORDER BY e.seq",
                    )?
                    .query_map([id.as_str()], event)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }
}
