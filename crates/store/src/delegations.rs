//! Delegations: registering, transitions, progress, look-ups and lists.

use brigade_core::delegation::{Delegation, Event, Phase, Spec, State};
use brigade_core::id::{Attempt, DelegationId, ProjectId, SessionId};
use brigade_core::text::title;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params, params_from_iter};
use sha2::{Digest, Sha256};

use crate::error::{CommitError, StoreError};
use crate::rows::{
    ActiveRow, Change, Committed, Counts, Found, ListFilter, Listed, Progress, Registered,
    Registration, Row, at, attempt, count, ms,
};
use crate::{SCHEMA, Store, notices, predecessor, search};

/// The columns of a [`Row`]; `d` is the delegation, `p` its prompt, `n` its notice.
pub(crate) const COLUMNS: &str =
    "d.record, p.prompt, d.title, d.summary, d.artifact, d.read_at, d.progress, d.ran_ms, n.state";
/// The tables that these columns come from.
pub(crate) const TABLES: &str = "delegations d JOIN prompts p ON p.delegation = d.seq LEFT JOIN notices n ON n.delegation = d.seq";

/// How many IDs an ambiguous prefix is answered with.
const NEAR: u32 = 10;

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
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn json_or_default(text: Option<&str>) -> rusqlite::Result<Progress> {
    text.map_or_else(|| Ok(Progress::default()), json)
}

fn record(text: &str, prompt: String) -> rusqlite::Result<Delegation> {
    let mut delegation: Delegation = json(text)?;
    delegation.spec.prompt = prompt;
    Ok(delegation)
}

/// The record without its prompt, which has a table of its own.
fn record_json(delegation: &mut Delegation) -> Result<String, serde_json::Error> {
    let prompt = std::mem::take(&mut delegation.spec.prompt);
    let text = serde_json::to_string(delegation);
    delegation.spec.prompt = prompt;
    text
}

/// What a repeated delegation is looked up by; agent and prompt themselves decide.
fn digest(spec: &Spec) -> String {
    let digest = Sha256::new()
        .chain_update(&spec.agent)
        .chain_update([0])
        .chain_update(&spec.prompt)
        .finalize();
    digest.iter().take(16).map(|b| format!("{b:02x}")).collect()
}

fn phase_name(phase: &Phase) -> &'static str {
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

fn active_in_root(db: &Connection, root: &str) -> rusqlite::Result<usize> {
    db.prepare_cached("SELECT count(*) FROM delegations WHERE root = ?1 AND active = 1")?
        .query_row([root], |row| row.get(0))
        .map(count)
}

impl Store {
    /// Registers a delegation: it joins the parent's batch while any member of it is active, else it
    /// opens the next.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored then.
    pub async fn register(&self, spec: Spec, now: Timestamp) -> Result<Registration, StoreError> {
        let (registration, last) = self
            .0
            .workers
            .write(move |db| register(db, spec, now))
            .await?;
        if let Some(last) = last {
            self.0.grown.send_replace(last);
        }
        Ok(registration)
    }

    /// Stores a transition, with everything that belongs to it, in one transaction.
    ///
    /// # Errors
    /// [`CommitError::Stale`] where the record is not the one that was decided on; nothing was stored.
    pub async fn commit(&self, change: Change) -> Result<Committed, CommitError> {
        let (committed, last) = self.0.workers.write(move |db| commit(db, change)).await?;
        if let Some(last) = last {
            self.0.grown.send_replace(last);
        }
        Ok(committed)
    }

