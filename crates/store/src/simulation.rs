//! A store for simulations: in memory, on its caller's thread, failing to order.
//!
//! The [`Disk`] is what survives a daemon. Whoever drops everything else and opens a [`Store`] on it again
//! finds what was committed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brigade_core::clock::Clock;
use brigade_core::delegation::{Delegation, Event};
use rusqlite::Connection;

use crate::error::StoreError;
use crate::worker::{Workers, execute, unpanicked};
use crate::{Store, StorePaths, migrate, record};

/// What is about to be done with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Rows are read.
    Read,
    /// A transaction is committed.
    Write,
    /// Files are written or read.
    Files,
    /// They have been: a failure now is one in spite of which everything is there.
    FilesDone,
}

type Fault = Box<dyn FnMut(Access) -> Option<StoreError> + Send>;

/// A database in memory. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    db: Mutex<Connection>,
    fault: Mutex<Option<Fault>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

/// How a delegation stands on the disk.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its record.
    pub delegation: Delegation,
    /// Its place in the order of registration.
    pub order: i64,
    /// Its artifact's file.
    pub artifact: Option<String>,
    /// What has become of its notice; none where there is none.
    pub notice: Option<String>,
    /// What has become of the waking that its end made due; none where there is none.
    pub wake: Option<String>,
    /// Whether its parent has read the result.
    pub read: bool,
}

impl Disk {
    /// An empty one.
    ///
    /// # Errors
    /// When SQLite can't make it.
    pub fn new() -> Result<Self, StoreError> {
        let mut db = Connection::open_in_memory()?;
        migrate::prepare_once(&db)?;
        db.pragma_update(None, "foreign_keys", true)?;
        migrate::migrate(&mut db)?;
        // Everything happens within one transaction, so that going back to the start is taking it back.
        execute(&db, "BEGIN")?;
        Ok(Self(Arc::new(Inner {
            db: Mutex::new(db),
            fault: Mutex::default(),
        })))
    }

    /// Empties it, and lets nothing fail any more. Quicker than a new one.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn clear(&self) -> Result<(), StoreError> {
        *lock(&self.0.fault) = None;
        let db = lock(&self.0.db);
        execute(&db, "ROLLBACK")?;
        execute(&db, "BEGIN")
    }

    /// Asked before every access whether it fails, and how.
    pub fn fail(&self, fault: impl FnMut(Access) -> Option<StoreError> + Send + 'static) {
        *lock(&self.0.fault) = Some(Box::new(fault));
    }

    /// Changes with every row that is written.
    #[must_use]
    pub fn changes(&self) -> u64 {
        lock(&self.0.db).total_changes()
    }

    /// How everything stands, in the order of registration.
    ///
    /// # Errors
    /// When a row can't be understood.
    pub fn standings(&self) -> Result<Vec<Standing>, StoreError> {
        let db = lock(&self.0.db);
        let mut select = db.prepare_cached(
            "SELECT d.record, p.prompt, d.seq, d.artifact, n.state, w.state, d.read_at IS NOT NULL
             FROM delegations d JOIN prompts p ON p.delegation = d.seq
             LEFT JOIN notices n ON n.delegation = d.seq LEFT JOIN wakes w ON w.delegation = d.seq
             ORDER BY d.seq",
        )?;
        let mut rows = select.query([])?;
        let mut standings = Vec::new();
        while let Some(row) = rows.next()? {
            standings.push(Standing {
                delegation: record::record(&row.get::<_, String>(0)?, row.get(1)?)?,
                order: row.get(2)?,
                artifact: row.get(3)?,
                notice: row.get(4)?,
                wake: row.get(5)?,
                read: row.get(6)?,
            });
        }
        Ok(standings)
    }

    /// The events after this sequence number, each with its own number and the delegation's place in the order.
    ///
    /// # Errors
    /// When a row can't be understood.
    pub fn events_after(&self, seq: i64) -> Result<Vec<(i64, i64, Event)>, StoreError> {
        let db = lock(&self.0.db);
        let mut select = db.prepare_cached(
            "SELECT seq, delegation, event FROM events WHERE seq > ?1 ORDER BY seq",
        )?;
        let mut rows = select.query([seq])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let event = serde_json::from_str(&row.get::<_, String>(2)?)?;
            events.push((row.get(0)?, row.get(1)?, event));
        }
        Ok(events)
    }

    fn fault(&self, access: Access) -> Result<(), StoreError> {
        let mut fault = lock(&self.0.fault);
        match fault.as_mut().and_then(|fault| fault(access)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Other tasks get their turn before and after, as with threads: what is asked is not done yet, and what is
    /// done is not known yet.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: FnOnce(&Connection) -> Result<T, E>,
    {
        tokio::task::yield_now().await;
        let done = self.commit(work);
        tokio::task::yield_now().await;
        done
    }

    fn commit<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.fault(Access::Write)?;
        let db = lock(&self.0.db);
        execute(&db, "SAVEPOINT job")?;
        let done = unpanicked(|| work(&db)).unwrap_or_else(|error| Err(error.into()));
        if done.is_err() {
            execute(&db, "ROLLBACK TO job")?;
        }
        execute(&db, "RELEASE job")?;
        done
    }

    pub(crate) async fn files<T>(&self, work: impl FnOnce() -> T) -> std::io::Result<T> {
        tokio::task::yield_now().await;
        let done = self.fault(Access::Files).and_then(|()| {
            let done = work();
            self.fault(Access::FilesDone)?;
            Ok(done)
        });
        tokio::task::yield_now().await;
        done.map_err(std::io::Error::other)
    }

    pub(crate) async fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = self.look(work);
        tokio::task::yield_now().await;
        done
    }

    fn look<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.fault(Access::Read)?;
        let db = lock(&self.0.db);
        unpanicked(|| work(&db)).flatten()
    }
}

impl Store {
    /// A store on this disk; `paths` says where the artifacts lie.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn simulated(
        disk: &Disk,
        paths: &StorePaths,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let last = disk.look(|db| {
            Ok(
                db.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| {
                    row.get(0)
                })?,
            )
        })?;
        let workers = Workers::Caller(disk.clone());
        Ok(Self::with(workers, paths, clock, last))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
