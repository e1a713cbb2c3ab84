//! The worktrees of write-capable delegations, and what was applied of them.

use std::fmt;
use std::str::FromStr;

use brigade_core::id::DelegationId;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use crate::Store;
use crate::error::StoreError;
use crate::record::seq_of;
use crate::rows::{at, ms, parsed};

/// The text names no state of a worktree or of an apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no state of a worktree or of an apply")]
pub struct UnknownName(pub String);

/// Where a worktree stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorktreeState {
    /// The state that it begins with is taken; its files are not laid out yet.
    Taken,
    /// Its files are there.
    Ready,
    /// Its files are gone; what was changed is kept.
    Removed,
    /// Nothing of it is kept but the patch.
    Discarded,
}

impl WorktreeState {
    const ALL: [Self; 4] = [Self::Taken, Self::Ready, Self::Removed, Self::Discarded];

    /// Its name as it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Ready => "ready",
            Self::Removed => "removed",
            Self::Discarded => "discarded",
        }
    }
}

impl fmt::Display for WorktreeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for WorktreeState {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.name() == text)
            .ok_or_else(|| UnknownName(text.to_owned()))
    }
}

/// A worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorktreeRow {
    /// Its name: the delegation it was made for.
    pub id: DelegationId,
    /// The last delegation that works, or has worked, in it.
    pub delegation: DelegationId,
    /// Where it stands.
    pub state: WorktreeState,
    /// How the setup command ended, in words; none where there was none.
    pub setup: Option<String>,
    /// The size of its files, as last seen.
    pub bytes: u64,
    /// When it was made.
    pub made_at: Timestamp,
    /// Whether that delegation has ended, and when.
    pub ended_at: Option<Timestamp>,
}

/// How an apply fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyState {
    /// Its files are being written; found by a daemon that starts, it is to be rolled back.
    Writing,
    /// It is done.
    Applied,
    /// It was broken off, and everything is as it was.
    RolledBack,
    /// It was taken out again.
    Undone,
}

impl ApplyState {
    const ALL: [Self; 4] = [Self::Writing, Self::Applied, Self::RolledBack, Self::Undone];

    /// Its name as it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Applied => "applied",
            Self::RolledBack => "rolled_back",
            Self::Undone => "undone",
        }
    }
}

impl fmt::Display for ApplyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ApplyState {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.name() == text)
            .ok_or_else(|| UnknownName(text.to_owned()))
    }
}

/// An apply that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApply {
    /// Whose changes.
    pub delegation: DelegationId,
    /// The top of the person's tree.
    pub top: String,
    /// Its state before, as git names that tree.
    pub before: String,
    /// Its state after.
    pub after: String,
    /// Whether nothing of the changes is left out.
    pub whole: bool,
    /// How many files.
    pub files: u64,
    /// Who: `model` or `person`.
    pub by: String,
}

/// An apply on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyRow {
    /// Its number, which also names its journal.
    pub seq: i64,
    /// What was to be done.
    pub apply: NewApply,
    /// How it fares.
    pub state: ApplyState,
    /// When it began.
    pub at: Timestamp,
}

const WORKTREE: &str = "SELECT w.id, d.id, w.state, w.setup, w.bytes, w.made_at,
            CASE WHEN d.active = 0 THEN d.ended_at END
     FROM worktrees w JOIN delegations d ON d.seq = w.delegation";

const APPLY: &str =
    "SELECT a.seq, d.id, a.top, a.tree_before, a.tree_after, a.whole, a.files, a.by, a.state, a.at
     FROM applies a JOIN delegations d ON d.seq = a.delegation";

fn unsigned(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text<T: FromStr>(sql: &SqlRow<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    parsed(&sql.get::<_, String>(column)?)
}

fn worktree(sql: &SqlRow<'_>) -> rusqlite::Result<WorktreeRow> {
    let ended: Option<i64> = sql.get(6)?;
    Ok(WorktreeRow {
        id: text(sql, 0)?,
        delegation: text(sql, 1)?,
        state: text(sql, 2)?,
        setup: sql.get(3)?,
        bytes: unsigned(sql.get(4)?),
        made_at: at(sql.get(5)?)?,
        ended_at: ended.map(at).transpose()?,
    })
}

fn apply(sql: &SqlRow<'_>) -> rusqlite::Result<ApplyRow> {
    Ok(ApplyRow {
        seq: sql.get(0)?,
        apply: NewApply {
            delegation: text(sql, 1)?,
            top: sql.get(2)?,
            before: sql.get(3)?,
            after: sql.get(4)?,
            whole: sql.get(5)?,
            files: unsigned(sql.get(6)?),
            by: sql.get(7)?,
        },
        state: text(sql, 8)?,
        at: at(sql.get(9)?)?,
    })
}

/// Puts the worktree of a delegation that is being registered on record: a new one, or the one in which an
/// earlier round has worked. Where the files of that are gone, they are to be laid out again.
pub(crate) fn register(
    db: &Connection,
    id: &DelegationId,
    delegation: i64,
    now: Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO worktrees (id, delegation, state, made_at, changed_at)
         VALUES (?1, ?2, 'taken', ?3, ?3)
         ON CONFLICT (id) DO UPDATE SET delegation = excluded.delegation, changed_at = excluded.changed_at,
             state = CASE state WHEN 'removed' THEN 'taken' ELSE state END",
    )?
    .execute(params![id.as_str(), delegation, ms(now)])?;
    Ok(())
}

