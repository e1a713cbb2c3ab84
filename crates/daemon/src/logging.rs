//! Structured logs in a file that is rotated by size and never in the daemon's way: what can't be
//! written is counted and left out, and the file is tried anew with the next line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use brigade_os::paths::ensure_private_dir;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

use crate::log_level::{self, LogLevel};
use crate::troubles::Troubles;

/// What a trouble with the log is about.
const ABOUT: &str = "log";
/// A file is this long at most; a line is never torn.
const LONGEST: u64 = 8 * 1024 * 1024;
/// How many full files are kept beside the one that is written.
const KEEP: u32 = 7;

/// Starts logging into `dir`; what is still buffered is written when the guard is dropped.
pub(crate) fn start(dir: &Path, level: &str, troubles: Troubles) -> (WorkerGuard, LogLevel) {
    // Lossy by default: a disk that is full or slow must not block the daemon.
    let (writer, guard) = tracing_appender::non_blocking(LogFile::new(dir, troubles, LONGEST));
    let filter = log_level::filter(level).unwrap_or_else(|error| {
        // Reading the configuration has refused this already.
        tracing::warn!(%error, "the default is logged");
        tracing_subscriber::EnvFilter::new("info")
    });
    let (filter, handle) = reload::Layer::new(filter);
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(fmt::layer().json().with_writer(writer))
        .try_init();
    if started.is_err() {
        // A test that runs several daemons in one process has a subscriber already.
        tracing::debug!("logs go to the subscriber that is there");
        return (guard, LogLevel::new(None, level));
    }
    (guard, LogLevel::new(Some(handle), level))
}

/// `daemon.log`, with `daemon.1.log` as the youngest of the full ones. Writing to it never fails.
struct LogFile {
    dir: PathBuf,
    open: Option<File>,
    size: u64,
    longest: u64,
    /// Lines left out since the last one that was written.
    lost: u64,
    troubles: Troubles,
}

impl LogFile {
    fn new(dir: &Path, troubles: Troubles, longest: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            open: None,
            size: 0,
            longest,
            lost: 0,
            troubles,
        }
    }

    fn path(&self, full: u32) -> PathBuf {
        self.dir.join(match full {
            0 => "daemon.log".to_owned(),
            full => format!("daemon.{full}.log"),
        })
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        // A file that was removed by hand would swallow everything that follows.
        let removed = |file: &File| file.metadata().is_ok_and(|meta| meta.nlink() == 0);
        if self.open.as_ref().is_none_or(removed) {
            self.reopen()?;
        }
        if self.size > 0 && self.size.saturating_add(length) > self.longest {
            self.rotate()?;
            self.reopen()?;
        }
        let Some(file) = &mut self.open else {
            return Err(io::Error::other("it is not open"));
        };
        if self.lost > 0 {
            // The newline ends whatever a write that failed halfway has left.
            let lost = self.lost;
            let remark = format!(
                "\n{{\"level\":\"WARN\",\"fields\":{{\"message\":\"{lost} lines could not be written\"}}}}\n"
            );
            file.write_all(remark.as_bytes())?;
            self.size += u64::try_from(remark.len()).unwrap_or(0);
        }
        file.write_all(line)?;
        self.size += length;
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.open = None;
        ensure_private_dir(&self.dir).map_err(io::Error::other)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.path(0))?;
        self.size = file.metadata()?.len();
        self.open = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        for full in (0..KEEP).rev() {
            match fs::rename(self.path(full), self.path(full + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Write for LogFile {
    /// Takes each line, written or not: the daemon's work does not depend on its log.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.put(line) {
            Ok(()) if self.lost > 0 => {
                self.lost = 0;
                self.troubles.clear(ABOUT);
            }
            Ok(()) => {}
            Err(error) => {
                self.open = None;
                self.lost += 1;
                self.troubles.note(format!(
                    "{ABOUT}: {} can't be written: {error}. Everything else goes on; {} lines were left out",
                    self.path(0).display(),
                    self.lost
                ));
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn full_files_are_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(dir.path(), Troubles::default(), 10);
        for n in 0..20 {
            log.write_all(format!("line {n:02}\n").as_bytes()).unwrap();
        }
        assert_eq!(read(dir.path(), "daemon.log"), "line 19\n");
        assert_eq!(read(dir.path(), "daemon.1.log"), "line 18\n");
        assert_eq!(read(dir.path(), "daemon.7.log"), "line 12\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8);
        // The next daemon goes on where this one was.
        let mut log = LogFile::new(dir.path(), Troubles::default(), 100);
        log.write_all(b"more\n").unwrap();
        assert_eq!(read(dir.path(), "daemon.log"), "line 19\nmore\n");
    }

    #[test]
    fn what_can_not_be_written_is_left_out_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        fs::write(&logs, "a file in the way").unwrap();
        let troubles = Troubles::default();
        let mut log = LogFile::new(&logs, troubles.clone(), 100);
        log.write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        let told = troubles.list().join("\n");
        assert!(told.contains("2 lines were left out"), "{told}");
        fs::remove_file(&logs).unwrap();
        log.write_all(b"three\n").unwrap();
        let text = read(&logs, "daemon.log");
        assert!(text.contains("2 lines could not be written"), "{text}");
        assert!(text.ends_with("\nthree\n"), "{text}");
        assert_eq!(troubles.list(), [""; 0]);
    }

    #[test]
    fn a_file_that_was_removed_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(dir.path(), Troubles::default(), 100);
        log.write_all(b"one\n").unwrap();
        fs::remove_file(dir.path().join("daemon.log")).unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(read(dir.path(), "daemon.log"), "two\n");
    }
}
