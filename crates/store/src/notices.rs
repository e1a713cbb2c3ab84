//! The outbox's notices. Every change compares the state it comes from.

use brigade_core::delegation::{Delegation, State};
use brigade_core::id::{DelegationId, SessionId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, ToSql, params};

use crate::error::StoreError;
use crate::lookups::read;
use crate::rows::{Ended, NoticeRow, NoticeState, Wake, WakeRow, count, ms, parsed};
use crate::{Store, wakes};

const COLUMNS: &str = "d.id, n.parent, n.batch, n.remaining,
    (SELECT count(*) FROM delegations m WHERE m.parent = n.parent AND m.batch = n.batch),
    n.model_part, n.person_part, n.state, n.channel, n.connection, n.message";
const TABLES: &str = "notices n JOIN delegations d ON d.seq = n.delegation";
/// The same by the index of those that are open: a parent may have a long past.
const OPEN: &str = "notices n INDEXED BY notices_open JOIN delegations d ON d.seq = n.delegation";

fn notice(sql: &SqlRow<'_>) -> rusqlite::Result<NoticeRow> {
    let state: String = sql.get(7)?;
    Ok(NoticeRow {
        delegation: parsed(&sql.get::<_, String>(0)?)?,
        parent: parsed(&sql.get::<_, String>(1)?)?,
        batch: sql.get(2)?,
        remaining: count(sql.get(3)?),
        batch_size: count(sql.get(4)?),
        model_part: sql.get(5)?,
        person_part: sql.get(6)?,
        state: NoticeState::parse(&state).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                7,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?,
        channel: sql.get(8)?,
        connection: sql.get(9)?,
        message: sql.get(10)?,
    })
}

/// Decides, in the transaction that ends a delegation, what its parent is to hear and whether that is
/// to wake it.
pub(crate) fn decide(
    db: &Connection,
    seq: i64,
    delegation: &Delegation,
    ended: &Ended,
    now: Timestamp,
) -> Result<(), StoreError> {
    let parent = delegation.spec.parent.as_str();
    let batch: i64 = db
        .prepare_cached("SELECT batch FROM delegations WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))?;
    let remaining: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM delegations WHERE parent = ?1 AND batch = ?2 AND active = 1",
        )?
        .query_row(params![parent, batch], |row| row.get(0))?;
    db.prepare_cached(
        "INSERT INTO notices (delegation, parent, batch, remaining, model_part, person_part, created_at, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?
    .execute(params![seq, parent, batch, remaining, ended.model_part, ended.person_part, ms(now)])?;
    let wakes = match ended.wake {
        Wake::All => remaining == 0,
        Wake::Each => true,
        Wake::Never => false,
    };
    if wakes {
        db.prepare_cached(
            "INSERT INTO wakes (delegation, parent, batch, created_at, changed_at) VALUES (?1, ?2, ?3, ?4, ?4)",
        )?
        .execute(params![seq, parent, batch, ms(now)])?;
    }
    Ok(())
}

fn open_notices(db: &Connection, parent: &SessionId) -> Result<Vec<NoticeRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {OPEN}
         WHERE n.parent = ?1 AND n.state IN ('pending', 'leased', 'sending') ORDER BY n.created_at, n.delegation"
    );
    let rows = db
        .prepare_cached(&sql)?
        .query_map([parent.as_str()], notice)?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

impl Store {
    pub(crate) async fn change(
        &self,
        sql: &'static str,
        values: Vec<Box<dyn ToSql + Send>>,
    ) -> Result<bool, StoreError> {
        self.0
            .workers
            .write(move |db| -> Result<bool, StoreError> {
                let values: Vec<&dyn ToSql> = values
                    .iter()
                    .map(|value| value.as_ref() as &dyn ToSql)
                    .collect();
                Ok(db.prepare_cached(sql)?.execute(values.as_slice())? > 0)
            })
            .await
    }

