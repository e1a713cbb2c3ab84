//! What a crash, a restored backup or a helping hand has left between the store and its files: found here,
//! and mended piece by piece. Nothing here decides that a result is not needed any more.

mod look;
mod take_back;
mod tend;
mod walk;

use std::path::{Path, PathBuf};

use brigade_core::id::{DelegationId, ProjectId, SessionId};
use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, StoreError};
use crate::migrate::refusal;
use crate::{SCHEMA, Store, StorePaths};

pub use take_back::TakenBack;
pub use tend::Tended;

/// A file among the artifacts, by where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The project's folder it is in.
    pub project: ProjectId,
    /// The root session's folder it is in.
    pub root: SessionId,
    /// The delegation it is called after.
    pub id: DelegationId,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray {
    /// An artifact of Brigade's without a record: it can be taken back.
    Unrecorded(Place),
    /// An artifact of Brigade's without a record that can't be taken back.
    Unfit {
        /// The file.
        place: Place,
        /// Why it can't.
        why: Unfit,
    },
    /// A record whose artifact is not where it says.
    Missing {
        /// The delegation.
        id: DelegationId,
        /// Where the artifact should be.
        path: PathBuf,
        /// What there is of it.
        left: Left,
    },
    /// What a crash has left of the writing of an artifact.
    Part {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        size: u64,
        /// Whether its delegation's result is safe without it.
        needless: bool,
    },
    /// A folder with nothing in it, or nothing but needless parts.
    EmptyFolder(PathBuf),
    /// A folder or file that can't be looked at.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Why an artifact can't be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Its ID belongs to another delegation, whose artifact is here.
    Clash(PathBuf),
    /// Its header names another ID than its file name.
    OtherId(String),
    /// Its status is no terminal state, or no state at all.
    NotEnded(String),
}

/// What there is of a missing artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// The artifact itself, somewhere else.
    Moved(PathBuf),
    /// Its text, in the store.
    Text,
    /// Nothing but the record.
    Nothing,
}

impl Store {
    /// Looks for what is not as it should be between the store and its files.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn strays(&self) -> Result<Vec<Stray>, StoreError> {
        // Files first: one that is there before the records are read has one already, since a delegation
        // is on record before its artifact is written.
        let paths = self.0.paths.clone();
        let walked = blocking(move || walk::walk(&paths)).await?;
        let records = self
            .0
            .workers
            .read(|db| look::records(db).map_err(Into::into))
            .await?;
        let paths = self.0.paths.clone();
        blocking(move || look::compare(&paths, walked, &records)).await
    }

    /// Writes down where a delegation's artifact is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_artifact(&self, id: &DelegationId, path: &Path) -> Result<(), StoreError> {
        let (id, path) = (id.clone(), path.to_string_lossy().into_owned());
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                db.prepare_cached(
                    "UPDATE delegations SET artifact = ?2 WHERE id = ?1 AND active = 0",
                )?
                .execute([id.as_str(), &path])?;
                Ok(())
            })
            .await
    }
}

/// What is found where no daemon runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspected {
    /// What is not as it should be.
    pub strays: Vec<Stray>,
    /// The names of the servers on record.
    pub servers: Vec<String>,
}

/// Looks for the same in a store that no daemon serves, without changing it. None where the store is of an
/// older schema: the next daemon brings it up to date first.
///
/// # Errors
/// [`OpenError`], for what keeps the store from being read.
pub fn inspect_files(paths: &StorePaths) -> Result<Option<Inspected>, OpenError> {
    let refuse = |error| refusal(&paths.db, error);
    let walked = walk::walk(paths);
    let (records, servers) = if paths.db.exists() {
        let db = Connection::open_with_flags(&paths.db, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(refuse)?;
        let schema: i64 = db
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(refuse)?;
        if schema != SCHEMA {
            return Ok(None);
        }
        let servers = db
            .prepare("SELECT id FROM servers")
            .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
            .map_err(refuse)?;
        (look::records(&db).map_err(refuse)?, servers)
    } else {
        (look::Records::default(), Vec::new())
    };
    Ok(Some(Inspected {
        strays: look::compare(paths, walked, &records),
        servers,
    }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        StoreError::Internal(format!("looking through the files broke off: {error}"))
    })
}