    /// Writes down how far a run is. Ignored once the outcome is decided or another attempt runs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_progress(
        &self,
        id: &DelegationId,
        of: Attempt,
        progress: Progress,
        partial: Option<&str>,
        ran_ms: u64,
    ) -> Result<(), StoreError> {
        let (id, partial) = (id.clone(), partial.map(str::to_owned));
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                let ran_ms = i64::try_from(ran_ms).unwrap_or(i64::MAX);
                let changed = db
                    .prepare_cached(
                        "UPDATE delegations SET progress = ?3, ran_ms = ?4
                         WHERE id = ?1 AND attempt = ?2 AND phase IN ('starting', 'working', 'stopping')",
                    )?
                    .execute(params![id.as_str(), attempt(of), serde_json::to_string(&progress)?, ran_ms])?;
                if changed > 0
                    && let Some(partial) = partial
                {
                    db.prepare_cached(
                        "INSERT INTO texts (delegation, attempt, decided, text)
                         SELECT seq, ?2, 0, ?3 FROM delegations WHERE id = ?1
                         ON CONFLICT (delegation) DO UPDATE SET attempt = excluded.attempt, text = excluded.text
                         WHERE decided = 0",
                    )?
                    .execute(params![id.as_str(), attempt(of), partial])?;
                }
                Ok(())
            })
            .await
    }

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

    /// A list, newest first, and how many there are beyond it. Prompts are left out (they are empty): a
    /// long list of them would fill the memory for nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, filter: ListFilter) -> Result<(Vec<Listed>, u64), StoreError> {
        self.0.workers.read(move |db| list(db, &filter)).await
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
                        SELECT seq FROM delegations WHERE root = ?1 AND active = 1
                        UNION ALL SELECT seq FROM delegations WHERE root = ?1 AND active = 0 AND read_at IS NULL)
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

    /// The answer, or the text so far.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn text(&self, id: &DelegationId) -> Result<Option<String>, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                Ok(db
                    .prepare_cached(
                        "SELECT text FROM texts WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1)",
                    )?
                    .query_row([id.as_str()], |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// Notes that a result was read by its parent or a person: it is unread no more.
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
        let (id, reader) = (id.clone(), reader.to_owned());
        let now = self.now();
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                let Some(seq) = seq_of(db, &id)? else {
                    return Ok(());
                };
                db.prepare_cached("INSERT INTO reads (delegation, at, reader) VALUES (?1, ?2, ?3)")?
                    .execute(params![seq, now, reader])?;
                if counts {
                    db.prepare_cached(
                        "UPDATE delegations SET read_at = ?2 WHERE seq = ?1 AND active = 0 AND read_at IS NULL",
                    )?
                    .execute(params![seq, now])?;
                }
                Ok(())
            })
            .await
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
                    unread: number("SELECT count(*) FROM delegations WHERE active = 0 AND read_at IS NULL")?,
                    notices_waiting: number("SELECT count(*) FROM notices WHERE state IN ('pending', 'leased', 'sending')")?,
                    total: number("SELECT count(*) FROM delegations")?,
                })
            })
            .await
    }
}

fn register(
    db: &Connection,
    spec: Spec,
    now: Timestamp,
) -> Result<(Registration, Option<i64>), StoreError> {
    let digest = digest(&spec);
    let repeated: Option<String> = db
        .prepare_cached(
            "SELECT d.id FROM prompts p CROSS JOIN delegations d ON d.seq = p.delegation
             WHERE p.digest = ?3 AND p.prompt = ?4 AND d.root = ?1 AND d.active = 1 AND d.agent = ?2",
        )?
        .query_row(params![spec.root.as_str(), spec.agent, digest, spec.prompt], |row| row.get(0))
        .optional()?;
    if let Some(id) = repeated
        && let Ok(id) = id.parse()
        && let Some(row) = get(db, &id)?
    {
        let active = active_in_root(db, spec.root.as_str())?;
        let row = Box::new(row);
        return Ok((Registration::Existing { row, active }, None));
    }
    if seq_of(db, &spec.id)?.is_some() || predecessor::get(db, &spec.id, None)?.is_some() {
        return Ok((Registration::IdTaken, None));
    }
    let batch = next_batch(db, spec.parent.as_str())?;
    let title = title::of_prompt(&spec.prompt);
    let mut delegation = Delegation::new(spec);
    let text = record_json(&mut delegation)?;
    let spec = &delegation.spec;
    db.prepare_cached(
        "INSERT INTO delegations (id, project, root, parent, batch, agent, title, state, phase, registered_at, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'registered', 'queued', ?8, ?9)",
    )?
    .execute(params![
        spec.id.as_str(),
        spec.project.as_str(),
        spec.root.as_str(),
        spec.parent.as_str(),
        batch,
        spec.agent,
        title,
        ms(now),
        text,
    ])?;
    let order = db.last_insert_rowid();
    db.prepare_cached("INSERT INTO prompts (delegation, prompt, digest) VALUES (?1, ?2, ?3)")?
        .execute(params![order, spec.prompt, digest])?;
    search::insert(
        db,
        order,
        spec.project.as_str(),
        &title,
        "",
        &spec.prompt,
        "",
    )?;
    let event = append(db, order, now, &Event::Registered)?;
    let active = active_in_root(db, spec.root.as_str())?;
    let registered = Registered {
        version: 1,
        order,
        active,
    };
    Ok((Registration::New(registered), Some(event)))
}

