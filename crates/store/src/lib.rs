//! SQLite, migrations, artifacts and search: the only crate that knows SQL.
//!
//! One thread writes and groups what is queued into one durable transaction; a few read. Everything
//! that belongs together is one transaction: state, events, text, notice, waking, search.

mod artifacts;
mod error;
mod events;
mod listing;
mod lookups;
mod migrate;
mod notices;
mod predecessor;
mod record;
mod rows;
mod search;
mod servers;
#[cfg(feature = "simulation")]
pub mod simulation;
mod snippet;
mod texts;
mod transitions;
mod upkeep;
mod usage;
mod wakes;
mod worker;
mod worktrees;

use std::path::PathBuf;
use std::sync::Arc;

use brigade_core::clock::Clock;
use brigade_core::id::{DelegationId, ProjectId, SessionId};
use tokio::sync::{broadcast, watch};

pub use artifacts::{ArtifactError, ResultError};
pub use error::{CommitError, OpenError, StoreError};
pub use migrate::{SCHEMA, inspect};
pub use rows::{
    ActiveRow, Along, Change, Committed, Counts, Ended, EventRow, Foreign, Found, Hit, ListFilter,
    Listed, NoticeRow, NoticeState, Progress, Refused, Registered, Registration, Row, Sort, Wake,
    WakeRow,
};
pub use servers::ServerRow;
pub use upkeep::{Inspected, Left, Place, Stray, TakenBack, Tended, Unfit, inspect_files};
pub use usage::{UsageBy, UsageFilter, UsageRow, Used};
use worker::Workers;
pub use worktrees::{ApplyRow, ApplyState, NewApply, UnknownName, WorktreeRow, WorktreeState};

/// Where the store and its files lie.
#[derive(Debug, Clone)]
pub struct StorePaths {
    /// The SQLite file.
    pub db: PathBuf,
    /// The root of the artifacts: `<project>/<root session>/<id>.md` below it.
    pub artifacts: PathBuf,
    /// Where the predecessor kept its artifacts, whatever the environment says; may be the same.
    pub predecessor: PathBuf,
}

/// How many changes a listener may be behind.
const CHANGES: usize = 4_096;

/// The store. Cheap to clone; all clones share the threads.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    workers: Workers,
    paths: StorePaths,
    clock: Arc<dyn Clock>,
    seen: predecessor::Seen,
    /// The last event's sequence number: a hint that there is more to read.
    grown: watch::Sender<i64>,
    /// Whose record was changed; who is too slow for it looks at all of them.
    changed: broadcast::Sender<DelegationId>,
}

