//! What can go wrong, each with what was kept and what to do.

use std::path::PathBuf;

use brigade_core::id::DelegationId;
use rusqlite::ErrorCode;

/// Why the store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer Brigade wrote it.
    #[error(
        "the store {} has schema {found}, this Brigade knows up to {known}: a newer Brigade wrote it. It was left \
         untouched. Use that newer version.",
        path.display()
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this binary knows.
        known: i64,
    },
    /// It is no SQLite file, is damaged, or belongs to another program.
    #[error(
        "the store {} can't be read: {message}. It was left as it is, and the artifacts are not touched by this. \
         Move the file away (with its -wal and -shm) to start with an empty store, into which `brigade gc` takes the \
         artifacts back, or put a copy of it back.",
        path.display()
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What SQLite says.
        message: String,
    },
    /// The operating system refused.
    #[error("{} can't be opened: {source}. Nothing was changed. Check its folder, owner and free space.", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refused, and the file is not damaged: no space, no right to write, in use.
    #[error("the store {} can't be opened: {source}. What it holds was kept.", path.display())]
    Store {
        /// The store's file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// Why a read or write failed. A failed write has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk, or the person's share of it, is full.
    #[error(
        "the disk of the store is full ({0}); nothing of this change was stored. Free some space: it is tried again"
    )]
    Full(String),
    /// The file system or the file can't be written.
    #[error(
        "the store can't be written ({0}); what it holds was kept. Make it writable: it is tried again"
    )]
    ReadOnly(String),
    /// Reading or writing the file failed.
    #[error(
        "the store's file could not be read or written ({0}); nothing of this change was stored. It is tried again"
    )]
    Io(String),
    /// A result that only its file held can't be read.
    #[error("{0}. Nothing was changed; put a copy of it back")]
    Artifact(String),
    /// Another process held the store for too long.
    #[error(
        "the store is held by another process ({0}); nothing of this change was stored. It is tried again"
    )]
    Busy(String),
    /// The file is damaged.
    #[error(
        "the store is damaged ({0}); nothing of this change was stored. Run `brigade doctor`; the artifacts are not touched by this"
    )]
    Corrupt(String),
    /// A row does not hold what it should.
    #[error(
        "the store holds something that can't be understood ({0}); it was left as it is. Run `brigade doctor`"
    )]
    Data(String),
    /// SQLite refused for a reason that is Brigade's own fault.
    #[error(
        "the store refused a statement ({0}); nothing of this change was stored. This is a mistake in Brigade: please report it"
    )]
    Sql(String),
    /// Something that cannot be: a defect of Brigade.
    #[error(
        "{0}; nothing of this change was stored. This is a mistake in Brigade: please report it"
    )]
    Internal(String),
    /// The store was shut down.
    #[error("the store is closed: Brigade is stopping; nothing of this change was stored")]
    Closed,
}

impl StoreError {
    /// Whether the same call may succeed later without anything being mended in the store itself.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            StoreError::Full(_) | StoreError::ReadOnly(_) | StoreError::Io(_) | StoreError::Busy(_)
        )
    }
}

impl StoreError {
    /// Something that cannot be has happened.
    pub fn internal(what: impl Into<String>) -> Self {
        StoreError::Internal(what.into())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(text),
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::AuthorizationForStatementDenied,
            ) => StoreError::ReadOnly(text),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed,
            ) => StoreError::Io(text),
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OperationInterrupted,
            ) => StoreError::Busy(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(text),
            Some(_) => StoreError::Sql(text),
            None => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..) => StoreError::Data(text),
                _ => StoreError::Sql(text),
            },
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        StoreError::Data(error.to_string())
    }
}

/// Why a transition was not stored. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The record has moved on since it was read, or is terminal: read it again and decide anew.
    #[error("{0} has changed meanwhile; nothing was stored. Read it again")]
    Stale(DelegationId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        CommitError::Store(error.into())
    }
}

impl From<serde_json::Error> for CommitError {
    fn from(error: serde_json::Error) -> Self {
        CommitError::Store(error.into())
    }
}
