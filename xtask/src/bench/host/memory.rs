//! What processes use, as Linux tells it.

use std::fs;
use std::io::ErrorKind;

use crate::error::{Error, Result, io};

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    /// Resident: what is shared counts in full.
    pub(super) rss: u64,
    /// Proportional: what is shared with others counts by its part.
    pub(super) pss: u64,
}

/// What a process uses, without what it has started: a program that it is about to start still shares all of its
/// memory, and would count it again. None where there is no `/proc`.
///
/// # Errors
/// When the process is gone.
pub(super) fn used(pid: u32) -> Result<Option<Use>> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !cfg!(target_os = "linux") => {
            return Ok(None);
        }
        Err(error) => return Err(io(format!("read {path}"))(error)),
    };
    let field = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .map(|kib: u64| kib << 10)
            .ok_or_else(|| Error::Wrong(format!("{path} has no {name}")))
    };
    Ok(Some(Use {
        rss: field("Rss:")?,
        pss: field("Pss:")?,
    }))
}
