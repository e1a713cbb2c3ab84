//! Structured logs to a file that is rotated by the day.

use std::path::Path;

use brigade_os::paths::ensure_private_dir;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;

use crate::Error;

/// How many days' files are kept.
const KEEP: usize = 7;

/// Starts logging into `dir`; what is still buffered is written when the guard is dropped.
pub(crate) fn start(dir: &Path, filter: &str) -> Result<WorkerGuard, Error> {
    ensure_private_dir(dir)?;
    let file = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("daemon")
        .filename_suffix("log")
        .max_log_files(KEEP)
        .build(dir)
        .map_err(|source| Error::Io {
            what: "could not open a log file in",
            path: dir.to_owned(),
            source: std::io::Error::other(source),
        })?;
    // Lossy by default: a disk that is full must not block the daemon.
    let (writer, guard) = tracing_appender::non_blocking(file);
    let started = tracing_subscriber::fmt()
        .json()
        .with_writer(writer)
        .with_env_filter(EnvFilter::new(filter))
        .try_init();
    if started.is_err() {
        // A test that runs several daemons in one process has a subscriber already.
        tracing::debug!("logs go to the subscriber that is there");
    }
    Ok(guard)
}
