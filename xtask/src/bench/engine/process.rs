//! What a process uses, as Linux tells it.

use std::fs;
use std::time::Duration;

use crate::error::{Error, Result, io};

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// Time on a processor.
    pub(super) cpu: Duration,
    /// How often one of its threads was put on a processor.
    pub(super) switches: u64,
    /// Its resident memory, in bytes.
    pub(super) memory: u64,
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(io(format!("read {path}")))
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Looks at a process.
pub(super) fn used(pid: u32) -> Result<Used> {
    let strange = |what: &str| Error::Wrong(format!("/proc does not tell the {what} of {pid}"));
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let mut switches = 0;
    let mut cpu = 0;
    for task in tasks
        .map_err(io(format!("look at process {pid}")))?
        .flatten()
    {
        // A thread that has ended since counts for nothing.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        for kind in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
            switches += field(&status, kind).ok_or_else(|| strange("context switches"))?;
        }
        // The first number is the time on a processor, in nanoseconds.
        let times = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        cpu += times
            .split(' ')
            .next()
            .and_then(|ns| ns.parse().ok())
            .unwrap_or(0_u64);
    }
    let status = read(&format!("/proc/{pid}/status"))?;
    let memory = field(&status, "VmRSS").ok_or_else(|| strange("memory"))? << 10;
    Ok(Used {
        cpu: Duration::from_nanos(cpu),
        switches,
        memory,
    })
}
