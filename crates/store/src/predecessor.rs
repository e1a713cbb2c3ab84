//! What the predecessor left: its artifacts are found, listed, searched and read, and never changed.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brigade_core::delegation::State;
use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_core::text::artifact::{self, Artifact};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use crate::error::StoreError;
use crate::rows::{Foreign, at, ms, parsed};
use crate::{Store, record, search};

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

impl Found {
    /// None where it is no regular file, or gone meanwhile.
    fn of(path: PathBuf, id: DelegationId, root: SessionId) -> Option<Self> {
        let meta = std::fs::symlink_metadata(&path)
            .ok()
            .filter(Metadata::is_file)?;
        let modified = meta
            .modified()
            .ok()
            .and_then(|at| Timestamp::try_from(at).ok());
        Some(Self {
            path,
            id,
            root,
            stamp: Stamp::of(&meta),
            started: modified.unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }
}

/// When each session's folder was changed as it was looked through last. A folder changes when files come
/// and go, so one that has not changed need not be listed again: most hold only files of our own.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<PathBuf, SystemTime>>);

impl Seen {
    fn is_seen(&self, folder: &Path, changed: SystemTime) -> bool {
        self.map().get(folder) == Some(&changed)
    }

    fn set(&self, folder: PathBuf, changed: SystemTime) {
        // A change within the file system's smallest unit of time would not be told from this one.
        let settled = SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age >= SETTLED);
        if settled {
            self.map().insert(folder, changed);
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<PathBuf, SystemTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long ago a folder must have changed for its time to tell the next change.
const SETTLED: Duration = Duration::from_secs(2);

/// A session's folder on disk.
struct Folder {
    path: PathBuf,
    root: SessionId,
    changed: SystemTime,
    /// What lies in it by name; none where the folder has not changed since it was looked through.
    files: Option<Vec<(PathBuf, DelegationId)>>,
}

/// What the index holds of a file.
type Known = HashMap<PathBuf, (DelegationId, Stamp)>;

impl Store {
    /// Takes in what the predecessor has left for a project: new and changed files are read, those that
    /// are gone are forgotten. Files of Brigade's own are passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn scan_predecessor(&self, project: &ProjectId) -> Result<(), StoreError> {
        let store = self.clone();
        let walked = project.clone();
        let folders = self.files(move || store.walk(&walked)).await?;
        let known = self.known(project).await?;
        let changed = folders.iter().filter(|folder| folder.files.is_some());
        let ours = self
            .ids_of(changed.map(|folder| folder.root.clone()).collect())
            .await?;
        let (fresh, gone, folders) = self.files(move || compare(folders, &known, &ours)).await?;
        if !(fresh.is_empty() && gone.is_empty()) {
            self.take_in(project.clone(), fresh, gone).await?;
        }
        for (folder, changed) in folders {
            self.0.seen.set(folder, changed);
        }
        Ok(())
    }

    /// The session folders of a project, in both places.
    fn walk(&self, project: &ProjectId) -> Vec<Folder> {
        let paths = &self.0.paths;
        let mut folders = Vec::new();
        walk(
            &paths.artifacts.join(project.as_str()),
            &self.0.seen,
            &mut folders,
        );
        if paths.predecessor != paths.artifacts {
            walk(
                &paths.predecessor.join(project.as_str()),
                &self.0.seen,
                &mut folders,
            );
        }
        folders
    }

    async fn files<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.0.workers.files(work).await;
        done.map_err(|error| StoreError::Io(error.to_string()))
    }

    async fn known(&self, project: &ProjectId) -> Result<Known, StoreError> {
        let project = project.clone();
        self.0
            .workers
            .read(move |db| {
                let known = db
                    .prepare_cached(
                        "SELECT path, id, modified_ns, size FROM foreign_artifacts WHERE project = ?1",
                    )?
                    .query_map([project.as_str()], |row| {
                        let stamp = Stamp {
                            modified_ns: row.get(2)?,
                            size: row.get(3)?,
                        };
                        let id = parsed(&row.get::<_, String>(1)?)?;
                        Ok((PathBuf::from(row.get::<_, String>(0)?), (id, stamp)))
                    })?
                    .collect::<Result<_, _>>()?;
                Ok(known)
            })
            .await
    }

    /// The IDs of our own delegations in these root sessions.
    async fn ids_of(&self, roots: Vec<SessionId>) -> Result<HashSet<DelegationId>, StoreError> {
        if roots.is_empty() {
            return Ok(HashSet::new());
        }
        self.0
            .workers
            .read(move |db| {
                let mut ids = HashSet::new();
                let mut select = db.prepare_cached("SELECT id FROM delegations WHERE root = ?1")?;
                for root in roots {
                    let rows = select
                        .query_map([root.as_str()], |row| parsed(&row.get::<_, String>(0)?))?;
                    for id in rows {
                        ids.insert(id?);
                    }
                }
                Ok(ids)
            })
            .await
    }

    /// Reads and stores in small steps, and reads outside the thread that writes: what is registered
    /// meanwhile must not wait for thousands of files.
    async fn take_in(
        &self,
        project: ProjectId,
        fresh: Vec<Found>,
        gone: Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        for gone in steps(gone) {
            self.0
                .workers
                .write(move |db| -> Result<(), StoreError> {
                    for path in gone {
                        forget(db, &path)?;
                    }
                    Ok(())
                })
                .await?;
        }
        for found in steps(fresh) {
            let files = self
                .files(move || found.into_iter().map(read).collect::<Vec<_>>())
                .await?;
            let project = project.clone();
            self.0
                .workers
                .write(move |db| -> Result<(), StoreError> {
                    for (file, artifact) in files {
                        // One of our own: by its ID, wherever its row says it lies.
                        if record::seq_of(db, &file.id)?.is_none() {
                            store(db, &project, &file, artifact.as_ref())?;
                        }
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}

/// How many files are stored in one step; each takes about half a millisecond to index.
const STEP: usize = 16;

fn steps<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.into_iter();
    std::iter::from_fn(move || {
        let step: Vec<T> = all.by_ref().take(STEP).collect();
        (!step.is_empty()).then_some(step)
    })
}

/// Reads a file; without an artifact where it can't be read or is none.
fn read(file: Found) -> (Found, Option<Artifact>) {
    let artifact = match std::fs::read(&file.path) {
        Ok(bytes) => {
            let artifact = artifact::parse(&String::from_utf8_lossy(&bytes)).ok();
            if artifact.is_none() {
                tracing::debug!(path = %file.path.display(), "a file among the artifacts is none");
            }
            artifact
        }
        Err(error) => {
            tracing::warn!(path = %file.path.display(), %error, "an artifact can't be read");
            None
        }
    };
    (file, artifact)
}

/// What is new or changed, what is gone, and which folders were looked through.
type Compared = (Vec<Found>, Vec<PathBuf>, Vec<(PathBuf, SystemTime)>);

fn compare(folders: Vec<Folder>, known: &Known, ours: &HashSet<DelegationId>) -> Compared {
    let mut of_folder: HashMap<&Path, Vec<&PathBuf>> = HashMap::new();
    for path in known.keys() {
        of_folder
            .entry(path.parent().unwrap_or(path))
            .or_default()
            .push(path);
    }
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for folder in folders {
        let known_here = of_folder.get(folder.path.as_path()).into_iter().flatten();
        let files = match folder.files {
            Some(files) => {
                seen.push((folder.path.clone(), folder.changed));
                files
                    .into_iter()
                    .filter(|(_, id)| !ours.contains(id))
                    .collect()
            }
            // Nothing came or went, but a file may have been written anew.
            None => known_here
                .map(|path| ((*path).clone(), known[*path].0.clone()))
                .collect::<Vec<_>>(),
        };
        found.extend(
            files
                .into_iter()
                .filter_map(|(path, id)| Found::of(path, id, folder.root.clone())),
        );
    }
    let present: HashSet<&Path> = found.iter().map(|file| file.path.as_path()).collect();
    let gone = known
        .keys()
        .filter(|path| !present.contains(path.as_path()))
        .cloned()
        .collect();
    drop(present);
    found.retain(|file| known.get(&file.path).map(|(_, stamp)| stamp) != Some(&file.stamp));
    (found, gone, seen)
}

/// Collects the `<root session>` folders below a project's, with the `<id>.md` in those that have changed.
/// What can't be read is passed over, and said: one bad folder must not hide the others.
fn walk(project: &Path, seen: &Seen, found: &mut Vec<Folder>) {
    let Ok(sessions) = std::fs::read_dir(project) else {
        return;
    };
    for session in sessions.flatten() {
        let path = session.path();
        let Some(root) = session
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<SessionId>().ok())
        else {
            continue;
        };
        // The time is taken first: what comes while the folder is read is a change again.
        let Ok(changed) = std::fs::metadata(&path).and_then(|meta| match meta.is_dir() {
            true => meta.modified(),
            false => Err(std::io::ErrorKind::NotADirectory.into()),
        }) else {
            continue;
        };
        let files = if seen.is_seen(&path, changed) {
            None
        } else {
            match std::fs::read_dir(&path) {
                Ok(files) => Some(files.flatten().filter_map(|file| named(&file)).collect()),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a folder of artifacts can't be read");
                    continue;
                }
            }
        };
        found.push(Folder {
            path,
            root,
            changed,
            files,
        });
    }
}

/// A file that is named like an artifact.
fn named(file: &std::fs::DirEntry) -> Option<(PathBuf, DelegationId)> {
    let name = file.file_name();
    let id = name.to_str()?.strip_suffix(".md")?.parse().ok()?;
    Some((file.path(), id))
}

pub(crate) fn forget(db: &Connection, path: &Path) -> rusqlite::Result<()> {
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

fn store(
    db: &Connection,
    project: &ProjectId,
    file: &Found,
    artifact: Option<&Artifact>,
) -> Result<(), StoreError> {
    forget(db, &file.path)?;
    let Some(parsed) = artifact else {
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
        // Its own words are not all known; it kept what had ended.
        parsed.header.status.as_ref().unwrap_or(&State::Complete).name(),
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