impl Store {
    /// Opens the store, creating or migrating it. Changes that bring no time of their own get the clock's.
    ///
    /// # Errors
    /// [`OpenError`]; what is there was left as it is. A store that can't be read is never replaced.
    pub fn open(paths: &StorePaths, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (writer, readers) = migrate::open(&paths.db)?;
        let last: i64 = writer
            .query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| {
                row.get(0)
            })
            .map_err(|error| migrate::refusal(&paths.db, error))?;
        let workers = Workers::start(writer, readers).map_err(|source| OpenError::Io {
            path: paths.db.clone(),
            source,
        })?;
        Ok(Self::with(workers, paths, clock, last))
    }

    fn with(workers: Workers, paths: &StorePaths, clock: Arc<dyn Clock>, last: i64) -> Self {
        Self(Arc::new(Inner {
            workers,
            paths: paths.clone(),
            clock,
            seen: predecessor::Seen::default(),
            grown: watch::Sender::new(last),
            changed: broadcast::Sender::new(CHANGES),
        }))
    }

    /// Carries out what is queued and closes the file. Later calls fail with [`StoreError::Closed`].
    pub async fn close(&self) {
        let inner = Arc::clone(&self.0);
        if tokio::task::spawn_blocking(move || inner.workers.stop())
            .await
            .is_err()
        {
            tracing::error!("closing the store was cut off");
        }
    }

    /// Changes whenever events were added; a hint to read [`Store::events_after`].
    pub fn grown(&self) -> watch::Receiver<i64> {
        self.0.grown.subscribe()
    }

    /// Tells of each delegation whose record was changed, once the change is durable. Progress is not told. Who falls
    /// behind has to look at all of them anew.
    pub fn changes(&self) -> broadcast::Receiver<DelegationId> {
        self.0.changed.subscribe()
    }

    fn tell(&self, id: &DelegationId) {
        if self.0.changed.receiver_count() > 0 {
            // The last listener may have gone just now.
            drop(self.0.changed.send(id.clone()));
        }
    }

    /// Now, as times are stored.
    fn now(&self) -> i64 {
        rows::ms(self.0.clock.now())
    }

    /// Writes an artifact durably and says where.
    ///
    /// # Errors
    /// [`ArtifactError`]; an earlier version of the file is still there then.
    pub async fn write_artifact(
        &self,
        project: &ProjectId,
        root: &SessionId,
        id: &DelegationId,
        text: String,
    ) -> Result<PathBuf, ArtifactError> {
        let path = artifacts::path(&self.0.paths.artifacts, project, root, id);
        artifacts::write(&self.0.workers, &self.0.paths.artifacts, path, text).await
    }

    async fn read(&self, file: PathBuf) -> std::io::Result<Vec<u8>> {
        let read = self.0.workers.files(move || std::fs::read(file)).await;
        read.flatten()
    }

    /// Puts a delegation's patch durably beside its artifact and says where.
    ///
    /// # Errors
    /// [`ArtifactError`]; an earlier version of the file is still there then.
    pub async fn write_patch(
        &self,
        project: &ProjectId,
        root: &SessionId,
        id: &DelegationId,
        patch: PathBuf,
    ) -> Result<PathBuf, ArtifactError> {
        let path = artifacts::path(&self.0.paths.artifacts, project, root, id);
        let path = path.with_extension("patch");
        artifacts::copy(&self.0.workers, &self.0.paths.artifacts, path, patch).await
    }

    /// The same for a delegation whose answer may be too long to be held as a whole: `head` is the file's text up to
    /// and including [`Store::beginning`], `tail` what follows the answer.
    ///
    /// # Errors
    /// [`ResultError`]; an earlier version of the file is still there then.
    pub async fn write_result(
        &self,
        project: &ProjectId,
        root: &SessionId,
        id: &DelegationId,
        mut head: String,
        tail: &str,
    ) -> Result<PathBuf, ResultError> {
        let path = artifacts::path(&self.0.paths.artifacts, project, root, id);
        let (workers, root) = (&self.0.workers, &self.0.paths.artifacts);
        if texts::is_whole(&head) {
            head.push_str(tail);
            return Ok(artifacts::write(workers, root, path, head).await?);
        }
        artifacts::write_pieces(workers, root, path, head, tail, |n| self.piece(id, n)).await
    }

    /// How long the text of an artifact is, in bytes: that of its file, and where that is gone, of what the store
    /// holds; 0 where neither can be told.
    pub async fn artifact_len(&self, row: &Listed) -> u64 {
        let path = match row {
            Listed::Ours(row) => row.artifact.clone(),
            Listed::Predecessor(file) => Some(file.path.clone()),
        };
        if let Some(path) = path {
            let looked = self.0.workers.files(move || std::fs::metadata(path));
            if let Ok(Ok(meta)) = looked.await
                && meta.is_file()
            {
                return meta.len();
            }
        }
        match row {
            Listed::Ours(row) => self.text_len(&row.delegation.spec.id).await.unwrap_or(0),
            Listed::Predecessor(_) => 0,
        }
    }

    /// The text of an artifact, from its file: what a person changed there is what is read. Where the
    /// file is gone or can't be read, it is rendered anew from what the store holds, saying so.
    ///
    /// # Errors
    /// When neither file nor store can be read.
    pub async fn artifact_text(&self, row: &Listed) -> Result<String, StoreError> {
        let path = match row {
            Listed::Ours(row) => row.artifact.clone(),
            Listed::Predecessor(file) => Some(file.path.clone()),
        };
        let fault = match &path {
            Some(path) => match self.read(path.clone()).await {
                Ok(bytes) => {
                    // An editor may have left something else than UTF-8.
                    return Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
                        String::from_utf8_lossy(error.as_bytes()).into_owned()
                    }));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is gone".to_owned(),
                Err(error) => format!("can't be read ({error})"),
            },
            None => "was never written".to_owned(),
        };
        let shown = path.map_or_else(String::new, |path| format!("{} ", path.display()));
        match row {
            Listed::Ours(row) => {
                let text = self
                    .text(&row.delegation.spec.id)
                    .await?
                    .unwrap_or_default();
                Ok(format!(
                    "# {}\n\n{}\n\n> The artifact's file {shown}{fault}; this is the text that the store kept.\n\n---\n\n{text}",
                    row.title, row.summary
                ))
            }
            Listed::Predecessor(_) => Err(StoreError::Artifact(format!(
                "{shown}{fault}, and only the file held this result"
            ))),
        }
    }
}