/// The parent's batch while any member of it is active, else the next. Two look-ups in one index: a batch
/// may be large.
fn next_batch(db: &Connection, parent: &str) -> rusqlite::Result<i64> {
    let last: Option<i64> = db
        .prepare_cached("SELECT max(batch) FROM delegations WHERE parent = ?1")?
        .query_row([parent], |row| row.get(0))?;
    let Some(last) = last else {
        return Ok(1);
    };
    let active = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM delegations WHERE parent = ?1 AND batch = ?2 AND active = 1)",
        )?
        .query_row(params![parent, last], |row| row.get(0))?;
    Ok(if active { last } else { last + 1 })
}

fn append(db: &Connection, seq: i64, now: Timestamp, event: &Event) -> Result<i64, StoreError> {
    db.prepare_cached("INSERT INTO events (delegation, at, event) VALUES (?1, ?2, ?3)")?
        .execute(params![seq, ms(now), serde_json::to_string(event)?])?;
    Ok(db.last_insert_rowid())
}

fn commit(db: &Connection, change: Change) -> Result<(Committed, Option<i64>), CommitError> {
    let Change {
        id,
        expect_version,
        mut delegation,
        events,
        at: now,
        text,
        ended,
    } = change;
    let record = record_json(&mut delegation)?;
    let version = expect_version + 1;
    let changed = db
        .prepare_cached(
            "UPDATE delegations SET version = ?3, record = ?4, state = ?5, phase = ?6, attempt = ?7, child = ?8,
                    started_at = ?9, ended_at = ?10, active = ?11
             WHERE id = ?1 AND version = ?2 AND active = 1",
        )?
        .execute(params![
            id.as_str(),
            expect_version,
            version,
            record,
            delegation.state.name(),
            phase_name(&delegation.phase),
            attempt(delegation.attempt),
            delegation.child.as_ref().map(SessionId::as_str),
            delegation.started_at.map(ms),
            delegation.ended_at.map(ms),
            !delegation.state.is_terminal(),
        ])?;
    let Some(seq) = seq_of(db, &id)? else {
        return Err(CommitError::Stale(id));
    };
    if changed == 0 {
        return Err(CommitError::Stale(id));
    }
    let interrupted = events
        .iter()
        .any(|event| matches!(event, Event::Interrupted { .. } | Event::Decided { .. }));
    if interrupted {
        db.prepare_cached("UPDATE delegations SET ran_ms = 0 WHERE seq = ?1")?
            .execute([seq])?;
    }
    let mut last = None;
    for event in &events {
        last = Some(append(db, seq, now, event)?);
    }
    if delegation.outcome().is_some() && !delegation.state.is_terminal() {
        decide(db, seq, &delegation, text.as_deref())?;
    }
    if let Some(ended) = ended {
        db.prepare_cached(
            "UPDATE delegations SET title = ?2, summary = ?3, artifact = ?4 WHERE seq = ?1",
        )?
        .execute(params![
            seq,
            ended.title,
            ended.summary,
            ended.artifact.to_string_lossy()
        ])?;
        let result: Option<String> = db
            .prepare_cached("SELECT substr(text, 1, ?2) FROM texts WHERE delegation = ?1")?
            .query_row(params![seq, search::INDEXED], |row| row.get(0))
            .optional()?;
        let spec = &delegation.spec;
        search::replace(
            db,
            seq,
            spec.project.as_str(),
            &ended.title,
            &ended.summary,
            &spec.prompt,
            result.as_deref().unwrap_or_default(),
        )?;
        if ended.notify {
            notices::decide(db, seq, &delegation, &ended, now)?;
        } else {
            // Nobody is left to read it.
            db.prepare_cached("UPDATE delegations SET read_at = ?2 WHERE seq = ?1")?
                .execute(params![seq, ms(now)])?;
        }
    }
    Ok((Committed { version }, last))
}