/// Whether nothing of a worktree is kept but the patch.
pub(crate) fn is_discarded(db: &Connection, id: &DelegationId) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM worktrees WHERE id = ?1 AND state = 'discarded')",
    )?
    .query_row([id.as_str()], |row| row.get(0))
}

impl Store {
    /// A worktree by its name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn worktree(&self, id: &DelegationId) -> Result<Option<WorktreeRow>, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                let row = db
                    .prepare_cached(&format!("{WORKTREE} WHERE w.id = ?1"))?
                    .query_row([id.as_str()], worktree)
                    .optional()?;
                Ok(row)
            })
            .await
    }

    /// All worktrees of which something is kept on disk, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn worktrees(&self) -> Result<Vec<WorktreeRow>, StoreError> {
        self.0
            .workers
            .read(|db| {
                let rows = db
                    .prepare_cached(&format!(
                        "{WORKTREE} WHERE w.state <> 'discarded' ORDER BY w.made_at, w.id"
                    ))?
                    .query_map([], worktree)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// How many worktrees have their files there, and the size, as last seen, of these and of what is kept of the others,
    /// in bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn worktree_usage(&self) -> Result<(u64, u64), StoreError> {
        self.0
            .workers
            .read(|db| {
                let used = db
                    .prepare_cached(
                        "SELECT coalesce(sum(state IN ('taken', 'ready')), 0), coalesce(sum(bytes), 0) FROM worktrees
                         WHERE state <> 'discarded'",
                    )?
                    .query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))?;
                Ok(used)
            })
            .await
    }

    /// Notes where a worktree stands now, and the size of its files. `setup` replaces what was said of the setup
    /// command, if given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_worktree(
        &self,
        id: &DelegationId,
        state: WorktreeState,
        bytes: u64,
        setup: Option<String>,
    ) -> Result<(), StoreError> {
        let (id, now) = (id.clone(), self.now());
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                db.prepare_cached(
                    "UPDATE worktrees SET state = ?2, bytes = ?3, setup = coalesce(?4, setup), changed_at = ?5 WHERE id = ?1",
                )?
                .execute(params![id.as_str(), state.name(), signed(bytes), setup, now])?;
                Ok(())
            })
            .await
    }

    /// Claims a worktree whose files, or all of it, are about to be removed. False where they are not there by record,
    /// or another delegation than this works in it by now: nothing may be removed then.
    ///
    /// # Errors
    /// [`StoreError`]; nothing may be removed then.
    pub async fn claim_worktree(
        &self,
        id: &DelegationId,
        delegation: &DelegationId,
        state: WorktreeState,
    ) -> Result<bool, StoreError> {
        let (id, delegation, now) = (id.clone(), delegation.clone(), self.now());
        self.0
            .workers
            .write(move |db| -> Result<bool, StoreError> {
                let Some(delegation) = seq_of(db, &delegation)? else {
                    return Ok(false);
                };
                let claimed = db
                    .prepare_cached(
                        "UPDATE worktrees SET state = ?3, changed_at = ?4
                         WHERE id = ?1 AND delegation = ?2 AND state <> ?3 AND state <> 'discarded'",
                    )?
                    .execute(params![id.as_str(), delegation, state.name(), now])?;
                Ok(claimed == 1)
            })
            .await
    }

    /// Records that files of a person's tree are about to be written, before the first is. The number names the
    /// journal.
    ///
    /// # Errors
    /// [`StoreError`]; nothing may be written then.
    pub async fn begin_apply(&self, apply: NewApply) -> Result<i64, StoreError> {
        let now = self.now();
        self.0
            .workers
            .write(move |db| -> Result<i64, StoreError> {
                let Some(delegation) = seq_of(db, &apply.delegation)? else {
                    return Err(StoreError::internal(format!("{} is not on record", apply.delegation)));
                };
                db.prepare_cached(
                    "INSERT INTO applies (delegation, top, tree_before, tree_after, state, whole, files, by, at, changed_at)
                     VALUES (?1, ?2, ?3, ?4, 'writing', ?5, ?6, ?7, ?8, ?8)",
                )?
                .execute(params![
                    delegation,
                    apply.top,
                    apply.before,
                    apply.after,
                    apply.whole,
                    signed(apply.files),
                    apply.by,
                    now
                ])?;
                Ok(db.last_insert_rowid())
            })
            .await
    }

    /// Notes how an apply ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_apply(&self, seq: i64, state: ApplyState) -> Result<(), StoreError> {
        let now = self.now();
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                db.prepare_cached("UPDATE applies SET state = ?2, changed_at = ?3 WHERE seq = ?1")?
                    .execute(params![seq, state.name(), now])?;
                Ok(())
            })
            .await
    }

    /// What was applied of a delegation, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn applies(&self, id: &DelegationId) -> Result<Vec<ApplyRow>, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                let rows = db
                    .prepare_cached(&format!("{APPLY} WHERE d.id = ?1 ORDER BY a.seq"))?
                    .query_map([id.as_str()], apply)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// One apply by its number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn apply_of(&self, seq: i64) -> Result<Option<ApplyRow>, StoreError> {
        self.0
            .workers
            .read(move |db| {
                let row = db
                    .prepare_cached(&format!("{APPLY} WHERE a.seq = ?1"))?
                    .query_row([seq], apply)
                    .optional()?;
                Ok(row)
            })
            .await
    }

    /// The applies that were being written when an earlier daemon ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_applies(&self) -> Result<Vec<ApplyRow>, StoreError> {
        self.0
            .workers
            .read(|db| {
                let rows = db
                    .prepare_cached(&format!("{APPLY} WHERE a.state = 'writing' ORDER BY a.seq"))?
                    .query_map([], apply)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }
}
