//! Looking delegations up: one, some, all that are open.

use brigade_core::id::{DelegationId, ProjectId, SessionId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::record::{COLUMNS, TABLES, json_or_default, record, row, seq_of};
use crate::rows::{ActiveRow, Counts, Found, Listed, Row};
use crate::{SCHEMA, Store, predecessor};

/// How many IDs an ambiguous prefix is answered with.
const NEAR: u32 = 10;

impl Store {
    /// Everything that has not ended, in the order of registration.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn load_active(&self) -> Result<Vec<ActiveRow>, StoreError> {
        self.0
            .workers
            .read(|db| {
                let rows = db
                    .prepare_cached(
                        "SELECT d.record, p.prompt, d.version, d.seq, d.progress, d.ran_ms
                         FROM delegations d INDEXED BY delegations_active JOIN prompts p ON p.delegation = d.seq
                         WHERE d.active = 1 ORDER BY d.seq",
                    )?
                    .query_map([], |sql| {
                        let progress: Option<String> = sql.get(4)?;
                        Ok(ActiveRow {
                            delegation: record(&sql.get::<_, String>(0)?, sql.get(1)?)?,
                            version: sql.get(2)?,
                            order: sql.get(3)?,
                            progress: json_or_default(progress.as_deref())?,
                            ran_ms: u64::try_from(sql.get::<_, i64>(5)?).unwrap_or(0),
                        })
                    })?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// One delegation of Brigade's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, id: &DelegationId) -> Result<Option<Row>, StoreError> {
        let id = id.clone();
        self.0.workers.read(move |db| Ok(get(db, &id)?)).await
    }

    /// The delegation that an ID or a beginning of one means; a whole ID always wins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(
        &self,
        prefix: &str,
        project: Option<&ProjectId>,
    ) -> Result<Found, StoreError> {
        let (prefix, project) = (prefix.to_owned(), project.cloned());
        self.0
            .workers
            .read(move |db| {
                let ids = matching(db, &prefix, project.as_ref(), NEAR)?;
                let one = match ids.as_slice() {
                    [] => return Ok(Found::None),
                    [one] => one.clone(),
                    many => match many.iter().find(|id| id.as_str() == prefix) {
                        Some(whole) => whole.clone(),
                        None => return Ok(Found::Many(ids)),
                    },
                };
                if let Some(row) = get(db, &one)?
                    && project
                        .as_ref()
                        .is_none_or(|project| row.delegation.spec.project == *project)
                {
                    return Ok(Found::One(Listed::Ours(Box::new(row))));
                }
                let file = predecessor::get(db, &one, project.as_ref())?;
                Ok(file.map_or(Found::None, |file| {
                    Found::One(Listed::Predecessor(Box::new(file)))
                }))
            })
            .await
    }

    /// IDs of a project that begin like this one, for somebody who has mistyped it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn near(
        &self,
        id: &DelegationId,
        project: &ProjectId,
    ) -> Result<Vec<DelegationId>, StoreError> {
        let head = id.as_str().split('-').next().unwrap_or_default().to_owned();
        let project = project.clone();
        self.0
            .workers
            .read(move |db| Ok(matching(db, &head, Some(&project), NEAR)?))
            .await
    }

    /// What of a root session is active, or ended and not read: oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_of_root(&self, root: &SessionId) -> Result<Vec<Row>, StoreError> {
        let root = root.clone();
        self.0
            .workers
            .read(move |db| {
                // Each half by an index of its own: a root may have a long past.
                let sql = format!(
                    "SELECT {COLUMNS} FROM {TABLES} WHERE d.seq IN (
                        SELECT seq FROM delegations INDEXED BY delegations_active WHERE root = ?1 AND active = 1
                        UNION ALL SELECT seq FROM delegations INDEXED BY delegations_unread
                         WHERE root = ?1 AND active = 0 AND read_at IS NULL)
                     ORDER BY d.seq"
                );
                let rows = db
                    .prepare_cached(&sql)?
                    .query_map([root.as_str()], row)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// Notes that a result has reached its parent: for nobody is it unread any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_read(&self, id: &DelegationId, reader: &str) -> Result<(), StoreError> {
        self.note_read(id, reader, true).await
    }

    /// Notes that somebody else read a result; for its parent it stays unread.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_read(&self, id: &DelegationId, reader: &str) -> Result<(), StoreError> {
        self.note_read(id, reader, false).await
    }

    async fn note_read(
        &self,
        id: &DelegationId,
        reader: &str,
        counts: bool,
    ) -> Result<(), StoreError> {
        let (of, reader) = (id.clone(), reader.to_owned());
        let now = self.now();
        let noted = self
            .0
            .workers
            .write(move |db| read(db, &of, &reader, counts, now))
            .await;
        if noted.is_ok() {
            self.tell(id);
        }
        noted
    }

    /// How many of what there are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        self.0
            .workers
            .read(|db| {
                let number = |sql: &str| -> rusqlite::Result<u64> {
                    db.prepare_cached(sql)?
                        .query_row([], |row| row.get::<_, i64>(0))
                        .map(|n| u64::try_from(n).unwrap_or(0))
                };
                let (running, queued, waiting) = db
                    .prepare_cached(
                        "SELECT count(*) FILTER (WHERE phase NOT IN ('queued', 'waiting')),
                                count(*) FILTER (WHERE phase = 'queued'), count(*) FILTER (WHERE phase = 'waiting')
                         FROM delegations INDEXED BY delegations_active WHERE active = 1",
                    )?
                    .query_row([], |row| {
                        let number = |at| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
                        Ok((number(0)?, number(1)?, number(2)?))
                    })?;
                Ok(Counts {
                    schema: u32::try_from(SCHEMA).unwrap_or(0),
                    running,
                    queued,
                    waiting,
                    unread: number(
                        "SELECT count(*) FROM delegations INDEXED BY delegations_unseen
                         WHERE active = 0 AND read_at IS NULL AND seen = 0",
                    )?,
                    notices_waiting: number("SELECT count(*) FROM notices WHERE state IN ('pending', 'leased', 'sending')")?,
                    total: number("SELECT count(*) FROM delegations")?,
                })
            })
            .await
    }
}

