//! What can go wrong in the rig.

use std::path::PathBuf;
use std::time::Duration;

/// Result of the rig's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the rig itself, never of the code under test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A request to the host failed before it was answered.
    #[error("request {what} failed: {source}")]
    Request {
        /// Method and path.
        what: String,
        /// Why it failed.
        source: reqwest::Error,
    },
    /// The host answered with another status than the caller can use.
    #[error("{what} answered {status}: {body}")]
    Status {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// The body as text.
        body: String,
    },
    /// What was waited for did not happen in time.
    #[error("waited {} ms for {what}; last seen: {seen}", after.as_millis())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The last state, to read the failure without running again.
        seen: String,
    },
    /// A process ended before it did what was waited for.
    #[error("{what} ended early; its output:\n{output}")]
    Exited {
        /// The process.
        what: String,
        /// Its output up to the end.
        output: String,
    },
    /// A program that the rig needs is not there.
    #[error("{program} was not found at {path}: {hint}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// An installation step failed; the cache is as it was before.
    #[error("{command} failed:\n{output}")]
    Install {
        /// The command.
        command: String,
        /// Its output.
        output: String,
    },
    /// The pseudo-terminal failed.
    #[error("pseudo-terminal: {0}")]
    Pty(String),
    /// Text that is no JSON where JSON was expected.
    #[error("{what}: not the expected JSON: {source}")]
    Json {
        /// Where it came from.
        what: String,
        /// Why it could not be read.
        source: serde_json::Error,
    },
}

impl Error {
    /// For `map_err` on an IO result.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
