//! Linux: `/proc` for the start time, a pidfd for the end.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Marked, ProcessId};

/// When a live process started, in clock ticks since boot, and who its parent is (0 for none); none if it is gone.
/// An error says nothing about it.
pub(super) fn look(pid: Pid) -> io::Result<Option<(u64, u32)>> {
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
        Ok(stat) => Ok(parse(&stat)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // It went while it was read.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a process can gain no rights by what it executes. It hands that on to all that it starts, and nobody gets
/// rid of it.
pub(super) fn is_bound(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.unwrap_or_default();
    let mut flags = status
        .lines()
        .filter_map(|line| line.strip_prefix("NoNewPrivs:"));
    flags.next().is_some_and(|flag| flag.trim() == "1")
}

/// Reads start time and parent out of a `stat` line. The command's name, in brackets, may itself hold
/// brackets and spaces: the fields are counted from the last one.
fn parse(stat: &str) -> Option<(u64, u32)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    // The state is the third field, the parent the fourth, the start time the twenty-second.
    let parent = fields.next()?.parse().ok()?;
    Some((fields.nth(17)?.parse().ok()?, parent))
}

/// Something that becomes readable once the process has ended, collected by its parent or not.
pub(super) fn watch(pid: Pid) -> Result<OwnedFd, Errno> {
    pidfd_open(pid, PidfdFlags::NONBLOCK)
}

/// A variable of the environment that a process was started with.
pub(super) fn variable(pid: u32, name: &str) -> Option<OsString> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    environment
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(prefix.as_bytes()))
        .map(|value| OsStr::from_bytes(value).to_owned())
}

/// All processes with their parents' IDs.
pub(super) fn all() -> Vec<(ProcessId, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            ProcessId::with_parent(entry.file_name().to_str()?.parse().ok()?).ok()?
        })
        .collect()
}

/// The user's processes whose environment had this variable when they began.
pub(super) fn with_variable(name: &str) -> Vec<Marked> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mine = |entry: &std::fs::DirEntry| {
        entry
            .metadata()
            .is_ok_and(|meta| meta.uid() == crate::user_id())
    };
    entries
        .flatten()
        .filter(mine)
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            // Known before its environment is read, and checked after: both are of one process then.
            let id = ProcessId::of(pid)?;
            let value = variable(pid, name)?;
            let words = std::fs::read(entry.path().join("cmdline")).ok()?;
            id.is_alive().then(|| Marked {
                id,
                value: value.to_string_lossy().into_owned(),
                command: String::from_utf8_lossy(&words)
                    .trim_end_matches('\0')
                    .replace('\0', " "),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn fields_are_counted_from_the_last_bracket() {
        let line = |name: &str, state: &str| {
            format!(
                "42 ({name}) {state} 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 98765 4096 10\n"
            )
        };
        assert_eq!(parse(&line("cat", "S")), Some((98765, 1)));
        assert_eq!(parse(&line("a ) S 1 (b", "T")), Some((98765, 1)));
        assert_eq!(parse(&line("cat", "Z")), None);
        assert_eq!(parse("42 (cat) S 1"), None);
        assert_eq!(parse(""), None);
    }
}
