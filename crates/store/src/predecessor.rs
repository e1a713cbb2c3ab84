//! What the predecessor left: its artifacts are found, listed, searched and read, and never changed.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_core::text::artifact;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params, params_from_iter};

use crate::error::StoreError;
use crate::rows::{Foreign, at, ms, parsed};
use crate::{Store, delegations, search};

const COLUMNS: &str =
    "path, id, project, root, agent, title, summary, state, started_at, completed_at";

fn foreign(sql: &SqlRow<'_>) -> rusqlite::Result<Foreign> {
    let ended: Option<i64> = sql.get(9)?;
    Ok(Foreign {
        path: PathBuf::from(sql.get::<_, String>(0)?),
        id: parsed(&sql.get::<_, String>(1)?)?,
        project: parsed(&sql.get::<_, String>(2)?)?,
        root: parsed(&sql.get::<_, String>(3)?)?,
        agent: sql.get(4)?,
        title: sql.get(5)?,
        summary: sql.get(6)?,
        state: parsed(&sql.get::<_, String>(7)?)?,
        started_at: at(sql.get(8)?)?,
        ended_at: ended.map(at).transpose()?,
    })
}

pub(crate) fn get(
    db: &Connection,
    id: &DelegationId,
    project: Option<&ProjectId>,
) -> rusqlite::Result<Option<Foreign>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM foreign_artifacts WHERE id = ?1 AND (?2 IS NULL OR project = ?2)
         ORDER BY started_at DESC LIMIT 1"
    );
    db.prepare_cached(&sql)?
        .query_row(
            params![id.as_str(), project.map(ProjectId::as_str)],
            foreign,
        )
        .optional()
}

pub(crate) fn by_seq(db: &Connection, seq: i64) -> rusqlite::Result<Option<Foreign>> {
    let sql = format!("SELECT {COLUMNS} FROM foreign_artifacts WHERE seq = ?1");
    db.prepare_cached(&sql)?
        .query_row([seq], foreign)
        .optional()
}

pub(crate) fn list(
    db: &Connection,
    clause: &str,
    values: &[String],
    limit: usize,
) -> rusqlite::Result<Vec<Foreign>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM foreign_artifacts WHERE {clause} ORDER BY started_at DESC LIMIT {limit}"
    );
    db.prepare_cached(&sql)?
        .query_map(params_from_iter(values), foreign)?
        .collect()
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified_ns: i64,
    size: i64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let modified = meta
            .modified()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            modified_ns: modified.map_or(0, |at| i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)),
            size: i64::try_from(meta.len()).unwrap_or(i64::MAX),
        }
    }
}

/// A file on disk.
struct Found {
    path: PathBuf,
    id: DelegationId,
    root: SessionId,
    stamp: Stamp,
    started: Timestamp,
}

impl Store {
    /// Takes in what the predecessor has left for a project: new and changed files are read, those that
    /// are gone are forgotten. Files of Brigade's own are passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scan_predecessor(&self, project: &ProjectId) -> Result<(), StoreError> {
        let mut roots = vec![self.0.paths.artifacts.clone()];
        if self.0.paths.predecessor != self.0.paths.artifacts {
            roots.push(self.0.paths.predecessor.clone());
        }
        let walked = project.clone();
        let found = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            for root in roots {
                walk(&root.join(walked.as_str()), &mut found);
            }
            found
        })
        .await
        .map_err(|error| StoreError::Io(error.to_string()))?;
        let known = self.known(project).await?;
        let present: HashSet<&Path> = found.iter().map(|file| file.path.as_path()).collect();
        let gone: Vec<PathBuf> = known
            .keys()
            .filter(|path| !present.contains(path.as_path()))
            .cloned()
            .collect();
        let fresh: Vec<Found> = found
            .into_iter()
            .filter(|file| known.get(&file.path) != Some(&file.stamp))
            .collect();
        if fresh.is_empty() && gone.is_empty() {
            return Ok(());
        }
        self.take_in(project.clone(), fresh, gone).await
    }

    async fn known(&self, project: &ProjectId) -> Result<HashMap<PathBuf, Stamp>, StoreError> {
        let project = project.clone();
        self.0
            .workers
            .read(move |db| {
                let known = db
                    .prepare_cached(
                        "SELECT path, modified_ns, size FROM foreign_artifacts WHERE project = ?1",
                    )?
                    .query_map([project.as_str()], |row| {
                        let stamp = Stamp {
                            modified_ns: row.get(1)?,
                            size: row.get(2)?,
                        };
                        Ok((PathBuf::from(row.get::<_, String>(0)?), stamp))
                    })?
                    .collect::<Result<_, _>>()?;
                Ok(known)
            })
            .await
    }

    async fn take_in(
        &self,
        project: ProjectId,
        fresh: Vec<Found>,
        gone: Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                for path in gone {
                    forget(db, &path)?;
                }
                for file in fresh {
                    // One of our own: by its ID, wherever its row says it lies.
                    if delegations::seq_of(db, &file.id)?.is_none() {
                        store(db, &project, &file)?;
                    }
                }
                Ok(())
            })
            .await
    }
}