    /// The notices of a parent that have not reached it, in the order of their delegations.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_notices(&self, parent: &SessionId) -> Result<Vec<NoticeRow>, StoreError> {
        let parent = parent.clone();
        self.0
            .workers
            .read(move |db| open_notices(db, &parent))
            .await
    }

    /// All that waits for a parent at one moment: the notices that have not reached it, and the wakings that have not
    /// been answered.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn outbox(
        &self,
        parent: &SessionId,
    ) -> Result<(Vec<NoticeRow>, Vec<WakeRow>), StoreError> {
        let parent = parent.clone();
        self.0
            .workers
            .read(move |db| Ok((open_notices(db, &parent)?, wakes::open(db, &parent)?)))
            .await
    }

    /// Title and state of each of the batch that this delegation's end has ended; empty where others of it had not
    /// ended then. Which one was the last is decided with its end: no two are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn batch_ended_by(
        &self,
        id: &DelegationId,
    ) -> Result<Vec<(String, State)>, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                let rows = db
                    .prepare_cached(
                        "SELECT m.title, m.state
                         FROM delegations d
                         JOIN notices n ON n.delegation = d.seq AND n.remaining = 0
                         JOIN delegations m ON m.parent = n.parent AND m.batch = n.batch
                         WHERE d.id = ?1 ORDER BY m.seq",
                    )?
                    .query_map([id.as_str()], |sql| {
                        Ok((sql.get(0)?, parsed(&sql.get::<_, String>(1)?)?))
                    })?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// The parents that have anything waiting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn parents_with_pending(&self) -> Result<Vec<SessionId>, StoreError> {
        self.0
            .workers
            .read(|db| {
                let parents = db
                    .prepare_cached(
                        "SELECT parent FROM notices WHERE state IN ('pending', 'leased', 'sending')
                         UNION SELECT parent FROM wakes WHERE state IN ('due', 'sending')",
                    )?
                    .query_map([], |row| parsed(&row.get::<_, String>(0)?))?
                    .collect::<Result<_, _>>()?;
                Ok(parents)
            })
            .await
    }

    /// Leases pending notices, all or none, to the `chat.message` hook of one host process.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lease_notices(
        &self,
        ids: Vec<DelegationId>,
        channel: String,
        connection: String,
    ) -> Result<bool, StoreError> {
        let now = self.now();
        self.0
            .workers
            .write(move |db| -> Result<bool, StoreError> {
                // Looked at first, so that nothing has to be undone: an undoing could not tell a lease of
                // this call from one that another connection already held.
                for id in &ids {
                    let pending: bool = db
                        .prepare_cached(
                            "SELECT EXISTS (SELECT 1 FROM notices WHERE state = 'pending'
                             AND delegation = (SELECT seq FROM delegations WHERE id = ?1))",
                        )?
                        .query_row([id.as_str()], |row| row.get(0))?;
                    if !pending {
                        return Ok(false);
                    }
                }
                for id in &ids {
                    db.prepare_cached(
                        "UPDATE notices SET state = 'leased', channel = ?2, connection = ?3, changed_at = ?4
                         WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1) AND state = 'pending'",
                    )?
                    .execute(params![id.as_str(), channel, connection, now])?;
                }
                Ok(true)
            })
            .await
    }

    /// Records the intent to send these notices in this message, which is to answer for these wakings too; or that a
    /// bridge has put them there. Gives those that may be sent; where there are none, nothing is recorded.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sending_notices(
        &self,
        ids: Vec<DelegationId>,
        message: String,
        channel: String,
        connection: String,
        wakes: Vec<DelegationId>,
    ) -> Result<Vec<DelegationId>, StoreError> {
        let now = self.now();
        self.0
            .workers
            .write(move |db| -> Result<_, StoreError> {
                let mut sending = Vec::new();
                for id in ids {
                    let changed = db
                        .prepare_cached(
                            "UPDATE notices SET state = 'sending', message = ?2, channel = ?3, connection = ?4, changed_at = ?5
                             WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1) AND state IN ('pending', 'leased')",
                        )?
                        .execute(params![id.as_str(), message, channel, connection, now])?;
                    if changed > 0 {
                        sending.push(id);
                    }
                }
                if !sending.is_empty() {
                    for wake in &wakes {
                        wakes::plan(db, wake, &message, now)?;
                    }
                }
                Ok(sending)
            })
            .await
    }

    /// A notice was seen in the session; by whom its whole result is read with it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn notice_delivered(
        &self,
        id: &DelegationId,
        message: String,
        reader: Option<&SessionId>,
    ) -> Result<bool, StoreError> {
        let (of, reader, now) = (id.clone(), reader.cloned(), self.now());
        let delivered = self
            .0
            .workers
            .write(move |db| -> Result<bool, StoreError> {
                let changed = db
                    .prepare_cached(
                        "UPDATE notices SET state = 'delivered', message = ?2, changed_at = ?3
                         WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1) AND state IN ('leased', 'sending')",
                    )?
                    .execute(params![of.as_str(), message, now])?;
                if let Some(reader) = reader {
                    read(db, &of, reader.as_str(), true, now)?;
                }
                Ok(changed > 0)
            })
            .await?;
        self.tell(id);
        Ok(delivered)
    }

    /// A notice was not sent after all, or is provably not there. Where the message it was meant for may still come, that
    /// stays known, so that a repeat through the same process is the same message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn notice_back(&self, id: &DelegationId, may_come: bool) -> Result<bool, StoreError> {
        self.change(
            "UPDATE notices SET state = 'pending', changed_at = ?2,
                    message = CASE WHEN channel = 'prompt' AND ?3 THEN message END
             WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1) AND state IN ('leased', 'sending')",
            vec![
                Box::new(id.to_string()),
                Box::new(self.now()),
                Box::new(may_come),
            ],
        )
        .await
    }

    /// The parent has the result already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn notice_needless(&self, id: &DelegationId) -> Result<bool, StoreError> {
        self.change(
            "UPDATE notices SET state = 'needless', changed_at = ?2
             WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1) AND state = 'pending'",
            vec![Box::new(id.to_string()), Box::new(self.now())],
        )
        .await
    }

    /// The parent session is gone: nothing waits for it any more. Whose notices were still open is returned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn parent_gone(&self, parent: &SessionId) -> Result<Vec<DelegationId>, StoreError> {
        let parent = parent.clone();
        let now = self.now();
        self.0
            .workers
            .write(move |db| -> Result<_, StoreError> {
                let gone = db
                    .prepare_cached(
                        "UPDATE notices SET state = 'needless', changed_at = ?2
                         WHERE parent = ?1 AND state IN ('pending', 'leased', 'sending')
                         RETURNING (SELECT id FROM delegations WHERE seq = delegation)",
                    )?
                    .query_map(params![parent.as_str(), now], |sql| {
                        parsed(&sql.get::<_, String>(0)?)
                    })?
                    .collect::<Result<_, _>>()?;
                db.prepare_cached(
                    "UPDATE wakes SET state = 'done', changed_at = ?2 WHERE parent = ?1 AND state IN ('due', 'sending')",
                )?
                .execute(params![parent.as_str(), now])?;
                Ok(gone)
            })
            .await
    }

    /// The notices that this message of the parent's session holds, in the order of their delegations.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn told_by(
        &self,
        parent: &SessionId,
        message: &str,
    ) -> Result<Vec<NoticeRow>, StoreError> {
        let (parent, message) = (parent.clone(), message.to_owned());
        self.0
            .workers
            .read(move |db| {
                let sql = format!(
                    "SELECT {COLUMNS} FROM {TABLES}
                     WHERE n.parent = ?1 AND n.message = ?2 AND n.state = 'delivered' ORDER BY n.created_at, n.delegation"
                );
                let rows = db
                    .prepare_cached(&sql)?
                    .query_map(params![parent.as_str(), message], notice)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// The notice of a batch that stands last in the parent's session; none where every one was needless.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn last_delivered(
        &self,
        parent: &SessionId,
        batch: i64,
    ) -> Result<Option<NoticeRow>, StoreError> {
        let parent = parent.clone();
        self.0
            .workers
            .read(move |db| {
                let sql = format!(
                    "SELECT {COLUMNS} FROM {TABLES}
                     WHERE n.parent = ?1 AND n.batch = ?2 AND n.state = 'delivered' ORDER BY n.message DESC LIMIT 1"
                );
                Ok(db
                    .prepare_cached(&sql)?
                    .query_row(params![parent.as_str(), batch], notice)
                    .optional()?)
            })
            .await
    }
}
