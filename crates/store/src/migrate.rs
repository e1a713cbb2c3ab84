//! Opening and migrating. What can't be understood is refused and left as it is.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, StoreError};

/// The migrations in order; the schema's version is how many of them were applied.
const MIGRATIONS: [&str; 6] = [
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
    include_str!("../migrations/0004.sql"),
    include_str!("../migrations/0005.sql"),
    include_str!("../migrations/0006.sql"),
];

/// The schema's version that this binary writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// How many readers there are: reads are short, and the machine may be small.
const READERS: usize = 2;
/// How long a locked file is waited for; only a backup program would lock it.
const BUSY: Duration = Duration::from_secs(10);
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 128;

/// Opens the file with one connection to write and some to read.
pub(crate) fn open(path: &Path) -> Result<(Connection, Vec<Connection>), OpenError> {
    let io = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let refuse = |error| refusal(path, error);
    if path.exists() {
        // Looked at before anything is written, be it a journal mode.
        let look =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(refuse)?;
        look.busy_timeout(BUSY).map_err(refuse)?;
        check(&look, path, refuse)?;
    } else {
        // Created private, not made private afterwards.
        OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io)?;
    let mut writer = Connection::open(path).map_err(refuse)?;
    configure(&writer).map_err(refuse)?;
    migrate(&mut writer).map_err(refuse)?;
    let readers = (0..READERS)
        .map(|_| {
            let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            reader.busy_timeout(BUSY)?;
            prepare_once(&reader)?;
            Ok(reader)
        })
        .collect::<Result<_, rusqlite::Error>>()
        .map_err(refuse)?;
    Ok((writer, readers))
}

/// Looks through a store's file without changing it, and says its schema's version; 0 is one that is
/// still empty. Takes longer the more is in it.
///
/// # Errors
/// [`OpenError`], for what would keep it from being opened, and for damage anywhere in it.
pub fn inspect(path: &Path) -> Result<i64, OpenError> {
    let refuse = |error| refusal(path, error);
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(refuse)?;
    db.busy_timeout(BUSY).map_err(refuse)?;
    let found = check(&db, path, refuse)?;
    let message: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(refuse)?;
    if message == "ok" {
        Ok(found)
    } else {
        // The first line only names the database.
        let message = message.lines().last().unwrap_or_default().to_owned();
        Err(OpenError::Corrupt {
            path: path.to_owned(),
            message,
        })
    }
}

/// SQLite's error as a reason not to open the file.
pub(crate) fn refusal(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match StoreError::from(error) {
        StoreError::Corrupt(message) => OpenError::Corrupt { path, message },
        // SQLite says no more than that; the system does.
        source @ (StoreError::Io(_) | StoreError::Full(_)) => match unwritable(&path) {
            Some(source) => OpenError::Io { path, source },
            None => OpenError::Store { path, source },
        },
        source => OpenError::Store { path, source },
    }
}

/// Why nothing can be written beside the store, if that is so.
fn unwritable(store: &Path) -> Option<std::io::Error> {
    let probe = store.with_extension(format!("probe.{}", std::process::id()));
    let written = std::fs::write(&probe, [0; 4096]).err();
    // It may not even have been made.
    let _removed = std::fs::remove_file(&probe);
    written
}

fn check(
    db: &Connection,
    path: &Path,
    refuse: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<i64, OpenError> {
    let found: i64 = db
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(&refuse)?;
    if found > SCHEMA {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: SCHEMA,
        });
    }
    let corrupt = |message: String| OpenError::Corrupt {
        path: path.to_owned(),
        message,
    };
    let tables: i64 = db
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table'",
            [],
            |row| row.get(0),
        )
        .map_err(&refuse)?;
    if found == 0 && tables > 0 {
        return Err(corrupt("it is another program's database".to_owned()));
    }
    Ok(found)
}

/// Keeps statements as they were prepared. Else SQLite, which is built with `SQLITE_ENABLE_STAT4`, prepares many anew
/// for each new value that is bound, to plan by it: that was half of what a look at the outbox cost.
pub(crate) fn prepare_once(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY)?;
    prepare_once(db)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // What was answered must survive a power cut, so each commit is synced.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // Keeps the log from growing for ever after a burst.
    db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)
}

pub(crate) fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    let from: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        let version = i64::try_from(index).unwrap_or(i64::MAX) + 1;
        if version <= from {
            continue;
        }
        let transaction = db.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        tracing::info!(version, "the store's schema was brought up to date");
    }
    Ok(())
}