/// Stores the decided text, once: without a new one what had streamed stands.
fn decide(
    db: &Connection,
    seq: i64,
    delegation: &Delegation,
    text: Option<&str>,
) -> Result<(), StoreError> {
    match text {
        Some(text) if !text.is_empty() => {
            db.prepare_cached(
                "INSERT INTO texts (delegation, attempt, decided, text) VALUES (?1, ?2, 1, ?3)
                 ON CONFLICT (delegation) DO UPDATE
                 SET attempt = excluded.attempt, decided = 1, text = excluded.text WHERE decided = 0",
            )?
            .execute(params![seq, attempt(delegation.attempt), text])?;
        }
        _ => {
            db.prepare_cached("UPDATE texts SET decided = 1 WHERE delegation = ?1")?
                .execute([seq])?;
        }
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

fn list(db: &Connection, filter: &ListFilter) -> Result<(Vec<Listed>, u64), StoreError> {
    let mut conditions = Vec::new();
    let mut values: Vec<String> = Vec::new();
    let given = [
        ("project", filter.project.as_ref().map(ProjectId::as_str)),
        ("root", filter.root.as_ref().map(SessionId::as_str)),
        ("state", filter.state.map(State::name)),
    ];
    for (column, value) in given {
        if let Some(value) = value {
            values.push(value.to_owned());
            conditions.push(format!("d.{column} = ?{}", values.len()));
        }
    }
    let clause = if conditions.is_empty() {
        "1".to_owned()
    } else {
        conditions.join(" AND ")
    };
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    // Both kinds by time, each by its own index; merged here, so that neither has to be read whole.
    let columns = COLUMNS.replace("p.prompt", "''");
    let ours = format!(
        "SELECT {columns} FROM delegations d LEFT JOIN notices n ON n.delegation = d.seq
         WHERE {clause} ORDER BY d.seq DESC LIMIT {limit}"
    );
    let mut rows: Vec<(i64, Listed)> = db
        .prepare_cached(&ours)?
        .query_map(params_from_iter(&values), row)?
        .map(|row| {
            row.map(|row| {
                (
                    ms(row.delegation.spec.registered_at),
                    Listed::Ours(Box::new(row)),
                )
            })
        })
        .collect::<Result<_, _>>()?;
    for file in predecessor::list(db, &clause, &values, limit)? {
        rows.push((ms(file.started_at), Listed::Predecessor(Box::new(file))));
    }
    rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let number = |table: &str| -> rusqlite::Result<i64> {
        db.prepare_cached(&format!("SELECT count(*) FROM {table} d WHERE {clause}"))?
            .query_row(params_from_iter(&values), |row| row.get(0))
    };
    let total = count(number("delegations")? + number("foreign_artifacts")?);
    rows.truncate(limit);
    let more = u64::try_from(total.saturating_sub(rows.len())).unwrap_or(0);
    Ok((rows.into_iter().map(|(_, row)| row).collect(), more))
}
