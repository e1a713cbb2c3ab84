//! The upkeep of the store's own file.

use std::path::Path;

use rusqlite::Connection;

use crate::Store;
use crate::error::StoreError;

/// How many pages one step of merging the search index may write: others write in between.
const STEP: i64 = 500;

/// What the upkeep has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tended {
    /// Bytes of the store and its log before.
    pub before: u64,
    /// And after.
    pub after: u64,
    /// Whether the log could be folded in whole; not while somebody is reading what is in it.
    pub folded: bool,
}

impl Store {
    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.0.paths.db
    }

    /// How many bytes the store and its log have.
    pub async fn size(&self) -> u64 {
        let db = self.0.paths.db.clone();
        super::blocking(move || size(&db)).await.unwrap_or(0)
    }

    /// Merges the search index, has SQLite look at its statistics, and folds its log in.
    ///
    /// # Errors
    /// [`StoreError`]; what the store holds is the same in any case.
    pub async fn tend(&self) -> Result<Tended, StoreError> {
        let before = self.size().await;
        // A negative number begins to merge all there is; then on until there is nothing left to do.
        let mut pages = -STEP;
        while self.0.workers.write(move |db| merge(db, pages)).await? {
            pages = STEP;
        }
        self.0
            .workers
            .write(|db| Ok::<_, StoreError>(db.execute_batch("PRAGMA optimize")?))
            .await?;
        let path = self.0.paths.db.clone();
        let folded = super::blocking(move || fold(&path)).await??;
        Ok(Tended {
            before,
            after: self.size().await,
            folded,
        })
    }
}

/// One step; whether there is more to do.
fn merge(db: &Connection, pages: i64) -> Result<bool, StoreError> {
    let before = db.total_changes();
    db.prepare_cached("INSERT INTO search (search, rank) VALUES ('merge', ?1)")?
        .execute([pages])?;
    // The statement itself counts as one.
    Ok(db.total_changes() - before >= 2)
}

/// Folds the log in, by a connection of its own: the writer's is always within a transaction.
fn fold(path: &Path) -> Result<bool, StoreError> {
    let db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

fn size(db: &Path) -> u64 {
    let mut log = db.as_os_str().to_owned();
    log.push("-wal");
    [db, Path::new(&log)]
        .into_iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|meta| meta.len())
        .sum()
}