/// Collects `<root session>/<id>.md` below a project's folder. What can't be read is passed over, and
/// said: one bad folder must not hide the others.
fn walk(project: &Path, found: &mut Vec<Found>) {
    let Ok(sessions) = std::fs::read_dir(project) else {
        return;
    };
    for session in sessions.flatten() {
        let Some(root) = session
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<SessionId>().ok())
        else {
            continue;
        };
        let files = match std::fs::read_dir(session.path()) {
            Ok(files) => files,
            Err(error) => {
                if session.path().is_dir() {
                    tracing::warn!(path = %session.path().display(), %error, "a folder of artifacts can't be read");
                }
                continue;
            }
        };
        for file in files.flatten() {
            let name = file.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.strip_suffix(".md"))
                .and_then(|id| id.parse::<DelegationId>().ok());
            if let Some(id) = id
                && let Ok(meta) = file.metadata()
                && meta.is_file()
            {
                let modified = meta
                    .modified()
                    .ok()
                    .and_then(|at| Timestamp::try_from(at).ok());
                found.push(Found {
                    path: file.path(),
                    id,
                    root: root.clone(),
                    stamp: Stamp::of(&meta),
                    started: modified.unwrap_or(Timestamp::UNIX_EPOCH),
                });
            }
        }
    }
}

fn forget(db: &Connection, path: &Path) -> rusqlite::Result<()> {
    let path = path.to_string_lossy();
    let seq: Option<i64> = db
        .prepare_cached("SELECT seq FROM foreign_artifacts WHERE path = ?1")?
        .query_row([&path], |row| row.get(0))
        .optional()?;
    if let Some(seq) = seq {
        search::remove(db, -seq)?;
        db.prepare_cached("DELETE FROM foreign_artifacts WHERE seq = ?1")?
            .execute([seq])?;
    }
    Ok(())
}

fn store(db: &Connection, project: &ProjectId, file: &Found) -> Result<(), StoreError> {
    forget(db, &file.path)?;
    let bytes = match std::fs::read(&file.path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(path = %file.path.display(), %error, "an artifact can't be read");
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let Ok(parsed) = artifact::parse(&text) else {
        tracing::debug!(path = %file.path.display(), "a file among the artifacts is none");
        return Ok(());
    };
    let started = parsed.header.started.unwrap_or(file.started);
    db.prepare_cached(
        "INSERT INTO foreign_artifacts
            (path, id, project, root, agent, title, summary, state, started_at, completed_at, modified_ns, size)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        file.path.to_string_lossy(),
        file.id.as_str(),
        project.as_str(),
        file.root.as_str(),
        parsed.header.agent.as_str(),
        parsed.title.as_str(),
        parsed.summary.as_str(),
        parsed.header.status.name(),
        ms(started),
        parsed.header.completed.map(ms),
        file.stamp.modified_ns,
        file.stamp.size,
    ])?;
    let seq = db.last_insert_rowid();
    search::insert(
        db,
        -seq,
        project.as_str(),
        parsed.title.as_str(),
        parsed.summary.as_str(),
        "",
        &parsed.answer,
    )?;
    Ok(())
}
