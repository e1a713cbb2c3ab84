//! What changes a delegation: registering, transitions, progress.

use brigade_core::delegation::{Delegation, Event, Spec};
use brigade_core::id::{Attempt, DelegationId, SessionId};
use brigade_core::text::title;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::error::{CommitError, StoreError};
use crate::lookups::get;
use crate::record::{phase_name, record_json, seq_of};
use crate::rows::{
    Along, Change, Committed, Progress, Registered, Registration, Row, attempt, count, ms,
};
use crate::{Store, notices, predecessor, search, texts, usage, worktrees};

/// What a repeated delegation is known by: the same agent and the same prompt, in the same session where it goes on
/// in an earlier one's, in the same directory where no parent session stands for one, with the same beginning where it
/// begins with another one's changes.
fn digest(spec: &Spec) -> String {
    let mut hasher = Sha256::new();
    hasher.update(spec.agent.as_bytes());
    hasher.update([0]);
    hasher.update(spec.prompt.as_bytes());
    if spec.from_shell() {
        hasher.update([0]);
        hasher.update(spec.directory.as_bytes());
    }
    if let Some(earlier) = &spec.continues {
        hasher.update([0]);
        hasher.update(earlier.child.as_str().as_bytes());
    }
    if let Some(from) = spec.worktree.as_ref().and_then(|tree| tree.from.as_ref()) {
        hasher.update([1]);
        hasher.update(from.as_str().as_bytes());
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn active_in_root(db: &Connection, root: &str) -> rusqlite::Result<usize> {
    db.prepare_cached("SELECT count(*) FROM delegations INDEXED BY delegations_active WHERE root = ?1 AND active = 1")?
        .query_row([root], |row| row.get(0))
        .map(count)
}

impl Store {
    /// What a registration of this would find under way already, and how many are active in its root session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn under_way(&self, spec: &Spec) -> Result<Option<(Row, usize)>, StoreError> {
        let spec = spec.clone();
        self.0
            .workers
            .read(move |db| under_way(db, &spec, &digest(&spec)))
            .await
    }

    /// Registers a delegation: it joins the parent's batch while any member of it is active, else it
    /// opens the next.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored then.
    pub async fn register(&self, spec: Spec, now: Timestamp) -> Result<Registration, StoreError> {
        let id = spec.id.clone();
        let (registration, last) = self
            .0
            .workers
            .write(move |db| register(db, spec, now))
            .await?;
        if let Some(last) = last {
            self.0.grown.send_replace(last);
            self.tell(&id);
        }
        Ok(registration)
    }

    /// Stores a transition, with everything that belongs to it, in one transaction.
    ///
    /// # Errors
    /// [`CommitError::Stale`] where the record is not the one that was decided on; nothing was stored.
    pub async fn commit(&self, change: Change) -> Result<Committed, CommitError> {
        let mut change = change;
        let (id, mut first, mut pieces) = (change.id.clone(), None, 0);
        if let Some(text) = change.along.text.take() {
            match self.put_pieces(&change.delegation, &text).await {
                Ok((beginning, rest)) => (first, pieces) = (Some(beginning), rest),
                Err(error) => {
                    self.drop_pieces(&id).await;
                    return Err(error.into());
                }
            }
        }
        let stored = self
            .0
            .workers
            .write(move |db| commit(db, change, first.as_deref(), pieces))
            .await;
        if stored.is_err() && pieces > 0 {
            self.drop_pieces(&id).await;
        }
        let (committed, last) = stored?;
        if let Some(last) = last {
            self.0.grown.send_replace(last);
        }
        self.tell(&id);
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
                let changed = put_progress(db, &id, of, &progress, ran_ms)?;
                if changed
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
}

/// Writes down how far a run is; false where that attempt runs no more. Before the outcome is: it is no run's then.
fn put_progress(
    db: &Connection,
    id: &DelegationId,
    of: Attempt,
    progress: &Progress,
    ran_ms: u64,
) -> Result<bool, StoreError> {
    let changed = db
        .prepare_cached(
            "UPDATE delegations SET progress = ?3, ran_ms = ?4, tokens_in = ?5, tokens_out = ?6, cost = ?7,
                    model = coalesce(?8, model)
             WHERE id = ?1 AND attempt = ?2 AND phase IN ('starting', 'working', 'stopping')",
        )?
        .execute(params![
            id.as_str(),
            attempt(of),
            serde_json::to_string(progress)?,
            i64::try_from(ran_ms).unwrap_or(i64::MAX),
            usage::stored(progress.tokens_in),
            usage::stored(progress.tokens_out),
            progress.cost,
            progress.model,
        ])?;
    Ok(changed > 0)
}

/// What runs or is queued of this root session with the same agent and prompt, and how many of it are active.
fn under_way(
    db: &Connection,
    spec: &Spec,
    digest: &str,
) -> Result<Option<(Row, usize)>, StoreError> {
    let repeated: Option<String> = db
        .prepare_cached(
            "SELECT d.id FROM prompts p CROSS JOIN delegations d ON d.seq = p.delegation
             WHERE p.digest = ?3 AND p.prompt = ?4 AND d.root = ?1 AND d.active = 1 AND d.agent = ?2
               AND d.project = ?5 AND d.phase NOT IN ('stopping', 'finishing')",
        )?
        .query_row(
            params![
                spec.root.as_str(),
                spec.agent,
                digest,
                spec.prompt,
                spec.project.as_str()
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(id) = repeated.and_then(|id| id.parse().ok()) else {
        return Ok(None);
    };
    let Some(row) = get(db, &id)? else {
        return Ok(None);
    };
    let active = active_in_root(db, spec.root.as_str())?;
    Ok(Some((row, active)))
}

fn register(
    db: &Connection,
    spec: Spec,
    now: Timestamp,
) -> Result<(Registration, Option<i64>), StoreError> {
    let digest = digest(&spec);
    if let Some((row, active)) = under_way(db, &spec, &digest)? {
        let row = Box::new(row);
        return Ok((Registration::Existing { row, active }, None));
    }
    if seq_of(db, &spec.id)?.is_some() || predecessor::get(db, &spec.id, None)?.is_some() {
        return Ok((Registration::IdTaken, None));
    }
    if let Some(worktree) = &spec.worktree
        && worktrees::is_discarded(db, &worktree.id)?
    {
        return Ok((Registration::WorktreeGone, None));
    }
    let batch = next_batch(db, spec.parent.as_str())?;
    let title = title::of_prompt(&spec.prompt);
    let mut delegation = Delegation::new(spec);
    let text = record_json(&mut delegation)?;
    let spec = &delegation.spec;
    db.prepare_cached(
        "INSERT INTO delegations (id, project, root, parent, batch, agent, title, state, phase, registered_at, record, child,
                                  model)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'registered', 'queued', ?8, ?9, ?10, ?11)",
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
        delegation.child.as_ref().map(SessionId::as_str),
        spec.model.as_ref().map(ToString::to_string).unwrap_or_default(),
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
    if let Some(worktree) = &spec.worktree {
        worktrees::register(db, &worktree.id, order, now)?;
    }
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

fn commit(
    db: &Connection,
    change: Change,
    text: Option<&str>,
    pieces: i64,
) -> Result<(Committed, Option<i64>), CommitError> {
    let Change {
        id,
        expect_version,
        mut delegation,
        events,
        at: now,
        along: Along {
            progress, ended, ..
        },
    } = change;
    if let Some(progress) = progress {
        put_progress(db, &id, delegation.attempt, &progress, 0)?;
    }
    let record = record_json(&mut delegation)?;
    let version = expect_version + 1;
    let changed = db
        .prepare_cached(
            "UPDATE delegations SET version = ?3, record = ?4, state = ?5, phase = ?6, attempt = ?7, child = ?8,
                    started_at = ?9, ended_at = ?10, active = ?11, spent_ms = ?12, day = ?13
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
            usage::stored(delegation.spent_ms),
            delegation.ended_at.map(usage::day),
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
        texts::decide(db, seq, &delegation, text, pieces)?;
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
        } else if !delegation.spec.from_shell() {
            // Nobody is left to read it.
            db.prepare_cached("UPDATE delegations SET read_at = ?2 WHERE seq = ?1")?
                .execute(params![seq, ms(now)])?;
        }
    }
    Ok((Committed { version }, last))
}
