//! The outbox's wakings: one for each batch that is to wake its parent, due until a model request has answered it.

use brigade_core::id::{DelegationId, SessionId};
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::StoreError;
use crate::rows::{WakeRow, parsed};

/// The wakings of a parent that have not been answered.
pub(crate) fn open(db: &Connection, parent: &SessionId) -> Result<Vec<WakeRow>, StoreError> {
    let rows = db
        .prepare_cached(
            "SELECT d.id, w.batch, w.message FROM wakes w JOIN delegations d ON d.seq = w.delegation
             WHERE w.parent = ?1 AND w.state IN ('due', 'sending') ORDER BY w.delegation",
        )?
        .query_map([parent.as_str()], |sql| {
            Ok(WakeRow {
                delegation: parsed(&sql.get::<_, String>(0)?)?,
                batch: sql.get(1)?,
                message: sql.get(2)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

/// Records that this message is to wake.
pub(crate) fn plan(
    db: &Connection,
    id: &DelegationId,
    message: &str,
    now: i64,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE wakes SET state = 'sending', message = ?2, changed_at = ?3
         WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1) AND state IN ('due', 'sending')",
    )?
    .execute(params![id.as_str(), message, now])?;
    Ok(())
}

impl Store {
    /// Records the intent to wake the parent by this message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wakes_sending(
        &self,
        ids: Vec<DelegationId>,
        message: String,
    ) -> Result<(), StoreError> {
        let now = self.now();
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                for id in &ids {
                    plan(db, id, &message, now)?;
                }
                Ok(())
            })
            .await
    }

    /// The parent has made a model request since, or needs none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wake_done(&self, id: &DelegationId) -> Result<bool, StoreError> {
        self.change(
            "UPDATE wakes SET state = 'done', changed_at = ?2
             WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1) AND state IN ('due', 'sending')",
            vec![Box::new(id.to_string()), Box::new(self.now())],
        )
        .await
    }
}
