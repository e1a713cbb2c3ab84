//! What can go wrong in a task.

use std::io;

/// Result of a task.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or a process could not be used.
    #[error("could not {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The rig failed.
    #[error(transparent)]
    Rig(#[from] brigade_testkit::Error),
    /// Something is not as it must be.
    #[error("{0}")]
    Wrong(String),
}

/// For `map_err` on an IO result.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