/// Writes down that somebody has read a result; whether that counts as its parent's own reading.
pub(crate) fn read(
    db: &Connection,
    id: &DelegationId,
    reader: &str,
    counts: bool,
    now: i64,
) -> Result<(), StoreError> {
    let Some(seq) = seq_of(db, id)? else {
        return Ok(());
    };
    db.prepare_cached("INSERT INTO reads (delegation, at, reader) VALUES (?1, ?2, ?3)")?
        .execute(params![seq, now, reader])?;
    db.prepare_cached("UPDATE delegations SET seen = 1 WHERE seq = ?1 AND seen = 0")?
        .execute([seq])?;
    if counts {
        db.prepare_cached(
            "UPDATE delegations SET read_at = ?2 WHERE seq = ?1 AND active = 0 AND read_at IS NULL",
        )?
        .execute(params![seq, now])?;
    }
    Ok(())
}

pub(crate) fn get(db: &Connection, id: &DelegationId) -> rusqlite::Result<Option<Row>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE d.id = ?1");
    db.prepare_cached(&sql)?
        .query_row([id.as_str()], row)
        .optional()
}

/// IDs that begin with this, ours and the predecessor's, each once.
fn matching(
    db: &Connection,
    prefix: &str,
    project: Option<&ProjectId>,
    limit: u32,
) -> rusqlite::Result<Vec<DelegationId>> {
    let ids = db
        .prepare_cached(
            // Each half limited by itself: a short prefix may match everything there is.
            "SELECT id FROM (SELECT id FROM delegations
                WHERE id >= ?1 AND id < ?2 AND (?3 IS NULL OR project = ?3) ORDER BY id LIMIT ?4)
             UNION SELECT id FROM (SELECT id FROM foreign_artifacts
                WHERE id >= ?1 AND id < ?2 AND (?3 IS NULL OR project = ?3) ORDER BY id LIMIT ?4)
             ORDER BY id LIMIT ?4",
        )?
        .query_map(
            // IDs hold letters and hyphens only; '~' sorts behind all of them.
            params![
                prefix,
                format!("{prefix}~"),
                project.map(ProjectId::as_str),
                limit
            ],
            |row| row.get::<_, String>(0),
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}
